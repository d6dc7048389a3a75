/* SPDX-License-Identifier: MIT */
/* One partition of the memory bus; see memory_log.c. */
#ifndef IMGO__BUS_MEMORY_LOG_H
#define IMGO__BUS_MEMORY_LOG_H

#include <imgo/bus.h>

#include "base/list.h"
#include "base/map.h"

/* What the logs of one bus share: the count of bytes, and the records that may go, oldest first, of each topic. */
struct imgo__memspace {
	uint64_t bytes_max;
	uint64_t total; /* of all records */
	uint64_t held;  /* of those that may not go: not done, or the last of their key */
	struct imgo__list loose[IMGO_TOPICS];
	uint64_t keep_ms[IMGO_TOPICS];
};

struct imgo__memrec {
	struct imgo__list loose;    /* in space->loose, when it may go */
	struct imgo__map_node node; /* in log->keys, when it is the last of its key */
	struct imgo__memlog *log;
	uint64_t offset, at_ms;
	uint32_t key_len, value_len;
	bool last;
	char data[];
};

struct imgo__memlog {
	struct imgo__memspace *space;
	enum imgo_topic topic;
	struct imgo__memrec **ring;     /* in order of offset; NULL where one has gone */
	size_t cap, head, slots, holes; /* cap is 0 or a power of two */
	uint64_t end, done, at_ms;      /* at_ms: of the newest */
	struct imgo__map keys;          /* compacted topics: the last record of each key */
};

void imgo__memspace_init(struct imgo__memspace *space, const struct imgo_bus_memory_options *options);
void imgo__memlog_init(struct imgo__memlog *log, struct imgo__memspace *space, enum imgo_topic topic, uint64_t first);
void imgo__memlog_fini(struct imgo__memlog *log);

/* Appends a copy of record, and fills its offset and at_ms. IMGO_ELIMIT, IMGO_ENOMEM. */
int imgo__memlog_append(struct imgo__memlog *log, struct imgo_bus_record *record, uint64_t now_ms);
/* All below next is done: it may go now. */
void imgo__memlog_done(struct imgo__memlog *log, uint64_t next);
/* The records from `from` on, at most n and bytes_max, at least one if there is one. They live until the next trim. */
size_t imgo__memlog_read(struct imgo__memlog *log, uint64_t from, struct imgo_bus_record *out, size_t n, size_t bytes_max);
bool imgo__memlog_has(struct imgo__memlog *log, uint64_t from);
uint64_t imgo__memlog_begin(struct imgo__memlog *log);
uint64_t imgo__memlog_since(struct imgo__memlog *log, uint64_t since_ms); /* offset of the first at or after */
/* Drops what is too old, or too much. Not while a reader looks at records. */
void imgo__memspace_trim(struct imgo__memspace *space, uint64_t now_ms);

#endif
