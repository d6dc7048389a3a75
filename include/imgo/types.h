/* SPDX-License-Identifier: MIT */
/* Small value types that travel through every layer. All are plain data; copying them is fine. */
#ifndef IMGO_TYPES_H
#define IMGO_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <imgo/version.h>

#ifdef __cplusplus
extern "C" {
#endif

#define IMGO_USER_MAX    64   /* bytes of a user key, at least 1 */
#define IMGO_DEVICE_MAX  64   /* bytes of a device name; "" is the device of version 1 clients */
#define IMGO_ROOM_MAX    128  /* bytes of a room key, at least 1 */
#define IMGO_TOKEN_MAX   1024 /* bytes of a token as a client sends it */
#define IMGO_KEY_MAX     64   /* bytes of the name that a goim client gives its connection */
#define IMGO_ACCEPTS_MAX 128  /* operations that one connection may say it wants */
#define IMGO_MSGID_LEN   16
#define IMGO_BODY_MAX    (1024 * 1024 - 4096) /* hard bound of a message body, bytes: a memcached item less overhead */

/* Bytes that somebody else owns. `p` may be NULL only when len is 0; not NUL-terminated. */
struct imgo_str {
	const char *p;
	size_t len;
};

static inline struct imgo_str imgo_str(const char *cstr)
{
	struct imgo_str s = {cstr, cstr ? strlen(cstr) : 0};
	return s;
}

static inline struct imgo_str imgo_strn(const void *p, size_t len)
{
	struct imgo_str s = {(const char *)p, len};
	return s;
}

static inline bool imgo_str_eq(struct imgo_str a, struct imgo_str b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

/*
 * A logged message's id: its offset in its partition of the bus + 1, under the epoch of that bus.
 * {0, 0} means "nothing yet". Ids of one user rise; between two of them there may be holes.
 */
struct imgo_id {
	uint32_t epoch;
	uint64_t id;
};

/* < 0, 0, > 0 as a is before, equal to or after b: the epoch first, then the id. */
static inline int imgo_id_cmp(struct imgo_id a, struct imgo_id b)
{
	if (a.epoch != b.epoch)
		return a.epoch < b.epoch ? -1 : 1;
	return a.id < b.id ? -1 : a.id > b.id;
}

static inline struct imgo_id imgo_id_max(struct imgo_id a, struct imgo_id b)
{
	return imgo_id_cmp(a, b) >= 0 ? a : b;
}

/* Identifies a push: from the caller's Idempotency-Key (its SHA-256, cut), or random. */
struct imgo_msgid {
	uint8_t b[IMGO_MSGID_LEN];
};

/* One life of a process: of two incarnations of the same comet the larger wins (start time first). */
struct imgo_incarnation {
	uint64_t start_us; /* wall clock, microseconds since 1970 */
	uint64_t random;
};

static inline int imgo_incarnation_cmp(struct imgo_incarnation a, struct imgo_incarnation b)
{
	if (a.start_us != b.start_us)
		return a.start_us < b.start_us ? -1 : 1;
	return a.random < b.random ? -1 : a.random > b.random;
}

/* A live session of a user: made by its comet, never repeated. `n` is the connection's handle in that comet's hub. */
struct imgo_session_id {
	uint32_t comet; /* comet.id, positive */
	struct imgo_incarnation inc;
	uint64_t n;
};

static inline bool imgo_session_id_eq(struct imgo_session_id a, struct imgo_session_id b)
{
	return a.n == b.n && a.comet == b.comet && imgo_incarnation_cmp(a.inc, b.inc) == 0;
}

/*
 * The partition of a user (or of any other key), 0 .. partitions - 1. This is the one published hash by which bus,
 * router and store are sharded: 32-bit FNV-1a over the bytes, then the finalizer of MurmurHash3 (fmix32), modulo
 * the number of partitions. Any thread. Test vectors: tests/unit/test_base_hash.c.
 */
IMGO_API uint32_t imgo_partition(struct imgo_str key, uint32_t partitions);

#ifdef __cplusplus
}
#endif
#endif
