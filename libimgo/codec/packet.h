/* SPDX-License-Identifier: MIT */
/*
 * The goim packet (COMPATIBILITY.md §1): a 16-byte big-endian header (28 in version 2, DESIGN.md §4) and a body.
 * Sans I/O: feed bytes, get packets.
 */
#ifndef IMGO__CODEC_PACKET_H
#define IMGO__CODEC_PACKET_H

#include <sys/types.h>

#include <imgo/types.h>

#define IMGO__PACKET_HEADER  16
#define IMGO__PACKET_HEADER2 28

enum { /* operations */
	IMGO__OP_HEARTBEAT = 2,
	IMGO__OP_HEARTBEAT_REPLY = 3,
	IMGO__OP_SEND = 4,
	IMGO__OP_SEND_REPLY = 5,
	IMGO__OP_AUTH = 7,
	IMGO__OP_AUTH_REPLY = 8,
	IMGO__OP_RAW = 9,
	IMGO__OP_ROOM = 12,
	IMGO__OP_ROOM_REPLY = 13,
	IMGO__OP_SUB = 14,
	IMGO__OP_SUB_REPLY = 15,
	IMGO__OP_UNSUB = 16,
	IMGO__OP_UNSUB_REPLY = 17,
	IMGO__OP_ACK = 18,
	IMGO__OP_JOIN = 20,
	IMGO__OP_LEAVE = 21,
	IMGO__OP_JOIN_REPLY = 22,
	IMGO__OP_LEAVE_REPLY = 23,
	IMGO__OP_GAP = 24,
	IMGO__OP_RECONNECT = 25,
	IMGO__OP_KICK = 26,
	IMGO__OP_TEST = 254,
	IMGO__OP_TEST_REPLY = 255,
};

struct imgo__packet {
	uint16_t ver;
	bool has_id; /* header length 28 */
	int32_t op;
	int32_t seq;
	struct imgo_id id;    /* has_id only */
	struct imgo_str body; /* into the caller's bytes */
	bool quoted; /* JSON only: body is the inside of a JSON string, escapes as sent; written back as it is */
};

/*
 * Looks for one packet at the start of data. Returns > 0: bytes it takes, *out is filled (body points into data);
 * 0: incomplete, *need is the least length with which to ask again (so no allocation beyond it is ever wanted);
 * IMGO_EPROTO: header length neither 16 nor 28, packet length below it; IMGO_ELIMIT: body over body_max. The limit
 * and the header are checked as soon as their bytes are there.
 */
ssize_t imgo__packet_decode(const uint8_t *data, size_t len, size_t body_max, struct imgo__packet *out, size_t *need);

/* Writes the header (16 or 28 bytes as packet->has_id); returns its length. The body is packet->body.len long. */
size_t imgo__packet_header(const struct imgo__packet *packet, uint8_t out[IMGO__PACKET_HEADER2]);

/*
 * The JSON form (COMPATIBILITY.md §2), one object a client message: {"ver":1,"op":7,"seq":1,"body":…}. Omitted fields
 * are 0 and the body is empty (B19). body of out is the raw JSON text of "body", outer quotes of a string stripped
 * (for a token: escapes are not interpreted, as in the original). Version 2: "epoch" number and "id" string set has_id.
 * `text` must be valid UTF-8; strict JSON, depth ≤ 16, an object; duplicate keys, wrong types, integers that do not
 * fit, and trailing bytes are IMGO_EPROTO. Other fields are ignored, and so are "epoch" and "id" of version 1
 * (ver below 2, unless op is 18); in version 2 they come together or not at all. out->body points into text. No allocation.
 */
int imgo__packet_decode_json(struct imgo_str text, struct imgo__packet *out);

struct imgo__buf;
/* Appends {"ver":…,"op":…,"seq":…,"body":…}, and with has_id ,"epoch":…,"id":"…" at its end: key order as written, body
 * embedded as imgo__msg_encode does. IMGO_ENOMEM. */
int imgo__packet_encode_json(struct imgo__buf *out, const struct imgo__packet *packet);

#endif
