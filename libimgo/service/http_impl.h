/* SPDX-License-Identifier: MIT */
/* What the files of the HTTP API share: http.c (life, routing), http_args.c, http_push.c, http_admin.c, http_log.c. */
#ifndef IMGO__SERVICE_HTTP_IMPL_H
#define IMGO__SERVICE_HTTP_IMPL_H

#include <imgo/http.h>

#include "base/buf.h"
#include "base/mem.h"
#include "service/httpd.h"
#include "service/push_impl.h"

enum { /* of the original's answers */
	IMGO__RET_OK = 1,
	IMGO__RET_INTERNAL = 65535,
	IMGO__RET_PARAM = 65534,
	IMGO__RET_TOKEN = 65533,
};

struct imgo_http {
	struct imgo_loop *loop;
	struct imgo_push *push;
	struct imgo__httpd *httpd;
	bool has_key;
	uint8_t key_hash[32];
	struct imgo__list calls; /* struct imgo__http_call: under way */
	struct imgo_stat *unauthorized, *answered[6]; /* by the first digit of the status */
};

/* One request as a route sees it; strings live until the route returns. */
struct imgo__http_ask {
	struct imgo_http *http;
	struct imgo__httpd_request *request;
	const struct imgo__http_request *head;
	struct imgo_str body;
	struct imgo__arena arena; /* of the parameters; freed when the route returns */
};

/* What waits for an answer of another part. It outlives the HTTP server when that is freed first (http == NULL). */
struct imgo__http_call {
	struct imgo__list link;
	struct imgo_http *http;
	struct imgo__httpd_request *request;
	struct imgo__arena arena;
};

void *imgo__http_call_new(struct imgo__http_ask *ask, size_t size); /* NULL: out of memory; the request was answered */
void imgo__http_call_free(struct imgo__http_call *call);

/* {"ret":ret} under a status; a 503 says Retry-After. */
void imgo__http_ret(struct imgo_http *http, struct imgo__httpd_request *request, int status, int ret);
/* The same for an outcome: 0 or an imgo_err. */
void imgo__http_err(struct imgo_http *http, struct imgo__httpd_request *request, int err);
/* A body of JSON (or of JavaScript, for JSONP). */
void imgo__http_body(struct imgo_http *http, struct imgo__httpd_request *request, int status, const char *content_type,
	struct imgo_str body);

/* ---- http_args.c: parameters. Each returns 0 or an imgo_err; IMGO_ENOTFOUND: not given ---- */
int imgo__http_arg(struct imgo__http_ask *ask, const char *name, struct imgo_str *out); /* of the query */
/* A whole number in decimal, within bounds, nothing else around it. */
int imgo__http_int(struct imgo_str text, int64_t min, int64_t max, int64_t *out);
/* A user id as the original has it, positive and at most 2^63 − 1; as canonical decimal text in the arena. */
int imgo__http_uid(struct imgo__arena *arena, struct imgo_str text, struct imgo_str *out);
/* A room id (int32; −1 is "no room" and IMGO_EINVAL) as decimal text in the arena. */
int imgo__http_rid(struct imgo__arena *arena, struct imgo_str text, struct imgo_str *out);
/* The raw text of a key's value in the JSON object `text`, which is valid. IMGO_ENOTFOUND. */
int imgo__http_raw(struct imgo_str text, const char *key, struct imgo_str *out);

/* ---- routes ---- */
typedef void imgo__http_route_fn(struct imgo__http_ask *ask);
imgo__http_route_fn imgo__http_push_user, imgo__http_push_users, imgo__http_push_room, imgo__http_push_all;
imgo__http_route_fn imgo__http_count, imgo__http_server_del, imgo__http_token_new, imgo__http_health;
imgo__http_route_fn imgo__http_msg_get;

#endif
