/* SPDX-License-Identifier: MIT */
/* The body of a login (op 7): a bare token, version 2's object (DESIGN.md §4), or goim's (COMPATIBILITY.md §1). */
#ifndef IMGO__CODEC_LOGIN_H
#define IMGO__CODEC_LOGIN_H

#include <imgo/types.h>

#include "base/buf.h"

enum { IMGO__LOGIN_ROOMS_MAX = 64 };

struct imgo__login {
	/* What authenticates: the object's "token", a bare token without its outer quotes, or, of a goim object without one,
	 * the whole body (for an operator's own authentication; "" when it is longer than a token may be). Never NULL. */
	struct imgo_str token;
	struct imgo_str device; /* "" when not named */
	struct imgo_str key;    /* goim's: the client's name for this connection; "" when not given */
	const struct imgo_str *rooms;
	size_t nrooms;
	const int32_t *accepts; /* ascending, without doubles; NULL: none declared */
	size_t naccepts;
	uint64_t mid; /* goim's user; 0 when there is none */
	bool is_goim; /* an object with "mid" or "accepts", or any object in goim's framing */
	bool has_token, has_resume;
	struct imgo_id resume;

	/* what the above points into */
	struct imgo__buf strings;
	struct imgo_str room_list[IMGO__LOGIN_ROOMS_MAX];
	int32_t accept_list[IMGO_ACCEPTS_MAX];
};

/*
 * An object is read as such when it has "token" and ver is 2, when it has "mid" or "accepts", or when `goim` says that the
 * connection speaks goim's framing; any other body is a bare token (an object too, as it always was). Unknown members are
 * ignored. *out points into itself and into body, and is freed with imgo__login_free, also after an error: IMGO_EPROTO
 * (a member of a wrong type or size, or given twice), IMGO_ELIMIT (too many rooms or accepts, token too long), IMGO_ENOMEM.
 */
int imgo__login_read(struct imgo__login *out, struct imgo_str body, uint16_t ver, bool goim, size_t rooms_max);
void imgo__login_free(struct imgo__login *login);

/* Reads "1000,1001" (white space around a number is fine) into ops, sorted and without doubles. Returns how many, or
 * IMGO_EPROTO (not such a list; the empty text is one, of none), IMGO_ELIMIT (more than max are written there). */
int imgo__ops_read(struct imgo_str text, int32_t *ops, size_t max);

#endif
