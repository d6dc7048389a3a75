/* SPDX-License-Identifier: MIT */
/*
 * The memcached store from inside. memcached_io.c is the only file that includes libmemcached's headers.
 *
 * One connection object a worker thread. A call holds a view of the one partition (that is, server) it is
 * about; every command of it goes through that view, which carries the deadline and the marker that was seen
 * first.
 */
#ifndef IMGO__STORE_MEMCACHED_H
#define IMGO__STORE_MEMCACHED_H

#include <stdatomic.h>

#include "loop/loop.h"
#include "store/record.h"

enum {
	IMGO__MC_SERVERS_MAX = 64,
	IMGO__MC_BATCH = 60,           /* keys of one mget, besides the marker twice */
	IMGO__MC_KEY_MAX = 200,        /* memcached's own limit is 250 */
	IMGO__MC_ATTEMPTS = 16,        /* of one compare-and-swap against other writers */
	IMGO__MC_DEADLINE = 10,        /* of a call, in round trips' time-outs */
	IMGO__MC_RETRY_MS = 500,       /* a server that failed is left alone this long */
	IMGO__MC_MESSAGES_MAX = 20000, /* so that a log's record fits into an item */
};

/* A server that does not answer must not hold all workers: while it is down one of them asks, the others
 * refuse. */
struct imgo__mc_breaker {
	_Atomic uint64_t down_until_ms; /* of the monotonic clock; 0: up */
	_Atomic unsigned failures;      /* in a row */
};

struct imgo__mc {
	struct imgo_loop *loop;
	struct imgo_store_options options;
	struct imgo__store_stats stats;
	uint32_t list_version;
	unsigned timeout_ms;
	struct {
		char *host; /* or the path of a UNIX socket, with port 0 */
		uint16_t port;
	} servers[IMGO__MC_SERVERS_MAX];
	size_t nservers;
	struct imgo__mc_breaker breakers[IMGO__MC_SERVERS_MAX];
	_Atomic int evicts; /* a server was seen that evicts: said once */
};

struct imgo__mc_key {
	char s[IMGO__MC_KEY_MAX];
	size_t len;
};

struct imgo__mc_value {
	struct imgo_str data; /* in the view's arena */
	uint64_t cas;
	bool found;
};

struct imgo__mc_conn; /* a worker's own */

struct imgo__mc_view {
	struct imgo__mc *mc;
	struct imgo__mc_conn *conn;
	struct imgo__arena *arena;
	uint64_t deadline_ms; /* monotonic */
	uint32_t epoch, partition;
	char group[16]; /* "p17": decides on the server */
	uint64_t rebuild_token;
	struct imgo__marker marker; /* as first seen */
	bool seen;
	bool answered; /* a get of this call was */
};

/* ---- memcached_keys.c ---- */
void imgo__mc_key_marker(struct imgo__mc_key *out, uint32_t epoch, uint32_t partition);
void imgo__mc_key_log(struct imgo__mc_key *out, uint32_t partition, struct imgo_str user);
void imgo__mc_key_list(struct imgo__mc_key *out, uint32_t partition, struct imgo_str user);
void imgo__mc_key_body(
	struct imgo__mc_key *out, uint32_t partition, struct imgo_id id, const uint8_t tag[IMGO__USERLOG_TAG_LEN]);
void imgo__mc_key_token(struct imgo__mc_key *out, const uint8_t hash[IMGO_STORE_TOKEN_HASH_LEN]);
/* memcached's exptime for something that is to live until then: it takes more than 30 days for a date. */
uint32_t imgo__mc_exptime(uint64_t until_ms, uint64_t now_ms);
/* Takes the list "host:port,[::1]:port,unix:/path" apart. */
int imgo__mc_servers_parse(struct imgo__mc *mc, const char *list, struct imgo_error *error);
void imgo__mc_servers_free(struct imgo__mc *mc);

/* ---- memcached_io.c: 0, IMGO_ENOTFOUND, IMGO_EEXISTS (somebody else was faster), or a failure ---- */
struct imgo__mc_conn *imgo__mc_conn_new(struct imgo__mc *mc);
void imgo__mc_conn_free(struct imgo__mc_conn *conn);
uint64_t imgo__mc_now_ms(void); /* monotonic */
/* Before the first command to a server: IMGO_EUNAVAILABLE when it is known to be down. */
int imgo__mc_enter(const struct imgo__mc_view *view);
/* At most IMGO__MC_BATCH + 2 keys, answered by the server in this order. */
int imgo__mc_get(struct imgo__mc_view *view, const struct imgo__mc_key *keys, size_t n, struct imgo__mc_value *out);
int imgo__mc_add(const struct imgo__mc_view *view, const struct imgo__mc_key *key, struct imgo_str value, uint32_t exptime);
int imgo__mc_cas(const struct imgo__mc_view *view, const struct imgo__mc_key *key, struct imgo_str value,
	uint32_t exptime, uint64_t cas);
int imgo__mc_delete(const struct imgo__mc_view *view, const struct imgo__mc_key *key);
void imgo__mc_delete_quietly(const struct imgo__mc_view *view, const struct imgo__mc_key *keys, size_t n);
int imgo__mc_flush(struct imgo__mc_conn *conn); /* all servers */
void imgo__mc_check_settings(struct imgo__mc_conn *conn);

/* ---- memcached_part.c: a partition as a call sees it ---- */
void imgo__mc_view_init(struct imgo__mc_view *view, struct imgo__mc_conn *conn, struct imgo__mc *mc,
	struct imgo__arena *arena, uint64_t deadline_ms, uint32_t epoch, uint32_t partition, uint64_t rebuild_token);
/* Reads the keys (at most IMGO__MC_BATCH) between two looks at the marker: what they say counts. Errors as
 * imgo__marker_check, and IMGO_EREBUILDING or IMGO_ESTALE when the marker is not the one seen first. */
int imgo__mc_get_checked(struct imgo__mc_view *view, const struct imgo__mc_key *keys, size_t n, struct imgo__mc_value *out);
/* Looks at the marker once more. */
int imgo__mc_recheck(struct imgo__mc_view *view);
/* A record that cannot be read: it goes, with the marker, so that the bus gives it back. IMGO_EREBUILDING. */
int imgo__mc_damaged(struct imgo__mc_view *view, const struct imgo__mc_key *key, const char *what);
int imgo__mc_marker_step(struct imgo__mc_view *view, struct imgo_store_marker *call);
int imgo__mc_forget_marker(struct imgo__mc_view *view);

/* ---- memcached_log.c, memcached_read.c, memcached_token.c: whole calls ---- */
int imgo__mc_append(struct imgo__mc_view *view, struct imgo_store_append_many *call);
int imgo__mc_ack(struct imgo__mc_view *view, const struct imgo_store_ack_many *call, uint32_t *dropped);
int imgo__mc_read(struct imgo__mc_view *view, struct imgo_store_read_many *call, uint32_t *dropped);
int imgo__mc_peek(struct imgo__mc_view *view, struct imgo_store_peek_many *call);
/* view->partition is set anew for each item. */
int imgo__mc_token_put(struct imgo__mc_view *view, const struct imgo_store_token_many *call);
int imgo__mc_token_get(struct imgo__mc_view *view, struct imgo_store_token_many *call);

/* One user's log while it is changed. apply may run several times, each time on what is there then. */
struct imgo__mc_edit {
	struct imgo__mc_view *view;
	struct imgo_str user;
	struct imgo__mc_key key;
	struct imgo__userlog log;
	struct imgo__userlog_ctx ctx;
	bool exists;               /* there is a record */
	struct imgo__mc_key *gone; /* bodies that are nobody's any more */
	size_t ngone;
	int err; /* no memory for one of these */
};
typedef int imgo__mc_apply_fn(struct imgo__mc_edit *edit, void *user);
/* Does it by compare-and-swap, beginning with `value`. Afterwards edit->log is as it was written: fini it,
 * also after an error. */
int imgo__mc_edit(struct imgo__mc_edit *edit, struct imgo__mc_view *view, struct imgo_str user,
	struct imgo__mc_value value, imgo__mc_apply_fn *apply, void *arg);
/* Decodes and settles, for a look. IMGO_EREBUILDING: it was damaged. */
int imgo__mc_log_decode(struct imgo__mc_view *view, struct imgo_str user, const struct imgo__mc_value *value,
	struct imgo__userlog *log);

#endif
