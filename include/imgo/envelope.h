/* SPDX-License-Identifier: MIT */
/*
 * What travels on the bus (Kafka): one msgpack array a record, version first, so that programs in other languages can
 * produce and consume it. Golden vectors: tests/unit/test_codec_envelope.c; the format: docs/envelope.md.
 *
 *   [1, kind, msgid bin16, at_ms, op, body bin, targets, room(, speed)]
 *
 * targets (kinds USERS and DIRECT): an array of [user, [[comet, start_us, random, n], …]]: the address, that is the
 * sessions that the user had when it was pushed (a hint: job asks the router again). A newer version may append fields.
 */
#ifndef IMGO_ENVELOPE_H
#define IMGO_ENVELOPE_H

#include <imgo/error.h>
#include <imgo/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define IMGO_ENVELOPE_VERSION      1
#define IMGO_ENVELOPE_TARGETS_MAX  16384 /* users of one record */
#define IMGO_ENVELOPE_SESSIONS_MAX 64    /* of one user */
#define IMGO_ENVELOPE_KEY_MAX      96    /* bytes of a key: "<uid>_<seq>", or the one that a goim client gave itself */

enum imgo_envelope_kind {
	IMGO_ENVELOPE_USERS = 1,     /* logged push to users of one partition (topic users) */
	IMGO_ENVELOPE_DIRECT = 2,    /* qos 0: to the users' sessions online now (topic casts) */
	IMGO_ENVELOPE_ROOM = 3,      /* to a room, online now (topic casts) */
	IMGO_ENVELOPE_BROADCAST = 4, /* to everybody online now (topic casts) */
	IMGO_ENVELOPE_KEYS = 5,      /* to the sessions with these keys, online now (topic casts) */
};

struct imgo_envelope_target {
	struct imgo_str user; /* KEYS: a key, 1 to IMGO_ENVELOPE_KEY_MAX bytes, without sessions */
	const struct imgo_session_id *sessions;
	size_t nsessions;
};

struct imgo_envelope {
	enum imgo_envelope_kind kind;
	struct imgo_msgid msgid;
	uint64_t at_ms; /* when logic accepted it, wall clock; order and TTL go by the bus's time-stamp */
	int32_t op;
	struct imgo_str body;
	const struct imgo_envelope_target *targets;
	size_t ntargets;
	struct imgo_str room; /* ROOM only */
	uint32_t speed;       /* BROADCAST only: deliveries a second, of all comets together; 0: as fast as it goes */
};

/* Encodes into *out, *len bytes which the caller frees with free(). Errors: IMGO_EINVAL (kind, sizes), IMGO_ENOMEM.
 * Any thread. */
IMGO_API int imgo_envelope_encode(const struct imgo_envelope *envelope, void **out, size_t *len);

/* Decodes; *out is one allocation that the caller frees with free() and that points into data, which must outlive it.
 * Errors: IMGO_EPROTO (malformed), IMGO_EVERSION (a version or kind we do not speak), IMGO_ENOMEM. Any thread. */
IMGO_API int imgo_envelope_decode(struct imgo_envelope **out, const void *data, size_t len);

#ifdef __cplusplus
}
#endif
#endif
