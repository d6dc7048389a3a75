/* SPDX-License-Identifier: MIT */
/*
 * The registry in memory, its parts: rooms (memory_rooms.c), sessions by user (memory_sessions.c), leases
 * (memory_leases.c); memory.c puts the calls together. Everything belongs to one loop.
 */
#ifndef IMGO__REGISTRY_MEMORY_H
#define IMGO__REGISTRY_MEMORY_H

#include <imgo/registry.h>

#include "base/map.h"
#include "loop/loop.h"

/* ---- rooms: interned, with the number of sessions in each ---- */
struct imgo__reg_room {
	struct imgo__map_node node;
	uint64_t count; /* sessions; at 0 the room goes */
	uint8_t len;
	char key[];
};

struct imgo__reg_rooms {
	struct imgo__map map;
	uint64_t roomless; /* sessions in no room */
};

/* ---- sessions ---- */
enum {
	IMGO__REG_ANNOUNCED = 1, /* older than any session first put here */
	IMGO__REG_TOMB = 2,      /* gone; stays to remember the user's highest seq */
};

/* 56 bytes and the keys: with a user of 16 bytes one malloc chunk of 80. A million of them is the point of
 * this file. */
struct imgo__reg_session {
	struct imgo__reg_session *next; /* in its bucket */
	struct imgo__list link;         /* in its lease */
	union {
		struct imgo__reg_room *one;   /* nrooms == 1 */
		struct imgo__reg_room **many; /* nrooms > 1 */
	} rooms;
	uint64_t n; /* of the session id; the rest of the id is the lease's */
	uint64_t seq;
	uint32_t lease; /* index */
	uint8_t user_len, device_len, nrooms, flags;
	char key[]; /* user, then device */
};

struct imgo__reg_sessions {
	struct imgo__reg_session ***segments; /* of IMGO__REG_SEGMENT buckets */
	size_t nsegments, segments_cap;
	size_t nbuckets, mask; /* in use; the power of two above it, less one */
	size_t records;        /* tombs too */
	uint64_t users;        /* with a session that is not a tomb */
	uint64_t k0, k1;
};
#define IMGO__REG_SEGMENT 1024u

/* ---- leases ---- */
struct imgo__lease {
	struct imgo__map_node node; /* by comet, while it is live */
	struct imgo__timer timer;   /* its end */
	struct imgo__list sessions;
	struct imgo__memory *memory;
	struct imgo__list dead; /* in reg->dead once it is over and has sessions left to forget */
	uint64_t nsessions;
	struct imgo_incarnation inc;
	struct imgo_incarnation shard; /* what the comet is told of this registry: new with each lease */
	uint32_t comet, index;
	bool live, provisional;
	uint8_t address_len;
	char address[IMGO_REGISTRY_ADDRESS_MAX];
	struct imgo_comet_about about; /* its hosts are here: */
	char hosts[IMGO_REGISTRY_HOSTS_MAX];
};

struct imgo__memory {
	struct imgo_loop *loop;
	struct imgo__reg_rooms rooms;
	struct imgo__reg_sessions sessions;
	struct imgo__map comets;     /* live leases */
	struct imgo__lease **leases; /* by index; NULL: free */
	uint32_t nleases;
	struct imgo__list dead;
	struct imgo__timer purge;
	struct imgo_incarnation shard; /* the newest given to a lease */
	/* calls (memory.c) */
	struct imgo__list calls;
	struct imgo__task task;
	bool running, freed;
	struct imgo__collector collector;
	struct imgo__gauge sessions_known, users_known, rooms_known, leases_live;
	struct imgo_stat *leases_ended, *leases_refused, *leases_begun;
	struct imgo__scratch {
		void *p;
		size_t n, cap, size;
	} ids, found, infos, counts;
};

/* An uninitialised element more, or NULL; the elements move. */
void *imgo__scratch_add(struct imgo__scratch *scratch);

/* ---- memory_rooms.c ---- */
void imgo__reg_rooms_init(struct imgo__reg_rooms *rooms);
void imgo__reg_rooms_fini(struct imgo__reg_rooms *rooms); /* every session has left */
/* Puts the session in these rooms (duplicates count once) instead of its present ones. IMGO_ENOMEM: nothing
 * changed. */
int imgo__reg_rooms_set(struct imgo__reg_rooms *rooms, struct imgo__reg_session *s, const struct imgo_str *names, size_t n);
void imgo__reg_rooms_enter_none(struct imgo__reg_rooms *rooms, struct imgo__reg_session *s); /* a new session */
void imgo__reg_rooms_leave(struct imgo__reg_rooms *rooms, struct imgo__reg_session *s);      /* and it goes */

/* ---- memory_sessions.c ---- */
static inline struct imgo_str imgo__reg_user(const struct imgo__reg_session *s)
{
	return imgo_strn(s->key, s->user_len);
}

static inline struct imgo_str imgo__reg_device(const struct imgo__reg_session *s)
{
	return imgo_strn(s->key + s->user_len, s->device_len);
}

int imgo__reg_sessions_init(struct imgo__reg_sessions *t, struct imgo_loop *loop);
void imgo__reg_sessions_fini(struct imgo__reg_sessions *t); /* frees the records too */
/* The records of a user, in the order in which they came, tombs among them; NULL at the end. */
struct imgo__reg_session *imgo__reg_first(const struct imgo__reg_sessions *t, struct imgo_str user);
struct imgo__reg_session *imgo__reg_next(const struct imgo__reg_session *s);
/* An unlinked record with the keys in it, or NULL. free() it when it is not inserted. */
struct imgo__reg_session *imgo__reg_session_new(struct imgo_str user, struct imgo_str device);
void imgo__reg_insert(struct imgo__reg_sessions *t, struct imgo__reg_session *s); /* behind the user's others */
void imgo__reg_remove(struct imgo__reg_sessions *t, struct imgo__reg_session *s); /* out of rooms and lease already */

/* ---- memory_leases.c ---- */
#define IMGO__LEASE_PROVISIONAL_MS 10000
int imgo__leases_init(struct imgo__memory *reg);
void imgo__leases_fini(struct imgo__memory *reg);
static inline struct imgo__lease *imgo__lease_of(const struct imgo__memory *reg, const struct imgo__reg_session *s)
{
	return reg->leases[s->lease];
}
struct imgo__lease *imgo__lease_get(const struct imgo__memory *reg, uint32_t comet); /* live, or NULL */
/* The live lease of this very incarnation, made provisionally if need be; a larger one ends the older.
 * IMGO_ESTALE. */
int imgo__lease_enter(struct imgo__memory *reg, uint32_t comet, struct imgo_incarnation inc, struct imgo__lease **out);
int imgo__lease_renew(struct imgo__memory *reg, struct imgo_registry_renew *call);
void imgo__lease_adopt(struct imgo__lease *lease, struct imgo__reg_session *s);
void imgo__lease_forget(struct imgo__memory *reg, struct imgo__reg_session *s); /* the whole session goes */
int imgo__lease_clear(struct imgo__memory *reg, struct imgo__lease *lease);     /* all its sessions go, it stays */

/* ---- memory_put.c ---- */
static inline bool imgo__reg_alive(const struct imgo__memory *reg, const struct imgo__reg_session *s)
{
	return !(s->flags & IMGO__REG_TOMB) && imgo__lease_of(reg, s)->live;
}

static inline struct imgo_session_id imgo__reg_id(const struct imgo__memory *reg, const struct imgo__reg_session *s)
{
	const struct imgo__lease *lease = imgo__lease_of(reg, s);
	struct imgo_session_id id = {lease->comet, lease->inc, s->n};
	return id;
}

/* The live session of that id, or NULL. */
struct imgo__reg_session *imgo__reg_find(const struct imgo__memory *reg, struct imgo_str user, struct imgo_session_id id);
int imgo__memory_put(struct imgo__memory *reg, struct imgo_registry_put *item); /* evicted go to reg->ids */

#endif
