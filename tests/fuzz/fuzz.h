/* SPDX-License-Identifier: MIT */
/* What the targets share. Each is one function that gets any bytes and aborts when an invariant of a parser
 * breaks. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <imgo/error.h>
#include <imgo/types.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

/* A copy of exactly that size, so that a sanitizer sees a read behind its end. */
static inline uint8_t *copy_of(const void *p, size_t len)
{
	uint8_t *copy = malloc(len);

	CHECK(copy || len == 0);
	if (len)
		memcpy(copy, p, len);
	return copy;
}

#endif
