/* SPDX-License-Identifier: MIT */
/* An array that is consumed at its front: compacted when it reaches its end with a free front half, else
 * doubled. */
#include "net/outq.h"

#include "base/mem.h"

enum { FIRST = 4 };

static int make_room(struct imgo__outq **q)
{
	struct imgo__outq *o = *q;

	if (o && o->head + o->n < o->cap)
		return 0;
	if (o && o->head >= o->cap / 2) {
		memmove(o->ref, o->ref + o->head, o->n * sizeof o->ref[0]);
		o->head = 0;
		return 0;
	}
	uint32_t cap = o ? o->cap * 2 : FIRST;
	struct imgo__outq *grown = imgo__alloc(sizeof *grown + cap * sizeof grown->ref[0]);
	if (!grown)
		return IMGO_ENOMEM;
	if (o) {
		*grown = *o;
		memcpy(grown->ref, o->ref + o->head, o->n * sizeof o->ref[0]);
		grown->head = 0;
		free(o);
	} else {
		*grown = (struct imgo__outq){0};
	}
	grown->cap = cap;
	*q = grown;
	return 0;
}

int imgo__outq_push(struct imgo__outq **q, struct imgo__chunk *chunk, uint32_t offset)
{
	if (make_room(q))
		return IMGO_ENOMEM;
	struct imgo__outq *o = *q;
	if (o->n == 0)
		o->offset = offset;
	o->ref[o->head + o->n++] = imgo__chunk_ref(chunk);
	o->bytes += chunk->len - offset;
	return 0;
}

int imgo__outq_iov(const struct imgo__outq *q, struct iovec *iov, int max)
{
	uint32_t offset = q->offset;
	int n = 0;

	for (; n < max && (uint32_t)n < q->n; n++) {
		struct imgo__chunk *chunk = q->ref[q->head + n];
		iov[n].iov_base = chunk->data + offset;
		iov[n].iov_len = chunk->len - offset;
		offset = 0;
	}
	return n;
}

struct imgo__chunk *imgo__outq_last(const struct imgo__outq *q)
{
	return q && (q->n > 1 || q->offset == 0) ? q->ref[q->head + q->n - 1] : NULL;
}

void imgo__outq_replace_last(struct imgo__outq *q, struct imgo__chunk *chunk)
{
	struct imgo__chunk **last = &q->ref[q->head + q->n - 1];

	q->bytes = q->bytes - (*last)->len + chunk->len;
	imgo__chunk_unref(*last);
	*last = imgo__chunk_ref(chunk);
}

void imgo__outq_consume(struct imgo__outq **q, size_t written)
{
	struct imgo__outq *o = *q;

	o->bytes -= written;
	while (o->n > 0) {
		struct imgo__chunk *first = o->ref[o->head];
		size_t left = first->len - o->offset;
		if (written < left) {
			o->offset += (uint32_t)written;
			return;
		}
		written -= left;
		o->offset = 0;
		o->head++;
		o->n--;
		imgo__chunk_unref(first);
	}
	free(o);
	*q = NULL;
}

void imgo__outq_cut(struct imgo__outq **q)
{
	struct imgo__outq *o = *q;

	if (!o)
		return;
	if (o->offset == 0) {
		imgo__outq_free(q);
		return;
	}
	while (o->n > 1)
		imgo__chunk_unref(o->ref[o->head + --o->n]);
	o->bytes = o->ref[o->head]->len - o->offset;
}

void imgo__outq_free(struct imgo__outq **q)
{
	struct imgo__outq *o = *q;

	if (!o)
		return;
	while (o->n > 0)
		imgo__chunk_unref(o->ref[o->head + --o->n]);
	free(o);
	*q = NULL;
}
