/* SPDX-License-Identifier: MIT */
/*
 * Epochs rise in an environment, whatever the clock does and whichever bus numbers what goes to its store: a message of a
 * lower epoch than the last one in a user's log would count as one that was dropped long ago.
 */
#include "base/buf.h"
#include "base/hash.h"
#include "lmdb/private.h"

enum { EPOCH_LEN = 4 + 4 };

static const char EPOCH_KEY[] = "epoch";

/* "epoch crc"; *out 0: none was given out yet. */
static int read_highest(struct imgo__lmdb_txn *txn, uint32_t *out)
{
	struct imgo_str value;
	int err = imgo__lmdb_get(txn, txn->env->meta, imgo_str(EPOCH_KEY), &value);
	const uint8_t *p = (const uint8_t *)value.p;

	*out = 0;
	if (err)
		return err == IMGO_ENOTFOUND ? 0 : err;
	if (value.len != EPOCH_LEN || imgo__crc32c(0, p, 4) != imgo__get32(p + 4))
		return IMGO_EIO;
	*out = imgo__get32(p);
	return 0;
}

int imgo__lmdb_epoch(struct imgo__lmdb_txn *txn, uint32_t *epoch)
{
	uint8_t record[EPOCH_LEN];
	uint32_t highest, now_s = (uint32_t)(imgo_loop_wall_ms(txn->env->loop) / 1000);
	int err = read_highest(txn, &highest);

	if (err)
		return err;
	if (*epoch == 0 || *epoch < highest)
		*epoch = now_s > highest ? now_s : highest + 1;
	if (*epoch == highest)
		return 0;
	imgo__put32(record, *epoch);
	imgo__put32(record + 4, imgo__crc32c(0, record, 4));
	return imgo__lmdb_put(txn, txn->env->meta, imgo_str(EPOCH_KEY), imgo_strn(record, sizeof record));
}

struct new_epoch {
	struct imgo__lmdb_job job;
	uint32_t epoch;
};

static int run_new_epoch(struct imgo__lmdb_job *job, struct imgo__lmdb_txn *txn)
{
	struct new_epoch *self = imgo__container_of(job, struct new_epoch, job);

	self->epoch = 0;
	return imgo__lmdb_epoch(txn, &self->epoch);
}

int imgo_lmdb_new_epoch(struct imgo_lmdb *lmdb, uint32_t *epoch)
{
	struct new_epoch self = {.job = {.owner = &self, .run = run_new_epoch}};
	int err = imgo__lmdb_run_now(lmdb, &self.job);

	*epoch = self.epoch;
	return err;
}
