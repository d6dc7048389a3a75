/* SPDX-License-Identifier: MIT */
#include "wire.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stamp.h"

enum { HEAD = 16, HEAD_ID = 28, PACKET_MAX = 8 << 20 };

static const char *const names[] = {"floor", "tcp", "ws-json", "ws-binary"};

int wire_dialect(const char *name, enum wire_dialect *out)
{
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		if (strcmp(name, names[i]) == 0) {
			*out = (enum wire_dialect)i;
			return 0;
		}
	}
	return -1;
}

const char *wire_name(enum wire_dialect dialect)
{
	return names[dialect];
}

/* ---- writing ---- */

static void need(size_t have, size_t want)
{
	if (want > have) {
		fprintf(stderr, "wire: %zu bytes do not fit in %zu\n", want, have);
		exit(1);
	}
}

static uint16_t get16(const char *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof v);
	return be16toh(v);
}

static uint32_t get32(const char *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return be32toh(v);
}

static uint64_t get64(const char *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof v);
	return be64toh(v);
}

static void put16(char *p, unsigned value)
{
	uint16_t v = htobe16((uint16_t)value);
	memcpy(p, &v, sizeof v);
}

static void put32(char *p, uint32_t value)
{
	uint32_t v = htobe32(value);
	memcpy(p, &v, sizeof v);
}

static size_t put_packet(char *out, size_t size, int ver, int op, size_t head, const char *body, size_t len)
{
	need(size, head + len);
	put32(out, (uint32_t)(head + len));
	put16(out + 4, (unsigned)head);
	put16(out + 6, (unsigned)ver);
	put32(out + 8, (uint32_t)op);
	put32(out + 12, 1);
	if (len)
		memcpy(out + head, body, len);
	return head + len;
}

/* A masked frame; the mask is 0, so the bytes are as they were. */
static size_t put_frame(char *out, size_t size, int opcode, const char *payload, size_t len)
{
	size_t head = len < 126 ? 2 : 4;

	need(size, head + 4 + len);
	need(65535, len);
	out[0] = (char)(0x80 | opcode);
	if (head == 2) {
		out[1] = (char)(0x80 | len);
	} else {
		out[1] = (char)(0x80 | 126);
		put16(out + 2, (unsigned)len);
	}
	memset(out + head, 0, 4);
	memcpy(out + head + 4, payload, len);
	return head + 4 + len;
}

static size_t put(char *out, size_t size, enum wire_dialect dialect, int ver, int op, const char *body, size_t len)
{
	char packet[1024];
	size_t n;

	if (dialect != WIRE_WS_BINARY)
		return put_packet(out, size, ver, op, HEAD, body, len);
	n = put_packet(packet, sizeof packet, ver, op, HEAD, body, len);
	return put_frame(out, size, 2, packet, n);
}

static size_t put_text(char *out, size_t size, const char *text, int len)
{
	return put_frame(out, size, 1, text, (size_t)len);
}

size_t wire_upgrade(char *out, size_t size)
{
	static const char request[] = "GET /sub HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
				      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

	need(size, sizeof request - 1);
	memcpy(out, request, sizeof request - 1);
	return sizeof request - 1;
}

size_t wire_login(char *out, size_t size, enum wire_dialect dialect, const char *token, const char *device)
{
	int ver = device ? 2 : 1, n;
	char body[512], text[640];

	if (device)
		n = snprintf(body, sizeof body, "{\"token\":\"%s\",\"device\":\"%s\"}", token, device);
	else
		n = snprintf(body, sizeof body, dialect == WIRE_WS_JSON ? "\"%s\"" : "%s", token);
	if (dialect != WIRE_WS_JSON)
		return put(out, size, dialect, ver, WIRE_AUTH, body, (size_t)n);
	n = snprintf(text, sizeof text, "{\"ver\":%d,\"op\":7,\"seq\":1,\"body\":%s}", ver, body);
	return put_text(out, size, text, n);
}

size_t wire_heartbeat(char *out, size_t size, enum wire_dialect dialect)
{
	static const char text[] = "{\"ver\":1,\"op\":2,\"seq\":1}";

	if (dialect == WIRE_WS_JSON)
		return put_text(out, size, text, sizeof text - 1);
	return put(out, size, dialect, 1, WIRE_HEARTBEAT, NULL, 0);
}

size_t wire_ack(char *out, size_t size, enum wire_dialect dialect, uint32_t epoch, uint64_t id)
{
	char text[160], packet[HEAD_ID];
	uint64_t v = htobe64(id);
	int n;

	if (dialect == WIRE_WS_JSON) {
		n = snprintf(text, sizeof text, "{\"ver\":2,\"op\":18,\"seq\":1,\"epoch\":%u,\"id\":\"%llu\"}", epoch,
			(unsigned long long)id);
		return put_text(out, size, text, n);
	}
	put_packet(packet, sizeof packet, 2, WIRE_ACK, HEAD_ID, NULL, 0);
	put32(packet + HEAD, epoch);
	memcpy(packet + HEAD + 4, &v, sizeof v);
	if (dialect == WIRE_WS_BINARY)
		return put_frame(out, size, 2, packet, sizeof packet);
	need(size, sizeof packet);
	memcpy(out, packet, sizeof packet);
	return sizeof packet;
}

size_t wire_pong(char *out, size_t size, const char *payload, size_t len)
{
	return put_frame(out, size, 10, payload, len);
}

/* ---- reading ---- */

/* Whole packets from the front of data; what is not whole stays. */
static ssize_t take_packets(const char *data, size_t len, wire_cb *cb, void *user)
{
	size_t at = 0;

	while (len - at >= HEAD) {
		const char *p = data + at;
		uint32_t whole = get32(p), head = get16(p + 4);
		if ((head != HEAD && head != HEAD_ID) || whole < head || whole > PACKET_MAX)
			return -1;
		if (len - at < whole)
			break;
		struct wire_message m = {.op = (int)get32(p + 8), .body = p + head, .len = whole - head};
		if (head == HEAD_ID) {
			m.epoch = get32(p + HEAD);
			m.id = get64(p + HEAD + 4);
		}
		if (m.op == WIRE_RAW && take_packets(m.body, m.len, cb, user) != (ssize_t)m.len)
			return -1;
		if (m.op != WIRE_RAW)
			cb(&m, user);
		at += whole;
	}
	return (ssize_t)at;
}

static uint64_t number_after(const char *text, size_t len, const char *key)
{
	const char *p = memmem(text, len, key, strlen(key)), *end = text + len;
	uint64_t value = 0;

	if (!p)
		return 0;
	for (p += strlen(key); p < end && (*p == '"' || *p == ' '); p++)
		;
	for (; p < end && *p >= '0' && *p <= '9'; p++)
		value = value * 10 + (uint64_t)(*p - '0');
	return value;
}

/* An array of objects. Stamped bodies are found by their mark, and their ids between the one before and it; what has none
 * is told by its op, one an array. */
static void take_json(const char *text, size_t len, wire_cb *cb, void *user)
{
	const char *at = text, *end = text + len, *mark;
	struct wire_message m = {.op = WIRE_PUSH};

	while ((mark = memmem(at, (size_t)(end - at), STAMP_MARK, sizeof STAMP_MARK - 1)) != NULL) {
		m.body = mark;
		m.len = (size_t)(end - mark);
		m.epoch = (uint32_t)number_after(at, (size_t)(mark - at), "\"epoch\":");
		m.id = m.epoch ? number_after(at, (size_t)(mark - at), "\"id\":") : 0;
		cb(&m, user);
		at = mark + 1;
	}
	if (at > text)
		return;
	m = (struct wire_message){.op = (int)number_after(text, len, "\"op\":"), .body = text, .len = len};
	cb(&m, user);
}

static int take_payload(enum wire_dialect dialect, int opcode, const char *p, size_t len, wire_cb *cb, void *user)
{
	struct wire_message m = {.op = opcode == 8 ? WIRE_CLOSED : WIRE_PING, .body = p, .len = len};

	switch (opcode) {
	case 1:
		if (dialect != WIRE_WS_JSON)
			return -1;
		take_json(p, len, cb, user);
		return 0;
	case 2:
		return dialect == WIRE_WS_BINARY && take_packets(p, len, cb, user) == (ssize_t)len ? 0 : -1;
	case 8:
	case 9:
		cb(&m, user);
		return 0;
	case 10:
		return 0;
	default: /* the server has no reason to fragment */
		return -1;
	}
}

static ssize_t take_frames(enum wire_dialect dialect, const char *data, size_t len, wire_cb *cb, void *user)
{
	size_t at = 0;

	while (len - at >= 2) {
		const char *p = data + at;
		size_t n = (uint8_t)p[1], head = n == 126 ? 4 : n == 127 ? 10 : 2;
		if (((uint8_t)p[0] & 0xf0) != 0x80 || (n & 0x80))
			return -1;
		if (len - at < head)
			break;
		n = head == 4 ? get16(p + 2) : head == 10 ? (size_t)get64(p + 2) : n;
		if (n > PACKET_MAX)
			return -1;
		if (len - at < head + n)
			break;
		if (take_payload(dialect, p[0] & 15, p + head, n, cb, user))
			return -1;
		at += head + n;
	}
	return (ssize_t)at;
}

static ssize_t take_answer(const char *data, size_t len, wire_cb *cb, void *user)
{
	static const char ok[] = "HTTP/1.1 101 ";
	const char *end = memmem(data, len, "\r\n\r\n", 4);
	struct wire_message m = {.op = WIRE_UPGRADED, .body = data};

	if (len >= sizeof ok - 1 && memcmp(data, ok, sizeof ok - 1) != 0)
		return -1;
	if (!end)
		return 0;
	cb(&m, user);
	return end + 4 - data;
}

ssize_t wire_take(enum wire_dialect dialect, int upgraded, const char *data, size_t len, wire_cb *cb, void *user)
{
	if (!wire_is_ws(dialect))
		return take_packets(data, len, cb, user);
	return upgraded ? take_frames(dialect, data, len, cb, user) : take_answer(data, len, cb, user);
}
