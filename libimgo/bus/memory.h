/* SPDX-License-Identifier: MIT */
/* The memory bus inside: memory.c has the handle and the calls, memory_group.c the groups, memory_log.c the logs. */
#ifndef IMGO__BUS_MEMORY_H
#define IMGO__BUS_MEMORY_H

#include "bus/bus.h"
#include "bus/memory_log.h"
#include "loop/loop.h"

/* A call that ends later: a fetch, a produce, a query. In mem->ready when it may end, else a fetch that waits. */
struct imgo__memcall {
	struct imgo__list ready;
	enum { IMGO__MEM_PRODUCE, IMGO__MEM_FETCH, IMGO__MEM_QUERY } kind;
	int err;
	void *user;
	struct imgo__membus *mem;
	union {
		struct {
			imgo_bus_produce_cb *cb;
			struct imgo_bus_record *records;
			size_t n;
		} produce;
		struct {
			imgo_bus_fetch_cb *cb;
			struct imgo__mempart *part; /* NULL once it was taken from there */
			struct imgo__memlog *log;
			uint64_t from;
			size_t records_max, bytes_max;
			struct imgo__timer deadline;
		} fetch;
		struct {
			imgo_bus_query_cb *cb;
			struct imgo__memlog *log;
			uint64_t since_ms;
		} query;
	};
};

/* A partition as a group sees it. */
struct imgo__mempart {
	struct imgo__memconsumer *owner;
	struct imgo__memcall *fetch; /* that waits or is ready: at most one */
	uint64_t done;
	bool leaving, tell; /* is being revoked; its owner has not been told yet (assigned, or revoked when leaving) */
};

struct imgo__memgroup {
	struct imgo__list link; /* in mem->groups[topic] */
	struct imgo__membus *mem;
	enum imgo_topic topic;
	char *name;
	struct imgo__list consumers;
	struct imgo__mempart *parts;
	uint32_t n_parts, held; /* held: owned partitions while revoking */
	bool revoking, dirty, overdue;
	struct imgo__timer deadline;
};

struct imgo__memconsumer {
	struct imgo__list link; /* in group->consumers */
	struct imgo__memgroup *group;
	const struct imgo_bus_consumer_ops *ops;
	void *user;
};

enum { IMGO__MEM_BATCH = 256 }; /* records of one fetch */

struct imgo__membus {
	struct imgo_loop *loop;
	uint32_t epoch;
	uint32_t partitions[IMGO_TOPICS];
	struct imgo__memspace space;
	struct imgo__memlog *logs[IMGO_TOPICS];
	struct imgo__list groups[IMGO_TOPICS];
	struct imgo__list ready;
	struct imgo__task task;
	struct imgo__timer sweep;
	unsigned depth; /* inside callbacks: records must not go, freeing waits */
	bool closing;
	struct imgo_stat *produced, *refused, *fetched, *stale, *bytes;
	struct imgo_bus_record batch[IMGO__MEM_BATCH];
};

/* memory.c */
void imgo__mem_ready(struct imgo__memcall *call, int err); /* ends in this turn; err: or with it */
void imgo__mem_finish(struct imgo__memcall *call);         /* runs its callback now and frees it */
void imgo__mem_poke(struct imgo__membus *mem);             /* there is work for the task */

/* memory_group.c */
int imgo__memgroup_subscribe(void *impl, enum imgo_topic topic, const char *name,
	const struct imgo_bus_consumer_ops *ops, void *user, void **consumer);
void imgo__memgroup_unsubscribe(void *consumer);
int imgo__memgroup_fetch(void *consumer, uint32_t partition, uint64_t from, size_t records_max, size_t bytes_max,
	unsigned wait_ms, imgo_bus_fetch_cb *cb, void *user);
void imgo__memgroup_done(void *consumer, uint32_t partition, uint64_t next);
void imgo__memgroup_released(void *consumer, uint32_t partition);
void imgo__memgroup_wake(struct imgo__membus *mem, enum imgo_topic topic, uint32_t partition);
void imgo__memgroup_step(struct imgo__memgroup *group); /* from the task */
void imgo__memgroup_free(struct imgo__memgroup *group);

#endif
