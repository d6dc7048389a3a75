/* SPDX-License-Identifier: MIT */
/* What every store must do with tokens. */
#include "store_kit.h"

enum { PARTITIONS = 7 };

check_case_fn store_tokens, store_tokens_order, store_tokens_markers, store_tokens_expiry;

/* Partitions 0..6 of this epoch. */
static void complete_all(struct check *c)
{
	for (c->partition = 0; c->partition < PARTITIONS; c->partition++)
		TRY(c, check_complete(c));
	c->partition = 0;
}

static struct imgo_store_token make(struct check *c, unsigned n, const char *user, const char *device, uint64_t id)
{
	struct imgo_store_token token = {.user = check_user(c, user),
		.device = imgo_str(device),
		.id = check_id(c, id),
		.expires_ms = check_now(c) + 3600 * 1000};
	memset(token.hash, (int)n, sizeof token.hash);
	memcpy(token.hash, &c->base, sizeof c->base);
	return token;
}

static int put(struct check *c, struct imgo_store_token token)
{
	struct imgo_store_token_many call = {.epoch = c->epoch, .partitions = PARTITIONS, .items = &token, .nitems = 1};
	return check_token_put(c, &call);
}

struct look {
	const struct imgo_store_token *expected;
	struct imgo_store_token *item;
	bool same;
};

static void compare(int err, void *user)
{
	struct look *look = user;
	const struct imgo_store_token *a = look->expected, *b = look->item;
	if (err || b->err)
		return;
	look->same = imgo_str_eq(a->user, b->user) && imgo_str_eq(a->device, b->device) && a->nrooms == b->nrooms &&
		     a->expires_ms == b->expires_ms && imgo_id_cmp(a->id, b->id) == 0;
	for (size_t i = 0; i < a->nrooms; i++)
		look->same = look->same && imgo_str_eq(a->rooms[i], b->rooms[i]);
}

/* The item's err; -100 when what came back is not what was put. */
static int get(struct check *c, struct imgo_store_token token)
{
	struct imgo_store_token item;
	memset(&item, 0, sizeof item);
	memcpy(item.hash, token.hash, sizeof item.hash);
	struct imgo_store_token_many call = {.epoch = c->epoch, .partitions = PARTITIONS, .items = &item, .nitems = 1};
	struct look look = {&token, &item, false};
	int err = check_token_get(c, &call, compare, &look);
	if (err || item.err)
		return err ? err : item.err;
	return look.same ? 0 : -100;
}

void store_tokens(struct check *c)
{
	TRY(c, complete_all(c));
	struct imgo_store_token token = make(c, 1, "u", "phone", 5);
	CHECK_EQ(c, get(c, token), IMGO_ENOTFOUND);
	char room[IMGO_ROOM_MAX];
	memset(room, '\n', sizeof room);
	for (token.nrooms = 0; token.nrooms < IMGO_STORE_TOKEN_ROOMS_MAX; token.nrooms++)
		token.rooms[token.nrooms] = imgo_strn(room, IMGO_ROOM_MAX - token.nrooms);
	CHECK_EQ(c, put(c, token), 0);
	CHECK_EQ(c, get(c, token), 0);
	CHECK_EQ(c, put(c, token), 0);
	CHECK_EQ(c, get(c, token), 0);
	struct imgo_store_token other = make(c, 2, "u", "", 6);
	CHECK_EQ(c, put(c, other), 0);
	CHECK_EQ(c, get(c, other), 0);
	CHECK_EQ(c, get(c, token), 0); /* another device's is another's */
	struct imgo_store_token newer = make(c, 3, "u", "phone", 7);
	CHECK_EQ(c, put(c, newer), 0);
	CHECK_EQ(c, get(c, newer), 0);
	CHECK_EQ(c, get(c, token), IMGO_ENOTFOUND); /* revoked */
	CHECK_EQ(c, get(c, other), 0);

	struct imgo_store_token items[3] = {other, token, newer};
	struct imgo_store_token_many call = {.epoch = c->epoch, .partitions = PARTITIONS, .items = items, .nitems = 3};
	CHECK_EQ(c, check_token_get(c, &call, NULL, NULL), 0);
	CHECK_EQ(c, items[0].err, 0);
	CHECK_EQ(c, items[1].err, IMGO_ENOTFOUND);
	CHECK_EQ(c, items[2].err, 0);
}

/* Whatever the order in which they are put, the highest id is valid. */
void store_tokens_order(struct check *c)
{
	TRY(c, complete_all(c));
	struct imgo_store_token a = make(c, 1, "u", "d", 5), b = make(c, 2, "u", "d", 9);
	CHECK_EQ(c, put(c, b), 0);
	CHECK_EQ(c, put(c, a), 0);
	CHECK_EQ(c, get(c, a), IMGO_ENOTFOUND);
	CHECK_EQ(c, get(c, b), 0);
	char device[8];
	for (unsigned i = 0; i < IMGO_STORE_DEVICES_MAX; i++) {
		snprintf(device, sizeof device, "%u", i);
		CHECK_EQ(c, put(c, make(c, 10 + i, "u", device, 10 + i)), 0);
	}
	CHECK_EQ(c, get(c, b), IMGO_ENOTFOUND); /* the 17th device: the lowest id gives way */
}

void store_tokens_markers(struct check *c)
{
	struct imgo_store_token token = make(c, 1, "u", "phone", 5);
	CHECK_EQ(c, put(c, token), 0); /* needs no marker */
	CHECK_EQ(c, get(c, token), IMGO_EREBUILDING);
	CHECK_EQ(c, get(c, make(c, 2, "u", "", 5)), IMGO_EREBUILDING); /* "none" is not sure */

	char hex[65];
	for (int i = 0; i < 32; i++)
		snprintf(hex + 2 * i, 3, "%02x", token.hash[i]);
	uint32_t mine = imgo_partition(imgo_str(hex), PARTITIONS), users = imgo_partition(token.user, PARTITIONS);
	for (uint32_t p = 0; p < PARTITIONS; p++) {
		c->partition = p;
		if (p != mine && p != users)
			TRY(c, check_complete(c));
	}
	CHECK_EQ(c, get(c, token), IMGO_EREBUILDING);
	c->partition = mine;
	TRY(c, check_complete(c));
	if (mine != users)
		CHECK_EQ(c, get(c, token), IMGO_EREBUILDING);
	c->partition = users;
	if (mine != users)
		TRY(c, check_complete(c));
	CHECK_EQ(c, get(c, token), 0);
}

void store_tokens_expiry(struct check *c)
{
	TRY(c, complete_all(c));
	struct imgo_store_token token = make(c, 1, "u", "phone", 5), far = make(c, 2, "u", "", 6);
	token.expires_ms = check_now(c) + 1200;
	far.expires_ms = check_now(c) + 400ull * 24 * 3600 * 1000; /* more than memcached's 30 days */
	CHECK_EQ(c, put(c, token), 0);
	CHECK_EQ(c, put(c, far), 0);
	CHECK_EQ(c, get(c, token), 0);
	check_sleep(c, 1500);
	CHECK_EQ(c, get(c, token), IMGO_ENOTFOUND);
	CHECK_EQ(c, get(c, far), 0);
	token.expires_ms = check_now(c) - 5000; /* expired already */
	token.id.id = 7;
	CHECK_EQ(c, put(c, token), 0);
	CHECK_EQ(c, get(c, token), IMGO_ENOTFOUND);
}
