/* SPDX-License-Identifier: MIT */
/* GET /1/count, POST /1/server/del, POST /1/admin/token/new, GET /healthz. */
#include <jansson.h>
#include <string.h>

#include "codec/json.h"
#include "service/http_impl.h"

enum { JSON_DEPTH = 16, EXPIRE_MAX_S = 100 * 366 * 86400LL };

/* ---- count ---- */

struct count_call {
	struct imgo__http_call call;
	struct imgo_registry_count rooms;
	struct imgo_registry_comets comets;
};

static void count_end(struct count_call *self, int err, struct imgo__buf *json)
{
	if (err == 0)
		imgo__http_body(self->call.http, self->call.request, 200, NULL, imgo_strn(json->data, json->len));
	else
		imgo__http_err(self->call.http, self->call.request, err);
	imgo__buf_free(json);
	imgo__http_call_free(&self->call);
}

/* An int32 room is a number, as in the original; no room is −1; any other key is a string. */
static int room_key(struct imgo__buf *json, struct imgo_str room)
{
	int64_t rid;

	if (room.len == 0)
		return imgo__buf_printf(json, "-1");
	if (imgo__http_int(room, INT32_MIN, INT32_MAX, &rid) == 0)
		return imgo__buf_printf(json, "%lld", (long long)rid);
	return imgo__json_quote(json, room);
}

static void on_rooms(int err, void *user)
{
	struct count_call *self = user;
	struct imgo__buf json = {0};

	if (err == 0)
		err = imgo__buf_printf(&json, "{\"data\":[");
	for (size_t i = 0; err == 0 && i < self->rooms.n; i++) {
		err = imgo__buf_printf(&json, "%s{\"RoomId\":", i ? "," : "");
		if (err == 0)
			err = room_key(&json, self->rooms.rooms[i].room);
		if (err == 0)
			err = imgo__buf_printf(&json, ",\"Count\":%llu}", (unsigned long long)self->rooms.rooms[i].count);
	}
	if (err == 0)
		err = imgo__buf_printf(&json, "],\"ret\":%d}", IMGO__RET_OK);
	count_end(self, err, &json);
}

static void on_comets(int err, void *user)
{
	struct count_call *self = user;
	struct imgo__buf json = {0};

	if (err == 0)
		err = imgo__buf_printf(&json, "{\"data\":[");
	for (size_t i = 0; err == 0 && i < self->comets.n; i++)
		err = imgo__buf_printf(&json, "%s{\"Server\":%u,\"Count\":%llu}", i ? "," : "", self->comets.comets[i].comet,
			(unsigned long long)self->comets.comets[i].sessions);
	if (err == 0)
		err = imgo__buf_printf(&json, "],\"ret\":%d}", IMGO__RET_OK);
	count_end(self, err, &json);
}

void imgo__http_count(struct imgo__http_ask *ask)
{
	struct imgo_registry *registry = ask->http->push->registry;
	struct count_call *self;
	struct imgo__buf none = {0};
	struct imgo_str type;
	int err = imgo__http_arg(ask, "type", &type);

	if (err == 0 && !imgo_str_eq(type, imgo_str("room")) && !imgo_str_eq(type, imgo_str("server")))
		err = IMGO_EINVAL;
	if (err < 0) {
		imgo__http_err(ask->http, ask->request, err);
		return;
	}
	self = imgo__http_call_new(ask, sizeof *self);
	if (!self)
		return;
	if (type.p[0] == 'r')
		err = imgo_registry_count(registry, &self->rooms, on_rooms, self);
	else
		err = imgo_registry_comets(registry, &self->comets, on_comets, self);
	if (err < 0)
		count_end(self, err, &none);
}

/* ---- server/del ---- */

static void on_done(int err, void *user)
{
	struct imgo__http_call *call = user;

	imgo__http_err(call->http, call->request, err);
	imgo__http_call_free(call);
}

/* Where the original's callers put it: in the query or in a form. */
static int query_or_form(struct imgo__http_ask *ask, const char *name, struct imgo_str *out)
{
	int err = imgo__http_arg(ask, name, out);

	return err == IMGO_ENOTFOUND ? imgo__http_param(&ask->arena, ask->body, name, out) : err;
}

void imgo__http_server_del(struct imgo__http_ask *ask)
{
	struct imgo__http_call *call;
	struct imgo_str text;
	int64_t comet;
	int err = query_or_form(ask, "server", &text);

	if (err == 0)
		err = imgo__http_int(text, 1, INT32_MAX, &comet);
	if (err < 0) {
		imgo__http_err(ask->http, ask->request, err);
		return;
	}
	call = imgo__http_call_new(ask, sizeof *call);
	if (!call)
		return;
	err = imgo_registry_del_comet(ask->http->push->registry, (uint32_t)comet, on_done, call);
	if (err < 0)
		on_done(err, call);
}

/* ---- token/new: from the query, a form, or JSON ---- */

struct token_args {
	struct imgo_str uid, token, expire, device, rid;
	struct imgo_str rooms[IMGO_STORE_TOKEN_ROOMS_MAX];
	size_t nrooms;
};

static int add_room(struct token_args *args, struct imgo_str room)
{
	if (args->nrooms == IMGO_STORE_TOKEN_ROOMS_MAX || room.len == 0 || room.len > IMGO_ROOM_MAX)
		return IMGO_EINVAL;
	args->rooms[args->nrooms++] = room;
	return 0;
}

static int add_room_list(struct token_args *args, struct imgo_str list)
{
	while (list.len) {
		const char *comma = memchr(list.p, ',', list.len);
		size_t len = comma ? (size_t)(comma - list.p) : list.len;
		int err = add_room(args, imgo_strn(list.p, len));
		if (err < 0)
			return err;
		list = imgo_strn(list.p + len + (comma != NULL), list.len - len - (comma != NULL));
	}
	return 0;
}

static int form_args(struct imgo__http_ask *ask, struct token_args *args)
{
	struct {
		const char *name;
		struct imgo_str *out;
	} fields[] = {{"uid", &args->uid}, {"token", &args->token}, {"expire", &args->expire}, {"device", &args->device},
		{"rid", &args->rid}};
	struct imgo_str rooms;
	int err;

	for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
		err = query_or_form(ask, fields[i].name, fields[i].out);
		if (err < 0 && err != IMGO_ENOTFOUND)
			return err;
	}
	err = query_or_form(ask, "rooms", &rooms);
	if (err == 0)
		err = add_room_list(args, rooms);
	return err == IMGO_ENOTFOUND ? 0 : err;
}

/* A string or a whole number of a JSON object, as text in the arena; absent: empty. */
static int json_text(struct imgo__arena *arena, const json_t *value, struct imgo_str *out)
{
	char number[24];
	bool ok = true;

	if (!value)
		return 0;
	if (json_is_string(value)) {
		*out = imgo__arena_str(arena, imgo_strn(json_string_value(value), json_string_length(value)), &ok);
	} else if (json_is_integer(value)) {
		snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
		*out = imgo__arena_str(arena, imgo_str(number), &ok);
	} else {
		return IMGO_EINVAL;
	}
	return ok ? 0 : IMGO_ENOMEM;
}

static int json_rooms(struct imgo__arena *arena, const json_t *value, struct token_args *args)
{
	struct imgo_str room = {NULL, 0};
	int err = 0;

	if (value && !json_is_array(value)) {
		err = json_text(arena, value, &room);
		return err ? err : add_room_list(args, room);
	}
	for (size_t i = 0; err == 0 && i < json_array_size(value); i++) {
		err = json_text(arena, json_array_get(value, i), &room);
		if (err == 0)
			err = add_room(args, room);
	}
	return err;
}

static int json_args(struct imgo__http_ask *ask, struct token_args *args)
{
	struct imgo__arena *arena = &ask->arena;
	json_t *root;
	int err;

	if (!imgo__json_valid(ask->body, JSON_DEPTH))
		return IMGO_EINVAL;
	root = json_loadb(ask->body.p, ask->body.len, JSON_REJECT_DUPLICATES, NULL);
	err = json_is_object(root) ? 0 : IMGO_EINVAL;
	if (err == 0)
		err = json_text(arena, json_object_get(root, "uid"), &args->uid);
	if (err == 0)
		err = json_text(arena, json_object_get(root, "token"), &args->token);
	if (err == 0)
		err = json_text(arena, json_object_get(root, "expire"), &args->expire);
	if (err == 0)
		err = json_text(arena, json_object_get(root, "device"), &args->device);
	if (err == 0)
		err = json_text(arena, json_object_get(root, "rid"), &args->rid);
	if (err == 0)
		err = json_rooms(arena, json_object_get(root, "rooms"), args);
	json_decref(root);
	return err;
}

/* A body that begins like a JSON object is one, whatever Content-Type curl put there. */
static bool is_json(struct imgo_str body)
{
	size_t i = 0;

	while (i < body.len && memchr(" \t\r\n", body.p[i], 4))
		i++;
	return i < body.len && body.p[i] == '{';
}

static int token_send(struct imgo__http_ask *ask, struct token_args *args)
{
	struct imgo__http_call *call;
	struct imgo_str uid, room;
	int64_t expire_s, rid;
	int err = imgo__http_uid(&ask->arena, args->uid, &uid);

	if (err == 0)
		err = imgo__http_int(args->expire, 1, EXPIRE_MAX_S, &expire_s);
	/* rid −1 is the original's "no room" */
	if (err == 0 && args->rid.len && !(imgo__http_int(args->rid, -1, -1, &rid) == 0)) {
		err = imgo__http_rid(&ask->arena, args->rid, &room);
		if (err == 0)
			err = add_room(args, room);
	}
	if (err < 0)
		return err;
	call = imgo__http_call_new(ask, sizeof *call);
	if (!call)
		return 0;
	err = imgo_push_token(ask->http->push, args->token, uid, args->device,
		imgo_loop_wall_ms(ask->http->loop) + (uint64_t)expire_s * 1000, args->rooms, args->nrooms, on_done, call);
	if (err < 0)
		imgo__http_call_free(call);
	return err;
}

void imgo__http_token_new(struct imgo__http_ask *ask)
{
	struct token_args args = {0};
	int err = is_json(ask->body) ? json_args(ask, &args) : form_args(ask, &args);

	if (err == 0)
		err = token_send(ask, &args);
	if (err < 0)
		imgo__http_err(ask->http, ask->request, err);
}

/* ---- healthz ---- */

void imgo__http_health(struct imgo__http_ask *ask)
{
	bool ready = imgo_bus_ready(ask->http->push->bus);

	imgo__http_body(ask->http, ask->request, ready ? 200 : 503, NULL,
		imgo_str(ready ? "{\"ready\":true}" : "{\"ready\":false,\"missing\":[\"bus\"]}"));
}
