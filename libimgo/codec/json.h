/* SPDX-License-Identifier: MIT */
/* JSON where bytes matter and nothing may be allocated: a strict scanner (RFC 8259). Trees are jansson's job. */
#ifndef IMGO__CODEC_JSON_H
#define IMGO__CODEC_JSON_H

#include <imgo/types.h>

#define IMGO__JSON_DEPTH_MAX 64 /* of arrays and objects, whatever depth_max says */

/* Length of the JSON value at the start of text (leading white space included), or 0 when it is not strictly valid or
 * nests deeper than depth_max. Strings must be valid UTF-8, and escaped surrogates must come in pairs: many decoders
 * refuse others, and with them the whole array of a batch. */
size_t imgo__json_scan(struct imgo_str text, unsigned depth_max);

/* The whole of text is one JSON value and white space. */
bool imgo__json_valid(struct imgo_str text, unsigned depth_max);

struct imgo__buf;
/* Appends text, which must be valid JSON, without white space between tokens. */
int imgo__json_compact(struct imgo__buf *out, struct imgo_str text);
/* Appends bytes as a JSON string with quotes; invalid UTF-8 becomes U+FFFD. */
int imgo__json_quote(struct imgo__buf *out, struct imgo_str bytes);
/* Appends what a JSON string means. inside: the text between its quotes (as of imgo__packet.body), which must be valid
 * (\u0000 becomes a NUL byte). The result is never longer than inside. */
int imgo__json_unquote(struct imgo__buf *out, struct imgo_str inside);
/* Appends a message body as a JSON value: empty → {}, valid JSON → compacted, else → quoted. */
int imgo__json_embed(struct imgo__buf *out, struct imgo_str body);
/* None of the writers above leaves half a value behind: on IMGO_ENOMEM out is as long as before. */

bool imgo__utf8_valid(const void *p, size_t len);
/* Incremental, fail-fast: *state starts at 0; false at the first byte that can no longer become valid. */
bool imgo__utf8_feed(uint32_t *state, const void *p, size_t len);
#define imgo__utf8_complete(state) ((state) == 0)

#endif
