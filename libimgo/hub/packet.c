/* SPDX-License-Identifier: MIT */
/* What a client's packet does. The host sees each first, and may keep it to itself. */
#include "hub/internal.h"

#include "codec/json.h"

/* ---- answering ---- */

static struct imgo__chunk *encode_tcp(const struct imgo__packet *packet)
{
	uint8_t head[IMGO__PACKET_HEADER2];
	size_t n = imgo__packet_header(packet, head);
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

int imgo__hub_answer(struct imgo__conn *c, const struct imgo__packet *packet)
{
	struct imgo__chunk *chunk = c->kind == IMGO_HUB_WEBSOCKET ? encode_json(c->hub, packet) : encode_tcp(packet);

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

/* ---- rooms ---- */

/* The body as a room's key. An empty JSON body is what version 1 clients write for none. */
static int room_key(
	const struct imgo__conn *c, const struct imgo__packet *packet, struct imgo__buf *buf, struct imgo_str *key)
{
	*key = packet->body;
	if (packet->quoted) {
		buf->len = 0;
		if (imgo__json_unquote(buf, packet->body))
			return IMGO_ENOMEM;
		*key = imgo_strn(buf->data, buf->len);
	} else if (c->kind == IMGO_HUB_WEBSOCKET && imgo_str_eq(packet->body, imgo_str("{}"))) {
		key->len = 0;
	}
	return key->len > IMGO_ROOM_MAX ? IMGO_EINVAL : 0;
}

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
	int r = room_key(c, packet, &buf, &key);

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
		reply(c, packet, IMGO__OP_HEARTBEAT_REPLY, imgo_str(NULL));
		break;
	case IMGO__OP_SEND:
		reply(c, packet, IMGO__OP_SEND_REPLY, packet->body);
		break;
	case IMGO__OP_TEST:
		reply(c, packet, IMGO__OP_TEST_REPLY, imgo_str("{\"test\":\"come on\"}"));
		break;
	case IMGO__OP_ROOM:
	case IMGO__OP_JOIN:
	case IMGO__OP_LEAVE:
		on_rooms(c, packet);
		break;
	default:
		imgo__conn_kill(c, IMGO_CLOSE_PROTOCOL); /* a second login, too */
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
