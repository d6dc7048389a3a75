/* SPDX-License-Identifier: MIT */
/*
 * Authentication: from a token to a user. The stock one looks tokens up in the store (token/new puts them there); give
 * imgo_push_options your own to use yours. Calls are asynchronous (imgo/error.h); arguments stay valid until the
 * callback, results live until it returns.
 */
#ifndef IMGO_BACKEND_AUTH_H
#define IMGO_BACKEND_AUTH_H

#include <imgo/error.h>
#include <imgo/types.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef void imgo_auth_cb(int err, void *user);

struct imgo_auth_check {
	struct imgo_str token; /* as the client sent it, 1 .. IMGO_TOKEN_MAX bytes of any value */
	/* results */
	struct imgo_str who;    /* the user */
	struct imgo_str device; /* that the token is for, "" for any */
	const struct imgo_str *rooms;
	size_t nrooms;
	uint64_t expires_ms; /* wall clock; 0: never */
};

struct imgo_auth_ops {
	size_t size; /* sizeof(struct imgo_auth_ops) */
	void (*free)(void *impl);
	/* err of the callback: 0; IMGO_EDENIED: surely no such user; anything else: cannot be decided now, the client is
	 * told to come again, never that its token is bad. */
	int (*check)(void *impl, struct imgo_auth_check *call, imgo_auth_cb *cb, void *user);
};

#ifdef __cplusplus
}
#endif
#endif
