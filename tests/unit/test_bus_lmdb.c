/* SPDX-License-Identifier: MIT */
/*
 * What is particular to the LMDB bus: answered after the sync, kill -9, a full map, a full disk, a failing disk, damage, cutting,
 * compaction, a map that grows, and a failure at each step of the writer. The rest is in tests/conformance/bus_cases.c.
 */
#include "test.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <imgo/bus.h>
#include <imgo/stats.h>

#include "lmdb/env.h"

/* LMDB calls it for every commit: here it is counted, and can fail. */
static atomic_int syncs, failing;

int fdatasync(int fd)
{
	int rc = failing ? -1 : (int)syscall(SYS_fdatasync, fd);

	if (failing)
		errno = EIO;
	syncs++;
	return rc;
}

enum { PARTITIONS = 4 };

struct fixture {
	struct imgo_loop_options loop_options;
	struct imgo_loop *loop;
	struct imgo_lmdb *lmdb;
	struct imgo_bus *bus;
	struct imgo_bus_consumer *consumer;
	struct imgo_lmdb_options env;
	struct imgo_bus_lmdb_options options;
	char path[64];
	bool mounted;
	/* the consumer of partition 0 */
	bool assigned, done, fetching; /* done: it says done of all it got */
	uint64_t start, next, got, last;
	int fetch_err;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	f->loop_options = (struct imgo_loop_options)IMGO_LOOP_OPTIONS_INIT;
	f->env = (struct imgo_lmdb_options)IMGO_LMDB_OPTIONS_INIT;
	f->options = (struct imgo_bus_lmdb_options)IMGO_BUS_LMDB_OPTIONS_INIT;
	f->options.partitions = PARTITIONS;
	strcpy(f->path, "/tmp/imgo-test-bus-XXXXXX");
	if (!mkdtemp(f->path) || imgo_stats_new(&f->loop_options.stats))
		return -1;
	f->env.path = f->path;
	*state = f;
	return 0;
}

static void close_bus(struct fixture *f)
{
	if (f->consumer)
		imgo_bus_unsubscribe(f->consumer);
	imgo_bus_free(f->bus);
	imgo_lmdb_unref(f->lmdb);
	if (f->loop)
		imgo_loop_free(f->loop);
	f->consumer = NULL;
	f->bus = NULL;
	f->lmdb = NULL;
	f->loop = NULL;
	f->assigned = f->fetching = false;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	char command[128];

	failing = 0;
	close_bus(f);
	if (f->mounted)
		umount(f->path);
	imgo_stats_free(f->loop_options.stats);
	snprintf(command, sizeof command, "rm -r '%s'", f->path);
	free(f);
	return system(command);
}

static int try_open(struct fixture *f, struct imgo_error *error)
{
	int err;

	close_bus(f);
	assert_int_equal(imgo_loop_new(&f->loop, &f->loop_options, NULL), 0);
	err = imgo_lmdb_open(&f->lmdb, f->loop, &f->env, error);
	return err ? err : imgo_bus_new_lmdb(&f->bus, f->loop, f->lmdb, &f->options, error);
}

static void open_bus(struct fixture *f)
{
	struct imgo_error error = {0};

	if (try_open(f, &error))
		fail_msg("%s", error.text);
}

static void turn(struct fixture *f, uint64_t ms)
{
	imgo_loop_after(f->loop, ms, (void (*)(void *))imgo_loop_stop, f->loop, NULL);
	imgo_loop_run(f->loop);
}

#define await(f, what) \
	do { \
		for (int i_ = 0; i_ < 5000 && !(what); i_++) \
			turn(f, 1); \
		assert_true(what); \
	} while (0)

struct wait {
	bool ended;
	int err, syncs;
};

static void ended(int err, void *user)
{
	*(struct wait *)user = (struct wait){true, err, syncs};
}

static int put_in(struct fixture *f, enum imgo_topic topic, const char *key, const char *value, size_t len)
{
	struct imgo_bus_record r = {.partition = 0, .key = imgo_str(key), .value = imgo_strn(value, len)};
	struct wait w = {.ended = false};
	int err = imgo_bus_produce_many(f->bus, topic, &r, 1, ended, &w);

	if (err)
		return err;
	await(f, w.ended);
	assert_int_equal(w.err, r.err);
	return w.err;
}

/* The value says its number, so that what comes can be checked. */
static int put(struct fixture *f, uint64_t n, size_t size)
{
	static char value[1 << 20];

	snprintf(value, 24, "%020llu", (unsigned long long)n);
	return put_in(f, IMGO_TOPIC_USERS, "", value, size < 24 ? 24 : size);
}

static void fetch(struct fixture *f);

static void fetched(int err, const struct imgo_bus_record *records, size_t n, uint64_t next, void *user)
{
	struct fixture *f = user;

	f->fetching = false;
	if (err == IMGO_ECANCELED)
		return;
	f->fetch_err = err;
	for (size_t i = 0; i < n; i++) {
		char text[24] = "";
		uint64_t number;
		memcpy(text, records[i].value.p, records[i].value.len < 20 ? records[i].value.len : 20);
		number = strtoull(text, NULL, 10);
		assert_true(f->got == 0 || number > f->last || records[i].value.len == 0);
		f->last = number;
		f->got++;
	}
	f->next = next;
	if (n && f->done)
		imgo_bus_done(f->consumer, 0, next);
	fetch(f);
}

static void fetch(struct fixture *f)
{
	f->fetching = true;
	assert_int_equal(imgo_bus_fetch(f->consumer, 0, f->next, 100, 1 << 20, 50, fetched, f), 0);
}

static void assigned(uint32_t partition, uint64_t next, void *user)
{
	struct fixture *f = user;

	if (partition != 0)
		return;
	f->assigned = true;
	f->start = f->next = next;
	fetch(f);
}

static void revoked(uint32_t partition, bool lost, void *user)
{
	(void)lost;
	imgo_bus_released(((struct fixture *)user)->consumer, partition);
}

static void failed(int err, const char *text, void *user)
{
	(void)user;
	fail_msg("%s: %s", imgo_err_name(err), text);
}

static void consume(struct fixture *f, enum imgo_topic topic, bool done)
{
	static const struct imgo_bus_consumer_ops ops = {assigned, revoked, failed};

	f->got = f->last = 0;
	f->done = done;
	assert_int_equal(imgo_bus_subscribe(&f->consumer, f->bus, topic, "g", &ops, f), 0);
	await(f, f->assigned);
}

static int count_one(struct imgo_str key, struct imgo_str value, void *user)
{
	(void)key;
	(void)value;
	++*(size_t *)user;
	return 0;
}

/* Entries of a database, as committed. */
static size_t entries(struct fixture *f, const char *name)
{
	struct imgo__lmdb_reader *reader = imgo__lmdb_reader_new(f->lmdb);
	struct imgo__lmdb_txn *txn;
	size_t n = 0;
	unsigned db;

	assert_int_equal(imgo__lmdb_db(f->lmdb, name, &db), 0);
	assert_int_equal(imgo__lmdb_read_begin(reader, &txn), 0);
	assert_int_equal(imgo__lmdb_walk(txn, db, imgo_strn(NULL, 0), count_one, &n), 0);
	imgo__lmdb_read_end(reader);
	imgo__lmdb_reader_free(reader);
	return n;
}

struct spoil {
	struct imgo__lmdb_job job;
	unsigned db;
	unsigned skip;
};

static int run_spoil(struct imgo__lmdb_job *job, struct imgo__lmdb_txn *txn)
{
	struct spoil *spoil = (struct spoil *)job;
	struct imgo_str key, value;
	uint8_t k[64], v[256], after[65];
	int err = imgo__lmdb_seek(txn, spoil->db, imgo_strn(NULL, 0), &key, &value);

	for (unsigned i = 0; !err && i < spoil->skip; i++) {
		memcpy(after, key.p, key.len);
		after[key.len] = 0;
		err = imgo__lmdb_seek(txn, spoil->db, imgo_strn(after, key.len + 1), &key, &value);
	}
	if (err)
		return err;
	memcpy(k, key.p, key.len);
	memcpy(v, value.p, value.len);
	v[value.len - 1] ^= 1;
	return imgo__lmdb_put(txn, spoil->db, imgo_strn(k, key.len), imgo_strn(v, value.len));
}

/* Flips a bit in the value of an entry. */
static void damage(struct fixture *f, const char *name, unsigned which)
{
	struct spoil spoil = {.job = {.run = run_spoil}, .skip = which};

	assert_int_equal(imgo__lmdb_db(f->lmdb, name, &spoil.db), 0);
	assert_int_equal(imgo__lmdb_run_now(f->lmdb, &spoil.job), 0);
}

/* ---- the tests ---- */

/* The answer comes after a sync that began after the call, and what waits shares one. */
static void synced(void **state)
{
	static struct imgo_bus_record r[500];
	static struct wait w[500];
	struct fixture *f = *state;
	int before;

	open_bus(f);
	for (int i = 0; i < 20; i++) {
		before = syncs;
		r[0] = (struct imgo_bus_record){.partition = 1, .value = imgo_str("x")};
		w[0] = (struct wait){.ended = false};
		assert_int_equal(imgo_bus_produce_many(f->bus, IMGO_TOPIC_USERS, r, 1, ended, w), 0);
		await(f, w[0].ended);
		assert_true(w[0].syncs > before);
	}
	before = syncs;
	for (int i = 0; i < 500; i++) {
		w[i] = (struct wait){.ended = false};
		r[i] = (struct imgo_bus_record){.partition = (uint32_t)i % PARTITIONS, .value = imgo_str("x")};
		assert_int_equal(imgo_bus_produce_many(f->bus, IMGO_TOPIC_USERS, &r[i], 1, ended, &w[i]), 0);
	}
	await(f, w[499].ended);
	assert_true(syncs - before < 50);
	before = syncs; /* casts never touch the disk */
	for (int i = 0; i < 100; i++)
		assert_int_equal(put_in(f, IMGO_TOPIC_CASTS, "", "cast", 4), 0);
	assert_true(syncs - before <= 1); /* the flush of the positions */
}

/* A child produces and says in a pipe what was accepted; it is killed. All that it said is there, in order. */
static void killed(void **state)
{
	struct fixture *f = *state;

	for (int round = 0; round < 8; round++) {
		int fds[2];
		uint64_t n, last = 0;
		pid_t pid;
		close_bus(f);
		assert_int_equal(pipe(fds), 0);
		pid = fork();
		if (pid == 0) {
			open_bus(f);
			for (n = (uint64_t)round * 1000000 + 1;; n++)
				if (put(f, n, 100) || write(fds[1], &n, sizeof n) != sizeof n)
					_exit(1);
		}
		close(fds[1]);
		for (int i = 0; i < 5 + round * 4; i++)
			assert_int_equal(read(fds[0], &last, sizeof last), sizeof last);
		kill(pid, SIGKILL);
		while (read(fds[0], &n, sizeof n) == sizeof n)
			last = n;
		waitpid(pid, NULL, 0);
		close(fds[0]);
		open_bus(f);
		consume(f, IMGO_TOPIC_USERS, round % 2);
		await(f, f->last >= last);
		/* All of this round, and one more at the most that was not answered; odd rounds leave nothing behind. */
		assert_true(f->last <= last + 1);
		if (round % 2 == 0)
			assert_true(f->got >= 5u + (unsigned)round * 4);
	}
}

/* Reads, done and cutting go on when it is full, and make room again. */
static void goes_on_when_full(struct fixture *f)
{
	uint64_t n = 0, before;
	int err = 0;

	open_bus(f);
	while (n < 100000 && !(err = put(f, n + 1, 12000)))
		n++;
	assert_int_equal(err, IMGO_EFULL);
	assert_true(n > 20);
	assert_true(imgo_bus_ready(f->bus));
	for (int round = 0; round < 3; round++) {
		consume(f, IMGO_TOPIC_USERS, true);
		await(f, f->last == n);
		before = n;
		for (int i = 0; i < 3000 && put(f, n + 1, 12000); i++) /* it resumes by itself */
			turn(f, 1);
		n++;
		await(f, f->last == n);
		imgo_bus_unsubscribe(f->consumer);
		f->consumer = NULL;
		f->assigned = false;
		turn(f, 700);
		while (n < before + 100000 && !(err = put(f, n + 1, 12000)))
			n++;
		assert_int_equal(err, IMGO_EFULL);
		assert_true(n > before + 10);
	}
	open_bus(f);
	consume(f, IMGO_TOPIC_USERS, true);
	await(f, f->last == n);
}

static void full_map(void **state)
{
	struct fixture *f = *state;

	f->env.map_max_bytes = 1 << 20;
	goes_on_when_full(f);
}

static void full_disk(void **state)
{
	struct fixture *f = *state;

	f->mounted = mount("tmpfs", f->path, "tmpfs", 0, "size=8m") == 0;
	if (!f->mounted) {
		printf("SKIPPED: no tmpfs can be mounted here (%s): a full disk is NOT tested\n", strerror(errno));
		skip();
	}
	goes_on_when_full(f);
}

static void failing_disk(void **state)
{
	struct fixture *f = *state;

	open_bus(f);
	assert_int_equal(put(f, 1, 10), 0);
	failing = 1;
	assert_int_equal(put(f, 2, 10), IMGO_EIO);
	failing = 0;
	assert_false(imgo_bus_ready(f->bus));
	assert_int_equal(put(f, 3, 10), IMGO_EUNAVAILABLE); /* for good: nobody knows what the disk holds */
	consume(f, IMGO_TOPIC_USERS, true);
	await(f, f->got == 1); /* reading goes on */
	open_bus(f);
	assert_int_equal(put(f, 4, 10), 0);
	consume(f, IMGO_TOPIC_USERS, true);
	await(f, f->last == 4);
}

static void damaged_records(void **state)
{
	struct fixture *f = *state;

	open_bus(f);
	for (uint64_t n = 1; n <= 5; n++)
		assert_int_equal(put(f, n, 10), 0);
	damage(f, "bus.records", 1);
	damage(f, "bus.records", 4);
	open_bus(f);
	consume(f, IMGO_TOPIC_USERS, true);
	await(f, f->last == 4);
	assert_int_equal(f->got, 3);
	turn(f, 200); /* the last one is damaged: looked at, and not for ever */
	assert_int_equal(imgo_stats_get(f->loop_options.stats, "imgo_bus_damaged_total"), 2);
	assert_int_equal(put(f, 6, 10), 0);
	await(f, f->last == 6);
}

static void damaged_meta(void **state)
{
	struct fixture *f = *state;
	struct imgo_error error = {0};
	uint32_t epoch;

	open_bus(f);
	epoch = imgo_bus_epoch(f->bus);
	assert_int_equal(put(f, 1, 10), 0);
	f->options.partitions = PARTITIONS + 1;
	assert_int_equal(try_open(f, &error), IMGO_EINVAL);
	assert_non_null(strstr(error.text, "partitions"));
	f->options.partitions = PARTITIONS;
	turn(f, 1100); /* the epoch is not this start's */
	open_bus(f);
	assert_int_equal(imgo_bus_epoch(f->bus), epoch);
	consume(f, IMGO_TOPIC_USERS, true);
	await(f, f->got == 1);
	imgo_bus_unsubscribe(f->consumer);
	f->consumer = NULL;
	imgo_bus_free(f->bus);
	f->bus = NULL;
	damage(f, "bus.positions", 0);
	assert_int_equal(try_open(f, &error), IMGO_EIO);
	assert_non_null(strstr(error.text, "positions"));
	damage(f, "bus.meta", 0);
	assert_int_equal(try_open(f, &error), IMGO_EIO);
	assert_non_null(strstr(error.text, "meta"));
}

/* One process at a time, and one handle. */
static void locked(void **state)
{
	struct fixture *f = *state;
	struct imgo_error error = {0};
	struct imgo_lmdb *other;

	open_bus(f);
	assert_int_equal(imgo_lmdb_open(&other, f->loop, &f->env, &error), IMGO_EEXISTS);
	assert_non_null(strstr(error.text, "in use"));
}

/* What all groups have done is cut, and not what one still wants. */
static void cut(void **state)
{
	struct fixture *f = *state;

	open_bus(f);
	for (uint64_t n = 1; n <= 200; n++)
		assert_int_equal(put(f, n, 10), 0);
	turn(f, 700);
	assert_int_equal(entries(f, "bus.records"), 200); /* nobody has subscribed yet */
	consume(f, IMGO_TOPIC_USERS, false);
	await(f, f->got == 200);
	imgo_bus_done(f->consumer, 0, f->start + 150);
	turn(f, 700);
	assert_int_equal(entries(f, "bus.records"), 50);
	open_bus(f);
	consume(f, IMGO_TOPIC_USERS, true);
	await(f, f->got == 50);
	turn(f, 700);
	assert_int_equal(entries(f, "bus.records"), 0);
	f->next = UINT64_MAX;
	open_bus(f); /* ids go on where they were */
	assert_int_equal(put(f, 1000, 10), 0);
	consume(f, IMGO_TOPIC_USERS, true);
	assert_int_equal(f->start, 200);
	await(f, f->last == 1000);
}

/* keep_ms: for a store that may forget. */
static void kept(void **state)
{
	struct fixture *f = *state;

	f->options.keep_ms = 1500;
	open_bus(f);
	for (uint64_t n = 1; n <= 20; n++)
		assert_int_equal(put(f, n, 10), 0);
	consume(f, IMGO_TOPIC_USERS, true);
	await(f, f->got == 20);
	turn(f, 700);
	assert_int_equal(entries(f, "bus.records"), 20);
	turn(f, 1800);
	assert_int_equal(entries(f, "bus.records"), 0);
}

static void compacted(void **state)
{
	struct fixture *f = *state;

	open_bus(f);
	for (uint64_t n = 1; n <= 50; n++) {
		char value[24];
		snprintf(value, sizeof value, "%llu", (unsigned long long)n);
		assert_int_equal(put_in(f, IMGO_TOPIC_TOKENS, n % 2 ? "odd" : "even", value, strlen(value)), 0);
	}
	assert_int_equal(entries(f, "bus.records"), 2);
	open_bus(f);
	consume(f, IMGO_TOPIC_TOKENS, false);
	await(f, f->got == 2); /* 49 and 50 */
	assert_int_equal(put_in(f, IMGO_TOPIC_TOKENS, "odd", "51", 2), 0);
	await(f, f->got == 3);
	assert_int_equal(entries(f, "bus.records"), 2);
	f->last = 0;
	assert_int_equal(put_in(f, IMGO_TOPIC_TOKENS, "odd", "", 0), 0); /* waits until everybody has had it */
	turn(f, 700);
	assert_int_equal(entries(f, "bus.records"), 2);
	imgo_bus_done(f->consumer, 0, f->next);
	turn(f, 700);
	assert_int_equal(entries(f, "bus.records"), 1);
	assert_int_equal(entries(f, "bus.keys"), 1);
}

/* The map begins at 16 MiB. A restart in between, and a reader all the while. */
static void map_grows(void **state)
{
	struct fixture *f = *state;
	uint64_t n = 0;

	f->env.map_max_bytes = 256 << 20;
	open_bus(f);
	consume(f, IMGO_TOPIC_USERS, false);
	while (n < 30)
		assert_int_equal(put(f, ++n, 1 << 20), 0);
	await(f, f->last == n);
	open_bus(f);
	consume(f, IMGO_TOPIC_USERS, false);
	while (n < 45)
		assert_int_equal(put(f, ++n, 1 << 20), 0);
	await(f, f->last == n);
	assert_int_equal(f->got, 45);
}

/* ---- a failure at each step of the writer ---- */

/* In a process of its own, with the failpoint. What is accepted arrives, what is not does not, in order. */
static void try_point(struct fixture *f, const char *point)
{
	unsigned accepted = 0;

	setenv("IMGO_FAILPOINT", point, 1);
	open_bus(f);
	consume(f, IMGO_TOPIC_USERS, true);
	for (uint64_t n = 1; n <= 40; n++) {
		int err = put(f, n, 100);
		if (err && err != IMGO_EIO && err != IMGO_EUNAVAILABLE)
			_exit(3);
		accepted += err == 0;
		if (n == 20)
			turn(f, 600); /* a flush by itself */
	}
	for (int i = 0; i < 5000 && f->got < accepted; i++)
		turn(f, 1);
	_exit(f->got == accepted && accepted > 0 ? 0 : 4);
}

static void failpoints(void **state)
{
	static const char *const points[] = {"bus.put:every=3", "bus.put.written:every=3", "bus.flush:every=2",
		"bus.flush:err", "bus.cut:every=2", "bus.cut:err", "bus.read:every=2", "lmdb.commit:every=15",
		"lmdb.grow:err", "lmdb.commit:sleep=3"};
	struct fixture *f = *state;
#ifndef IMGO__FAILPOINTS
	skip();
#endif
	for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
		char command[128], path[96];
		int status;
		pid_t pid;
		close_bus(f);
		snprintf(path, sizeof path, "%s/%zu", f->path, i);
		f->env.path = path;
		pid = fork();
		if (pid == 0)
			try_point(f, points[i]);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (!WIFEXITED(status) || WEXITSTATUS(status))
			fail_msg("%s: status %x", points[i], (unsigned)status);
		/* And a start after it goes on. */
		open_bus(f);
		assert_int_equal(put(f, 1000, 10), 0);
		consume(f, IMGO_TOPIC_USERS, true);
		await(f, f->last == 1000);
		close_bus(f);
		snprintf(command, sizeof command, "rm -r '%s'", path);
		assert_int_equal(system(command), 0);
	}
	f->env.path = f->path;
}

/* A bus in memory that numbered messages of this environment's store in between: its epochs, and those after it, rise. */
static void epochs_rise(void **state)
{
	struct fixture *f = *state;
	struct imgo_bus_memory_options options = IMGO_BUS_MEMORY_OPTIONS_INIT;
	struct imgo_bus *memory;
	uint32_t disk, disk_after, epoch, next;

	open_bus(f);
	disk = imgo_bus_epoch(f->bus);
	assert_int_equal(put(f, 1, 10), 0);
	open_bus(f);
	assert_int_equal(imgo_bus_epoch(f->bus), disk); /* nobody else was here */

	assert_int_equal(imgo_lmdb_new_epoch(f->lmdb, &epoch), 0);
	assert_true(epoch > disk);
	assert_int_equal(imgo_lmdb_new_epoch(f->lmdb, &next), 0);
	assert_true(next > epoch); /* within a second, or with a clock that was set back */
	options.epoch = next;
	assert_int_equal(imgo_bus_new_memory(&memory, f->loop, &options, NULL), 0);
	assert_int_equal(imgo_bus_epoch(memory), next);
	imgo_bus_free(memory);

	open_bus(f);
	disk_after = imgo_bus_epoch(f->bus);
	assert_true(disk_after > next);
	consume(f, IMGO_TOPIC_USERS, true); /* what waited is still there */
	await(f, f->last == 1);
	open_bus(f);
	assert_int_equal(imgo_bus_epoch(f->bus), disk_after);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(failpoints), /* first: the environment is read once in a process */
		TEST(synced),
		TEST(killed),
		TEST(full_map),
		TEST(full_disk),
		TEST(failing_disk),
		TEST(damaged_records),
		TEST(damaged_meta),
		TEST(locked),
		TEST(cut),
		TEST(kept),
		TEST(compacted),
		TEST(map_grows),
		TEST(epochs_rise),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
