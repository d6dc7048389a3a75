/* SPDX-License-Identifier: MIT */
#include "codec_test.h"

#include "base/buf.h"
#include "codec/packet.h"

/* Every prefix gives "incomplete" with an honest need, or what the whole gives. */
static void check_splits(const uint8_t *data, size_t len, size_t body_max)
{
	struct imgo__packet whole, part;
	size_t need = 0;
	ssize_t want = imgo__packet_decode(data, len, body_max, &whole, &need);
	bool refused = false;

	for (size_t n = 0; n <= len; n++) {
		uint8_t *copy = exact(data, n);
		ssize_t got = imgo__packet_decode(copy, n, body_max, &part, &need);
		if (got == 0) {
			assert_false(refused);
			assert_true(need > n && need <= IMGO__PACKET_HEADER2 + body_max);
			assert_true(want <= 0 || n < (size_t)want);
		} else {
			assert_int_equal(got, want);
			refused = got < 0;
		}
		if (got > 0) {
			assert_int_equal(part.op, whole.op);
			assert_bytes(part.body.p, part.body.len, whole.body.p, whole.body.len);
		}
		exact_free(copy, n);
	}
}

static void decodes(void **state)
{
	uint8_t data[64];
	struct imgo__packet p;
	size_t need, len = unhex("00000015 0010 0001 00000007 00000001 68656c6c6f ffff", data);

	(void)state;
	assert_int_equal(imgo__packet_decode(data, len, 100, &p, &need), 21);
	assert_int_equal(p.ver, 1);
	assert_int_equal(p.op, IMGO__OP_AUTH);
	assert_int_equal(p.seq, 1);
	assert_false(p.has_id);
	assert_str(p.body, "hello");
	check_splits(data, len, 100);

	len = unhex("0000001e 001c 0002 00000012 ffffffff 01020304 0000000100000002 6869", data);
	assert_int_equal(imgo__packet_decode(data, len, 2, &p, &need), 30);
	assert_int_equal(p.seq, -1);
	assert_true(p.has_id);
	assert_int_equal(p.id.epoch, 0x01020304);
	assert_true(p.id.id == 0x100000002u);
	assert_str(p.body, "hi");
	check_splits(data, len, 2);
}

/* H3: the length lies. */
static void refuses(void **state)
{
	static const struct {
		const char *hex;
		ssize_t want;
		size_t known_at; /* bytes after which it is refused */
	} cases[] = {
		{"00000000 0010 0001 00000002 00000001", IMGO_EPROTO, 4},
		{"0000000f 0010 0001 00000002 00000001", IMGO_EPROTO, 4},
		{"00000011 000f 0001 00000002 00000001", IMGO_EPROTO, 6},
		{"00000011 0011 0001 00000002 00000001", IMGO_EPROTO, 6},
		{"00000011 0000 0001 00000002 00000001", IMGO_EPROTO, 6},
		{"00000011 ffff 0001 00000002 00000001", IMGO_EPROTO, 6},
		{"0000001b 001c 0001 00000002 00000001", IMGO_EPROTO, 6},
		{"00000019 0010 0001 00000002 00000001", IMGO_ELIMIT, 6}, /* body 9 of 8 */
		{"00000025 001c 0001 00000002 00000001", IMGO_ELIMIT, 4},
		{"7fffffff 0010 0001 00000002 00000001", IMGO_ELIMIT, 4},
		{"80000000 0010 0001 00000002 00000001", IMGO_ELIMIT, 4},
		{"ffffffff 0010 0001 00000002 00000001", IMGO_ELIMIT, 4},
		{"ffffffff 001c 0001 00000002 00000001", IMGO_ELIMIT, 4},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint8_t data[64];
		struct imgo__packet p;
		size_t need, len = unhex(cases[i].hex, data);
		assert_int_equal(imgo__packet_decode(data, len, 8, &p, &need), cases[i].want);
		assert_int_equal(imgo__packet_decode(data, cases[i].known_at, 8, &p, &need), cases[i].want);
		assert_int_equal(imgo__packet_decode(data, cases[i].known_at - 1, 8, &p, &need), 0);
		check_splits(data, len, 8);
	}
}

static void writes(void **state)
{
	uint8_t out[IMGO__PACKET_HEADER2], want[64];
	struct imgo__packet reply = {.ver = 1, .op = IMGO__OP_AUTH_REPLY, .seq = 1};
	struct imgo__packet push = {.ver = 2, .op = 5, .has_id = true, .id = {7, 42}, .body = imgo_str("hello")};

	(void)state;
	assert_bytes(out, imgo__packet_header(&reply, out), want, unhex("00000010 0010 0001 00000008 00000001", want));
	assert_bytes(out, imgo__packet_header(&push, out), want,
		unhex("00000021 001c 0002 00000005 00000000 00000007 000000000000002a", want));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decodes),
		cmocka_unit_test(refuses),
		cmocka_unit_test(writes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
