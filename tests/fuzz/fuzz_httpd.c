/* SPDX-License-Identifier: MIT */
/*
 * The HTTP server on a real loop, through a socket pair: what a client is told depends on the bytes that it
 * sent, not on how they arrived. The answers come at once, in the head, or later and in the wrong order, as
 * the path says. The only exception: whether "100 Continue" is expected and the body is here already makes a
 * difference on purpose.
 */
#include "fuzz.h"

#include <sys/socket.h>
#include <unistd.h>

#include "base/hash.h"
#include "service/httpd_impl.h"

enum { LATER_MAX = 64, TURNS_MAX = 20000 };

static struct imgo_loop *loop;
static struct imgo__httpd *httpd;

/* ---- the server's user ---- */

struct later {
	struct imgo__httpd_request *request;
	char text[160];
};

static struct later later[LATER_MAX];
static unsigned nlater;

static void answer(struct imgo__httpd_request *request, int status, const char *text)
{
	imgo__httpd_answer(request, &(struct imgo__httpd_answer){.status = status, .body = imgo_str(text)});
}

static bool path_ends(const struct imgo__http_request *head, char c)
{
	return head->path.p[head->path.len - 1] == c;
}

static bool on_head(
	struct imgo__httpd_request *request, const struct imgo__http_request *head, unsigned listener, void *user)
{
	(void)listener, (void)user;
	CHECK(head->content_length <= 300);
	if (!path_ends(head, 'h'))
		return true;
	answer(request, 404, "head");
	return false;
}

static void on_handle(struct imgo__httpd_request *request, const struct imgo__http_request *head, struct imgo_str body,
	unsigned listener, void *user)
{
	char text[160];

	(void)listener, (void)user;
	CHECK(body.len == head->content_length);
	snprintf(text, sizeof text, "%.*s %.*s %zu %08x", (int)head->method.len, head->method.p,
		(int)(head->path.len < 80 ? head->path.len : 80), head->path.p, body.len,
		imgo__crc32c(0, body.p, body.len));
	if (path_ends(head, 'd') && nlater < LATER_MAX) {
		later[nlater].request = request;
		memcpy(later[nlater++].text, text, sizeof text);
	} else {
		answer(request, 200, text);
	}
}

static void answer_later(void)
{
	while (nlater > 0) {
		struct later *l = &later[--nlater];
		answer(l->request, 200, l->text);
	}
}

static const struct imgo__httpd_ops ops = {.head = on_head, .handle = on_handle};

static void start(void)
{
	struct imgo__httpd_options options = IMGO__HTTPD_OPTIONS_INIT;

	options.ops = &ops;
	options.pipeline_max = 4;
	options.output_max = 600;
	options.target_max = 100;
	options.headers_max = 300;
	options.body_max = 300;
	CHECK(imgo_loop_new(&loop, NULL, NULL) == 0);
	CHECK(imgo__httpd_new(&httpd, loop, &options) == 0);
}

/* ---- the client ---- */

static bool receive(int fd, struct imgo__buf *out)
{
	CHECK(imgo__buf_reserve(out, 4096) == 0);
	for (;;) {
		ssize_t n = recv(fd, out->data + out->len, 4096, MSG_DONTWAIT);
		if (n <= 0)
			return n == 0;
		out->len += (size_t)n;
		CHECK(imgo__buf_reserve(out, 4096) == 0);
	}
}

/* All that the server says to these bytes, sent in pieces of about that size. */
static struct imgo__buf converse(const uint8_t *data, size_t size, size_t piece)
{
	struct imgo__buf out = {0};
	int fd[2], turns = 0;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd) == 0);
	CHECK(imgo__httpd_conn_new(httpd, fd[1], 0, true) == 0);
	for (size_t at = 0; at < size;) {
		size_t n = 1 + data[at] % piece;
		ssize_t sent = send(fd[0], data + at, n < size - at ? n : size - at, MSG_NOSIGNAL);
		at += sent > 0 ? (size_t)sent : 0;
		imgo_loop_process(loop);
		if (data[at < size ? at : 0] & 1)
			answer_later();
		if (sent < 0)
			receive(fd[0], &out);
		CHECK(++turns < TURNS_MAX);
	}
	shutdown(fd[0], SHUT_WR);
	while (!receive(fd[0], &out)) {
		answer_later();
		imgo_loop_process(loop);
		CHECK(++turns < TURNS_MAX);
	}
	while (httpd->nconns) {
		imgo_loop_process(loop);
		CHECK(++turns < TURNS_MAX);
	}
	close(fd[0]);
	CHECK(httpd->held == 0 && nlater == 0);
	return out;
}

static void well_formed(const struct imgo__buf *out)
{
	struct imgo__http_response r;

	for (size_t at = 0; at < out->len;) {
		ssize_t head = imgo__http_decode_response(out->data + at, out->len - at, 1000, &r);
		bool interim = head > 0 && r.status == 100;
		CHECK(head > 0 && (interim || r.has_content_length));
		/* what HEAD is told has no body; then the next answer begins at once */
		if (out->len - at - (size_t)head >= r.content_length &&
			!(out->len - at - (size_t)head >= 5 && memcmp(out->data + at + head, "HTTP/", 5) == 0))
			head += (ssize_t)r.content_length;
		at += (size_t)head;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t pieces[] = {255, 7, 1};
	struct imgo__buf first, next;

	if (!httpd)
		start();
	if (!data || size == 0 || memmem(data, size, "xpect", 5) || memmem(data, size, "XPECT", 5))
		return 0;
	first = converse(data, size, 4096);
	well_formed(&first);
	for (size_t i = 0; i < (size < 200 ? 3 : 2); i++) {
		next = converse(data, size, pieces[i]);
		if (getenv("FUZZ_SHOW") && (next.len != first.len || memcmp(next.data, first.data, first.len)))
			fprintf(stderr, "IN %.*s\n---- piece %zu\n%.*s\n---- first\n%.*s\n", (int)size,
				(const char *)data, pieces[i], (int)next.len, (const char *)next.data, (int)first.len,
				(const char *)first.data);
		CHECK(next.len == first.len && memcmp(next.data, first.data, first.len) == 0);
		imgo__buf_free(&next);
	}
	imgo__buf_free(&first);
	return 0;
}
