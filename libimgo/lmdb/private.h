/* SPDX-License-Identifier: MIT */
/* Between env.c, writer.c and txn.c only. */
#ifndef IMGO__LMDB_PRIVATE_H
#define IMGO__LMDB_PRIVATE_H

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

#include "lmdb/env.h"

struct imgo__lmdb_txn {
	struct imgo_lmdb *env;
	MDB_txn *txn;
	uint64_t writes; /* attempted so far: tells whether a failed job left something behind */
};

struct imgo__lmdb_queue {
	struct imgo__lmdb_job *first, **end;
};

/* One transaction's worth. Two at most are under way: one running, one waiting to take what is queued by
 * then. */
struct imgo__lmdb_batch {
	struct imgo__work work;
	struct imgo_lmdb *env;
	struct imgo__lmdb_queue jobs; /* filled when it runs */
	bool busy;                    /* submitted, not done */
};

struct imgo_lmdb {
	MDB_env *env;
	struct imgo_loop *loop;
	unsigned refs;
	char *path;
	int dir; /* open and locked: one process at a time */
	uint64_t created_s;
	unsigned meta; /* the database of the format record */
	size_t page_bytes, map_max_pages, reserve_pages;
	/* Growing the map unmaps it for a moment: readers hold this while their transaction is open. */
	pthread_rwlock_t map_lock;
	size_t map_pages; /* the writer's */

	struct imgo__pool *writer;
	struct imgo__lmdb_batch batches[2];
	pthread_mutex_t lock; /* of the next four */
	pthread_cond_t idle;
	struct imgo__lmdb_queue queue;
	unsigned nqueued;
	bool running;

	atomic_bool failed; /* a write or sync failed in a way that cannot be trusted any more */
	/* the writer's */
	uint64_t allocated_bytes;      /* of the data file, on disk */
	enum imgo__lmdb_grows allowed; /* the most that a job may do now */
	struct imgo_stat *file_bytes, *full_stat;

	atomic_bool full;            /* nothing new is accepted: the writer's word */
	struct imgo__timer look;     /* while it is: whether there is room again, also when nobody writes */
	struct imgo__lmdb_job looks; /* ... which the writer sees when it begins */
	bool looking;
};

int imgo__lmdb_err(int rc); /* an imgo_err */
void imgo__lmdb_queue_init(struct imgo__lmdb_queue *queue);
/* Whoever writes is alone between these two: the writer's thread, or the loop's for a moment. */
void imgo__lmdb_enter(struct imgo_lmdb *env);
void imgo__lmdb_leave(struct imgo_lmdb *env);
int imgo__lmdb_writer_start(struct imgo_lmdb *env);
void imgo__lmdb_writer_stop(struct imgo_lmdb *env);
void imgo__lmdb_look_again(struct imgo_loop *loop, struct imgo__timer *timer); /* env->look */
/* Looks whether the reserve is there. On the writer's thread. */
void imgo__lmdb_check_space(struct imgo_lmdb *env);
/* Doubles the map. On the writer's thread, no transaction open. False: it is at its maximum, or cannot be grown now. */
bool imgo__lmdb_grow(struct imgo_lmdb *env);
bool imgo__lmdb_disk_full(const struct imgo_lmdb *env);

#endif
