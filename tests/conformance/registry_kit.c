/* SPDX-License-Identifier: MIT */
#include "registry_kit.h"

static void put_cstr(char *out, size_t cap, struct imgo_str s)
{
	size_t len = s.len < cap - 1 ? s.len : cap - 1;

	if (len)
		memcpy(out, s.p, len);
	out[len] = 0;
}

void kit_done(int err, void *user)
{
	struct kit *kit = user;

	check(kit, !kit->in_call);
	check(kit, !kit->done);
	kit->done = true;
	kit->err = err;
	if (kit->copy && err == 0)
		kit->copy(kit);
	imgo_loop_stop(kit->loop);
}

static void on_late(void *user)
{
	struct kit *kit = user;

	check(kit, !"the call never ended");
	abort();
}

void kit_begin(struct kit *kit, void *args, void (*copy)(struct kit *))
{
	kit->args = args;
	kit->copy = copy;
	kit->done = false;
	kit->in_call = true;
}

int kit_wait(struct kit *kit, int rc)
{
	struct imgo_loop_timer *late;

	kit->in_call = false;
	if (rc < 0)
		return rc;
	imgo_loop_after(kit->loop, 20000, on_late, kit, &late);
	while (!kit->done)
		imgo_loop_run(kit->loop);
	imgo_loop_cancel(kit->loop, late);
	return kit->err;
}

static void on_slept(void *user)
{
	struct kit *kit = user;

	kit->done = true;
	imgo_loop_stop(kit->loop);
}

void kit_sleep(struct kit *kit, uint64_t ms)
{
	kit->done = false;
	imgo_loop_after(kit->loop, ms, on_slept, kit, NULL);
	while (!kit->done)
		imgo_loop_run(kit->loop);
}

struct imgo_incarnation kit_inc(uint64_t n)
{
	/* every other one differs in the random part only */
	struct imgo_incarnation inc = {1700000000000000 + n / 2, 77 + n};
	return inc;
}

struct imgo_registry_put kit_session(const char *user, const char *device, uint32_t comet, uint64_t inc, uint64_t n)
{
	struct imgo_registry_put put = {0};

	put.session.user = imgo_str(user);
	put.session.device = imgo_str(device);
	put.session.id.comet = comet;
	put.session.id.inc = kit_inc(inc);
	put.session.id.n = n;
	return put;
}

static void copy_put(struct kit *kit)
{
	const struct imgo_registry_put *put = kit->args;

	kit->nevicted = put->nevicted;
	for (size_t i = 0; i < put->nevicted && i < 64; i++)
		kit->evicted[i] = put->evicted[i];
}

int kit_put(struct kit *kit, struct imgo_registry_put *put)
{
	int err;

	kit_begin(kit, put, copy_put);
	kit->nevicted = 0;
	err = kit_wait(kit, imgo_registry_put_many(kit->registry, put, 1, kit_done, kit));
	return err ? err : put->err;
}

int kit_del(struct kit *kit, const char *user, struct imgo_session_id id)
{
	struct imgo_registry_del del = {imgo_str(user), id, 0};
	int err;

	kit_begin(kit, &del, NULL);
	err = kit_wait(kit, imgo_registry_del_many(kit->registry, &del, 1, kit_done, kit));
	return err ? err : del.err;
}

static void copy_get(struct kit *kit)
{
	const struct imgo_registry_get *get = kit->args;

	kit->nfound = get->nsessions;
	for (size_t i = 0; i < get->nsessions && i < 256; i++) {
		kit->found[i].id = get->sessions[i].id;
		kit->found[i].seq = get->sessions[i].seq;
		put_cstr(kit->found[i].user, sizeof kit->found[i].user, get->sessions[i].user);
		put_cstr(kit->found[i].device, sizeof kit->found[i].device, get->sessions[i].device);
	}
}

int kit_get(struct kit *kit, const char *user)
{
	struct imgo_registry_get get = {.user = imgo_str(user)};
	int err;

	kit->nfound = 0;
	kit_begin(kit, &get, copy_get);
	err = kit_wait(kit, imgo_registry_get_many(kit->registry, &get, 1, kit_done, kit));
	return err ? err : get.err;
}

int kit_set_rooms(struct kit *kit, const char *user, struct imgo_session_id id, const struct imgo_str *rooms, size_t n)
{
	struct imgo_registry_rooms item = {imgo_str(user), id, rooms, n, 0};
	int err;

	kit_begin(kit, &item, NULL);
	err = kit_wait(kit, imgo_registry_rooms_many(kit->registry, &item, 1, kit_done, kit));
	return err ? err : item.err;
}

int kit_renew(struct kit *kit, uint32_t comet, uint64_t inc, const char *address, uint64_t lease_ms)
{
	struct imgo_registry_renew renew = {.comet = comet, .inc = kit_inc(inc), .address = imgo_str(address)};

	renew.lease_ms = lease_ms;
	renew.about = kit->about;
	kit_begin(kit, &renew, NULL);
	return kit_wait(kit, imgo_registry_renew(kit->registry, &renew, kit_done, kit));
}

int kit_leave(struct kit *kit, uint32_t comet, uint64_t inc)
{
	struct imgo_registry_renew renew = {.comet = comet, .inc = kit_inc(inc), .leaving = true};

	kit_begin(kit, &renew, NULL);
	return kit_wait(kit, imgo_registry_renew(kit->registry, &renew, kit_done, kit));
}

static void copy_comets(struct kit *kit)
{
	const struct imgo_registry_comets *call = kit->args;

	kit->ncomets = call->n;
	for (size_t i = 0; i < call->n && i < 64; i++) {
		kit->comets[i].comet = call->comets[i].comet;
		kit->comets[i].inc = call->comets[i].inc;
		kit->comets[i].sessions = call->comets[i].sessions;
		put_cstr(kit->comets[i].address, sizeof kit->comets[i].address, call->comets[i].address);
		kit->comets[i].about = call->comets[i].about;
		put_cstr(kit->comets[i].hosts, sizeof kit->comets[i].hosts, call->comets[i].about.hosts);
	}
}

int kit_comets(struct kit *kit)
{
	struct imgo_registry_comets call;

	kit_begin(kit, &call, copy_comets);
	return kit_wait(kit, imgo_registry_comets(kit->registry, &call, kit_done, kit));
}

static void copy_count(struct kit *kit)
{
	const struct imgo_registry_count *call = kit->args;

	kit->sessions = call->sessions;
	kit->users = call->users;
	kit->nrooms = call->n;
	for (size_t i = 0; i < call->n && i < 256; i++) {
		kit->rooms[i].count = call->rooms[i].count;
		put_cstr(kit->rooms[i].room, sizeof kit->rooms[i].room, call->rooms[i].room);
	}
}

int kit_count(struct kit *kit)
{
	return kit_count_some(kit, "", NULL, 0);
}

int kit_count_some(struct kit *kit, const char *prefix, const struct imgo_str *only, size_t n)
{
	struct imgo_registry_count call = {.prefix = imgo_str(prefix), .only = only, .nonly = n};

	kit_begin(kit, &call, copy_count);
	return kit_wait(kit, imgo_registry_count(kit->registry, &call, kit_done, kit));
}

int kit_del_comet(struct kit *kit, uint32_t comet)
{
	kit_begin(kit, NULL, NULL);
	return kit_wait(kit, imgo_registry_del_comet(kit->registry, comet, kit_done, kit));
}

uint64_t kit_room(const struct kit *kit, const char *room)
{
	for (size_t i = 0; i < kit->nrooms && i < 256; i++)
		if (strcmp(kit->rooms[i].room, room) == 0)
			return kit->rooms[i].count;
	return 0;
}
