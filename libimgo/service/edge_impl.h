/* SPDX-License-Identifier: MIT */
/*
 * What the files of the comet's role share:
 *   edge.c           life, logins, and the hub's callbacks
 *   edge_deliver.c   a session and its log: reads, tells, casts
 *   edge_ack.c       version 1 acknowledgements, and the queue of what is to be written back to logic
 *   edge_lease.c     the lease, announcing again, the comparison
 *   edge_goim.c      what only goim's clients have: keys, and the number of those in a room
 *   edge_about.c     what it says of itself to those who want to connect to it
 *   edge_rpc.c       tells, casts and kicks that come by RPC
 */
#ifndef IMGO__SERVICE_EDGE_IMPL_H
#define IMGO__SERVICE_EDGE_IMPL_H

#include <imgo/edge.h>

#include "base/buf.h"
#include "base/map.h"
#include "base/mem.h"
#include "service/carrier.h"
#include "service/gate.h"
#include "service/peers.h"

enum imgo__edge_state {
	IMGO__EDGE_LOADING, /* its log is being read, or will be: what it is told now is read again */
	IMGO__EDGE_LIVE,    /* it has everything up to `delivered`: what it is told is compared and sent */
};

/* An id in 12 bytes. */
struct imgo__edge_at {
	uint32_t epoch;
	uint64_t id;
} __attribute__((packed, aligned(4)));

static inline struct imgo_id imgo__edge_id(struct imgo__edge_at at)
{
	return (struct imgo_id){at.epoch, at.id};
}

static inline struct imgo__edge_at imgo__edge_at(struct imgo_id id)
{
	return (struct imgo__edge_at){id.epoch, id.id};
}

/* A logged-in connection. It is the grant's data of its hub connection, and goes with it. There are very many: no padding. */
struct imgo__edge_session {
	struct imgo__list ring;  /* of its partition, for the comparison */
	struct imgo__list marks; /* edge->fresh, seen or pinged while a mark is watched */
	struct imgo_conn conn;
	uint64_t mark_pos, last_pos; /* end of `mark` and of `delivered` in the connection's byte stream */
	uint64_t seq;
	struct imgo__edge_at delivered; /* given to the socket's queue up to here */
	struct imgo__edge_at acked;     /* counts as received up to here */
	struct imgo__edge_at stored;    /* the store's cursor is here at least */
	struct imgo__edge_at mark;      /* the message whose acknowledgement is being watched; {0,0}: none */
	uint32_t mark_ms;               /* low bits of the clock: when it came into its list */
	uint32_t login_ms;              /* low bits of the clock: granted; 0 once it was live */
	uint32_t peer;                  /* of imgo__peers_hash */
	uint8_t state : 1;              /* enum imgo__edge_state */
	bool again : 1;                 /* told of something while loading: read once more */
	bool reading : 1;               /* one read at a time */
	bool mark_seen : 1;             /* enough is known of the mark: what is missing is the word of the client */
	bool websocket : 1, ack_queued : 1, rooms_queued : 1, retry_queued : 1;
	uint8_t who_len, device_len, key_len;
	char bytes[]; /* the user, the device, the key */
};

/* A session that is gone: its last acknowledgement is written, then it is unregistered. */
struct imgo__edge_closing {
	struct imgo__list link;
	uint64_t n;           /* 0: unregistered already */
	struct imgo_id acked; /* {0,0}: nothing to write */
	unsigned tries;
	uint8_t who_len, device_len;
	char bytes[];
};

struct imgo__edge_stats {
	struct imgo_stat *sessions, *refused, *delivered, *duplicate, *behind, *early, *no_session, *foreign, *gaps,
		*reads, *read_failed, *acks, *ack_failed, *casts, *casts_seen, *kicked, *compared, *repaired,
		*lease_missed, *announced, *malformed, *key_taken, *totals_failed;
	struct imgo_histogram *drain, *read, *message, *cast; /* of a login, of a read, from a job's word to the socket */
	struct imgo__gauge calls, acks_waiting, retries, closings_waiting, lease_age;
};

struct imgo_edge {
	struct imgo_loop *loop;
	struct imgo_hub *hub;
	struct imgo__gate gate;
	struct imgo_push *push; /* local gate only */
	struct imgo__rpc_server *rpc;
	struct imgo__list calls; /* struct imgo__edge_call: under way */
	uint32_t comet;
	struct imgo_incarnation inc;
	char address[IMGO_REGISTRY_ADDRESS_MAX + 1];
	uint64_t lease_ms, compare_ms;
	enum imgo_v1_ack v1_ack;
	uint32_t read_bytes_max;
	int tcp_port, websocket_port, tls_port, wss_port;
	char hosts[IMGO_REGISTRY_HOSTS_MAX + 1]; /* where clients reach it */
	uint32_t weight, heartbeat_ms;
	struct imgo__peers peers;
	void (*on_superseded)(struct imgo_edge *edge, void *user);
	void *user;

	/* delivery */
	struct imgo__buf retry; /* uint64_t handles of sessions whose read is to be tried again */
	struct imgo__timer retry_timer;
	struct imgo_id *cast_seen; /* by partition of the casts' topic */
	uint32_t ncast_seen;

	/* edge_goim.c */
	struct imgo__map keys;   /* struct keyed: sessions that have a key */
	struct imgo__map totals; /* struct total: rooms whose number was asked for */
	struct imgo__timer totals_timer;
	unsigned totals_waiting; /* calls under way */

	/* acknowledgement */
	struct imgo__list fresh, seen, pinged; /* sessions by mark_ms */
	struct imgo__timer mark_timer;
	struct imgo__buf ackq, roomsq; /* uint64_t handles */
	struct imgo__list closings;
	struct imgo__timer write_timer;
	unsigned writes; /* calls of the write-back under way */

	/* lease and comparison */
	struct imgo__list *rings; /* one a partition */
	uint32_t partitions;
	struct imgo__timer renew_timer, compare_timer;
	bool ready, superseded, stopping, leaving, announcing, announce_again, announce_failed;
	unsigned announce_waiting;
	uint64_t renewed_ms;
	int renew_err; /* of the last renewal */
	struct imgo_registry_shard shards[IMGO_REGISTRY_SHARDS_MAX];
	uint32_t nshards;
	uint32_t compare_at, compare_hurry, announce_at;

	/* stop */
	struct imgo__timer stop_timer;
	void (*stopped)(void *user);
	void *stopped_user;

	struct imgo__edge_stats stats;
	struct imgo__collector collector;
	/* What jobs said in this turn, to be measured when the hub has written it. */
	struct imgo__task told;
	uint64_t told_us, cast_us;
	uint32_t ntold, ncast;
};

/*
 * A call of the gate under way: owns copies of its arguments, and outlives the edge when the gate answers late
 * (edge == NULL then: just free it).
 */
struct imgo__edge_call {
	struct imgo__list link;
	struct imgo_edge *edge;
	struct imgo__arena arena;
};

void *imgo__edge_call_new(struct imgo_edge *edge, size_t size);
void imgo__edge_call_free(struct imgo__edge_call *call);

/* What logic is told of a session: who it is, and its rooms as they are now, copied to the arena. False: out of memory. */
bool imgo__edge_describe(struct imgo_edge *edge, const struct imgo__edge_session *session, struct imgo__arena *arena,
	struct imgo__gate_session *out);

static inline struct imgo_str imgo__edge_who(const struct imgo__edge_session *session)
{
	return imgo_strn(session->bytes, session->who_len);
}

static inline struct imgo_str imgo__edge_device(const struct imgo__edge_session *session)
{
	return imgo_strn(session->bytes + session->who_len, session->device_len);
}

static inline struct imgo_str imgo__edge_key(const struct imgo__edge_session *session)
{
	return imgo_strn(session->bytes + session->who_len + session->device_len, session->key_len);
}

static inline struct imgo_session_id imgo__edge_session_id(const struct imgo_edge *edge, uint64_t n)
{
	struct imgo_session_id id = {edge->comet, edge->inc, n};
	return id;
}

static inline struct imgo__edge_session *imgo__edge_find(struct imgo_edge *edge, uint64_t n)
{
	return imgo_hub_data(edge->hub, (struct imgo_conn){n});
}

/* edge_deliver.c */
void imgo__edge_load(struct imgo_edge *edge, struct imgo__edge_session *session); /* reads its log, unless it is reading */
void imgo__edge_deliver_fini(struct imgo_edge *edge);
void imgo__edge_deliver_init(struct imgo_edge *edge);

/* edge_ack.c */
void imgo__edge_ack_init(struct imgo_edge *edge);
void imgo__edge_ack_fini(struct imgo_edge *edge);
void imgo__edge_sent(struct imgo_edge *edge, struct imgo__edge_session *session); /* `delivered` has risen */
void imgo__edge_packet(struct imgo_edge *edge, struct imgo__edge_session *session, int32_t op);
void imgo__edge_pong(struct imgo_edge *edge, struct imgo__edge_session *session, struct imgo_str payload);
/* The session is going: decides what its client has, and queues that and the unregistering. */
void imgo__edge_closed(struct imgo_edge *edge, struct imgo__edge_session *session, const struct imgo_hub_closed *closed);
/* Writes `acked` ({0,0}: nothing) back for a session that is gone, or never was, and unregisters it; tries until both are
 * done. */
void imgo__edge_unregister(
	struct imgo_edge *edge, uint64_t n, struct imgo_str who, struct imgo_str device, struct imgo_id acked);
void imgo__edge_rooms_changed(struct imgo_edge *edge, struct imgo__edge_session *session);
bool imgo__edge_written(const struct imgo_edge *edge); /* nothing waits to be written back */

/* edge_lease.c */
int imgo__edge_lease_init(struct imgo_edge *edge);
void imgo__edge_lease_fini(struct imgo_edge *edge);
void imgo__edge_leave(struct imgo_edge *edge, void (*then)(struct imgo_edge *edge));
/* Makes rings for that many partitions; sessions that exist move to theirs. */
int imgo__edge_set_partitions(struct imgo_edge *edge, uint32_t partitions);

/* edge_goim.c */
void imgo__edge_goim_init(struct imgo_edge *edge);
void imgo__edge_goim_fini(struct imgo_edge *edge);
/* The session that has this key, or NULL. */
struct imgo__edge_session *imgo__edge_by_key(struct imgo_edge *edge, struct imgo_str key);
/* How many are in a room, of all comets as far as that is known, `here` at least. */
uint32_t imgo__edge_online(struct imgo_edge *edge, struct imgo_str room, uint32_t here);
/* A session that is logged in now takes its key, if it has one; an older one of the same user that has it is closed. */
int imgo__edge_key_take(struct imgo_edge *edge, struct imgo__edge_session *session); /* 0, IMGO_ENOMEM */
void imgo__edge_key_drop(struct imgo_edge *edge, struct imgo__edge_session *session);

/* edge_about.c */
int imgo__edge_about_init(struct imgo_edge *edge, const struct imgo_edge_options *options, struct imgo_error *error);
void imgo__edge_about_fini(struct imgo_edge *edge);
struct imgo_comet_about imgo__edge_about(struct imgo_edge *edge); /* now; its strings are the edge's */

/* edge_rpc.c */
int imgo__edge_rpc_init(struct imgo_edge *edge, const struct imgo_edge_options *options, struct imgo_error *error);

/* edge_stats.c */
void imgo__edge_stats_init(struct imgo_edge *edge);
void imgo__edge_stats_fini(struct imgo_edge *edge);
/* Jobs have said something (count: which of edge->ntold and ncast), which began at that time. */
void imgo__edge_told(struct imgo_edge *edge, uint32_t *count, uint64_t *since_us, uint64_t now_us, size_t n);

/* edge.c */
void imgo__edge_check_stopped(struct imgo_edge *edge);
void imgo__edge_close_sessions(struct imgo_edge *edge); /* IMGO_CLOSE_SHUTDOWN */

#endif
