/* SPDX-License-Identifier: MIT */
/*
 * The bytes of a TLS connection. OpenSSL sees a socket of our own making (a BIO) that never refuses to write: what the
 * kernel does not take is held, and nothing new is encrypted until it is gone. So no call of OpenSSL is ever half done,
 * nothing has to be repeated with the same arguments, and what was given to it is on its way.
 *
 * Reading goes through a buffer that exists only while there are bytes in it: one read of the socket brings many
 * records, and all of them are decrypted before the socket is asked again.
 */
#include <string.h>

#include <openssl/err.h>

#include "base/mem.h"
#include "net/tls_impl.h"

enum {
	READ_MIN = 4096,
	HELD_MAX = 64 * 1024, /* a record, and what TLS itself says to a peer that does not read */
};

/* ---- the socket, as OpenSSL sees it ---- */

static int bio_read(BIO *bio, char *p, int len)
{
	struct imgo__tls_conn *conn = BIO_get_data(bio);
	size_t there = conn->in.len - conn->in_at, n = (size_t)len < there ? (size_t)len : there;

	BIO_clear_retry_flags(bio);
	if (conn->err || len <= 0)
		return -1;
	if (n == 0) {
		BIO_set_retry_read(bio);
		return -1;
	}
	memcpy(p, conn->in.data + conn->in_at, n);
	conn->in_at += n;
	return (int)n;
}

static int bio_write(BIO *bio, const char *p, int len)
{
	struct imgo__tls_conn *conn = BIO_get_data(bio);
	struct iovec iov = {(void *)p, (size_t)len};
	ssize_t n = IMGO_ETIMEDOUT;

	BIO_clear_retry_flags(bio);
	if (conn->err || len <= 0)
		return -1;
	if (conn->out.len == 0)
		n = imgo__sock_writev(conn->tls->loop, conn->fd, &iov, 1);
	if (n == IMGO_ETIMEDOUT)
		n = 0;
	if (n >= 0 && conn->out.len + (size_t)(len - n) > HELD_MAX)
		n = IMGO_ELIMIT;
	if (n >= 0 && imgo__buf_append(&conn->out, p + n, (size_t)(len - n)))
		n = IMGO_ENOMEM;
	if (n < 0) {
		conn->err = (int)n;
		return -1;
	}
	conn->made += (uint64_t)len;
	return len;
}

static long bio_ctrl(BIO *bio, int what, long n, void *p)
{
	(void)bio, (void)n, (void)p;
	return what == BIO_CTRL_FLUSH;
}

BIO_METHOD *imgo__tls_bio_method(void)
{
	BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "imgo");

	if (!method)
		return NULL;
	BIO_meth_set_read(method, bio_read);
	BIO_meth_set_write(method, bio_write);
	BIO_meth_set_ctrl(method, bio_ctrl);
	return method;
}

/* ---- reading ---- */

ssize_t imgo__tls_fill(struct imgo__tls_conn *conn, size_t want)
{
	imgo__buf_consume(&conn->in, conn->in_at);
	conn->in_at = 0;
	if (imgo__buf_reserve(&conn->in, want))
		return IMGO_ENOMEM;
	ssize_t n = imgo__sock_read(conn->tls->loop, conn->fd, conn->in.data + conn->in.len, want);
	if (n > 0)
		conn->in.len += (size_t)n;
	return n;
}

void imgo__tls_tidy(struct imgo__tls_conn *conn)
{
	if (conn->in_at < conn->in.len)
		return;
	imgo__buf_free(&conn->in);
	conn->in_at = 0;
}

/* Of what is there already, as much as there is. */
static size_t decrypt(struct imgo__tls_conn *conn, uint8_t *p, size_t len)
{
	size_t got = 0, n;

	while (got < len && !conn->err && !conn->ended) {
		ERR_clear_error();
		if (SSL_read_ex(conn->ssl, p + got, len - got, &n)) {
			got += n;
			continue;
		}
		switch (SSL_get_error(conn->ssl, 0)) {
		case SSL_ERROR_WANT_READ:
			return got;
		case SSL_ERROR_ZERO_RETURN:
			conn->ended = true;
			return got;
		default:
			imgo__tls_failed_openssl(conn);
		}
	}
	return got;
}

ssize_t imgo__tls_read(struct imgo__tls_conn *conn, void *p, size_t len, bool socket)
{
	size_t got = decrypt(conn, p, len);
	bool drained = !socket;

	while (!drained && got < len && !conn->err && !conn->ended) {
		size_t want = len - got > READ_MIN ? len - got : READ_MIN;
		ssize_t n = imgo__tls_fill(conn, want);
		drained = n < (ssize_t)want;
		if (n > 0)
			got += decrypt(conn, (uint8_t *)p + got, len - got);
		else if (n == 0)
			conn->ended = true;
		else if (n < 0 && n != IMGO_ETIMEDOUT)
			conn->err = (int)n;
	}
	imgo__tls_tidy(conn);
	if (got > 0)
		return (ssize_t)got;
	return conn->err ? conn->err : conn->ended ? 0 : IMGO_ETIMEDOUT;
}

bool imgo__tls_pending(const struct imgo__tls_conn *conn)
{
	return conn->in_at < conn->in.len || conn->ended || conn->err || (conn->open && SSL_pending(conn->ssl) > 0);
}

/* ---- writing ---- */

int imgo__tls_flush(struct imgo__tls_conn *conn)
{
	while (conn->out.len > 0) {
		struct iovec iov = {conn->out.data, conn->out.len};
		ssize_t n = imgo__sock_writev(conn->tls->loop, conn->fd, &iov, 1);
		if (n < 0)
			return (int)n;
		imgo__buf_consume(&conn->out, (size_t)n);
	}
	imgo__buf_free(&conn->out);
	return 0;
}

/* One record. */
static int put(struct imgo__tls_conn *conn, const void *p, size_t len)
{
	size_t done;

	ERR_clear_error();
	if (!SSL_write_ex(conn->ssl, p, len, &done) || done != len) {
		imgo__tls_failed_openssl(conn);
		return conn->err;
	}
	conn->before = conn->plain;
	conn->plain += len;
	conn->plain_end = conn->made;
	if (conn->mark_end == UINT64_MAX) {
		conn->mark = conn->plain;
		conn->mark_end = conn->plain_end;
	}
	return 0;
}

struct cursor {
	const struct iovec *iov;
	int n;
	size_t at; /* in the first */
};

/* The next record's bytes: where they are if the first piece fills it or is the last one, else copied together. */
static size_t next_record(struct imgo_tls *tls, struct cursor *cursor, const void **p)
{
	const uint8_t *first = (const uint8_t *)cursor->iov->iov_base + cursor->at;
	size_t len = 0, left = cursor->iov->iov_len - cursor->at;
	bool straight = left >= IMGO__TLS_RECORD || cursor->n == 1;

	*p = straight ? first : tls->gather;
	while (cursor->n > 0 && len < IMGO__TLS_RECORD) {
		left = cursor->iov->iov_len - cursor->at;
		size_t n = left < IMGO__TLS_RECORD - len ? left : IMGO__TLS_RECORD - len;
		if (!straight)
			memcpy(tls->gather + len, (const uint8_t *)cursor->iov->iov_base + cursor->at, n);
		len += n;
		cursor->at += n;
		if (n == left) {
			cursor->iov++;
			cursor->n--;
			cursor->at = 0;
		}
		if (straight)
			break;
	}
	return len;
}

ssize_t imgo__tls_writev(struct imgo__tls_conn *conn, const struct iovec *iov, int n)
{
	struct cursor cursor = {iov, n, 0};
	size_t taken = 0;
	int err = conn->err ? conn->err : imgo__tls_flush(conn);

	while (err == 0 && cursor.n > 0 && conn->out.len == 0) {
		const void *p;
		size_t len = next_record(conn->tls, &cursor, &p);
		err = len ? put(conn, p, len) : 0;
		if (err == 0)
			taken += len;
	}
	return taken || err == 0 ? (ssize_t)taken : err;
}

size_t imgo__tls_held(const struct imgo__tls_conn *conn)
{
	return conn->out.len;
}

void imgo__tls_bye(struct imgo__tls_conn *conn)
{
	if (!conn->open || conn->err || conn->bye)
		return;
	conn->bye = true;
	ERR_clear_error();
	(void)SSL_shutdown(conn->ssl);
}

/* At most one record is held, the last one. */
uint64_t imgo__tls_written(const struct imgo__tls_conn *conn)
{
	return conn->out.len > 0 ? conn->before : conn->plain;
}

bool imgo__tls_spoke(const struct imgo__tls_conn *conn)
{
	return conn->made > 0;
}

uint64_t imgo__tls_acknowledged(struct imgo__tls_conn *conn, uint64_t unsent)
{
	uint64_t written = conn->made - conn->out.len, there = written > unsent ? written - unsent : 0;

	if (there >= conn->plain_end) {
		conn->known = conn->plain;
		conn->mark_end = UINT64_MAX;
	} else if (there >= conn->mark_end) {
		conn->known = conn->mark;
		conn->mark = conn->plain;
		conn->mark_end = conn->plain_end;
	}
	return conn->known;
}

/* ---- making and ending ---- */

int imgo__tls_open(struct imgo__tls_conn **out, struct imgo_tls *tls, const struct imgo__tls_setup *setup)
{
	const char *host = tls->opt.name ? tls->opt.name : setup->host;

	*out = NULL;
	if (setup->server && !tls->opt.cert)
		return IMGO_EINVAL;
	struct imgo__tls_conn *conn = imgo__zalloc(sizeof *conn);
	if (!conn)
		return IMGO_ENOMEM;
	if (host && (conn->host = imgo__strdup(host)) == NULL) {
		free(conn);
		return IMGO_ENOMEM;
	}
	conn->tls = tls;
	conn->fd = setup->fd;
	conn->server = setup->server;
	conn->alpn = setup->alpn;
	conn->shaken = setup->shaken;
	conn->owner = setup->owner;
	conn->mark_end = UINT64_MAX;
	imgo__list_init(&conn->link);
	imgo_stat_add(tls->connections, 1);
	*out = conn;
	return 0;
}

void imgo__tls_close(struct imgo__tls_conn *conn)
{
	if (!conn)
		return;
	if (!conn->open && !conn->failed)
		imgo__tls_failed(conn, IMGO__TLS_UNFINISHED, IMGO_ECLOSED, "not finished");
	if (!imgo__list_empty(&conn->link))
		imgo_stat_add(conn->tls->waiting, -1);
	imgo__list_remove(&conn->link);
	imgo_stat_add(conn->tls->connections, -1);
	SSL_free(conn->ssl);
	imgo__buf_free(&conn->in);
	imgo__buf_free(&conn->out);
	free(conn->host);
	free(conn);
}

bool imgo__tls_is_open(const struct imgo__tls_conn *conn)
{
	return conn->open;
}

const char *imgo__tls_why(const struct imgo__tls_conn *conn)
{
	return conn->why ? conn->why : "";
}
