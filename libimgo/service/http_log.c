/* SPDX-License-Identifier: MIT */
/*
 * GET /1/msg/get?uid=&mid=&token=&cb=: the waiting messages of a user after id mid, for the original's clients that fetch
 * their offline messages themselves. Looks only: nothing is deleted or acknowledged. OK is 0 here. An mid above the end
 * (it came from another epoch, say) reads from the beginning.
 */
#include <ctype.h>
#include <string.h>

#include "base/hash.h"
#include "service/http_impl.h"

enum { MESSAGES_MAX = 1000, CALLBACK_MAX = 64 };

struct log_call {
	struct imgo__http_call call;
	struct imgo_str uid, callback;
	int64_t mid;
	bool again; /* nothing was after mid: the second look, from the beginning */
};

/* JSONP: a name of a JavaScript function, and nothing else. */
static bool callback_ok(struct imgo_str name)
{
	if (name.len > CALLBACK_MAX)
		return false;
	for (size_t i = 0; i < name.len; i++) {
		if (!isalnum((unsigned char)name.p[i]) && !memchr("_.$", name.p[i], 3))
			return false;
	}
	return true;
}

static void log_fail(struct log_call *self, int err)
{
	imgo__http_err(self->call.http, self->call.request, err);
	imgo__http_call_free(&self->call);
}

static int append_message(struct imgo__buf *json, const struct imgo_store_message *message, bool first)
{
	size_t room = 4 * ((message->data.len + 2) / 3) + 1;
	int err = imgo__buf_printf(json, "%s{\"msg\":\"", first ? "" : ",");

	if (err == 0)
		err = imgo__buf_reserve(json, room);
	if (err < 0)
		return err;
	json->len += imgo__base64(message->data.p, message->data.len, (char *)json->data + json->len);
	return imgo__buf_printf(json, "\",\"mid\":%llu,\"gid\":0}", (unsigned long long)message->id.id);
}

static int write_json(struct imgo__buf *json, const struct log_call *self, const struct imgo_store_message *messages, size_t n)
{
	int err = 0;

	if (self->callback.len)
		err = imgo__buf_printf(json, "%.*s(", (int)self->callback.len, self->callback.p);
	if (err == 0)
		err = imgo__buf_printf(json, "{\"data\":{\"msgs\":[");
	for (size_t i = 0; err == 0 && i < n; i++)
		err = append_message(json, &messages[i], i == 0);
	if (err == 0)
		err = imgo__buf_printf(json, "]},\"ret\":0}%s", self->callback.len ? ")" : "");
	return err;
}

static int look(struct log_call *self, struct imgo_id after);

static void on_log(int err, const struct imgo_store_read *result, void *user)
{
	struct log_call *self = user;
	struct imgo__buf json = {0};
	size_t n = err == 0 ? result->nmessages : 0;

	if (err == 0 && n == 0 && self->mid && !self->again && self->call.http) {
		self->again = true;
		err = look(self, (struct imgo_id){0, 0});
		if (err == 0)
			return;
	}
	/* The second look found only what the client has by now. */
	if (self->again && n && result->messages[n - 1].id.id >= (uint64_t)self->mid)
		n = 0;
	if (err == 0)
		err = write_json(&json, self, n ? result->messages : NULL, n);
	if (err < 0) {
		log_fail(self, err);
	} else {
		imgo__http_body(self->call.http, self->call.request, 200, self->callback.len ? "application/javascript" : NULL,
			imgo_strn(json.data, json.len));
		imgo__http_call_free(&self->call);
	}
	imgo__buf_free(&json);
}

static int look(struct log_call *self, struct imgo_id after)
{
	return imgo_push_log(self->call.http->push, self->uid, after, MESSAGES_MAX, on_log, self);
}

static void on_who(int err, const struct imgo_auth_check *result, void *user)
{
	struct log_call *self = user;
	struct imgo_id after = {0, 0};

	if (err == 0 && !imgo_str_eq(result->who, self->uid))
		err = IMGO_EDENIED;
	if (err == 0 && !self->call.http)
		err = IMGO_ECANCELED;
	if (err == 0) {
		if (self->mid)
			after = (struct imgo_id){imgo_bus_epoch(self->call.http->push->bus), (uint64_t)self->mid};
		err = look(self, after);
	}
	if (err < 0)
		log_fail(self, err);
}

static int read_args(struct imgo__http_ask *ask, struct log_call *self, struct imgo_str *token)
{
	struct imgo_str text;
	bool ok = true;
	int err = imgo__http_arg(ask, "uid", &text);

	if (err == 0)
		err = imgo__http_uid(&self->call.arena, text, &self->uid);
	if (err == 0)
		err = imgo__http_arg(ask, "token", token);
	if (err < 0)
		return err;
	err = imgo__http_arg(ask, "mid", &text);
	if (err == 0 && text.len)
		err = imgo__http_int(text, 0, INT64_MAX, &self->mid);
	if (err < 0 && err != IMGO_ENOTFOUND)
		return err;
	err = imgo__http_arg(ask, "cb", &text);
	if (err == 0 && !callback_ok(text))
		return IMGO_EINVAL;
	if (err == 0)
		self->callback = imgo__arena_str(&self->call.arena, text, &ok);
	return ok ? 0 : IMGO_ENOMEM;
}

void imgo__http_msg_get(struct imgo__http_ask *ask)
{
	struct log_call *self = imgo__http_call_new(ask, sizeof *self);
	struct imgo_str token;
	int err;

	if (!self)
		return;
	err = read_args(ask, self, &token);
	if (err == 0)
		err = imgo_push_who(ask->http->push, token, on_who, self);
	if (err < 0)
		log_fail(self, err);
}
