/* SPDX-License-Identifier: MIT */
/*
 * The bus: the record of what was accepted. The door for those who implement one; callers use imgo/bus.h.
 *
 * THE MODEL. A topic is a fixed number of partitions, each an ordered log of records with offsets that rise from 0 (with
 * holes allowed) under an epoch. A record is *accepted* when produce says so: then it is as durable as the bus is, and
 * every consumer group will see it. A message's id is its offset + 1.
 *
 * Consumers of one group share the partitions of a topic. The bus assigns a partition with the offset to go on from
 * (the lowest that is not done); the consumer *fetches* from any offset, as often as it likes, forwards or backwards
 * (a rebuild goes back), and says what is *done*. One fetch a partition at a time. When a partition is to move, the
 * bus revokes it: the consumer stops, finishes what it has begun (within revoke_ms, 2 s), says done, then released.
 * done() for a partition that is no longer this consumer's is counted and ignored (a zombie's protection).
 *
 * CALLS are asynchronous (imgo/error.h). Arguments stay valid until the callback; results live until it returns.
 */
#ifndef IMGO_BACKEND_BUS_H
#define IMGO_BACKEND_BUS_H

#include <imgo/error.h>
#include <imgo/types.h>

#ifdef __cplusplus
extern "C" {
#endif

enum imgo_topic {
	IMGO_TOPIC_USERS = 0,   /* logged pushes: kept at least as long as the store's TTL; partition = of the user */
	IMGO_TOPIC_CASTS = 1,   /* rooms, broadcast, qos 0: kept minutes, never on an embedded bus's disk */
	IMGO_TOPIC_TOKENS = 2,  /* compacted by key: the last record of a key stays */
	IMGO_TOPIC_CURSORS = 3, /* compacted by key */
	IMGO_TOPICS = 4,
};

/* Of a record that is accepted for sure, but the bus cannot say where (Kafka: an ack was lost and the retry was known). */
#define IMGO_BUS_OFFSET_UNKNOWN UINT64_MAX

struct imgo_bus_record {
	uint32_t partition;
	struct imgo_str key;   /* may be empty, except on compacted topics */
	struct imgo_str value; /* compacted topics: empty deletes the key */
	/* results of produce, contents of fetch */
	uint64_t offset;
	uint64_t at_ms; /* the bus's time-stamp (Kafka: LogAppendTime), wall clock */
	int err; /* of produce: 0 accepted; IMGO_EUNAVAILABLE, IMGO_ETIMEDOUT (unknown), IMGO_ELIMIT (queue), … */
};

/* All records of a produce_many ended, each with its err. err: 0, or the first that is not. Order within a partition is
 * the order of the calls, and of the records within one. */
typedef void imgo_bus_produce_cb(int err, void *user);
/* records[0..n) in order of offset, n > 0; or err < 0 and n == 0: IMGO_ETIMEDOUT (nothing came),
 * IMGO_ECANCELED (revoked, torn down). next: the offset to
 * fetch from after these. */
typedef void imgo_bus_fetch_cb(int err, const struct imgo_bus_record *records, size_t n, uint64_t next, void *user);
/* first: offset of the first record with at_ms >= the time asked for (== end when there is none); begin: the oldest
 * that is still kept; end: one past the newest at this moment. */
typedef void imgo_bus_query_cb(int err, uint64_t begin, uint64_t first, uint64_t end, void *user);

/* What a consumer is told; on the loop's thread. Partitions are named one at a time. */
struct imgo_bus_consumer_ops {
	void (*assigned)(uint32_t partition, uint64_t next, void *user);
	/* Fetches of it are canceled before this. Must lead to a released() within revoke_ms (it may be called in here);
	 * until then done() counts, and fetch() says IMGO_ESTALE. lost: it is somebody else's already: done() has no effect
	 * any more, and nobody waits for a released(). */
	void (*revoked)(uint32_t partition, bool lost, void *user);
	/* The bus cannot go on for this consumer (topic recreated, below what was committed, …). */
	void (*failed)(int err, const char *text, void *user);
};

/* The table. All members but the last are mandatory. Consumers are handles of the implementation's own. */
struct imgo_bus_ops {
	size_t size;
	void (*free)(void *impl); /* consumers first; pending calls end with IMGO_ECANCELED */
	uint32_t (*epoch)(void *impl);
	uint32_t (*partitions)(void *impl, enum imgo_topic topic);
	bool (*ready)(void *impl); /* topics made or checked, broker answering: produce may succeed */
	/* Each record ends with an err of its own. Errors (nothing was done): IMGO_EUNAVAILABLE (not ready, known to be down),
	 * IMGO_ENOMEM. */
	int (*produce_many)(void *impl, enum imgo_topic topic, struct imgo_bus_record *records, size_t n,
		imgo_bus_produce_cb *cb, void *user);
	int (*subscribe)(void *impl, enum imgo_topic topic, const char *group, const struct imgo_bus_consumer_ops *ops,
		void *user, void **consumer);
	void (*unsubscribe)(void *consumer); /* leaves the group; revoked() is not called; done() so far is committed */
	/* Waits until there is at least one record at or after `from`, or wait_ms have passed (IMGO_ETIMEDOUT, n == 0: a
	 * consumer looks at its markers between fetches). At most records_max and bytes_max of keys and values (at least
	 * one record); fewer is fine. Errors: IMGO_ESTALE (not, or no longer, this consumer's), IMGO_EINVAL (one is under
	 * way), IMGO_ENOMEM. */
	int (*fetch)(void *consumer, uint32_t partition, uint64_t from, size_t records_max, size_t bytes_max,
		unsigned wait_ms, imgo_bus_fetch_cb *cb, void *user);
	void (*done)(void *consumer, uint32_t partition, uint64_t next); /* all below next are finished; committed ≤ 1 s */
	void (*released)(void *consumer, uint32_t partition);
	int (*query)(void *impl, enum imgo_topic topic, uint32_t partition, uint64_t since_ms, imgo_bus_query_cb *cb,
		void *user);
	bool (*full)(void *impl); /* what is to be kept is refused with IMGO_EFULL now; NULL: it is never known to be full */
};

#ifdef __cplusplus
}
#endif
#endif
