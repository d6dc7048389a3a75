/* SPDX-License-Identifier: MIT */
#include "codec_test.h"

#include "base/buf.h"
#include "codec/packet.h"

static int decode(struct imgo_str text, struct imgo__packet *out)
{
	return imgo__packet_decode_json(text, out);
}

static void decodes(void **state)
{
	struct imgo__packet p;

	(void)state;
	assert_int_equal(decode(imgo_str(" {\"ver\":1 , \"op\":7,\"seq\":-3,\"body\" : \"to\\\"ken\"}\n"), &p), 0);
	assert_int_equal(p.ver, 1);
	assert_int_equal(p.op, 7);
	assert_int_equal(p.seq, -3);
	assert_true(p.quoted);
	assert_str(p.body, "to\\\"ken");
	assert_false(p.has_id);

	assert_int_equal(decode(imgo_str("{\"body\":{\"test\":1}}"), &p), 0);
	assert_str(p.body, "{\"test\":1}");
	assert_false(p.quoted);
	assert_int_equal(p.ver | p.op | p.seq, 0);

	assert_int_equal(decode(imgo_str("{}"), &p), 0);
	assert_int_equal(p.body.len, 0);
	assert_int_equal(decode(imgo_str("{\"body\":1,\"other\":[1,{\"op\":5}],\"Op\":3}"), &p), 0);
	assert_str(p.body, "1");
	assert_int_equal(p.op, 0);
	assert_int_equal(decode(imgo_str("{\"body\":\"\"}"), &p), 0);
	assert_true(p.quoted && p.body.len == 0);
	assert_int_equal(decode(imgo_str("{\"op\":-2147483648,\"seq\":2147483647,\"ver\":65535}"), &p), 0);
	assert_int_equal(p.op, INT32_MIN);
	assert_int_equal(p.seq, INT32_MAX);
	assert_int_equal(p.ver, 65535);
}

static void decodes_ids(void **state)
{
	struct imgo__packet p;

	(void)state;
	assert_int_equal(
		decode(imgo_str("{\"id\":\"18446744073709551615\",\"op\":18,\"epoch\":4294967295,\"ver\":2}"), &p), 0);
	assert_true(p.has_id && p.id.id == UINT64_MAX && p.id.epoch == UINT32_MAX);
	assert_int_equal(decode(imgo_str("{\"op\":18,\"epoch\":1,\"id\":\"2\"}"), &p), 0);
	assert_true(p.has_id);
	/* A version 1 client may have fields of these names. */
	assert_int_equal(decode(imgo_str("{\"op\":4,\"ver\":1,\"id\":\"abc\"}"), &p), 0);
	assert_false(p.has_id);
	assert_int_equal(decode(imgo_str("{\"op\":4,\"ver\":1,\"id\":\"1\",\"epoch\":1}"), &p), 0);
	assert_false(p.has_id);
	assert_int_equal(decode(imgo_str("{\"op\":4,\"ver\":2,\"id\":\"abc\",\"epoch\":1}"), &p), IMGO_EPROTO);
	assert_int_equal(decode(imgo_str("{\"op\":4,\"ver\":2,\"id\":\"1\"}"), &p), IMGO_EPROTO);
	assert_int_equal(decode(imgo_str("{\"op\":18,\"epoch\":1,\"id\":2}"), &p), IMGO_EPROTO);
	assert_int_equal(decode(imgo_str("{\"op\":18,\"epoch\":4294967296,\"id\":\"2\"}"), &p), IMGO_EPROTO);
	assert_int_equal(decode(imgo_str("{\"op\":18,\"epoch\":1,\"id\":\"18446744073709551616\"}"), &p), IMGO_EPROTO);
}

static void refuses(void **state)
{
	static const char *const cases[] = {
		"",
		" ",
		"[]",
		"1",
		"\"x\"",
		"null",
		"{",
		"}",
		"{\"op\":7",
		"{\"op\":7}x",
		"{\"op\":7}{}",
		"{\"op\":7,}",
		"{\"op\":\"7\"}",
		"{\"op\":7.0}",
		"{\"op\":7e0}",
		"{\"op\":null}",
		"{\"op\":[7]}",
		"{\"op\":true}",
		"{\"op\":2147483648}",
		"{\"op\":-2147483649}",
		"{\"op\":99999999999999999999999}",
		"{\"ver\":-1}",
		"{\"ver\":65536}",
		"{\"seq\":2147483648}",
		"{\"op\":1,\"op\":1}",
		"{\"body\":1,\"body\":2}",
		"{\"op\":01}",
		"{op:1}",
		"{'op':1}",
		"{\"op\":1 \"seq\":2}",
		"{\"body\":\"\n\"}",
		"{\"body\":\"\xff\"}",
		"{\"body\":\"\\ud800\"}",
		"{\"body\":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}",
		"{\"body\":NaN}",
		"\xEF\xBB\xBF{}",
	};
	struct imgo__packet p;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		size_t len = strlen(cases[i]);
		uint8_t *copy = exact(cases[i], len);
		if (decode(imgo_strn(copy, len), &p) != IMGO_EPROTO)
			fail_msg("accepted: %s", cases[i]);
		exact_free(copy, len);
	}
	assert_int_equal(decode(BYTES("{\"op\":1}\0"), &p), IMGO_EPROTO);
}

/* A message is whole or nothing: no prefix of it is accepted. */
static void refuses_prefixes(void **state)
{
	static const char text[] = "{\"ver\":2,\"op\":18,\"seq\":1,\"epoch\":5,\"id\":\"7\",\"body\":{\"a\":["
				   "1,\"\\u00e9\xc3\xa9\"]}}";
	struct imgo__packet p;

	(void)state;
	for (size_t n = 0; n < sizeof text - 1; n++) {
		uint8_t *copy = exact(text, n);
		assert_int_equal(decode(imgo_strn(copy, n), &p), IMGO_EPROTO);
		exact_free(copy, n);
	}
	assert_int_equal(decode(imgo_str(text), &p), 0);
}

static void encodes(void **state)
{
	struct imgo__buf buf = {0};
	struct imgo__packet p = {.ver = 1, .op = 8, .seq = 1};

	(void)state;
	assert_int_equal(imgo__packet_encode_json(&buf, &p), 0);
	assert_str(imgo_strn(buf.data, buf.len), "{\"ver\":1,\"op\":8,\"seq\":1,\"body\":{}}");
	buf.len = 0;
	p = (struct imgo__packet){.ver = 2, .op = 5, .has_id = true, .id = {7, 42}, .body = imgo_str("[1, 2]")};
	assert_int_equal(imgo__packet_encode_json(&buf, &p), 0);
	assert_str(imgo_strn(buf.data, buf.len), "{\"ver\":2,\"op\":5,\"seq\":0,\"body\":[1,2],\"epoch\":7,\"id\":\"42\"}");
	/* An echo of a string is the same string. */
	buf.len = 0;
	assert_int_equal(decode(imgo_str("{\"op\":4,\"body\":\"12\\n\"}"), &p), 0);
	assert_int_equal(imgo__packet_encode_json(&buf, &p), 0);
	assert_str(imgo_strn(buf.data, buf.len), "{\"ver\":0,\"op\":4,\"seq\":0,\"body\":\"12\\n\"}");
	imgo__buf_free(&buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decodes),
		cmocka_unit_test(decodes_ids),
		cmocka_unit_test(refuses),
		cmocka_unit_test(refuses_prefixes),
		cmocka_unit_test(encodes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
