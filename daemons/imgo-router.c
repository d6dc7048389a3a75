/* SPDX-License-Identifier: MIT */
/* imgo-router: the session registry, in memory, served over RPC. */
#include <imgo/router.h>

#include "common.h"

#define ADMIN "127.0.0.1:7273"

struct router_config {
	struct imgo_router_options options;
};

static const struct imgo_property table[] = {
	{IMGO_PROPERTY("router.rpc", STRING, struct router_config, options.listen, "127.0.0.1:7270", 0, 0,
		"Address to listen on for logics and jobs.")},
	{IMGO_PROPERTY("router.list-version", UINT, struct router_config, options.list_version, "1", 1, UINT32_MAX,
		"Number of the list of routers that this one is part of.")},
	{0},
};

static const struct imgo_property admin_table[] = DAEMON_ADMIN(ADMIN);

static int open_admin(struct daemon *daemon, struct imgo_registry *registry, struct imgo_error *error)
{
	int err = daemon_admin_open(daemon, ADMIN, error);

	return err == 0 && daemon->admin ? imgo_admin_watch_registry(daemon->admin, "registry", registry) : err;
}

int main(int argc, char **argv)
{
	struct router_config config = {IMGO_ROUTER_OPTIONS_INIT};
	struct daemon daemon;
	struct imgo_config_set sets[] = {{table, &config}, {admin_table, &daemon}};
	struct imgo_registry *registry = NULL;
	struct imgo_router *router = NULL;
	struct imgo_error error = {0};
	int code = daemon_start(&daemon, "imgo-router", "knows which user is online, and where", sets, 2, argc, argv);

	if (code != DAEMON_RUN)
		return code;
	config.options.secret = daemon.common.secret;
	config.options.rpc_tls = daemon.rpc_tls;
	code = DAEMON_OK;
	if (imgo_registry_new_memory(&registry, daemon.loop, &error) < 0 ||
		imgo_router_new(&router, daemon.loop, registry, &config.options, &error) < 0 ||
		open_admin(&daemon, registry, &error) < 0)
		code = daemon_fail(&daemon, &error);
	else
		daemon_run(&daemon, daemon_stopped, &daemon);
	daemon_admin_close(&daemon);
	imgo_router_free(router);
	imgo_registry_free(registry);
	daemon_end(&daemon);
	return code;
}
