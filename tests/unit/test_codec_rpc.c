/* SPDX-License-Identifier: MIT */
#include "codec_test.h"

#include "codec/rpcframe.h"

static void write_frame(struct imgo__buf *buf, const struct imgo__rpc_head *head)
{
	struct imgo__mpw w;
	size_t start;

	imgo__mpw_init(&w, buf);
	start = imgo__rpc_begin(&w, head);
	imgo__mpw_array(&w, 1);
	imgo__mpw_uint(&w, 9);
	assert_int_equal(imgo__rpc_end(&w, start, 100), 0);
}

static void golden(void **state)
{
	struct imgo__rpc_head request = {.type = IMGO__RPC_REQUEST, .id = 300, .method = imgo_str("ping")};
	struct imgo__rpc_head failed = {.type = IMGO__RPC_RESPONSE, .id = 1, .error = IMGO_EDENIED};
	struct imgo__rpc_head done = {.type = IMGO__RPC_RESPONSE, .id = 1};
	struct imgo__rpc_head notify = {.type = IMGO__RPC_NOTIFY, .method = imgo_str("ping")};
	struct imgo__buf buf = {0};

	(void)state;
	write_frame(&buf, &request);
	assert_bytes(buf.data, buf.len, "\0\0\0\x0c\x94\x00\xcd\x01\x2c\xa4ping\x91\x09", 16);
	buf.len = 0;
	write_frame(&buf, &failed);
	assert_bytes(buf.data, buf.len, "\0\0\0\x06\x94\x01\x01\xf5\x91\x09", 10);
	buf.len = 0;
	write_frame(&buf, &done);
	assert_bytes(buf.data, buf.len, "\0\0\0\x06\x94\x01\x01\xc0\x91\x09", 10);
	buf.len = 0;
	write_frame(&buf, &notify);
	assert_bytes(buf.data, buf.len, "\0\0\0\x09\x93\x02\xa4ping\x91\x09", 13);
	imgo__buf_free(&buf);
}

static void reads_frames(void **state)
{
	struct imgo__rpc_head head = {.type = IMGO__RPC_REQUEST, .id = UINT32_MAX, .method = imgo_str("m")}, got;
	struct imgo__buf buf = {0};
	struct imgo_str payload;
	struct imgo__mp rest;
	size_t need, whole;

	(void)state;
	write_frame(&buf, &head);
	whole = buf.len;
	assert_int_equal(imgo__buf_append(&buf, "next", 4), 0);
	for (size_t n = 0; n <= buf.len; n++) {
		uint8_t *copy = exact(buf.data, n);
		ssize_t rc = imgo__rpc_frame(copy, n, 100, &payload, &need);
		assert_int_equal(rc, n < whole ? 0 : whole);
		assert_true(n >= whole || (need > n && need <= whole));
		if (rc > 0) {
			assert_int_equal(imgo__rpc_decode_head(payload, &got, &rest), 0);
			assert_true(got.type == IMGO__RPC_REQUEST && got.id == UINT32_MAX && got.error == 0);
			assert_str(got.method, "m");
			assert_int_equal(imgo__mp_array(&rest, 1), 1);
			assert_int_equal(imgo__mp_u32(&rest), 9);
			assert_int_equal(imgo__mp_finish(&rest), 0);
		}
		exact_free(copy, n);
	}
	imgo__buf_free(&buf);
}

static void bounds_frames(void **state)
{
	struct imgo_str payload;
	size_t need;

	(void)state;
	assert_int_equal(imgo__rpc_frame((const uint8_t *)"\0\0\0\0", 4, 100, &payload, &need), IMGO_EPROTO);
	assert_int_equal(imgo__rpc_frame((const uint8_t *)"\0\0\0\x65", 4, 100, &payload, &need), IMGO_ELIMIT);
	assert_int_equal(imgo__rpc_frame((const uint8_t *)"\xff\xff\xff\xff", 4, 100, &payload, &need), IMGO_ELIMIT);
	assert_int_equal(imgo__rpc_frame((const uint8_t *)"\0\0\0\x64", 4, 100, &payload, &need), 0);
	assert_int_equal(need, 104);
}

static void refuses_heads(void **state)
{
	static const struct imgo_str cases[] = {
		BYTES_INIT(""),
		BYTES_INIT("\xc0"),
		BYTES_INIT("\x01"),
		BYTES_INIT("\x90"),
		BYTES_INIT("\x80"),
		BYTES_INIT("\x94\x03\x01\xa1m\x90"),
		BYTES_INIT("\x94\xff\x01\xa1m\x90"), /* type */
		BYTES_INIT("\x93\x00\x01\xa1m"),
		BYTES_INIT("\x95\x00\x01\xa1m\x90\x90"), /* count */
		BYTES_INIT("\x94\x02\xa1m\x90\x90"),
		BYTES_INIT("\x93\x01\x01\xc0"),
		BYTES_INIT("\x94\x00\xff\xa1m\x90"),
		BYTES_INIT("\x94\x00\xcf\0\0\0\1\0\0\0\0\xa1m\x90"), /* id */
		BYTES_INIT("\x94\x00\xa1"
			   "1\xa1m\x90"),
		BYTES_INIT("\x94\x00\x01\x01\x90"), /* method */
		BYTES_INIT("\x94\x00\x01\xa0\x90"),
		BYTES_INIT("\x94\x00\x01\xd9\x41"
			   "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\x90"),
		BYTES_INIT("\x94\x01\x01\x00\xc0"),
		BYTES_INIT("\x94\x01\x01\x05\xc0"), /* error */
		BYTES_INIT("\x94\x01\x01\xa1"
			   "e\xc0"),
		BYTES_INIT("\x94\x01\x01\xd3\x80\0\0\0\0\0\0\0\xc0"),
		BYTES_INIT("\x94\x00\x01\xa1m"),
		BYTES_INIT("\xdd\xff\xff\xff\xff\x00\x01\xa1m\x90"),
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint8_t *copy = exact(cases[i].p, cases[i].len);
		struct imgo__rpc_head head;
		struct imgo__mp rest;
		if (imgo__rpc_decode_head(imgo_strn(copy, cases[i].len), &head, &rest) != IMGO_EPROTO)
			fail_msg("accepted: case %zu", i);
		exact_free(copy, cases[i].len);
	}
}

static void takes_back_what_is_too_long(void **state)
{
	struct imgo__rpc_head head = {.type = IMGO__RPC_RESPONSE, .id = 1};
	struct imgo__buf buf = {0};
	struct imgo__mpw w;
	size_t start;

	(void)state;
	assert_int_equal(imgo__buf_append(&buf, "before", 6), 0);
	imgo__mpw_init(&w, &buf);
	start = imgo__rpc_begin(&w, &head);
	imgo__mpw_str(&w, imgo_str("0123456789"));
	assert_int_equal(imgo__rpc_end(&w, start, 14), IMGO_ELIMIT);
	assert_str(imgo_strn(buf.data, buf.len), "before");
	start = imgo__rpc_begin(&w, &head);
	imgo__mpw_str(&w, imgo_str("0123456789"));
	assert_int_equal(imgo__rpc_end(&w, start, 15), 0);
	assert_int_equal(buf.len, 6 + 4 + 15);
	imgo__buf_free(&buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden),
		cmocka_unit_test(reads_frames),
		cmocka_unit_test(bounds_frames),
		cmocka_unit_test(refuses_heads),
		cmocka_unit_test(takes_back_what_is_too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
