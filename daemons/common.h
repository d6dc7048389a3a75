/* SPDX-License-Identifier: MIT */
/*
 * What the daemons share: start (configuration, log, counters, loop), run until a signal, end; and the tables of those
 * settings that several of them have.
 */
#ifndef IMGO_DAEMONS_COMMON_H
#define IMGO_DAEMONS_COMMON_H

#include <imgo/bus.h>
#include <imgo/config.h>
#include <imgo/hub.h>
#include <imgo/log.h>
#include <imgo/loop.h>
#include <imgo/registry.h>
#include <imgo/stats.h>
#include <imgo/store.h>

struct daemon_config {
	int log_level;
	const char *secret;
	uint64_t stop_ms;
};

struct daemon {
	const char *program;
	struct daemon_config common;
	struct imgo_config *config;
	struct imgo_log *log;
	struct imgo_stats *stats;
	struct imgo_loop *loop;
	int log_fd;
	bool stopping;
	void (*stop)(void *user); /* on SIGTERM; must lead to daemon_stopped */
	void *user;
};

enum { DAEMON_RUN = -1, DAEMON_OK = 0, DAEMON_BAD_CONFIG = 1, DAEMON_FAILED = 2 };

/* Reads the configuration (the common table and the given sets, at most 7) and makes the loop. DAEMON_RUN, or the code
 * to exit with: --help and its like were answered, or an error was printed. */
int daemon_start(struct daemon *daemon, const char *program, const char *summary, const struct imgo_config_set *sets,
	size_t nsets, int argc, char **argv);

/* Prints "program: what: error" and returns DAEMON_FAILED. */
int daemon_fail(struct daemon *daemon, const struct imgo_error *error);

/* Logs "ready" and runs until SIGTERM or SIGINT, which call stop(user); a second one ends at once. */
void daemon_run(struct daemon *daemon, void (*stop)(void *user), void *user);

/* Ends daemon_run. user: the struct daemon. */
void daemon_stopped(void *user);

void daemon_end(struct daemon *daemon);

/* ---- tables ---- */
extern const struct imgo_property daemon_hub_table[]; /* struct imgo_hub_options, "hub.…" */

struct kafka_config {
	struct imgo_bus_kafka_options options;
};
extern const struct imgo_property daemon_kafka_table[]; /* struct kafka_config, "kafka.…" */

struct store_config {
	struct imgo_store_memcached_options memcached;
	struct imgo_store_options store;
};
extern const struct imgo_property daemon_memcached_table[]; /* struct store_config, "memcached.…" and "store.…" */
extern const struct imgo_property daemon_store_table[];     /* struct imgo_store_options, "store.…" */

extern const struct imgo_property daemon_router_peers_table[]; /* struct imgo_registry_remote_options, "router.…" */

/* What logic and job both stand on: registry over RPC, Kafka, memcached; made in that order, freed in reverse. */
struct cluster {
	struct kafka_config kafka;
	struct store_config stored;
	struct imgo_registry_remote_options routers;
	struct imgo_registry *registry;
	struct imgo_bus *bus;
	struct imgo_store *store;
};
#define CLUSTER_INIT \
	{.kafka = {IMGO_BUS_KAFKA_OPTIONS_INIT}, \
		.stored = {IMGO_STORE_MEMCACHED_OPTIONS_INIT, IMGO_STORE_OPTIONS_INIT}, \
		.routers = IMGO_REGISTRY_REMOTE_OPTIONS_INIT}

int cluster_open(struct cluster *cluster, struct daemon *daemon, struct imgo_error *error);
void cluster_close(struct cluster *cluster);

#endif
