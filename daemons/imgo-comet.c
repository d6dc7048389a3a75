/* SPDX-License-Identifier: MIT */
/* imgo-comet: holds the client connections, and delivers to them. */
#include <imgo/edge.h>

#include "common.h"

#define ADMIN "127.0.0.1:8093"

struct comet_config {
	struct imgo_edge_options options;
	int v1_ack;
};

static const struct imgo_property table[] = {
	{IMGO_PROPERTY("comet.id", UINT, struct comet_config, options.comet, NULL, 1, INT32_MAX,
		 "Number of this comet, unique in the cluster: imgo's Server."),
		.flags = IMGO_PROPERTY_REQUIRED},
	{IMGO_PROPERTY("comet.tcp", STRING, struct comet_config, options.tcp, "0.0.0.0:8080", 0, 0,
		"Address for TCP clients.")},
	{IMGO_PROPERTY("comet.websocket", STRING, struct comet_config, options.websocket, "0.0.0.0:8090", 0, 0,
		"Address for WebSocket clients.")},
	{IMGO_PROPERTY("comet.tls", STRING, struct comet_config, options.tls, NULL, 0, 0,
		"Address for TCP clients in TLS; needs tls.cert.")},
	{IMGO_PROPERTY("comet.wss", STRING, struct comet_config, options.wss, "0.0.0.0:8095", 0, 0,
		"Address for WebSocket clients in TLS; listened on when tls.cert is set.")},
	{IMGO_PROPERTY("comet.rpc", STRING, struct comet_config, options.rpc, "127.0.0.1:8092", 0, 0,
		"Address to listen on for jobs and logics.")},
	{IMGO_PROPERTY("comet.rpc-advertise", STRING, struct comet_config, options.rpc_advertise, NULL, 0, 63,
		"Address at which they reach it, when it is not that of comet.rpc.")},
	{IMGO_PROPERTY("comet.advertise", STRING, struct comet_config, options.advertise, NULL, 0, 255,
		"Names and addresses under which clients reach this comet, between commas, for /goim/nodes/…; not set: the host of "
		"comet.tcp, unless that is a wildcard.")},
	{IMGO_PROPERTY("comet.weight", UINT, struct comet_config, options.weight, "10", 1, 1000,
		"Its share of new clients beside the other comets', in /goim/nodes/weighted.")},
	{IMGO_PROPERTY("comet.lease", DURATION, struct comet_config, options.lease_ms, "10s", 1000, 600000,
		"A comet that is silent for so long is forgotten with its sessions.")},
	{IMGO_PROPERTY("comet.compare", DURATION, struct comet_config, options.compare_ms, "10s", 0, 600000,
		"Each session is compared with its user's log this often, which bounds every lost word; 0: never (for tests).")},
	{IMGO_PROPERTY("v1.ack", ENUM, struct comet_config, v1_ack, "tcp", 0, 0,
		 "When a message counts as received by a client of version 1: tcp (its TCP has it, and then came a packet, an "
		 "orderly end or a second), heartbeat (its TCP has it, and then came op 2), pong (it answered a WebSocket ping sent "
		 "behind the message; TCP clients: heartbeat), written (our socket took it)."),
		.values = daemon_v1_acks},
	{IMGO_PROPERTY("logic.peers", STRING, struct comet_config, options.logics, "127.0.0.1:7170", 0, 0,
		"RPC addresses of logics, host:port between commas; any will do.")},
	{0},
};

static const struct imgo_property admin_table[] = DAEMON_ADMIN(ADMIN);

struct comet {
	struct daemon daemon;
	struct imgo_edge *edge;
	int code;
};

static void stop(void *user)
{
	struct comet *comet = user;

	imgo_edge_stop(comet->edge, comet->daemon.common.stop_ms, daemon_stopped, &comet->daemon);
}

static void on_superseded(struct imgo_edge *edge, void *user)
{
	struct comet *comet = user;

	(void)edge;
	comet->code = DAEMON_FAILED;
	daemon_stopped(&comet->daemon);
}

static int open_edge(struct comet *comet, const struct imgo_edge_options *options, struct imgo_hub_options *hub,
	struct imgo_error *error)
{
	hub->tls = comet->daemon.client_tls;
	int err = imgo_edge_new(&comet->edge, comet->daemon.loop, options, error);
	if (err == 0)
		err = daemon_admin_open(&comet->daemon, ADMIN, error);
	return err == 0 && comet->daemon.admin ? imgo_admin_watch_edge(comet->daemon.admin, comet->edge) : err;
}

int main(int argc, char **argv)
{
	struct comet_config config = {IMGO_EDGE_OPTIONS_INIT, 0};
	struct imgo_hub_options hub = IMGO_HUB_OPTIONS_INIT;
	struct comet comet = {.code = DAEMON_OK};
	struct imgo_tls_options tls = IMGO_TLS_OPTIONS_INIT;
	struct imgo_config_set sets[] = {
		{table, &config}, {daemon_hub_table, &hub}, {admin_table, &comet.daemon}, {daemon_tls_table, &tls}};
	struct imgo_error error = {0};
	int code = daemon_start(&comet.daemon, "imgo-comet", "holds the client connections", sets, 4, argc, argv);

	if (code != DAEMON_RUN)
		return code;
	config.options.secret = comet.daemon.common.secret;
	config.options.rpc_tls = comet.daemon.rpc_tls;
	if (!tls.cert)
		config.options.wss = NULL;
	config.options.v1_ack = (enum imgo_v1_ack)config.v1_ack;
	config.options.hub = &hub;
	config.options.on_superseded = on_superseded;
	config.options.user = &comet;
	if (daemon_client_tls(&comet.daemon, &tls, &error) < 0 || open_edge(&comet, &config.options, &hub, &error) < 0)
		comet.code = daemon_fail(&comet.daemon, &error);
	else
		daemon_run(&comet.daemon, stop, &comet);
	daemon_admin_close(&comet.daemon);
	imgo_edge_free(comet.edge);
	daemon_end(&comet.daemon);
	return comet.code;
}
