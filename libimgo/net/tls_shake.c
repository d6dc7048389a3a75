/* SPDX-License-Identifier: MIT */
/*
 * Handshakes. A server keeps only the bytes of the peer's first message until that is complete and has a reasonable
 * size: before that nothing of OpenSSL's exists, so a silent or slow peer costs next to nothing.
 *
 * Then each step (all that can be done with what has arrived) waits in the queue of the imgo_tls, because a step may
 * cost a private-key operation. The queue is worked off in order, for budget_us of processor time a turn of the loop and
 * at least one step; what is left goes on in the next turn, after everybody's events. The time is that of this thread
 * (it measures work, and decides nothing else), so it does not come from the loop.
 *
 * After the handshake two things of TLS cost more to answer than to ask, and are watched for here: new keys (at most
 * one a second, REKEY_BURST at once) and renegotiation, which is refused and ends the connection.
 */
#include <string.h>
#include <time.h>

#include <openssl/err.h>

#include "codec/tlshello.h"
#include "net/tls_impl.h"

enum {
	HELLO_MAX = 8192, /* bytes of the peer's first message; browsers send 0.5 to 2 kB */
	HELLO_STEP = 1024,
	SHAKE_STEP = 4096,
	REKEY_BURST = 32,
	KEY_UPDATE = 24,
	ALERT_NO_RENEGOTIATION = 100,
};

/* ---- failures ---- */

void imgo__tls_failed(struct imgo__tls_conn *conn, enum imgo__tls_cause cause, int err, const char *why)
{
	if (!conn->err)
		conn->err = err;
	if (conn->failed)
		return;
	conn->failed = true;
	conn->why = why;
	imgo_stat_add(conn->tls->failures[cause], 1);
	imgo_log_event(imgo_loop_log(conn->tls->loop), IMGO_LOG_DEBUG, "tls", "failed", "role=%s why=\"%s\"",
		conn->server ? "server" : "client", why);
}

static enum imgo__tls_cause cause_of(int reason)
{
	switch (reason) {
	case SSL_R_UNSUPPORTED_PROTOCOL:
	case SSL_R_UNKNOWN_PROTOCOL:
	case SSL_R_VERSION_TOO_LOW:
	case SSL_R_WRONG_SSL_VERSION:
	case SSL_R_WRONG_VERSION_NUMBER:
	case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
		return IMGO__TLS_VERSION;
	case SSL_R_NO_SHARED_CIPHER:
	case SSL_R_NO_SUITABLE_KEY_SHARE:
	case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
	case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
		return IMGO__TLS_CIPHER;
	case SSL_R_NO_APPLICATION_PROTOCOL:
		return IMGO__TLS_ALPN;
	case SSL_R_CERTIFICATE_VERIFY_FAILED:
	case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
		return IMGO__TLS_CERTIFICATE;
	default:
		return reason >= SSL_AD_REASON_OFFSET ? IMGO__TLS_ALERT : IMGO__TLS_OTHER;
	}
}

void imgo__tls_failed_openssl(struct imgo__tls_conn *conn)
{
	unsigned long code = ERR_peek_error();
	long verify = SSL_get_verify_result(conn->ssl);
	const char *why = ERR_reason_error_string(code);
	int reason = ERR_GET_REASON(code);

	if (ERR_GET_LIB(code) != ERR_LIB_SSL) {
		imgo__tls_failed(conn, IMGO__TLS_OTHER, conn->err ? conn->err : IMGO_EPROTO, why ? why : "broken");
		return;
	}
	enum imgo__tls_cause cause = cause_of(reason);
	if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED && verify != X509_V_OK)
		why = X509_verify_cert_error_string(verify);
	bool denied = cause == IMGO__TLS_CERTIFICATE || reason == SSL_R_TLSV1_ALERT_UNKNOWN_CA ||
		      reason == SSL_R_SSLV3_ALERT_BAD_CERTIFICATE || reason == SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED ||
		      reason == SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN ||
		      reason == SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED;
	imgo__tls_failed(conn, cause, denied ? IMGO_EDENIED : IMGO_EPROTO, why ? why : "broken");
}

/* ---- what is watched for ---- */

static void new_keys(struct imgo__tls_conn *conn)
{
	uint64_t now = imgo_loop_now_us(conn->tls->loop);

	if (conn->rekey_us < now)
		conn->rekey_us = now;
	conn->rekey_us += 1000000;
	if (conn->rekey_us - now > (uint64_t)REKEY_BURST * 1000000)
		imgo__tls_failed(conn, IMGO__TLS_REKEY, IMGO_ELIMIT, "too many new keys");
}

/* Every message of TLS itself passes here. */
static void on_message(int sent, int version, int type, const void *p, size_t len, SSL *ssl, void *user)
{
	struct imgo__tls_conn *conn = SSL_get_app_data(ssl);
	const uint8_t *bytes = p;

	(void)version, (void)user;
	if (!conn->open)
		return;
	if (!sent && type == SSL3_RT_HANDSHAKE && len > 0 && bytes[0] == KEY_UPDATE)
		new_keys(conn);
	if (sent && type == SSL3_RT_ALERT && len == 2 && bytes[1] == ALERT_NO_RENEGOTIATION)
		imgo__tls_failed(conn, IMGO__TLS_RENEGOTIATION, IMGO_EPROTO, "renegotiation");
}

/* ---- the queue ---- */

static uint64_t work_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static bool name_is_address(const char *name)
{
	return strchr(name, ':') || name[strspn(name, "0123456789.")] == 0;
}

/* "\x08http/1.1" */
static bool offer_alpn(struct imgo__tls_conn *conn)
{
	size_t len = strlen(conn->alpn);
	unsigned char list[64];

	if (len >= sizeof list)
		return false;
	list[0] = (unsigned char)len;
	memcpy(list + 1, conn->alpn, len);
	return SSL_set_alpn_protos(conn->ssl, list, (unsigned)len + 1) == 0;
}

static bool set_up(struct imgo__tls_conn *conn)
{
	struct imgo_tls *tls = conn->tls;
	BIO *bio = BIO_new(tls->bio);

	conn->ssl = bio ? SSL_new(tls->ctx) : NULL;
	if (!conn->ssl) {
		BIO_free(bio);
		return false;
	}
	BIO_set_data(bio, conn);
	BIO_set_init(bio, 1);
	SSL_set_bio(conn->ssl, bio, bio);
	SSL_set_app_data(conn->ssl, conn);
	SSL_set_msg_callback(conn->ssl, on_message);
	if (conn->host && !SSL_set1_host(conn->ssl, conn->host))
		return false;
	if (conn->server) {
		SSL_set_accept_state(conn->ssl);
		return true;
	}
	SSL_set_connect_state(conn->ssl);
	SSL_set_verify(conn->ssl, tls->opt.insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
	if (conn->host && !name_is_address(conn->host) && !SSL_set_tlsext_host_name(conn->ssl, conn->host))
		return false;
	return !conn->alpn || offer_alpn(conn);
}

static int shaken(struct imgo__tls_conn *conn)
{
	conn->open = true;
	imgo_stat_add(conn->tls->handshakes, 1);
	if (SSL_session_reused(conn->ssl))
		imgo_stat_add(conn->tls->resumed, 1);
	return 0;
}

static int step(struct imgo__tls_conn *conn)
{
	ERR_clear_error();
	if (!conn->err && !conn->ssl && !set_up(conn))
		imgo__tls_failed(conn, IMGO__TLS_OTHER, IMGO_ENOMEM, "out of memory");
	if (conn->err)
		return conn->err;
	int r = SSL_do_handshake(conn->ssl);
	if (r == 1)
		return shaken(conn);
	if (SSL_get_error(conn->ssl, r) != SSL_ERROR_WANT_READ) {
		imgo__tls_failed_openssl(conn);
		return conn->err;
	}
	imgo__tls_tidy(conn);
	if (conn->ended) {
		imgo__tls_failed(conn, IMGO__TLS_CLOSED, IMGO_ECLOSED, "closed by the peer");
		return conn->err;
	}
	return IMGO_ETIMEDOUT;
}

static void run_queue(struct imgo_tls *tls)
{
	uint64_t start = work_us();
	struct imgo__list *link;

	while ((link = imgo__list_pop(&tls->queue)) != NULL) {
		struct imgo__tls_conn *conn = imgo__container_of(link, struct imgo__tls_conn, link);
		imgo_stat_add(tls->waiting, -1);
		conn->shaken(conn->owner, step(conn));
		if (work_us() - start >= tls->opt.budget_us)
			break;
	}
	if (!imgo__list_empty(&tls->queue))
		imgo__timer_start(tls->loop, &tls->timer, 0);
}

void imgo__tls_step(struct imgo_loop *loop, struct imgo__task *task)
{
	(void)loop;
	run_queue(imgo__container_of(task, struct imgo_tls, task));
}

void imgo__tls_step_timer(struct imgo_loop *loop, struct imgo__timer *timer)
{
	(void)loop;
	run_queue(imgo__container_of(timer, struct imgo_tls, timer));
}

/* ---- bytes ---- */

/* Is the first message complete, or surely wrong? */
static bool hello_is_there(struct imgo__tls_conn *conn)
{
	size_t need;
	ssize_t r = imgo__tlshello(conn->in.data, conn->in.len, HELLO_MAX, &need);

	if (r == IMGO_ELIMIT)
		imgo__tls_failed(conn, IMGO__TLS_TOO_BIG, IMGO_ELIMIT, "a first message that is too long");
	else if (r == IMGO_EVERSION)
		imgo__tls_failed(conn, IMGO__TLS_VERSION, IMGO_EPROTO, "SSL 2");
	else if (r < 0)
		imgo__tls_failed(conn, IMGO__TLS_NOT_TLS, IMGO_EPROTO, "no TLS");
	return r != 0;
}

bool imgo__tls_shake(struct imgo__tls_conn *conn)
{
	struct imgo_tls *tls = conn->tls;
	bool hello = conn->server && !conn->ssl;

	if (!imgo__list_empty(&conn->link))
		return true;
	if (conn->ssl || hello) {
		ssize_t n = imgo__tls_fill(conn, hello ? HELLO_STEP : SHAKE_STEP);
		if (n == IMGO_ETIMEDOUT)
			return false;
		if (n == 0)
			conn->ended = true;
		else if (n < 0)
			imgo__tls_failed(conn, IMGO__TLS_CLOSED, (int)n, "closed by the peer");
		if (n > 0 && hello && !hello_is_there(conn))
			return false;
		if (n == 0 && hello)
			imgo__tls_failed(conn, IMGO__TLS_CLOSED, IMGO_ECLOSED, "closed by the peer");
	}
	imgo__list_insert(&tls->queue, &conn->link);
	imgo_stat_add(tls->waiting, 1);
	if (!imgo__timer_active(&tls->timer))
		imgo__defer(tls->loop, &tls->task);
	return true;
}
