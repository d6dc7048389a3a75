/* SPDX-License-Identifier: MIT */
/*
 * What a client's packet does. The host sees each first, and may keep it to itself.
 *
 * A goim client (imgo__conn_is_goim) is used to a server that closes on nothing: its unknown operations, and op 4, are
 * answered with the same operation and no body, a list that cannot be read changes nothing. Its heartbeat's answer says how
 * many are in its room.
 */
#include "hub/internal.h"

#include "codec/json.h"
#include "codec/login.h"

/* ---- answering ---- */

/* A packet as it is; on WebSocket in a binary frame. */
static struct imgo__chunk *encode_binary(const struct imgo__packet *packet, bool framed)
{
	uint8_t head[10 + IMGO__PACKET_HEADER2], packet_head[IMGO__PACKET_HEADER2];
	size_t packet_n = imgo__packet_header(packet, packet_head);
	size_t n = framed ? imgo__ws_header(IMGO__WS_BINARY, packet_n + packet->body.len, head) : 0;

	memcpy(head + n, packet_head, packet_n);
	n += packet_n;
	struct imgo__chunk *chunk = imgo__chunk_new(n + packet->body.len);
	if (!chunk)
		return NULL;
	memcpy(chunk->data, head, n);
	if (packet->body.len)
		memcpy(chunk->data + n, packet->body.p, packet->body.len);
	return chunk;
}

/* An array of one in a text frame; the newline is the original's. */
static struct imgo__chunk *encode_json(struct imgo_hub *hub, const struct imgo__packet *packet)
{
	struct imgo__buf *text = &hub->scratch;
	struct imgo__chunk *chunk = NULL;
	uint8_t head[10];

	text->len = 0;
	if (imgo__buf_append(text, "[", 1) == 0 && imgo__packet_encode_json(text, packet) == 0 &&
		imgo__buf_append(text, "]\n", 2) == 0) {
		size_t n = imgo__ws_header(IMGO__WS_TEXT, text->len, head);
		chunk = imgo__chunk_new(n + text->len);
		if (chunk) {
			memcpy(chunk->data, head, n);
			memcpy(chunk->data + n, text->data, text->len);
		}
	}
	if (text->cap > IMGO__HUB_READ)
		imgo__buf_free(text);
	return chunk;
}

static struct imgo__chunk *encode(const struct imgo__conn *c, const struct imgo__packet *packet)
{
	switch (c->dialect) {
	case IMGO__DIALECT_JSON1:
	case IMGO__DIALECT_JSON2:
		return encode_json(c->hub, packet);
	case IMGO__DIALECT_BING:
	case IMGO__DIALECT_BIN2:
		return encode_binary(packet, true);
	default:
		return encode_binary(packet, false);
	}
}

int imgo__hub_answer(struct imgo__conn *c, const struct imgo__packet *packet)
{
	struct imgo__chunk *chunk = encode(c, packet);

	if (!chunk) {
		imgo__conn_kill(c, IMGO_CLOSE_TRY_LATER);
		return IMGO_ENOMEM;
	}
	int r = imgo__conn_queue(c, chunk);
	if (r == 0)
		c->hub->tally.packets_out++;
	imgo__chunk_unref(chunk);
	return r;
}

static void reply(struct imgo__conn *c, const struct imgo__packet *to, int32_t op, struct imgo_str body)
{
	struct imgo__packet packet = {.ver = to->ver, .op = op, .seq = to->seq, .body = body};

	packet.quoted = to->quoted && body.p == to->body.p;
	(void)imgo__hub_answer(c, &packet);
}

/* The body as text. An empty JSON body is what version 1 clients write for none. */
static int body_text(
	const struct imgo__conn *c, const struct imgo__packet *packet, struct imgo__buf *buf, struct imgo_str *text)
{
	*text = packet->body;
	if (packet->quoted) {
		if (imgo__json_unquote(buf, packet->body))
			return IMGO_ENOMEM;
		*text = imgo_strn(buf->data, buf->len);
	} else if (imgo__conn_is_ws(c) && imgo_str_eq(packet->body, imgo_str("{}"))) {
		text->len = 0;
	}
	return 0;
}

/* ---- heartbeats ---- */

/* How many are in the client's room; in the first, if there are several. */
static uint32_t online(struct imgo__conn *c)
{
	struct imgo_hub *hub = c->hub;

	if (c->nrooms == 0)
		return 0;
	const struct imgo__room *room = imgo__conn_members(c)->room;
	if (!hub->ops.on_online)
		return room->n;
	return hub->ops.on_online(hub, imgo_strn(room->key, room->len), room->n, hub->user);
}

static void on_heartbeat(struct imgo__conn *c, const struct imgo__packet *packet)
{
	uint8_t body[4];

	if (!imgo__conn_is_goim(c)) {
		reply(c, packet, IMGO__OP_HEARTBEAT_REPLY, imgo_str(NULL));
		return;
	}
	uint32_t n = online(c);
	imgo__put32(body, n > INT32_MAX ? INT32_MAX : n);
	reply(c, packet, IMGO__OP_HEARTBEAT_REPLY, imgo_strn(body, sizeof body));
}

/* ---- rooms ---- */

static enum imgo_close why_not(int err)
{
	switch (err) {
	case IMGO_ELIMIT:
		return IMGO_CLOSE_FLOOD;
	case IMGO_ENOMEM:
		return IMGO_CLOSE_TRY_LATER;
	default:
		return IMGO_CLOSE_PROTOCOL;
	}
}

static int change_rooms(struct imgo__conn *c, int32_t op, struct imgo_str key)
{
	struct imgo_hub *hub = c->hub;
	bool enters = op != IMGO__OP_LEAVE && key.len > 0;

	if (op != IMGO__OP_ROOM && key.len == 0)
		return IMGO_EINVAL;
	if (enters && hub->ops.on_room && hub->ops.on_room(hub, imgo__conn_handle(c), key, hub->user)) {
		imgo__conn_kill(c, IMGO_CLOSE_DENIED);
		return 0;
	}
	if (c->state != IMGO__CONN_LIVE || hub->freeing)
		return 0;
	if (op == IMGO__OP_LEAVE)
		imgo__room_leave(c, key);
	if (op == IMGO__OP_ROOM)
		imgo__room_leave_all_but(c, key);
	return enters && c->state == IMGO__CONN_LIVE ? imgo__room_join(c, key) : 0;
}

static void on_rooms(struct imgo__conn *c, const struct imgo__packet *packet)
{
	struct imgo_hub *hub = c->hub;
	uint8_t store[IMGO_ROOM_MAX];
	struct imgo__buf buf = {0};
	struct imgo_str key;
	int r = body_text(c, packet, &buf, &key);

	if (r == 0 && key.len > IMGO_ROOM_MAX)
		r = IMGO_EINVAL;
	if (r == 0 && key.len > 0)
		key = imgo_strn(memcpy(store, key.p, key.len), key.len);
	imgo__buf_free(&buf);
	if (r == 0)
		r = change_rooms(c, packet->op, key);
	if (r)
		imgo__conn_kill(c, why_not(r));
	if (c->state != IMGO__CONN_LIVE || hub->freeing)
		return;
	reply(c, packet, packet->op == IMGO__OP_ROOM ? IMGO__OP_ROOM_REPLY : packet->op + 2, packet->body);
	if (c->state == IMGO__CONN_LIVE && hub->ops.on_rooms)
		hub->ops.on_rooms(hub, imgo__conn_handle(c), hub->user);
}

/* ---- wanted operations ---- */

static int change_ops(struct imgo__conn *c, int32_t op, struct imgo_str text)
{
	int32_t ops[IMGO_ACCEPTS_MAX];
	int n = imgo__ops_read(text, ops, IMGO_ACCEPTS_MAX);

	if (n == IMGO_EPROTO && imgo__conn_is_goim(c))
		return 0;
	if (n <= 0)
		return n;
	return op == IMGO__OP_SUB ? imgo__accepts_add(c, ops, (size_t)n) : imgo__accepts_remove(c, ops, (size_t)n);
}

static void on_ops(struct imgo__conn *c, const struct imgo__packet *packet)
{
	struct imgo__buf buf = {0};
	struct imgo_str text;
	int r = body_text(c, packet, &buf, &text);

	if (r == 0)
		r = change_ops(c, packet->op, text);
	imgo__buf_free(&buf);
	if (r)
		imgo__conn_kill(c, why_not(r));
	else
		reply(c, packet, packet->op + 1, packet->body);
}

/* ---- all operations ---- */

static bool host_took_it(struct imgo__conn *c, const struct imgo__packet *packet)
{
	struct imgo_hub *hub = c->hub;
	struct imgo_hub_packet p = {.ver = packet->ver,
		.op = packet->op,
		.seq = packet->seq,
		.has_id = packet->has_id,
		.id = packet->id,
		.body = packet->body};

	if (!hub->ops.on_packet || packet->op == IMGO__OP_AUTH)
		return false;
	return hub->ops.on_packet(hub, imgo__conn_handle(c), &p, hub->user) || c->state != IMGO__CONN_LIVE || hub->freeing;
}

/* False: this dialect does not know it. */
static bool on_imgo_packet(struct imgo__conn *c, const struct imgo__packet *packet)
{
	switch (packet->op) {
	case IMGO__OP_SEND:
		reply(c, packet, IMGO__OP_SEND_REPLY, packet->body);
		return true;
	case IMGO__OP_TEST:
		reply(c, packet, IMGO__OP_TEST_REPLY, imgo_str("{\"test\":\"come on\"}"));
		return true;
	default:
		return false;
	}
}

static void on_unknown(struct imgo__conn *c, const struct imgo__packet *packet)
{
	if (!imgo__conn_is_goim(c))
		imgo__conn_kill(c, IMGO_CLOSE_PROTOCOL); /* a second login, too */
	else if (packet->op != IMGO__OP_RAW)
		reply(c, packet, packet->op, imgo_str(NULL));
}

static void on_packet(struct imgo__conn *c, const struct imgo__packet *packet)
{
	if (packet->has_id && c->ver < 2) {
		imgo__conn_kill(c, IMGO_CLOSE_PROTOCOL);
		return;
	}
	if (packet->op == IMGO__OP_HEARTBEAT)
		imgo__conn_deadline(c, c->hub->opt.heartbeat_timeout_ms);
	if (host_took_it(c, packet))
		return;
	switch (packet->op) {
	case IMGO__OP_HEARTBEAT:
		on_heartbeat(c, packet);
		break;
	case IMGO__OP_SUB:
	case IMGO__OP_UNSUB:
		on_ops(c, packet);
		break;
	case IMGO__OP_ROOM:
	case IMGO__OP_JOIN:
	case IMGO__OP_LEAVE:
		on_rooms(c, packet);
		break;
	default:
		if (imgo__conn_is_goim(c) || !on_imgo_packet(c, packet))
			on_unknown(c, packet);
	}
}

void imgo__hub_packet(struct imgo__conn *c, const struct imgo__packet *packet)
{
	if (c->state == IMGO__CONN_LIVE)
		on_packet(c, packet);
	else if (packet->op == IMGO__OP_AUTH && !packet->has_id)
		imgo__hub_auth(c, packet);
	else
		imgo__conn_kill(c, IMGO_CLOSE_PROTOCOL);
}
