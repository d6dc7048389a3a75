/* SPDX-License-Identifier: MIT */
/* Reading the parameters of the push API: pure, bytes to values, nothing allocated but in an arena. */
#ifndef IMGO__SERVICE_HTTP_PARAM_H
#define IMGO__SERVICE_HTTP_PARAM_H

#include <imgo/types.h>

#include "base/mem.h"

enum { IMGO__HTTP_JSON_DEPTH = 16 };

/* Digits only, 0 to INT64_MAX; *canonical (may be NULL) is the part of text without leading zeros. */
bool imgo__http_natural(struct imgo_str text, struct imgo_str *canonical, uint64_t *value);
/* The same from 1. */
bool imgo__http_positive(struct imgo_str text, struct imgo_str *canonical, uint64_t *value);
bool imgo__http_int32(struct imgo_str text, int32_t *value);
/* The name of a JSONP callback: [A-Za-z0-9_.$], 1 to 64 bytes. */
bool imgo__http_callback_name(struct imgo_str text);

/*
 * Walks through the members of a JSON object or the items of an array, at one level. The text must be valid
 * (imgo__json_valid). Values come as they are written; keys without their quotes.
 */
struct imgo__http_members {
	struct imgo_str rest;
	bool object;
};
/* False: text is not an object (or array). */
bool imgo__http_members(struct imgo__http_members *out, struct imgo_str text, bool object);
bool imgo__http_member(struct imgo__http_members *members, struct imgo_str *key, struct imgo_str *value);
/* The value of that name; p == NULL: none. False: there are several, or no memory. */
bool imgo__http_field(struct imgo_str object, const char *name, struct imgo_str *out);
/* What a JSON string means, or the digits of a whole number, in the arena or the text. IMGO_EINVAL: another
 * type, or a NUL. */
int imgo__http_scalar(struct imgo__arena *arena, struct imgo_str value, struct imgo_str *out);

/* The body of /1/pushs. IMGO_EINVAL: not valid, no u, no m; IMGO_ELIMIT: too many users; IMGO_ENOMEM. All
 * points into body but the array, which is the arena's. m: the JSON text. */
int imgo__http_read_pushs(struct imgo__arena *arena, struct imgo_str body, size_t users_max, struct imgo_str **users,
	size_t *nusers, struct imgo_str *m);

/* All values of that name in a query, decoded into the arena. IMGO_EINVAL: none, or one that cannot be decoded;
 * IMGO_ELIMIT: more than max; IMGO_ENOMEM. */
int imgo__http_read_list(struct imgo__arena *arena, struct imgo_str query, const char *name, size_t max,
	struct imgo_str **out, size_t *n);
/* The users of goim's mids=1&mids=2, or mids=1,2. Errors as above; IMGO_EINVAL also: not a positive number. */
int imgo__http_read_mids(struct imgo__arena *arena, struct imgo_str query, size_t max, struct imgo_str **out, size_t *n);

/* Rooms from "a,b" (list) or a JSON array of strings and whole numbers (json), behind *n in out. IMGO_EINVAL;
 * IMGO_ELIMIT. */
int imgo__http_read_rooms(
	struct imgo__arena *arena, struct imgo_str text, bool json, struct imgo_str *out, size_t max, size_t *n);

#endif
