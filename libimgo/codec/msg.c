/* SPDX-License-Identifier: MIT */
/*
 * Messages and their encodings.
 *
 * A message is one allocation: counters, the cache of encodings, the body. A cache entry goes from NULL to a
 * chunk once and stays until the message dies. Threads that race for the first encoding each make one;
 * compare-and-swap keeps one of them and the others are dropped, so that nobody waits. An entry owns one
 * reference of its chunk and every receiver's queue another, so a chunk may outlive its message.
 *
 * A batch of JSON messages is put together from the cached single encodings: a body is checked and compacted
 * once, however it is sent.
 */
#include "codec/msg.h"

#include <stdatomic.h>

#include "base/buf.h"
#include "base/mem.h"
#include "codec/json.h"
#include "codec/packet.h"
#include "codec/ws.h"

#define WS_HEADER_MAX 10

struct imgo_msg {
	_Atomic uint32_t refs;
	int32_t op;
	struct imgo_id id;
	size_t len;
	_Atomic(struct imgo__chunk *) cache[IMGO__DIALECTS];
	uint8_t body[];
};

/* ---- chunks ---- */

struct imgo__chunk *imgo__chunk_new(size_t len)
{
	struct imgo__chunk *chunk = len <= UINT32_MAX ? imgo__alloc(sizeof *chunk + len) : NULL;

	if (chunk) {
		atomic_init(&chunk->refs, 1);
		chunk->len = (uint32_t)len;
	}
	return chunk;
}

struct imgo__chunk *imgo__chunk_ref(struct imgo__chunk *chunk)
{
	atomic_fetch_add_explicit(&chunk->refs, 1, memory_order_relaxed);
	return chunk;
}

/* True for the last reference: whoever frees has seen all that the other holders did. */
static bool drop_ref(_Atomic uint32_t *refs)
{
	return atomic_fetch_sub_explicit(refs, 1, memory_order_acq_rel) == 1;
}

void imgo__chunk_unref(struct imgo__chunk *chunk)
{
	if (chunk && drop_ref(&chunk->refs))
		free(chunk);
}

/* ---- messages ---- */

int imgo_msg_new(struct imgo_msg **out, int32_t op, struct imgo_id id, const void *body, size_t len)
{
	struct imgo_msg *msg;

	if (len > IMGO_BODY_MAX)
		return IMGO_ELIMIT;
	msg = imgo__alloc(sizeof *msg + len);
	if (!msg)
		return IMGO_ENOMEM;
	atomic_init(&msg->refs, 1);
	msg->op = op;
	msg->id = id;
	msg->len = len;
	for (int i = 0; i < IMGO__DIALECTS; i++)
		atomic_init(&msg->cache[i], NULL);
	if (len)
		memcpy(msg->body, body, len);
	*out = msg;
	return 0;
}

struct imgo_msg *imgo_msg_ref(struct imgo_msg *msg)
{
	atomic_fetch_add_explicit(&msg->refs, 1, memory_order_relaxed);
	return msg;
}

void imgo_msg_unref(struct imgo_msg *msg)
{
	if (!msg || !drop_ref(&msg->refs))
		return;
	for (int i = 0; i < IMGO__DIALECTS; i++)
		imgo__chunk_unref(atomic_load_explicit(&msg->cache[i], memory_order_relaxed));
	free(msg);
}

struct imgo_str imgo_msg_body(const struct imgo_msg *msg)
{
	return imgo_strn(msg->body, msg->len);
}

int32_t imgo_msg_op(const struct imgo_msg *msg)
{
	return msg->op;
}

struct imgo_id imgo_msg_id(const struct imgo_msg *msg)
{
	return msg->id;
}

/* ---- packets ---- */

static bool is_json(enum imgo__dialect dialect)
{
	return dialect == IMGO__DIALECT_JSON1 || dialect == IMGO__DIALECT_JSON2;
}

static bool is_framed(enum imgo__dialect dialect)
{
	return dialect == IMGO__DIALECT_BING || dialect == IMGO__DIALECT_BIN2;
}

/* The packet that carries msg. A message without id is nothing new in version 2. */
static struct imgo__packet packet_of(const struct imgo_msg *msg, enum imgo__dialect dialect)
{
	struct imgo__packet packet = {.op = msg->op, .body = imgo_msg_body(msg)};

	switch (dialect) {
	case IMGO__DIALECT_TCP2:
	case IMGO__DIALECT_JSON2:
	case IMGO__DIALECT_BIN2:
		packet.has_id = msg->id.epoch || msg->id.id;
		packet.id = msg->id;
		packet.ver = packet.has_id ? 2 : dialect == IMGO__DIALECT_BIN2;
		break;
	case IMGO__DIALECT_TCPG:
	case IMGO__DIALECT_BING:
		packet.ver = 1;
		break;
	default:
		break;
	}
	return packet;
}

static uint8_t *put_packet(uint8_t *at, const struct imgo__packet *packet)
{
	at += imgo__packet_header(packet, at);
	if (packet->body.len)
		memcpy(at, packet->body.p, packet->body.len);
	return at + packet->body.len;
}

/* Packets back to back; on WebSocket inside one op-9 packet, in one binary frame. */
static struct imgo__chunk *encode_packets(struct imgo_msg *const *messages, size_t n, enum imgo__dialect dialect)
{
	struct imgo__packet outer = {.ver = 1, .op = IMGO__OP_RAW};
	uint8_t head[WS_HEADER_MAX + IMGO__PACKET_HEADER2];
	size_t total = 0, head_len = 0;
	struct imgo__chunk *chunk;
	uint8_t *at;

	for (size_t i = 0; i < n; i++) {
		bool has_id = packet_of(messages[i], dialect).has_id;
		total += (has_id ? IMGO__PACKET_HEADER2 : IMGO__PACKET_HEADER) + messages[i]->len;
	}
	if (is_framed(dialect)) {
		outer.body.len = total;
		head_len = imgo__ws_header(IMGO__WS_BINARY, IMGO__PACKET_HEADER + total, head);
		head_len += imgo__packet_header(&outer, head + head_len);
	}
	chunk = imgo__chunk_new(head_len + total);
	if (!chunk)
		return NULL;
	memcpy(chunk->data, head, head_len);
	at = chunk->data + head_len;
	for (size_t i = 0; i < n; i++) {
		struct imgo__packet packet = packet_of(messages[i], dialect);
		at = put_packet(at, &packet);
	}
	return chunk;
}

/* ---- JSON ---- */

/* [{…}] and a newline in a text frame: what a single message looks like. */
static struct imgo__chunk *encode_json(const struct imgo_msg *msg, enum imgo__dialect dialect)
{
	struct imgo__packet packet = packet_of(msg, dialect);
	struct imgo__chunk *chunk = NULL;
	struct imgo__buf text = {0};
	uint8_t head[WS_HEADER_MAX];
	size_t head_len;

	if (imgo__buf_append(&text, "[", 1) == 0 && imgo__packet_encode_json(&text, &packet) == 0 &&
		imgo__buf_append(&text, "]\n", 2) == 0) {
		head_len = imgo__ws_header(IMGO__WS_TEXT, text.len, head);
		chunk = imgo__chunk_new(head_len + text.len);
		if (chunk) {
			memcpy(chunk->data, head, head_len);
			memcpy(chunk->data + head_len, text.data, text.len);
		}
	}
	imgo__buf_free(&text);
	return chunk;
}

/* The object inside a single encoding. */
static struct imgo_str json_object(const struct imgo__chunk *chunk)
{
	size_t head_len = chunk->data[1] < 126 ? 2 : chunk->data[1] == 126 ? 4 : 10;

	return imgo_strn(chunk->data + head_len + 1, chunk->len - head_len - 3);
}

/* The cached encoding, made now if it is not there; borrowed from the message. */
static struct imgo__chunk *cached(struct imgo_msg *msg, enum imgo__dialect dialect)
{
	struct imgo__chunk *chunk = atomic_load_explicit(&msg->cache[dialect], memory_order_acquire);
	struct imgo__chunk *first = NULL;

	if (chunk)
		return chunk;
	chunk = is_json(dialect) ? encode_json(msg, dialect) : encode_packets(&msg, 1, dialect);
	if (!chunk)
		return NULL;
	if (atomic_compare_exchange_strong_explicit(
		    &msg->cache[dialect], &first, chunk, memory_order_acq_rel, memory_order_acquire))
		return chunk;
	imgo__chunk_unref(chunk);
	return first;
}

/* Without id, version 2 is encoded as version 1: then the two share one encoding. */
static enum imgo__dialect plain_dialect(const struct imgo_msg *msg, enum imgo__dialect dialect)
{
	if (msg->id.epoch || msg->id.id)
		return dialect;
	switch (dialect) {
	case IMGO__DIALECT_TCP2:
		return IMGO__DIALECT_TCP1;
	case IMGO__DIALECT_JSON2:
		return IMGO__DIALECT_JSON1;
	case IMGO__DIALECT_BIN2:
		return IMGO__DIALECT_BING;
	default:
		return dialect;
	}
}

static struct imgo__chunk *encode_json_batch(struct imgo_msg *const *messages, size_t n, enum imgo__dialect dialect)
{
	size_t total = 1, head_len;
	uint8_t head[WS_HEADER_MAX];
	struct imgo__chunk *chunk;
	uint8_t *at;

	for (size_t i = 0; i < n; i++) {
		chunk = cached(messages[i], plain_dialect(messages[i], dialect));
		if (!chunk)
			return NULL;
		total += json_object(chunk).len + 1;
	}
	head_len = imgo__ws_header(IMGO__WS_TEXT, total, head);
	chunk = imgo__chunk_new(head_len + total);
	if (!chunk)
		return NULL;
	memcpy(chunk->data, head, head_len);
	at = chunk->data + head_len;
	for (size_t i = 0; i < n; i++) {
		struct imgo_str object = json_object(cached(messages[i], plain_dialect(messages[i], dialect)));
		*at++ = i ? ',' : '[';
		memcpy(at, object.p, object.len);
		at += object.len;
	}
	*at = ']';
	return chunk;
}

struct imgo__chunk *imgo__msg_encode(struct imgo_msg *const *messages, size_t n, enum imgo__dialect dialect)
{
	struct imgo__chunk *chunk;

	if (n == 1) {
		chunk = cached(messages[0], plain_dialect(messages[0], dialect));
		return chunk ? imgo__chunk_ref(chunk) : NULL;
	}
	return is_json(dialect) ? encode_json_batch(messages, n, dialect) : encode_packets(messages, n, dialect);
}
