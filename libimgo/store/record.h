/* SPDX-License-Identifier: MIT */
/*
 * The store's other records: bodies, tokens, lists of valid tokens, markers; and the grouping of a call's
 * items by user. Like the user's log they are versioned, carry their CRC32C and the key they belong to, and
 * have one encoding each. Decoders return IMGO_EPROTO (damaged, or of another key) or IMGO_EVERSION.
 */
#ifndef IMGO__STORE_RECORD_H
#define IMGO__STORE_RECORD_H

#include "base/mem.h"
#include "store/common.h"

/* A body: a head of fixed size, then the data. */
#define IMGO__BODY_HEAD_LEN 34
void imgo__body_head(const struct imgo_store_body *body, uint8_t out[IMGO__BODY_HEAD_LEN]);
/* Of that item's msgid; out->data points into p. */
int imgo__body_decode(struct imgo_store_message *out, const struct imgo__userlog_item *item, const void *p, size_t len);

int imgo__token_encode(const struct imgo_store_token *token, struct imgo__buf *out); /* IMGO_ENOMEM */
/* out->hash is given; strings point into p. */
int imgo__token_decode(struct imgo_store_token *out, const void *p, size_t len);

int imgo__tokenlist_encode(const struct imgo__tokenlist *list, struct imgo_str user, struct imgo__buf *out);
int imgo__tokenlist_decode(struct imgo__tokenlist *list, struct imgo_str user, const void *p, size_t len);

/* list_version: of the servers' list. Another one is a marker that is missing; so is a damaged one. */
#define IMGO__MARKER_LEN 19
void imgo__marker_encode(struct imgo__marker marker, uint32_t list_version, uint8_t out[IMGO__MARKER_LEN]);
struct imgo__marker imgo__marker_decode(uint32_t list_version, const void *p, size_t len);

/*
 * A call's items, reordered so that those of one user follow one another, in the call's order. order[i] is an
 * index into the items, of `n`, each `size` bytes, with a struct imgo_str user as first member. Lives in the
 * arena; NULL: no memory. Of order[i..j) that imgo__group_end(…, i) == j ends all are one user's.
 */
size_t *imgo__group(struct imgo__arena *arena, const void *items, size_t n, size_t size);
size_t imgo__group_end(const size_t *order, const void *items, size_t n, size_t size, size_t i);

#endif
