/* SPDX-License-Identifier: MIT */
/* The registry in memory: what the conformance cases do not reach: large leases, the table's growth, too many
 * rooms. */
#include "test.h"

#include "registry/memory.h"
#include "registry/registry.h"

static struct imgo_loop *loop;
static struct imgo_registry *registry;
static bool done;
static int result;
static uint64_t count_sessions, count_users, count_rooms;

static int setup(void **state)
{
	(void)state;
	imgo_loop_new(&loop, NULL, NULL);
	return imgo_registry_new_memory(&registry, loop, NULL);
}

static int teardown(void **state)
{
	(void)state;
	imgo_registry_free(registry);
	imgo_loop_free(loop);
	return 0;
}

static void on_done(int err, void *user)
{
	const struct imgo_registry_count *count = user;

	if (count) {
		count_sessions = count->sessions;
		count_users = count->users;
		count_rooms = count->n;
	}
	result = err;
	done = true;
	imgo_loop_stop(loop);
}

static int finish(int rc)
{
	if (rc < 0)
		return rc;
	while (!done)
		imgo_loop_run(loop);
	done = false;
	return result;
}

static void on_stop(void *user)
{
	(void)user;
	imgo_loop_stop(loop);
}

static void run_ms(uint64_t ms)
{
	imgo_loop_after(loop, ms, on_stop, NULL, NULL);
	imgo_loop_run(loop);
}

static void count(void)
{
	struct imgo_registry_count call = {0};

	assert_int_equal(finish(imgo_registry_count(registry, &call, on_done, &call)), 0);
}

enum { LARGE = 100000 };

static void put_large(uint32_t comet, bool own_rooms)
{
	struct imgo_registry_put *puts = calloc(LARGE, sizeof *puts);
	char(*names)[16] = calloc(LARGE, sizeof *names);
	struct imgo_str *rooms = calloc(LARGE, sizeof *rooms);

	for (unsigned i = 0; i < LARGE; i++) {
		snprintf(names[i], sizeof names[i], "user%u", i);
		puts[i].session.user = rooms[i] = imgo_str(names[i]);
		puts[i].session.id = (struct imgo_session_id){comet, {1, 1}, i};
		puts[i].session.rooms = &rooms[i];
		puts[i].session.nrooms = own_rooms;
	}
	assert_int_equal(finish(imgo_registry_put_many(registry, puts, LARGE, on_done, NULL)), 0);
	for (unsigned i = 0; i < LARGE; i++)
		assert_int_equal(puts[i].err, 0);
	free(puts);
	free(names);
	free(rooms);
}

static size_t found(const char *user)
{
	struct imgo_registry_get get = {.user = imgo_str(user)};

	assert_int_equal(finish(imgo_registry_get_many(registry, &get, 1, on_done, NULL)), 0);
	return get.nsessions;
}

/* 100,000 sessions go in slices, but count as gone at once; the other comet's stay. */
static void large_lease_ends(void **state)
{
	struct imgo_registry_renew leave = {.comet = 1, .inc = {1, 1}, .leaving = true};
	struct imgo_registry_put again = {0};

	(void)state;
	put_large(1, true);
	put_large(2, false);
	count();
	assert_int_equal(count_sessions, 2 * LARGE);
	assert_int_equal(count_users, LARGE);
	assert_int_equal(finish(imgo_registry_renew(registry, &leave, on_done, NULL)), 0);
	assert_int_equal(found("user5"), 1);
	assert_int_equal(found("user99999"), 1);
	count();
	assert_int_equal(count_sessions, LARGE);
	again.session.user = imgo_str("user99999"); /* the same id while the old record waits to be forgotten */
	again.session.id = (struct imgo_session_id){1, {1, 1}, 99999};
	assert_int_equal(finish(imgo_registry_put_many(registry, &again, 1, on_done, NULL)), 0);
	assert_int_equal(again.err, 0);
	assert_int_equal(found("user99999"), 2);
	run_ms(200);
	assert_int_equal(found("user99999"), 2);
	count();
	assert_int_equal(count_sessions, LARGE + 1);
	assert_int_equal(count_users, LARGE);
	assert_int_equal(count_rooms, 1);
}

static void too_many_rooms(void **state)
{
	struct imgo_str room = imgo_str("user99999"); /* it becomes the largest */
	struct imgo_registry_put put = {0};
	struct imgo_registry_count call = {0};

	(void)state;
	put_large(1, true);
	put.session.user = imgo_str("x");
	put.session.id = (struct imgo_session_id){1, {1, 1}, LARGE};
	put.session.rooms = &room;
	put.session.nrooms = 1;
	assert_int_equal(finish(imgo_registry_put_many(registry, &put, 1, on_done, NULL)), 0);
	assert_int_equal(finish(imgo_registry_count(registry, &call, on_done, &call)), 0);
	assert_int_equal(count_rooms, IMGO_REGISTRY_COUNT_MAX);
}

static void largest_counts_are_kept(void **state)
{
	size_t n = IMGO_REGISTRY_COUNT_MAX + 5000;
	struct imgo_room_count *counts = calloc(n, sizeof *counts);
	char(*names)[16] = calloc(n, sizeof *names);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		counts[i].count = 1 + (i * 7919) % n; /* all different */
		snprintf(names[i], sizeof names[i], "%07zu", (size_t)counts[i].count);
		counts[i].room = imgo_str(names[i]);
	}
	assert_int_equal(imgo__registry_sort_counts(counts, n), IMGO_REGISTRY_COUNT_MAX);
	for (size_t i = 0; i < IMGO_REGISTRY_COUNT_MAX; i++)
		assert_int_equal(counts[i].count, 5001 + i);
	free(counts);
	free(names);
}

/* The table by itself: through all sizes up and down, every record is found. */
static void grows_and_shrinks(void **state)
{
	struct imgo__reg_sessions table;
	char name[16];

	(void)state;
	assert_int_equal(imgo__reg_sessions_init(&table, loop), 0);
	for (unsigned i = 0; i < 20000; i++) {
		struct imgo__reg_session *s;
		snprintf(name, sizeof name, "%u", i);
		s = imgo__reg_session_new(imgo_str(name), imgo_str(""));
		s->seq = 1;
		imgo__reg_insert(&table, s);
		snprintf(name, sizeof name, "%u", i / 2);
		assert_non_null(imgo__reg_first(&table, imgo_str(name)));
	}
	assert_int_equal(table.nbuckets, 20000);
	for (unsigned i = 0; i < 20000; i++) {
		snprintf(name, sizeof name, "%u", i);
		imgo__reg_remove(&table, imgo__reg_first(&table, imgo_str(name)));
		assert_null(imgo__reg_first(&table, imgo_str(name)));
		snprintf(name, sizeof name, "%u", i + (20000 - i) / 2);
		if (i < 19999)
			assert_non_null(imgo__reg_first(&table, imgo_str(name)));
	}
	assert_int_equal(table.records, 0);
	assert_int_equal(table.users, 0);
	assert_int_equal(table.nbuckets, IMGO__REG_SEGMENT);
	imgo__reg_sessions_fini(&table);
}

static void a_session_is_small(void **state)
{
	(void)state;
	assert_int_equal(offsetof(struct imgo__reg_session, key), 56);
}

#define test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(large_lease_ends),
		test(too_many_rooms),
		test(largest_counts_are_kept),
		test(grows_and_shrinks),
		test(a_session_is_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
