/* SPDX-License-Identifier: MIT */
/*
 * The store, for callers: three of ours and custom ones behind the same calls. Read imgo/backend/store.h for the model
 * and for what each struct means.
 */
#ifndef IMGO_STORE_H
#define IMGO_STORE_H

#include <imgo/backend/store.h>
#include <imgo/lmdb.h>
#include <imgo/loop.h>

#ifdef __cplusplus
extern "C" {
#endif

struct imgo_store;

/* In the process's memory: gone when it ends. No thread. options may be NULL. Errors: IMGO_ENOMEM. */
IMGO_API int imgo_store_new_memory(struct imgo_store **out, struct imgo_loop *loop,
	const struct imgo_store_options *options, struct imgo_error *error);

struct imgo_store_lmdb_options {
	size_t size;
	const char *path;   /* a directory, made if it is missing */
	uint64_t map_bytes; /* the most that it can hold; default 64 GiB */
	bool no_metasync;   /* a power failure may lose the last commits, nothing is corrupted */
};
#define IMGO_STORE_LMDB_OPTIONS_INIT \
	{ \
		sizeof(struct imgo_store_lmdb_options), NULL, 64ull << 30, false \
	}

/* In an LMDB environment: one writer thread with group commit; a call that writes ends when it is on disk.
 * Errors: IMGO_EINVAL, IMGO_EIO, IMGO_EVERSION (written by another version), IMGO_ENOMEM. */
IMGO_API int imgo_store_new_lmdb(struct imgo_store **out, struct imgo_loop *loop,
	const struct imgo_store_lmdb_options *lmdb, const struct imgo_store_options *options, struct imgo_error *error);

/* The same in an environment that is open: it is shared with the bus that is made in it, which makes their promise one.
 * Keeps a reference. */
IMGO_API int imgo_store_new_lmdb_in(struct imgo_store **out, struct imgo_loop *loop, struct imgo_lmdb *lmdb,
	const struct imgo_store_options *options, struct imgo_error *error);

struct imgo_store_memcached_options {
	size_t size;
	const char *servers;   /* "host:port,host:port": the order is part of the sharding */
	uint32_t list_version; /* number of the server list, raised with every change of it: kept in the markers */
	unsigned threads;      /* default 4 */
	unsigned jobs_max;     /* waiting calls, beyond it IMGO_ELIMIT; default 1024 */
	unsigned timeout_ms;   /* of one round trip; default 300 */
};
#define IMGO_STORE_MEMCACHED_OPTIONS_INIT \
	{ \
		sizeof(struct imgo_store_memcached_options), NULL, 1, 4, 1024, 300 \
	}

/* In memcached (run it with -M). Does not wait for the servers. Errors: IMGO_EINVAL, IMGO_ENOMEM. */
IMGO_API int imgo_store_new_memcached(struct imgo_store **out, struct imgo_loop *loop,
	const struct imgo_store_memcached_options *memcached, const struct imgo_store_options *options,
	struct imgo_error *error);

/* One of your own. ops must live as long as the store; impl is freed by ops->free, also when this fails.
 * Errors: IMGO_EINVAL (a mandatory member is missing), IMGO_ENOMEM. */
IMGO_API int imgo_store_new_custom(
	struct imgo_store **out, struct imgo_loop *loop, const struct imgo_store_ops *ops, void *impl);

IMGO_API void imgo_store_free(struct imgo_store *store);

/* The operations: as in struct imgo_store_ops, with the arguments checked (IMGO_EINVAL). */
IMGO_API int imgo_store_append_many(
	struct imgo_store *store, struct imgo_store_append_many *call, imgo_store_cb *cb, void *user);
IMGO_API int imgo_store_read_many(
	struct imgo_store *store, struct imgo_store_read_many *call, imgo_store_cb *cb, void *user);
IMGO_API int imgo_store_ack_many(struct imgo_store *store, struct imgo_store_ack_many *call, imgo_store_cb *cb, void *user);
IMGO_API int imgo_store_peek_many(
	struct imgo_store *store, struct imgo_store_peek_many *call, imgo_store_cb *cb, void *user);
IMGO_API int imgo_store_marker(struct imgo_store *store, struct imgo_store_marker *call, imgo_store_cb *cb, void *user);
IMGO_API int imgo_store_token_put(
	struct imgo_store *store, struct imgo_store_token_many *call, imgo_store_cb *cb, void *user);
IMGO_API int imgo_store_token_get(
	struct imgo_store *store, struct imgo_store_token_many *call, imgo_store_cb *cb, void *user);
IMGO_API int imgo_store_forget(
	struct imgo_store *store, uint32_t epoch, uint32_t partition, imgo_store_cb *cb, void *user); /* IMGO_ENOTSUP */

#ifdef __cplusplus
}
#endif
#endif
