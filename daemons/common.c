/* SPDX-License-Identifier: MIT */
#include "common.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- tables ---- */

const char *const daemon_sessions_policies[] = {"replace", "refuse", NULL};
const char *const daemon_v1_acks[] = {"tcp", "written", "heartbeat", "pong", NULL};

static const char *const log_levels[] = {"none", "error", "warn", "info", "debug", NULL};

static const struct imgo_property common_table[] = {
	{IMGO_PROPERTY("log.level", ENUM, struct daemon_config, log_level, "info", 0, 0,
		 "What is logged, one logfmt line an event, on standard error."),
		.values = log_levels},
	{IMGO_PROPERTY("rpc.secret", STRING, struct daemon_config, secret, NULL, 1, 256,
		 "Shared by all daemons of a cluster. Without one, RPC is spoken on loopback addresses only."),
		.flags = IMGO_PROPERTY_SECRET},
	{IMGO_PROPERTY("rpc.tls-cert", STRING, struct daemon_config, rpc_tls.cert, NULL, 0, 0,
		"PEM file: this daemon's certificate and its chain. Set, all RPC is in TLS, and both sides prove who they are.")},
	{IMGO_PROPERTY("rpc.tls-key", STRING, struct daemon_config, rpc_tls.key, NULL, 0, 0,
		"PEM file of its key; not set: it is in rpc.tls-cert.")},
	{IMGO_PROPERTY("rpc.tls-ca", STRING, struct daemon_config, rpc_tls.ca, NULL, 0, 0,
		"PEM file: the authority, or authorities, of the other daemons' certificates.")},
	{IMGO_PROPERTY("rpc.tls-name", STRING, struct daemon_config, rpc_tls.name, NULL, 0, 253,
		"Name that every daemon's certificate must carry; not set: any certificate of that authority will do.")},
	{IMGO_PROPERTY("stop.deadline", DURATION, struct daemon_config, stop_ms, "5s", 0, 3600000,
		"How long a stop may take to finish what is in flight.")},
	{0},
};

const char *const daemon_auth_modes[] = {"token", "goim-insecure", NULL};

const struct imgo_property daemon_hub_table[] = {
	{IMGO_PROPERTY("hub.handshake-timeout", DURATION, struct imgo_hub_options, handshake_timeout_ms, "5s", 100,
		600000, "From accepting a connection to its login, absolute.")},
	{IMGO_PROPERTY("hub.heartbeat-timeout", DURATION, struct imgo_hub_options, heartbeat_timeout_ms, "300s", 1000,
		86400000, "A client that sends no heartbeat for so long is closed.")},
	{IMGO_PROPERTY("hub.body-max-bytes", SIZE, struct imgo_hub_options, body_max_bytes, "4k", 512, 1048576,
		"Largest body of a client's packet.")},
	{IMGO_PROPERTY("hub.write-queue-max-bytes", SIZE, struct imgo_hub_options, write_queue_max_bytes, "256k", 4096,
		1073741824, "What may wait for one slow client; beyond it the client is closed.")},
	{IMGO_PROPERTY("hub.connections-max", UINT, struct imgo_hub_options, connections_max, "0", 0, UINT32_MAX,
		"Connections at most; 0: what the descriptor limit allows.")},
	{IMGO_PROPERTY("hub.unauthenticated-max", UINT, struct imgo_hub_options, unauthenticated_max, "10000", 1, UINT32_MAX,
		"Connections that have not logged in yet; at the cap the longest silent gives way, or accepting pauses.")},
	{IMGO_PROPERTY("hub.rooms-max", UINT, struct imgo_hub_options, rooms_max, "16", 1, 64, "Rooms of one connection.")},
	{IMGO_PROPERTY("hub.packets-per-second-max", UINT, struct imgo_hub_options, packets_per_second_max, "100", 0,
		1000000, "Of one client, averaged over some seconds; 0: no limit.")},
	{IMGO_PROPERTY("hub.websocket-ping", DURATION, struct imgo_hub_options, websocket_ping_ms, "0s", 0, 86400000,
		"A WebSocket client of which nothing came for so long is pinged, and closed when again nothing comes for as long; "
		"0: never.")},
	{IMGO_PROPERTY("hub.address-unauthenticated-max", UINT, struct imgo_hub_options, address_unauthenticated_max,
		"1000", 0, UINT32_MAX,
		"Connections of one address (of IPv6: its first 64 bits) that have not logged in yet, not of loopback; more are closed at once. 0, as behind a proxy: no limit.")},
	{IMGO_PROPERTY("hub.address-failures-max", UINT, struct imgo_hub_options, address_failures_max, "60", 0, 1000000,
		"Logins a minute of one address with a bad token; beyond it all logins of that address wait for their turn at this rate. 0, as behind a proxy: no limit.")},
	{IMGO_PROPERTY("hub.refusal-delay", DURATION, struct imgo_hub_options, refusal_delay_ms, "100ms", 0, 5000,
		"A bad token is refused so long after it came, whatever was wrong with it; not on loopback.")},
	{IMGO_PROPERTY("hub.limit-loopback", BOOL, struct imgo_hub_options, limit_loopback, "false", 0, 0,
		"The limits of one address hold for loopback addresses too.")},
	{IMGO_PROPERTY("hub.origins", STRING, struct imgo_hub_options, origins, NULL, 0, 0,
		 "Pages that may connect by WebSocket: their origins (https://a.example), exactly as browsers say them, between "
		 "commas; not set: any. A client that says no Origin is no browser, and may."),
		.check = imgo_hub_check_origins},
	{0},
};

const struct imgo_property daemon_api_table[] = {
	{IMGO_PROPERTY("api.key", STRING, struct imgo_http_options, api_key, NULL, 8, 256,
		 "Required of every call as \"Authorization: Bearer KEY\"."),
		.flags = IMGO_PROPERTY_SECRET},
	{IMGO_PROPERTY("api.body-max-bytes", SIZE, struct imgo_http_options, body_max_bytes, "1m", 1024, 16777216,
		"Largest body of a request.")},
	{IMGO_PROPERTY("api.connections-max", UINT, struct imgo_http_options, connections_max, "4096", 1, 1000000,
		"Connections at most; one that idles gives way to a new one.")},
	{IMGO_PROPERTY("api.requests-max", UINT, struct imgo_http_options, requests_max, "100000", 0, UINT32_MAX,
		"Requests of one connection, which then is closed; 0: no maximum.")},
	{IMGO_PROPERTY("api.pipeline-max", UINT, struct imgo_http_options, pipeline_max, "64", 1, 10000,
		"Requests of one connection that wait for their answer; beyond it nothing more is read from it.")},
	{IMGO_PROPERTY("api.request-timeout", DURATION, struct imgo_http_options, request_timeout_ms, "10s", 100,
		600000, "From a request's first byte to its last, absolute.")},
	{IMGO_PROPERTY("api.idle-timeout", DURATION, struct imgo_http_options, idle_timeout_ms, "60s", 100, 86400000,
		"Between two requests of a connection.")},
	{IMGO_PROPERTY("api.target-max-bytes", SIZE, struct imgo_http_options, target_max_bytes, "256k", 1024, 16777216,
		"Largest path with its query: goim's push/mids has its users there.")},
	{IMGO_PROPERTY("api.domain", STRING, struct imgo_http_options, domain, "localhost", 0, 253,
		"The domain in /goim/nodes/weighted, and the node where a comet does not say where clients reach it.")},
	{0},
};

const struct imgo_property daemon_tls_table[] = {
	{IMGO_PROPERTY("tls.cert", STRING, struct imgo_tls_options, cert, NULL, 0, 0,
		"PEM file: the certificate shown to clients, and its chain. Not set: no TLS. Read again on SIGHUP.")},
	{IMGO_PROPERTY("tls.key", STRING, struct imgo_tls_options, key, NULL, 0, 0,
		"PEM file of its key; not set: it is in tls.cert.")},
	{IMGO_PROPERTY("tls.tickets", STRING, struct imgo_tls_options, tickets, NULL, 0, 0,
		"File of session ticket keys, one a line, shared by all comets, so that a client that reconnects to any of them is "
		"quick; not set: random ones. Read again on SIGHUP.")},
	{IMGO_PROPERTY("tls.client-ca", STRING, struct imgo_tls_options, ca, NULL, 0, 0,
		"PEM file of authorities: every client must show a certificate of one of them. Not set: none is asked for.")},
	{IMGO_PROPERTY("tls.handshake-budget-us", UINT, struct imgo_tls_options, budget_us, "2000", 100, 1000000,
		"Processor time for handshakes before others have their turn, in microseconds.")},
	{0},
};

const struct imgo_property daemon_store_table[] = {
	DAEMON_STORE_LIMITS(struct imgo_store_options, ),
	{0},
};

/* ---- start and end ---- */

static int answer_verb(struct daemon *daemon)
{
	enum imgo_config_verb verb = imgo_config_verb(daemon->config);
	const char *text;

	if (verb == IMGO_CONFIG_RUN)
		return DAEMON_RUN;
	text = imgo_config_text(daemon->config, verb);
	fputs(text ? text : "out of memory\n", stdout);
	return text ? DAEMON_OK : DAEMON_FAILED;
}

static int make_loop(struct daemon *daemon, struct imgo_error *error)
{
	struct imgo_loop_options options = IMGO_LOOP_OPTIONS_INIT;

	daemon->log_fd = STDERR_FILENO;
	if (imgo_log_new(&daemon->log, (enum imgo_log_level)daemon->common.log_level, imgo_log_fd_sink, &daemon->log_fd) < 0 ||
		imgo_stats_new(&daemon->stats) < 0)
		return IMGO_ENOMEM;
	options.log = daemon->log;
	options.stats = daemon->stats;
	return imgo_loop_new(&daemon->loop, &options, error);
}

/* ---- TLS ---- */

static int open_rpc_tls(struct daemon *daemon, struct imgo_error *error)
{
	const struct imgo_tls_options *o = &daemon->common.rpc_tls;

	if (o->cert)
		return imgo_tls_new(&daemon->rpc_tls, daemon->loop, o, error);
	if (!o->key && !o->ca && !o->name)
		return 0;
	error->code = IMGO_EINVAL;
	snprintf(error->text, sizeof error->text, "rpc.tls-key, rpc.tls-ca and rpc.tls-name need rpc.tls-cert");
	return error->code;
}

int daemon_client_tls(struct daemon *daemon, const struct imgo_tls_options *options, struct imgo_error *error)
{
	return options->cert ? imgo_tls_new(&daemon->client_tls, daemon->loop, options, error) : 0;
}

/* Failures are logged and counted by the library; what was in force stays. */
static void on_hangup(int signo, void *user)
{
	struct daemon *daemon = user;

	(void)signo;
	if (daemon->client_tls)
		imgo_tls_reload(daemon->client_tls, NULL);
	if (daemon->rpc_tls)
		imgo_tls_reload(daemon->rpc_tls, NULL);
	if (!daemon->client_tls && !daemon->rpc_tls)
		imgo_log_event(daemon->log, IMGO_LOG_INFO, daemon->program, "nothing-to-reload", NULL);
}

int daemon_start(struct daemon *daemon, const char *program, const char *summary, const struct imgo_config_set *sets,
	size_t nsets, int argc, char **argv)
{
	struct imgo_config_options options = IMGO_CONFIG_OPTIONS_INIT;
	struct imgo_config_set all[8];
	struct imgo_error error = {0};
	int code;

	memset(daemon, 0, sizeof *daemon);
	daemon->common.rpc_tls = (struct imgo_tls_options)IMGO_TLS_OPTIONS_INIT;
	daemon->program = program;
	all[0] = (struct imgo_config_set){common_table, &daemon->common};
	memcpy(all + 1, sets, nsets * sizeof *sets);
	options.program = program;
	options.summary = summary;
	if (imgo_config_parse(&daemon->config, &options, all, nsets + 1, argc, argv, &error) < 0) {
		fprintf(stderr, "%s: %s\n", program, error.text);
		return DAEMON_BAD_CONFIG;
	}
	code = answer_verb(daemon);
	if (code == DAEMON_RUN && (make_loop(daemon, &error) < 0 || open_rpc_tls(daemon, &error) < 0))
		code = daemon_fail(daemon, &error);
	if (code != DAEMON_RUN)
		daemon_end(daemon);
	return code;
}

int daemon_fail(struct daemon *daemon, const struct imgo_error *error)
{
	fprintf(stderr, "%s: %s\n", daemon->program, error->text[0] ? error->text : "out of memory");
	return error->code == IMGO_EINVAL ? DAEMON_BAD_CONFIG : DAEMON_FAILED;
}

void daemon_stopped(void *user)
{
	struct daemon *daemon = user;

	imgo_loop_stop(daemon->loop);
}

/* ---- the administrative server ---- */

static void on_refresh(void *user)
{
	struct daemon *daemon = user;

	imgo_stat_set(daemon->log_dropped, (int64_t)imgo_log_fd_dropped(daemon->log_fd));
}

int daemon_admin_open(struct daemon *daemon, const char *default_listen, struct imgo_error *error)
{
	struct imgo_admin_options options = IMGO_ADMIN_OPTIONS_INIT;
	int err;

	if (!daemon->admin_listen || !*daemon->admin_listen || strcmp(daemon->admin_listen, "none") == 0)
		return 0;
	options.listen = daemon->admin_listen;
	options.program = daemon->program;
	options.refresh = on_refresh;
	options.user = daemon;
	daemon->log_dropped = imgo_stats_counter(
		daemon->stats, "imgo_log_dropped_total", "lines of the log that standard error did not take in time");
	err = imgo_admin_new(&daemon->admin, daemon->loop, &options, error);
	if (err == IMGO_EEXISTS && strcmp(daemon->admin_listen, default_listen) == 0) {
		imgo_log_event(daemon->log, IMGO_LOG_WARN, daemon->program, "no-admin",
			"listen=%s why=\"the address is in use: set admin.listen\"", daemon->admin_listen);
		return 0;
	}
	if (err == 0)
		imgo_log_event(daemon->log, IMGO_LOG_INFO, daemon->program, "admin", "listen=%s port=%d",
			daemon->admin_listen, imgo_admin_port(daemon->admin));
	return err;
}

void daemon_admin_close(struct daemon *daemon)
{
	imgo_admin_free(daemon->admin);
	daemon->admin = NULL;
}

/* ---- running ---- */

static void on_signal(int signo, void *user)
{
	struct daemon *daemon = user;

	imgo_log_event(daemon->log, IMGO_LOG_INFO, daemon->program, "stopping", "signal=%d", signo);
	if (daemon->stopping) {
		imgo_loop_stop(daemon->loop);
		return;
	}
	daemon->stopping = true;
	imgo_admin_stopping(daemon->admin);
	daemon->stop(daemon->user);
}

void daemon_run(struct daemon *daemon, void (*stop)(void *user), void *user)
{
	uint64_t began_us;

	daemon->stop = stop;
	daemon->user = user;
	signal(SIGPIPE, SIG_IGN);
	imgo_loop_on_signal(daemon->loop, SIGTERM, on_signal, daemon);
	imgo_loop_on_signal(daemon->loop, SIGINT, on_signal, daemon);
	imgo_loop_on_signal(daemon->loop, SIGHUP, on_hangup, daemon);
	imgo_log_event(
		daemon->log, IMGO_LOG_INFO, daemon->program, "started", "version=%s pid=%d", imgo_version(), getpid());
	began_us = imgo_loop_now_us(daemon->loop);
	imgo_loop_run(daemon->loop);
	imgo_log_event(daemon->log, IMGO_LOG_INFO, daemon->program, "stopped", "ran_ms=%llu log_dropped=%llu",
		(unsigned long long)(imgo_loop_now_us(daemon->loop) - began_us) / 1000,
		(unsigned long long)imgo_log_fd_dropped(daemon->log_fd));
}

void daemon_end(struct daemon *daemon)
{
	daemon_admin_close(daemon);
	imgo_tls_free(daemon->client_tls);
	imgo_tls_free(daemon->rpc_tls);
	imgo_loop_free(daemon->loop);
	imgo_stats_free(daemon->stats);
	imgo_log_free(daemon->log);
	imgo_config_free(daemon->config);
}
