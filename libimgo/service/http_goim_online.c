/* SPDX-License-Identifier: MIT */
/* goim's questions about rooms: the fullest of a type, and how many are in some. The routers are asked for just those. */
#include "service/http_impl.h"

#include <stdlib.h>

#include "base/buf.h"
#include "codec/json.h"
#include "service/http_param.h"

struct rooms_op {
	struct imgo__httpd_request *request;
	struct imgo__arena arena;
	struct imgo_registry_count count; /* prefix: "type://" in both cases */
	uint32_t limit;
};

static struct rooms_op *op_new(struct imgo__http_call *call)
{
	struct rooms_op *op = imgo__zalloc(sizeof *op);

	if (op)
		op->request = call->request;
	return op;
}

static void op_free(struct rooms_op *op)
{
	imgo__arena_free(&op->arena);
	free(op);
}

/* "live://" of "live"; *err is IMGO_EINVAL when there is no such type. */
static struct imgo_str prefix_of(struct rooms_op *op, struct imgo_str type, int *err)
{
	struct imgo_str key = {NULL, 0};

	*err = imgo__goim_room(&op->arena, type, imgo_str("-"), &key);
	return *err ? key : imgo_strn(key.p, key.len - 1);
}

static struct imgo_str room_of(const struct rooms_op *op, struct imgo_str key)
{
	size_t n = op->count.prefix.len;

	return imgo_strn(key.p + n, key.len - n);
}

static void ask(struct rooms_op *op, struct imgo__http_call *call, int err, const char *wrong, imgo_registry_cb *cb)
{
	if (err == 0)
		err = imgo_registry_count(call->http->push->registry, &op->count, cb, op);
	if (err == 0)
		return;
	if (wrong && err == IMGO_EINVAL)
		imgo__goim_refuse(call->request, 400, wrong, NULL);
	else
		imgo__goim_done(call->request, err);
	op_free(op);
}

/* ---- GET /goim/online/top ---- */

/* The fullest first, then by key. */
static int by_count(const void *a, const void *b)
{
	const struct imgo_room_count *x = *(const struct imgo_room_count *const *)a;
	const struct imgo_room_count *y = *(const struct imgo_room_count *const *)b;

	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	return x < y ? -1 : x > y;
}

static bool has_type(const struct rooms_op *op, struct imgo_str key)
{
	struct imgo_str prefix = op->count.prefix;

	return key.len > prefix.len && imgo_str_eq(imgo_strn(key.p, prefix.len), prefix);
}

static int put_top(struct rooms_op *op, struct imgo__buf *body)
{
	const struct imgo_room_count **rooms = imgo__arena_zalloc(&op->arena, op->count.n + 1, sizeof *rooms);
	size_t n = 0;
	int err = rooms ? imgo__buf_printf(body, "[") : IMGO_ENOMEM;

	for (size_t i = 0; err == 0 && i < op->count.n; i++) {
		if (has_type(op, op->count.rooms[i].room))
			rooms[n++] = &op->count.rooms[i];
	}
	if (n)
		qsort(rooms, n, sizeof *rooms, by_count);
	for (size_t i = 0; err == 0 && i < n && i < op->limit; i++) {
		err = imgo__buf_printf(body, "%s{\"room_id\":", i ? "," : "");
		if (err == 0)
			err = imgo__json_quote(body, room_of(op, rooms[i]->room));
		if (err == 0)
			err = imgo__buf_printf(body, ",\"count\":%llu}", (unsigned long long)rooms[i]->count);
	}
	return err ? err : imgo__buf_printf(body, "]");
}

static void on_top(int err, void *user)
{
	struct rooms_op *op = user;
	struct imgo__buf body = {0};

	if (err == 0)
		err = imgo__goim_begin(&body);
	if (err == 0)
		err = put_top(op, &body);
	imgo__goim_end(op->request, &body, err);
	op_free(op);
}

void imgo__goim_online_top(struct imgo__http_call *call)
{
	struct rooms_op *op = op_new(call);
	struct imgo_str type, text;
	int32_t limit = 0;
	int err = IMGO_EINVAL;

	if (!op) {
		imgo__goim_done(call->request, IMGO_ENOMEM);
		return;
	}
	if (!imgo__http_query(call, "type", &type) && !imgo__http_query(call, "limit", &text) &&
		imgo__http_int32(text, &limit) && limit > 0)
		op->count.prefix = prefix_of(op, type, &err);
	op->limit = (uint32_t)limit;
	ask(op, call, err, "type must be there, and limit a positive number", on_top);
}

/* ---- GET /goim/online/room ---- */

static int by_key(const void *a, const void *b)
{
	const struct imgo_str *x = a, *y = b;
	int order = memcmp(x->p, y->p, x->len < y->len ? x->len : y->len);

	return order ? order : x->len < y->len ? -1 : x->len > y->len;
}

/* Both lists are sorted by key. */
static int put_rooms(const struct rooms_op *op, struct imgo__buf *body)
{
	const struct imgo_registry_count *count = &op->count;
	int err = imgo__buf_printf(body, "{");
	size_t at = 0;

	for (size_t i = 0; err == 0 && i < count->nonly; i++) {
		uint64_t n = 0;
		while (at < count->n && by_key(&count->rooms[at].room, &count->only[i]) < 0)
			at++;
		if (at < count->n && imgo_str_eq(count->rooms[at].room, count->only[i]))
			n = count->rooms[at].count;
		if (i)
			err = imgo__buf_printf(body, ",");
		if (err == 0)
			err = imgo__json_quote(body, room_of(op, count->only[i]));
		if (err == 0)
			err = imgo__buf_printf(body, ":%llu", (unsigned long long)n);
	}
	return err ? err : imgo__buf_printf(body, "}");
}

static void on_rooms(int err, void *user)
{
	struct rooms_op *op = user;
	struct imgo__buf body = {0};

	if (err == 0)
		err = imgo__goim_begin(&body);
	if (err == 0)
		err = put_rooms(op, &body);
	imgo__goim_end(op->request, &body, err);
	op_free(op);
}

/* The keys of the rooms that are asked for, sorted, without doubles. */
static int read_rooms(struct rooms_op *op, struct imgo__http_call *call, struct imgo_str type)
{
	struct imgo_str *rooms;
	size_t n, kept = 0;
	int err = imgo__http_read_list(&op->arena, call->head->query, "rooms", IMGO_REGISTRY_COUNT_MAX, &rooms, &n);

	for (size_t i = 0; err == 0 && i < n; i++)
		err = imgo__goim_room(&op->arena, type, rooms[i], &rooms[i]);
	if (err)
		return err == IMGO_ELIMIT ? IMGO_EINVAL : err;
	qsort(rooms, n, sizeof *rooms, by_key);
	for (size_t i = 0; i < n; i++) {
		if (kept == 0 || !imgo_str_eq(rooms[kept - 1], rooms[i]))
			rooms[kept++] = rooms[i];
	}
	op->count.only = rooms;
	op->count.nonly = kept;
	return 0;
}

void imgo__goim_online_room(struct imgo__http_call *call)
{
	struct rooms_op *op = op_new(call);
	struct imgo_str type;
	int err = IMGO_EINVAL;

	if (!op) {
		imgo__goim_done(call->request, IMGO_ENOMEM);
		return;
	}
	if (!imgo__http_query(call, "type", &type))
		op->count.prefix = prefix_of(op, type, &err);
	if (err == 0)
		err = read_rooms(op, call, type);
	ask(op, call, err, "type and rooms must be there, and at most 125 bytes together", on_rooms);
}
