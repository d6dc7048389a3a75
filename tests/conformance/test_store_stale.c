/* SPDX-License-Identifier: MIT */
/*
 * A compare-and-swap that is as old as the last life of the server (tests/model/README.md, 3).
 *
 * memcached counts its cas uniques from 1 again after a restart. Here a slow process (this program once more,
 * with a failpoint before its write) has read a user's log; then memcached is killed and the log rebuilt, by
 * writes that give the record the very same unique. The slow process must fail, and the rebuilt log stay. In
 * the end the same write by hand succeeds: so it was the store that kept it away, not the number.
 */
#include "store_kit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "memcached_server.h"

enum { SLOW_MS = 2000, UNIQUE = 4 /* of the user's record, both times */ };

static struct memcached_server server;

static int open_store(struct imgo_store **out, struct imgo_loop *loop, const struct imgo_store_options *options, void *user)
{
	struct imgo_store_memcached_options memcached = IMGO_STORE_MEMCACHED_OPTIONS_INIT;
	memcached.servers = user;
	return imgo_store_new_memcached(out, loop, &memcached, options, NULL);
}

/* ---- the slow process: acknowledges id 1, slowly; its exit code is 0 when it was told that it did ---- */

static char **slow_args;

static void slow_ack(struct check *c)
{
	c->epoch = (uint32_t)strtoul(slow_args[1], NULL, 10);
	c->partition = (uint32_t)strtoul(slow_args[2], NULL, 10);
	c->base = strtoull(slow_args[3], NULL, 10);
	CHECK_EQ(c, check_ack(c, "u", "d", 1, 0), 0);
}

static pid_t start_slow(struct check *c, const char *program)
{
	char epoch[16], partition[16], base[24];
	snprintf(epoch, sizeof epoch, "%u", (unsigned)c->epoch);
	snprintf(partition, sizeof partition, "%u", (unsigned)c->partition);
	snprintf(base, sizeof base, "%llu", (unsigned long long)c->base);
	pid_t pid = fork();
	if (pid != 0)
		return pid;
	char point[64];
	snprintf(point, sizeof point, "memcached.swap:sleep=%d", SLOW_MS);
	setenv("IMGO_FAILPOINT", point, 1);
	execl("/proc/self/exe", program, server.address, epoch, partition, base, (char *)NULL);
	_exit(127);
}

/* ---- the case ---- */

static void append_to(struct check *c, const char *user, uint64_t rebuild)
{
	struct check_append a = {.user = user, .text = "x", .id = 1, .rebuild = rebuild};
	check_append(c, &a);
	CHECK_EQ(c, a.err, 0);
	CHECK_EQ(c, a.result, IMGO_APPEND_NEW);
}

static void stale(struct check *c)
{
	/* uniques: marker 1 2, body 3, u 4 */
	TRY(c, check_complete(c));
	TRY(c, append_to(c, "u", 0));
	pid_t slow = start_slow(c, "slow");
	CHECK(c, slow > 0);
	check_sleep(c, SLOW_MS / 2);

	memcached_kill(&server);
	CHECK(c, memcached_start(&server));
	struct imgo_store_marker m = {.epoch = c->epoch, .partition = c->partition, .step = IMGO_MARKER_BEGIN, .token = 5};
	int err = -1;
	for (int i = 0; i < 40 && err; i++) {
		err = check_marker(c, &m);
		check_sleep(c, 5);
	}
	CHECK_EQ(c, err, 0);
	/* uniques: marker 1, body 2, v 3, u 4 */
	TRY(c, append_to(c, "v", 5));
	TRY(c, append_to(c, "u", 5));
	m.step = IMGO_MARKER_FINISH;
	CHECK_EQ(c, check_marker(c, &m), 0);

	int status = 0;
	CHECK_EQ(c, waitpid(slow, &status, WNOHANG), 0); /* it has not written yet */
	CHECK_EQ(c, waitpid(slow, &status, 0), slow);
	CHECK(c, WIFEXITED(status) && WEXITSTATUS(status) == 1);
	TRY(c, check_reads(c, "u", "d", 0, "1"));

	char command[256];
	snprintf(command, sizeof command, "cas u:%u:=%s 0 0 1 %d\r\nx\r\n", (unsigned)c->partition,
		check_user(c, "u").p, UNIQUE);
	CHECK(c, memcached_command(&server, command, "STORED"));
}

int main(int argc, char **argv)
{
	static const struct check_case slow[] = {{"slow", slow_ack}, {NULL, NULL}};
	static const struct check_case cases[] = {{"stale-cas", stale}, {NULL, NULL}};
	if (argc == 5) {
		slow_args = argv + 1;
		return check_run(slow, open_store, argv[1], "# a slow process, which must fail", NULL) != 0;
	}
	if (!memcached_installed()) {
		printf("SKIPPED: memcached is not installed: stale writes are NOT checked\n");
		return 77;
	}
	if (!memcached_start(&server))
		return 1;
	int failed = check_run(cases, open_store, server.address, "memcached", NULL);
	memcached_kill(&server);
	return failed != 0;
}
