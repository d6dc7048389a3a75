/* SPDX-License-Identifier: MIT */
/* The golden vectors are the format: docs/envelope.md explains them. Changing one breaks records that are on
 * a bus. */
#include "codec_test.h"

#include <imgo/envelope.h>

#define MSGID "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"

static const struct imgo_session_id sessions[] = {
	{.comet = 1, .inc = {1700000000000000, 0xfedcba9876543210}, .n = 5},
	{.comet = 300, .inc = {1700000000000001, 1}, .n = UINT64_MAX},
};

static const struct imgo_envelope_target targets[] = {
	{.user = {"123456", 6}, .sessions = sessions, .nsessions = 2},
	{.user = {"7", 1}},
};

static const struct imgo_envelope_target keys[] = {{.user = {"123456_2", 8}}, {.user = {"b0b", 3}}};

static struct imgo_envelope make(enum imgo_envelope_kind kind)
{
	struct imgo_envelope e = {.kind = kind, .at_ms = 1700000000123, .op = 5, .body = imgo_str("hello")};

	memcpy(e.msgid.b, MSGID, 16);
	if (kind == IMGO_ENVELOPE_USERS || kind == IMGO_ENVELOPE_DIRECT) {
		e.targets = targets;
		e.ntargets = 2;
	}
	if (kind == IMGO_ENVELOPE_ROOM)
		e.room = imgo_str("live://1000");
	if (kind == IMGO_ENVELOPE_KEYS) {
		e.targets = keys;
		e.ntargets = 2;
	}
	return e;
}

static const struct {
	enum imgo_envelope_kind kind;
	const char *hex;
} golden[] = {
	{IMGO_ENVELOPE_USERS, "98 01 01 c410 000102030405060708090a0b0c0d0e0f cf0000018bcfe5687b 05 c405 68656c6c6f"
			      " 92 92 a6 313233343536 92"
			      " 94 01 cf00060a24181e4000 cffedcba9876543210 05"
			      " 94 cd012c cf00060a24181e4001 01 cfffffffffffffffff"
			      " 92 a1 37 90"
			      " a0"},
	{IMGO_ENVELOPE_DIRECT, "98 01 02 c410 000102030405060708090a0b0c0d0e0f cf0000018bcfe5687b 05 c405 68656c6c6f"
			       " 92 92 a6 313233343536 92"
			       " 94 01 cf00060a24181e4000 cffedcba9876543210 05"
			       " 94 cd012c cf00060a24181e4001 01 cfffffffffffffffff"
			       " 92 a1 37 90"
			       " a0"},
	{IMGO_ENVELOPE_ROOM, "98 01 03 c410 000102030405060708090a0b0c0d0e0f cf0000018bcfe5687b 05 c405 68656c6c6f"
			     " 90 ab 6c6976653a2f2f31303030"},
	{IMGO_ENVELOPE_BROADCAST, "98 01 04 c410 000102030405060708090a0b0c0d0e0f cf0000018bcfe5687b 05 c405"
				  " 68656c6c6f 90 a0"},
	{IMGO_ENVELOPE_KEYS, "98 01 05 c410 000102030405060708090a0b0c0d0e0f cf0000018bcfe5687b 05 c405 68656c6c6f"
			     " 92 92 a8 3132333435365f32 90 92 a3 623062 90 a0"},
};

static void assert_same(const struct imgo_envelope *a, const struct imgo_envelope *b)
{
	assert_true(a->kind == b->kind && a->at_ms == b->at_ms && a->op == b->op && a->ntargets == b->ntargets);
	assert_memory_equal(&a->msgid, &b->msgid, sizeof a->msgid);
	assert_true(imgo_str_eq(a->body, b->body) && imgo_str_eq(a->room, b->room));
	for (size_t i = 0; i < a->ntargets; i++) {
		assert_true(imgo_str_eq(a->targets[i].user, b->targets[i].user));
		assert_int_equal(a->targets[i].nsessions, b->targets[i].nsessions);
		for (size_t k = 0; k < a->targets[i].nsessions; k++)
			assert_true(imgo_session_id_eq(a->targets[i].sessions[k], b->targets[i].sessions[k]));
	}
}

/* A ninth field, of broadcasts only, and only when it is not 0. */
static void speed(void **state)
{
	struct imgo_envelope e = make(IMGO_ENVELOPE_BROADCAST), *back;
	uint8_t want[100];
	size_t len, want_len = unhex("99 01 04 c410 000102030405060708090a0b0c0d0e0f cf0000018bcfe5687b 05 c405 68656c6c6f 90 a0"
				     " cd01f4",
			    want);
	void *data;

	(void)state;
	e.speed = 500;
	assert_int_equal(imgo_envelope_encode(&e, &data, &len), 0);
	assert_bytes(data, len, want, want_len);
	assert_int_equal(imgo_envelope_decode(&back, data, len), 0);
	assert_int_equal(back->speed, 500);
	free(back);
	free(data);
	e = make(IMGO_ENVELOPE_ROOM);
	e.speed = 1;
	assert_int_equal(imgo_envelope_encode(&e, &data, &len), IMGO_EINVAL);
	want[2] = IMGO_ENVELOPE_USERS;
	assert_int_equal(imgo_envelope_decode(&back, want, want_len), IMGO_EPROTO);
}

static void golden_vectors(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
		struct imgo_envelope e = make(golden[i].kind), *back;
		uint8_t want[500];
		size_t len, want_len = unhex(golden[i].hex, want);
		void *data;
		assert_int_equal(imgo_envelope_encode(&e, &data, &len), 0);
		assert_bytes(data, len, want, want_len);
		assert_int_equal(imgo_envelope_decode(&back, data, len), 0);
		assert_same(&e, back);
		free(back);
		free(data);
	}
}

/* R1. */
static void refuses_truncation(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
		struct imgo_envelope *out;
		uint8_t data[500];
		size_t len = unhex(golden[i].hex, data);
		data[len] = 0xC0;
		for (size_t n = 0; n <= len + 1; n++) {
			uint8_t *copy = exact(data, n);
			assert_int_equal(imgo_envelope_decode(&out, copy, n), n == len ? 0 : IMGO_EPROTO);
			if (n == len)
				free(out);
			exact_free(copy, n);
		}
	}
}

/* R3: fields that a newer minor version appended, at each level, are passed over. */
static void ignores_appended(void **state)
{
	struct imgo_envelope e = make(IMGO_ENVELOPE_USERS), *out;
	uint8_t data[500];
	size_t len = unhex("9a 01 01 c410 000102030405060708090a0b0c0d0e0f cf0000018bcfe5687b d10005 c405 68656c6c6f"
			   " 92 93 a6 313233343536 92"
			   " 95 01 cf00060a24181e4000 cffedcba9876543210 05 c0"
			   " 96 cd012c cf00060a24181e4001 01 cfffffffffffffffff 9101 81a16b02 c3"
			   " 92 a1 37 90"
			   " d900 00 9201c0",
		data);

	(void)state;
	assert_int_equal(imgo_envelope_decode(&out, data, len), 0);
	assert_same(&e, out);
	free(out);
}

static void refuses(void **state)
{
#define HEAD "98 01 01 c410 000102030405060708090a0b0c0d0e0f 01 05"
	static const struct {
		const char *hex;
		int want;
	} cases[] = {
		{"98 02 01 c410 000102030405060708090a0b0c0d0e0f 01 05 c400 9192a13790 a0", IMGO_EVERSION},
		{"91 02", IMGO_EVERSION},
		{"98 00 01 c410 000102030405060708090a0b0c0d0e0f 01 05 c400 9192a13790 a0", IMGO_EVERSION},
		{"98 01 06 c410 000102030405060708090a0b0c0d0e0f 01 05 c400 90 a0", IMGO_EVERSION},
		{"98 01 00 c410 000102030405060708090a0b0c0d0e0f 01 05 c400 90 a0", IMGO_EVERSION},
		{"90", IMGO_EPROTO},
		{"91 01", IMGO_EPROTO},
		{"c0", IMGO_EPROTO},
		{"81 0101", IMGO_EPROTO},
		{"97 01 01 c410 000102030405060708090a0b0c0d0e0f 01 05 c400 9192a13790", IMGO_EPROTO},
		{"98 01 05 c410 000102030405060708090a0b0c0d0e0f 01 05 c400 90 a0", IMGO_EPROTO}, /* KEYS without any */
		{"98 01 05 c410 000102030405060708090a0b0c0d0e0f 01 05 c400 9192a1379194 01020304 a0", IMGO_EPROTO},
		{"99 01 04 c410 000102030405060708090a0b0c0d0e0f 01 05 c400 90 a0 ff", IMGO_EPROTO}, /* speed -1 */
		{HEAD "c400 90 a0", IMGO_EPROTO},           /* USERS without users */
		{HEAD "c400 9192a13790 a161", IMGO_EPROTO}, /* with a room */
		{HEAD "c400 9192a090 a0", IMGO_EPROTO},     /* an empty user */
		{HEAD "c400 9192 d941 "
		      "6161616161616161616161616161616161616161616161616161616161616161616161616161616161"
		      "616161616161616161616161616161616161616161616161 90 a0",
			IMGO_EPROTO},                                                /* a user of 65 */
		{HEAD "c400 9191a137 a0", IMGO_EPROTO},                              /* a target without sessions */
		{HEAD "c400 9192a1379193010203 a0", IMGO_EPROTO},                    /* a session of three */
		{HEAD "c400 9192a137919401020304", IMGO_EPROTO},                     /* no room */
		{HEAD "c400 9192a1379194ff020304 a0", IMGO_EPROTO},                  /* comet -1 */
		{HEAD "c400 9192a1379194cf000000010000000002 0304 a0", IMGO_EPROTO}, /* comet above 32 bits */
		{HEAD "c400 ddffffffff92a13790 a0", IMGO_EPROTO},
		{HEAD "c400 9192a137ddffffffff a0", IMGO_EPROTO},
		{HEAD "c6ffffffff 9192a13790 a0", IMGO_EPROTO},
		{HEAD "05 9192a13790 a0", IMGO_EPROTO}, /* body an int */
		{"98 01 01 c410 000102030405060708090a0b0c0d0e0f 01 ce80000000 c400 9192a13790 a0", IMGO_EPROTO}, /* op */
		{"98 01 01 c410 000102030405060708090a0b0c0d0e0f ff 05 c400 9192a13790 a0", IMGO_EPROTO}, /* at_ms */
		{"98 01 01 c40f 000102030405060708090a0b0c0d0e 01 05 c400 9192a13790 a0", IMGO_EPROTO},   /* msgid */
		{"98 01 03 c410 000102030405060708090a0b0c0d0e0f 01 05 c400 90 a0", IMGO_EPROTO},         /* no room */
		{"98 01 03 c410 000102030405060708090a0b0c0d0e0f 01 05 c400 9192a13790 a161", IMGO_EPROTO},
		{"98 01 04 c410 000102030405060708090a0b0c0d0e0f 01 05 c400 90 a161", IMGO_EPROTO},
		{"99 01 04 c410 000102030405060708090a0b0c0d0e0f 01 05 c400 90 a0 c1", IMGO_EPROTO},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct imgo_envelope *out;
		uint8_t data[500], *copy;
		size_t len = unhex(cases[i].hex, data);
		int got;
		copy = exact(data, len);
		got = imgo_envelope_decode(&out, copy, len);
		if (got != cases[i].want)
			fail_msg("%s: case %zu", imgo_strerror(got), i);
		exact_free(copy, len);
	}
}

static void refuses_to_encode(void **state)
{
	static char big[IMGO_BODY_MAX + 1];
	struct imgo_envelope e;
	struct imgo_envelope_target t = {.user = imgo_str("u"), .sessions = sessions, .nsessions = 65};
	void *data;
	size_t len;

	(void)state;
#define REFUSED() assert_int_equal(imgo_envelope_encode(&e, &data, &len), IMGO_EINVAL)
	e = make((enum imgo_envelope_kind)6);
	REFUSED();
	e = make(IMGO_ENVELOPE_USERS);
	e.body = imgo_strn(big, sizeof big);
	REFUSED();
	e = make(IMGO_ENVELOPE_USERS);
	e.ntargets = 0;
	REFUSED();
	e.ntargets = IMGO_ENVELOPE_TARGETS_MAX + 1;
	REFUSED();
	e.targets = &t;
	e.ntargets = 1;
	REFUSED();
	t = (struct imgo_envelope_target){.user = imgo_strn(big, 65)};
	REFUSED();
	t.user.len = 0;
	REFUSED();
	e = make(IMGO_ENVELOPE_KEYS);
	e.targets = &t;
	e.ntargets = 1;
	t = (struct imgo_envelope_target){.user = imgo_strn(big, IMGO_ENVELOPE_KEY_MAX + 1)};
	REFUSED();
	t = (struct imgo_envelope_target){.user = imgo_str("k"), .sessions = sessions, .nsessions = 1};
	REFUSED();
	e = make(IMGO_ENVELOPE_ROOM);
	e.room = imgo_strn(big, 129);
	REFUSED();
	e.room.len = 0;
	REFUSED();
	e = make(IMGO_ENVELOPE_BROADCAST);
	e.room = imgo_str("x");
	REFUSED();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_vectors),
		cmocka_unit_test(speed),
		cmocka_unit_test(refuses_truncation),
		cmocka_unit_test(ignores_appended),
		cmocka_unit_test(refuses),
		cmocka_unit_test(refuses_to_encode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
