/* SPDX-License-Identifier: MIT */
/*
 * The registry: which user is online, in which sessions, on which comet, in which rooms. The door for those who
 * implement one (a custom router); callers use imgo/registry.h.
 *
 * THE MODEL. A comet holds a lease under an incarnation; a session exists only under the lease of its comet's newest
 * incarnation. When a lease ends or a larger incarnation appears, all sessions of the old one are gone. Of two
 * incarnations of one comet the larger always wins: a renewal by the smaller is IMGO_ESTALE (and while the larger's
 * lease runs, nothing of the smaller is put). Sessions are sharded by the user's partition; leases are everywhere.
 *
 * A put may come before its comet's first renewal: it is taken under a provisional lease of 10 s, whose address nobody
 * knows yet (it is not among the comets).
 *
 * A registry may forget (a router restarts): it has an incarnation of its own for each shard. A comet that sees another
 * one than before announces its sessions again (put with seq != 0). The registry in memory gives a comet a new one
 * also when the comet's lease had ended without its knowledge, so that its sessions come back in the same way.
 *
 * Each session has a seq, unique among the user's live sessions: "<uid>_<seq>" is imgo's key. It rises from 1 for each
 * user, and continues above the highest one announced. An announced seq that another live session has got meanwhile is
 * replaced: the result counts.
 *
 * OLDER AND NEWER, for the maximum and for named devices, ask no clock: a session that is announced again is older than
 * one first put in this life of the registry; among equals the one with the smaller seq is older.
 *
 * CALLS are asynchronous (imgo/error.h). Arguments stay valid until the callback; results live until it returns. Every
 * operation may be repeated: put by session id, delete of what is not there is fine. Calls take effect in their order.
 */
#ifndef IMGO_BACKEND_REGISTRY_H
#define IMGO_BACKEND_REGISTRY_H

#include <imgo/error.h>
#include <imgo/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define IMGO_REGISTRY_ROOMS_MAX    64 /* of one session */
#define IMGO_REGISTRY_ADDRESS_MAX  63 /* "host:port" of a comet's RPC */
#define IMGO_REGISTRY_HOSTS_MAX    255
#define IMGO_REGISTRY_SHARDS_MAX   64
#define IMGO_REGISTRY_COUNT_MAX    65536 /* rooms in one answer of count */
#define IMGO_REGISTRY_LEASE_MAX_MS 3600000

typedef void imgo_registry_cb(int err, void *user);

struct imgo_session {
	struct imgo_session_id id;
	struct imgo_str user, device;
	uint64_t seq;
	const struct imgo_str *rooms;
	size_t nrooms;
};

enum imgo_sessions_policy {
	IMGO_SESSIONS_REPLACE = 0, /* at the maximum the oldest session of the user goes */
	IMGO_SESSIONS_REFUSE = 1,  /* at the maximum the new one is refused: IMGO_ELIMIT */
};

struct imgo_registry_put {
	struct imgo_session session; /* seq 0: a new one; else announced again (no maximum is applied) */
	uint32_t sessions_max;       /* of the user; 0: no maximum */
	enum imgo_sessions_policy policy;
	/* results */
	/* 0; IMGO_ELIMIT; IMGO_ESTALE (its comet has a newer incarnation); IMGO_EEXISTS (announced, but its named device has
	 * a newer session: close this one); IMGO_EUNAVAILABLE, IMGO_ETIMEDOUT, IMGO_EVERSION (its shard; again later) */
	int err;
	uint64_t seq;
	const struct imgo_session_id *evicted; /* whom it replaced: to be closed. A session of the same *named* device always is */
	size_t nevicted;
};

struct imgo_registry_del {
	struct imgo_str user;
	struct imgo_session_id id; /* only this very one goes */
	int err;
};

struct imgo_registry_get {
	struct imgo_str user;
	/* results */
	int err; /* 0 (also when the user is offline); IMGO_EUNAVAILABLE, IMGO_ETIMEDOUT, IMGO_EVERSION …: unknown */
	const struct imgo_session *sessions; /* rooms are not filled */
	size_t nsessions;
};

struct imgo_registry_rooms { /* the session's rooms are these from now on */
	struct imgo_str user;
	struct imgo_session_id id;
	const struct imgo_str *rooms;
	size_t nrooms;
	int err; /* IMGO_ENOTFOUND: no such session */
};

struct imgo_registry_shard {
	struct imgo_incarnation inc; /* {0,0}: this shard did not answer */
};

/* What a comet says of itself with each renewal, for those who want to connect to it. The registry only passes it on. */
struct imgo_comet_about {
	struct imgo_str hosts; /* names or addresses under which clients reach it, between commas; "": it does not know */
	uint32_t tcp_port, websocket_port, wss_port; /* 0: none */
	uint32_t heartbeat_ms;                       /* a client that sends no heartbeat for so long is closed */
	uint32_t weight;                             /* its share of the clients, beside the others' */
	uint32_t connections, ips;                   /* now: clients logged in, and how many addresses they have */
};

struct imgo_registry_renew {
	uint32_t comet;
	struct imgo_incarnation inc;
	struct imgo_str address; /* where its RPC listens; "" for one in the same process */
	uint64_t lease_ms;       /* 1 to IMGO_REGISTRY_LEASE_MAX_MS */
	bool leaving;            /* ends the lease now */
	struct imgo_comet_about about;
	/* results. err of the call: 0 if at least one shard answered and none refused; IMGO_ESTALE: a larger incarnation lives */
	uint32_t list_version; /* of the list of routers: the highest seen; 0: there is none */
	struct imgo_registry_shard shards[IMGO_REGISTRY_SHARDS_MAX];
	uint32_t nshards;
};

struct imgo_comet_info {
	uint32_t comet;
	struct imgo_incarnation inc;
	struct imgo_str address;
	uint64_t sessions; /* that this registry knows */
	struct imgo_comet_about about;
};

struct imgo_registry_comets {
	const struct imgo_comet_info *comets; /* result: those with a live lease */
	size_t n;
};

struct imgo_room_count {
	struct imgo_str room; /* "" : in no room */
	uint64_t count;
};

struct imgo_registry_count {
	/* What is asked for; zero: everything. A registry may answer with more than that. */
	struct imgo_str prefix;      /* rooms whose key begins with it ... */
	const struct imgo_str *only; /* ... or just these */
	size_t nonly;                /* at most IMGO_REGISTRY_COUNT_MAX; one that is there twice is answered once */
	/* results */
	const struct imgo_room_count *rooms; /* sorted by key; at most what fits in a reply: the largest */
	size_t n;
	uint64_t sessions, users;
};

/* The table; all members are mandatory. */
struct imgo_registry_ops {
	size_t size;
	void (*free)(void *impl); /* pending calls end with IMGO_ECANCELED */
	int (*put_many)(void *impl, struct imgo_registry_put *items, size_t n, imgo_registry_cb *cb, void *user);
	int (*del_many)(void *impl, struct imgo_registry_del *items, size_t n, imgo_registry_cb *cb, void *user);
	int (*get_many)(void *impl, struct imgo_registry_get *items, size_t n, imgo_registry_cb *cb, void *user);
	int (*rooms_many)(void *impl, struct imgo_registry_rooms *items, size_t n, imgo_registry_cb *cb, void *user);
	int (*renew)(void *impl, struct imgo_registry_renew *call, imgo_registry_cb *cb, void *user);
	int (*comets)(void *impl, struct imgo_registry_comets *call, imgo_registry_cb *cb, void *user);
	int (*count)(void *impl, struct imgo_registry_count *call, imgo_registry_cb *cb, void *user);
	/* Forgets this comet's sessions, and only that comet's; its lease stays. */
	int (*del_comet)(void *impl, uint32_t comet, imgo_registry_cb *cb, void *user);
};

#ifdef __cplusplus
}
#endif
#endif
