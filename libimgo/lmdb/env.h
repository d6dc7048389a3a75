/* SPDX-License-Identifier: MIT */
/*
 * An LMDB environment (a directory) with its one writer thread, shared by all who keep something in it: the store and
 * the embedded bus, which know nothing of one another. This module alone includes <lmdb.h>.
 *
 * Writing: a job is a function that runs inside a write transaction together with other jobs (group commit
 * without a timer: a commit starts when the last one ends and takes all that is queued). Its `done` runs on
 * the loop's thread after the commit, so what it confirms is on disk. A job may be run more than once before
 * that (when a batch fails, each job is tried alone), so run() must begin afresh each time and touch nothing
 * but its own results.
 *
 * Reading: short transactions on any thread that owns a reader; they see what was committed when they began.
 *
 * When the map or the disk is nearly full, jobs that let the data grow are refused with IMGO_EFULL while others go on: a
 * reserve of pages is kept for them. What is new is refused first (a reserve earlier), so that what was accepted can
 * still be moved on.
 */
#ifndef IMGO__LMDB_ENV_H
#define IMGO__LMDB_ENV_H

#include <imgo/lmdb.h>
#include <imgo/types.h>

#include "loop/loop.h"

struct imgo__lmdb_txn;

uint64_t imgo__lmdb_created_s(const struct imgo_lmdb *env); /* when it was made, wall clock */
bool imgo__lmdb_failed(const struct imgo_lmdb *env);        /* for good. Any thread */
bool imgo__lmdb_full(const struct imgo_lmdb *env); /* what grows is refused; at most a second old. Any thread */
const char *imgo__lmdb_path(const struct imgo_lmdb *env);

/* Opens or makes a database; before anything else is under way, or on the loop's thread. */
int imgo__lmdb_db(struct imgo_lmdb *env, const char *name, unsigned *out);

/* ---- writing ---- */

enum imgo__lmdb_grows {
	IMGO__LMDB_SHRINKS, /* in the long run: always allowed */
	IMGO__LMDB_MOVES,   /* grows now, so that something else can go */
	IMGO__LMDB_GROWS,   /* something new */
};

struct imgo__lmdb_job {
	struct imgo__lmdb_job *next;
	const void *owner; /* for quit */
	/* On the writer thread. A negative imgo_err undoes what this job wrote, and only this. */
	int (*run)(struct imgo__lmdb_job *job, struct imgo__lmdb_txn *txn);
	/* On the loop's thread, once. err: what run returned, or why it was not committed. */
	void (*done)(struct imgo__lmdb_job *job, int err);
	enum imgo__lmdb_grows grows;
	int err; /* the writer's */
};

int imgo__lmdb_submit(struct imgo_lmdb *env, struct imgo__lmdb_job *job); /* IMGO_ELIMIT: too many wait */
/* Ends all of this owner's jobs now: those that did not run yet with IMGO_ECANCELED. Waits for the running
 * commit. */
void imgo__lmdb_quit(struct imgo_lmdb *env, const void *owner);
/* Runs this job on the caller's thread, the loop's, after the running commit: the last word of who is leaving. Its
 * `done` is not called. Blocks. */
int imgo__lmdb_run_now(struct imgo_lmdb *env, struct imgo__lmdb_job *job);

/* ---- reading ---- */

struct imgo__lmdb_reader;
struct imgo__lmdb_reader *imgo__lmdb_reader_new(struct imgo_lmdb *env); /* for one thread; NULL: no memory */
void imgo__lmdb_reader_free(struct imgo__lmdb_reader *reader);
int imgo__lmdb_read_begin(struct imgo__lmdb_reader *reader, struct imgo__lmdb_txn **out);
void imgo__lmdb_read_end(struct imgo__lmdb_reader *reader);

/* ---- in a transaction: 0 or IMGO_ENOTFOUND, IMGO_EFULL, IMGO_EIO, … ---- */

/* *epoch: of one whose epoch lasts, and stays unless a higher one was given out since; 0: a new one. See epoch.c. */
int imgo__lmdb_epoch(struct imgo__lmdb_txn *txn, uint32_t *epoch);
/* *out points into the map: until the next write of this transaction, or its end. */
int imgo__lmdb_get(struct imgo__lmdb_txn *txn, unsigned db, struct imgo_str key, struct imgo_str *out);
int imgo__lmdb_put(struct imgo__lmdb_txn *txn, unsigned db, struct imgo_str key, struct imgo_str value);
/* A new value of this length to be filled by the caller at once; IMGO_EEXISTS when the key is there. */
int imgo__lmdb_add(struct imgo__lmdb_txn *txn, unsigned db, struct imgo_str key, size_t len, uint8_t **out);
int imgo__lmdb_del(struct imgo__lmdb_txn *txn, unsigned db, struct imgo_str key);
int imgo__lmdb_clear(struct imgo__lmdb_txn *txn, unsigned db);
/* The first entry whose key is >= from. IMGO_ENOTFOUND at the end. */
int imgo__lmdb_seek(
	struct imgo__lmdb_txn *txn, unsigned db, struct imgo_str from, struct imgo_str *key, struct imgo_str *value);
/* Walks [from, …) in order while fn returns 0; fn must not write. Returns what fn returned, or an error; 0 at
 * the end. */
int imgo__lmdb_walk(struct imgo__lmdb_txn *txn, unsigned db, struct imgo_str from,
	int (*fn)(struct imgo_str key, struct imgo_str value, void *user), void *user);
/* The last entry whose key is < before. IMGO_ENOTFOUND: there is none. */
int imgo__lmdb_before(
	struct imgo__lmdb_txn *txn, unsigned db, struct imgo_str before, struct imgo_str *key, struct imgo_str *value);
/* The last entry. IMGO_ENOTFOUND: empty. */
int imgo__lmdb_last(struct imgo__lmdb_txn *txn, unsigned db, struct imgo_str *key, struct imgo_str *value);

#endif
