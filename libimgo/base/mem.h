/* SPDX-License-Identifier: MIT */
/* Memory: malloc with overflow checks. Every caller handles NULL; free(NULL) is fine everywhere. */
#ifndef IMGO__BASE_MEM_H
#define IMGO__BASE_MEM_H

#include <stddef.h>
#include <stdlib.h>

#include <imgo/types.h>

void *imgo__alloc(size_t size);                     /* uninitialised */
void *imgo__zalloc(size_t size);                    /* zeroed */
void *imgo__array(size_t n, size_t size);           /* zeroed, NULL on overflow */
void *imgo__regrow(void *p, size_t n, size_t size); /* realloc of an array, NULL on overflow (p stays) */
char *imgo__strdup(const char *cstr);
char *imgo__strndup(const void *p, size_t len); /* NUL-terminated copy */

/* For tests, in every build: the allocation after the next n fails, once; n < 0 disarms. Returns what was left of the
 * last such order: -1 when it has struck (or there was none), so a test can count n up until it strikes no more. */
long imgo__mem_fail_after(long n);

/*
 * An arena: many small allocations freed at once. Used for the results of one call and for decoded messages.
 * Zero-initialise it; the first allocation takes memory.
 */
struct imgo__arena {
	struct imgo__arena_block *blocks;
	char *at, *end;
	size_t total; /* bytes handed out */
};
void *imgo__arena_alloc(struct imgo__arena *arena, size_t size); /* 16-aligned, uninitialised, NULL when out of memory */
void *imgo__arena_zalloc(struct imgo__arena *arena, size_t n, size_t size);
/* Copies s into the arena, with a NUL behind it. *ok is cleared on failure (never set), so that many copies need one
 * check. */
struct imgo_str imgo__arena_str(struct imgo__arena *arena, struct imgo_str s, bool *ok);
void imgo__arena_free(struct imgo__arena *arena); /* everything; the arena may be used again */

#endif
