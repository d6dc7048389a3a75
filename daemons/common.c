/* SPDX-License-Identifier: MIT */
#include "common.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- tables ---- */

static const char *const log_levels[] = {"none", "error", "warn", "info", "debug", NULL};

static const struct imgo_property common_table[] = {
	{IMGO_PROPERTY("log.level", ENUM, struct daemon_config, log_level, "info", 0, 0,
		"What is logged, one logfmt line an event, on standard error."),
		.values = log_levels},
	{IMGO_PROPERTY("rpc.secret", STRING, struct daemon_config, secret, NULL, 1, 256,
		"Shared by all daemons of a cluster. Without one, RPC is spoken on loopback addresses only."),
		.flags = IMGO_PROPERTY_SECRET},
	{IMGO_PROPERTY("stop.deadline", DURATION, struct daemon_config, stop_ms, "5s", 0, 3600000,
		"How long a stop may take to finish what is in flight.")},
	{0},
};

const struct imgo_property daemon_hub_table[] = {
	{IMGO_PROPERTY("hub.handshake-timeout", DURATION, struct imgo_hub_options, handshake_timeout_ms, "5s", 100, 600000,
		"From accepting a connection to its login, absolute.")},
	{IMGO_PROPERTY("hub.heartbeat-timeout", DURATION, struct imgo_hub_options, heartbeat_timeout_ms, "300s", 1000,
		86400000, "A client that sends no heartbeat for so long is closed.")},
	{IMGO_PROPERTY("hub.body-max-bytes", SIZE, struct imgo_hub_options, body_max_bytes, "4k", 512, 1048576,
		"Largest body of a client's packet.")},
	{IMGO_PROPERTY("hub.write-queue-max-bytes", SIZE, struct imgo_hub_options, write_queue_max_bytes, "256k", 4096,
		1073741824, "What may wait for one slow client; beyond it the client is closed.")},
	{IMGO_PROPERTY("hub.connections-max", UINT, struct imgo_hub_options, connections_max, "0", 0, UINT32_MAX,
		"Connections at most; 0: what the descriptor limit allows.")},
	{IMGO_PROPERTY("hub.unauthenticated-max", UINT, struct imgo_hub_options, unauthenticated_max, "10000", 1, UINT32_MAX,
		"Connections that have not logged in yet; at the cap accepting pauses.")},
	{IMGO_PROPERTY("hub.rooms-max", UINT, struct imgo_hub_options, rooms_max, "16", 1, 64, "Rooms of one connection.")},
	{IMGO_PROPERTY("hub.packets-per-second-max", UINT, struct imgo_hub_options, packets_per_second_max, "100", 0,
		1000000, "Of one client, averaged over some seconds; 0: no limit.")},
	{IMGO_PROPERTY("hub.origins", STRING, struct imgo_hub_options, origins, NULL, 0, 0,
		"WebSocket origins that are allowed, between commas; not set: any.")},
	{0},
};

const struct imgo_property daemon_kafka_table[] = {
	{IMGO_PROPERTY("kafka.brokers", STRING, struct kafka_config, options.brokers, "127.0.0.1:9092", 0, 0,
		"Addresses of brokers, host:port between commas.")},
	{IMGO_PROPERTY("kafka.prefix", STRING, struct kafka_config, options.prefix, "imgo", 1, 100,
		"The topics' names begin with it.")},
	{IMGO_PROPERTY("kafka.epoch", UINT, struct kafka_config, options.epoch, "1", 1, UINT32_MAX,
		"Number in the topics' names; raised when the partitions change.")},
	{IMGO_PROPERTY("kafka.partitions", UINT, struct kafka_config, options.partitions, "64", 1, 4096,
		"Partitions of the users' topic; fixed for an epoch.")},
	{IMGO_PROPERTY("kafka.casts-partitions", UINT, struct kafka_config, options.casts_partitions, "8", 1, 1024,
		"Partitions of the topic of rooms and broadcasts.")},
	{IMGO_PROPERTY("kafka.replication", INT, struct kafka_config, options.replication, "-1", -1, 16,
		"Replicas of topics that are made; -1: the broker's default.")},
	{IMGO_PROPERTY("kafka.timeout", DURATION, struct kafka_config, options.timeout_ms, "10s", 100, 300000,
		"A push has its answer by then, one way or the other.")},
	{IMGO_PROPERTY("kafka.queue-max", UINT, struct kafka_config, options.queue_max, "100000", 1, 10000000,
		"Records that wait for their acknowledgement; beyond it pushes are answered 503.")},
	{IMGO_PROPERTY("kafka.session-timeout", DURATION, struct kafka_config, options.session_ms, "6s", 1000, 300000,
		"A job that is silent for so long loses its partitions.")},
	{0},
};

#define STORE_LIMITS(struct_, prefix_) \
	{IMGO_PROPERTY("store.ttl", DURATION, struct_, prefix_ ttl_ms, "24h", 1000, 2592000000, \
		"How long a message waits for its user.")}, \
		{IMGO_PROPERTY("store.messages-max", UINT, struct_, prefix_ messages_max, "1000", 1, 100000, \
			"Messages in one user's log; beyond it the oldest is dropped and counted.")}, \
	{ \
		IMGO_PROPERTY("store.bytes-max", SIZE, struct_, prefix_ bytes_max, "1m", 1024, 1073741824, \
			"Bytes of bodies in one user's log; beyond it the oldest is dropped and counted.") \
	}

const struct imgo_property daemon_store_table[] = {
	STORE_LIMITS(struct imgo_store_options, ),
	{0},
};

const struct imgo_property daemon_memcached_table[] = {
	{IMGO_PROPERTY("memcached.servers", STRING, struct store_config, memcached.servers, "127.0.0.1:11211", 0, 0,
		"Servers of the store, host:port between commas; run them with -M.")},
	{IMGO_PROPERTY("memcached.list-version", UINT, struct store_config, memcached.list_version, "1", 1, UINT32_MAX,
		"Number of that list, raised with every change of it.")},
	{IMGO_PROPERTY("memcached.threads", UINT, struct store_config, memcached.threads, "4", 1, 64,
		"Threads that talk to the servers.")},
	{IMGO_PROPERTY("memcached.jobs-max", UINT, struct store_config, memcached.jobs_max, "1024", 1, 1000000,
		"Calls that wait for a thread.")},
	{IMGO_PROPERTY("memcached.timeout", DURATION, struct store_config, memcached.timeout_ms, "300ms", 10, 10000,
		"Of one round trip.")},
	STORE_LIMITS(struct store_config, store.),
	{0},
};

const struct imgo_property daemon_router_peers_table[] = {
	{IMGO_PROPERTY("router.peers", STRING, struct imgo_registry_remote_options, routers, "127.0.0.1:7270", 0, 0,
		"RPC addresses of all routers, host:port between commas; the same in every daemon.")},
	{IMGO_PROPERTY("router.list-version", UINT, struct imgo_registry_remote_options, list_version, "1", 1, UINT32_MAX,
		"Number of that list, raised with every change of it.")},
	{IMGO_PROPERTY("router.timeout", DURATION, struct imgo_registry_remote_options, timeout_ms, "1s", 10, 60000,
		"Of one call.")},
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
	imgo_config_free(daemon->config);
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

int daemon_start(struct daemon *daemon, const char *program, const char *summary, const struct imgo_config_set *sets,
	size_t nsets, int argc, char **argv)
{
	struct imgo_config_options options = IMGO_CONFIG_OPTIONS_INIT;
	struct imgo_config_set all[8];
	struct imgo_error error = {0};
	int code;

	memset(daemon, 0, sizeof *daemon);
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
	if (code == DAEMON_RUN && make_loop(daemon, &error) < 0)
		code = daemon_fail(daemon, &error);
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

static void on_signal(int signo, void *user)
{
	struct daemon *daemon = user;

	imgo_log_event(daemon->log, IMGO_LOG_INFO, daemon->program, "stopping", "signal=%d", signo);
	if (daemon->stopping) {
		imgo_loop_stop(daemon->loop);
		return;
	}
	daemon->stopping = true;
	daemon->stop(daemon->user);
}

void daemon_run(struct daemon *daemon, void (*stop)(void *user), void *user)
{
	daemon->stop = stop;
	daemon->user = user;
	signal(SIGPIPE, SIG_IGN);
	imgo_loop_on_signal(daemon->loop, SIGTERM, on_signal, daemon);
	imgo_loop_on_signal(daemon->loop, SIGINT, on_signal, daemon);
	imgo_log_event(daemon->log, IMGO_LOG_INFO, daemon->program, "started", "version=%s pid=%d", imgo_version(), getpid());
	imgo_loop_run(daemon->loop);
	imgo_log_event(daemon->log, IMGO_LOG_INFO, daemon->program, "stopped", NULL);
}

void daemon_end(struct daemon *daemon)
{
	imgo_loop_free(daemon->loop);
	imgo_stats_free(daemon->stats);
	imgo_log_free(daemon->log);
	imgo_config_free(daemon->config);
}

/* ---- cluster ---- */

int cluster_open(struct cluster *cluster, struct daemon *daemon, struct imgo_error *error)
{
	int err;

	cluster->routers.secret = daemon->common.secret;
	cluster->routers.partitions = cluster->kafka.options.partitions;
	cluster->kafka.options.ttl_ms = cluster->stored.store.ttl_ms;
	err = imgo_registry_new_remote(&cluster->registry, daemon->loop, &cluster->routers, error);
	if (err == 0)
		err = imgo_bus_new_kafka(&cluster->bus, daemon->loop, &cluster->kafka.options, error);
	if (err == 0)
		err = imgo_store_new_memcached(&cluster->store, daemon->loop, &cluster->stored.memcached, &cluster->stored.store,
			error);
	return err;
}

void cluster_close(struct cluster *cluster)
{
	imgo_store_free(cluster->store);
	imgo_bus_free(cluster->bus);
	imgo_registry_free(cluster->registry);
}
