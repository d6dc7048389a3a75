/* SPDX-License-Identifier: MIT */
/*
 * The floor of an accepted push that must survive a power cut: one LMDB commit of one small record, synced, and nothing
 * else.
 *
 *	commit_floor DIRECTORY RATE SECONDS
 *
 * Commits at RATE a second by an absolute clock, in a file of its own in the directory, which it removes. Prints one JSON
 * object: the latency against the intended time, and of the commit alone, in microseconds.
 */
#include <lmdb.h>
#include <string.h>
#include <unistd.h>

#include "kit/clock.h"
#include "kit/hist.h"

enum { BODY = 200 };

static MDB_env *env;
static MDB_dbi dbi;

static void check(int r, const char *what)
{
	if (r) {
		fprintf(stderr, "%s: %s\n", what, mdb_strerror(r));
		exit(1);
	}
}

static void commit(uint64_t key)
{
	char body[BODY];
	MDB_val k = {sizeof key, &key}, v = {sizeof body, body};
	MDB_txn *txn;

	memset(body, 'x', sizeof body);
	check(mdb_txn_begin(env, NULL, 0, &txn), "begin");
	if (!dbi)
		check(mdb_dbi_open(txn, NULL, MDB_INTEGERKEY, &dbi), "open");
	check(mdb_put(txn, dbi, &k, &v, 0), "put");
	check(mdb_txn_commit(txn), "commit");
}

static void print(const char *name, const struct hist *h)
{
	printf("\"%s\":{\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"max\":%.1f}", name, (double)hist_at(h, 50) / 1e3,
		(double)hist_at(h, 90) / 1e3, (double)hist_at(h, 99) / 1e3, (double)h->max / 1e3);
}

int main(int argc, char **argv)
{
	static struct hist latency, alone;
	char path[4000], lock[4010];

	if (argc != 4 || atof(argv[2]) <= 0) {
		fprintf(stderr, "usage: commit_floor DIRECTORY RATE SECONDS\n");
		return 2;
	}
	snprintf(path, sizeof path, "%s/commit-floor.%d", argv[1], (int)getpid());
	snprintf(lock, sizeof lock, "%s-lock", path);
	check(mdb_env_create(&env), "env");
	check(mdb_env_set_mapsize(env, 1u << 28), "mapsize");
	check(mdb_env_open(env, path, MDB_NOSUBDIR, 0600), path);
	unsigned count = (unsigned)(atof(argv[2]) * atof(argv[3])) + 1;
	uint64_t period = (uint64_t)(1e9 / atof(argv[2])), due = now_ns() + period;
	for (unsigned i = 0; i < count; i++, due += period) {
		uint64_t now = now_ns();
		if (now < due)
			usleep((useconds_t)((due - now) / 1000));
		now = now_ns();
		commit(i);
		hist_add(&alone, now_ns() - now);
		hist_add(&latency, now_ns() - due);
	}
	printf("{\"bench\":\"commit\",\"n\":%u,", count);
	print("latency_us", &latency);
	putchar(',');
	print("commit_us", &alone);
	printf("}\n");
	mdb_env_close(env);
	unlink(path);
	unlink(lock);
	return 0;
}
