/* SPDX-License-Identifier: MIT */
/*
 * Opening the environment, its format record, and the watch over space.
 *
 * Space. LMDB copies pages on write, so that even a delete needs a few free ones. A reserve of them is kept
 * for jobs that do not let the data grow: free pages inside the map (the rest of the map plus the freelist),
 * and blocks on the disk (the file is allocated ahead of its last page). While the reserve is not there,
 * growing jobs are refused. Counting the freelist costs a walk, so it is done only when the rest of the map,
 * or of the disk, is not enough by itself.
 *
 * The map begins small and is doubled when less than a quarter of it is left, up to its maximum. LMDB allows that only
 * while no transaction of this process is open: the writer's is not yet, and readers are kept out by map_lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/options.h"
#include "lmdb/private.h"

enum {
	FORMAT = 1,
	DBS_MAX = 32,
	RESERVE_BYTES = 2 << 20,
	DISK_MIN_BYTES = 1 << 20,
	MAP_START_BYTES = 16 << 20,
	GROW_WAIT_MS = 100,
};

static const char META_KEY[] = "imgo";

int imgo__lmdb_err(int rc)
{
	switch (rc) {
	case 0:
		return 0;
	case MDB_NOTFOUND:
		return IMGO_ENOTFOUND;
	case MDB_KEYEXIST:
		return IMGO_EEXISTS;
	case MDB_MAP_FULL:
	case ENOSPC:
	case EDQUOT:
		return IMGO_EFULL;
	case MDB_TXN_FULL:
	case MDB_READERS_FULL:
	case MDB_DBS_FULL:
		return IMGO_ELIMIT;
	case MDB_VERSION_MISMATCH:
		return IMGO_EVERSION;
	case ENOMEM:
		return IMGO_ENOMEM;
	case EINVAL:
	case MDB_BAD_VALSIZE:
		return IMGO_EINVAL;
	}
	return IMGO_EIO;
}

/* ---- space ---- */

bool imgo__lmdb_disk_full(const struct imgo_lmdb *env)
{
	struct statvfs vfs;
	return statvfs(env->path, &vfs) == 0 && (uint64_t)vfs.f_bavail * vfs.f_frsize < DISK_MIN_BYTES;
}

/* Pages of older transactions that may be used again. LMDB shows its freelist to readers only. */
static size_t free_pages(const struct imgo_lmdb *env)
{
	MDB_txn *txn;
	MDB_cursor *cursor;
	MDB_val key, value;
	size_t pages = 0, n;
	if (mdb_txn_begin(env->env, NULL, MDB_RDONLY, &txn))
		return 0;
	if (mdb_cursor_open(txn, 0, &cursor) == 0) {
		while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
			memcpy(&n, value.mv_data, sizeof n);
			pages += n;
		}
		mdb_cursor_close(cursor);
	}
	mdb_txn_abort(txn);
	return pages;
}

/* Allocates blocks of the data file up to there. False: the disk has none. */
static bool allocate(struct imgo_lmdb *env, uint64_t to_bytes)
{
	mdb_filehandle_t fd;
	mdb_env_get_fd(env->env, &fd);
	while (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)to_bytes)) {
		if (errno == ENOSPC || errno == EDQUOT)
			return false;
		if (errno != EINTR) { /* a file system that cannot do it: no reserve on disk */
			env->allocated_bytes = UINT64_MAX;
			return true;
		}
	}
	env->allocated_bytes = to_bytes;
	return true;
}

/* Pages behind the last one that there is a block for. When they run short a reserve more than is needed is allocated, or
 * as many as there are. */
static size_t spare_on_disk(struct imgo_lmdb *env, size_t used)
{
	size_t n = env->allocated_bytes / env->page_bytes < used + 2 * env->reserve_pages ? 3 : 0;
	while (n && !allocate(env, (uint64_t)(used + n * env->reserve_pages) * env->page_bytes))
		n--;
	uint64_t allocated = env->allocated_bytes / env->page_bytes;
	return allocated > used ? allocated - used : 0;
}

/* Waits a little for readers, and not for ever: one that itself waits for the writer would otherwise be a deadlock. */
bool imgo__lmdb_grow(struct imgo_lmdb *env)
{
	struct timespec until;
	size_t pages = env->map_pages * 2 < env->map_max_pages ? env->map_pages * 2 : env->map_max_pages;
	if (env->map_pages >= env->map_max_pages)
		return false;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += GROW_WAIT_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	if (pthread_rwlock_timedwrlock(&env->map_lock, &until))
		return false;
	int rc = imgo__failpoint("lmdb.grow") ? ENOMEM : mdb_env_set_mapsize(env->env, pages * env->page_bytes);
	if (!rc)
		env->map_pages = pages;
	pthread_rwlock_unlock(&env->map_lock);
	imgo_log_event(imgo_loop_log(env->loop), rc ? IMGO_LOG_WARN : IMGO_LOG_INFO, "lmdb",
		rc ? "map-stays" : "map-grown", "bytes=%zu", env->map_pages * env->page_bytes);
	return rc == 0;
}

static void say_space(struct imgo_lmdb *env, size_t used)
{
	bool full = env->allowed < IMGO__LMDB_GROWS;
	imgo_stat_set(env->file_bytes, (int64_t)(used * env->page_bytes));
	if (atomic_exchange(&env->full, full) == full)
		return;
	imgo_stat_set(env->full_stat, full);
	imgo_log_event(imgo_loop_log(env->loop), full ? IMGO_LOG_ERROR : IMGO_LOG_INFO, "lmdb",
		full ? "full" : "has-space", "used_pages=%zu map_pages=%zu", used, env->map_pages);
}

void imgo__lmdb_check_space(struct imgo_lmdb *env)
{
	MDB_envinfo info;
	size_t reserve = env->reserve_pages;
	mdb_env_info(env->env, &info);
	size_t used = info.me_last_pgno + 1;
	if (env->map_pages < env->map_max_pages && env->map_pages - env->map_pages / 4 < used)
		imgo__lmdb_grow(env);
	size_t map = env->map_pages < env->map_max_pages ? env->map_pages : env->map_max_pages; /* it was more once */
	size_t in_map = map > used ? map - used : 0;
	size_t on_disk = spare_on_disk(env, used);
	size_t spare = in_map < on_disk ? in_map : on_disk;
	if (spare < 2 * reserve)
		spare += free_pages(env);
	env->allowed = spare < reserve ? IMGO__LMDB_SHRINKS : spare < 2 * reserve ? IMGO__LMDB_MOVES : IMGO__LMDB_GROWS;
	say_space(env, used);
}

/* ---- format ---- */

/* "version created_s crc": 4 + 8 + 4 bytes. */
static int check_format(struct imgo_lmdb *env, const MDB_val *value, struct imgo_error *error)
{
	const uint8_t *p = value->mv_data;
	if (value->mv_size != 16 || imgo__crc32c(0, p, 12) != imgo__get32(p + 12))
		return imgo__fail(error, IMGO_EIO, "%s: the format record is damaged", env->path);
	if (imgo__get32(p) != FORMAT)
		return imgo__fail(error, IMGO_EVERSION, "%s: format %u, this library knows %d", env->path,
			(unsigned)imgo__get32(p), FORMAT);
	env->created_s = imgo__get64(p + 4);
	return 0;
}

static int write_format(struct imgo_lmdb *env, MDB_txn *txn, MDB_dbi dbi)
{
	uint8_t record[16];
	MDB_val key = {sizeof META_KEY - 1, (void *)META_KEY}, value = {sizeof record, record};
	env->created_s = imgo_loop_wall_ms(env->loop) / 1000;
	imgo__put32(record, FORMAT);
	imgo__put64(record + 4, env->created_s);
	imgo__put32(record + 12, imgo__crc32c(0, record, 12));
	return mdb_put(txn, dbi, &key, &value, 0);
}

static int init_format(struct imgo_lmdb *env, struct imgo_error *error)
{
	MDB_txn *txn;
	MDB_dbi dbi = 0;
	MDB_val key = {sizeof META_KEY - 1, (void *)META_KEY}, value;
	MDB_stat stat;
	int rc = mdb_txn_begin(env->env, NULL, 0, &txn), err = 0;
	if (rc)
		return imgo__fail(error, imgo__lmdb_err(rc), "%s: %s", env->path, mdb_strerror(rc));
	rc = mdb_stat(txn, 1, &stat); /* the main database: names of the others */
	bool fresh = rc == 0 && stat.ms_entries == 0;
	if (!rc)
		rc = mdb_dbi_open(txn, "meta", fresh ? MDB_CREATE : 0, &dbi);
	if (rc == MDB_NOTFOUND)
		err = imgo__fail(error, IMGO_EIO, "%s: an LMDB environment, but not one of ours", env->path);
	else if (!rc && fresh)
		rc = write_format(env, txn, dbi);
	else if (!rc && mdb_get(txn, dbi, &key, &value) == 0)
		err = check_format(env, &value, error);
	else if (!rc)
		err = imgo__fail(error, IMGO_EIO, "%s: the format record is missing", env->path);
	if (err || rc)
		mdb_txn_abort(txn);
	else
		rc = mdb_txn_commit(txn);
	env->meta = dbi;
	if (rc && !err)
		err = imgo__fail(error, imgo__lmdb_err(rc), "%s: %s", env->path, mdb_strerror(rc));
	return err;
}

/* ---- life ---- */

static int open_mdb(struct imgo_lmdb *env, const struct imgo_lmdb_options *options, struct imgo_error *error)
{
	if (mkdir(env->path, 0700) && errno != EEXIST)
		return imgo__fail(error, IMGO_EIO, "%s: %s", env->path, strerror(errno));
	env->dir = open(env->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (env->dir < 0)
		return imgo__fail(error, IMGO_EIO, "%s: %s", env->path, strerror(errno));
	if (flock(env->dir, LOCK_EX | LOCK_NB)) /* a second one would number the same records */
		return imgo__fail(error, IMGO_EEXISTS, "%s: in use by another process", env->path);
	uint64_t start = options->map_max_bytes < MAP_START_BYTES ? options->map_max_bytes : MAP_START_BYTES;
	/* Never WRITEMAP: a full disk would be a SIGBUS. NOTLS: a reader's transaction is its owner's, not a
	 * thread's. */
	unsigned flags = MDB_NOTLS | (options->no_metasync ? MDB_NOMETASYNC : 0);
	int rc = mdb_env_create(&env->env);
	if (!rc)
		rc = mdb_env_set_mapsize(env->env, start);
	if (!rc)
		rc = mdb_env_set_maxdbs(env->env, DBS_MAX);
	if (!rc)
		rc = mdb_env_open(env->env, env->path, flags, 0600);
	if (rc)
		return imgo__fail(error, imgo__lmdb_err(rc), "%s: %s", env->path, mdb_strerror(rc));
	int dead;
	mdb_reader_check(env->env, &dead);
	MDB_envinfo info;
	MDB_stat stat;
	mdb_env_info(env->env, &info);
	mdb_env_stat(env->env, &stat);
	env->page_bytes = stat.ms_psize;
	env->map_pages = info.me_mapsize / stat.ms_psize; /* what it was when it was written, when that is more */
	env->map_max_pages = options->map_max_bytes / stat.ms_psize;
	env->reserve_pages = RESERVE_BYTES / stat.ms_psize;
	if (env->reserve_pages > env->map_max_pages / 16)
		env->reserve_pages = env->map_max_pages / 16;
	return init_format(env, error);
}

static void add_stats(struct imgo_lmdb *env, uint64_t max_bytes)
{
	struct imgo_stats *stats = imgo_loop_stats(env->loop);
	env->file_bytes = imgo_stats_gauge(
		stats, "imgo_lmdb_file_bytes", "Bytes of store.path that are in use, or were once and are used again");
	env->full_stat = imgo_stats_gauge(
		stats, "imgo_lmdb_full", "1 while the map or the disk is full and pushes to users are refused");
	imgo_stat_set(imgo_stats_gauge(stats, "imgo_lmdb_max_bytes", "The most that store.path may hold"),
		(int64_t)max_bytes);
}

static void close_env(struct imgo_lmdb *env)
{
	imgo__lmdb_writer_stop(env);
	imgo__timer_stop(env->loop, &env->look);
	if (env->env)
		mdb_env_close(env->env);
	if (env->dir >= 0)
		close(env->dir);
	pthread_mutex_destroy(&env->lock);
	pthread_cond_destroy(&env->idle);
	pthread_rwlock_destroy(&env->map_lock);
	free(env->path);
	free(env);
}

int imgo_lmdb_open(
	struct imgo_lmdb **out, struct imgo_loop *loop, const struct imgo_lmdb_options *given, struct imgo_error *error)
{
	struct imgo_lmdb_options o = IMGO_LMDB_OPTIONS_INIT;
	const struct imgo_lmdb_options *options = &o;

	*out = NULL;
	if (imgo__options_take(&o, given, "LMDB", error) < 0)
		return IMGO_EINVAL;
	if (!options->path || !options->path[0])
		return imgo__fail(error, IMGO_EINVAL, "LMDB: no path");
	if (options->map_max_bytes < 1 << 18 || options->map_max_bytes > SIZE_MAX / 2)
		return imgo__fail(error, IMGO_EINVAL, "LMDB: map_max_bytes is out of range");
	struct imgo_lmdb *env = imgo__zalloc(sizeof *env);
	if (!env)
		return imgo__fail(error, IMGO_ENOMEM, "out of memory");
	env->loop = loop;
	env->refs = 1;
	env->dir = -1;
	pthread_mutex_init(&env->lock, NULL);
	pthread_cond_init(&env->idle, NULL);
	pthread_rwlock_init(&env->map_lock, NULL);
	imgo__lmdb_queue_init(&env->queue);
	imgo__timer_init(&env->look, imgo__lmdb_look_again);
	add_stats(env, options->map_max_bytes);
	env->path = imgo__strdup(options->path);
	int err = env->path ? open_mdb(env, options, error) : imgo__fail(error, IMGO_ENOMEM, "out of memory");
	if (!err && (err = imgo__lmdb_writer_start(env)))
		imgo__fail(error, err, "LMDB: the writer thread does not start");
	if (err) {
		close_env(env);
		return err;
	}
	*out = env;
	return 0;
}

void imgo_lmdb_ref(struct imgo_lmdb *env)
{
	env->refs++;
}

void imgo_lmdb_unref(struct imgo_lmdb *env)
{
	if (env && --env->refs == 0)
		close_env(env);
}

uint64_t imgo__lmdb_created_s(const struct imgo_lmdb *env)
{
	return env->created_s;
}

bool imgo__lmdb_full(const struct imgo_lmdb *env)
{
	return atomic_load(&env->full);
}

bool imgo__lmdb_failed(const struct imgo_lmdb *env)
{
	return atomic_load(&env->failed);
}

const char *imgo__lmdb_path(const struct imgo_lmdb *env)
{
	return env->path;
}

int imgo__lmdb_db(struct imgo_lmdb *env, const char *name, unsigned *out)
{
	MDB_txn *txn;
	imgo__lmdb_enter(env);
	int rc = mdb_txn_begin(env->env, NULL, 0, &txn);
	if (!rc && (rc = mdb_dbi_open(txn, name, MDB_CREATE, out)))
		mdb_txn_abort(txn);
	else if (!rc)
		rc = mdb_txn_commit(txn);
	imgo__lmdb_leave(env);
	return imgo__lmdb_err(rc);
}
