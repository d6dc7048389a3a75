/* SPDX-License-Identifier: MIT */
/*
 * A message on its way to clients: immutable and reference-counted. Its body is copied once, here; every receiver
 * shares it, and so do the encodings (TCP packet, JSON, …), each made once, when first needed.
 * A TCP client gets the body's bytes as they are. In a WebSocket client's JSON a body that is JSON stands as it is, any
 * other as a string, and an empty one as {}.
 */
#ifndef IMGO_MSG_H
#define IMGO_MSG_H

#include <imgo/error.h>
#include <imgo/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define IMGO_OP_PUSH 5 /* the operation of imgo's own pushes; goim's callers choose theirs */

struct imgo_msg;

/* Makes a message with one reference, the caller's. body is copied (len may be 0). op: what the client sees as its
 * operation. id: {0, 0} for a message that is in no log. Errors: IMGO_ENOMEM, IMGO_ELIMIT (len > IMGO_BODY_MAX).
 * Any thread. */
IMGO_API int imgo_msg_new(struct imgo_msg **out, int32_t op, struct imgo_id id, const void *body, size_t len);

/* Any thread. imgo_msg_ref returns msg. */
IMGO_API struct imgo_msg *imgo_msg_ref(struct imgo_msg *msg);
IMGO_API void imgo_msg_unref(struct imgo_msg *msg); /* NULL is fine */

IMGO_API struct imgo_str imgo_msg_body(const struct imgo_msg *msg);
IMGO_API int32_t imgo_msg_op(const struct imgo_msg *msg);
IMGO_API struct imgo_id imgo_msg_id(const struct imgo_msg *msg);

#ifdef __cplusplus
}
#endif
#endif
