/* SPDX-License-Identifier: MIT */
/* A hub on a loop, and clients on real sockets, all in one thread: the loop is turned until a condition
 * holds. */
#ifndef HUB_TEST_H
#define HUB_TEST_H

#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <imgo/hub.h>
#include <imgo/stats.h>

#include "base/buf.h"
#include "codec/packet.h"
#include "codec/ws.h"

enum rig_auth { RIG_ACCEPT, RIG_LATER, RIG_REFUSE };

struct rig {
	struct imgo_loop *loop;
	struct imgo_stats *stats;
	struct imgo_hub *hub;
	int tcp, ws; /* ports */
	enum rig_auth auth;
	/* what the callbacks saw */
	struct imgo_conn conn; /* of the last on_auth */
	char token[2048], device[128], room[256], peer[64];
	uint16_t ver;
	size_t nrooms;
	bool has_resume;
	struct imgo_id resume;
	bool has_token, has_accepts;
	uint64_t mid;
	char key[128];
	int32_t accepts[IMGO_ACCEPTS_MAX];
	size_t naccepts;
	uint32_t online; /* 0: as many as are here */
	int auths, closes, packets, rooms, drains, pongs;
	char pong[128];
	void (*hook_pong)(struct rig *rig, struct imgo_conn conn);
	struct imgo_conn closed_conn;
	struct imgo_hub_closed closed;
	struct imgo_hub_packet packet;
	/* extra behaviour of a test */
	void (*hook_auth)(struct rig *rig);
	bool (*hook_packet)(struct rig *rig, struct imgo_conn conn, const struct imgo_hub_packet *packet);
	void (*hook_close)(struct rig *rig, struct imgo_conn conn, void *data);
	void (*hook_drain)(struct rig *rig, struct imgo_conn conn);
	int (*hook_room)(struct rig *rig, struct imgo_str room);
	void (*hook_rooms)(struct rig *rig, struct imgo_conn conn);
	void *data; /* of the next grant */
	const char *grant_room, *grant_reply;
	uint16_t grant_ver; /* 0: as asked */
	bool freed;
};

__attribute__((unused)) static void rig_grant(struct rig *rig, struct imgo_conn conn)
{
	struct imgo_hub_grant grant = IMGO_HUB_GRANT_INIT;
	struct imgo_str room = imgo_str(rig->grant_room);

	grant.user = imgo_str(rig->token[0] ? rig->token : "nobody");
	if (grant.user.len > IMGO_USER_MAX)
		grant.user.len = IMGO_USER_MAX;
	grant.data = rig->data;
	grant.ver = rig->grant_ver ? rig->grant_ver : rig->ver;
	grant.reply = imgo_str(rig->grant_reply);
	if (rig->has_accepts) {
		grant.accepts = rig->accepts;
		grant.naccepts = rig->naccepts;
	}
	if (rig->grant_room) {
		grant.rooms = &room;
		grant.nrooms = 1;
	}
	assert_int_equal(imgo_hub_auth_finish(rig->hub, conn, &grant), 0);
}

static void rig_on_auth(struct imgo_hub *hub, struct imgo_conn conn, const struct imgo_hub_auth *auth, void *user)
{
	struct rig *rig = user;

	rig->auths++;
	rig->conn = conn;
	snprintf(rig->token, sizeof rig->token, "%.*s", (int)auth->token.len, auth->token.p);
	snprintf(rig->device, sizeof rig->device, "%.*s", (int)auth->device.len, auth->device.p);
	snprintf(rig->peer, sizeof rig->peer, "%.*s", (int)auth->peer.len, auth->peer.p);
	rig->nrooms = auth->nrooms;
	if (auth->nrooms)
		snprintf(rig->room, sizeof rig->room, "%.*s", (int)auth->rooms[0].len, auth->rooms[0].p);
	rig->ver = auth->ver;
	rig->has_resume = auth->has_resume;
	rig->resume = auth->resume;
	rig->has_token = auth->has_token;
	rig->mid = auth->mid;
	snprintf(rig->key, sizeof rig->key, "%.*s", (int)auth->key.len, auth->key.p);
	rig->has_accepts = auth->accepts != NULL;
	rig->naccepts = auth->naccepts;
	if (auth->naccepts)
		memcpy(rig->accepts, auth->accepts, auth->naccepts * sizeof auth->accepts[0]);
	if (rig->hook_auth)
		rig->hook_auth(rig);
	else if (rig->auth == RIG_ACCEPT)
		rig_grant(rig, conn);
	else if (rig->auth == RIG_REFUSE)
		assert_int_equal(imgo_hub_auth_refuse(hub, conn, IMGO_CLOSE_DENIED), 0);
}

static bool rig_on_packet(struct imgo_hub *hub, struct imgo_conn conn, const struct imgo_hub_packet *packet, void *user)
{
	struct rig *rig = user;

	(void)hub;
	rig->packets++;
	rig->packet = *packet;
	return rig->hook_packet ? rig->hook_packet(rig, conn, packet) : false;
}

static int rig_on_room(struct imgo_hub *hub, struct imgo_conn conn, struct imgo_str room, void *user)
{
	struct rig *rig = user;

	(void)hub, (void)conn;
	return rig->hook_room ? rig->hook_room(rig, room) : 0;
}

static void rig_on_rooms(struct imgo_hub *hub, struct imgo_conn conn, void *user)
{
	struct rig *rig = user;

	(void)hub;
	rig->rooms++;
	if (rig->hook_rooms)
		rig->hook_rooms(rig, conn);
}

static void rig_on_close(
	struct imgo_hub *hub, struct imgo_conn conn, void *data, const struct imgo_hub_closed *closed, void *user)
{
	struct rig *rig = user;

	rig->closes++;
	rig->closed = *closed;
	rig->closed_conn = conn;
	assert_null(imgo_hub_data(hub, conn));
	assert_int_equal(imgo_hub_position(hub, conn, NULL, NULL), IMGO_ESTALE);
	if (rig->hook_close)
		rig->hook_close(rig, conn, data);
}

static void rig_on_drain(struct imgo_hub *hub, struct imgo_conn conn, void *user)
{
	struct rig *rig = user;

	(void)hub;
	rig->drains++;
	if (rig->hook_drain)
		rig->hook_drain(rig, conn);
}

static uint32_t rig_on_online(struct imgo_hub *hub, struct imgo_str room, uint32_t here, void *user)
{
	struct rig *rig = user;

	(void)hub, (void)room;
	return rig->online ? rig->online : here;
}

static void rig_on_pong(struct imgo_hub *hub, struct imgo_conn conn, struct imgo_str payload, void *user)
{
	struct rig *rig = user;

	(void)hub;
	rig->pongs++;
	snprintf(rig->pong, sizeof rig->pong, "%.*s", (int)payload.len, payload.p ? payload.p : "");
	if (rig->hook_pong)
		rig->hook_pong(rig, conn);
}

__attribute__((unused)) static void rig_new_loop(struct rig *rig)
{
	struct imgo_loop_options lo = IMGO_LOOP_OPTIONS_INIT;

	*rig = (struct rig){0};
	assert_int_equal(imgo_stats_new(&rig->stats), 0);
	lo.stats = rig->stats;
	assert_int_equal(imgo_loop_new(&rig->loop, &lo, NULL), 0);
}

__attribute__((unused)) static void rig_new_hub(struct rig *rig, const struct imgo_hub_options *options)
{
	static const struct imgo_hub_ops ops = {
		.size = sizeof ops,
		.on_auth = rig_on_auth,
		.on_packet = rig_on_packet,
		.on_room = rig_on_room,
		.on_rooms = rig_on_rooms,
		.on_close = rig_on_close,
		.on_drain = rig_on_drain,
		.on_online = rig_on_online,
		.on_pong = rig_on_pong,
	};
	struct imgo_error error;

	assert_int_equal(imgo_hub_new(&rig->hub, rig->loop, &ops, rig, options, &error), 0);
	assert_int_equal(imgo_hub_listen(rig->hub, "127.0.0.1:0", IMGO_HUB_TCP, &rig->tcp, &error), 0);
	assert_int_equal(imgo_hub_listen(rig->hub, "127.0.0.1:0", IMGO_HUB_WEBSOCKET, &rig->ws, &error), 0);
}

__attribute__((unused)) static void rig_new(struct rig *rig, const struct imgo_hub_options *options)
{
	rig_new_loop(rig);
	rig_new_hub(rig, options);
}

__attribute__((unused)) static void rig_free(struct rig *rig)
{
	if (!rig->freed)
		imgo_hub_free(rig->hub);
	imgo_loop_free(rig->loop);
	imgo_stats_free(rig->stats);
}

static inline uint64_t rig_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* One turn; waits up to a millisecond for something to do. */
static inline void rig_turn(struct rig *rig)
{
	struct pollfd p = {.fd = imgo_loop_fd(rig->loop), .events = POLLIN};

	(void)poll(&p, 1, 1);
	imgo_loop_process(rig->loop);
}

#define rig_until(rig, condition) \
	do { \
		uint64_t rig_end = rig_ms() + 5000; \
		while (!(condition)) { \
			rig_turn(rig); \
			if (rig_ms() > rig_end) \
				fail_msg("never: %s", #condition); \
		} \
	} while (0)

static inline void rig_for(struct rig *rig, uint64_t ms)
{
	for (uint64_t end = rig_ms() + ms; rig_ms() < end;)
		rig_turn(rig);
}

static inline int64_t rig_stat(struct rig *rig, const char *name)
{
	return imgo_stats_get(rig->stats, name);
}

/* ---- clients ---- */

static inline int client(int port)
{
	struct sockaddr_in in = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof in), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

static inline void put(int fd, const void *p, size_t len)
{
	assert_int_equal(send(fd, p, len, MSG_NOSIGNAL), len);
}

/* Reads exactly len bytes while the loop turns. */
static inline void get(struct rig *rig, int fd, void *p, size_t len)
{
	uint64_t end = rig_ms() + 5000;

	for (size_t have = 0; have < len;) {
		ssize_t n = recv(fd, (char *)p + have, len - have, 0);
		if (n > 0)
			have += (size_t)n;
		else if (n == 0 || (errno != EAGAIN && errno != EINTR))
			fail_msg("closed after %zu of %zu bytes (%s)", have, len, n ? strerror(errno) : "FIN");
		else
			rig_turn(rig);
		if (rig_ms() > end)
			fail_msg("only %zu of %zu bytes came", have, len);
	}
}

/* Waits for the end: 0 FIN, else the errno; bytes that come before are dropped, counted in *bytes. */
static inline int ending(struct rig *rig, int fd, size_t *bytes)
{
	uint64_t end = rig_ms() + 8000;
	char buf[4096];

	if (bytes)
		*bytes = 0;
	for (;;) {
		ssize_t n = recv(fd, buf, sizeof buf, 0);
		if (n == 0)
			return 0;
		if (n > 0 && bytes)
			*bytes += (size_t)n;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return errno;
		if (rig_ms() > end)
			fail_msg("not closed");
		rig_turn(rig);
	}
}

static inline size_t hex_bytes(const char *hex, uint8_t *out)
{
	size_t n = 0;

	for (; *hex; hex++) {
		if (*hex == ' ')
			continue;
		unsigned b;
		assert_int_equal(sscanf(hex, "%2x", &b), 1);
		out[n++] = (uint8_t)b;
		hex++;
	}
	return n;
}

static inline void put_hex(int fd, const char *hex)
{
	uint8_t b[512];

	put(fd, b, hex_bytes(hex, b));
}

static inline void expect(struct rig *rig, int fd, const void *want, size_t len)
{
	uint8_t *b = test_malloc(len ? len : 1);

	get(rig, fd, b, len);
	assert_memory_equal(b, want, len);
	test_free(b);
}

static inline void expect_hex(struct rig *rig, int fd, const char *hex)
{
	uint8_t b[512];

	expect(rig, fd, b, hex_bytes(hex, b));
}

static inline size_t packet_bytes(uint8_t *out, uint16_t ver, int32_t op, int32_t seq, const char *body)
{
	struct imgo__packet packet = {.ver = ver, .op = op, .seq = seq, .body = imgo_str(body)};
	size_t n = imgo__packet_header(&packet, out);

	memcpy(out + n, packet.body.p ? packet.body.p : "", packet.body.len);
	return n + packet.body.len;
}

static inline void put_packet(int fd, uint16_t ver, int32_t op, int32_t seq, const char *body)
{
	uint8_t b[8192];

	put(fd, b, packet_bytes(b, ver, op, seq, body));
}

static inline void expect_packet(struct rig *rig, int fd, uint16_t ver, int32_t op, int32_t seq, const char *body)
{
	uint8_t b[8192];

	expect(rig, fd, b, packet_bytes(b, ver, op, seq, body));
}

static inline int login(struct rig *rig, const char *token)
{
	int fd = client(rig->tcp);

	put_packet(fd, 1, 7, 1, token);
	expect_packet(rig, fd, 1, 8, 1, rig->grant_reply);
	return fd;
}

/* ---- WebSocket clients ---- */

static const char upgrade_request[] = "GET /sub?x=1 HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n"
				      "Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n"
				      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
static const char upgrade_answer[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
				     "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

static inline size_t frame_bytes(uint8_t *out, uint8_t op, bool fin, const void *payload, size_t len)
{
	static const uint8_t mask[4] = {0x12, 0x34, 0x56, 0x78};
	size_t n = imgo__ws_header_masked(op, len, mask, out);

	if (!fin)
		out[0] &= 0x7f;
	memcpy(out + n, len ? payload : "", len);
	imgo__ws_mask(out + n, len, mask);
	return n + len;
}

static inline void put_frame(int fd, uint8_t op, bool fin, const char *text)
{
	uint8_t b[16384];

	put(fd, b, frame_bytes(b, op, fin, text, strlen(text)));
}

static inline void put_text(int fd, const char *text)
{
	put_frame(fd, IMGO__WS_TEXT, true, text);
}

/* One frame of the server, short enough for its payload to have at most 16 bits of length. Returns its
 * opcode. */
static inline uint8_t get_frame(struct rig *rig, int fd, char *text, size_t max, size_t *len)
{
	uint8_t head[4];

	get(rig, fd, head, 2);
	assert_int_equal(head[0] & 0xf0, 0x80);
	*len = head[1];
	if (head[1] == 126) {
		get(rig, fd, head + 2, 2);
		*len = (size_t)head[2] << 8 | head[3];
	}
	assert_true(*len < max && head[1] <= 126);
	get(rig, fd, text, *len);
	text[*len] = 0;
	return head[0] & 15;
}

static inline void expect_text(struct rig *rig, int fd, const char *want)
{
	char text[16384];
	size_t len;

	assert_int_equal(get_frame(rig, fd, text, sizeof text, &len), IMGO__WS_TEXT);
	while (len > 0 && text[len - 1] == '\n')
		text[--len] = 0;
	assert_string_equal(text, want);
}

static inline void expect_close(struct rig *rig, int fd, unsigned code)
{
	char text[200];
	size_t len;

	assert_int_equal(get_frame(rig, fd, text, sizeof text, &len), IMGO__WS_CLOSE);
	assert_true(len >= 2);
	assert_int_equal((uint8_t)text[0] << 8 | (uint8_t)text[1], code);
}

static inline int ws_client(struct rig *rig)
{
	int fd = client(rig->ws);

	put(fd, upgrade_request, sizeof upgrade_request - 1);
	expect(rig, fd, upgrade_answer, sizeof upgrade_answer - 1);
	return fd;
}

static inline int ws_login(struct rig *rig, const char *token)
{
	int fd = ws_client(rig);
	char text[512];

	snprintf(text, sizeof text, "{\"ver\":1,\"op\":7,\"seq\":1,\"body\":\"%s\"}", token);
	put_text(fd, text);
	expect_text(rig, fd, "[{\"ver\":1,\"op\":8,\"seq\":1,\"body\":{}}]");
	return fd;
}

static inline struct imgo_msg *message(const char *body)
{
	struct imgo_msg *msg;

	assert_int_equal(imgo_msg_new(&msg, IMGO_OP_PUSH, (struct imgo_id){0, 0}, body, strlen(body)), 0);
	return msg;
}

#endif
