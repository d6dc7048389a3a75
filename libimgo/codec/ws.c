/* SPDX-License-Identifier: MIT */
/*
 * Frames of RFC 6455. A frame is taken only when it is complete, so the payload of an unfragmented message
 * stays where it was received, unmasked in place. Everything that can be known earlier is judged earlier, in
 * the order of the bytes: the first byte (RSV, opcode, order), the second (mask, control frames), the length,
 * and the UTF-8 of text as far as it has come. ws->checked remembers how far, so that a frame arriving byte
 * by byte is not read again each time.
 *
 * Invariant: between calls ws->utf8 is the state after the open message's complete frames and the first
 * ws->checked bytes of the frame at hand. Control frames touch neither.
 */
#include "codec/ws.h"

#include "base/buf.h"
#include "codec/json.h"

#include <imgo/error.h>

/* Fragments of one message: some, and one for every so many bytes that the message may have. Empty ones add up too. */
enum { FRAGMENTS_MAX = 1024, FRAGMENT_BYTES = 64 };

struct frame {
	uint8_t op;
	bool fin, masked;
	uint8_t header; /* bytes of the header */
	uint8_t mask[4];
	uint64_t len; /* of the payload */
};

static int fail(uint16_t *close_code, uint16_t code, int err)
{
	*close_code = code;
	return err;
}

static bool is_control(const struct frame *f)
{
	return f->op >= IMGO__WS_CLOSE;
}

static int check_first_byte(
	const struct imgo__ws *ws, struct frame *f, uint8_t b, uint32_t fragments_max, uint16_t *close_code)
{
	bool known;

	f->fin = b & 0x80;
	f->op = b & 0x0F;
	known = f->op <= IMGO__WS_BINARY || (f->op >= IMGO__WS_CLOSE && f->op <= IMGO__WS_PONG);
	if ((b & 0x70) || !known || (is_control(f) && !f->fin))
		return fail(close_code, 1002, IMGO_EPROTO);
	if (!is_control(f) && (f->op == IMGO__WS_CONT) != (ws->message_op != 0))
		return fail(close_code, 1002, IMGO_EPROTO);
	if (f->op == IMGO__WS_CONT && ws->fragments >= fragments_max)
		return fail(close_code, 1008, IMGO_ELIMIT);
	return 0;
}

/* Payload length, in its shortest form only (RFC 6455 §5.2). false: not so. */
static bool read_length(struct frame *f, const uint8_t *data)
{
	uint8_t short_len = data[1] & 0x7F;

	if (short_len < 126) {
		f->len = short_len;
		return true;
	}
	f->len = short_len == 126 ? imgo__get16(data + 2) : imgo__get64(data + 2);
	return short_len == 126 ? f->len > 125 : f->len > UINT16_MAX && f->len <= INT64_MAX;
}

/* > 0: the header is complete; 0: it needs f->header bytes; < 0 as imgo__ws_decode. gathered: of message_max. */
static int read_header(const struct imgo__ws *ws, bool server, const uint8_t *data, size_t len, size_t message_max,
	size_t gathered, struct frame *f, uint16_t *close_code)
{
	size_t extra, room = message_max > gathered ? message_max - gathered : 0;
	int rc;

	f->header = 2;
	if (len == 0)
		return 0;
	rc = check_first_byte(ws, f, data[0], FRAGMENTS_MAX + (uint32_t)(message_max / FRAGMENT_BYTES), close_code);
	if (rc || len == 1)
		return rc;
	extra = (data[1] & 0x7F) < 126 ? 0 : (data[1] & 0x7F) == 126 ? 2 : 8;
	f->masked = data[1] & 0x80;
	f->header = (uint8_t)(2 + extra + (f->masked ? 4 : 0));
	if (f->masked != server || (is_control(f) && extra))
		return fail(close_code, 1002, IMGO_EPROTO);
	if (len < 2 + extra)
		return 0;
	if (!read_length(f, data))
		return fail(close_code, 1002, IMGO_EPROTO);
	if (!is_control(f) && f->len > room)
		return fail(close_code, 1009, IMGO_ELIMIT);
	if (len < f->header)
		return 0;
	if (f->masked)
		memcpy(f->mask, data + 2 + extra, 4);
	return 1;
}

static bool is_text(const struct imgo__ws *ws, const struct frame *f)
{
	return f->op == IMGO__WS_TEXT || (f->op == IMGO__WS_CONT && ws->message_op == IMGO__WS_TEXT);
}

/* Looks at text of an incomplete frame, which stays masked. False: it can no longer become UTF-8. */
static bool peek_text(struct imgo__ws *ws, const struct frame *f, const uint8_t *payload, size_t len)
{
	uint8_t block[256];

	while (ws->checked < len) {
		size_t n = len - ws->checked < sizeof block ? len - ws->checked : sizeof block;
		for (size_t i = 0; i < n; i++)
			block[i] = payload[ws->checked + i] ^ f->mask[(ws->checked + i) & 3];
		if (!imgo__utf8_feed(&ws->utf8, block, n))
			return false;
		ws->checked += n;
	}
	return true;
}

static bool close_code_valid(uint16_t code)
{
	return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

static int take_control(struct imgo__ws *ws, const struct frame *f, const uint8_t *payload,
	struct imgo__ws_event *event, uint16_t *close_code)
{
	event->op = f->op;
	event->payload = imgo_strn(payload, f->len);
	if (f->op != IMGO__WS_CLOSE)
		return 0;
	ws->closed = true;
	event->close_code = 1005;
	if (f->len == 0)
		return 0;
	if (f->len == 1 || !close_code_valid(imgo__get16(payload)))
		return fail(close_code, 1002, IMGO_EPROTO);
	event->close_code = imgo__get16(payload);
	event->payload = imgo_strn(payload + 2, f->len - 2);
	if (!imgo__utf8_valid(event->payload.p, event->payload.len))
		return fail(close_code, 1007, IMGO_EPROTO);
	return 0;
}

static int take_data(struct imgo__ws *ws, const struct frame *f, const uint8_t *payload, struct imgo__buf *message,
	struct imgo__ws_event *event, uint16_t *close_code)
{
	uint8_t op = f->op == IMGO__WS_CONT ? ws->message_op : f->op;
	bool whole = f->fin && f->op != IMGO__WS_CONT;

	if (op == IMGO__WS_TEXT) {
		if (!imgo__utf8_feed(&ws->utf8, payload + ws->checked, f->len - ws->checked) ||
			(f->fin && !imgo__utf8_complete(ws->utf8)))
			return fail(close_code, 1007, IMGO_EPROTO);
		ws->checked = 0;
	}
	event->payload = imgo_strn(payload, f->len);
	if (!whole) {
		if (f->op != IMGO__WS_CONT)
			message->len = 0;
		if (f->len && imgo__buf_append(message, payload, f->len))
			return fail(close_code, 1011, IMGO_ENOMEM);
		event->payload = imgo_strn(message->data, message->len);
	}
	ws->message_op = f->fin ? 0 : op;
	ws->fragments = f->fin ? 0 : ws->fragments + 1;
	if (f->fin)
		event->op = op;
	else
		event->payload = imgo_strn(NULL, 0);
	return 0;
}

ssize_t imgo__ws_decode(struct imgo__ws *ws, bool server, uint8_t *data, size_t len, size_t message_max,
	struct imgo__buf *message, struct imgo__ws_event *event, uint16_t *close_code, size_t *need)
{
	size_t gathered = ws->message_op ? message->len : 0;
	struct frame f = {0};
	uint8_t *payload;
	int rc;

	*event = (struct imgo__ws_event){0};
	*need = 1;
	if (ws->closed)
		return (ssize_t)len;
	rc = read_header(ws, server, data, len, message_max, gathered, &f, close_code);
	*need = f.header + (size_t)f.len;
	if (rc <= 0)
		return rc;
	payload = data + f.header;
	if (len < *need) {
		if (is_text(ws, &f) && !peek_text(ws, &f, payload, len - f.header))
			return fail(close_code, 1007, IMGO_EPROTO);
		return 0;
	}
	if (f.masked)
		imgo__ws_mask(payload, (size_t)f.len, f.mask);
	if (is_control(&f))
		rc = take_control(ws, &f, payload, event, close_code);
	else
		rc = take_data(ws, &f, payload, message, event, close_code);
	return rc ? rc : (ssize_t)*need;
}

static size_t put_header(uint8_t op, size_t payload_len, uint8_t mask_bit, uint8_t *out)
{
	out[0] = 0x80 | op;
	if (payload_len < 126) {
		out[1] = mask_bit | (uint8_t)payload_len;
		return 2;
	}
	if (payload_len <= UINT16_MAX) {
		out[1] = mask_bit | 126;
		imgo__put16(out + 2, (uint16_t)payload_len);
		return 4;
	}
	out[1] = mask_bit | 127;
	imgo__put64(out + 2, payload_len);
	return 10;
}

size_t imgo__ws_header(uint8_t op, size_t payload_len, uint8_t out[10])
{
	return put_header(op, payload_len, 0, out);
}

size_t imgo__ws_header_masked(uint8_t op, size_t payload_len, const uint8_t mask[4], uint8_t out[14])
{
	size_t n = put_header(op, payload_len, 0x80, out);

	memcpy(out + n, mask, 4);
	return n + 4;
}

void imgo__ws_mask(uint8_t *p, size_t len, const uint8_t mask[4])
{
	uint64_t wide, word;

	memcpy(&wide, mask, 4);
	memcpy((uint8_t *)&wide + 4, mask, 4);
	for (; len >= 8; p += 8, len -= 8) {
		memcpy(&word, p, 8);
		word ^= wide;
		memcpy(p, &word, 8);
	}
	for (size_t i = 0; i < len; i++)
		p[i] ^= mask[i & 3];
}
