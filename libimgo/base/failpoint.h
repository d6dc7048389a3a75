/* SPDX-License-Identifier: MIT */
/*
 * Failpoints, in builds with -Dfailpoints=true only: IMGO_FAILPOINT="name:exit,name:sleep=50,name:err,name:every=7"
 * in the environment (comma-separated; every=N: errs each N-th time). Elsewhere the macro is 0 and costs nothing.
 *
 *	if (imgo__failpoint("comet.auth.reply"))
 *		return IMGO_EIO;
 */
#ifndef IMGO__BASE_FAILPOINT_H
#define IMGO__BASE_FAILPOINT_H

#include <imgo/error.h>

#ifdef IMGO__FAILPOINTS
/* Does what the environment says of this point: exits (code 86), sleeps, or returns IMGO_EIO to inject an error. */
int imgo__failpoint(const char *name);
/* Milliseconds by which an asynchronous step is to be delayed ("name:delay=50"), else 0. */
unsigned imgo__failpoint_delay_ms(const char *name);
#else
#define imgo__failpoint(name)          0
#define imgo__failpoint_delay_ms(name) 0u
#endif

#endif
