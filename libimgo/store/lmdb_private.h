/* SPDX-License-Identifier: MIT */
/* Between lmdb_env.c, lmdb_writer.c and lmdb_txn.c only. */
#ifndef IMGO__STORE_LMDB_PRIVATE_H
#define IMGO__STORE_LMDB_PRIVATE_H

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

#include "store/lmdb_env.h"

struct imgo__lmdb_txn {
	struct imgo__lmdb_env *env;
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
	struct imgo__lmdb_env *env;
	struct imgo__lmdb_queue jobs; /* filled when it runs */
	bool busy;                    /* submitted, not done */
};

struct imgo__lmdb_env {
	MDB_env *env;
	struct imgo_loop *loop;
	unsigned refs;
	char *path;
	uint64_t created_s;
	size_t page_bytes, map_pages, reserve_pages;

	struct imgo__pool *writer;
	struct imgo__lmdb_batch batches[2];
	pthread_mutex_t lock; /* of the next four */
	pthread_cond_t idle;
	struct imgo__lmdb_queue queue;
	unsigned nqueued;
	bool running;

	atomic_bool failed; /* a write or sync failed in a way that cannot be trusted any more */
	/* the writer's */
	uint64_t allocated_bytes; /* of the data file, on disk */
	bool short_of_space;
	bool said_full;
};

int imgo__lmdb_err(int rc); /* an imgo_err */
void imgo__lmdb_queue_init(struct imgo__lmdb_queue *queue);
int imgo__lmdb_writer_start(struct imgo__lmdb_env *env);
void imgo__lmdb_writer_stop(struct imgo__lmdb_env *env);
/* Looks whether the reserve is there. On the writer's thread. */
void imgo__lmdb_check_space(struct imgo__lmdb_env *env);
bool imgo__lmdb_disk_full(const struct imgo__lmdb_env *env);

#endif
