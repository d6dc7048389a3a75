/* SPDX-License-Identifier: MIT */
/*
 * The public face of every store: checks arguments, so that a backend need not, and keeps the rule about
 * freeing inside one's own callback. For that each call goes through a small object of ours: while a callback
 * runs, imgo_store_free only notes the wish, and a deferred task fulfils it at the end of the loop's turn.
 */
#include <imgo/store.h>

#include "base/mem.h"
#include "loop/loop.h"

struct imgo_store {
	const struct imgo_store_ops *ops;
	void *impl;
	struct imgo_loop *loop;
	struct imgo__task reap;
	unsigned in_callback;
	bool freed;
};

struct call {
	struct imgo_store *store;
	imgo_store_cb *cb;
	void *user;
};

static void destroy(struct imgo_store *store)
{
	store->ops->free(store->impl);
	free(store);
}

static void reap(struct imgo_loop *loop, struct imgo__task *task)
{
	(void)loop;
	destroy(imgo__container_of(task, struct imgo_store, reap));
}

int imgo_store_new_custom(struct imgo_store **out, struct imgo_loop *loop, const struct imgo_store_ops *ops, void *impl)
{
	*out = NULL;
	if (!ops || !ops->free)
		return IMGO_EINVAL;
	bool whole = loop && ops->size >= sizeof *ops && ops->append_many && ops->read_many && ops->ack_many &&
		     ops->peek_many && ops->marker && ops->token_put && ops->token_get;
	struct imgo_store *store = whole ? imgo__zalloc(sizeof *store) : NULL;
	if (!store) {
		ops->free(impl);
		return whole ? IMGO_ENOMEM : IMGO_EINVAL;
	}
	store->ops = ops;
	store->impl = impl;
	store->loop = loop;
	imgo__task_init(&store->reap, reap);
	*out = store;
	return 0;
}

void imgo_store_free(struct imgo_store *store)
{
	if (!store || store->freed)
		return;
	store->freed = true;
	if (store->in_callback)
		imgo__defer(store->loop, &store->reap);
	else
		destroy(store);
}

static void finish(int err, void *user)
{
	struct call call = *(struct call *)user;
	free(user);
	call.store->in_callback++;
	call.cb(err, call.user);
	call.store->in_callback--;
}

static struct call *begin(struct imgo_store *store, imgo_store_cb *cb, void *user)
{
	struct call *call = imgo__alloc(sizeof *call);
	if (call)
		*call = (struct call){store, cb, user};
	return call;
}

/* The tail of every operation: `expr` calls the backend with finish and call. */
#define RUN(store, cb, user, expr) \
	do { \
		if ((store)->freed) \
			return IMGO_ECLOSED; \
		struct call *call_ = begin(store, cb, user); \
		if (!call_) \
			return IMGO_ENOMEM; \
		int err_ = (expr); \
		if (err_) \
			free(call_); \
		return err_; \
	} while (0)

/* ---- checks ---- */

static bool str_ok(struct imgo_str s, size_t min, size_t max)
{
	return s.len >= min && s.len <= max && (s.p || s.len == 0);
}

static bool user_ok(struct imgo_str user)
{
	return str_ok(user, 1, IMGO_USER_MAX);
}

static bool who_ok(struct imgo_str user, struct imgo_str device)
{
	return user_ok(user) && str_ok(device, 0, IMGO_DEVICE_MAX);
}

static bool id_ok(struct imgo_id id)
{
	return id.id <= INT64_MAX;
}

static bool append_ok(const struct imgo_store_append_many *call)
{
	for (size_t i = 0; i < call->nbodies; i++) {
		const struct imgo_store_body *body = &call->bodies[i];
		if (!id_ok(body->id) || body->id.id == 0 || body->at_ms > INT64_MAX / 2 ||
			!str_ok(body->data, 0, IMGO_BODY_MAX))
			return false;
	}
	for (size_t i = 0; i < call->nitems; i++) {
		const struct imgo_store_append *item = &call->items[i];
		if (!user_ok(item->user) || item->body < call->bodies || item->body >= call->bodies + call->nbodies)
			return false;
	}
	return (call->bodies || !call->nbodies) && (call->items || !call->nitems);
}

static bool token_ok(const struct imgo_store_token *token)
{
	if (!who_ok(token->user, token->device) || token->nrooms > IMGO_STORE_TOKEN_ROOMS_MAX || !id_ok(token->id))
		return false;
	for (size_t i = 0; i < token->nrooms; i++)
		if (!str_ok(token->rooms[i], 1, IMGO_ROOM_MAX))
			return false;
	return token->expires_ms <= INT64_MAX / 2;
}

/* ---- operations ---- */

int imgo_store_append_many(struct imgo_store *store, struct imgo_store_append_many *call, imgo_store_cb *cb, void *user)
{
	if (!append_ok(call))
		return IMGO_EINVAL;
	RUN(store, cb, user, store->ops->append_many(store->impl, call, finish, call_));
}

int imgo_store_read_many(struct imgo_store *store, struct imgo_store_read_many *call, imgo_store_cb *cb, void *user)
{
	for (size_t i = 0; i < call->nitems; i++) {
		const struct imgo_store_read *item = &call->items[i];
		if (!who_ok(item->user, item->device) || !id_ok(item->after) || item->messages_max == 0)
			return IMGO_EINVAL;
	}
	RUN(store, cb, user, store->ops->read_many(store->impl, call, finish, call_));
}

int imgo_store_ack_many(struct imgo_store *store, struct imgo_store_ack_many *call, imgo_store_cb *cb, void *user)
{
	for (size_t i = 0; i < call->nitems; i++)
		if (!who_ok(call->items[i].user, call->items[i].device) || !id_ok(call->items[i].id))
			return IMGO_EINVAL;
	RUN(store, cb, user, store->ops->ack_many(store->impl, call, finish, call_));
}

int imgo_store_peek_many(struct imgo_store *store, struct imgo_store_peek_many *call, imgo_store_cb *cb, void *user)
{
	for (size_t i = 0; i < call->nitems; i++)
		if (!who_ok(call->items[i].user, call->items[i].device))
			return IMGO_EINVAL;
	RUN(store, cb, user, store->ops->peek_many(store->impl, call, finish, call_));
}

int imgo_store_marker(struct imgo_store *store, struct imgo_store_marker *call, imgo_store_cb *cb, void *user)
{
	bool looks = call->step == IMGO_MARKER_LOOK;
	bool writes = call->step == IMGO_MARKER_BEGIN || call->step == IMGO_MARKER_FINISH;
	if (!looks && !(writes && call->token))
		return IMGO_EINVAL;
	RUN(store, cb, user, store->ops->marker(store->impl, call, finish, call_));
}

int imgo_store_token_put(struct imgo_store *store, struct imgo_store_token_many *call, imgo_store_cb *cb, void *user)
{
	if (call->partitions == 0)
		return IMGO_EINVAL;
	for (size_t i = 0; i < call->nitems; i++)
		if (!token_ok(&call->items[i]))
			return IMGO_EINVAL;
	RUN(store, cb, user, store->ops->token_put(store->impl, call, finish, call_));
}

int imgo_store_token_get(struct imgo_store *store, struct imgo_store_token_many *call, imgo_store_cb *cb, void *user)
{
	if (call->partitions == 0)
		return IMGO_EINVAL;
	RUN(store, cb, user, store->ops->token_get(store->impl, call, finish, call_));
}

int imgo_store_forget(struct imgo_store *store, uint32_t epoch, uint32_t partition, imgo_store_cb *cb, void *user)
{
	if (!store->ops->forget)
		return IMGO_ENOTSUP;
	RUN(store, cb, user, store->ops->forget(store->impl, epoch, partition, finish, call_));
}
