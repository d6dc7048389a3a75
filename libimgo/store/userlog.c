/* SPDX-License-Identifier: MIT */
/*
 * One user's log.
 *
 * One array of items by rising id holds both what is still wanted (live) and, of what is not any more, the
 * tag by which a second record of the same push is recognised. Dead items are pruned when they are not among
 * the last 256, or older than 5 minutes before the newest item: by the records' own time, so that a replay
 * decides as the first run did. (Or when the second record would have expired too.)
 *
 * The log grows at its end only: append has answered for every id up to `top`, repeats and what was too old
 * included, and an id up to there is in the log or done with. So a replayed repeat is not taken for new when
 * the tag by which it was recognised has gone. What a rebuild meets that is too old, or done with, leaves its
 * tag: its second record may still come (tests/model/README.md, 5 and 6).
 *
 * A live item dies in one of three ways. All devices passed it: the floor becomes the lowest cursor. A limit
 * or the TTL took it: the oldest first. A device that held the floor back was forgotten. In the last two
 * somebody may still have wanted it: then it is counted and `lost` rises to it, by which a session that was
 * not so far yet learns of a gap. A log without devices keeps everything for whoever comes first.
 *
 * Invariants, after every operation:
 *   - ids rise strictly; no live item is at or below the floor; the floor, `lost` and `top` never go back;
 *   - no item is above `top`;
 *   - unless rebuilding: no live item is at or below every device's cursor;
 *   - no cursor goes back; at most 16 devices;
 *   - live items: at most messages_max, and at most bytes_max or only one.
 *
 * The floor rises over an item that dies only when nothing live is below it. That fails only for items whose
 * times run against their ids (a broker's clock was set back): such an item is simply not in the log any
 * more.
 */
#include "store/userlog.h"

#include "base/mem.h"

void imgo__userlog_init(struct imgo__userlog *log)
{
	memset(log, 0, sizeof *log);
}

void imgo__userlog_fini(struct imgo__userlog *log)
{
	free(log->items);
	free(log->devices);
	imgo__userlog_init(log);
}

/* ---- items ---- */

/* Index of the first item with an id >= id. */
static size_t lower_bound(const struct imgo__userlog *log, struct imgo_id id)
{
	size_t lo = 0, hi = log->nitems;
	/* nearly always at the end */
	if (hi && imgo_id_cmp(log->items[hi - 1].id, id) < 0)
		return hi;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (imgo_id_cmp(log->items[mid].id, id) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Index of the first live item at or after i, or nitems. */
static size_t next_live(const struct imgo__userlog *log, size_t i)
{
	while (i < log->nitems && !log->items[i].live)
		i++;
	return i;
}

static struct imgo_id live_before(const struct imgo__userlog *log, size_t i)
{
	while (i-- > 0)
		if (log->items[i].live)
			return log->items[i].id;
	return log->floor;
}

static void die(struct imgo__userlog *log, struct imgo__userlog_ctx *ctx, struct imgo__userlog_item *item)
{
	if (ctx->gone)
		ctx->gone(item, ctx->user);
	log->nlive--;
	log->bytes -= item->size;
	item->live = item->own = false;
	item->size = 0;
	ctx->changed = true;
}

static void raise(struct imgo_id *at, struct imgo_id id)
{
	*at = imgo_id_max(*at, id);
}

static bool wanted(const struct imgo__userlog *log, struct imgo_id id)
{
	for (size_t i = 0; i < log->ndevices; i++)
		if (imgo_id_cmp(log->devices[i].cursor, id) < 0)
			return true;
	return log->ndevices == 0;
}

/* The message of this id is not to be had any more; it is not live. */
static void lose(struct imgo__userlog *log, struct imgo__userlog_ctx *ctx, struct imgo_id id)
{
	if (wanted(log, id)) {
		raise(&log->lost, id);
		ctx->dropped++;
	}
	size_t first = next_live(log, 0);
	if (first == log->nitems || imgo_id_cmp(log->items[first].id, id) > 0)
		raise(&log->floor, id);
	ctx->changed = true;
}

static bool expired(uint64_t at_ms, const struct imgo__userlog_ctx *ctx)
{
	return at_ms + ctx->options->ttl_ms <= ctx->now_ms;
}

static void expire(struct imgo__userlog *log, struct imgo__userlog_ctx *ctx)
{
	if (!expired(log->oldest_ms, ctx))
		return;
	log->oldest_ms = UINT64_MAX / 2;
	for (size_t i = 0; i < log->nitems; i++) {
		struct imgo__userlog_item *item = &log->items[i];
		if (item->live && expired(item->at_ms, ctx)) {
			die(log, ctx, item);
			lose(log, ctx, item->id);
		} else if (item->live && item->at_ms < log->oldest_ms) {
			log->oldest_ms = item->at_ms;
		}
	}
}

static void enforce_limits(struct imgo__userlog *log, struct imgo__userlog_ctx *ctx)
{
	size_t i = 0;
	while (log->nlive > 1 && (log->nlive > ctx->options->messages_max || log->bytes > ctx->options->bytes_max)) {
		i = next_live(log, i);
		die(log, ctx, &log->items[i]);
		lose(log, ctx, log->items[i].id);
	}
}

/* Gives memory back after a backlog; best effort. */
static void shrink(struct imgo__userlog *log)
{
	if (log->cap <= 16 || log->nitems >= log->cap / 4)
		return;
	void *items = imgo__regrow(log->items, log->cap / 2, sizeof *log->items);
	if (!items)
		return;
	log->items = items;
	log->cap /= 2;
}

/* Removes dead items that are of no use any more. */
static void prune(struct imgo__userlog *log, const struct imgo__userlog_ctx *ctx)
{
	if (log->nlive == log->nitems)
		return;
	uint64_t newest = 0;
	for (size_t i = 0; i < log->nitems; i++)
		newest = log->items[i].at_ms > newest ? log->items[i].at_ms : newest;
	size_t n = 0;
	for (size_t i = 0; i < log->nitems; i++) {
		const struct imgo__userlog_item *item = &log->items[i];
		bool recent = log->nitems - i <= IMGO_STORE_TAGS_MAX && item->at_ms + IMGO_STORE_TAGS_MS >= newest &&
			      !expired(item->at_ms + IMGO_STORE_TAGS_MS, ctx);
		if (item->live || recent) {
			if (n != i)
				log->items[n] = *item;
			n++;
		}
	}
	log->nitems = n;
	shrink(log);
}

static int reserve_item(struct imgo__userlog *log)
{
	if (log->nitems < log->cap)
		return 0;
	size_t cap = log->cap ? log->cap * 2 : 4;
	void *items = imgo__regrow(log->items, cap, sizeof *log->items);
	if (!items)
		return IMGO_ENOMEM;
	log->items = items;
	log->cap = cap;
	return 0;
}

/* ---- devices ---- */

static struct imgo__userlog_device *find_device(const struct imgo__userlog *log, struct imgo_str name)
{
	for (size_t i = 0; i < log->ndevices; i++)
		if (imgo_str_eq(imgo_strn(log->devices[i].name, log->devices[i].len), name))
			return &log->devices[i];
	return NULL;
}

/* The device is forgotten: what only it wanted is lost to it. */
static void forget_device(struct imgo__userlog *log, struct imgo__userlog_ctx *ctx, size_t d)
{
	struct imgo_id cursor = log->devices[d].cursor;
	log->devices[d] = log->devices[--log->ndevices];
	ctx->changed = true;
	if (log->ndevices == 0 || ctx->rebuild)
		return;
	for (size_t i = 0; i < log->nitems; i++) {
		const struct imgo__userlog_item *item = &log->items[i];
		if (item->live && imgo_id_cmp(item->id, cursor) > 0 && !wanted(log, item->id)) {
			raise(&log->lost, item->id);
			ctx->dropped++;
		}
	}
}

static void forget_longest_unseen(struct imgo__userlog *log, struct imgo__userlog_ctx *ctx)
{
	size_t oldest = 0;
	for (size_t i = 1; i < log->ndevices; i++)
		if (log->devices[i].seen_ms < log->devices[oldest].seen_ms)
			oldest = i;
	forget_device(log, ctx, oldest);
}

static uint64_t keep_ms(const struct imgo_store_options *options)
{
	return options->ttl_ms > IMGO__USERLOG_KEEP_MS ? options->ttl_ms : IMGO__USERLOG_KEEP_MS;
}

static void forget_unseen(struct imgo__userlog *log, struct imgo__userlog_ctx *ctx)
{
	for (size_t i = log->ndevices; i-- > 0;)
		if (log->devices[i].seen_ms + keep_ms(ctx->options) <= ctx->now_ms)
			forget_device(log, ctx, i);
}

/* Everything at or below the lowest cursor is acknowledged by all. */
static void cut(struct imgo__userlog *log, struct imgo__userlog_ctx *ctx)
{
	if (ctx->rebuild || log->ndevices == 0)
		return;
	struct imgo_id low = log->devices[0].cursor;
	for (size_t i = 1; i < log->ndevices; i++)
		if (imgo_id_cmp(log->devices[i].cursor, low) < 0)
			low = log->devices[i].cursor;
	if (imgo_id_cmp(low, log->floor) <= 0)
		return;
	for (size_t i = 0; i < log->nitems && imgo_id_cmp(log->items[i].id, low) <= 0; i++)
		if (log->items[i].live)
			die(log, ctx, &log->items[i]);
	log->floor = low;
	ctx->changed = true;
}

static bool room_for_device(struct imgo__userlog *log)
{
	uint32_t cap = log->ndevices ? log->ndevices * 2 : 1;

	if (log->ndevices < log->devices_cap)
		return true;
	if (cap > IMGO_STORE_DEVICES_MAX)
		cap = IMGO_STORE_DEVICES_MAX;
	struct imgo__userlog_device *grown = imgo__regrow(log->devices, cap, sizeof *grown);
	if (!grown)
		return false;
	log->devices = grown;
	log->devices_cap = cap;
	return true;
}

/* Finds or makes the device and notes that it was seen. NULL: out of memory. */
static struct imgo__userlog_device *see_device(struct imgo__userlog *log, struct imgo__userlog_ctx *ctx, struct imgo_str name)
{
	struct imgo__userlog_device *device = find_device(log, name);
	if (!device) {
		if (log->ndevices == IMGO_STORE_DEVICES_MAX) {
			forget_longest_unseen(log, ctx);
			cut(log, ctx);
		}
		if (!room_for_device(log))
			return NULL;
		device = &log->devices[log->ndevices++];
		memset(device, 0, sizeof *device);
		device->cursor = log->floor;
		device->len = (uint8_t)name.len;
		if (name.len)
			memcpy(device->name, name.p, name.len);
	} else if (device->seen_ms + IMGO__USERLOG_SEEN_MS > ctx->now_ms) {
		return device;
	}
	if (ctx->now_ms > device->seen_ms) /* a clock that was set back does not make it older */
		device->seen_ms = ctx->now_ms;
	ctx->changed = true;
	return device;
}

/* ---- operations ---- */

void imgo__userlog_settle(struct imgo__userlog *log, struct imgo__userlog_ctx *ctx)
{
	expire(log, ctx);
	forget_unseen(log, ctx);
	cut(log, ctx);
	if (ctx->changed)
		prune(log, ctx);
}

/* Another id with this tag, among the last 256 and within 5 minutes. */
static bool is_duplicate(const struct imgo__userlog *log, const struct imgo__userlog_append *append)
{
	size_t n = log->nitems < IMGO_STORE_TAGS_MAX ? log->nitems : IMGO_STORE_TAGS_MAX;
	for (size_t i = log->nitems - n; i < log->nitems; i++) {
		const struct imgo__userlog_item *item = &log->items[i];
		if (memcmp(item->tag, append->tag, sizeof item->tag) != 0)
			continue;
		uint64_t apart = item->at_ms > append->at_ms ? item->at_ms - append->at_ms : append->at_ms - item->at_ms;
		if (apart <= IMGO_STORE_TAGS_MS)
			return true;
	}
	return false;
}

/* Only the tag. */
static void remember(
	struct imgo__userlog *log, struct imgo__userlog_ctx *ctx, size_t i, const struct imgo__userlog_append *append)
{
	struct imgo__userlog_item *item = &log->items[i];
	memmove(item + 1, item, (log->nitems - i) * sizeof *item);
	*item = (struct imgo__userlog_item){.id = append->id, .at_ms = append->at_ms};
	memcpy(item->tag, append->tag, sizeof item->tag);
	log->nitems++;
	ctx->changed = true;
}

static void insert(
	struct imgo__userlog *log, struct imgo__userlog_ctx *ctx, size_t i, const struct imgo__userlog_append *append)
{
	struct imgo__userlog_item *item = &log->items[i];
	remember(log, ctx, i, append);
	item->live = true;
	item->own = append->own;
	item->size = append->size;
	log->nlive++;
	log->bytes += append->size;
	if (log->nlive == 1 || append->at_ms < log->oldest_ms)
		log->oldest_ms = append->at_ms;
}

/* Of an id that the log does not hold, but has answered for. */
static void append_again(struct imgo__userlog *log, struct imgo__userlog_ctx *ctx, size_t i, bool known,
	struct imgo__userlog_append *append)
{
	bool repeat = !known && imgo_id_cmp(append->id, log->floor) > 0 && is_duplicate(log, append);
	append->result = repeat ? IMGO_APPEND_DUPLICATE : IMGO_APPEND_BELOW;
	if (ctx->rebuild && !known && !repeat)
		remember(log, ctx, i, append);
}

/* Of an id beyond all others: at the end. */
static void append_next(struct imgo__userlog *log, struct imgo__userlog_ctx *ctx, struct imgo__userlog_append *append)
{
	size_t i = log->nitems;
	log->top = append->id;
	ctx->changed = true;
	if (is_duplicate(log, append)) {
		append->result = IMGO_APPEND_DUPLICATE;
	} else if (expired(append->at_ms, ctx)) {
		append->result = IMGO_APPEND_EXPIRED;
		remember(log, ctx, i, append);
		lose(log, ctx, append->id);
	} else {
		append->result = IMGO_APPEND_NEW;
		append->inserted = true;
		insert(log, ctx, i, append);
		enforce_limits(log, ctx);
		append->prev = live_before(log, i);
	}
}

int imgo__userlog_append(struct imgo__userlog *log, struct imgo__userlog_ctx *ctx, struct imgo__userlog_append *append)
{
	append->prev = (struct imgo_id){0, 0};
	append->inserted = false;
	imgo__userlog_settle(log, ctx);
	if (reserve_item(log))
		return IMGO_ENOMEM;
	size_t i = lower_bound(log, append->id);
	bool known = i < log->nitems && imgo_id_cmp(log->items[i].id, append->id) == 0;
	if (known && log->items[i].live) {
		append->result = IMGO_APPEND_PRESENT;
		append->prev = live_before(log, i);
		return 0;
	}
	if (imgo_id_cmp(append->id, imgo_id_max(log->floor, log->top)) <= 0)
		append_again(log, ctx, i, known, append);
	else
		append_next(log, ctx, append);
	if (ctx->changed)
		prune(log, ctx);
	return 0;
}

int imgo__userlog_ack(struct imgo__userlog *log, struct imgo__userlog_ctx *ctx, struct imgo_str name, struct imgo_id id)
{
	imgo__userlog_settle(log, ctx);
	struct imgo__userlog_device *device = see_device(log, ctx, name);
	if (!device)
		return IMGO_ENOMEM;
	if (imgo_id_cmp(id, device->cursor) > 0) {
		device->cursor = id;
		ctx->changed = true;
	}
	cut(log, ctx);
	if (ctx->changed)
		prune(log, ctx);
	return 0;
}

int imgo__userlog_attach(struct imgo__userlog *log, struct imgo__userlog_ctx *ctx, struct imgo_str name)
{
	return imgo__userlog_ack(log, ctx, name, (struct imgo_id){0, 0});
}

bool imgo__userlog_attach_wanted(const struct imgo__userlog *log, uint64_t now_ms, struct imgo_str name)
{
	const struct imgo__userlog_device *device = find_device(log, name);
	return !device || device->seen_ms + IMGO__USERLOG_SEEN_MS <= now_ms;
}

/* ---- looking ---- */

void imgo__userlog_plan(const struct imgo__userlog *log, struct imgo_str name, struct imgo_id after,
	uint32_t messages_max, size_t bytes_max, struct imgo__userlog_plan *out)
{
	memset(out, 0, sizeof *out);
	out->cursor = imgo__userlog_cursor(log, name);
	/* A session that has nothing yet, of a device that is new here, missed nothing: it begins where the
	 * log does. */
	struct imgo_id has = imgo_id_max(after, out->cursor);
	bool begins = !find_device(log, name) && imgo_id_cmp(has, (struct imgo_id){0, 0}) == 0;
	out->gap = !begins && imgo_id_cmp(log->lost, has) > 0;

	out->position = imgo_id_max(has, log->floor);
	size_t bytes = 0, i = lower_bound(log, out->position);
	if (i < log->nitems && imgo_id_cmp(log->items[i].id, out->position) == 0)
		i++;
	out->first = i = next_live(log, i);
	for (; i < log->nitems; i = next_live(log, i + 1)) {
		bytes += log->items[i].size;
		if (out->n > 0 && (out->n >= messages_max || bytes > bytes_max)) {
			out->more = true;
			return;
		}
		out->n++;
		out->position = log->items[i].id;
	}
	raise(&out->position, log->lost); /* nothing comes between: say the gap once */
}

struct imgo_id imgo__userlog_head(const struct imgo__userlog *log)
{
	return imgo_id_max(live_before(log, log->nitems), log->lost);
}

struct imgo_id imgo__userlog_cursor(const struct imgo__userlog *log, struct imgo_str name)
{
	const struct imgo__userlog_device *device = find_device(log, name);
	return device ? device->cursor : (struct imgo_id){0, 0};
}

uint64_t imgo__userlog_due(const struct imgo__userlog *log, const struct imgo_store_options *options)
{
	uint64_t due = UINT64_MAX, at;
	for (size_t i = 0; i < log->nitems; i++) {
		const struct imgo__userlog_item *item = &log->items[i];
		at = item->live ? item->at_ms + options->ttl_ms : item->at_ms + options->ttl_ms + IMGO_STORE_TAGS_MS;
		due = at < due ? at : due;
	}
	for (size_t i = 0; i < log->ndevices; i++) {
		at = log->devices[i].seen_ms + keep_ms(options);
		due = at < due ? at : due;
	}
	return due;
}

bool imgo__userlog_empty(const struct imgo__userlog *log)
{
	return log->nitems == 0 && log->ndevices == 0;
}
