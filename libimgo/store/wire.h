/* SPDX-License-Identifier: MIT */
/*
 * Writing and reading the store's small records. A reader never runs past its end: after a failure it yields
 * zeros and `bad` stays set, so that a decoder checks once. Varints are LEB128 in their shortest form;
 * another form is an error, which makes every record's encoding unique. The last four bytes of a record are
 * the CRC32C of all before.
 */
#ifndef IMGO__STORE_WIRE_H
#define IMGO__STORE_WIRE_H

#include <imgo/types.h>

#include "base/buf.h"
#include "base/hash.h"

#define IMGO__WIRE_CRC_LEN 4

/* ---- writing: the buffer has been reserved, so nothing fails ---- */

static inline void imgo__wire_bytes(struct imgo__buf *buf, const void *p, size_t len)
{
	if (len)
		memcpy(buf->data + buf->len, p, len);
	buf->len += len;
}

static inline void imgo__wire_varint(struct imgo__buf *buf, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		buf->data[buf->len++] = (uint8_t)(v | 0x80);
	buf->data[buf->len++] = (uint8_t)v;
}

static inline void imgo__wire_str(struct imgo__buf *buf, struct imgo_str s)
{
	imgo__wire_varint(buf, s.len);
	imgo__wire_bytes(buf, s.p, s.len);
}

static inline void imgo__wire_id(struct imgo__buf *buf, struct imgo_id id)
{
	imgo__wire_varint(buf, id.epoch);
	imgo__wire_varint(buf, id.id);
}

/* Ends the record that began at `start`. */
static inline void imgo__wire_crc(struct imgo__buf *buf, size_t start)
{
	uint32_t crc = imgo__crc32c(0, buf->data + start, buf->len - start);
	imgo__put32(buf->data + buf->len, crc);
	buf->len += IMGO__WIRE_CRC_LEN;
}

/* Room that these take at most. */
#define IMGO__WIRE_VARINT_MAX 10
#define IMGO__WIRE_ID_MAX     (2 * IMGO__WIRE_VARINT_MAX)

/* ---- reading ---- */

struct imgo__wire_reader {
	const uint8_t *p, *end;
	bool bad;
};

/* Checks and hides the CRC. */
static inline struct imgo__wire_reader imgo__wire_reader(const void *p, size_t len)
{
	struct imgo__wire_reader r = {p, p, true};
	if (len < IMGO__WIRE_CRC_LEN)
		return r;
	len -= IMGO__WIRE_CRC_LEN;
	if (imgo__crc32c(0, p, len) != imgo__get32(r.p + len))
		return r;
	r.end += len;
	r.bad = false;
	return r;
}

static inline size_t imgo__wire_left(const struct imgo__wire_reader *r)
{
	return (size_t)(r->end - r->p);
}

static inline const uint8_t *imgo__wire_take(struct imgo__wire_reader *r, size_t len)
{
	static const uint8_t zeros[64];
	if (len > imgo__wire_left(r)) {
		r->bad = true;
		r->p = r->end;
		return zeros; /* no caller asks for more than 64 bytes without checking `bad` */
	}
	r->p += len;
	return r->p - len;
}

static inline uint64_t imgo__wire_get(struct imgo__wire_reader *r)
{
	uint64_t v = 0;
	for (unsigned shift = 0; shift < 64; shift += 7) {
		uint8_t byte = *imgo__wire_take(r, 1);
		v |= (uint64_t)(byte & 0x7f) << shift;
		if (byte & 0x80)
			continue;
		if ((shift && byte == 0) || (shift == 63 && byte > 1))
			break; /* not the shortest form; more than 64 bits */
		return v;
	}
	r->bad = true;
	return 0;
}

/* At most max, else the record is bad. */
static inline uint64_t imgo__wire_get_max(struct imgo__wire_reader *r, uint64_t max)
{
	uint64_t v = imgo__wire_get(r);
	if (v <= max)
		return v;
	r->bad = true;
	return 0;
}

/* A string of at most max bytes; points into the record. */
static inline struct imgo_str imgo__wire_get_str(struct imgo__wire_reader *r, size_t max)
{
	size_t len = imgo__wire_get_max(r, max);
	if (len > imgo__wire_left(r)) {
		r->bad = true;
		len = 0;
	}
	return imgo_strn(imgo__wire_take(r, len), len);
}

static inline struct imgo_id imgo__wire_get_id(struct imgo__wire_reader *r)
{
	struct imgo_id id;
	id.epoch = (uint32_t)imgo__wire_get_max(r, UINT32_MAX);
	id.id = imgo__wire_get_max(r, INT64_MAX);
	return id;
}

#endif
