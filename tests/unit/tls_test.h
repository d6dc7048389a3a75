/* SPDX-License-Identifier: MIT */
/* Certificates made for one test, in a folder of its own; and a TLS client that says its bytes when it is told to. */
#ifndef TLS_TEST_H
#define TLS_TEST_H

#include "hub_test.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <imgo/tls.h>

/* ---- certificates ---- */

struct pki {
	char dir[64];
	char ca[128], cert[128], key[128], other_ca[128], other_cert[128], other_key[128], tickets[128];
	X509 *root, *other_root;
	EVP_PKEY *root_key, *other_root_key;
};

static inline void pki_path(const struct pki *pki, char out[128], const char *name)
{
	snprintf(out, 128, "%s/%s", pki->dir, name);
}

static inline void pki_extension(X509 *cert, int nid, const char *value)
{
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	assert_non_null(ext);
	assert_int_equal(X509_add_ext(cert, ext, -1), 1);
	X509_EXTENSION_free(ext);
}

/* A certificate for name (and 127.0.0.1), good until `seconds` from now, signed by issuer (NULL: itself). */
static inline X509 *pki_make(EVP_PKEY *key, const char *name, long seconds, X509 *issuer, EVP_PKEY *issuer_key)
{
	X509 *cert = X509_new();
	char san[128];
	long serial;

	assert_non_null(cert);
	RAND_bytes((unsigned char *)&serial, sizeof serial);
	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), serial & 0x7fffffff);
	X509_gmtime_adj(X509_getm_notBefore(cert), -7200);
	X509_gmtime_adj(X509_getm_notAfter(cert), seconds);
	X509_set_pubkey(cert, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(issuer ? issuer : cert));
	if (issuer) {
		snprintf(san, sizeof san, "DNS:%s,IP:127.0.0.1", name);
		pki_extension(cert, NID_subject_alt_name, san);
	} else {
		pki_extension(cert, NID_basic_constraints, "critical,CA:TRUE");
	}
	assert_true(X509_sign(cert, issuer_key, EVP_sha256()) > 0);
	return cert;
}

static inline void pki_write(const char *path, X509 *cert, EVP_PKEY *key)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	if (cert)
		assert_int_equal(PEM_write_X509(file, cert), 1);
	if (key)
		assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(file);
}

static inline void pki_text(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

/* A certificate and its key, into two files. */
static inline void pki_issue(
	const char *cert_path, const char *key_path, const char *name, long seconds, X509 *root, EVP_PKEY *root_key)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = pki_make(key, name, seconds, root, root_key);

	pki_write(cert_path, cert, NULL);
	pki_write(key_path, NULL, key);
	X509_free(cert);
	EVP_PKEY_free(key);
}

static inline void pki_new(struct pki *pki)
{
	*pki = (struct pki){.dir = "/tmp/imgo-tls-XXXXXX"};
	assert_non_null(mkdtemp(pki->dir));
	pki_path(pki, pki->ca, "ca.pem");
	pki_path(pki, pki->cert, "cert.pem");
	pki_path(pki, pki->key, "key.pem");
	pki_path(pki, pki->other_ca, "other-ca.pem");
	pki_path(pki, pki->other_cert, "other-cert.pem");
	pki_path(pki, pki->other_key, "other-key.pem");
	pki_path(pki, pki->tickets, "tickets");
	pki->root_key = EVP_EC_gen("P-256");
	pki->other_root_key = EVP_EC_gen("P-256");
	pki->root = pki_make(pki->root_key, "root", 86400, NULL, pki->root_key);
	pki->other_root = pki_make(pki->other_root_key, "other root", 86400, NULL, pki->other_root_key);
	pki_write(pki->ca, pki->root, NULL);
	pki_write(pki->other_ca, pki->other_root, NULL);
	pki_issue(pki->cert, pki->key, "imgo.test", 86400, pki->root, pki->root_key);
	pki_issue(pki->other_cert, pki->other_key, "other.test", 86400, pki->other_root, pki->other_root_key);
}

static inline void pki_free(struct pki *pki)
{
	char command[128];

	X509_free(pki->root);
	X509_free(pki->other_root);
	EVP_PKEY_free(pki->root_key);
	EVP_PKEY_free(pki->other_root_key);
	snprintf(command, sizeof command, "rm -r %s", pki->dir);
	assert_int_equal(system(command), 0);
}

/* ---- a client ---- */

struct tls_client {
	SSL *ssl;
	BIO *in, *out;
	int fd;
	bool fin; /* the server's */
	int error;
};

static inline SSL_CTX *tls_client_ctx(const struct pki *pki, int version)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	if (version < TLS1_2_VERSION)
		SSL_CTX_set_security_level(ctx, 0);
	SSL_CTX_set_min_proto_version(ctx, version);
	SSL_CTX_set_max_proto_version(ctx, version);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT);
	assert_int_equal(SSL_CTX_load_verify_file(ctx, pki->ca), 1);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	return ctx;
}

static inline void tls_client_new(struct tls_client *c, SSL_CTX *ctx, int port)
{
	*c = (struct tls_client){.fd = client(port)};
	c->ssl = SSL_new(ctx);
	c->in = BIO_new(BIO_s_mem());
	c->out = BIO_new(BIO_s_mem());
	SSL_set_bio(c->ssl, c->in, c->out);
	SSL_set_connect_state(c->ssl);
	SSL_set_tlsext_host_name(c->ssl, "imgo.test");
	SSL_set1_host(c->ssl, "imgo.test");
}

static inline void tls_client_free(struct tls_client *c)
{
	SSL_free(c->ssl);
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

/* What the socket has goes to the client's TLS. */
static inline void tls_client_take(struct tls_client *c)
{
	char buf[65536];
	ssize_t n;

	while (!c->fin && !c->error && (n = recv(c->fd, buf, sizeof buf, 0)) != -1) {
		if (n == 0)
			c->fin = true;
		else
			BIO_write(c->in, buf, (int)n);
	}
	if (!c->fin && !c->error && errno != EAGAIN)
		c->error = errno;
}

/* What the client's TLS has to say, as much as `max` bytes of it, goes to the socket. */
static inline size_t tls_client_give(struct tls_client *c, size_t max)
{
	char buf[65536];
	int n = BIO_read(c->out, buf, (int)(max < sizeof buf ? max : sizeof buf));

	if (n <= 0)
		return 0;
	if (send(c->fd, buf, (size_t)n, MSG_NOSIGNAL) != n)
		c->error = errno;
	return (size_t)n;
}

/* A step: 1 done, 0 more to come, -1 failed. */
static inline int tls_client_shake(struct tls_client *c)
{
	ERR_clear_error();
	int r = SSL_do_handshake(c->ssl);

	if (r == 1)
		return 1;
	return SSL_get_error(c->ssl, r) == SSL_ERROR_WANT_READ ? 0 : -1;
}

/* The whole handshake: 1, or -1 when it failed. */
static inline int tls_client_connect(struct rig *rig, struct tls_client *c)
{
	uint64_t end = rig_ms() + 5000;
	int r;

	while ((r = tls_client_shake(c)) == 0) {
		while (tls_client_give(c, SIZE_MAX))
			;
		rig_turn(rig);
		tls_client_take(c);
		if (c->error || (c->fin && BIO_pending(c->in) == 0))
			return -1;
		if (rig_ms() > end)
			fail_msg("no end of the handshake");
	}
	while (tls_client_give(c, SIZE_MAX))
		;
	return r;
}

static inline void tls_put(struct tls_client *c, const void *p, size_t len)
{
	assert_int_equal(SSL_write(c->ssl, p, (int)len), len);
	while (tls_client_give(c, SIZE_MAX))
		;
}

static inline void tls_get(struct rig *rig, struct tls_client *c, void *p, size_t len)
{
	uint64_t end = rig_ms() + 8000;

	for (size_t have = 0; have < len;) {
		int n = SSL_read(c->ssl, (char *)p + have, (int)(len - have));
		while (tls_client_give(c, SIZE_MAX))
			;
		if (n > 0) {
			have += (size_t)n;
			continue;
		}
		if (SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_READ || (c->fin && BIO_pending(c->in) == 0))
			fail_msg("ended after %zu of %zu bytes", have, len);
		rig_turn(rig);
		tls_client_take(c);
		if (rig_ms() > end)
			fail_msg("only %zu of %zu bytes came", have, len);
	}
}

static inline void tls_put_packet(struct tls_client *c, int32_t op, int32_t seq, const char *body)
{
	uint8_t b[8192];

	tls_put(c, b, packet_bytes(b, 1, op, seq, body));
}

static inline void tls_expect_packet(struct rig *rig, struct tls_client *c, int32_t op, int32_t seq, const char *body)
{
	uint8_t want[8192], got[8192];
	size_t len = packet_bytes(want, 1, op, seq, body);

	tls_get(rig, c, got, len);
	assert_memory_equal(got, want, len);
}

/* Waits until the server has ended: 0 its FIN, else the errno. *notified: close_notify came before. */
static inline int tls_ending(struct rig *rig, struct tls_client *c, bool *notified)
{
	uint64_t end = rig_ms() + 8000;
	char buf[4096];

	while (!c->fin && !c->error) {
		rig_turn(rig);
		tls_client_take(c);
		if (rig_ms() > end)
			fail_msg("not closed");
	}
	while (SSL_read(c->ssl, buf, sizeof buf) > 0)
		;
	if (notified)
		*notified = SSL_get_shutdown(c->ssl) & SSL_RECEIVED_SHUTDOWN;
	return c->error;
}

/* ---- a hub with TLS ---- */

struct tls_rig {
	struct rig rig;
	struct imgo_tls *tls;
	int tls_port, wss_port;
};

static inline void tls_rig_new(
	struct tls_rig *t, const struct pki *pki, const char *tickets, struct imgo_hub_options *hub, uint32_t budget_us)
{
	struct imgo_hub_options defaults = IMGO_HUB_OPTIONS_INIT;
	struct imgo_tls_options options = IMGO_TLS_OPTIONS_INIT;
	struct imgo_error error;

	options.cert = pki->cert;
	options.key = pki->key;
	options.tickets = tickets;
	options.budget_us = budget_us;
	rig_new_loop(&t->rig);
	assert_int_equal(imgo_tls_new(&t->tls, t->rig.loop, &options, &error), 0);
	hub = hub ? hub : &defaults;
	hub->tls = t->tls;
	rig_new_hub(&t->rig, hub);
	assert_int_equal(imgo_hub_listen(t->rig.hub, "127.0.0.1:0", IMGO_HUB_TLS, &t->tls_port, &error), 0);
	assert_int_equal(imgo_hub_listen(t->rig.hub, "127.0.0.1:0", IMGO_HUB_WSS, &t->wss_port, &error), 0);
}

static inline void tls_rig_free(struct tls_rig *t)
{
	if (!t->rig.freed)
		imgo_hub_free(t->rig.hub);
	t->rig.freed = true;
	imgo_tls_free(t->tls);
	rig_free(&t->rig);
}

#endif
