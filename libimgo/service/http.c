/* SPDX-License-Identifier: MIT */
/*
 * The push API: life of the object, who may call, and the answers.
 *
 * A request carries the place of its counters as its tag, from the moment its head was judged. The tag points
 * into the imgo_http, so it is looked at only while the request is not an orphan: a push, a store or a
 * registry may well answer after the API is gone.
 */
#include "service/http_impl.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/options.h"
#include "base/hash.h"

/* ---- answers ---- */

void imgo__http_answer(struct imgo__httpd_request *request, const struct imgo__httpd_answer *answer)
{
	struct imgo__http_counters *counters;

	if (!imgo__httpd_orphan(request)) {
		counters = (struct imgo__http_counters *)imgo__httpd_tag(request);
		imgo_stat_add(counters->classes[answer->status < 400 ? 0 : answer->status < 500 ? 1 : 2], 1);
	}
	imgo__httpd_answer(request, answer);
}

void imgo__http_json(struct imgo__httpd_request *request, struct imgo_str body)
{
	imgo__http_answer(request, &(struct imgo__httpd_answer){.status = 200, .body = body});
}

static void refuse(struct imgo__httpd_request *request, int status, int ret, const char *why, const char *headers, bool retry)
{
	char body[256];
	int len = snprintf(body, sizeof body, "{\"ret\":%d,\"error\":\"%s\"%s}", ret, why, retry ? ",\"retry\":true" : "");

	if (status == 503)
		headers = "Retry-After: 1\r\n";
	imgo__http_answer(request,
		&(struct imgo__httpd_answer){.status = status, .headers = headers, .body = imgo_strn(body, (size_t)len)});
}

void imgo__http_refuse(struct imgo__httpd_request *request, int status, int ret, const char *why)
{
	refuse(request, status, ret, why, NULL, false);
}

void imgo__http_bad(struct imgo__httpd_request *request, const char *why)
{
	refuse(request, 400, IMGO__RET_BAD_PARAMETER, why, NULL, false);
}

int imgo__http_status_of(int err, int *ret)
{
	*ret = IMGO__RET_INTERNAL;
	switch (err) {
	case IMGO_EINVAL:
		*ret = IMGO__RET_BAD_PARAMETER;
		return 400;
	case IMGO_EDENIED:
		*ret = IMGO__RET_BAD_TOKEN;
		return 403;
	case IMGO_EPROTO:
	case IMGO_ENOTSUP:
	case IMGO_ENOTFOUND:
	case IMGO_EEXISTS:
		return 500;
	default: /* overloaded, down, out of time, rebuilding, full: later, and possibly elsewhere, it may
		    work */
		return 503;
	}
}

static void done(struct imgo__httpd_request *request, int err, bool push)
{
	int ret, status;

	if (err == 0) {
		imgo__http_json(request, imgo_str("{\"ret\":1}"));
		return;
	}
	status = imgo__http_status_of(err, &ret);
	refuse(request, status, ret, imgo_strerror(err), NULL, push && status >= 500);
}

void imgo__http_done(struct imgo__httpd_request *request, int err)
{
	done(request, err, false);
}

void imgo__http_pushed(struct imgo__httpd_request *request, int err)
{
	done(request, err, true);
}

int imgo__http_query(struct imgo__http_call *call, const char *name, struct imgo_str *out)
{
	return imgo__http_param(&call->arena, call->head->query, name, out);
}

/* ---- who may call what ---- */

/* The comparison takes as long for a key that is nearly right as for any other of its length. */
static bool key_is_good(const struct imgo_http *http, const struct imgo__http_request *head)
{
	struct imgo_str value = imgo__http_header(head, "Authorization");
	size_t len = http->api_key ? strlen(http->api_key) : 0;

	if (!http->api_key)
		return true;
	if (imgo__http_header_count(head, "Authorization") != 1 || value.len < 7 || strncasecmp(value.p, "Bearer ", 7) != 0)
		return false;
	value = imgo_strn(value.p + 7, value.len - 7);
	while (value.len && *value.p == ' ')
		value = imgo_strn(value.p + 1, value.len - 1);
	return value.len == len && imgo__const_eq(value.p, http->api_key, len);
}

/* The last route stands for what is not there, the one before it for the assets. */
static size_t find_route(const struct imgo_http *http, const struct imgo__httpd_request *request, struct imgo_str path,
	unsigned listener)
{
	size_t i = 0, none = imgo__http_nroutes - 1;

	while (i < none && !imgo_str_eq(path, imgo_str(imgo__http_routes[i].path)))
		i++;
	if (listener == IMGO__HTTP_STORE && !(imgo__http_routes[i].flags & IMGO__ROUTE_STORE))
		return none;
	if (i == none && imgo__httpd_loopback(request) && imgo__http_find_asset(http, path))
		return none - 1;
	return i;
}

/* Refuses a request for what its head says, in the form of answers of that path. */
static void refuse_head(
	struct imgo__httpd_request *request, unsigned flags, int status, int ret, const char *why, const char *headers)
{
	if (flags & IMGO__ROUTE_GOIM)
		imgo__goim_refuse(request, status, why, headers);
	else
		refuse(request, status, ret, why, headers, false);
}

static bool on_head(
	struct imgo__httpd_request *request, const struct imgo__http_request *head, unsigned listener, void *user)
{
	struct imgo_http *http = user;
	size_t index = find_route(http, request, head->path, listener);
	const struct imgo__http_route *route = &imgo__http_routes[index];
	unsigned flags = route->flags;
	bool post = flags & IMGO__ROUTE_POST;
	bool known = imgo_str_eq(head->method, imgo_str(post ? "POST" : "GET"));

	if (!route->handle && head->path.len >= 6 && memcmp(head->path.p, "/goim/", 6) == 0)
		flags |= IMGO__ROUTE_GOIM;
	imgo__httpd_set_tag(request, (uintptr_t)&http->counters[index]);
	if (!(flags & IMGO__ROUTE_OPEN) && !key_is_good(http, head)) {
		imgo_stat_add(http->no_key, 1);
		refuse_head(request, flags, 401, IMGO__RET_BAD_TOKEN, "no valid key", "WWW-Authenticate: Bearer\r\n");
	} else if (!http->api_key && !imgo__http_same_machine(head)) {
		imgo_stat_add(http->cross_site, 1);
		refuse_head(request, flags, 403, IMGO__RET_BAD_TOKEN,
			"a page of another site may not call this: set api.key", NULL);
	} else if (!route->handle || (!known && (flags & IMGO__ROUTE_GOIM))) {
		refuse_head(request, flags, 404, IMGO__RET_BAD_PARAMETER, "no such call", NULL);
	} else if (!known) {
		refuse_head(request, flags, 405, IMGO__RET_BAD_PARAMETER, "method not allowed",
			post ? "Allow: POST\r\n" : "Allow: GET\r\n");
	} else if ((flags & IMGO__ROUTE_MESSAGE) && head->content_length > http->push->body_max) {
		refuse_head(request, flags, 413, IMGO__RET_BAD_PARAMETER, "message too long", NULL);
	} else {
		return true;
	}
	return false;
}

static void on_handle(struct imgo__httpd_request *request, const struct imgo__http_request *head, struct imgo_str body,
	unsigned listener, void *user)
{
	struct imgo__http_call call = {.http = user, .request = request, .head = head, .body = body};
	size_t index =
		(size_t)((struct imgo__http_counters *)imgo__httpd_tag(request) - ((struct imgo_http *)user)->counters);

	(void)listener;
	imgo__http_routes[index].handle(&call);
	imgo__arena_free(&call.arena);
}

static struct imgo_str refusal(int status, void *user)
{
	(void)user;
	return imgo_str(status == 503 ? "{\"ret\":65535}" : "{\"ret\":65534}");
}

static const struct imgo__httpd_ops ops = {.head = on_head, .handle = on_handle, .refusal = refusal};

/* ---- life ---- */

static int take_options(struct imgo_http_options *o, const struct imgo_http_options *given, struct imgo_error *error)
{
	const struct imgo_http_options defaults = *o;
	int err = imgo__options_take(o, given, "http", error);

	IMGO__OPTION_DEFAULT(*o, defaults, listen);
	IMGO__OPTION_DEFAULT(*o, defaults, connections_max);
	IMGO__OPTION_DEFAULT(*o, defaults, pipeline_max);
	IMGO__OPTION_DEFAULT(*o, defaults, request_timeout_ms);
	IMGO__OPTION_DEFAULT(*o, defaults, idle_timeout_ms);
	IMGO__OPTION_DEFAULT(*o, defaults, body_max_bytes);
	IMGO__OPTION_DEFAULT(*o, defaults, target_max_bytes);
	return err;
}

static int check_options(const struct imgo_http_options *options, struct imgo_error *error)
{
	if (!options->push)
		return imgo__fail(error, IMGO_EINVAL, "http: push is mandatory");
	for (const char *c = options->api_key; c && *c; c++) {
		if (*c <= 0x20 || *c >= 0x7F)
			return imgo__fail(error, IMGO_EINVAL, "http: the key has a character that no header can carry");
	}
	if (options->api_key && !*options->api_key)
		return imgo__fail(error, IMGO_EINVAL, "http: the key is empty");
	return 0;
}

static int listen_on(struct imgo_http *http, const char *name, const char *address, struct imgo_error *error)
{
	struct imgo__addr addr;
	int err = imgo__addr_parse(&addr, imgo_str(address));

	if (err < 0)
		return imgo__fail(error, IMGO_EINVAL, "%s: not an address: %s", name, address);
	if (!http->api_key && !imgo__addr_is_loopback(&addr))
		return imgo__fail(error, IMGO_EINVAL,
			"%s: %s is not a loopback address: set api.key, or anybody could push", name, address);
	err = imgo__httpd_listen(http->httpd, &addr);
	if (err < 0)
		return imgo__fail(error, err == IMGO_ENOMEM ? err : IMGO_EIO, "%s: cannot listen on %s: %s", name,
			address, err == IMGO_EEXISTS ? "the address is in use" : imgo_strerror(err));
	return 0;
}

static void enter_stats(struct imgo_http *http)
{
	struct imgo_stats *set = imgo_loop_stats(http->loop);

	for (size_t i = 0; i < imgo__http_nroutes; i++) {
		for (int class = 0; class < 3; class ++)
			http->counters[i].classes[class] = imgo_stats_counter(
				set, imgo__http_routes[i].stats[class], "calls of the HTTP API, by outcome");
	}
	http->no_key = imgo_stats_counter(
		set, "imgo_http_refused_total{reason=\"no_key\"}", "requests that the server refused by itself");
	http->cross_site = imgo_stats_counter(
		set, "imgo_http_refused_total{reason=\"cross_site\"}", "requests that the server refused by itself");
}

static int start(struct imgo_http *http, const struct imgo_http_options *options, struct imgo_error *error)
{
	struct imgo__httpd_options o = IMGO__HTTPD_OPTIONS_INIT;
	int err;

	o.ops = &ops;
	o.user = http;
	o.connections_max = options->connections_max;
	o.pipeline_max = options->pipeline_max;
	o.requests_max = options->requests_max;
	o.request_timeout_ms = options->request_timeout_ms;
	o.idle_timeout_ms = options->idle_timeout_ms;
	o.body_max = options->body_max_bytes;
	o.target_max = options->target_max_bytes;
	if (!(http->domain = imgo__strdup(options->domain ? options->domain : "localhost")))
		return imgo__fail(error, IMGO_ENOMEM, "http: out of memory");
	if (options->api_key && !(http->api_key = imgo__strdup(options->api_key)))
		return imgo__fail(error, IMGO_ENOMEM, "http: out of memory");
	if (imgo__httpd_new(&http->httpd, http->loop, &o) < 0)
		return imgo__fail(error, IMGO_ENOMEM, "http: out of memory");
	err = listen_on(http, "logic.http", options->listen, error);
	if (err == 0 && options->store_listen)
		err = listen_on(http, "logic.store-http", options->store_listen, error);
	return err;
}

int imgo_http_new(
	struct imgo_http **out, struct imgo_loop *loop, const struct imgo_http_options *given, struct imgo_error *error)
{
	struct imgo_http_options o = IMGO_HTTP_OPTIONS_INIT;
	const struct imgo_http_options *options = &o;
	struct imgo_http *http;
	int err = take_options(&o, given, error);

	if (err == 0)
		err = check_options(options, error);
	if (err < 0)
		return err;
	http = imgo__zalloc(sizeof *http);
	if (!http)
		return imgo__fail(error, IMGO_ENOMEM, "http: out of memory");
	http->loop = loop;
	http->push = options->push;
	http->assets = options->assets;
	http->nassets = options->nassets;
	imgo__list_init(&http->logs);
	enter_stats(http);
	err = start(http, options, error);
	if (err < 0) {
		imgo_http_free(http);
		return err;
	}
	*out = http;
	return 0;
}

void imgo_http_stop(struct imgo_http *http, uint64_t deadline_ms, void (*done_fn)(void *user), void *user)
{
	imgo__httpd_stop(http->httpd, deadline_ms, done_fn, user);
}

void imgo_http_free(struct imgo_http *http)
{
	if (!http)
		return;
	imgo__http_logs_orphan(http);
	imgo__goim_orphan(http);
	imgo__httpd_free(http->httpd);
	if (http->api_key)
		explicit_bzero(http->api_key, strlen(http->api_key));
	free(http->api_key);
	free(http->domain);
	free(http);
}

void imgo_http_ports(const struct imgo_http *http, int *api, int *store)
{
	if (api)
		*api = imgo__httpd_port(http->httpd, IMGO__HTTP_API);
	if (store)
		*store = imgo__httpd_port(http->httpd, IMGO__HTTP_STORE);
}
