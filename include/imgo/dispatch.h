/* SPDX-License-Identifier: MIT */
/*
 * The job's role: takes what was accepted from the bus, keeps it in the users' logs, and tells the comets. It shares the
 * partitions with the other jobs of its group, and rebuilds a partition of the store that was forgotten.
 */
#ifndef IMGO_DISPATCH_H
#define IMGO_DISPATCH_H

#include <imgo/bus.h>
#include <imgo/loop.h>
#include <imgo/registry.h>
#include <imgo/store.h>

#ifdef __cplusplus
extern "C" {
#endif

struct imgo_dispatch;
struct imgo_edge;

struct imgo_dispatch_options {
	size_t size;
	/* borrowed, mandatory */
	struct imgo_registry *registry;
	struct imgo_store *store;
	struct imgo_bus *bus;
	struct imgo_edge *edge;   /* the comet in this process, borrowed; NULL: none */
	const char *secret;       /* of the comets' RPC; NULL: none */
	struct imgo_tls *rpc_tls; /* of the comets' RPC, borrowed; NULL: in the clear */
	const char *group;        /* default "imgo-job" */
	uint64_t ttl_ms;          /* of the store: how far back a rebuild goes; default 24 h */
	uint64_t cast_age_max_ms; /* room and broadcast messages older than that are dropped; default 10,000 */
	/* Room messages go out at once while a comet is idle and are coalesced while a batch is in flight to it. These two
	 * set goim's way instead: wait for batch_max messages or batch_ms. 0: off. */
	uint32_t room_batch_max;
	uint64_t room_batch_ms;
	const char *poison_path; /* records that cannot be decoded are appended to this file; NULL: only counted */
};
#define IMGO_DISPATCH_OPTIONS_INIT \
	{ \
		sizeof(struct imgo_dispatch_options), NULL, NULL, NULL, NULL, NULL, NULL, "imgo-job", \
			24ull * 3600 * 1000, 10000, 0, 0, NULL \
	}

/* Errors: IMGO_EINVAL, IMGO_EIO (poison_path), IMGO_ENOMEM. */
IMGO_API int imgo_dispatch_new(struct imgo_dispatch **out, struct imgo_loop *loop,
	const struct imgo_dispatch_options *options, struct imgo_error *error);

/* Ends politely: finishes what is in flight, commits, leaves the group; done(user) runs then or after deadline_ms. */
IMGO_API void imgo_dispatch_stop(
	struct imgo_dispatch *dispatch, uint64_t deadline_ms, void (*done)(void *user), void *user);
IMGO_API void imgo_dispatch_free(struct imgo_dispatch *dispatch);

/* Partitions of the users' topic it has, and how many of those wait for the store or are being rebuilt. */
struct imgo_dispatch_state {
	uint32_t assigned, waiting, rebuilding;
};
IMGO_API void imgo_dispatch_state(const struct imgo_dispatch *dispatch, struct imgo_dispatch_state *out);

#ifdef __cplusplus
}
#endif
#endif
