/* SPDX-License-Identifier: MIT */
/*
 * The logic's role: accepts pushes, logs users in, reads their logs. Stateless: everything is in the bus, the store and
 * the registry, so any number of them may run side by side.
 */
#ifndef IMGO_PUSH_H
#define IMGO_PUSH_H

#include <imgo/backend/auth.h>
#include <imgo/bus.h>
#include <imgo/loop.h>
#include <imgo/registry.h>
#include <imgo/store.h>

#ifdef __cplusplus
extern "C" {
#endif

struct imgo_push;

enum imgo_auth_mode {
	IMGO_AUTH_TOKEN = 0, /* every client shows a token */
	/* A goim client may instead name its user, as goim lets it: {"mid":123,…} is user "123", {"mid":0,…} a guest. That is
	 * no authentication: anybody may be anybody. Only where nobody else reaches the comets; a warning is logged. */
	IMGO_AUTH_GOIM_INSECURE = 1,
};

struct imgo_push_options {
	size_t size;
	/* borrowed, mandatory */
	struct imgo_registry *registry;
	struct imgo_store *store;
	struct imgo_bus *bus;
	/* Your own authentication; NULL: tokens in the store. auth_impl is freed by auth->free, also on error. */
	const struct imgo_auth_ops *auth;
	void *auth_impl;
	uint32_t sessions_max; /* of one user; default 16; 0: no maximum */
	enum imgo_sessions_policy sessions_policy;
	size_t body_max_bytes; /* of a push; default 256 KiB; at most IMGO_BODY_MAX */
	uint32_t users_max;    /* of one push; default 10,000 */
	uint32_t pushes_max;   /* under way; beyond it IMGO_ELIMIT; default 65,536 */
	unsigned lookup_ms;    /* how long a push waits for the router before it goes without an address; default 300 */
	/* Where comets (in other processes) reach it by RPC: "127.0.0.1:7170"; NULL: nowhere. */
	const char *rpc_listen;
	const char *secret; /* of RPC, both ways; NULL: none, loopback only */
	enum imgo_auth_mode auth_mode;
	struct imgo_tls *rpc_tls; /* of RPC, both ways, borrowed; NULL: in the clear */
};
#define IMGO_PUSH_OPTIONS_INIT \
	{ \
		sizeof(struct imgo_push_options), NULL, NULL, NULL, NULL, NULL, 16, IMGO_SESSIONS_REPLACE, 256 * 1024, \
			10000, 65536, 300, NULL, NULL, IMGO_AUTH_TOKEN, NULL \
	}

/* *out is the caller's. Errors: IMGO_EINVAL, IMGO_EIO (address), IMGO_ENOMEM. */
IMGO_API int imgo_push_new(struct imgo_push **out, struct imgo_loop *loop, const struct imgo_push_options *options,
	struct imgo_error *error);
IMGO_API void imgo_push_free(struct imgo_push *push);

enum imgo_push_target {
	IMGO_PUSH_USERS = 0,
	IMGO_PUSH_ROOM = 1, /* at most once, to those online now */
	IMGO_PUSH_ALL = 2,  /* likewise */
	IMGO_PUSH_KEYS = 3, /* likewise: to the sessions with these keys (`users`): "<uid>_<seq>", or a goim client's own */
};

struct imgo_push_request {
	size_t size;
	enum imgo_push_target target;
	const struct imgo_str *users; /* USERS, KEYS; one that is named twice gets one message */
	size_t nusers;
	struct imgo_str room; /* ROOM */
	int32_t op;           /* IMGO_OP_PUSH */
	struct imgo_str body;
	struct imgo_str key; /* Idempotency-Key of the caller, at most 255 bytes; empty: a random msgid */
	bool qos0;           /* USERS: at most once, to those online now; not logged */
	uint32_t speed;      /* ALL: deliveries a second, of all comets together; 0: as fast as it goes */
};
#define IMGO_PUSH_REQUEST_INIT \
	{ \
		sizeof(struct imgo_push_request), IMGO_PUSH_USERS, NULL, 0, {NULL, 0}, 5, {NULL, 0}, {NULL, 0}, false, 0 \
	}

/*
 * 0: accepted, the bus has it: it reaches each device of each user at least once, in order, until TTL or limit pass
 * (ROOM, ALL, qos0: at most once, to those online now). Any other: *unknown*, push again with the same key:
 * IMGO_EUNAVAILABLE, IMGO_ETIMEDOUT, IMGO_ELIMIT (overloaded), IMGO_ECANCELED.
 */
typedef void imgo_push_cb(int err, void *user);

/* The request is copied. Errors: IMGO_EINVAL (users, room, key), IMGO_ELIMIT (body, number of users, pushes under way),
 * IMGO_ENOMEM. */
IMGO_API int imgo_push_send(struct imgo_push *push, const struct imgo_push_request *request, imgo_push_cb *cb, void *user);

/* Makes a token valid for a user until expires_ms (wall clock); an older one of the same device ends. All is copied.
 * Errors: IMGO_EINVAL, IMGO_ENOMEM; of the callback also IMGO_EUNAVAILABLE, IMGO_EREBUILDING, ... */
IMGO_API int imgo_push_token(struct imgo_push *push, struct imgo_str token, struct imgo_str who, struct imgo_str device,
	uint64_t expires_ms, const struct imgo_str *rooms, size_t nrooms, imgo_push_cb *cb, void *user);

/* Who is this? result is valid until the callback returns. err: 0, IMGO_EDENIED, or "cannot be decided now". */
typedef void imgo_push_who_cb(int err, const struct imgo_auth_check *result, void *user);
IMGO_API int imgo_push_who(struct imgo_push *push, struct imgo_str token, imgo_push_who_cb *cb, void *user);

/* The waiting messages of a user after an id (of any epoch), oldest first; looks only, acknowledges nothing. */
typedef void imgo_push_log_cb(int err, const struct imgo_store_read *result, void *user);
IMGO_API int imgo_push_log(struct imgo_push *push, struct imgo_str who, struct imgo_id after, uint32_t messages_max,
	imgo_push_log_cb *cb, void *user);

/* The port of rpc_listen, 0 when there is none; and what was given. */
IMGO_API int imgo_push_port(const struct imgo_push *push);
IMGO_API struct imgo_registry *imgo_push_registry(struct imgo_push *push);
IMGO_API struct imgo_bus *imgo_push_bus(struct imgo_push *push);
IMGO_API struct imgo_store *imgo_push_store(struct imgo_push *push);

#ifdef __cplusplus
}
#endif
#endif
