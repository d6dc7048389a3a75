/* SPDX-License-Identifier: MIT */
/*
 * The HTTP API of a logic: imgo's /1/... calls, over a strict subset of HTTP/1.1 with keep-alive, pipelining, absolute
 * deadlines and everything bounded. docs/manual.md lists the calls.
 *
 * An answer is a JSON object with "ret": 1 (0 of /1/msg/get), or 65534 bad parameter (HTTP 400, 404, 405, 413), 65533 bad
 * token or key (401, 403), 65535 internal (500; 503 with Retry-After), and then "error", a few words for a person. A push
 * that failed after it may have been accepted says "retry":true: push again with the same Idempotency-Key.
 *
 * And goim's /goim/... calls, which answer {"code":0,"message":"","data":...}: code -400 with 400, 401, 404 or 413, -500 with
 * 500 or 503.
 */
#ifndef IMGO_HTTP_H
#define IMGO_HTTP_H

#include <imgo/push.h>

#ifdef __cplusplus
extern "C" {
#endif

struct imgo_http;

/* A file that is served besides the API, for a page that tries it out: by GET, without the key, and to clients on this
 * machine only (their address is a loopback address); the others get 404. */
struct imgo_http_asset {
	const char *path;         /* as in the request: "/", "/page.js" */
	const char *content_type; /* "text/html; charset=utf-8" */
	const void *data;
	size_t len;
};

struct imgo_http_options {
	size_t size;              /* no maximum or time-out below may be 0 unless it says so */
	struct imgo_push *push;   /* borrowed, mandatory */
	const char *listen;       /* the API; default "127.0.0.1:7172" */
	const char *store_listen; /* the original's store port: /1/msg/get; NULL: none; default "127.0.0.1:8099" */
	/* Required as "Authorization: Bearer <key>" in every call when it is set, compared in constant time. Without one only
	 * loopback addresses are accepted (IMGO_EINVAL otherwise), and of the requests that a web page makes (they carry an
	 * Origin) only those of pages of this machine: or any page that its user visits could push. */
	const char *api_key;
	uint32_t connections_max; /* default 4,096 */
	uint32_t pipeline_max;    /* requests of a connection that wait for their answer; default 64 */
	uint32_t requests_max; /* of one connection, then it is closed after the answer; default 100,000; 0: no maximum */
	uint64_t request_timeout_ms; /* from the first byte of a request to its last, absolute; default 10,000 */
	uint64_t idle_timeout_ms;    /* between requests; default 60,000 */
	size_t body_max_bytes;       /* default 1 MiB; pushs with many users needs it */
	const struct imgo_http_asset *assets; /* borrowed for the life of the imgo_http; NULL: none */
	size_t nassets;
	size_t target_max_bytes; /* path and query; default 256 KiB: goim's push/mids has its users there */
	const char *domain;      /* goim's default domain, in /goim/nodes/weighted; NULL: "localhost" */
};
#define IMGO_HTTP_OPTIONS_INIT \
	{ \
		sizeof(struct imgo_http_options), NULL, "127.0.0.1:7172", "127.0.0.1:8099", NULL, 4096, 64, 100000, \
			10000, 60000, 1024 * 1024, NULL, 0, 256 * 1024, NULL \
	}

/* Listens when it returns. Errors: IMGO_EINVAL (an address that is not loopback without a key), IMGO_EIO, IMGO_ENOMEM. */
IMGO_API int imgo_http_new(struct imgo_http **out, struct imgo_loop *loop, const struct imgo_http_options *options,
	struct imgo_error *error);
/* Stops accepting, answers what is under way, closes; done(user) then or after deadline_ms. */
IMGO_API void imgo_http_stop(struct imgo_http *http, uint64_t deadline_ms, void (*done)(void *user), void *user);
IMGO_API void imgo_http_free(struct imgo_http *http);
IMGO_API void imgo_http_ports(const struct imgo_http *http, int *api, int *store);

#ifdef __cplusplus
}
#endif
#endif
