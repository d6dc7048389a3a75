/* SPDX-License-Identifier: MIT */
#include "test.h"

#include "registry/shards.h"

static struct imgo_str list[5];

static int setup(void **state)
{
	static const char *const text[] = {
		"10.0.0.1:7270", "10.0.0.2:7270", "10.0.0.3:7270", "10.0.0.4:7270", "[::1]:7270"};

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		list[i] = imgo_str(text[i]);
	return 0;
}

/* Published: whoever computes it elsewhere must find the same. Made with a SipHash in Python, not with ours.
 */
static void vectors(void **state)
{
	static const struct {
		const char *address;
		uint32_t partition;
		uint64_t score;
	} scores[] = {
		{"10.0.0.1:7270", 0, 0x0bcfc4d0dab17da6},
		{"10.0.0.2:7270", 0, 0xbaa0a09c968712df},
		{"10.0.0.3:7270", 63, 0x630022afc1151537},
		{"[::1]:7270", 1000, 0xa2780b25f007f728},
	};
	static const uint8_t owners[] = {1, 1, 2, 1, 1, 1, 1, 1, 2, 2, 0, 1, 0, 2, 1, 1, 0, 0, 2, 1, 1, 2, 2, 1, 2, 2,
		0, 0, 2, 2, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 0, 0, 0, 1, 1, 2, 0, 1, 1, 2, 0, 1, 1, 0, 0, 1, 0, 0,
		1, 2, 0};

	(void)state;
	for (size_t i = 0; i < sizeof scores / sizeof *scores; i++)
		assert_int_equal(imgo__shard_score(imgo_str(scores[i].address), scores[i].partition), scores[i].score);
	for (uint32_t p = 0; p < sizeof owners; p++)
		assert_int_equal(imgo__shard_of(list, 3, p), owners[p]);
}

/* The router at `gone` leaves: its partitions move, all others stay. */
static void only_its_own_move(void **state)
{
	(void)state;
	for (uint32_t gone = 0; gone < 5; gone++) {
		struct imgo_str rest[4];
		uint32_t moved = 0;
		for (uint32_t i = 0, n = 0; i < 5; i++)
			if (i != gone)
				rest[n++] = list[i];
		for (uint32_t p = 0; p < 1024; p++) {
			uint32_t before = imgo__shard_of(list, 5, p), after = imgo__shard_of(rest, 4, p);
			if (before == gone)
				moved++;
			else
				assert_true(imgo_str_eq(list[before], rest[after]));
		}
		assert_in_range(moved, 1024 / 5 - 60, 1024 / 5 + 60);
	}
}

static void order_of_the_list_does_not_matter(void **state)
{
	struct imgo_str turned[5];

	(void)state;
	for (uint32_t i = 0; i < 5; i++)
		turned[i] = list[4 - i];
	for (uint32_t p = 0; p < 1024; p++)
		assert_int_equal(imgo__shard_of(list, 5, p), 4 - imgo__shard_of(turned, 5, p));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors),
		cmocka_unit_test(only_its_own_move),
		cmocka_unit_test(order_of_the_list_does_not_matter),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
