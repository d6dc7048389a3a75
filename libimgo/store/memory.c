/* SPDX-License-Identifier: MIT */
/*
 * The store in memory.
 *
 * A call is only queued; a deferred task does the queued calls in order at the end of the turn, each followed
 * at once by its callback. So a callback never runs before its call returned, and what a result points to
 * (the bodies themselves, not copies) cannot change before the callback has returned: calls that it makes are
 * queued behind.
 *
 * A body counts the users that want it, and goes with the last. A timer visits all users and tokens in a
 * ring, some each second, and applies the TTL; that only returns memory, for every read settles its log
 * first.
 */
#include "base/error.h"
#include "base/mem.h"
#include "loop/loop.h"
#include "store/memory_data.h"

enum { SWEEP_MS = 1000, SWEEP_MIN = 64 };

enum op { APPEND, READ, ACK, PEEK, MARKER, TOKEN_PUT, TOKEN_GET, FORGET };

struct call {
	struct imgo__list link;
	enum op op;
	void *args;
	uint32_t partition; /* of forget */
	imgo_store_cb *cb;
	void *user;
};

struct store {
	struct imgo_loop *loop;
	struct imgo_store_options options;
	struct imgo__store_stats stats;
	struct imgo__mem_data data;
	struct imgo__list calls;
	struct imgo__task task;
	struct imgo__timer sweep;
	struct imgo__arena results; /* of the call whose callback runs */
};

static void gone(const struct imgo__userlog_item *item, void *part)
{
	imgo__mem_body_unref(part, item);
}

static struct imgo__userlog_ctx context(struct store *store, struct imgo__mem_part *part, uint64_t rebuild_token)
{
	return (struct imgo__userlog_ctx){.options = &store->options,
		.now_ms = imgo_loop_wall_ms(store->loop),
		.rebuild = rebuild_token != 0,
		.gone = gone,
		.user = part};
}

/* ---- append ---- */

static int append_one(
	struct store *store, struct imgo__mem_part *part, uint64_t rebuild_token, struct imgo_store_append *item)
{
	struct imgo__mem_user *user = imgo__mem_user_make(&store->data, part, item->user);
	/* The reference first: what fails after it is easily taken back. */
	struct imgo__mem_body *body = user ? imgo__mem_body_ref(part, item->body) : NULL;
	if (!body)
		return IMGO_ENOMEM;
	struct imgo__userlog_append append = {
		.id = item->body->id, .size = (uint32_t)item->body->data.len, .at_ms = item->body->at_ms};
	imgo__userlog_tag(append.tag, &item->body->msgid);
	struct imgo__userlog_ctx ctx = context(store, part, rebuild_token);
	int err = imgo__userlog_append(&user->log, &ctx, &append);
	if (!append.inserted) {
		struct imgo__userlog_item mine = {.id = append.id};
		memcpy(mine.tag, append.tag, sizeof mine.tag);
		imgo__mem_body_unref(part, &mine);
	}
	item->result = append.result;
	item->prev = append.prev;
	item->dropped = ctx.dropped;
	return err;
}

static int do_append(struct store *store, struct imgo_store_append_many *call)
{
	struct imgo__mem_part *part = imgo__mem_part_get(&store->data, call->partition);
	int err = imgo__marker_check(imgo__mem_marker(part, call->epoch), call->rebuild_token);
	for (size_t i = 0; i < call->nitems && !err; i++)
		err = append_one(store, part, call->rebuild_token, &call->items[i]);
	if (!err)
		imgo__store_count_appends(&store->stats, call);
	return err;
}

/* ---- read ---- */

/* Settles before anybody looks. */
static struct imgo__userlog *settled(struct store *store, struct imgo__mem_part *part, struct imgo_str name)
{
	static struct imgo__userlog none;
	struct imgo__mem_user *user = imgo__mem_user_get(part, name);
	if (!user)
		return &none;
	struct imgo__userlog_ctx ctx = context(store, part, 0);
	imgo__userlog_settle(&user->log, &ctx);
	imgo_stat_add(store->stats.dropped, ctx.dropped);
	return &user->log;
}

static int attach(struct store *store, struct imgo__mem_part *part, const struct imgo_store_read *item)
{
	struct imgo__mem_user *user = imgo__mem_user_make(&store->data, part, item->user);
	if (!user)
		return IMGO_ENOMEM;
	struct imgo__userlog_ctx ctx = context(store, part, 0);
	int err = imgo__userlog_attach(&user->log, &ctx, item->device);
	imgo_stat_add(store->stats.dropped, ctx.dropped);
	return err;
}

static void fetch(struct store *store, struct imgo__mem_part *part, const struct imgo__userlog *log,
	const struct imgo__userlog_plan *plan, struct imgo_store_read *item, struct imgo_store_message *messages)
{
	item->messages = messages;
	item->nmessages = item->missing = 0;
	for (size_t i = plan->first, n = plan->n; n; i++) {
		const struct imgo__userlog_item *entry = &log->items[i];
		if (!entry->live)
			continue;
		n--;
		struct imgo__mem_body *body = imgo__mem_body_get(part, entry);
		if (body)
			messages[item->nmessages++] = (struct imgo_store_message){
				entry->id, body->op, body->at_ms, imgo_strn(body->data, body->size)};
		else
			item->missing++;
	}
	imgo_stat_add(store->stats.missing, item->missing);
}

static int read_one(struct store *store, struct imgo__mem_part *part, struct imgo_store_read *item)
{
	if (item->attach) {
		int err = attach(store, part, item);
		if (err)
			return err;
	}
	const struct imgo__userlog *log = settled(store, part, item->user);
	struct imgo__userlog_plan plan;
	imgo__userlog_plan(log, item->device, item->after, item->messages_max, item->bytes_max, &plan);
	struct imgo_store_message *messages = imgo__arena_zalloc(&store->results, plan.n + 1, sizeof *messages);
	if (!messages)
		return IMGO_ENOMEM;
	fetch(store, part, log, &plan, item, messages);
	item->more = plan.more;
	item->gap = plan.gap;
	item->position = plan.position;
	item->cursor = plan.cursor;
	return 0;
}

static int do_read(struct store *store, struct imgo_store_read_many *call)
{
	struct imgo__mem_part *part = imgo__mem_part_get(&store->data, call->partition);
	int err = imgo__marker_check(imgo__mem_marker(part, call->epoch), 0);
	for (size_t i = 0; i < call->nitems && !err; i++)
		err = read_one(store, part, &call->items[i]);
	return err;
}

/* ---- cursors, heads, markers ---- */

static int do_ack(struct store *store, struct imgo_store_ack_many *call)
{
	struct imgo__mem_part *part = imgo__mem_part_get(&store->data, call->partition);
	int err = imgo__marker_check(imgo__mem_marker(part, call->epoch), call->rebuild_token);
	for (size_t i = 0; i < call->nitems && !err; i++) {
		const struct imgo_store_ack *item = &call->items[i];
		struct imgo__mem_user *user = imgo__mem_user_make(&store->data, part, item->user);
		struct imgo__userlog_ctx ctx = context(store, part, call->rebuild_token);
		err = user ? imgo__userlog_ack(&user->log, &ctx, item->device, item->id) : IMGO_ENOMEM;
		imgo_stat_add(store->stats.dropped, ctx.dropped);
	}
	return err;
}

static int do_peek(struct store *store, struct imgo_store_peek_many *call)
{
	struct imgo__mem_part *part = imgo__mem_part_get(&store->data, call->partition);
	int err = imgo__marker_check(imgo__mem_marker(part, call->epoch), 0);
	for (size_t i = 0; i < call->nitems && !err; i++) {
		struct imgo_store_peek *item = &call->items[i];
		const struct imgo__userlog *log = settled(store, part, item->user);
		item->head = imgo__userlog_head(log);
		item->cursor = imgo__userlog_cursor(log, item->device);
		item->nmessages = (uint32_t)log->nlive;
	}
	return err;
}

static int do_marker(struct store *store, struct imgo_store_marker *call)
{
	struct imgo__mem_part *part = imgo__mem_part_make(&store->data, call->partition);
	if (!part)
		return IMGO_ENOMEM;
	struct imgo__marker marker = imgo__mem_marker(part, call->epoch);
	bool changed;
	int err = imgo__marker_step(&marker, call, &changed);
	return !err && changed ? imgo__mem_marker_set(part, call->epoch, marker) : err;
}

/* ---- tokens ---- */

static int put_token(struct store *store, uint32_t partitions, const struct imgo_store_token *token)
{
	uint64_t now_ms = imgo_loop_wall_ms(store->loop);
	struct imgo__mem_part *upart = imgo__mem_part_make(&store->data, imgo_partition(token->user, partitions));
	struct imgo__mem_part *tpart = imgo__mem_part_make(&store->data, imgo__token_partition(token->hash, partitions));
	struct imgo__mem_user *user = upart ? imgo__mem_user_make(&store->data, upart, token->user) : NULL;
	if (!user || !tpart)
		return IMGO_ENOMEM;
	int err = imgo__tokenlist_put(&user->tokens, token, now_ms);
	if (err < 0 || !imgo__tokenlist_valid(&user->tokens, token))
		return err < 0 ? err : 0;
	return imgo__mem_token_put(&store->data, tpart, token);
}

static int do_token_put(struct store *store, struct imgo_store_token_many *call)
{
	int err = 0;
	for (size_t i = 0; i < call->nitems && !err; i++)
		err = put_token(store, call->partitions, &call->items[i]);
	return err;
}

static int get_token(struct store *store, const struct imgo_store_token_many *call, struct imgo_store_token *out)
{
	struct imgo__mem_part *part = imgo__mem_part_get(&store->data, imgo__token_partition(out->hash, call->partitions));
	if (imgo__marker_check(imgo__mem_marker(part, call->epoch), 0))
		return IMGO_EREBUILDING;
	struct imgo__mem_token *token = imgo__mem_token_get(part, out->hash);
	if (!token || token->token.expires_ms <= imgo_loop_wall_ms(store->loop))
		return IMGO_ENOTFOUND;
	part = imgo__mem_part_get(&store->data, imgo_partition(token->token.user, call->partitions));
	if (imgo__marker_check(imgo__mem_marker(part, call->epoch), 0))
		return IMGO_EREBUILDING;
	struct imgo__mem_user *user = imgo__mem_user_get(part, token->token.user);
	if (!user || !imgo__tokenlist_valid(&user->tokens, &token->token))
		return IMGO_ENOTFOUND;
	*out = token->token;
	return 0;
}

static int do_token_get(struct store *store, struct imgo_store_token_many *call)
{
	for (size_t i = 0; i < call->nitems; i++)
		call->items[i].err = get_token(store, call, &call->items[i]);
	return 0;
}

/* ---- calls ---- */

static int execute(struct store *store, const struct call *call)
{
	switch (call->op) {
	case APPEND:
		return do_append(store, call->args);
	case READ:
		return do_read(store, call->args);
	case ACK:
		return do_ack(store, call->args);
	case PEEK:
		return do_peek(store, call->args);
	case MARKER:
		return do_marker(store, call->args);
	case TOKEN_PUT:
		return do_token_put(store, call->args);
	case TOKEN_GET:
		return do_token_get(store, call->args);
	case FORGET:
		imgo__mem_forget(&store->data, call->partition);
		return 0;
	}
	return IMGO_ENOTSUP;
}

static void run(struct imgo_loop *loop, struct imgo__task *task)
{
	struct store *store = imgo__container_of(task, struct store, task);
	struct imgo__list calls, *link;
	imgo__list_take(&calls, &store->calls);
	while ((link = imgo__list_pop(&calls))) {
		struct call *call = imgo__container_of(link, struct call, link);
		int err = execute(store, call);
		imgo__store_count_error(&store->stats, err);
		call->cb(err, call->user);
		imgo__arena_free(&store->results);
		free(call);
	}
	if (!imgo__list_empty(&store->calls))
		imgo__defer(loop, task);
}

static int queue(struct store *store, enum op op, void *args, uint32_t partition, imgo_store_cb *cb, void *user)
{
	struct call *call = imgo__alloc(sizeof *call);
	if (!call)
		return IMGO_ENOMEM;
	*call = (struct call){.op = op, .args = args, .partition = partition, .cb = cb, .user = user};
	imgo__list_insert(&store->calls, &call->link);
	imgo__defer(store->loop, &store->task);
	return 0;
}

#define OP(name, type, op) \
	static int name(void *impl, struct type *args, imgo_store_cb *cb, void *user) \
	{ \
		return queue(impl, op, args, 0, cb, user); \
	}

OP(append_many, imgo_store_append_many, APPEND)
OP(read_many, imgo_store_read_many, READ)
OP(ack_many, imgo_store_ack_many, ACK)
OP(peek_many, imgo_store_peek_many, PEEK)
OP(set_marker, imgo_store_marker, MARKER)
OP(token_put, imgo_store_token_many, TOKEN_PUT)
OP(token_get, imgo_store_token_many, TOKEN_GET)

static int forget(void *impl, uint32_t epoch, uint32_t partition, imgo_store_cb *cb, void *user)
{
	(void)epoch;
	return queue(impl, FORGET, NULL, partition, cb, user);
}

/* ---- sweep ---- */

static void sweep_user(struct store *store, struct imgo__mem_user *user, uint64_t now_ms)
{
	struct imgo__userlog_ctx ctx = context(store, user->part, 0);
	/* A partition that is being rebuilt does not know its cursors yet: leave it alone. */
	for (size_t i = 0; i < user->part->nmarkers; i++)
		ctx.rebuild |= user->part->markers[i].marker.state == IMGO_MARKER_BUILDING;
	imgo__userlog_settle(&user->log, &ctx);
	imgo_stat_add(store->stats.dropped, ctx.dropped);
	bool valid = false;
	for (size_t i = 0; i < user->tokens.n; i++)
		valid |= user->tokens.e[i].expires_ms > now_ms;
	if (!valid && imgo__userlog_empty(&user->log))
		imgo__mem_user_drop(&store->data, user);
}

static void sweep(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct store *store = imgo__container_of(timer, struct store, sweep);
	uint64_t now_ms = imgo_loop_wall_ms(loop);
	for (size_t n = store->data.nusers / 60 + SWEEP_MIN; n && store->data.nusers; n--) {
		struct imgo__list *link = imgo__list_pop(&store->data.users);
		imgo__list_insert(&store->data.users, link);
		sweep_user(store, imgo__container_of(link, struct imgo__mem_user, ring), now_ms);
	}
	for (size_t n = store->data.ntokens / 60 + SWEEP_MIN; n && store->data.ntokens; n--) {
		struct imgo__list *link = imgo__list_pop(&store->data.tokens);
		imgo__list_insert(&store->data.tokens, link);
		struct imgo__mem_token *token = imgo__container_of(link, struct imgo__mem_token, ring);
		if (token->token.expires_ms <= now_ms)
			imgo__mem_token_drop(&store->data, token);
	}
	imgo__timer_start(loop, timer, SWEEP_MS);
}

/* ---- life ---- */

static void destroy(void *impl)
{
	struct store *store = impl;
	imgo__task_cancel(&store->task);
	imgo__timer_stop(store->loop, &store->sweep);
	struct imgo__list *link;
	while ((link = imgo__list_pop(&store->calls))) {
		struct call *call = imgo__container_of(link, struct call, link);
		call->cb(IMGO_ECANCELED, call->user);
		free(call);
	}
	imgo__mem_fini(&store->data);
	free(store);
}

static const struct imgo_store_ops ops = {
	sizeof ops, destroy, append_many, read_many, ack_many, peek_many, set_marker, token_put, token_get, forget};

int imgo_store_new_memory(struct imgo_store **out, struct imgo_loop *loop, const struct imgo_store_options *options,
	struct imgo_error *error)
{
	*out = NULL;
	struct imgo_store_options taken;
	int err = imgo__store_options_take(&taken, options, error);
	if (err)
		return err;
	struct store *store = imgo__zalloc(sizeof *store);
	if (!store)
		return imgo__fail(error, IMGO_ENOMEM, "out of memory");
	store->loop = loop;
	store->options = taken;
	imgo__store_stats_init(&store->stats, imgo_loop_stats(loop));
	imgo__mem_init(&store->data);
	imgo__list_init(&store->calls);
	imgo__task_init(&store->task, run);
	imgo__timer_init(&store->sweep, sweep);
	imgo__timer_start(loop, &store->sweep, SWEEP_MS);
	err = imgo_store_new_custom(out, loop, &ops, store);
	return err ? imgo__fail(error, err, "out of memory") : 0;
}
