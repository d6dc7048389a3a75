/* SPDX-License-Identifier: MIT */
#include "stamp.h"

#include <string.h>

static char *put(char *out, uint64_t value, unsigned digits)
{
	for (unsigned i = digits; i-- > 0; value >>= 4)
		out[i] = "0123456789abcdef"[value & 15];
	return out + digits;
}

static const char *get(const char *text, unsigned digits, uint64_t *value, bool *good)
{
	*value = 0;
	for (unsigned i = 0; i < digits; i++) {
		char c = text[i];
		unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
				 : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
							: 16;
		*good = *good && digit < 16;
		*value = *value << 4 | (digit & 15);
	}
	return text + digits;
}

void stamp_write(char *out, size_t size, const struct stamp *stamp)
{
	char *p = out + sizeof STAMP_MARK - 1;

	memcpy(out, STAMP_MARK, sizeof STAMP_MARK - 1);
	p = put(p, stamp->run, 4);
	p = put(p, stamp->stream, 6);
	p = put(p, stamp->number, 8);
	p = put(p, stamp->intended_ns, 16);
	memset(p, '.', (size_t)(out + size - 2 - p));
	memcpy(out + size - 2, "\"}", 2);
}

bool stamp_read(const char *text, size_t len, struct stamp *out)
{
	uint64_t run, stream, number;
	bool good = true;

	if (len < STAMP_MIN || memcmp(text, STAMP_MARK, sizeof STAMP_MARK - 1) != 0)
		return false;
	const char *p = text + sizeof STAMP_MARK - 1;
	p = get(p, 4, &run, &good);
	p = get(p, 6, &stream, &good);
	p = get(p, 8, &number, &good);
	get(p, 16, &out->intended_ns, &good);
	out->run = (uint32_t)run;
	out->stream = (uint32_t)stream;
	out->number = (uint32_t)number;
	return good;
}
