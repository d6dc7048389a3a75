/* SPDX-License-Identifier: MIT */
/* Open addressing with linear probing, at most three quarters full; what is dropped leaves no tombstone: those behind it
 * move up. */
#include "service/peers.h"

#include "base/hash.h"
#include "base/mem.h"

enum { SLOTS_MIN = 64 };

uint32_t imgo__peers_hash(const struct imgo__peers *peers, struct imgo_str peer)
{
	size_t len = peer.len;

	while (len > 0 && peer.p[len - 1] != ':')
		len--;
	return (uint32_t)imgo__siphash(peers->k0, peers->k1, peer.p, len);
}

/* The slot of the hash, or the free one where it would be. */
static struct imgo__peer *find(const struct imgo__peers *peers, uint32_t hash)
{
	uint32_t i = hash & peers->mask;

	while (peers->slots[i].sessions && peers->slots[i].hash != hash)
		i = (i + 1) & peers->mask;
	return &peers->slots[i];
}

static bool grow(struct imgo__peers *peers)
{
	struct imgo__peer *old = peers->slots;
	uint32_t nold = old ? peers->mask + 1 : 0, n = old ? nold * 2 : SLOTS_MIN;
	struct imgo__peer *slots = imgo__array(n, sizeof *slots);

	if (!slots)
		return false;
	peers->slots = slots;
	peers->mask = n - 1;
	for (uint32_t i = 0; i < nold; i++) {
		if (old[i].sessions)
			*find(peers, old[i].hash) = old[i];
	}
	free(old);
	return true;
}

bool imgo__peers_add(struct imgo__peers *peers, uint32_t hash)
{
	struct imgo__peer *peer;

	if ((!peers->slots || peers->n >= (peers->mask + 1) / 4 * 3) && !grow(peers))
		return false;
	peer = find(peers, hash);
	peer->hash = hash;
	if (peer->sessions++ == 0)
		peers->n++;
	return true;
}

void imgo__peers_drop(struct imgo__peers *peers, uint32_t hash)
{
	struct imgo__peer *peer = find(peers, hash);
	uint32_t hole = (uint32_t)(peer - peers->slots), i = hole;

	if (peer->sessions == 0 || --peer->sessions > 0)
		return;
	peers->n--;
	for (;;) {
		i = (i + 1) & peers->mask;
		if (peers->slots[i].sessions == 0)
			return;
		/* It stays when its own place lies between the hole and it. */
		if (((i - peers->slots[i].hash) & peers->mask) < ((i - hole) & peers->mask))
			continue;
		peers->slots[hole] = peers->slots[i];
		peers->slots[i].sessions = 0;
		hole = i;
	}
}

void imgo__peers_fini(struct imgo__peers *peers)
{
	free(peers->slots);
	peers->slots = NULL;
}
