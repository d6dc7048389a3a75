/* SPDX-License-Identifier: MIT */
/*
 * All roles on one loop. Nothing here that an embedder could not write: the parts are made in the order in which they
 * borrow one another, stopped in the order of the flow (no more pushes, no more clients, the last messages handled), and
 * freed in reverse.
 */
#include <string.h>

#include <imgo/node.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/options.h"

struct imgo_node {
	struct imgo_registry *registry;
	struct imgo_lmdb *lmdb;
	struct imgo_store *store;
	struct imgo_bus *bus;
	struct imgo_push *push;
	struct imgo_edge *edge;
	struct imgo_dispatch *dispatch;
	struct imgo_http *http;
	uint64_t deadline_ms;
	void (*done)(void *user);
	void *user;
};

/* The store and the bus in one environment: what the bus has accepted and what the consumer has done with it go into
 * common commits, and neither can be lost without the other. */
static int open_disk(struct imgo_node *node, struct imgo_loop *loop, const struct imgo_node_options *options,
	struct imgo_error *error)
{
	struct imgo_lmdb_options lmdb = IMGO_LMDB_OPTIONS_INIT;
	struct imgo_bus_lmdb_options bus = IMGO_BUS_LMDB_OPTIONS_INIT;
	int err;

	lmdb.path = options->store_path;
	if (options->map_max_bytes)
		lmdb.map_max_bytes = options->map_max_bytes;
	if (options->bus) {
		bus.partitions = options->bus->partitions;
		bus.casts_partitions = options->bus->casts_partitions;
		bus.casts_bytes_max = options->bus->bytes_max;
	}
	err = imgo_lmdb_open(&node->lmdb, loop, &lmdb, error);
	if (err == 0)
		err = imgo_store_new_lmdb_in(&node->store, loop, node->lmdb, options->store, error);
	if (err == 0 && !options->bus_in_memory)
		err = imgo_bus_new_lmdb(&node->bus, loop, node->lmdb, &bus, error);
	return err;
}

/* A bus in memory beside a store that stays counts on from where the store is, also when the clock was set back. */
static int open_memory_bus(struct imgo_node *node, struct imgo_loop *loop, const struct imgo_node_options *options,
	struct imgo_error *error)
{
	struct imgo_bus_memory_options bus = IMGO_BUS_MEMORY_OPTIONS_INIT;
	int err = imgo__options_take(&bus, options->bus, "node: bus", error);

	if (err == 0 && node->lmdb && (err = imgo_lmdb_new_epoch(node->lmdb, &bus.epoch)) < 0)
		imgo__fail(error, err, "%s: a new epoch: %s", options->store_path, imgo_strerror(err));
	return err ? err : imgo_bus_new_memory(&node->bus, loop, &bus, error);
}

static int open_data(struct imgo_node *node, struct imgo_loop *loop, const struct imgo_node_options *options,
	struct imgo_error *error)
{
	int err = imgo_registry_new_memory(&node->registry, loop, error);

	if (err < 0)
		return err;
	if (options->store_path)
		err = open_disk(node, loop, options, error);
	else
		err = imgo_store_new_memory(&node->store, loop, options->store, error);
	if (err == 0 && !node->bus)
		err = open_memory_bus(node, loop, options, error);
	return err;
}

static int open_push(struct imgo_node *node, struct imgo_loop *loop, const struct imgo_node_options *options,
	struct imgo_error *error)
{
	struct imgo_push_options push = IMGO_PUSH_OPTIONS_INIT;

	if (imgo__options_take(&push, options->push, "node: push", error) < 0)
		return IMGO_EINVAL;
	push.registry = node->registry;
	push.store = node->store;
	push.bus = node->bus;
	return imgo_push_new(&node->push, loop, &push, error);
}

static int open_edge(struct imgo_node *node, struct imgo_loop *loop, const struct imgo_node_options *options,
	struct imgo_error *error)
{
	struct imgo_edge_options edge = IMGO_EDGE_OPTIONS_INIT;

	edge.tcp = "0.0.0.0:8080";
	edge.websocket = "0.0.0.0:8090";
	if (imgo__options_take(&edge, options->edge, "node: edge", error) < 0)
		return IMGO_EINVAL;
	edge.push = node->push;
	edge.logics = NULL;
	return imgo_edge_new(&node->edge, loop, &edge, error);
}

static int open_dispatch(struct imgo_node *node, struct imgo_loop *loop, const struct imgo_node_options *options,
	struct imgo_error *error)
{
	struct imgo_dispatch_options dispatch = IMGO_DISPATCH_OPTIONS_INIT;

	if (imgo__options_take(&dispatch, options->dispatch, "node: dispatch", error) < 0)
		return IMGO_EINVAL;
	if (options->store)
		dispatch.ttl_ms = options->store->ttl_ms;
	dispatch.registry = node->registry;
	dispatch.store = node->store;
	dispatch.bus = node->bus;
	dispatch.edge = node->edge;
	return imgo_dispatch_new(&node->dispatch, loop, &dispatch, error);
}

static int open_http(struct imgo_node *node, struct imgo_loop *loop, const struct imgo_node_options *options,
	struct imgo_error *error)
{
	struct imgo_http_options http = IMGO_HTTP_OPTIONS_INIT;

	if (imgo__options_take(&http, options->http, "node: http", error) < 0)
		return IMGO_EINVAL;
	http.push = node->push;
	return imgo_http_new(&node->http, loop, &http, error);
}

int imgo_node_new(
	struct imgo_node **out, struct imgo_loop *loop, const struct imgo_node_options *given, struct imgo_error *error)
{
	struct imgo_node_options o = IMGO_NODE_OPTIONS_INIT;
	const struct imgo_node_options *options = &o;
	struct imgo_node *node;
	int err;

	err = imgo__options_take(&o, given, "node", error);
	if (err < 0)
		return err;
	node = imgo__zalloc(sizeof *node);
	if (!node)
		return imgo__fail(error, IMGO_ENOMEM, "node: out of memory");
	err = open_data(node, loop, options, error);
	if (err == 0)
		err = open_push(node, loop, options, error);
	if (err == 0)
		err = open_edge(node, loop, options, error);
	if (err == 0)
		err = open_dispatch(node, loop, options, error);
	if (err == 0)
		err = open_http(node, loop, options, error);
	if (err < 0) {
		imgo_node_free(node);
		return err;
	}
	*out = node;
	return 0;
}

/* ---- stop ---- */

static void dispatch_stopped(void *user)
{
	struct imgo_node *node = user;

	node->done(node->user);
}

static void edge_stopped(void *user)
{
	struct imgo_node *node = user;

	imgo_dispatch_stop(node->dispatch, node->deadline_ms, dispatch_stopped, node);
}

static void http_stopped(void *user)
{
	struct imgo_node *node = user;

	imgo_edge_stop(node->edge, node->deadline_ms, edge_stopped, node);
}

void imgo_node_stop(struct imgo_node *node, uint64_t deadline_ms, void (*done)(void *user), void *user)
{
	node->deadline_ms = deadline_ms / 3 + 1;
	node->done = done;
	node->user = user;
	imgo_http_stop(node->http, node->deadline_ms, http_stopped, node);
}

void imgo_node_free(struct imgo_node *node)
{
	if (!node)
		return;
	imgo_http_free(node->http);
	imgo_dispatch_free(node->dispatch);
	imgo_edge_free(node->edge);
	imgo_push_free(node->push);
	imgo_bus_free(node->bus);
	imgo_store_free(node->store);
	imgo_lmdb_unref(node->lmdb);
	imgo_registry_free(node->registry);
	free(node);
}

struct imgo_push *imgo_node_push(struct imgo_node *node)
{
	return node->push;
}

struct imgo_edge *imgo_node_edge(struct imgo_node *node)
{
	return node->edge;
}

struct imgo_http *imgo_node_http(struct imgo_node *node)
{
	return node->http;
}

struct imgo_dispatch *imgo_node_dispatch(struct imgo_node *node)
{
	return node->dispatch;
}
