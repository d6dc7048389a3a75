/* SPDX-License-Identifier: MIT */
/* test_store memory|lmdb|memcached [substring of a case's name]: our own stores through the suite. */
#include "store_kit.h"

#include <unistd.h>

#include "memcached_server.h"

static char directory[64];

static int open_memory(struct imgo_store **out, struct imgo_loop *loop, const struct imgo_store_options *options, void *user)
{
	(void)user;
	return imgo_store_new_memory(out, loop, options, NULL);
}

static int open_lmdb(struct imgo_store **out, struct imgo_loop *loop, const struct imgo_store_options *options, void *user)
{
	struct imgo_store_lmdb_options lmdb = IMGO_STORE_LMDB_OPTIONS_INIT;
	struct imgo_error error;
	(void)user;
	lmdb.path = directory;
	lmdb.map_bytes = 256 << 20; /* valgrind and sanitizers have no 64 GiB */
	int err = imgo_store_new_lmdb(out, loop, &lmdb, options, &error);
	if (err)
		printf("# %s\n", error.text);
	return err;
}

static int open_memcached(
	struct imgo_store **out, struct imgo_loop *loop, const struct imgo_store_options *options, void *user)
{
	struct imgo_store_memcached_options memcached = IMGO_STORE_MEMCACHED_OPTIONS_INIT;
	memcached.servers = ((struct memcached_server *)user)->address;
	memcached.timeout_ms = 2000; /* sanitizers and valgrind are slow */
	return imgo_store_new_memcached(out, loop, &memcached, options, NULL);
}

static void remove_directory(void)
{
	char path[96];
	snprintf(path, sizeof path, "%s/data.mdb", directory);
	unlink(path);
	snprintf(path, sizeof path, "%s/lock.mdb", directory);
	unlink(path);
	rmdir(directory);
}

static int run_all(check_open_fn *open, void *user, const char *title, const char *only)
{
	return check_run(store_cases, open, user, title, only) + check_run(store_cases_time, open, user, title, only) +
	       check_run(store_cases_race, open, user, title, only);
}

int main(int argc, char **argv)
{
	const char *which = argc > 1 ? argv[1] : "memory", *only = argc > 2 ? argv[2] : NULL;
	if (strcmp(which, "memory") == 0)
		return run_all(open_memory, NULL, which, only) != 0;
	if (strcmp(which, "lmdb") == 0) {
		strcpy(directory, "/tmp/imgo-test-store-XXXXXX");
		if (!mkdtemp(directory))
			return 1;
		int failed = run_all(open_lmdb, NULL, which, only);
		remove_directory();
		return failed != 0;
	}
	if (strcmp(which, "memcached") == 0) {
		struct memcached_server server = {0};
		if (!memcached_installed()) {
			printf("SKIPPED: memcached is not installed: its store is NOT checked\n");
			return 77;
		}
		if (!memcached_start(&server))
			return 1;
		int failed = run_all(open_memcached, &server, which, only);
		memcached_kill(&server);
		return failed != 0;
	}
	fprintf(stderr, "usage: test_store memory|lmdb|memcached [substring]\n");
	return 2;
}
