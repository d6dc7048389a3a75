/* SPDX-License-Identifier: MIT */
/*
 * The gate's calls as RPC messages. Every parameter list and every result is one array whose tail a newer version may
 * extend; readers check ranges and counts, strings point into the input, lists go into the arena.
 */
#ifndef IMGO__SERVICE_GATE_WIRE_H
#define IMGO__SERVICE_GATE_WIRE_H

#include "base/mem.h"
#include "codec/mp.h"
#include "service/gate.h"

/* A reader returns 0, IMGO_EPROTO or IMGO_ENOMEM. "ask" is the parameters, "answer" the result. */
void imgo__gate_connect_ask_write(struct imgo__mpw *w, const struct imgo__gate_connect *call);
int imgo__gate_connect_ask_read(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo__gate_connect *call);
void imgo__gate_connect_answer_write(struct imgo__mpw *w, const struct imgo__gate_connect *call);
int imgo__gate_connect_answer_read(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo__gate_connect *call);

void imgo__gate_read_ask_write(struct imgo__mpw *w, const struct imgo__gate_read *call);
int imgo__gate_read_ask_read(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo__gate_read *call);
void imgo__gate_read_answer_write(struct imgo__mpw *w, const struct imgo__gate_read *call);
int imgo__gate_read_answer_read(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo__gate_read *call);

void imgo__gate_sessions_ask_write(struct imgo__mpw *w, const struct imgo__gate_session *items, size_t n);
int imgo__gate_sessions_ask_read(
	struct imgo__mp *mp, struct imgo__arena *arena, struct imgo__gate_session **items, size_t *n);
void imgo__gate_sessions_answer_write(struct imgo__mpw *w, const struct imgo__gate_session *items, size_t n);
int imgo__gate_sessions_answer_read(struct imgo__mp *mp, struct imgo__gate_session *items, size_t n);

void imgo__gate_acks_ask_write(struct imgo__mpw *w, const struct imgo__gate_ack *items, size_t n);
int imgo__gate_acks_ask_read(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo__gate_ack **items, size_t *n);
void imgo__gate_acks_answer_write(struct imgo__mpw *w, const struct imgo__gate_ack *items, size_t n);
int imgo__gate_acks_answer_read(struct imgo__mp *mp, struct imgo__gate_ack *items, size_t n);

void imgo__gate_compares_ask_write(struct imgo__mpw *w, const struct imgo__gate_compare *items, size_t n);
int imgo__gate_compares_ask_read(
	struct imgo__mp *mp, struct imgo__arena *arena, struct imgo__gate_compare **items, size_t *n);
void imgo__gate_compares_answer_write(struct imgo__mpw *w, const struct imgo__gate_compare *items, size_t n);
int imgo__gate_compares_answer_read(struct imgo__mp *mp, struct imgo__gate_compare *items, size_t n);

void imgo__gate_online_ask_write(struct imgo__mpw *w, const struct imgo__gate_online *items, size_t n);
int imgo__gate_online_ask_read(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo__gate_online **items, size_t *n);
void imgo__gate_online_answer_write(struct imgo__mpw *w, const struct imgo__gate_online *items, size_t n);
int imgo__gate_online_answer_read(struct imgo__mp *mp, struct imgo__gate_online *items, size_t n);

void imgo__gate_renew_ask_write(struct imgo__mpw *w, const struct imgo__gate_renew *call);
int imgo__gate_renew_ask_read(struct imgo__mp *mp, struct imgo__gate_renew *call);
void imgo__gate_renew_answer_write(struct imgo__mpw *w, const struct imgo__gate_renew *call);
int imgo__gate_renew_answer_read(struct imgo__mp *mp, struct imgo__gate_renew *call);

#endif
