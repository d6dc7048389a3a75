/* SPDX-License-Identifier: MIT */
/*
 * The inside of the remote registry: remote.c makes it and keeps the calls (joins), remote_many.c does those
 * that are split by user, remote_all.c those that go to every router.
 */
#ifndef IMGO__REGISTRY_REMOTE_H
#define IMGO__REGISTRY_REMOTE_H

#include <imgo/registry.h>

#include "base/mem.h"
#include "loop/loop.h"
#include "rpc/rpc.h"

struct imgo__remote {
	struct imgo_loop *loop;
	struct imgo__rpc_client *clients[IMGO_REGISTRY_SHARDS_MAX]; /* in the order of the list */
	uint32_t nrouters, list_version, partitions;
	uint32_t newest;   /* list version that a router has told */
	uint8_t *shard_of; /* by partition */
	struct imgo__list joins;
	struct imgo__task destroy;
	struct imgo__task settle; /* joins that failed before anything was sent */
	unsigned depth;           /* callbacks running */
	bool freed;
	struct imgo_stat *stat_behind;
};

/* One call of the registry, and what is open of it. */
struct imgo__remote_join {
	struct imgo__list link;
	struct imgo__remote *remote;
	struct imgo__arena arena; /* results */
	const struct imgo__remote_kind *kind;
	void *args; /* items, or the call's struct */
	size_t n;
	uint32_t pending; /* parts under way */
	uint32_t answered;
	int err;       /* of those that go to every router: the worst */
	void *results; /* of one's own kind */
	imgo_registry_cb *cb;
	void *user;
};

struct imgo__remote_part {
	struct imgo__remote_join *join;
	uint32_t shard;
	const uint32_t *index; /* of the items, */
	size_t n;              /* in the join's arena */
};

/* What differs between the calls. */
struct imgo__remote_kind {
	const char *method;
	void (*write)(struct imgo__mpw *w, const struct imgo__remote_part *part);
	/* The answer, or (mp NULL) err, which the part ended with. Returns 0, or why the answer is not
	 * understood: then it is called again with that. */
	int (*read)(struct imgo__remote_part *part, int err, struct imgo__mp *mp);
	int (*finish)(struct imgo__remote_join *join); /* all parts have ended; NULL: 0. The error of the call */
};

/* A call: NULL without memory. */
struct imgo__remote_join *imgo__remote_begin(struct imgo__remote *remote, const struct imgo__remote_kind *kind,
	void *args, size_t n, imgo_registry_cb *cb, void *user);
/* Sends one part, whose index is in the join's arena. */
void imgo__remote_send(struct imgo__remote_join *join, uint32_t shard, const uint32_t *index, size_t n);
/* Everything is sent. Always 0. */
int imgo__remote_sent(struct imgo__remote_join *join);
void imgo__remote_drop(struct imgo__remote_join *join); /* before anything is sent */

/* remote_many.c */
int imgo__remote_put(void *impl, struct imgo_registry_put *items, size_t n, imgo_registry_cb *cb, void *user);
int imgo__remote_del(void *impl, struct imgo_registry_del *items, size_t n, imgo_registry_cb *cb, void *user);
int imgo__remote_get(void *impl, struct imgo_registry_get *items, size_t n, imgo_registry_cb *cb, void *user);
int imgo__remote_rooms(void *impl, struct imgo_registry_rooms *items, size_t n, imgo_registry_cb *cb, void *user);
/* remote_all.c */
int imgo__remote_renew(void *impl, struct imgo_registry_renew *call, imgo_registry_cb *cb, void *user);
int imgo__remote_comets(void *impl, struct imgo_registry_comets *call, imgo_registry_cb *cb, void *user);
int imgo__remote_count(void *impl, struct imgo_registry_count *call, imgo_registry_cb *cb, void *user);
int imgo__remote_del_comet(void *impl, uint32_t comet, imgo_registry_cb *cb, void *user);

#endif
