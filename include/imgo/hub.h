/* SPDX-License-Identifier: MIT */
/*
 * The connection hub: very many client connections on one loop, and fan-out to them.
 *
 * MENTAL MODEL. A hub listens for TCP and WebSocket clients that speak imgo's or goim's protocol, and calls you when one
 * wants to log in (on_auth). You look at the token in whatever way you like and answer, now or later, with
 * imgo_hub_auth_finish: from then on the connection belongs to a user, and messages can be sent to the connection, to all
 * connections of a user, to a room, or to all. Heartbeats, echo (op 4), rooms (op 12), wanted operations (op 14),
 * deadlines, limits and slow consumers are the hub's own affair; every client packet is shown to you first (on_packet).
 *
 *	struct imgo_hub_ops ops = {.size = sizeof ops, .on_auth = my_auth};
 *	imgo_hub_new(&hub, loop, &ops, me, NULL, &error);
 *	imgo_hub_listen(hub, "127.0.0.1:8080", IMGO_HUB_TCP, NULL, &error);
 *	...
 *	static void my_auth(struct imgo_hub *hub, struct imgo_conn conn, const struct imgo_hub_auth *auth, void *me)
 *	{
 *		struct imgo_hub_grant grant = IMGO_HUB_GRANT_INIT;
 *		grant.user = imgo_str("123");
 *		imgo_hub_auth_finish(hub, conn, &grant);
 *	}
 *	...
 *	imgo_hub_send_user(hub, imgo_str("123"), &msg, 1);
 *
 * A connection is named by a handle with a generation inside: using one that is gone is IMGO_ESTALE, never a mix-up.
 *
 * OUTPUT. Everything goes out at the end of the loop's turn, coalesced: what was sent to one connection in one writev, and
 * what was sent to one room as one batch. What the socket does not take is queued up to write_queue_max_bytes (one message
 * may always wait, however long it is), and beyond that the connection is closed: a slow consumer loses its connection, not
 * its logged messages. The hub never blocks.
 * Order: what is sent to connections and users arrives in the order of the calls; so does what is sent to one room (or by
 * broadcast). Between the two there is no order: a message to a user may overtake one to a room.
 *
 * THREADS. All calls and callbacks on the loop's thread. Callbacks may call anything of the hub, close the very connection
 * and free the hub included. A closed connection's handle is stale at once and it gets nothing that is sent later;
 * on_close follows, never inside another call of the hub (but imgo_hub_free).
 */
#ifndef IMGO_HUB_H
#define IMGO_HUB_H

#include <imgo/loop.h>
#include <imgo/msg.h>
#include <imgo/tls.h>
#include <imgo/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct imgo_hub;

/* A connection. h == 0 is none. Never used twice in the life of a hub. */
struct imgo_conn {
	uint64_t h;
};

enum imgo_hub_kind {
	IMGO_HUB_TCP = 0,       /* imgo's and goim's packets */
	IMGO_HUB_WEBSOCKET = 1, /* path /sub; JSON in text or binary frames, or goim's packets in binary ones */
	/* The same two in TLS, which needs imgo_hub_options.tls. (kind & IMGO_HUB_WEBSOCKET is true of both WebSockets.) */
	IMGO_HUB_TLS = 2,
	IMGO_HUB_WSS = 3,
};

/* Why a connection ended, and what its peer is told (WebSocket close code in brackets; on TCP it is just closed). */
enum imgo_close {
	IMGO_CLOSE_NONE = 0,
	IMGO_CLOSE_PEER,      /* it sent FIN or a close frame */
	IMGO_CLOSE_RESET,     /* its TCP reset the connection, or another socket error */
	IMGO_CLOSE_PROTOCOL,  /* it broke the protocol [1002, 1007] */
	IMGO_CLOSE_TOO_BIG,   /* a frame or body over the limit [1009] */
	IMGO_CLOSE_HANDSHAKE, /* not logged in within handshake_timeout_ms [1008] */
	IMGO_CLOSE_HEARTBEAT, /* no heartbeat within heartbeat_timeout_ms [1001] */
	IMGO_CLOSE_SLOW,      /* its write queue is over the limit [4008] */
	IMGO_CLOSE_DENIED,    /* bad token [4001] */
	IMGO_CLOSE_TRY_LATER, /* cannot be decided now: come again [1013] */
	IMGO_CLOSE_REPLACED,  /* a newer session took its place [4009] */
	IMGO_CLOSE_KICKED,    /* by the application [4003] */
	IMGO_CLOSE_FLOOD,     /* too many packets or rooms [1008] */
	IMGO_CLOSE_SHUTDOWN,  /* the hub goes away [1001] */
};

/* A login. Strings live until the callback returns. */
struct imgo_hub_auth {
	struct imgo_str token;        /* bytes as sent, outer quotes stripped; at most IMGO_TOKEN_MAX */
	struct imgo_str device;       /* version 2; else "" */
	uint16_t ver;                 /* asked for: 1 or 2 */
	const struct imgo_str *rooms; /* version 2: asked for in the login */
	size_t nrooms;
	bool has_resume;
	struct imgo_id resume;
	enum imgo_hub_kind kind;
	struct imgo_str peer; /* "address:port" */
	/* A goim client (its login is a JSON object with mid or accepts). Without a "token" in it, has_token is false and
	 * token is the whole object, "" when that is longer than a token: whether to believe mid is your decision. */
	bool has_token;
	uint64_t mid;           /* its user; 0: not given */
	struct imgo_str key;    /* its name for this connection, at most IMGO_KEY_MAX bytes; "": none */
	const int32_t *accepts; /* operations it wants, ascending; NULL: it did not say, and gets every one */
	size_t naccepts;
};

/* What a login is granted. */
struct imgo_hub_grant {
	size_t size;
	struct imgo_str user;         /* 1 .. IMGO_USER_MAX bytes, copied */
	void *data;                   /* yours: imgo_hub_data */
	const struct imgo_str *rooms; /* joined before anything is sent; copied */
	size_t nrooms;
	struct imgo_str reply; /* body of the reply (op 8); empty for version 1 */
	uint16_t ver;          /* granted: 1 (default) or 2 */
	/* Operations that it is sent (but for rooms, whose messages it always gets): ascending, at most IMGO_ACCEPTS_MAX,
	 * copied; NULL: every one. */
	const int32_t *accepts;
	size_t naccepts;
};
#define IMGO_HUB_GRANT_INIT \
	{ \
		sizeof(struct imgo_hub_grant), {NULL, 0}, NULL, NULL, 0, {NULL, 0}, 1, NULL, 0 \
	}

/* A packet of a client that is logged in. The body lives until the callback returns. */
struct imgo_hub_packet {
	uint16_t ver;
	int32_t op, seq;
	bool has_id;
	struct imgo_id id;
	struct imgo_str body;
};

/* How a connection that was at least asked about (on_auth) ended. */
struct imgo_hub_closed {
	enum imgo_close why;
	/* The peer left by itself (IMGO_CLOSE_PEER): its FIN was read, after all that it sent, and no reset. After a
	 * WebSocket close frame on_close waits for that, at most 5 s. */
	bool orderly;
	uint64_t queued; /* as imgo_hub_position, at this moment */
	uint64_t acknowledged;
	uint64_t written;  /* as imgo_hub_written */
	bool said_goodbye; /* the last thing that was read of it is a WebSocket close frame; orderly or not */
};

struct imgo_hub_ops {
	size_t size; /* sizeof(struct imgo_hub_ops) */
	/* Mandatory. Must lead to imgo_hub_auth_finish or imgo_hub_auth_refuse of this connection, in the callback or
	 * later (the handshake's deadline goes on); either says IMGO_ESTALE when the client has gone meanwhile. */
	void (*on_auth)(struct imgo_hub *hub, struct imgo_conn conn, const struct imgo_hub_auth *auth, void *user);
	/* Optional. Every packet of a logged-in client, heartbeats too (but not a second login), before the hub acts on it.
	 * True: it is done with. The hub itself knows ops 2, 4, 12, 14, 16, 20, 21 and 254; any other closes the connection,
	 * a goim client's is answered with the same op and no body. In a WebSocket client's JSON the body is the JSON text,
	 * a string's without its quotes and with its escapes. */
	bool (*on_packet)(struct imgo_hub *hub, struct imgo_conn conn, const struct imgo_hub_packet *packet, void *user);
	/* Optional. May the connection be in this room (ops 12, 20)? 0, or an error: then nothing changes and the client is
	 * closed with IMGO_CLOSE_DENIED. NULL: everything is allowed. */
	int (*on_room)(struct imgo_hub *hub, struct imgo_conn conn, struct imgo_str room, void *user);
	/* Optional. The client changed its rooms (imgo_hub_rooms tells which they are now). */
	void (*on_rooms)(struct imgo_hub *hub, struct imgo_conn conn, void *user);
	/* Optional. Gone: exactly once for each on_auth, also when it never finished. `data` is the grant's. The handle is
	 * no longer valid for anything. */
	void (*on_close)(struct imgo_hub *hub, struct imgo_conn conn, void *data, const struct imgo_hub_closed *closed,
		void *user);
	/* Optional. A queue that had formed is empty again. */
	void (*on_drain)(struct imgo_hub *hub, struct imgo_conn conn, void *user);
	/* Optional. How many are in this room altogether? `here` of them are in this hub. A goim client is told in answer to
	 * its heartbeat. NULL: it is told `here`. */
	uint32_t (*on_online)(struct imgo_hub *hub, struct imgo_str room, uint32_t here, void *user);
	/* Optional. A WebSocket pong of a logged-in client: the payload is that of a ping (imgo_hub_ping; the hub's own have
	 * none), or whatever the client liked to send. It lives until the callback returns. */
	void (*on_pong)(struct imgo_hub *hub, struct imgo_conn conn, struct imgo_str payload, void *user);
};

/* Limits. 0 where it says so; the property table of the daemons has the same names under "hub.". */
struct imgo_hub_options {
	size_t size;
	uint64_t handshake_timeout_ms;   /* accept to auth_finish, absolute; default 5,000 */
	uint64_t heartbeat_timeout_ms;   /* without op 2; default 300,000 */
	size_t body_max_bytes;           /* of a client's packet; default 4,096 */
	size_t write_queue_max_bytes;    /* of a connection; default 256 KiB */
	uint32_t connections_max;        /* default 0: what the process's descriptor limit allows, less 64 */
	uint32_t unauthenticated_max;    /* default 10,000; at the cap a silent one gives way, or accepting pauses */
	uint32_t rooms_max;              /* of a connection; default 16 (a version 2 login: at most 64) */
	uint32_t packets_per_second_max; /* of a client, averaged over some seconds; default 100; 0: none */
	uint32_t walk_slice; /* connections of a fan-out walked before other events get a turn; default 1,024 */
	/* WebSocket: which pages may connect, "https://a.example,https://b.example:8443", exactly as browsers say it in
	 * Origin; NULL or empty: any. A client that says none is no browser, and may. */
	const char *origins;
	/* WebSocket: a logged-in client of which nothing came for so long is pinged, and closed as IMGO_CLOSE_HEARTBEAT when
	 * again nothing comes for as long; default 0: never. */
	uint64_t websocket_ping_ms;
	/* Of one address (of IPv6: its first 64 bits), 0: no limit. Not of loopback addresses, unless limit_loopback. */
	uint32_t address_unauthenticated_max; /* connections not logged in; beyond it closed at once; default 1,000 */
	uint32_t address_failures_max; /* failed logins a minute, beyond it its logins wait for a slot each; default 60 */
	uint64_t refusal_delay_ms; /* IMGO_CLOSE_DENIED is told so long after the login came; default 100; 0: at once */
	bool limit_loopback;       /* default false */
	struct imgo_tls *tls;      /* of IMGO_HUB_TLS and IMGO_HUB_WSS, borrowed; new certificates: imgo_tls_reload */
};
#define IMGO_HUB_OPTIONS_INIT \
	{ \
		sizeof(struct imgo_hub_options), 5000, 300000, 4096, 256 * 1024, 0, 10000, 16, 100, 1024, NULL, 0, \
			1000, 60, 100, false, NULL \
	}

/* NULL: this is a list for options.origins; else what is wrong with it, for a person. Never to be freed. */
IMGO_API const char *imgo_hub_check_origins(const char *list);

/* *out is the caller's. ops and options are copied; options may be NULL. Errors: IMGO_EINVAL (origins too), IMGO_ENOMEM. */
IMGO_API int imgo_hub_new(struct imgo_hub **out, struct imgo_loop *loop, const struct imgo_hub_ops *ops, void *user,
	const struct imgo_hub_options *options, struct imgo_error *error);

/* Closes every connection (IMGO_CLOSE_SHUTDOWN; on_close runs for each) and the listeners. NULL is fine. */
IMGO_API void imgo_hub_free(struct imgo_hub *hub);

/* Listens on "host:port" (port 0: any; *port, if not NULL, says which). Accept errors (EMFILE) pause accepting and are
 * counted; it resumes by itself. Errors: IMGO_EINVAL, IMGO_EIO (in use, not allowed), IMGO_ENOMEM. */
IMGO_API int imgo_hub_listen(
	struct imgo_hub *hub, const char *address, enum imgo_hub_kind kind, int *port, struct imgo_error *error);

/* Stops accepting; connections stay. */
IMGO_API void imgo_hub_stop_listening(struct imgo_hub *hub);

/* Takes over a connected, non-blocking stream socket as if it had been accepted; the hub closes it, also on error.
 * Errors: IMGO_ELIMIT, IMGO_ENOMEM, IMGO_EINVAL (kind, or TLS without a certificate). */
IMGO_API int imgo_hub_adopt_fd(struct imgo_hub *hub, int fd, enum imgo_hub_kind kind);

/* Answers on_auth. Errors: IMGO_ESTALE, IMGO_EINVAL (user, rooms, answered already), IMGO_ENOMEM (the client is closed: come
 * again). `why` of a refusal: usually IMGO_CLOSE_DENIED (bad token: it counts as a failure of the client's address and is
 * told refusal_delay_ms after the login came, so that the time says nothing) or IMGO_CLOSE_TRY_LATER. */
IMGO_API int imgo_hub_auth_finish(struct imgo_hub *hub, struct imgo_conn conn, const struct imgo_hub_grant *grant);
IMGO_API int imgo_hub_auth_refuse(struct imgo_hub *hub, struct imgo_conn conn, enum imgo_close why); /* IMGO_ESTALE */

/* Sends messages, in order, to one connection, all of a user's, a room's, or everybody's. messages are borrowed (the hub
 * takes references as needed). A message whose operation a client does not accept is left out for it, unless it is to a
 * room: for the caller that is as if it were sent. imgo_hub_send: 0, IMGO_ESTALE, IMGO_ELIMIT (it was slow and is being closed), IMGO_ENOMEM.
 * The others return the number of connections it goes to (those that are then found slow are counted and closed),
 * IMGO_ENOMEM or IMGO_ELIMIT (32 MiB of such messages wait already). A cast (room, broadcast) goes to those who are there
 * at the time of the call. A walk over more than walk_slice connections goes on in later turns; what is sent to the same
 * room meanwhile gathers behind it into one batch. */
IMGO_API int imgo_hub_send(struct imgo_hub *hub, struct imgo_conn conn, struct imgo_msg *const *messages, size_t n);
IMGO_API int imgo_hub_send_user(struct imgo_hub *hub, struct imgo_str user, struct imgo_msg *const *messages, size_t n);
IMGO_API int imgo_hub_send_room(struct imgo_hub *hub, struct imgo_str room, struct imgo_msg *const *messages, size_t n);
IMGO_API int imgo_hub_broadcast(struct imgo_hub *hub, struct imgo_msg *const *messages, size_t n);

/* A broadcast at a speed: to per_second connections a second (at least 1) of those who are there at the time of the call
 * and still are when it is their turn. In no order with other messages. Returns the number of connections that are there;
 * IMGO_ENOMEM; IMGO_ELIMIT: 64 such broadcasts are under way. */
IMGO_API int imgo_hub_broadcast_paced(
	struct imgo_hub *hub, struct imgo_msg *const *messages, size_t n, uint32_t per_second);

/* Sends one packet of the server's own to one connection (say a control operation). Errors as imgo_hub_send. */
IMGO_API int imgo_hub_reply(struct imgo_hub *hub, struct imgo_conn conn, const struct imgo_hub_packet *packet);

/* Rooms of a logged-in connection. A connection may be in rooms_max of them (IMGO_ELIMIT); joining twice is fine.
 * Errors also: IMGO_ESTALE, IMGO_EINVAL (key), IMGO_ENOMEM. */
IMGO_API int imgo_hub_join(struct imgo_hub *hub, struct imgo_conn conn, struct imgo_str room);
IMGO_API int imgo_hub_leave(struct imgo_hub *hub, struct imgo_conn conn, struct imgo_str room);
/* Fills out with up to max of its rooms, which live until the next change; returns how many it is in, or IMGO_ESTALE. */
IMGO_API int imgo_hub_rooms(struct imgo_hub *hub, struct imgo_conn conn, struct imgo_str *out, size_t max);

/* Flushes what is queued as far as the socket takes it, tells the peer why, closes. Errors: IMGO_ESTALE. */
IMGO_API int imgo_hub_close(struct imgo_hub *hub, struct imgo_conn conn, enum imgo_close why);

/* The grant's data of a connection, NULL when it is gone or not logged in; and the user. */
IMGO_API void *imgo_hub_data(struct imgo_hub *hub, struct imgo_conn conn);
IMGO_API struct imgo_str imgo_hub_user(struct imgo_hub *hub, struct imgo_conn conn);

/*
 * How far the bytes have come. *queued: all bytes ever given to this connection, so right after a send it is the end of
 * that message. *acknowledged: how many of them the peer's TCP has acknowledged (written less SIOCOUTQ; Linux).
 * Either may be NULL; NULL for acknowledged saves a system call. Errors: IMGO_ESTALE, IMGO_ENOTSUP.
 */
IMGO_API int imgo_hub_position(struct imgo_hub *hub, struct imgo_conn conn, uint64_t *queued, uint64_t *acknowledged);

/* *out: how many of those bytes the socket has taken; the rest waits here. Errors: IMGO_ESTALE. */
IMGO_API int imgo_hub_written(struct imgo_hub *hub, struct imgo_conn conn, uint64_t *out);

/* Sends a WebSocket ping behind what was sent before; on_pong tells of its pong, so of the client's having received all of
 * that. A client may answer the last of several pings only. payload: at most 125 bytes, not empty (IMGO_EINVAL). Errors:
 * IMGO_ENOTSUP (a TCP client), else as imgo_hub_send. */
IMGO_API int imgo_hub_ping(struct imgo_hub *hub, struct imgo_conn conn, struct imgo_str payload);

struct imgo_hub_counts {
	uint32_t connections, authenticated, rooms, users;
};
IMGO_API void imgo_hub_counts(struct imgo_hub *hub, struct imgo_hub_counts *out);
/* Connections in that room. */
IMGO_API uint32_t imgo_hub_room_size(struct imgo_hub *hub, struct imgo_str room);

#ifdef __cplusplus
}
#endif
#endif
