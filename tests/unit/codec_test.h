/* SPDX-License-Identifier: MIT */
/* What the tests of the parsers share. */
#ifndef CODEC_TEST_H
#define CODEC_TEST_H

#include "test.h"

#include <imgo/error.h>
#include <imgo/types.h>

/* A string literal as bytes, inner NULs included. */
#define BYTES(literal) imgo_strn("" literal, sizeof(literal) - 1)
#define BYTES_INIT(literal) \
	{ \
		"" literal, sizeof(literal) - 1 \
	}

/* A copy in memory of exactly that size, so that ASan and valgrind see any read behind its end. Free it. */
static inline uint8_t *exact(const void *p, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	assert_non_null(copy);
	if (len)
		memcpy(copy, p, len);
	return len ? copy : copy + 1; /* of an empty one, not even the first byte may be read */
}

static inline void exact_free(uint8_t *copy, size_t len)
{
	free(len ? copy : copy - 1);
}

/* "0010 ff" → bytes. */
static inline size_t unhex(const char *hex, uint8_t *out)
{
	size_t n = 0;
	int high = -1;

	for (; *hex; hex++) {
		static const char digits[] = "0123456789abcdef";
		const char *d = strchr(digits, *hex);
		if (!d)
			continue;
		if (high < 0) {
			high = (int)(d - digits);
		} else {
			out[n++] = (uint8_t)(high << 4 | (d - digits));
			high = -1;
		}
	}
	return n;
}

#define assert_bytes(actual, actual_len, expected, expected_len) \
	do { \
		assert_int_equal(actual_len, expected_len); \
		assert_memory_equal(actual, expected, expected_len); \
	} while (0)

#define assert_str(actual, literal) assert_bytes((actual).p, (actual).len, "" literal, sizeof(literal) - 1)

#endif
