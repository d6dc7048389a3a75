/* SPDX-License-Identifier: MIT */
/*
 * GET /1/msg/get: the waiting messages of a user, for whoever holds a token of that user. It only looks.
 * Three steps, one behind the other: whose is the token; where does the log end; read.
 *
 * `mid` is the id of the last message that the caller has. It has no epoch, so it is taken for one of the
 * newest message's epoch; above the end it is foreign (another epoch, or the original's time-stamps), and all
 * is read.
 *
 * An op outlives its connection, and even the API: then it is an orphan, and ends with the step that is under
 * way.
 */
#include "service/http_impl.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/hash.h"
#include "service/http_param.h"

enum { MESSAGES_MAX = 1000 };

struct log_op {
	struct imgo__list link;
	struct imgo_http *http; /* NULL: gone */
	struct imgo__httpd_request *request;
	char who[24], callback[68];
	uint64_t mid;
	struct imgo_store_peek peek;
	struct imgo_store_peek_many many;
};

static void op_free(struct log_op *op)
{
	imgo__list_remove(&op->link);
	if (op->http)
		op->http->nlogs--;
	free(op);
}

void imgo__http_logs_orphan(struct imgo_http *http)
{
	struct imgo__list *link;

	while ((link = imgo__list_pop(&http->logs)))
		imgo__container_of(link, struct log_op, link)->http = NULL;
}

/* Ends it; text is the JSON of the answer. */
static void answer(struct log_op *op, int status, struct imgo_str text)
{
	struct imgo__httpd_answer answer = {.status = status, .body = text};
	struct imgo__buf body = {0};

	answer.headers = status == 503 ? "Retry-After: 1\r\n" : NULL;
	if (op->callback[0]) {
		answer.content_type = "application/javascript";
		answer.headers = status == 503 ? "Retry-After: 1\r\nX-Content-Type-Options: nosniff\r\n"
					       : "X-Content-Type-Options: nosniff\r\n";
		if (imgo__buf_str(&body, imgo_str(op->callback)) || imgo__buf_append(&body, "(", 1) ||
			imgo__buf_str(&body, text) || imgo__buf_append(&body, ")", 1))
			answer.status = 503; /* and half a body is no use */
		answer.body = answer.status == status ? imgo_strn(body.data, body.len) : imgo_strn(NULL, 0);
	}
	imgo__http_answer(op->request, &answer);
	imgo__buf_free(&body);
	op_free(op);
}

static void fail(struct log_op *op, int err)
{
	char text[160];
	int ret, status = imgo__http_status_of(err, &ret);
	int len = snprintf(text, sizeof text, "{\"ret\":%d,\"error\":\"%s\"}", ret, imgo_strerror(err));

	answer(op, status, imgo_strn(text, (size_t)len));
}

/* ---- the steps ---- */

static int put_message(struct imgo__buf *out, const struct imgo_store_message *message, bool first)
{
	size_t max = 4 * ((message->data.len + 2) / 3) + 1;

	if (imgo__buf_printf(out, "%s{\"msg\":\"", first ? "" : ",") || imgo__buf_reserve(out, max))
		return IMGO_ENOMEM;
	out->len += imgo__base64(message->data.p, message->data.len, (char *)out->data + out->len);
	return imgo__buf_printf(out, "\",\"mid\":%llu,\"gid\":0}", (unsigned long long)message->id.id);
}

static void on_read(int err, const struct imgo_store_read *result, void *user)
{
	struct log_op *op = user;
	struct imgo__buf out = {0};

	if (err == 0)
		err = imgo__buf_printf(&out, "{\"data\":{\"msgs\":[");
	for (size_t i = 0; err == 0 && i < result->nmessages; i++)
		err = put_message(&out, &result->messages[i], i == 0);
	if (err == 0)
		err = imgo__buf_printf(&out, "]},\"ret\":%d}", IMGO__RET_LOG_OK);
	if (err)
		fail(op, err);
	else
		answer(op, 200, imgo_strn(out.data, out.len));
	imgo__buf_free(&out);
}

static bool orphan(const struct log_op *op)
{
	return !op->http || imgo__httpd_orphan(op->request);
}

static void on_end(int err, void *user)
{
	struct log_op *op = user;
	struct imgo_id after = {0, 0};

	if (err == 0 && orphan(op))
		err = IMGO_ECANCELED;
	if (err == 0) {
		if (op->mid <= op->peek.head.id)
			after = (struct imgo_id){op->peek.head.epoch, op->mid};
		err = imgo_push_log(op->http->push, op->peek.user, after, MESSAGES_MAX, on_read, op);
	}
	if (err)
		fail(op, err);
}

static void on_who(int err, const struct imgo_auth_check *who, void *user)
{
	struct log_op *op = user;

	if (err == 0 && orphan(op))
		err = IMGO_ECANCELED;
	if (err == 0 && !imgo_str_eq(who->who, imgo_str(op->who)))
		err = IMGO_EDENIED;
	if (err == 0) {
		struct imgo_push *push = op->http->push;
		op->peek.user = imgo_str(op->who);
		op->many = (struct imgo_store_peek_many){
			imgo_bus_epoch(push->bus), imgo__push_partition(push, op->peek.user), &op->peek, 1};
		err = imgo_store_peek_many(push->store, &op->many, on_end, op);
	}
	if (err)
		fail(op, err);
}

/* ---- the request ---- */

static void copy(char *out, struct imgo_str text)
{
	if (text.len)
		memcpy(out, text.p, text.len);
	out[text.len] = 0;
}

static const char *read_params(struct imgo__http_call *call, struct log_op *op, struct imgo_str *token)
{
	struct imgo_str text, who;
	uint64_t uid;
	int err = imgo__http_query(call, "cb", &text);

	if (err != IMGO_ENOTFOUND && (err || !imgo__http_callback_name(text)))
		return "cb must be the name of a function";
	if (err == 0)
		copy(op->callback, text);
	if (imgo__http_query(call, "uid", &text) || !imgo__http_positive(text, &who, &uid))
		return "uid must be a positive number";
	copy(op->who, who);
	if (imgo__http_query(call, "mid", &text) || !imgo__http_natural(text, NULL, &op->mid))
		return "mid must be a number";
	if (imgo__http_query(call, "token", token) || token->len == 0 || token->len > IMGO_TOKEN_MAX)
		return "token must be 1 to 1024 bytes";
	return NULL;
}

void imgo__http_msg_get(struct imgo__http_call *call)
{
	struct imgo_http *http = call->http;
	struct imgo_str token;
	struct log_op *op = http->nlogs < IMGO__HTTP_LOGS_MAX ? imgo__zalloc(sizeof *op) : NULL;
	const char *wrong;
	int err;

	if (!op) {
		imgo__http_done(call->request, IMGO_ELIMIT);
		return;
	}
	op->http = http;
	op->request = call->request;
	imgo__list_init(&op->link);
	imgo__list_insert(&http->logs, &op->link);
	http->nlogs++;
	wrong = read_params(call, op, &token);
	if (wrong) {
		imgo__http_bad(call->request, wrong);
		op_free(op);
		return;
	}
	err = imgo_push_who(http->push, token, on_who, op);
	if (err < 0)
		fail(op, err);
}
