/* SPDX-License-Identifier: MIT */
/*
 * A client's whole stream against a hub on a real loop, through a socket pair: handshake, login, packets or frames, end.
 * What the hub says depends on the bytes, not on how they arrived, nor on whether the login is answered at once. First
 * byte: bit 0 TCP or WebSocket, bit 1 a good handshake and login go before (WebSocket), bit 2 the bytes of frames are not
 * masked yet: each frame gets a mask of zeros (so that the fuzzer need not find one).
 */
#include "fuzz.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <imgo/hub.h>

#include "base/buf.h"
#include "codec/ws.h"

enum { TURNS_MAX = 20000, BODY_MAX = 600 };

static struct imgo_loop *loop;
static struct imgo_hub *hub;
static bool later;
static struct imgo_conn waiting;
static int sessions;
static int32_t accepts[IMGO_ACCEPTS_MAX]; /* of the last login */
static size_t naccepts;
static bool has_accepts;

static const char opening[] = "GET /sub HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
			      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
			      "\x81\x93\0\0\0\0{\"op\":7,\"body\":\"t\"}";

/* ---- the host ---- */

static void grant(struct imgo_conn conn)
{
	struct imgo_hub_grant grant = IMGO_HUB_GRANT_INIT;

	grant.user = imgo_str("u");
	grant.accepts = has_accepts ? accepts : NULL;
	grant.naccepts = naccepts;
	(void)imgo_hub_auth_finish(hub, conn, &grant);
}

static void on_auth(struct imgo_hub *h, struct imgo_conn conn, const struct imgo_hub_auth *auth, void *user)
{
	(void)h, (void)user;
	sessions++;
	has_accepts = auth->accepts != NULL;
	naccepts = auth->naccepts;
	if (naccepts)
		memcpy(accepts, auth->accepts, naccepts * sizeof accepts[0]);
	if (later)
		waiting = conn;
	else
		grant(conn);
}

static void on_close(struct imgo_hub *h, struct imgo_conn conn, void *data, const struct imgo_hub_closed *closed, void *user)
{
	(void)h, (void)conn, (void)data, (void)user;
	CHECK(closed->acknowledged <= closed->queued && closed->written <= closed->queued);
	sessions--;
}

static void start(void)
{
	static const struct imgo_hub_ops ops = {.size = sizeof ops, .on_auth = on_auth, .on_close = on_close};
	struct imgo_hub_options options = IMGO_HUB_OPTIONS_INIT;

	options.packets_per_second_max = 0; /* time decides there */
	options.body_max_bytes = BODY_MAX;
	options.rooms_max = 4;
	CHECK(imgo_loop_new(&loop, NULL, NULL) == 0);
	CHECK(imgo_hub_new(&hub, loop, &ops, NULL, &options, NULL) == 0);
}

/* ---- the client ---- */

/* True: the hub has closed. */
static bool receive(int fd, struct imgo__buf *out)
{
	for (;;) {
		CHECK(imgo__buf_reserve(out, 4096) == 0);
		ssize_t n = recv(fd, out->data + out->len, 4096, MSG_DONTWAIT);
		if (n <= 0)
			return n == 0 || errno != EAGAIN;
		out->len += (size_t)n;
	}
}

static void turn(int *turns)
{
	imgo_loop_process(loop);
	if (waiting.h && *turns % 3 == 0) {
		grant(waiting);
		waiting.h = 0;
		imgo_loop_process(loop);
	}
	CHECK(++*turns < TURNS_MAX);
}

/* All that the hub says to these bytes, in pieces of up to `piece`. */
static struct imgo__buf converse(enum imgo_hub_kind kind, const uint8_t *data, size_t size, size_t piece)
{
	struct imgo__buf out = {0};
	struct imgo_hub_counts counts;
	int fd[2], turns = 0;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd) == 0);
	CHECK(imgo_hub_adopt_fd(hub, fd[1], kind) == 0);
	for (size_t at = 0; at < size;) {
		size_t n = piece == SIZE_MAX ? size : 1 + data[at] % piece;
		ssize_t sent = send(fd[0], data + at, n < size - at ? n : size - at, MSG_NOSIGNAL);
		if (sent < 0 && errno != EAGAIN)
			break;
		at += sent > 0 ? (size_t)sent : 0;
		turn(&turns);
		if (receive(fd[0], &out))
			break;
	}
	while (waiting.h) /* a FIN before the answer to a login is the end, whatever else was sent */
		turn(&turns);
	turn(&turns);
	turn(&turns);
	shutdown(fd[0], SHUT_WR);
	do {
		turn(&turns);
	} while (!receive(fd[0], &out));
	do {
		turn(&turns);
		imgo_hub_counts(hub, &counts);
	} while (counts.connections);
	close(fd[0]);
	CHECK(sessions == 0 && counts.authenticated == 0 && counts.rooms == 0 && counts.users == 0);
	return out;
}

/* ---- what it may say ---- */

/* Frames of a server's, whole ones, and nothing behind a close. */
static void well_formed(const uint8_t *data, size_t len)
{
	struct imgo__buf message = {0};
	struct imgo__ws ws = {0};
	bool closed = false;

	if (len >= 12 && memcmp(data, "HTTP/1.1 101", 12) != 0)
		return;
	const uint8_t *end = memmem(data, len, "\r\n\r\n", 4);
	size_t at = end ? (size_t)(end - data) + 4 : len;
	while (at < len) {
		struct imgo__ws_event event;
		uint16_t code;
		size_t need;
		CHECK(!closed);
		uint8_t *copy = copy_of(data + at, len - at);
		ssize_t n =
			imgo__ws_decode(&ws, false, copy, len - at, 8 * BODY_MAX + 4096, &message, &event, &code, &need);
		CHECK(n > 0);
		closed = event.op == IMGO__WS_CLOSE;
		at += (size_t)n;
		free(copy);
	}
	imgo__buf_free(&message);
}

/* Each frame of the input, seen as unmasked, with a mask of zeros. */
static void mask_frames(struct imgo__buf *out, const uint8_t *data, size_t size)
{
	static const uint8_t zeros[4];

	while (size >= 2) {
		size_t head = 2, len = data[1] & 0x7F;
		if (len == 126 && size >= 4)
			head = 4, len = imgo__get16(data + 2);
		uint8_t second = data[1] | 0x80;
		CHECK(imgo__buf_append(out, data, 1) == 0 && imgo__buf_append(out, &second, 1) == 0);
		CHECK(imgo__buf_append(out, data + 2, head - 2) == 0 && imgo__buf_append(out, zeros, 4) == 0);
		data += head, size -= head;
		len = len < size ? len : size;
		CHECK(len == 0 || imgo__buf_append(out, data, len) == 0);
		data += len, size -= len;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t pieces[] = {200, 7, 1};
	struct imgo__buf in = {0}, first, next;

	if (!hub)
		start();
	if (!data || size < 2)
		return 0;
	enum imgo_hub_kind kind = data[0] & 1 ? IMGO_HUB_WEBSOCKET : IMGO_HUB_TCP;
	bool opened = kind == IMGO_HUB_WEBSOCKET && (data[0] & 2);
	if (opened)
		CHECK(imgo__buf_append(&in, opening, sizeof opening - 1) == 0);
	if (opened && (data[0] & 4))
		mask_frames(&in, data + 1, size - 1);
	else
		CHECK(imgo__buf_append(&in, data + 1, size - 1) == 0);
	later = false;
	first = converse(kind, in.data, in.len, SIZE_MAX);
	if (kind == IMGO_HUB_WEBSOCKET)
		well_formed(first.data, first.len);
	for (size_t i = 0; i < 3; i++) {
		later = i == 1;
		next = converse(kind, in.data, in.len, pieces[i]);
		CHECK(next.len == first.len && memcmp(next.data, first.data, first.len) == 0);
		imgo__buf_free(&next);
	}
	imgo__buf_free(&first);
	imgo__buf_free(&in);
	return 0;
}
