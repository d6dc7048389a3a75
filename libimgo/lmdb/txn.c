/* SPDX-License-Identifier: MIT */
/* What may be done inside a transaction, and readers' transactions. */
#include "base/mem.h"
#include "lmdb/private.h"

struct imgo__lmdb_reader {
	struct imgo__lmdb_txn txn; /* .txn: NULL before the first use, then begun or reset */
};

static MDB_val val(struct imgo_str s)
{
	return (MDB_val){s.len, (void *)s.p};
}

static struct imgo_str str(const MDB_val *v)
{
	return imgo_strn(v->mv_data, v->mv_size);
}

int imgo__lmdb_get(struct imgo__lmdb_txn *txn, unsigned db, struct imgo_str key, struct imgo_str *out)
{
	MDB_val k = val(key), v;
	int rc = mdb_get(txn->txn, db, &k, &v);
	if (!rc)
		*out = str(&v);
	return imgo__lmdb_err(rc);
}

int imgo__lmdb_put(struct imgo__lmdb_txn *txn, unsigned db, struct imgo_str key, struct imgo_str value)
{
	MDB_val k = val(key), v = val(value);
	txn->writes++;
	return imgo__lmdb_err(mdb_put(txn->txn, db, &k, &v, 0));
}

int imgo__lmdb_add(struct imgo__lmdb_txn *txn, unsigned db, struct imgo_str key, size_t len, uint8_t **out)
{
	MDB_val k = val(key), v = {len, NULL};
	int rc = mdb_put(txn->txn, db, &k, &v, MDB_NOOVERWRITE | MDB_RESERVE);
	if (rc != MDB_KEYEXIST)
		txn->writes++;
	*out = v.mv_data;
	return imgo__lmdb_err(rc);
}

int imgo__lmdb_del(struct imgo__lmdb_txn *txn, unsigned db, struct imgo_str key)
{
	MDB_val k = val(key);
	int rc = mdb_del(txn->txn, db, &k, NULL);
	if (rc != MDB_NOTFOUND)
		txn->writes++;
	return imgo__lmdb_err(rc);
}

int imgo__lmdb_clear(struct imgo__lmdb_txn *txn, unsigned db)
{
	txn->writes++;
	return imgo__lmdb_err(mdb_drop(txn->txn, db, 0));
}

static int at_cursor(struct imgo__lmdb_txn *txn, unsigned db, MDB_cursor_op op, MDB_val *k, MDB_val *v)
{
	MDB_cursor *cursor;
	int rc = mdb_cursor_open(txn->txn, db, &cursor);
	if (rc)
		return imgo__lmdb_err(rc);
	rc = mdb_cursor_get(cursor, k, v, op);
	mdb_cursor_close(cursor);
	return imgo__lmdb_err(rc);
}

int imgo__lmdb_seek(
	struct imgo__lmdb_txn *txn, unsigned db, struct imgo_str from, struct imgo_str *key, struct imgo_str *value)
{
	MDB_val k = val(from), v;
	int err = at_cursor(txn, db, from.len ? MDB_SET_RANGE : MDB_FIRST, &k, &v);
	if (!err) {
		*key = str(&k);
		*value = str(&v);
	}
	return err;
}

int imgo__lmdb_last(struct imgo__lmdb_txn *txn, unsigned db, struct imgo_str *key, struct imgo_str *value)
{
	MDB_val k, v;
	int err = at_cursor(txn, db, MDB_LAST, &k, &v);
	if (!err) {
		*key = str(&k);
		*value = str(&v);
	}
	return err;
}

int imgo__lmdb_before(
	struct imgo__lmdb_txn *txn, unsigned db, struct imgo_str before, struct imgo_str *key, struct imgo_str *value)
{
	MDB_cursor *cursor;
	MDB_val k = val(before), v;
	int rc = mdb_cursor_open(txn->txn, db, &cursor);
	if (rc)
		return imgo__lmdb_err(rc);
	rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
	rc = mdb_cursor_get(cursor, &k, &v, rc == MDB_NOTFOUND ? MDB_LAST : MDB_PREV);
	mdb_cursor_close(cursor);
	if (!rc) {
		*key = str(&k);
		*value = str(&v);
	}
	return imgo__lmdb_err(rc);
}

int imgo__lmdb_walk(struct imgo__lmdb_txn *txn, unsigned db, struct imgo_str from,
	int (*fn)(struct imgo_str key, struct imgo_str value, void *user), void *user)
{
	MDB_cursor *cursor;
	MDB_val k = val(from), v;
	int rc = mdb_cursor_open(txn->txn, db, &cursor), stop = 0;
	if (rc)
		return imgo__lmdb_err(rc);
	rc = mdb_cursor_get(cursor, &k, &v, from.len ? MDB_SET_RANGE : MDB_FIRST);
	while (!rc && !(stop = fn(str(&k), str(&v), user)))
		rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
	mdb_cursor_close(cursor);
	return stop ? stop : rc == MDB_NOTFOUND ? 0 : imgo__lmdb_err(rc);
}

/* ---- readers ---- */

struct imgo__lmdb_reader *imgo__lmdb_reader_new(struct imgo_lmdb *env)
{
	struct imgo__lmdb_reader *reader = imgo__zalloc(sizeof *reader);
	if (reader)
		reader->txn.env = env;
	return reader;
}

void imgo__lmdb_reader_free(struct imgo__lmdb_reader *reader)
{
	if (reader && reader->txn.txn)
		mdb_txn_abort(reader->txn.txn);
	free(reader);
}

int imgo__lmdb_read_begin(struct imgo__lmdb_reader *reader, struct imgo__lmdb_txn **out)
{
	struct imgo__lmdb_txn *txn = &reader->txn;
	pthread_rwlock_rdlock(&txn->env->map_lock);
	int rc = txn->txn ? mdb_txn_renew(txn->txn) : mdb_txn_begin(txn->env->env, NULL, MDB_RDONLY, &txn->txn);
	if (rc)
		pthread_rwlock_unlock(&txn->env->map_lock);
	*out = txn;
	return imgo__lmdb_err(rc);
}

void imgo__lmdb_read_end(struct imgo__lmdb_reader *reader)
{
	mdb_txn_reset(reader->txn.txn);
	pthread_rwlock_unlock(&reader->txn.env->map_lock);
}
