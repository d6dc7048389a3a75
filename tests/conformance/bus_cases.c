/* SPDX-License-Identifier: MIT */
#include "bus_cases.h"

#include "bus_kit.h"

#define USERS IMGO_TOPIC_USERS

static struct kit_con a, b, c; /* the consumers of a case; ended after it */

static void never_put(int err, void *user)
{
	(void)err;
	(void)user;
	abort();
}

static void never_fetched(int err, const struct imgo_bus_record *records, size_t n, uint64_t next, void *user)
{
	(void)records;
	(void)n;
	(void)next;
	never_put(err, user);
}

struct seen {
	int n, err;
};

static void see_query(int err, uint64_t begin, uint64_t first, uint64_t end, void *user)
{
	struct seen *seen = user;

	(void)begin;
	(void)first;
	(void)end;
	seen->n++;
	seen->err = err;
}

static void order(struct kit *kit)
{
	struct imgo_bus_record r, before = {.offset = 0};
	uint64_t wall = imgo_loop_wall_ms(kit->loop);
	char value[24];

	for (uint32_t p = 0; p < BUS_PARTITIONS; p++)
		for (unsigned i = 0; i < 20; i++) {
			snprintf(value, sizeof value, "v%u.%u", p, i);
			check_int(kit, kit_put(kit, USERS, p, i % 2 ? "key" : "", value, &r), 0);
			check(kit, i == 0 || r.offset > before.offset);
			check(kit, r.at_ms + 60000 > wall && r.at_ms < wall + 60000);
			before = r;
		}
	kit_join(kit, &a, USERS, "g");
	await(kit, kit_owned(&a) == BUS_PARTITIONS, 10);
	kit_pump(&a);
	await(kit, a.n == 20 * BUS_PARTITIONS, 5);
	for (uint32_t p = 0; p < BUS_PARTITIONS; p++)
		check_int(kit, kit_count(&a, p), 20);
	for (size_t i = 0; i < a.n; i++)
		if (a.got[i].partition == BUS_PARTITIONS - 1 && a.got[i].offset == r.offset) {
			check(kit, strcmp(a.got[i].value, value) == 0 && strcmp(a.got[i].key, "key") == 0);
			check_int(kit, a.got[i].at_ms, r.at_ms);
		}
}

static void sizes(struct kit *kit)
{
	static const size_t sizes[] = {0, 1, 1000, 65536, 1u << 20};
	size_t n = sizeof sizes / sizeof *sizes;
	char *big = malloc((1u << 20) + 1);

	memset(big, 'x', 1u << 20);
	kit_join(kit, &a, USERS, "g");
	await(kit, kit_owned(&a) == BUS_PARTITIONS, 10);
	kit_pump(&a);
	for (size_t i = 0; i < n; i++) {
		big[sizes[i]] = 0;
		check_int(kit, kit_put(kit, USERS, 1, "", big, NULL), 0);
		big[sizes[i]] = 'x';
	}
	await(kit, a.n == n, 5);
	for (size_t i = 0; i < n && i < a.n; i++)
		check_int(kit, a.got[i].value_len, sizes[i]);
	free(big);
}

static void producers(struct kit *kit)
{
	unsigned last[3] = {0, 0, 0};

	for (unsigned i = 0; i < 10; i++)
		for (unsigned tag = 0; tag < 3; tag++)
			kit_put_many(kit, 2, tag == 0 ? "a" : tag == 1 ? "b" : "c", 1 + i * 50, 50, 7);
	kit_join(kit, &a, USERS, "g");
	await(kit, kit_owned(&a) == BUS_PARTITIONS, 10);
	kit_pump(&a);
	await(kit, a.n >= 1500, 5);
	check_int(kit, kit_count(&a, 2), 1500);
	for (size_t i = 0; i < a.n; i++) {
		unsigned tag = (unsigned)(a.got[i].value[0] - 'a'), v = (unsigned)atoi(a.got[i].value + 1);
		check_int(kit, v, last[tag] + 1);
		last[tag] = v;
	}
}

/* Jumps about in the log: what comes is always what is there, also while the stream runs ahead. */
static void refetch(struct kit *kit)
{
	static const unsigned from[] = {0, 150, 20, 20, 199, 0, 100, 101, 5, 198, 60};
	uint64_t base;
	unsigned before;

	kit_put_many(kit, 0, "r", 0, 200, 50);
	kit_join(kit, &a, USERS, "g");
	await(kit, kit_owned(&a) == BUS_PARTITIONS, 10);
	base = a.parts[0].next;
	a.parts[0].records_max = 10;
	for (size_t i = 0; i < sizeof from / sizeof *from; i++) {
		char want[24];
		before = (unsigned)a.n;
		kit_fetch(&a, 0, base + from[i]);
		await(kit, !a.parts[0].fetching, 5);
		check(kit, a.n > before && a.n <= before + 10);
		for (size_t j = before; j < a.n; j++) {
			snprintf(want, sizeof want, "r%u", from[i] + (unsigned)(j - before));
			check(kit, strcmp(a.got[j].value, want) == 0);
			check_int(kit, a.got[j].offset, base + from[i] + (j - before));
		}
	}
}

static void waiting(struct kit *kit)
{
	uint64_t began;

	kit_join(kit, &a, USERS, "g");
	await(kit, kit_owned(&a) == BUS_PARTITIONS, 10);
	a.parts[0].wait_ms = 300;
	began = kit_now();
	kit_fetch(&a, 0, a.parts[0].next);
	await(kit, !a.parts[0].fetching, 5);
	check_int(kit, a.n_timedout, 1);
	check(kit, kit_now() - began >= 290 && kit_now() - began < 1500);
	a.parts[0].wait_ms = 30000;
	kit_fetch(&a, 0, a.parts[0].next);
	kit_sleep(kit, 50);
	check(kit, a.parts[0].fetching);
	check_int(kit, kit_put(kit, USERS, 0, "", "wake", NULL), 0);
	await(kit, !a.parts[0].fetching, 3);
	check(kit, a.n == 1 && kit_has(&a, "wake"));
	kit_fetch(&a, 0, a.parts[0].next); /* one under way is the limit */
	check_int(kit, imgo_bus_fetch(a.consumer, 0, 0, 1, 1, 1, never_fetched, NULL), IMGO_EINVAL);
}

static void resume(struct kit *kit)
{
	uint64_t base;

	kit_put_many(kit, 3, "n", 0, 50, 10);
	kit_join(kit, &a, USERS, "g");
	await(kit, kit_owned(&a) == BUS_PARTITIONS, 10);
	base = a.parts[3].assigned;
	kit_fetch(&a, 3, base);
	await(kit, !a.parts[3].fetching, 5);
	imgo_bus_done(a.consumer, 3, base + 20);
	imgo_bus_done(a.consumer, 3, base + 10); /* does not go back */
	kit_end(&a);
	if (kit->backend->lasting) {
		uint32_t epoch = imgo_bus_epoch(kit->bus);
		imgo_bus_free(kit->bus);
		kit_open(kit);
		check_int(kit, imgo_bus_epoch(kit->bus), epoch);
	}
	kit_join(kit, &b, USERS, "g");
	await(kit, kit_owned(&b) == BUS_PARTITIONS, 10);
	check_int(kit, b.parts[3].assigned, base + 20);
	kit_pump(&b);
	await(kit, b.n == 30, 5);
	check(kit, kit_has(&b, "n20") && kit_has(&b, "n49") && !kit_has(&b, "n19"));
}

static void sharing(struct kit *kit)
{
	kit_join(kit, &a, USERS, "g");
	await(kit, kit_owned(&a) == BUS_PARTITIONS, 10);
	kit_pump(&a);
	kit_put_many(kit, 0, "x", 0, 10, 10);
	await(kit, a.n == 10, 5);
	b.go = true;
	kit_join(kit, &b, USERS, "g");
	await(kit, kit_owned(&a) == 2 && kit_owned(&b) == 2, 12);
	check_int(kit, a.n_lost, 0);
	check_int(kit, a.n_canceled, BUS_PARTITIONS);
	for (uint32_t p = 0; p < BUS_PARTITIONS; p++) {
		check(kit, a.parts[p].mine != b.parts[p].mine);
		kit_put_many(kit, p, "y", 100 * p, 10, 10);
	}
	await(kit, a.n + b.n == 50, 5);
	kit_leave(&b);
	await(kit, kit_owned(&a) == BUS_PARTITIONS, 12);
	for (uint32_t p = 0; p < BUS_PARTITIONS; p++)
		kit_put_many(kit, p, "z", 100 * p, 10, 10);
	await(kit, a.n + b.n == 90, 5);
	for (uint32_t p = 0; p < BUS_PARTITIONS; p++) /* nothing twice, nothing lost */
		check_int(kit, kit_count(&a, p) + kit_count(&b, p), p == 0 ? 30 : 20);
}

/* One that does not answer revoked() is passed over after 2 s, and what it says later counts for nothing. */
static void overdue(struct kit *kit)
{
	uint64_t base, began;

	kit_put_many(kit, 1, "n", 0, 10, 10);
	a.hold = true;
	kit_join(kit, &a, USERS, "g");
	await(kit, kit_owned(&a) == BUS_PARTITIONS, 10);
	base = a.parts[1].assigned;
	kit_join(kit, &b, USERS, "g");
	await(kit, a.n_revoked == BUS_PARTITIONS, 12);
	began = kit_now();
	check_int(kit, imgo_bus_fetch(a.consumer, 1, base, 1, 1, 1, never_fetched, NULL), IMGO_ESTALE);
	await(kit, kit_owned(&b) == 2 && kit_owned(&a) == 2, 12);
	check(kit, kit_now() - began >= 1900);
	for (uint32_t p = 0; p < BUS_PARTITIONS; p++)
		if (b.parts[p].mine) {
			check_int(kit, b.parts[p].assigned, p == 1 ? base : b.parts[p].assigned);
			imgo_bus_done(a.consumer, p, base + 10);
			imgo_bus_released(a.consumer, p);
		}
	kit_leave(&b);
	kit_end(&a);
	kit_join(kit, &c, USERS, "g");
	await(kit, kit_owned(&c) == BUS_PARTITIONS, 12);
	check_int(kit, c.parts[1].assigned, base);
}

/* What is said done between revoked() and released() counts. */
static void late_done(struct kit *kit)
{
	uint64_t base;

	kit_put_many(kit, 1, "n", 0, 10, 10);
	a.hold = true;
	kit_join(kit, &a, USERS, "g");
	await(kit, kit_owned(&a) == BUS_PARTITIONS, 10);
	base = a.parts[1].assigned;
	kit_join(kit, &b, USERS, "g");
	await(kit, a.n_revoked == BUS_PARTITIONS, 12);
	imgo_bus_done(a.consumer, 1, base + 7);
	for (uint32_t p = 0; p < BUS_PARTITIONS; p++)
		imgo_bus_released(a.consumer, p);
	await(kit, kit_owned(&b) == 2 && kit_owned(&a) == 2, 12);
	check_int(kit, (a.parts[1].mine ? &a : &b)->parts[1].assigned, base + 7);
}

static void groups(struct kit *kit)
{
	kit_join(kit, &a, USERS, "g1");
	kit_join(kit, &b, USERS, "g2");
	await(kit, kit_owned(&a) == BUS_PARTITIONS && kit_owned(&b) == BUS_PARTITIONS, 10);
	kit_pump(&a);
	kit_pump(&b);
	kit_put_many(kit, 2, "v", 0, 20, 5);
	await(kit, a.n == 20 && b.n == 20, 5);
	kit_join(kit, &c, USERS, "g3"); /* a new group begins at the oldest */
	await(kit, kit_owned(&c) == BUS_PARTITIONS, 10);
	kit_pump(&c);
	await(kit, c.n == 20, 5);
}

static void query(struct kit *kit)
{
	uint64_t begin, first, end, zero;
	struct imgo_bus_record early, late;

	/* A broker of a loaded machine may say "come again" at first: that is an answer, and it is tried again. */
	int err = kit_query(kit, USERS, 0, 0, &begin, &first, &end);
	for (int i = 0; i < 100 && (err == IMGO_EUNAVAILABLE || err == IMGO_ETIMEDOUT); i++) {
		kit_sleep(kit, 100);
		err = kit_query(kit, USERS, 0, 0, &begin, &first, &end);
	}
	check_int(kit, err, 0);
	check(kit, begin == end && first == end);
	zero = begin;
	check_int(kit, kit_put(kit, USERS, 0, "", "early", &early), 0);
	check_int(kit, early.offset, zero);
	kit_sleep(kit, 50);
	check_int(kit, kit_put(kit, USERS, 0, "", "late", &late), 0);
	check(kit, late.at_ms > early.at_ms);
	check_int(kit, kit_query(kit, USERS, 0, 0, &begin, &first, &end), 0);
	check(kit, begin == zero && first == zero && end == late.offset + 1);
	check_int(kit, kit_query(kit, USERS, 0, early.at_ms + 1, &begin, &first, &end), 0);
	check(kit, begin == zero && first == late.offset && end == late.offset + 1);
	check_int(kit, kit_query(kit, USERS, 0, late.at_ms, &begin, &first, &end), 0);
	check_int(kit, first, late.offset);
	check_int(kit, kit_query(kit, USERS, 0, late.at_ms + 3600000, &begin, &first, &end), 0);
	check_int(kit, first, end);
}

static void limits(struct kit *kit)
{
	struct imgo_bus_record r = {.partition = BUS_PARTITIONS, .value = imgo_str("x")};
	struct imgo_bus_consumer *con;
	uint64_t at;

	check_int(kit, kit_put(kit, USERS, BUS_PARTITIONS, "", "x", NULL), IMGO_EINVAL);
	check_int(kit, kit_put(kit, IMGO_TOPIC_CASTS, BUS_CASTS, "", "x", NULL), IMGO_EINVAL);
	check_int(kit, kit_put(kit, IMGO_TOPIC_TOKENS, 0, "", "x", NULL), IMGO_EINVAL);
	r.partition = 0;
	r.value.len = IMGO_BUS_VALUE_MAX + 1; /* is not looked at */
	check_int(kit, imgo_bus_produce_many(kit->bus, USERS, &r, 1, never_put, NULL), IMGO_ELIMIT);
	check_int(kit, imgo_bus_produce_many(kit->bus, USERS, &r, 0, never_put, NULL), IMGO_EINVAL);
	check_int(kit, imgo_bus_subscribe(&con, kit->bus, IMGO_TOPICS, "g", NULL, NULL), IMGO_EINVAL);
	check_int(kit, imgo_bus_partitions(kit->bus, USERS), BUS_PARTITIONS);
	check_int(kit, imgo_bus_partitions(kit->bus, IMGO_TOPIC_CASTS), BUS_CASTS);
	check(kit, imgo_bus_epoch(kit->bus) > 0);
	kit_put_many(kit, 0, "limit-", 0, 100, 100);
	kit_join(kit, &a, USERS, "g");
	check_int(kit, imgo_bus_fetch(a.consumer, 0, 0, 1, 1, 1, never_fetched, NULL), IMGO_ESTALE);
	await(kit, kit_owned(&a) == BUS_PARTITIONS, 10);
	at = a.parts[0].next;
	a.parts[0].records_max = 3;
	kit_fetch(&a, 0, at);
	await(kit, !a.parts[0].fetching, 5);
	check(kit, a.n >= 1 && a.n <= 3);
	a.n = 0;
	a.parts[0].records_max = 100;
	a.parts[0].bytes_max = 16; /* "limit-N" is 7 */
	kit_fetch(&a, 0, at);
	await(kit, !a.parts[0].fetching, 5);
	check(kit, a.n >= 1 && a.n <= 2);
	a.n = 0;
	a.parts[0].bytes_max = 1; /* at least one */
	kit_fetch(&a, 0, at);
	await(kit, !a.parts[0].fetching, 5);
	check_int(kit, a.n, 1);
	check(kit, kit_has(&a, "limit-0"));
}

static void topics(struct kit *kit)
{
	check_int(kit, kit_put(kit, IMGO_TOPIC_TOKENS, 0, "t1", "one", NULL), 0);
	check_int(kit, kit_put(kit, IMGO_TOPIC_TOKENS, 0, "t2", "two", NULL), 0);
	check_int(kit, kit_put(kit, IMGO_TOPIC_TOKENS, 0, "t1", "", NULL), 0);
	check_int(kit, kit_put(kit, IMGO_TOPIC_TOKENS, 0, "t2", "three", NULL), 0);
	check_int(kit, kit_put(kit, IMGO_TOPIC_CURSORS, 0, "c1", "cursor", NULL), 0);
	check_int(kit, kit_put(kit, IMGO_TOPIC_CASTS, 0, "", "cast", NULL), 0);
	kit_join(kit, &a, IMGO_TOPIC_TOKENS, "g");
	kit_join(kit, &b, IMGO_TOPIC_CURSORS, "g");
	kit_join(kit, &c, IMGO_TOPIC_CASTS, "g");
	await(kit, kit_owned(&a) == BUS_PARTITIONS && kit_owned(&b) == BUS_PARTITIONS, 10);
	await(kit, kit_owned(&c) == BUS_CASTS, 10);
	kit_pump(&a);
	kit_pump(&b);
	kit_pump(&c);
	await(kit, kit_has(&a, "three") && kit_has(&b, "cursor") && kit_has(&c, "cast"), 5);
	kit_count(&a, 0);
}

static void canceled(struct kit *kit)
{
	struct seen seen = {0, 0};

	kit_join(kit, &a, USERS, "g");
	await(kit, kit_owned(&a) == BUS_PARTITIONS, 10);
	a.parts[0].wait_ms = a.parts[1].wait_ms = 30000;
	kit_fetch(&a, 0, a.parts[0].next);
	kit_fetch(&a, 1, a.parts[1].next);
	kit_leave(&a);
	check_int(kit, a.n_canceled, 2);
	check_int(kit, a.n_calls, 2);
	check_int(kit, imgo_bus_query(kit->bus, USERS, 0, 0, see_query, &seen), 0);
	imgo_bus_free(kit->bus);
	check_int(kit, seen.n, 1);
	check_int(kit, seen.err, IMGO_ECANCELED);
	kit_sleep(kit, 20);
	check_int(kit, seen.n, 1);
	kit_open(kit);
}

static void free_in_put(int err, void *user)
{
	struct kit *kit = user;

	check_int(kit, err, 0);
	imgo_bus_unsubscribe(a.consumer);
	imgo_bus_free(kit->bus);
	a.consumer = NULL;
	kit->bus = NULL;
}

/* Everything may be freed inside a callback. */
static void free_inside(struct kit *kit)
{
	struct imgo_bus_record r = {.partition = 0, .value = imgo_str("last")};

	kit_join(kit, &a, USERS, "g");
	await(kit, kit_owned(&a) == BUS_PARTITIONS, 10);
	a.parts[0].wait_ms = 30000;
	kit_fetch(&a, 0, a.parts[0].next);
	check_int(kit, imgo_bus_produce_many(kit->bus, USERS, &r, 1, free_in_put, kit), 0);
	await(kit, !kit->bus, 5);
	kit_sleep(kit, 50);
	check_int(kit, a.n_calls, 1);
	kit_open(kit);
}

/* Consumers come and go under a stream of records: each record is had, none twice, and in order. */
static void churn(struct kit *kit)
{
	struct kit_con *cons[] = {&a, &b, &c};
	size_t total = 0, rounds = kit->backend->lasting ? 12 : 60;
	unsigned seed = 7;

	for (size_t i = 0; i < 3; i++)
		cons[i]->go = true;
	kit_join(kit, &a, USERS, "g");
	for (size_t round = 0; round < rounds; round++) {
		for (uint32_t p = 0; p < BUS_PARTITIONS; p++) {
			kit_put_many(kit, p, "m", (unsigned)round * 20, 20, 3);
			total += 20;
		}
		seed = seed * 1103515245 + 12345;
		struct kit_con *con = cons[seed / 65536 % 3];
		if (con->consumer)
			kit_leave(con);
		else
			kit_join(kit, con, USERS, "g");
		kit_sleep(kit, kit->backend->lasting ? seed / 65536 % 400 : seed / 65536 % 3);
	}
	if (!a.consumer)
		kit_join(kit, &a, USERS, "g");
	await(kit, a.n + b.n + c.n >= total, 15);
	check_int(kit, a.n + b.n + c.n, total);
	for (uint32_t p = 0; p < BUS_PARTITIONS; p++)
		check_int(kit, kit_count(&a, p) + kit_count(&b, p) + kit_count(&c, p), total / BUS_PARTITIONS);
}

/* The stream runs ahead of us while we jump about in it. */
static void chase(struct kit *kit)
{
	uint64_t base, seed = 99;

	kit_join(kit, &a, USERS, "g");
	await(kit, kit_owned(&a) == BUS_PARTITIONS, 10);
	base = a.parts[1].next;
	a.parts[1].records_max = 50;
	for (unsigned i = 0; i < 40; i++) {
		char want[24];
		unsigned at;
		kit_put_many(kit, 1, "c", i * 100, 100, 10);
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		at = (unsigned)((seed >> 33) % ((i + 1) * 100));
		a.n = 0;
		kit_fetch(&a, 1, base + at);
		for (unsigned turns = (unsigned)(seed >> 60); turns && a.parts[1].fetching; turns--)
			kit_turn(kit);
		await(kit, !a.parts[1].fetching, 5);
		check(kit, a.n >= 1);
		for (size_t j = 0; j < a.n; j++) {
			snprintf(want, sizeof want, "c%u", at + (unsigned)j);
			check(kit, strcmp(a.got[j].value, want) == 0);
		}
	}
}

struct stream {
	struct kit *kit;
	struct imgo_bus_record record;
	char value[24];
	unsigned n, accepted;
	bool stop, ended;
	bool *kept; /* by number: it was accepted */
};

static void stream_next(int err, void *user);

static void stream_put(void *user)
{
	struct stream *s = user;

	snprintf(s->value, sizeof s->value, "s%u", s->n);
	s->record = (struct imgo_bus_record){.partition = 0, .value = imgo_str(s->value)};
	if (imgo_bus_produce_many(s->kit->bus, USERS, &s->record, 1, stream_next, s))
		imgo_loop_after(s->kit->loop, 50, stream_put, s, NULL); /* known to be down */
}

/* One at a time; a record whose fate is unknown is produced again, as a caller would. */
static void stream_next(int err, void *user)
{
	struct stream *s = user;

	if (err == 0)
		s->kept[s->n++] = true;
	if (s->n >= 20000 || (s->stop && err == 0))
		s->ended = true;
	else
		stream_put(s);
}

/* The server dies without warning in the middle of a stream: whatever was accepted is there, in order. */
static void server_dies(struct kit *kit)
{
	struct stream s = {.kit = kit, .kept = calloc(20001, 1)};
	int highest = -1;

	a.go = true;
	kit_join(kit, &a, USERS, "g");
	await(kit, kit_owned(&a) == BUS_PARTITIONS, 10);
	stream_put(&s);
	await(kit, s.n > 100, 5);
	kit->backend->server_kill(kit->backend->user);
	kit_sleep(kit, 1500);
	kit->backend->server_start(kit->backend->user);
	unsigned before = s.n;
	await(kit, s.n > before + 100, 20);
	s.stop = true;
	await(kit, s.ended, 20);
	check_int(kit, kit_put(kit, USERS, 0, "", "end", NULL), 0);
	await(kit, kit_has(&a, "end"), 30);
	bool *got = calloc(20001, 1);
	for (size_t i = 0; i + 1 < a.n; i++) {
		int n = atoi(a.got[i].value + 1);
		check(kit, got[n] || n == highest + 1); /* the first of each is in order */
		highest = n > highest ? n : highest;
		got[n] = true;
	}
	for (unsigned i = 0; i < s.n; i++)
		if (s.kept[i] && !got[i])
			check(kit, !"an accepted record is lost");
	kit_count(&a, 0);
	free(got);
	free(s.kept);
}

static void recreated(struct kit *kit)
{
	kit_put_many(kit, 0, "old", 0, 100, 10);
	a.go = true;
	kit_join(kit, &a, USERS, "g");
	await(kit, a.n == 100, 10);
	kit_sleep(kit, 1500); /* committed */
	kit->backend->recreate(kit->scope, kit->backend->user);
	await(kit, a.n_failed > 0, 20);
}

static const struct {
	const char *name;
	void (*run)(struct kit *kit);
	enum { ANY, SERVER, RECREATE } needs;
} cases[] = {
	{"order", order, ANY},
	{"sizes", sizes, ANY},
	{"producers", producers, ANY},
	{"refetch", refetch, ANY},
	{"waiting", waiting, ANY},
	{"resume", resume, ANY},
	{"sharing", sharing, ANY},
	{"overdue", overdue, ANY},
	{"late-done", late_done, ANY},
	{"groups", groups, ANY},
	{"query", query, ANY},
	{"limits", limits, ANY},
	{"topics", topics, ANY},
	{"churn", churn, ANY},
	{"chase", chase, ANY},
	{"canceled", canceled, ANY},
	{"free-inside", free_inside, ANY},
	{"server-dies", server_dies, SERVER},
	{"recreated", recreated, RECREATE},
};

static int run_case(const struct bus_backend *backend, size_t i, struct imgo_loop *loop)
{
	static unsigned scopes;
	struct kit kit = {.loop = loop, .backend = backend};
	uint64_t began = kit_now();

	snprintf(kit.scope, sizeof kit.scope, "check%ld-%u", (long)(imgo_loop_wall_ms(loop) / 1000 % 100000), scopes++);
	kit_open(&kit);
	cases[i].run(&kit);
	kit_end(&a);
	kit_end(&b);
	kit_end(&c);
	imgo_bus_free(kit.bus);
	printf("%s %s.%s %" PRIu64 " ms\n", kit.failures ? "FAILED" : "ok", backend->name, cases[i].name,
		kit_now() - began);
	fflush(stdout);
	return kit.failures != 0;
}

int bus_cases_run(const struct bus_backend *backend, const char *only)
{
	struct imgo_loop *loop;
	int failed = 0;

	if (imgo_loop_new(&loop, backend->loop_options, NULL))
		return 1;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		if (only && !strstr(cases[i].name, only))
			continue;
		if ((cases[i].needs == SERVER && !backend->server_kill) ||
			(cases[i].needs == RECREATE && !backend->recreate))
			continue;
		failed += run_case(backend, i, loop);
	}
	imgo_loop_free(loop);
	return failed;
}
