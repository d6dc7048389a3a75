/* SPDX-License-Identifier: MIT */
/* Synchronous calls, a consumer that remembers, and checks, for bus_cases.c. */
#ifndef BUS_KIT_H
#define BUS_KIT_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <imgo/loop.h>

#include "bus_cases.h"

struct kit {
	struct imgo_loop *loop;
	struct imgo_bus *bus;
	const struct bus_backend *backend;
	char scope[64];
	int failures;
};

#define check(kit, what) \
	do { \
		if (!(what)) { \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, (kit)->backend->name, #what); \
			(kit)->failures++; \
		} \
	} while (0)
#define check_int(kit, a, b) \
	do { \
		long long a_ = (long long)(a), b_ = (long long)(b); \
		if (a_ != b_) { \
			fprintf(stderr, "%s:%d: %s: %s is %lld, not %lld\n", __FILE__, __LINE__, (kit)->backend->name, \
				#a, a_, b_); \
			(kit)->failures++; \
		} \
	} while (0)
/* Turns the loop until `what` holds; a failure after `steps` of the backend's slow_ms. */
#define await(kit, what, steps) \
	do { \
		uint64_t end_ = kit_now() + (uint64_t)(steps) * (kit)->backend->slow_ms; \
		while (!(what) && kit_now() < end_) \
			kit_turn(kit); \
		check(kit, what); \
	} while (0)

uint64_t kit_now(void); /* monotonic ms */
void kit_turn(struct kit *kit);
void kit_sleep(struct kit *kit, uint64_t ms);
void kit_open(struct kit *kit); /* and waits until it is ready */

/* One record; the value is text. Returns its error, fills offset and at_ms of `out` (may be NULL). */
int kit_put(struct kit *kit, enum imgo_topic topic, uint32_t partition, const char *key, const char *value,
	struct imgo_bus_record *out);
/* n records "<tag><i>", i from `first`, into one partition; in calls of `batch`, all under way at once. */
void kit_put_many(struct kit *kit, uint32_t partition, const char *tag, unsigned first, unsigned n, unsigned batch);
int kit_query(struct kit *kit, enum imgo_topic topic, uint32_t partition, uint64_t since_ms, uint64_t *begin,
	uint64_t *first, uint64_t *end);

struct kit_got {
	uint32_t partition;
	uint64_t offset, at_ms;
	char key[24], value[24]; /* cut */
	size_t value_len;
};

/* A consumer. While `go`, it fetches every partition that it has, from `next` on, and says done after each. */
struct kit_con {
	struct kit *kit;
	struct imgo_bus_consumer *consumer;
	bool go, keep_undone, hold; /* hold: does not answer revoked() */
	struct kit_part {
		struct kit_con *con;
		uint32_t partition;
		bool mine, fetching;
		uint64_t assigned, next;
		unsigned records_max;
		size_t bytes_max;
		unsigned wait_ms;
	} parts[BUS_PARTITIONS];
	struct kit_got *got;
	size_t n, cap;
	unsigned n_assigned, n_revoked, n_lost, n_canceled, n_timedout, n_calls, n_failed;
	int failed;
};

void kit_join(struct kit *kit, struct kit_con *con, enum imgo_topic topic, const char *group);
void kit_leave(struct kit_con *con);
void kit_end(struct kit_con *con); /* leaves, and frees what was got */
void kit_fetch(struct kit_con *con, uint32_t partition, uint64_t from);
void kit_pump(struct kit_con *con); /* fetches whatever is its own and not being fetched */
unsigned kit_owned(const struct kit_con *con);
/* How many of partition were got; *last (may be NULL): the newest offset. Checks that offsets rise. */
size_t kit_count(struct kit_con *con, uint32_t partition);
bool kit_has(const struct kit_con *con, const char *value);

#endif
