/* SPDX-License-Identifier: MIT */
/*
 * What befalls the Kafka bus alone, seen from inside: test_bus_hurt DIR, with a broker that kafka.sh started there.
 *	fatal	the producer ends for good with records under way: all are accepted all the same, and are there in order
 *	hung	the broker is stopped (SIGSTOP): the queue is bounded, calls end by their deadline, freeing is bounded
 *	wrong	a topic with another number of partitions is refused, and its consumers are told
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "bus_kit.h"
#include "bus/kafka.h"
#include "loop/loop.h"

static char brokers[64];
static unsigned queue_max = 100000, timeout_ms = 10000, partitions = BUS_PARTITIONS;

static int open_bus(struct imgo_loop *loop, const char *scope, struct imgo_bus **out, void *user)
{
	struct imgo_bus_kafka_options o = IMGO_BUS_KAFKA_OPTIONS_INIT;

	(void)user;
	o.brokers = brokers;
	o.prefix = scope;
	o.partitions = partitions;
	o.casts_partitions = BUS_CASTS;
	o.queue_max = queue_max;
	o.timeout_ms = timeout_ms;
	return imgo_bus_new_kafka(out, loop, &o, NULL);
}

static const struct bus_backend backend = {.name = "kafka", .open = open_bus, .lasting = true, .slow_ms = 3000};

/* bus.c's handle begins with these two. */
static struct imgo__kafka *inside(struct imgo_bus *bus)
{
	return ((struct {
		const void *ops;
		struct imgo__kafka *k;
	} *)bus)
		->k;
}

struct many {
	bool ended;
	int err;
	uint64_t began, took;
};

static void ended(int err, void *user)
{
	struct many *many = user;

	many->ended = true;
	many->err = err;
	many->took = kit_now() - many->began;
}

static void put(struct kit *kit, struct many *many, struct imgo_bus_record *r, size_t n, char (*text)[16])
{
	for (size_t i = 0; i < n; i++) {
		snprintf(text[i], sizeof text[i], "f%zu", i);
		r[i] = (struct imgo_bus_record){.partition = 2, .value = imgo_str(text[i])};
	}
	many->began = kit_now();
	check_int(kit, imgo_bus_produce_many(kit->bus, IMGO_TOPIC_USERS, r, n, ended, many), 0);
}

static void fatal(struct kit *kit)
{
	static struct imgo_bus_record r[2000];
	static char text[2000][16];
	struct many many = {.ended = false};
	struct kit_con a = {.go = true};
	int last = -1;

	put(kit, &many, r, 2000, text);
	rd_kafka_test_fatal_error(inside(kit->bus)->p.client->rk, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, "test");
	await(kit, many.ended, 5);
	check_int(kit, many.err, 0);
	check(kit, kit_put(kit, IMGO_TOPIC_USERS, 2, "", "end", NULL) == 0);
	kit_join(kit, &a, IMGO_TOPIC_USERS, "g");
	await(kit, kit_has(&a, "end"), 10);
	for (size_t i = 0; i + 1 < a.n; i++) {
		int n = atoi(a.got[i].value + 1);
		check(kit, n <= last + 1);
		last = n > last ? n : last;
	}
	check_int(kit, last, 1999);
	printf("fatal: %zu records for 2000, producer made anew: %d\n", a.n - 1, inside(kit->bus)->p.recreated_ms != 0);
	check(kit, inside(kit->bus)->p.recreated_ms != 0);
	kit_end(&a);
}

static void hung(struct kit *kit, pid_t broker)
{
	static struct imgo_bus_record r[20];
	static char text[20][16];
	struct many many = {.ended = false}, again = {.ended = false};
	uint64_t began;
	int err;

	kill(broker, SIGSTOP);
	put(kit, &many, r, 20, text);
	await(kit, many.ended, 3);
	check(kit, many.took >= 800 && many.took < 2400);
	for (size_t i = 0; i < 20; i++)
		check(kit, i < 10 ? r[i].err == IMGO_ETIMEDOUT || r[i].err == IMGO_EUNAVAILABLE : r[i].err == IMGO_ELIMIT);
	printf("hung: ended after %" PRIu64 " ms, first %s\n", many.took, imgo_err_name(r[0].err));
	kit_sleep(kit, 1500);
	check(kit, !imgo_bus_ready(kit->bus));
	kill(broker, SIGCONT);
	await(kit, imgo_bus_ready(kit->bus), 5);
	/* Its controller may have taken it for dead meanwhile: it comes back within moments. */
	began = kit_now();
	while ((err = kit_put(kit, IMGO_TOPIC_USERS, 2, "", "after", NULL)) && kit_now() - began < 8000)
		kit_sleep(kit, 100);
	check_int(kit, err, 0);
	kill(broker, SIGSTOP);
	put(kit, &again, r, 10, text);
	began = kit_now();
	imgo_bus_free(kit->bus);
	kit->bus = NULL;
	printf("hung: freed in %" PRIu64 " ms\n", kit_now() - began);
	check(kit, kit_now() - began < 9000);
	check(kit, again.ended && again.err == IMGO_ECANCELED);
	kill(broker, SIGCONT);
}

static void wrong(struct kit *kit)
{
	struct kit_con a = {.go = false};

	imgo_bus_free(kit->bus);
	partitions = BUS_PARTITIONS - 1;
	check_int(kit, open_bus(kit->loop, kit->scope, &kit->bus, NULL), 0);
	kit_join(kit, &a, IMGO_TOPIC_USERS, "g");
	await(kit, a.n_failed == 1, 2);
	check(kit, !imgo_bus_ready(kit->bus));
	check_int(kit, kit_put(kit, IMGO_TOPIC_USERS, 0, "", "x", NULL), IMGO_EUNAVAILABLE);
	kit_end(&a);
	partitions = BUS_PARTITIONS;
}

static long number_in(const char *dir, const char *file)
{
	char path[300];
	long n = 0;
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", dir, file);
	f = fopen(path, "r");
	if (!f || fscanf(f, "%ld", &n) != 1)
		n = 0;
	if (f)
		fclose(f);
	return n;
}

int main(int argc, char **argv)
{
	struct imgo_loop_options options = IMGO_LOOP_OPTIONS_INIT;
	struct kit kit = {.backend = &backend};
	int fd = 2;

	if (argc < 2 || !number_in(argv[1], "kafka.port"))
		return 2;
	if (getenv("IMGO_TEST_LOG"))
		imgo_log_new(&options.log, (enum imgo_log_level)atoi(getenv("IMGO_TEST_LOG")), imgo_log_fd_sink, &fd);
	snprintf(brokers, sizeof brokers, "127.0.0.1:%ld", number_in(argv[1], "kafka.port"));
	if (imgo_loop_new(&kit.loop, &options, NULL))
		return 1;
	snprintf(kit.scope, sizeof kit.scope, "hurt%ld", (long)(imgo_loop_wall_ms(kit.loop) / 1000 % 100000));
	kit_open(&kit);
	fatal(&kit);
	wrong(&kit);
	imgo_bus_free(kit.bus);
	queue_max = 10;
	timeout_ms = 2000;
	kit_open(&kit);
	hung(&kit, (pid_t)number_in(argv[1], "kafka.pid"));
	imgo_bus_free(kit.bus);
	imgo_loop_free(kit.loop);
	imgo_log_free(options.log);
	printf("%s kafka.hurt\n", kit.failures ? "FAILED" : "ok");
	return kit.failures != 0;
}
