/* SPDX-License-Identifier: MIT */
/*
 * The bytes of a client, both ways. TCP: packets. WebSocket: the upgrade, then masked text frames out, and
 * arrays of packets in; goim's dialect there: a packet a binary frame both ways, pushes inside an op-9 packet.
 *
 * Input is taken straight from the stream's buffer, one packet or frame after the other, while the client is
 * alive: each may be its end, because the host's callback may close or free it. The buffer stays until the
 * turn is over (imgo_client_free inside a callback waits for that), so the body that a callback looks at is
 * not taken away under it. A string's meaning has a buffer of its own: the callback may send, which uses
 * scratch.
 */
#include "service/client_impl.h"

#include <strings.h>

#include <imgo/error.h>

#include "base/hash.h"
#include "codec/http.h"
#include "codec/json.h"

enum { HEAD_MAX = 8192, CONTROL_MAX = 125, WS_HEAD_MAX = 14 };

/* ---- out ---- */

static int room_for(struct imgo_client *client, size_t len)
{
	size_t unsent = imgo__stream_unsent(&client->stream);

	/* One packet may always go, however long. */
	if (unsent > 0 && unsent + len > client->opt.send_queue_max_bytes)
		return IMGO_ELIMIT;
	return imgo__buf_reserve(&client->stream.out, len);
}

static int put_packet(struct imgo_client *client, const struct imgo__packet *packet)
{
	struct imgo__buf *out = &client->stream.out;
	int err = room_for(client, IMGO__PACKET_HEADER2 + packet->body.len);

	if (err)
		return err;
	out->len += imgo__packet_header(packet, out->data + out->len);
	return imgo__buf_str(out, packet->body);
}

static size_t frame_bytes(struct imgo_client *client, uint8_t op, const void *payload, size_t len, uint8_t *out)
{
	uint8_t mask[4];
	size_t n;

	imgo__loop_random(client->loop, mask, sizeof mask);
	n = imgo__ws_header_masked(op, len, mask, out);
	if (len)
		memcpy(out + n, payload, len);
	imgo__ws_mask(out + n, len, mask);
	return n + len;
}

static int put_frame(struct imgo_client *client, uint8_t op, const void *payload, size_t len)
{
	struct imgo__buf *out = &client->stream.out;
	int err = room_for(client, WS_HEAD_MAX + len);

	if (err == 0)
		out->len += frame_bytes(client, op, payload, len, out->data + out->len);
	return err;
}

/* The inside of body as a JSON string. */
static int quote(struct imgo__buf *out, struct imgo__packet *packet)
{
	if (imgo__json_quote(out, packet->body))
		return IMGO_ENOMEM;
	packet->quoted = true;
	packet->body = imgo_strn(out->data + 1, out->len - 2);
	return 0;
}

static int put_json(struct imgo_client *client, struct imgo__packet packet, enum imgo__client_body form)
{
	struct imgo__buf text = {0};
	int err = 0;

	client->scratch.len = 0;
	if (form == IMGO__CLIENT_STRING)
		err = quote(&text, &packet);
	else if (form == IMGO__CLIENT_TOKEN)
		packet.quoted = true;
	if (err == 0)
		err = imgo__packet_encode_json(&client->scratch, &packet);
	if (err == 0)
		err = put_frame(client, IMGO__WS_TEXT, client->scratch.data, client->scratch.len);
	imgo__buf_free(&text);
	return err;
}

static int put_binary(struct imgo_client *client, const struct imgo__packet *packet)
{
	struct imgo__buf *bytes = &client->scratch;

	bytes->len = 0;
	if (imgo__buf_reserve(bytes, IMGO__PACKET_HEADER2))
		return IMGO_ENOMEM;
	bytes->len = imgo__packet_header(packet, bytes->data);
	if (imgo__buf_str(bytes, packet->body))
		return IMGO_ENOMEM;
	return put_frame(client, IMGO__WS_BINARY, bytes->data, bytes->len);
}

int imgo__client_put(struct imgo_client *client, const struct imgo__packet *packet, enum imgo__client_body form)
{
	int err;

	if (client->opt.transport == IMGO_CLIENT_TCP)
		err = put_packet(client, packet);
	else
		err = client->opt.goim ? put_binary(client, packet) : put_json(client, *packet, form);
	if (err == 0)
		imgo__stream_push(&client->stream);
	return err;
}

bool imgo__client_token_plain(struct imgo_str token)
{
	for (size_t i = 0; i < token.len; i++) {
		if ((uint8_t)token.p[i] < 0x20 || token.p[i] == '"' || token.p[i] == '\\')
			return false;
	}
	return imgo__utf8_valid(token.p, token.len);
}

int imgo__client_put_upgrade(struct imgo_client *client)
{
	uint8_t nonce[16];
	char key[25];

	imgo__loop_random(client->loop, nonce, sizeof nonce);
	imgo__base64(nonce, sizeof nonce, key);
	if (imgo__ws_accept(imgo_str(key), client->accept) ||
		imgo__buf_printf(&client->stream.out,
			"GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
			"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n",
			client->opt.path, client->opt.address, key))
		return IMGO_ENOMEM;
	imgo__stream_push(&client->stream);
	return 0;
}

int imgo__client_put_close(struct imgo_client *client)
{
	static const uint8_t normal[2] = {1000 >> 8, 1000 & 0xff};

	return put_frame(client, IMGO__WS_CLOSE, normal, sizeof normal);
}

/* The last frame of a connection that is closed right after it: written at once if the socket takes it, else
 * never. */
static void farewell(struct imgo_client *client, uint16_t code)
{
	uint8_t payload[2], bytes[WS_HEAD_MAX + sizeof payload];
	struct iovec iov = {bytes, 0};

	if (imgo__stream_unsent(&client->stream) > 0)
		return;
	imgo__put16(payload, code);
	iov.iov_len = frame_bytes(client, IMGO__WS_CLOSE, payload, code == 1005 ? 0 : 2, bytes);
	(void)imgo__sock_writev(client->loop, client->stream.fd, &iov, 1);
}

/* ---- in: TCP ---- */

static ssize_t take_packet(struct imgo_client *client, uint8_t *data, size_t len)
{
	struct imgo__packet packet;
	size_t need;
	ssize_t n = imgo__packet_decode(data, len, client->opt.packet_max_bytes, &packet, &need);

	if (n > 0)
		imgo__client_packet(client, &packet);
	return n;
}

/* ---- in: WebSocket ---- */

static struct imgo_str header(const struct imgo__http_response *response, const char *name)
{
	for (unsigned i = 0; i < response->nheaders; i++) {
		struct imgo_str key = response->headers[i].name;
		if (key.len == strlen(name) && strncasecmp(key.p, name, key.len) == 0)
			return response->headers[i].value;
	}
	return imgo_str(NULL);
}

static int refused(struct imgo_client *client, int status)
{
	client->code = (uint16_t)status;
	if (status == 401 || status == 403)
		return IMGO_EDENIED;
	return status == 429 || status >= 500 ? IMGO_EUNAVAILABLE : IMGO_EPROTO;
}

static ssize_t take_upgrade(struct imgo_client *client, uint8_t *data, size_t len)
{
	struct imgo__http_response response;
	ssize_t n = imgo__http_decode_response(data, len, HEAD_MAX, &response);

	if (n <= 0)
		return n;
	if (response.status != 101)
		return refused(client, response.status);
	if (!imgo_str_eq(header(&response, "Sec-WebSocket-Accept"), imgo_str(client->accept)))
		return IMGO_EPROTO;
	client->phase = IMGO__CLIENT_FRAMES;
	return n;
}

static int err_of(uint16_t code)
{
	switch (code) {
	case 4001: /* bad token */
	case 4003: /* kicked */
		return IMGO_EDENIED;
	case 4009:
		return IMGO_ESTALE;
	case 1001:
	case 1012:
	case 1013:
		return IMGO_EUNAVAILABLE;
	case 1008:
	case 1009:
	case 4008:
		return IMGO_ELIMIT;
	case 1002:
	case 1003:
	case 1007:
		return IMGO_EPROTO;
	default:
		return IMGO_ECLOSED;
	}
}

/* One packet of an array, its body's meaning in *text when it is a string. */
static int packet_in(struct imgo_client *client, struct imgo__packet *packet, struct imgo__buf *text)
{
	if (packet->quoted) {
		text->len = 0;
		if (imgo__json_unquote(text, packet->body))
			return IMGO_ENOMEM;
		packet->body = imgo_strn(text->data, text->len);
	}
	imgo__client_packet(client, packet);
	return 0;
}

static int take_array(struct imgo_client *client, struct imgo_str rest)
{
	struct imgo__packet packet;
	struct imgo__buf text = {0};
	bool first = true;
	int r;

	while ((r = imgo__client_json_next(&rest, first, &packet)) > 0) {
		first = false;
		r = packet_in(client, &packet, &text);
		if (r < 0 || !imgo__client_alive(client))
			break;
	}
	imgo__buf_free(&text);
	return r < 0 ? r : 0;
}

/* Whole packets, back to back. */
static int take_packets(struct imgo_client *client, struct imgo_str bytes)
{
	while (bytes.len > 0 && imgo__client_alive(client)) {
		ssize_t n = take_packet(client, (uint8_t *)bytes.p, bytes.len);
		if (n <= 0)
			return n ? (int)n : IMGO_EPROTO;
		bytes = imgo_strn(bytes.p + n, bytes.len - (size_t)n);
	}
	return 0;
}

static int take_binary(struct imgo_client *client, struct imgo_str bytes)
{
	struct imgo__packet packet;
	size_t need;
	ssize_t n = imgo__packet_decode((const uint8_t *)bytes.p, bytes.len, client->opt.packet_max_bytes, &packet, &need);

	if (n <= 0 || (size_t)n != bytes.len)
		return n < 0 ? (int)n : IMGO_EPROTO;
	return take_packets(client, packet.op == IMGO__OP_RAW ? packet.body : bytes);
}

static int take_message(struct imgo_client *client, const struct imgo__ws_event *event)
{
	if (!client->opt.goim)
		return take_array(client, event->payload);
	return event->op == IMGO__WS_BINARY ? take_binary(client, event->payload) : IMGO_EPROTO;
}

static int on_event(struct imgo_client *client, const struct imgo__ws_event *event)
{
	int err = 0;

	switch (event->op) {
	case IMGO__WS_TEXT:
	case IMGO__WS_BINARY:
		err = take_message(client, event);
		if (err && imgo__client_alive(client))
			farewell(client, err == IMGO_EPROTO ? 1002 : 1011);
		break;
	case IMGO__WS_PING: /* a pong for which there is no room is no loss: the next one will do */
		if (put_frame(client, IMGO__WS_PONG, event->payload.p, event->payload.len) == 0)
			imgo__stream_push(&client->stream);
		break;
	case IMGO__WS_CLOSE:
		client->code = event->close_code;
		farewell(client, event->close_code);
		err = err_of(event->close_code);
		break;
	default:
		break;
	}
	return err;
}

static ssize_t take_frame(struct imgo_client *client, uint8_t *data, size_t len)
{
	struct imgo__ws_event event;
	uint16_t code = 0;
	size_t need;
	ssize_t n = imgo__ws_decode(
		&client->ws, false, data, len, client->opt.packet_max_bytes, &client->message, &event, &code, &need);

	if (n < 0)
		farewell(client, code);
	if (n <= 0)
		return n;
	int err = on_event(client, &event);
	if (event.op == IMGO__WS_TEXT || event.op == IMGO__WS_BINARY)
		imgo__buf_free(&client->message);
	return err ? err : n;
}

void imgo__client_input(struct imgo_client *client)
{
	struct imgo__stream *s = &client->stream;

	while (imgo__client_alive(client) && s->in_at < s->in.len) {
		uint8_t *data = s->in.data + s->in_at;
		size_t len = s->in.len - s->in_at;
		ssize_t n;
		if (client->phase == IMGO__CLIENT_PACKETS)
			n = take_packet(client, data, len);
		else if (client->phase == IMGO__CLIENT_FRAMES)
			n = take_frame(client, data, len);
		else
			n = take_upgrade(client, data, len);
		if (n == 0)
			return;
		if (n < 0) {
			if (imgo__client_alive(client))
				imgo__client_lost(client, (int)n);
			return;
		}
		s->in_at += (size_t)n;
		/* The login follows the upgrade; client.c sends it. */
		if (client->phase == IMGO__CLIENT_FRAMES && client->login_seq == 0)
			imgo__client_login(client);
	}
}
