/* SPDX-License-Identifier: MIT */
/* One blocking HTTP call, for imgo-cli: numeric hosts and localhost only, one answer with Content-Length. */
#ifndef IMGO_DAEMONS_CLI_HTTP_H
#define IMGO_DAEMONS_CLI_HTTP_H

#include <stddef.h>

struct cli_http {
	const char *address;   /* "127.0.0.1:7172" */
	const char *api_key;   /* NULL: none */
	const char *idempotency_key; /* NULL: none */
};

/* Sends the request and prints the answer's body on standard output. 0: a 2xx; 1: another answer; 2: none (a sentence is on
 * standard error). */
int cli_http_call(const struct cli_http *http, const char *method, const char *target, const void *body, size_t len);

/* Appends value, percent-encoded, to text (of `cap` bytes, NUL-terminated). 0, or -1: no room. */
int cli_http_escape(char *text, size_t cap, const char *value);

#endif
