/* SPDX-License-Identifier: MIT */
/*
 * The library's own buses through the cases.
 *	test_bus memory [CASE]
 *	test_bus lmdb [CASE]
 *	test_bus kafka path/to/kafka.sh DIR [CASE]	with a broker that kafka.sh started in DIR (bus_kafka.sh does)
 * IMGO_TEST_LOG=1..4 logs to stderr.
 */
#include <stdio.h>
#include <stdlib.h>

#include <imgo/log.h>

#include "bus_cases.h"
#include "bus_remake.h"

static int memory_open(struct imgo_loop *loop, const char *scope, struct imgo_bus **out, void *user)
{
	struct imgo_bus_memory_options o = IMGO_BUS_MEMORY_OPTIONS_INIT;

	(void)scope;
	(void)user;
	o.partitions = BUS_PARTITIONS;
	o.casts_partitions = BUS_CASTS;
	return imgo_bus_new_memory(out, loop, &o, NULL);
}

/* ---- LMDB: an environment for each scope, under a folder that is removed at the end ---- */

static char folder[] = "/tmp/imgo-test-bus-XXXXXX";

static int lmdb_open(struct imgo_loop *loop, const char *scope, struct imgo_bus **out, void *user)
{
	struct imgo_lmdb_options lmdb_options = IMGO_LMDB_OPTIONS_INIT;
	struct imgo_bus_lmdb_options o = IMGO_BUS_LMDB_OPTIONS_INIT;
	struct imgo_error error = {0};
	struct imgo_lmdb *lmdb;
	char path[128];
	int err;

	(void)user;
	snprintf(path, sizeof path, "%s/%s", folder, scope);
	lmdb_options.path = path;
	o.partitions = BUS_PARTITIONS;
	o.casts_partitions = BUS_CASTS;
	o.keep_ms = 60000; /* the cases let groups come later */
	err = imgo_lmdb_open(&lmdb, loop, &lmdb_options, &error);
	if (!err) {
		err = imgo_bus_new_lmdb(out, loop, lmdb, &o, &error);
		imgo_lmdb_unref(lmdb);
	}
	if (err)
		fprintf(stderr, "lmdb: %s\n", error.text);
	return err;
}

static int run_lmdb(const char *only, const struct imgo_loop_options *loop)
{
	struct bus_backend backend = {
		.name = "lmdb", .open = lmdb_open, .lasting = true, .loop_options = loop, .slow_ms = 1000};
	char command[64];
	int failed;

	if (!mkdtemp(folder))
		return 1;
	failed = bus_cases_run(&backend, only);
	snprintf(command, sizeof command, "rm -r '%s'", folder);
	return system(command) ? 1 : failed;
}

/* ---- Kafka: the broker is kafka.sh's ---- */

struct kafka {
	char brokers[64];
	const char *script, *dir;
};

static int kafka_open(struct imgo_loop *loop, const char *scope, struct imgo_bus **out, void *user)
{
	struct imgo_bus_kafka_options o = IMGO_BUS_KAFKA_OPTIONS_INIT;
	struct imgo_error error = {0};
	struct kafka *kafka = user;
	int err;

	o.brokers = kafka->brokers;
	o.prefix = scope;
	o.partitions = BUS_PARTITIONS;
	o.casts_partitions = BUS_CASTS;
	err = imgo_bus_new_kafka(out, loop, &o, &error);
	if (err)
		fprintf(stderr, "kafka: %s\n", error.text);
	return err;
}

static void kafka_sh(struct kafka *kafka, const char *verb, const char *more)
{
	char command[512];

	snprintf(command, sizeof command, "%s %s %s %s", kafka->script, verb, kafka->dir, more);
	if (system(command) != 0)
		fprintf(stderr, "failed: %s\n", command);
}

static void kafka_kill(void *user)
{
	kafka_sh(user, "kill", "");
}

static void kafka_start(void *user)
{
	kafka_sh(user, "start", "0");
}

/* A bus that is told of another number of partitions does not touch the topic; kafka-topics has no place
 * here. So the test deletes and makes it through librdkafka. */
static void kafka_recreate(const char *scope, void *user)
{
	struct kafka *kafka = user;

	remake_topic(kafka->brokers, scope, BUS_PARTITIONS);
}

static int run_kafka(const char *script, const char *dir, const char *only, const struct imgo_loop_options *loop)
{
	struct kafka kafka = {.script = script, .dir = dir};
	struct bus_backend backend = {.name = "kafka",
		.open = kafka_open,
		.lasting = true,
		.server_kill = kafka_kill,
		.server_start = kafka_start,
		.recreate = kafka_recreate,
		.loop_options = loop,
		.slow_ms = 3000,
		.user = &kafka};
	char path[300], port[16] = "";
	FILE *file;

	snprintf(path, sizeof path, "%s/kafka.port", dir);
	file = fopen(path, "r");
	if (!file || !fgets(port, sizeof port, file)) {
		fprintf(stderr, "no broker in %s\n", dir);
		return 1;
	}
	fclose(file);
	port[strcspn(port, "\n")] = 0;
	snprintf(kafka.brokers, sizeof kafka.brokers, "127.0.0.1:%s", port);
	return bus_cases_run(&backend, only);
}

int main(int argc, char **argv)
{
	struct imgo_loop_options loop = IMGO_LOOP_OPTIONS_INIT;
	const char *level = getenv("IMGO_TEST_LOG");
	struct bus_backend memory = {.name = "memory", .open = memory_open, .slow_ms = 500};
	const char *backend = argc > 1 ? argv[1] : "memory";
	int failed, fd = 2;

	if (level && imgo_log_new(&loop.log, (enum imgo_log_level)atoi(level), imgo_log_fd_sink, &fd))
		return 1;
	memory.loop_options = &loop;
	if (strcmp(backend, "kafka") == 0 && argc > 3)
		failed = run_kafka(argv[2], argv[3], argc > 4 ? argv[4] : NULL, &loop);
	else if (strcmp(backend, "lmdb") == 0)
		failed = run_lmdb(argc > 2 ? argv[2] : NULL, &loop);
	else
		failed = bus_cases_run(&memory, argc > 2 ? argv[2] : NULL);
	imgo_log_free(loop.log);
	return failed != 0;
}
