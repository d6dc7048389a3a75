/* SPDX-License-Identifier: MIT */
/*
 * The client side: one connection to a comet (or to any hub), over TCP or WebSocket, that logs in, stays alive, and comes
 * back when it is lost.
 *
 * MENTAL MODEL. A client is made with an address and a token and begins to connect in the loop's next turn. When it is
 * logged in on_open is called, then on_message for everything that comes, and on_close when the connection, or an
 * attempt to get one, has failed. Unless that is final another attempt follows by itself, after a time drawn from 0 to
 * retry_min_ms, doubled with each failure up to retry_max_ms ("full jitter": many clients that were lost together do
 * not come back together). Heartbeats and, in version 2, acknowledgements are the client's own affair.
 *
 *	struct imgo_client_options options = IMGO_CLIENT_OPTIONS_INIT;
 *	struct imgo_client_ops ops = {.size = sizeof ops, .on_message = my_message};
 *	options.address = "127.0.0.1:8080";
 *	options.token = "t0ken";
 *	imgo_client_new(&client, loop, &ops, me, &options, &error);
 *	...
 *	static void my_message(struct imgo_client *client, const struct imgo_client_message *message, void *me)
 *	{
 *		if (message->kind == IMGO_CLIENT_PUSH)
 *			printf("%.*s\n", (int)message->body.len, message->body.p);
 *	}
 *
 * DELIVERY. Logged messages come at least once, in order; a repeated one has the same id. In version 2 a message is
 * acknowledged after on_message has returned (options.manual_ack: when you say so). In version 1 the server takes it as
 * received when this machine's TCP has it.
 *
 * THREADS. All calls and callbacks on the loop's thread. Callbacks may call anything, imgo_client_free included; no call
 * runs a callback before it returns.
 */
#ifndef IMGO_CLIENT_H
#define IMGO_CLIENT_H

#include <imgo/loop.h>
#include <imgo/tls.h>
#include <imgo/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct imgo_client;

enum imgo_client_transport {
	IMGO_CLIENT_TCP = 0,
	IMGO_CLIENT_WEBSOCKET = 1, /* JSON in text frames; goim: packets in binary ones */
};

enum imgo_client_state {
	IMGO_CLIENT_WAITING = 0, /* for the next attempt */
	IMGO_CLIENT_CONNECTING,  /* up to the answer to the login */
	IMGO_CLIENT_OPEN,        /* logged in */
	IMGO_CLIENT_CLOSING,     /* imgo_client_close was called */
	IMGO_CLIENT_CLOSED,      /* for good: on_close said `final` */
};

enum imgo_client_kind {
	IMGO_CLIENT_PUSH = 0, /* somebody's message: seq 0 */
	IMGO_CLIENT_ANSWER,   /* to an imgo_client_send: with its seq */
	IMGO_CLIENT_CONTROL, /* version 2: op 24 (gap), 25 (reconnect), 26 (kick); the client acts on the last two itself */
};

/* What came. The body lives until the callback returns. */
struct imgo_client_message {
	enum imgo_client_kind kind;
	int32_t op; /* 5 for imgo's pushes and the answer to op 4, 13 to op 12, 255 to op 254, ... */
	int32_t seq;
	uint16_t ver;
	bool has_id; /* version 2: it is in the user's log */
	struct imgo_id id;
	/* TCP: the bytes as they were pushed. WebSocket: the text of the JSON value, but of a string what it means (and
	 * is_string is set); an empty push is {}. */
	struct imgo_str body;
	bool is_string;
};

/* How a connection, or an attempt to get one, ended. */
struct imgo_client_closed {
	/* 0: imgo_client_close. IMGO_EUNAVAILABLE: nobody there, or told to come again; IMGO_ETIMEDOUT: a deadline of the
	 * options; IMGO_ECLOSED: the server ended it (on TCP a refused login too: there is no telling); IMGO_EDENIED: bad token, or
	 * kicked; IMGO_ESTALE: a newer session took its place; IMGO_ELIMIT: the server says too slow or too much, or it sent more
	 * than packet_max_bytes; IMGO_EPROTO: it broke the protocol; IMGO_ENOMEM, IMGO_EIO. */
	int err;
	uint16_t code;     /* WebSocket: of the server's close frame, or HTTP's status instead of an upgrade; else 0 */
	bool was_open;     /* there was an on_open */
	bool final;        /* no further attempt: err is 0, IMGO_EDENIED or IMGO_ESTALE, or options.retry_max_ms is 0 */
	uint64_t retry_ms; /* else: after so long */
	/* TLS: what failed, for a person, static; else NULL. A certificate that is not accepted is
	 * IMGO_EPROTO, and another attempt follows, as servers and their certificates change. */
	const char *tls_why;
};

struct imgo_client_ops {
	size_t size; /* sizeof(struct imgo_client_ops) */
	/* Optional. Logged in; `reply` is the body of the answer, empty in version 1. Lives until it returns. */
	void (*on_open)(struct imgo_client *client, uint16_t ver, struct imgo_str reply, void *user);
	/* Mandatory. Everything but heartbeats' and logins' answers. */
	void (*on_message)(struct imgo_client *client, const struct imgo_client_message *message, void *user);
	/* Optional. Also for attempts that failed. */
	void (*on_close)(struct imgo_client *client, const struct imgo_client_closed *closed, void *user);
};

struct imgo_client_options {
	size_t size;
	const char *address; /* "host:port": a numeric host, or localhost; mandatory */
	enum imgo_client_transport transport;
	const char *token;     /* 1 .. IMGO_TOKEN_MAX bytes, UTF-8 for WebSocket; mandatory (but see goim) */
	uint16_t ver;          /* asked for: 1 (default) or 2; the server may grant 1 */
	const char *device;    /* version 2; NULL: none */
	const char *room;      /* entered (op 12) after each login; NULL: none, or those of the token */
	const char *path;      /* WebSocket; default "/sub" */
	bool manual_ack;       /* version 2: you call imgo_client_ack */
	uint64_t heartbeat_ms; /* at most this long between two, and at least 3/4 of it, by chance; default 30,000 */
	uint64_t heartbeat_timeout_ms; /* something must come within this after a heartbeat; default 10,000 */
	uint64_t login_timeout_ms;     /* of an attempt, from connect to the answer, absolute; default 10,000 */
	uint64_t retry_min_ms;         /* default 250 */
	uint64_t retry_max_ms;         /* default 30,000; 0: no second attempt */
	size_t packet_max_bytes;       /* of a packet, or of a WebSocket message (a batch is one); default 16 MiB */
	size_t send_queue_max_bytes;   /* what the socket does not take; default 1 MiB */
	struct imgo_tls *tls;          /* in TLS: whom to trust; borrowed. NULL: in the clear */
	const char *tls_name; /* what the server's certificate must be for; NULL: the host of the address. Copied */
	/* Speaks goim v2's dialect, to imgo or to goim, with its login: {"mid":…,"key":…,"room_id":…,"accepts":…}. ver is 1; the
	 * token may be NULL where the server believes mid (auth.mode=goim-insecure; goim itself). */
	bool goim;
	uint64_t mid;           /* at most INT64_MAX; 0: a guest */
	const char *key;        /* at most IMGO_KEY_MAX bytes; NULL: none */
	const int32_t *accepts; /* operations that it wants to be sent, at most IMGO_ACCEPTS_MAX; NULL: every one */
	size_t naccepts;
};
#define IMGO_CLIENT_OPTIONS_INIT \
	{ \
		sizeof(struct imgo_client_options), NULL, IMGO_CLIENT_TCP, NULL, 1, NULL, NULL, "/sub", false, 30000, \
			10000, 10000, 250, 30000, 16u << 20, 1u << 20, NULL, NULL, false, 0, NULL, NULL, 0 \
	}

/* *out is the caller's. ops and options are copied, their strings too. Errors: IMGO_EINVAL, IMGO_ENOMEM. */
IMGO_API int imgo_client_new(struct imgo_client **out, struct imgo_loop *loop, const struct imgo_client_ops *ops,
	void *user, const struct imgo_client_options *options, struct imgo_error *error);

/* Closes at once, and no callback runs any more. What waits to be sent is lost. NULL is fine. */
IMGO_API void imgo_client_free(struct imgo_client *client);

/*
 * Ends it politely and for good: what waits is sent (acknowledgements too), then FIN (WebSocket: a close frame), then
 * the server's end is waited for, at most 2 s; on_close with err 0 follows. on_message is not called any more: in
 * version 2 what comes meanwhile comes again next time, in version 1 it is lost. Harmless when it is closing or closed.
 */
IMGO_API void imgo_client_close(struct imgo_client *client);

/*
 * Sends a packet: 4 (echo), 12 (room), 14, 16 (operations), 20, 21, 254 (test), or what else the server may know; 2, 7
 * and 18 are the client's own. On WebSocket a body that is JSON goes as it is, any other as a string; the key of a room
 * always as a string. *seq, if not NULL, is set to the number that the answer will have. Errors: IMGO_ECLOSED (not
 * open), IMGO_ELIMIT (send_queue_max_bytes), IMGO_EINVAL (op), IMGO_ENOMEM.
 */
IMGO_API int imgo_client_send(struct imgo_client *client, int32_t op, struct imgo_str body, int32_t *seq);

/* From now on, and after each login: in this room instead of all others; empty: in none. Copied. Sent at once when open
 * (the answer is a message of op 13). Errors: IMGO_EINVAL (key over IMGO_ROOM_MAX), IMGO_ELIMIT, IMGO_ENOMEM. */
IMGO_API int imgo_client_room(struct imgo_client *client, struct imgo_str room);

/* Version 2: all messages up to and with id are done with. Remembered over a reconnect; what a call is too late for is
 * sent with the next login. Sent at the end of the turn. Errors: IMGO_EINVAL (version 1 was asked for). */
IMGO_API int imgo_client_ack(struct imgo_client *client, struct imgo_id id);

IMGO_API enum imgo_client_state imgo_client_state(const struct imgo_client *client);

#ifdef __cplusplus
}
#endif
#endif
