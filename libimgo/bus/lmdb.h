/* SPDX-License-Identifier: MIT */
/*
 * The LMDB bus inside: the memory bus with its topics, but for the casts, on a disk. lmdb.c opens and closes it, lmdb_calls.c
 * turns calls into transactions (on the loop's thread), lmdb_log.c is what happens inside a transaction (on the writer's
 * thread, a reader's, or the loop's).
 */
#ifndef IMGO__BUS_LMDB_H
#define IMGO__BUS_LMDB_H

#include "base/buf.h"
#include "bus/memory.h"
#include "lmdb/env.h"

/* The databases of an environment that belong to the bus; see lmdb_log.c for what is in them. */
struct imgo__buslog {
	unsigned meta, records, positions, keys;
};

/* A partition of a topic that is on the disk, as the loop's thread knows it. */
struct imgo__buspart {
	uint64_t next;  /* the next record's offset */
	uint64_t end;   /* one past the newest that is committed */
	uint64_t floor; /* what may be cut below here was; on disk too */
	uint64_t at_ms; /* of the newest */
	/* What may be read on the loop's thread, being in the page cache: what was written of late, and [warm, warm_to),
	 * which a reader has just been through. */
	uint64_t fresh, warm, warm_to;
	struct imgo__work work;
	bool warming;
	struct imgo__busdisk *disk;
	enum imgo_topic topic;
	uint32_t partition;
	uint64_t none, none_end; /* nothing can be read in [none, none_end) */
	uint64_t damaged;        /* records below here that are damaged were counted */
};

/* Where a group is, or (name "") how far the log was cut. */
struct imgo__busposition {
	enum imgo_topic topic;
	uint32_t partition;
	const char *name;
	uint64_t next;
};

/* Cutting: everything below `below` that is not the last of its key and older than before_ms. */
struct imgo__buscut {
	struct imgo__buspart *part;
	uint64_t from, below, before_ms;
	uint64_t done; /* result: cut so far */
};

/* The job that writes down the groups' positions, and cuts behind them. One at a time; it rides in whatever commit comes. */
struct imgo__busflush {
	struct imgo__lmdb_job job;
	bool busy;
	struct imgo__busposition *positions; /* room for every partition of every group */
	struct imgo__mempart **parts;        /* of which they are */
	struct imgo__buscut *cuts;
	size_t npositions, ncuts, positions_max;
};

struct imgo__busdisk {
	struct imgo__membus *mem;
	struct imgo_lmdb *lmdb;
	struct imgo__buslog log;
	struct imgo__buspart *parts[IMGO_TOPICS];
	uint64_t keep_ms;
	size_t queued_bytes, queue_bytes_max; /* of records that wait for their commit */
	struct imgo__lmdb_reader *reader;     /* the loop's thread's */
	struct imgo__pool *pool;              /* for what may have to wait for the disk */
	struct imgo__buf buf;                 /* what mem->batch points to */
	struct imgo__busflush flush;
	bool opened;
	bool moved, cut_due, closing; /* moved, cut_due: something is to be flushed */
	struct imgo__timer timer;     /* flushes what found no other commit to ride in */
	struct imgo__timer age;       /* keep_ms: what becomes old enough */
	struct imgo_stat *damaged, *cut, *flushes;
};

/* ---- lmdb_log.c: 0 or IMGO_EFULL, IMGO_EIO, … ---- */

struct imgo__busread {
	enum imgo_topic topic;
	uint32_t partition;
	uint64_t from, end; /* [from, end) */
	size_t max, bytes_max;
	struct imgo_bus_record *out; /* NULL: only touched, for the page cache */
	struct imgo__buf *buf;
	/* results */
	size_t n, bytes;
	uint64_t next;    /* reading went up to here */
	uint64_t damaged; /* one past the last damaged record; 0: none */
	unsigned ndamaged;
};

int imgo__buslog_put(const struct imgo__buslog *log, struct imgo__lmdb_txn *txn, enum imgo_topic topic,
	const struct imgo_bus_record *record);
int imgo__buslog_position(
	const struct imgo__buslog *log, struct imgo__lmdb_txn *txn, const struct imgo__busposition *position);
/* At most *budget records are looked at, which is lowered. */
int imgo__buslog_cut(const struct imgo__buslog *log, struct imgo__lmdb_txn *txn, struct imgo__buscut *cut, size_t *budget);
int imgo__buslog_read(const struct imgo__buslog *log, struct imgo__lmdb_txn *txn, struct imgo__busread *read);
int imgo__buslog_query(
	const struct imgo__buslog *log, struct imgo__lmdb_txn *txn, uint64_t end, struct imgo__memcall *call);
/* The newest record. IMGO_ENOTFOUND. */
int imgo__buslog_newest(const struct imgo__buslog *log, struct imgo__lmdb_txn *txn, enum imgo_topic topic,
	uint32_t partition, uint64_t *offset, uint64_t *at_ms);
/* Says each position that is written down. IMGO_EIO: one is damaged. */
int imgo__buslog_positions(const struct imgo__buslog *log, struct imgo__lmdb_txn *txn,
	int (*fn)(const struct imgo__busposition *position, void *user), void *user);

/* ---- lmdb_calls.c ---- */
extern const struct imgo__busdisk_ops imgo__busdisk_ops;
int imgo__busdisk_start(struct imgo__busdisk *disk); /* a reader, its thread, timers */
void imgo__busdisk_stop(struct imgo__busdisk *disk); /* the last flush; pending calls end */

/* lmdb.c */
void imgo__busdisk_free(struct imgo__busdisk *disk);

#endif
