/* SPDX-License-Identifier: MIT */
#include "test.h"

#include "base/mem.h"

static void fails_once(void **state)
{
	void *p;
	(void)state;
	imgo__mem_fail_after(2);
	for (int i = 0; i < 2; i++) {
		p = imgo__alloc(1);
		assert_non_null(p);
		free(p);
	}
	assert_null(imgo__zalloc(1));
	p = imgo__array(3, 4);
	assert_non_null(p);
	free(p);
	assert_int_equal(imgo__mem_fail_after(5), -1);
	assert_int_equal(imgo__mem_fail_after(-7), 5);
	assert_int_equal(imgo__mem_fail_after(-1), -1);
}

static void overflow(void **state)
{
	char *p = imgo__alloc(4), *q;
	(void)state;
	assert_null(imgo__array(SIZE_MAX / 2, 3));
	assert_null(imgo__regrow(p, SIZE_MAX / 2, 3));
	q = imgo__regrow(p, 10, 10);
	assert_non_null(q);
	free(q);
	free(imgo__alloc(0));
	free(imgo__array(0, 0));
}

static void strings(void **state)
{
	char *a = imgo__strdup("hello"), *b = imgo__strndup("hello", 2), *c = imgo__strndup(NULL, 0);
	(void)state;
	assert_string_equal(a, "hello");
	assert_string_equal(b, "he");
	assert_string_equal(c, "");
	free(a);
	free(b);
	free(c);
}

static void arena(void **state)
{
	struct imgo__arena arena = {0};
	struct imgo_str s[500];
	bool ok = true;
	char text[300];
	(void)state;
	for (int i = 0; i < 500; i++) {
		memset(text, 'a' + i % 26, sizeof(text));
		s[i] = imgo__arena_str(&arena, imgo_strn(text, (size_t)(i * 7 % 300)), &ok);
	}
	assert_true(ok);
	for (int i = 0; i < 500; i++) {
		assert_int_equal(s[i].len, i * 7 % 300);
		assert_int_equal((uintptr_t)s[i].p % 16, 0);
		assert_int_equal(s[i].p[s[i].len], 0);
		for (size_t j = 0; j < s[i].len; j++)
			assert_int_equal(s[i].p[j], 'a' + i % 26);
	}
	assert_non_null(imgo__arena_alloc(&arena, 1000000));
	assert_non_null(imgo__arena_alloc(&arena, 1));
	assert_null(imgo__arena_alloc(&arena, SIZE_MAX));
	assert_null(imgo__arena_alloc(&arena, SIZE_MAX - 100));
	assert_null(imgo__arena_zalloc(&arena, SIZE_MAX / 2, 3));
	assert_non_null(imgo__arena_zalloc(&arena, 0, 3));
	assert_true(arena.total > 1000000);
	imgo__arena_free(&arena);
	assert_int_equal(arena.total, 0);
	imgo__mem_fail_after(0);
	assert_null(imgo__arena_str(&arena, imgo_str("x"), &ok).p);
	assert_false(ok);
	assert_non_null(imgo__arena_str(&arena, imgo_str("x"), &ok).p);
	assert_false(ok);
	imgo__arena_free(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fails_once),
		cmocka_unit_test(overflow),
		cmocka_unit_test(strings),
		cmocka_unit_test(arena),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
