/* SPDX-License-Identifier: MIT */
/* The body of a login in all its forms. */
#include "codec_test.h"

#include "codec/login.h"

static struct imgo__login login;

static int read_login(const char *body, uint16_t ver, bool goim)
{
	imgo__login_free(&login);
	return imgo__login_read(&login, imgo_str(body), ver, goim, 4);
}

static int teardown(void **state)
{
	(void)state;
	imgo__login_free(&login);
	return 0;
}

static void bare_tokens(void **state)
{
	static const char *const same[] = {
		"token", "\"", "{\"test\":1}", "{\"token\":\"a\"}", "{\"token\":\"a\"", "[1]", "{}"};

	(void)state;
	for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
		assert_int_equal(read_login(same[i], 1, false), 0);
		assert_true(imgo_str_eq(login.token, imgo_str(same[i])));
		assert_false(login.is_goim);
		assert_null(login.accepts);
	}
	assert_int_equal(read_login("\"abc\"", 2, true), 0);
	assert_str(login.token, "abc");
	assert_false(login.is_goim);
	assert_int_equal(read_login("", 1, false), 0);
	assert_int_equal(login.token.len, 0);
}

static void token_limit(void **state)
{
	char text[IMGO_TOKEN_MAX + 2];

	(void)state;
	memset(text, 'x', sizeof text);
	text[IMGO_TOKEN_MAX] = 0;
	assert_int_equal(read_login(text, 1, false), 0);
	text[IMGO_TOKEN_MAX] = 'x';
	text[IMGO_TOKEN_MAX + 1] = 0;
	assert_int_equal(read_login(text, 1, false), IMGO_ELIMIT);
}

static void goim_object(void **state)
{
	static const char body[] = "{\"mid\":123,\"key\":\"k\\u0031\",\"room_id\":\"live://1000\",\"platform\":\"web\","
				   "\"accepts\":[1001, 1000 ,1001,-5]}";

	(void)state;
	assert_int_equal(read_login(body, 1, false), 0);
	assert_true(login.is_goim);
	assert_false(login.has_token);
	assert_true(imgo_str_eq(login.token, imgo_str(body)));
	assert_int_equal(login.mid, 123);
	assert_str(login.key, "k1");
	assert_int_equal(login.nrooms, 1);
	assert_str(login.rooms[0], "live://1000");
	assert_int_equal(login.naccepts, 3);
	assert_int_equal(login.accepts[0], -5);
	assert_int_equal(login.accepts[1], 1000);
	assert_int_equal(login.accepts[2], 1001);
}

static void goim_forms(void **state)
{
	(void)state;
	assert_int_equal(read_login("{\"mid\":\"9223372036854775807\",\"key\":\"\",\"room_id\":\"\"}", 1, false), 0);
	assert_true(login.mid == INT64_MAX);
	assert_int_equal(login.nrooms, 0);
	assert_int_equal(login.key.len, 0);
	assert_null(login.accepts);
	assert_int_equal(read_login("{\"accepts\":[],\"token\":\"t\"}", 1, false), 0);
	assert_true(login.is_goim && login.has_token);
	assert_str(login.token, "t");
	assert_non_null(login.accepts);
	assert_int_equal(login.naccepts, 0);
	assert_int_equal(
		read_login("{\"mid\":1,\"key\":null,\"room_id\":null,\"platform\":null,\"accepts\":null}", 1, false), 0);
	assert_true(login.mid == 1);
	assert_null(login.accepts);
	assert_int_equal(login.nrooms, 0);
	assert_int_equal(login.key.len, 0);
	assert_true(read_login("{\"mid\":1,\"token\":null}", 1, false) < 0); /* ours: it has to be one */
	/* In goim's framing any object is one, and version 2's members go along. */
	assert_int_equal(read_login("{\"token\":\"t\",\"rooms\":[\"a\"],\"room_id\":\"b\",\"device\":\"d\"}", 1, true), 0);
	assert_true(login.is_goim);
	assert_str(login.token, "t");
	assert_str(login.device, "d");
	assert_int_equal(login.nrooms, 2);
}

static void long_goim_object_without_token(void **state)
{
	char body[2048];

	(void)state;
	snprintf(body, sizeof body, "{\"mid\":7,\"filler\":\"%01500d\"}", 0);
	assert_int_equal(read_login(body, 1, false), 0);
	assert_int_equal(login.mid, 7);
	assert_non_null(login.token.p);
	assert_int_equal(login.token.len, 0);
}

static void version_2_object(void **state)
{
	(void)state;
	assert_int_equal(
		read_login("{\"token\":\"t\\\"k\",\"resume\":{\"epoch\":7,\"id\":\"18446744073709551615\"}}", 2, false), 0);
	assert_str(login.token, "t\"k");
	assert_false(login.is_goim);
	assert_true(login.has_resume);
	/* goim's members mean nothing here. */
	assert_int_equal(read_login("{\"token\":\"t\",\"key\":[],\"key\":1,\"room_id\":{}}", 2, false), 0);
	assert_int_equal(login.key.len + login.nrooms, 0);
	assert_int_equal(
		read_login("{\"token\":\"t\",\"resume\":{\"epoch\":7,\"id\":\"18446744073709551615\"}}", 2, false), 0);
	assert_int_equal(login.resume.epoch, 7);
	assert_true(login.resume.id == UINT64_MAX);
}

static void refused(void **state)
{
	static const char *const bad[] = {
		"{\"mid\":1,\"mid\":2}",
		"{\"mid\":-1}",
		"{\"mid\":1.5}",
		"{\"mid\":9223372036854775808}",
		"{\"mid\":[]}",
		"{\"mid\":1,\"key\":5}",
		"{\"mid\":1,\"key\":\"0123456789012345678901234567890123456789012345678901234567890123x\"}",
		"{\"mid\":1,\"token\":7}",
		"{\"mid\":1,\"room_id\":7}",
		"{\"accepts\":5}",
		"{\"accepts\":[\"5\"]}",
		"{\"accepts\":[2147483648]}",
		"{\"accepts\":[1,[2]]}",
		"{\"accepts\":[1e3]}",
		"{\"accepts\":[true]}",
		"{\"mid\":1,\"rooms\":[\"\"]}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(read_login(bad[i], 1, false), IMGO_EPROTO);
	assert_int_equal(
		read_login("{\"mid\":1,\"rooms\":[\"a\",\"b\",\"c\",\"d\"],\"room_id\":\"e\"}", 1, false), IMGO_ELIMIT);
}

static void accepts_limit(void **state)
{
	char body[8192];
	size_t n = (size_t)snprintf(body, sizeof body, "{\"accepts\":[0");

	(void)state;
	for (int i = 1; i < IMGO_ACCEPTS_MAX; i++)
		n += (size_t)snprintf(body + n, sizeof body - n, ",%d", i);
	snprintf(body + n, sizeof body - n, "]}");
	assert_int_equal(read_login(body, 1, false), 0);
	assert_int_equal(login.naccepts, IMGO_ACCEPTS_MAX);
	snprintf(body + n, sizeof body - n, ",5]}"); /* one too many, though it is there already */
	assert_int_equal(read_login(body, 1, false), IMGO_ELIMIT);
}

static void comma_lists(void **state)
{
	static const char *const bad[] = {",", "1,", "1,,2", "a", "1;2", "0x10", "- 5", "+5", "99999999999"};
	int32_t ops[4];

	(void)state;
	assert_int_equal(imgo__ops_read(imgo_str(" 1000 , 7,7,-2147483648"), ops, 4), 3);
	assert_int_equal(ops[0], INT32_MIN);
	assert_int_equal(ops[1], 7);
	assert_int_equal(ops[2], 1000);
	assert_int_equal(imgo__ops_read(imgo_str(""), ops, 4), 0);
	assert_int_equal(imgo__ops_read(imgo_str(" "), ops, 4), 0);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(imgo__ops_read(imgo_str(bad[i]), ops, 4), IMGO_EPROTO);
	assert_int_equal(imgo__ops_read(imgo_str("1,2,3,4,5"), ops, 4), IMGO_ELIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(bare_tokens, teardown),
		cmocka_unit_test_teardown(token_limit, teardown),
		cmocka_unit_test_teardown(goim_object, teardown),
		cmocka_unit_test_teardown(goim_forms, teardown),
		cmocka_unit_test_teardown(long_goim_object_without_token, teardown),
		cmocka_unit_test_teardown(version_2_object, teardown),
		cmocka_unit_test_teardown(refused, teardown),
		cmocka_unit_test_teardown(accepts_limit, teardown),
		cmocka_unit_test(comma_lists),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
