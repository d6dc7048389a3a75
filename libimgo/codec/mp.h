/* SPDX-License-Identifier: MIT */
/*
 * MessagePack, bounded. Writing is msgpack-c's packer on an imgo__buf. Reading is a cursor of our own that allocates
 * nothing: msgpack-c reserves memory by the counts that a peer claims (DEPENDENCIES.md C.3). Every read checks type,
 * range and remaining length; the first failure sticks, so that a decoder reads all fields and checks once.
 */
#ifndef IMGO__CODEC_MP_H
#define IMGO__CODEC_MP_H

#include <imgo/types.h>

#include "base/buf.h"

/* ---- reading ---- */
struct imgo__mp {
	const uint8_t *at, *end;
	int err; /* 0, or IMGO_EPROTO */
};

void imgo__mp_init(struct imgo__mp *mp, const void *p, size_t len);
/* Count of an array (map: of pairs), at most `max` and at most what the remaining bytes could hold; 0 on failure. */
uint32_t imgo__mp_array(struct imgo__mp *mp, uint32_t max);
uint32_t imgo__mp_map(struct imgo__mp *mp, uint32_t max);
uint64_t imgo__mp_uint(struct imgo__mp *mp);
int64_t imgo__mp_int(struct imgo__mp *mp);
uint32_t imgo__mp_u32(struct imgo__mp *mp);
int32_t imgo__mp_i32(struct imgo__mp *mp);
bool imgo__mp_bool(struct imgo__mp *mp);
struct imgo_str imgo__mp_str(struct imgo__mp *mp, size_t max);   /* str or bin; points into the input */
void imgo__mp_fixed(struct imgo__mp *mp, void *out, size_t len); /* bin (or str) of exactly len */
bool imgo__mp_nil(struct imgo__mp *mp);                          /* takes a nil if there is one */
void imgo__mp_skip(struct imgo__mp *mp);                         /* any value but ext, iteratively, nesting ≤ 8 */
/* Skips what a newer version appended to an array of `n` of which `known` were read. */
void imgo__mp_skip_rest(struct imgo__mp *mp, uint32_t n, uint32_t known);
/* 0 when all was well and nothing is left, else IMGO_EPROTO. */
int imgo__mp_finish(const struct imgo__mp *mp);

/* ---- writing: the first failure sticks in err ---- */
struct imgo__mpw {
	struct imgo__buf *buf;
	int err; /* 0, IMGO_ENOMEM, or IMGO_ELIMIT: a string of 4 GiB */
};

void imgo__mpw_init(struct imgo__mpw *w, struct imgo__buf *buf);
void imgo__mpw_array(struct imgo__mpw *w, uint32_t n);
void imgo__mpw_map(struct imgo__mpw *w, uint32_t n);
void imgo__mpw_uint(struct imgo__mpw *w, uint64_t v);
void imgo__mpw_int(struct imgo__mpw *w, int64_t v);
void imgo__mpw_bool(struct imgo__mpw *w, bool v);
void imgo__mpw_str(struct imgo__mpw *w, struct imgo_str s);
void imgo__mpw_bin(struct imgo__mpw *w, const void *p, size_t len);
void imgo__mpw_nil(struct imgo__mpw *w);

#endif
