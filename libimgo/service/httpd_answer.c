/* SPDX-License-Identifier: MIT */
/*
 * Answers, in the order of the requests. The answer to the first request of a connection's list goes straight
 * to the output buffer; one that comes before its turn waits, as text, in its request. When the first is
 * answered, those behind it that are ready follow. The output is written once a turn of the loop (the
 * connection's task).
 */
#include "service/httpd_impl.h"

#include <imgo/error.h>

/* ---- requests ---- */

struct imgo__httpd_request *imgo__httpd_request_new(struct imgo__httpd_conn *conn, const struct imgo__http_request *head)
{
	struct imgo__httpd *httpd = conn->httpd;
	struct imgo__list *spare = imgo__list_pop(&httpd->spare);
	struct imgo__httpd_request *request;

	if (spare) {
		request = imgo__container_of(spare, struct imgo__httpd_request, link);
		httpd->nspare--;
	} else {
		request = imgo__alloc(sizeof *request);
	}
	if (!request)
		return NULL;
	*request = (struct imgo__httpd_request){.conn = conn};
	if (head) {
		conn->served++;
		request->since_us = imgo__loop_clock_us(httpd->loop);
		request->http10 = head->http10;
		request->is_head = imgo_str_eq(head->method, imgo_str("HEAD"));
		request->close = !head->keep_alive ||
				 (httpd->options.requests_max && conn->served >= httpd->options.requests_max);
	}
	imgo__list_init(&request->link);
	imgo__list_insert(&conn->requests, &request->link);
	conn->nrequests++;
	return request;
}

void imgo__httpd_request_free(struct imgo__httpd_request *request)
{
	struct imgo__httpd_conn *conn = request->conn;

	imgo__buf_free(&request->text);
	imgo__list_remove(&request->link);
	if (conn)
		conn->nrequests--;
	if (conn && conn->httpd->nspare < IMGO__HTTPD_SPARE) {
		imgo__list_insert(&conn->httpd->spare, &request->link);
		conn->httpd->nspare++;
	} else {
		free(request);
	}
}

bool imgo__httpd_orphan(const struct imgo__httpd_request *request)
{
	return !request->conn || request->conn->dead;
}

bool imgo__httpd_loopback(const struct imgo__httpd_request *request)
{
	return request->conn->loopback;
}

void imgo__httpd_set_tag(struct imgo__httpd_request *request, uintptr_t tag)
{
	request->tag = tag;
}

uintptr_t imgo__httpd_tag(const struct imgo__httpd_request *request)
{
	return request->tag;
}

/* ---- text ---- */

static void put(struct imgo__buf *out, const char *text)
{
	size_t len = strlen(text);

	memcpy(out->data + out->len, text, len);
	out->len += len;
}

static void put_number(struct imgo__buf *out, size_t value)
{
	char digits[24];
	size_t at = sizeof digits - 1;

	digits[at] = 0;
	do {
		digits[--at] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	put(out, digits + at);
}

/* All the fixed pieces together are shorter than 192 bytes. */
static int put_answer(struct imgo__buf *out, const struct imgo__httpd_request *request,
	const struct imgo__httpd_answer *answer, bool close)
{
	const char *type = answer->content_type ? answer->content_type : "application/json";
	const char *headers = answer->headers ? answer->headers : "";
	size_t body_len = request->is_head ? 0 : answer->body.len;

	if (imgo__buf_reserve(out, 192 + strlen(type) + strlen(headers) + body_len))
		return IMGO_ENOMEM;
	put(out, "HTTP/1.1 ");
	put_number(out, (size_t)answer->status);
	put(out, " ");
	put(out, imgo__http_reason(answer->status));
	put(out, "\r\nContent-Type: ");
	put(out, type);
	put(out, "\r\nContent-Length: ");
	put_number(out, answer->body.len);
	put(out, "\r\n");
	if (close)
		put(out, "Connection: close\r\n");
	else if (request->http10)
		put(out, "Connection: keep-alive\r\n");
	put(out, headers);
	put(out, "\r\n");
	if (body_len)
		memcpy(out->data + out->len, answer->body.p, body_len);
	out->len += body_len;
	return 0;
}

/* ---- order ---- */

static struct imgo__httpd_request *first(struct imgo__httpd_conn *conn)
{
	if (imgo__list_empty(&conn->requests))
		return NULL;
	return imgo__container_of(conn->requests.next, struct imgo__httpd_request, link);
}

/* "100 Continue" is part of the answers' stream: it waits until all before it are said. */
static void say_continue(struct imgo__httpd_conn *conn)
{
	static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";

	if (!conn->continue_due || !conn->reading || first(conn) != conn->reading)
		return;
	conn->continue_due = false;
	if (imgo__buf_append(&conn->out, text, sizeof text - 1))
		conn->dead = true;
	imgo__defer(conn->httpd->loop, &conn->task);
}

void imgo__httpd_continue(struct imgo__httpd_conn *conn)
{
	conn->continue_due = true;
	say_continue(conn);
}

static void pop_answered(struct imgo__httpd_conn *conn)
{
	struct imgo__httpd_request *request;

	while ((request = first(conn)) && request->answered) {
		conn->answers -= request->text.len;
		if (imgo__buf_append(&conn->out, request->text.data, request->text.len))
			conn->dead = true;
		imgo__httpd_request_free(request);
	}
	say_continue(conn);
}

void imgo__httpd_answer(struct imgo__httpd_request *request, const struct imgo__httpd_answer *answer)
{
	struct imgo__httpd_conn *conn = request->conn;
	bool turn, close;

	if (!conn) {
		imgo__httpd_request_free(request);
		return;
	}
	if (request->since_us)
		imgo_histogram_add(
			conn->httpd->stats.seconds, imgo__loop_clock_us(conn->httpd->loop) - request->since_us, 1);
	turn = first(conn) == request;
	close = request->close || (conn->last && !conn->eof && request->link.next == &conn->requests);
	if (put_answer(turn ? &conn->out : &request->text, request, answer, close))
		conn->dead = true;
	if (turn) {
		imgo__httpd_request_free(request);
		pop_answered(conn);
	} else {
		request->answered = true;
		conn->answers += request->text.len;
	}
	imgo__httpd_account(conn);
	imgo__defer(conn->httpd->loop, &conn->task);
}

static struct imgo_stat *refusal_stat(struct imgo__httpd_stats *stats, int status)
{
	switch (status) {
	case 408:
		return stats->timeout;
	case 413:
		return stats->body_too_large;
	case 414:
	case 431:
		return stats->head_too_large;
	case 503:
		return stats->overload;
	default:
		return stats->malformed;
	}
}

void imgo__httpd_refuse(struct imgo__httpd_conn *conn, struct imgo__httpd_request *request, int status)
{
	struct imgo__httpd *httpd = conn->httpd;
	struct imgo__httpd_answer answer = {.status = status};

	imgo_stat_add(refusal_stat(&httpd->stats, status), 1);
	conn->last = true;
	conn->discard = conn->need = 0;
	conn->reading = NULL;
	conn->continue_due = false;
	if (!request)
		request = imgo__httpd_request_new(conn, NULL);
	if (!request) {
		conn->dead = true;
		imgo__defer(httpd->loop, &conn->task);
		return;
	}
	request->close = true;
	if (status == 503)
		answer.headers = "Retry-After: 1\r\n";
	if (httpd->options.ops->refusal)
		answer.body = httpd->options.ops->refusal(status, httpd->options.user);
	imgo__httpd_answer(request, &answer);
}

/* ---- output ---- */

size_t imgo__httpd_output(const struct imgo__httpd_conn *conn)
{
	return conn->out.len - conn->out_at;
}

bool imgo__httpd_flush(struct imgo__httpd_conn *conn)
{
	struct iovec iov = {.iov_len = imgo__httpd_output(conn)};
	ssize_t n;

	if (iov.iov_len == 0)
		return true;
	iov.iov_base = conn->out.data + conn->out_at;
	n = imgo__sock_writev(conn->httpd->loop, conn->io.fd, &iov, 1);
	if (n < 0 && n != IMGO_ETIMEDOUT)
		return false;
	if (n > 0) {
		conn->out_at += (size_t)n;
		conn->taken += (size_t)n;
	}
	conn->blocked = imgo__httpd_output(conn) > 0;
	if (!conn->blocked) {
		conn->out.len = conn->out_at = 0;
		if (conn->out.cap > IMGO__HTTPD_KEEP)
			imgo__buf_free(&conn->out);
	} else if (conn->out_at > conn->out.len / 2) {
		imgo__buf_consume(&conn->out, conn->out_at);
		conn->out_at = 0;
	}
	imgo__httpd_account(conn);
	return true;
}
