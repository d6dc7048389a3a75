/* SPDX-License-Identifier: MIT */
/* Messages as the hub sees them: the shared encodings. */
#ifndef IMGO__CODEC_MSG_H
#define IMGO__CODEC_MSG_H

#include <imgo/msg.h>

/*
 * How a connection wants its pushes:
 *   TCP1   16-byte header, ver 0, seq 0 (imgo, TCP)                     JSON1  WebSocket text frame, array of objects
 *   TCPG   the same with ver 1 (goim v2 on TCP)                         BING   binary frame with one op-9 packet
 *   TCP2   header of 28 bytes with epoch and id, ver 2 (DESIGN.md §4)   JSON2  with "epoch":7,"id":"42"
 *   BIN2   TCP2 inside op 9 of BING
 * A message without id is encoded for version 2 as for version 1.
 */
enum imgo__dialect {
	IMGO__DIALECT_TCP1,
	IMGO__DIALECT_TCPG,
	IMGO__DIALECT_TCP2,
	IMGO__DIALECT_JSON1,
	IMGO__DIALECT_JSON2,
	IMGO__DIALECT_BING,
	IMGO__DIALECT_BIN2,
	IMGO__DIALECTS,
};

/* Some bytes ready for a socket, refcounted (any thread). One allocation; what follows is the bytes. */
struct imgo__chunk {
	_Atomic uint32_t refs;
	uint32_t len;
	uint8_t data[];
};
struct imgo__chunk *imgo__chunk_new(size_t len); /* one reference; NULL: out of memory */
struct imgo__chunk *imgo__chunk_ref(struct imgo__chunk *chunk);
void imgo__chunk_unref(struct imgo__chunk *chunk);

/*
 * The bytes of messages[0..n) for one dialect, framed whole (WebSocket frame header included), as one chunk with a
 * reference of the caller's. n == 1: the encoding is cached in the message, so every receiver shares it. n > 1: made
 * anew (the caller shares it among the receivers of a batch): packets back to back; JSON: one array in one frame.
 * A body that is not JSON becomes a JSON string (bytes that are not UTF-8 become U+FFFD); an empty body is {}.
 * A JSON body is embedded compacted so that it holds no newline outside strings; its value is unchanged.
 * NULL: out of memory. Any thread.
 */
struct imgo__chunk *imgo__msg_encode(struct imgo_msg *const *messages, size_t n, enum imgo__dialect dialect);

#endif
