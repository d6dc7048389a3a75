/* SPDX-License-Identifier: MIT */
/* A build without TLS: nothing can be made, so nothing else is ever called. */
#include "base/error.h"
#include "net/tls.h"

int imgo_tls_new(
	struct imgo_tls **out, struct imgo_loop *loop, const struct imgo_tls_options *options, struct imgo_error *error)
{
	(void)loop, (void)options;
	*out = NULL;
	return imgo__fail(error, IMGO_ENOTSUP, "tls: this build has no TLS");
}

int imgo_tls_reload(struct imgo_tls *tls, struct imgo_error *error)
{
	(void)tls;
	return imgo__fail(error, IMGO_ENOTSUP, "tls: this build has no TLS");
}

void imgo_tls_free(struct imgo_tls *tls)
{
	(void)tls;
}

bool imgo__tls_has_cert(const struct imgo_tls *tls)
{
	(void)tls;
	return false;
}

bool imgo__tls_has_ca(const struct imgo_tls *tls)
{
	(void)tls;
	return false;
}

int imgo__tls_open(struct imgo__tls_conn **out, struct imgo_tls *tls, const struct imgo__tls_setup *setup)
{
	(void)tls, (void)setup;
	*out = NULL;
	return IMGO_ENOTSUP;
}

void imgo__tls_close(struct imgo__tls_conn *conn)
{
	(void)conn;
}

bool imgo__tls_shake(struct imgo__tls_conn *conn)
{
	(void)conn;
	return false;
}

bool imgo__tls_is_open(const struct imgo__tls_conn *conn)
{
	(void)conn;
	return false;
}

const char *imgo__tls_why(const struct imgo__tls_conn *conn)
{
	(void)conn;
	return "";
}

ssize_t imgo__tls_read(struct imgo__tls_conn *conn, void *p, size_t len, bool socket)
{
	(void)conn, (void)p, (void)len, (void)socket;
	return IMGO_ENOTSUP;
}

bool imgo__tls_pending(const struct imgo__tls_conn *conn)
{
	(void)conn;
	return false;
}

ssize_t imgo__tls_writev(struct imgo__tls_conn *conn, const struct iovec *iov, int n)
{
	(void)conn, (void)iov, (void)n;
	return IMGO_ENOTSUP;
}

size_t imgo__tls_held(const struct imgo__tls_conn *conn)
{
	(void)conn;
	return 0;
}

int imgo__tls_flush(struct imgo__tls_conn *conn)
{
	(void)conn;
	return IMGO_ENOTSUP;
}

void imgo__tls_bye(struct imgo__tls_conn *conn)
{
	(void)conn;
}

uint64_t imgo__tls_written(const struct imgo__tls_conn *conn)
{
	(void)conn;
	return 0;
}

bool imgo__tls_spoke(const struct imgo__tls_conn *conn)
{
	(void)conn;
	return false;
}

uint64_t imgo__tls_acknowledged(struct imgo__tls_conn *conn, uint64_t unsent)
{
	(void)conn, (void)unsent;
	return 0;
}
