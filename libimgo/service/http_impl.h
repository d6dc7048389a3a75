/* SPDX-License-Identifier: MIT */
/* What the files of the push API share: http.c (life, key, answers), http_routes.c, http_push.c,
 * http_token.c, http_log.c, http_asset.c; of goim's API: http_goim.c, http_goim_online.c, http_goim_nodes.c. */
#ifndef IMGO__SERVICE_HTTP_IMPL_H
#define IMGO__SERVICE_HTTP_IMPL_H

#include <imgo/http.h>

#include "base/buf.h"
#include "base/mem.h"
#include "service/httpd.h"
#include "service/push_impl.h"

enum imgo__http_ret {
	IMGO__RET_LOG_OK = 0, /* of /1/msg/get */
	IMGO__RET_OK = 1,
	IMGO__RET_BAD_TOKEN = 65533,
	IMGO__RET_BAD_PARAMETER = 65534,
	IMGO__RET_INTERNAL = 65535,
};

enum {
	IMGO__HTTP_API = 0, /* listeners */
	IMGO__HTTP_STORE = 1,
	IMGO__HTTP_ROUTES_MAX = 32,
	IMGO__HTTP_LOGS_MAX = 64, /* /1/msg/get under way: each may hold a whole log */
};

/* A request, for its handler: everything here lives until the handler returns, but `request`, which waits to
 * be answered. */
struct imgo__http_call {
	struct imgo_http *http;
	struct imgo__httpd_request *request;
	const struct imgo__http_request *head;
	struct imgo_str body;
	struct imgo__arena arena;
};

enum {
	IMGO__ROUTE_POST = 1,    /* else GET */
	IMGO__ROUTE_STORE = 2,   /* on the store's port too */
	IMGO__ROUTE_OPEN = 4,    /* without the key */
	IMGO__ROUTE_MESSAGE = 8, /* the body is a message: no longer than one may be */
	IMGO__ROUTE_GOIM = 16,   /* answers as goim does; another method is another path: 404 */
};

struct imgo__http_route {
	const char *path;
	unsigned flags;
	void (*handle)(struct imgo__http_call *call);
	const char *stats[3]; /* names of the counters of 2xx, 4xx, 5xx */
};
extern const struct imgo__http_route imgo__http_routes[];
extern const size_t imgo__http_nroutes; /* the last one stands for all that is not served */

struct imgo__http_counters {
	struct imgo_stat *classes[3];
};

struct imgo_http {
	struct imgo_loop *loop;
	struct imgo_push *push;
	struct imgo__httpd *httpd;
	char *api_key; /* NULL: none */
	const struct imgo_http_asset *assets;
	size_t nassets;
	struct imgo__http_counters counters[IMGO__HTTP_ROUTES_MAX];
	struct imgo_stat *no_key, *cross_site;
	struct imgo__list logs; /* of http_log.c: under way */
	uint32_t nlogs;
	char *domain;                 /* of goim's nodes */
	struct imgo__goim_look *look; /* the routers are being asked for the comets; or NULL */
};

/* ---- answers (http.c). Any of them ends the request. ---- */
void imgo__http_answer(struct imgo__httpd_request *request, const struct imgo__httpd_answer *answer); /* and counts */
void imgo__http_json(struct imgo__httpd_request *request, struct imgo_str body);                      /* 200 */
/* {"ret":N,"error":"why"}; why: static, without characters that JSON escapes. */
void imgo__http_refuse(struct imgo__httpd_request *request, int status, int ret, const char *why);
void imgo__http_bad(struct imgo__httpd_request *request, const char *why); /* 400, bad parameter */
void imgo__http_done(struct imgo__httpd_request *request, int err);        /* err 0: {"ret":1} */
/* The same, of a push: says of what may have happened that it is to be pushed again with its key. */
void imgo__http_pushed(struct imgo__httpd_request *request, int err);
int imgo__http_status_of(int err, int *ret);

/* {"code":N,"message":"why"}, of goim: as above; headers: more of them, or NULL. */
void imgo__goim_refuse(struct imgo__httpd_request *request, int status, const char *why, const char *headers);
void imgo__goim_done(struct imgo__httpd_request *request, int err); /* err 0: {"code":0,"message":""} */
/* An answer with data: begin, then the JSON text of it, then end, which answers (with the error, if there is one) and frees
 * body. */
int imgo__goim_begin(struct imgo__buf *body);
void imgo__goim_end(struct imgo__httpd_request *request, struct imgo__buf *body, int err);

/* ---- parameters. 0, or the error; IMGO_ENOTFOUND: there is none ---- */
int imgo__http_query(struct imgo__http_call *call, const char *name, struct imgo_str *out);

/* False: there are several, or it is too long. */
bool imgo__http_idempotency_key(const struct imgo__http_call *call, struct imgo_str *key);
/* goim's room key, "type://room", in the arena. IMGO_EINVAL, IMGO_ENOMEM. */
int imgo__goim_room(struct imgo__arena *arena, struct imgo_str type, struct imgo_str room, struct imgo_str *out);

/* http_asset.c */
const struct imgo_http_asset *imgo__http_find_asset(const struct imgo_http *http, struct imgo_str path);
bool imgo__http_same_machine(const struct imgo__http_request *head); /* no web page elsewhere has made this request */

/* ---- handlers ---- */
void imgo__http_push_user(struct imgo__http_call *call);
void imgo__http_push_users(struct imgo__http_call *call);
void imgo__http_push_room(struct imgo__http_call *call);
void imgo__http_push_all(struct imgo__http_call *call);
void imgo__http_token_new(struct imgo__http_call *call);
void imgo__http_msg_get(struct imgo__http_call *call);
void imgo__http_asset(struct imgo__http_call *call);
void imgo__goim_push_keys(struct imgo__http_call *call);
void imgo__goim_push_mids(struct imgo__http_call *call);
void imgo__goim_push_room(struct imgo__http_call *call);
void imgo__goim_push_all(struct imgo__http_call *call);
void imgo__goim_online_top(struct imgo__http_call *call);
void imgo__goim_online_room(struct imgo__http_call *call);
void imgo__goim_online_total(struct imgo__http_call *call);
void imgo__goim_nodes_weighted(struct imgo__http_call *call);
void imgo__goim_nodes_instances(struct imgo__http_call *call);
void imgo__http_logs_orphan(struct imgo_http *http); /* both: before http is freed */
void imgo__goim_orphan(struct imgo_http *http);

#endif
