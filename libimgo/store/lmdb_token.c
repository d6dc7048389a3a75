/* SPDX-License-Identifier: MIT */
/*
 * Tokens in LMDB, inside a transaction.
 *
 *   tokens  partition of the hash, hash  -> token
 *   lists   partition of the user, user  -> the newest hash of each device
 *   expiry  expires_ms, 't' or 'l', key  -> nothing
 *
 * A token is valid while its own record is there, not expired, and the list names its hash. So revoking is
 * one write (of the list); the revoked record goes when it expires. Entries of `expiry` that something
 * replaced are harmless: who finds one looks whether it still applies.
 */
#include "store/lmdb.h"

static int plan(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, uint64_t due_ms, char kind,
	struct imgo__lmdb_key of)
{
	struct imgo__lmdb_key key = imgo__lmdb_expiry_key(due_ms, kind, of);
	return imgo__lmdb_put(txn, store->expiry, imgo__lmdb_key_str(&key), imgo_strn(NULL, 0));
}

static struct imgo__lmdb_key token_key(const struct imgo_store_token *token, uint32_t partitions)
{
	return imgo__lmdb_key(
		imgo__token_partition(token->hash, partitions), imgo_strn(token->hash, IMGO_STORE_TOKEN_HASH_LEN));
}

static struct imgo__lmdb_key list_key(struct imgo_str user, uint32_t partitions)
{
	return imgo__lmdb_key(imgo_partition(user, partitions), user);
}

/* ---- lists ---- */

static int load_list(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, const struct imgo__lmdb_key *key,
	struct imgo__tokenlist *list)
{
	struct imgo_str value;
	*list = (struct imgo__tokenlist){NULL, 0};
	int err = imgo__lmdb_get(txn, store->lists, imgo__lmdb_key_str(key), &value);
	if (err)
		return err == IMGO_ENOTFOUND ? 0 : err;
	err = imgo__tokenlist_decode(list, imgo_strn(key->b + 4, key->len - 4), value.p, value.len);
	if (err != IMGO_EPROTO)
		return err;
	imgo__lmdb_damaged(store, "token-list");
	return 0;
}

static int save_list(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, const struct imgo__lmdb_key *key,
	const struct imgo__tokenlist *list)
{
	struct imgo__buf buf = {0};
	if (list->n == 0) {
		int err = imgo__lmdb_del(txn, store->lists, imgo__lmdb_key_str(key));
		return err == IMGO_ENOTFOUND ? 0 : err;
	}
	int err = imgo__tokenlist_encode(list, imgo_strn(key->b + 4, key->len - 4), &buf);
	if (!err)
		err = imgo__lmdb_put(txn, store->lists, imgo__lmdb_key_str(key), imgo_strn(buf.data, buf.len));
	imgo__buf_free(&buf);
	return err;
}

int imgo__lmdb_list_expire(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, struct imgo_str k)
{
	struct imgo__lmdb_key key = imgo__lmdb_key(imgo__get32((const uint8_t *)k.p), imgo_strn(k.p + 4, k.len - 4));
	struct imgo__tokenlist list;
	uint64_t now_ms = imgo_loop_wall_ms(store->loop);
	size_t n = 0;
	int err = load_list(store, txn, &key, &list);
	for (size_t i = 0; i < list.n; i++)
		if (list.e[i].expires_ms > now_ms)
			list.e[n++] = list.e[i];
	bool changed = n != list.n;
	list.n = n;
	if (!err && changed)
		err = save_list(store, txn, &key, &list);
	imgo__tokenlist_fini(&list);
	return err;
}

/* ---- tokens ---- */

static int put_record(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, uint32_t partitions,
	const struct imgo_store_token *token)
{
	struct imgo__lmdb_key key = token_key(token, partitions);
	struct imgo__buf buf = {0};
	int err = imgo__token_encode(token, &buf);
	if (!err)
		err = imgo__lmdb_put(txn, store->tokens, imgo__lmdb_key_str(&key), imgo_strn(buf.data, buf.len));
	imgo__buf_free(&buf);
	return err ? err : plan(store, txn, token->expires_ms, 't', key);
}

static int put(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, uint32_t partitions,
	const struct imgo_store_token *token)
{
	struct imgo__lmdb_key key = list_key(token->user, partitions);
	struct imgo__tokenlist list;
	int err = load_list(store, txn, &key, &list);
	int changed = err ? err : imgo__tokenlist_put(&list, token, imgo_loop_wall_ms(store->loop));
	bool valid = changed >= 0 && imgo__tokenlist_valid(&list, token);
	err = changed > 0 ? save_list(store, txn, &key, &list) : changed;
	imgo__tokenlist_fini(&list);
	if (!err && changed)
		err = plan(store, txn, token->expires_ms, 'l', key);
	return !err && valid ? put_record(store, txn, partitions, token) : err;
}

int imgo__lmdb_token_put(
	const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, const struct imgo_store_token_many *call)
{
	int err = 0;
	for (size_t i = 0; i < call->nitems && !err; i++)
		err = put(store, txn, call->partitions, &call->items[i]);
	return err;
}

/* Content counts only with its partition's marker. */
static int check(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, uint32_t epoch, uint32_t partition)
{
	struct imgo__marker marker;
	int err = imgo__lmdb_marker_get(store, txn, epoch, partition, &marker);
	return err ? err : imgo__marker_check(marker, 0);
}

static int get_record(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, uint32_t partitions,
	struct imgo_store_token *token, struct imgo__arena *arena)
{
	struct imgo__lmdb_key key = token_key(token, partitions);
	struct imgo_str value;
	bool ok = true;
	int err = imgo__lmdb_get(txn, store->tokens, imgo__lmdb_key_str(&key), &value);
	if (err)
		return err;
	value = imgo__arena_str(arena, value, &ok);
	err = ok ? imgo__token_decode(token, value.p, value.len) : IMGO_ENOMEM;
	if (err != IMGO_EPROTO)
		return err;
	imgo__lmdb_damaged(store, "token");
	return IMGO_ENOTFOUND;
}

static int get(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn,
	const struct imgo_store_token_many *call, struct imgo_store_token *token, struct imgo__arena *arena)
{
	struct imgo__tokenlist list;
	int err = check(store, txn, call->epoch, imgo__token_partition(token->hash, call->partitions));
	if (!err)
		err = get_record(store, txn, call->partitions, token, arena);
	if (!err && token->expires_ms <= imgo_loop_wall_ms(store->loop))
		err = IMGO_ENOTFOUND;
	struct imgo__lmdb_key key;
	if (!err) {
		key = list_key(token->user, call->partitions);
		err = check(store, txn, call->epoch, imgo__get32(key.b));
	}
	if (err)
		return err;
	err = load_list(store, txn, &key, &list);
	if (!err && !imgo__tokenlist_valid(&list, token))
		err = IMGO_ENOTFOUND;
	imgo__tokenlist_fini(&list);
	return err;
}

int imgo__lmdb_token_get(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn,
	struct imgo_store_token_many *call, struct imgo__arena *arena)
{
	for (size_t i = 0; i < call->nitems; i++)
		call->items[i].err = get(store, txn, call, &call->items[i], arena);
	return 0;
}

int imgo__lmdb_token_expire(const struct imgo__lmdb_store *store, struct imgo__lmdb_txn *txn, struct imgo_str key)
{
	struct imgo_store_token token;
	struct imgo_str value;
	int err = imgo__lmdb_get(txn, store->tokens, key, &value);
	if (err)
		return err == IMGO_ENOTFOUND ? 0 : err;
	memcpy(token.hash, key.p + 4, sizeof token.hash);
	err = imgo__token_decode(&token, value.p, value.len);
	if (err == IMGO_EVERSION || (!err && token.expires_ms > imgo_loop_wall_ms(store->loop)))
		return 0; /* it was put again */
	return imgo__lmdb_del(txn, store->tokens, key);
}
