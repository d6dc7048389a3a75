/* SPDX-License-Identifier: MIT */
/* Filling the optional struct imgo_error of a constructor. */
#ifndef IMGO__BASE_ERROR_H
#define IMGO__BASE_ERROR_H

#include <imgo/error.h>

/* Fills error (if not NULL) and returns code: `return imgo__fail(error, IMGO_EINVAL, "…", …);` */
int imgo__fail(struct imgo_error *error, enum imgo_err code, const char *fmt, ...) IMGO_PRINTF(3, 4);

/* The imgo_err that fits an errno value: ENOMEM, EMFILE → ELIMIT, ECONNREFUSED → EUNAVAILABLE, …, else IMGO_EIO. */
int imgo__from_errno(int errnum);

#endif
