/* SPDX-License-Identifier: MIT */
#include "store/common.h"

#include "base/error.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/options.h"

void imgo__store_stats_init(struct imgo__store_stats *stats, struct imgo_stats *set)
{
	stats->appends = imgo_stats_counter(set, "imgo_store_appends_total", "messages added to users' logs");
	stats->duplicates =
		imgo_stats_counter(set, "imgo_store_duplicates_total", "records dropped because of their msgid");
	stats->dropped =
		imgo_stats_counter(set, "imgo_store_dropped_total", "wanted messages that limit or TTL took from a log");
	stats->missing = imgo_stats_counter(set, "imgo_store_missing_total", "messages whose body was not found");
	stats->corrupt = imgo_stats_counter(set, "imgo_store_corrupt_total", "records with a wrong checksum");
	stats->full = imgo_stats_counter(set, "imgo_store_full_total", "calls refused because the store is full");
	stats->rebuilding = imgo_stats_counter(set, "imgo_store_rebuilding_total", "calls refused because of a rebuild");
}

void imgo__store_count_appends(const struct imgo__store_stats *stats, const struct imgo_store_append_many *call)
{
	int64_t added = 0, duplicates = 0, dropped = 0;
	for (size_t i = 0; i < call->nitems; i++) {
		added += call->items[i].result == IMGO_APPEND_NEW;
		duplicates += call->items[i].result == IMGO_APPEND_DUPLICATE;
		dropped += call->items[i].dropped;
	}
	imgo_stat_add(stats->appends, added);
	imgo_stat_add(stats->duplicates, duplicates);
	imgo_stat_add(stats->dropped, dropped);
}

void imgo__store_count_error(const struct imgo__store_stats *stats, int err)
{
	if (err == IMGO_EREBUILDING)
		imgo_stat_add(stats->rebuilding, 1);
	else if (err == IMGO_EFULL)
		imgo_stat_add(stats->full, 1);
}

int imgo__store_options_take(struct imgo_store_options *out, const struct imgo_store_options *in, struct imgo_error *error)
{
	const struct imgo_store_options defaults = IMGO_STORE_OPTIONS_INIT;
	int err;

	*out = defaults;
	err = imgo__options_take(out, in, "store", error);
	if (err < 0)
		return err;
	IMGO__OPTION_DEFAULT(*out, defaults, ttl_ms);
	IMGO__OPTION_DEFAULT(*out, defaults, messages_max);
	IMGO__OPTION_DEFAULT(*out, defaults, bytes_max);
	if (out->ttl_ms > INT64_MAX / 4 || out->messages_max > 1000000)
		return imgo__fail(error, IMGO_EINVAL, "store options: ttl_ms or messages_max is out of range");
	return 0;
}

/* ---- tokens ---- */

void imgo__tokenlist_fini(struct imgo__tokenlist *list)
{
	free(list->e);
	*list = (struct imgo__tokenlist){NULL, 0};
}

static struct imgo__token_entry *find(const struct imgo__tokenlist *list, struct imgo_str device)
{
	for (size_t i = 0; i < list->n; i++)
		if (imgo_str_eq(imgo_strn(list->e[i].device, list->e[i].len), device))
			return &list->e[i];
	return NULL;
}

static void fill(struct imgo__token_entry *entry, const struct imgo_store_token *token)
{
	memset(entry, 0, sizeof *entry);
	memcpy(entry->hash, token->hash, sizeof entry->hash);
	entry->id = token->id;
	entry->expires_ms = token->expires_ms;
	entry->len = (uint8_t)token->device.len;
	if (token->device.len)
		memcpy(entry->device, token->device.p, token->device.len);
}

/* The one to give way: an expired one, else the one with the lowest id. */
static struct imgo__token_entry *least(const struct imgo__tokenlist *list, uint64_t now_ms)
{
	struct imgo__token_entry *least = &list->e[0];
	for (size_t i = 0; i < list->n; i++) {
		if (list->e[i].expires_ms <= now_ms)
			return &list->e[i];
		if (imgo_id_cmp(list->e[i].id, least->id) < 0)
			least = &list->e[i];
	}
	return least;
}

int imgo__tokenlist_put(struct imgo__tokenlist *list, const struct imgo_store_token *token, uint64_t now_ms)
{
	struct imgo__token_entry *entry = find(list, token->device), old;
	if (entry && imgo_id_cmp(token->id, entry->id) < 0)
		return 0;
	if (!entry && list->n < IMGO_STORE_DEVICES_MAX) {
		void *e = imgo__regrow(list->e, list->n + 1, sizeof *list->e);
		if (!e)
			return IMGO_ENOMEM;
		list->e = e;
		fill(&list->e[list->n++], token);
		return 1;
	}
	if (!entry) {
		entry = least(list, now_ms);
		if (entry->expires_ms > now_ms && imgo_id_cmp(token->id, entry->id) < 0)
			return 0;
	}
	old = *entry;
	fill(entry, token);
	return memcmp(&old, entry, sizeof old) != 0;
}

bool imgo__tokenlist_valid(const struct imgo__tokenlist *list, const struct imgo_store_token *token)
{
	const struct imgo__token_entry *entry = find(list, token->device);
	return entry && memcmp(entry->hash, token->hash, sizeof entry->hash) == 0;
}

uint32_t imgo__token_partition(const uint8_t hash[IMGO_STORE_TOKEN_HASH_LEN], uint32_t partitions)
{
	char hex[2 * IMGO_STORE_TOKEN_HASH_LEN + 1];
	imgo__hex(hash, IMGO_STORE_TOKEN_HASH_LEN, hex);
	return imgo_partition(imgo_strn(hex, sizeof hex - 1), partitions);
}

/* ---- markers ---- */

int imgo__marker_check(struct imgo__marker marker, uint64_t rebuild_token)
{
	if (rebuild_token == 0)
		return marker.state == IMGO_MARKER_COMPLETE ? 0 : IMGO_EREBUILDING;
	return marker.state == IMGO_MARKER_BUILDING && marker.token == rebuild_token ? 0 : IMGO_ESTALE;
}

int imgo__marker_step(struct imgo__marker *marker, struct imgo_store_marker *call, bool *changed)
{
	struct imgo__marker before = *marker;
	int err = 0;
	if (call->step == IMGO_MARKER_BEGIN && marker->state != IMGO_MARKER_COMPLETE)
		*marker = (struct imgo__marker){IMGO_MARKER_BUILDING, call->token};
	else if (call->step == IMGO_MARKER_FINISH && marker->state != IMGO_MARKER_MISSING && marker->token == call->token)
		marker->state = IMGO_MARKER_COMPLETE;
	else if (call->step == IMGO_MARKER_FINISH)
		err = IMGO_ESTALE;
	*changed = !imgo__marker_eq(before, *marker);
	call->state = marker->state;
	call->state_token = marker->token;
	return err;
}
