/* SPDX-License-Identifier: MIT */
/*
 * A partition of the memory bus is a ring of pointers to records in order of offset. A record that goes leaves a hole
 * (NULL); holes at the front are taken off at once, and when half of the slots are holes the ring is packed, so that
 * a long-lived key of a compacted topic cannot make it grow for ever. Offsets are looked up by binary search over the
 * slots, stepping over holes.
 *
 * A record is *held* or *loose*. Held ones are never dropped: they wait for a consumer, or are the last of their key.
 * Loose ones are in their topic's list of the space, in the order in which they became so, and go when they are too
 * old or when all records together are too many bytes. A record is appended held and becomes loose once; dropping
 * happens only in imgo__memspace_trim (readers hold pointers until then).
 *
 * Invariants: space->total is the sum of all records' sizes, space->held of those that are not loose;
 * held <= bytes_max; ring[head] is not a hole; holes * 2 <= slots, or slots < PACK_MIN.
 */
#include "bus/memory_log.h"

#include "base/mem.h"
#include "bus/bus.h"

#define PACK_MIN 64

static size_t rec_size(const struct imgo__memrec *r)
{
	return sizeof *r + r->key_len + r->value_len;
}

static struct imgo__memrec **slot(const struct imgo__memlog *log, size_t i)
{
	return &log->ring[(log->head + i) & (log->cap - 1)];
}

static struct imgo_str rec_key(const struct imgo__map_node *node)
{
	const struct imgo__memrec *r = imgo__container_of(node, struct imgo__memrec, node);
	return imgo_strn(r->data, r->key_len);
}

void imgo__memspace_init(struct imgo__memspace *space, const struct imgo_bus_memory_options *options)
{
	static const uint64_t casts_keep_ms = 60000; /* nothing is rebuilt from them */

	*space = (struct imgo__memspace){.bytes_max = options->bytes_max};
	for (int t = 0; t < IMGO_TOPICS; t++) {
		imgo__list_init(&space->loose[t]);
		space->keep_ms[t] = options->keep_ms;
	}
	if (space->keep_ms[IMGO_TOPIC_CASTS] > casts_keep_ms)
		space->keep_ms[IMGO_TOPIC_CASTS] = casts_keep_ms;
}

void imgo__memlog_init(struct imgo__memlog *log, struct imgo__memspace *space, enum imgo_topic topic, uint64_t first)
{
	*log = (struct imgo__memlog){.space = space, .topic = topic, .end = first, .done = first};
	imgo__map_init(&log->keys, rec_key);
}

void imgo__memlog_fini(struct imgo__memlog *log)
{
	for (size_t i = 0; i < log->slots; i++)
		free(*slot(log, i));
	free(log->ring);
	imgo__map_fini(&log->keys);
}

/* First slot that is not a hole and has an offset >= from (by_time: an at_ms >= from); slots when there is
 * none. */
static size_t lower_bound(const struct imgo__memlog *log, uint64_t from, bool by_time)
{
	size_t lo = 0, hi = log->slots;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2, at = mid;
		const struct imgo__memrec *r;

		while (at < hi && !*slot(log, at))
			at++;
		if (at == hi) {
			hi = mid;
			continue;
		}
		r = *slot(log, at);
		if ((by_time ? r->at_ms : r->offset) >= from)
			hi = mid;
		else
			lo = at + 1;
	}
	while (lo < log->slots && !*slot(log, lo))
		lo++;
	return lo;
}

static void pack(struct imgo__memlog *log)
{
	size_t n = 0;

	for (size_t i = 0; i < log->slots; i++) {
		struct imgo__memrec *r = *slot(log, i);
		if (r)
			*slot(log, n++) = r;
	}
	log->slots = n;
	log->holes = 0;
}

static int grow(struct imgo__memlog *log)
{
	size_t cap = log->cap ? log->cap * 2 : 16;
	struct imgo__memrec **ring;

	if (log->slots < log->cap)
		return 0;
	ring = imgo__array(cap, sizeof(struct imgo__memrec *));
	if (!ring)
		return IMGO_ENOMEM;
	for (size_t i = 0; i < log->slots; i++)
		ring[i] = *slot(log, i);
	free(log->ring);
	log->ring = ring;
	log->cap = cap;
	log->head = 0;
	return 0;
}

static void loosen(struct imgo__memrec *r)
{
	struct imgo__memspace *space = r->log->space;

	if (!imgo__list_empty(&r->loose))
		return;
	imgo__list_insert(&space->loose[r->log->topic], &r->loose);
	space->held -= rec_size(r);
}

static int supersede(struct imgo__memlog *log, struct imgo__memrec *r)
{
	struct imgo__map_node *old = imgo__map_get(&log->keys, rec_key(&r->node));

	if (old) {
		struct imgo__memrec *o = imgo__container_of(old, struct imgo__memrec, node);
		imgo__map_remove(&log->keys, old);
		o->last = false;
		loosen(o);
	}
	r->last = true;
	return imgo__map_put(&log->keys, &r->node);
}

static struct imgo__memrec *rec_new(struct imgo__memlog *log, const struct imgo_bus_record *record)
{
	struct imgo__memrec *r = imgo__alloc(sizeof *r + record->key.len + record->value.len);

	if (!r)
		return NULL;
	memset(r, 0, sizeof *r);
	imgo__list_init(&r->loose);
	r->log = log;
	r->key_len = (uint32_t)record->key.len;
	r->value_len = (uint32_t)record->value.len;
	if (r->key_len)
		memcpy(r->data, record->key.p, r->key_len);
	if (r->value_len)
		memcpy(r->data + r->key_len, record->value.p, r->value_len);
	return r;
}

int imgo__memlog_append(struct imgo__memlog *log, struct imgo_bus_record *record, uint64_t now_ms)
{
	struct imgo__memspace *space = log->space;
	struct imgo__memrec *r;

	if (space->held + sizeof *r + record->key.len + record->value.len > space->bytes_max)
		return IMGO_ELIMIT;
	if (grow(log))
		return IMGO_ENOMEM;
	r = rec_new(log, record);
	if (!r || (imgo__topic_compacted(log->topic) && supersede(log, r))) {
		free(r);
		return IMGO_ENOMEM;
	}
	if (now_ms > log->at_ms) /* a clock that steps back does not disorder the log */
		log->at_ms = now_ms;
	record->at_ms = r->at_ms = log->at_ms;
	record->offset = r->offset = log->end++;
	*slot(log, log->slots++) = r;
	space->total += rec_size(r);
	space->held += rec_size(r);
	return 0;
}

void imgo__memlog_done(struct imgo__memlog *log, uint64_t next)
{
	if (next > log->end)
		next = log->end;
	if (next <= log->done)
		return;
	for (size_t i = lower_bound(log, log->done, false); i < log->slots; i++) {
		struct imgo__memrec *r = *slot(log, i);
		if (!r)
			continue;
		if (r->offset >= next)
			break;
		if (!r->last || r->value_len == 0)
			loosen(r);
	}
	log->done = next;
}

size_t imgo__memlog_read(struct imgo__memlog *log, uint64_t from, struct imgo_bus_record *out, size_t n, size_t bytes_max)
{
	size_t count = 0, bytes = 0;

	for (size_t i = lower_bound(log, from, false); i < log->slots && count < n; i++) {
		struct imgo__memrec *r = *slot(log, i);
		if (!r)
			continue;
		bytes += r->key_len + r->value_len;
		if (count > 0 && bytes > bytes_max)
			break;
		out[count++] = (struct imgo_bus_record){
			.key = imgo_strn(r->data, r->key_len),
			.value = imgo_strn(r->data + r->key_len, r->value_len),
			.offset = r->offset,
			.at_ms = r->at_ms,
		};
	}
	return count;
}

bool imgo__memlog_has(struct imgo__memlog *log, uint64_t from)
{
	return from < log->end && lower_bound(log, from, false) < log->slots;
}

uint64_t imgo__memlog_begin(struct imgo__memlog *log)
{
	return log->slots ? (*slot(log, 0))->offset : log->end;
}

uint64_t imgo__memlog_since(struct imgo__memlog *log, uint64_t since_ms)
{
	size_t i = lower_bound(log, since_ms, true);

	return i < log->slots ? (*slot(log, i))->offset : log->end;
}

static void drop(struct imgo__memrec *r)
{
	struct imgo__memlog *log = r->log;

	imgo__list_remove(&r->loose);
	if (r->last)
		imgo__map_remove(&log->keys, &r->node);
	*slot(log, lower_bound(log, r->offset, false)) = NULL;
	log->holes++;
	while (log->slots && !*slot(log, 0)) {
		log->head = (log->head + 1) & (log->cap - 1);
		log->slots--;
		log->holes--;
	}
	if (log->holes * 2 > log->slots && log->slots >= PACK_MIN)
		pack(log);
	log->space->total -= rec_size(r);
	free(r);
}

void imgo__memspace_trim(struct imgo__memspace *space, uint64_t now_ms)
{
	static const enum imgo_topic order[IMGO_TOPICS] = {
		IMGO_TOPIC_CASTS, IMGO_TOPIC_TOKENS, IMGO_TOPIC_CURSORS, IMGO_TOPIC_USERS};

	for (int t = 0; t < IMGO_TOPICS; t++) {
		struct imgo__list *loose = &space->loose[order[t]];

		while (!imgo__list_empty(loose)) {
			struct imgo__memrec *r = imgo__container_of(loose->next, struct imgo__memrec, loose);
			if (space->total <= space->bytes_max && r->at_ms + space->keep_ms[order[t]] > now_ms)
				break;
			drop(r);
		}
	}
}
