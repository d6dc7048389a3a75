/* SPDX-License-Identifier: MIT */
/*
 * A router in a process of its own, and a client that puts sessions and looks users up in batches: memory of
 *a session (RSS of the router), and users a second of CPU of either side. Public headers only. Prints JSON.
 *
 *	router_bench [sessions [batch [seconds]]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <imgo/router.h>

enum { FLIGHT = 8, USER_LEN = 16 };

struct bench;

struct slot { /* one batch under way */
	struct bench *bench;
	struct imgo_registry_put *puts;
	struct imgo_registry_get *gets;
	struct imgo_str *rooms;
	char (*names)[USER_LEN + 1];
};

struct bench {
	struct imgo_loop *loop;
	struct imgo_registry *registry;
	struct slot slots[FLIGHT];
	unsigned batch, busy;
	uint64_t sessions, next, done, found, errors, stop_us, random;
	bool looking;
};

static double cpu_of(pid_t pid)
{
	char path[64], line[1024], *p;
	unsigned long user = 0, system = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	f = fopen(path, "r");
	if (f && fgets(line, sizeof line, f) && (p = strrchr(line, ')')) != NULL)
		sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
	if (f)
		fclose(f);
	return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static uint64_t rss_of(pid_t pid)
{
	unsigned long size = 0, rss = 0;
	char path[64];
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
	f = fopen(path, "r");
	if (!f || fscanf(f, "%lu %lu", &size, &rss) != 2)
		rss = 0;
	if (f)
		fclose(f);
	return rss * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void serve(int out)
{
	struct imgo_router_options options = IMGO_ROUTER_OPTIONS_INIT;
	struct imgo_registry *registry;
	struct imgo_router *router;
	struct imgo_loop *loop;
	int port;

	options.listen = "127.0.0.1:0";
	if (imgo_loop_new(&loop, NULL, NULL) < 0 || imgo_registry_new_memory(&registry, loop, NULL) < 0 ||
		imgo_router_new(&router, loop, registry, &options, NULL) < 0)
		_exit(1);
	port = imgo_router_port(router);
	if (write(out, &port, sizeof port) == sizeof port)
		imgo_loop_run(loop);
	_exit(0);
}

static void next_batch(struct slot *slot);

static void ended(struct slot *slot, int err)
{
	struct bench *bench = slot->bench;

	for (unsigned i = 0; i < bench->batch; i++) {
		bench->errors += err || (bench->looking ? slot->gets[i].err : slot->puts[i].err);
		if (bench->looking)
			bench->found += slot->gets[i].nsessions;
	}
	bench->done += bench->batch;
	bench->busy--;
	next_batch(slot);
}

static void on_ended(int err, void *user)
{
	ended(user, err);
}

static void fill(struct slot *slot, unsigned i, uint64_t k)
{
	struct imgo_registry_put *put = &slot->puts[i];

	snprintf(slot->names[i], sizeof slot->names[i], "user%012llu", (unsigned long long)k);
	slot->gets[i].user = imgo_strn(slot->names[i], USER_LEN);
	put->session = (struct imgo_session){.user = slot->gets[i].user, .device = imgo_str("")};
	put->session.id = (struct imgo_session_id){1 + (uint32_t)(k % 53), {1700000000000000, 1}, k};
	put->session.rooms = slot->rooms;
	put->session.nrooms = 1;
}

static void next_batch(struct slot *slot)
{
	struct bench *bench = slot->bench;
	int err;

	if (bench->looking ? now_us() >= bench->stop_us : bench->next >= bench->sessions) {
		if (bench->busy == 0)
			imgo_loop_stop(bench->loop);
		return;
	}
	for (unsigned i = 0; i < bench->batch; i++) {
		bench->random = bench->random * 6364136223846793005u + 1442695040888963407u;
		fill(slot, i, bench->looking ? (bench->random >> 20) % bench->sessions : bench->next++);
	}
	bench->busy++;
	err = bench->looking ? imgo_registry_get_many(bench->registry, slot->gets, bench->batch, on_ended, slot)
			     : imgo_registry_put_many(bench->registry, slot->puts, bench->batch, on_ended, slot);
	if (err < 0) {
		fprintf(stderr, "router_bench: %s\n", imgo_strerror(err));
		exit(1);
	}
}

struct run {
	double seconds, router_cpu, client_cpu;
	uint64_t users;
};

static struct run run(struct bench *bench, pid_t router, bool looking, unsigned flight, double seconds)
{
	double router_cpu = cpu_of(router), client_cpu = cpu_of(getpid());
	uint64_t start = now_us();
	struct run result;

	bench->looking = looking;
	bench->done = 0;
	bench->stop_us = start + (uint64_t)(seconds * 1e6);
	for (unsigned i = 0; i < flight; i++)
		next_batch(&bench->slots[i]);
	imgo_loop_run(bench->loop);
	result.seconds = (double)(now_us() - start) / 1e6;
	result.router_cpu = cpu_of(router) - router_cpu;
	result.client_cpu = cpu_of(getpid()) - client_cpu;
	result.users = bench->done;
	return result;
}

static void report(const char *name, struct run run)
{
	printf("  \"%s\": {\"users\": %llu, \"per_s\": %.0f, \"router_us\": %.3f, \"client_us\": %.3f, "
	       "\"per_router_core_s\": %.0f},\n",
		name, (unsigned long long)run.users, (double)run.users / run.seconds,
		run.router_cpu * 1e6 / (double)run.users, run.client_cpu * 1e6 / (double)run.users,
		run.router_cpu > 0 ? (double)run.users / run.router_cpu : 0);
}

static void prepare(struct bench *bench, int port)
{
	struct imgo_registry_remote_options options = IMGO_REGISTRY_REMOTE_OPTIONS_INIT;
	static struct imgo_str room = {"live://1000", 11};
	char routers[32];

	snprintf(routers, sizeof routers, "127.0.0.1:%d", port);
	options.routers = routers;
	options.timeout_ms = 20000;
	if (imgo_loop_new(&bench->loop, NULL, NULL) < 0 ||
		imgo_registry_new_remote(&bench->registry, bench->loop, &options, NULL) < 0)
		exit(1);
	for (unsigned i = 0; i < FLIGHT; i++) {
		struct slot *slot = &bench->slots[i];
		slot->bench = bench;
		slot->puts = calloc(bench->batch, sizeof *slot->puts);
		slot->gets = calloc(bench->batch, sizeof *slot->gets);
		slot->names = calloc(bench->batch, sizeof *slot->names);
		slot->rooms = &room;
	}
}

static void renewed(int err, void *user)
{
	struct bench *bench = user;

	bench->errors += err != 0;
	if (--bench->busy == 0)
		imgo_loop_stop(bench->loop);
}

static void renew(struct bench *bench)
{
	static struct imgo_registry_renew calls[53];

	for (uint32_t i = 0; i < 53; i++) {
		calls[i].comet = i + 1;
		calls[i].inc = (struct imgo_incarnation){1700000000000000, 1};
		calls[i].address = imgo_str("127.0.0.1:8092");
		calls[i].lease_ms = IMGO_REGISTRY_LEASE_MAX_MS;
		bench->busy += imgo_registry_renew(bench->registry, &calls[i], renewed, bench) == 0;
	}
	imgo_loop_run(bench->loop);
}

int main(int argc, char **argv)
{
	struct bench bench = {.batch = 256, .sessions = 1000000, .random = 1};
	double seconds = argc > 3 ? atof(argv[3]) : 3;
	uint64_t before, after;
	int ports[2], port;
	pid_t router;

	if (argc > 1)
		bench.sessions = strtoull(argv[1], NULL, 10);
	if (argc > 2)
		bench.batch = (unsigned)atoi(argv[2]);
	if (pipe(ports) < 0 || (router = fork()) < 0 || bench.batch == 0 || bench.sessions == 0)
		return 1;
	if (router == 0)
		serve(ports[1]);
	if (read(ports[0], &port, sizeof port) != sizeof port)
		return 1;
	prepare(&bench, port);
	renew(&bench);
	before = rss_of(router);
	printf("{\n  \"sessions\": %llu, \"batch\": %u,\n", (unsigned long long)bench.sessions, bench.batch);
	report("put", run(&bench, router, false, FLIGHT, 0));
	after = rss_of(router);
	report("get", run(&bench, router, true, FLIGHT, seconds));
	report("get_one_in_flight", run(&bench, router, true, 1, seconds));
	printf("  \"router_started_bytes\": %llu, \"bytes_per_session\": %.1f, \"found\": %llu, \"errors\": "
	       "%llu\n}\n",
		(unsigned long long)before, (double)(after - before) / (double)bench.sessions,
		(unsigned long long)bench.found, (unsigned long long)bench.errors);
	imgo_registry_free(bench.registry);
	imgo_loop_free(bench.loop);
	kill(router, SIGKILL);
	waitpid(router, NULL, 0);
	return bench.errors > 0;
}
