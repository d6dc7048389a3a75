/* SPDX-License-Identifier: MIT */
/* imgo-job: takes accepted pushes from Kafka, keeps them in the users' logs, tells the comets. */
#include <imgo/dispatch.h>

#include "cluster.h"

#define ADMIN "127.0.0.1:7373"

struct job_config {
	const char *group, *poison_path;
	uint64_t cast_age_max_ms, room_batch_ms;
	uint32_t room_batch_max;
};

static const struct imgo_property table[] = {
	{IMGO_PROPERTY("job.group", STRING, struct job_config, group, "imgo-job", 1, 100,
		"Jobs of one group share the partitions; all jobs of a cluster are of one group.")},
	{IMGO_PROPERTY("job.poison-path", STRING, struct job_config, poison_path, NULL, 0, 0,
		"File to which records that cannot be decoded are appended; not set: they are only counted and logged.")},
	{IMGO_PROPERTY("job.cast-age-max", DURATION, struct job_config, cast_age_max_ms, "10s", 100, 3600000,
		"Room and broadcast messages older than that are dropped.")},
	{IMGO_PROPERTY("room.batch-max", UINT, struct job_config, room_batch_max, "0", 0, 10000,
		"Goim's way of batching: hold room messages back until there are so many, or room.batch-wait has passed. 0: they "
		"go at once, and are coalesced only while a batch is in flight.")},
	{IMGO_PROPERTY("room.batch-wait", DURATION, struct job_config, room_batch_ms, "0", 0, 60000,
		"See room.batch-max; goim waits 1s.")},
	{0},
};

static const struct imgo_property admin_table[] = DAEMON_ADMIN(ADMIN);

struct job {
	struct daemon daemon;
	struct cluster cluster;
	struct imgo_dispatch *dispatch;
};

static void stop(void *user)
{
	struct job *job = user;

	imgo_dispatch_stop(job->dispatch, job->daemon.common.stop_ms, daemon_stopped, &job->daemon);
}

static int open_dispatch(struct job *job, const struct job_config *config, struct imgo_error *error)
{
	struct imgo_dispatch_options options = IMGO_DISPATCH_OPTIONS_INIT;

	options.registry = job->cluster.registry;
	options.store = job->cluster.store;
	options.bus = job->cluster.bus;
	options.secret = job->daemon.common.secret;
	options.rpc_tls = job->daemon.rpc_tls;
	options.group = config->group;
	options.ttl_ms = job->cluster.stored.store.ttl_ms;
	options.cast_age_max_ms = config->cast_age_max_ms;
	options.room_batch_max = config->room_batch_max;
	options.room_batch_ms = config->room_batch_ms;
	options.poison_path = config->poison_path;
	return imgo_dispatch_new(&job->dispatch, job->daemon.loop, &options, error);
}

static int open_admin(struct job *job, struct imgo_error *error)
{
	int err = daemon_admin_open(&job->daemon, ADMIN, error);

	if (err == 0)
		err = cluster_watch(&job->cluster, job->daemon.admin);
	return err == 0 && job->daemon.admin ? imgo_admin_watch_dispatch(job->daemon.admin, job->dispatch) : err;
}

int main(int argc, char **argv)
{
	struct job job = {.cluster = CLUSTER_INIT};
	struct job_config config;
	struct imgo_config_set sets[] = {{table, &config}, {daemon_kafka_table, &job.cluster.kafka},
		{daemon_memcached_table, &job.cluster.stored}, {daemon_router_peers_table, &job.cluster.routers},
		{admin_table, &job.daemon}};
	struct imgo_error error = {0};
	int code = daemon_start(&job.daemon, "imgo-job", "takes pushes from Kafka to the comets", sets, 5, argc, argv);

	if (code != DAEMON_RUN)
		return code;
	code = DAEMON_OK;
	if (cluster_open(&job.cluster, &job.daemon, &error) < 0 || open_dispatch(&job, &config, &error) < 0 ||
		open_admin(&job, &error) < 0)
		code = daemon_fail(&job.daemon, &error);
	else
		daemon_run(&job.daemon, stop, &job);
	daemon_admin_close(&job.daemon);
	imgo_dispatch_free(job.dispatch);
	cluster_close(&job.cluster);
	daemon_end(&job.daemon);
	return code;
}
