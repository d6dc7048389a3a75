/* SPDX-License-Identifier: MIT */
/* The registry as callers see it: arguments are checked and results cleared here, so that no implementation
 * has to. */
#include "registry/registry.h"

#include "base/mem.h"

struct imgo_registry {
	struct imgo_registry_ops ops;
	void *impl;
};

static bool complete(const struct imgo_registry_ops *ops)
{
	return ops && ops->size >= sizeof *ops && ops->free && ops->put_many && ops->del_many && ops->get_many &&
	       ops->rooms_many && ops->renew && ops->comets && ops->count && ops->del_comet;
}

int imgo_registry_new_custom(
	struct imgo_registry **out, struct imgo_loop *loop, const struct imgo_registry_ops *ops, void *impl)
{
	struct imgo_registry *registry = NULL;
	bool fine = out && loop && complete(ops);

	if (fine)
		registry = imgo__alloc(sizeof *registry);
	if (!registry) {
		if (ops && ops->size >= offsetof(struct imgo_registry_ops, put_many) && ops->free)
			ops->free(impl);
		return fine ? IMGO_ENOMEM : IMGO_EINVAL;
	}
	registry->ops = *ops;
	registry->impl = impl;
	*out = registry;
	return 0;
}

void imgo_registry_free(struct imgo_registry *registry)
{
	if (!registry)
		return;
	registry->ops.free(registry->impl);
	free(registry);
}

bool imgo__registry_valid_user(struct imgo_str user)
{
	return user.p && user.len >= 1 && user.len <= IMGO_USER_MAX;
}

static bool valid_keys(const struct imgo_str *rooms, size_t n, size_t max)
{
	if (n > max || (n && !rooms))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!rooms[i].p || rooms[i].len < 1 || rooms[i].len > IMGO_ROOM_MAX)
			return false;
	return true;
}

bool imgo__registry_valid_rooms(const struct imgo_str *rooms, size_t n)
{
	return valid_keys(rooms, n, IMGO_REGISTRY_ROOMS_MAX);
}

bool imgo__registry_valid_count(const struct imgo_registry_count *call)
{
	return call->prefix.len <= IMGO_ROOM_MAX && (call->prefix.len == 0 || call->prefix.p) &&
	       valid_keys(call->only, call->nonly, IMGO_REGISTRY_COUNT_MAX);
}

static bool valid_about(const struct imgo_comet_about *about)
{
	return about->hosts.len <= IMGO_REGISTRY_HOSTS_MAX && (about->hosts.len == 0 || about->hosts.p) &&
	       about->tcp_port <= UINT16_MAX && about->websocket_port <= UINT16_MAX && about->wss_port <= UINT16_MAX;
}

bool imgo__registry_valid_put(const struct imgo_registry_put *item)
{
	const struct imgo_session *s = &item->session;

	return s->id.comet > 0 && imgo__registry_valid_user(s->user) && s->device.len <= IMGO_DEVICE_MAX &&
	       (s->device.len == 0 || s->device.p) && s->seq < UINT64_MAX / 2 &&
	       imgo__registry_valid_rooms(s->rooms, s->nrooms) &&
	       (item->policy == IMGO_SESSIONS_REPLACE || item->policy == IMGO_SESSIONS_REFUSE);
}

bool imgo__registry_valid_renew(const struct imgo_registry_renew *call)
{
	return call->comet > 0 && call->address.len <= IMGO_REGISTRY_ADDRESS_MAX &&
	       (call->address.len == 0 || call->address.p) && valid_about(&call->about) &&
	       (call->leaving || (call->lease_ms >= 1 && call->lease_ms <= IMGO_REGISTRY_LEASE_MAX_MS));
}

int imgo_registry_put_many(
	struct imgo_registry *registry, struct imgo_registry_put *items, size_t n, imgo_registry_cb *cb, void *user)
{
	if (!registry || !items || !n || !cb)
		return IMGO_EINVAL;
	for (size_t i = 0; i < n; i++) {
		if (!imgo__registry_valid_put(&items[i]))
			return IMGO_EINVAL;
		items[i].err = 0;
		items[i].seq = 0;
		items[i].evicted = NULL;
		items[i].nevicted = 0;
	}
	return registry->ops.put_many(registry->impl, items, n, cb, user);
}

int imgo_registry_del_many(
	struct imgo_registry *registry, struct imgo_registry_del *items, size_t n, imgo_registry_cb *cb, void *user)
{
	if (!registry || !items || !n || !cb)
		return IMGO_EINVAL;
	for (size_t i = 0; i < n; i++) {
		if (!imgo__registry_valid_user(items[i].user) || items[i].id.comet == 0)
			return IMGO_EINVAL;
		items[i].err = 0;
	}
	return registry->ops.del_many(registry->impl, items, n, cb, user);
}

int imgo_registry_get_many(
	struct imgo_registry *registry, struct imgo_registry_get *items, size_t n, imgo_registry_cb *cb, void *user)
{
	if (!registry || !items || !n || !cb)
		return IMGO_EINVAL;
	for (size_t i = 0; i < n; i++) {
		if (!imgo__registry_valid_user(items[i].user))
			return IMGO_EINVAL;
		items[i].err = 0;
		items[i].sessions = NULL;
		items[i].nsessions = 0;
	}
	return registry->ops.get_many(registry->impl, items, n, cb, user);
}

int imgo_registry_rooms_many(
	struct imgo_registry *registry, struct imgo_registry_rooms *items, size_t n, imgo_registry_cb *cb, void *user)
{
	if (!registry || !items || !n || !cb)
		return IMGO_EINVAL;
	for (size_t i = 0; i < n; i++) {
		if (!imgo__registry_valid_user(items[i].user) || items[i].id.comet == 0 ||
			!imgo__registry_valid_rooms(items[i].rooms, items[i].nrooms))
			return IMGO_EINVAL;
		items[i].err = 0;
	}
	return registry->ops.rooms_many(registry->impl, items, n, cb, user);
}

int imgo_registry_renew(struct imgo_registry *registry, struct imgo_registry_renew *call, imgo_registry_cb *cb, void *user)
{
	if (!registry || !call || !cb || !imgo__registry_valid_renew(call))
		return IMGO_EINVAL;
	call->list_version = 0;
	call->nshards = 0;
	memset(call->shards, 0, sizeof call->shards);
	return registry->ops.renew(registry->impl, call, cb, user);
}

int imgo_registry_comets(struct imgo_registry *registry, struct imgo_registry_comets *call, imgo_registry_cb *cb, void *user)
{
	if (!registry || !call || !cb)
		return IMGO_EINVAL;
	call->comets = NULL;
	call->n = 0;
	return registry->ops.comets(registry->impl, call, cb, user);
}

int imgo_registry_count(struct imgo_registry *registry, struct imgo_registry_count *call, imgo_registry_cb *cb, void *user)
{
	if (!registry || !call || !cb || !imgo__registry_valid_count(call))
		return IMGO_EINVAL;
	call->rooms = NULL;
	call->n = 0;
	call->sessions = call->users = 0;
	return registry->ops.count(registry->impl, call, cb, user);
}

int imgo_registry_del_comet(struct imgo_registry *registry, uint32_t comet, imgo_registry_cb *cb, void *user)
{
	if (!registry || !comet || !cb)
		return IMGO_EINVAL;
	return registry->ops.del_comet(registry->impl, comet, cb, user);
}
