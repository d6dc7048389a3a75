/* SPDX-License-Identifier: MIT */
#include "store/record.h"

#include "store/wire.h"

enum { VERSION = 1 };

static void put_head(struct imgo__buf *out, char magic)
{
	imgo__wire_bytes(out, (uint8_t[]){(uint8_t)magic, VERSION}, 2);
}

static int get_head(struct imgo__wire_reader *r, char magic)
{
	const uint8_t *head = imgo__wire_take(r, 2);
	if (r->bad || head[0] != (uint8_t)magic)
		return IMGO_EPROTO;
	return head[1] == VERSION ? 0 : IMGO_EVERSION;
}

/* ---- bodies: 'b' version, msgid, op, at_ms, crc of these and the data ---- */

enum { BODY_CRC_AT = IMGO__BODY_HEAD_LEN - IMGO__WIRE_CRC_LEN };

void imgo__body_head(const struct imgo_store_body *body, uint8_t out[IMGO__BODY_HEAD_LEN])
{
	out[0] = 'b';
	out[1] = VERSION;
	memcpy(out + 2, body->msgid.b, IMGO_MSGID_LEN);
	imgo__put32(out + 18, (uint32_t)body->op);
	imgo__put64(out + 22, body->at_ms);
	uint32_t crc = imgo__crc32c(0, out, BODY_CRC_AT);
	imgo__put32(out + BODY_CRC_AT, imgo__crc32c(crc, body->data.p, body->data.len));
}

int imgo__body_decode(struct imgo_store_message *out, const struct imgo__userlog_item *item, const void *p, size_t len)
{
	const uint8_t *head = p;
	if (len < IMGO__BODY_HEAD_LEN || head[0] != 'b')
		return IMGO_EPROTO;
	if (head[1] != VERSION)
		return IMGO_EVERSION;
	out->data = imgo_strn(head + IMGO__BODY_HEAD_LEN, len - IMGO__BODY_HEAD_LEN);
	uint32_t crc = imgo__crc32c(0, head, BODY_CRC_AT);
	crc = imgo__crc32c(crc, out->data.p, out->data.len);
	if (crc != imgo__get32(head + BODY_CRC_AT) || memcmp(head + 2, item->tag, sizeof item->tag) != 0)
		return IMGO_EPROTO;
	out->id = item->id;
	out->op = (int32_t)imgo__get32(head + 18);
	out->at_ms = imgo__get64(head + 22);
	return 0;
}

/* ---- tokens ---- */

int imgo__token_encode(const struct imgo_store_token *token, struct imgo__buf *out)
{
	size_t room = 2 + sizeof token->hash + token->user.len + token->device.len + 4 * IMGO__WIRE_VARINT_MAX +
		      IMGO__WIRE_ID_MAX + IMGO__WIRE_CRC_LEN;
	for (size_t i = 0; i < token->nrooms; i++)
		room += IMGO__WIRE_VARINT_MAX + token->rooms[i].len;
	if (imgo__buf_reserve(out, room))
		return IMGO_ENOMEM;
	size_t start = out->len;
	put_head(out, 't');
	imgo__wire_bytes(out, token->hash, sizeof token->hash);
	imgo__wire_str(out, token->user);
	imgo__wire_str(out, token->device);
	imgo__wire_varint(out, token->expires_ms);
	imgo__wire_id(out, token->id);
	imgo__wire_varint(out, token->nrooms);
	for (size_t i = 0; i < token->nrooms; i++)
		imgo__wire_str(out, token->rooms[i]);
	imgo__wire_crc(out, start);
	return 0;
}

int imgo__token_decode(struct imgo_store_token *out, const void *p, size_t len)
{
	struct imgo__wire_reader r = imgo__wire_reader(p, len);
	int err = get_head(&r, 't');
	if (err)
		return err;
	const uint8_t *hash = imgo__wire_take(&r, sizeof out->hash);
	if (memcmp(hash, out->hash, sizeof out->hash) != 0)
		return IMGO_EPROTO;
	out->user = imgo__wire_get_str(&r, IMGO_USER_MAX);
	out->device = imgo__wire_get_str(&r, IMGO_DEVICE_MAX);
	out->expires_ms = imgo__wire_get_max(&r, INT64_MAX);
	out->id = imgo__wire_get_id(&r);
	out->nrooms = imgo__wire_get_max(&r, IMGO_STORE_TOKEN_ROOMS_MAX);
	for (size_t i = 0; i < out->nrooms; i++)
		out->rooms[i] = imgo__wire_get_str(&r, IMGO_ROOM_MAX);
	return r.bad || imgo__wire_left(&r) ? IMGO_EPROTO : 0;
}

int imgo__tokenlist_encode(const struct imgo__tokenlist *list, struct imgo_str user, struct imgo__buf *out)
{
	size_t each = sizeof list->e->hash + IMGO_DEVICE_MAX + 2 * IMGO__WIRE_VARINT_MAX + IMGO__WIRE_ID_MAX;
	if (imgo__buf_reserve(out, 2 + 2 * IMGO__WIRE_VARINT_MAX + user.len + list->n * each + IMGO__WIRE_CRC_LEN))
		return IMGO_ENOMEM;
	size_t start = out->len;
	put_head(out, 'l');
	imgo__wire_str(out, user);
	imgo__wire_varint(out, list->n);
	for (size_t i = 0; i < list->n; i++) {
		const struct imgo__token_entry *e = &list->e[i];
		imgo__wire_bytes(out, e->hash, sizeof e->hash);
		imgo__wire_str(out, imgo_strn(e->device, e->len));
		imgo__wire_id(out, e->id);
		imgo__wire_varint(out, e->expires_ms);
	}
	imgo__wire_crc(out, start);
	return 0;
}

static void get_entry(struct imgo__wire_reader *r, struct imgo__token_entry *e)
{
	memcpy(e->hash, imgo__wire_take(r, sizeof e->hash), sizeof e->hash);
	struct imgo_str device = imgo__wire_get_str(r, IMGO_DEVICE_MAX);
	e->len = (uint8_t)device.len;
	memcpy(e->device, device.p, device.len);
	e->id = imgo__wire_get_id(r);
	e->expires_ms = imgo__wire_get_max(r, INT64_MAX);
}

int imgo__tokenlist_decode(struct imgo__tokenlist *list, struct imgo_str user, const void *p, size_t len)
{
	*list = (struct imgo__tokenlist){NULL, 0};
	struct imgo__wire_reader r = imgo__wire_reader(p, len);
	int err = get_head(&r, 'l');
	if (err)
		return err;
	if (!imgo_str_eq(imgo__wire_get_str(&r, IMGO_USER_MAX), user) || r.bad)
		return IMGO_EPROTO;
	size_t n = imgo__wire_get_max(&r, IMGO_STORE_DEVICES_MAX);
	if (n && !(list->e = imgo__array(n, sizeof *list->e)))
		return IMGO_ENOMEM;
	for (; list->n < n && !r.bad; list->n++)
		get_entry(&r, &list->e[list->n]);
	if (!r.bad && !imgo__wire_left(&r))
		return 0;
	imgo__tokenlist_fini(list);
	return IMGO_EPROTO;
}

/* ---- markers: 'm' version, list version, state, token, crc ---- */

void imgo__marker_encode(struct imgo__marker marker, uint32_t list_version, uint8_t out[IMGO__MARKER_LEN])
{
	out[0] = 'm';
	out[1] = VERSION;
	imgo__put32(out + 2, list_version);
	out[6] = (uint8_t)marker.state;
	imgo__put64(out + 7, marker.token);
	imgo__put32(out + 15, imgo__crc32c(0, out, 15));
}

struct imgo__marker imgo__marker_decode(uint32_t list_version, const void *p, size_t len)
{
	const uint8_t *in = p;
	struct imgo__marker marker = {IMGO_MARKER_MISSING, 0};
	if (len != IMGO__MARKER_LEN || in[0] != 'm' || in[1] != VERSION || imgo__get32(in + 15) != imgo__crc32c(0, in, 15))
		return marker;
	if (imgo__get32(in + 2) != list_version || (in[6] != IMGO_MARKER_BUILDING && in[6] != IMGO_MARKER_COMPLETE))
		return marker;
	marker.state = in[6];
	marker.token = imgo__get64(in + 7);
	return marker;
}

/* ---- grouping ---- */

struct sort {
	const char *items;
	size_t size;
};

static struct imgo_str user_at(const void *items, size_t size, size_t i)
{
	return *(const struct imgo_str *)((const char *)items + i * size);
}

static int by_user(const void *a, const void *b, void *arg)
{
	const struct sort *sort = arg;
	size_t i = *(const size_t *)a, j = *(const size_t *)b;
	struct imgo_str u = user_at(sort->items, sort->size, i), v = user_at(sort->items, sort->size, j);
	if (u.len != v.len)
		return u.len < v.len ? -1 : 1;
	int order = memcmp(u.p, v.p, u.len);
	return order ? order : i < j ? -1 : i > j;
}

size_t *imgo__group(struct imgo__arena *arena, const void *items, size_t n, size_t size)
{
	size_t *order = imgo__arena_zalloc(arena, n + 1, sizeof *order);
	for (size_t i = 0; order && i < n; i++)
		order[i] = i;
	if (order && n > 1)
		qsort_r(order, n, sizeof *order, by_user, &(struct sort){items, size});
	return order;
}

size_t imgo__group_end(const size_t *order, const void *items, size_t n, size_t size, size_t i)
{
	struct imgo_str user = user_at(items, size, order[i]);
	while (++i < n && imgo_str_eq(user, user_at(items, size, order[i])))
		;
	return i;
}
