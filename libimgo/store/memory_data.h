/* SPDX-License-Identifier: MIT */
/* What the memory store holds: partitions of markers, users, bodies and tokens. */
#ifndef IMGO__STORE_MEMORY_DATA_H
#define IMGO__STORE_MEMORY_DATA_H

#include "base/list.h"
#include "base/map.h"
#include "store/common.h"

#define IMGO__BODY_KEY_LEN 20 /* epoch, id, tag */

struct imgo__mem_body {
	struct imgo__map_node node;
	uint8_t key[IMGO__BODY_KEY_LEN];
	uint32_t refs; /* one a user that wants it */
	int32_t op;
	uint64_t at_ms;
	struct imgo_msgid msgid;
	size_t size;
	char data[];
};

struct imgo__mem_user {
	struct imgo__map_node node;
	struct imgo__list ring; /* of all users of the store, for the sweep */
	struct imgo__mem_part *part;
	struct imgo__userlog log;
	struct imgo__tokenlist tokens;
	size_t len;
	char name[];
};

struct imgo__mem_token {
	struct imgo__map_node node;
	struct imgo__list ring;
	struct imgo__mem_part *part;
	struct imgo_store_token token; /* strings point into text */
	char text[];
};

struct imgo__mem_marker {
	uint32_t epoch;
	struct imgo__marker marker;
};

struct imgo__mem_part {
	struct imgo__map_node node;
	uint8_t key[4];
	struct imgo__map users, bodies, tokens;
	struct imgo__mem_marker *markers; /* few: one an epoch */
	size_t nmarkers;
};

struct imgo__mem_data {
	struct imgo__map parts;
	struct imgo__list users, tokens;
	size_t nusers, ntokens;
};

void imgo__mem_init(struct imgo__mem_data *data);
void imgo__mem_fini(struct imgo__mem_data *data);
void imgo__mem_forget(struct imgo__mem_data *data, uint32_t partition); /* UINT32_MAX: all */

/* These return NULL when there is none (get) or no memory (make). */
struct imgo__mem_part *imgo__mem_part_get(struct imgo__mem_data *data, uint32_t partition);
struct imgo__mem_part *imgo__mem_part_make(struct imgo__mem_data *data, uint32_t partition);
struct imgo__mem_user *imgo__mem_user_get(struct imgo__mem_part *part, struct imgo_str name); /* part may be NULL */
struct imgo__mem_user *imgo__mem_user_make(struct imgo__mem_data *data, struct imgo__mem_part *part, struct imgo_str name);
void imgo__mem_user_drop(struct imgo__mem_data *data, struct imgo__mem_user *user); /* its log holds nothing live */

struct imgo__mem_body *imgo__mem_body_get(struct imgo__mem_part *part, const struct imgo__userlog_item *item);
/* The body of that record with refs >= 1 for the caller; foreign ones are replaced. */
struct imgo__mem_body *imgo__mem_body_ref(struct imgo__mem_part *part, const struct imgo_store_body *body);
void imgo__mem_body_unref(struct imgo__mem_part *part, const struct imgo__userlog_item *item);

struct imgo__mem_token *imgo__mem_token_get(struct imgo__mem_part *part, const uint8_t *hash);
int imgo__mem_token_put(struct imgo__mem_data *data, struct imgo__mem_part *part, const struct imgo_store_token *token);
void imgo__mem_token_drop(struct imgo__mem_data *data, struct imgo__mem_token *token);

/* {MISSING, 0} when there is none. */
struct imgo__marker imgo__mem_marker(const struct imgo__mem_part *part, uint32_t epoch); /* part may be NULL */
int imgo__mem_marker_set(struct imgo__mem_part *part, uint32_t epoch, struct imgo__marker marker); /* IMGO_ENOMEM */

#endif
