/* SPDX-License-Identifier: MIT */
/* The lines of an HTTP head, shared by requests and responses. Internal to codec/http*.c. */
#ifndef IMGO__CODEC_HTTP_HEAD_H
#define IMGO__CODEC_HTTP_HEAD_H

#include "codec/http.h"

struct imgo__http_lines {
	const char *at, *end;
};

/* 1: *line is the next line without its CR LF; 0: there is none yet, *line is what has come of it; -1: a bare LF. */
int imgo__http_line(struct imgo__http_lines *lines, struct imgo_str *line);

/* Reads "name: value". False: not strictly that (RFC 9112 §5.1), or folded, or with a control byte. */
bool imgo__http_header_line(struct imgo_str line, struct imgo__http_header *out);

bool imgo__http_is_token(struct imgo_str s);                 /* RFC 9110 §5.6.2, not empty */
bool imgo__http_is(struct imgo_str s, const char *word);     /* ASCII case-insensitive */
bool imgo__http_has(struct imgo_str list, const char *word); /* in a comma-separated list */

/* Digits only. 0; IMGO_EPROTO: not a number; IMGO_ELIMIT: above max. */
int imgo__http_number(struct imgo_str s, size_t max, size_t *out);

#endif
