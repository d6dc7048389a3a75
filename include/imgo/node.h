/* SPDX-License-Identifier: MIT */
/*
 * All roles on one loop: the standalone server, and the front door for who embeds imgo whole.
 *
 * It owns a registry in memory, a store and a bus (both in one LMDB environment when store_path is given, so that what was
 * accepted survives the process; else in memory), a push, a dispatch, an edge and the HTTP API, composed from the public
 * parts as anybody could.
 */
#ifndef IMGO_NODE_H
#define IMGO_NODE_H

#include <imgo/dispatch.h>
#include <imgo/edge.h>
#include <imgo/http.h>
#include <imgo/push.h>

#ifdef __cplusplus
extern "C" {
#endif

struct imgo_node;

struct imgo_node_options {
	size_t size;
	const char *store_path; /* directory of the store and the bus (LMDB); NULL: they are in memory */
	const struct imgo_store_options *store;    /* NULL: defaults */
	const struct imgo_bus_memory_options *bus; /* of what is in memory; on disk only the casts are. NULL: defaults */
	/* Templates: what they borrow (registry, store, bus, push, edge) is filled in by the node. NULL: defaults. */
	const struct imgo_push_options *push;
	const struct imgo_dispatch_options *dispatch;
	const struct imgo_edge_options *edge; /* NULL: TCP 8080, WebSocket 8090 on all interfaces */
	const struct imgo_http_options *http; /* NULL: 127.0.0.1:7172 and 127.0.0.1:8099 */
	/* With store_path. A bus in memory: a push is answered without waiting for the disk, and is lost when the process
	 * dies before it was appended to the store, milliseconds later. */
	bool bus_in_memory;
	uint64_t map_max_bytes; /* the most that store_path may hold; 0: 64 GiB */
};
#define IMGO_NODE_OPTIONS_INIT \
	{ \
		sizeof(struct imgo_node_options), NULL, NULL, NULL, NULL, NULL, NULL, NULL, false, 0 \
	}

/* Listens when it returns. Errors: those of its parts; error says which. */
IMGO_API int imgo_node_new(struct imgo_node **out, struct imgo_loop *loop, const struct imgo_node_options *options,
	struct imgo_error *error);
/* Ends politely, in the order of the flow: no more pushes, no more clients, the last messages handled. done(user) runs when
 * that is finished or deadline_ms has passed. Then free. */
IMGO_API void imgo_node_stop(struct imgo_node *node, uint64_t deadline_ms, void (*done)(void *user), void *user);
IMGO_API void imgo_node_free(struct imgo_node *node); /* at once; NULL is fine */

/* Its parts, which stay its own. */
IMGO_API struct imgo_push *imgo_node_push(struct imgo_node *node);
IMGO_API struct imgo_edge *imgo_node_edge(struct imgo_node *node);
IMGO_API struct imgo_http *imgo_node_http(struct imgo_node *node);
IMGO_API struct imgo_dispatch *imgo_node_dispatch(struct imgo_node *node);

#ifdef __cplusplus
}
#endif
#endif
