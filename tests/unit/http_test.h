/* SPDX-License-Identifier: MIT */
/* The push API on a loop, with a bus that remembers what it was given and can be told to fail or to wait, and
 * clients on real sockets; all in one thread: the loop is turned until a condition holds. */
#ifndef HTTP_TEST_H
#define HTTP_TEST_H

#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <imgo/http.h>
#include <imgo/stats.h>

#include "base/buf.h"
#include "codec/http.h"
#include "http_bus.h"

enum { RIG_WAIT_MS = 20000 };

/* ---- the rig ---- */
struct rig {
	struct imgo_loop *loop;
	struct imgo_stats *stats;
	struct rig_bus rec; /* what the bus saw */
	struct imgo_bus *bus;
	struct imgo_store *store;
	struct imgo_registry *registry;
	struct imgo_push *push;
	struct imgo_http *http;
	int port, store_port;
	struct imgo_push_options push_options;
	struct imgo_http_options options;
};

static struct rig rig;

__attribute__((unused)) static void rig_prepare(void)
{
	struct imgo_loop_options loop_options = IMGO_LOOP_OPTIONS_INIT;

	memset(&rig, 0, sizeof rig);
	assert_int_equal(imgo_stats_new(&rig.stats), 0);
	loop_options.stats = rig.stats;
	assert_int_equal(imgo_loop_new(&rig.loop, &loop_options, NULL), 0);
	rig.rec.loop = rig.loop;
	rig.push_options = (struct imgo_push_options)IMGO_PUSH_OPTIONS_INIT;
	rig.options = (struct imgo_http_options)IMGO_HTTP_OPTIONS_INIT;
	rig.options.listen = rig.options.store_listen = "127.0.0.1:0";
	rig.options.requests_max = 0;
}

/* With the options as they are, and what was not made before. */
__attribute__((unused)) static void rig_start(void)
{
	struct imgo_error error = {0};

	if (!rig.bus)
		assert_int_equal(imgo_bus_new_custom(&rig.bus, rig.loop, &rig_bus_ops, &rig.rec), 0);
	if (!rig.store)
		assert_int_equal(imgo_store_new_memory(&rig.store, rig.loop, NULL, NULL), 0);
	assert_int_equal(imgo_registry_new_memory(&rig.registry, rig.loop, NULL), 0);
	rig.push_options.registry = rig.registry;
	rig.push_options.store = rig.store;
	rig.push_options.bus = rig.bus;
	assert_int_equal(imgo_push_new(&rig.push, rig.loop, &rig.push_options, NULL), 0);
	rig.options.push = rig.push;
	if (imgo_http_new(&rig.http, rig.loop, &rig.options, &error))
		fail_msg("%s", error.text);
	imgo_http_ports(rig.http, &rig.port, &rig.store_port);
}

__attribute__((unused)) static int rig_teardown(void **state)
{
	(void)state;
	imgo_http_free(rig.http);
	imgo_push_free(rig.push);
	imgo_registry_free(rig.registry);
	imgo_store_free(rig.store);
	imgo_bus_free(rig.bus);
	imgo_loop_free(rig.loop);
	imgo_stats_free(rig.stats);
	memset(&rig, 0, sizeof rig);
	return 0;
}

__attribute__((unused)) static int rig_setup(void **state)
{
	(void)state;
	rig_prepare();
	rig_start();
	return 0;
}

__attribute__((unused)) static int rig_setup_only_prepared(void **state)
{
	(void)state;
	rig_prepare();
	return 0;
}

__attribute__((unused)) static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* One turn of the loop, which waits at most wait_ms for something to do. */
__attribute__((unused)) static void rig_turn(int wait_ms)
{
	struct pollfd pfd = {imgo_loop_fd(rig.loop), POLLIN, 0};
	int timeout = imgo_loop_timeout_ms(rig.loop);

	(void)poll(&pfd, 1, timeout < 0 || timeout > wait_ms ? wait_ms : timeout);
	imgo_loop_process(rig.loop);
}

__attribute__((unused)) static void rig_run(uint64_t ms)
{
	uint64_t end = now_ms() + ms;

	while (now_ms() < end)
		rig_turn(1);
}

__attribute__((unused)) static int64_t stat_of(const char *name)
{
	return imgo_stats_get(rig.stats, name);
}

/* ---- clients ---- */
struct client {
	int fd;
	struct imgo__buf in;
	size_t at; /* before it all was looked at */
	bool eof, reset;
};

struct response {
	int status;
	bool keep_alive;
	char head[2048];
	char body[8192]; /* as far as it fits */
	size_t body_len;
};

__attribute__((unused)) static struct client client_open(int port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	struct client c = {.fd = socket(AF_INET, SOCK_STREAM, 0)};

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_true(c.fd >= 0);
	assert_int_equal(connect(c.fd, (struct sockaddr *)&in, sizeof in), 0);
	assert_int_equal(fcntl(c.fd, F_SETFL, O_NONBLOCK), 0);
	return c;
}

__attribute__((unused)) static void client_close(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	imgo__buf_free(&c->in);
	c->at = 0;
}

__attribute__((unused)) static size_t client_has(const struct client *c)
{
	return c->in.len - c->at;
}

/* Takes what has come. */
__attribute__((unused)) static void client_take(struct client *c)
{
	uint8_t data[65536];
	ssize_t n;

	while ((n = recv(c->fd, data, sizeof data, 0)) > 0)
		assert_int_equal(imgo__buf_append(&c->in, data, (size_t)n), 0);
	c->eof |= n == 0;
	c->reset |= n < 0 && errno != EAGAIN;
}

__attribute__((unused)) static void client_send(struct client *c, const void *p, size_t len)
{
	uint64_t end = now_ms() + RIG_WAIT_MS;

	for (size_t at = 0; at < len;) {
		ssize_t n = send(c->fd, (const char *)p + at, len - at, MSG_NOSIGNAL);
		if (n < 0) {
			if (errno != EAGAIN)
				return; /* the server has closed: the test will see it */
			client_take(c);
			rig_turn(1);
			n = 0;
		}
		at += (size_t)n;
		assert_true(now_ms() < end);
	}
}

__attribute__((unused)) static void client_say(struct client *c, const char *text)
{
	client_send(c, text, strlen(text));
}

/* The next response; false: the connection ended without one. */
__attribute__((unused)) static bool client_next(struct client *c, struct response *out, bool to_head)
{
	uint64_t end = now_ms() + RIG_WAIT_MS;
	struct imgo__http_response r;
	ssize_t head;
	size_t len;

	for (;;) {
		if (client_has(c) < 4096)
			client_take(c);
		head = imgo__http_decode_response(client_has(c) ? c->in.data + c->at : NULL, client_has(c), 8192, &r);
		assert_true(head >= 0);
		len = to_head ? 0 : r.content_length;
		if (head > 0 && client_has(c) >= (size_t)head + len)
			break;
		if (c->eof || c->reset)
			return false;
		client_take(c);
		assert_true(now_ms() < end);
		rig_turn(1);
	}
	out->status = r.status;
	out->keep_alive = r.keep_alive;
	out->body_len = len;
	snprintf(out->head, sizeof out->head, "%.*s", (int)head, (const char *)c->in.data + c->at);
	snprintf(out->body, sizeof out->body, "%.*s", (int)len, (const char *)c->in.data + c->at + head);
	c->at += (size_t)head + len;
	if (c->at > c->in.len / 2) {
		imgo__buf_consume(&c->in, c->at);
		c->at = 0;
	}
	return true;
}

/* The server has said all and closed (or reset) it: nothing more came. */
__attribute__((unused)) static void client_ended(struct client *c)
{
	uint64_t end = now_ms() + RIG_WAIT_MS;

	while (!c->eof && !c->reset) {
		client_take(c);
		assert_true(now_ms() < end);
		rig_turn(1);
	}
	assert_false(c->reset);
	assert_int_equal(client_has(c), 0);
}

/* One call on a connection of its own. headers: lines with CRLF, or NULL. */
__attribute__((unused)) static struct response call_on(
	int port, const char *method, const char *target, const char *headers, struct imgo_str body)
{
	struct client c = client_open(port);
	struct response r = {0};
	struct imgo__buf text = {0};

	assert_int_equal(imgo__buf_printf(&text, "%s %s HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n%s\r\n", method,
				 target, body.len, headers ? headers : ""),
		0);
	assert_int_equal(imgo__buf_str(&text, body), 0);
	client_send(&c, text.data, text.len);
	assert_true(client_next(&c, &r, strcmp(method, "HEAD") == 0));
	imgo__buf_free(&text);
	client_close(&c);
	rig_turn(0);
	return r;
}

__attribute__((unused)) static struct response post(const char *target, const char *body)
{
	return call_on(rig.port, "POST", target, NULL, imgo_str(body));
}

__attribute__((unused)) static struct response get(const char *target)
{
	return call_on(rig.port, "GET", target, NULL, imgo_strn(NULL, 0));
}

/* ---- what is asked most ---- */
#define PUSH_1 "POST /1/push?uid=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
#define HEALTH "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"

__attribute__((unused)) static void next_is(struct client *c, int status)
{
	struct response r;

	assert_true(client_next(c, &r, false));
	assert_int_equal(r.status, status);
	assert_true(status == 100 || strstr(r.head, "Content-Type: application/json\r\n"));
}

#endif
