/* SPDX-License-Identifier: MIT */
/*
 * Reading a public options struct. It begins with its size as the caller's compiler saw it, so a program that was built
 * against an older header gives a shorter one: what it does not have is the default. Of a longer one, of a newer header, what
 * we do not know is left alone.
 */
#ifndef IMGO__BASE_OPTIONS_H
#define IMGO__BASE_OPTIONS_H

#include <imgo/error.h>

/* out holds the defaults (its INIT macro); what the caller gave (NULL: nothing) is copied over them. IMGO_EINVAL: the size is
 * not set. what: for the error's text. */
int imgo__options_take(void *out, const void *given, const char *what, struct imgo_error *error);

/* Where 0 cannot be meant: it is the default too. */
#define IMGO__OPTION_DEFAULT(options, defaults, field) \
	((options).field = (options).field ? (options).field : (defaults).field)

#endif
