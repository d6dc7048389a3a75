/* SPDX-License-Identifier: MIT */
/*
 * How long a record takes through the bus, and how many go through.
 *	bus_bench memory [N [SIZE]]
 *	bus_bench lmdb:DIR [N [SIZE]]		in a directory on the disk that is meant, made if missing, left behind
 *	bus_bench BROKERS [N [SIZE]]		e.g. 127.0.0.1:9092 (tests/tools/kafka.sh start DIR 9092)
 * First one at a time: produce → accepted, produce → fetched. Then N records of SIZE bytes with 4,096 under way, and what
 * was written is read again from the beginning. One loop, one thread of ours. LMDB: every answer after an fdatasync; also
 * with 1, 64 and 1,024 under way, and how long a restart takes with all N waiting.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <imgo/bus.h>

enum { PARTITIONS = 16, ONE_BY_ONE = 2000, WINDOW = 4096 };

static struct imgo_loop *loop;
static struct imgo_lmdb *lmdb;
static struct imgo_bus *bus;
static struct imgo_bus_consumer *consumer;
static char body[1 << 16];
static size_t size = 200, fetched, owned;
static unsigned long produced, failed;
static double fetched_at, first_at, acked_at;
static bool reading = true;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void turn(void)
{
	struct pollfd p = {imgo_loop_fd(loop), POLLIN, 0};
	int timeout = imgo_loop_timeout_ms(loop);

	poll(&p, 1, timeout < 0 || timeout > 100 ? 100 : timeout);
	imgo_loop_process(loop);
}

static void got(int err, const struct imgo_bus_record *records, size_t n, uint64_t next, void *user)
{
	uint32_t partition = (uint32_t)(size_t)user;

	(void)records;
	if (err == IMGO_ECANCELED)
		return;
	fetched_at = now();
	if (n && !fetched)
		first_at = fetched_at;
	fetched += n;
	if (n)
		imgo_bus_done(consumer, partition, next);
	if (reading)
		imgo_bus_fetch(consumer, partition, next, 256, 1 << 20, 1000, got, user);
}

static void assigned(uint32_t partition, uint64_t next, void *user)
{
	(void)user;
	owned++;
	imgo_bus_fetch(consumer, partition, next, 256, 1 << 20, 1000, got, (void *)(size_t)partition);
}

static void revoked(uint32_t partition, bool lost, void *user)
{
	(void)lost;
	(void)user;
	imgo_bus_released(consumer, partition);
}

static void broke(int err, const char *text, void *user)
{
	(void)user;
	fprintf(stderr, "%s: %s\n", imgo_err_name(err), text);
	exit(1);
}

static const struct imgo_bus_consumer_ops ops = {assigned, revoked, broke};

static void join(const char *group)
{
	owned = fetched = 0;
	if (imgo_bus_subscribe(&consumer, bus, IMGO_TOPIC_USERS, group, &ops, NULL))
		exit(1);
	while (owned < PARTITIONS)
		turn();
}

static void accepted(int err, void *user)
{
	struct imgo_bus_record *r = user;

	acked_at = now();
	produced++;
	failed += err != 0;
	r->partition = UINT32_MAX; /* free again */
}

static void produce(struct imgo_bus_record *r, unsigned long i)
{
	*r = (struct imgo_bus_record){.partition = (uint32_t)(i % PARTITIONS), .value = imgo_strn(body, size)};
	if (imgo_bus_produce_many(bus, IMGO_TOPIC_USERS, r, 1, accepted, r))
		exit(1);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void show(const char *what, double *v, size_t n)
{
	qsort(v, n, sizeof *v, by_value);
	printf("%-22s p50 %7.0f us  p99 %7.0f us  max %7.0f us\n", what, v[n / 2], v[n * 99 / 100], v[n - 1]);
}

static void one_by_one(void)
{
	static double acks[ONE_BY_ONE], fetches[ONE_BY_ONE];
	struct imgo_bus_record r;

	for (unsigned long i = 0; i < ONE_BY_ONE + 100; i++) {
		size_t before = fetched;
		unsigned long acked = produced;
		double began = now();
		produce(&r, i);
		while (produced == acked || fetched == before)
			turn();
		if (i < 100)
			continue;
		acks[i - 100] = acked_at - began;
		fetches[i - 100] = fetched_at - began;
	}
	show("produce to accepted", acks, ONE_BY_ONE);
	show("produce to fetched", fetches, ONE_BY_ONE);
}

static double *waits; /* of a flood: from produce to accepted */
static double begins[WINDOW];
static struct imgo_bus_record window[WINDOW];
static unsigned long nwaits;

static void accepted_one(int err, void *user)
{
	struct imgo_bus_record *r = user;

	accepted(err, user);
	waits[nwaits++] = acked_at - begins[r - window];
}

static void flood(unsigned long n, size_t under_way)
{
	unsigned long sent = 0, base = produced;
	double began = now(), took;
	char name[40];

	waits = malloc(n * sizeof *waits);
	if (!waits)
		exit(1);
	nwaits = 0;
	for (size_t i = 0; i < under_way; i++)
		window[i].partition = UINT32_MAX;
	while (produced - base < n) {
		for (size_t i = 0; i < under_way && sent < n; i++) {
			if (window[i].partition != UINT32_MAX)
				continue;
			begins[i] = now();
			window[i] = (struct imgo_bus_record){
				.partition = (uint32_t)(sent++ % PARTITIONS), .value = imgo_strn(body, size)};
			if (imgo_bus_produce_many(bus, IMGO_TOPIC_USERS, &window[i], 1, accepted_one, &window[i]))
				exit(1);
		}
		turn();
	}
	took = (now() - began) / 1e6;
	printf("produced %lu of %zu bytes, %lu failed, %zu under way: %.0f/s, %.1f MB/s\n", n, size, failed, under_way,
		(double)n / took, (double)n * (double)size / took / 1e6);
	snprintf(name, sizeof name, "  accepted, of %zu", under_way);
	show(name, waits, n);
	free(waits);
}

static void read_all(unsigned long n)
{
	double began;

	join("bench-again");
	began = now();
	while (fetched < n)
		turn();
	printf("read again: %.0f/s\n", (double)n / ((now() - began) / 1e6));
}

static int open_lmdb(const char *path)
{
	struct imgo_lmdb_options env = IMGO_LMDB_OPTIONS_INIT;
	struct imgo_bus_lmdb_options options = IMGO_BUS_LMDB_OPTIONS_INIT;
	struct imgo_error error = {0};
	int err;

	env.path = path;
	options.partitions = PARTITIONS;
	err = imgo_lmdb_open(&lmdb, loop, &env, &error);
	if (!err)
		err = imgo_bus_new_lmdb(&bus, loop, lmdb, &options, &error);
	if (err)
		fprintf(stderr, "%s\n", error.text);
	return err;
}

/* All that was produced waits for "bench": closes, opens, and goes on. */
static void restart(const char *path, unsigned long n)
{
	double began, opened, took;

	imgo_bus_free(bus);
	imgo_lmdb_unref(lmdb);
	began = now();
	if (open_lmdb(path))
		exit(1);
	opened = now();
	join("bench");
	while (fetched < n)
		turn();
	took = now() - began;
	printf("restart with %lu waiting: open %.2f ms, first record after %.2f ms, all after %.2f s (%.0f/s)\n", n,
		(opened - began) / 1e3, (first_at - began) / 1e3, took / 1e6, (double)n / took * 1e6);
}

int main(int argc, char **argv)
{
	struct imgo_bus_memory_options memory = IMGO_BUS_MEMORY_OPTIONS_INIT;
	struct imgo_bus_kafka_options kafka = IMGO_BUS_KAFKA_OPTIONS_INIT;
	unsigned long n = argc > 2 ? strtoul(argv[2], NULL, 10) : 200000;
	const char *path = argc > 1 && strncmp(argv[1], "lmdb:", 5) == 0 ? argv[1] + 5 : NULL;
	char prefix[40];
	int err;

	if (argc < 2 || n == 0)
		return 2;
	if (argc > 3)
		size = strtoul(argv[3], NULL, 10) % sizeof body;
	memory.partitions = kafka.partitions = PARTITIONS;
	memory.bytes_max = 8ull << 30;
	snprintf(prefix, sizeof prefix, "bench%ld-%d", (long)time(NULL), (int)getpid());
	kafka.prefix = prefix;
	kafka.brokers = argv[1];
	if (imgo_loop_new(&loop, NULL, NULL))
		return 1;
	err = path                             ? open_lmdb(path)
	      : strcmp(argv[1], "memory") == 0 ? imgo_bus_new_memory(&bus, loop, &memory, NULL)
					       : imgo_bus_new_kafka(&bus, loop, &kafka, NULL);
	while (!err && !imgo_bus_ready(bus))
		turn();
	if (err)
		return 1;
	join("bench");
	one_by_one();
	reading = false;
	imgo_bus_unsubscribe(consumer);
	reading = true;
	if (path) {
		flood(2000, 1);
		flood(50000, 64);
		flood(100000, 1024);
	}
	flood(n, WINDOW);
	if (path)
		restart(path, n + 152000);
	else
		read_all(n);
	imgo_bus_unsubscribe(consumer);
	imgo_bus_free(bus);
	imgo_lmdb_unref(lmdb);
	imgo_loop_free(loop);
	return 0;
}
