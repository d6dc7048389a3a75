/* SPDX-License-Identifier: MIT */
/*
 * The error law of the library, stated once.
 *
 * A function that can fail returns 0, or a negative enum imgo_err. Constructors also fill an optional
 * struct imgo_error with a sentence for a person.
 *
 * An asynchronous call (one that takes a callback) that returns a negative error has done nothing and its callback
 * never runs. When it returns 0, the callback runs exactly once, on the thread of the object's loop, never before
 * the call has returned; at teardown it runs with IMGO_ECANCELED.
 */
#ifndef IMGO_ERROR_H
#define IMGO_ERROR_H

#include <imgo/version.h>

#ifdef __cplusplus
extern "C" {
#endif

enum imgo_err {
	IMGO_OK = 0,
	IMGO_ENOMEM = -1,        /* out of memory, or a soft cap on memory was reached */
	IMGO_EINVAL = -2,        /* an argument, a configuration value or a request is malformed */
	IMGO_ELIMIT = -3,        /* a configured limit (count, bytes, queue) is reached: try less, or later */
	IMGO_ENOTFOUND = -4,     /* the thing asked for surely does not exist */
	IMGO_EEXISTS = -5,       /* the thing to make exists already */
	IMGO_ETIMEDOUT = -6,     /* the deadline passed; whether it was done is unknown */
	IMGO_ECANCELED = -7,     /* the object was torn down first; whether it was done is unknown */
	IMGO_ECLOSED = -8,       /* the connection or object is closed */
	IMGO_EIO = -9,           /* the system reported an error in reading, writing or syncing */
	IMGO_EPROTO = -10,       /* the peer broke the protocol */
	IMGO_EDENIED = -11,      /* authentication failed: surely a bad token, key or secret */
	IMGO_EUNAVAILABLE = -12, /* the other part is down or cannot be reached: try again later */
	IMGO_EREBUILDING = -13,  /* the store has forgotten and is being rebuilt: try again later */
	IMGO_ESTALE = -14,       /* a handle, lease or token that is no longer the newest */
	IMGO_EFULL = -15,        /* disk, map or memory of a store is full */
	IMGO_ENOTSUP = -16,      /* this backend or build cannot do it */
	IMGO_EVERSION = -17,     /* the peer or the stored data has a version we do not speak */
};

/* A sentence for a person, filled by constructors that fail. Owned by the caller; may be NULL everywhere. */
struct imgo_error {
	enum imgo_err code;
	char text[240];
};

/* Short lower-case text of an error, e.g. "timed out". Never NULL; static; any thread. */
IMGO_API const char *imgo_strerror(int err);

/* Name of an error as in the enum without its prefix, e.g. "ETIMEDOUT". Never NULL; static; any thread. */
IMGO_API const char *imgo_err_name(int err);

#ifdef __cplusplus
}
#endif
#endif
