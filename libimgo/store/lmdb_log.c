/* SPDX-License-Identifier: MIT */
/*
 * Users' logs in LMDB, inside a transaction.
 *
 *   users    partition, user                  -> the user's log
 *   bodies   partition, epoch, id, tag        -> head and data
 *   refs     as bodies                        -> how many users want it, where that is more than one
 *   expiry   due_ms, 'u', partition, user     -> nothing: when to look at that log again
 *   markers  partition, epoch                 -> marker
 *
 * A log's entry in `expiry` is moved only when the log is due earlier than planned; otherwise the sweep finds
 * it, settles the log and plans the next time. So a message costs two puts: log and body.
 *
 * Invariants, after every transaction: a body exists exactly while some log holds it live, and its count is
 * the number of those; a log's due_ms names its one entry in `expiry`, or is 0 and there is none.
 */
#include "store/lmdb.h"

struct imgo__lmdb_key imgo__lmdb_key(uint32_t partition, struct imgo_str rest)
{
	struct imgo__lmdb_key key = {.len = 4 + rest.len};
	imgo__put32(key.b, partition);
	if (rest.len)
		memcpy(key.b + 4, rest.p, rest.len);
	return key;
}

struct imgo__lmdb_key imgo__lmdb_expiry_key(uint64_t due_ms, char kind, struct imgo__lmdb_key of)
{
	struct imgo__lmdb_key key = {.len = 9 + of.len};
	imgo__put64(key.b, due_ms);
	key.b[8] = (uint8_t)kind;
	memcpy(key.b + 9, of.b, of.len);
	return key;
}

void imgo__lmdb_damaged(const struct imgo__lmdb_store *store, const char *what)
{
	imgo_stat_add(store->stats.corrupt, 1);
	imgo_log_event(imgo_loop_log(store->loop), IMGO_LOG_ERROR, "store", "damaged-record", "backend=lmdb what=%s", what);
}

/* ---- bodies ---- */

static struct imgo__lmdb_key body_key(uint32_t partition, const struct imgo__userlog_item *item)
{
	uint8_t rest[12 + IMGO__USERLOG_TAG_LEN];
	imgo__put32(rest, item->id.epoch);
	imgo__put64(rest + 4, item->id.id);
	memcpy(rest + 12, item->tag, IMGO__USERLOG_TAG_LEN);
	return imgo__lmdb_key(partition, imgo_strn(rest, sizeof rest));
}

/* How many want it, of a body that is there. */
static int refs_get(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, struct imgo_str key, uint32_t *out)
{
	struct imgo_str value;
	int err = imgo__lmdb_get(txn, store->refs, key, &value);
	*out = !err && value.len == 4 ? imgo__get32((const uint8_t *)value.p) : 1;
	return err == IMGO_ENOTFOUND ? 0 : err;
}

static int refs_put(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, struct imgo_str key, uint32_t n)
{
	uint8_t value[4];
	imgo__put32(value, n);
	return imgo__lmdb_put(txn, store->refs, key, imgo_strn(value, 4));
}

static int body_ref(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, uint32_t partition,
	const struct imgo_store_body *body)
{
	struct imgo__userlog_item item = {.id = body->id};
	imgo__userlog_tag(item.tag, &body->msgid);
	struct imgo__lmdb_key key = body_key(partition, &item);
	uint8_t *to;
	int err = imgo__lmdb_add(txn, store->bodies, imgo__lmdb_key_str(&key), IMGO__BODY_HEAD_LEN + body->data.len, &to);
	if (!err) {
		imgo__body_head(body, to);
		if (body->data.len)
			memcpy(to + IMGO__BODY_HEAD_LEN, body->data.p, body->data.len);
		return 0;
	}
	if (err != IMGO_EEXISTS)
		return err;
	uint32_t n;
	err = refs_get(store, txn, imgo__lmdb_key_str(&key), &n);
	return err ? err : refs_put(store, txn, imgo__lmdb_key_str(&key), n + 1);
}

static int body_unref(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, uint32_t partition,
	const struct imgo__userlog_item *item)
{
	struct imgo__lmdb_key key = body_key(partition, item);
	struct imgo_str k = imgo__lmdb_key_str(&key);
	uint32_t n;
	int err = refs_get(store, txn, k, &n);
	if (err)
		return err;
	if (n > 2)
		return refs_put(store, txn, k, n - 1);
	err = imgo__lmdb_del(txn, n == 2 ? store->refs : store->bodies, k);
	return err == IMGO_ENOTFOUND ? 0 : err;
}

/* ---- logs ---- */

/* One log while it is changed. */
struct edit {
	const struct imgo__lmdb_store *store;
	struct imgo__lmdb_txn *txn;
	uint32_t partition;
	struct imgo_str user;
	struct imgo__lmdb_key key;
	struct imgo__userlog log;
	struct imgo__userlog_ctx ctx;
	bool exists, damaged;
	int err; /* of what `gone` did */
};

static void gone(const struct imgo__userlog_item *item, void *user)
{
	struct edit *edit = user;
	if (!edit->err)
		edit->err = body_unref(edit->store, edit->txn, edit->partition, item);
}

/* A damaged log reads as an empty one; *damaged says so. */
static int load(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, const struct imgo__lmdb_key *key,
	struct imgo__userlog *log, bool *exists, bool *damaged)
{
	struct imgo_str value;
	*exists = *damaged = false;
	imgo__userlog_init(log);
	int err = imgo__lmdb_get(txn, store->users, imgo__lmdb_key_str(key), &value);
	if (err)
		return err == IMGO_ENOTFOUND ? 0 : err;
	*exists = true;
	err = imgo__userlog_decode(log, imgo_strn(key->b + 4, key->len - 4), value.p, value.len);
	if (err != IMGO_EPROTO)
		return err;
	imgo__lmdb_damaged(store, "log");
	*damaged = true;
	return 0;
}

static int edit_begin(struct edit *edit, const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn,
	uint32_t partition, struct imgo_str user, bool rebuild)
{
	*edit = (struct edit){.store = store, .txn = txn, .partition = partition, .user = user};
	edit->key = imgo__lmdb_key(partition, user);
	edit->ctx = (struct imgo__userlog_ctx){.options = &store->options,
		.now_ms = imgo_loop_wall_ms(store->loop),
		.rebuild = rebuild,
		.gone = gone,
		.user = edit};
	int err = load(store, txn, &edit->key, &edit->log, &edit->exists, &edit->damaged);
	edit->ctx.changed = edit->damaged;
	return err;
}

/* What was in a damaged log is not known: whoever has less than `id` missed something. */
static void after_damage(struct edit *edit, struct imgo_id id)
{
	if (edit->damaged && id.id > 0)
		edit->log.lost = edit->log.floor = (struct imgo_id){id.epoch, id.id - 1};
	edit->damaged = false;
}

static int plan_expiry(struct edit *edit, uint64_t due_ms)
{
	struct imgo__lmdb_key key;
	if (edit->log.due_ms && edit->log.due_ms <= due_ms)
		return 0;
	if (edit->log.due_ms) {
		key = imgo__lmdb_expiry_key(edit->log.due_ms, 'u', edit->key);
		int err = imgo__lmdb_del(edit->txn, edit->store->expiry, imgo__lmdb_key_str(&key));
		if (err && err != IMGO_ENOTFOUND)
			return err;
	}
	edit->log.due_ms = due_ms == UINT64_MAX ? 0 : due_ms;
	if (due_ms == UINT64_MAX)
		return 0;
	key = imgo__lmdb_expiry_key(due_ms, 'u', edit->key);
	return imgo__lmdb_put(edit->txn, edit->store->expiry, imgo__lmdb_key_str(&key), imgo_strn(NULL, 0));
}

static int save(struct edit *edit)
{
	struct imgo__buf buf = {0};
	bool keep = !imgo__userlog_empty(&edit->log);
	int err = plan_expiry(edit, keep ? imgo__userlog_due(&edit->log, &edit->store->options) : UINT64_MAX);
	if (err)
		return err;
	if (keep && !(err = imgo__userlog_encode(&edit->log, edit->user, &buf)))
		err = imgo__lmdb_put(
			edit->txn, edit->store->users, imgo__lmdb_key_str(&edit->key), imgo_strn(buf.data, buf.len));
	else if (!keep && edit->exists)
		err = imgo__lmdb_del(edit->txn, edit->store->users, imgo__lmdb_key_str(&edit->key));
	imgo__buf_free(&buf);
	return err == IMGO_ENOTFOUND ? 0 : err;
}

/* Writes what changed, unless err. */
static int edit_end(struct edit *edit, int err)
{
	if (!err)
		err = edit->err;
	if (!err && edit->ctx.changed)
		err = save(edit);
	imgo__userlog_fini(&edit->log);
	return err;
}

/* ---- operations ---- */

static int append_item(struct edit *edit, struct imgo_store_append *item)
{
	const struct imgo_store_body *body = item->body;
	struct imgo__userlog_append append = {.id = body->id, .size = (uint32_t)body->data.len, .at_ms = body->at_ms};
	imgo__userlog_tag(append.tag, &body->msgid);
	after_damage(edit, body->id);
	uint32_t dropped = edit->ctx.dropped;
	int err = body_ref(edit->store, edit->txn, edit->partition, body);
	if (!err)
		err = imgo__userlog_append(&edit->log, &edit->ctx, &append);
	if (!err && !append.inserted) {
		struct imgo__userlog_item mine = {.id = append.id};
		memcpy(mine.tag, append.tag, sizeof mine.tag);
		err = body_unref(edit->store, edit->txn, edit->partition, &mine);
	}
	item->result = append.result;
	item->prev = append.prev;
	item->dropped = edit->ctx.dropped - dropped;
	return err;
}

int imgo__lmdb_append(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn,
	struct imgo_store_append_many *call, struct imgo__arena *arena)
{
	struct imgo__marker marker;
	int err = imgo__lmdb_marker_get(store, txn, call->epoch, call->partition, &marker);
	if (err || (err = imgo__marker_check(marker, call->rebuild_token)))
		return err;
	size_t size = sizeof *call->items, n = call->nitems, end;
	size_t *order = imgo__group(arena, call->items, n, size);
	if (!order)
		return IMGO_ENOMEM;
	for (size_t i = 0; i < n && !err; i = end) {
		struct edit edit;
		end = imgo__group_end(order, call->items, n, size, i);
		err = edit_begin(&edit, store, txn, call->partition, call->items[order[i]].user, call->rebuild_token != 0);
		for (size_t j = i; j < end && !err; j++)
			err = append_item(&edit, &call->items[order[j]]);
		err = edit_end(&edit, err);
	}
	return err;
}

int imgo__lmdb_ack(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn,
	const struct imgo_store_ack_many *call, struct imgo__arena *arena, uint32_t *dropped)
{
	struct imgo__marker marker;
	int err = imgo__lmdb_marker_get(store, txn, call->epoch, call->partition, &marker);
	if (err || (err = imgo__marker_check(marker, call->rebuild_token)))
		return err;
	size_t size = sizeof *call->items, n = call->nitems, end;
	size_t *order = imgo__group(arena, call->items, n, size);
	if (!order)
		return IMGO_ENOMEM;
	for (size_t i = 0; i < n && !err; i = end) {
		struct edit edit;
		end = imgo__group_end(order, call->items, n, size, i);
		err = edit_begin(&edit, store, txn, call->partition, call->items[order[i]].user, call->rebuild_token != 0);
		for (size_t j = i; j < end && !err; j++) {
			const struct imgo_store_ack *item = &call->items[order[j]];
			after_damage(&edit, item->id);
			err = imgo__userlog_ack(&edit.log, &edit.ctx, item->device, item->id);
		}
		*dropped += edit.ctx.dropped;
		err = edit_end(&edit, err);
	}
	return err;
}

int imgo__lmdb_attach(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn,
	struct imgo_store_read_many *call, uint32_t *dropped)
{
	struct imgo__marker marker;
	int err = imgo__lmdb_marker_get(store, txn, call->epoch, call->partition, &marker);
	if (err || (err = imgo__marker_check(marker, 0)))
		return err;
	for (size_t i = 0; i < call->nitems && !err; i++) {
		struct imgo_store_read *item = &call->items[i];
		struct edit edit;
		if (!item->attach)
			continue;
		err = edit_begin(&edit, store, txn, call->partition, item->user, false);
		if (!err && edit.damaged)
			after_damage(&edit, item->after);
		if (!err)
			err = imgo__userlog_attach(&edit.log, &edit.ctx, item->device);
		*dropped += edit.ctx.dropped;
		err = edit_end(&edit, err);
	}
	return err;
}

/* ---- looking ---- */

static int fetch(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, uint32_t partition,
	const struct imgo__userlog_item *entry, struct imgo__arena *arena, struct imgo_store_message *out)
{
	struct imgo__lmdb_key key = body_key(partition, entry);
	struct imgo_str value;
	bool ok = true;
	int err = imgo__lmdb_get(txn, store->bodies, imgo__lmdb_key_str(&key), &value);
	if (err)
		return err;
	if (imgo__body_decode(out, entry, value.p, value.len)) {
		imgo__lmdb_damaged(store, "body");
		return IMGO_ENOTFOUND;
	}
	out->data = imgo__arena_str(arena, out->data, &ok);
	return ok ? 0 : IMGO_ENOMEM;
}

static int look_at(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, uint32_t partition,
	const struct imgo__userlog *log, struct imgo_store_read *item, struct imgo__arena *arena)
{
	struct imgo__userlog_plan plan;
	imgo__userlog_plan(log, item->device, item->after, item->messages_max, item->bytes_max, &plan);
	struct imgo_store_message *messages = imgo__arena_zalloc(arena, plan.n + 1, sizeof *messages);
	if (!messages)
		return IMGO_ENOMEM;
	item->messages = messages;
	item->nmessages = item->missing = 0;
	item->more = plan.more;
	item->gap = plan.gap;
	item->position = plan.position;
	item->cursor = plan.cursor;
	for (size_t i = plan.first, n = plan.n; n; i++) {
		if (!log->items[i].live)
			continue;
		n--;
		int err = fetch(store, txn, partition, &log->items[i], arena, &messages[item->nmessages]);
		if (err && err != IMGO_ENOTFOUND)
			return err;
		item->nmessages += !err;
		item->missing += err != 0;
	}
	return 0;
}

/* Loads and settles it, without writing that. */
static int view(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, uint32_t partition,
	struct imgo_str user, struct imgo__userlog *log, bool *damaged)
{
	struct imgo__lmdb_key key = imgo__lmdb_key(partition, user);
	bool exists;
	int err = load(store, txn, &key, log, &exists, damaged);
	struct imgo__userlog_ctx ctx = {.options = &store->options, .now_ms = imgo_loop_wall_ms(store->loop)};
	if (!err)
		imgo__userlog_settle(log, &ctx);
	return err;
}

int imgo__lmdb_look(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, struct imgo_store_read_many *call,
	struct imgo__arena *arena, bool *attach)
{
	struct imgo__marker marker;
	int err = imgo__lmdb_marker_get(store, txn, call->epoch, call->partition, &marker);
	if (err || (err = imgo__marker_check(marker, 0)))
		return err;
	for (size_t i = 0; i < call->nitems && !err; i++) {
		struct imgo_store_read *item = &call->items[i];
		struct imgo__userlog log;
		bool damaged;
		err = view(store, txn, call->partition, item->user, &log, &damaged);
		if (!err && attach && item->attach)
			*attach |= imgo__userlog_attach_wanted(&log, imgo_loop_wall_ms(store->loop), item->device);
		if (!err && !(attach && *attach)) {
			err = look_at(store, txn, call->partition, &log, item, arena);
			item->gap |= damaged;
		}
		imgo__userlog_fini(&log);
	}
	return err;
}

int imgo__lmdb_peek(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, struct imgo_store_peek_many *call)
{
	struct imgo__marker marker;
	int err = imgo__lmdb_marker_get(store, txn, call->epoch, call->partition, &marker);
	if (err || (err = imgo__marker_check(marker, 0)))
		return err;
	for (size_t i = 0; i < call->nitems && !err; i++) {
		struct imgo_store_peek *item = &call->items[i];
		struct imgo__userlog log;
		bool damaged;
		err = view(store, txn, call->partition, item->user, &log, &damaged);
		item->head = imgo__userlog_head(&log);
		item->cursor = imgo__userlog_cursor(&log, item->device);
		item->nmessages = (uint32_t)log.nlive;
		imgo__userlog_fini(&log);
	}
	return err;
}

/* ---- time ---- */

/* A rebuild knows not all cursors yet: then only the TTL may take something. */
static int being_rebuilt(struct imgo_str key, struct imgo_str value, void *user)
{
	const uint8_t *partition = user;
	if (key.len != 8 || memcmp(key.p, partition, 4) != 0)
		return 1;
	return imgo__marker_decode(0, value.p, value.len).state == IMGO_MARKER_BUILDING ? 2 : 0;
}

int imgo__lmdb_log_expire(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, struct imgo_str key,
	uint64_t due_ms, uint32_t *dropped)
{
	struct edit edit;
	struct imgo_str user = imgo_strn(key.p + 4, key.len - 4);
	int rebuilt = imgo__lmdb_walk(txn, store->markers, imgo_strn(key.p, 4), being_rebuilt, (void *)key.p);
	if (rebuilt < 0)
		return rebuilt;
	int err = edit_begin(&edit, store, txn, imgo__get32((const uint8_t *)key.p), user, rebuilt == 2);
	if (!err && edit.damaged) /* what it held is gone: start anew */
		edit.log.due_ms = due_ms;
	if (!err && edit.log.due_ms == due_ms) {
		imgo__userlog_settle(&edit.log, &edit.ctx);
		edit.log.due_ms = 0;
		edit.ctx.changed = true;
		*dropped += edit.ctx.dropped;
	}
	return edit_end(&edit, err);
}
