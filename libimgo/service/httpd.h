/* SPDX-License-Identifier: MIT */
/*
 * An HTTP server on a loop, without routes: listeners, connections, keep-alive, pipelining with the answers
 * in order, absolute deadlines, and everything bounded. What a request means is its user's business: the push
 * API (http.c), or any administrative endpoint.
 *
 * A request passes through two calls. `head` when its head is complete and within the limits, before a byte
 * of its body is kept (this is where a key is checked); it may refuse, by answering then and there. `handle`
 * when the body is there too. Both get strings that live until they return; a request is answered once, in
 * the call or any time later, and many of a connection may be under way at once.
 */
#ifndef IMGO__SERVICE_HTTPD_H
#define IMGO__SERVICE_HTTPD_H

#include <imgo/types.h>

#include "codec/http.h"
#include "loop/loop.h"

enum { IMGO__HTTPD_LISTENERS_MAX = 2 };

struct imgo__httpd;
struct imgo__httpd_request;

struct imgo__httpd_ops {
	/* False: it has answered. listener: index of the address it came to. May be NULL. */
	bool (*head)(struct imgo__httpd_request *request, const struct imgo__http_request *head, unsigned listener,
		void *user);
	void (*handle)(struct imgo__httpd_request *request, const struct imgo__http_request *head, struct imgo_str body,
		unsigned listener, void *user);
	/* The body of an answer that the server gives by itself (400, 408, 413 …), static. May be NULL:
	 * empty. */
	struct imgo_str (*refusal)(int status, void *user);
};

struct imgo__httpd_options {
	const struct imgo__httpd_ops *ops;
	void *user;
	uint32_t connections_max;
	uint32_t pipeline_max;
	uint32_t requests_max;       /* of one connection; 0: no maximum */
	uint64_t request_timeout_ms; /* from its first byte to its last */
	uint64_t idle_timeout_ms;
	size_t target_max, headers_max, body_max;
	size_t output_max; /* of one connection; beyond it nothing more is read from it */
	size_t bytes_max;  /* of all requests and answers that are held; beyond it requests are answered with
			      503 */
	bool uncounted;    /* not part of the imgo_http_… statistics, which are the API's */
};
#define IMGO__HTTPD_OPTIONS_INIT \
	{ \
		NULL, NULL, 4096, 64, 0, 10000, 60000, 4096, 8192, 1024 * 1024, 256 * 1024, 256u << 20, false \
	}

/* Options are copied, *out is the caller's. Errors: IMGO_ENOMEM. */
int imgo__httpd_new(struct imgo__httpd **out, struct imgo_loop *loop, const struct imgo__httpd_options *options);
/* Requests under way are orphaned: answering them later does nothing but free them. NULL is fine. */
void imgo__httpd_free(struct imgo__httpd *httpd);

/* Listeners are numbered from 0 in the order of the calls. Errors: as imgo__sock_listen; IMGO_ENOMEM,
 * IMGO_ELIMIT. */
int imgo__httpd_listen(struct imgo__httpd *httpd, const struct imgo__addr *addr);
int imgo__httpd_port(const struct imgo__httpd *httpd, unsigned listener); /* 0: none */

/* Stops accepting; every connection ends with the answer to the last request that has begun to come in. Then,
 * or after deadline_ms (the rest is reset), done(user), once, never before this returns; in imgo__httpd_free
 * at the latest. */
void imgo__httpd_stop(struct imgo__httpd *httpd, uint64_t deadline_ms, void (*done)(void *user), void *user);
bool imgo__httpd_stopping(const struct imgo__httpd *httpd);

struct imgo__httpd_answer {
	int status;
	const char *content_type; /* NULL: application/json */
	const char *headers;      /* more of them, each line with its CRLF; NULL: none */
	struct imgo_str body;     /* copied; not sent in answer to HEAD */
};
/* Ends the request, which is freed. */
void imgo__httpd_answer(struct imgo__httpd_request *request, const struct imgo__httpd_answer *answer);
/* Nobody waits for the answer any more: the client is gone, or the server. It must be given nevertheless. */
bool imgo__httpd_orphan(const struct imgo__httpd_request *request);
/* The client's address is a loopback address. Not of an orphan. */
bool imgo__httpd_loopback(const struct imgo__httpd_request *request);
/* A word of the user's that stays with the request; 0 at first. */
void imgo__httpd_set_tag(struct imgo__httpd_request *request, uintptr_t tag);
uintptr_t imgo__httpd_tag(const struct imgo__httpd_request *request);

#endif
