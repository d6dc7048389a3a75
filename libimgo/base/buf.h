/* SPDX-License-Identifier: MIT */
/* A growable byte buffer, and big-endian accessors. Zero-initialise; free with imgo__buf_free. */
#ifndef IMGO__BASE_BUF_H
#define IMGO__BASE_BUF_H

#include <stdarg.h>

#include <imgo/types.h>

struct imgo__buf {
	uint8_t *data;
	size_t len, cap;
};

int imgo__buf_reserve(struct imgo__buf *buf, size_t more); /* room for `more` bytes after len; IMGO_ENOMEM */
int imgo__buf_append(struct imgo__buf *buf, const void *p, size_t len);
int imgo__buf_printf(struct imgo__buf *buf, const char *fmt, ...) IMGO_PRINTF(2, 3);
void imgo__buf_consume(struct imgo__buf *buf, size_t n); /* drops the first n bytes (memmove) */
void imgo__buf_free(struct imgo__buf *buf);              /* and zeroes it */

static inline int imgo__buf_str(struct imgo__buf *buf, struct imgo_str s)
{
	return imgo__buf_append(buf, s.p, s.len);
}

static inline void imgo__put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void imgo__put32(uint8_t *p, uint32_t v)
{
	imgo__put16(p, (uint16_t)(v >> 16));
	imgo__put16(p + 2, (uint16_t)v);
}

static inline void imgo__put64(uint8_t *p, uint64_t v)
{
	imgo__put32(p, (uint32_t)(v >> 32));
	imgo__put32(p + 4, (uint32_t)v);
}

static inline uint16_t imgo__get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t imgo__get32(const uint8_t *p)
{
	return (uint32_t)imgo__get16(p) << 16 | imgo__get16(p + 2);
}

static inline uint64_t imgo__get64(const uint8_t *p)
{
	return (uint64_t)imgo__get32(p) << 32 | imgo__get32(p + 4);
}

#endif
