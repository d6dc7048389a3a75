/* SPDX-License-Identifier: MIT */
/*
 * TLS over a socket that somebody else watches: calls like those of imgo__sock_*, in between bytes are encrypted.
 *
 * The owner watches the descriptor. While the handshake goes on, readable means imgo__tls_shake; after it,
 * imgo__tls_read and imgo__tls_writev take the places of imgo__sock_read and imgo__sock_writev. What is encrypted is
 * taken: if the socket does not take it at once (at most one record, and what TLS itself had to say), it is held here.
 * So after any call: as long as imgo__tls_held says so, watch the descriptor for writing and call imgo__tls_flush.
 *
 * A readable socket is not the whole truth: what was read from it and is not decrypted yet waits here. After reading,
 * as long as imgo__tls_pending says so, call imgo__tls_read again, without waiting for the socket.
 */
#ifndef IMGO__NET_TLS_H
#define IMGO__NET_TLS_H

#include <imgo/tls.h>

#include "loop/loop.h"

struct imgo__tls_conn;

/* The outcome of a step of the handshake: 0: it is done; IMGO_ETIMEDOUT: watch the descriptor for more; else it failed
 * (IMGO_EDENIED: the peer's certificate, or it did not accept ours). May close the connection. */
typedef void imgo__tls_shaken_fn(void *owner, int err);

struct imgo__tls_setup {
	int fd; /* the owner's, who closes it after imgo__tls_close */
	bool server;
	const char *alpn; /* the one protocol that is spoken; static. A peer that offers others only is refused */
	const char *host; /* client: name or address that the server must prove, unless imgo_tls_options.name; NULL: none */
	imgo__tls_shaken_fn *shaken; /* never called inside another call */
	void *owner;
};

/* Can it be a server (it has a certificate)? Are peers' certificates checked (it has authorities)? */
bool imgo__tls_has_cert(const struct imgo_tls *tls);
bool imgo__tls_has_ca(const struct imgo_tls *tls);

int imgo__tls_open(struct imgo__tls_conn **out, struct imgo_tls *tls, const struct imgo__tls_setup *setup);
void imgo__tls_close(struct imgo__tls_conn *conn); /* sends nothing. NULL is fine */

/* Readable, or (client) just connected: true: its step is in the queue, so stop watching until `shaken` comes; false:
 * more bytes must come first. */
bool imgo__tls_shake(struct imgo__tls_conn *conn);
bool imgo__tls_is_open(const struct imgo__tls_conn *conn);    /* the handshake is done */
const char *imgo__tls_why(const struct imgo__tls_conn *conn); /* what failed, for a person; static */

/* > 0 bytes; 0 the peer's end (close_notify or FIN); IMGO_ETIMEDOUT would block; IMGO_ECLOSED reset; IMGO_EPROTO broken
 * TLS or a renegotiation; IMGO_ELIMIT too many new keys. Less than len: nothing more was there, unless pending.
 * socket: false to take only what was read from it already. */
ssize_t imgo__tls_read(struct imgo__tls_conn *conn, void *p, size_t len, bool socket);
bool imgo__tls_pending(const struct imgo__tls_conn *conn);

/* ≥ 0 bytes taken; IMGO_ETIMEDOUT would block; IMGO_ECLOSED; other errors. Little pieces share records. */
ssize_t imgo__tls_writev(struct imgo__tls_conn *conn, const struct iovec *iov, int n);
size_t imgo__tls_held(const struct imgo__tls_conn *conn);
int imgo__tls_flush(struct imgo__tls_conn *conn); /* 0: nothing is held any more; IMGO_ETIMEDOUT; errors */
void imgo__tls_bye(struct imgo__tls_conn *conn);  /* close_notify, once; not after a failure */
/* Bytes that imgo__tls_writev took and the socket has, whole records. */
uint64_t imgo__tls_written(const struct imgo__tls_conn *conn);
bool imgo__tls_spoke(const struct imgo__tls_conn *conn); /* any byte was sent */

/* How many of the bytes that imgo__tls_writev took the peer's TCP has acknowledged, when `unsent` bytes of the socket
 * are not (SIOCOUTQ): a message counts when the last byte of its last record does. Never too many; too few at most
 * until the question is asked again. */
uint64_t imgo__tls_acknowledged(struct imgo__tls_conn *conn, uint64_t unsent);

#endif
