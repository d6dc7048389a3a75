/* SPDX-License-Identifier: MIT */
/*
 * Request and reply between daemons: MessagePack-RPC over TCP with a 4-byte length prefix (codec/rpcframe.h),
 * pipelined; every call has a deadline, every queue a limit. The first request on a connection is "hello"
 * [protocol version, secret or nil, role name]; anything else before it, or a wrong secret, closes the connection.
 *
 * Client: one struct imgo__rpc_client is a set of equivalent peers (several logics) or a single one (a comet). A call
 * goes to a connected peer (the preferred one first; round robin among the healthy with `spread`), waits while a
 * connection is being made, and fails with IMGO_EUNAVAILABLE at once when all are known to be down (reconnects go on in
 * the background, with jittered back-off from 50 ms to 2 s). A peer whose calls time out 3 times in a row is closed and
 * tried last (a circuit breaker). Ping each second on an idle connection detects a silent peer within 3 s.
 *
 * Server: a table of methods. A handler gets the parameters' cursor, and answers now or later, exactly once.
 */
#ifndef IMGO__RPC_RPC_H
#define IMGO__RPC_RPC_H

#include "codec/mp.h"
#include "loop/loop.h"
#include "net/tls.h"

#define IMGO__RPC_VERSION   1
#define IMGO__RPC_ALPN      "imgo-rpc"
#define IMGO__RPC_FRAME_MAX (16u << 20) /* bytes of one message, default */

/* Can RPC be spoken with it: a certificate of its own, and authorities for others'? 0, or IMGO_EINVAL. NULL is fine. */
int imgo__rpc_check_tls(const struct imgo_tls *tls, struct imgo_error *error);

/* ---- client ---- */
struct imgo__rpc_client;

struct imgo__rpc_client_options {
	const char *peers;    /* "host:port,host:port" */
	const char *secret;   /* NULL: none, and without TLS only loopback addresses are accepted (IMGO_EINVAL) */
	struct imgo_tls *tls; /* borrowed; NULL: in the clear. With authorities: both sides prove who they are */
	const char *role;     /* who calls, for the log: "comet 1" */
	unsigned timeout_ms;  /* default of a call; 0: 1000 */
	unsigned calls_max;   /* under way and waiting; 0: 65536 → beyond it IMGO_ELIMIT */
	size_t queue_max;     /* bytes unsent on a connection; 0: 64 MiB → IMGO_ELIMIT */
	bool spread;          /* round robin among the healthy peers instead of the first one */
};

/* err: 0, or what the handler answered, or IMGO_ETIMEDOUT, IMGO_ECLOSED (unknown outcome), IMGO_EUNAVAILABLE (surely not
 * done), IMGO_ECANCELED. result: cursor at the reply (only when err is 0), valid until the callback returns. */
typedef void imgo__rpc_reply_fn(int err, struct imgo__mp *result, void *user);

int imgo__rpc_client_new(struct imgo__rpc_client **out, struct imgo_loop *loop,
	const struct imgo__rpc_client_options *options, struct imgo_error *error);
void imgo__rpc_client_free(struct imgo__rpc_client *client);
bool imgo__rpc_client_up(const struct imgo__rpc_client *client); /* some peer is connected and greeted */

/* A call in two steps: begin gives the writer at which to write the parameters (any number of values: the array around
 * them, of `nparams`, is written by begin); send sends it or cancels on error. Between the two nothing else of the
 * client may be called. send returns 0 or an error (then the callback does not run); with cb NULL nobody is told what
 * became of it. */
struct imgo__mpw *imgo__rpc_begin_call(struct imgo__rpc_client *client, const char *method, uint32_t nparams);
int imgo__rpc_send(
	struct imgo__rpc_client *client, unsigned timeout_ms /* 0: default */, imgo__rpc_reply_fn *cb, void *user);

/* ---- server ---- */
struct imgo__rpc_server;
struct imgo__rpc_request; /* one call that waits for its answer */

/* params: cursor behind the array header of the parameters (nparams of them), valid until the handler returns. */
typedef void imgo__rpc_handler(struct imgo__rpc_request *request, struct imgo__mp *params, uint32_t nparams, void *user);

struct imgo__rpc_method {
	const char *name;
	imgo__rpc_handler *fn;
};

struct imgo__rpc_server_options {
	const char *listen;
	const char *secret;   /* NULL: none, and without TLS only a loopback address is accepted (IMGO_EINVAL) */
	struct imgo_tls *tls; /* as the client's */
	const struct imgo__rpc_method *methods; /* ends with {NULL, NULL}; static */
	void *user;
	unsigned connections_max; /* 0: 1024 */
	unsigned calls_max;       /* unanswered calls of a connection, beyond it reading pauses; 0: 4096 */
};

int imgo__rpc_server_new(struct imgo__rpc_server **out, struct imgo_loop *loop,
	const struct imgo__rpc_server_options *options, struct imgo_error *error);
/* Unanswered requests are dropped: answering them later is still legal and does nothing. */
void imgo__rpc_server_free(struct imgo__rpc_server *server);
int imgo__rpc_server_port(const struct imgo__rpc_server *server);

/* Answers and frees the request; the connection may be gone meanwhile (nothing happens). reply_begin: write exactly one
 * value, then reply_end. Between the two nothing else of the server may be called. */
struct imgo__mpw *imgo__rpc_reply_begin(struct imgo__rpc_request *request);
void imgo__rpc_reply_end(struct imgo__rpc_request *request);
void imgo__rpc_reply_error(struct imgo__rpc_request *request, int err); /* a negative imgo_err */

#endif
