/* SPDX-License-Identifier: MIT */
/* What both halves of the registry's messages use. */
#ifndef IMGO__REGISTRY_WIRE_IMPL_H
#define IMGO__REGISTRY_WIRE_IMPL_H

#include <imgo/error.h>

#include "codec/mp.h"

#define IMGO__REGW_FIELDS_MAX 64 /* of an array that stands for a struct, in any version */

/* Count of an array whose elements take at least `unit` bytes each: no memory is taken for more than can be
 * there. */
static inline uint32_t imgo__regw_array(struct imgo__mp *mp, uint32_t max, size_t unit)
{
	uint32_t n = imgo__mp_array(mp, max);

	if (n * unit > (size_t)(mp->end - mp->at)) {
		mp->err = IMGO_EPROTO;
		mp->at = mp->end;
		return 0;
	}
	return n;
}

/* The four fields of a session id. */
static inline void imgo__regw_id(struct imgo__mpw *w, struct imgo_session_id id)
{
	imgo__mpw_uint(w, id.comet);
	imgo__mpw_uint(w, id.inc.start_us);
	imgo__mpw_uint(w, id.inc.random);
	imgo__mpw_uint(w, id.n);
}

static inline struct imgo_session_id imgo__regw_read_id(struct imgo__mp *mp)
{
	struct imgo_session_id id;

	id.comet = imgo__mp_u32(mp);
	id.inc.start_us = imgo__mp_uint(mp);
	id.inc.random = imgo__mp_uint(mp);
	id.n = imgo__mp_uint(mp);
	return id;
}

#endif
