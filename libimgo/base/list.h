/* SPDX-License-Identifier: MIT */
/* An intrusive doubly linked ring. A head and an unlinked node both point at themselves. */
#ifndef IMGO__BASE_LIST_H
#define IMGO__BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#define imgo__container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

struct imgo__list {
	struct imgo__list *prev, *next;
};

static inline void imgo__list_init(struct imgo__list *l)
{
	l->prev = l->next = l;
}

static inline bool imgo__list_empty(const struct imgo__list *l)
{
	return l->next == l;
}

/* Links n before `at`: with a head as `at`, at the end of the list. */
static inline void imgo__list_insert(struct imgo__list *at, struct imgo__list *n)
{
	n->prev = at->prev;
	n->next = at;
	at->prev->next = n;
	at->prev = n;
}

/* Unlinks n; harmless when it is not linked. */
static inline void imgo__list_remove(struct imgo__list *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	imgo__list_init(n);
}

/* Moves the whole of `from` to the empty head `to`. */
static inline void imgo__list_take(struct imgo__list *to, struct imgo__list *from)
{
	imgo__list_init(to);
	if (imgo__list_empty(from))
		return;
	*to = *from;
	to->next->prev = to;
	to->prev->next = to;
	imgo__list_init(from);
}

/* Removes and returns the first node, or NULL. */
static inline struct imgo__list *imgo__list_pop(struct imgo__list *head)
{
	struct imgo__list *n = head->next;
	if (n == head)
		return NULL;
	imgo__list_remove(n);
	return n;
}

#define imgo__list_for(pos, head) \
	for (struct imgo__list *pos = (head)->next, *pos##_next = pos->next; pos != (head); \
		pos = pos##_next, pos##_next = pos->next)

#endif
