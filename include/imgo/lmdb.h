/* SPDX-License-Identifier: MIT */
/*
 * An LMDB environment: a directory on a disk, with its one writer thread, for the bus and the store that share it
 * (imgo_bus_new_lmdb, imgo_store_new_lmdb_in). What they write goes into common transactions: a commit starts when the
 * last one ends, and takes all that waits (group commit without a timer); a call is answered after its fdatasync.
 *
 * Open an environment once in a process, never on a network file system, and not across a fork. An environment belongs
 * to one loop. When its disk is full or the map is at its maximum, what lets the data grow is refused with IMGO_EFULL and
 * all else goes on, by a reserve that is kept for that; it resumes by itself when there is room. A write or sync that
 * fails in any other way is final: from then on everything that writes ends with IMGO_EIO, until the process starts anew.
 */
#ifndef IMGO_LMDB_H
#define IMGO_LMDB_H

#include <stdbool.h>
#include <stdint.h>

#include <imgo/error.h>
#include <imgo/loop.h>

#ifdef __cplusplus
extern "C" {
#endif

struct imgo_lmdb;

struct imgo_lmdb_options {
	size_t size;
	const char *path;       /* a directory, made if it is missing (its parent must exist) */
	uint64_t map_max_bytes; /* the most that it may hold; the map grows up to there by itself; default 64 GiB */
	bool no_metasync;       /* a power failure may lose the last commits, nothing is corrupted */
};
#define IMGO_LMDB_OPTIONS_INIT \
	{ \
		sizeof(struct imgo_lmdb_options), NULL, 64ull << 30, false \
	}

/* Opens or makes it. *out has one reference, the caller's; who is made in it keeps one of its own.
 * Errors: IMGO_EINVAL, IMGO_EIO (also: not one of ours, or damaged), IMGO_EVERSION (of another version),
 * IMGO_EEXISTS (another process, or this one, has it open), IMGO_ENOMEM. */
IMGO_API int imgo_lmdb_open(struct imgo_lmdb **out, struct imgo_loop *loop, const struct imgo_lmdb_options *options,
	struct imgo_error *error);
/* The loop's thread. The last one closes it. NULL is fine. */
IMGO_API void imgo_lmdb_ref(struct imgo_lmdb *lmdb);
IMGO_API void imgo_lmdb_unref(struct imgo_lmdb *lmdb);

/* The clock's second, and always above every epoch that was given out in this environment, to its bus or by this: for a
 * bus elsewhere (imgo_bus_memory_options) whose messages go to the store in here, so that none of them is older than
 * what is there. Waits for a commit; the loop's thread. Errors: IMGO_EFULL, IMGO_EIO. */
IMGO_API int imgo_lmdb_new_epoch(struct imgo_lmdb *lmdb, uint32_t *epoch);

#ifdef __cplusplus
}
#endif
#endif
