/* SPDX-License-Identifier: MIT */
/* What the files of the job's role share (dispatch.c, dispatch_users.c, dispatch_rebuild.c, dispatch_casts.c). */
#ifndef IMGO__SERVICE_DISPATCH_IMPL_H
#define IMGO__SERVICE_DISPATCH_IMPL_H

#include <imgo/dispatch.h>
#include <imgo/envelope.h>

#include "base/mem.h"
#include "loop/loop.h"
#include "service/carrier.h"

struct imgo__dispatch_batch;

/*
 * A partition of the users' topic that this job has (or had). One thing at a time is under way for it: `busy`. What is to
 * happen when that ends is decided then, by the flags.
 */
struct imgo__dispatch_part {
	struct imgo_dispatch *dispatch;
	uint32_t partition;
	bool assigned, revoking; /* ours; to be given back when nothing is under way */
	bool fetching;           /* a fetch waits at the bus */
	bool busy;               /* a call of store or bus, other than a fetch, is under way */
	bool restart;            /* assigned anew while busy: begin when that ends */
	uint64_t next;           /* offset of the first record that is not finished */
	/* rebuild: token != 0 while it goes on */
	uint64_t token, rebuild_at, rebuild_end, rebuild_from;
	uint64_t rebuild_since_ms;
	unsigned failures; /* in a row: back-off */
	struct imgo__timer retry;
	struct imgo_stat *lag, *rebuild_left; /* by partition */
};

struct imgo__dispatch_stats {
	struct imgo_stat *records, *appends, *present, *below, *duplicates, *expired, *dropped, *poison, *misplaced,
		*waits, *rebuilds, *rebuilt, *rebuilding, *waiting, *assigned, *cast, *cast_old, *key_elsewhere,
		*ask_skipped, *rebuild_records;
	struct imgo_histogram *bus, *append, *ask; /* stages of a message */
	struct imgo__gauge asks;
};

struct imgo_dispatch {
	struct imgo_loop *loop;
	struct imgo_registry *registry;
	struct imgo_store *store;
	struct imgo_bus *bus;
	struct imgo__carrier *carrier;
	struct imgo_bus_consumer *users, *casts;
	uint64_t ttl_ms, cast_age_max_ms;
	int poison_fd;
	uint32_t nparts, ncasts;
	struct imgo__dispatch_part *parts;
	struct imgo__dispatch_cast *cast_parts;
	struct imgo__list ops; /* struct imgo__dispatch_op: under way */
	uint32_t asks;         /* of the router, under way */
	bool stopping;
	struct imgo__timer stop_timer;
	void (*stopped)(void *user);
	void *stopped_user;
	struct imgo__dispatch_stats stats;
	struct imgo__collector collector;
	struct imgo__timer lag_timer;
	uint32_t lag_at; /* the partition whose lag is looked at next */
	uint32_t said_assigned;
	struct imgo__timer said_timer; /* assignments come one by one, and are said together */
};

/* Something under way that borrowed parts may end after the dispatch was freed (dispatch == NULL then). It owns all
 * that its calls point to. */
struct imgo__dispatch_op {
	struct imgo__list link;
	struct imgo_dispatch *dispatch;
	struct imgo__arena arena;
	void (*free)(struct imgo__dispatch_op *op); /* what else it owns; may be NULL */
};

void *imgo__dispatch_op_new(struct imgo_dispatch *dispatch, size_t size);
void imgo__dispatch_op_free(struct imgo__dispatch_op *op);

/* Keeps a record that cannot be decoded aside, and counts it. */
void imgo__dispatch_poison(
	struct imgo_dispatch *dispatch, enum imgo_topic topic, const struct imgo_bus_record *record, int err);
void imgo__dispatch_check_stopped(struct imgo_dispatch *dispatch);

/* dispatch_users.c */
extern const struct imgo_bus_consumer_ops imgo__dispatch_users_ops;
int imgo__dispatch_users_init(struct imgo_dispatch *dispatch);
void imgo__dispatch_users_fini(struct imgo_dispatch *dispatch);
void imgo__dispatch_fetch(struct imgo__dispatch_part *part);
/* A step failed: look at the marker again, after a while. */
void imgo__dispatch_retry(struct imgo__dispatch_part *part, int err);
/* What was under way ended. False: the partition is to be given back, or the dispatch stops: do nothing more. */
bool imgo__dispatch_goes_on(struct imgo__dispatch_part *part);

/* A batch of records, copied, decoded and cut into items for the store. */
struct imgo__dispatch_batch {
	struct imgo__dispatch_op op;
	struct imgo__dispatch_part *part;
	uint64_t next;
	struct imgo_envelope **envelopes;
	size_t nenvelopes;
	struct imgo_store_body *bodies;
	struct imgo_store_append *items;
	const struct imgo_envelope_target **targets; /* of each item */
	size_t nitems;
	struct imgo_store_append_many append;
	struct imgo_registry_get *gets;
	uint32_t *get_items; /* index of the item of each get */
	uint64_t stage_us;   /* when the present stage began */
	size_t ngets;
};
/* NULL: out of memory. Records at or above `end` are left out. */
struct imgo__dispatch_batch *imgo__dispatch_batch_new(
	struct imgo__dispatch_part *part, const struct imgo_bus_record *records, size_t n, uint64_t end);
void imgo__dispatch_batch_free(struct imgo__dispatch_batch *batch);
void imgo__dispatch_count(struct imgo_dispatch *dispatch, const struct imgo__dispatch_batch *batch);

/* dispatch_rebuild.c */
void imgo__dispatch_look(struct imgo__dispatch_part *part);

/* dispatch_stats.c */
int imgo__dispatch_stats_init(struct imgo_dispatch *dispatch); /* after the partitions were made */
void imgo__dispatch_stats_fini(struct imgo_dispatch *dispatch);
void imgo__dispatch_assignment_changed(struct imgo_dispatch *dispatch);

/* dispatch_casts.c */
extern const struct imgo_bus_consumer_ops imgo__dispatch_casts_ops;
int imgo__dispatch_casts_init(struct imgo_dispatch *dispatch);
void imgo__dispatch_casts_fini(struct imgo_dispatch *dispatch);

#endif
