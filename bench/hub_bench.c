/* SPDX-License-Identifier: MIT */
/*
 * The hub against the floor of the same run, and what a connection costs.
 *
 *	hub_bench [CONNECTIONS [REPEATS]]
 *
 * Prints one JSON object a line. fanout: CPU time of one write (user and system, the receiver's TCP work
 * included, as it is on loopback) of hub and floor by turns, and the median ratio. idle: resident memory a
 * logged-in connection in one room, users' keys included. connect: CPU time of accept, login and room.
 * heartbeat: CPU time of one, answered.
 */
#include "fanout.h"

#include <libgen.h>
#include <poll.h>

#include <imgo/hub.h>
#include <imgo/stats.h>

enum { BASE = 100, ROUNDS = 10, WARM_UP = 2, REPEATS_MAX = 50 };

struct bench {
	struct imgo_loop *loop;
	struct imgo_stats *stats;
	struct imgo_hub *hub;
	struct fanout *fanout;
	long base; /* resident bytes when the first BASE connections were up: code and tables are not theirs
		    */
};

static void on_auth(struct imgo_hub *hub, struct imgo_conn conn, const struct imgo_hub_auth *auth, void *user)
{
	struct imgo_hub_grant grant = IMGO_HUB_GRANT_INIT;
	struct imgo_str room = imgo_str("live://1000");

	(void)user;
	grant.user = auth->token;
	grant.rooms = &room;
	grant.nrooms = 1;
	if (imgo_hub_auth_finish(hub, conn, &grant))
		die("auth_finish");
}

static void turn(struct bench *b)
{
	struct pollfd p = {.fd = imgo_loop_fd(b->loop), .events = POLLIN};

	(void)poll(&p, 1, imgo_loop_timeout_ms(b->loop) ? 1 : 0);
	imgo_loop_process(b->loop);
}

static long resident(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	long total, pages = 0;

	if (!f || fscanf(f, "%ld %ld", &total, &pages) != 2)
		die("statm");
	fclose(f);
	return pages * sysconf(_SC_PAGESIZE);
}

/* Brings the connections up; returns the CPU time of one. */
static double start(struct bench *b, int connections, enum fanout_login login)
{
	static const struct imgo_hub_ops ops = {.size = sizeof ops, .on_auth = on_auth};
	struct imgo_hub_options options = IMGO_HUB_OPTIONS_INIT;
	struct imgo_loop_options lo = IMGO_LOOP_OPTIONS_INIT;
	struct imgo_hub_counts counts = {0};

	options.connections_max = 1000000;
	options.packets_per_second_max = 0;
	b->fanout = fanout_new(connections, login);
	imgo_stats_new(&b->stats);
	lo.stats = b->stats;
	if (imgo_loop_new(&b->loop, &lo, NULL) || imgo_hub_new(&b->hub, b->loop, &ops, b, &options, NULL) ||
		imgo_hub_listen(b->hub, "127.0.0.1:0", login == FANOUT_WS ? IMGO_HUB_WEBSOCKET : IMGO_HUB_TCP,
			&b->fanout->port, NULL))
		die("hub");
	fanout_start(b->fanout);
	double before = cpu_us();
	while (counts.authenticated < (uint32_t)connections || atomic_load(&b->fanout->up) < connections) {
		turn(b);
		imgo_hub_counts(b->hub, &counts);
		if (!b->base && counts.authenticated >= BASE)
			b->base = resident();
	}
	return (cpu_us() - before) / connections;
}

static void stop(struct bench *b)
{
	fanout_stop(b->fanout);
	imgo_hub_free(b->hub);
	imgo_loop_free(b->loop);
	imgo_stats_free(b->stats);
}

static void until_written(struct bench *b, int64_t bytes)
{
	while (imgo_stats_get(b->stats, "imgo_hub_bytes_out_total") < bytes)
		turn(b);
}

/* Turns until nothing is written any more; returns all that was. */
static int64_t until_quiet(struct bench *b)
{
	int64_t last = -1, now = 0;

	for (int quiet = 0; quiet < 50; quiet = now == last ? quiet + 1 : 0) {
		last = now;
		turn(b);
		now = imgo_stats_get(b->stats, "imgo_hub_bytes_out_total");
	}
	return now;
}

static void cast(struct bench *b, struct imgo_msg *const *messages, int batch, int connections)
{
	if (imgo_hub_send_room(b->hub, imgo_str("live://1000"), messages, (size_t)batch) != connections)
		die("send_room");
}

/* CPU time of one write: `batch` messages of `len` bytes to the room. *wire: bytes of one write. */
static double fan_out(int connections, enum fanout_login login, int batch, int len, int *wire)
{
	struct bench b = {0};
	double each[ROUNDS];
	struct imgo_msg *messages[64];
	char body[4096];

	start(&b, connections, login);
	int64_t begun = imgo_stats_get(b.stats, "imgo_hub_bytes_out_total"), all = begun;
	uint64_t logins = atomic_load(&b.fanout->received);
	snprintf(body, sizeof body, "{\"x\":\"%0*d\"}", len - 8, 0);
	for (int i = 0; i < batch; i++)
		imgo_msg_new(&messages[i], IMGO_OP_PUSH, (struct imgo_id){0, 0}, body, strlen(body));
	cast(&b, messages, batch, connections); /* warms up, and tells the size of a write */
	all = until_quiet(&b);
	int64_t bytes = (all - begun) / connections;
	for (int round = -WARM_UP; round < ROUNDS; round++) {
		double before = cpu_us();
		cast(&b, messages, batch, connections);
		all += bytes * connections;
		until_written(&b, all);
		if (round >= 0)
			each[round] = (cpu_us() - before) / connections;
		fanout_wait(b.fanout, logins + (uint64_t)(all - begun));
	}
	*wire = (int)bytes;
	for (int i = 0; i < batch; i++)
		imgo_msg_unref(messages[i]);
	stop(&b);
	return median(each, ROUNDS);
}

static double floor_of(const char *self, int connections, int bytes)
{
	char command[600], path[400];
	double us = 0;

	snprintf(path, sizeof path, "%s", self);
	snprintf(command, sizeof command, "%s/fanout-floor %d %d %d", dirname(path), connections, bytes, ROUNDS);
	FILE *f = popen(command, "r");
	if (!f || fscanf(f, "%lf", &us) != 1)
		die("fanout-floor");
	pclose(f);
	return us;
}

static void compare(const char *self, int connections, int repeats, enum fanout_login login, int batch, int len)
{
	double ours[REPEATS_MAX], floors[REPEATS_MAX], ratios[REPEATS_MAX];
	int wire = 0;

	for (int i = 0; i < repeats; i++) {
		ours[i] = fan_out(connections, login, batch, len, &wire);
		floors[i] = floor_of(self, connections, wire);
		ratios[i] = ours[i] / floors[i];
	}
	double ratio = median(ratios, repeats);
	printf("{\"bench\":\"fanout\",\"kind\":\"%s\",\"connections\":%d,\"batch\":%d,\"bytes\":%d,"
	       "\"hub_us\":%.2f,\"floor_us\":%.2f,\"ratio\":%.3f,\"min\":%.3f,\"max\":%.3f}\n",
		login == FANOUT_WS ? "websocket" : "tcp", connections, batch, wire, median(ours, repeats),
		median(floors, repeats), ratio, ratios[0], ratios[repeats - 1]);
	fflush(stdout);
}

static void idle(int connections, enum fanout_login login)
{
	struct bench b = {0};
	double connect_us = start(&b, connections, login);

	for (int i = 0; i < 20; i++)
		turn(&b);
	double bytes = (double)(resident() - b.base) / (connections - BASE);
	printf("{\"bench\":\"idle\",\"kind\":\"%s\",\"connections\":%d,\"bytes\":%.0f,\"connect_us\":%.1f",
		login == FANOUT_WS ? "websocket" : "tcp", connections, bytes, connect_us);
	if (login == FANOUT_TCP) {
		int64_t all = imgo_stats_get(b.stats, "imgo_hub_bytes_out_total") + 5LL * 16 * connections;
		double cpu = cpu_us();
		atomic_store(&b.fanout->echoes, 5);
		until_written(&b, all);
		printf(",\"heartbeat_us\":%.2f", (cpu_us() - cpu) / 5 / connections);
	}
	printf("}\n");
	fflush(stdout);
	stop(&b);
}

/* Each measurement in a process of its own, so that none finds another's memory. */
static void apart(void (*fn)(int, enum fanout_login), int connections, enum fanout_login login)
{
	pid_t pid = fork();

	if (pid == 0) {
		fn(connections, login);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
	int connections = argc > 1 ? atoi(argv[1]) : 19000, repeats = argc > 2 ? atoi(argv[2]) : 5;

	if (repeats < 1 || repeats > REPEATS_MAX)
		return 1;
	apart(idle, connections, FANOUT_TCP);
	apart(idle, connections, FANOUT_WS);
	compare(argv[0], connections, repeats, FANOUT_TCP, 1, 50);
	compare(argv[0], connections, repeats, FANOUT_TCP, 40, 50);
	compare(argv[0], connections, repeats, FANOUT_WS, 1, 50);
	return 0;
}
