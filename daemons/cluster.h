/* SPDX-License-Identifier: MIT */
/* What logic and job both stand on in a cluster, and its settings. */
#ifndef IMGO_DAEMONS_CLUSTER_H
#define IMGO_DAEMONS_CLUSTER_H

#include <imgo/bus.h>
#include <imgo/registry.h>

#include "common.h"

struct kafka_config {
	struct imgo_bus_kafka_options options;
};
extern const struct imgo_property daemon_kafka_table[]; /* struct kafka_config, "kafka.…" */

struct store_config {
	struct imgo_store_memcached_options memcached;
	struct imgo_store_options store;
};
extern const struct imgo_property daemon_memcached_table[]; /* struct store_config, "memcached.…" and "store.…" */
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
	{ \
		.kafka = {IMGO_BUS_KAFKA_OPTIONS_INIT}, \
		.stored = {IMGO_STORE_MEMCACHED_OPTIONS_INIT, IMGO_STORE_OPTIONS_INIT}, \
		.routers = IMGO_REGISTRY_REMOTE_OPTIONS_INIT \
	}

int cluster_open(struct cluster *cluster, struct daemon *daemon, struct imgo_error *error);
/* What of it /healthz names; 0 without an administrative server. */
int cluster_watch(struct cluster *cluster, struct imgo_admin *admin);
void cluster_close(struct cluster *cluster);

#endif
