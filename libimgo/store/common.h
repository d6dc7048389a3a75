/* SPDX-License-Identifier: MIT */
/* What our own stores share besides the user's log: options, counters, and the judgement of tokens and
 * markers. */
#ifndef IMGO__STORE_COMMON_H
#define IMGO__STORE_COMMON_H

#include <imgo/log.h>
#include <imgo/stats.h>
#include <imgo/store.h>

#include "store/userlog.h"

/* Counted when they are lasting facts: after the commit. Any thread. */
struct imgo__store_stats {
	struct imgo_stat *appends, *duplicates, *dropped, *missing, *corrupt, *full, *rebuilding;
};
void imgo__store_stats_init(struct imgo__store_stats *stats, struct imgo_stats *set);
/* Counts what a call came to. */
void imgo__store_count_appends(const struct imgo__store_stats *stats, const struct imgo_store_append_many *call);
void imgo__store_count_error(const struct imgo__store_stats *stats, int err);

/* Defaults for what is zero or not there. IMGO_EINVAL. */
int imgo__store_options_take(struct imgo_store_options *out, const struct imgo_store_options *in, struct imgo_error *error);

/* ---- a user's valid tokens: the newest of each device ---- */

struct imgo__token_entry {
	uint8_t hash[IMGO_STORE_TOKEN_HASH_LEN];
	struct imgo_id id;
	uint64_t expires_ms;
	uint8_t len;
	char device[IMGO_DEVICE_MAX];
};

struct imgo__tokenlist {
	struct imgo__token_entry *e;
	size_t n;
};

void imgo__tokenlist_fini(struct imgo__tokenlist *list);
/* 1: changed; 0: the list knows better or has it already; IMGO_ENOMEM. */
int imgo__tokenlist_put(struct imgo__tokenlist *list, const struct imgo_store_token *token, uint64_t now_ms);
/* Whether this token is the valid one of its device. */
bool imgo__tokenlist_valid(const struct imgo__tokenlist *list, const struct imgo_store_token *token);

/* Partition of a token's own record. */
uint32_t imgo__token_partition(const uint8_t hash[IMGO_STORE_TOKEN_HASH_LEN], uint32_t partitions);

/* ---- markers ---- */

struct imgo__marker {
	enum imgo_marker_state state;
	uint64_t token;
};

static inline bool imgo__marker_eq(struct imgo__marker a, struct imgo__marker b)
{
	return a.state == b.state && a.token == b.token;
}

/* Whether content counts: 0, IMGO_EREBUILDING, or IMGO_ESTALE for a rebuild that is not the one that goes on.
 */
int imgo__marker_check(struct imgo__marker marker, uint64_t rebuild_token);
/* Does call->step to *marker and fills the results. *changed: it is to be written. 0 or IMGO_ESTALE. */
int imgo__marker_step(struct imgo__marker *marker, struct imgo_store_marker *call, bool *changed);

#endif
