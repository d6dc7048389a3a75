/* SPDX-License-Identifier: MIT */
/*
 * imgo: the standalone server, all four roles in one process, with no broker, no cache and no configuration. It is what
 * `./dev up` starts. examples/standalone.c is the same without configuration.
 */
#include <imgo/node.h>

#include "page.h"

#define ADMIN "127.0.0.1:7073"

struct standalone {
	struct daemon daemon;
	struct imgo_node_options node;
	struct imgo_push_options push;
	struct imgo_edge_options edge;
	struct imgo_dispatch_options dispatch;
	struct imgo_http_options http;
	struct imgo_hub_options hub;
	struct imgo_tls_options tls;
	struct imgo_store_options store;
	struct imgo_bus_memory_options bus;
	int sessions_policy, auth_mode, v1_ack, bus_kind;
	bool page;
	struct imgo_node *running;
};

static const char *const buses[] = {"lmdb", "memory", NULL};
static const struct imgo_property table[] = {
	{IMGO_PROPERTY("comet.id", UINT, struct standalone, edge.comet, "1", 1, INT32_MAX,
		"Number of the comet: imgo's Server.")},
	{IMGO_PROPERTY("comet.tcp", STRING, struct standalone, edge.tcp, "0.0.0.0:8080", 0, 0, "Address for TCP clients.")},
	{IMGO_PROPERTY("comet.websocket", STRING, struct standalone, edge.websocket, "0.0.0.0:8090", 0, 0,
		"Address for WebSocket clients.")},
	{IMGO_PROPERTY("comet.tls", STRING, struct standalone, edge.tls, NULL, 0, 0,
		"Address for TCP clients in TLS; needs tls.cert.")},
	{IMGO_PROPERTY("comet.wss", STRING, struct standalone, edge.wss, "0.0.0.0:8095", 0, 0,
		"Address for WebSocket clients in TLS; listened on when tls.cert is set.")},
	{IMGO_PROPERTY("comet.advertise", STRING, struct standalone, edge.advertise, NULL, 0, 255,
		"Names and addresses under which clients reach this comet, between commas, for /goim/nodes/…; not set: the host of "
		"comet.tcp, unless that is a wildcard.")},
	{IMGO_PROPERTY("comet.compare", DURATION, struct standalone, edge.compare_ms, "10s", 0, 600000,
		"Each session is compared with its user's log this often; 0: never (for tests).")},
	{IMGO_PROPERTY("v1.ack", ENUM, struct standalone, v1_ack, "tcp", 0, 0,
		 "When a message counts as received by a client of version 1: tcp (its TCP has it, and then came a packet, an "
		 "orderly end or a second), heartbeat (its TCP has it, and then came op 2), pong (it answered a WebSocket ping sent "
		 "behind the message; TCP clients: heartbeat), written (our socket took it)."),
		.values = daemon_v1_acks},
	{IMGO_PROPERTY("logic.http", STRING, struct standalone, http.listen, "127.0.0.1:7172", 0, 0,
		"Address of the push API; on any but loopback api.key is required.")},
	{IMGO_PROPERTY("logic.store-http", STRING, struct standalone, http.store_listen, "127.0.0.1:8099", 0, 0,
		"Address at which the original's store answers /1/msg/get.")},
	DAEMON_PAGE_PROPERTY(struct standalone, page),
	{IMGO_PROPERTY("push.body-max-bytes", SIZE, struct standalone, push.body_max_bytes, "256k", 1, IMGO_BODY_MAX,
		"Largest message.")},
	{IMGO_PROPERTY("push.users-max", UINT, struct standalone, push.users_max, "10000", 1, 1000000, "Users of one push.")},
	{IMGO_PROPERTY("push.pushes-max", UINT, struct standalone, push.pushes_max, "65536", 1, 10000000,
		"Pushes under way; beyond it they are answered 503.")},
	{IMGO_PROPERTY("auth.mode", ENUM, struct standalone, auth_mode, "token", 0, 0,
		 "Who a client is: whom its token names. goim-insecure: a goim client without a token is whoever it says, for "
		 "trying goim's clients out."),
		.values = daemon_auth_modes},
	{IMGO_PROPERTY("user.sessions-max", UINT, struct standalone, push.sessions_max, "16", 0, 64,
		"Sessions of one user at the same time; 0: no maximum.")},
	{IMGO_PROPERTY("user.sessions-policy", ENUM, struct standalone, sessions_policy, "replace", 0, 0,
		 "At the maximum: the oldest session goes, or the new one is refused."),
		.values = daemon_sessions_policies},
	{IMGO_PROPERTY("room.batch-max", UINT, struct standalone, dispatch.room_batch_max, "0", 0, 10000,
		"Goim's way of batching room messages; 0: at once.")},
	{IMGO_PROPERTY("room.batch-wait", DURATION, struct standalone, dispatch.room_batch_ms, "0", 0, 60000,
		"See room.batch-max; goim waits 1s.")},
	{IMGO_PROPERTY("store.path", STRING, struct standalone, node.store_path, NULL, 0, 0,
		"Directory of accepted and waiting messages and tokens (LMDB, synced), made if missing; not set: everything is "
		"in memory, and gone with the process.")},
	{IMGO_PROPERTY("store.map-max-bytes", SIZE, struct standalone, node.map_max_bytes, "64g", 4194304,
		17592186044416, "The most that store.path may hold; beyond it pushes are answered 503.")},
	{IMGO_PROPERTY("bus", ENUM, struct standalone, bus_kind, "lmdb", 0, 0,
		 "Where accepted messages are until they are in their users' logs: lmdb: in store.path, a push is answered when "
		 "it is synced; memory: a push is answered at once, and the last moments are lost with the process."),
		.values = buses},
	{IMGO_PROPERTY("bus.bytes-max", SIZE, struct standalone, bus.bytes_max, "256m", 1048576, 68719476736,
		"Memory for messages to rooms and all, and with bus=memory all messages; beyond it pushes are answered 503.")},
	{0},
};

static const struct imgo_property admin_table[] = DAEMON_ADMIN(ADMIN);

static void stop(void *user)
{
	struct standalone *self = user;

	imgo_node_stop(self->running, self->daemon.common.stop_ms, daemon_stopped, &self->daemon);
}

static int open_node(struct standalone *self, struct imgo_error *error)
{
	int err;

	self->push.auth_mode = (enum imgo_auth_mode)self->auth_mode;
	self->push.sessions_policy = (enum imgo_sessions_policy)self->sessions_policy;
	self->edge.v1_ack = (enum imgo_v1_ack)self->v1_ack;
	self->edge.hub = &self->hub;
	self->node.store = &self->store;
	self->node.bus = &self->bus;
	self->node.bus_in_memory = self->bus_kind == 1;
	self->node.push = &self->push;
	self->node.edge = &self->edge;
	self->node.dispatch = &self->dispatch;
	self->node.http = &self->http;
	if (self->page)
		daemon_page_add(&self->http);
	if (!self->tls.cert)
		self->edge.wss = NULL;
	err = daemon_client_tls(&self->daemon, &self->tls, error);
	if (err)
		return err;
	self->hub.tls = self->daemon.client_tls;
	err = imgo_node_new(&self->running, self->daemon.loop, &self->node, error);
	if (err == 0 && self->page)
		daemon_page_log(&self->daemon, imgo_node_http(self->running));
	return err;
}

static int open_admin(struct standalone *self, struct imgo_error *error)
{
	int err = daemon_admin_open(&self->daemon, ADMIN, error);
	struct imgo_admin *admin = self->daemon.admin;
	struct imgo_push *push = imgo_node_push(self->running);

	if (!admin)
		return err;
	err = imgo_admin_watch_bus(admin, "bus", imgo_push_bus(push));
	if (err == 0)
		err = imgo_admin_watch_store(admin, "store", imgo_push_store(push), imgo_push_bus(push));
	if (err == 0)
		err = imgo_admin_watch_edge(admin, imgo_node_edge(self->running));
	return err ? err : imgo_admin_watch_dispatch(admin, imgo_node_dispatch(self->running));
}

int main(int argc, char **argv)
{
	struct standalone self = {
		.node = IMGO_NODE_OPTIONS_INIT,
		.push = IMGO_PUSH_OPTIONS_INIT,
		.edge = IMGO_EDGE_OPTIONS_INIT,
		.dispatch = IMGO_DISPATCH_OPTIONS_INIT,
		.http = IMGO_HTTP_OPTIONS_INIT,
		.hub = IMGO_HUB_OPTIONS_INIT,
		.tls = IMGO_TLS_OPTIONS_INIT,
		.store = IMGO_STORE_OPTIONS_INIT,
		.bus = IMGO_BUS_MEMORY_OPTIONS_INIT,
	};
	struct imgo_config_set sets[] = {{table, &self}, {daemon_hub_table, &self.hub}, {daemon_api_table, &self.http},
		{daemon_store_table, &self.store}, {admin_table, &self.daemon}, {daemon_tls_table, &self.tls}};
	struct imgo_error error = {0};
	int code = daemon_start(&self.daemon, "imgo", "the standalone push server", sets, 6, argc, argv);

	if (code != DAEMON_RUN)
		return code;
	code = DAEMON_OK;
	if (open_node(&self, &error) < 0 || open_admin(&self, &error) < 0)
		code = daemon_fail(&self.daemon, &error);
	else
		daemon_run(&self.daemon, stop, &self);
	daemon_admin_close(&self.daemon);
	imgo_node_free(self.running);
	daemon_end(&self.daemon);
	return code;
}
