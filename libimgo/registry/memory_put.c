/* SPDX-License-Identifier: MIT */
/*
 * Putting a session into the registry in memory.
 *
 * Which of two sessions of a user is the older one, for the maximum and for a named device: one announced
 * again (it lived before this registry did, or before its lease lapsed) is older than one put here first;
 * among equals the smaller seq is the older. No clock takes part. An announced seq that another live session
 * has already is replaced by a new one (a session that came to a restarted registry before the announcement
 * was given seq 1 again): keys stay unique.
 *
 * The new session is in before the ones that it replaces go, so that the user's seq goes on rising.
 */
#include "registry/memory.h"

#include "base/mem.h"

struct imgo__reg_session *imgo__reg_find(const struct imgo__memory *reg, struct imgo_str user, struct imgo_session_id id)
{
	struct imgo__reg_session *s = imgo__reg_first(&reg->sessions, user);

	while (s && !(s->n == id.n && imgo__reg_alive(reg, s) && imgo_session_id_eq(imgo__reg_id(reg, s), id)))
		s = imgo__reg_next(s);
	return s;
}

static bool older(const struct imgo__reg_session *a, const struct imgo__reg_session *b)
{
	unsigned was_a = a->flags & IMGO__REG_ANNOUNCED, was_b = b->flags & IMGO__REG_ANNOUNCED;

	return was_a != was_b ? was_a > was_b : a->seq < b->seq;
}

/* What a put has to know of the user's sessions apart from s. */
struct family {
	uint64_t highest;                 /* seq, of tombs and the dead too */
	uint32_t count;                   /* alive */
	bool seq_taken;                   /* s->seq, by one that lives */
	struct imgo__reg_session *oldest; /* of those alive */
	struct imgo__reg_session *twin;   /* alive, of the same named device; there is one at most */
};

static struct family family_of(const struct imgo__memory *reg, const struct imgo__reg_session *s)
{
	struct imgo_str device = imgo__reg_device(s);
	struct imgo__reg_session *o = imgo__reg_first(&reg->sessions, imgo__reg_user(s));
	struct family family = {0};

	for (; o; o = imgo__reg_next(o)) {
		if (o == s)
			continue;
		if (o->seq > family.highest)
			family.highest = o->seq;
		if (!imgo__reg_alive(reg, o))
			continue;
		family.count++;
		family.seq_taken |= o->seq == s->seq;
		if (!family.oldest || older(o, family.oldest))
			family.oldest = o;
		if (device.len && imgo_str_eq(imgo__reg_device(o), device))
			family.twin = o;
	}
	return family;
}

static int evict(struct imgo__memory *reg, struct imgo_registry_put *item, struct imgo__reg_session *s)
{
	struct imgo_session_id *id = imgo__scratch_add(&reg->ids);

	if (!id)
		return IMGO_ENOMEM;
	*id = imgo__reg_id(reg, s);
	item->nevicted++;
	imgo__lease_forget(reg, s);
	return 0;
}

/* s is in: its device's other session goes, then the oldest ones above the maximum. */
static int evict_others(struct imgo__memory *reg, struct imgo_registry_put *item, const struct imgo__reg_session *s)
{
	uint32_t max = s->flags & IMGO__REG_ANNOUNCED ? 0 : item->sessions_max;
	struct family family = family_of(reg, s);

	while (family.twin || (max && family.count >= max)) {
		int err = evict(reg, item, family.twin ? family.twin : family.oldest);
		if (err < 0)
			return err;
		family = family_of(reg, s);
	}
	return 0;
}

/* May s come in, and with which seq? */
static int admit(const struct imgo__memory *reg, const struct imgo_registry_put *item, struct imgo__reg_session *s)
{
	bool announced = s->flags & IMGO__REG_ANNOUNCED;
	struct family family = family_of(reg, s);

	if (announced && family.twin && older(s, family.twin))
		return IMGO_EEXISTS;
	if (!announced && item->policy == IMGO_SESSIONS_REFUSE && !family.twin && item->sessions_max &&
		family.count >= item->sessions_max)
		return IMGO_ELIMIT;
	if (!announced || family.seq_taken)
		s->seq = family.highest + 1;
	return 0;
}

static int put_new(struct imgo__memory *reg, struct imgo_registry_put *item, struct imgo__lease *lease)
{
	const struct imgo_session *in = &item->session;
	struct imgo__reg_session *s = imgo__reg_session_new(in->user, in->device);
	int err;

	if (!s)
		return IMGO_ENOMEM;
	s->n = in->id.n;
	s->seq = in->seq;
	s->flags = in->seq ? IMGO__REG_ANNOUNCED : 0;
	imgo__reg_rooms_enter_none(&reg->rooms, s);
	err = imgo__reg_rooms_set(&reg->rooms, s, in->rooms, in->nrooms);
	if (err == 0)
		err = admit(reg, item, s);
	if (err < 0) {
		imgo__reg_rooms_leave(&reg->rooms, s);
		free(s);
		return err;
	}
	imgo__lease_adopt(lease, s);
	imgo__reg_insert(&reg->sessions, s);
	err = evict_others(reg, item, s);
	if (err < 0) {
		imgo__lease_forget(reg, s);
		return err;
	}
	item->seq = s->seq;
	return 0;
}

int imgo__memory_put(struct imgo__memory *reg, struct imgo_registry_put *item)
{
	const struct imgo_session *in = &item->session;
	struct imgo__reg_session *s;
	struct imgo__lease *lease;
	int err = imgo__lease_enter(reg, in->id.comet, in->id.inc, &lease);

	if (err < 0)
		return err;
	s = imgo__reg_find(reg, in->user, in->id);
	if (!s)
		return put_new(reg, item, lease);
	item->seq = s->seq; /* repeated */
	return imgo__reg_rooms_set(&reg->rooms, s, in->rooms, in->nrooms);
}
