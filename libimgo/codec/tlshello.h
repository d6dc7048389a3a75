/* SPDX-License-Identifier: MIT */
/*
 * The first bytes of a TLS connection, looked at before a TLS library is: only a whole ClientHello of reasonable
 * size is worth the memory and the time (RFC 8446 §5.1, §4.1.2; the same in RFC 5246).
 */
#ifndef IMGO__CODEC_TLSHELLO_H
#define IMGO__CODEC_TLSHELLO_H

#include <sys/types.h>

#include "base/buf.h"

/*
 * Looks for a ClientHello at the start of data, in one TLS record or several. Returns > 0: the bytes of the records that
 * hold it; 0: incomplete, *need is the least length with which to ask again; IMGO_EVERSION: SSL 2; IMGO_ELIMIT: it says
 * that it is longer than max, or its records together are longer than twice that; IMGO_EPROTO: something else.
 */
ssize_t imgo__tlshello(const uint8_t *data, size_t len, size_t max, size_t *need);

#endif
