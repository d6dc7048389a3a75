/* SPDX-License-Identifier: MIT */
#include "codec_test.h"

#include "base/buf.h"
#include "codec/http.h"
#include "codec/ws.h"

#define MESSAGE_MAX 1000

/* What a receiver saw of a stream of frames, as text: "1:hello 9:x 8(1000): !1002". */
struct seen {
	char text[4096];
	size_t len;
};

static void note(struct seen *seen, const struct imgo__ws_event *event)
{
	int n;

	if (event->op == 0)
		return;
	n = snprintf(seen->text + seen->len, sizeof seen->text - seen->len, "%u(%u):%.*s ", event->op,
		event->close_code, (int)event->payload.len, event->payload.p ? event->payload.p : "");
	seen->len += (size_t)n < sizeof seen->text - seen->len ? (size_t)n : sizeof seen->text - seen->len - 1;
}

/* Feeds the stream so that the receiver first sees `first` bytes, then `step` more each time. */
static void feed(struct seen *seen, bool server, const uint8_t *stream, size_t len, size_t first, size_t step)
{
	struct imgo__buf message = {0}, in = {0};
	struct imgo__ws ws = {0};
	struct imgo__ws_event event;
	uint16_t code = 0;
	size_t need = 0, at = first < len ? first : len;
	ssize_t got;

	memset(seen, 0, sizeof *seen);
	assert_int_equal(imgo__buf_append(&in, stream, at), 0);
	for (;;) {
		uint8_t *copy = exact(in.data, in.len);
		got = imgo__ws_decode(&ws, server, copy, in.len, MESSAGE_MAX, &message, &event, &code, &need);
		if (got > 0) {
			note(seen, &event);
			if (event.op && event.op < IMGO__WS_CLOSE)
				message.len = 0;
		}
		exact_free(copy, in.len);
		if (got < 0)
			break;
		if (got > 0) {
			imgo__buf_consume(&in, (size_t)got);
			continue;
		}
		assert_true(ws.closed || (need > in.len && need <= 14 + MESSAGE_MAX));
		if (at == len)
			break;
		step = step < len - at ? step : len - at;
		assert_int_equal(imgo__buf_append(&in, stream + at, step), 0);
		at += step;
	}
	if (got < 0)
		seen->len += (size_t)snprintf(seen->text + seen->len, sizeof seen->text - seen->len, "!%u", code);
	imgo__buf_free(&in);
	imgo__buf_free(&message);
}

static void check(bool server, const uint8_t *stream, size_t len, const char *want)
{
	struct seen seen;

	feed(&seen, server, stream, len, len, 1);
	assert_string_equal(seen.text, want);
	feed(&seen, server, stream, len, 0, 1);
	assert_string_equal(seen.text, want);
	for (size_t first = 1; first < len; first++) {
		feed(&seen, server, stream, len, first, len);
		assert_string_equal(seen.text, want);
	}
}

/* Appends a frame as a client would send it; byte0: FIN, RSV and opcode. */
static void add(struct imgo__buf *stream, uint8_t byte0, const void *payload, size_t len)
{
	static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
	uint8_t head[14];
	size_t n = imgo__ws_header_masked(0, len, mask, head);

	head[0] = byte0;
	assert_int_equal(imgo__buf_append(stream, head, n), 0);
	assert_int_equal(imgo__buf_append(stream, payload, len), 0);
	imgo__ws_mask(stream->data + stream->len - len, len, mask);
}

static void add_text(struct imgo__buf *stream, uint8_t byte0, const char *text)
{
	add(stream, byte0, text, strlen(text));
}

static void takes_messages(void **state)
{
	struct imgo__buf s = {0};
	char big[MESSAGE_MAX + 1] = {0};
	char want[MESSAGE_MAX + 100];

	(void)state;
	add_text(&s, 0x81, "Hello");
	add_text(&s, 0x82, "\x01\xff");
	add_text(&s, 0x81, "");
	add_text(&s, 0x01, "fr");
	add_text(&s, 0x89, "ping");
	add_text(&s, 0x00, "");
	add_text(&s, 0x00, "ag\xe2\x82"); /* a code point over two fragments */
	add_text(&s, 0x8A, "");
	add_text(&s, 0x80, "\xac");
	add_text(&s, 0x02, "a\xff");
	add_text(&s, 0x80, "b");
	add_text(&s, 0x88,
		"\x03\xe8"
		"bye");
	add_text(&s, 0x81, "after the close");
	check(true, s.data, s.len,
		"1(0):Hello 2(0):\x01\xff 1(0): 9(0):ping 10(0): 1(0):frag\xe2\x82\xac 2(0):a\xff"
		"b 8(1000):bye ");
	memset(big, 'x', 300);
	s.len = 0;
	add_text(&s, 0x81, big);
	snprintf(want, sizeof want, "1(0):%s ", big);
	check(true, s.data, s.len, want);
	imgo__buf_free(&s);
}

static void takes_server_frames(void **state)
{
	/* RFC 6455 §5.7: a single-frame and a fragmented unmasked text message. */
	static const uint8_t stream[] = "\x81\x05Hello\x01\x03Hel\x80\x02lo\x88\x00";
	static const uint8_t masked[] = "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";

	(void)state;
	check(false, stream, sizeof stream - 1, "1(0):Hello 1(0):Hello 8(1005): ");
	check(false, masked, sizeof masked - 1, "!1002");
	check(true, masked, sizeof masked - 1, "1(0):Hello ");
	check(true, stream, sizeof stream - 1, "!1002");
}

/* H4, and H3 for lengths. The first byte(s) alone must do. */
static void refuses_frames(void **state)
{
	static const struct {
		struct imgo_str bytes;
		const char *want;
	} cases[] = {
		{BYTES_INIT("\xC1\x80"), "!1002"},
		{BYTES_INIT("\xA1\x80"), "!1002"},
		{BYTES_INIT("\x91\x80"), "!1002"}, /* RSV */
		{BYTES_INIT("\x83"), "!1002"},
		{BYTES_INIT("\x87"), "!1002"},
		{BYTES_INIT("\x8B"), "!1002"},
		{BYTES_INIT("\x8F"), "!1002"},
		{BYTES_INIT("\x80"), "!1002"},
		{BYTES_INIT("\x00"), "!1002"}, /* continuation of nothing */
		{BYTES_INIT("\x09"), "!1002"},
		{BYTES_INIT("\x08"), "!1002"},
		{BYTES_INIT("\x0A"), "!1002"}, /* fragmented control */
		{BYTES_INIT("\x89\xFE"), "!1002"},
		{BYTES_INIT("\x88\xFF"), "!1002"}, /* control frame over 125 bytes */
		{BYTES_INIT("\x81\x05"), "!1002"}, /* no mask */
		{BYTES_INIT("\x81\xFE\x00\x7D"), "!1002"},
		{BYTES_INIT("\x81\xFF\0\0\0\0\0\0\xFF\xFF"), "!1002"}, /* not shortest */
		{BYTES_INIT("\x81\xFF\x80\0\0\0\0\0\0\0"), "!1002"},   /* negative */
		{BYTES_INIT("\x81\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF"), "!1009"},
		{BYTES_INIT("\x81\xFE\x03\xE9"), "!1009"}, /* 1001 of 1000 */
		{BYTES_INIT("\x81\xFE\x03\xE8"), ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		check(true, (const uint8_t *)cases[i].bytes.p, cases[i].bytes.len, cases[i].want);
}

static void refuses_order(void **state)
{
	struct imgo__buf s = {0};
	char part[601];

	(void)state;
	add_text(&s, 0x01, "a");
	add_text(&s, 0x81, "b"); /* a new message inside one */
	check(true, s.data, s.len, "!1002");
	s.len = 0;
	memset(part, 'x', 600);
	part[600] = 0;
	add_text(&s, 0x01, part);
	add_text(&s, 0x89, part + 500);
	add_text(&s, 0x80, part); /* 1200 bytes together */
	check(true, s.data, s.len,
		"9(0):"
		"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
		"xxxxxxxxxxxx !1009");
	imgo__buf_free(&s);
}

/* H5: 1007, before the frame or the message is complete. */
static void refuses_bad_text(void **state)
{
	static const char *const bad[] = {"\xff", "a\xc0\x80", "\xed\xa0\x80", "\xf4\x90", "ok ok ok ok\xe2\x28"};
	struct imgo__buf s = {0};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		char text[200];
		snprintf(text, sizeof text, "%s and so on", bad[i]);
		s.len = 0;
		add_text(&s, 0x81, text);
		check(true, s.data, s.len, "!1007");
		/* Without the rest of the frame. */
		check(true, s.data, 6 + strlen(bad[i]), "!1007");
		s.len = 0;
		add_text(&s, 0x01, "x");
		add_text(&s, 0x00, text);
		check(true, s.data, s.len, "!1007");
	}
	s.len = 0;
	add_text(&s, 0x81, "cut \xe2\x82");
	check(true, s.data, s.len, "!1007");
	s.len = 0;
	add_text(&s, 0x01, "cut \xe2");
	add_text(&s, 0x80, "\x82");
	check(true, s.data, s.len, "!1007");
	s.len = 0;
	add_text(&s, 0x88, "\x03\xe8\xff");
	check(true, s.data, s.len, "!1007");
	imgo__buf_free(&s);
}

/* H6. */
static void checks_close_codes(void **state)
{
	static const uint16_t bad[] = {0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535};
	static const uint16_t good[] = {1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999};
	struct imgo__buf s = {0};
	uint8_t payload[2];
	char want[32];

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		s.len = 0;
		imgo__put16(payload, bad[i]);
		add(&s, 0x88, payload, 2);
		check(true, s.data, s.len, "!1002");
	}
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		s.len = 0;
		imgo__put16(payload, good[i]);
		add(&s, 0x88, payload, 2);
		snprintf(want, sizeof want, "8(%u): ", good[i]);
		check(true, s.data, s.len, want);
	}
	s.len = 0;
	add(&s, 0x88, payload, 1);
	check(true, s.data, s.len, "!1002");
	imgo__buf_free(&s);
}

/* H7: a message may have 1024 fragments and one more for each 64 bytes of the largest message; the next fragment is
 * refused, whatever it holds. */
static void bounds_fragments(void **state)
{
	enum { MOST = 1024 + MESSAGE_MAX / 64 };
	struct imgo__buf s = {0};
	struct seen seen;

	(void)state;
	add_text(&s, 0x01, "");
	for (int i = 1; i < MOST - 1; i++)
		add_text(&s, 0x00, "");
	add_text(&s, 0x80, "x");
	feed(&seen, true, s.data, s.len, s.len, 1);
	assert_string_equal(seen.text, "1(0):x ");
	s.len = 0;
	add_text(&s, 0x01, "");
	for (int i = 1; i < MOST + 1; i++)
		add_text(&s, 0x00, "");
	feed(&seen, true, s.data, s.len, s.len, 1);
	assert_string_equal(seen.text, "!1008");
	imgo__buf_free(&s);
}

static void writes_headers(void **state)
{
	uint8_t out[14];
	static const uint8_t mask[4] = {1, 2, 3, 4};

	(void)state;
	assert_bytes(out, imgo__ws_header(IMGO__WS_TEXT, 125, out), "\x81\x7D", 2);
	assert_bytes(out, imgo__ws_header(IMGO__WS_BINARY, 126, out), "\x82\x7E\x00\x7E", 4);
	assert_bytes(out, imgo__ws_header(IMGO__WS_BINARY, 65535, out), "\x82\x7E\xFF\xFF", 4);
	assert_bytes(out, imgo__ws_header(IMGO__WS_BINARY, 65536, out), "\x82\x7F\0\0\0\0\0\x01\0\0", 10);
	assert_bytes(out, imgo__ws_header_masked(IMGO__WS_PING, 3, mask, out), "\x89\x83\x01\x02\x03\x04", 6);
}

static void accepts_keys(void **state)
{
	char out[29];

	(void)state;
	assert_int_equal(imgo__ws_accept(imgo_str("dGhlIHNhbXBsZSBub25jZQ=="), out), 0);
	assert_string_equal(out, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
	assert_int_equal(imgo__ws_accept(imgo_str("short"), out), IMGO_EINVAL);
	assert_true(imgo__ws_key_valid(imgo_str("dGhlIHNhbXBsZSBub25jZQ==")));
	assert_false(imgo__ws_key_valid(imgo_str("")));
	assert_false(imgo__ws_key_valid(imgo_str("dGhlIHNhbXBsZSBub25jZQ=")));
	assert_false(imgo__ws_key_valid(imgo_str("dGhlIHNhbXBsZSBub25jZQAA")));
	assert_false(imgo__ws_key_valid(imgo_str("dGhlIHNhbXBsZSBub25j Q==")));
	assert_false(imgo__ws_key_valid(imgo_str("dGhlIHNhbXBsZSBub25jZQ===")));
}

static void origins(void **state)
{
	static const char *const wrong[] = {"*", "a.example", "https://", "https:/a", "://a", "https://a.example/",
		"https://*.example", "http://u@h", "http://h?q", "http://h:80", "https://h:443", "https://a,", ",",
		"http://a b", "https://a,,https://b", "http://a;http://b/"};
	static const char *const right[] = {"", " \t", "null", "https://a", "https://a:8443", "http://h:443",
		" https://a.example ,\thttps://b.example", "app://x"};
	const char *list = " https://A.example, http://b.example:8080 ,null";

	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		assert_non_null(imgo__ws_origins_wrong(wrong[i]));
	for (size_t i = 0; i < sizeof right / sizeof *right; i++)
		assert_null(imgo__ws_origins_wrong(right[i]));
	assert_true(imgo__ws_origin_allowed(list, imgo_str("https://a.example")));
	assert_true(imgo__ws_origin_allowed(list, imgo_str("http://b.example:8080")));
	assert_true(imgo__ws_origin_allowed(list, imgo_str("null")));
	assert_false(imgo__ws_origin_allowed(list, imgo_str("")));
	assert_false(imgo__ws_origin_allowed(list, imgo_str("http://a.example")));
	assert_false(imgo__ws_origin_allowed(list, imgo_str("https://a.example:443")));
	assert_false(imgo__ws_origin_allowed(list, imgo_str("https://a.example.evil")));
	assert_false(imgo__ws_origin_allowed(list, imgo_str("https://a.exampl")));
	assert_false(imgo__ws_origin_allowed(list, imgo_str("http://b.example:8080 ,null")));
	assert_true(imgo__ws_origin_allowed(NULL, imgo_str("http://x")));
	assert_true(imgo__ws_origin_allowed(" ", imgo_str("http://x")));
}

/* H8. */
static void handshakes(void **state)
{
#define GET "GET /sub HTTP/1.1\r\nHost: a\r\n"
#define UP  "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define V13 "Sec-WebSocket-Version: 13\r\n"
	static const struct {
		const char *head;
		int status; /* 0: fine */
	} cases[] = {
		{GET UP KEY V13 "\r\n", 0},
		{GET UP V13 "\r\n", 400},
		{GET UP KEY KEY V13 "\r\n", 400},
		{GET UP "Sec-WebSocket-Key: abc\r\n" V13 "\r\n", 400},
		{GET UP KEY "\r\n", 400},
		{GET UP KEY V13 V13 "\r\n", 400},
		{GET UP KEY "Sec-WebSocket-Version: 8\r\n\r\n", 426},
		{GET UP KEY "Sec-WebSocket-Version: 13, 8\r\n\r\n", 426},
		{GET KEY V13 "\r\n", 400},
		{GET "Upgrade: websocket\r\n" KEY V13 "\r\n", 400},
		{GET "Connection: upgrade\r\n" KEY V13 "\r\n", 400},
		{GET "Connection: upgrade\r\nUpgrade: h2c\r\n" KEY V13 "\r\n", 400},
		{GET "Content-Length: 1\r\n" UP KEY V13 "\r\n", 400},
		{"POST /sub HTTP/1.1\r\nHost: a\r\n" UP KEY V13 "\r\n", 405},
		{"GET /sub HTTP/1.0\r\nHost: a\r\n" UP KEY V13 "\r\n", 400},
	};
	struct imgo__http_limits limits = {4096, 8192, 4096, 0};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct imgo__http_request request;
		struct imgo_str key;
		size_t len = strlen(cases[i].head);
		int status = 0, rc;
		assert_int_equal(imgo__http_decode((const uint8_t *)cases[i].head, len, &limits, &request, &status), len);
		rc = imgo__ws_handshake(&request, &key, &status);
		assert_int_equal(rc, cases[i].status ? IMGO_EPROTO : 0);
		assert_int_equal(status, cases[i].status);
		if (rc == 0)
			assert_str(key, "dGhlIHNhbXBsZSBub25jZQ==");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_messages),
		cmocka_unit_test(takes_server_frames),
		cmocka_unit_test(refuses_frames),
		cmocka_unit_test(refuses_order),
		cmocka_unit_test(refuses_bad_text),
		cmocka_unit_test(checks_close_codes),
		cmocka_unit_test(bounds_fragments),
		cmocka_unit_test(writes_headers),
		cmocka_unit_test(accepts_keys),
		cmocka_unit_test(origins),
		cmocka_unit_test(handshakes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
