/* SPDX-License-Identifier: MIT */
/*
 * Acknowledgements and comparisons of many sessions: split by partition, because that is how the store wants them. The
 * items are sorted by partition, one call is made for each run of equal partitions, and when the last has answered the
 * results are put back in the order in which they were asked. A part that fails fails its own items only.
 */
#include <string.h>

#include "service/push_impl.h"

struct order { /* where an item of the call went */
	uint32_t partition, index;
};

static int order_cmp(const void *a, const void *b)
{
	const struct order *x = a, *y = b;

	if (x->partition != y->partition)
		return x->partition < y->partition ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

struct split_op;

/* A run of items of one partition, and the store's call for them. */
struct part {
	struct split_op *op;
	size_t from, n;
	struct imgo_store_ack_many ack;
	struct imgo_store_peek_many peek;
	int err;
};

struct split_op {
	struct imgo__gate_op base;
	size_t n, nparts;
	struct order *order;
	struct part *parts;
	unsigned waiting;
	struct imgo__gate_ack *asked_acks; /* one of the two */
	struct imgo__gate_compare *asked_compares;
	struct imgo_store_ack *acks;
	struct imgo_store_peek *peeks;
	struct imgo_id *delivered, *acked; /* of compare, in the sorted order */
};

static struct split_op *split_op_new(struct imgo_push *push, size_t n, imgo__gate_cb *cb, void *user)
{
	struct split_op *self = imgo__gate_op_new(push, sizeof *self, cb, user);

	if (!self)
		return NULL;
	self->n = n;
	self->order = imgo__arena_zalloc(&self->base.op.arena, n, sizeof *self->order);
	self->parts = imgo__arena_zalloc(&self->base.op.arena, n, sizeof *self->parts);
	if (self->order && self->parts)
		return self;
	imgo__push_op_free(&self->base.op);
	return NULL;
}

/* order[i].partition is filled in: sorts, and cuts into parts. */
static void split_sort(struct split_op *self)
{
	qsort(self->order, self->n, sizeof *self->order, order_cmp);
	for (size_t i = 0; i < self->n; i++) {
		if (i == 0 || self->order[i].partition != self->order[i - 1].partition)
			self->parts[self->nparts++] = (struct part){.op = self, .from = i};
		self->parts[self->nparts - 1].n++;
	}
}

static void split_ack_result(struct split_op *self, size_t i, int err)
{
	self->asked_acks[self->order[i].index].err = err;
}

/* The comet's cursor may be ahead of a store that was rebuilt: write it again (DESIGN.md §3, A store may forget). */
static void split_compare_result(struct split_op *self, size_t i, int err)
{
	struct imgo__gate_compare *asked = &self->asked_compares[self->order[i].index];

	asked->err = err;
	asked->behind = err == 0 && imgo_id_cmp(self->peeks[i].head, self->delivered[i]) > 0;
}

static void split_end(struct split_op *self)
{
	for (size_t p = 0; self->base.op.push && p < self->nparts; p++) {
		const struct part *part = &self->parts[p];
		for (size_t i = part->from; i < part->from + part->n; i++) {
			if (self->asked_acks)
				split_ack_result(self, i, part->err);
			else
				split_compare_result(self, i, part->err);
		}
	}
	imgo__gate_op_end(&self->base, 0);
}

static void part_done(int err, void *user)
{
	struct part *part = user;

	part->err = err;
	if (--part->op->waiting == 0)
		split_end(part->op);
}

/* Some part is under way: 0. None: the op is gone and the call has failed as the first did. */
static int split_started(struct split_op *self)
{
	int err = self->parts[0].err;

	if (self->waiting)
		return 0;
	imgo__push_op_free(&self->base.op);
	return err;
}

int imgo__push_ack(void *impl, struct imgo__gate_ack *items, size_t n, imgo__gate_cb *cb, void *user)
{
	struct imgo_push *push = impl;
	struct split_op *self = split_op_new(push, n, cb, user);
	bool ok = self != NULL;

	if (self)
		self->acks = imgo__arena_zalloc(&self->base.op.arena, n, sizeof *self->acks);
	if (!ok || !self->acks) {
		if (self)
			imgo__push_op_free(&self->base.op);
		return IMGO_ENOMEM;
	}
	self->asked_acks = items;
	for (size_t i = 0; i < n; i++)
		self->order[i] = (struct order){imgo__push_partition(push, items[i].who), (uint32_t)i};
	split_sort(self);
	for (size_t i = 0; i < n; i++) {
		const struct imgo__gate_ack *item = &items[self->order[i].index];
		self->acks[i].user = imgo__arena_str(&self->base.op.arena, item->who, &ok);
		self->acks[i].device = imgo__arena_str(&self->base.op.arena, item->device, &ok);
		self->acks[i].id = item->id;
	}
	for (size_t p = 0; p < self->nparts; p++) {
		struct part *part = &self->parts[p];
		part->ack = (struct imgo_store_ack_many){.epoch = imgo_bus_epoch(push->bus),
			.partition = self->order[part->from].partition,
			.items = &self->acks[part->from],
			.nitems = part->n};
		part->err = ok ? imgo_store_ack_many(push->store, &part->ack, part_done, part) : IMGO_ENOMEM;
		self->waiting += part->err == 0;
	}
	return split_started(self);
}

static int compare_fill(struct split_op *self, struct imgo_push *push, const struct imgo__gate_compare *items)
{
	struct imgo__arena *arena = &self->base.op.arena;
	bool ok = true;

	self->peeks = imgo__arena_zalloc(arena, self->n, sizeof *self->peeks);
	self->delivered = imgo__arena_zalloc(arena, self->n, sizeof *self->delivered);
	self->acked = imgo__arena_zalloc(arena, self->n, sizeof *self->acked);
	if (!self->peeks || !self->delivered || !self->acked)
		return IMGO_ENOMEM;
	for (size_t i = 0; i < self->n; i++)
		self->order[i] = (struct order){imgo__push_partition(push, items[i].who), (uint32_t)i};
	split_sort(self);
	for (size_t i = 0; i < self->n; i++) {
		const struct imgo__gate_compare *item = &items[self->order[i].index];
		self->peeks[i].user = imgo__arena_str(arena, item->who, &ok);
		self->peeks[i].device = imgo__arena_str(arena, item->device, &ok);
		self->delivered[i] = item->delivered;
		self->acked[i] = item->acked;
	}
	return ok ? 0 : IMGO_ENOMEM;
}

static void ack_ignored(int err, void *user)
{
	(void)err; /* the next comparison tries again */
	free(user);
}

struct reack {
	struct imgo__gate_ack item;
	char bytes[IMGO_USER_MAX + IMGO_DEVICE_MAX];
};

/* After a rebuild the store's cursor is behind what the session has acknowledged. */
static void compare_reack(struct imgo_push *push, const struct imgo_store_peek *peek, struct imgo_id acked)
{
	struct reack *reack;

	if (imgo_id_cmp(acked, peek->cursor) <= 0)
		return;
	reack = imgo__zalloc(sizeof *reack);
	if (!reack)
		return;
	memcpy(reack->bytes, peek->user.p, peek->user.len);
	memcpy(reack->bytes + peek->user.len, peek->device.p, peek->device.len);
	reack->item.who = imgo_strn(reack->bytes, peek->user.len);
	reack->item.device = imgo_strn(reack->bytes + peek->user.len, peek->device.len);
	reack->item.id = acked;
	if (imgo__push_ack(push, &reack->item, 1, ack_ignored, reack) < 0)
		free(reack);
}

static void compare_part_done(int err, void *user)
{
	struct part *part = user;
	struct split_op *self = part->op;

	for (size_t i = part->from; err == 0 && self->base.op.push && i < part->from + part->n; i++)
		compare_reack(self->base.op.push, &self->peeks[i], self->acked[i]);
	part_done(err, part);
}

int imgo__push_compare(void *impl, struct imgo__gate_compare *items, size_t n, imgo__gate_cb *cb, void *user)
{
	struct imgo_push *push = impl;
	struct split_op *self = split_op_new(push, n, cb, user);

	if (!self)
		return IMGO_ENOMEM;
	self->asked_compares = items;
	if (compare_fill(self, push, items) < 0) {
		imgo__push_op_free(&self->base.op);
		return IMGO_ENOMEM;
	}
	for (size_t p = 0; p < self->nparts; p++) {
		struct part *part = &self->parts[p];
		part->peek = (struct imgo_store_peek_many){.epoch = imgo_bus_epoch(push->bus),
			.partition = self->order[part->from].partition,
			.items = &self->peeks[part->from],
			.nitems = part->n};
		part->err = imgo_store_peek_many(push->store, &part->peek, compare_part_done, part);
		self->waiting += part->err == 0;
	}
	return split_started(self);
}
