/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <pthread.h>

#include <imgo/error.h>
#include <imgo/stats.h>

#include "base/mem.h"

static void values(void **state)
{
	struct imgo_stats *stats;
	struct imgo_stat *a, *b;
	(void)state;
	assert_int_equal(imgo_stats_new(&stats), 0);
	a = imgo_stats_counter(stats, "imgo_a_total", "A.");
	b = imgo_stats_gauge(stats, "imgo_b", NULL);
	assert_ptr_equal(imgo_stats_counter(stats, "imgo_a_total", "A."), a);
	assert_ptr_not_equal(a, b);
	imgo_stat_add(a, 2);
	imgo_stat_add(a, 3);
	imgo_stat_set(b, -7);
	assert_int_equal(imgo_stat_get(a), 5);
	assert_int_equal(imgo_stats_get(stats, "imgo_a_total"), 5);
	assert_int_equal(imgo_stats_get(stats, "imgo_b"), -7);
	assert_int_equal(imgo_stats_get(stats, "imgo_c"), 0);
	imgo_stats_free(stats);
	imgo_stats_free(NULL);
}

static void check_sorted(const char *name, const char *help, bool is_counter, int64_t value, void *user)
{
	char *last = user;
	assert_true(strcmp(last, name) < 0);
	strcpy(last, name);
	assert_string_equal(help, "help");
	assert_int_equal(value, name[5] - 'a');
	assert_int_equal(is_counter, name[5] % 2);
}

static void each_is_sorted(void **state)
{
	struct imgo_stats *stats;
	char last[64] = "";
	(void)state;
	assert_int_equal(imgo_stats_new(&stats), 0);
	for (int i = 0; i < 26; i++) {
		char name[] = "imgo_x";
		name[5] = (char)('a' + i * 7 % 26);
		imgo_stat_set((name[5] % 2 ? imgo_stats_counter : imgo_stats_gauge)(stats, name, "help"), name[5] - 'a');
	}
	imgo_stats_each(stats, check_sorted, last);
	assert_string_equal(last, "imgo_z");
	imgo_stats_each(NULL, check_sorted, last);
	imgo_stats_free(stats);
}

static void dummy(void **state)
{
	struct imgo_stat *stat = imgo_stats_counter(NULL, "x", "y");
	struct imgo_stats *stats;
	(void)state;
	assert_non_null(stat);
	imgo_stat_add(stat, 5);
	imgo_stat_set(stat, 5);
	assert_int_equal(imgo_stat_get(stat), 0);
	assert_int_equal(imgo_stats_get(NULL, "x"), 0);
	imgo__mem_fail_after(0);
	assert_int_equal(imgo_stats_new(&stats), IMGO_ENOMEM);
	assert_int_equal(imgo_stats_new(&stats), 0);
	for (int n = 0; n < 3; n++) {
		imgo__mem_fail_after(n);
		assert_ptr_equal(imgo_stats_gauge(stats, "x", "y"), stat);
	}
	assert_ptr_not_equal(imgo_stats_gauge(stats, "x", "y"), stat);
	imgo_stats_free(stats);
}

static void *hammer(void *stats)
{
	for (int i = 0; i < 2000; i++) {
		char name[32];
		snprintf(name, sizeof(name), "imgo_%d", i % 50);
		imgo_stat_add(imgo_stats_counter(stats, name, "h"), 1);
		(void)imgo_stats_get(stats, "imgo_25");
	}
	return NULL;
}

static void threads(void **state)
{
	struct imgo_stats *stats;
	pthread_t thread[4];
	(void)state;
	assert_int_equal(imgo_stats_new(&stats), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, hammer, stats), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	for (int i = 0; i < 50; i++) {
		char name[32];
		snprintf(name, sizeof(name), "imgo_%d", i);
		assert_int_equal(imgo_stats_get(stats, name), 160);
	}
	imgo_stats_free(stats);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values),
		cmocka_unit_test(each_is_sorted),
		cmocka_unit_test(dummy),
		cmocka_unit_test(threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
