/* SPDX-License-Identifier: MIT */
/*
 * Random operations against a naive model: one array of sessions, everything by linear search, written from
 * the text of imgo/backend/registry.h alone. After each operation the user's sessions are compared, now and
 * then everything.
 */
#include "registry_kit.h"

enum { USERS = 10, DEVICES = 3, COMETS = 3, ROOMS = 5, SESSIONS = 4096, STEPS = 6000 };

struct model_session {
	bool lives, announced;
	unsigned user, device, comet, rooms;
	uint64_t inc, n, seq;
};

struct model {
	struct kit *kit;
	struct model_session all[SESSIONS];
	size_t n;
	uint64_t highest[USERS];
	uint64_t inc[COMETS]; /* live lease's; 0: none */
	uint64_t newest[COMETS];
	uint64_t seed, next_n;
};

static const char *const user_names[USERS] = {"u", "1", "123456", "user-with-a-longer-name", "e", "f", "g", "h", "i", "j"};
static const char *const device_names[DEVICES] = {"", "phone", "web"};
static const char *const room_names[ROOMS] = {"live://1000", "1", "2", "lobby", "x"};

static unsigned rnd(struct model *m, unsigned below)
{
	m->seed = m->seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(m->seed >> 33) % below;
}

static size_t rooms_of(unsigned mask, struct imgo_str *out)
{
	size_t n = 0;

	for (unsigned i = 0; i < ROOMS; i++)
		if (mask & 1u << i)
			out[n++] = imgo_str(room_names[i]);
	return n;
}

static bool model_older(const struct model_session *a, const struct model_session *b)
{
	if (a->announced != b->announced)
		return a->announced;
	return a->seq < b->seq;
}

static void model_kill(struct model *m, struct model_session *s)
{
	bool lives = false;

	s->lives = false;
	for (size_t i = 0; i < m->n; i++)
		lives |= m->all[i].lives && m->all[i].user == s->user;
	if (!lives)
		m->highest[s->user] = 0;
}

static void model_kill_comet(struct model *m, unsigned comet)
{
	for (size_t i = 0; i < m->n; i++)
		if (m->all[i].lives && m->all[i].comet == comet)
			model_kill(m, &m->all[i]);
}

static struct model_session *model_oldest(struct model *m, unsigned user, unsigned *count)
{
	struct model_session *oldest = NULL;

	*count = 0;
	for (size_t i = 0; i < m->n; i++) {
		struct model_session *s = &m->all[i];
		if (!s->lives || s->user != user)
			continue;
		++*count;
		if (!oldest || model_older(s, oldest))
			oldest = s;
	}
	return oldest;
}

static struct model_session *model_twin(struct model *m, const struct model_session *s)
{
	for (size_t i = 0; s->device && i < m->n; i++)
		if (m->all[i].lives && m->all[i].user == s->user && m->all[i].device == s->device)
			return &m->all[i];
	return NULL;
}

static void expect_evicted(struct model *m, const struct model_session *s, size_t at)
{
	struct imgo_session_id id = {s->comet + 1, kit_inc(s->inc), s->n};

	check(m->kit, at < m->kit->nevicted && imgo_session_id_eq(m->kit->evicted[at], id));
}

/* What the model says of a put that the registry has answered. */
static void model_put(struct model *m, struct model_session s, const struct imgo_registry_put *put, int err)
{
	struct model_session *twin = model_twin(m, &s), *oldest;
	bool taken = false;
	unsigned count;
	size_t evicted = 0;

	oldest = model_oldest(m, s.user, &count);
	if (s.announced && twin && model_older(&s, twin)) {
		check_int(m->kit, err, IMGO_EEXISTS);
		return;
	}
	if (!s.announced && put->sessions_max && put->policy == IMGO_SESSIONS_REFUSE && !twin &&
		count >= put->sessions_max) {
		check_int(m->kit, err, IMGO_ELIMIT);
		return;
	}
	check_int(m->kit, err, 0);
	for (size_t i = 0; i < m->n; i++)
		taken |= m->all[i].lives && m->all[i].user == s.user && m->all[i].seq == s.seq;
	if (!s.announced || taken)
		s.seq = m->highest[s.user] + 1;
	if (s.seq > m->highest[s.user])
		m->highest[s.user] = s.seq;
	m->all[m->n] = s;
	m->all[m->n++].lives = true;
	if (twin) {
		expect_evicted(m, twin, evicted++);
		model_kill(m, twin);
	}
	while (!s.announced && put->sessions_max && (oldest = model_oldest(m, s.user, &count), count > put->sessions_max)) {
		expect_evicted(m, oldest, evicted++);
		model_kill(m, oldest);
	}
	check_int(m->kit, m->kit->nevicted, evicted);
	check_int(m->kit, put->seq, s.seq);
}

static void step_put(struct model *m)
{
	struct model_session s = {.user = rnd(m, USERS), .device = rnd(m, DEVICES), .comet = rnd(m, COMETS)};
	struct imgo_str rooms[ROOMS];
	struct imgo_registry_put put;
	bool stale;
	int err;

	if (!m->inc[s.comet] || m->n == SESSIONS)
		return;
	stale = rnd(m, 20) == 0;
	s.inc = m->inc[s.comet] - stale;
	s.n = ++m->next_n;
	s.rooms = rnd(m, 1u << ROOMS) & rnd(m, 1u << ROOMS);
	s.announced = rnd(m, 4) == 0;
	s.seq = s.announced ? 1 + rnd(m, 12) : 0;
	put = kit_session(user_names[s.user], device_names[s.device], s.comet + 1, s.inc, s.n);
	put.session.seq = s.seq;
	put.session.rooms = rooms;
	put.session.nrooms = rooms_of(s.rooms, rooms);
	put.sessions_max = rnd(m, 5);
	put.policy = rnd(m, 2) ? IMGO_SESSIONS_REFUSE : IMGO_SESSIONS_REPLACE;
	err = kit_put(m->kit, &put);
	if (stale)
		check_int(m->kit, err, IMGO_ESTALE);
	else
		model_put(m, s, &put, err);
}

static struct model_session *pick(struct model *m)
{
	for (unsigned tries = 0; m->n && tries < 30; tries++) {
		struct model_session *s = &m->all[m->n - 1 - rnd(m, m->n < 60 ? (unsigned)m->n : 60)];
		if (s->lives)
			return s;
	}
	return NULL;
}

static void step_session(struct model *m)
{
	struct model_session *s = pick(m);
	struct imgo_session_id id;
	struct imgo_str rooms[ROOMS];
	struct imgo_registry_put put;

	if (!s)
		return;
	id = (struct imgo_session_id){s->comet + 1, kit_inc(s->inc), s->n};
	switch (rnd(m, 4)) {
	case 0: /* another's id deletes nothing */
		id.n += 100000000;
		check_int(m->kit, kit_del(m->kit, user_names[s->user], id), 0);
		break;
	case 1:
		s->rooms = rnd(m, 1u << ROOMS);
		check_int(m->kit, kit_set_rooms(m->kit, user_names[s->user], id, rooms, rooms_of(s->rooms, rooms)), 0);
		break;
	case 2: /* put again */
		put = kit_session(user_names[s->user], device_names[s->device], s->comet + 1, s->inc, s->n);
		put.session.rooms = rooms;
		put.session.nrooms = rooms_of(s->rooms, rooms);
		put.sessions_max = 1;
		check_int(m->kit, kit_put(m->kit, &put), 0);
		check_int(m->kit, put.seq, s->seq);
		check_int(m->kit, m->kit->nevicted, 0);
		break;
	default:
		check_int(m->kit, kit_del(m->kit, user_names[s->user], id), 0);
		model_kill(m, s);
	}
}

static void step_comet(struct model *m)
{
	unsigned comet = rnd(m, COMETS), what = rnd(m, 12);

	if (!m->inc[comet] || what == 0) { /* starts anew */
		m->newest[comet] += 2;
		check_int(m->kit, kit_renew(m->kit, comet + 1, m->newest[comet], "127.0.0.1:1", 3600000), 0);
		if (m->inc[comet])
			model_kill_comet(m, comet);
		m->inc[comet] = m->newest[comet];
	} else if (what == 1) {
		check_int(m->kit, kit_leave(m->kit, comet + 1, m->inc[comet]), 0);
		model_kill_comet(m, comet);
		m->inc[comet] = 0;
	} else if (what == 2) {
		check_int(m->kit, kit_del_comet(m->kit, comet + 1), 0);
		model_kill_comet(m, comet);
	} else if (what == 3) {
		check_int(m->kit, kit_renew(m->kit, comet + 1, m->inc[comet] - 1, "", 3600000), IMGO_ESTALE);
		check_int(m->kit, kit_leave(m->kit, comet + 1, m->inc[comet] - 1), IMGO_ESTALE);
	} else {
		check_int(m->kit, kit_renew(m->kit, comet + 1, m->inc[comet], "127.0.0.1:2", 3600000), 0);
	}
}

static void compare_user(struct model *m, unsigned user)
{
	struct kit *kit = m->kit;
	size_t expected = 0;

	check_int(kit, kit_get(kit, user_names[user]), 0);
	for (size_t i = 0; i < m->n; i++) {
		const struct model_session *s = &m->all[i];
		struct imgo_session_id id = {s->comet + 1, kit_inc(s->inc), s->n};
		size_t at = 0;
		if (!s->lives || s->user != user)
			continue;
		expected++;
		while (at < kit->nfound && !imgo_session_id_eq(kit->found[at].id, id))
			at++;
		check(kit, at < kit->nfound);
		if (at == kit->nfound)
			continue;
		check_int(kit, kit->found[at].seq, s->seq);
		check(kit, strcmp(kit->found[at].device, device_names[s->device]) == 0);
		check(kit, strcmp(kit->found[at].user, user_names[user]) == 0);
	}
	check_int(kit, kit->nfound, expected);
}

static void compare_counts(struct model *m)
{
	uint64_t rooms[ROOMS] = {0}, none = 0, sessions = 0, users = 0, by_comet[COMETS] = {0};
	struct kit *kit = m->kit;

	for (size_t i = 0; i < m->n; i++) {
		const struct model_session *s = &m->all[i];
		if (!s->lives)
			continue;
		sessions++;
		by_comet[s->comet]++;
		none += s->rooms == 0;
		for (unsigned r = 0; r < ROOMS; r++)
			rooms[r] += s->rooms >> r & 1;
	}
	for (unsigned u = 0; u < USERS; u++)
		users += m->highest[u] > 0;
	check_int(kit, kit_count(kit), 0);
	check_int(kit, kit->sessions, sessions);
	check_int(kit, kit->users, users);
	check_int(kit, kit_room(kit, ""), none);
	for (unsigned r = 0; r < ROOMS; r++)
		check_int(kit, kit_room(kit, room_names[r]), rooms[r]);
	check_int(kit, kit_comets(kit), 0);
	for (size_t i = 0; i < kit->ncomets; i++)
		check_int(kit, kit->comets[i].sessions, by_comet[kit->comets[i].comet - 1]);
}

void registry_model(struct kit *kit)
{
	struct model *m = calloc(1, sizeof *m);

	m->kit = kit;
	m->seed = 20240607;
	for (unsigned i = 0; i < STEPS && kit->failures == 0; i++) {
		unsigned what = rnd(m, 100);
		if (what < 55)
			step_put(m);
		else if (what < 95)
			step_session(m);
		else
			step_comet(m);
		compare_user(m, rnd(m, USERS));
		if (i % 50 == 0)
			compare_counts(m);
		if (kit->failures)
			fprintf(stderr, "model: step %u\n", i);
	}
	free(m);
}
