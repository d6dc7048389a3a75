/* SPDX-License-Identifier: MIT */
#include "codec_test.h"

#include "codec/mp.h"

#define READER(literal) \
	struct imgo__mp mp; \
	imgo__mp_init(&mp, "" literal, sizeof(literal) - 1)

/* Writes one of everything. */
static void write_all(struct imgo__mpw *w)
{
	imgo__mpw_array(w, 9);
	imgo__mpw_uint(w, UINT64_MAX);
	imgo__mpw_int(w, INT64_MIN);
	imgo__mpw_int(w, -1);
	imgo__mpw_bool(w, true);
	imgo__mpw_nil(w);
	imgo__mpw_str(w, imgo_str("str"));
	imgo__mpw_bin(w, "\0\xff", 2);
	imgo__mpw_map(w, 1);
	imgo__mpw_str(w, imgo_str("k"));
	imgo__mpw_uint(w, 7);
	imgo__mpw_str(w, imgo_strn(NULL, 0));
}

/* Reads it back; 0 when all of it was there. */
static int read_all(const uint8_t *p, size_t len)
{
	struct imgo__mp mp;
	uint8_t fixed[2];
	bool ok;

	imgo__mp_init(&mp, p, len);
	ok = imgo__mp_array(&mp, 9) == 9;
	ok &= imgo__mp_uint(&mp) == UINT64_MAX;
	ok &= imgo__mp_int(&mp) == INT64_MIN;
	ok &= imgo__mp_i32(&mp) == -1;
	ok &= imgo__mp_bool(&mp);
	ok &= imgo__mp_nil(&mp);
	ok &= imgo_str_eq(imgo__mp_str(&mp, 3), imgo_str("str"));
	imgo__mp_fixed(&mp, fixed, 2);
	ok &= imgo__mp_map(&mp, 1) == 1;
	ok &= imgo_str_eq(imgo__mp_str(&mp, 1), imgo_str("k"));
	ok &= imgo__mp_u32(&mp) == 7;
	ok &= imgo__mp_str(&mp, 0).len == 0;
	if (imgo__mp_finish(&mp))
		return IMGO_EPROTO;
	assert_true(ok);
	assert_memory_equal(fixed, "\0\xff", 2);
	return 0;
}

/* R1: truncation at every byte, and trailing bytes. */
static void round_trip(void **state)
{
	struct imgo__buf buf = {0};
	struct imgo__mpw w;

	(void)state;
	imgo__mpw_init(&w, &buf);
	write_all(&w);
	assert_int_equal(w.err, 0);
	assert_int_equal(imgo__buf_append(&buf, "\xc0", 1), 0);
	for (size_t n = 0; n <= buf.len; n++) {
		uint8_t *copy = exact(buf.data, n);
		struct imgo__mp skip;
		assert_int_equal(read_all(copy, n), n == buf.len - 1 ? 0 : IMGO_EPROTO);
		imgo__mp_init(&skip, copy, n);
		imgo__mp_skip(&skip);
		assert_int_equal(skip.err, n < buf.len - 1 ? IMGO_EPROTO : 0);
		exact_free(copy, n);
	}
	imgo__buf_free(&buf);
}

/* Every width of an integer, signed or not, is the same number. */
static void reads_integers(void **state)
{
	static const struct {
		struct imgo_str bytes;
		int64_t want;
	} cases[] = {
		{BYTES_INIT("\x00"), 0},
		{BYTES_INIT("\x7f"), 127},
		{BYTES_INIT("\xe0"), -32},
		{BYTES_INIT("\xff"), -1},
		{BYTES_INIT("\xcc\xff"), 255},
		{BYTES_INIT("\xcd\xff\xfe"), 65534},
		{BYTES_INIT("\xce\xff\xff\xff\xff"), UINT32_MAX},
		{BYTES_INIT("\xcf\x7f\xff\xff\xff\xff\xff\xff\xff"), INT64_MAX},
		{BYTES_INIT("\xd0\x7f"), 127},
		{BYTES_INIT("\xd0\x80"), -128},
		{BYTES_INIT("\xd1\x80\x00"), -32768},
		{BYTES_INIT("\xd1\x00\x05"), 5},
		{BYTES_INIT("\xd2\x80\x00\x00\x00"), INT32_MIN},
		{BYTES_INIT("\xd2\x7f\xff\xff\xff"), INT32_MAX},
		{BYTES_INIT("\xd3\x80\x00\x00\x00\x00\x00\x00\x00"), INT64_MIN},
		{BYTES_INIT("\xd3\x00\x00\x00\x00\x00\x00\x00\x01"), 1},
		{BYTES_INIT("\xcf\x00\x00\x00\x00\x00\x00\x00\x01"), 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		int64_t want = cases[i].want;
		struct imgo__mp mp;
		imgo__mp_init(&mp, cases[i].bytes.p, cases[i].bytes.len);
		assert_true(imgo__mp_int(&mp) == want && imgo__mp_finish(&mp) == 0);
		imgo__mp_init(&mp, cases[i].bytes.p, cases[i].bytes.len);
		assert_true(imgo__mp_uint(&mp) == (want < 0 ? 0 : (uint64_t)want));
		assert_int_equal(imgo__mp_finish(&mp), want < 0 ? IMGO_EPROTO : 0);
		imgo__mp_init(&mp, cases[i].bytes.p, cases[i].bytes.len);
		assert_true(imgo__mp_u32(&mp) == (want < 0 || want > UINT32_MAX ? 0 : want));
		assert_int_equal(imgo__mp_finish(&mp), want < 0 || want > UINT32_MAX ? IMGO_EPROTO : 0);
		imgo__mp_init(&mp, cases[i].bytes.p, cases[i].bytes.len);
		assert_true(imgo__mp_i32(&mp) == (want < INT32_MIN || want > INT32_MAX ? 0 : want));
		assert_int_equal(imgo__mp_finish(&mp), want < INT32_MIN || want > INT32_MAX ? IMGO_EPROTO : 0);
	}
}

static void refuses_too_big_for_int(void **state)
{
	READER("\xcf\x80\x00\x00\x00\x00\x00\x00\x00");

	(void)state;
	assert_int_equal(imgo__mp_int(&mp), 0);
	assert_int_equal(mp.err, IMGO_EPROTO);
}

/* R1: counts that only claim. R2: types that are not asked for. Each reader fails on all but its own. */
static void refuses_claims(void **state)
{
	static const struct imgo_str cases[] = {
		BYTES_INIT("\xdd\x10\x00\x00\x00"),
		BYTES_INIT("\xdd\xff\xff\xff\xff"
			   "aaaaaaaaaa"),
		BYTES_INIT("\xdc\xff\xff"
			   "aaaa"),
		BYTES_INIT("\xdf\xff\xff\xff\xff"
			   "aaaaaaaaaa"),
		BYTES_INIT("\xde\x00\x03"
			   "aaaaa"),
		BYTES_INIT("\x83"
			   "aaaaa"),
		BYTES_INIT("\x93"
			   "aa"),
		BYTES_INIT("\xdb\xff\xff\xff\xff"
			   "aa"),
		BYTES_INIT("\xda\xff\xff"
			   "aa"),
		BYTES_INIT("\xc6\xff\xff\xff\xff"
			   "aa"),
		BYTES_INIT("\xc5\x00\x03"
			   "aa"),
		BYTES_INIT("\xc4\x03"
			   "aa"),
		BYTES_INIT("\xa3"
			   "aa"),
		BYTES_INIT("\xc1"),
		BYTES_INIT("\xc7\x01\x01"
			   "a"),
		BYTES_INIT("\xd4\x01"
			   "a"),
		BYTES_INIT("\xd8\x01"
			   "0123456789abcdef"),
		BYTES_INIT("\xc9\xff\xff\xff\xff\x01"
			   "a"),
		BYTES_INIT(""),
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint8_t *copy = exact(cases[i].p, cases[i].len), fixed[2];
		for (int reader = 0; reader < 9; reader++) {
			struct imgo__mp mp;
			imgo__mp_init(&mp, copy, cases[i].len);
			switch (reader) {
			case 0:
				assert_int_equal(imgo__mp_array(&mp, UINT32_MAX), 0);
				break;
			case 1:
				assert_int_equal(imgo__mp_map(&mp, UINT32_MAX), 0);
				break;
			case 2:
				assert_int_equal(imgo__mp_uint(&mp), 0);
				break;
			case 3:
				assert_int_equal(imgo__mp_int(&mp), 0);
				break;
			case 4:
				assert_false(imgo__mp_bool(&mp));
				break;
			case 5:
				assert_null(imgo__mp_str(&mp, SIZE_MAX).p);
				break;
			case 6:
				imgo__mp_fixed(&mp, fixed, 2);
				break;
			case 7:
				imgo__mp_skip(&mp);
				break;
			case 8:
				imgo__mp_skip_rest(&mp, 2, 1);
				break;
			}
			assert_int_equal(mp.err, IMGO_EPROTO);
			assert_ptr_equal(mp.at, mp.end);
		}
		exact_free(copy, cases[i].len);
	}
}

static void sticks(void **state)
{
	READER("\x01\xa1"
	       "a\x02\x03");

	(void)state;
	assert_int_equal(imgo__mp_uint(&mp), 1);
	assert_int_equal(imgo__mp_uint(&mp), 0); /* a str */
	assert_int_equal(imgo__mp_uint(&mp), 0);
	assert_int_equal(imgo__mp_finish(&mp), IMGO_EPROTO);
}

static void bounds_strings(void **state)
{
	READER("\xa3"
	       "abc");
	uint8_t fixed[4];

	(void)state;
	assert_null(imgo__mp_str(&mp, 2).p);
	imgo__mp_init(&mp,
		"\xa3"
		"abc",
		4);
	imgo__mp_fixed(&mp, fixed, 4);
	assert_int_equal(mp.err, IMGO_EPROTO);
	imgo__mp_init(&mp, "\x93\x01\x02\x03", 4);
	assert_int_equal(imgo__mp_array(&mp, 2), 0);
	assert_int_equal(mp.err, IMGO_EPROTO);
}

static void bounds_nesting(void **state)
{
	static uint8_t deep[1000000];
	struct imgo__mp mp;

	(void)state;
	memset(deep, 0x91, sizeof deep);
	deep[sizeof deep - 1] = 0xC0;
	imgo__mp_init(&mp, deep, sizeof deep);
	imgo__mp_skip(&mp);
	assert_int_equal(mp.err, IMGO_EPROTO);
	for (size_t depth = 0; depth < 12; depth++) {
		imgo__mp_init(&mp, deep + sizeof deep - 1 - depth, depth + 1);
		imgo__mp_skip(&mp);
		assert_int_equal(imgo__mp_finish(&mp), depth <= 8 ? 0 : IMGO_EPROTO);
	}
}

/* R3: what a newer version appended is passed over, what is missing is an error. */
static void skips_rest(void **state)
{
	READER("\x95\x01\x92\xc0\x81\xa1"
	       "k\xca\x01\x02\x03\x04\xcb\x01\x02\x03\x04\x05\x06\x07\x08\xc4\x01x\xc3\x09");
	uint32_t n;

	(void)state;
	n = imgo__mp_array(&mp, 100);
	assert_int_equal(imgo__mp_uint(&mp), 1);
	imgo__mp_skip_rest(&mp, n, 1);
	assert_int_equal(imgo__mp_uint(&mp), 9);
	assert_int_equal(imgo__mp_finish(&mp), 0);
	imgo__mp_skip_rest(&mp, 1, 2);
	assert_int_equal(mp.err, IMGO_EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(reads_integers),
		cmocka_unit_test(refuses_too_big_for_int),
		cmocka_unit_test(refuses_claims),
		cmocka_unit_test(sticks),
		cmocka_unit_test(bounds_strings),
		cmocka_unit_test(bounds_nesting),
		cmocka_unit_test(skips_rest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
