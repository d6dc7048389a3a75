/* SPDX-License-Identifier: MIT */
/* A TLS client that says its bytes when it is told to, and a hub with TLS. */
#ifndef TLS_TEST_H
#define TLS_TEST_H

#include "hub_test.h"
#include "pki_test.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <imgo/tls.h>

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
