/* SPDX-License-Identifier: MIT */
/*
 * Opening the LMDB bus: its meta record, where its groups are, and where each partition ends. That is one look at the
 * end of each partition and a walk over the positions: nothing depends on how many records wait.
 */
#include "bus/lmdb.h"

#include "base/error.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/options.h"

enum { VERSION = 1, META_LEN = 4 * 4 };

static const char META_KEY[] = "bus";
static const enum imgo_topic on_disk[] = {IMGO_TOPIC_USERS, IMGO_TOPIC_TOKENS, IMGO_TOPIC_CURSORS};

struct meta {
	struct imgo__lmdb_job job;
	unsigned db;
	uint32_t wanted; /* partitions */
	uint32_t version, epoch, partitions;
};

static int read_meta(struct meta *meta, struct imgo__lmdb_txn *txn)
{
	struct imgo_str value;
	const uint8_t *p;
	int err = imgo__lmdb_get(txn, meta->db, imgo_str(META_KEY), &value);

	if (err)
		return err;
	p = (const uint8_t *)value.p;
	if (value.len != META_LEN || imgo__crc32c(0, p, 12) != imgo__get32(p + 12))
		return IMGO_EIO;
	meta->version = imgo__get32(p);
	meta->epoch = imgo__get32(p + 4);
	meta->partitions = imgo__get32(p + 8);
	return 0;
}

static int write_meta(const struct meta *meta, struct imgo__lmdb_txn *txn)
{
	uint8_t b[META_LEN];

	imgo__put32(b, meta->version);
	imgo__put32(b + 4, meta->epoch);
	imgo__put32(b + 8, meta->partitions);
	imgo__put32(b + 12, imgo__crc32c(0, b, 12));
	return imgo__lmdb_put(txn, meta->db, imgo_str(META_KEY), imgo_strn(b, sizeof b));
}

/* Reads it; writes it when there is none, or when the epoch is a new one because another bus was here in between. */
static int run_meta(struct imgo__lmdb_job *job, struct imgo__lmdb_txn *txn)
{
	struct meta *meta = imgo__container_of(job, struct meta, job), found = {.db = meta->db};
	int err = read_meta(&found, txn);

	if (err == IMGO_ENOTFOUND) {
		found.version = VERSION;
		found.partitions = meta->wanted;
		err = 0;
	}
	meta->version = found.version;
	meta->partitions = found.partitions;
	meta->epoch = found.epoch;
	if (err || meta->version != VERSION || meta->partitions != meta->wanted)
		return err;
	err = imgo__lmdb_epoch(txn, &meta->epoch);
	return err || meta->epoch == found.epoch ? err : write_meta(meta, txn);
}

static int open_meta(struct imgo__busdisk *disk, struct imgo_error *error)
{
	struct imgo__membus *mem = disk->mem;
	const char *path = imgo__lmdb_path(disk->lmdb);
	uint32_t partitions = mem->partitions[IMGO_TOPIC_USERS];
	struct meta meta = {.job = {.owner = disk, .run = run_meta}, .db = disk->log.meta, .wanted = partitions};
	int err = imgo__lmdb_run_now(disk->lmdb, &meta.job);

	if (err)
		return imgo__fail(error, err, "%s: the bus's meta record: %s", path, imgo_strerror(err));
	if (meta.version != VERSION)
		return imgo__fail(error, IMGO_EVERSION, "%s: bus of version %u, this library knows %d", path,
			meta.version, VERSION);
	if (meta.partitions != partitions)
		return imgo__fail(
			error, IMGO_EINVAL, "%s: the bus has %u partitions, not %u", path, meta.partitions, partitions);
	mem->epoch = meta.epoch;
	return 0;
}

static int open_dbs(struct imgo__busdisk *disk)
{
	const struct {
		const char *name;
		unsigned *db;
	} dbs[] = {{"bus.meta", &disk->log.meta}, {"bus.records", &disk->log.records},
		{"bus.positions", &disk->log.positions}, {"bus.keys", &disk->log.keys}};
	int err = 0;

	for (size_t i = 0; i < sizeof dbs / sizeof *dbs && !err; i++)
		err = imgo__lmdb_db(disk->lmdb, dbs[i].name, dbs[i].db);
	return err;
}

static int load_position(const struct imgo__busposition *position, void *user)
{
	struct imgo__busdisk *disk = user;
	struct imgo__memgroup *g;
	struct imgo__buspart *part;

	if ((unsigned)position->topic >= IMGO_TOPICS || !disk->parts[position->topic] ||
		position->partition >= disk->mem->partitions[position->topic])
		return IMGO_EIO;
	part = &disk->parts[position->topic][position->partition];
	if (position->next > part->end)
		part->end = position->next; /* everything was cut */
	if (!position->name[0]) {
		part->floor = position->next;
		return 0;
	}
	g = imgo__memgroup_find(disk->mem, position->topic, position->name);
	if (!g)
		g = imgo__memgroup_new(disk->mem, position->topic, position->name);
	if (!g)
		return IMGO_ENOMEM;
	g->parts[position->partition].done = g->parts[position->partition].saved = position->next;
	return 0;
}

static int load_end(struct imgo__busdisk *disk, struct imgo__lmdb_txn *txn, struct imgo__buspart *part)
{
	uint64_t offset;
	int err = imgo__buslog_newest(&disk->log, txn, part->topic, part->partition, &offset, &part->at_ms);

	if (!err && offset >= part->end)
		part->end = offset + 1;
	part->next = part->fresh = part->end;
	return err == IMGO_ENOTFOUND ? 0 : err;
}

static int load(struct imgo__busdisk *disk)
{
	struct imgo__lmdb_txn *txn;
	int err = imgo__lmdb_read_begin(disk->reader, &txn);

	if (err)
		return err;
	err = imgo__buslog_positions(&disk->log, txn, load_position, disk);
	for (size_t i = 0; i < sizeof on_disk / sizeof *on_disk; i++)
		for (uint32_t p = 0; p < disk->mem->partitions[on_disk[i]] && !err; p++)
			err = load_end(disk, txn, &disk->parts[on_disk[i]][p]);
	imgo__lmdb_read_end(disk->reader);
	disk->opened = err == 0;
	disk->moved = true; /* what was done before the end may still be to be cut */
	return err;
}

static int make_parts(struct imgo__busdisk *disk, enum imgo_topic topic)
{
	uint32_t n = disk->mem->partitions[topic];

	disk->parts[topic] = imgo__array(n, sizeof(struct imgo__buspart));
	for (uint32_t p = 0; disk->parts[topic] && p < n; p++)
		disk->parts[topic][p] = (struct imgo__buspart){.disk = disk, .topic = topic, .partition = p};
	return disk->parts[topic] ? 0 : IMGO_ENOMEM;
}

void imgo__busdisk_free(struct imgo__busdisk *disk)
{
	imgo__busdisk_stop(disk);
	imgo__lmdb_reader_free(disk->reader);
	imgo_lmdb_unref(disk->lmdb);
	imgo__buf_free(&disk->buf);
	free(disk->flush.positions);
	free(disk->flush.parts);
	free(disk->flush.cuts);
	for (int t = 0; t < IMGO_TOPICS; t++)
		free(disk->parts[t]);
	free(disk);
}

static int open_disk(struct imgo__membus *mem, struct imgo_lmdb *lmdb, const struct imgo_bus_lmdb_options *o,
	struct imgo_error *error)
{
	struct imgo_stats *stats = imgo_loop_stats(mem->loop);
	struct imgo__busdisk *disk = imgo__zalloc(sizeof *disk);
	int err = 0;

	if (!disk)
		return imgo__fail(error, IMGO_ENOMEM, "no memory for the bus");
	mem->disk = disk;
	mem->disk_ops = &imgo__busdisk_ops;
	disk->mem = mem;
	disk->lmdb = lmdb;
	imgo_lmdb_ref(lmdb);
	disk->keep_ms = o->keep_ms;
	disk->queue_bytes_max = o->queue_bytes_max;
	disk->damaged = imgo_stats_counter(stats, "imgo_bus_damaged_total", "Records on the disk that cannot be read.");
	disk->cut = imgo_stats_counter(stats, "imgo_bus_cut_total", "Records cut off the log on the disk.");
	disk->flushes = imgo_stats_counter(
		stats, "imgo_bus_flushes_total", "Times that the positions of the consumers were written down.");
	for (size_t i = 0; i < sizeof on_disk / sizeof *on_disk && !err; i++)
		err = make_parts(disk, on_disk[i]);
	if (!err)
		err = imgo__busdisk_start(disk);
	if (!err)
		err = open_dbs(disk);
	if (err)
		return imgo__fail(error, err, "LMDB bus: %s", imgo_strerror(err));
	err = open_meta(disk, error);
	if (!err && (err = load(disk)))
		imgo__fail(error, err, "%s: the bus's positions: %s", imgo__lmdb_path(lmdb), imgo_strerror(err));
	return err;
}

int imgo_bus_new_lmdb(struct imgo_bus **out, struct imgo_loop *loop, struct imgo_lmdb *lmdb,
	const struct imgo_bus_lmdb_options *options, struct imgo_error *error)
{
	struct imgo_bus_lmdb_options defaults = IMGO_BUS_LMDB_OPTIONS_INIT, o = defaults;
	struct imgo_bus_memory_options memory = IMGO_BUS_MEMORY_OPTIONS_INIT;
	struct imgo__membus *mem;
	int err;

	if (!out || !loop || !lmdb)
		return imgo__fail(error, IMGO_EINVAL, "LMDB bus: no environment");
	if (imgo__options_take(&o, options, "LMDB bus", error) < 0)
		return IMGO_EINVAL;
	memory.partitions = o.partitions;
	memory.casts_partitions = o.casts_partitions;
	memory.bytes_max = o.casts_bytes_max;
	if (!o.queue_bytes_max)
		o.queue_bytes_max = defaults.queue_bytes_max;
	mem = imgo__membus_new(loop, &memory);
	if (!mem)
		return imgo__fail(error, IMGO_ENOMEM, "no memory for the bus");
	err = open_disk(mem, lmdb, &o, error);
	/* Casts of the next start get higher offsets: 2048 a millisecond, below 2^53. */
	if (!err && (err = imgo__membus_logs(mem, IMGO_TOPIC_CASTS, imgo_loop_wall_ms(loop) << 11)))
		imgo__fail(error, err, "no memory for the bus");
	if (err) {
		imgo__membus_free(mem);
		return err;
	}
	return imgo__membus_open(out, mem, error);
}
