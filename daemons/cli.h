/* SPDX-License-Identifier: MIT */
/* The parts of imgo-cli. */
#ifndef IMGO_DAEMONS_CLI_H
#define IMGO_DAEMONS_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exit codes. */
enum {
	CLI_OK = 0,
	CLI_NO = 1,      /* the server said no */
	CLI_USAGE = 2,   /* the command line is wrong */
	CLI_TIMEOUT = 3, /* listen: fewer than --count messages came within --timeout */
	CLI_BROKEN = 4,  /* no answer, or output that cannot be written: whether it was done is unknown */
};

enum { CLI_WORDS_MAX = 64 };

/* What the command line said; NULL and false: nothing. */
struct cli_args {
	const char *tls, *wss, *ca, *name;
	bool insecure;
	const char *token, *tcp, *websocket, *room, *count, *timeout, *user, *expire, *device, *key, *http, *api_key;
	const char *interval, *mid, *accepts;
	bool all, json, qos0, v1, goim;
	const char *body; /* the first word that is no option */
	const char *words[CLI_WORDS_MAX];
	size_t nwords; /* all of them; only some verbs take several */
};

/* Prints "imgo-cli: …" on standard error and returns code. */
int cli_fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* cli_listen.c; an exit code */
int cli_listen(const struct cli_args *args);

/* cli_stats.c, cli_top.c; exit codes */
int cli_stats(const struct cli_args *args);
int cli_top(const struct cli_args *args);

/* cli_http.c: one blocking call. The answer's body goes to standard output. An exit code. */
struct cli_http {
	const char *address;         /* "127.0.0.1:7172" */
	const char *api_key;         /* NULL: none */
	const char *idempotency_key; /* NULL: none */
	int seconds;                 /* that it waits for the network; 0: 15 */
	bool quiet;                  /* says nothing of what fails */
};
int cli_http_call(const struct cli_http *http, const char *method, const char *target, const void *body, size_t len);

/* The body of a 200 (any Content-Length is checked), for free(), ended by a NUL. NULL: anything else. */
char *cli_http_get(const struct cli_http *http, const char *target);

/* Appends value, percent-encoded, to text (of `cap` bytes, NUL-terminated). False: no room. */
bool cli_http_escape(char *text, size_t cap, const char *value);

#endif
