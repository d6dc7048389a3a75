/* SPDX-License-Identifier: MIT */
/*
 * The whole path in one process on one loop, over real sockets: registry, store and bus in memory, push, dispatch and edge.
 * Clients are plain sockets driven by this test. Every test runs twice: with the parts calling one another directly, as
 * in a node, and over RPC (a router, a logic, a job and a comet that know only addresses), as in a cluster.
 */
#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <imgo/dispatch.h>
#include <imgo/edge.h>
#include <imgo/envelope.h>
#include <imgo/push.h>
#include <imgo/router.h>
#include <imgo/stats.h>

#include "base/buf.h"
#include "codec/packet.h"
#include "loop/loop.h"
#include "service/edge_impl.h"

static bool over_rpc;

struct flow {
	struct imgo_registry *routed; /* over RPC: the registry in memory behind the router */
	struct imgo_router *router;
	struct imgo_stats *stats;
	struct imgo_loop *loop;
	struct imgo_registry *registry;
	struct imgo_store *store;
	struct imgo_bus *bus;
	struct imgo_push *push;
	struct imgo_edge *edge;
	struct imgo_dispatch *dispatch;
	int port;
};

struct flow_options {
	struct imgo_store_options store;
	uint32_t sessions_max;
	enum imgo_sessions_policy policy;
	uint64_t compare_ms;
	enum imgo_v1_ack v1_ack;
	uint32_t room_batch_max;
	uint64_t room_batch_ms;
	const char *poison_path;
	enum imgo_auth_mode auth_mode;
};
#define FLOW_OPTIONS \
	{ \
		IMGO_STORE_OPTIONS_INIT, 16, IMGO_SESSIONS_REPLACE, 10000, IMGO_V1_ACK_TCP, 0, 0, NULL, IMGO_AUTH_TOKEN \
	}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void turn(struct flow *flow)
{
	struct pollfd pfd = {imgo_loop_fd(flow->loop), POLLIN, 0};
	int timeout = imgo_loop_timeout_ms(flow->loop);

	poll(&pfd, 1, timeout < 0 || timeout > 5 ? 5 : timeout);
	imgo_loop_process(flow->loop);
}

static void run_ms(struct flow *flow, uint64_t ms)
{
	uint64_t end = now_ms() + ms;

	while (now_ms() < end)
		turn(flow);
}

#define run_until(flow, condition) \
	do { \
		uint64_t end_ = now_ms() + 10000; \
		while (!(condition) && now_ms() < end_) \
			turn(flow); \
		assert_true(condition); \
	} while (0)

static void open_registry(struct flow *flow)
{
	struct imgo_router_options router = IMGO_ROUTER_OPTIONS_INIT;
	struct imgo_registry_remote_options remote = IMGO_REGISTRY_REMOTE_OPTIONS_INIT;
	struct imgo_error error = {0};
	char address[32];

	if (!over_rpc) {
		assert_int_equal(imgo_registry_new_memory(&flow->registry, flow->loop, &error), 0);
		return;
	}
	assert_int_equal(imgo_registry_new_memory(&flow->routed, flow->loop, &error), 0);
	router.listen = "127.0.0.1:0";
	assert_int_equal(imgo_router_new(&flow->router, flow->loop, flow->routed, &router, &error), 0);
	snprintf(address, sizeof address, "127.0.0.1:%d", imgo_router_port(flow->router));
	remote.routers = address;
	assert_int_equal(imgo_registry_new_remote(&flow->registry, flow->loop, &remote, &error), 0);
}

static void flow_start(struct flow *flow, const struct flow_options *options)
{
	struct imgo_loop_options loop = IMGO_LOOP_OPTIONS_INIT;
	struct imgo_push_options push = IMGO_PUSH_OPTIONS_INIT;
	struct imgo_edge_options edge = IMGO_EDGE_OPTIONS_INIT;
	struct imgo_dispatch_options dispatch = IMGO_DISPATCH_OPTIONS_INIT;
	struct imgo_error error = {0};
	char logic[32];

	memset(flow, 0, sizeof *flow);
	assert_int_equal(imgo_stats_new(&flow->stats), 0);
	loop.stats = flow->stats;
	assert_int_equal(imgo_loop_new(&flow->loop, &loop, &error), 0);
	open_registry(flow);
	assert_int_equal(imgo_store_new_memory(&flow->store, flow->loop, &options->store, &error), 0);
	assert_int_equal(imgo_bus_new_memory(&flow->bus, flow->loop, NULL, &error), 0);
	push.registry = flow->registry;
	push.store = flow->store;
	push.bus = flow->bus;
	push.sessions_max = options->sessions_max;
	push.sessions_policy = options->policy;
	push.auth_mode = options->auth_mode;
	push.rpc_listen = over_rpc ? "127.0.0.1:0" : NULL;
	assert_int_equal(imgo_push_new(&flow->push, flow->loop, &push, &error), 0);
	edge.tcp = "127.0.0.1:0";
	snprintf(logic, sizeof logic, "127.0.0.1:%d", imgo_push_port(flow->push));
	edge.push = over_rpc ? NULL : flow->push;
	edge.logics = over_rpc ? logic : NULL;
	edge.rpc = over_rpc ? "127.0.0.1:0" : NULL;
	edge.compare_ms = options->compare_ms;
	edge.v1_ack = options->v1_ack;
	assert_int_equal(imgo_edge_new(&flow->edge, flow->loop, &edge, &error), 0);
	dispatch.registry = flow->registry;
	dispatch.store = flow->store;
	dispatch.bus = flow->bus;
	dispatch.edge = over_rpc ? NULL : flow->edge;
	dispatch.ttl_ms = options->store.ttl_ms;
	dispatch.room_batch_max = options->room_batch_max;
	dispatch.room_batch_ms = options->room_batch_ms;
	dispatch.poison_path = options->poison_path;
	assert_int_equal(imgo_dispatch_new(&flow->dispatch, flow->loop, &dispatch, &error), 0);
	imgo_edge_ports(flow->edge, &flow->port, NULL, NULL);
	run_until(flow, imgo_edge_ready(flow->edge));
	run_ms(flow, over_rpc ? 1100 : 50); /* markers are made, the carriers know the comet */
}

static void flow_end(struct flow *flow)
{
	imgo_dispatch_free(flow->dispatch);
	imgo_edge_free(flow->edge);
	imgo_push_free(flow->push);
	imgo_bus_free(flow->bus);
	imgo_store_free(flow->store);
	imgo_registry_free(flow->registry);
	imgo_router_free(flow->router);
	imgo_registry_free(flow->routed);
	imgo_loop_free(flow->loop);
	imgo_stats_free(flow->stats);
}

/* ---- calls ---- */

struct outcome {
	bool done;
	int err;
};

static void on_done(int err, void *user)
{
	struct outcome *outcome = user;

	outcome->done = true;
	outcome->err = err;
}

static void make_token(struct flow *flow, const char *token, const char *who, const char *device, const char *room)
{
	struct outcome outcome = {0};
	struct imgo_str rooms[1] = {imgo_str(room ? room : "")};

	assert_int_equal(imgo_push_token(flow->push, imgo_str(token), imgo_str(who), imgo_str(device),
				 imgo_loop_wall_ms(flow->loop) + 3600000, rooms, room ? 1 : 0, on_done, &outcome),
		0);
	run_until(flow, outcome.done);
	assert_int_equal(outcome.err, 0);
}

static int push_request(struct flow *flow, const struct imgo_push_request *request)
{
	struct outcome outcome = {0};
	int err = imgo_push_send(flow->push, request, on_done, &outcome);

	if (err < 0)
		return err;
	run_until(flow, outcome.done);
	return outcome.err;
}

static void push_user(struct flow *flow, const char *who, const char *body, const char *key)
{
	struct imgo_push_request request = IMGO_PUSH_REQUEST_INIT;
	struct imgo_str users[1] = {imgo_str(who)};

	request.users = users;
	request.nusers = 1;
	request.body = imgo_str(body);
	request.key = imgo_str(key);
	assert_int_equal(push_request(flow, &request), 0);
}

static void push_cast(struct flow *flow, const char *room, const char *body)
{
	struct imgo_push_request request = IMGO_PUSH_REQUEST_INIT;

	request.target = room ? IMGO_PUSH_ROOM : IMGO_PUSH_ALL;
	request.room = imgo_str(room);
	request.body = imgo_str(body);
	assert_int_equal(push_request(flow, &request), 0);
}

/* ---- clients ---- */

struct client {
	int fd;
	struct imgo__buf in;
	bool eof, reset;
};

static void client_connect(struct flow *flow, struct client *client)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons((uint16_t)flow->port)};

	memset(client, 0, sizeof *client);
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	client->fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(client->fd, (struct sockaddr *)&sin, sizeof sin), 0);
	fcntl(client->fd, F_SETFL, O_NONBLOCK);
}

static void client_send(struct client *client, int32_t op, const char *body)
{
	struct imgo__packet packet = {.ver = 1, .op = op, .seq = 7, .body = imgo_str(body)};
	uint8_t header[IMGO__PACKET_HEADER2];
	size_t n = imgo__packet_header(&packet, header);

	assert_int_equal(write(client->fd, header, n), n);
	if (packet.body.len)
		assert_int_equal(write(client->fd, packet.body.p, packet.body.len), packet.body.len);
}

static void client_pump(struct client *client)
{
	char chunk[65536];
	ssize_t n;

	while (!client->eof && (n = read(client->fd, chunk, sizeof chunk)) >= 0) {
		client->eof = n == 0;
		imgo__buf_append(&client->in, chunk, (size_t)n);
	}
	if (!client->eof && errno == ECONNRESET)
		client->eof = client->reset = true;
}

/* The next packet as "op:body", waiting for it; the static buffer is good until the next call. */
static const char *client_next(struct flow *flow, struct client *client)
{
	static char text[70000];
	struct imgo__packet packet;
	uint64_t end = now_ms() + 10000;
	size_t need;
	ssize_t n = 0;

	while (now_ms() < end) {
		client_pump(client);
		n = imgo__packet_decode(client->in.data, client->in.len, 1 << 20, &packet, &need);
		if (n != 0 || client->eof)
			break;
		turn(flow);
	}
	if (n <= 0)
		return client->eof ? "eof" : "nothing";
	int head = snprintf(text, sizeof text, "%d:", packet.op);
	assert_true((size_t)head + packet.body.len < sizeof text);
	memcpy(text + head, packet.body.p, packet.body.len); /* there may be NULs in it */
	text[(size_t)head + packet.body.len] = 0;
	imgo__buf_consume(&client->in, (size_t)n);
	return text;
}

static void client_login(struct flow *flow, struct client *client, const char *token)
{
	client_connect(flow, client);
	client_send(client, IMGO__OP_AUTH, token);
	assert_string_equal(client_next(flow, client), "8:");
}

static void client_close(struct flow *flow, struct client *client)
{
	close(client->fd);
	imgo__buf_free(&client->in);
	run_ms(flow, 100); /* its acknowledgement is written, it is unregistered */
}

static void assert_silent(struct flow *flow, struct client *client)
{
	run_ms(flow, 150);
	client_pump(client);
	assert_int_equal(client->in.len, 0);
}

static uint32_t waiting(struct flow *flow, const char *who, const char *device)
{
	struct imgo_store_peek peek = {.user = imgo_str(who), .device = imgo_str(device)};
	struct imgo_store_peek_many many = {.epoch = imgo_bus_epoch(flow->bus),
		.partition = imgo_partition(imgo_str(who), 64),
		.items = &peek,
		.nitems = 1};
	struct outcome outcome = {0};

	assert_int_equal(imgo_store_peek_many(flow->store, &many, on_done, &outcome), 0);
	run_until(flow, outcome.done);
	assert_int_equal(outcome.err, 0);
	return peek.nmessages;
}

/* ---- tests ---- */

static void online(void **state)
{
	struct flow_options options = FLOW_OPTIONS;
	struct flow flow;
	struct client client;

	(void)state;
	flow_start(&flow, &options);
	make_token(&flow, "t1", "1", "", NULL);
	client_login(&flow, &client, "t1");
	for (int i = 0; i < 100; i++) {
		char body[32], want[40];
		snprintf(body, sizeof body, "{\"n\":%d}", i);
		snprintf(want, sizeof want, "5:%s", body);
		push_user(&flow, "1", body, "");
		assert_string_equal(client_next(&flow, &client), want);
	}
	assert_int_equal(imgo_stats_get(flow.stats, "imgo_edge_repaired_total"), 0);
	client_close(&flow, &client);
	assert_int_equal(waiting(&flow, "1", ""), 0);
	client_login(&flow, &client, "t1"); /* an orderly end acknowledged all: nothing comes again */
	assert_silent(&flow, &client);
	client_close(&flow, &client);
	flow_end(&flow);
}

static void offline(void **state)
{
	struct flow_options options = FLOW_OPTIONS;
	struct flow flow;
	struct client client;

	(void)state;
	flow_start(&flow, &options);
	make_token(&flow, "t1", "1", "", NULL);
	push_user(&flow, "1", "a", "");
	push_user(&flow, "1", "b", "");
	push_user(&flow, "1", "", "");
	push_user(&flow, "2", "other", "");
	run_ms(&flow, 20);
	assert_int_equal(waiting(&flow, "1", ""), 3);
	client_login(&flow, &client, "t1");
	assert_string_equal(client_next(&flow, &client), "5:a");
	assert_string_equal(client_next(&flow, &client), "5:b");
	assert_string_equal(client_next(&flow, &client), "5:");
	push_user(&flow, "1", "c", "");
	assert_string_equal(client_next(&flow, &client), "5:c");
	client_close(&flow, &client);
	assert_int_equal(waiting(&flow, "1", ""), 0);
	assert_int_equal(waiting(&flow, "2", ""), 1);
	flow_end(&flow);
}

/* A client that resets acknowledges nothing after its last evidence: all comes again, in order. */
static void reset_acknowledges_nothing(void **state)
{
	struct flow_options options = FLOW_OPTIONS;
	struct linger linger = {1, 0};
	struct flow flow;
	struct client client;

	(void)state;
	flow_start(&flow, &options);
	make_token(&flow, "t1", "1", "", NULL);
	push_user(&flow, "1", "a", "");
	client_login(&flow, &client, "t1");
	assert_string_equal(client_next(&flow, &client), "5:a");
	setsockopt(client.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
	client_close(&flow, &client);
	assert_int_equal(waiting(&flow, "1", ""), 1);
	client_login(&flow, &client, "t1");
	assert_string_equal(client_next(&flow, &client), "5:a");
	run_ms(&flow, 1600); /* a second passes without a reset: it counts as received */
	assert_int_equal(waiting(&flow, "1", ""), 0);
	client_close(&flow, &client);
	flow_end(&flow);
}

static void retried_push_is_one(void **state)
{
	struct flow_options options = FLOW_OPTIONS;
	struct flow flow;
	struct client client;

	(void)state;
	flow_start(&flow, &options);
	make_token(&flow, "t1", "1", "", NULL);
	client_login(&flow, &client, "t1");
	push_user(&flow, "1", "once", "key-1");
	push_user(&flow, "1", "once", "key-1");
	push_user(&flow, "1", "next", "key-2");
	assert_string_equal(client_next(&flow, &client), "5:once");
	assert_string_equal(client_next(&flow, &client), "5:next");
	assert_silent(&flow, &client);
	assert_int_equal(imgo_stats_get(flow.stats, "imgo_job_duplicate_total"), 1);
	client_close(&flow, &client);
	flow_end(&flow);
}

static void several_sessions(void **state)
{
	struct flow_options options = FLOW_OPTIONS;
	struct flow flow;
	struct client a, b, c;

	(void)state;
	options.sessions_max = 2;
	flow_start(&flow, &options);
	make_token(&flow, "t1", "1", "", NULL);
	client_login(&flow, &a, "t1");
	client_login(&flow, &b, "t1");
	push_user(&flow, "1", "x", "");
	assert_string_equal(client_next(&flow, &a), "5:x");
	assert_string_equal(client_next(&flow, &b), "5:x");
	client_login(&flow, &c, "t1"); /* the oldest goes */
	assert_string_equal(client_next(&flow, &a), "eof");
	push_user(&flow, "1", "y", "");
	assert_string_equal(client_next(&flow, &b), "5:y");
	/* c starts at the shared cursor: it may get x again when that was not acknowledged yet */
	const char *first = client_next(&flow, &c);
	if (strcmp(first, "5:x") == 0)
		first = client_next(&flow, &c);
	assert_string_equal(first, "5:y");
	client_close(&flow, &a);
	client_close(&flow, &b);
	client_close(&flow, &c);
	flow_end(&flow);
}

static void refused_session(void **state)
{
	struct flow_options options = FLOW_OPTIONS;
	struct flow flow;
	struct client a, b;

	(void)state;
	options.sessions_max = 1;
	options.policy = IMGO_SESSIONS_REFUSE;
	flow_start(&flow, &options);
	make_token(&flow, "t1", "1", "", NULL);
	client_login(&flow, &a, "t1");
	client_connect(&flow, &b);
	client_send(&b, IMGO__OP_AUTH, "t1");
	assert_string_equal(client_next(&flow, &b), "eof");
	push_user(&flow, "1", "x", "");
	assert_string_equal(client_next(&flow, &a), "5:x");
	client_close(&flow, &a);
	client_close(&flow, &b);
	flow_end(&flow);
}

static void bad_token(void **state)
{
	struct flow_options options = FLOW_OPTIONS;
	struct flow flow;
	struct client client;

	(void)state;
	flow_start(&flow, &options);
	make_token(&flow, "old", "1", "", NULL);
	make_token(&flow, "new", "1", "", NULL); /* revokes the older one (B22) */
	client_connect(&flow, &client);
	client_send(&client, IMGO__OP_AUTH, "old");
	assert_string_equal(client_next(&flow, &client), "eof");
	client_close(&flow, &client);
	client_login(&flow, &client, "new");
	client_close(&flow, &client);
	flow_end(&flow);
}

static void rooms(void **state)
{
	struct flow_options options = FLOW_OPTIONS;
	struct flow flow;
	struct client a, b;

	(void)state;
	flow_start(&flow, &options);
	make_token(&flow, "t1", "1", "", "1000");
	make_token(&flow, "t2", "2", "", NULL);
	client_login(&flow, &a, "t1");
	client_login(&flow, &b, "t2");
	push_cast(&flow, "1000", "r1");
	assert_string_equal(client_next(&flow, &a), "5:r1");
	client_send(&b, IMGO__OP_ROOM, "1000");
	assert_int_equal(strncmp(client_next(&flow, &b), "13:", 3), 0);
	push_cast(&flow, "1000", "r2");
	assert_string_equal(client_next(&flow, &a), "5:r2");
	assert_string_equal(client_next(&flow, &b), "5:r2");
	push_cast(&flow, NULL, "all");
	assert_string_equal(client_next(&flow, &a), "5:all");
	assert_string_equal(client_next(&flow, &b), "5:all");
	client_send(&a, IMGO__OP_ROOM, "");
	assert_int_equal(strncmp(client_next(&flow, &a), "13:", 3), 0);
	push_cast(&flow, "1000", "r3");
	assert_string_equal(client_next(&flow, &b), "5:r3");
	assert_silent(&flow, &a);
	client_close(&flow, &a);
	client_close(&flow, &b);
	flow_end(&flow);
}

/* The store forgets everything with messages waiting and a session live: the job rebuilds, nothing is missing. */
static void amnesia(void **state)
{
	struct flow_options options = FLOW_OPTIONS;
	struct outcome outcome = {0};
	struct flow flow;
	struct client client;
	uint32_t partition = imgo_partition(imgo_str("1"), 64);
	char body[32];

	(void)state;
	flow_start(&flow, &options);
	for (int i = 0; i < 50; i++) {
		snprintf(body, sizeof body, "m%d", i);
		push_user(&flow, "1", body, "");
	}
	run_ms(&flow, 50);
	assert_int_equal(waiting(&flow, "1", ""), 50);
	assert_int_equal(imgo_store_forget(flow.store, imgo_bus_epoch(flow.bus), partition, on_done, &outcome), 0);
	run_until(&flow, outcome.done);
	for (int i = 50; i < 60; i++) {
		snprintf(body, sizeof body, "m%d", i);
		push_user(&flow, "1", body, "");
	}
	run_until(&flow, imgo_stats_get(flow.stats, "imgo_job_rebuild_total") > 64); /* 64 at the start */
	run_ms(&flow, 50);
	make_token(&flow, "t1", "1", "", NULL);
	client_login(&flow, &client, "t1");
	for (int i = 0; i < 60; i++) {
		char want[40];
		snprintf(want, sizeof want, "5:m%d", i);
		assert_string_equal(client_next(&flow, &client), want);
	}
	client_close(&flow, &client);
	assert_int_equal(waiting(&flow, "1", ""), 0);
	flow_end(&flow);
}

static void limit_drops_the_oldest(void **state)
{
	struct flow_options options = FLOW_OPTIONS;
	struct flow flow;
	struct client client;
	char body[32];

	(void)state;
	options.store.messages_max = 5;
	flow_start(&flow, &options);
	make_token(&flow, "t1", "1", "", NULL);
	for (int i = 0; i < 8; i++) {
		snprintf(body, sizeof body, "m%d", i);
		push_user(&flow, "1", body, "");
	}
	run_ms(&flow, 50);
	assert_int_equal(imgo_stats_get(flow.stats, "imgo_job_dropped_total"), 3);
	client_login(&flow, &client, "t1");
	for (int i = 3; i < 8; i++) {
		char want[40];
		snprintf(want, sizeof want, "5:m%d", i);
		assert_string_equal(client_next(&flow, &client), want);
	}
	client_close(&flow, &client);
	flow_end(&flow);
}

static void many_users_and_direct(void **state)
{
	struct flow_options options = FLOW_OPTIONS;
	struct imgo_push_request request = IMGO_PUSH_REQUEST_INIT;
	struct imgo_str users[200];
	char names[200][8];
	struct flow flow;
	struct client client;

	(void)state;
	flow_start(&flow, &options);
	for (int i = 0; i < 200; i++) {
		snprintf(names[i], sizeof names[i], "%d", i / 2 + 1); /* every user twice */
		users[i] = imgo_str(names[i]);
	}
	make_token(&flow, "t1", "7", "", NULL);
	client_login(&flow, &client, "t1");
	request.users = users;
	request.nusers = 200;
	request.body = imgo_str("m");
	assert_int_equal(push_request(&flow, &request), 0);
	assert_string_equal(client_next(&flow, &client), "5:m");
	request.qos0 = true;
	request.body = imgo_str("d");
	assert_int_equal(push_request(&flow, &request), 0);
	assert_string_equal(client_next(&flow, &client), "5:d");
	assert_silent(&flow, &client);
	assert_int_equal(waiting(&flow, "8", ""), 1);
	client_close(&flow, &client);
	flow_end(&flow);
}

static void bad_requests(void **state)
{
	struct flow_options options = FLOW_OPTIONS;
	struct imgo_push_request request = IMGO_PUSH_REQUEST_INIT;
	struct imgo_str user = imgo_str("");
	struct flow flow;
	static char big[300 * 1024];

	(void)state;
	flow_start(&flow, &options);
	assert_int_equal(push_request(&flow, &request), IMGO_EINVAL);
	request.users = &user;
	request.nusers = 1;
	assert_int_equal(push_request(&flow, &request), IMGO_EINVAL);
	user = imgo_str("1");
	request.body = imgo_strn(big, sizeof big);
	assert_int_equal(push_request(&flow, &request), IMGO_ELIMIT);
	request.target = IMGO_PUSH_ROOM;
	request.body = imgo_str("x");
	assert_int_equal(push_request(&flow, &request), IMGO_EINVAL);
	flow_end(&flow);
}

/* What cannot be decoded, or has no business in its partition, is counted, kept aside and skipped; the next record goes through. */
static void poison_is_skipped(void **state)
{
	struct flow_options options = FLOW_OPTIONS;
	char path[] = "/tmp/imgo-poison-XXXXXX", line[256] = "";
	struct imgo_envelope_target target = {imgo_str("1"), NULL, 0};
	struct imgo_envelope envelope = {.kind = IMGO_ENVELOPE_USERS, .op = 5, .targets = &target, .ntargets = 1};
	uint32_t partition = imgo_partition(imgo_str("1"), 64);
	struct imgo_bus_record records[3] = {{.partition = partition, .value = imgo_str("\x93\x01garbage")},
		{.partition = partition, .value = imgo_str("")}, {.partition = (partition + 1) % 64}};
	struct outcome outcome = {0};
	struct flow flow;
	void *encoded;
	size_t len;
	FILE *file;

	(void)state;
	close(mkstemp(path));
	options.poison_path = path;
	flow_start(&flow, &options);
	assert_int_equal(imgo_envelope_encode(&envelope, &encoded, &len), 0);
	records[2].value = imgo_strn(encoded, len);
	assert_int_equal(imgo_bus_produce_many(flow.bus, IMGO_TOPIC_USERS, records, 3, on_done, &outcome), 0);
	run_until(&flow, outcome.done);
	free(encoded);
	push_user(&flow, "1", "after", "");
	run_until(&flow, waiting(&flow, "1", "") == 1);
	assert_int_equal(imgo_stats_get(flow.stats, "imgo_job_poison_total"), 2);
	assert_int_equal(imgo_stats_get(flow.stats, "imgo_job_misplaced_total"), 1);
	file = fopen(path, "r");
	assert_non_null(file);
	assert_non_null(fgets(line, sizeof line, file));
	assert_non_null(strstr(line, "topic=users"));
	assert_non_null(strstr(line, "93016761726261676")); /* the bytes, in hex */
	fclose(file);
	flow_end(&flow);
	unlink(path);
}

/* Goim's way: a lone room message waits for its time, a full batch does not. */
static void room_batches(void **state)
{
	struct flow_options options = FLOW_OPTIONS;
	struct flow flow;
	struct client client;

	(void)state;
	options.room_batch_max = 3;
	options.room_batch_ms = 400;
	flow_start(&flow, &options);
	make_token(&flow, "t1", "1", "", "r");
	client_login(&flow, &client, "t1");
	push_cast(&flow, "r", "1");
	run_ms(&flow, 150);
	client_pump(&client);
	assert_int_equal(client.in.len, 0);
	assert_string_equal(client_next(&flow, &client), "5:1");
	push_cast(&flow, "r", "2");
	push_cast(&flow, "r", "3");
	push_cast(&flow, "r", "4");
	assert_string_equal(client_next(&flow, &client), "5:2");
	assert_string_equal(client_next(&flow, &client), "5:3");
	assert_string_equal(client_next(&flow, &client), "5:4");
	client_close(&flow, &client);
	flow_end(&flow);
}

/* Everything is freed while calls are under way: they end with IMGO_ECANCELED, once, and nothing leaks. */
static void free_under_way(void **state)
{
	struct flow_options options = FLOW_OPTIONS;
	struct imgo_push_request request = IMGO_PUSH_REQUEST_INIT;
	struct imgo_str user = imgo_str("1");
	struct outcome outcome = {0};
	struct flow flow;
	struct client client;

	(void)state;
	flow_start(&flow, &options);
	make_token(&flow, "t1", "1", "", NULL);
	client_connect(&flow, &client);
	client_send(&client, IMGO__OP_AUTH, "t1");
	request.users = &user;
	request.nusers = 1;
	assert_int_equal(imgo_push_send(flow.push, &request, on_done, &outcome), 0);
	close(client.fd);
	assert_false(outcome.done);
	flow_end(&flow); /* the owner's order: what borrows goes first, with calls under way in what it borrows */
	assert_true(outcome.done);
	assert_int_equal(outcome.err, IMGO_ECANCELED);
}

/* ---- goim's clients ---- */

/* "8:", or "eof" when it is refused. */
static const char *goim_login(struct flow *flow, struct client *client, const char *body)
{
	client_connect(flow, client);
	client_send(client, IMGO__OP_AUTH, body);
	return client_next(flow, client);
}

static void push_op(struct flow *flow, const char *who, int32_t op, const char *body)
{
	struct imgo_push_request request = IMGO_PUSH_REQUEST_INIT;
	struct imgo_str users[1] = {imgo_str(who)};

	request.users = users;
	request.nusers = 1;
	request.op = op;
	request.body = imgo_str(body);
	assert_int_equal(push_request(flow, &request), 0);
}

static void goim_without_a_token(void **state)
{
	struct flow_options options = FLOW_OPTIONS;
	struct flow flow;
	struct client client, guests[2];

	(void)state;
	flow_start(&flow, &options);
	make_token(&flow, "t1", "1", "", NULL);
	make_token(&flow, "{\"mid\":3}", "three", "", NULL); /* an object is a token, as it always was */
	assert_string_equal(goim_login(&flow, &client, "{\"mid\":1}"), "eof");
	client_close(&flow, &client);
	assert_string_equal(goim_login(&flow, &client, "{\"mid\":2,\"token\":\"t1\"}"), "8:");
	push_op(&flow, "1", 1000, "mine");
	assert_string_equal(client_next(&flow, &client), "1000:mine");
	client_close(&flow, &client);
	assert_string_equal(goim_login(&flow, &client, "{\"mid\":3}"), "8:");
	push_op(&flow, "three", 1000, "mine");
	assert_string_equal(client_next(&flow, &client), "1000:mine");
	client_close(&flow, &client);
	flow_end(&flow);

	options.auth_mode = IMGO_AUTH_GOIM_INSECURE;
	flow_start(&flow, &options);
	make_token(&flow, "t1", "1", "", NULL);
	assert_string_equal(goim_login(&flow, &client, "nobody"), "eof"); /* a token is a token still */
	client_close(&flow, &client);
	assert_string_equal(goim_login(&flow, &client, "{\"mid\":9223372036854775807,\"room_id\":\"live://1\"}"), "8:");
	push_op(&flow, "9223372036854775807", 1000, "mine");
	assert_string_equal(client_next(&flow, &client), "1000:mine");
	push_cast(&flow, "live://1", "room");
	assert_string_equal(client_next(&flow, &client), "5:room");
	for (int i = 0; i < 2; i++)
		assert_string_equal(goim_login(&flow, &guests[i], "{\"mid\":0,\"room_id\":\"live://1\"}"), "8:");
	push_cast(&flow, "live://1", "again");
	for (int i = 0; i < 2; i++) {
		assert_string_equal(client_next(&flow, &guests[i]), "5:again");
		client_close(&flow, &guests[i]);
	}
	client_close(&flow, &client);
	flow_end(&flow);
}

/* What is not wanted counts as delivered: it is neither kept nor sent later. */
static void filter_moves_the_cursor(void **state)
{
	struct flow_options options = FLOW_OPTIONS;
	struct flow flow;
	struct client client;

	(void)state;
	flow_start(&flow, &options);
	make_token(&flow, "t1", "1", "", NULL);
	push_op(&flow, "1", 5, "before");
	assert_string_equal(goim_login(&flow, &client, "{\"token\":\"t1\",\"accepts\":[1000]}"), "8:");
	push_op(&flow, "1", 5, "no");
	push_op(&flow, "1", 1000, "yes");
	push_op(&flow, "1", 5, "no");
	assert_string_equal(client_next(&flow, &client), "1000:yes");
	assert_silent(&flow, &client);
	run_ms(&flow, 2600); /* a second for the first message, one for the rest */
	assert_int_equal(waiting(&flow, "1", ""), 0);
	push_op(&flow, "1", 5, "no");
	assert_silent(&flow, &client);
	client_close(&flow, &client);
	assert_int_equal(waiting(&flow, "1", ""), 0);
	client_login(&flow, &client, "t1");
	assert_silent(&flow, &client);
	client_close(&flow, &client);
	flow_end(&flow);
}

static void goim_keys(void **state)
{
	struct flow_options options = FLOW_OPTIONS;
	struct flow flow;
	struct client first, second, other;
	struct imgo_str key = imgo_str("the key");

	(void)state;
	flow_start(&flow, &options);
	make_token(&flow, "t1", "1", "", NULL);
	make_token(&flow, "t2", "2", "", NULL);
	assert_null(imgo__edge_by_key(flow.edge, key));
	assert_string_equal(goim_login(&flow, &first, "{\"mid\":0,\"token\":\"t1\",\"key\":\"the key\"}"), "8:");
	struct imgo__edge_session *session = imgo__edge_by_key(flow.edge, key);
	assert_true(session && imgo_str_eq(imgo__edge_who(session), imgo_str("1")));
	assert_null(imgo__edge_by_key(flow.edge, imgo_str("")));
	/* Another user's does not get it; a newer one of the same user takes it over. */
	assert_string_equal(goim_login(&flow, &other, "{\"mid\":0,\"token\":\"t2\",\"key\":\"the key\"}"), "8:");
	assert_ptr_equal(imgo__edge_by_key(flow.edge, key), session);
	assert_int_equal(imgo_stats_get(flow.stats, "imgo_edge_key_taken_total"), 1);
	assert_string_equal(goim_login(&flow, &second, "{\"mid\":0,\"token\":\"t1\",\"key\":\"the key\"}"), "8:");
	assert_string_equal(client_next(&flow, &first), "eof");
	client_close(&flow, &first);
	client_close(&flow, &other);
	session = imgo__edge_by_key(flow.edge, key);
	assert_true(session && imgo_str_eq(imgo__edge_who(session), imgo_str("1")));
	client_close(&flow, &second);
	assert_null(imgo__edge_by_key(flow.edge, key));
	flow_end(&flow);
}

static uint32_t heartbeat(struct flow *flow, struct client *client)
{
	client_send(client, IMGO__OP_HEARTBEAT, "");
	const char *text = client_next(flow, client);
	assert_memory_equal(text, "3:", 2);
	return imgo__get32((const uint8_t *)text + 2);
}

/* Sessions of another comet, as a router would know them. */
static void put_elsewhere(struct flow *flow, const char *room, int n)
{
	struct imgo_str rooms[1] = {imgo_str(room)};

	for (int i = 0; i < n; i++) {
		struct imgo_registry_put put = {
			.session = {.id = {77, {1, 1}, (uint64_t)i + 1}, .rooms = rooms, .nrooms = 1}};
		struct outcome outcome = {0};
		char who[32];
		snprintf(who, sizeof who, "elsewhere%d", i);
		put.session.user = imgo_str(who);
		assert_int_equal(imgo_registry_put_many(flow->registry, &put, 1, on_done, &outcome), 0);
		run_until(flow, outcome.done);
	}
}

static void online_of_all_comets(void **state)
{
	struct flow_options options = FLOW_OPTIONS;
	struct flow flow;
	struct client client, other;
	uint64_t end;

	(void)state;
	options.auth_mode = IMGO_AUTH_GOIM_INSECURE;
	flow_start(&flow, &options);
	put_elsewhere(&flow, "live://1", 5);
	assert_string_equal(goim_login(&flow, &client, "{\"mid\":1}"), "8:");
	assert_int_equal(heartbeat(&flow, &client), 0); /* in no room */
	client_send(&client, IMGO__OP_ROOM, "live://1");
	assert_string_equal(client_next(&flow, &client), "13:live://1");
	assert_int_equal(heartbeat(&flow, &client), 1); /* those here, until more is known */
	end = now_ms() + 5000;
	while (heartbeat(&flow, &client) != 6 && now_ms() < end)
		run_ms(&flow, 50);
	assert_int_equal(heartbeat(&flow, &client), 6);
	assert_string_equal(goim_login(&flow, &other, "{\"mid\":2,\"room_id\":\"live://1\"}"), "8:");
	end = now_ms() + 8000;
	while (heartbeat(&flow, &client) != 7 && now_ms() < end)
		run_ms(&flow, 100);
	assert_int_equal(heartbeat(&flow, &other), 7);
	assert_int_equal(imgo_stats_get(flow.stats, "imgo_edge_totals_failed_total"), 0);
	client_close(&flow, &other);
	client_close(&flow, &client);
	flow_end(&flow);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(online),
		cmocka_unit_test(offline),
		cmocka_unit_test(reset_acknowledges_nothing),
		cmocka_unit_test(retried_push_is_one),
		cmocka_unit_test(several_sessions),
		cmocka_unit_test(refused_session),
		cmocka_unit_test(bad_token),
		cmocka_unit_test(rooms),
		cmocka_unit_test(amnesia),
		cmocka_unit_test(limit_drops_the_oldest),
		cmocka_unit_test(many_users_and_direct),
		cmocka_unit_test(bad_requests),
		cmocka_unit_test(poison_is_skipped),
		cmocka_unit_test(room_batches),
		cmocka_unit_test(goim_without_a_token),
		cmocka_unit_test(filter_moves_the_cursor),
		cmocka_unit_test(goim_keys),
		cmocka_unit_test(online_of_all_comets),
		cmocka_unit_test(free_under_way),
	};

	int failed = cmocka_run_group_tests_name("service_flow direct", tests, NULL, NULL);

	over_rpc = true;
	return failed + cmocka_run_group_tests_name("service_flow over RPC", tests, NULL, NULL);
}
