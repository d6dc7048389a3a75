/* SPDX-License-Identifier: MIT */
/*
 * What a socket did not take yet: references to chunks, in order, and how far the first is written. The queue
 * itself is allocated when something has to wait and freed when it is empty: an idle connection holds one
 * NULL pointer.
 */
#ifndef IMGO__NET_OUTQ_H
#define IMGO__NET_OUTQ_H

#include <sys/uio.h>

#include "codec/msg.h"

/* What one waiting chunk costs beyond its bytes, as it counts against a limit: the reference, and malloc's
 * share. */
#define IMGO__OUTQ_OVERHEAD 32

struct imgo__outq {
	uint32_t head, n, cap; /* chunks at ref[head .. head + n) */
	uint32_t offset;       /* bytes of the first that are written */
	size_t bytes;          /* not written yet, all together */
	struct imgo__chunk *ref[];
};

/* Appends chunk (with a reference of the queue's own). offset: what is written of it already, only into an
 * empty queue. IMGO_ENOMEM: nothing changed. */
int imgo__outq_push(struct imgo__outq **q, struct imgo__chunk *chunk, uint32_t offset);
/* Points up to max vectors at what waits; returns how many. */
int imgo__outq_iov(const struct imgo__outq *q, struct iovec *iov, int max);
/* The last chunk, when nothing of it is written; else NULL. */
struct imgo__chunk *imgo__outq_last(const struct imgo__outq *q);
/* Another one in its place (imgo__outq_last must have said it). */
void imgo__outq_replace_last(struct imgo__outq *q, struct imgo__chunk *chunk);
/* `written` bytes are gone. The queue is freed, and *q NULL, when nothing waits any more. */
void imgo__outq_consume(struct imgo__outq **q, size_t written);
/* Forgets all but a chunk of which a part is written: what follows must not begin in the middle of a packet.
 */
void imgo__outq_cut(struct imgo__outq **q);
void imgo__outq_free(struct imgo__outq **q);

/* What it weighs against a limit. */
static inline size_t imgo__outq_weight(const struct imgo__outq *q)
{
	return q ? q->bytes + (size_t)q->n * IMGO__OUTQ_OVERHEAD : 0;
}

#endif
