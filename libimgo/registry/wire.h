/* SPDX-License-Identifier: MIT */
/*
 * The registry's calls as RPC messages. Pure: bytes to structs and back.
 *
 * A call's parameters are [list version, argument]; its result is [list version, answer], with the router's
 * number; the answer is nil when the caller's number is the lower one: it was not done then, and the caller
 * has to refresh its list.
 *
 *   method               argument                                          answer
 *   registry.put         [[id…, user, device, seq, [room…], max, policy]…] [[err, seq, [[id…]…]]…]
 *   registry.del         [[id…, user]…]                                    [err…]
 *   registry.get         [user…]                                           [err or [[id…, seq, device]…]…]
 *   registry.rooms       [[id…, user, [room…]]…]                           [err…]
 *   registry.renew       [comet, start_us, random, address, lease_ms,      [err, start_us, random]
 *                         leaving, about]                                   (of the router, for that comet)
 *   registry.comets      nil                                               [[comet, start_us, random, address,
 *                                                                            sessions, about]…]
 *   registry.count       nil, or [prefix, [room…]]                         [sessions, users, [[room, count]…]]
 *   registry.del_comet   comet                                             err
 *
 * where id… is comet, start_us, random, n; about is [hosts, tcp port, WebSocket port, WSS port, heartbeat_ms, weight,
 * connections, ips]; and err is 0 or a negative enum imgo_err. A newer version may
 * append to the arrays that stand for structs; what is not known is skipped.
 */
#ifndef IMGO__REGISTRY_WIRE_H
#define IMGO__REGISTRY_WIRE_H

#include <imgo/registry.h>

#include "base/mem.h"
#include "codec/mp.h"

#define IMGO__REGW_ITEMS_MAX 16384 /* of one message; who sends keeps to IMGO__REGW_ITEMS and IMGO__REGW_BYTES */
#define IMGO__REGW_ITEMS     4096
#define IMGO__REGW_BYTES     (2u << 20)

/*
 * Requests. Those of many write items[index[0 … n - 1]]. Readers put what they read into the arena (strings
 * point into the input) and return 0, IMGO_EPROTO, IMGO_EINVAL (an argument is not allowed) or IMGO_ENOMEM.
 */
void imgo__regw_put(struct imgo__mpw *w, const struct imgo_registry_put *items, const uint32_t *index, size_t n);
void imgo__regw_del(struct imgo__mpw *w, const struct imgo_registry_del *items, const uint32_t *index, size_t n);
void imgo__regw_get(struct imgo__mpw *w, const struct imgo_registry_get *items, const uint32_t *index, size_t n);
void imgo__regw_rooms(struct imgo__mpw *w, const struct imgo_registry_rooms *items, const uint32_t *index, size_t n);
void imgo__regw_renew(struct imgo__mpw *w, const struct imgo_registry_renew *call);
void imgo__regw_count(struct imgo__mpw *w, const struct imgo_registry_count *call);

int imgo__regw_read_put(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo_registry_put **items, size_t *n);
int imgo__regw_read_del(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo_registry_del **items, size_t *n);
int imgo__regw_read_get(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo_registry_get **items, size_t *n);
int imgo__regw_read_rooms(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo_registry_rooms **items, size_t *n);
int imgo__regw_read_renew(struct imgo__mp *mp, struct imgo_registry_renew *call);
int imgo__regw_read_count(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo_registry_count *call);

/* What a comet says of itself; also in the message of a comet to a logic. Strings point into the input. */
void imgo__regw_about(struct imgo__mpw *w, const struct imgo_comet_about *about);
void imgo__regw_read_about(struct imgo__mp *mp, struct imgo_comet_about *about);

/*
 * Answers. Readers of answers to many fill items[index[…]]; what they point at is in the arena, strings too.
 * They return 0, IMGO_EPROTO or IMGO_ENOMEM, and then items may be filled in part.
 */
void imgo__regw_put_answer(struct imgo__mpw *w, const struct imgo_registry_put *items, size_t n);
void imgo__regw_del_answer(struct imgo__mpw *w, const struct imgo_registry_del *items, size_t n);
void imgo__regw_get_answer(struct imgo__mpw *w, const struct imgo_registry_get *items, size_t n);
void imgo__regw_rooms_answer(struct imgo__mpw *w, const struct imgo_registry_rooms *items, size_t n);
void imgo__regw_renew_answer(struct imgo__mpw *w, int err, struct imgo_incarnation inc);
void imgo__regw_comets_answer(struct imgo__mpw *w, const struct imgo_registry_comets *call);
void imgo__regw_count_answer(struct imgo__mpw *w, const struct imgo_registry_count *call);

int imgo__regw_read_put_answer(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo_registry_put *items,
	const uint32_t *index, size_t n);
int imgo__regw_read_del_answer(struct imgo__mp *mp, struct imgo_registry_del *items, const uint32_t *index, size_t n);
int imgo__regw_read_get_answer(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo_registry_get *items,
	const uint32_t *index, size_t n);
int imgo__regw_read_rooms_answer(struct imgo__mp *mp, struct imgo_registry_rooms *items, const uint32_t *index, size_t n);
int imgo__regw_read_renew_answer(struct imgo__mp *mp, int *err, struct imgo_incarnation *inc);
int imgo__regw_read_comets_answer(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo_comet_info **list, size_t *n);
int imgo__regw_read_count_answer(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo_registry_count *call);

#endif
