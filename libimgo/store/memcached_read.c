/* SPDX-License-Identifier: MIT */
/*
 * Users' logs in memcached: reading them.
 *
 * A batch of items: their logs are read between two looks at the marker; devices that are new are attached (a
 * swap); then the bodies are read, each mget again between two looks at the same marker. What was read
 * between agreeing looks is one state of a complete partition, but another device's acknowledgement may come
 * between log and body and delete the body that only this user had. So a batch in which a body was missing is
 * read once more; what is missing then is counted.
 */
#include "store/memcached.h"

/* One item while its batch is read. */
struct reading {
	struct imgo_store_read *item;
	struct imgo__userlog log;
	struct imgo__userlog_plan plan;
	struct imgo_store_message *messages;
};

/* A body to be read: of which item, and which of its log. */
struct want {
	struct reading *of;
	const struct imgo__userlog_item *entry;
};

static int apply_attach(struct imgo__mc_edit *edit, void *user)
{
	const struct imgo_store_read *item = user;
	return imgo__userlog_attach(&edit->log, &edit->ctx, item->device);
}

static int attach(struct imgo__mc_view *view, struct reading *r, const struct imgo__mc_value *value, uint32_t *dropped)
{
	struct imgo__mc_edit edit;
	int err = imgo__mc_edit(&edit, view, r->item->user, *value, apply_attach, r->item);
	if (err) {
		imgo__userlog_fini(&edit.log);
		return err;
	}
	*dropped += edit.ctx.dropped;
	imgo__userlog_fini(&r->log);
	r->log = edit.log;
	return 0;
}

static int prepare(struct imgo__mc_view *view, struct reading *r, const struct imgo__mc_value *value, uint32_t *dropped)
{
	struct imgo_store_read *item = r->item;
	int err = imgo__mc_log_decode(view, item->user, value, &r->log);
	if (err)
		return err;
	if (item->attach && imgo__userlog_attach_wanted(&r->log, imgo_loop_wall_ms(view->mc->loop), item->device) &&
		(err = attach(view, r, value, dropped)))
		return err;
	struct imgo__userlog_plan *plan = &r->plan;
	imgo__userlog_plan(&r->log, item->device, item->after, item->messages_max, item->bytes_max, plan);
	if (!(r->messages = imgo__arena_zalloc(view->arena, plan->n + 1, sizeof *r->messages)))
		return IMGO_ENOMEM;
	item->messages = r->messages;
	item->nmessages = item->missing = 0;
	item->more = plan->more;
	item->gap = plan->gap;
	item->position = plan->position;
	item->cursor = plan->cursor;
	return 0;
}

static int take_body(struct imgo__mc_view *view, const struct want *want, const struct imgo__mc_key *key,
	const struct imgo__mc_value *value)
{
	struct reading *r = want->of;
	if (!value->found) {
		r->item->missing++;
		return 0;
	}
	if (imgo__body_decode(&r->messages[r->item->nmessages], want->entry, value->data.p, value->data.len))
		return imgo__mc_damaged(view, key, "body");
	r->item->nmessages++;
	return 0;
}

static int fetch(struct imgo__mc_view *view, const struct want *wants, size_t n)
{
	struct imgo__mc_key keys[IMGO__MC_BATCH];
	struct imgo__mc_value values[IMGO__MC_BATCH];
	for (size_t i = 0; i < n; i++)
		imgo__mc_key_body(&keys[i], view->partition, wants[i].entry->id, wants[i].entry->tag);
	int err = imgo__mc_get_checked(view, n ? keys : NULL, n, values);
	for (size_t i = 0; i < n && !err; i++)
		err = take_body(view, &wants[i], &keys[i], &values[i]);
	return err;
}

/* All bodies of the batch, in order, as many as go at a time. */
static int fetch_all(struct imgo__mc_view *view, struct reading *readings, size_t n)
{
	struct want wants[IMGO__MC_BATCH];
	size_t nwants = 0;
	int err = 0;
	for (size_t i = 0; i < n; i++) {
		struct reading *r = &readings[i];
		size_t left = r->plan.n;
		for (size_t k = r->plan.first; left && !err; k++) {
			if (!r->log.items[k].live)
				continue;
			left--;
			wants[nwants++] = (struct want){r, &r->log.items[k]};
			if (nwants == IMGO__MC_BATCH) {
				err = fetch(view, wants, nwants);
				nwants = 0;
			}
		}
	}
	/* Also when there is no body: an attach must have met the marker that was seen. */
	return err ? err : fetch(view, wants, nwants);
}

static int read_batch(
	struct imgo__mc_view *view, struct imgo_store_read *items, size_t n, uint32_t *dropped, uint32_t *missing)
{
	struct reading readings[IMGO__MC_BATCH] = {0};
	struct imgo__mc_key keys[IMGO__MC_BATCH];
	struct imgo__mc_value values[IMGO__MC_BATCH];
	for (size_t i = 0; i < n; i++) {
		readings[i].item = &items[i];
		imgo__mc_key_log(&keys[i], view->partition, items[i].user);
	}
	int err = imgo__mc_get_checked(view, keys, n, values);
	size_t wanted = 0;
	bool attaches = false;
	for (size_t i = 0; i < n && !err; i++) {
		err = prepare(view, &readings[i], &values[i], dropped);
		wanted += readings[i].plan.n;
		attaches |= items[i].attach;
	}
	if (!err && (wanted || attaches))
		err = fetch_all(view, readings, n);
	*missing = 0;
	for (size_t i = 0; i < n; i++) {
		*missing += err ? 0 : items[i].missing;
		imgo__userlog_fini(&readings[i].log);
	}
	return err;
}

int imgo__mc_read(struct imgo__mc_view *view, struct imgo_store_read_many *call, uint32_t *dropped)
{
	size_t n = call->nitems, now;
	int err = n ? 0 : imgo__mc_get_checked(view, NULL, 0, NULL);
	for (size_t i = 0; i < n && !err; i += now) {
		uint32_t missing;
		now = n - i < IMGO__MC_BATCH ? n - i : IMGO__MC_BATCH;
		err = read_batch(view, call->items + i, now, dropped, &missing);
		if (!err && missing)
			err = read_batch(view, call->items + i, now, dropped, &missing);
	}
	return err;
}

int imgo__mc_peek(struct imgo__mc_view *view, struct imgo_store_peek_many *call)
{
	struct imgo__mc_key keys[IMGO__MC_BATCH];
	struct imgo__mc_value values[IMGO__MC_BATCH];
	size_t n = call->nitems, now;
	int err = n ? 0 : imgo__mc_get_checked(view, NULL, 0, NULL);
	for (size_t i = 0; i < n && !err; i += now) {
		struct imgo_store_peek *items = call->items + i;
		now = n - i < IMGO__MC_BATCH ? n - i : IMGO__MC_BATCH;
		for (size_t k = 0; k < now; k++)
			imgo__mc_key_log(&keys[k], view->partition, items[k].user);
		err = imgo__mc_get_checked(view, keys, now, values);
		for (size_t k = 0; k < now && !err; k++) {
			struct imgo__userlog log;
			err = imgo__mc_log_decode(view, items[k].user, &values[k], &log);
			items[k].head = imgo__userlog_head(&log);
			items[k].cursor = imgo__userlog_cursor(&log, items[k].device);
			items[k].nmessages = (uint32_t)log.nlive;
			imgo__userlog_fini(&log);
		}
	}
	return err;
}
