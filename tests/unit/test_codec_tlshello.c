/* SPDX-License-Identifier: MIT */
/* The first bytes of a TLS connection: what is worth a handshake, at every cut. */
#include "test.h"

#include <string.h>

#include <imgo/error.h>

#include "codec/tlshello.h"

enum { MAX = 1000 };

/* A ClientHello of `body` bytes in records of at most `cut` bytes each. Returns its length. */
static size_t make(uint8_t *out, uint8_t type, size_t body, size_t cut)
{
	size_t total = body + 4, at = 0, done = 0;

	while (done < total) {
		size_t n = total - done < cut ? total - done : cut;
		const uint8_t head[4] = {type, (uint8_t)(body >> 16), (uint8_t)(body >> 8), (uint8_t)body};
		out[at++] = 22;
		out[at++] = 3;
		out[at++] = 1;
		imgo__put16(out + at, (uint16_t)n);
		at += 2;
		for (size_t i = 0; i < n; i++, done++)
			out[at++] = done < 4 ? head[done] : 0xaa;
	}
	return at;
}

static void every_cut_waits_for_the_rest(void **state)
{
	static const size_t cuts[] = {1, 3, 4, 5, 50, 512};
	uint8_t bytes[4096];

	(void)state;
	for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
		size_t len = make(bytes, 1, 200, cuts[i]), need;
		for (size_t n = 0; n < len; n++) {
			assert_int_equal(imgo__tlshello(bytes, n, MAX, &need), 0);
			assert_true(need > n && need <= len);
		}
		assert_int_equal(imgo__tlshello(bytes, len, MAX, &need), len);
		bytes[len] = 23; /* what follows is not looked at */
		assert_int_equal(imgo__tlshello(bytes, len + 1, MAX, &need), len);
	}
}

static void what_is_no_hello_is_refused_as_soon_as_it_shows(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		int err;
	} cases[] = {
		{"G", 1, IMGO_EPROTO},                                /* GET / HTTP/1.1 */
		{"\0", 1, IMGO_EPROTO},                               /* imgo's packet, in the clear */
		{"\x15", 1, IMGO_EPROTO},                             /* an alert */
		{"\x16\x02", 2, IMGO_EPROTO},                         /* no such version */
		{"\x16\x03\x01\0\0", 5, IMGO_EPROTO},                 /* an empty record */
		{"\x16\x03\x01\x40\x01", 5, IMGO_EPROTO},             /* a record over 16 kB */
		{"\x16\x03\x01\0\x40\x02", 6, IMGO_EPROTO},           /* a ServerHello */
		{"\x16\x03\x01\0\x40\x01\0\x03\xe5", 9, IMGO_ELIMIT}, /* 4 + 997 > MAX */
		{"\x16\x03\x01\0\x40\x01\xff\xff\xff", 9, IMGO_ELIMIT},
		{"\x16\x03\x01\x10\0", 5, IMGO_ELIMIT}, /* a record of over twice MAX */
		{"\x80\x2e\x01", 3, IMGO_EVERSION},     /* SSL 2 */
		{"\x80\x2e\x02", 3, IMGO_EPROTO},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		size_t need;
		for (size_t n = 0; n < cases[i].len; n++)
			assert_int_equal(imgo__tlshello((const uint8_t *)cases[i].bytes, n, MAX, &need), 0);
		assert_int_equal(imgo__tlshello((const uint8_t *)cases[i].bytes, cases[i].len, MAX, &need), cases[i].err);
	}
}

/* One byte a record: five times the overhead, and an end. */
static void a_hello_in_crumbs_is_bounded(void **state)
{
	uint8_t bytes[8192];
	size_t need, len = make(bytes, 1, MAX - 4, 1);
	ssize_t r = 0;

	(void)state;
	for (size_t n = 0; n <= len && r == 0; n++) {
		r = imgo__tlshello(bytes, n, MAX, &need);
		assert_true(n <= 2 * MAX + 5);
	}
	assert_int_equal(r, IMGO_ELIMIT);
	len = make(bytes, 1, MAX - 4, 512); /* the longest that is taken */
	assert_int_equal(imgo__tlshello(bytes, len, MAX, &need), len);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_cut_waits_for_the_rest),
		cmocka_unit_test(what_is_no_hello_is_refused_as_soon_as_it_shows),
		cmocka_unit_test(a_hello_in_crumbs_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
