/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <imgo/error.h>

#include "base/buf.h"
#include "base/mem.h"

static void grows_and_consumes(void **state)
{
	struct imgo__buf buf = {0};
	char expect[5000];
	(void)state;
	for (int i = 0; i < 5000; i++) {
		expect[i] = (char)('a' + i % 26);
		assert_int_equal(imgo__buf_append(&buf, &expect[i], 1), 0);
	}
	assert_int_equal(buf.len, 5000);
	assert_memory_equal(buf.data, expect, 5000);
	imgo__buf_consume(&buf, 100);
	assert_int_equal(buf.len, 4900);
	assert_memory_equal(buf.data, expect + 100, 4900);
	imgo__buf_consume(&buf, 4900);
	assert_int_equal(buf.len, 0);
	imgo__buf_consume(&buf, 1);
	assert_int_equal(buf.len, 0);
	imgo__buf_free(&buf);
	assert_null(buf.data);
	imgo__buf_free(&buf);
}

static void prints(void **state)
{
	struct imgo__buf buf = {0};
	char big[301];
	(void)state;
	memset(big, 'x', 300);
	big[300] = '\0';
	assert_int_equal(imgo__buf_printf(&buf, "%d-%s", 42, "a"), 0);
	assert_int_equal(imgo__buf_printf(&buf, "%s", big), 0);
	assert_int_equal(buf.len, 304);
	assert_memory_equal(buf.data, "42-axxx", 7);
	imgo__buf_free(&buf);
}

static void refuses(void **state)
{
	struct imgo__buf buf = {0};
	(void)state;
	assert_int_equal(imgo__buf_reserve(&buf, SIZE_MAX), IMGO_ENOMEM);
	assert_int_equal(imgo__buf_append(&buf, "abc", 3), 0);
	assert_int_equal(imgo__buf_reserve(&buf, SIZE_MAX - 1), IMGO_ENOMEM);
	imgo__mem_fail_after(0);
	assert_int_equal(imgo__buf_reserve(&buf, 1000), IMGO_ENOMEM);
	imgo__mem_fail_after(0);
	assert_int_equal(imgo__buf_printf(&buf, "%1000d", 1), IMGO_ENOMEM);
	assert_int_equal(buf.len, 3);
	assert_memory_equal(buf.data, "abc", 3);
	assert_int_equal(imgo__buf_append(&buf, NULL, 0), 0);
	imgo__buf_free(&buf);
}

static void big_endian(void **state)
{
	uint8_t p[8];
	(void)state;
	imgo__put64(p, 0x0123456789abcdefu);
	assert_memory_equal(p, "\x01\x23\x45\x67\x89\xab\xcd\xef", 8);
	assert_true(imgo__get64(p) == 0x0123456789abcdefu);
	assert_true(imgo__get32(p + 4) == 0x89abcdefu);
	assert_true(imgo__get16(p + 6) == 0xcdef);
	imgo__put32(p, 0xfffefdfcu);
	assert_true(imgo__get32(p) == 0xfffefdfcu);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grows_and_consumes),
		cmocka_unit_test(prints),
		cmocka_unit_test(refuses),
		cmocka_unit_test(big_endian),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
