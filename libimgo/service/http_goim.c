/* SPDX-License-Identifier: MIT */
/*
 * goim's calls that push (COMPATIBILITY.md §3), and the form of all goim's answers: {"code":0,"message":"","data":…}, code
 * 0, -400 or -500, with an HTTP status that says the same.
 *
 * They are the same pushes as imgo's, with goim's names for things: mids are users, whose messages are kept; a room is
 * "type://room"; the operation is the one that clients see. Parameters are read from the query, the body is the message.
 */
#include "service/http_impl.h"

#include <stdio.h>

#include "base/buf.h"
#include "service/http_param.h"

/* ---- answers ---- */

void imgo__goim_refuse(struct imgo__httpd_request *request, int status, const char *why, const char *headers)
{
	char body[256];
	int len = snprintf(body, sizeof body, "{\"code\":%d,\"message\":\"%s\"}", status < 500 ? -400 : -500, why);

	if (status == 503)
		headers = "Retry-After: 1\r\n";
	imgo__http_answer(request,
		&(struct imgo__httpd_answer){.status = status, .headers = headers, .body = imgo_strn(body, (size_t)len)});
}

void imgo__goim_done(struct imgo__httpd_request *request, int err)
{
	int ret;

	if (err == 0)
		imgo__http_json(request, imgo_str("{\"code\":0,\"message\":\"\"}"));
	else
		imgo__goim_refuse(request, imgo__http_status_of(err, &ret), imgo_strerror(err), NULL);
}

static void bad(struct imgo__http_call *call, const char *why)
{
	imgo__goim_refuse(call->request, 400, why, NULL);
}

int imgo__goim_begin(struct imgo__buf *body)
{
	return imgo__buf_printf(body, "{\"code\":0,\"message\":\"\",\"data\":");
}

void imgo__goim_end(struct imgo__httpd_request *request, struct imgo__buf *body, int err)
{
	if (err == 0)
		err = imgo__buf_printf(body, "}");
	if (err)
		imgo__goim_done(request, err);
	else
		imgo__http_json(request, imgo_strn(body->data, body->len));
	imgo__buf_free(body);
}

int imgo__goim_room(struct imgo__arena *arena, struct imgo_str type, struct imgo_str room, struct imgo_str *out)
{
	size_t len = type.len + 3 + room.len;
	char *key;

	if (type.len == 0 || room.len == 0 || len > IMGO_ROOM_MAX)
		return IMGO_EINVAL;
	key = imgo__arena_alloc(arena, len);
	if (!key)
		return IMGO_ENOMEM;
	memcpy(key, type.p, type.len);
	memcpy(key + type.len, "://", 3);
	memcpy(key + type.len + 3, room.p, room.len);
	*out = imgo_strn(key, len);
	return 0;
}

/* ---- pushes ---- */

static void on_pushed(int err, void *user)
{
	imgo__goim_done(user, err);
}

/* What all of them have. False: the request was refused. */
static bool common(struct imgo__http_call *call, struct imgo_push_request *push)
{
	struct imgo_str text;

	if (imgo__http_query(call, "operation", &text) || !imgo__http_int32(text, &push->op) || push->op == 0)
		bad(call, "operation must be a 32-bit number, not 0");
	else if (!imgo__http_idempotency_key(call, &push->key))
		bad(call, "Idempotency-Key must be one of at most 255 bytes");
	else
		return true;
	return false;
}

static void hand_over(struct imgo__http_call *call, struct imgo_push_request *push)
{
	int err;

	if (!common(call, push))
		return;
	push->body = call->body;
	err = imgo_push_send(call->http->push, push, on_pushed, call->request);
	if (err < 0)
		imgo__goim_done(call->request, err);
}

/* To the list that was read, or says what is wrong with it. */
static void hand_over_list(struct imgo__http_call *call, struct imgo_push_request *push, const struct imgo_str *list,
	int err, const char *why)
{
	push->users = list;
	if (err == IMGO_EINVAL)
		bad(call, why);
	else if (err == IMGO_ELIMIT)
		imgo__goim_refuse(call->request, 413, "too many of them", NULL);
	else if (err)
		imgo__goim_done(call->request, err);
	else
		hand_over(call, push);
}

void imgo__goim_push_mids(struct imgo__http_call *call)
{
	struct imgo_push_request push = IMGO_PUSH_REQUEST_INIT;
	struct imgo_str *mids = NULL;
	int err = imgo__http_read_mids(&call->arena, call->head->query, call->http->push->users_max, &mids, &push.nusers);

	hand_over_list(call, &push, mids, err, "mids must be positive numbers, repeated or between commas");
}

void imgo__goim_push_keys(struct imgo__http_call *call)
{
	struct imgo_push_request push = IMGO_PUSH_REQUEST_INIT;
	struct imgo_str *keys = NULL;
	int err = imgo__http_read_list(
		&call->arena, call->head->query, "keys", call->http->push->users_max, &keys, &push.nusers);

	for (size_t i = 0; err == 0 && i < push.nusers; i++)
		err = keys[i].len && keys[i].len <= IMGO_ENVELOPE_KEY_MAX ? 0 : IMGO_EINVAL;
	push.target = IMGO_PUSH_KEYS;
	hand_over_list(call, &push, keys, err, "keys must be 1 to 96 bytes each, repeated");
}

void imgo__goim_push_room(struct imgo__http_call *call)
{
	struct imgo_push_request push = IMGO_PUSH_REQUEST_INIT;
	struct imgo_str type, room;
	int err = IMGO_EINVAL;

	if (!imgo__http_query(call, "type", &type) && !imgo__http_query(call, "room", &room))
		err = imgo__goim_room(&call->arena, type, room, &push.room);
	push.target = IMGO_PUSH_ROOM;
	if (err == IMGO_EINVAL)
		bad(call, "type and room must be there, and at most 125 bytes together");
	else if (err)
		imgo__goim_done(call->request, err);
	else
		hand_over(call, &push);
}

void imgo__goim_push_all(struct imgo__http_call *call)
{
	struct imgo_push_request push = IMGO_PUSH_REQUEST_INIT;
	struct imgo_str text;
	int32_t speed = 0;
	int err = imgo__http_query(call, "speed", &text);

	push.target = IMGO_PUSH_ALL;
	if (err != IMGO_ENOTFOUND && (err || !imgo__http_int32(text, &speed))) {
		bad(call, "speed must be a 32-bit number");
		return;
	}
	push.speed = speed > 0 ? (uint32_t)speed : 0;
	hand_over(call, &push);
}
