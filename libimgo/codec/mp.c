/* SPDX-License-Identifier: MIT */
/*
 * MessagePack. The reading cursor never trusts a count: a length must fit into the bytes that remain, and so
 * must an array's elements, of which each takes at least one byte. So the work and the memory of a decoder
 * are bounded by the size of its input. After a failure `at` is `end`, and every further read fails at once
 * and returns 0.
 */
#include "codec/mp.h"

#include <msgpack/pack.h>

#include <imgo/error.h>

#define SKIP_DEPTH_MAX 8

/* ---- reading ---- */

void imgo__mp_init(struct imgo__mp *mp, const void *p, size_t len)
{
	mp->at = p;
	mp->end = len ? mp->at + len : mp->at;
	mp->err = 0;
}

static uint64_t fail(struct imgo__mp *mp)
{
	mp->err = IMGO_EPROTO;
	mp->at = mp->end;
	return 0;
}

static size_t left(const struct imgo__mp *mp)
{
	return (size_t)(mp->end - mp->at);
}

/* The next byte without taking it; 0xc1, which no value starts with, at the end. */
static uint8_t peek(const struct imgo__mp *mp)
{
	return left(mp) ? *mp->at : 0xC1;
}

/* Takes the head byte and the big-endian number of n (1, 2, 4 or 8) bytes after it. */
static uint64_t take_number(struct imgo__mp *mp, unsigned n)
{
	uint64_t value = 0;

	if (left(mp) < 1 + (size_t)n)
		return fail(mp);
	mp->at++;
	for (unsigned i = 0; i < n; i++)
		value = value << 8 | *mp->at++;
	return value;
}

static uint32_t take_count(struct imgo__mp *mp, uint8_t fix, uint8_t head16, uint32_t max, unsigned unit)
{
	uint8_t head = peek(mp);
	uint64_t n;

	if ((head & 0xF0) == fix)
		n = *mp->at++ & 0x0F;
	else if (head == head16)
		n = take_number(mp, 2);
	else if (head == head16 + 1)
		n = take_number(mp, 4);
	else
		return (uint32_t)fail(mp);
	if (n > max || n * unit > left(mp))
		return (uint32_t)fail(mp);
	return (uint32_t)n;
}

uint32_t imgo__mp_array(struct imgo__mp *mp, uint32_t max)
{
	return take_count(mp, 0x90, 0xDC, max, 1);
}

uint32_t imgo__mp_map(struct imgo__mp *mp, uint32_t max)
{
	return take_count(mp, 0x80, 0xDE, max, 2);
}

/* An integer as its 64 bits, and whether it is below 0. */
static uint64_t take_integer(struct imgo__mp *mp, bool *negative)
{
	uint8_t head = peek(mp);
	uint64_t value;
	unsigned bytes;

	*negative = false;
	if (head < 0x80)
		return *mp->at++;
	if (head >= 0xE0) {
		*negative = true;
		return (uint64_t)(int8_t)*mp->at++;
	}
	if (head < 0xCC || head > 0xD3)
		return fail(mp);
	bytes = 1u << (head & 3);
	value = take_number(mp, bytes);
	if (head >= 0xD0 && value >> (bytes * 8 - 1)) {
		*negative = true;
		value |= bytes == 8 ? 0 : ~(uint64_t)0 << (bytes * 8);
	}
	return value;
}

uint64_t imgo__mp_uint(struct imgo__mp *mp)
{
	bool negative;
	uint64_t value = take_integer(mp, &negative);

	return negative ? fail(mp) : value;
}

int64_t imgo__mp_int(struct imgo__mp *mp)
{
	bool negative;
	uint64_t value = take_integer(mp, &negative);

	return !negative && value > INT64_MAX ? (int64_t)fail(mp) : (int64_t)value;
}

uint32_t imgo__mp_u32(struct imgo__mp *mp)
{
	uint64_t value = imgo__mp_uint(mp);

	return (uint32_t)(value > UINT32_MAX ? fail(mp) : value);
}

int32_t imgo__mp_i32(struct imgo__mp *mp)
{
	int64_t value = imgo__mp_int(mp);

	if (value < INT32_MIN || value > INT32_MAX)
		return (int32_t)fail(mp);
	return (int32_t)value;
}

bool imgo__mp_bool(struct imgo__mp *mp)
{
	uint8_t head = peek(mp);

	if (head != 0xC2 && head != 0xC3)
		return fail(mp);
	mp->at++;
	return head == 0xC3;
}

struct imgo_str imgo__mp_str(struct imgo__mp *mp, size_t max)
{
	uint8_t head = peek(mp);
	struct imgo_str s = {NULL, 0};
	uint64_t len;

	if ((head & 0xE0) == 0xA0)
		len = *mp->at++ & 0x1F;
	else if (head >= 0xD9 && head <= 0xDB)
		len = take_number(mp, 1u << (head - 0xD9));
	else if (head >= 0xC4 && head <= 0xC6)
		len = take_number(mp, 1u << (head - 0xC4));
	else
		len = fail(mp);
	if (mp->err || len > max || len > left(mp)) {
		fail(mp);
		return s;
	}
	s = imgo_strn(mp->at, (size_t)len);
	mp->at += len;
	return s;
}

void imgo__mp_fixed(struct imgo__mp *mp, void *out, size_t len)
{
	struct imgo_str s = imgo__mp_str(mp, len);

	if (mp->err || s.len != len) {
		fail(mp);
		memset(out, 0, len);
		return;
	}
	memcpy(out, s.p, len);
}

bool imgo__mp_nil(struct imgo__mp *mp)
{
	if (peek(mp) != 0xC0)
		return false;
	mp->at++;
	return true;
}

/* Takes one scalar, or the head of a container. Returns how many values it contains. */
static uint64_t skip_one(struct imgo__mp *mp)
{
	uint8_t head = peek(mp);

	if (head == 0xC0 || head == 0xC2 || head == 0xC3) {
		mp->at++;
		return 0;
	}
	if (head == 0xCA || head == 0xCB) {
		take_number(mp, head == 0xCA ? 4 : 8);
		return 0;
	}
	if ((head & 0xF0) == 0x90 || head == 0xDC || head == 0xDD)
		return imgo__mp_array(mp, UINT32_MAX);
	if ((head & 0xF0) == 0x80 || head == 0xDE || head == 0xDF)
		return 2 * (uint64_t)imgo__mp_map(mp, UINT32_MAX);
	if (head < 0x80 || head >= 0xE0 || (head >= 0xCC && head <= 0xD3)) {
		bool negative;
		take_integer(mp, &negative);
		return 0;
	}
	imgo__mp_str(mp, SIZE_MAX); /* or a failure: 0xc1, ext */
	return 0;
}

void imgo__mp_skip(struct imgo__mp *mp)
{
	uint64_t open[SKIP_DEPTH_MAX + 1] = {1}; /* values still to come on each level */
	unsigned depth = 0;

	for (;;) {
		uint64_t inside;
		while (open[depth] == 0) {
			if (depth-- == 0)
				return;
		}
		open[depth]--;
		inside = skip_one(mp);
		if (mp->err)
			return;
		if (inside == 0)
			continue;
		if (depth == SKIP_DEPTH_MAX) {
			fail(mp);
			return;
		}
		open[++depth] = inside;
	}
}

void imgo__mp_skip_rest(struct imgo__mp *mp, uint32_t n, uint32_t known)
{
	if (n < known)
		fail(mp);
	for (; n > known && !mp->err; n--)
		imgo__mp_skip(mp);
}

int imgo__mp_finish(const struct imgo__mp *mp)
{
	return mp->err || mp->at != mp->end ? IMGO_EPROTO : 0;
}

/* ---- writing ---- */

static int write_bytes(void *data, const char *p, size_t len)
{
	struct imgo__mpw *w = data;

	if (w->err == 0 && len && imgo__buf_append(w->buf, p, len))
		w->err = IMGO_ENOMEM;
	return w->err;
}

static msgpack_packer packer(struct imgo__mpw *w)
{
	msgpack_packer pk;

	msgpack_packer_init(&pk, w, write_bytes);
	return pk;
}

void imgo__mpw_init(struct imgo__mpw *w, struct imgo__buf *buf)
{
	w->buf = buf;
	w->err = 0;
}

void imgo__mpw_array(struct imgo__mpw *w, uint32_t n)
{
	msgpack_packer pk = packer(w);

	msgpack_pack_array(&pk, n);
}

void imgo__mpw_map(struct imgo__mpw *w, uint32_t n)
{
	msgpack_packer pk = packer(w);

	msgpack_pack_map(&pk, n);
}

void imgo__mpw_uint(struct imgo__mpw *w, uint64_t v)
{
	msgpack_packer pk = packer(w);

	msgpack_pack_uint64(&pk, v);
}

void imgo__mpw_int(struct imgo__mpw *w, int64_t v)
{
	msgpack_packer pk = packer(w);

	msgpack_pack_int64(&pk, v);
}

void imgo__mpw_bool(struct imgo__mpw *w, bool v)
{
	msgpack_packer pk = packer(w);

	if (v)
		msgpack_pack_true(&pk);
	else
		msgpack_pack_false(&pk);
}

/* msgpack's lengths have 32 bits. */
static bool fits(struct imgo__mpw *w, size_t len)
{
	if (len <= UINT32_MAX)
		return true;
	if (w->err == 0)
		w->err = IMGO_ELIMIT;
	return false;
}

void imgo__mpw_str(struct imgo__mpw *w, struct imgo_str s)
{
	msgpack_packer pk = packer(w);

	if (!fits(w, s.len))
		return;
	msgpack_pack_str(&pk, s.len);
	msgpack_pack_str_body(&pk, s.p, s.len);
}

void imgo__mpw_bin(struct imgo__mpw *w, const void *p, size_t len)
{
	msgpack_packer pk = packer(w);

	if (!fits(w, len))
		return;
	msgpack_pack_bin(&pk, len);
	msgpack_pack_bin_body(&pk, p, len);
}

void imgo__mpw_nil(struct imgo__mpw *w)
{
	msgpack_packer pk = packer(w);

	msgpack_pack_nil(&pk);
}
