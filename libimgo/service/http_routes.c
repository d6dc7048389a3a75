/* SPDX-License-Identifier: MIT */
/* The table of calls, and the short ones: counts, forgetting a comet, health. */
#include "service/http_impl.h"

#include <stdio.h>

#include "base/buf.h"
#include "codec/json.h"
#include "service/http_param.h"

/* ---- GET /1/count ---- */

struct count_op {
	struct imgo__httpd_request *request;
	struct imgo_registry_count rooms;
	struct imgo_registry_comets comets;
};

static void finish_count(struct count_op *op, int err, struct imgo__buf *body)
{
	if (err == 0)
		err = imgo__buf_printf(body, "],\"ret\":%d}", IMGO__RET_OK);
	if (err)
		imgo__http_done(op->request, err);
	else
		imgo__http_json(op->request, imgo_strn(body->data, body->len));
	imgo__buf_free(body);
	free(op);
}

/* imgo's rooms are numbers, no room is -1; others ("live://1000", "007") are strings. */
static int put_room(struct imgo__buf *out, struct imgo_str room)
{
	char text[16];
	int32_t number;

	if (room.len == 0)
		return imgo__buf_printf(out, "-1");
	if (imgo__http_int32(room, &number)) {
		snprintf(text, sizeof text, "%d", number);
		if (imgo_str_eq(room, imgo_str(text)))
			return imgo__buf_str(out, room);
	}
	return imgo__json_quote(out, room);
}

static void on_rooms(int err, void *user)
{
	struct count_op *op = user;
	struct imgo__buf body = {0};

	if (err == 0)
		err = imgo__buf_printf(&body, "{\"data\":[");
	for (size_t i = 0; err == 0 && i < op->rooms.n; i++) {
		err = imgo__buf_printf(&body, "%s{\"RoomId\":", i ? "," : "");
		if (err == 0)
			err = put_room(&body, op->rooms.rooms[i].room);
		if (err == 0)
			err = imgo__buf_printf(&body, ",\"Count\":%llu}", (unsigned long long)op->rooms.rooms[i].count);
	}
	finish_count(op, err, &body);
}

static void on_comets(int err, void *user)
{
	struct count_op *op = user;
	struct imgo__buf body = {0};

	if (err == 0)
		err = imgo__buf_printf(&body, "{\"data\":[");
	for (size_t i = 0; err == 0 && i < op->comets.n; i++)
		err = imgo__buf_printf(&body, "%s{\"Server\":%u,\"Count\":%llu}", i ? "," : "",
			op->comets.comets[i].comet, (unsigned long long)op->comets.comets[i].sessions);
	finish_count(op, err, &body);
}

static void count(struct imgo__http_call *call)
{
	struct imgo_registry *registry = call->http->push->registry;
	struct count_op *op;
	struct imgo_str type;
	bool rooms;
	int err;

	if (imgo__http_query(call, "type", &type) ||
		(!imgo_str_eq(type, imgo_str("room")) && !imgo_str_eq(type, imgo_str("server")))) {
		imgo__http_bad(call->request, "type must be room or server");
		return;
	}
	rooms = *type.p == 'r';
	op = imgo__zalloc(sizeof *op);
	if (!op) {
		imgo__http_done(call->request, IMGO_ENOMEM);
		return;
	}
	op->request = call->request;
	err = rooms ? imgo_registry_count(registry, &op->rooms, on_rooms, op)
		    : imgo_registry_comets(registry, &op->comets, on_comets, op);
	if (err < 0) {
		imgo__http_done(op->request, err);
		free(op);
	}
}

/* ---- POST /1/server/del ---- */

static void on_done(int err, void *user)
{
	imgo__http_done(user, err);
}

static void server_del(struct imgo__http_call *call)
{
	struct imgo_str text;
	uint64_t server;
	int err;

	err = imgo__http_query(call, "server", &text);
	if (err == IMGO_ENOTFOUND)
		err = imgo__http_param(&call->arena, call->body, "server", &text);
	if (err || !imgo__http_positive(text, NULL, &server) || server > UINT32_MAX) {
		imgo__http_bad(call->request, "server must be the number of a comet");
		return;
	}
	err = imgo_registry_del_comet(call->http->push->registry, (uint32_t)server, on_done, call->request);
	if (err < 0)
		imgo__http_done(call->request, err);
}

/* ---- GET /healthz ---- */

static void healthz(struct imgo__http_call *call)
{
	struct imgo_bus *bus = call->http->push->bus;
	bool ready = imgo_bus_ready(bus), full = imgo_bus_full(bus), stopping = imgo__httpd_stopping(call->http->httpd);
	const char *missing = !ready ? "bus" : full ? "space" : "stopping";
	struct imgo__buf body = {0};

	if (ready && !full && !stopping) {
		imgo__http_json(call->request, imgo_str("{\"ready\":true}"));
		return;
	}
	if (imgo__buf_printf(&body, "{\"ready\":false,\"missing\":[\"%s\"%s]}", missing,
		    stopping && (!ready || full) ? ",\"stopping\"" : ""))
		imgo__http_done(call->request, IMGO_ENOMEM);
	else
		imgo__http_answer(call->request,
			&(struct imgo__httpd_answer){
				.status = 503, .headers = "Retry-After: 1\r\n", .body = imgo_strn(body.data, body.len)});
	imgo__buf_free(&body);
}

/* ---- the table ---- */

#define CLASS(call, class) "imgo_http_requests_total{call=\"" call "\",status=\"" class "\"}"
#define STATS(call) \
	{ \
		CLASS(call, "2xx"), CLASS(call, "4xx"), CLASS(call, "5xx") \
	}
#define ROUTE(path, flags, handle) \
	{ \
		path, flags, handle, STATS(path) \
	}

enum { GOIM_PUSH = IMGO__ROUTE_GOIM | IMGO__ROUTE_POST | IMGO__ROUTE_MESSAGE };

const struct imgo__http_route imgo__http_routes[] = {
	ROUTE("/1/push", IMGO__ROUTE_POST | IMGO__ROUTE_MESSAGE, imgo__http_push_user),
	ROUTE("/1/pushs", IMGO__ROUTE_POST, imgo__http_push_users),
	ROUTE("/1/push/room", IMGO__ROUTE_POST | IMGO__ROUTE_MESSAGE, imgo__http_push_room),
	ROUTE("/1/push/all", IMGO__ROUTE_POST | IMGO__ROUTE_MESSAGE, imgo__http_push_all),
	ROUTE("/1/count", 0, count),
	ROUTE("/1/server/del", IMGO__ROUTE_POST, server_del),
	ROUTE("/1/admin/token/new", IMGO__ROUTE_POST, imgo__http_token_new),
	ROUTE("/1/msg/get", IMGO__ROUTE_STORE, imgo__http_msg_get),
	ROUTE("/goim/push/keys", GOIM_PUSH, imgo__goim_push_keys),
	ROUTE("/goim/push/mids", GOIM_PUSH, imgo__goim_push_mids),
	ROUTE("/goim/push/room", GOIM_PUSH, imgo__goim_push_room),
	ROUTE("/goim/push/all", GOIM_PUSH, imgo__goim_push_all),
	ROUTE("/goim/online/top", IMGO__ROUTE_GOIM, imgo__goim_online_top),
	ROUTE("/goim/online/room", IMGO__ROUTE_GOIM, imgo__goim_online_room),
	ROUTE("/goim/online/total", IMGO__ROUTE_GOIM, imgo__goim_online_total),
	ROUTE("/goim/nodes/weighted", IMGO__ROUTE_GOIM, imgo__goim_nodes_weighted),
	ROUTE("/goim/nodes/instances", IMGO__ROUTE_GOIM, imgo__goim_nodes_instances),
	ROUTE("/healthz", IMGO__ROUTE_STORE | IMGO__ROUTE_OPEN, healthz),
	ROUTE("asset", IMGO__ROUTE_OPEN, imgo__http_asset), /* no path begins like this: see find_route */
	{"", 0, NULL, STATS("none")},
};
const size_t imgo__http_nroutes = sizeof imgo__http_routes / sizeof *imgo__http_routes;
_Static_assert(sizeof imgo__http_routes / sizeof *imgo__http_routes <= IMGO__HTTP_ROUTES_MAX, "counters");
