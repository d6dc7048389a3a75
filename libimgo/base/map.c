/* SPDX-License-Identifier: MIT */
/*
 * An array of chains. The bucket is the low bits of the node's hash, which is kept in the node, so growing
 * does not ask for keys. Growing happens at one node a bucket, all at once (one pass over the nodes); when
 * there is no memory for it the chains just get longer. Buckets below `empty` are empty, so that popping all
 * nodes is one pass.
 */
#include "base/map.h"

#include <stdlib.h>

#include <imgo/error.h>

#include "base/hash.h"
#include "base/mem.h"

enum { MAP_FIRST = 16 };

void imgo__map_init(struct imgo__map *map, imgo__map_key_fn *key)
{
	uint64_t k[2];

	imgo__random_bytes(k, sizeof(k));
	*map = (struct imgo__map){.key = key, .k0 = k[0], .k1 = k[1]};
}

void imgo__map_fini(struct imgo__map *map)
{
	free(map->buckets);
	map->buckets = NULL;
	map->n = map->mask = map->empty = 0;
}

struct imgo__map_node *imgo__map_get(const struct imgo__map *map, struct imgo_str key)
{
	struct imgo__map_node *node;
	uint64_t hash;

	if (map->n == 0)
		return NULL;
	hash = imgo__siphash(map->k0, map->k1, key.p, key.len);
	for (node = map->buckets[hash & map->mask]; node; node = node->next) {
		if (node->hash == hash && imgo_str_eq(map->key(node), key))
			return node;
	}
	return NULL;
}

static void link_node(struct imgo__map_node **buckets, size_t mask, struct imgo__map_node *node)
{
	struct imgo__map_node **at = &buckets[node->hash & mask];

	node->next = *at;
	*at = node;
}

static int resize(struct imgo__map *map, size_t size)
{
	struct imgo__map_node **buckets = imgo__array(size, sizeof(struct imgo__map_node *));

	if (buckets == NULL)
		return IMGO_ENOMEM;
	for (size_t i = 0; map->buckets && i <= map->mask; i++) {
		struct imgo__map_node *node = map->buckets[i], *next;
		for (; node; node = next) {
			next = node->next;
			link_node(buckets, size - 1, node);
		}
	}
	free(map->buckets);
	map->buckets = buckets;
	map->mask = size - 1;
	map->empty = 0;
	return 0;
}

int imgo__map_put(struct imgo__map *map, struct imgo__map_node *node)
{
	struct imgo_str key = map->key(node);

	if (map->buckets == NULL) {
		if (resize(map, MAP_FIRST) < 0)
			return IMGO_ENOMEM;
	} else if (map->n > map->mask) {
		(void)resize(map, (map->mask + 1) * 2);
	}
	node->hash = imgo__siphash(map->k0, map->k1, key.p, key.len);
	link_node(map->buckets, map->mask, node);
	if ((node->hash & map->mask) < map->empty)
		map->empty = node->hash & map->mask;
	map->n++;
	return 0;
}

void imgo__map_remove(struct imgo__map *map, struct imgo__map_node *node)
{
	struct imgo__map_node **at = &map->buckets[node->hash & map->mask];

	while (*at != node)
		at = &(*at)->next;
	*at = node->next;
	node->next = NULL;
	map->n--;
}

struct imgo__map_node *imgo__map_next(const struct imgo__map *map, const struct imgo__map_node *node)
{
	size_t i = 0;

	if (map->buckets == NULL)
		return NULL;
	if (node) {
		if (node->next)
			return node->next;
		i = (node->hash & map->mask) + 1;
	}
	for (; i <= map->mask; i++) {
		if (map->buckets[i])
			return map->buckets[i];
	}
	return NULL;
}

struct imgo__map_node *imgo__map_pop(struct imgo__map *map)
{
	struct imgo__map_node *node;

	if (map->n == 0)
		return NULL;
	while (map->buckets[map->empty] == NULL)
		map->empty++;
	node = map->buckets[map->empty];
	map->buckets[map->empty] = node->next;
	node->next = NULL;
	map->n--;
	return node;
}
