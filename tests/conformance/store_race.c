/* SPDX-License-Identifier: MIT */
/*
 * The protocol of DESIGN.md §3 against a real store: a bus (an array), jobs that overlap, are thrown back and
 * rebuild, devices that read, acknowledge and reconnect, and amnesias in the middle, all at the same time on
 * one loop.
 *
 * Checked at every answer: a session gets the user's messages in order, none skipped, none with a foreign
 * body; a read or a peek that says "no more" names nothing older than what was confirmed when it was asked.
 * At the end every device has everything. What is only "later" or "unknown" (rebuilding, timed out) is tried
 * again.
 */
#include "store_kit.h"

enum {
	PARTITIONS = 2,
	USERS = 3, /* of each partition */
	DEVICES = 2,
	JOBS = 2,      /* of each partition */
	RECORDS = 240, /* of each partition: a user's tags must not run out */
	AMNESIAS = 6,
	BATCH = 20,
	LIMIT_MS = 60000,
};

struct race;

struct record {
	struct imgo_store_body body;
	int user;
	bool duplicate;
	char text[32];
};

struct user {
	char name[IMGO_USER_MAX + 1];
	uint64_t ids[RECORDS]; /* of its messages, without duplicates */
	size_t n;
	uint64_t confirmed; /* an append said so */
};

struct bus {
	struct record records[RECORDS];
	size_t n, committed;
	struct user users[USERS];
	uint64_t cursors[USERS][DEVICES]; /* the cursors' topic */
};

struct job {
	struct race *race;
	struct bus *bus;
	uint32_t partition;
	size_t pos, end, upto;
	uint64_t token; /* not 0: it rebuilds */
	unsigned patience, takeovers;
	struct imgo_store_marker marker;
	struct imgo_store_append items[BATCH];
	struct imgo_store_body bodies[BATCH];
	struct imgo_store_append_many append;
	struct imgo_store_ack acks[USERS * DEVICES];
	struct imgo_store_ack_many ack;
};

struct session {
	struct race *race;
	struct bus *bus;
	struct user *user;
	uint64_t *cursor; /* in the topic */
	uint32_t partition;
	const char *device;
	bool fresh; /* nothing read yet */
	uint64_t delivered, confirmed;
	bool complete; /* got everything there will be */
	struct imgo_store_read read;
	struct imgo_store_read_many reads;
	struct imgo_store_ack ack;
	struct imgo_store_ack_many acks;
	struct imgo_store_peek peek;
	struct imgo_store_peek_many peeks;
};

struct race {
	struct check *c;
	struct bus bus[PARTITIONS];
	struct job jobs[PARTITIONS * JOBS];
	struct session sessions[PARTITIONS * USERS * DEVICES];
	int amnesias, under_way;
	bool ending;
	uint64_t began_ms;
	unsigned rebuilds, rebuilding, timeouts, reads;
};

static void fail(struct race *race, int line, const char *what, uint64_t a, uint64_t b)
{
	check_fail(race->c, __FILE__, line, what, (long long)a, (long long)b);
	race->ending = true;
}
#define EXPECT(race, cond, a, b) \
	do { \
		if (!(cond)) \
			fail(race, __LINE__, #cond, a, b); \
	} while (0)

/* Everything an actor does goes through these two, so that the case ends only when nothing is under way. */
static void later(struct race *race, unsigned ms, void (*fn)(void *), void *actor)
{
	race->under_way++;
	imgo_loop_after(race->c->loop, ms, fn, actor, NULL);
}

static bool leave(struct race *race)
{
	race->under_way--;
	if (race->ending && race->under_way == 0)
		imgo_loop_stop(race->c->loop);
	return race->ending;
}

/* A call that may be refused: then its callback is played here, later. */
#define CALL(race, call, retry, actor) \
	do { \
		if ((call) == 0) \
			(race)->under_way++; \
		else \
			later(race, 5, retry, actor); \
	} while (0)

static bool unknown(struct race *race, int err)
{
	race->rebuilding += err == IMGO_EREBUILDING;
	race->timeouts += err == IMGO_ETIMEDOUT || err == IMGO_EUNAVAILABLE;
	if (err && err != IMGO_EREBUILDING && err != IMGO_ESTALE && err != IMGO_ETIMEDOUT && err != IMGO_EUNAVAILABLE &&
		err != IMGO_ELIMIT)
		fail(race, __LINE__, "an error that is none of the expected", (uint64_t)-err, 0);
	return err != 0;
}

/* ---- bus ---- */

static void produce(void *user)
{
	struct race *race = user;
	struct check *c = race->c;
	if (leave(race))
		return;
	bool more = false;
	for (int p = 0; p < PARTITIONS; p++) {
		struct bus *bus = &race->bus[p];
		if (bus->n == RECORDS)
			continue;
		struct record *r = &bus->records[bus->n], *last = bus->n ? r - 1 : NULL;
		r->user = (int)check_random(c, USERS);
		r->duplicate = last && !last->duplicate && check_random(c, 12) == 0;
		if (r->duplicate)
			r->user = last->user;
		uint64_t id = last ? last->body.id.id + 1 + check_random(c, 2) : 1;
		snprintf(r->text, sizeof r->text, "%d:%llu", r->user, (unsigned long long)id);
		r->body = (struct imgo_store_body){.id = check_id(c, id),
			.op = 5,
			.at_ms = check_now(c),
			.data = imgo_str(r->text),
			.users = check_random(c, 2)};
		memcpy(r->body.msgid.b, &id, sizeof id);
		memcpy(r->body.msgid.b + 8, &c->base, sizeof c->base);
		if (r->duplicate)
			r->body.msgid = last->body.msgid;
		else
			bus->users[r->user].ids[bus->users[r->user].n++] = id;
		more |= ++bus->n < RECORDS;
	}
	if (more)
		later(race, check_random(c, 8), produce, race);
}

/* ---- jobs ---- */

static void job_step(void *user);

static void job_again(struct job *job, unsigned ms)
{
	later(job->race, ms, job_step, job);
}

static void job_back(struct job *job)
{
	job->token = 0;
	job->pos = job->bus->committed;
	job_again(job, 1 + check_random(job->race->c, 5));
}

static void on_finished(int err, void *user)
{
	struct job *job = user;
	if (leave(job->race))
		return;
	unknown(job->race, err);
	job->race->rebuilds += err == 0;
	job_back(job);
}

static void on_appended(int err, void *user)
{
	struct job *job = user;
	struct race *race = job->race;
	if (leave(race))
		return;
	if (unknown(race, err)) {
		if (err == IMGO_ESTALE)
			job_back(job);
		else
			job_again(job, 2);
		return;
	}
	for (size_t i = 0; !job->token && i < job->append.nitems; i++) {
		const struct record *r = &job->bus->records[job->pos + i];
		struct user *u = &job->bus->users[r->user];
		EXPECT(race, !r->duplicate || job->items[i].result != IMGO_APPEND_NEW, r->body.id.id, job->pos);
		if (!r->duplicate && r->body.id.id > u->confirmed)
			u->confirmed = r->body.id.id;
	}
	job->pos = job->upto;
	if (!job->token && job->pos > job->bus->committed)
		job->bus->committed = job->pos;
	job_again(job, check_random(race->c, 3));
}

static void append_batch(struct job *job, size_t end)
{
	struct race *race = job->race;
	size_t n = 0;
	for (job->upto = job->pos; job->upto < end && n < BATCH; job->upto++, n++) {
		const struct record *r = &job->bus->records[job->upto];
		job->bodies[n] = r->body;
		job->items[n] = (struct imgo_store_append){
			.user = imgo_str(job->bus->users[r->user].name), .body = &job->bodies[n]};
	}
	job->append = (struct imgo_store_append_many){.epoch = race->c->epoch,
		.partition = job->partition,
		.rebuild_token = job->token,
		.bodies = job->bodies,
		.nbodies = n,
		.items = job->items,
		.nitems = n};
	CALL(race, imgo_store_append_many(race->c->store, &job->append, on_appended, job), job_step, job);
}

static void on_cursors(int err, void *user)
{
	struct job *job = user;
	if (leave(job->race))
		return;
	if (unknown(job->race, err))
		job_back(job);
	else
		job_again(job, 0);
}

/* A rebuild begins with the cursors of all devices. */
static void put_cursors(struct job *job)
{
	struct race *race = job->race;
	static const char *const devices[DEVICES] = {"", "phone"};
	for (int u = 0; u < USERS; u++)
		for (int d = 0; d < DEVICES; d++)
			job->acks[u * DEVICES + d] = (struct imgo_store_ack){.user = imgo_str(job->bus->users[u].name),
				.device = imgo_str(devices[d]),
				.id = check_id(race->c, job->bus->cursors[u][d])};
	job->ack = (struct imgo_store_ack_many){.epoch = race->c->epoch,
		.partition = job->partition,
		.items = job->acks,
		.nitems = USERS * DEVICES,
		.rebuild_token = job->token};
	CALL(race, imgo_store_ack_many(race->c->store, &job->ack, on_cursors, job), job_step, job);
}

static void on_begun(int err, void *user)
{
	struct job *job = user;
	if (leave(job->race))
		return;
	if (unknown(job->race, err) || job->marker.state == IMGO_MARKER_COMPLETE) {
		job_back(job);
		return;
	}
	job->token = job->marker.token;
	job->pos = 0;
	job->end = job->bus->n; /* as of now, not as of what is committed */
	put_cursors(job);
}

static void step_marker(struct job *job, enum imgo_marker_step step, uint64_t token, imgo_store_cb *cb)
{
	struct race *race = job->race;
	job->marker = (struct imgo_store_marker){
		.epoch = race->c->epoch, .partition = job->partition, .step = step, .token = token};
	CALL(race, imgo_store_marker(race->c->store, &job->marker, cb, job), job_step, job);
}

static void on_looked(int err, void *user)
{
	struct job *job = user;
	struct check *c = job->race->c;
	if (leave(job->race))
		return;
	bool building = job->marker.state == IMGO_MARKER_BUILDING;
	if (unknown(job->race, err)) {
		job_again(job, 5);
	} else if (job->marker.state == IMGO_MARKER_COMPLETE) {
		job->patience = 0;
		append_batch(job, job->bus->n);
	} else if (building && ++job->patience < 16u << job->takeovers) {
		job_again(job, 3); /* another job is at it: wait, then take over, but not in turns for ever */
	} else {
		job->takeovers += building && job->takeovers < 8;
		job->patience = 0;
		step_marker(job, IMGO_MARKER_BEGIN, 1 + check_random(c, 1 << 20), on_begun);
	}
}

static void job_step(void *user)
{
	struct job *job = user;
	struct race *race = job->race;
	if (leave(race))
		return;
	if (job->token && job->pos >= job->end) {
		step_marker(job, IMGO_MARKER_FINISH, job->token, on_finished);
	} else if (job->token) {
		append_batch(job, job->end);
	} else {
		if (check_random(race->c, 30) == 0) /* a restart: some is done again */
			job->pos = job->bus->committed - check_random(race->c, (unsigned)job->bus->committed + 1) / 2;
		if (job->pos >= job->bus->n)
			job->pos = job->bus->n; /* idle: the marker is looked at all the same */
		step_marker(job, IMGO_MARKER_LOOK, 0, on_looked);
	}
}

/* ---- sessions ---- */

static void session_step(void *user);

static size_t index_of(const struct user *user, uint64_t id)
{
	size_t i = 0;
	while (i < user->n && user->ids[i] <= id)
		i++;
	return i; /* of the first message after id */
}

static void got(struct session *s, const struct imgo_store_message *m)
{
	struct race *race = s->race;
	char text[32];
	int u = (int)(s->user - s->bus->users);
	size_t next = index_of(s->user, s->delivered);
	uint64_t expected = next < s->user->n ? s->user->ids[next] : 0;
	if (s->fresh) { /* what the store's cursor says may lag behind the topic's, not run ahead */
		size_t first = index_of(s->user, *s->cursor);
		uint64_t most = first < s->user->n ? s->user->ids[first] : UINT64_MAX;
		EXPECT(race, m->id.id <= most, m->id.id, most);
	} else {
		EXPECT(race, m->id.id == expected, m->id.id, expected);
	}
	snprintf(text, sizeof text, "%d:%llu", u, (unsigned long long)m->id.id);
	EXPECT(race, imgo_str_eq(m->data, imgo_str(text)), m->id.id, (uint64_t)u);
	s->delivered = m->id.id;
	s->fresh = false;
}

static void on_acked(int err, void *user)
{
	struct session *s = user;
	if (leave(s->race))
		return;
	unknown(s->race, err);
	later(s->race, check_random(s->race->c, 8), session_step, s);
}

static void acknowledge(struct session *s)
{
	struct race *race = s->race;
	if (s->delivered > *s->cursor)
		*s->cursor = s->delivered; /* the topic has it first */
	s->ack = (struct imgo_store_ack){
		.user = imgo_str(s->user->name), .device = imgo_str(s->device), .id = check_id(race->c, *s->cursor)};
	s->acks = (struct imgo_store_ack_many){
		.epoch = race->c->epoch, .partition = s->partition, .items = &s->ack, .nitems = 1};
	CALL(race, imgo_store_ack_many(race->c->store, &s->acks, on_acked, s), session_step, s);
}

static void on_read(int err, void *user)
{
	struct session *s = user;
	struct race *race = s->race;
	if (leave(race))
		return;
	if (unknown(race, err)) {
		later(race, 3, session_step, s);
		return;
	}
	const struct imgo_store_read *r = &s->read;
	race->reads++;
	EXPECT(race, r->missing == 0, r->missing, s->delivered);
	EXPECT(race, !r->gap, r->position.id, s->delivered);
	for (size_t i = 0; i < r->nmessages && !race->ending; i++)
		got(s, &r->messages[i]);
	EXPECT(race, r->more || r->position.id >= s->confirmed, r->position.id, s->confirmed);
	if (r->position.id > s->delivered)
		s->delivered = r->position.id;
	s->fresh = s->fresh && s->delivered == 0;
	s->complete = s->bus->n == RECORDS && s->user->n && s->delivered >= s->user->ids[s->user->n - 1];
	if (check_random(race->c, 2))
		acknowledge(s);
	else
		later(race, check_random(race->c, 8), session_step, s);
}

static void on_peeked(int err, void *user)
{
	struct session *s = user;
	if (leave(s->race))
		return;
	if (!unknown(s->race, err))
		EXPECT(s->race, s->peek.head.id >= s->confirmed, s->peek.head.id, s->confirmed);
	later(s->race, 1, session_step, s);
}

static void session_step(void *user)
{
	struct session *s = user;
	struct race *race = s->race;
	struct check *c = race->c;
	if (leave(race))
		return;
	s->confirmed = s->user->confirmed;
	if (check_random(c, 6) == 0) {
		s->peek = (struct imgo_store_peek){.user = imgo_str(s->user->name), .device = imgo_str(s->device)};
		s->peeks = (struct imgo_store_peek_many){
			.epoch = c->epoch, .partition = s->partition, .items = &s->peek, .nitems = 1};
		CALL(race, imgo_store_peek_many(c->store, &s->peeks, on_peeked, s), session_step, s);
		return;
	}
	if (check_random(c, 12) == 0) { /* a new session */
		s->delivered = 0;
		s->fresh = true;
	}
	s->read = (struct imgo_store_read){.user = imgo_str(s->user->name),
		.device = imgo_str(s->device),
		.after = check_id(c, s->delivered),
		.attach = true,
		.messages_max = 1 + check_random(c, 30),
		.bytes_max = 1000};
	s->reads = (struct imgo_store_read_many){
		.epoch = c->epoch, .partition = s->partition, .items = &s->read, .nitems = 1};
	CALL(race, imgo_store_read_many(c->store, &s->reads, on_read, s), session_step, s);
}

/* ---- amnesia and the end ---- */

static void forget(void *user);

static void on_forgotten(int err, void *user)
{
	struct race *race = user;
	if (leave(race))
		return;
	race->amnesias += err == 0;
	if (race->amnesias < AMNESIAS && err != IMGO_ENOTSUP)
		later(race, 20 + check_random(race->c, 200), forget, race);
	else
		race->amnesias = AMNESIAS;
}

static void forget(void *user)
{
	struct race *race = user;
	if (leave(race))
		return;
	int err = imgo_store_forget(race->c->store, race->c->epoch, UINT32_MAX, on_forgotten, race);
	race->under_way++;
	if (err)
		on_forgotten(err, race);
}

static void watch(void *user)
{
	struct race *race = user;
	if (leave(race))
		return;
	bool complete = race->amnesias >= AMNESIAS;
	for (int i = 0; i < PARTITIONS * USERS * DEVICES; i++)
		complete = complete && race->sessions[i].complete;
	if (!complete && check_now(race->c) - race->began_ms > LIMIT_MS)
		fail(race, __LINE__, "not everything arrived in time", race->reads, race->rebuilds);
	race->ending |= complete;
	later(race, 10, watch, race);
}

static void set_up(struct race *race, struct check *c)
{
	static const char *const devices[DEVICES] = {"", "phone"};
	memset(race, 0, sizeof *race);
	race->c = c;
	race->began_ms = check_now(c);
	for (int i = 0; i < PARTITIONS * JOBS; i++) {
		race->jobs[i] = (struct job){
			.race = race, .bus = &race->bus[i % PARTITIONS], .partition = (uint32_t)(i % PARTITIONS)};
		later(race, 1, job_step, &race->jobs[i]);
	}
	for (int i = 0; i < PARTITIONS * USERS * DEVICES; i++) {
		int p = i % PARTITIONS, u = i / PARTITIONS % USERS, d = i / PARTITIONS / USERS;
		struct bus *bus = &race->bus[p];
		snprintf(bus->users[u].name, sizeof bus->users[u].name, "%llx-race-%d-%d", (unsigned long long)c->base,
			p, u);
		race->sessions[i] = (struct session){.race = race,
			.bus = bus,
			.user = &bus->users[u],
			.cursor = &bus->cursors[u][d],
			.partition = (uint32_t)p,
			.device = devices[d],
			.fresh = true};
		later(race, 1, session_step, &race->sessions[i]);
	}
	later(race, 1, produce, race);
	later(race, 50, forget, race);
	later(race, 1, watch, race);
}

static void race_with_amnesia(struct check *c)
{
	static struct race race;
	set_up(&race, c);
	imgo_loop_run(c->loop);
	if (getenv("STORE_RACE_VERBOSE"))
		printf("# %u reads, %u rebuilds, %u answers \"rebuilding\", %u unknown\n", race.reads, race.rebuilds,
			race.rebuilding, race.timeouts);
}

const struct check_case store_cases_race[] = {
	{"race-with-amnesia", race_with_amnesia},
	{NULL, NULL},
};
