/* SPDX-License-Identifier: MIT */
/*
 * The record of a user's log.
 *
 *   'u' version=1, user, floor, lost, top, due_ms,
 *   n, n × device (name, cursor, seen_ms),
 *   n, n × item (step, tag, zigzag(at_ms - the last one's), size << 2 | own << 1 | live),
 *   crc32c
 *
 * Numbers are varints, ids are (epoch, id). An item's step is the distance to the id before it, << 1; or,
 * where the epoch changes, the id << 1 | 1 followed by the epoch. A thousand messages take about 13 kB.
 */
#include "store/userlog.h"

#include "base/mem.h"
#include "store/wire.h"

enum { MAGIC = 'u', VERSION = 1, ITEM_MIN = 1 + IMGO__USERLOG_TAG_LEN + 1 + 1 };

static uint64_t zigzag(uint64_t to, uint64_t from)
{
	return to >= from ? (to - from) << 1 : ((from - to) << 1) - 1;
}

static uint64_t unzigzag(uint64_t v, uint64_t from)
{
	return v & 1 ? from - (v >> 1) - 1 : from + (v >> 1);
}

static size_t room_for(const struct imgo__userlog *log, struct imgo_str user)
{
	return 2 + IMGO__WIRE_VARINT_MAX + user.len + 3 * IMGO__WIRE_ID_MAX + 3 * IMGO__WIRE_VARINT_MAX +
	       log->ndevices * (2 * IMGO__WIRE_VARINT_MAX + IMGO_DEVICE_MAX + IMGO__WIRE_ID_MAX) +
	       log->nitems * (4 * IMGO__WIRE_VARINT_MAX + IMGO__USERLOG_TAG_LEN) + IMGO__WIRE_CRC_LEN;
}

static void put_items(const struct imgo__userlog *log, struct imgo__buf *out)
{
	struct imgo_id last = {0, 0};
	uint64_t last_ms = 0;
	imgo__wire_varint(out, log->nitems);
	for (size_t i = 0; i < log->nitems; i++) {
		const struct imgo__userlog_item *item = &log->items[i];
		if (item->id.epoch == last.epoch) {
			imgo__wire_varint(out, (item->id.id - last.id) << 1);
		} else {
			imgo__wire_varint(out, item->id.id << 1 | 1);
			imgo__wire_varint(out, item->id.epoch);
		}
		imgo__wire_bytes(out, item->tag, sizeof item->tag);
		imgo__wire_varint(out, zigzag(item->at_ms, last_ms));
		imgo__wire_varint(out, (uint64_t)item->size << 2 | (uint64_t)item->own << 1 | item->live);
		last = item->id;
		last_ms = item->at_ms;
	}
}

int imgo__userlog_encode(const struct imgo__userlog *log, struct imgo_str user, struct imgo__buf *out)
{
	if (imgo__buf_reserve(out, room_for(log, user)))
		return IMGO_ENOMEM;
	size_t start = out->len;
	imgo__wire_bytes(out, (uint8_t[]){MAGIC, VERSION}, 2);
	imgo__wire_str(out, user);
	imgo__wire_id(out, log->floor);
	imgo__wire_id(out, log->lost);
	imgo__wire_id(out, log->top);
	imgo__wire_varint(out, log->due_ms);
	imgo__wire_varint(out, log->ndevices);
	for (size_t i = 0; i < log->ndevices; i++) {
		const struct imgo__userlog_device *device = &log->devices[i];
		imgo__wire_str(out, imgo_strn(device->name, device->len));
		imgo__wire_id(out, device->cursor);
		imgo__wire_varint(out, device->seen_ms);
	}
	put_items(log, out);
	imgo__wire_crc(out, start);
	return 0;
}

static bool same_name(const struct imgo__userlog_device *a, const struct imgo__userlog_device *b)
{
	return imgo_str_eq(imgo_strn(a->name, a->len), imgo_strn(b->name, b->len));
}

static int get_devices(struct imgo__userlog *log, struct imgo__wire_reader *r)
{
	size_t n = imgo__wire_get_max(r, IMGO_STORE_DEVICES_MAX);
	if (n && !(log->devices = imgo__array(n, sizeof *log->devices)))
		return IMGO_ENOMEM;
	log->devices_cap = (uint32_t)n;
	for (; log->ndevices < n && !r->bad; log->ndevices++) {
		struct imgo__userlog_device *device = &log->devices[log->ndevices];
		struct imgo_str name = imgo__wire_get_str(r, IMGO_DEVICE_MAX);
		device->len = (uint8_t)name.len;
		memcpy(device->name, name.p, name.len);
		device->cursor = imgo__wire_get_id(r);
		device->seen_ms = imgo__wire_get_max(r, INT64_MAX);
		for (size_t i = 0; i < log->ndevices; i++)
			r->bad |= same_name(&log->devices[i], device);
	}
	return 0;
}

static void get_id(struct imgo__wire_reader *r, struct imgo_id last, struct imgo_id *out)
{
	uint64_t step = imgo__wire_get(r);
	*out = last;
	if (step & 1) {
		out->epoch = (uint32_t)imgo__wire_get_max(r, UINT32_MAX);
		out->id = step >> 1;
		r->bad |= out->epoch <= last.epoch || out->id == 0;
	} else {
		out->id += step >> 1; /* both < 2^63 */
		r->bad |= step == 0;
	}
	r->bad |= out->id > INT64_MAX;
}

static void get_item(struct imgo__userlog *log, struct imgo__wire_reader *r, const struct imgo__userlog_item *last,
	struct imgo__userlog_item *item)
{
	get_id(r, last->id, &item->id);
	memcpy(item->tag, imgo__wire_take(r, sizeof item->tag), sizeof item->tag);
	item->at_ms = unzigzag(imgo__wire_get(r), last->at_ms);
	uint64_t bits = imgo__wire_get_max(r, (uint64_t)UINT32_MAX << 2 | 3);
	item->size = (uint32_t)(bits >> 2);
	item->own = bits & 2;
	item->live = bits & 1;
	if (item->at_ms > INT64_MAX || (item->live ? imgo_id_cmp(item->id, log->floor) <= 0 : bits != 0))
		r->bad = true;
	if (!item->live)
		return;
	if (log->nlive == 0 || item->at_ms < log->oldest_ms)
		log->oldest_ms = item->at_ms;
	log->nlive++;
	log->bytes += item->size;
}

static int get_items(struct imgo__userlog *log, struct imgo__wire_reader *r)
{
	/* Nothing is allocated that the record's length does not back. */
	size_t n = imgo__wire_get_max(r, imgo__wire_left(r) / ITEM_MIN);
	if (n && !(log->items = imgo__array(n, sizeof *log->items)))
		return IMGO_ENOMEM;
	log->cap = n;
	struct imgo__userlog_item first = {.at_ms = 0};
	for (; log->nitems < n && !r->bad; log->nitems++)
		get_item(log, r, log->nitems ? &log->items[log->nitems - 1] : &first, &log->items[log->nitems]);
	return 0;
}

int imgo__userlog_decode(struct imgo__userlog *log, struct imgo_str user, const void *p, size_t len)
{
	imgo__userlog_init(log);
	struct imgo__wire_reader r = imgo__wire_reader(p, len);
	const uint8_t *head = imgo__wire_take(&r, 2);
	if (r.bad || head[0] != MAGIC)
		return IMGO_EPROTO;
	if (head[1] != VERSION)
		return IMGO_EVERSION;
	if (!imgo_str_eq(imgo__wire_get_str(&r, IMGO_USER_MAX), user) || r.bad)
		return IMGO_EPROTO;
	log->floor = imgo__wire_get_id(&r);
	log->lost = imgo__wire_get_id(&r);
	log->top = imgo__wire_get_id(&r);
	log->due_ms = imgo__wire_get_max(&r, INT64_MAX);
	int err = get_devices(log, &r);
	if (!err)
		err = get_items(log, &r);
	if (log->nitems && imgo_id_cmp(log->items[log->nitems - 1].id, log->top) > 0)
		r.bad = true;
	if (!err && (r.bad || imgo__wire_left(&r)))
		err = IMGO_EPROTO;
	if (err)
		imgo__userlog_fini(log);
	return err;
}
