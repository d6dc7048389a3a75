/* SPDX-License-Identifier: MIT */
#include "cluster.h"

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
	DAEMON_STORE_LIMITS(struct store_config, store.),
	{0},
};

const struct imgo_property daemon_router_peers_table[] = {
	{IMGO_PROPERTY("router.peers", STRING, struct imgo_registry_remote_options, routers, "127.0.0.1:7270", 0, 0,
		"RPC addresses of all routers, host:port between commas; the same in every daemon.")},
	{IMGO_PROPERTY("router.list-version", UINT, struct imgo_registry_remote_options, list_version, "1", 1,
		UINT32_MAX, "Number of that list, raised with every change of it.")},
	{IMGO_PROPERTY("router.timeout", DURATION, struct imgo_registry_remote_options, timeout_ms, "1s", 10, 60000,
		"Of one call.")},
	{0},
};

int cluster_open(struct cluster *cluster, struct daemon *daemon, struct imgo_error *error)
{
	int err;

	cluster->routers.secret = daemon->common.secret;
	cluster->routers.tls = daemon->rpc_tls;
	cluster->routers.partitions = cluster->kafka.options.partitions;
	cluster->kafka.options.ttl_ms = cluster->stored.store.ttl_ms;
	err = imgo_registry_new_remote(&cluster->registry, daemon->loop, &cluster->routers, error);
	if (err == 0)
		err = imgo_bus_new_kafka(&cluster->bus, daemon->loop, &cluster->kafka.options, error);
	if (err == 0)
		err = imgo_store_new_memcached(
			&cluster->store, daemon->loop, &cluster->stored.memcached, &cluster->stored.store, error);
	return err;
}

int cluster_watch(struct cluster *cluster, struct imgo_admin *admin)
{
	int err = admin ? imgo_admin_watch_bus(admin, "kafka", cluster->bus) : 0;

	if (admin && err == 0)
		err = imgo_admin_watch_store(admin, "memcached", cluster->store, cluster->bus);
	if (admin && err == 0)
		err = imgo_admin_watch_registry(admin, "router", cluster->registry);
	return err;
}

void cluster_close(struct cluster *cluster)
{
	imgo_store_free(cluster->store);
	imgo_bus_free(cluster->bus);
	imgo_registry_free(cluster->registry);
}
