/* SPDX-License-Identifier: MIT */
/* The inside of TLS: tls_context.c has files and keys, tls_shake.c the handshakes and their queue, tls.c the bytes. */
#ifndef IMGO__NET_TLS_IMPL_H
#define IMGO__NET_TLS_IMPL_H

#include <openssl/ssl.h>

#include "base/buf.h"
#include "net/tls.h"

enum {
	IMGO__TLS_RECORD = 16384, /* plain bytes of one record */
	IMGO__TLS_TICKET_KEYS = 8,
};

/* Why a connection failed, as it is counted. */
enum imgo__tls_cause {
	IMGO__TLS_NOT_TLS,
	IMGO__TLS_TOO_BIG,
	IMGO__TLS_VERSION,
	IMGO__TLS_CIPHER,
	IMGO__TLS_ALPN,
	IMGO__TLS_CERTIFICATE,
	IMGO__TLS_ALERT,
	IMGO__TLS_CLOSED,
	IMGO__TLS_UNFINISHED,
	IMGO__TLS_RENEGOTIATION,
	IMGO__TLS_REKEY,
	IMGO__TLS_OTHER,
	IMGO__TLS_CAUSES
};

struct imgo__tls_ticket_key {
	uint8_t name[16], mac[32], cipher[32];
};

/* The first one makes tickets. */
struct imgo__tls_ticket_keys {
	struct imgo__tls_ticket_key key[IMGO__TLS_TICKET_KEYS];
	unsigned n;
};

struct imgo_tls {
	struct imgo_loop *loop;
	struct imgo_tls_options opt; /* its strings are copies */
	SSL_CTX *ctx;                /* each SSL has a reference of its own */
	BIO_METHOD *bio;
	struct imgo__tls_ticket_keys tickets;
	struct imgo__list queue; /* connections that wait for a step of their handshake */
	struct imgo__task task;
	struct imgo__timer timer;
	struct imgo_stat *handshakes, *resumed, *waiting, *connections, *reloads, *reloads_failed;
	struct imgo_stat *failures[IMGO__TLS_CAUSES];
	uint8_t gather[IMGO__TLS_RECORD]; /* little pieces on their way into one record */
};

struct imgo__tls_conn {
	struct imgo_tls *tls;
	SSL *ssl; /* NULL until the peer's first message is complete */
	struct imgo__list link;
	struct imgo__buf in, out; /* of the socket: what came and is not taken; what is to go */
	size_t in_at;             /* taken */
	uint64_t made;            /* bytes for the socket, ever */
	/* Acknowledgement: `plain` bytes end at `plain_end` of the socket's; of two ends that were passed by, the older one
	 * is marked (mark_end UINT64_MAX: none); known: bytes that surely arrived. */
	uint64_t plain, plain_end, mark, mark_end, known;
	uint64_t before;   /* `plain` without the last record */
	uint64_t rekey_us; /* the time at which the bucket of KeyUpdates is full again */
	imgo__tls_shaken_fn *shaken;
	void *owner;
	const char *alpn, *why;
	char *host;
	int fd, err;
	bool server, open, ended, bye, failed; /* ended: by the peer; failed: counted */
};

/* tls.c */
ssize_t imgo__tls_fill(struct imgo__tls_conn *conn, size_t want); /* from the socket into `in`; as imgo__sock_read */
void imgo__tls_tidy(struct imgo__tls_conn *conn);
BIO_METHOD *imgo__tls_bio_method(void);

/* tls_shake.c */
void imgo__tls_step(struct imgo_loop *loop, struct imgo__task *task);
void imgo__tls_step_timer(struct imgo_loop *loop, struct imgo__timer *timer);
void imgo__tls_failed(struct imgo__tls_conn *conn, enum imgo__tls_cause cause, int err, const char *why);
/* Reads OpenSSL's queue of errors. */
void imgo__tls_failed_openssl(struct imgo__tls_conn *conn);

/* tls_tickets.c */
int imgo__tls_tickets_read(struct imgo__tls_ticket_keys *out, const char *path, struct imgo_error *error);
int imgo__tls_ticket_cb(
	SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int enc);

#endif
