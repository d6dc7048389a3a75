/* SPDX-License-Identifier: MIT */
/* What the files of the logic's role share (push.c, push_gate.c, auth_store.c). */
#ifndef IMGO__SERVICE_PUSH_IMPL_H
#define IMGO__SERVICE_PUSH_IMPL_H

#include <imgo/push.h>

#include "base/mem.h"
#include "base/seldom.h"
#include "service/carrier.h"
#include "service/gate.h"

struct imgo_push {
	struct imgo_loop *loop;
	struct imgo_registry *registry;
	struct imgo_store *store;
	struct imgo_bus *bus;
	const struct imgo_auth_ops *auth;
	void *auth_impl;
	uint32_t sessions_max, users_max, pushes_max, pushes;
	enum imgo_sessions_policy sessions_policy;
	enum imgo_auth_mode auth_mode;
	size_t body_max;
	unsigned lookup_ms;
	struct imgo__carrier *carrier;
	struct imgo__gate_server *server;
	struct imgo__list ops; /* struct imgo__push_op: under way */
	struct imgo_stat *accepted, *failed, *blind, *denied, *connects, *refused_full, *refused_bus, *users,
		*connects_failed, *evicted;
	struct imgo_histogram *lookup, *produce, *total; /* stages of a push */
	struct imgo_histogram *check, *registering;      /* stages of a login */
	struct imgo__gauge in_flight;
	struct imgo__collector collector;
	struct imgo__seldom full; /* in the log */
};

/*
 * One thing under way. It owns copies of all it needs, because the parts it waits for are borrowed and may answer
 * after the push itself was freed: then `orphan` has told the caller IMGO_ECANCELED, push is NULL, and the last answer
 * frees the op.
 */
struct imgo__push_op {
	struct imgo__list link;
	struct imgo_push *push; /* NULL: orphaned */
	struct imgo__arena arena;
	void (*orphan)(struct imgo__push_op *op); /* tells the caller; must not free */
};

/* Makes an op of `size` bytes whose first member is the base. NULL: out of memory. */
void *imgo__push_op_new(struct imgo_push *push, size_t size, void (*orphan)(struct imgo__push_op *op));
void imgo__push_op_free(struct imgo__push_op *op);

/* An op of the gate: ends by one callback. */
struct imgo__gate_op {
	struct imgo__push_op op;
	imgo__gate_cb *cb;
	void *user;
};
void *imgo__gate_op_new(struct imgo_push *push, size_t size, imgo__gate_cb *cb, void *user);
void imgo__gate_op_end(struct imgo__gate_op *op, int err); /* calls back and frees */

uint32_t imgo__push_partition(struct imgo_push *push, struct imgo_str who); /* of a user */

/* push_split.c: of struct imgo__gate_ops; impl is the push */
int imgo__push_ack(void *impl, struct imgo__gate_ack *items, size_t n, imgo__gate_cb *cb, void *user);
int imgo__push_compare(void *impl, struct imgo__gate_compare *items, size_t n, imgo__gate_cb *cb, void *user);

/* The stock authentication: tokens in the store. */
int imgo__auth_store_new(void **impl, struct imgo_store *store, struct imgo_bus *bus);
extern const struct imgo_auth_ops imgo__auth_store_ops;

/* The comet of this process, for kicks; NULL takes it away. */
void imgo__push_set_edge(struct imgo_push *push, struct imgo_edge *edge);

#endif
