/* SPDX-License-Identifier: MIT */
/*
 * What is particular to the memcached store: servers that are killed, stopped, full, tampered with; real
 * ones, several. Never: a hang, "nothing" or "no such token" said by mistake, another's value, a partition of
 * a healthy server disturbed.
 */
#include "store_kit.h"

#include <signal.h>
#include <stdatomic.h>

#include <imgo/log.h>

#include "memcached_server.h"

enum { SERVERS = 2, TIMEOUT_MS = 300 };

struct setup {
	struct memcached_server servers[SERVERS];
	int nservers;
	uint32_t list_version;
	unsigned threads, jobs_max;
};

static int open_store(struct imgo_store **out, struct imgo_loop *loop, const struct imgo_store_options *options, void *user)
{
	struct setup *s = user;
	struct imgo_store_memcached_options memcached = IMGO_STORE_MEMCACHED_OPTIONS_INIT;
	char list[128];
	snprintf(list, sizeof list, "%s%s%s", s->servers[0].address, s->nservers > 1 ? "," : "",
		s->nservers > 1 ? s->servers[1].address : "");
	memcached.servers = list;
	memcached.list_version = s->list_version;
	memcached.threads = s->threads;
	memcached.jobs_max = s->jobs_max;
	memcached.timeout_ms = TIMEOUT_MS;
	return imgo_store_new_memcached(out, loop, &memcached, options, NULL);
}

static int read_err(struct check *c, const char *user)
{
	struct check_read r;
	check_read(c, user, "", 0, false, &r);
	return r.err;
}

static bool is_later(int err)
{
	return err == IMGO_EREBUILDING || err == IMGO_EUNAVAILABLE || err == IMGO_ETIMEDOUT;
}

static void restart(struct check *c)
{
	struct setup *s = c->user;
	TRY(c, check_complete(c));
	TRY(c, check_appended(c, "u", 1, "x", IMGO_APPEND_NEW));
	memcached_kill(&s->servers[0]);
	for (int i = 0; i < 20; i++) {
		CHECK_EQ(c, read_err(c, "u"), IMGO_EUNAVAILABLE);
		CHECK(c, is_later(check_ack(c, "u", "", 1, 0)));
		check_sleep(c, 20);
	}
	CHECK(c, memcached_start(&s->servers[0]));
	int err = 0;
	for (int i = 0; i < 100 && (err = read_err(c, "u")) != IMGO_EREBUILDING; i++) {
		CHECK(c, is_later(err));
		check_sleep(c, 50);
	}
	CHECK_EQ(c, err, IMGO_EREBUILDING);
	TRY(c, check_begin(c, 3));
	struct check_append a = {.user = "u", .text = "x", .id = 1, .rebuild = 3};
	check_append(c, &a);
	CHECK_EQ(c, a.err, 0);
	CHECK_EQ(c, a.result, IMGO_APPEND_NEW);
	TRY(c, check_complete(c));
	TRY(c, check_reads(c, "u", "", 0, "1"));
}

/* A restart that is over before anybody notices. */
static void quick_restarts(struct check *c)
{
	struct setup *s = c->user;
	for (int i = 0; i < 10; i++) {
		TRY(c, check_complete(c));
		TRY(c, check_appended(c, "u", 1, "x", IMGO_APPEND_NEW));
		TRY(c, check_reads(c, "u", "", 0, "1"));
		memcached_kill(&s->servers[0]);
		CHECK(c, memcached_start(&s->servers[0]));
		int err;
		for (int k = 0; k < 100 && (err = read_err(c, "u")) != IMGO_EREBUILDING; k++) {
			CHECK(c, is_later(err));
			check_sleep(c, 20);
		}
		CHECK_EQ(c, err, IMGO_EREBUILDING);
	}
}

static void stopped(struct check *c)
{
	struct setup *s = c->user;
	TRY(c, check_complete(c));
	TRY(c, check_appended(c, "u", 1, "x", IMGO_APPEND_NEW));
	kill(s->servers[0].pid, SIGSTOP);
	for (int i = 0; i < 5; i++) {
		uint64_t began = check_now(c);
		int err = read_err(c, "u");
		CHECK(c, is_later(err) && err != IMGO_EREBUILDING);
		CHECK(c, check_now(c) - began < 10 * TIMEOUT_MS + 200);
	}
	kill(s->servers[0].pid, SIGCONT);
	int err = -1;
	for (int i = 0; i < 100 && (err = read_err(c, "u")) != 0; i++)
		check_sleep(c, 50);
	CHECK_EQ(c, err, 0);
	TRY(c, check_reads(c, "u", "", 0, "1"));
}

struct many {
	struct check *c;
	int left, wrong;
	struct imgo_store_read items[64];
	struct imgo_store_read_many calls[64];
};

struct one {
	struct many *many;
	int n;
};

static void read_done(int err, void *user)
{
	struct one *one = user;
	struct many *m = one->many;
	const struct imgo_store_read *item = &m->items[one->n];
	if (!err && (item->nmessages != 1 || !imgo_str_eq(item->messages[0].data, item->user)))
		m->wrong++; /* every user's message is its own name */
	if (err && !is_later(err))
		m->wrong++;
	if (--m->left == 0)
		imgo_loop_stop(m->c->loop);
}

/* Answers that come late must not be taken for others. */
static void stopped_and_continued_under_load(struct check *c)
{
	struct setup *s = c->user;
	static struct many m;
	static struct one ones[64];
	static char names[64][IMGO_USER_MAX];
	TRY(c, check_complete(c));
	for (int i = 0; i < 64; i++) {
		snprintf(names[i], sizeof names[i], "%llx-load%d", (unsigned long long)c->base, i);
		struct imgo_store_body body = {.id = check_id(c, (uint64_t)i + 1),
			.at_ms = check_now(c),
			.msgid.b = {(uint8_t)i},
			.data = imgo_str(names[i])};
		struct imgo_store_append item = {.user = imgo_str(names[i]), .body = &body};
		struct imgo_store_append_many call = {.epoch = c->epoch,
			.partition = c->partition,
			.bodies = &body,
			.nbodies = 1,
			.items = &item,
			.nitems = 1};
		CHECK_EQ(c, check_append_many(c, &call), 0);
	}
	for (int round = 0; round < 12; round++) {
		m = (struct many){.c = c, .left = 64};
		for (int i = 0; i < 64; i++) {
			ones[i] = (struct one){&m, i};
			m.items[i] = (struct imgo_store_read){
				.user = imgo_str(names[i]), .messages_max = 10, .bytes_max = 1000};
			m.calls[i] = (struct imgo_store_read_many){
				.epoch = c->epoch, .partition = c->partition, .items = &m.items[i], .nitems = 1};
			if (round % 2 && i == 20)
				kill(s->servers[0].pid, SIGSTOP);
			CHECK_EQ(c, imgo_store_read_many(c->store, &m.calls[i], read_done, &ones[i]), 0);
		}
		if (round % 2)
			check_sleep(c, TIMEOUT_MS + 30 * (unsigned)round);
		kill(s->servers[0].pid, SIGCONT);
		while (m.left)
			imgo_loop_run(c->loop);
		CHECK_EQ(c, m.wrong, 0);
	}
	for (int i = 0; i < 100 && is_later(read_err(c, "load0")); i++)
		check_sleep(c, 50);
}

/* A partition whose server is the one (0 or 1) that this many of the tries went to. */
static void two_servers(struct check *c)
{
	struct setup *s = c->user;
	s->nservers = 2;
	CHECK(c, memcached_start(&s->servers[1]));
	CHECK_EQ(c, check_open(c), 0);
	uint32_t on[2] = {UINT32_MAX, UINT32_MAX};
	for (c->partition = 0; c->partition < 64; c->partition++)
		TRY(c, check_complete(c));
	kill(s->servers[0].pid, SIGSTOP);
	int counts[2] = {0, 0};
	for (c->partition = 0; c->partition < 64; c->partition++) {
		int err = read_err(c, "u");
		on[err == 0] = c->partition;
		counts[err == 0]++;
	}
	CHECK(c, counts[0] >= 16 && counts[1] >= 16); /* spread */
	/* While the first does not answer, and is asked all the time, the second is as fast as ever. */
	for (int i = 0; i < 20; i++) {
		c->partition = on[0];
		CHECK(c, is_later(read_err(c, "u")));
		c->partition = on[1];
		uint64_t began = check_now(c);
		CHECK_EQ(c, read_err(c, "u"), 0);
		CHECK(c, check_now(c) - began < 150);
	}
	kill(s->servers[0].pid, SIGCONT);
	c->partition = on[0];
	for (int i = 0; i < 100 && read_err(c, "u"); i++)
		check_sleep(c, 50);
	CHECK_EQ(c, read_err(c, "u"), 0);
	s->nservers = 1;
	memcached_kill(&s->servers[1]);
}

static void full(struct check *c)
{
	struct setup *s = c->user;
	memcached_kill(&s->servers[0]);
	s->servers[0].megabytes = 8;
	CHECK(c, memcached_start(&s->servers[0]));
	CHECK_EQ(c, check_open(c), 0);
	c->options.bytes_max = 64 << 20;
	CHECK_EQ(c, check_open(c), 0);
	TRY(c, check_complete(c));
	static char big[100001];
	memset(big, 'x', sizeof big - 1);
	struct check_append a = {.user = "u", .text = big, .users = 1};
	for (a.id = 1; a.id < 200; a.id++) {
		check_append(c, &a);
		if (a.err)
			break;
	}
	CHECK_EQ(c, a.err, IMGO_EFULL);
	uint64_t last = a.id - 1;
	CHECK(c, last >= 5);
	struct check_read r;
	check_read(c, "u", "", 0, false, &r); /* what is there stays, and can be read */
	CHECK_EQ(c, r.err, 0);
	CHECK_EQ(c, r.ids[0], 1);
	CHECK_EQ(c, r.missing, 0);
	CHECK_EQ(c, check_ack(c, "u", "", last, 0), 0); /* bodies that were its own go */
	for (int i = 0; i < 40 && a.err; i++) {
		check_append(c, &a);
		check_sleep(c, 50);
	}
	CHECK_EQ(c, a.err, 0);
	memcached_kill(&s->servers[0]);
	s->servers[0].megabytes = 0;
	CHECK(c, memcached_start(&s->servers[0]));
}

static void damaged(struct check *c)
{
	struct setup *s = c->user;
	char command[256];
	struct imgo_store_marker m = {.epoch = c->epoch, .partition = c->partition, .step = IMGO_MARKER_LOOK};
	TRY(c, check_complete(c));
	TRY(c, check_appended(c, "u", 1, "x", IMGO_APPEND_NEW));
	snprintf(command, sizeof command, "set u:%u:=%s 0 0 7\r\ngarbage\r\n", (unsigned)c->partition,
		check_user(c, "u").p);
	CHECK(c, memcached_command(&s->servers[0], command, "STORED"));
	CHECK_EQ(c, read_err(c, "u"), IMGO_EREBUILDING); /* not "no messages" */
	CHECK_EQ(c, check_marker(c, &m), 0);
	CHECK_EQ(c, m.state, IMGO_MARKER_MISSING);
	TRY(c, check_begin(c, 3));
	struct check_append a = {.user = "u", .text = "x", .id = 1, .rebuild = 3};
	check_append(c, &a);
	CHECK_EQ(c, a.err, 0);
	TRY(c, check_complete(c));
	TRY(c, check_reads(c, "u", "", 0, "1"));

	snprintf(command, sizeof command, "set m:%u:%u 0 0 7\r\ngarbage\r\n", (unsigned)c->epoch, (unsigned)c->partition);
	CHECK(c, memcached_command(&s->servers[0], command, "STORED"));
	CHECK_EQ(c, read_err(c, "u"), IMGO_EREBUILDING);
	TRY(c, check_complete(c));
	TRY(c, check_reads(c, "u", "", 0, "1"));
}

/* A body that went down in an amnesia comes back with the repetition of its append. */
static void a_repeated_append_brings_its_body(struct check *c)
{
	struct setup *s = c->user;
	char command[256];
	struct check_read r;
	TRY(c, check_complete(c));
	struct check_append a = {.user = "u", .text = "x", .id = 7, .msgid = 0x4141};
	check_append(c, &a);
	CHECK_EQ(c, a.err, 0);
	snprintf(command, sizeof command, "delete b:%u:%u:7:4141000000000000\r\n", (unsigned)c->partition,
		(unsigned)c->epoch);
	CHECK(c, memcached_command(&s->servers[0], command, "DELETED"));
	check_read(c, "u", "", 0, false, &r);
	CHECK_EQ(c, r.err, 0);
	CHECK_EQ(c, r.missing, 1);
	check_append(c, &a);
	CHECK_EQ(c, a.result, IMGO_APPEND_PRESENT);
	TRY(c, check_reads(c, "u", "", 0, "7"));
}

static void another_list(struct check *c)
{
	struct setup *s = c->user;
	TRY(c, check_complete(c));
	TRY(c, check_appended(c, "u", 1, "x", IMGO_APPEND_NEW));
	s->list_version++;
	CHECK_EQ(c, check_open(c), 0);
	CHECK_EQ(c, read_err(c, "u"), IMGO_EREBUILDING);
	TRY(c, check_complete(c));
	TRY(c, check_reads(c, "u", "", 0, "1")); /* what was left is merged */
}

static void too_many_calls(struct check *c)
{
	struct setup *s = c->user;
	static struct many m;
	static struct one ones[64];
	s->threads = 1;
	s->jobs_max = 8;
	CHECK_EQ(c, check_open(c), 0);
	int refused = 0;
	m = (struct many){.c = c};
	for (int i = 0; i < 64; i++) {
		ones[i] = (struct one){&m, i};
		m.items[i] = (struct imgo_store_read){.user = imgo_str("u"), .messages_max = 1};
		m.calls[i] = (struct imgo_store_read_many){.epoch = c->epoch, .items = &m.items[i], .nitems = 1};
		int err = imgo_store_read_many(c->store, &m.calls[i], read_done, &ones[i]);
		CHECK(c, err == 0 || err == IMGO_ELIMIT);
		refused += err != 0;
		m.left += err == 0;
	}
	CHECK(c, refused > 0);
	while (m.left)
		imgo_loop_run(c->loop);
	s->threads = s->jobs_max = 0;
}

static void wrong_options(struct check *c)
{
	static const char *const lists[] = {"", "host:0", "host:x", "host:65536", ":11211", "a:1,,b:2"};
	struct imgo_store_memcached_options o = IMGO_STORE_MEMCACHED_OPTIONS_INIT;
	struct imgo_store *store;
	struct imgo_error error;
	for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
		o.servers = lists[i];
		CHECK_EQ(c, imgo_store_new_memcached(&store, c->loop, &o, NULL, &error), IMGO_EINVAL);
		CHECK(c, strlen(error.text) > 10);
	}
}

static atomic_int warned;

static void sink(const struct imgo_log_record *record, void *user)
{
	(void)user;
	if (strcmp(record->event, "memcached-evicts") == 0)
		warned++;
}

static void warns_of_eviction(struct check *c)
{
	struct setup *s = c->user;
	struct imgo_loop_options o = IMGO_LOOP_OPTIONS_INIT;
	struct imgo_loop *loop = c->loop;
	CHECK_EQ(c, imgo_log_new(&o.log, IMGO_LOG_WARN, sink, NULL), 0);
	memcached_kill(&s->servers[0]);
	s->servers[0].evicts = true;
	CHECK(c, memcached_start(&s->servers[0]));
	check_close(c);
	CHECK_EQ(c, imgo_loop_new(&c->loop, &o, NULL), 0);
	CHECK_EQ(c, check_open(c), 0);
	for (int i = 0; i < 40 && !warned; i++)
		check_sleep(c, 50);
	check_close(c);
	imgo_loop_free(c->loop);
	c->loop = loop;
	imgo_log_free(o.log);
	CHECK_EQ(c, warned, 1);
}

static const struct check_case cases[] = {
	{"restart", restart},
	{"quick-restarts", quick_restarts},
	{"stopped", stopped},
	{"stopped-and-continued-under-load", stopped_and_continued_under_load},
	{"two-servers", two_servers},
	{"full", full},
	{"damaged", damaged},
	{"a-repeated-append-brings-its-body", a_repeated_append_brings_its_body},
	{"another-list", another_list},
	{"too-many-calls", too_many_calls},
	{"wrong-options", wrong_options},
	{"warns-of-eviction", warns_of_eviction},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	struct setup setup = {.nservers = 1, .list_version = 1};
	if (!memcached_installed()) {
		printf("SKIPPED: memcached is not installed: failures of it are NOT checked\n");
		return 77;
	}
	if (!memcached_start(&setup.servers[0]))
		return 1;
	int failed = check_run(cases, open_store, &setup, "memcached", argc > 1 ? argv[1] : NULL);
	for (int i = 0; i < SERVERS; i++)
		memcached_kill(&setup.servers[i]);
	return failed != 0;
}
