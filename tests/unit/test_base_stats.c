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

/* ---- histograms ---- */

static void buckets_are_near(void **state)
{
	struct imgo_histogram_sum sum;
	struct imgo_histogram *part;
	struct imgo_stats *stats;
	uint64_t read;
	(void)state;

	for (uint64_t us = 1; us < 1ull << 36; us += us / 37 + 1) {
		assert_int_equal(imgo_stats_new(&stats), 0);
		part = imgo_stats_histogram(stats, &stats, "imgo_h_seconds", "h");
		imgo_histogram_add(part, us, 3);
		assert_true(imgo_stats_histogram_get(stats, "imgo_h_seconds", &sum));
		assert_int_equal(sum.count, 3);
		assert_int_equal(sum.sum_us, 3 * us);
		read = imgo_histogram_quantile_us(&sum, 0.5);
		assert_true(read >= us && (double)read <= (double)us * 1.125);
		if (us <= 8)
			assert_int_equal(read, us);
		imgo_stats_free(stats);
	}
}

static void extremes_and_kinds(void **state)
{
	struct imgo_histogram_sum sum;
	struct imgo_histogram *part;
	struct imgo_stats *stats;
	(void)state;

	assert_int_equal(imgo_stats_new(&stats), 0);
	part = imgo_stats_histogram(stats, &stats, "imgo_h_seconds", "h");
	assert_int_equal(
		(imgo_stats_histogram_get(stats, "imgo_h_seconds", &sum), imgo_histogram_quantile_us(&sum, 0.99)), 0);
	imgo_histogram_add(part, 0, 1);
	imgo_histogram_add(part, UINT64_MAX / 2, 1);
	imgo_histogram_add(part, 5, 0); /* nothing */
	assert_true(imgo_stats_histogram_get(stats, "imgo_h_seconds", &sum));
	assert_int_equal(sum.count, 2);
	assert_int_equal(imgo_histogram_quantile_us(&sum, 0), 1);
	assert_int_equal(imgo_histogram_quantile_us(&sum, 1), 1ull << 36);
	/* A name is of one kind; the other kind gets what counts nothing. */
	imgo_stat_add(imgo_stats_counter(stats, "imgo_h_seconds", "h"), 1);
	assert_int_equal(imgo_stats_get(stats, "imgo_h_seconds"), 0);
	imgo_stat_add(imgo_stats_counter(stats, "imgo_c_total", "h"), 1);
	imgo_histogram_add(imgo_stats_histogram(stats, &stats, "imgo_c_total", "h"), 7, 1);
	assert_false(imgo_stats_histogram_get(stats, "imgo_c_total", &sum));
	assert_int_equal(sum.count, 0);
	assert_false(imgo_stats_histogram_get(NULL, "x", &sum));
	imgo_histogram_add(imgo_stats_histogram(NULL, &stats, "x", "h"), 7, 1);
	imgo_stats_disown(NULL, &stats);
	imgo_stats_free(stats);
}

static void quantiles(void **state)
{
	struct imgo_histogram_sum sum;
	struct imgo_histogram *part;
	struct imgo_stats *stats;
	(void)state;

	assert_int_equal(imgo_stats_new(&stats), 0);
	part = imgo_stats_histogram(stats, &stats, "imgo_h_seconds", "h");
	for (uint64_t us = 1; us <= 10000; us++)
		imgo_histogram_add(part, us, 1);
	assert_true(imgo_stats_histogram_get(stats, "imgo_h_seconds", &sum));
	for (int q = 1; q <= 100; q++) {
		double exact = q * 100.0, read = (double)imgo_histogram_quantile_us(&sum, q / 100.0);
		assert_true(read >= exact && read <= exact * 1.125);
	}
	imgo_stats_free(stats);
}

enum { LOOPS = 4, EACH = 200000 };

struct loop_like {
	struct imgo_stats *stats;
	int n;
};

static void *count_alone(void *arg)
{
	struct loop_like *self = arg;
	struct imgo_histogram *part = imgo_stats_histogram(self->stats, self, "imgo_h_seconds{stage=\"a\"}", "h");

	for (int i = 0; i < EACH; i++)
		imgo_histogram_add(part, (uint64_t)(self->n + 1) * 100, 1);
	return NULL;
}

/* Nothing is lost although no addition is atomic; whoever reads meanwhile sees what only rises. */
static void loops_are_merged(void **state)
{
	struct loop_like loops[LOOPS];
	struct imgo_histogram_sum sum;
	pthread_t thread[LOOPS];
	struct imgo_stats *stats;
	uint64_t last = 0;
	(void)state;

	assert_int_equal(imgo_stats_new(&stats), 0);
	for (int i = 0; i < LOOPS; i++) {
		loops[i] = (struct loop_like){stats, i};
		assert_int_equal(pthread_create(&thread[i], NULL, count_alone, &loops[i]), 0);
	}
	while (last < EACH) {
		(void)imgo_stats_histogram_get(stats, "imgo_h_seconds{stage=\"a\"}", &sum);
		assert_true(sum.count >= last);
		last = sum.count;
	}
	for (int i = 0; i < LOOPS; i++)
		pthread_join(thread[i], NULL);
	assert_true(imgo_stats_histogram_get(stats, "imgo_h_seconds{stage=\"a\"}", &sum));
	assert_int_equal(sum.count, LOOPS * EACH);
	assert_int_equal(sum.sum_us, (100 + 200 + 300 + 400) * (uint64_t)EACH);
	assert_int_equal(imgo_histogram_quantile_us(&sum, 0.25), 104);
	imgo_stats_free(stats);
}

static void parts_are_handed_on(void **state)
{
	struct imgo_histogram *a, *b;
	struct imgo_histogram_sum sum;
	struct imgo_stats *stats;
	int first, second;
	(void)state;

	assert_int_equal(imgo_stats_new(&stats), 0);
	a = imgo_stats_histogram(stats, &first, "imgo_h_seconds", "h");
	assert_ptr_equal(imgo_stats_histogram(stats, &first, "imgo_h_seconds", "h"), a);
	b = imgo_stats_histogram(stats, &second, "imgo_h_seconds", "h");
	assert_ptr_not_equal(a, b);
	imgo_histogram_add(a, 10, 1);
	imgo_stats_disown(stats, &first);
	for (int i = 0; i < 3; i++) /* an owner that comes after it takes its place, and what was counted stays */
		assert_ptr_equal(imgo_stats_histogram(stats, &i, "imgo_h_seconds", "h"), a), imgo_stats_disown(stats, &i);
	assert_true(imgo_stats_histogram_get(stats, "imgo_h_seconds", &sum));
	assert_int_equal(sum.count, 1);
	imgo_stats_free(stats);
}

/* ---- text ---- */

static void names(void **state)
{
	static const char *const bad[] = {"", "1a", "a-b", "a b", "a{", "a{}", "a{b}", "a{b=}", "a{b=\"c}", "a{b=\"c\"",
		"a{b=\"c\"}d", "a{b=\"c\"d=\"e\"}", "a{b=\"\n\"}", "a{b=\"\\x\"}", "a{b=\"c\",}", "a{1=\"c\"}"};
	static const char *const good[] = {"a", "a_1", "a{b=\"\"}", "a{b=\"c\",d=\"e\"}", "a{b=\"\\\\\\n\\\"\"}"};
	struct imgo_stat *none = imgo_stats_counter(NULL, "x", "h");
	struct imgo_stats *stats;
	char name[40];
	(void)state;

	assert_int_equal(imgo_stats_new(&stats), 0);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_ptr_equal(imgo_stats_counter(stats, bad[i], "h"), none);
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		assert_ptr_not_equal(imgo_stats_counter(stats, good[i], "h"), none);
	assert_int_equal(imgo_stat_name(name, sizeof name, "imgo_x", "peer", "a\"b\\c\nd"), 0);
	assert_string_equal(name, "imgo_x{peer=\"a\\\"b\\\\c\\nd\"}");
	assert_ptr_not_equal(imgo_stats_gauge(stats, name, "h"), none);
	assert_int_equal(imgo_stat_name(name, 25, "imgo_x", "peer", "a\"b\\c\nd"), IMGO_ELIMIT);
	assert_string_equal(name, "");
	assert_int_equal(imgo_stat_name(name, 26, "imgo_x", "peer", "a\"b\\c\nd"), 0);
	imgo_stats_free(stats);
}

static void text(void **state)
{
	static const char want[] = "# HELP imgo_a A \\\\ and \\n.\n# TYPE imgo_a gauge\nimgo_a -3\n"
				   "# HELP imgo_a_b_total B.\n# TYPE imgo_a_b_total counter\n"
				   "imgo_a_b_total{why=\"x\"} 1\nimgo_a_b_total{why=\"y\"} 2\n"
				   "# HELP imgo_a_c G.\n# TYPE imgo_a_c gauge\nimgo_a_c{p=\"1\"} 7\n";
	struct imgo_stats *stats;
	char *out;
	size_t len;
	(void)state;

	assert_int_equal(imgo_stats_new(&stats), 0);
	imgo_stat_add(imgo_stats_counter(stats, "imgo_a_b_total{why=\"y\"}", "B."), 2);
	imgo_stat_set(imgo_stats_gauge(stats, "imgo_a", "A \\ and \n."), -3);
	imgo_stat_set(imgo_stats_gauge(stats, "imgo_a_c{p=\"1\"}", "G."), 7);
	imgo_stat_set(imgo_stats_gauge(stats, "imgo_a_c{p=\"2\"}", "G."), IMGO_STAT_ABSENT);
	imgo_stat_add(imgo_stats_counter(stats, "imgo_a_b_total{why=\"x\"}", "B."), 1);
	for (int n = 0; n < 1; n++) {
		imgo__mem_fail_after(n);
		assert_int_equal(imgo_stats_text(stats, &out, &len), IMGO_ENOMEM);
	}
	assert_int_equal(imgo_stats_text(stats, &out, &len), 0);
	assert_string_equal(out, want);
	assert_int_equal(len, strlen(want));
	free(out);
	imgo_stats_free(stats);
	assert_int_equal(imgo_stats_text(NULL, &out, &len), 0);
	assert_string_equal(out, "");
	free(out);
}

/* Bounds rise, what is at a bound is below it ("le"), and labels stand before "le". */
static void text_of_a_histogram(void **state)
{
	struct imgo_histogram *part;
	struct imgo_stats *stats;
	double le, last = 0;
	int bounds = 0;
	char *out, *at;
	size_t len;
	(void)state;

	assert_int_equal(imgo_stats_new(&stats), 0);
	part = imgo_stats_histogram(stats, &stats, "imgo_h_seconds{stage=\"a\"}", "H.");
	imgo_histogram_add(part, 1024, 2);
	imgo_histogram_add(part, 1025, 1);
	imgo_histogram_add(part, 3000000000, 1);
	assert_int_equal(imgo_stats_text(stats, &out, &len), 0);
	assert_non_null(strstr(out, "# HELP imgo_h_seconds H.\n# TYPE imgo_h_seconds histogram\n"));
	assert_non_null(strstr(out, "\nimgo_h_seconds_bucket{stage=\"a\",le=\"0.000768\"} 0\n"));
	assert_non_null(strstr(out, "\nimgo_h_seconds_bucket{stage=\"a\",le=\"0.001024\"} 2\n"));
	assert_non_null(strstr(out, "\nimgo_h_seconds_bucket{stage=\"a\",le=\"0.001536\"} 3\n"));
	assert_non_null(strstr(out, "\nimgo_h_seconds_bucket{stage=\"a\",le=\"67.108864\"} 3\n"));
	assert_non_null(strstr(out, "\nimgo_h_seconds_bucket{stage=\"a\",le=\"+Inf\"} 4\n"));
	assert_non_null(strstr(out, "\nimgo_h_seconds_sum{stage=\"a\"} 3000.003073\n"));
	assert_non_null(strstr(out, "\nimgo_h_seconds_count{stage=\"a\"} 4\n"));
	for (at = out; (at = strstr(at, "le=\"")) != NULL && at[4] != '+'; last = le, bounds++) {
		le = strtod(at += 4, NULL);
		assert_true(le > last);
	}
	assert_int_equal(bounds, 48);
	free(out);
	imgo_stats_free(stats);
	assert_int_equal(imgo_stats_new(&stats), 0);
	imgo_histogram_add(imgo_stats_histogram(stats, &stats, "imgo_h_seconds", "H."), 5, 1);
	assert_int_equal(imgo_stats_text(stats, &out, &len), 0);
	assert_non_null(strstr(out, "\nimgo_h_seconds_bucket{le=\"0.000024\"} 1\n"));
	assert_non_null(strstr(out, "\nimgo_h_seconds_count 1\n"));
	free(out);
	imgo_stats_free(stats);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values),
		cmocka_unit_test(each_is_sorted),
		cmocka_unit_test(dummy),
		cmocka_unit_test(threads),
		cmocka_unit_test(buckets_are_near),
		cmocka_unit_test(extremes_and_kinds),
		cmocka_unit_test(quantiles),
		cmocka_unit_test(loops_are_merged),
		cmocka_unit_test(parts_are_handed_on),
		cmocka_unit_test(names),
		cmocka_unit_test(text),
		cmocka_unit_test(text_of_a_histogram),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
