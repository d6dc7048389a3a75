/* SPDX-License-Identifier: MIT */
/*
 * TLS: who we are, and whom we trust.
 *
 * MENTAL MODEL. A struct imgo_tls holds a certificate with its key, the authorities whose certificates are accepted from
 * others, and the keys of session tickets. It is made from PEM files, lent to whatever speaks TLS with it (a hub, the RPC
 * of a role, a client), and outlives them. imgo_tls_reload reads the files again: new connections use what is new, those
 * that exist stay as they are, and if anything is wrong with the files nothing changes.
 *
 *	struct imgo_tls_options options = IMGO_TLS_OPTIONS_INIT;
 *	options.cert = "/etc/imgo/cert.pem";
 *	options.key = "/etc/imgo/key.pem";
 *	imgo_tls_new(&tls, loop, &options, &error);
 *	hub_options.tls = tls;
 *	imgo_hub_listen(hub, "0.0.0.0:8095", IMGO_HUB_WSS, NULL, &error);
 *
 * TLS 1.2 and 1.3, forward-secret ciphers only, no renegotiation, no compression, no early data. Files are read by
 * imgo_tls_new and imgo_tls_reload, at no other time.
 *
 * HANDSHAKES cost processor time, so they queue: in one turn of the loop they get budget_us of it (at least one step),
 * in order; the others wait for the next turn. Nothing but the first message's bytes is kept for a peer before its turn,
 * and that message is refused, before anything is allocated for it, when it is over 8 kB or no TLS.
 *
 * TICKETS. A returning client proves an earlier session with a ticket that only the server can read, which saves the
 * expensive part of a handshake. Servers that share a file of ticket keys resume one another's sessions. The file has one
 * key a line, 160 hexadecimal digits (openssl rand -hex 80); the first makes new tickets, all open old ones, at most 8.
 * Without a file the keys are random and live as long as the imgo_tls.
 *
 * THREADS. Everything on the loop's thread. A build without TLS (-Dtls=disabled) answers IMGO_ENOTSUP.
 */
#ifndef IMGO_TLS_H
#define IMGO_TLS_H

#include <stdbool.h>

#include <imgo/loop.h>

#ifdef __cplusplus
extern "C" {
#endif

struct imgo_tls;

struct imgo_tls_options {
	size_t size;
	const char *cert; /* PEM file: our certificate, then its chain. A server needs one; NULL: none */
	const char *key;  /* PEM file; NULL: the key is in the file of cert. Not encrypted */
	/* PEM file of authorities. A server that has one demands a certificate of one of them from every client. A client
	 * accepts servers' certificates of these alone; NULL: those that the system trusts. */
	const char *ca;
	/* What the certificate of every peer must be for. NULL: a client of the public demands the name it was told to
	 * connect to; RPC and servers take any that `ca` vouches for. */
	const char *name;
	const char *tickets; /* file of ticket keys; NULL: random ones */
	bool insecure;       /* a client takes any certificate: for tests */
	uint32_t budget_us;  /* processor time of handshakes in one turn of the loop; default 2,000 */
};
#define IMGO_TLS_OPTIONS_INIT \
	{ \
		sizeof(struct imgo_tls_options), NULL, NULL, NULL, NULL, NULL, false, 2000 \
	}

/* *out is the caller's; options and their strings are copied. Errors: IMGO_EINVAL (a file that is not what it should be,
 * a key that does not fit its certificate, an expired one; the text says which), IMGO_ENOTFOUND, IMGO_EIO, IMGO_ENOMEM,
 * IMGO_ENOTSUP. */
IMGO_API int imgo_tls_new(struct imgo_tls **out, struct imgo_loop *loop, const struct imgo_tls_options *options,
	struct imgo_error *error);

/* Reads the files again. On an error everything stays as it was. Logged and counted (imgo_tls_reloads_total) either way.
 * Errors: as imgo_tls_new. */
IMGO_API int imgo_tls_reload(struct imgo_tls *tls, struct imgo_error *error);

/* After everything that borrows it. NULL is fine. */
IMGO_API void imgo_tls_free(struct imgo_tls *tls);

#ifdef __cplusplus
}
#endif
#endif
