/* SPDX-License-Identifier: MIT */
/*
 * The client's side of the protocol, as bytes: what a subscriber sends, and what it makes of what comes. Made from the
 * protocol's description and for speed; the library's client is not used here, so that what is measured is the server.
 */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum wire_dialect {
	WIRE_FLOOR,     /* packets, but no login: what fanout-floor speaks */
	WIRE_TCP,       /* packets */
	WIRE_WS_JSON,   /* imgo's JSON in WebSocket frames */
	WIRE_WS_BINARY, /* goim's packets in WebSocket frames */
};

enum wire_op {
	WIRE_HEARTBEAT = 2,
	WIRE_HEARTBEAT_REPLY = 3,
	WIRE_PUSH = 5,
	WIRE_AUTH = 7,
	WIRE_AUTH_REPLY = 8,
	WIRE_RAW = 9,
	WIRE_ACK = 18,
	/* not packets: */
	WIRE_UPGRADED = 1001, /* the answer to the WebSocket request was 101 */
	WIRE_PING = 1002,     /* its payload is the body */
	WIRE_CLOSED = 1003,   /* a close frame: the body is its code and text */
};

struct wire_message {
	int op;
	const char *body;
	size_t len;
	uint32_t epoch; /* of a logged message to a version 2 client; else 0 */
	uint64_t id;
};
typedef void wire_cb(const struct wire_message *message, void *user);

/* `name` is floor, tcp, ws-json or ws-binary. -1: none of them. */
int wire_dialect(const char *name, enum wire_dialect *out);
const char *wire_name(enum wire_dialect dialect);
static inline int wire_is_ws(enum wire_dialect dialect)
{
	return dialect >= WIRE_WS_JSON;
}

/* All write at most `size` bytes and return how many; they end the program when that is not enough. */
size_t wire_upgrade(char *out, size_t size);
/* device NULL: version 1. */
size_t wire_login(char *out, size_t size, enum wire_dialect dialect, const char *token, const char *device);
size_t wire_heartbeat(char *out, size_t size, enum wire_dialect dialect);
size_t wire_ack(char *out, size_t size, enum wire_dialect dialect, uint32_t epoch, uint64_t id);
size_t wire_pong(char *out, size_t size, const char *payload, size_t len);

/* Takes whole packets or frames from data and calls back for each message in them. Returns the bytes taken; -1: this is
 * not the protocol. `upgraded`: the answer to wire_upgrade() has come. */
ssize_t wire_take(enum wire_dialect dialect, int upgraded, const char *data, size_t len, wire_cb *cb, void *user);

#endif
