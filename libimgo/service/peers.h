/* SPDX-License-Identifier: MIT */
/*
 * How many different addresses the clients have (goim's ip_count): a table of their hashes with the number of sessions of
 * each. 8 bytes an address and no strings; two addresses with one hash, among a million, are a few hundred too little.
 */
#ifndef IMGO__SERVICE_PEERS_H
#define IMGO__SERVICE_PEERS_H

#include <imgo/types.h>

struct imgo__peers {
	struct imgo__peer {
		uint32_t hash, sessions; /* sessions 0: free */
	} * slots;
	uint32_t mask, n; /* slots - 1 (slots NULL: none yet); addresses */
	uint64_t k0, k1;  /* of the hash: nobody else can make up addresses that meet */
};

/* The hash of "host:port", without the port. */
uint32_t imgo__peers_hash(const struct imgo__peers *peers, struct imgo_str peer);
/* False: out of memory, nothing changed. */
bool imgo__peers_add(struct imgo__peers *peers, uint32_t hash);
void imgo__peers_drop(struct imgo__peers *peers, uint32_t hash); /* must have been added */
void imgo__peers_fini(struct imgo__peers *peers);

#endif
