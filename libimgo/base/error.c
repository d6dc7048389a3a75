/* SPDX-License-Identifier: MIT */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static const struct {
	const char *name, *text;
} errors[] = {
	[-IMGO_OK] = {"OK", "ok"},
	[-IMGO_ENOMEM] = {"ENOMEM", "out of memory"},
	[-IMGO_EINVAL] = {"EINVAL", "invalid argument"},
	[-IMGO_ELIMIT] = {"ELIMIT", "limit reached"},
	[-IMGO_ENOTFOUND] = {"ENOTFOUND", "not found"},
	[-IMGO_EEXISTS] = {"EEXISTS", "exists already"},
	[-IMGO_ETIMEDOUT] = {"ETIMEDOUT", "timed out"},
	[-IMGO_ECANCELED] = {"ECANCELED", "canceled"},
	[-IMGO_ECLOSED] = {"ECLOSED", "closed"},
	[-IMGO_EIO] = {"EIO", "input/output error"},
	[-IMGO_EPROTO] = {"EPROTO", "protocol broken by the peer"},
	[-IMGO_EDENIED] = {"EDENIED", "denied"},
	[-IMGO_EUNAVAILABLE] = {"EUNAVAILABLE", "unavailable"},
	[-IMGO_EREBUILDING] = {"EREBUILDING", "being rebuilt"},
	[-IMGO_ESTALE] = {"ESTALE", "stale"},
	[-IMGO_EFULL] = {"EFULL", "full"},
	[-IMGO_ENOTSUP] = {"ENOTSUP", "not supported"},
	[-IMGO_EVERSION] = {"EVERSION", "unknown version"},
};

static int index_of(int err)
{
	int n = (int)(sizeof(errors) / sizeof(errors[0]));
	return err <= 0 && err > -n ? -err : -1;
}

const char *imgo_strerror(int err)
{
	int i = index_of(err);
	return i < 0 ? "unknown error" : errors[i].text;
}

const char *imgo_err_name(int err)
{
	int i = index_of(err);
	return i < 0 ? "EUNKNOWN" : errors[i].name;
}

int imgo__fail(struct imgo_error *error, enum imgo_err code, const char *fmt, ...)
{
	va_list ap;

	if (error == NULL)
		return code;
	error->code = code;
	va_start(ap, fmt);
	vsnprintf(error->text, sizeof(error->text), fmt, ap);
	va_end(ap);
	return code;
}

int imgo__from_errno(int errnum)
{
	switch (errnum) {
	case 0:
		return IMGO_OK;
	case ENOMEM:
		return IMGO_ENOMEM;
	case EINVAL:
	case ENAMETOOLONG:
	case EDOM:
	case EMSGSIZE:
		return IMGO_EINVAL;
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
		return IMGO_ELIMIT;
	case ENOENT:
		return IMGO_ENOTFOUND;
	case EEXIST:
	case EADDRINUSE:
		return IMGO_EEXISTS;
	case EAGAIN:
	case ETIMEDOUT:
	case EINPROGRESS:
		return IMGO_ETIMEDOUT;
	case ECANCELED:
		return IMGO_ECANCELED;
	case ECONNRESET:
	case ECONNABORTED:
	case EPIPE:
	case ENOTCONN:
	case ESHUTDOWN:
		return IMGO_ECLOSED;
	case EPROTO:
		return IMGO_EPROTO;
	case ECONNREFUSED:
	case ENETDOWN:
	case ENETUNREACH:
	case EHOSTDOWN:
	case EHOSTUNREACH:
		return IMGO_EUNAVAILABLE;
	case ENOSPC:
	case EDQUOT:
		return IMGO_EFULL;
	case ENOSYS:
	case EOPNOTSUPP:
	case EAFNOSUPPORT:
	case EPROTONOSUPPORT:
		return IMGO_ENOTSUP;
	default:
		return IMGO_EIO;
	}
}
