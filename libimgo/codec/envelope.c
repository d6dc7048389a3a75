/* SPDX-License-Identifier: MIT */
/*
 * The envelope. Decoding goes over the record twice with the same code: the first pass has no memory to fill,
 * checks everything and counts; only a record that is valid to its end gets an allocation, of exactly what
 * was counted; the second pass fills it. So a record's claims about its own size never decide how much memory
 * is taken.
 */
#include <imgo/envelope.h>

#include "base/buf.h"
#include "base/mem.h"
#include "codec/mp.h"

/* What goes with each kind; the limits of the parts are checked elsewhere. */
static bool shape_valid(const struct imgo_envelope *e)
{
	if (e->speed && e->kind != IMGO_ENVELOPE_BROADCAST)
		return false;
	switch (e->kind) {
	case IMGO_ENVELOPE_USERS:
	case IMGO_ENVELOPE_DIRECT:
	case IMGO_ENVELOPE_KEYS:
		return e->ntargets > 0 && e->room.len == 0;
	case IMGO_ENVELOPE_ROOM:
		return e->ntargets == 0 && e->room.len > 0;
	case IMGO_ENVELOPE_BROADCAST:
		return e->ntargets == 0 && e->room.len == 0;
	}
	return false;
}

static size_t user_max(uint64_t kind)
{
	return kind == IMGO_ENVELOPE_KEYS ? IMGO_ENVELOPE_KEY_MAX : IMGO_USER_MAX;
}

static size_t sessions_max(uint64_t kind)
{
	return kind == IMGO_ENVELOPE_KEYS ? 0 : IMGO_ENVELOPE_SESSIONS_MAX;
}

static bool sizes_valid(const struct imgo_envelope *e)
{
	if (e->body.len > IMGO_BODY_MAX || e->room.len > IMGO_ROOM_MAX || e->ntargets > IMGO_ENVELOPE_TARGETS_MAX)
		return false;
	for (size_t i = 0; i < e->ntargets; i++) {
		const struct imgo_envelope_target *t = &e->targets[i];
		if (t->user.len == 0 || t->user.len > user_max(e->kind) || t->nsessions > sessions_max(e->kind))
			return false;
	}
	return true;
}

/* ---- encoding ---- */

static void write_target(struct imgo__mpw *w, const struct imgo_envelope_target *t)
{
	imgo__mpw_array(w, 2);
	imgo__mpw_str(w, t->user);
	imgo__mpw_array(w, (uint32_t)t->nsessions);
	for (size_t i = 0; i < t->nsessions; i++) {
		imgo__mpw_array(w, 4);
		imgo__mpw_uint(w, t->sessions[i].comet);
		imgo__mpw_uint(w, t->sessions[i].inc.start_us);
		imgo__mpw_uint(w, t->sessions[i].inc.random);
		imgo__mpw_uint(w, t->sessions[i].n);
	}
}

int imgo_envelope_encode(const struct imgo_envelope *envelope, void **out, size_t *len)
{
	struct imgo__buf buf = {0};
	struct imgo__mpw w;

	if (!shape_valid(envelope) || !sizes_valid(envelope))
		return IMGO_EINVAL;
	imgo__mpw_init(&w, &buf);
	imgo__mpw_array(&w, envelope->speed ? 9 : 8);
	imgo__mpw_uint(&w, IMGO_ENVELOPE_VERSION);
	imgo__mpw_uint(&w, envelope->kind);
	imgo__mpw_bin(&w, envelope->msgid.b, sizeof envelope->msgid.b);
	imgo__mpw_uint(&w, envelope->at_ms);
	imgo__mpw_int(&w, envelope->op);
	imgo__mpw_bin(&w, envelope->body.p, envelope->body.len);
	imgo__mpw_array(&w, (uint32_t)envelope->ntargets);
	for (size_t i = 0; i < envelope->ntargets; i++)
		write_target(&w, &envelope->targets[i]);
	imgo__mpw_str(&w, envelope->room);
	if (envelope->speed)
		imgo__mpw_uint(&w, envelope->speed);
	if (w.err) {
		imgo__buf_free(&buf);
		return w.err;
	}
	*out = buf.data;
	*len = buf.len;
	return 0;
}

/* ---- decoding ---- */

/* Where the second pass puts things; in the first the pointers are NULL, and things are only counted. */
struct sink {
	struct imgo_envelope_target *targets;
	struct imgo_session_id *sessions;
	size_t ntargets, nsessions;
};

static void read_session(struct imgo__mp *mp, struct sink *sink)
{
	struct imgo_session_id s;
	uint32_t n = imgo__mp_array(mp, UINT32_MAX);

	s.comet = imgo__mp_u32(mp);
	s.inc.start_us = imgo__mp_uint(mp);
	s.inc.random = imgo__mp_uint(mp);
	s.n = imgo__mp_uint(mp);
	imgo__mp_skip_rest(mp, n, 4);
	if (sink->sessions)
		sink->sessions[sink->nsessions] = s;
	sink->nsessions++;
}

static void read_target(struct imgo__mp *mp, uint64_t kind, struct sink *sink)
{
	uint32_t n = imgo__mp_array(mp, UINT32_MAX);
	struct imgo_envelope_target t;

	t.user = imgo__mp_str(mp, user_max(kind));
	t.nsessions = imgo__mp_array(mp, (uint32_t)sessions_max(kind));
	t.sessions = sink->sessions ? sink->sessions + sink->nsessions : NULL;
	for (size_t i = 0; i < t.nsessions && !mp->err; i++)
		read_session(mp, sink);
	imgo__mp_skip_rest(mp, n, 2);
	if (t.user.len == 0)
		mp->err = IMGO_EPROTO;
	if (sink->targets)
		sink->targets[sink->ntargets] = t;
	sink->ntargets++;
}

static int read_record(struct imgo__mp *mp, struct imgo_envelope *e, struct sink *sink)
{
	uint32_t n = imgo__mp_array(mp, UINT32_MAX), ntargets;
	uint64_t version = imgo__mp_uint(mp), kind;

	if (mp->err)
		return IMGO_EPROTO;
	if (version != IMGO_ENVELOPE_VERSION)
		return IMGO_EVERSION;
	kind = imgo__mp_uint(mp);
	imgo__mp_fixed(mp, e->msgid.b, sizeof e->msgid.b);
	e->at_ms = imgo__mp_uint(mp);
	e->op = imgo__mp_i32(mp);
	e->body = imgo__mp_str(mp, IMGO_BODY_MAX);
	ntargets = imgo__mp_array(mp, IMGO_ENVELOPE_TARGETS_MAX);
	for (uint32_t i = 0; i < ntargets && !mp->err; i++)
		read_target(mp, kind, sink);
	e->room = imgo__mp_str(mp, IMGO_ROOM_MAX);
	e->speed = n > 8 ? imgo__mp_u32(mp) : 0;
	imgo__mp_skip_rest(mp, n, n > 8 ? 9 : 8);
	if (imgo__mp_finish(mp))
		return IMGO_EPROTO;
	if (kind < IMGO_ENVELOPE_USERS || kind > IMGO_ENVELOPE_KEYS)
		return IMGO_EVERSION;
	e->kind = (enum imgo_envelope_kind)kind;
	e->targets = sink->targets;
	e->ntargets = ntargets;
	return shape_valid(e) ? 0 : IMGO_EPROTO;
}

int imgo_envelope_decode(struct imgo_envelope **out, const void *data, size_t len)
{
	/* One block of all three; the order keeps each aligned. */
	struct block {
		struct imgo_envelope envelope;
		struct imgo_session_id sessions[];
	} * block;
	struct sink sink = {0};
	struct imgo_envelope first;
	struct imgo__mp mp;
	int rc;

	imgo__mp_init(&mp, data, len);
	rc = read_record(&mp, &first, &sink);
	if (rc)
		return rc;
	block = imgo__alloc(sizeof *block + sink.nsessions * sizeof *sink.sessions + sink.ntargets * sizeof *sink.targets);
	if (!block)
		return IMGO_ENOMEM;
	sink.sessions = block->sessions;
	sink.targets = (struct imgo_envelope_target *)(block->sessions + sink.nsessions);
	sink.nsessions = sink.ntargets = 0;
	imgo__mp_init(&mp, data, len);
	read_record(&mp, &block->envelope, &sink);
	*out = &block->envelope;
	return 0;
}
