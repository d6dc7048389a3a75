/* SPDX-License-Identifier: MIT */
/*
 * The store: users' logs and tokens. This is the door for those who implement one; callers use the same structs
 * through imgo/store.h.
 *
 * THE MODEL. The bus is the record, the store is a view of it that may be forgotten and rebuilt. Everything is sharded
 * by partition (imgo_partition(user)); all that belongs to one partition lives and dies together. Each (epoch,
 * partition) has a marker:
 *
 *     missing  ->  building:token  ->  complete:token
 *
 * Content *or absence* of a record counts only together with a marker that was read after it, complete and unchanged
 * since before; otherwise the whole request ends with IMGO_EREBUILDING and says nothing ("try later", never "no such").
 * A store that cannot forget by itself (LMDB) still has markers: they are per epoch, and a new epoch starts missing.
 * Logs and tokens are kept per (partition, user), not per epoch: what is left of an older epoch stays deliverable.
 *
 * A user's log holds: the ids still wanted, with the tag of their msgid, size and time; a floor (highest id dropped or
 * acknowledged by all devices); the highest id that append answered for; `lost`, the highest id that a limit or the TTL dropped while some device still wanted
 * it; a cursor for each device (at most 16; the longest unseen goes first); the last 256 msgid tags with id and time
 * (5 minutes by the records' time). Bodies are kept once for all users of a record, with their msgid, compared on
 * reading: a body of another msgid is "missing" and never delivered.
 *
 * REBUILDING. With rebuild_token set, append and ack work on a partition that is building:token (IMGO_ESTALE when it is
 * not any more) and do not act on cursors: cursors are set without moving the floor, messages are judged by the floor
 * and the limits alone, because the other devices' cursors may not be back yet. What all devices turn out to have
 * acknowledged goes with the first ordinary call. A device counts only when the store knows it: whoever rebuilds must
 * bring back every device of a user (an attach too is worth a record in the cursors' topic, with the id the device
 * starts at), or what it has not read goes when the others have acknowledged it.
 *
 * CALLS. Every operation is many items at once and asynchronous (imgo/error.h: the callback runs exactly once, on the
 * loop's thread, never before the call returned). Arguments, and all they point to, stay the caller's and must stay
 * valid until the callback runs; results are written into them before that. The store must not touch them afterwards.
 * Strings and arrays that a result points to are the store's and live until the callback returns.
 * All items of one call belong to the partition named in the call. Every operation is idempotent: an outcome that is
 * unknown (IMGO_ETIMEDOUT, IMGO_EUNAVAILABLE, IMGO_EIO, IMGO_EREBUILDING) may simply be tried again.
 * A user's items in one append are applied in the order given. Ids are between 1 and INT64_MAX. At most one append of a
 * user may be under way, and after one that failed the same ids come first: a log grows at its end only, so that a lower
 * id that comes after a higher one, and is not in the log, counts as done with.
 *
 * Damage: a record whose checksum is wrong is counted and logged. If the store can be rebuilt from the bus (memcached)
 * it is deleted with the partition's marker, and the call ends with IMGO_EREBUILDING; LMDB takes it for an empty log
 * with a gap, for a missing body, for no such token.
 */
#ifndef IMGO_BACKEND_STORE_H
#define IMGO_BACKEND_STORE_H

#include <imgo/error.h>
#include <imgo/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define IMGO_STORE_DEVICES_MAX     16
#define IMGO_STORE_TAGS_MAX        256
#define IMGO_STORE_TAGS_MS         (5 * 60 * 1000)
#define IMGO_STORE_TOKEN_HASH_LEN  32 /* SHA-256 of the token; tokens themselves are never stored */
#define IMGO_STORE_TOKEN_ROOMS_MAX 16

/* err 0, or why the whole call failed (then no result counts). */
typedef void imgo_store_cb(int err, void *user);

/* ---- append (job alone) ---- */
enum imgo_append_result {
	IMGO_APPEND_NEW = 1, /* added: tell */
	IMGO_APPEND_PRESENT, /* this id is in the log already, still wanted (a replay): tell again */
	IMGO_APPEND_BELOW,   /* at or below the floor, or answered for before and not in the log any more: done with */
	IMGO_APPEND_DUPLICATE, /* another id with the same msgid is or was in the log: dropped, counted */
	IMGO_APPEND_EXPIRED,   /* older than the TTL: not added, the floor rose over it, counted as lost */
};

struct imgo_store_body {
	struct imgo_id id;
	struct imgo_msgid msgid;
	int32_t op;
	uint64_t at_ms; /* the bus's time-stamp of the record */
	struct imgo_str data;
	uint32_t users; /* of this partition that the record is for. 1: the body goes with that user's need of it. 0 (not
	                   known) or more: a store that does not count (memcached) keeps it until its TTL */
};

struct imgo_store_append {
	struct imgo_str user;
	const struct imgo_store_body *body; /* one of the call's bodies */
	/* results */
	enum imgo_append_result result;
	struct imgo_id prev; /* NEW, PRESENT: the id before it in the log, else the floor */
	uint32_t dropped;    /* messages that the limits or the TTL dropped for it (counted once) */
};

struct imgo_store_append_many {
	uint32_t epoch, partition;
	uint64_t rebuild_token; /* 0: the marker must be complete, else IMGO_EREBUILDING; else it must be building:this
	                           token, else IMGO_ESTALE */
	const struct imgo_store_body *bodies;
	size_t nbodies;
	struct imgo_store_append *items;
	size_t nitems;
};

/* ---- read ---- */
struct imgo_store_message {
	struct imgo_id id;
	int32_t op;
	uint64_t at_ms;
	struct imgo_str data;
};

struct imgo_store_read {
	struct imgo_str user, device;
	struct imgo_id after;  /* what this session has already; the device's cursor counts too, the higher of both */
	bool attach;           /* the device is one of the user's from now on (cursor at the floor): what it has not
	                          acknowledged is kept for it. False: only look (/1/msg/get) */
	uint32_t messages_max; /* at least 1 */
	size_t bytes_max;      /* of bodies; at least one message is returned whatever its size */
	/* results */
	const struct imgo_store_message *messages; /* in order */
	size_t nmessages;
	bool more;        /* there are further ones: read again from `position` */
	bool gap;         /* between `after` (or the cursor) and the first message some were lost to limit or TTL */
	uint32_t missing; /* ids whose body is missing or foreign: skipped, counted, part of `position`, and of
	                         messages_max */
	struct imgo_id position; /* what the session has once it has these: the last id, at least the floor */
	struct imgo_id cursor;   /* of the device, {0,0} when it has none */
};

struct imgo_store_read_many {
	uint32_t epoch, partition;
	struct imgo_store_read *items;
	size_t nitems;
};

/* ---- cursors and heads ---- */
struct imgo_store_ack {
	struct imgo_str user, device;
	struct imgo_id id; /* acknowledged up to here; lower than the cursor: nothing happens. {0, 0} only makes the
	                      device known, as attach does. Not checked against the log's end: the caller does that */
};

struct imgo_store_ack_many {
	uint32_t epoch, partition;
	struct imgo_store_ack *items;
	size_t nitems;
	uint64_t rebuild_token; /* as in append */
};

struct imgo_store_peek {
	struct imgo_str user, device;
	/* results */
	struct imgo_id head;   /* highest id still wanted by anybody, else the floor */
	struct imgo_id cursor; /* of the device, {0,0} when it has none */
	uint32_t nmessages;    /* in the log */
};

struct imgo_store_peek_many {
	uint32_t epoch, partition;
	struct imgo_store_peek *items;
	size_t nitems;
};

/* ---- markers (job alone writes) ---- */
enum imgo_marker_state { IMGO_MARKER_MISSING = 0, IMGO_MARKER_BUILDING, IMGO_MARKER_COMPLETE };
enum imgo_marker_step { IMGO_MARKER_LOOK = 0, IMGO_MARKER_BEGIN, IMGO_MARKER_FINISH };

struct imgo_store_marker {
	uint32_t epoch, partition;
	enum imgo_marker_step step;
	uint64_t token; /* BEGIN: building:token from now on, whatever was there but complete; FINISH: only from
	                   building:token (or complete:token: a repetition), by compare-and-swap, else IMGO_ESTALE.
	                   Not 0. */
	/* results: the marker as it is after the step. BEGIN that found it complete ends with 0 and changed nothing. */
	enum imgo_marker_state state;
	uint64_t state_token;
};

/* ---- tokens ---- */
struct imgo_store_token {
	uint8_t hash[IMGO_STORE_TOKEN_HASH_LEN];
	struct imgo_str user, device;
	uint64_t expires_ms; /* wall clock */
	struct imgo_str rooms[IMGO_STORE_TOKEN_ROOMS_MAX];
	size_t nrooms;
	struct imgo_id id; /* of its record in the tokens' topic: of two tokens of one device the higher id is valid, in
	                      whatever order they are put (a put of a lower one changes nothing and ends with 0) */
	int err; /* result of token_get: 0; IMGO_ENOTFOUND: surely none, expired, or revoked by a newer one of the same
	            device; else: unknown (IMGO_EREBUILDING, IMGO_EUNAVAILABLE, …) */
};

/* token_put needs no marker: a store that forgot gets it again from the bus. A user has at most
 * IMGO_STORE_DEVICES_MAX devices with a valid token: a further one revokes the one with the lowest id. */
struct imgo_store_token_many {
	uint32_t epoch, partitions; /* a token's record is in the partition of its hash's 64 hex digits, the user's list
	                               of valid ones in that of the user: the store computes both */
	struct imgo_store_token *items;
	size_t nitems;
};

struct imgo_store_options {
	size_t size;
	uint64_t ttl_ms;       /* of a message, by its at_ms; default 24 h */
	uint32_t messages_max; /* of one user's log; default 1,000 */
	size_t bytes_max;      /* of the bodies in one user's log; default 1 MiB */
};
#define IMGO_STORE_OPTIONS_INIT \
	{ \
		sizeof(struct imgo_store_options), 24ull * 3600 * 1000, 1000, 1024 * 1024 \
	}

/* The table. All members are mandatory unless marked. `impl` is what imgo_store_new_custom was given. */
struct imgo_store_ops {
	size_t size;              /* sizeof(struct imgo_store_ops) */
	void (*free)(void *impl); /* ends every call that is under way (IMGO_ECANCELED), then frees */
	int (*append_many)(void *impl, struct imgo_store_append_many *call, imgo_store_cb *cb, void *user);
	int (*read_many)(void *impl, struct imgo_store_read_many *call, imgo_store_cb *cb, void *user);
	int (*ack_many)(void *impl, struct imgo_store_ack_many *call, imgo_store_cb *cb, void *user);
	int (*peek_many)(void *impl, struct imgo_store_peek_many *call, imgo_store_cb *cb, void *user);
	int (*marker)(void *impl, struct imgo_store_marker *call, imgo_store_cb *cb, void *user);
	int (*token_put)(void *impl, struct imgo_store_token_many *call, imgo_store_cb *cb, void *user);
	int (*token_get)(void *impl, struct imgo_store_token_many *call, imgo_store_cb *cb, void *user);
	/* Optional: loses everything of the partition (UINT32_MAX: of all), markers included, as a cache that restarts
	 * does. For tests and for an operator who wants a rebuild. memcached cannot list a partition: there, of one
	 * partition only the marker of `epoch` goes and the rebuild meets the old content, which is harmless. */
	int (*forget)(void *impl, uint32_t epoch, uint32_t partition, imgo_store_cb *cb, void *user);
};

#ifdef __cplusplus
}
#endif
#endif
