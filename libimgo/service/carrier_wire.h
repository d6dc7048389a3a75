/* SPDX-License-Identifier: MIT */
/*
 * The RPC messages "tell", "cast" and "kick" as bytes. Each is [start_us, random, items]: the incarnation of the comet that
 * is meant, then
 *   tell  [[epoch, id, op, body, [[n, user, prev epoch, prev id], …]], …]
 *   cast  [[kind, partition, epoch, id, op, room, body, [[n, user], …], speed], …]   (n 0: a key instead of the user)
 *   kick  [[n, user, why], …]
 * Decoders allocate in the arena only in proportion to the bytes that are there; strings point into them.
 */
#ifndef IMGO__SERVICE_CARRIER_WIRE_H
#define IMGO__SERVICE_CARRIER_WIRE_H

#include "codec/mp.h"
#include "service/carrier.h"

#define IMGO__CARRIER_ITEMS_MAX 65536

void imgo__tell_write(struct imgo__mpw *w, const struct imgo__tell *tells, size_t n);
void imgo__cast_write(struct imgo__mpw *w, const struct imgo__cast *casts, size_t n);
void imgo__kick_write(struct imgo__mpw *w, const struct imgo__kick *kicks, size_t n);

/* IMGO_EPROTO, IMGO_ENOMEM. */
int imgo__tell_read(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo__tell **out, size_t *n);
int imgo__cast_read(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo__cast **out, size_t *n);
int imgo__kick_read(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo__kick **out, size_t *n);

void imgo__id_write(struct imgo__mpw *w, struct imgo_id id);
struct imgo_id imgo__id_read(struct imgo__mp *mp);
void imgo__incarnation_write(struct imgo__mpw *w, struct imgo_incarnation inc);
struct imgo_incarnation imgo__incarnation_read(struct imgo__mp *mp);

#endif
