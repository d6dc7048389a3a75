/* SPDX-License-Identifier: MIT */
/*
 * An intrusive chained hash map from byte strings to nodes, keyed with SipHash-2-4 under a random key of its own (so
 * chosen keys cannot collide on purpose), growing by powers of two. The node is embedded in the caller's struct, which
 * also holds the key's bytes: they must not change or move while linked. 16 bytes a node, 8 a bucket.
 */
#ifndef IMGO__BASE_MAP_H
#define IMGO__BASE_MAP_H

#include <imgo/types.h>

struct imgo__map_node {
	struct imgo__map_node *next;
	uint64_t hash;
};

typedef struct imgo_str imgo__map_key_fn(const struct imgo__map_node *node);

struct imgo__map {
	struct imgo__map_node **buckets;
	size_t n, mask; /* nodes; buckets - 1 (buckets NULL: none yet) */
	size_t empty;   /* all buckets below are empty */
	imgo__map_key_fn *key;
	uint64_t k0, k1; /* SipHash key */
};

void imgo__map_init(struct imgo__map *map, imgo__map_key_fn *key);
void imgo__map_fini(struct imgo__map *map); /* frees the buckets, not the nodes */
struct imgo__map_node *imgo__map_get(const struct imgo__map *map, struct imgo_str key);
/* Links node, whose key must not be in the map. IMGO_ENOMEM only for the first (growing later is best effort). */
int imgo__map_put(struct imgo__map *map, struct imgo__map_node *node);
void imgo__map_remove(struct imgo__map *map, struct imgo__map_node *node); /* must be linked */
/* Iteration: start with NULL; removing the returned node before asking for the next is not allowed. */
struct imgo__map_node *imgo__map_next(const struct imgo__map *map, const struct imgo__map_node *node);
/* Unlinks and returns any node, or NULL: for tear-down. */
struct imgo__map_node *imgo__map_pop(struct imgo__map *map);

#endif
