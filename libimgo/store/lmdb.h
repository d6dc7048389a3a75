/* SPDX-License-Identifier: MIT */
/* The LMDB store from inside: between lmdb.c, lmdb_log.c, lmdb_part.c and lmdb_token.c. */
#ifndef IMGO__STORE_LMDB_H
#define IMGO__STORE_LMDB_H

#include "lmdb/env.h"
#include "store/record.h"

/* ---- between lmdb.c, lmdb_log.c and lmdb_token.c ---- */

/* What the functions that run in a transaction need: constant while the store lives. Any thread. */
struct imgo__lmdb_store {
	struct imgo_loop *loop;
	struct imgo_store_options options;
	struct imgo__store_stats stats;
	struct imgo_lmdb *env;
	unsigned users, bodies, refs, expiry, markers, tokens, lists; /* databases */
};

int imgo__lmdb_marker_get(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, uint32_t epoch,
	uint32_t partition, struct imgo__marker *out);
int imgo__lmdb_marker_step(
	const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, struct imgo_store_marker *call);

/* In a write transaction. dropped: messages that this took from somebody, for the counter. */
int imgo__lmdb_append(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn,
	struct imgo_store_append_many *call, struct imgo__arena *arena);
int imgo__lmdb_ack(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn,
	const struct imgo_store_ack_many *call, struct imgo__arena *arena, uint32_t *dropped);
int imgo__lmdb_attach(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn,
	struct imgo_store_read_many *call, uint32_t *dropped);
/* At most max entries that are due; *done: how many there were. */
int imgo__lmdb_sweep(
	const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, size_t max, size_t *done, uint32_t *dropped);
int imgo__lmdb_forget(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, uint32_t partition);

/* In any transaction. attach: set to whether it is worth a write transaction (then nothing else is done),
 * unless NULL. */
int imgo__lmdb_look(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, struct imgo_store_read_many *call,
	struct imgo__arena *arena, bool *attach);
int imgo__lmdb_peek(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, struct imgo_store_peek_many *call);

int imgo__lmdb_token_put(
	const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, const struct imgo_store_token_many *call);
int imgo__lmdb_token_get(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn,
	struct imgo_store_token_many *call, struct imgo__arena *arena);

/* An entry of `expiry` is due (and was removed). key: of the log, token or list; a copy. */
int imgo__lmdb_log_expire(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, struct imgo_str key,
	uint64_t due_ms, uint32_t *dropped);
int imgo__lmdb_token_expire(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, struct imgo_str key);
int imgo__lmdb_list_expire(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, struct imgo_str key);

/* Keys: partition first, so that all that belongs to one lies together. */
struct imgo__lmdb_key {
	uint8_t b[8 + 1 + 4 + IMGO_USER_MAX];
	size_t len;
};
struct imgo__lmdb_key imgo__lmdb_key(uint32_t partition, struct imgo_str rest);
struct imgo__lmdb_key imgo__lmdb_expiry_key(uint64_t due_ms, char kind, struct imgo__lmdb_key key);
static inline struct imgo_str imgo__lmdb_key_str(const struct imgo__lmdb_key *key)
{
	return imgo_strn(key->b, key->len);
}

/* A record that cannot be read: counted, and said. */
void imgo__lmdb_damaged(const struct imgo__lmdb_store *store, const char *what);

#endif
