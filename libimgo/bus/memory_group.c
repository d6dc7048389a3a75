/* SPDX-License-Identifier: MIT */
/*
 * The consumer groups of the embedded buses. They behave as Kafka's do with an eager assignor, so that what survives a
 * rebalance here survives one there:
 *
 *	steady ── a consumer joins or leaves (dirty) ──> revoking: every partition of every consumer is revoked
 *	revoking ── all released, or 2 s have passed ──> steady: partition i goes to consumer i mod n, in order of joining
 *
 * Everything a consumer is told is told from the bus's task, never inside a call of its own. A callback may call
 * anything, also unsubscribe or free the bus; so after each one the walk looks again at what it walks over, and a
 * partition remembers (`tell`) whether its owner is still to be told.
 *
 * A group outlives its consumers and remembers what is done: records wait for whoever comes next. A record is done
 * when it is done for every group of its topic.
 */
#include "bus/memory.h"

#include "base/mem.h"

struct imgo__memgroup *imgo__memgroup_find(struct imgo__membus *mem, enum imgo_topic topic, const char *name)
{
	imgo__list_for(l, &mem->groups[topic])
	{
		struct imgo__memgroup *g = imgo__container_of(l, struct imgo__memgroup, link);
		if (strcmp(g->name, name) == 0)
			return g;
	}
	return NULL;
}

static void overdue(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo__memgroup *g = imgo__container_of(timer, struct imgo__memgroup, deadline);

	imgo_log_event(imgo_loop_log(loop), IMGO_LOG_WARN, "bus", "revoke-overdue", "group=%s topic=%s partitions=%u",
		g->name, imgo__topic_name(g->topic), g->held);
	g->overdue = true;
	imgo__mem_poke(g->mem);
}

struct imgo__memgroup *imgo__memgroup_new(struct imgo__membus *mem, enum imgo_topic topic, const char *name)
{
	struct imgo__memgroup *g = imgo__zalloc(sizeof *g);

	if (!g)
		return NULL;
	imgo__list_init(&g->link);
	imgo__list_init(&g->consumers);
	imgo__timer_init(&g->deadline, overdue);
	g->mem = mem;
	g->topic = topic;
	g->n_parts = mem->partitions[topic];
	g->name = imgo__strdup(name);
	g->parts = imgo__array(g->n_parts, sizeof *g->parts);
	if (!g->name || !g->parts) {
		imgo__memgroup_free(g);
		return NULL;
	}
	for (uint32_t p = 0; p < g->n_parts; p++) {
		g->parts[p].done = imgo__mem_begin(mem, topic, p);
		g->parts[p].saved = UINT64_MAX;
	}
	imgo__list_insert(&mem->groups[topic], &g->link);
	if (imgo__mem_on_disk(mem, topic))
		mem->disk_ops->moved(mem->disk);
	return g;
}

void imgo__memgroup_free(struct imgo__memgroup *group)
{
	struct imgo__list *l;

	imgo__timer_stop(group->mem->loop, &group->deadline);
	imgo__list_remove(&group->link);
	while ((l = imgo__list_pop(&group->consumers)))
		free(imgo__container_of(l, struct imgo__memconsumer, link));
	free(group->name);
	free(group->parts);
	free(group);
}

int imgo__memgroup_subscribe(void *impl, enum imgo_topic topic, const char *name,
	const struct imgo_bus_consumer_ops *ops, void *user, void **consumer)
{
	struct imgo__membus *mem = impl;
	struct imgo__memconsumer *c;
	struct imgo__memgroup *g;

	c = imgo__zalloc(sizeof *c);
	if (!c)
		return IMGO_ENOMEM;
	g = imgo__memgroup_find(mem, topic, name);
	if (!g)
		g = imgo__memgroup_new(mem, topic, name);
	if (!g) {
		free(c);
		return IMGO_ENOMEM;
	}
	c->group = g;
	c->ops = ops;
	c->user = user;
	imgo__list_insert(&g->consumers, &c->link);
	g->dirty = true;
	imgo__mem_poke(mem);
	*consumer = c;
	return 0;
}

/* Takes the fetch from its partition; the caller ends it. */
static struct imgo__memcall *take_fetch(struct imgo__mempart *part)
{
	struct imgo__memcall *call = part->fetch;

	if (call) {
		part->fetch = NULL;
		call->fetch.part = NULL;
	}
	return call;
}

void imgo__memgroup_unsubscribe(void *consumer)
{
	struct imgo__memconsumer *c = consumer;
	struct imgo__memgroup *g = c->group;
	struct imgo__list canceled;

	imgo__list_init(&canceled);
	imgo__list_remove(&c->link);
	for (uint32_t p = 0; p < g->n_parts; p++) {
		struct imgo__mempart *part = &g->parts[p];
		struct imgo__memcall *call;
		if (part->owner != c)
			continue;
		call = take_fetch(part);
		if (call) {
			imgo__mem_ready(call, IMGO_ECANCELED);
			if (g->mem->depth == 0) { /* not inside a callback: they end before this returns */
				imgo__list_remove(&call->ready);
				imgo__list_insert(&canceled, &call->ready);
			}
		}
		if (part->leaving)
			g->held--;
		part->owner = NULL;
		part->leaving = part->tell = false;
	}
	free(c);
	g->dirty = true;
	imgo__mem_poke(g->mem);
	for (struct imgo__list *l; (l = imgo__list_pop(&canceled));)
		imgo__mem_finish(imgo__container_of(l, struct imgo__memcall, ready));
}

/* The part of `partition` when it is this consumer's, else NULL. */
static struct imgo__mempart *part_of(struct imgo__memconsumer *c, uint32_t partition)
{
	struct imgo__mempart *part = &c->group->parts[partition];

	return part->owner == c ? part : NULL;
}

static void fetch_timeout(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo__memcall *call = imgo__container_of(timer, struct imgo__memcall, fetch.deadline);

	(void)loop;
	imgo__mem_ready(call, IMGO_ETIMEDOUT);
}

int imgo__memgroup_fetch(void *consumer, uint32_t partition, uint64_t from, size_t records_max, size_t bytes_max,
	unsigned wait_ms, imgo_bus_fetch_cb *cb, void *user)
{
	struct imgo__memconsumer *c = consumer;
	struct imgo__membus *mem = c->group->mem;
	struct imgo__mempart *part = part_of(c, partition);
	struct imgo__memcall *call;

	if (!part || part->leaving)
		return IMGO_ESTALE;
	if (part->fetch)
		return IMGO_EINVAL;
	call = imgo__zalloc(sizeof *call);
	if (!call)
		return IMGO_ENOMEM;
	imgo__list_init(&call->ready);
	imgo__timer_init(&call->fetch.deadline, fetch_timeout);
	call->kind = IMGO__MEM_FETCH;
	call->mem = mem;
	call->user = user;
	call->fetch.cb = cb;
	call->fetch.part = part;
	call->fetch.topic = c->group->topic;
	call->fetch.partition = partition;
	call->fetch.from = from;
	call->fetch.records_max = records_max;
	call->fetch.bytes_max = bytes_max;
	part->fetch = call;
	imgo__timer_start(mem->loop, &call->fetch.deadline, wait_ms);
	if (imgo__mem_has(mem, c->group->topic, partition, from))
		imgo__mem_ready(call, 0);
	return 0;
}

void imgo__memgroup_wake(struct imgo__membus *mem, enum imgo_topic topic, uint32_t partition)
{
	imgo__list_for(l, &mem->groups[topic])
	{
		struct imgo__memgroup *g = imgo__container_of(l, struct imgo__memgroup, link);
		struct imgo__memcall *call = g->parts[partition].fetch;
		if (call && imgo__list_empty(&call->ready) && imgo__mem_has(mem, topic, partition, call->fetch.from))
			imgo__mem_ready(call, 0);
	}
}

uint64_t imgo__memgroup_least(struct imgo__membus *mem, enum imgo_topic topic, uint32_t partition, uint64_t limit)
{
	imgo__list_for(l, &mem->groups[topic])
	{
		struct imgo__memgroup *g = imgo__container_of(l, struct imgo__memgroup, link);
		if (g->parts[partition].done < limit)
			limit = g->parts[partition].done;
	}
	return limit;
}

void imgo__memgroup_done(void *consumer, uint32_t partition, uint64_t next)
{
	struct imgo__memconsumer *c = consumer;
	struct imgo__membus *mem = c->group->mem;
	struct imgo__mempart *part = part_of(c, partition);
	enum imgo_topic topic = c->group->topic;
	uint64_t end = imgo__mem_end(mem, topic, partition);

	if (!part) {
		imgo_stat_add(mem->stale, 1);
		return;
	}
	if (next > end)
		next = end;
	if (next > part->done)
		part->done = next;
	if (imgo__mem_on_disk(mem, topic))
		mem->disk_ops->moved(mem->disk);
	else
		imgo__memlog_done(&mem->logs[topic][partition], imgo__memgroup_least(mem, topic, partition, end));
}

void imgo__memgroup_released(void *consumer, uint32_t partition)
{
	struct imgo__memconsumer *c = consumer;
	struct imgo__mempart *part = part_of(c, partition);

	if (!part || !part->leaving || part->tell)
		return;
	part->owner = NULL;
	part->leaving = false;
	if (--c->group->held == 0)
		imgo__mem_poke(c->group->mem);
}

static void revoke_all(struct imgo__memgroup *g)
{
	struct imgo__membus *mem = g->mem;

	g->revoking = true;
	g->dirty = g->overdue = false;
	g->held = 0;
	for (uint32_t p = 0; p < g->n_parts; p++)
		if (g->parts[p].owner) {
			g->parts[p].leaving = g->parts[p].tell = true;
			g->held++;
		}
	if (g->held)
		imgo__timer_start(mem->loop, &g->deadline, IMGO__BUS_REVOKE_MS);
	for (uint32_t p = 0; p < g->n_parts && !mem->closing; p++) {
		struct imgo__mempart *part = &g->parts[p];
		struct imgo__memcall *call = take_fetch(part);
		if (call) {
			imgo__mem_ready(call, IMGO_ECANCELED);
			imgo__mem_finish(call);
		}
	}
	for (uint32_t p = 0; p < g->n_parts && !mem->closing; p++) {
		struct imgo__mempart *part = &g->parts[p];
		if (part->owner && part->tell) {
			part->tell = false;
			part->owner->ops->revoked(p, false, part->owner->user);
		}
	}
}

static void assign_all(struct imgo__memgroup *g)
{
	struct imgo__membus *mem = g->mem;
	struct imgo__list *at = &g->consumers;

	g->revoking = g->overdue = false;
	imgo__timer_stop(mem->loop, &g->deadline);
	for (uint32_t p = 0; p < g->n_parts; p++) {
		struct imgo__mempart *part = &g->parts[p];
		uint64_t begin = imgo__mem_begin(mem, g->topic, p);
		at = at->next == &g->consumers ? at->next->next : at->next;
		part->owner = at == &g->consumers ? NULL : imgo__container_of(at, struct imgo__memconsumer, link);
		part->leaving = false;
		part->tell = part->owner != NULL;
		if (part->done < begin)
			part->done = begin;
	}
	for (uint32_t p = 0; p < g->n_parts && !mem->closing; p++) {
		struct imgo__mempart *part = &g->parts[p];
		if (part->owner && part->tell) {
			part->tell = false;
			part->owner->ops->assigned(p, part->done, part->owner->user);
		}
	}
}

void imgo__memgroup_step(struct imgo__memgroup *group)
{
	if (!group->revoking && group->dirty)
		revoke_all(group);
	if (group->revoking && !group->mem->closing && (group->held == 0 || group->overdue)) {
		group->dirty = false; /* whoever joined meanwhile is served here */
		assign_all(group);
	}
	if (group->dirty && !group->revoking)
		imgo__mem_poke(group->mem);
}
