/* SPDX-License-Identifier: MIT */
/* The embedded buses inside: memory.c has the handle and the calls, memory_group.c the groups, memory_log.c the logs that
 * are in memory. The LMDB bus is this one with most of its topics on a disk (lmdb.h). */
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
			enum imgo_topic topic;
			uint32_t partition;
			uint64_t from;
			size_t records_max, bytes_max;
			struct imgo__timer deadline;
		} fetch;
		struct {
			imgo_bus_query_cb *cb;
			enum imgo_topic topic;
			uint32_t partition;
			uint64_t since_ms, begin, first, end;
		} query;
	};
};

/* A partition as a group sees it. */
struct imgo__mempart {
	struct imgo__memconsumer *owner;
	struct imgo__memcall *fetch; /* that waits or is ready: at most one */
	uint64_t done;
	uint64_t saved;     /* on a disk: what is written down of `done` */
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

/* Where the topics are that are not in memory: all but the casts. On the loop's thread; see lmdb.c. */
struct imgo__busdisk;
struct imgo__busdisk_ops {
	void (*free)(struct imgo__busdisk *disk); /* the consumers are gone, the groups are not; ends pending calls */
	bool (*ready)(struct imgo__busdisk *disk);
	bool (*full)(struct imgo__busdisk *disk);
	uint64_t (*begin)(struct imgo__busdisk *disk, enum imgo_topic topic, uint32_t partition); /* for a new group */
	uint64_t (*end)(struct imgo__busdisk *disk, enum imgo_topic topic, uint32_t partition);
	/* There is a record that can be read without waiting for the disk. If not, the partition's groups are woken when
	 * there is. */
	bool (*has)(struct imgo__busdisk *disk, enum imgo_topic topic, uint32_t partition, uint64_t from);
	/* Into mem->batch: how many (they live until the next read), or an error. */
	int (*read)(struct imgo__busdisk *disk, const struct imgo__memcall *fetch, size_t max);
	void (*moved)(struct imgo__busdisk *disk); /* the position of a group, or there is a new group */
	int (*produce)(struct imgo__busdisk *disk, enum imgo_topic topic, struct imgo__memcall *call);
	int (*query)(struct imgo__busdisk *disk, struct imgo__memcall *call);
};

struct imgo__membus {
	const struct imgo__busdisk_ops *disk_ops; /* NULL: everything is in memory */
	struct imgo__busdisk *disk;
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

static inline bool imgo__mem_on_disk(const struct imgo__membus *mem, enum imgo_topic topic)
{
	return mem->disk && topic != IMGO_TOPIC_CASTS;
}

/* memory.c */
/* Without logs yet. NULL: no memory. partitions of users, tokens and cursors; casts: of the casts. */
struct imgo__membus *imgo__membus_new(struct imgo_loop *loop, const struct imgo_bus_memory_options *options);
int imgo__membus_logs(struct imgo__membus *mem, enum imgo_topic topic, uint64_t first); /* offsets begin at first */
/* The handle. Frees mem when it fails. */
int imgo__membus_open(struct imgo_bus **out, struct imgo__membus *mem, struct imgo_error *error);
void imgo__membus_free(struct imgo__membus *mem);
uint64_t imgo__mem_begin(struct imgo__membus *mem, enum imgo_topic topic, uint32_t partition);
uint64_t imgo__mem_end(struct imgo__membus *mem, enum imgo_topic topic, uint32_t partition);
bool imgo__mem_has(struct imgo__membus *mem, enum imgo_topic topic, uint32_t partition, uint64_t from);
void imgo__mem_ready(struct imgo__memcall *call, int err); /* ends in this turn; err: or with it */
void imgo__mem_finish(struct imgo__memcall *call);         /* runs its callback now and frees it */
void imgo__mem_poke(struct imgo__membus *mem);             /* there is work for the task */

/* memory_group.c */
struct imgo__memgroup *imgo__memgroup_new(struct imgo__membus *mem, enum imgo_topic topic, const char *name);
struct imgo__memgroup *imgo__memgroup_find(struct imgo__membus *mem, enum imgo_topic topic, const char *name);
/* The lowest position of the topic's groups; limit when there is none, or none is lower. */
uint64_t imgo__memgroup_least(struct imgo__membus *mem, enum imgo_topic topic, uint32_t partition, uint64_t limit);
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
