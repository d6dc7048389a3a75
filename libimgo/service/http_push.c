/* SPDX-License-Identifier: MIT */
/*
 * The calls that push. All of a request is read, checked and handed to imgo_push_send before the handler
 * returns; what the bus says becomes the answer. Anything but {"ret":1} means "unknown": the caller pushes
 * again with the same Idempotency-Key, and the answer says so ("retry").
 */
#include "service/http_impl.h"

#include <stdio.h>

#include "service/http_param.h"

enum { KEY_MAX = 255 };

static void on_pushed(int err, void *user)
{
	imgo__http_pushed(user, err);
}

bool imgo__http_idempotency_key(const struct imgo__http_call *call, struct imgo_str *key)
{
	*key = imgo__http_header(call->head, "Idempotency-Key");
	return key->len <= KEY_MAX && imgo__http_header_count(call->head, "Idempotency-Key") <= 1;
}

/* The parameters that all have. False: the request was refused. */
static bool common(struct imgo__http_call *call, struct imgo_push_request *push)
{
	struct imgo_str text;
	int err = imgo__http_query(call, "op", &text);

	if (err != IMGO_ENOTFOUND && (err || !imgo__http_int32(text, &push->op))) {
		imgo__http_bad(call->request, "op must be a 32-bit number");
		return false;
	}
	err = imgo__http_query(call, "qos", &text);
	if (err != IMGO_ENOTFOUND && (err || text.len != 1 || *text.p < '0' || *text.p > '1')) {
		imgo__http_bad(call->request, "qos must be 0 or 1");
		return false;
	}
	push->qos0 = err == 0 && *text.p == '0' && push->target == IMGO_PUSH_USERS;
	if (!imgo__http_idempotency_key(call, &push->key)) {
		imgo__http_bad(call->request, "Idempotency-Key must be one of at most 255 bytes");
		return false;
	}
	return true;
}

static void hand_over(struct imgo__http_call *call, struct imgo_push_request *push)
{
	int err;

	if (push->body.len > call->http->push->body_max) {
		imgo__http_refuse(call->request, 413, IMGO__RET_BAD_PARAMETER, "message too long");
		return;
	}
	if (!common(call, push))
		return;
	err = imgo_push_send(call->http->push, push, on_pushed, call->request);
	if (err < 0)
		imgo__http_pushed(call->request, err);
}

void imgo__http_push_user(struct imgo__http_call *call)
{
	struct imgo_push_request push = IMGO_PUSH_REQUEST_INIT;
	struct imgo_str text, who;
	uint64_t uid;

	if (imgo__http_query(call, "uid", &text) || !imgo__http_positive(text, &who, &uid)) {
		imgo__http_bad(call->request, "uid must be a positive number");
		return;
	}
	push.users = &who;
	push.nusers = 1;
	push.body = call->body;
	hand_over(call, &push);
}

void imgo__http_push_users(struct imgo__http_call *call)
{
	struct imgo_push_request push = IMGO_PUSH_REQUEST_INIT;
	struct imgo_str *users = NULL;
	int err = imgo__http_read_pushs(
		&call->arena, call->body, call->http->push->users_max, &users, &push.nusers, &push.body);

	push.users = users;
	if (err == IMGO_EINVAL)
		imgo__http_bad(call->request, "the body must be {'u':[user ids],'m':message} in JSON");
	else if (err == IMGO_ELIMIT)
		imgo__http_refuse(call->request, 413, IMGO__RET_BAD_PARAMETER, "too many users");
	else if (err)
		imgo__http_pushed(call->request, err);
	else
		hand_over(call, &push);
}

/* rid, the original's number (-1 is "in no room"), or room: any key. False: the request was refused. */
static bool read_room(struct imgo__http_call *call, char number[16], struct imgo_str *room)
{
	struct imgo_str text;
	int32_t rid;
	int err = imgo__http_query(call, "rid", &text);

	if (err == IMGO_ENOTFOUND) {
		if (imgo__http_query(call, "room", room) == 0 && room->len > 0 && room->len <= IMGO_ROOM_MAX)
			return true;
	} else if (err == 0 && imgo__http_int32(text, &rid) && rid != -1) {
		*room = imgo_strn(number, (size_t)snprintf(number, 16, "%d", rid));
		return true;
	}
	imgo__http_bad(call->request, "rid must be a 32-bit number, or room a key of at most 128 bytes");
	return false;
}

void imgo__http_push_room(struct imgo__http_call *call)
{
	struct imgo_push_request push = IMGO_PUSH_REQUEST_INIT;
	char number[16];

	push.target = IMGO_PUSH_ROOM;
	push.body = call->body;
	if (read_room(call, number, &push.room))
		hand_over(call, &push);
}

void imgo__http_push_all(struct imgo__http_call *call)
{
	struct imgo_push_request push = IMGO_PUSH_REQUEST_INIT;

	push.target = IMGO_PUSH_ALL;
	push.body = call->body;
	hand_over(call, &push);
}
