/* SPDX-License-Identifier: MIT */
/* Walks the records, collecting no more than the four bytes that say what the message is and how long. */
#include "codec/tlshello.h"

#include <imgo/error.h>

enum { RECORD_HEAD = 5, HANDSHAKE = 22, MESSAGE_HEAD = 4, CLIENT_HELLO = 1, RECORD_MAX = 16384 };

struct hello {
	uint8_t head[MESSAGE_HEAD];
	size_t had; /* bytes of the message in the records so far */
};

/* The head of a record, of which `len` bytes are there: 0, or what is wrong with it. */
static int check_record(const uint8_t *p, size_t len)
{
	if (p[0] != HANDSHAKE)
		return IMGO_EPROTO;
	if (len > 1 && p[1] != 3)
		return IMGO_EPROTO;
	if (len < RECORD_HEAD)
		return 0;
	return imgo__get16(p + 3) == 0 || imgo__get16(p + 3) > RECORD_MAX ? IMGO_EPROTO : 0;
}

/* SSL 2: a length with the top bit set, then the same message type. */
static ssize_t old_hello(const uint8_t *p, size_t len, size_t *need)
{
	*need = 3;
	if (len < 3)
		return 0;
	return p[2] == CLIENT_HELLO ? IMGO_EVERSION : IMGO_EPROTO;
}

/* `len` bytes more of the message: 0, or what is wrong with it. */
static int take(struct hello *hello, const uint8_t *p, size_t len, size_t max)
{
	size_t i;

	for (i = 0; i < len && hello->had + i < MESSAGE_HEAD; i++)
		hello->head[hello->had + i] = p[i];
	hello->had += len;
	if (hello->had > 0 && hello->head[0] != CLIENT_HELLO)
		return IMGO_EPROTO;
	if (hello->had < MESSAGE_HEAD)
		return 0;
	return (imgo__get32(hello->head) & 0xffffff) + MESSAGE_HEAD > max ? IMGO_ELIMIT : 0;
}

static bool complete(const struct hello *hello)
{
	return hello->had >= MESSAGE_HEAD && hello->had >= (imgo__get32(hello->head) & 0xffffff) + MESSAGE_HEAD;
}

ssize_t imgo__tlshello(const uint8_t *data, size_t len, size_t max, size_t *need)
{
	struct hello hello = {.had = 0};
	size_t at = 0;

	while (!complete(&hello)) {
		size_t have = len - at;
		if (at == 0 && have > 0 && (data[0] & 0x80))
			return old_hello(data, len, need);
		int err = have > 0 ? check_record(data + at, have) : 0;
		if (err)
			return err;
		*need = at + RECORD_HEAD;
		if (have < RECORD_HEAD)
			return 0;
		size_t body = imgo__get16(data + at + 3);
		if (at + RECORD_HEAD + body > 2 * max)
			return IMGO_ELIMIT;
		size_t there = have - RECORD_HEAD < body ? have - RECORD_HEAD : body;
		err = take(&hello, data + at + RECORD_HEAD, there, max);
		if (err)
			return err;
		*need = at + RECORD_HEAD + body;
		if (there < body)
			return 0;
		at += RECORD_HEAD + body;
	}
	return (ssize_t)at;
}
