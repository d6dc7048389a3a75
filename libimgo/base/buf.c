/* SPDX-License-Identifier: MIT */
#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <imgo/error.h>

#include "base/mem.h"

enum { BUF_FIRST = 64 };

int imgo__buf_reserve(struct imgo__buf *buf, size_t more)
{
	size_t need, cap = buf->cap ? buf->cap : BUF_FIRST;
	uint8_t *data;

	if (__builtin_add_overflow(buf->len, more, &need) || need > SIZE_MAX / 2)
		return IMGO_ENOMEM;
	if (need <= buf->cap)
		return 0;
	while (cap < need)
		cap *= 2;
	data = imgo__regrow(buf->data, cap, 1);
	if (data == NULL)
		return IMGO_ENOMEM;
	buf->data = data;
	buf->cap = cap;
	return 0;
}

int imgo__buf_append(struct imgo__buf *buf, const void *p, size_t len)
{
	if (len == 0)
		return 0;
	if (imgo__buf_reserve(buf, len) < 0)
		return IMGO_ENOMEM;
	memcpy(buf->data + buf->len, p, len);
	buf->len += len;
	return 0;
}

int imgo__buf_printf(struct imgo__buf *buf, const char *fmt, ...)
{
	va_list ap, again;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0 || imgo__buf_reserve(buf, (size_t)n + 1) < 0) {
		va_end(again);
		return n < 0 ? IMGO_EINVAL : IMGO_ENOMEM;
	}
	vsnprintf((char *)buf->data + buf->len, (size_t)n + 1, fmt, again);
	va_end(again);
	buf->len += (size_t)n;
	return 0;
}

void imgo__buf_consume(struct imgo__buf *buf, size_t n)
{
	if (n >= buf->len) {
		buf->len = 0;
		return;
	}
	memmove(buf->data, buf->data + n, buf->len - n);
	buf->len -= n;
}

void imgo__buf_free(struct imgo__buf *buf)
{
	free(buf->data);
	*buf = (struct imgo__buf){0};
}
