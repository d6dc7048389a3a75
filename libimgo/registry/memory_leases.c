/* SPDX-License-Identifier: MIT */
/*
 * Leases. A comet has at most one live lease: in the map, with a timer at its end. A lease that is over (its
 * time passed, a larger incarnation came, its comet left, or its sessions are to be forgotten) leaves the map
 * at once, and its sessions count as gone from that moment: every look-up asks whether their lease lives.
 * Forgetting them takes about 0.2 µs each; the first slice goes at once, the rest in slices of one timer
 * tick, so that a million of them does not block.
 *
 * What a comet is told as this registry's incarnation belongs to the lease, not to the registry: a comet
 * whose lease ended without its knowledge (it was cut off, or this process was stopped for a while) then sees
 * a new one with its next renewal and announces its sessions again, exactly as after a restart of the
 * registry.
 *
 * A put may come before the first renewal: then the lease is provisional, for 10 s, its address unknown.
 */
#include "registry/memory.h"

#include "base/mem.h"

#define PURGE_SLICE 32768

static struct imgo_str lease_key(const struct imgo__map_node *node)
{
	const struct imgo__lease *lease = imgo__container_of(node, struct imgo__lease, node);
	return imgo_strn(&lease->comet, sizeof lease->comet);
}

static void on_purge(struct imgo_loop *loop, struct imgo__timer *timer);

int imgo__leases_init(struct imgo__memory *reg)
{
	imgo__map_init(&reg->comets, lease_key);
	imgo__list_init(&reg->dead);
	imgo__timer_init(&reg->purge, on_purge);
	reg->shard.start_us = imgo_loop_wall_ms(reg->loop) * 1000;
	imgo__loop_random(reg->loop, &reg->shard.random, sizeof reg->shard.random);
	return 0;
}

void imgo__leases_fini(struct imgo__memory *reg)
{
	imgo__timer_stop(reg->loop, &reg->purge);
	for (uint32_t i = 0; i < reg->nleases; i++) {
		if (!reg->leases[i])
			continue;
		imgo__timer_stop(reg->loop, &reg->leases[i]->timer);
		free(reg->leases[i]);
	}
	free(reg->leases);
	imgo__map_fini(&reg->comets);
}

static int free_index(struct imgo__memory *reg, uint32_t *out)
{
	uint32_t i = 0;
	void *p;

	while (i < reg->nleases && reg->leases[i])
		i++;
	if (i == reg->nleases) {
		p = imgo__regrow(reg->leases, i * 2 + 4, sizeof *reg->leases);
		if (!p)
			return IMGO_ENOMEM;
		reg->leases = p;
		reg->nleases = i * 2 + 4;
		memset(reg->leases + i, 0, (reg->nleases - i) * sizeof *reg->leases);
	}
	*out = i;
	return 0;
}

static void drop(struct imgo__memory *reg, struct imgo__lease *lease)
{
	imgo__list_remove(&lease->dead);
	reg->leases[lease->index] = NULL;
	free(lease);
}

/* Forgets up to `budget` sessions of leases that are over. */
static void purge(struct imgo__memory *reg, unsigned budget)
{
	while (!imgo__list_empty(&reg->dead)) {
		struct imgo__lease *lease = imgo__container_of(reg->dead.next, struct imgo__lease, dead);
		struct imgo__list *first;
		while ((first = lease->sessions.next) != &lease->sessions) {
			if (budget-- == 0) {
				imgo__timer_start(reg->loop, &reg->purge, 1);
				return;
			}
			imgo__lease_forget(reg, imgo__container_of(first, struct imgo__reg_session, link));
		}
		drop(reg, lease);
	}
}

static void on_purge(struct imgo_loop *loop, struct imgo__timer *timer)
{
	(void)loop;
	purge(imgo__container_of(timer, struct imgo__memory, purge), PURGE_SLICE);
}

/* Only unlinks: for callers that are in the middle of something. */
static void end_lease(struct imgo__memory *reg, struct imgo__lease *lease)
{
	imgo__timer_stop(reg->loop, &lease->timer);
	imgo__map_remove(&reg->comets, &lease->node);
	lease->live = false;
	imgo__list_insert(&reg->dead, &lease->dead);
}

static void on_end(struct imgo_loop *loop, struct imgo__timer *timer);

static struct imgo__lease *new_lease(struct imgo__memory *reg, uint32_t comet, struct imgo_incarnation inc)
{
	struct imgo__lease *lease = imgo__zalloc(sizeof *lease);
	uint64_t now_us = imgo_loop_wall_ms(reg->loop) * 1000;

	if (!lease || free_index(reg, &lease->index) < 0) {
		free(lease);
		return NULL;
	}
	imgo__timer_init(&lease->timer, on_end);
	imgo__list_init(&lease->sessions);
	imgo__list_init(&lease->dead);
	lease->comet = comet;
	lease->inc = inc;
	lease->memory = reg;
	lease->live = lease->provisional = true;
	reg->shard.start_us = now_us > reg->shard.start_us ? now_us : reg->shard.start_us + 1;
	lease->shard = reg->shard;
	return lease;
}

/* Puts lease in the place of the comet's present one, if any. IMGO_ENOMEM: nothing changed and lease is
 * freed. */
static int install(struct imgo__memory *reg, struct imgo__lease *lease, struct imgo__lease *old)
{
	if (old)
		end_lease(reg, old);
	if (imgo__map_put(&reg->comets, &lease->node) < 0) {
		free(lease);
		return IMGO_ENOMEM;
	}
	reg->leases[lease->index] = lease;
	purge(reg, PURGE_SLICE);
	return 0;
}

static void on_end(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo__lease *lease = imgo__container_of(timer, struct imgo__lease, timer);
	struct imgo__memory *reg = lease->memory;

	imgo_stat_add(reg->leases_ended, 1);
	imgo_log_event(imgo_loop_log(loop), IMGO_LOG_WARN, "registry", "lease-ended", "comet=%u sessions=%llu",
		lease->comet, (unsigned long long)lease->nsessions);
	end_lease(reg, lease);
	purge(reg, PURGE_SLICE);
}

struct imgo__lease *imgo__lease_get(const struct imgo__memory *reg, uint32_t comet)
{
	struct imgo__map_node *node = imgo__map_get(&reg->comets, imgo_strn(&comet, sizeof comet));

	return node ? imgo__container_of(node, struct imgo__lease, node) : NULL;
}

int imgo__lease_enter(struct imgo__memory *reg, uint32_t comet, struct imgo_incarnation inc, struct imgo__lease **out)
{
	struct imgo__lease *lease = imgo__lease_get(reg, comet), *fresh;
	int order = lease ? imgo_incarnation_cmp(inc, lease->inc) : 1;

	if (order < 0)
		return IMGO_ESTALE;
	if (order > 0) {
		fresh = new_lease(reg, comet, inc);
		if (!fresh || install(reg, fresh, lease) < 0)
			return IMGO_ENOMEM;
		lease = fresh;
		imgo__timer_start(reg->loop, &lease->timer, IMGO__LEASE_PROVISIONAL_MS);
	}
	*out = lease;
	return 0;
}

static int leave(struct imgo__memory *reg, struct imgo_registry_renew *call)
{
	struct imgo__lease *lease = imgo__lease_get(reg, call->comet);

	if (!lease)
		return 0;
	if (imgo_incarnation_cmp(call->inc, lease->inc) < 0)
		return IMGO_ESTALE;
	end_lease(reg, lease);
	purge(reg, PURGE_SLICE);
	return 0;
}

/* Another process has had this comet.id since: the one that asks is to end. */
static void refused(struct imgo__memory *reg, uint32_t comet)
{
	imgo_stat_add(reg->leases_refused, 1);
	imgo_log_event(imgo_loop_log(reg->loop), IMGO_LOG_WARN, "registry", "lease-refused",
		"comet=%u why=\"a newer process has this comet.id\"", comet);
}

static void keep_about(struct imgo__lease *lease, const struct imgo_comet_about *about)
{
	size_t len = about->hosts.len;

	lease->about = *about;
	if (len)
		memcpy(lease->hosts, about->hosts.p, len);
	lease->about.hosts = imgo_strn(lease->hosts, len);
}

int imgo__lease_renew(struct imgo__memory *reg, struct imgo_registry_renew *call)
{
	struct imgo__lease *lease;
	int err;

	call->nshards = 1;
	call->shards[0].inc = reg->shard;
	if (call->leaving)
		return leave(reg, call);
	err = imgo__lease_enter(reg, call->comet, call->inc, &lease);
	if (err < 0) {
		if (err == IMGO_ESTALE)
			refused(reg, call->comet);
		return err;
	}
	if (lease->provisional) {
		imgo_stat_add(reg->leases_begun, 1);
		imgo_log_event(imgo_loop_log(reg->loop), IMGO_LOG_INFO, "registry", "lease-begun", "comet=%u address=%.*s",
			call->comet, (int)call->address.len, call->address.len ? call->address.p : "");
	}
	lease->provisional = false;
	lease->address_len = (uint8_t)call->address.len;
	if (call->address.len)
		memcpy(lease->address, call->address.p, call->address.len);
	keep_about(lease, &call->about);
	imgo__timer_start(reg->loop, &lease->timer, call->lease_ms);
	call->shards[0].inc = lease->shard;
	return 0;
}

void imgo__lease_adopt(struct imgo__lease *lease, struct imgo__reg_session *s)
{
	s->lease = lease->index;
	imgo__list_insert(&lease->sessions, &s->link);
	lease->nsessions++;
}

void imgo__lease_forget(struct imgo__memory *reg, struct imgo__reg_session *s)
{
	imgo__list_remove(&s->link);
	imgo__lease_of(reg, s)->nsessions--;
	imgo__reg_rooms_leave(&reg->rooms, s);
	imgo__reg_remove(&reg->sessions, s);
}

/* A twin without sessions takes the lease's place. */
int imgo__lease_clear(struct imgo__memory *reg, struct imgo__lease *lease)
{
	struct imgo__lease *twin = new_lease(reg, lease->comet, lease->inc);
	uint64_t now = imgo__loop_now_ms(reg->loop), due = lease->timer.due_ms;

	if (!twin)
		return IMGO_ENOMEM;
	twin->shard = lease->shard;
	twin->provisional = lease->provisional;
	twin->address_len = lease->address_len;
	memcpy(twin->address, lease->address, sizeof twin->address);
	keep_about(twin, &lease->about);
	if (install(reg, twin, lease) < 0)
		return IMGO_ENOMEM;
	imgo__timer_start(reg->loop, &twin->timer, due > now ? due - now : 0);
	return 0;
}
