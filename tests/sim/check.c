/* SPDX-License-Identifier: MIT */
/*
 * What must hold. A user's pushes are numbered by their caller, who begins the next one when the last is accepted, so
 *	- on one connection numbers only rise;
 *	- when number n arrives, all lower ones of that user have arrived somewhere, or lay in the socket of a client that died;
 *	- at the end, when everybody is well and the user has been there for a while, so has all that was accepted.
 */
#include "sim.h"

enum { ACCEPTED = 1, RECEIVED = 2, UNREAD = 4 };

struct user {
	uint8_t *flags; /* by number */
	uint32_t n;
};

struct session {
	uint32_t user, last;
};

struct sim_totals sim_totals;
static struct user users[SIM_USERS];
static struct session *sessions;
static uint64_t nsessions;

static uint8_t *flags_of(uint32_t user, uint32_t n)
{
	struct user *u = &users[user];

	if (n >= u->n) {
		uint32_t grown = n * 2 + 64;
		u->flags = realloc(u->flags, grown);
		if (!u->flags)
			abort();
		memset(u->flags + u->n, 0, grown - u->n);
		u->n = grown;
	}
	return &u->flags[n];
}

void sim_check_init(void)
{
	memset(users, 0, sizeof users);
	sessions = NULL;
	nsessions = 0;
}

void sim_check_fini(void)
{
	for (int i = 0; i < SIM_USERS; i++)
		free(users[i].flags);
	free(sessions);
}

void sim_check_accepted(uint32_t user, uint32_t n)
{
	sim_note("user %u: %u accepted", user, n);
	*flags_of(user, n) |= ACCEPTED;
	sim_totals.accepted++;
}

void sim_check_session(uint64_t session, uint32_t user)
{
	if (session >= nsessions) {
		sessions = realloc(sessions, (session + 64) * sizeof *sessions);
		if (!sessions)
			abort();
		memset(sessions + nsessions, 0, (session + 64 - nsessions) * sizeof *sessions);
		nsessions = session + 64;
	}
	sim_note("user %u, session %llu: here", user, (unsigned long long)session);
	sessions[session].user = user;
}

/* The first below `end` that was accepted and has not arrived; else `end`. */
static uint32_t first_missing(uint32_t user, uint32_t end)
{
	for (uint32_t i = 1; i < end && i < users[user].n; i++) {
		uint8_t flags = users[user].flags[i];
		if ((flags & ACCEPTED) && !(flags & (RECEIVED | UNREAD)))
			return i;
	}
	return end;
}

void sim_check_lies(uint32_t user, uint32_t n)
{
	*flags_of(user, n) |= UNREAD;
}

void sim_check_received(uint64_t session, uint32_t user, uint32_t n, bool read)
{
	struct session *s = &sessions[session];
	uint8_t *flags = flags_of(user, n);

	if (session == 0 || session >= nsessions || s->user != user)
		sim_fail("user %u received %u on no session of theirs", user, n);
	if (n <= s->last)
		sim_fail("user %u, session %llu: %u after %u", user, (unsigned long long)session, n, s->last);
	if (first_missing(user, n) < n)
		sim_people_look();
	if (first_missing(user, n) < n)
		sim_fail("user %u, session %llu: %u came before %u", user, (unsigned long long)session, n,
			first_missing(user, n));
	sim_note("user %u, session %llu: %s %u", user, (unsigned long long)session, read ? "got" : "had unread", n);
	s->last = n;
	if (!read)
		sim_totals.unread++;
	else if (*flags & RECEIVED)
		sim_totals.again++;
	else
		sim_totals.received++;
	*flags |= read ? RECEIVED : UNREAD;
}

void sim_check_end(void)
{
	for (uint32_t user = 0; user < SIM_USERS; user++) {
		uint32_t n = first_missing(user, users[user].n);
		if (n < users[user].n)
			sim_fail("user %u never got %u, which was accepted", user, n);
	}
}
