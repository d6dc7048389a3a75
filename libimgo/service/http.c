/* SPDX-License-Identifier: MIT */
/* The HTTP API: life, routing, the key, and the form of answers. The engine is httpd.c, the routes are http_*.c. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "service/http_impl.h"

enum { API = 0, STORE = 1 }; /* listeners */

struct route {
	const char *path, *method;
	imgo__http_route_fn *fn;
	bool store_too, open; /* also on the store's port; needs no key */
};

static const struct route routes[] = {
	{"/1/push", "POST", imgo__http_push_user, false, false},
	{"/1/pushs", "POST", imgo__http_push_users, false, false},
	{"/1/push/room", "POST", imgo__http_push_room, false, false},
	{"/1/push/all", "POST", imgo__http_push_all, false, false},
	{"/1/count", "GET", imgo__http_count, false, false},
	{"/1/server/del", "POST", imgo__http_server_del, false, false},
	{"/1/admin/token/new", "POST", imgo__http_token_new, false, false},
	{"/1/msg/get", "GET", imgo__http_msg_get, true, false},
	{"/healthz", "GET", imgo__http_health, true, true},
};

/* ---- answers ---- */

void imgo__http_body(struct imgo_http *http, struct imgo__httpd_request *request, int status, const char *content_type,
	struct imgo_str body)
{
	struct imgo__httpd_answer answer = {.status = status, .content_type = content_type, .body = body};

	if (status == 503)
		answer.headers = "Retry-After: 1\r\n";
	if (http)
		imgo_stat_add(http->answered[status / 100], 1);
	imgo__httpd_answer(request, &answer);
}

void imgo__http_ret(struct imgo_http *http, struct imgo__httpd_request *request, int status, int ret)
{
	char text[32];
	int n = snprintf(text, sizeof text, "{\"ret\":%d}", ret);

	imgo__http_body(http, request, status, NULL, imgo_strn(text, (size_t)n));
}

void imgo__http_err(struct imgo_http *http, struct imgo__httpd_request *request, int err)
{
	switch (err) {
	case 0:
		imgo__http_ret(http, request, 200, IMGO__RET_OK);
		break;
	case IMGO_EINVAL:
	case IMGO_EPROTO:
	case IMGO_ENOTFOUND:
		imgo__http_ret(http, request, 400, IMGO__RET_PARAM);
		break;
	case IMGO_EDENIED:
		imgo__http_ret(http, request, 403, IMGO__RET_TOKEN);
		break;
	case IMGO_EIO:
	case IMGO_EVERSION:
	case IMGO_ENOTSUP:
		imgo__http_ret(http, request, 500, IMGO__RET_INTERNAL);
		break;
	default: /* overloaded, down, unknown: the same request, with the same key, may be made again */
		imgo__http_ret(http, request, 503, IMGO__RET_INTERNAL);
	}
}

static struct imgo_str refusal(int status, void *user)
{
	(void)user;
	return status >= 500 ? imgo_str("{\"ret\":65535}") : imgo_str("{\"ret\":65534}");
}

/* ---- calls ---- */

void *imgo__http_call_new(struct imgo__http_ask *ask, size_t size)
{
	struct imgo__http_call *call = imgo__zalloc(size);

	if (!call) {
		imgo__http_err(ask->http, ask->request, IMGO_ENOMEM);
		return NULL;
	}
	call->http = ask->http;
	call->request = ask->request;
	imgo__list_init(&call->link);
	imgo__list_insert(&ask->http->calls, &call->link);
	return call;
}

void imgo__http_call_free(struct imgo__http_call *call)
{
	imgo__list_remove(&call->link);
	imgo__arena_free(&call->arena);
	free(call);
}

/* ---- routing ---- */

static const struct route *find_route(struct imgo_str path, unsigned listener)
{
	for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
		if (imgo_str_eq(path, imgo_str(routes[i].path)) && (listener == API || routes[i].store_too))
			return &routes[i];
	}
	return NULL;
}

/* In constant time: what is compared are hashes. */
static bool authorized(const struct imgo_http *http, const struct imgo__http_request *head)
{
	static const char scheme[] = "Bearer ";
	struct imgo_str value = imgo__http_header(head, "Authorization");
	uint8_t hash[IMGO__SHA256_LEN];

	if (!http->has_key)
		return true;
	if (value.len < sizeof scheme || strncasecmp(value.p, scheme, sizeof scheme - 1) != 0 ||
		imgo__http_header_count(head, "Authorization") != 1)
		return false;
	if (imgo__sha256(value.p + sizeof scheme - 1, value.len - (sizeof scheme - 1), hash) < 0)
		return false;
	return imgo__const_eq(hash, http->key_hash, sizeof hash);
}

static void answer_method(struct imgo_http *http, struct imgo__httpd_request *request, const struct route *route)
{
	struct imgo__httpd_answer answer = {.status = 405, .body = refusal(405, NULL),
		.headers = strcmp(route->method, "GET") == 0 ? "Allow: GET\r\n" : "Allow: POST\r\n"};

	imgo_stat_add(http->answered[4], 1);
	imgo__httpd_answer(request, &answer);
}

static bool on_head(struct imgo__httpd_request *request, const struct imgo__http_request *head, unsigned listener, void *user)
{
	struct imgo_http *http = user;
	const struct route *route = find_route(head->path, listener);

	if (!(route && route->open) && !authorized(http, head)) {
		struct imgo__httpd_answer answer = {.status = 401, .body = refusal(401, NULL),
			.headers = "WWW-Authenticate: Bearer\r\n"};
		imgo_stat_add(http->unauthorized, 1);
		imgo_stat_add(http->answered[4], 1);
		imgo__httpd_answer(request, &answer);
		return false;
	}
	if (!route) {
		imgo__http_ret(http, request, 404, IMGO__RET_PARAM);
		return false;
	}
	if (!imgo_str_eq(head->method, imgo_str(route->method))) {
		answer_method(http, request, route);
		return false;
	}
	return true;
}

static void on_request(struct imgo__httpd_request *request, const struct imgo__http_request *head, struct imgo_str body,
	unsigned listener, void *user)
{
	struct imgo__http_ask ask = {.http = user, .request = request, .head = head, .body = body};

	find_route(head->path, listener)->fn(&ask);
	imgo__arena_free(&ask.arena);
}

static const struct imgo__httpd_ops httpd_ops = {
	.head = on_head,
	.handle = on_request,
	.refusal = refusal,
};

/* ---- life ---- */

static int listen_on(struct imgo_http *http, const char *name, const char *address, struct imgo_error *error)
{
	struct imgo__addr addr;
	int err = imgo__addr_parse(&addr, imgo_str(address));

	if (err < 0)
		return imgo__fail(error, IMGO_EINVAL, "%s: not an address: %s", name, address);
	if (!http->has_key && !imgo__addr_is_loopback(&addr))
		return imgo__fail(error, IMGO_EINVAL,
			"%s: %s is not a loopback address: set api.key, or anybody could push", name, address);
	err = imgo__httpd_listen(http->httpd, &addr);
	if (err < 0)
		return imgo__fail(error, err, "%s: cannot listen on %s: %s", name, address,
			err == IMGO_EEXISTS ? "the address is in use" : imgo_strerror(err));
	return 0;
}

static int open_httpd(struct imgo_http *http, const struct imgo_http_options *options, struct imgo_error *error)
{
	struct imgo__httpd_options httpd = IMGO__HTTPD_OPTIONS_INIT;
	int err;

	httpd.ops = &httpd_ops;
	httpd.user = http;
	httpd.connections_max = options->connections_max;
	httpd.pipeline_max = options->pipeline_max;
	httpd.requests_max = options->requests_max;
	httpd.request_timeout_ms = options->request_timeout_ms;
	httpd.idle_timeout_ms = options->idle_timeout_ms;
	httpd.body_max = options->body_max_bytes;
	err = imgo__httpd_new(&http->httpd, http->loop, &httpd);
	if (err < 0)
		return imgo__fail(error, err, "http: out of memory");
	err = listen_on(http, "logic.http", options->listen, error);
	if (err == 0 && options->store_listen)
		err = listen_on(http, "logic.store-http", options->store_listen, error);
	return err;
}

static void init_stats(struct imgo_http *http)
{
	static const char *const names[6] = {"imgo_http_answers_total{status=\"0xx\"}", "imgo_http_answers_total{status=\"1xx\"}",
		"imgo_http_answers_total{status=\"2xx\"}", "imgo_http_answers_total{status=\"3xx\"}",
		"imgo_http_answers_total{status=\"4xx\"}", "imgo_http_answers_total{status=\"5xx\"}"};
	struct imgo_stats *set = imgo_loop_stats(http->loop);

	http->unauthorized = imgo_stats_counter(set, "imgo_http_unauthorized_total", "API calls without the key");
	for (int i = 0; i < 6; i++)
		http->answered[i] = imgo_stats_counter(set, names[i], "API calls answered, by class of status");
}

int imgo_http_new(struct imgo_http **out, struct imgo_loop *loop, const struct imgo_http_options *options,
	struct imgo_error *error)
{
	struct imgo_http *http;
	int err;

	if (!options || options->size != sizeof *options || !options->push || !options->listen)
		return imgo__fail(error, IMGO_EINVAL, "http: push and listen are mandatory");
	http = imgo__zalloc(sizeof *http);
	if (!http)
		return imgo__fail(error, IMGO_ENOMEM, "http: out of memory");
	http->loop = loop;
	http->push = options->push;
	imgo__list_init(&http->calls);
	init_stats(http);
	http->has_key = options->api_key != NULL;
	err = http->has_key ? imgo__sha256(options->api_key, strlen(options->api_key), http->key_hash) : 0;
	if (err < 0)
		imgo__fail(error, err, "http: out of memory");
	if (err == 0)
		err = open_httpd(http, options, error);
	if (err < 0) {
		imgo_http_free(http);
		return err;
	}
	*out = http;
	return 0;
}

void imgo_http_stop(struct imgo_http *http, uint64_t deadline_ms, void (*done)(void *user), void *user)
{
	imgo__httpd_stop(http->httpd, deadline_ms, done, user);
}

void imgo_http_free(struct imgo_http *http)
{
	if (!http)
		return;
	imgo__httpd_free(http->httpd);
	imgo__list_for(at, &http->calls) {
		imgo__list_remove(at);
		imgo__container_of(at, struct imgo__http_call, link)->http = NULL;
	}
	free(http);
}

void imgo_http_ports(const struct imgo_http *http, int *api, int *store)
{
	if (api)
		*api = imgo__httpd_port(http->httpd, API);
	if (store)
		*store = imgo__httpd_port(http->httpd, STORE);
}
