/* SPDX-License-Identifier: MIT */
/*
 * Memory. Every allocation of the library passes through take(), where tests can make the n-th one fail.
 *
 * The arena is a list of blocks; small pieces are cut from the newest, a piece that would waste much of it
 * gets a block of its own, linked behind, so that the newest stays in use. Blocks double up to 64 KiB.
 */
#include "base/mem.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

static atomic_long fail_after = -1;

long imgo__mem_fail_after(long n)
{
	return atomic_exchange(&fail_after, n < 0 ? -1 : n);
}

/* Counts one allocation; false when it is to fail. The counter is at rest at -1. What no pointer difference
 * can span is refused here, not by malloc, which sanitizers would stop at. */
static bool take(size_t size)
{
	long n = atomic_load_explicit(&fail_after, memory_order_relaxed);

	while (n >= 0) {
		if (atomic_compare_exchange_weak(&fail_after, &n, n - 1))
			return n > 0 && size <= PTRDIFF_MAX;
	}
	return size <= PTRDIFF_MAX;
}

void *imgo__alloc(size_t size)
{
	return take(size) ? malloc(size ? size : 1) : NULL;
}

void *imgo__zalloc(size_t size)
{
	return take(size) ? calloc(1, size ? size : 1) : NULL;
}

void *imgo__array(size_t n, size_t size)
{
	size_t bytes;

	return __builtin_mul_overflow(n, size, &bytes) ? NULL : imgo__zalloc(bytes);
}

void *imgo__regrow(void *p, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes) || !take(bytes))
		return NULL;
	return realloc(p, bytes ? bytes : 1);
}

char *imgo__strdup(const char *cstr)
{
	return imgo__strndup(cstr, strlen(cstr));
}

char *imgo__strndup(const void *p, size_t len)
{
	char *copy = len == SIZE_MAX ? NULL : imgo__alloc(len + 1);

	if (copy == NULL)
		return NULL;
	if (len > 0)
		memcpy(copy, p, len);
	copy[len] = '\0';
	return copy;
}

enum { ARENA_ALIGN = 16, ARENA_FIRST = 1024, ARENA_MAX = 64 * 1024 };

struct imgo__arena_block {
	struct imgo__arena_block *next;
	size_t size; /* of data */
	alignas(ARENA_ALIGN) char data[];
};

static struct imgo__arena_block *block_new(size_t size)
{
	struct imgo__arena_block *block;

	if (size > SIZE_MAX - sizeof(*block))
		return NULL;
	block = imgo__alloc(sizeof(*block) + size);
	if (block)
		block->size = size;
	return block;
}

/* A piece too large for what is left: from a new block, which becomes the newest unless the piece fills it.
 */
static void *alloc_slow(struct imgo__arena *arena, size_t size)
{
	size_t want = arena->blocks ? arena->blocks->size * 2 : ARENA_FIRST;
	struct imgo__arena_block *block;
	bool own;

	if (want > ARENA_MAX)
		want = ARENA_MAX;
	own = size > want / 4;
	block = block_new(own ? size : want);
	if (block == NULL)
		return NULL;
	if (own && arena->blocks) {
		block->next = arena->blocks->next;
		arena->blocks->next = block;
		return block->data;
	}
	block->next = arena->blocks;
	arena->blocks = block;
	arena->at = block->data + size;
	arena->end = block->data + block->size;
	return block->data;
}

void *imgo__arena_alloc(struct imgo__arena *arena, size_t size)
{
	size_t rounded = (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
	void *p;

	if (rounded < size)
		return NULL;
	if (rounded == 0)
		rounded = ARENA_ALIGN;
	if ((size_t)(arena->end - arena->at) >= rounded) {
		p = arena->at;
		arena->at += rounded;
	} else {
		p = alloc_slow(arena, rounded);
		if (p == NULL)
			return NULL;
	}
	arena->total += rounded;
	return p;
}

void *imgo__arena_zalloc(struct imgo__arena *arena, size_t n, size_t size)
{
	size_t bytes;
	void *p;

	if (__builtin_mul_overflow(n, size, &bytes))
		return NULL;
	p = imgo__arena_alloc(arena, bytes);
	return p ? memset(p, 0, bytes) : NULL;
}

struct imgo_str imgo__arena_str(struct imgo__arena *arena, struct imgo_str s, bool *ok)
{
	char *copy = s.len == SIZE_MAX ? NULL : imgo__arena_alloc(arena, s.len + 1);

	if (copy == NULL) {
		*ok = false;
		return imgo_strn(NULL, 0);
	}
	if (s.len > 0)
		memcpy(copy, s.p, s.len);
	copy[s.len] = '\0';
	return imgo_strn(copy, s.len);
}

void imgo__arena_free(struct imgo__arena *arena)
{
	while (arena->blocks) {
		struct imgo__arena_block *next = arena->blocks->next;
		free(arena->blocks);
		arena->blocks = next;
	}
	*arena = (struct imgo__arena){0};
}
