/* SPDX-License-Identifier: MIT */
/*
 * The registry's messages. The first byte chooses the reader. What a reader of requests accepts is allowed,
 * is written again, and reads as the same; readers of answers fill what was asked for and no more.
 */
#include "fuzz.h"

#include "registry/registry.h"
#include "registry/wire.h"

enum { ASKED = 3 };

static const uint32_t index_of[ASKED] = {0, 1, 2};
static uint32_t all[IMGO__REGW_ITEMS_MAX];

/* What was written of what was read must read, and be written, as the same. */
#define ROUND_TRIP(kind, type, valid) \
	static void request_##kind(struct imgo__mp *mp, struct imgo__arena *arena) \
	{ \
		struct imgo__buf first = {0}, second = {0}; \
		struct imgo__mpw w; \
		type *items; \
		size_t n, m; \
		if (imgo__regw_read_##kind(mp, arena, &items, &n) < 0) \
			return; \
		CHECK(n > 0 && n <= IMGO__REGW_ITEMS_MAX); \
		for (size_t i = 0; i < n; i++) \
			CHECK(valid); \
		imgo__mpw_init(&w, &first); \
		imgo__regw_##kind(&w, items, all, n); \
		imgo__mp_init(mp, first.data, first.len); \
		CHECK(imgo__regw_read_##kind(mp, arena, &items, &m) == 0 && m == n); \
		imgo__mpw_init(&w, &second); \
		imgo__regw_##kind(&w, items, all, n); \
		CHECK(first.len == second.len && memcmp(first.data, second.data, first.len) == 0); \
		imgo__buf_free(&first); \
		imgo__buf_free(&second); \
	}

ROUND_TRIP(put, struct imgo_registry_put, imgo__registry_valid_put(&items[i]))
ROUND_TRIP(del, struct imgo_registry_del, imgo__registry_valid_user(items[i].user) && items[i].id.comet)
ROUND_TRIP(get, struct imgo_registry_get, imgo__registry_valid_user(items[i].user))
ROUND_TRIP(rooms, struct imgo_registry_rooms, imgo__registry_valid_rooms(items[i].rooms, items[i].nrooms))

static void answer_many(uint8_t which, struct imgo__mp *mp, struct imgo__arena *arena)
{
	struct imgo_registry_put puts[ASKED] = {{.err = 0}};
	struct imgo_registry_get gets[ASKED] = {{.err = 0}};
	struct imgo_registry_del dels[ASKED] = {{.err = 0}};
	uint64_t sum = 0;

	if (which == 0 && imgo__regw_read_put_answer(mp, arena, puts, index_of, ASKED) == 0)
		for (unsigned i = 0; i < ASKED; i++)
			for (size_t k = 0; k < puts[i].nevicted; k++)
				sum += puts[i].evicted[k].n;
	if (which == 1 && imgo__regw_read_get_answer(mp, arena, gets, index_of, ASKED) == 0)
		for (unsigned i = 0; i < ASKED; i++)
			for (size_t k = 0; k < gets[i].nsessions; k++)
				sum += gets[i].sessions[k].device.len + gets[i].sessions[k].device.p[0];
	if (which == 2 && imgo__regw_read_del_answer(mp, dels, index_of, ASKED) == 0)
		for (unsigned i = 0; i < ASKED; i++)
			CHECK(dels[i].err <= 0);
	*(volatile uint64_t *)&sum = sum;
}

static void others(uint8_t which, struct imgo__mp *mp, struct imgo__arena *arena)
{
	struct imgo_registry_renew renew;
	struct imgo_registry_count count;
	struct imgo_comet_info *list;
	struct imgo_incarnation inc;
	size_t n;
	int err;

	if (which == 0 && imgo__regw_read_renew(mp, &renew) == 0)
		CHECK(imgo__registry_valid_renew(&renew));
	if (which == 1 && imgo__regw_read_renew_answer(mp, &err, &inc) == 0)
		CHECK(err <= 0);
	if (which == 2 && imgo__regw_read_comets_answer(mp, arena, &list, &n) == 0)
		for (size_t i = 0; i < n; i++)
			CHECK(list[i].address.len <= IMGO_REGISTRY_ADDRESS_MAX);
	if (which == 3 && imgo__regw_read_count_answer(mp, arena, &count) == 0)
		for (size_t i = 0; i < count.n; i++)
			CHECK(count.rooms[i].room.len <= IMGO_ROOM_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const requests[])(struct imgo__mp *, struct imgo__arena *) = {
		request_put, request_del, request_get, request_rooms};
	struct imgo__arena arena = {0};
	struct imgo__mp mp;
	uint8_t which, *copy;

	if (size == 0)
		return 0;
	if (all[1] == 0)
		for (uint32_t i = 0; i < IMGO__REGW_ITEMS_MAX; i++)
			all[i] = i;
	which = data[0] % 12;
	copy = copy_of(data + 1, size - 1);
	imgo__mp_init(&mp, copy, size - 1);
	if (which < 4)
		requests[which](&mp, &arena);
	else if (which < 7)
		answer_many(which - 4, &mp, &arena);
	else
		others(which - 7, &mp, &arena);
	CHECK(arena.total <= 64 * size + 4096); /* no memory on a peer's word */
	free(copy);
	imgo__arena_free(&arena);
	return 0;
}
