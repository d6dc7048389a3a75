/* SPDX-License-Identifier: MIT */
/* POST /1/push, /1/pushs, /1/push/room, /1/push/all. */
#include <jansson.h>

#include "codec/json.h"
#include "service/http_impl.h"

enum { JSON_DEPTH = 16, KEY_MAX = 255 };

static void on_pushed(int err, void *user)
{
	struct imgo__http_call *call = user;

	imgo__http_err(call->http, call->request, err);
	imgo__http_call_free(call);
}

/* What every push may say: op, qos, Idempotency-Key. */
static int common_args(struct imgo__http_ask *ask, struct imgo_push_request *request)
{
	struct imgo_str text;
	int64_t number;
	int err = imgo__http_arg(ask, "op", &text);

	if (err == 0 && imgo__http_int(text, INT32_MIN, INT32_MAX, &number) == 0)
		request->op = (int32_t)number;
	else if (err != IMGO_ENOTFOUND)
		return IMGO_EINVAL;
	err = imgo__http_arg(ask, "qos", &text);
	if (err == 0 && imgo__http_int(text, 0, 1, &number) == 0)
		request->qos0 = number == 0;
	else if (err != IMGO_ENOTFOUND)
		return IMGO_EINVAL;
	if (imgo__http_header_count(ask->head, "Idempotency-Key") > 1)
		return IMGO_EINVAL;
	request->key = imgo__http_header(ask->head, "Idempotency-Key");
	return request->key.len > KEY_MAX ? IMGO_EINVAL : 0;
}

static void push_now(struct imgo__http_ask *ask, const struct imgo_push_request *request)
{
	struct imgo__http_call *call;
	int err;

	if (request->body.len > ask->http->push->body_max || request->nusers > ask->http->push->users_max) {
		imgo__http_ret(ask->http, ask->request, 413, IMGO__RET_PARAM);
		return;
	}
	call = imgo__http_call_new(ask, sizeof *call);
	if (!call)
		return;
	err = imgo_push_send(ask->http->push, request, on_pushed, call);
	if (err < 0)
		on_pushed(err, call);
}

void imgo__http_push_user(struct imgo__http_ask *ask)
{
	struct imgo_push_request request = IMGO_PUSH_REQUEST_INIT;
	struct imgo_str text, uid;
	int err = imgo__http_arg(ask, "uid", &text);

	if (err == 0)
		err = imgo__http_uid(&ask->arena, text, &uid);
	if (err == 0)
		err = common_args(ask, &request);
	if (err < 0) {
		imgo__http_err(ask->http, ask->request, err);
		return;
	}
	request.users = &uid;
	request.nusers = 1;
	request.body = ask->body;
	push_now(ask, &request);
}

/* ---- /1/pushs: {"u":[1,"2"],"m":{…}} ---- */

static int read_user(struct imgo__arena *arena, const json_t *item, struct imgo_str *out)
{
	char text[24];

	if (json_is_string(item))
		return imgo__http_uid(arena, imgo_strn(json_string_value(item), json_string_length(item)), out);
	if (!json_is_integer(item))
		return IMGO_EINVAL;
	snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(item));
	return imgo__http_uid(arena, imgo_str(text), out);
}

static int read_users(struct imgo__http_ask *ask, const json_t *list, struct imgo_push_request *request)
{
	size_t n = json_array_size(list);
	struct imgo_str *users;

	if (n == 0)
		return IMGO_EINVAL;
	request->nusers = n;
	if (n > ask->http->push->users_max)
		return 0; /* push_now says so */
	users = imgo__arena_zalloc(&ask->arena, n, sizeof *users);
	if (!users)
		return IMGO_ENOMEM;
	for (size_t i = 0; i < n; i++) {
		int err = read_user(&ask->arena, json_array_get(list, i), &users[i]);
		if (err < 0)
			return err;
	}
	request->users = users;
	return 0;
}

/* Our scanner is the strict one (jansson stops at a NUL after a number); jansson refuses doubles and reads the list. */
static int read_pushs(struct imgo__http_ask *ask, struct imgo_push_request *request)
{
	json_t *root;
	int err;

	if (!imgo__json_valid(ask->body, JSON_DEPTH))
		return IMGO_EINVAL;
	root = json_loadb(ask->body.p, ask->body.len, JSON_REJECT_DUPLICATES, NULL);
	err = json_is_object(root) && json_is_array(json_object_get(root, "u")) ? 0 : IMGO_EINVAL;
	if (err == 0)
		err = imgo__http_raw(ask->body, "m", &request->body);
	if (err == 0)
		err = read_users(ask, json_object_get(root, "u"), request);
	json_decref(root);
	return err;
}

void imgo__http_push_users(struct imgo__http_ask *ask)
{
	struct imgo_push_request request = IMGO_PUSH_REQUEST_INIT;
	int err = common_args(ask, &request);

	if (err == 0)
		err = read_pushs(ask, &request);
	if (err < 0)
		imgo__http_err(ask->http, ask->request, err);
	else
		push_now(ask, &request);
}

/* ---- rooms ---- */

/* rid, as in the original, or room: any key. */
static int room_arg(struct imgo__http_ask *ask, struct imgo_str *out)
{
	struct imgo_str text;
	int err = imgo__http_arg(ask, "rid", &text);

	if (err == 0)
		return imgo__http_rid(&ask->arena, text, out);
	return err == IMGO_ENOTFOUND ? imgo__http_arg(ask, "room", out) : err;
}

void imgo__http_push_room(struct imgo__http_ask *ask)
{
	struct imgo_push_request request = IMGO_PUSH_REQUEST_INIT;
	int err = room_arg(ask, &request.room);

	if (err == 0)
		err = common_args(ask, &request);
	if (err < 0) {
		imgo__http_err(ask->http, ask->request, err);
		return;
	}
	request.target = IMGO_PUSH_ROOM;
	request.body = ask->body;
	push_now(ask, &request);
}

void imgo__http_push_all(struct imgo__http_ask *ask)
{
	struct imgo_push_request request = IMGO_PUSH_REQUEST_INIT;
	int err = common_args(ask, &request);

	if (err < 0) {
		imgo__http_err(ask->http, ask->request, err);
		return;
	}
	request.target = IMGO_PUSH_ALL;
	request.body = ask->body;
	push_now(ask, &request);
}
