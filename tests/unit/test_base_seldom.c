/* SPDX-License-Identifier: MIT */
#include "test.h"

#include "base/seldom.h"

static void one_line_stands_for_many(void **state)
{
	struct imgo__seldom seldom = {0};
	uint32_t times = 0;
	unsigned said = 0, sum = 0;
	(void)state;

	for (uint64_t ms = 1000; ms < 61000; ms++) {
		if (!imgo__seldom(&seldom, ms, &times))
			continue;
		said++;
		sum += times;
		assert_int_equal(times, said == 1 ? 1 : IMGO__SELDOM_MS);
	}
	assert_int_equal(said, 6);
	assert_int_equal(sum + seldom.n, 60000); /* each is in one line, or will be */
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(one_line_stands_for_many)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
