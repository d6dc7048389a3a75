/* SPDX-License-Identifier: MIT */
/* The bus, for callers. Read imgo/backend/bus.h for the model and for what each struct means. */
#ifndef IMGO_BUS_H
#define IMGO_BUS_H

#include <imgo/backend/bus.h>
#include <imgo/lmdb.h>
#include <imgo/loop.h>

#ifdef __cplusplus
extern "C" {
#endif

#define IMGO_BUS_VALUE_MAX (4u << 20) /* bytes of a record's value */
#define IMGO_BUS_KEY_MAX   1024u      /* and of its key */

struct imgo_bus;
struct imgo_bus_consumer;

struct imgo_bus_memory_options {
	size_t size;
	uint32_t partitions;       /* of the users' topic (and tokens, cursors); default 64 */
	uint32_t casts_partitions; /* default 8 */
	uint64_t bytes_max; /* of all records that wait for a consumer; beyond it produce says IMGO_ELIMIT; default 256 MiB */
	uint64_t keep_ms; /* done records are kept this long (a rebuild may want them), bytes_max permitting; default 24 h */
	uint32_t epoch; /* default 0: the second of the start. With a store that stays: above all before, imgo_lmdb_new_epoch */
};
#define IMGO_BUS_MEMORY_OPTIONS_INIT \
	{ \
		sizeof(struct imgo_bus_memory_options), 64, 8, 256ull << 20, 24ull * 3600 * 1000, 0 \
	}

/* In the process's memory, epoch = its start time in seconds: what is accepted but not yet appended to a store is gone
 * when the process dies. Offsets begin at the start's milliseconds within that second << 32, so that one that starts
 * twice in a second does not repeat an id. options may be NULL. What no group has ever subscribed to is kept keep_ms;
 * a group keeps its place when its last consumer leaves. No thread. Errors: IMGO_EINVAL, IMGO_ENOMEM. */
IMGO_API int imgo_bus_new_memory(struct imgo_bus **out, struct imgo_loop *loop,
	const struct imgo_bus_memory_options *options, struct imgo_error *error);

struct imgo_bus_lmdb_options {
	size_t size;
	uint32_t partitions;       /* of the users' topic, tokens and cursors; default 64; fixed when it is made */
	uint32_t casts_partitions; /* default 8 */
	uint64_t casts_bytes_max; /* of casts that wait for a consumer, in memory; beyond it IMGO_ELIMIT; default 256 MiB */
	uint64_t queue_bytes_max; /* of records that wait for their commit; beyond it IMGO_ELIMIT; default 64 MiB */
	/* What every group has done is cut. 0 (default): at once, which is right when the consumers' store is in the same
	 * environment, so that neither can be lost without the other. Else after this long: the TTL of a store that may
	 * forget, and is then rebuilt from here. */
	uint64_t keep_ms;
};
#define IMGO_BUS_LMDB_OPTIONS_INIT \
	{ \
		sizeof(struct imgo_bus_lmdb_options), 64, 8, 256ull << 20, 64ull << 20, 0 \
	}

/* On a disk: a record is accepted when the commit that has it is synced (fdatasync), and survives the death of the
 * process or the machine at any moment after that. Casts are in memory, as imgo_bus_new_memory's. The epoch is when the
 * bus was first made in this environment; it is a new one when imgo_lmdb_new_epoch gave out a higher one since. Where groups are is on the disk as well, at most a second old; a group that
 * subscribed once holds all that it has not done. After a restart each goes on from there; nothing is searched or read in
 * at the start. options may be NULL; keeps a reference to lmdb. A damaged record is skipped and counted
 * (imgo_bus_damaged_total). A thread of its own for reading. Full: IMGO_EFULL, see imgo/lmdb.h; failed: IMGO_EUNAVAILABLE.
 * Errors: IMGO_EINVAL (another number of partitions), IMGO_EIO (damaged), IMGO_EVERSION, IMGO_ENOMEM. */
IMGO_API int imgo_bus_new_lmdb(struct imgo_bus **out, struct imgo_loop *loop, struct imgo_lmdb *lmdb,
	const struct imgo_bus_lmdb_options *options, struct imgo_error *error);

struct imgo_bus_kafka_options {
	size_t size;
	const char *brokers;       /* "host:port,…" */
	const char *prefix;        /* of the topics' names; default "imgo": imgo-users-e1, imgo-casts, … */
	uint32_t epoch;            /* default 1 */
	uint32_t partitions;       /* default 64 */
	uint32_t casts_partitions; /* default 8 */
	int replication;           /* of topics that are made; default -1: the broker's default */
	uint64_t ttl_ms;           /* the users' topic must keep at least this long; default 24 h */
	unsigned timeout_ms;       /* a produce ends by then, one way or the other; default 10,000 */
	unsigned queue_max;        /* records waiting for their ack; beyond it IMGO_ELIMIT; default 100,000 */
	size_t queue_bytes_max;    /* default 64 MiB */
	unsigned session_ms;       /* of a consumer; default 6,000 */
};
#define IMGO_BUS_KAFKA_OPTIONS_INIT \
	{ \
		sizeof(struct imgo_bus_kafka_options), NULL, "imgo", 1, 64, 8, -1, 24ull * 3600 * 1000, 10000, 100000, \
			64u << 20, 6000 \
	}

/* Apache Kafka through librdkafka: idempotent producer, acks=all. Does not wait for the broker: ready() tells. Topics are
 * made or checked in the background, again until it works. Errors: IMGO_EINVAL, IMGO_ENOMEM. */
IMGO_API int imgo_bus_new_kafka(struct imgo_bus **out, struct imgo_loop *loop,
	const struct imgo_bus_kafka_options *options, struct imgo_error *error);

/* One of your own; impl is freed by ops->free, also when this fails. Errors: IMGO_EINVAL, IMGO_ENOMEM. */
IMGO_API int imgo_bus_new_custom(struct imgo_bus **out, struct imgo_loop *loop, const struct imgo_bus_ops *ops, void *impl);

/* Unsubscribe consumers first. */
IMGO_API void imgo_bus_free(struct imgo_bus *bus);

/* As in struct imgo_bus_ops, with the arguments checked (IMGO_EINVAL; a value beyond IMGO_BUS_VALUE_MAX: IMGO_ELIMIT). */
IMGO_API uint32_t imgo_bus_epoch(struct imgo_bus *bus);
IMGO_API uint32_t imgo_bus_partitions(struct imgo_bus *bus, enum imgo_topic topic);
IMGO_API bool imgo_bus_ready(struct imgo_bus *bus);
IMGO_API bool imgo_bus_full(struct imgo_bus *bus);
IMGO_API int imgo_bus_produce_many(struct imgo_bus *bus, enum imgo_topic topic, struct imgo_bus_record *records,
	size_t n, imgo_bus_produce_cb *cb, void *user);
IMGO_API int imgo_bus_query(struct imgo_bus *bus, enum imgo_topic topic, uint32_t partition, uint64_t since_ms,
	imgo_bus_query_cb *cb, void *user);

/* *out is the caller's; imgo_bus_unsubscribe frees it. ops must outlive it. Errors: IMGO_EINVAL, IMGO_ENOMEM. */
IMGO_API int imgo_bus_subscribe(struct imgo_bus_consumer **out, struct imgo_bus *bus, enum imgo_topic topic,
	const char *group, const struct imgo_bus_consumer_ops *ops, void *user);
IMGO_API void imgo_bus_unsubscribe(struct imgo_bus_consumer *consumer);
IMGO_API int imgo_bus_fetch(struct imgo_bus_consumer *consumer, uint32_t partition, uint64_t from, size_t records_max,
	size_t bytes_max, unsigned wait_ms, imgo_bus_fetch_cb *cb, void *user);
IMGO_API void imgo_bus_done(struct imgo_bus_consumer *consumer, uint32_t partition, uint64_t next);
IMGO_API void imgo_bus_released(struct imgo_bus_consumer *consumer, uint32_t partition);

#ifdef __cplusplus
}
#endif
#endif
