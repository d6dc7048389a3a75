/* SPDX-License-Identifier: MIT */
/*
 * Users' logs in memcached: changing them.
 *
 *   u:partition:user                -> the user's log
 *   b:partition:epoch:id:tag        -> head and data
 *
 * Append: read the logs, between two looks at the marker → add the bodies → swap each log that changed → look
 * at the marker again: only if it is the same one do the results count. Every step may be repeated, and a
 * call that failed anywhere is simply made again. So that a log never names a body that is not there:
 *   - the body is added before the log is swapped, also for an id that is in the log already: it may have
 * been put there by a call whose body went down with an amnesia in between (a rebuild meets every id that is
 * wanted, and comes by here for each before it declares the partition complete);
 *   - a body whose only user's need ended is deleted after the swap that ended it. Others live until the TTL.
 *
 * A log that vanished between get and cas is an amnesia, not a conflict.
 */
#include "base/failpoint.h"
#include "store/memcached.h"

static void note_gone(const struct imgo__userlog_item *item, void *user)
{
	struct imgo__mc_edit *edit = user;
	if (!item->own)
		return;
	size_t n = edit->ngone;
	if ((n & (n - 1)) == 0) { /* a power of two: full */
		void *keys = imgo__regrow(edit->gone, n ? 2 * n : 1, sizeof *edit->gone);
		if (!keys)
			return; /* its TTL will take it */
		edit->gone = keys;
	}
	imgo__mc_key_body(&edit->gone[edit->ngone++], edit->view->partition, item->id, item->tag);
}

static uint64_t keep_until(const struct imgo__mc *mc, uint64_t now_ms)
{
	uint64_t ttl_ms = mc->options.ttl_ms;
	return now_ms + (ttl_ms > IMGO__USERLOG_KEEP_MS ? ttl_ms : IMGO__USERLOG_KEEP_MS);
}

/* Writes the log in the place of `old`. IMGO_EEXISTS: somebody else was faster. */
static int swap(struct imgo__mc_edit *edit, const struct imgo__mc_value *old)
{
	struct imgo__buf buf = {0};
	int err = imgo__userlog_encode(&edit->log, edit->user, &buf);
	struct imgo_str record = imgo_strn(buf.data, buf.len);
	if (!err && imgo__failpoint("memcached.swap"))
		err = IMGO_EUNAVAILABLE;
	uint32_t exptime = imgo__mc_exptime(keep_until(edit->view->mc, edit->ctx.now_ms), edit->ctx.now_ms);
	if (!err && old->found)
		err = imgo__mc_cas(edit->view, &edit->key, record, exptime, old->cas);
	else if (!err)
		err = imgo__mc_add(edit->view, &edit->key, record, exptime);
	imgo__buf_free(&buf);
	if (err == IMGO_ENOTFOUND)
		return edit->view->rebuild_token ? IMGO_ESTALE : IMGO_EREBUILDING;
	return err;
}

static int decode(
	struct imgo__mc_view *view, struct imgo_str user, const struct imgo__mc_value *value, struct imgo__userlog *log)
{
	imgo__userlog_init(log);
	if (!value->found)
		return 0;
	int err = imgo__userlog_decode(log, user, value->data.p, value->data.len);
	if (err != IMGO_EPROTO)
		return err;
	struct imgo__mc_key key;
	imgo__mc_key_log(&key, view->partition, user);
	return imgo__mc_damaged(view, &key, "log");
}

int imgo__mc_log_decode(
	struct imgo__mc_view *view, struct imgo_str user, const struct imgo__mc_value *value, struct imgo__userlog *log)
{
	struct imgo__userlog_ctx ctx = {.options = &view->mc->options, .now_ms = imgo_loop_wall_ms(view->mc->loop)};
	int err = decode(view, user, value, log);
	if (!err)
		imgo__userlog_settle(log, &ctx);
	return err;
}

static int attempt(struct imgo__mc_edit *edit, const struct imgo__mc_value *value, imgo__mc_apply_fn *apply, void *arg)
{
	struct imgo__mc_view *view = edit->view;
	imgo__userlog_fini(&edit->log);
	edit->ngone = 0;
	edit->exists = value->found;
	edit->ctx = (struct imgo__userlog_ctx){.options = &view->mc->options,
		.now_ms = imgo_loop_wall_ms(view->mc->loop),
		.rebuild = view->rebuild_token != 0,
		.gone = note_gone,
		.user = edit};
	int err = decode(view, edit->user, value, &edit->log);
	if (!err)
		err = apply(edit, arg);
	if (err || !edit->ctx.changed)
		return err;
	err = swap(edit, value);
	if (!err)
		imgo__mc_delete_quietly(view, edit->gone, edit->ngone);
	return err;
}

int imgo__mc_edit(struct imgo__mc_edit *edit, struct imgo__mc_view *view, struct imgo_str user,
	struct imgo__mc_value value, imgo__mc_apply_fn *apply, void *arg)
{
	*edit = (struct imgo__mc_edit){.view = view, .user = user};
	imgo__mc_key_log(&edit->key, view->partition, user);
	int err = attempt(edit, &value, apply, arg);
	for (int i = 1; err == IMGO_EEXISTS && i < IMGO__MC_ATTEMPTS; i++) {
		err = imgo__mc_get_checked(view, &edit->key, 1, &value);
		if (!err)
			err = attempt(edit, &value, apply, arg);
	}
	free(edit->gone);
	edit->gone = NULL;
	return err == IMGO_EEXISTS ? IMGO_EUNAVAILABLE : err;
}

/* ---- groups of a call's items ---- */

/* The logs of all users of a call, read in batches, and what is to be done to each. */
struct batch {
	struct imgo__mc_view *view;
	const void *items;
	size_t n, size;
	size_t *order;
};

static struct imgo_str user_at(const struct batch *b, size_t i)
{
	return *(const struct imgo_str *)((const char *)b->items + b->order[i] * b->size);
}

/* Where the groups of one mget begin: starts[0..n], the last one being the end. */
static size_t take_groups(const struct batch *b, size_t from, size_t starts[IMGO__MC_BATCH + 1])
{
	size_t n = 0;
	starts[0] = from;
	while (n < IMGO__MC_BATCH && starts[n] < b->n) {
		starts[n + 1] = imgo__group_end(b->order, b->items, b->n, b->size, starts[n]);
		n++;
	}
	return n;
}

static int for_groups(struct batch *b,
	int (*fn)(struct batch *b, size_t from, size_t to, struct imgo__mc_value *value, void *user), void *user)
{
	size_t starts[IMGO__MC_BATCH + 1] = {0}, n;
	struct imgo__mc_key keys[IMGO__MC_BATCH];
	struct imgo__mc_value values[IMGO__MC_BATCH];
	int err = 0;
	if (!(b->order = imgo__group(b->view->arena, b->items, b->n, b->size)))
		return IMGO_ENOMEM;
	if (b->n == 0)
		return imgo__mc_get_checked(b->view, NULL, 0, NULL);
	for (size_t from = 0; !err && (n = take_groups(b, from, starts)) > 0; from = starts[n]) {
		for (size_t i = 0; i < n; i++)
			imgo__mc_key_log(&keys[i], b->view->partition, user_at(b, starts[i]));
		err = imgo__mc_get_checked(b->view, keys, n, values);
		for (size_t i = 0; i < n && !err; i++)
			err = fn(b, starts[i], starts[i + 1], &values[i], user);
	}
	return err;
}

/* ---- append ---- */

struct append {
	struct imgo_store_append_many *call;
	bool *stored; /* of each body: it is there */
	size_t from, to;
	const size_t *order;
};

static int store_body(struct imgo__mc_view *view, const struct imgo_store_body *body)
{
	struct imgo__mc_key key;
	struct imgo__buf buf = {0};
	uint64_t now_ms = imgo_loop_wall_ms(view->mc->loop);
	uint8_t tag[IMGO__USERLOG_TAG_LEN];
	imgo__userlog_tag(tag, &body->msgid);
	imgo__mc_key_body(&key, view->partition, body->id, tag);
	if (imgo__buf_reserve(&buf, IMGO__BODY_HEAD_LEN + body->data.len))
		return IMGO_ENOMEM;
	imgo__body_head(body, buf.data);
	buf.len = IMGO__BODY_HEAD_LEN;
	imgo__buf_str(&buf, body->data);
	int err = imgo__mc_add(view, &key, imgo_strn(buf.data, buf.len),
		imgo__mc_exptime(body->at_ms + view->mc->options.ttl_ms, now_ms));
	imgo__buf_free(&buf);
	return err == IMGO_EEXISTS ? 0 : err;
}

static int append_item(struct imgo__mc_edit *edit, struct append *a, struct imgo_store_append *item)
{
	const struct imgo_store_body *body = item->body;
	struct imgo__userlog_append append = {
		.id = body->id, .size = (uint32_t)body->data.len, .at_ms = body->at_ms, .own = body->users == 1};
	imgo__userlog_tag(append.tag, &body->msgid);
	uint32_t dropped = edit->ctx.dropped;
	int err = imgo__userlog_append(&edit->log, &edit->ctx, &append);
	item->result = append.result;
	item->prev = append.prev;
	item->dropped = edit->ctx.dropped - dropped;
	bool *stored = &a->stored[body - a->call->bodies];
	bool named = append.result == IMGO_APPEND_NEW || append.result == IMGO_APPEND_PRESENT;
	if (err || !named || *stored)
		return err;
	err = store_body(edit->view, body);
	*stored = !err;
	return err;
}

static int apply_append(struct imgo__mc_edit *edit, void *user)
{
	struct append *a = user;
	int err = 0;
	for (size_t i = a->from; i < a->to && !err; i++)
		err = append_item(edit, a, &a->call->items[a->order[i]]);
	return err;
}

static int append_group(struct batch *b, size_t from, size_t to, struct imgo__mc_value *value, void *user)
{
	struct append *a = user;
	struct imgo__mc_edit edit;
	a->from = from;
	a->to = to;
	a->order = b->order;
	int err = imgo__mc_edit(&edit, b->view, user_at(b, from), *value, apply_append, a);
	imgo__userlog_fini(&edit.log);
	return err;
}

int imgo__mc_append(struct imgo__mc_view *view, struct imgo_store_append_many *call)
{
	struct batch b = {.view = view, .items = call->items, .n = call->nitems, .size = sizeof *call->items};
	struct append a = {.call = call};
	if (!(a.stored = imgo__arena_zalloc(view->arena, call->nbodies + 1, sizeof *a.stored)))
		return IMGO_ENOMEM;
	int err = for_groups(&b, append_group, &a);
	return err ? err : imgo__mc_recheck(view);
}

/* ---- acknowledge ---- */

struct ack {
	const struct imgo_store_ack_many *call;
	uint32_t *dropped;
	size_t from, to;
	const size_t *order;
};

/* Where there is no record there is nothing to acknowledge: only attaching and a rebuild make one
 * (tests/model/README.md, 2). */
static int apply_ack(struct imgo__mc_edit *edit, void *user)
{
	struct ack *a = user;
	bool exists = edit->exists || a->call->rebuild_token;
	int err = 0;
	for (size_t i = a->from; i < a->to && !err; i++) {
		const struct imgo_store_ack *item = &a->call->items[a->order[i]];
		exists |= item->id.id == 0;
		if (exists)
			err = imgo__userlog_ack(&edit->log, &edit->ctx, item->device, item->id);
	}
	return err;
}

static int ack_group(struct batch *b, size_t from, size_t to, struct imgo__mc_value *value, void *user)
{
	struct ack *a = user;
	struct imgo__mc_edit edit;
	a->from = from;
	a->to = to;
	a->order = b->order;
	int err = imgo__mc_edit(&edit, b->view, user_at(b, from), *value, apply_ack, a);
	*a->dropped += edit.ctx.dropped;
	imgo__userlog_fini(&edit.log);
	return err;
}

int imgo__mc_ack(struct imgo__mc_view *view, const struct imgo_store_ack_many *call, uint32_t *dropped)
{
	struct batch b = {.view = view, .items = call->items, .n = call->nitems, .size = sizeof *call->items};
	struct ack a = {.call = call, .dropped = dropped};
	int err = for_groups(&b, ack_group, &a);
	return err ? err : imgo__mc_recheck(view);
}
