/* SPDX-License-Identifier: MIT */
/* JSON where bytes matter and nothing may be allocated: a strict scanner (RFC 8259). Trees are jansson's job. */
#ifndef IMGO__CODEC_JSON_H
#define IMGO__CODEC_JSON_H

#include <imgo/types.h>

/* Length of the JSON value at the start of text (leading white space included), or 0 when it is not strictly valid or
 * nests deeper than depth_max. Strings must be valid UTF-8 (checked here too). */
size_t imgo__json_scan(struct imgo_str text, unsigned depth_max);

/* The whole of text is one JSON value and white space. */
bool imgo__json_valid(struct imgo_str text, unsigned depth_max);

struct imgo__buf;
/* Appends text, which must be valid JSON, without white space between tokens. */
int imgo__json_compact(struct imgo__buf *out, struct imgo_str text);
/* Appends bytes as a JSON string with quotes; invalid UTF-8 becomes U+FFFD. */
int imgo__json_quote(struct imgo__buf *out, struct imgo_str bytes);

bool imgo__utf8_valid(const void *p, size_t len);
/* Incremental, fail-fast: *state starts at 0; false at the first byte that can no longer become valid. */
bool imgo__utf8_feed(uint32_t *state, const void *p, size_t len);
#define imgo__utf8_complete(state) ((state) == 0)

#endif
