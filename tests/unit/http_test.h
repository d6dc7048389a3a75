/* SPDX-License-Identifier: MIT */
/* The push API on a loop, with a bus that remembers what it was given and can be told to fail or to wait, and clients
 * on real sockets; all in one thread: the loop is turned until a condition holds. */
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

#include <imgo/envelope.h>
#include <imgo/http.h>
#include <imgo/stats.h>

#include "base/buf.h"
#include "base/list.h"
#include "codec/http.h"

enum { RIG_PARTITIONS = 8, RIG_WAIT_MS = 20000 };

/* ---- the bus ---- */
struct rig_produce {
	struct imgo_bus_record *records;
	size_t n;
	imgo_bus_produce_cb *cb;
	void *user;
	struct rig_bus *bus;
	struct rig_produce *next;
};

struct rig_bus {
	struct imgo_loop *loop;
	bool down;  /* not ready */
	bool hold;  /* answers nothing until rig_bus_release */
	int err;    /* what it answers */
	struct rig_produce *held;
	/* the last push */
	unsigned pushes; /* calls */
	enum imgo_topic topic;
	size_t nusers, nrecords;
	char first_user[IMGO_USER_MAX + 1], room[IMGO_ROOM_MAX + 1];
	char body[4096];
	size_t body_len;
	int32_t op;
	enum imgo_envelope_kind kind;
	struct imgo_msgid msgid;
};

__attribute__((unused)) static void rig_bus_answer(void *user)
{
	struct rig_produce *p = user;

	for (size_t i = 0; i < p->n; i++)
		p->records[i].err = p->bus->err;
	p->cb(p->bus->err, p->user);
	free(p);
}

__attribute__((unused)) static void rig_bus_note(struct rig_bus *bus, const struct imgo_bus_record *record)
{
	struct imgo_envelope *e;

	assert_int_equal(imgo_envelope_decode(&e, record->value.p, record->value.len), 0);
	bus->nusers += e->ntargets;
	bus->kind = e->kind;
	bus->op = e->op;
	bus->msgid = e->msgid;
	bus->body_len = e->body.len;
	snprintf(bus->body, sizeof bus->body, "%.*s", (int)e->body.len, e->body.len ? e->body.p : "");
	snprintf(bus->room, sizeof bus->room, "%.*s", (int)e->room.len, e->room.len ? e->room.p : "");
	if (e->ntargets)
		snprintf(bus->first_user, sizeof bus->first_user, "%.*s", (int)e->targets[0].user.len,
			e->targets[0].user.p);
	free(e);
}

__attribute__((unused)) static int rig_bus_produce(void *impl, enum imgo_topic topic, struct imgo_bus_record *records,
	size_t n, imgo_bus_produce_cb *cb, void *user)
{
	struct rig_bus *bus = impl;
	struct rig_produce *p = malloc(sizeof *p);

	assert_non_null(p);
	*p = (struct rig_produce){records, n, cb, user, bus, NULL};
	bus->pushes++;
	bus->topic = topic;
	bus->nusers = 0;
	bus->nrecords = n;
	for (size_t i = 0; i < n; i++)
		rig_bus_note(bus, &records[i]);
	if (!bus->hold) {
		assert_int_equal(imgo_loop_post(bus->loop, rig_bus_answer, p), 0);
		return 0;
	}
	p->next = bus->held; /* the newest first: answers come in the wrong order */
	bus->held = p;
	return 0;
}

__attribute__((unused)) static void rig_bus_release(struct rig_bus *bus)
{
	while (bus->held) {
		struct rig_produce *p = bus->held;
		bus->held = p->next;
		rig_bus_answer(p);
	}
}

__attribute__((unused)) static void rig_bus_free(void *impl)
{
	rig_bus_release(impl);
}

__attribute__((unused)) static uint32_t rig_bus_epoch(void *impl)
{
	(void)impl;
	return 7;
}

__attribute__((unused)) static uint32_t rig_bus_partitions(void *impl, enum imgo_topic topic)
{
	(void)impl, (void)topic;
	return RIG_PARTITIONS;
}

__attribute__((unused)) static bool rig_bus_ready(void *impl)
{
	return !((struct rig_bus *)impl)->down;
}

/* No consumers. */
__attribute__((unused)) static int rig_bus_subscribe(void *impl, enum imgo_topic topic, const char *group,
	const struct imgo_bus_consumer_ops *ops, void *user, void **consumer)
{
	(void)impl, (void)topic, (void)group, (void)ops, (void)user, (void)consumer;
	return IMGO_ENOTSUP;
}

__attribute__((unused)) static void rig_bus_unsubscribe(void *consumer)
{
	(void)consumer;
}

__attribute__((unused)) static int rig_bus_fetch(void *consumer, uint32_t partition, uint64_t from, size_t records_max,
	size_t bytes_max, unsigned wait_ms, imgo_bus_fetch_cb *cb, void *user)
{
	(void)consumer, (void)partition, (void)from, (void)records_max, (void)bytes_max, (void)wait_ms, (void)cb, (void)user;
	return IMGO_ENOTSUP;
}

__attribute__((unused)) static void rig_bus_done(void *consumer, uint32_t partition, uint64_t next)
{
	(void)consumer, (void)partition, (void)next;
}

__attribute__((unused)) static void rig_bus_released(void *consumer, uint32_t partition)
{
	(void)consumer, (void)partition;
}

__attribute__((unused)) static int rig_bus_query(void *impl, enum imgo_topic topic, uint32_t partition,
	uint64_t since_ms, imgo_bus_query_cb *cb, void *user)
{
	(void)impl, (void)topic, (void)partition, (void)since_ms, (void)cb, (void)user;
	return IMGO_ENOTSUP;
}

__attribute__((unused)) static const struct imgo_bus_ops rig_bus_ops = {sizeof(struct imgo_bus_ops), rig_bus_free,
	rig_bus_epoch, rig_bus_partitions, rig_bus_ready, rig_bus_produce, rig_bus_subscribe, rig_bus_unsubscribe,
	rig_bus_fetch, rig_bus_done, rig_bus_released, rig_bus_query};

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
__attribute__((unused)) static struct response call_on(int port, const char *method, const char *target,
	const char *headers, struct imgo_str body)
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

#endif
