/* SPDX-License-Identifier: MIT */
/* WebSocket frames (RFC 6455 §5), server side and client side. Sans I/O. */
#ifndef IMGO__CODEC_WS_H
#define IMGO__CODEC_WS_H

#include <sys/types.h>

#include <imgo/types.h>

enum {
	IMGO__WS_CONT = 0,
	IMGO__WS_TEXT = 1,
	IMGO__WS_BINARY = 2,
	IMGO__WS_CLOSE = 8,
	IMGO__WS_PING = 9,
	IMGO__WS_PONG = 10,

	IMGO__WS_CONTROL_MAX = 125, /* payload of a control frame */
};

struct imgo__buf;

/* State of one receiving side: small, no allocation of its own. Zero-initialise. */
struct imgo__ws {
	uint8_t message_op; /* TEXT or BINARY while a fragmented message is open, else 0 */
	bool closed;        /* a close frame was seen: nothing more is read */
	uint32_t utf8;      /* state of the open text message */
	uint32_t fragments; /* of the open message */
	size_t checked;     /* payload bytes of a still incomplete text frame that are in utf8 already */
};

/* One complete event. payload points into the caller's data (unmasked in place) or into *message. */
struct imgo__ws_event {
	uint8_t op; /* TEXT or BINARY (a whole message), CLOSE, PING, PONG; 0: a fragment was taken, nothing to report */
	uint16_t close_code;     /* CLOSE: 1005 when there was none */
	struct imgo_str payload; /* CLOSE: the reason, without the code */
};

/*
 * Takes at most one frame from the start of data. server: frames must be masked (else they must not be).
 * Returns > 0: bytes taken, *event filled; 0: incomplete, *need = least length to ask again with (a message of up to
 * message_max, never more); < 0: the connection must be closed with *close_code: IMGO_EPROTO (1002: mask, RSV, opcode,
 * control frame, order, close payload; 1007: UTF-8, found as early as the bytes are there) or IMGO_ELIMIT (1009 at the
 * frame header; 1008: more than 1024 fragments and one for each 64 bytes of message_max) or IMGO_ENOMEM (1011).
 * A message in several frames is gathered in *message (the caller's; emptied by the caller after the event). Between
 * two calls for one frame the caller must not change its bytes. After a CLOSE event everything is taken, nothing reported.
 */
ssize_t imgo__ws_decode(struct imgo__ws *ws, bool server, uint8_t *data, size_t len, size_t message_max,
	struct imgo__buf *message, struct imgo__ws_event *event, uint16_t *close_code, size_t *need);

/* Header of an unfragmented, unmasked frame; returns its length (2, 4 or 10). */
size_t imgo__ws_header(uint8_t op, size_t payload_len, uint8_t out[10]);
/* The same with a mask (client side): header with mask of 6, 8 or 14 bytes; then mask the payload in place. */
size_t imgo__ws_header_masked(uint8_t op, size_t payload_len, const uint8_t mask[4], uint8_t out[14]);
void imgo__ws_mask(uint8_t *p, size_t len, const uint8_t mask[4]);

struct imgo__http_request;
/* Is this request a WebSocket handshake (RFC 6455 §4.2.1)? 0 and *key, or IMGO_EPROTO and *status: 405 (not GET), 400 (no
 * upgrade, HTTP/1.0, a body, not exactly one valid key or version), 426 (another version: say Sec-WebSocket-Version: 13).
 * Path and Origin are the caller's. */
int imgo__ws_handshake(const struct imgo__http_request *request, struct imgo_str *key, int *status);

/* Sec-WebSocket-Accept of a Sec-WebSocket-Key (RFC 6455 §4.2.2): 28 characters and a NUL. IMGO_EINVAL (its length),
 * IMGO_ENOMEM. */
int imgo__ws_accept(struct imgo_str key, char out[29]);
/* A list of origins, between commas, blanks around them: each as a browser sends it (RFC 6454 §6.2: "null", or scheme://host
 * and a port when it is not the scheme's own). NULL: it is one; else what is wrong with it. */
const char *imgo__ws_origins_wrong(const char *list);
/* Case does not matter. An empty list allows every origin. */
bool imgo__ws_origin_allowed(const char *list, struct imgo_str origin);

/* The key is 24 characters of base64 that decode to 16 bytes. */
bool imgo__ws_key_valid(struct imgo_str key);

#endif
