/* SPDX-License-Identifier: MIT */
/*
 * Sessions by user: a hash table (SipHash under a random key) in which all records of a user hang in one
 * bucket, in the order in which they came. There is no struct for a user: at a million users with one session
 * each it would cost as much as the session.
 *
 * The table grows by linear hashing: with each record too many one bucket is split in two, so that no
 * insertion ever pays for all, there is no second table in memory meanwhile, and a bucket array costs 8 bytes
 * a record. Buckets live in segments; a bucket's number is the hash modulo the next power of two, or modulo
 * half of it while that bucket has not been split off yet.
 *
 * A user's next seq is one above the highest among his records. So when the session with the highest one goes
 * while others live, its record stays as a tomb (out of its lease and rooms) until a higher one comes or the
 * last session goes. Invariants: at most one tomb a user, and its seq is the user's highest; a user with a
 * tomb has a session.
 */
#include "registry/memory.h"

#include "base/hash.h"
#include "base/mem.h"

static size_t mask_for(size_t nbuckets)
{
	size_t mask = IMGO__REG_SEGMENT - 1;

	while (mask < nbuckets - 1)
		mask = mask << 1 | 1;
	return mask;
}

static struct imgo__reg_session **bucket_at(const struct imgo__reg_sessions *t, size_t i)
{
	return &t->segments[i / IMGO__REG_SEGMENT][i % IMGO__REG_SEGMENT];
}

static size_t bucket_no(const struct imgo__reg_sessions *t, struct imgo_str user)
{
	size_t mask = t->mask, at = (size_t)imgo__siphash(t->k0, t->k1, user.p, user.len) & mask;

	return at < t->nbuckets ? at : at & mask >> 1;
}

static struct imgo__reg_session **bucket_of(const struct imgo__reg_sessions *t, struct imgo_str user)
{
	return bucket_at(t, bucket_no(t, user));
}

static int add_segment(struct imgo__reg_sessions *t)
{
	struct imgo__reg_session **segment;

	if (t->nsegments == t->segments_cap) {
		size_t cap = t->segments_cap ? t->segments_cap * 2 : 16;
		void *p = imgo__regrow(t->segments, cap, sizeof *t->segments);
		if (!p)
			return IMGO_ENOMEM;
		t->segments = p;
		t->segments_cap = cap;
	}
	segment = imgo__array(IMGO__REG_SEGMENT, sizeof(struct imgo__reg_session *));
	if (!segment)
		return IMGO_ENOMEM;
	t->segments[t->nsegments++] = segment;
	return 0;
}

int imgo__reg_sessions_init(struct imgo__reg_sessions *t, struct imgo_loop *loop)
{
	memset(t, 0, sizeof *t);
	imgo__loop_random(loop, &t->k0, sizeof t->k0);
	imgo__loop_random(loop, &t->k1, sizeof t->k1);
	if (add_segment(t) < 0)
		return IMGO_ENOMEM;
	t->nbuckets = IMGO__REG_SEGMENT;
	t->mask = IMGO__REG_SEGMENT - 1;
	return 0;
}

void imgo__reg_sessions_fini(struct imgo__reg_sessions *t)
{
	for (size_t i = 0; i < t->nbuckets; i++) {
		struct imgo__reg_session *s, *next;
		for (s = *bucket_at(t, i); s; s = next) {
			next = s->next;
			if (s->nrooms > 1)
				free(s->rooms.many);
			free(s);
		}
	}
	for (size_t i = 0; i < t->nsegments; i++)
		free(t->segments[i]);
	free(t->segments);
}

/* Moves what belongs in the next bucket there, both halves in their old order. Without memory: not now. */
static void grow(struct imgo__reg_sessions *t)
{
	struct imgo__reg_session *s, *next, **low, **high;

	if (t->nbuckets == t->nsegments * IMGO__REG_SEGMENT && add_segment(t) < 0)
		return;
	t->mask = mask_for(t->nbuckets + 1);
	low = bucket_at(t, t->nbuckets & t->mask >> 1);
	high = bucket_at(t, t->nbuckets);
	t->nbuckets++;
	for (s = *low, *low = NULL; s; s = next) {
		struct imgo__reg_session ***to = bucket_no(t, imgo__reg_user(s)) == t->nbuckets - 1 ? &high : &low;
		next = s->next;
		s->next = NULL;
		**to = s;
		*to = &s->next;
	}
}

/* The opposite: the last bucket joins the one that it was split from. */
static void shrink(struct imgo__reg_sessions *t)
{
	size_t last = t->nbuckets - 1;
	struct imgo__reg_session **to = bucket_at(t, last & t->mask >> 1);

	while (*to)
		to = &(*to)->next;
	*to = *bucket_at(t, last);
	*bucket_at(t, last) = NULL;
	t->nbuckets = last;
	t->mask = mask_for(last);
	if (last % IMGO__REG_SEGMENT == 0)
		free(t->segments[--t->nsegments]);
}

static bool same_user(const struct imgo__reg_session *s, struct imgo_str user)
{
	return s->user_len == user.len && memcmp(s->key, user.p, user.len) == 0;
}

static struct imgo__reg_session *find(struct imgo__reg_session *s, struct imgo_str user)
{
	while (s && !same_user(s, user))
		s = s->next;
	return s;
}

struct imgo__reg_session *imgo__reg_first(const struct imgo__reg_sessions *t, struct imgo_str user)
{
	return find(*bucket_of(t, user), user);
}

struct imgo__reg_session *imgo__reg_next(const struct imgo__reg_session *s)
{
	return find(s->next, imgo__reg_user(s));
}

struct imgo__reg_session *imgo__reg_session_new(struct imgo_str user, struct imgo_str device)
{
	struct imgo__reg_session *s = imgo__alloc(sizeof *s + user.len + device.len);

	if (!s)
		return NULL;
	memset(s, 0, sizeof *s);
	imgo__list_init(&s->link);
	s->user_len = (uint8_t)user.len;
	s->device_len = (uint8_t)device.len;
	memcpy(s->key, user.p, user.len);
	if (device.len)
		memcpy(s->key + user.len, device.p, device.len);
	return s;
}

static void unlink_record(struct imgo__reg_sessions *t, struct imgo__reg_session *s)
{
	struct imgo__reg_session **at = bucket_of(t, imgo__reg_user(s));

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	free(s);
	t->records--;
}

/* What the user has apart from s. */
static bool others(const struct imgo__reg_sessions *t, const struct imgo__reg_session *s, uint64_t *highest,
	struct imgo__reg_session **tomb)
{
	bool lives = false;

	*highest = 0;
	*tomb = NULL;
	for (struct imgo__reg_session *o = imgo__reg_first(t, imgo__reg_user(s)); o; o = imgo__reg_next(o)) {
		if (o == s)
			continue;
		if (o->seq > *highest)
			*highest = o->seq;
		if (o->flags & IMGO__REG_TOMB)
			*tomb = o;
		else
			lives = true;
	}
	return lives;
}

void imgo__reg_insert(struct imgo__reg_sessions *t, struct imgo__reg_session *s)
{
	struct imgo__reg_session *tomb, **at = bucket_of(t, imgo__reg_user(s));
	uint64_t highest;

	if (!others(t, s, &highest, &tomb))
		t->users++;
	while (*at)
		at = &(*at)->next;
	*at = s;
	t->records++;
	if (tomb && tomb->seq <= s->seq)
		unlink_record(t, tomb);
	if (t->records > t->nbuckets)
		grow(t);
}

void imgo__reg_remove(struct imgo__reg_sessions *t, struct imgo__reg_session *s)
{
	struct imgo__reg_session *tomb;
	uint64_t highest;
	bool lives = others(t, s, &highest, &tomb);

	if (lives && s->seq > highest) {
		s->flags = IMGO__REG_TOMB;
		return;
	}
	unlink_record(t, s);
	if (!lives) {
		t->users--;
		if (tomb)
			unlink_record(t, tomb);
	}
	while (t->nbuckets > IMGO__REG_SEGMENT && t->records < t->nbuckets - t->nbuckets / 4)
		shrink(t);
}
