/* SPDX-License-Identifier: MIT */
/*
 * Certificates, authorities, ticket keys: read all together into a new SSL_CTX, which takes the place of the old one
 * only when everything in it is right. A connection holds a reference to the one that it began with.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/options.h"
#include "net/tls_impl.h"

enum {
	TICKET_LIFE_S = 12 * 3600,
	CERTS_MAX = 32 * 1024, /* bytes of a peer's chain */
};

/* ---- reading the files ---- */

/* OpenSSL would ask the terminal. */
static int no_password(char *buf, int size, int writing, void *user)
{
	(void)buf, (void)size, (void)writing, (void)user;
	return -1;
}

static int wrong(struct imgo_error *error, const char *what, const char *path)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	return imgo__fail(error, IMGO_EINVAL, "tls: %s: %s: %s", path, what, reason ? reason : "not what it should be");
}

static int must_exist(const char *path, struct imgo_error *error)
{
	if (access(path, R_OK) == 0)
		return 0;
	return imgo__fail(
		error, errno == ENOENT ? IMGO_ENOTFOUND : IMGO_EIO, "tls: cannot read %s: %s", path, strerror(errno));
}

static int take_cert(SSL_CTX *ctx, const struct imgo_tls_options *o, struct imgo_error *error)
{
	const char *key = o->key ? o->key : o->cert;
	int err = must_exist(o->cert, error);

	if (err == 0)
		err = must_exist(key, error);
	if (err)
		return err;
	if (SSL_CTX_use_certificate_chain_file(ctx, o->cert) != 1)
		return wrong(error, "no certificate", o->cert);
	if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
		return wrong(error, "no key for that certificate", key);
	return SSL_CTX_check_private_key(ctx) == 1 ? 0 : wrong(error, "no key for that certificate", key);
}

static int take_authorities(SSL_CTX *ctx, const struct imgo_tls_options *o, struct imgo_error *error)
{
	if (!o->ca) {
		(void)SSL_CTX_set_default_verify_paths(ctx);
		return 0;
	}
	int err = must_exist(o->ca, error);
	if (err)
		return err;
	if (SSL_CTX_load_verify_file(ctx, o->ca) != 1)
		return wrong(error, "no authorities", o->ca);
	/* Servers; a client sets its own way of verifying. Who shows a certificate shows it each time: no tickets. */
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	SSL_CTX_set_num_tickets(ctx, 0);
	return 0;
}

static int check_expiry(SSL_CTX *ctx, const struct imgo_tls *tls, bool reload, struct imgo_error *error)
{
	const X509 *cert = SSL_CTX_get0_certificate(ctx);

	if (!cert || X509_cmp_current_time(X509_get0_notAfter(cert)) > 0)
		return 0;
	if (reload)
		return imgo__fail(error, IMGO_EINVAL, "tls: %s has expired", tls->opt.cert);
	imgo_log_event(imgo_loop_log(tls->loop), IMGO_LOG_ERROR, "tls", "certificate-expired", "file=%s", tls->opt.cert);
	return 0;
}

/* The peer's list must have ours. Without a list there is nothing to choose. */
static int select_alpn(
	SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned len, void *user)
{
	const struct imgo__tls_conn *conn = SSL_get_app_data(ssl);
	size_t want = strlen(conn->alpn);

	(void)user;
	for (unsigned at = 0; at < len; at += in[at] + 1u) {
		if (in[at] != want || at + 1 + want > len || memcmp(in + at + 1, conn->alpn, want) != 0)
			continue;
		*out = in + at + 1;
		*out_len = in[at];
		return SSL_TLSEXT_ERR_OK;
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static SSL_CTX *new_ctx(void)
{
	static const unsigned char id[] = "imgo";
	SSL_CTX *ctx = SSL_CTX_new(TLS_method());

	if (!ctx)
		return NULL;
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE);
	SSL_CTX_set_default_passwd_cb(ctx, no_password);
	SSL_CTX_set_max_cert_list(ctx, CERTS_MAX);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_timeout(ctx, TICKET_LIFE_S);
	SSL_CTX_set_num_tickets(ctx, 1);
	SSL_CTX_set_session_id_context(ctx, id, sizeof id - 1); /* the same everywhere, or no ticket fits elsewhere */
	SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, imgo__tls_ticket_cb);
	SSL_CTX_set_alpn_select_cb(ctx, select_alpn, NULL);
	/* Forward secrecy only, and no CBC. */
	if (SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1)
		return ctx;
	SSL_CTX_free(ctx);
	return NULL;
}

/* All or nothing. */
static int load(struct imgo_tls *tls, bool reload, struct imgo_error *error)
{
	struct imgo__tls_ticket_keys tickets = tls->tickets;
	int err = 0;

	ERR_clear_error();
	SSL_CTX *ctx = new_ctx();
	if (!ctx)
		return imgo__fail(error, IMGO_ENOMEM, "tls: out of memory");
	if (tls->opt.cert)
		err = take_cert(ctx, &tls->opt, error);
	if (err == 0)
		err = check_expiry(ctx, tls, reload, error);
	if (err == 0)
		err = take_authorities(ctx, &tls->opt, error);
	if (err == 0 && (tls->opt.tickets || !reload))
		err = imgo__tls_tickets_read(&tickets, tls->opt.tickets, error);
	if (err == 0) {
		SSL_CTX_free(tls->ctx);
		tls->ctx = ctx;
		tls->tickets = tickets;
	} else {
		SSL_CTX_free(ctx);
	}
	OPENSSL_cleanse(&tickets, sizeof tickets);
	ERR_clear_error();
	return err;
}

/* ---- making and freeing ---- */

static void enter_stats(struct imgo_tls *tls)
{
	static const char *const causes[IMGO__TLS_CAUSES] = {
		[IMGO__TLS_NOT_TLS] = "imgo_tls_failures_total{why=\"not_tls\"}",
		[IMGO__TLS_TOO_BIG] = "imgo_tls_failures_total{why=\"too_big\"}",
		[IMGO__TLS_VERSION] = "imgo_tls_failures_total{why=\"version\"}",
		[IMGO__TLS_CIPHER] = "imgo_tls_failures_total{why=\"cipher\"}",
		[IMGO__TLS_ALPN] = "imgo_tls_failures_total{why=\"alpn\"}",
		[IMGO__TLS_CERTIFICATE] = "imgo_tls_failures_total{why=\"certificate\"}",
		[IMGO__TLS_ALERT] = "imgo_tls_failures_total{why=\"alert\"}",
		[IMGO__TLS_CLOSED] = "imgo_tls_failures_total{why=\"closed\"}",
		[IMGO__TLS_UNFINISHED] = "imgo_tls_failures_total{why=\"unfinished\"}",
		[IMGO__TLS_RENEGOTIATION] = "imgo_tls_failures_total{why=\"renegotiation\"}",
		[IMGO__TLS_REKEY] = "imgo_tls_failures_total{why=\"rekey\"}",
		[IMGO__TLS_OTHER] = "imgo_tls_failures_total{why=\"other\"}",
	};
	struct imgo_stats *stats = imgo_loop_stats(tls->loop);

	for (int i = 0; i < IMGO__TLS_CAUSES; i++)
		tls->failures[i] = imgo_stats_counter(stats, causes[i], "TLS connections that failed, by cause");
	tls->handshakes = imgo_stats_counter(stats, "imgo_tls_handshakes_total", "TLS handshakes completed");
	tls->resumed = imgo_stats_counter(stats, "imgo_tls_resumed_total", "of these, sessions resumed by a ticket");
	tls->waiting = imgo_stats_gauge(stats, "imgo_tls_waiting", "handshakes that wait for processor time");
	tls->connections = imgo_stats_gauge(stats, "imgo_tls_connections", "TLS connections, handshakes included");
	tls->reloads = imgo_stats_counter(
		stats, "imgo_tls_reloads_total{outcome=\"ok\"}", "Certificates and ticket keys read again");
	tls->reloads_failed = imgo_stats_counter(
		stats, "imgo_tls_reloads_total{outcome=\"failed\"}", "Certificates and ticket keys read again");
}

static bool copy(const char **string)
{
	if (*string && **string == 0)
		*string = NULL;
	return !*string || (*string = imgo__strdup(*string)) != NULL;
}

/* Copies what the options name; on failure what could not be copied is NULL. */
static bool keep_strings(struct imgo_tls_options *o)
{
	bool ok = copy(&o->cert);

	ok = copy(&o->key) && ok;
	ok = copy(&o->ca) && ok;
	ok = copy(&o->name) && ok;
	return copy(&o->tickets) && ok;
}

int imgo_tls_new(
	struct imgo_tls **out, struct imgo_loop *loop, const struct imgo_tls_options *options, struct imgo_error *error)
{
	const struct imgo_tls_options defaults = IMGO_TLS_OPTIONS_INIT;
	struct imgo_tls_options taken = IMGO_TLS_OPTIONS_INIT;

	*out = NULL;
	if (!loop || !options)
		return imgo__fail(error, IMGO_EINVAL, "tls: a loop and options are needed");
	int err = imgo__options_take(&taken, options, "tls", error);
	if (err)
		return err;
	IMGO__OPTION_DEFAULT(taken, defaults, budget_us);
	struct imgo_tls *tls = imgo__zalloc(sizeof *tls);
	if (!tls)
		return imgo__fail(error, IMGO_ENOMEM, "tls: out of memory");
	tls->loop = loop;
	tls->opt = taken;
	imgo__list_init(&tls->queue);
	imgo__task_init(&tls->task, imgo__tls_step);
	imgo__timer_init(&tls->timer, imgo__tls_step_timer);
	enter_stats(tls);
	tls->bio = imgo__tls_bio_method();
	err = keep_strings(&tls->opt) && tls->bio ? load(tls, false, error)
						  : imgo__fail(error, IMGO_ENOMEM, "tls: out of memory");
	if (err) {
		imgo_tls_free(tls);
		return err;
	}
	*out = tls;
	return 0;
}

int imgo_tls_reload(struct imgo_tls *tls, struct imgo_error *error)
{
	struct imgo_error why = {.code = IMGO_OK};
	struct imgo_log *log = imgo_loop_log(tls->loop);
	int err = load(tls, true, &why);

	if (error)
		*error = why;
	imgo_stat_add(err ? tls->reloads_failed : tls->reloads, 1);
	if (err)
		imgo_log_event(log, IMGO_LOG_ERROR, "tls", "reload-failed", "kept=old why=\"%s\"", why.text);
	else
		imgo_log_event(log, IMGO_LOG_INFO, "tls", "reloaded", "cert=%s ticket_keys=%u",
			tls->opt.cert ? tls->opt.cert : "", tls->tickets.n);
	return err;
}

void imgo_tls_free(struct imgo_tls *tls)
{
	if (!tls)
		return;
	imgo__task_cancel(&tls->task);
	imgo__timer_stop(tls->loop, &tls->timer);
	SSL_CTX_free(tls->ctx);
	BIO_meth_free(tls->bio);
	free((char *)tls->opt.cert);
	free((char *)tls->opt.key);
	free((char *)tls->opt.ca);
	free((char *)tls->opt.name);
	free((char *)tls->opt.tickets);
	OPENSSL_cleanse(&tls->tickets, sizeof tls->tickets);
	free(tls);
}

bool imgo__tls_has_cert(const struct imgo_tls *tls)
{
	return tls->opt.cert != NULL;
}

bool imgo__tls_has_ca(const struct imgo_tls *tls)
{
	return tls->opt.ca != NULL;
}
