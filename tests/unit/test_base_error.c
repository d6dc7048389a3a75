/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <errno.h>

#include "base/error.h"

static void every_code_has_texts(void **state)
{
	(void)state;
	for (int err = IMGO_OK; err >= IMGO_EVERSION; err--) {
		assert_string_not_equal(imgo_strerror(err), "unknown error");
		assert_string_not_equal(imgo_err_name(err), "EUNKNOWN");
	}
	assert_string_equal(imgo_strerror(IMGO_ETIMEDOUT), "timed out");
	assert_string_equal(imgo_err_name(IMGO_ETIMEDOUT), "ETIMEDOUT");
	assert_string_equal(imgo_strerror(1), "unknown error");
	assert_string_equal(imgo_strerror(-1000), "unknown error");
	assert_string_equal(imgo_err_name(-2147483647 - 1), "EUNKNOWN");
}

static void fail_fills(void **state)
{
	struct imgo_error error;
	(void)state;
	assert_int_equal(imgo__fail(&error, IMGO_EINVAL, "key %s", "x"), IMGO_EINVAL);
	assert_int_equal(error.code, IMGO_EINVAL);
	assert_string_equal(error.text, "key x");
	assert_int_equal(imgo__fail(NULL, IMGO_EIO, "%d", 1), IMGO_EIO);
	imgo__fail(&error, IMGO_EIO, "%500d", 1);
	assert_int_equal(strlen(error.text), sizeof(error.text) - 1);
}

static void from_errno(void **state)
{
	(void)state;
	assert_int_equal(imgo__from_errno(0), 0);
	assert_int_equal(imgo__from_errno(ENOMEM), IMGO_ENOMEM);
	assert_int_equal(imgo__from_errno(EMFILE), IMGO_ELIMIT);
	assert_int_equal(imgo__from_errno(ECONNREFUSED), IMGO_EUNAVAILABLE);
	assert_int_equal(imgo__from_errno(EPIPE), IMGO_ECLOSED);
	assert_int_equal(imgo__from_errno(EAGAIN), IMGO_ETIMEDOUT);
	assert_int_equal(imgo__from_errno(ENOSPC), IMGO_EFULL);
	assert_int_equal(imgo__from_errno(EXDEV), IMGO_EIO);
	for (int i = 1; i < 140; i++)
		assert_true(imgo__from_errno(i) < 0);
}

static void version(void **state)
{
	(void)state;
	assert_string_equal(imgo_version(), IMGO_VERSION);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_code_has_texts),
		cmocka_unit_test(fail_fills),
		cmocka_unit_test(from_errno),
		cmocka_unit_test(version),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
