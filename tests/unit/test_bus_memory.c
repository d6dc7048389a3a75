/* SPDX-License-Identifier: MIT */
/* What the memory bus keeps, drops and refuses; the rest is in tests/conformance/bus_cases.c. */
#include "test.h"

#include <imgo/bus.h>

#include "base/mem.h"
#include "bus/memory_log.h"

static struct imgo__memspace space;
static struct imgo__memlog log_;

static void begin(enum imgo_topic topic, uint64_t bytes_max, uint64_t keep_ms)
{
	struct imgo_bus_memory_options o = IMGO_BUS_MEMORY_OPTIONS_INIT;

	o.bytes_max = bytes_max;
	o.keep_ms = keep_ms;
	imgo__memspace_init(&space, &o);
	imgo__memlog_init(&log_, &space, topic, 1000);
}

static int put(const char *key, const char *value, uint64_t now)
{
	struct imgo_bus_record r = {.key = imgo_str(key), .value = imgo_str(value)};

	return imgo__memlog_append(&log_, &r, now);
}

static size_t count(void)
{
	static struct imgo_bus_record out[4096];
	size_t n = imgo__memlog_read(&log_, 0, out, 4096, SIZE_MAX);

	for (size_t i = 1; i < n; i++)
		assert_true(out[i].offset > out[i - 1].offset);
	return n;
}

/* What waits for a consumer is never dropped: produce is refused instead. What is done makes room, oldest
 * first. */
static void test_refuses(void **state)
{
	size_t n = 0;

	(void)state;
	begin(IMGO_TOPIC_USERS, 10000, 1000000);
	while (put("", "0123456789", 1) == 0)
		n++;
	assert_in_range(n, 20, 400);
	imgo__memspace_trim(&space, 1u << 30);
	assert_int_equal(count(), n);
	imgo__memlog_done(&log_, 1000 + n / 2);
	for (size_t i = 0; i < n / 2; i++)
		assert_int_equal(put("", "0123456789", 2), 0);
	assert_int_equal(put("", "0123456789", 2), IMGO_ELIMIT);
	imgo__memspace_trim(&space, 2);
	assert_true(space.total <= space.bytes_max);
	assert_int_equal(imgo__memlog_begin(&log_), 1000 + n / 2);
	assert_int_equal(count(), n);
	imgo__memlog_fini(&log_);
}

static void test_keeps(void **state)
{
	(void)state;
	begin(IMGO_TOPIC_USERS, 1 << 20, 1000);
	for (uint64_t t = 0; t < 100; t++)
		assert_int_equal(put("", "x", t * 100), 0);
	imgo__memlog_done(&log_, 1090);
	imgo__memspace_trim(&space, 9000);
	assert_int_equal(imgo__memlog_begin(&log_), 1081); /* at 8,100 */
	assert_int_equal(imgo__memlog_since(&log_, 8450), 1085);
	assert_int_equal(imgo__memlog_since(&log_, 99999), 1100);
	imgo__memspace_trim(&space, 1000000);
	assert_int_equal(imgo__memlog_begin(&log_), 1090); /* not done */
	assert_int_equal(count(), 10);
	assert_int_equal(put("", "x", 5), 0); /* the clock went back: time in the log does not */
	assert_int_equal(imgo__memlog_since(&log_, 9901), 1101);
	imgo__memlog_fini(&log_);
}

/* The last of each key stays whatever its age; a deletion goes once it is done and old; holes do not pile up.
 */
static void test_compacts(void **state)
{
	char value[16];

	(void)state;
	begin(IMGO_TOPIC_TOKENS, 1 << 20, 1000);
	assert_int_equal(put("old", "stays", 1), 0);
	for (int i = 0; i < 20000; i++) {
		snprintf(value, sizeof value, "%d", i);
		assert_int_equal(put("busy", value, 1), 0);
		imgo__memlog_done(&log_, log_.end);
		imgo__memspace_trim(&space, 5000);
	}
	assert_int_equal(count(), 2);
	assert_true(log_.cap <= 256);
	assert_int_equal(imgo__memlog_begin(&log_), 1000);
	assert_int_equal(put("old", "", 1), 0);
	imgo__memspace_trim(&space, 5000);
	assert_int_equal(count(), 2); /* busy, and the deletion: not done */
	imgo__memlog_done(&log_, log_.end);
	imgo__memspace_trim(&space, 5000);
	assert_int_equal(count(), 1);
	assert_int_equal(put("old", "again", 1), 0);
	assert_int_equal(count(), 2);
	assert_int_equal(space.held, space.total);
	imgo__memlog_fini(&log_);
}

/* Against a plain model: random appends, dones and trims. */
static void test_model(void **state)
{
	static struct imgo_bus_record out[4096];
	uint64_t seed = 1, now = 0, done = 1000;

	(void)state;
	begin(IMGO_TOPIC_USERS, 20000, 500);
	for (int i = 0; i < 100000; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		unsigned what = (unsigned)(seed >> 33) % 10;
		uint64_t end = log_.end;
		if (what < 6) {
			int err = put("k", "some value", now);
			assert_true(err == 0 || (err == IMGO_ELIMIT && end - done > 50));
			assert_int_equal(log_.end, end + (err == 0));
		} else if (what < 8) {
			done += (seed >> 40) % (end - done + 1);
			imgo__memlog_done(&log_, done);
		} else {
			now += (seed >> 40) % 50;
			imgo__memspace_trim(&space, now);
		}
		assert_true(imgo__memlog_begin(&log_) <= done);
		uint64_t from = done - (seed >> 50) % 5;
		if (from < imgo__memlog_begin(&log_))
			from = imgo__memlog_begin(&log_);
		size_t n = imgo__memlog_read(&log_, from, out, 4096, SIZE_MAX);
		assert_int_equal(n, log_.end - from);
		assert_true(n == 0 || out[0].offset == from);
	}
	imgo__memlog_fini(&log_);
}

struct told {
	int n, err;
};

static void produced(int err, void *user)
{
	struct told *told = user;

	told->n++;
	told->err = err;
}

static void assigned(uint32_t partition, uint64_t next, void *user)
{
	(void)partition;
	(void)next;
	++*(int *)user;
}

static void revoked(uint32_t partition, bool lost, void *user)
{
	(void)partition;
	(void)lost;
	(void)user;
}

static void broke(int err, const char *text, void *user)
{
	(void)err;
	(void)text;
	(void)user;
	fail();
}

/* One life of a bus. 0, or the first error. */
static int life(struct imgo_loop *loop)
{
	static const struct imgo_bus_consumer_ops ops = {assigned, revoked, broke};
	struct imgo_bus_record r[3] = {{.partition = 0, .key = imgo_str("a"), .value = imgo_str("1")},
		{.partition = 1, .key = imgo_str("b"), .value = imgo_str("2")},
		{.partition = 0, .key = imgo_str("a"), .value = imgo_str("3")}};
	struct imgo_bus_consumer *consumer = NULL;
	struct told told = {0, 0};
	struct imgo_bus *bus;
	int n = 0, err;

	err = imgo_bus_new_memory(&bus, loop, NULL, NULL);
	if (err)
		return err;
	err = imgo_bus_subscribe(&consumer, bus, IMGO_TOPIC_TOKENS, "g", &ops, &n);
	if (!err)
		err = imgo_bus_produce_many(bus, IMGO_TOPIC_TOKENS, r, 3, produced, &told);
	if (!err) {
		imgo_loop_process(loop);
		assert_int_equal(told.n, 1);
		err = told.err;
		assert_int_equal(n, 64);
	}
	imgo_bus_unsubscribe(consumer);
	imgo_bus_free(bus);
	return err;
}

static void test_no_memory(void **state)
{
	struct imgo_loop *loop;
	long left;
	int err, n = 0;

	(void)state;
	assert_int_equal(imgo_loop_new(&loop, NULL, NULL), 0);
	do {
		imgo__mem_fail_after(n++);
		err = life(loop);
		left = imgo__mem_fail_after(-1);
		assert_true(err == (left < 0 ? IMGO_ENOMEM : 0));
	} while (left < 0);
	assert_true(n > 5);
	imgo_loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refuses),
		cmocka_unit_test(test_keeps),
		cmocka_unit_test(test_compacts),
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests_name("bus_memory", tests, NULL, NULL);
}
