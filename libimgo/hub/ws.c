/* SPDX-License-Identifier: MIT */
/*
 * WebSocket: the upgrade request, then frames. The state of a fragmented message lives in the connection's
 * input, which an idle connection does not have; here it is taken out, used, and put back when there is
 * something in it.
 *
 * A message is one packet: in its JSON form, in a text or a binary frame, or as goim has it, binary. The first message of
 * a connection tells which of the two it speaks, and then it is to speak that. A packet begins with a zero byte (or is too
 * long), JSON with white space or a brace.
 */
#include "hub/internal.h"

#include <stdio.h>

#include "base/mem.h"
#include "codec/http.h"
#include "codec/json.h"

/* ---- the upgrade ---- */

static void answer(struct imgo__conn *c, const char *text, size_t len)
{
	struct imgo__chunk *chunk = imgo__chunk_new(len);

	if (!chunk) {
		imgo__conn_kill(c, IMGO_CLOSE_TRY_LATER);
		return;
	}
	memcpy(chunk->data, text, len);
	(void)imgo__conn_queue(c, chunk);
	imgo__chunk_unref(chunk);
}

static void refuse(struct imgo__conn *c, int status)
{
	char text[256];
	const char *more = status == 426   ? "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n"
			   : status == 405 ? "Allow: GET\r\n"
					   : "";
	int len = snprintf(text, sizeof text, "HTTP/1.1 %d %s\r\n%sContent-Length: 0\r\nConnection: close\r\n\r\n",
		status, imgo__http_reason(status), more);

	answer(c, text, (size_t)len);
	imgo__conn_kill(c, status == 413 || status == 414 || status == 431 ? IMGO_CLOSE_TOO_BIG : IMGO_CLOSE_PROTOCOL);
}

/* Browsers say where the page that connects came from (Origin); others need not. */
static int judge(struct imgo_hub *hub, const struct imgo__http_request *request, struct imgo_str *key)
{
	struct imgo_str origin = imgo__http_header(request, "Origin");
	int status = 0;

	if (!imgo_str_eq(request->path, imgo_str("/sub")))
		return 404;
	if (imgo__ws_handshake(request, key, &status))
		return status;
	if (imgo__http_header_count(request, "Origin") > 1)
		return 400;
	if (!origin.p || imgo__ws_origin_allowed(hub->opt.origins, origin))
		return 0;
	imgo_stat_add(hub->stats.refused_origin, 1);
	return 403;
}

size_t imgo__ws_upgrade(struct imgo__conn *c, uint8_t *data, size_t len, size_t *need)
{
	static const struct imgo__http_limits limits = {
		.target_max = IMGO__HUB_TARGET_MAX, .head_max = IMGO__HUB_HEAD_MAX, .body_max = 0};
	struct imgo__http_request request;
	struct imgo_str key = {NULL, 0};
	char text[256], accept[29];
	int status = 0;
	ssize_t n = imgo__http_decode(data, len, &limits, &request, &status);

	*need = len + 1;
	if (n == 0)
		return 0;
	if (n > 0)
		status = judge(c->hub, &request, &key);
	if (n > 0 && status == 0 && imgo__ws_accept(key, accept))
		status = 503;
	if (n < 0 || status) {
		refuse(c, status ? status : 400);
		return len;
	}
	int size = snprintf(text, sizeof text,
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		"Sec-WebSocket-Accept: %s\r\n\r\n",
		accept);
	answer(c, text, (size_t)size);
	if (imgo__conn_alive(c)) {
		c->flags |= IMGO__CONN_UPGRADED;
		c->state = IMGO__CONN_OPEN;
	}
	return (size_t)n;
}

/* ---- frames ---- */

static uint16_t code_of(enum imgo_close why)
{
	static const uint16_t codes[IMGO__HUB_CLOSES] = {
		[IMGO_CLOSE_PEER] = 1000,
		[IMGO_CLOSE_PROTOCOL] = 1002,
		[IMGO_CLOSE_TOO_BIG] = 1009,
		[IMGO_CLOSE_HANDSHAKE] = 1008,
		[IMGO_CLOSE_HEARTBEAT] = 1001,
		[IMGO_CLOSE_SLOW] = 4008,
		[IMGO_CLOSE_DENIED] = 4001,
		[IMGO_CLOSE_TRY_LATER] = 1013,
		[IMGO_CLOSE_REPLACED] = 4009,
		[IMGO_CLOSE_KICKED] = 4003,
		[IMGO_CLOSE_FLOOD] = 1008,
		[IMGO_CLOSE_SHUTDOWN] = 1001,
	};

	return codes[why] ? codes[why] : 1000;
}

static struct imgo__chunk *control_frame(uint8_t op, const void *payload, size_t len)
{
	uint8_t head[10];
	size_t n = imgo__ws_header(op, len, head);
	struct imgo__chunk *chunk = imgo__chunk_new(n + len);

	if (!chunk)
		return NULL;
	memcpy(chunk->data, head, n);
	if (len)
		memcpy(chunk->data + n, payload, len);
	return chunk;
}

struct imgo__chunk *imgo__ws_close_frame(const struct imgo__conn *c)
{
	uint16_t code = c->ws_code ? c->ws_code : code_of((enum imgo_close)c->why);
	uint8_t payload[2];

	imgo__put16(payload, code);
	return control_frame(IMGO__WS_CLOSE, payload, code == 1005 ? 0 : 2);
}

int imgo__ws_ping(struct imgo__conn *c, struct imgo_str payload)
{
	struct imgo__chunk *chunk = control_frame(IMGO__WS_PING, payload.p, payload.len);
	int r = chunk ? imgo__conn_queue(c, chunk) : IMGO_ENOMEM;

	imgo__chunk_unref(chunk);
	return r;
}

/* Each ping has its pong, but a client that does not read them gets one for all that it sends meanwhile, the last (RFC 6455
 * §5.5.3). A pong is a chunk of its own, as all frames are, and told by its first byte. */
static void pong(struct imgo__conn *c, struct imgo_str payload)
{
	struct imgo__chunk *chunk = control_frame(IMGO__WS_PONG, payload.p, payload.len);
	struct imgo__chunk *last = (c->events & IMGO__WRITE) ? imgo__outq_last(c->out) : NULL;

	if (chunk && last && last->data[0] == chunk->data[0]) {
		c->queued = c->queued - last->len + chunk->len;
		imgo__outq_replace_last(c->out, chunk);
	} else if (chunk) {
		(void)imgo__conn_queue(c, chunk);
	}
	imgo__chunk_unref(chunk);
}

static void on_pong(struct imgo__conn *c, struct imgo_str payload)
{
	struct imgo_hub *hub = c->hub;

	if (c->state == IMGO__CONN_LIVE && hub->ops.on_pong)
		hub->ops.on_pong(hub, imgo__conn_handle(c), payload, hub->user);
}

static void violated(struct imgo__conn *c, enum imgo_close why, uint16_t code)
{
	c->ws_code = code;
	imgo__conn_kill(c, why);
}

static bool speaks_json(const struct imgo__conn *c)
{
	return c->dialect == IMGO__DIALECT_JSON1 || c->dialect == IMGO__DIALECT_JSON2;
}

static void json_message(struct imgo__conn *c, struct imgo_str text)
{
	struct imgo__packet packet;

	if (!speaks_json(c))
		violated(c, IMGO_CLOSE_PROTOCOL, 1003);
	else if (imgo__packet_decode_json(text, &packet))
		violated(c, IMGO_CLOSE_PROTOCOL, 1002);
	else if (packet.body.len > c->hub->opt.body_max_bytes)
		violated(c, IMGO_CLOSE_TOO_BIG, 1009);
	else
		imgo__hub_packet(c, &packet);
}

static void packet_message(struct imgo__conn *c, struct imgo_str bytes)
{
	struct imgo__packet packet;
	size_t need;

	if (c->state == IMGO__CONN_OPEN)
		c->dialect = IMGO__DIALECT_BING;
	ssize_t n = imgo__packet_decode((const uint8_t *)bytes.p, bytes.len, c->hub->opt.body_max_bytes, &packet, &need);
	if (speaks_json(c))
		violated(c, IMGO_CLOSE_PROTOCOL, 1003);
	else if (n == IMGO_ELIMIT)
		violated(c, IMGO_CLOSE_TOO_BIG, 1009);
	else if (n <= 0 || (size_t)n != bytes.len)
		violated(c, IMGO_CLOSE_PROTOCOL, 1002);
	else
		imgo__hub_packet(c, &packet);
}

static void binary_message(struct imgo__conn *c, struct imgo_str bytes)
{
	size_t space = 0;

	while (space < bytes.len && strchr(" \t\r\n", bytes.p[space]) && bytes.p[space])
		space++;
	if (space == bytes.len || bytes.p[space] != '{')
		packet_message(c, bytes);
	else if (!imgo__utf8_valid(bytes.p, bytes.len))
		violated(c, IMGO_CLOSE_PROTOCOL, 1007);
	else
		json_message(c, bytes);
}

static void on_frame(struct imgo__conn *c, const struct imgo__ws_event *event)
{
	switch (event->op) {
	case IMGO__WS_TEXT:
		json_message(c, event->payload);
		break;
	case IMGO__WS_BINARY:
		binary_message(c, event->payload);
		break;
	case IMGO__WS_PING:
		pong(c, event->payload);
		break;
	case IMGO__WS_PONG:
		on_pong(c, event->payload);
		break;
	case IMGO__WS_CLOSE:
		c->flags |= IMGO__CONN_CLOSE_READ;
		violated(c, IMGO_CLOSE_PEER, event->close_code);
		break;
	default:
		break; /* a fragment */
	}
}

static enum imgo_close why_of(ssize_t err, uint16_t code)
{
	if (err == IMGO_ENOMEM)
		return IMGO_CLOSE_TRY_LATER;
	if (code == 1008)
		return IMGO_CLOSE_FLOOD;
	return err == IMGO_ELIMIT ? IMGO_CLOSE_TOO_BIG : IMGO_CLOSE_PROTOCOL;
}

/* Puts back the state of an open message, if there is one. False: no memory for it (closed). */
static bool put_back(struct imgo__conn *c, const struct imgo__ws *ws, const struct imgo__buf *message)
{
	static const struct imgo__ws nothing;

	if (!c->in && !message->data && memcmp(ws, &nothing, sizeof nothing) == 0)
		return true;
	if (!imgo__input_get(c))
		return false;
	c->in->ws = *ws;
	c->in->message = *message;
	return true;
}

size_t imgo__ws_take(struct imgo__conn *c, uint8_t *data, size_t len, size_t *need)
{
	struct imgo__ws ws = c->in ? c->in->ws : (struct imgo__ws){0};
	struct imgo__buf message = c->in ? c->in->message : (struct imgo__buf){0};
	struct imgo__ws_event event;
	uint16_t code = 0;
	size_t max = c->hub->opt.body_max_bytes + IMGO__HUB_ENVELOPE;
	ssize_t n = imgo__ws_decode(&ws, true, data, len, max, &message, &event, &code, need);

	if (!put_back(c, &ws, &message)) {
		imgo__buf_free(&message);
		return len;
	}
	if (n < 0) {
		violated(c, why_of(n, code), n == IMGO_ENOMEM ? 1013 : code);
		return len;
	}
	if (n > 0 && imgo__conn_spend(c))
		on_frame(c, &event);
	if (event.op == IMGO__WS_TEXT || event.op == IMGO__WS_BINARY) {
		if (c->in)
			imgo__buf_free(&c->in->message);
	}
	return (size_t)n;
}
