/* SPDX-License-Identifier: MIT */
#include "registry/shards.h"

#include "base/buf.h"
#include "base/hash.h"

enum { ADDRESS_MAX = 256 };

uint64_t imgo__shard_score(struct imgo_str address, uint32_t partition)
{
	uint8_t text[ADDRESS_MAX + 4];
	size_t len = address.len < ADDRESS_MAX ? address.len : ADDRESS_MAX;

	memcpy(text, address.p, len);
	imgo__put32(text + len, partition);
	return imgo__siphash(0, 0, text, len + 4);
}

static bool before(struct imgo_str a, struct imgo_str b)
{
	int order = memcmp(a.p, b.p, a.len < b.len ? a.len : b.len);

	return order ? order < 0 : a.len < b.len;
}

uint32_t imgo__shard_of(const struct imgo_str *addresses, uint32_t n, uint32_t partition)
{
	uint64_t best = imgo__shard_score(addresses[0], partition);
	uint32_t at = 0;

	for (uint32_t i = 1; i < n; i++) {
		uint64_t score = imgo__shard_score(addresses[i], partition);
		if (score > best || (score == best && before(addresses[i], addresses[at]))) {
			best = score;
			at = i;
		}
	}
	return at;
}
