/* SPDX-License-Identifier: MIT */
/* Markers, the sweep by time, and forgetting a partition: in LMDB, inside a transaction. */
#include "store/lmdb.h"

/* ---- markers ---- */

static struct imgo__lmdb_key marker_key(uint32_t epoch, uint32_t partition)
{
	uint8_t rest[4];
	imgo__put32(rest, epoch);
	return imgo__lmdb_key(partition, imgo_strn(rest, 4));
}

int imgo__lmdb_marker_get(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, uint32_t epoch,
	uint32_t partition, struct imgo__marker *out)
{
	struct imgo__lmdb_key key = marker_key(epoch, partition);
	struct imgo_str value;
	int err = imgo__lmdb_get(txn, store->markers, imgo__lmdb_key_str(&key), &value);
	*out = (struct imgo__marker){IMGO_MARKER_MISSING, 0};
	if (!err)
		*out = imgo__marker_decode(0, value.p, value.len);
	return err == IMGO_ENOTFOUND ? 0 : err;
}

int imgo__lmdb_marker_step(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, struct imgo_store_marker *call)
{
	struct imgo__lmdb_key key = marker_key(call->epoch, call->partition);
	struct imgo__marker marker;
	uint8_t value[IMGO__MARKER_LEN];
	bool changed;
	int err = imgo__lmdb_marker_get(store, txn, call->epoch, call->partition, &marker);
	if (!err)
		err = imgo__marker_step(&marker, call, &changed);
	if (err || !changed)
		return err;
	imgo__marker_encode(marker, 0, value);
	return imgo__lmdb_put(txn, store->markers, imgo__lmdb_key_str(&key), imgo_strn(value, sizeof value));
}

/* ---- the sweep ---- */

/* One entry that is due; IMGO_ENOTFOUND when there is none. */
static int sweep_one(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, uint64_t now_ms, uint32_t *dropped)
{
	struct imgo_str key, value;
	struct imgo__lmdb_key entry;
	int err = imgo__lmdb_seek(txn, store->expiry, imgo_strn(NULL, 0), &key, &value);
	if (err)
		return err;
	if (key.len > 9 + 4 && key.len <= sizeof entry.b && imgo__get64((const uint8_t *)key.p) > now_ms)
		return IMGO_ENOTFOUND;
	if (key.len <= 9 + 4 || key.len > sizeof entry.b) {
		imgo__lmdb_damaged(store, "expiry");
		return imgo__lmdb_del(txn, store->expiry, key);
	}
	memcpy(entry.b, key.p, key.len);
	entry.len = key.len;
	err = imgo__lmdb_del(txn, store->expiry, imgo__lmdb_key_str(&entry));
	if (err)
		return err;
	struct imgo_str of = imgo_strn(entry.b + 9, entry.len - 9);
	switch (entry.b[8]) {
	case 'u':
		return imgo__lmdb_log_expire(store, txn, of, imgo__get64(entry.b), dropped);
	case 't':
		return of.len == 4 + IMGO_STORE_TOKEN_HASH_LEN ? imgo__lmdb_token_expire(store, txn, of) : 0;
	case 'l':
		return imgo__lmdb_list_expire(store, txn, of);
	}
	return 0;
}

int imgo__lmdb_sweep(
	const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, size_t max, size_t *done, uint32_t *dropped)
{
	uint64_t now_ms = imgo_loop_wall_ms(store->loop);
	*done = 0;
	while (*done < max) {
		int err = sweep_one(store, txn, now_ms, dropped);
		if (err)
			return err == IMGO_ENOTFOUND ? 0 : err;
		++*done;
	}
	return 0;
}

/* ---- forgetting ---- */

/* Removes all keys that begin with the partition. */
static int clear_partition(struct imgo__lmdb_txn *txn, unsigned db, uint32_t partition)
{
	struct imgo__lmdb_key prefix = imgo__lmdb_key(partition, imgo_strn(NULL, 0));
	struct imgo_str key, value;
	for (;;) {
		uint8_t copy[128];
		int err = imgo__lmdb_seek(txn, db, imgo__lmdb_key_str(&prefix), &key, &value);
		if (err)
			return err == IMGO_ENOTFOUND ? 0 : err;
		if (key.len < 4 || key.len > sizeof copy || memcmp(key.p, prefix.b, 4) != 0)
			return 0;
		memcpy(copy, key.p, key.len);
		err = imgo__lmdb_del(txn, db, imgo_strn(copy, key.len));
		if (err)
			return err;
	}
}

/* What `expiry` says of a forgotten partition stays: who finds it finds nothing to do. */
int imgo__lmdb_forget(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, uint32_t partition)
{
	const unsigned dbs[] = {store->users, store->bodies, store->refs, store->markers, store->tokens, store->lists};
	int err = partition == UINT32_MAX ? imgo__lmdb_clear(txn, store->expiry) : 0;
	for (size_t i = 0; i < sizeof dbs / sizeof *dbs && !err; i++)
		err = partition == UINT32_MAX ? imgo__lmdb_clear(txn, dbs[i]) : clear_partition(txn, dbs[i], partition);
	return err;
}
