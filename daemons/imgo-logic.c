/* SPDX-License-Identifier: MIT */
/* imgo-logic: the push API, and logins for the comets. */
#include <imgo/http.h>
#include <imgo/push.h>

#include "cluster.h"
#include "page.h"

#define ADMIN "127.0.0.1:7173"

struct logic_config {
	struct imgo_push_options push;
	struct imgo_http_options http;
	int sessions_policy, auth_mode;
	bool page;
};

static const struct imgo_property table[] = {
	{IMGO_PROPERTY("logic.rpc", STRING, struct logic_config, push.rpc_listen, "127.0.0.1:7170", 0, 0,
		"Address to listen on for comets.")},
	{IMGO_PROPERTY("logic.http", STRING, struct logic_config, http.listen, "127.0.0.1:7172", 0, 0,
		"Address of the push API; on any but loopback api.key is required.")},
	{IMGO_PROPERTY("logic.store-http", STRING, struct logic_config, http.store_listen, "127.0.0.1:8099", 0, 0,
		"Address at which the original's store answers /1/msg/get.")},
	DAEMON_PAGE_PROPERTY(struct logic_config, page),
	{IMGO_PROPERTY("push.body-max-bytes", SIZE, struct logic_config, push.body_max_bytes, "256k", 1, IMGO_BODY_MAX,
		"Largest message.")},
	{IMGO_PROPERTY("push.users-max", UINT, struct logic_config, push.users_max, "10000", 1, 1000000,
		"Users of one push.")},
	{IMGO_PROPERTY("push.pushes-max", UINT, struct logic_config, push.pushes_max, "65536", 1, 10000000,
		"Pushes under way; beyond it they are answered 503.")},
	{IMGO_PROPERTY("auth.mode", ENUM, struct logic_config, auth_mode, "token", 0, 0,
		 "Who a client is: whom its token names. goim-insecure: a goim client without a token is whoever it says, for "
		 "trying goim's clients out."),
		.values = daemon_auth_modes},
	{IMGO_PROPERTY("user.sessions-max", UINT, struct logic_config, push.sessions_max, "16", 0, 64,
		"Sessions of one user at the same time; 0: no maximum.")},
	{IMGO_PROPERTY("user.sessions-policy", ENUM, struct logic_config, sessions_policy, "replace", 0, 0,
		 "At the maximum: the oldest session goes, or the new one is refused."),
		.values = daemon_sessions_policies},
	{0},
};

static const struct imgo_property admin_table[] = DAEMON_ADMIN(ADMIN);

struct logic {
	struct daemon daemon;
	struct cluster cluster;
	struct imgo_push *push;
	struct imgo_http *http;
};

static void stop(void *user)
{
	struct logic *logic = user;

	imgo_http_stop(logic->http, logic->daemon.common.stop_ms, daemon_stopped, &logic->daemon);
}

static int open_logic(struct logic *logic, struct logic_config *config, struct imgo_error *error)
{
	int err;

	config->push.registry = logic->cluster.registry;
	config->push.store = logic->cluster.store;
	config->push.bus = logic->cluster.bus;
	config->push.secret = logic->daemon.common.secret;
	config->push.auth_mode = (enum imgo_auth_mode)config->auth_mode;
	config->push.rpc_tls = logic->daemon.rpc_tls;
	config->push.sessions_policy = (enum imgo_sessions_policy)config->sessions_policy;
	err = imgo_push_new(&logic->push, logic->daemon.loop, &config->push, error);
	if (err < 0)
		return err;
	config->http.push = logic->push;
	if (config->page)
		daemon_page_add(&config->http);
	err = imgo_http_new(&logic->http, logic->daemon.loop, &config->http, error);
	if (err == 0 && config->page)
		daemon_page_log(&logic->daemon, logic->http);
	return err;
}

static int open_admin(struct logic *logic, struct imgo_error *error)
{
	int err = daemon_admin_open(&logic->daemon, ADMIN, error);

	return err ? err : cluster_watch(&logic->cluster, logic->daemon.admin);
}

int main(int argc, char **argv)
{
	struct logic logic = {.cluster = CLUSTER_INIT};
	struct logic_config config = {IMGO_PUSH_OPTIONS_INIT, IMGO_HTTP_OPTIONS_INIT, 0, 0, false};
	struct imgo_config_set sets[] = {{table, &config}, {daemon_api_table, &config.http},
		{daemon_kafka_table, &logic.cluster.kafka}, {daemon_memcached_table, &logic.cluster.stored},
		{daemon_router_peers_table, &logic.cluster.routers}, {admin_table, &logic.daemon}};
	struct imgo_error error = {0};
	int code =
		daemon_start(&logic.daemon, "imgo-logic", "the push API, and logins for the comets", sets, 6, argc, argv);

	if (code != DAEMON_RUN)
		return code;
	code = DAEMON_OK;
	if (cluster_open(&logic.cluster, &logic.daemon, &error) < 0 || open_logic(&logic, &config, &error) < 0 ||
		open_admin(&logic, &error) < 0)
		code = daemon_fail(&logic.daemon, &error);
	else
		daemon_run(&logic.daemon, stop, &logic);
	daemon_admin_close(&logic.daemon);
	imgo_http_free(logic.http);
	imgo_push_free(logic.push);
	cluster_close(&logic.cluster);
	daemon_end(&logic.daemon);
	return code;
}
