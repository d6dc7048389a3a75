/* SPDX-License-Identifier: MIT */
#include "codec_test.h"

#include "base/mem.h"
#include "codec/http.h"

static const struct imgo__http_limits limits = {.target_max = 200, .head_max = 1000, .body_max = 5000};

/*
 * What the whole text gives: the length of its head, 0, or minus the status. Every prefix gives "incomplete"
 * or the same, and what is refused stays refused.
 */
static int decode(struct imgo_str text, struct imgo__http_request *out)
{
	int status = 0;
	ssize_t want = imgo__http_decode((const uint8_t *)text.p, text.len, &limits, out, &status);
	bool decided = false;

	if (want < 0)
		assert_int_equal(want, IMGO_EPROTO);
	for (size_t n = 0; n <= text.len; n++) {
		struct imgo__http_request part;
		uint8_t *copy = exact(text.p, n);
		int part_status = 0;
		ssize_t got = imgo__http_decode(copy, n, &limits, &part, &part_status);
		exact_free(copy, n);
		if (got == 0) {
			assert_false(decided);
			assert_true(n < limits.head_max);
			continue;
		}
		decided = true;
		assert_int_equal(got, want);
		assert_int_equal(part_status, status);
	}
	return want < 0 ? -status : (int)want;
}

static void reads_requests(void **state)
{
	struct imgo__http_request r;
	static const char text[] = "POST /1/push?uid=7&x=%20 HTTP/1.1\r\nHost: example.org:7172\r\ncontent-LENGTH: 5\r\n"
				   "X-Empty:\r\nX-Tab:\t a\tb \t\r\nIdempotency-Key: k\xc3\xa9\r\n\r\nhello";

	(void)state;
	assert_int_equal(decode(imgo_str(text), &r), strlen(text) - 5);
	assert_str(r.method, "POST");
	assert_str(r.target, "/1/push?uid=7&x=%20");
	assert_str(r.path, "/1/push");
	assert_str(r.query, "uid=7&x=%20");
	assert_true(r.has_content_length && r.content_length == 5);
	assert_true(r.keep_alive && !r.http10 && !r.expect_continue && !r.upgrade_websocket);
	assert_int_equal(r.nheaders, 5);
	assert_str(imgo__http_header(&r, "x-tab"), "a\tb");
	assert_int_equal(imgo__http_header(&r, "X-Empty").len, 0);
	assert_non_null(imgo__http_header(&r, "X-Empty").p);
	assert_null(imgo__http_header(&r, "X-Other").p);
	assert_int_equal(imgo__http_header_count(&r, "HOST"), 1);

	assert_true(decode(imgo_str("GET / HTTP/1.1\r\nHost:\r\n\r\n"), &r) > 0);
	assert_true(r.query.len == 0 && !r.has_content_length && r.content_length == 0);
	assert_true(decode(imgo_str("GET /? HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"), &r) > 0);
	assert_str(r.path, "/");
}

static void reads_connection(void **state)
{
	static const struct {
		const char *text;
		bool keep_alive, upgrade, expect;
	} cases[] = {
		{"GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", false, false, false},
		{"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive , close\r\n\r\n", false, false, false},
		{"GET / HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n", true, false, false},
		{"GET / HTTP/1.0\r\n\r\n", false, false, false},
		{"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true, false, false},
		{"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", false, false, false},
		{"GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: UPGRADE\r\nUpgrade: h2c, "
		 "WebSocket\r\n\r\n",
			true, true, false},
		{"GET / HTTP/1.1\r\nHost: a\r\nConnection: x-upgrade\r\nUpgrade: websocket\r\n\r\n", true, false, false},
		{"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n", true, false, true},
		{"POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n", false, false, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct imgo__http_request r;
		assert_true(decode(imgo_str(cases[i].text), &r) > 0);
		assert_int_equal(r.keep_alive, cases[i].keep_alive);
		assert_int_equal(r.upgrade_websocket, cases[i].upgrade);
		assert_int_equal(r.expect_continue, cases[i].expect);
	}
}

/* A1: everything that two parsers could read in two ways. */
static void refuses(void **state)
{
#define H "Host: a\r\n"
	static const struct {
		struct imgo_str text;
		int status;
	} cases[] = {
		{BYTES_INIT("POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"), 501},
		{BYTES_INIT("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"), 501},
		{BYTES_INIT("POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n"), 501},
		{BYTES_INIT("POST / HTTP/1.1\r\n" H "transfer-encoding: identity\r\n\r\n"), 501},
		{BYTES_INIT("POST / HTTP/1.1\r\n" H "Transfer-Encoding:\r\n chunked\r\n\r\n"), 501},
		{BYTES_INIT("POST / HTTP/1.1\r\n" H "Transfer-Encoding : chunked\r\n\r\n"), 400},
		{BYTES_INIT("POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nContent-Length: 3\r\n\r\n"), 400},
		{BYTES_INIT("POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nContent-Length: 4\r\n\r\n"), 400},
		{BYTES_INIT("POST / HTTP/1.1\r\n" H "Content-Length : 3\r\n\r\n"), 400},
		{BYTES_INIT("POST / HTTP/1.1\r\n" H "Content-Length: +3\r\n\r\n"), 400},
		{BYTES_INIT("POST / HTTP/1.1\r\n" H "Content-Length: -1\r\n\r\n"), 400},
		{BYTES_INIT("POST / HTTP/1.1\r\n" H "Content-Length: 0x3\r\n\r\n"), 400},
		{BYTES_INIT("POST / HTTP/1.1\r\n" H "Content-Length: 3, 3\r\n\r\n"), 400},
		{BYTES_INIT("POST / HTTP/1.1\r\n" H "Content-Length: 3 3\r\n\r\n"), 400},
		{BYTES_INIT("POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n"), 400},
		{BYTES_INIT("POST / HTTP/1.1\r\n" H "Content-Length: 5001\r\n\r\n"), 413},
		{BYTES_INIT("POST / HTTP/1.1\r\n" H "Content-Length: 18446744073709551619\r\n\r\n"), 413},
		{BYTES_INIT("POST / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999999999x\r\n\r\n"), 400},
		{BYTES_INIT("GET / HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n"), 400},
		{BYTES_INIT("GET / HTTP/1.1\r\n" H "X: a\r\n\tb\r\n\r\n"), 400},
		{BYTES_INIT("GET / HTTP/1.1\r\n X: a\r\n" H "\r\n"), 400},
		{BYTES_INIT("GET / HTTP/1.1\n" H "\r\n"), 400},
		{BYTES_INIT("GET / HTTP/1.1\r\nHost: a\n\r\n"), 400},
		{BYTES_INIT("GET / HTTP/1.1\r\n" H "\n"), 400},
		{BYTES_INIT("GET / HTTP/1.1\r\n" H "X: a\rb\r\n\r\n"), 400},
		{BYTES_INIT("GET / HTTP/1.1\r\n" H "X: a\r\r\n\r\n"), 400},
		{BYTES_INIT("GET / HTTP/1.1\r\n" H "X: a\0b\r\n\r\n"), 400},
		{BYTES_INIT("GET / HTTP/1.1\r\n" H "X\0: a\r\n\r\n"), 400},
		{BYTES_INIT("GET / HTTP/1.1\r\n" H "X: \x1b\r\n\r\n"), 400},
		{BYTES_INIT("GET / HTTP/1.1\r\n" H "X: \x7f\r\n\r\n"), 400},
		{BYTES_INIT("GET / HTTP/1.1\r\n" H ": a\r\n\r\n"), 400},
		{BYTES_INIT("GET / HTTP/1.1\r\n" H "X Y: a\r\n\r\n"), 400},
		{BYTES_INIT("GET / HTTP/1.1\r\n" H "X\xc3\xa9: a\r\n\r\n"), 400},
		{BYTES_INIT("GET / HTTP/1.1\r\n" H "no colon\r\n\r\n"), 400},
		{BYTES_INIT("GET / HTTP/1.1\r\n\r\n"), 400},
		{BYTES_INIT("GET / HTTP/1.1\r\n" H H "\r\n"), 400},
		{BYTES_INIT("GET / HTTP/1.0\r\n" H H "\r\n"), 400},
		{BYTES_INIT("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), 400},
		{BYTES_INIT("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"), 400},
		{BYTES_INIT("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"), 400},
		{BYTES_INIT("\r\nGET / HTTP/1.1\r\n" H "\r\n"), 400},
		{BYTES_INIT("GET  / HTTP/1.1\r\n" H "\r\n"), 400},
		{BYTES_INIT("GET /  HTTP/1.1\r\n" H "\r\n"), 400},
		{BYTES_INIT("GET / HTTP/1.1 \r\n" H "\r\n"), 400},
		{BYTES_INIT(" GET / HTTP/1.1\r\n" H "\r\n"), 400},
		{BYTES_INIT("GET\t/ HTTP/1.1\r\n" H "\r\n"), 400},
		{BYTES_INIT("GET /\r\n"), 400},
		{BYTES_INIT("GET\r\n"), 400},
		{BYTES_INIT("G(T / HTTP/1.1\r\n" H "\r\n"), 400},
		{BYTES_INIT("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMN / HTTP/1.1\r\n" H "\r\n"), 400},
		{BYTES_INIT("GET http://a/ HTTP/1.1\r\n" H "\r\n"), 400},
		{BYTES_INIT("OPTIONS * HTTP/1.1\r\n" H "\r\n"), 400},
		{BYTES_INIT("GET /a#b HTTP/1.1\r\n" H "\r\n"), 400},
		{BYTES_INIT("GET /\xc3\xa9 HTTP/1.1\r\n" H "\r\n"), 400},
		{BYTES_INIT("GET /\0 HTTP/1.1\r\n" H "\r\n"), 400},
		{BYTES_INIT("GET / http/1.1\r\n" H "\r\n"), 400},
		{BYTES_INIT("GET / HTTP/1.10\r\n" H "\r\n"), 400},
		{BYTES_INIT("GET / HTTP/1\r\n" H "\r\n"), 400},
		{BYTES_INIT("GET / FTP/1.1x\r\n" H "\r\n"), 400},
		{BYTES_INIT("GET / HTTP/2.0\r\n" H "\r\n"), 505},
		{BYTES_INIT("GET / HTTP/0.9\r\n" H "\r\n"), 505},
		{BYTES_INIT("GET / HTTP/1.2\r\n" H "\r\n"), 505},
		{BYTES_INIT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 400},
		{BYTES_INIT("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n"), 400},
		{BYTES_INIT("POST / HTTP/1.1\r\n" H "Expect: 200-ok\r\n\r\n"), 417},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct imgo__http_request r;
		int got = decode(cases[i].text, &r);
		if (got != -cases[i].status)
			fail_msg("%d, not %d: %s", got, -cases[i].status, cases[i].text.p);
	}
}

/* A2: sizes, and as early as they can be known. */
static void bounds_sizes(void **state)
{
	char text[4000];
	struct imgo__http_request r;
	int status;
	size_t n;

	(void)state;
	memcpy(text, "GET /", 5);
	memset(text + 5, 'x', sizeof text - 5);
	assert_int_equal(decode(imgo_strn(text, sizeof text), &r), -414);
	assert_int_equal(imgo__http_decode((uint8_t *)text, 4 + 201, &limits, &r, &status), IMGO_EPROTO);
	assert_int_equal(status, 414);
	assert_int_equal(imgo__http_decode((uint8_t *)text, 4 + 200, &limits, &r, &status), 0);

	n = (size_t)snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
	memset(text + n, 'x', sizeof text - n);
	assert_int_equal(decode(imgo_strn(text, sizeof text), &r), -431);
	/* A head of exactly head_max is fine, one byte more is not. */
	memcpy(text + limits.head_max - 4, "\r\n\r\n", 4);
	assert_int_equal(decode(imgo_strn(text, sizeof text), &r), limits.head_max);
	text[limits.head_max - 4] = 'x';
	memcpy(text + limits.head_max - 3, "\r\n\r\n", 4);
	assert_int_equal(decode(imgo_strn(text, sizeof text), &r), -431);

	/* The headers alone: those of exactly headers_max are fine, whatever the target's length. */
	struct imgo__http_limits apart = limits;
	apart.headers_max = 100;
	n = (size_t)snprintf(text, sizeof text, "GET /%0150d HTTP/1.1\r\n", 0);
	memset(text + n, 'x', 200);
	memcpy(text + n, "Host: a\r\nX: ", 12);
	memcpy(text + n + 96, "\r\n\r\n", 4);
	assert_int_equal(imgo__http_decode((uint8_t *)text, n + 200, &apart, &r, &status), n + 100);
	assert_int_equal(imgo__http_decode((uint8_t *)text, n + 99, &apart, &r, &status), 0);
	memcpy(text + n + 96, "xxxxx\r\n\r\n", 9);
	assert_int_equal(imgo__http_decode((uint8_t *)text, n + 200, &apart, &r, &status), IMGO_EPROTO);
	assert_int_equal(status, 431);

	for (int headers = 63; headers <= 65; headers++) {
		n = (size_t)snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: a\r\n");
		for (int i = 1; i < headers; i++)
			n += (size_t)snprintf(text + n, sizeof text - n, "A: b\r\n");
		n += (size_t)snprintf(text + n, sizeof text - n, "\r\n");
		assert_int_equal(decode(imgo_strn(text, n), &r), headers <= 64 ? (int)n : -431);
	}
}

static void reads_params(void **state)
{
	struct imgo__arena arena = {0};
	struct imgo_str form = imgo_str("uid=7&&a=1%2b+%C3%a9&b&k%65y=x&bad=%zz&nul=%00&cut=%4&u=1&u=&u=3&=e&c=a=b");
	struct imgo_str v, all[3];
	size_t n;

	(void)state;
	assert_int_equal(imgo__http_param(&arena, form, "uid", &v), 0);
	assert_str(v, "7");
	assert_int_equal(imgo__http_param(&arena, form, "a", &v), 0);
	assert_str(v, "1+ \xc3\xa9");
	assert_int_equal(imgo__http_param(&arena, form, "b", &v), 0);
	assert_int_equal(v.len, 0);
	assert_int_equal(imgo__http_param(&arena, form, "key", &v), 0);
	assert_str(v, "x");
	assert_int_equal(imgo__http_param(&arena, form, "c", &v), 0);
	assert_str(v, "a=b");
	assert_int_equal(imgo__http_param(&arena, form, "", &v), 0);
	assert_int_equal(imgo__http_param(&arena, form, "bad", &v), IMGO_EINVAL);
	assert_int_equal(imgo__http_param(&arena, form, "nul", &v), IMGO_EINVAL);
	assert_int_equal(imgo__http_param(&arena, form, "cut", &v), IMGO_EINVAL);
	assert_int_equal(imgo__http_param(&arena, form, "ui", &v), IMGO_ENOTFOUND);
	assert_int_equal(imgo__http_param(&arena, imgo_strn(NULL, 0), "u", &v), IMGO_ENOTFOUND);
	assert_int_equal(imgo__http_params(&arena, form, "u", all, 3, &n), 0);
	assert_int_equal(n, 3);
	assert_str(all[0], "1");
	assert_int_equal(all[1].len, 0);
	assert_str(all[2], "3");
	assert_int_equal(imgo__http_params(&arena, form, "u", all, 2, &n), IMGO_ELIMIT);
	assert_int_equal(imgo__http_params(&arena, form, "zz", all, 2, &n), 0);
	assert_int_equal(n, 0);
	/* Cut anywhere, nothing is read behind its end. */
	for (size_t len = 0; len < form.len; len++) {
		uint8_t *copy = exact(form.p, len);
		imgo__http_params(&arena, imgo_strn(copy, len), "u", all, 3, &n);
		imgo__http_param(&arena, imgo_strn(copy, len), "bad", &v);
		imgo__http_param(&arena, imgo_strn(copy, len), "a", &v);
		exact_free(copy, len);
	}
	imgo__arena_free(&arena);
}

static void reads_responses(void **state)
{
	static const char text[] =
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{\"ret\":1}";
	static const char *const bad[] = {"HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n",
		"HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 099 OK\r\n\r\n", "ICY 200 OK\r\n\r\n", "HTTP/1.1 200 OK\n\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"};
	struct imgo__http_response r;
	ssize_t got;

	(void)state;
	for (size_t n = 0; n <= sizeof text - 1; n++) {
		uint8_t *copy = exact(text, n);
		got = imgo__http_decode_response(copy, n, 1000, &r);
		assert_int_equal(got, n < sizeof text - 10 ? 0 : sizeof text - 10);
		exact_free(copy, n);
	}
	assert_true(r.status == 200 && r.keep_alive && r.has_content_length && r.content_length == 9);
	assert_int_equal(r.nheaders, 2);
	assert_true(imgo__http_decode_response((const uint8_t *)"HTTP/1.0 503\r\n\r\n", 16, 1000, &r) == 16);
	assert_true(r.status == 503 && !r.keep_alive && !r.has_content_length);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		got = imgo__http_decode_response((const uint8_t *)bad[i], strlen(bad[i]), 1000, &r);
		assert_int_equal(got, IMGO_EPROTO);
	}
	assert_int_equal(imgo__http_decode_response((const uint8_t *)text, 30, 30, &r), IMGO_EPROTO);
	assert_string_equal(imgo__http_reason(431), "Request Header Fields Too Large");
	assert_string_equal(imgo__http_reason(299), "Unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_requests),
		cmocka_unit_test(reads_connection),
		cmocka_unit_test(refuses),
		cmocka_unit_test(bounds_sizes),
		cmocka_unit_test(reads_params),
		cmocka_unit_test(reads_responses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
