/* SPDX-License-Identifier: MIT */
/* Room counts as they leave a registry: sorted by key, the largest ones only when there are too many for a
 * reply. */
#include "registry/registry.h"

#include <stdlib.h>

static int by_key(const void *a, const void *b)
{
	const struct imgo_str *x = &((const struct imgo_room_count *)a)->room;
	const struct imgo_str *y = &((const struct imgo_room_count *)b)->room;
	size_t len = x->len < y->len ? x->len : y->len;
	int order = len ? memcmp(x->p, y->p, len) : 0;

	return order ? order : x->len < y->len ? -1 : x->len > y->len;
}

static void swap(struct imgo_room_count *a, struct imgo_room_count *b)
{
	struct imgo_room_count t = *a;

	*a = *b;
	*b = t;
}

/* Restores the heap (smallest count first) below i. */
static void sift(struct imgo_room_count *heap, size_t n, size_t i)
{
	for (;;) {
		size_t least = i, left = 2 * i + 1, right = left + 1;
		if (left < n && heap[left].count < heap[least].count)
			least = left;
		if (right < n && heap[right].count < heap[least].count)
			least = right;
		if (least == i)
			return;
		swap(&heap[i], &heap[least]);
		i = least;
	}
}

/* Moves the `keep` largest to the beginning: one pass with a heap, so that a million rooms do not have to be
 * sorted. */
static void select_largest(struct imgo_room_count *counts, size_t n, size_t keep)
{
	for (size_t i = keep / 2; i-- > 0;)
		sift(counts, keep, i);
	for (size_t i = keep; i < n; i++) {
		if (counts[i].count <= counts[0].count)
			continue;
		swap(&counts[0], &counts[i]);
		sift(counts, keep, 0);
	}
}

void imgo__registry_order_counts(struct imgo_room_count *counts, size_t n)
{
	if (n)
		qsort(counts, n, sizeof *counts, by_key);
}

size_t imgo__registry_sort_counts(struct imgo_room_count *counts, size_t n)
{
	if (n > IMGO_REGISTRY_COUNT_MAX) {
		select_largest(counts, n, IMGO_REGISTRY_COUNT_MAX);
		n = IMGO_REGISTRY_COUNT_MAX;
	}
	imgo__registry_order_counts(counts, n);
	return n;
}
