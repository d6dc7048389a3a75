/* SPDX-License-Identifier: MIT */
/*
 * The calls of the LMDB bus, on the loop's thread.
 *
 * Produce. Offsets are given here, in the order of the calls; the records are written by the environment's writer, in
 * the same order, and become visible to consumers when the commit is on the disk. One that fails leaves a hole.
 *
 * Fetch. What was written of late is in the page cache: it is read on the loop's thread, with no hop and no copy of the
 * log in memory. A consumer that is further behind (after a restart) might have to wait for the disk: a reader goes
 * through the next stretch first, which brings it into the page cache, and then the partition's groups are woken.
 *
 * Positions. Where a group is, is written down by a job of its own, which also cuts the log behind the slowest group. It
 * rides in the transaction of the next produce; when none comes, it has one of its own after FLUSH_MS. So a crash
 * repeats what was done in the last moments and loses nothing: what a consumer said done is on the disk already, in a
 * transaction before this one.
 */
#include "base/failpoint.h"
#include "base/mem.h"
#include "bus/lmdb.h"

enum {
	FLUSH_MS = 500,
	CUT_MAX = 4096,       /* records of one flush */
	FRESH_RECORDS = 4096, /* this far behind the end is still fresh */
	WARM_RECORDS = 4096,
	WARM_BYTES = 8 << 20,
	AGE_MIN_MS = 100,
	AGE_MAX_MS = 10000,
	POOL_JOBS = 4096,
};

static struct imgo__buspart *part_of(struct imgo__busdisk *disk, enum imgo_topic topic, uint32_t partition)
{
	return &disk->parts[topic][partition];
}

/* ---- positions and cutting ---- */

static int run_flush(struct imgo__lmdb_job *job, struct imgo__lmdb_txn *txn)
{
	struct imgo__busdisk *disk = imgo__container_of(job, struct imgo__busdisk, flush.job);
	struct imgo__busflush *flush = &disk->flush;
	size_t budget = CUT_MAX;
	int err = imgo__failpoint("bus.flush");

	for (size_t i = 0; i < flush->npositions && !err; i++)
		err = imgo__buslog_position(&disk->log, txn, &flush->positions[i]);
	if (!err)
		err = imgo__failpoint("bus.cut");
	for (size_t i = 0; i < flush->ncuts && !err; i++)
		err = imgo__buslog_cut(&disk->log, txn, &flush->cuts[i], &budget);
	return err;
}

static void flush_later(struct imgo__busdisk *disk)
{
	if (!disk->closing && !imgo__timer_active(&disk->timer))
		imgo__timer_start(disk->mem->loop, &disk->timer, FLUSH_MS);
}

static void flush_done(struct imgo__lmdb_job *job, int err)
{
	struct imgo__busdisk *disk = imgo__container_of(job, struct imgo__busdisk, flush.job);
	struct imgo__busflush *flush = &disk->flush;

	flush->busy = false;
	for (size_t i = 0; i < flush->npositions && !err; i++)
		flush->parts[i]->saved = flush->positions[i].next;
	for (size_t i = 0; i < flush->ncuts && !err; i++) {
		const struct imgo__buscut *cut = &flush->cuts[i];
		imgo_stat_add(disk->cut, (int64_t)(cut->done - cut->part->floor));
		cut->part->floor = cut->done;
		if (cut->done < cut->below && !disk->keep_ms) /* the budget was used up */
			disk->moved = true;
	}
	if (err)
		disk->moved = disk->cut_due = true;
	if (disk->moved)
		flush_later(disk);
}

static bool grow_flush(struct imgo__busdisk *disk)
{
	struct imgo__busflush *flush = &disk->flush;
	size_t n = 0, nparts = 0;

	for (int t = 0; t < IMGO_TOPICS; t++) {
		if (!disk->parts[t])
			continue;
		nparts += disk->mem->partitions[t];
		imgo__list_for(l, &disk->mem->groups[t])
		{
			n += disk->mem->partitions[t];
		}
	}
	if (flush->cuts && n <= flush->positions_max)
		return true;
	free(flush->positions);
	free(flush->parts);
	free(flush->cuts);
	flush->positions = imgo__array(n + 1, sizeof *flush->positions);
	flush->parts = imgo__array(n + 1, sizeof(struct imgo__mempart *));
	flush->cuts = imgo__array(nparts, sizeof *flush->cuts);
	flush->positions_max = n;
	return flush->positions && flush->parts && flush->cuts;
}

static void collect_positions(struct imgo__busdisk *disk, struct imgo__memgroup *g)
{
	struct imgo__busflush *flush = &disk->flush;

	for (uint32_t p = 0; p < g->n_parts; p++) {
		if (g->parts[p].saved == g->parts[p].done)
			continue;
		flush->parts[flush->npositions] = &g->parts[p];
		flush->positions[flush->npositions++] = (struct imgo__busposition){g->topic, p, g->name, g->parts[p].done};
	}
}

static void collect_cuts(struct imgo__busdisk *disk, enum imgo_topic topic)
{
	uint64_t before_ms = disk->keep_ms ? imgo_loop_wall_ms(disk->mem->loop) - disk->keep_ms : UINT64_MAX;

	if (imgo__list_empty(&disk->mem->groups[topic]) && !imgo__topic_compacted(topic))
		return; /* it waits for whoever comes first */
	for (uint32_t p = 0; p < disk->mem->partitions[topic]; p++) {
		struct imgo__buspart *part = part_of(disk, topic, p);
		uint64_t below = imgo__memgroup_least(disk->mem, topic, p, part->end);
		if (below > part->floor)
			disk->flush.cuts[disk->flush.ncuts++] =
				(struct imgo__buscut){part, part->floor, below, before_ms, part->floor};
	}
}

/* False: there is nothing to do, or no memory. */
static bool collect(struct imgo__busdisk *disk)
{
	struct imgo__busflush *flush = &disk->flush;
	bool cut = !disk->keep_ms || disk->cut_due;

	flush->npositions = flush->ncuts = 0;
	if (!grow_flush(disk)) {
		flush_later(disk);
		return false;
	}
	disk->moved = disk->cut_due = false;
	for (int t = 0; t < IMGO_TOPICS; t++) {
		if (!disk->parts[t])
			continue;
		imgo__list_for(l, &disk->mem->groups[t])
		{
			collect_positions(disk, imgo__container_of(l, struct imgo__memgroup, link));
		}
		if (cut)
			collect_cuts(disk, (enum imgo_topic)t);
	}
	return flush->npositions + flush->ncuts > 0;
}

static void flush(struct imgo__busdisk *disk)
{
	if (disk->flush.busy || disk->closing || !collect(disk))
		return;
	imgo__timer_stop(disk->mem->loop, &disk->timer);
	disk->flush.job = (struct imgo__lmdb_job){.owner = disk, .run = run_flush, .done = flush_done};
	disk->flush.busy = imgo__lmdb_submit(disk->lmdb, &disk->flush.job) == 0;
	imgo_stat_add(disk->flushes, disk->flush.busy);
	if (!disk->flush.busy) {
		disk->moved = disk->cut_due = true;
		flush_later(disk);
	}
}

static void on_timer(struct imgo_loop *loop, struct imgo__timer *timer)
{
	(void)loop;
	flush(imgo__container_of(timer, struct imgo__busdisk, timer));
}

static void on_age(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo__busdisk *disk = imgo__container_of(timer, struct imgo__busdisk, age);
	uint64_t every = disk->keep_ms / 4;

	disk->cut_due = true;
	flush(disk);
	imgo__timer_start(loop, timer, every < AGE_MIN_MS ? AGE_MIN_MS : every > AGE_MAX_MS ? AGE_MAX_MS : every);
}

static void disk_moved(struct imgo__busdisk *disk)
{
	disk->moved = true;
	flush_later(disk);
}

/* ---- produce ---- */

struct put {
	struct imgo__lmdb_job job;
	struct imgo__busdisk *disk;
	struct imgo__memcall *call;
	enum imgo_topic topic;
	size_t bytes;
};

static int run_put(struct imgo__lmdb_job *job, struct imgo__lmdb_txn *txn)
{
	struct put *put = imgo__container_of(job, struct put, job);
	struct imgo__busdisk *disk = put->disk;
	struct imgo__memcall *call = put->call;
	int err = imgo__failpoint("bus.put");

	for (size_t i = 0; i < call->produce.n && !err; i++)
		err = imgo__buslog_put(&disk->log, txn, put->topic, &call->produce.records[i]);
	return err ? err : imgo__failpoint("bus.put.written");
}

static void put_done(struct imgo__lmdb_job *job, int err)
{
	struct put *put = imgo__container_of(job, struct put, job);
	struct imgo__busdisk *disk = put->disk;
	struct imgo__memcall *call = put->call;

	disk->queued_bytes -= put->bytes;
	for (size_t i = 0; i < call->produce.n; i++) {
		struct imgo_bus_record *record = &call->produce.records[i];
		struct imgo__buspart *part = part_of(disk, put->topic, record->partition);
		record->err = err;
		if (!err && record->offset >= part->end)
			part->end = record->offset + 1;
		if (!err && !disk->closing)
			imgo__memgroup_wake(disk->mem, put->topic, record->partition);
	}
	if (!err && imgo__topic_compacted(put->topic) && imgo__list_empty(&disk->mem->groups[put->topic]))
		disk_moved(disk);
	imgo_stat_add(err ? disk->mem->refused : disk->mem->produced, (int64_t)call->produce.n);
	imgo__mem_ready(call, err);
	free(put);
}

static int refuse(struct imgo__busdisk *disk, struct imgo__memcall *call, int err)
{
	for (size_t i = 0; i < call->produce.n; i++)
		call->produce.records[i].err = err;
	imgo_stat_add(disk->mem->refused, (int64_t)call->produce.n);
	imgo__mem_ready(call, err);
	return 0;
}

static void number(struct imgo__busdisk *disk, enum imgo_topic topic, struct imgo__memcall *call)
{
	uint64_t now = imgo_loop_wall_ms(disk->mem->loop);

	for (size_t i = 0; i < call->produce.n; i++) {
		struct imgo_bus_record *record = &call->produce.records[i];
		struct imgo__buspart *part = part_of(disk, topic, record->partition);
		if (now > part->at_ms) /* a clock that steps back does not disorder the log */
			part->at_ms = now;
		record->at_ms = part->at_ms;
		record->offset = part->next++;
	}
}

static int disk_produce(struct imgo__busdisk *disk, enum imgo_topic topic, struct imgo__memcall *call)
{
	struct put *put;
	size_t bytes = 0;
	int err;

	if (imgo__lmdb_failed(disk->lmdb))
		return IMGO_EUNAVAILABLE;
	for (size_t i = 0; i < call->produce.n; i++)
		bytes += call->produce.records[i].key.len + call->produce.records[i].value.len;
	if (disk->queued_bytes && disk->queued_bytes + bytes > disk->queue_bytes_max)
		return refuse(disk, call, IMGO_ELIMIT);
	put = imgo__alloc(sizeof *put);
	if (!put)
		return IMGO_ENOMEM;
	*put = (struct put){.job = {.owner = disk, .run = run_put, .done = put_done, .grows = IMGO__LMDB_GROWS},
		.disk = disk,
		.call = call,
		.topic = topic,
		.bytes = bytes};
	number(disk, topic, call);
	err = imgo__lmdb_submit(disk->lmdb, &put->job);
	if (err) {
		free(put);
		return refuse(disk, call, err);
	}
	disk->queued_bytes += bytes;
	if (disk->moved || disk->cut_due)
		flush(disk);
	return 0;
}

/* ---- fetch ---- */

static uint64_t disk_begin(struct imgo__busdisk *disk, enum imgo_topic topic, uint32_t partition)
{
	return imgo__topic_compacted(topic) ? 0 : part_of(disk, topic, partition)->floor;
}

static uint64_t disk_end(struct imgo__busdisk *disk, enum imgo_topic topic, uint32_t partition)
{
	return part_of(disk, topic, partition)->end;
}

static void run_warm(struct imgo__work *work, void *thread)
{
	struct imgo__buspart *part = imgo__container_of(work, struct imgo__buspart, work);
	struct imgo__lmdb_txn *txn;
	struct imgo__busread read = {.topic = part->topic,
		.partition = part->partition,
		.from = part->warm,
		.end = part->warm_to,
		.max = WARM_RECORDS,
		.bytes_max = WARM_BYTES};

	if (!thread || imgo__lmdb_read_begin(thread, &txn)) {
		part->warm_to = part->warm + 1; /* then the loop's thread has to wait for the disk */
		return;
	}
	if (imgo__buslog_read(&part->disk->log, txn, &read))
		read.next = part->warm + 1; /* and finds the same error */
	imgo__lmdb_read_end(thread);
	part->warm_to = read.next;
}

static void warm_done(struct imgo_loop *loop, struct imgo__work *work)
{
	struct imgo__buspart *part = imgo__container_of(work, struct imgo__buspart, work);

	(void)loop;
	part->warming = false;
	if (!work->canceled && !part->disk->closing)
		imgo__memgroup_wake(part->disk->mem, part->topic, part->partition);
}

static bool is_warm(struct imgo__buspart *part, uint64_t from)
{
	if (part->end - from <= FRESH_RECORDS && from >= part->fresh)
		return true;
	if (part->warming)
		return false;
	if (from >= part->warm && from < part->warm_to)
		return true;
	part->warm = from;
	part->warm_to = part->end; /* at most; the reader says how far it came */
	part->work.run = run_warm;
	part->work.done = warm_done;
	part->warming = imgo__pool_submit(part->disk->pool, &part->work) == 0;
	return !part->warming;
}

static bool disk_has(struct imgo__busdisk *disk, enum imgo_topic topic, uint32_t partition, uint64_t from)
{
	struct imgo__buspart *part = part_of(disk, topic, partition);

	if (from >= part->end || (from >= part->none && part->end == part->none_end))
		return false;
	return is_warm(part, from);
}

static void say_damaged(struct imgo__buspart *part, const struct imgo__busread *read)
{
	struct imgo__busdisk *disk = part->disk;

	if (read->damaged <= part->damaged)
		return;
	part->damaged = read->damaged;
	imgo_stat_add(disk->damaged, read->ndamaged);
	imgo_log_event(imgo_loop_log(disk->mem->loop), IMGO_LOG_ERROR, "bus", "damaged",
		"path=\"%s\" topic=%s partition=%u records=%u last=%llu", imgo__lmdb_path(disk->lmdb),
		imgo__topic_name(part->topic), part->partition, read->ndamaged, (unsigned long long)read->damaged - 1);
}

static int disk_read(struct imgo__busdisk *disk, const struct imgo__memcall *fetch, size_t max)
{
	struct imgo__buspart *part = part_of(disk, fetch->fetch.topic, fetch->fetch.partition);
	struct imgo__lmdb_txn *txn;
	struct imgo__busread read = {.topic = part->topic,
		.partition = part->partition,
		.from = fetch->fetch.from,
		.end = part->end,
		.max = max,
		.bytes_max = fetch->fetch.bytes_max,
		.out = disk->mem->batch,
		.buf = &disk->buf};
	int err;

	disk->buf.len = 0;
	err = imgo__lmdb_read_begin(disk->reader, &txn);
	if (err)
		return err;
	err = imgo__failpoint("bus.read");
	if (!err)
		err = imgo__buslog_read(&disk->log, txn, &read);
	imgo__lmdb_read_end(disk->reader);
	if (read.damaged)
		say_damaged(part, &read);
	if (!err && read.n == 0) { /* holes, or what was compacted: not worth another look until there is more */
		part->none = fetch->fetch.from;
		part->none_end = part->end;
	}
	return err ? err : (int)read.n;
}

/* ---- query ---- */

struct ask {
	struct imgo__work work;
	struct imgo__busdisk *disk;
	struct imgo__memcall *call;
	uint64_t end;
	int err;
};

static void run_ask(struct imgo__work *work, void *thread)
{
	struct ask *ask = imgo__container_of(work, struct ask, work);
	struct imgo__lmdb_txn *txn;

	ask->err = thread ? imgo__lmdb_read_begin(thread, &txn) : IMGO_ENOMEM;
	if (ask->err)
		return;
	ask->err = imgo__buslog_query(&ask->disk->log, txn, ask->end, ask->call);
	imgo__lmdb_read_end(thread);
}

static void ask_done(struct imgo_loop *loop, struct imgo__work *work)
{
	struct ask *ask = imgo__container_of(work, struct ask, work);

	(void)loop;
	imgo__mem_ready(ask->call, work->canceled ? IMGO_ECANCELED : ask->err);
	free(ask);
}

static int disk_query(struct imgo__busdisk *disk, struct imgo__memcall *call)
{
	struct ask *ask = imgo__zalloc(sizeof *ask);
	int err;

	if (!ask)
		return IMGO_ENOMEM;
	ask->work = (struct imgo__work){.run = run_ask, .done = ask_done};
	ask->disk = disk;
	ask->call = call;
	ask->end = disk_end(disk, call->query.topic, call->query.partition);
	err = imgo__pool_submit(disk->pool, &ask->work);
	if (err)
		free(ask);
	return err;
}

/* ---- life ---- */

static bool disk_ready(struct imgo__busdisk *disk)
{
	return !imgo__lmdb_failed(disk->lmdb);
}

static bool disk_full(struct imgo__busdisk *disk)
{
	return imgo__lmdb_full(disk->lmdb);
}

static void *reader_init(void *user)
{
	return imgo__lmdb_reader_new(((struct imgo__busdisk *)user)->lmdb);
}

static void reader_fini(void *thread, void *user)
{
	(void)user;
	imgo__lmdb_reader_free(thread);
}

int imgo__busdisk_start(struct imgo__busdisk *disk)
{
	struct imgo__pool_options pool = {.threads = 1,
		.jobs_max = POOL_JOBS,
		.thread_init = reader_init,
		.thread_fini = reader_fini,
		.user = disk,
		.name = "imgo-bus-read"};

	disk->reader = imgo__lmdb_reader_new(disk->lmdb);
	if (!disk->reader)
		return IMGO_ENOMEM;
	imgo__timer_init(&disk->timer, on_timer);
	imgo__timer_init(&disk->age, on_age);
	if (disk->keep_ms)
		imgo__timer_start(disk->mem->loop, &disk->age, AGE_MIN_MS);
	return imgo__pool_new(&disk->pool, disk->mem->loop, &pool);
}

void imgo__busdisk_stop(struct imgo__busdisk *disk)
{
	disk->closing = true;
	imgo__timer_stop(disk->mem->loop, &disk->timer);
	imgo__timer_stop(disk->mem->loop, &disk->age);
	imgo__pool_free(disk->pool);
	imgo__lmdb_quit(disk->lmdb, disk);
	if (disk->opened && collect(disk)) { /* what was said done is written down */
		disk->flush.job = (struct imgo__lmdb_job){.owner = disk, .run = run_flush, .done = flush_done};
		imgo__lmdb_run_now(disk->lmdb, &disk->flush.job);
	}
}

const struct imgo__busdisk_ops imgo__busdisk_ops = {
	.free = imgo__busdisk_free,
	.ready = disk_ready,
	.full = disk_full,
	.begin = disk_begin,
	.end = disk_end,
	.has = disk_has,
	.read = disk_read,
	.moved = disk_moved,
	.produce = disk_produce,
	.query = disk_query,
};
