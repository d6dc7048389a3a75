/* SPDX-License-Identifier: MIT */
/*
 * The memory bus: logs in memory (memory_log.c), groups of consumers (memory_group.c), and here the handle, produce,
 * query and the one task from which every callback runs.
 *
 * A record is in its log when produce_many returns; only the answer comes later. A call that can end is put into
 * `ready`, and the task of this turn runs the callbacks of those that were there when it began: what a callback asks
 * anew waits for the next round. While callbacks run (depth > 0) no record goes, since they hold pointers to them,
 * and freeing the bus only marks it: the task does it when it has unwound.
 *
 * Ids never repeat across restarts: the epoch is the second of the start, and offsets begin at its millisecond << 32,
 * so that even a process that dies and starts again within one second goes on above what it had said before (below
 * 2^53, for the sake of those who read ids as doubles).
 */
#include "bus/memory.h"

#include "base/error.h"
#include "base/mem.h"

static uint64_t now_ms(struct imgo__membus *mem)
{
	return imgo_loop_wall_ms(mem->loop);
}

void imgo__mem_poke(struct imgo__membus *mem)
{
	imgo__defer(mem->loop, &mem->task);
}

void imgo__mem_ready(struct imgo__memcall *call, int err)
{
	if (call->err == 0)
		call->err = err;
	if (call->kind == IMGO__MEM_FETCH)
		imgo__timer_stop(call->mem->loop, &call->fetch.deadline);
	if (imgo__list_empty(&call->ready))
		imgo__list_insert(&call->mem->ready, &call->ready);
	imgo__mem_poke(call->mem);
}

uint64_t imgo__mem_begin(struct imgo__membus *mem, enum imgo_topic topic, uint32_t partition)
{
	return imgo__mem_on_disk(mem, topic) ? mem->disk_ops->begin(mem->disk, topic, partition)
					     : imgo__memlog_begin(&mem->logs[topic][partition]);
}

uint64_t imgo__mem_end(struct imgo__membus *mem, enum imgo_topic topic, uint32_t partition)
{
	return imgo__mem_on_disk(mem, topic) ? mem->disk_ops->end(mem->disk, topic, partition)
					     : mem->logs[topic][partition].end;
}

bool imgo__mem_has(struct imgo__membus *mem, enum imgo_topic topic, uint32_t partition, uint64_t from)
{
	return imgo__mem_on_disk(mem, topic) ? mem->disk_ops->has(mem->disk, topic, partition, from)
					     : imgo__memlog_has(&mem->logs[topic][partition], from);
}

static int read_batch(struct imgo__membus *mem, struct imgo__memcall *call)
{
	size_t max = call->fetch.records_max;

	if (max > IMGO__MEM_BATCH)
		max = IMGO__MEM_BATCH;
	if (imgo__mem_on_disk(mem, call->fetch.topic))
		return mem->disk_ops->read(mem->disk, call, max);
	return (int)imgo__memlog_read(&mem->logs[call->fetch.topic][call->fetch.partition], call->fetch.from,
		mem->batch, max, call->fetch.bytes_max);
}

static void finish_fetch(struct imgo__membus *mem, struct imgo__memcall *call)
{
	int n = 0;
	uint64_t next = call->fetch.from;

	if (call->fetch.part)
		call->fetch.part->fetch = NULL;
	if (call->err == 0)
		n = read_batch(mem, call);
	if (n > 0)
		next = mem->batch[n - 1].offset + 1;
	else if (call->err == 0)
		call->err = n < 0 ? n : IMGO_ETIMEDOUT; /* a record went meanwhile: ask again */
	if (n < 0)
		n = 0;
	imgo_stat_add(mem->fetched, n);
	call->fetch.cb(call->err, n ? mem->batch : NULL, (size_t)n, next, call->user);
}

static void finish_query(struct imgo__memcall *call)
{
	if (call->err)
		call->query.cb(call->err, 0, 0, 0, call->user);
	else
		call->query.cb(0, call->query.begin, call->query.first, call->query.end, call->user);
}

static void finish_produce(struct imgo__memcall *call)
{
	if (call->err == IMGO_ECANCELED)
		for (size_t i = 0; i < call->produce.n; i++)
			call->produce.records[i].err = IMGO_ECANCELED;
	call->produce.cb(call->err, call->user);
}

void imgo__mem_finish(struct imgo__memcall *call)
{
	struct imgo__membus *mem = call->mem;

	imgo__list_remove(&call->ready);
	mem->depth++;
	if (call->kind == IMGO__MEM_FETCH)
		finish_fetch(mem, call);
	else if (call->kind == IMGO__MEM_QUERY)
		finish_query(call);
	else
		finish_produce(call);
	mem->depth--;
	free(call);
}

static void leave_all(struct imgo__membus *mem, enum imgo_topic topic)
{
	imgo__list_for(l, &mem->groups[topic])
	{
		struct imgo__memgroup *g = imgo__container_of(l, struct imgo__memgroup, link);
		while (!imgo__list_empty(&g->consumers))
			imgo__memgroup_unsubscribe(imgo__container_of(g->consumers.next, struct imgo__memconsumer, link));
	}
}

void imgo__membus_free(struct imgo__membus *mem)
{
	struct imgo__list *l;

	mem->closing = true;
	imgo__timer_stop(mem->loop, &mem->sweep);
	for (int t = 0; t < IMGO_TOPICS; t++)
		leave_all(mem, (enum imgo_topic)t);
	if (mem->disk)
		mem->disk_ops->free(mem->disk);
	for (int t = 0; t < IMGO_TOPICS; t++)
		while (!imgo__list_empty(&mem->groups[t]))
			imgo__memgroup_free(imgo__container_of(mem->groups[t].next, struct imgo__memgroup, link));
	while ((l = imgo__list_pop(&mem->ready))) {
		struct imgo__memcall *call = imgo__container_of(l, struct imgo__memcall, ready);
		call->err = IMGO_ECANCELED;
		imgo__mem_finish(call);
	}
	imgo__task_cancel(&mem->task);
	for (int t = 0; t < IMGO_TOPICS; t++) {
		for (uint32_t p = 0; mem->logs[t] && p < mem->partitions[t]; p++)
			imgo__memlog_fini(&mem->logs[t][p]);
		free(mem->logs[t]);
	}
	free(mem);
}

static void mem_free(void *impl)
{
	struct imgo__membus *mem = impl;

	mem->closing = true;
	if (mem->depth)
		imgo__mem_poke(mem);
	else
		imgo__membus_free(mem);
}

static void run_ready(struct imgo__membus *mem)
{
	struct imgo__list now, *l;

	imgo__list_take(&now, &mem->ready);
	while (!mem->closing && (l = imgo__list_pop(&now)))
		imgo__mem_finish(imgo__container_of(l, struct imgo__memcall, ready));
	while ((l = imgo__list_pop(&now))) /* closing: imgo__membus_free ends them */
		imgo__list_insert(&mem->ready, l);
	if (!imgo__list_empty(&mem->ready))
		imgo__mem_poke(mem);
}

static void run(struct imgo_loop *loop, struct imgo__task *task)
{
	struct imgo__membus *mem = imgo__container_of(task, struct imgo__membus, task);

	(void)loop;
	mem->depth++;
	run_ready(mem);
	for (int t = 0; t < IMGO_TOPICS; t++)
		imgo__list_for(l, &mem->groups[t])
		{
			if (!mem->closing)
				imgo__memgroup_step(imgo__container_of(l, struct imgo__memgroup, link));
		}
	mem->depth--;
	if (mem->closing)
		imgo__membus_free(mem);
	else
		imgo__memspace_trim(&mem->space, now_ms(mem));
}

/* Without any group nothing is ever done: then records go when they are old. */
static void expire_unread(struct imgo__membus *mem, enum imgo_topic topic, uint64_t now)
{
	uint64_t keep = mem->space.keep_ms[topic];

	if (!imgo__list_empty(&mem->groups[topic]) || now < keep)
		return;
	for (uint32_t p = 0; mem->logs[topic] && p < mem->partitions[topic]; p++)
		imgo__memlog_done(&mem->logs[topic][p], imgo__memlog_since(&mem->logs[topic][p], now - keep + 1));
}

static void sweep(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo__membus *mem = imgo__container_of(timer, struct imgo__membus, sweep);
	uint64_t now = now_ms(mem), every = mem->space.keep_ms[IMGO_TOPIC_USERS] / 4;

	for (int t = 0; t < IMGO_TOPICS; t++)
		expire_unread(mem, (enum imgo_topic)t, now);
	imgo__memspace_trim(&mem->space, now);
	imgo_stat_set(mem->bytes, (int64_t)mem->space.total);
	if (mem->space.total)
		imgo__timer_start(loop, timer, every < 100 ? 100 : every > 10000 ? 10000 : every);
}

static bool mem_full(void *impl)
{
	struct imgo__membus *mem = impl;

	return mem->disk && mem->disk_ops->full(mem->disk);
}

static uint32_t mem_epoch(void *impl)
{
	return ((struct imgo__membus *)impl)->epoch;
}

static uint32_t mem_partitions(void *impl, enum imgo_topic topic)
{
	return ((struct imgo__membus *)impl)->partitions[topic];
}

static bool mem_ready(void *impl)
{
	struct imgo__membus *mem = impl;

	return !mem->closing && (!mem->disk || mem->disk_ops->ready(mem->disk));
}

static void append(struct imgo__membus *mem, enum imgo_topic topic, struct imgo_bus_record *record, uint64_t now)
{
	struct imgo__memlog *log = &mem->logs[topic][record->partition];

	record->err = imgo__memlog_append(log, record, now);
	imgo_stat_add(record->err ? mem->refused : mem->produced, 1);
	if (record->err)
		return;
	if (imgo__topic_compacted(topic) && imgo__list_empty(&mem->groups[topic]))
		imgo__memlog_done(log, log->end); /* nobody waits; the last of each key stays anyway */
	imgo__memgroup_wake(mem, topic, record->partition);
}

static struct imgo__memcall *call_new(struct imgo__membus *mem, int kind, void *user)
{
	struct imgo__memcall *call = imgo__zalloc(sizeof *call);

	if (!call)
		return NULL;
	imgo__list_init(&call->ready);
	call->kind = kind;
	call->mem = mem;
	call->user = user;
	return call;
}

static void append_all(struct imgo__membus *mem, enum imgo_topic topic, struct imgo__memcall *call)
{
	uint64_t now = now_ms(mem);

	for (size_t i = 0; i < call->produce.n; i++) {
		append(mem, topic, &call->produce.records[i], now);
		if (call->produce.records[i].err && !call->err)
			call->err = call->produce.records[i].err;
	}
	if (!imgo__timer_active(&mem->sweep))
		imgo__timer_start(mem->loop, &mem->sweep, 100);
	imgo__mem_ready(call, call->err);
}

static int mem_produce_many(void *impl, enum imgo_topic topic, struct imgo_bus_record *records, size_t n,
	imgo_bus_produce_cb *cb, void *user)
{
	struct imgo__membus *mem = impl;
	struct imgo__memcall *call = call_new(mem, IMGO__MEM_PRODUCE, user);
	int err = 0;

	if (!call)
		return IMGO_ENOMEM;
	call->produce.cb = cb;
	call->produce.records = records;
	call->produce.n = n;
	if (imgo__mem_on_disk(mem, topic))
		err = mem->disk_ops->produce(mem->disk, topic, call);
	else
		append_all(mem, topic, call);
	if (err)
		free(call);
	return err;
}

static int mem_query(
	void *impl, enum imgo_topic topic, uint32_t partition, uint64_t since_ms, imgo_bus_query_cb *cb, void *user)
{
	struct imgo__membus *mem = impl;
	struct imgo__memcall *call = call_new(mem, IMGO__MEM_QUERY, user);
	struct imgo__memlog *log;

	if (!call)
		return IMGO_ENOMEM;
	call->query.cb = cb;
	call->query.topic = topic;
	call->query.partition = partition;
	call->query.since_ms = since_ms;
	if (imgo__mem_on_disk(mem, topic)) {
		int err = mem->disk_ops->query(mem->disk, call);
		if (err)
			free(call);
		return err;
	}
	log = &mem->logs[topic][partition];
	call->query.begin = imgo__memlog_begin(log);
	call->query.first = imgo__memlog_since(log, since_ms);
	call->query.end = log->end;
	imgo__mem_ready(call, 0);
	return 0;
}

static const struct imgo_bus_ops ops = {
	.size = sizeof ops,
	.free = mem_free,
	.epoch = mem_epoch,
	.partitions = mem_partitions,
	.ready = mem_ready,
	.produce_many = mem_produce_many,
	.subscribe = imgo__memgroup_subscribe,
	.unsubscribe = imgo__memgroup_unsubscribe,
	.fetch = imgo__memgroup_fetch,
	.done = imgo__memgroup_done,
	.released = imgo__memgroup_released,
	.query = mem_query,
	.full = mem_full,
};

static void add_stats(struct imgo__membus *mem)
{
	struct imgo_stats *s = imgo_loop_stats(mem->loop);

	mem->produced = imgo_stats_counter(s, "imgo_bus_produced_total", "Records accepted by the bus.");
	mem->refused = imgo_stats_counter(s, "imgo_bus_refused_total", "Records that the bus did not accept.");
	mem->fetched = imgo_stats_counter(s, "imgo_bus_fetched_total", "Records handed to consumers.");
	mem->stale = imgo_stats_counter(
		s, "imgo_bus_stale_done_total", "Done said of partitions that had moved to another consumer.");
	mem->bytes = imgo_stats_gauge(s, "imgo_bus_memory_bytes", "Bytes of records in the memory bus.");
}

int imgo__membus_logs(struct imgo__membus *mem, enum imgo_topic topic, uint64_t first)
{
	mem->logs[topic] = imgo__array(mem->partitions[topic], sizeof(struct imgo__memlog));
	if (!mem->logs[topic])
		return IMGO_ENOMEM;
	for (uint32_t p = 0; p < mem->partitions[topic]; p++)
		imgo__memlog_init(&mem->logs[topic][p], &mem->space, topic, first);
	return 0;
}

struct imgo__membus *imgo__membus_new(struct imgo_loop *loop, const struct imgo_bus_memory_options *options)
{
	struct imgo_bus_memory_options defaults = IMGO_BUS_MEMORY_OPTIONS_INIT, o = defaults;
	struct imgo__membus *mem = imgo__zalloc(sizeof *mem);

	if (!mem)
		return NULL;
	if (options)
		memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
	if (o.partitions == 0)
		o.partitions = defaults.partitions;
	if (o.casts_partitions == 0)
		o.casts_partitions = defaults.casts_partitions;
	if (o.bytes_max == 0)
		o.bytes_max = defaults.bytes_max;
	if (o.keep_ms == 0)
		o.keep_ms = defaults.keep_ms;
	mem->loop = loop;
	mem->epoch = o.epoch;
	for (int t = 0; t < IMGO_TOPICS; t++) {
		mem->partitions[t] = t == IMGO_TOPIC_CASTS ? o.casts_partitions : o.partitions;
		imgo__list_init(&mem->groups[t]);
	}
	imgo__list_init(&mem->ready);
	imgo__task_init(&mem->task, run);
	imgo__timer_init(&mem->sweep, sweep);
	imgo__memspace_init(&mem->space, &o);
	add_stats(mem);
	return mem;
}

int imgo__membus_open(struct imgo_bus **out, struct imgo__membus *mem, struct imgo_error *error)
{
	int err = imgo_bus_new_custom(out, mem->loop, &ops, mem);

	return err ? imgo__fail(error, err, "no memory for the bus") : 0;
}

int imgo_bus_new_memory(struct imgo_bus **out, struct imgo_loop *loop, const struct imgo_bus_memory_options *options,
	struct imgo_error *error)
{
	struct imgo__membus *mem;
	uint64_t wall;
	int err = 0;

	if (!out || !loop)
		return imgo__fail(error, IMGO_EINVAL, "out and loop must not be NULL");
	mem = imgo__membus_new(loop, options);
	if (!mem)
		return imgo__fail(error, IMGO_ENOMEM, "no memory for the bus");
	wall = now_ms(mem);
	mem->epoch = mem->epoch ? mem->epoch : (uint32_t)(wall / 1000);
	for (int t = 0; t < IMGO_TOPICS && !err; t++)
		err = imgo__membus_logs(mem, (enum imgo_topic)t, (wall % 1000) << 32);
	if (err) {
		imgo__membus_free(mem);
		return imgo__fail(error, err, "no memory for the bus");
	}
	return imgo__membus_open(out, mem, error);
}
