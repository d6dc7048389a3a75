/* SPDX-License-Identifier: MIT */
/*
 * MessagePack-RPC with a length prefix. A frame on a stream is 4 bytes, big-endian, the length of the message, then the
 * message:
 *
 *   [0, id, method, [params…]]   request
 *   [1, id, error, result]       response; error: nil, or a negative enum imgo_err
 *   [2, method, [params…]]       notification: nobody answers
 */
#ifndef IMGO__CODEC_RPCFRAME_H
#define IMGO__CODEC_RPCFRAME_H

#include <sys/types.h>

#include "codec/mp.h"

#define IMGO__RPC_PREFIX     4
#define IMGO__RPC_METHOD_MAX 64 /* bytes of a method's name, at least 1 */

enum imgo__rpc_type { IMGO__RPC_REQUEST = 0, IMGO__RPC_RESPONSE = 1, IMGO__RPC_NOTIFY = 2 };

struct imgo__rpc_head {
	enum imgo__rpc_type type;
	uint32_t id;            /* not of a notification */
	struct imgo_str method; /* not of a response */
	int error;              /* of a response: 0 or negative */
};

/*
 * Looks for one frame at the start of data. Returns > 0: bytes it takes, *payload is the message, inside data;
 * 0: incomplete, *need is the least length with which to ask again; IMGO_ELIMIT: the message is longer than max, known
 * from the prefix; IMGO_EPROTO: it is empty.
 */
ssize_t imgo__rpc_frame(const uint8_t *data, size_t len, size_t max, struct imgo_str *payload, size_t *need);

/*
 * Reads the head of a message (out->method points into payload). *rest stands before params or the result, which are
 * exactly one value: read it and ask imgo__mp_finish. IMGO_EPROTO: malformed.
 */
int imgo__rpc_decode_head(struct imgo_str payload, struct imgo__rpc_head *out, struct imgo__mp *rest);

/* Appends the prefix (patched by imgo__rpc_end) and the head. The caller then writes one value: params (an array) or the
 * result. Returns where the frame starts in the buffer. A failure is kept in w->err. */
size_t imgo__rpc_begin(struct imgo__mpw *w, const struct imgo__rpc_head *head);

/* Ends the frame: 0, or w->err, or IMGO_ELIMIT when its message is longer than max; after an error the buffer is as it
 * was before imgo__rpc_begin, and w->err is 0 again, so that an error may be written instead. */
int imgo__rpc_end(struct imgo__mpw *w, size_t start, size_t max);

#endif
