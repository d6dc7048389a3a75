/* SPDX-License-Identifier: MIT */
/* For a host that has a libev loop: the only public header that names a third party's type. */
#ifndef IMGO_LOOP_EV_H
#define IMGO_LOOP_EV_H

#include <imgo/loop.h>

struct ev_loop;

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Makes a loop on top of the host's. The host keeps `ev`, runs it, and must not destroy it before imgo_loop_free.
 * The library's housekeeping (mailbox, end of turn) holds no reference on it, listeners, connections and timers do:
 * ev_run returns by itself when nothing of the host's and nothing of the library's is left.
 * imgo_loop_run and imgo_loop_stop work too (they are ev_run and ev_break). options may be NULL.
 * Errors: IMGO_ENOMEM, IMGO_EIO.
 */
IMGO_API int imgo_loop_from_ev(
	struct imgo_loop **out, struct ev_loop *ev, const struct imgo_loop_options *options, struct imgo_error *error);

#ifdef __cplusplus
}
#endif
#endif
