/* SPDX-License-Identifier: MIT */
#include "codec_test.h"

#include "base/buf.h"
#include "codec/json.h"

static bool valid(struct imgo_str text, unsigned depth)
{
	uint8_t *copy = exact(text.p, text.len);
	bool ok = imgo__json_valid(imgo_strn(copy, text.len), depth);

	exact_free(copy, text.len);
	return ok;
}

static void accepts(void **state)
{
	static const char *const cases[] = {
		"0",
		"-0",
		"1",
		"-12.50e+10",
		"0.1E-2",
		"1e400",
		"true",
		"false",
		"null",
		"\"\"",
		"\"a\"",
		"[]",
		"{}",
		" [ 1 , { } ] \r\n\t",
		"{\"a\":1,\"a\":2}",
		"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\uABcd\"",
		"\"\\ud83d\\ude00\"",
		"\"\x7f\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf\"",
		"[[[[1]]]]",
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		if (!valid(imgo_str(cases[i]), 4))
			fail_msg("refused: %s", cases[i]);
	}
}

static void refuses(void **state)
{
	static const char *const cases[] = {
		"",
		" ",
		"01",
		"-",
		"+1",
		".5",
		"1.",
		"1e",
		"1e+",
		"0x10",
		"NaN",
		"Infinity",
		"-Infinity",
		"tru",
		"True",
		"nul",
		"'a'",
		"\"",
		"\"a",
		"\"\\",
		"\"\\x\"",
		"\"\\u12\"",
		"\"\\u12g4\"",
		"\"\\ud800\"",
		"\"\\ud800x\"",
		"\"\\ud800\\n\"",
		"\"\\ud800\\u0041\"",
		"\"\\udc00\"",
		"\"\t\"",
		"\"\n\"",
		"[",
		"]",
		"[1",
		"[1,",
		"[1,]",
		"[,1]",
		"[1 2]",
		"{",
		"{\"a\"}",
		"{\"a\":}",
		"{\"a\":1,}",
		"{a:1}",
		"{1:1}",
		"{\"a\":1",
		"{\"a\" 1}",
		"[}",
		"{]",
		"1 2",
		"[] []",
		"[[[[[1]]]]]",
		"/**/1",
		"\xEF\xBB\xBF[1]",
		"\v1",
		"\"\xc0\x80\"",
		"\"\xed\xa0\x80\"",
		"\"\xf5\x80\x80\x80\"",
		"\"\xf4\x90\x80\x80\"",
		"\"\xe2\x82\"",
		"\"\xe2\x82",
		"\"\x80\"",
		"\xc3\xa9",
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		if (valid(imgo_str(cases[i]), 4))
			fail_msg("accepted: %s", cases[i]);
	}
	assert_false(valid(BYTES("1\0"), 4));
	assert_false(valid(BYTES("\"\0\""), 4));
}

/* A6: depth is bounded whatever the text and the caller say. */
static void bounds_depth(void **state)
{
	static char text[2 * 100000];

	(void)state;
	memset(text, '[', 100000);
	memset(text + 100000, ']', 100000);
	assert_false(valid(imgo_strn(text, sizeof text), 1000000));
	assert_true(valid(imgo_strn(text + 100000 - 64, 128), 64));
	assert_true(valid(imgo_strn(text + 100000 - 64, 128), 1000));
	assert_false(valid(imgo_strn(text + 100000 - 65, 130), 1000));
	assert_true(valid(imgo_strn(text + 100000 - 16, 32), 16));
	assert_false(valid(imgo_strn(text + 100000 - 17, 34), 16));
	assert_true(valid(imgo_str("1"), 0));
	assert_false(valid(imgo_str("[]"), 0));
}

static void scans_the_first_value(void **state)
{
	(void)state;
	assert_int_equal(imgo__json_scan(imgo_str(" [1],2"), 4), 4);
	assert_int_equal(imgo__json_scan(imgo_str("\"a]\"]"), 4), 4);
	assert_int_equal(imgo__json_scan(imgo_str("12,"), 4), 2);
	assert_int_equal(imgo__json_scan(imgo_str(","), 4), 0);
}

static void check_writer(int (*write)(struct imgo__buf *, struct imgo_str), struct imgo_str in, struct imgo_str want)
{
	struct imgo__buf buf = {0};
	uint8_t *copy = exact(in.p, in.len);

	assert_int_equal(imgo__buf_append(&buf, "x", 1), 0);
	assert_int_equal(write(&buf, imgo_strn(copy, in.len)), 0);
	assert_bytes(buf.data + 1, buf.len - 1, want.p, want.len);
	exact_free(copy, in.len);
	imgo__buf_free(&buf);
}

static void compacts(void **state)
{
	(void)state;
	check_writer(imgo__json_compact, imgo_str(" { \"a b\" : [ 1 ,\n2 ] ,\"\\\" \\\\\":\tnull } \r\n"),
		imgo_str("{\"a b\":[1,2],\"\\\" \\\\\":null}"));
	check_writer(imgo__json_compact, imgo_str("1"), imgo_str("1"));
	check_writer(imgo__json_compact, imgo_str(" \" \" "), imgo_str("\" \""));
}

static void quotes(void **state)
{
	(void)state;
	check_writer(imgo__json_quote, imgo_str(""), imgo_str("\"\""));
	check_writer(imgo__json_quote, BYTES("a\"\\\b\f\n\r\t/\0\x1f\x7f"),
		imgo_str("\"a\\\"\\\\\\b\\f\\n\\r\\t/\\u0000\\u001f\x7f\""));
	check_writer(imgo__json_quote, imgo_str("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"),
		imgo_str("\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""));
#define BAD "\xEF\xBF\xBD"
	check_writer(imgo__json_quote,
		imgo_str("a\xff"
			 "b\x80\xc3"),
		imgo_str("\"a" BAD "b" BAD BAD "\""));
	check_writer(imgo__json_quote,
		imgo_str("\xe2\x82"
			 "a\xf0\x9f\x98\xc3\xa9"),
		imgo_str("\"" BAD "a" BAD "\xc3\xa9\""));
	check_writer(imgo__json_quote, imgo_str("\xed\xa0\x80"), imgo_str("\"" BAD BAD BAD "\""));
}

static void unquotes(void **state)
{
	(void)state;
	check_writer(imgo__json_unquote, imgo_str(""), imgo_str(""));
	check_writer(imgo__json_unquote, imgo_str("live:\\/\\/1000"), imgo_str("live://1000"));
	check_writer(imgo__json_unquote, imgo_str("\\\"\\\\\\b\\f\\n\\r\\t\\u0000\\u00e9\\u20AC\\ud83d\\ude00\xc3\xa9"),
		BYTES("\"\\\b\f\n\r\t\0\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xc3\xa9"));
}

static void embeds(void **state)
{
	(void)state;
	check_writer(imgo__json_embed, imgo_str(""), imgo_str("{}"));
	check_writer(imgo__json_embed, imgo_str("{ }"), imgo_str("{}"));
	check_writer(imgo__json_embed, imgo_str("hello"), imgo_str("\"hello\""));
	check_writer(imgo__json_embed, imgo_str("<&>\n"), imgo_str("\"<&>\\n\""));
	check_writer(imgo__json_embed, imgo_str("\"\\ud800\""), imgo_str("\"\\\"\\\\ud800\\\"\""));
}

/* Whether bytes are UTF-8, by the table of RFC 3629 (Unicode's table 3-7), written out. */
static bool table_valid(const uint8_t *p, size_t len)
{
	size_t i = 0;

	while (i < len) {
		uint8_t b = p[i];
		size_t n = b < 0x80                ? 0
			   : b >= 0xC2 && b < 0xE0 ? 1
			   : b >= 0xE0 && b < 0xF0 ? 2
			   : b >= 0xF0 && b < 0xF5 ? 3
						   : 9;
		if (n > len - i - 1)
			return false;
		for (size_t k = 1; k <= n; k++) {
			if ((p[i + k] & 0xC0) != 0x80)
				return false;
		}
		if ((b == 0xE0 && p[i + 1] < 0xA0) || (b == 0xED && p[i + 1] > 0x9F) ||
			(b == 0xF0 && p[i + 1] < 0x90) || (b == 0xF4 && p[i + 1] > 0x8F))
			return false;
		i += n + 1;
	}
	return true;
}

/* Every sequence of up to four bytes out of those where the table has its edges. */
static void utf8_edges(void **state)
{
	static const uint8_t edges[] = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF,
		0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF};
	const size_t n = sizeof edges;
	uint8_t s[4];

	(void)state;
	for (size_t i = 0; i < n * n * n * n; i++) {
		uint32_t feed = 0;
		size_t rest = i;
		bool ok = true;
		for (int k = 0; k < 4; k++, rest /= n)
			s[k] = edges[rest % n];
		for (size_t len = 1; len <= 4; len++)
			assert_int_equal(imgo__utf8_valid(s, len), table_valid(s, len));
		for (int k = 0; k < 4 && ok; k++)
			ok = imgo__utf8_feed(&feed, &s[k], 1);
		assert_int_equal(ok && imgo__utf8_complete(feed), table_valid(s, 4));
	}
}

static void utf8_fails_fast(void **state)
{
	uint32_t feed = 0;

	(void)state;
	assert_true(imgo__utf8_feed(&feed, "ascii, many of it \xf4", 19));
	assert_false(imgo__utf8_complete(feed));
	assert_false(imgo__utf8_feed(&feed, "\x90", 1)); /* above U+10FFFF already */
	assert_true(imgo__utf8_valid(NULL, 0));
	assert_false(imgo__utf8_valid("0123456789abcdef\xc3", 17));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts),
		cmocka_unit_test(refuses),
		cmocka_unit_test(bounds_depth),
		cmocka_unit_test(scans_the_first_value),
		cmocka_unit_test(compacts),
		cmocka_unit_test(quotes),
		cmocka_unit_test(unquotes),
		cmocka_unit_test(embeds),
		cmocka_unit_test(utf8_edges),
		cmocka_unit_test(utf8_fails_fast),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
