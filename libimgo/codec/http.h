/* SPDX-License-Identifier: MIT */
/*
 * A strict subset of HTTP/1.1 (RFC 9112), server side: enough for the push API and the WebSocket upgrade, and nothing
 * that two parsers could read in two ways. Requests: GET, HEAD, POST (others parse and get 405 from the caller);
 * bodies by one Content-Length only; any Transfer-Encoding is refused (501); no obs-fold, no bare CR or LF, no NUL or
 * other control byte, no white space before a colon, exactly one Host (HTTP/1.0: at most one). Sans I/O.
 */
#ifndef IMGO__CODEC_HTTP_H
#define IMGO__CODEC_HTTP_H

#include <sys/types.h>

#include <imgo/types.h>

#define IMGO__HTTP_HEADERS_MAX 64

struct imgo__http_header {
	struct imgo_str name, value; /* value without white space around it */
};

struct imgo__http_request {
	struct imgo_str method, target, path, query; /* target as sent; path before '?', percent-encoded as sent */
	bool http10, keep_alive, expect_continue, upgrade_websocket; /* Connection: upgrade and Upgrade: websocket */
	bool has_content_length;
	size_t content_length;
	unsigned nheaders;
	struct imgo__http_header headers[IMGO__HTTP_HEADERS_MAX];
};

struct imgo__http_limits {
	size_t target_max;  /* 414 */
	size_t head_max;    /* 431: request line and headers */
	size_t body_max;    /* 413 */
	size_t headers_max; /* 431: headers alone; 0: only head_max holds */
};

/*
 * Parses one request head at the start of data (all strings point into it). Returns > 0: length of the head, body
 * follows; 0: incomplete (never when len >= head_max); < 0: IMGO_EPROTO, and *status is the code to answer with (400, 413,
 * 414, 417, 431, 501, 505) before closing. What is surely wrong is refused as soon as its line is complete.
 */
ssize_t imgo__http_decode(const uint8_t *data, size_t len, const struct imgo__http_limits *limits,
	struct imgo__http_request *out, int *status);

/* First header of that name (case-insensitive), or a str with p == NULL. */
struct imgo_str imgo__http_header(const struct imgo__http_request *request, const char *name);
unsigned imgo__http_header_count(const struct imgo__http_request *request, const char *name);

struct imgo__arena;
/* Value of `name` in a query string or form body, percent- and plus-decoded into the arena. IMGO_ENOTFOUND; IMGO_EINVAL: a
 * broken escape, or NUL in the value; IMGO_ENOMEM. first: the first of several; imgo__http_params: all, up to max (none:
 * 0 and *n == 0). Names may be percent-encoded too; pairs are separated by & only. */
int imgo__http_param(struct imgo__arena *arena, struct imgo_str form, const char *name, struct imgo_str *out);
int imgo__http_params(struct imgo__arena *arena, struct imgo_str form, const char *name, struct imgo_str *out,
	size_t max, size_t *n); /* IMGO_ELIMIT: more than max */

const char *imgo__http_reason(int status);

/* Client side (tests, imgo-cli): parses a response head; same return values. */
struct imgo__http_response {
	int status;
	bool keep_alive, has_content_length;
	size_t content_length;
	unsigned nheaders;
	struct imgo__http_header headers[IMGO__HTTP_HEADERS_MAX];
};
ssize_t imgo__http_decode_response(const uint8_t *data, size_t len, size_t head_max, struct imgo__http_response *out);

#endif
