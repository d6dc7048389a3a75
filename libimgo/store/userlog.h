/* SPDX-License-Identifier: MIT */
/*
 * One user's log, and everything that may happen to it: the one piece of logic that all our stores share,
 * without I/O. What each operation means to callers is in imgo/backend/store.h; how it is done, in userlog.c.
 */
#ifndef IMGO__STORE_USERLOG_H
#define IMGO__STORE_USERLOG_H

#include <imgo/backend/store.h>

#include "base/buf.h"

#define IMGO__USERLOG_TAG_LEN 8
/* A device that was not seen for so long (or for the TTL, if that is longer) is forgotten. */
#define IMGO__USERLOG_KEEP_MS (30ull * 24 * 3600 * 1000)
/* "Last seen" need not be exact: it is not worth a write before it is this old. */
#define IMGO__USERLOG_SEEN_MS (10ull * 60 * 1000)

struct imgo__userlog_item {
	struct imgo_id id;
	uint64_t at_ms;
	uint32_t size;
	bool live;                          /* wanted; else only its tag is kept, to recognise duplicates */
	bool own;                           /* the body is this user's alone */
	uint8_t tag[IMGO__USERLOG_TAG_LEN]; /* first bytes of the msgid */
};

struct imgo__userlog_device {
	struct imgo_id cursor;
	uint64_t seen_ms;
	uint8_t len;
	char name[IMGO_DEVICE_MAX];
};

struct imgo__userlog {
	struct imgo_id floor; /* every live item is above it */
	struct imgo_id lost;
	struct imgo_id top; /* the highest id that append answered for; none up to it is appended any more */
	struct imgo__userlog_item *items; /* by rising id */
	size_t nitems, cap;
	struct imgo__userlog_device *devices; /* hardly ever more than one or two: room for just so many */
	uint32_t ndevices, devices_cap;       /* at most IMGO_STORE_DEVICES_MAX */
	uint64_t due_ms; /* the backend's own: when it has planned to look at this log again; 0 when it has
			    not */
	/* derived */
	size_t nlive;
	uint64_t bytes;     /* of the live items */
	uint64_t oldest_ms; /* no live item is older */
};

/* What an operation needs to know, and what it reports. */
struct imgo__userlog_ctx {
	const struct imgo_store_options *options;
	uint64_t now_ms;
	bool rebuild; /* cursors do not count yet */
	/* Called for each item that ceases to be live; may be NULL. */
	void (*gone)(const struct imgo__userlog_item *item, void *user);
	void *user;
	/* results, added up over the operations */
	uint32_t dropped; /* live items that limit or TTL took from somebody who wanted them */
	bool changed;     /* the log is not what it was: worth writing */
};

struct imgo__userlog_append {
	struct imgo_id id;
	uint8_t tag[IMGO__USERLOG_TAG_LEN];
	uint32_t size;
	uint64_t at_ms;
	bool own;
	/* results */
	enum imgo_append_result result;
	struct imgo_id prev;
	bool inserted; /* the result is NEW: `gone` will be told when it ceases to be live */
};

/* Which items a read returns: n live ones from items[first] on. */
struct imgo__userlog_plan {
	size_t first, n;
	bool more, gap;
	struct imgo_id position, cursor;
};

void imgo__userlog_init(struct imgo__userlog *log); /* empty */
void imgo__userlog_fini(struct imgo__userlog *log); /* and empties it */

/* Applies what time did: TTL, devices that are forgotten, cursors that all have passed. The other operations
 * begin with it. */
void imgo__userlog_settle(struct imgo__userlog *log, struct imgo__userlog_ctx *ctx);
/* Each may fail with IMGO_ENOMEM only, and then has changed nothing but what time did. */
int imgo__userlog_append(struct imgo__userlog *log, struct imgo__userlog_ctx *ctx, struct imgo__userlog_append *append);
int imgo__userlog_ack(struct imgo__userlog *log, struct imgo__userlog_ctx *ctx, struct imgo_str device, struct imgo_id id);
int imgo__userlog_attach(struct imgo__userlog *log, struct imgo__userlog_ctx *ctx, struct imgo_str device);
/* Whether an attach now would be worth a write. */
bool imgo__userlog_attach_wanted(const struct imgo__userlog *log, uint64_t now_ms, struct imgo_str device);

/* These look at a settled log. after and the limits: as in struct imgo_store_read. */
void imgo__userlog_plan(const struct imgo__userlog *log, struct imgo_str device, struct imgo_id after,
	uint32_t messages_max, size_t bytes_max, struct imgo__userlog_plan *out);
struct imgo_id imgo__userlog_head(const struct imgo__userlog *log);
struct imgo_id imgo__userlog_cursor(const struct imgo__userlog *log, struct imgo_str device); /* {0,0}: none */

/* When settle has something to do next: UINT64_MAX never; a log that is empty() by then need not be kept. */
uint64_t imgo__userlog_due(const struct imgo__userlog *log, const struct imgo_store_options *options);
bool imgo__userlog_empty(const struct imgo__userlog *log);

/*
 * The record: versioned, delta-coded, with the user's key inside and a CRC32C at its end. Exactly one
 * encoding of a log: what decodes re-encodes to the same bytes. decode inits `log` itself and leaves it empty
 * when it fails: IMGO_EPROTO (damaged, or of another user), IMGO_EVERSION (written by a newer version),
 * IMGO_ENOMEM.
 */
int imgo__userlog_encode(const struct imgo__userlog *log, struct imgo_str user, struct imgo__buf *out); /* appends */
int imgo__userlog_decode(struct imgo__userlog *log, struct imgo_str user, const void *p, size_t len);

static inline void imgo__userlog_tag(uint8_t out[IMGO__USERLOG_TAG_LEN], const struct imgo_msgid *msgid)
{
	memcpy(out, msgid->b, IMGO__USERLOG_TAG_LEN);
}

#endif
