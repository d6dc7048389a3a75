/* SPDX-License-Identifier: MIT */
/*
 * Which router has which partition: rendezvous hashing. Of all routers of the list, partition p belongs to
 * the one with the highest score; of equal scores the first in the order of the addresses' bytes wins.
 *
 *   score(p, address) = SipHash-2-4, key 0, of the address' text followed by p as 4 bytes, big-endian
 *
 * So the order of the list does not matter, a router that goes takes only its own partitions with it, and one
 * that comes takes about its share from each. Vectors: tests/unit/test_registry_shards.c.
 */
#ifndef IMGO__REGISTRY_SHARDS_H
#define IMGO__REGISTRY_SHARDS_H

#include <imgo/types.h>

uint64_t imgo__shard_score(struct imgo_str address, uint32_t partition);
/* Index of the address that partition p belongs to; n at least 1. */
uint32_t imgo__shard_of(const struct imgo_str *addresses, uint32_t n, uint32_t partition);

#endif
