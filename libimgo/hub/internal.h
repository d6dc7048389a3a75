/* SPDX-License-Identifier: MIT */
/*
 * The hub's own structures, shared by its files:
 *
 *   hub.c     making and freeing, listeners, limits, the public calls that are only a look-up
 *   slab.c    where connections live, and their handles
 *   conn.c    a connection's life: opening, deadlines, events, closing, lingering
 *   input.c   reading: the shared buffer, partial input      tls.c  what is different with TLS
 *   ws.c      WebSocket: upgrade, frames           packet.c  what each operation does
 *   auth.c    logging in                           output.c  writing: at once, or at the end of the turn
 *   room.c    users, rooms and memberships         cast.c    fan-out
 *   accepts.c which operations a connection wants
 *   guard.c   addresses: how many connections, how many failed logins
 *   pace.c    fan-out at a speed
 *
 * A TURN. Socket events, timers and calls of the host change connections; what is left to do for one is noted
 * in its flags and it is put on the hub's to-do list. At the end of the loop's turn (imgo__hub_turn) casts
 * are walked, then the list is worked off: output is flushed, held input is taken, dead connections are
 * reaped. on_close is only called there (and in imgo_hub_free): so no list is ever changed by the host while
 * the hub walks it.
 */
#ifndef IMGO__HUB_INTERNAL_H
#define IMGO__HUB_INTERNAL_H

#include <imgo/hub.h>

#include "base/buf.h"
#include "base/map.h"
#include "base/seldom.h"
#include "codec/msg.h"
#include "codec/packet.h"
#include "codec/ws.h"
#include "loop/loop.h"
#include "net/listener.h"
#include "net/outq.h"
#include "net/tls.h"

enum {
	IMGO__HUB_PAGE = 256,       /* connections a page of the slab */
	IMGO__HUB_READ = 16 * 1024, /* the shared read buffer */
	IMGO__HUB_PREAUTH = 4096,   /* read at once, and held, before a login */
	IMGO__HUB_HEAD_MAX = 8192,  /* of the upgrade request */
	IMGO__HUB_TARGET_MAX = 2048,
	IMGO__HUB_ENVELOPE = 512, /* what JSON may add to a body of body_max_bytes */
	IMGO__HUB_LINGER_MS = 5000,
	IMGO__HUB_LINGER_BYTES = 256 * 1024,
	IMGO__HUB_GOODBYE_MS = 20, /* a close frame is answered so late, or when the FIN behind it is here */
	IMGO__HUB_BURST_S = 5,     /* seconds of packets_per_second_max that may come at once */
	IMGO__HUB_CLOSES = IMGO_CLOSE_SHUTDOWN + 1,
};

enum imgo__conn_state {
	IMGO__CONN_FREE = 0,
	IMGO__CONN_SHAKE,   /* TLS: the handshake goes on */
	IMGO__CONN_HTTP,    /* WebSocket: the upgrade is to come */
	IMGO__CONN_OPEN,    /* the login is to come */
	IMGO__CONN_AUTHING, /* the host was asked */
	IMGO__CONN_LIVE,    /* logged in */
	IMGO__CONN_DYING,   /* closed for everybody, to be reaped at the end of the turn */
	IMGO__CONN_LINGER,  /* the last bytes are on their way, and then the peer's FIN */
};

enum imgo__conn_flags {
	IMGO__CONN_TODO = 1,       /* on the to-do list, for: */
	IMGO__CONN_FLUSH = 2,      /*   output */
	IMGO__CONN_RESUME = 4,     /*   held input */
	IMGO__CONN_DRAIN = 8,      /* a queue had formed: on_drain is due */
	IMGO__CONN_ASKED = 16,     /* on_auth was called: on_close is due */
	IMGO__CONN_LOGGED_IN = 32, /* `user` is valid, not `pre`; in everyone */
	IMGO__CONN_FIN_READ = 64,
	IMGO__CONN_FIN_SENT = 128,
	IMGO__CONN_UPGRADED = 256,     /* speaks WebSocket frames */
	IMGO__CONN_DETACHED = 512,     /* in no list, room or user any more */
	IMGO__CONN_CLOSE_READ = 1024,  /* a WebSocket close frame was */
	IMGO__CONN_GOODBYE_DUE = 2048, /* and is not answered yet */
	IMGO__CONN_PINGED = 4096,      /* by the hub, and nothing came since */
	IMGO__CONN_FILTERED = 8192,    /* has `accepts` */
};

struct imgo__accepts;
struct imgo__room;
struct imgo__user;

struct imgo__member {
	struct imgo__room *room;
	uint32_t pos; /* in room->slots */
};

/* Input that is not complete: exists only while there is some. */
struct imgo__input {
	struct imgo__buf buf;     /* begins with a packet, frame or request */
	size_t need;              /* bytes of buf with which to look again */
	struct imgo__ws ws;       /* of an open fragmented message ... */
	struct imgo__buf message; /* ... and what there is of it */
};

struct imgo__source;

/* What only a connection that is not logged in needs. */
struct imgo__pre {
	uint64_t since_us; /* accepted; then: the host was asked */
	struct imgo__conn *conn;
	struct imgo__source *source; /* its address, if that is limited */
	struct imgo__timer timer;    /* its login waits for its slot, or its refusal for its time */
	int32_t seq;
	uint16_t ver;
	uint8_t refused; /* enum imgo_close: it will be told when the timer is due */
	bool admitted;
	char peer[64];
};

/* The first 64 bytes are all that a cast touches. Links are slot + 1, 0 is none. */
struct imgo__conn {
	uint8_t state, kind, dialect, why;
	uint16_t flags, ws_code; /* ws_code: the close code, where it is not the usual one of `why` */
	int fd;
	uint32_t slot;
	struct imgo__outq *out; /* NULL: nothing waits */
	uint64_t queued;        /* bytes ever given to it */
	uint32_t generation;
	uint32_t todo_next; /* also the free list's */
	struct imgo__input *in;
	struct imgo_hub *hub;
	void *data;

	struct imgo__io io;
	struct imgo__timer timer;
	uint64_t deadline_ms; /* the timer may be due earlier: then it is only started again */
	union {
		uint64_t budget_us; /* of packets: the time at which the bucket is full again */
		uint64_t lingered;  /* in LINGER: bytes read and forgotten */
	};
	union {
		struct imgo__pre *pre;
		struct imgo__user *user;
	};
	uint32_t prev, next; /* of the same user; before: of those not logged in, oldest first */
	union {
		struct imgo__member member; /* rooms_cap == 0: nrooms is 0 or 1 */
		struct imgo__member *members;
	};
	uint16_t nrooms, rooms_cap;
	uint32_t everyone_pos;
	struct imgo__accepts *accepts; /* the operations it wants; NULL: all */
	uint8_t ver, events;
	uint32_t heard_ms; /* low bits of the clock: last input, or the last ping of the hub's. Kept when it pings at all. */
	uint32_t born; /* which login of this hub it was, its low bits */
};

struct imgo__user {
	struct imgo__map_node node;
	uint32_t first; /* link */
	uint8_t len;
	char key[];
};

/* A dense array of connections, and the casts that are on their way through it (cast.c). */
struct imgo__room {
	struct imgo__map_node node;
	struct imgo__list link;  /* in hub->fresh or hub->going while casts is not empty */
	struct imgo__list casts; /* the first may be half done */
	uint32_t *slots;
	uint32_t n, cap;
	uint32_t walked; /* of the first cast, once it has begun */
	uint8_t len;
	char key[];
};

/* guard.c */
struct imgo__guard {
	struct imgo__map sources;
	struct imgo__list debtors;
	uint32_t ndebtors;
	uint64_t failure_us; /* what a failed login costs; 0: nothing */
	struct imgo_stat *refused, *failures, *held;
};

struct imgo__list_ends {
	uint32_t head, tail; /* links */
};

struct imgo__hub_stats {
	struct imgo_stat *connections, *authenticated, *accepted, *refused_connections, *refused_memory,
		*refused_origin, *pauses;
	struct imgo_stat *closed[IMGO__HUB_CLOSES];
	struct imgo_stat *packets_in, *packets_out, *bytes_in, *bytes_out, *reads, *writes, *dropped, *filtered;
	struct imgo__gauge handshaking, closing, users, rooms, cast_bytes;
	struct imgo__gauge dialects[IMGO__DIALECTS]; /* connections that are logged in */
	struct imgo_histogram *greeting, *login;     /* accepted -> its login is here -> the host has answered */
};

/* Counted here in a turn, added to the (atomic) statistics at its end. */
struct imgo__hub_tally {
	uint64_t packets_in, packets_out, bytes_in, bytes_out, reads, writes, dropped, filtered;
};

struct imgo_hub {
	struct imgo_loop *loop;
	struct imgo_hub_ops ops;
	void *user;
	struct imgo_hub_options opt;
	char *origins;
	uint64_t packet_us; /* 1 s / packets_per_second_max, 0: no limit */

	struct imgo__conn **pages;
	uint32_t npages, free_head;
	struct imgo__tls_conn ***tls; /* by page and place in it; where no TLS connection ever was, there is nothing */
	uint32_t ntls;
	uint32_t connections, authenticated, unauthenticated;
	struct imgo__list_ends waiting; /* connections not logged in */
	struct imgo__guard guard;

	struct imgo__map users, rooms, accepts;
	struct imgo__room *everyone;

	struct imgo__task turn;
	struct imgo__list_ends todo;
	struct imgo__list fresh, going; /* rooms with casts: not walked yet; goes on in the next turn */
	size_t cast_bytes;              /* waiting in all rooms */
	struct imgo__timer walk;
	uint32_t logins;         /* so far, low bits */
	struct imgo__list paced; /* of pace.c */
	struct imgo__timer pace;
	uint32_t npaced;

	struct imgo__list listeners;
	struct imgo__task free_task;
	unsigned busy; /* inside an event: the host may be on the stack */
	unsigned hold; /* casts are being handed out: connections are detached later, by the reaper */
	bool turning;  /* the end of a turn: sockets are not read */
	bool freeing;

	struct imgo__hub_tally tally;
	struct imgo__hub_stats stats;
	struct imgo__collector collector;
	uint32_t dialects[IMGO__DIALECTS];          /* logged in, by dialect */
	struct imgo__seldom pauses, slow, flooding; /* in the log */
	struct imgo__buf scratch;                   /* for JSON replies */
	uint8_t rbuf[IMGO__HUB_READ];
};

/* ---- slab.c ---- */
static inline struct imgo__conn *imgo__conn_at(struct imgo_hub *hub, uint32_t slot)
{
	return &hub->pages[slot / IMGO__HUB_PAGE][slot % IMGO__HUB_PAGE];
}
struct imgo__conn *imgo__slab_take(struct imgo_hub *hub); /* NULL: out of memory */
void imgo__slab_give(struct imgo_hub *hub, struct imgo__conn *c);
void imgo__slab_free(struct imgo_hub *hub);
/* The connection of a handle that the host may use: asked about or logged in, and not closed. */
struct imgo__conn *imgo__conn_get(struct imgo_hub *hub, struct imgo_conn conn);
static inline struct imgo_conn imgo__conn_handle(const struct imgo__conn *c)
{
	struct imgo_conn conn = {(uint64_t)c->generation << 32 | c->slot};
	return conn;
}
/* Doubly linked lists over prev/next. */
void imgo__links_append(struct imgo_hub *hub, struct imgo__list_ends *ends, struct imgo__conn *c);
void imgo__links_remove(struct imgo_hub *hub, struct imgo__list_ends *ends, struct imgo__conn *c);

/* ---- conn.c ---- */
/* Takes fd over. Errors: IMGO_ELIMIT, IMGO_ENOMEM (fd is closed). */
int imgo__conn_open(struct imgo_hub *hub, int fd, enum imgo_hub_kind kind, const struct imgo__addr *peer);
/* Closes it for everybody; the rest happens at the end of the turn. Harmless when it is dead already. */
void imgo__conn_kill(struct imgo__conn *c, enum imgo_close why);
void imgo__conn_watch(struct imgo__conn *c, int events);
void imgo__conn_deadline(struct imgo__conn *c, uint64_t delay_ms);
void imgo__conn_position(struct imgo__conn *c, uint64_t *queued, uint64_t *acknowledged);
/* Puts it on the to-do list for what `flags` says. */
void imgo__conn_todo(struct imgo__conn *c, unsigned flags);
void imgo__conn_reap(struct imgo__conn *c);
/* Everything at once, without lingering: the hub goes away. */
void imgo__conn_destroy(struct imgo__conn *c);
/* goim's framing: what it expects differs in more than the bytes (packet.c). */
static inline bool imgo__conn_is_goim(const struct imgo__conn *c)
{
	return c->dialect == IMGO__DIALECT_TCPG || c->dialect == IMGO__DIALECT_BING;
}
/* The upgrade or the login is to come. */
void imgo__conn_begin(struct imgo__conn *c);
/* Logged in, or asked about, or neither yet; but not closed. */
static inline bool imgo__conn_alive(const struct imgo__conn *c)
{
	return c->state >= IMGO__CONN_SHAKE && c->state <= IMGO__CONN_LIVE;
}

/* ---- guard.c ---- */
void imgo__guard_init(struct imgo_hub *hub);
void imgo__guard_fini(struct imgo_hub *hub); /* no connection is left */
/* A connection that is not logged in comes (IMGO_ELIMIT: its address has too many; IMGO_ENOMEM), and goes or logs in. */
int imgo__guard_enter(struct imgo_hub *hub, struct imgo__pre *pre, const struct imgo__addr *peer);
void imgo__guard_leave(struct imgo_hub *hub, struct imgo__pre *pre);
/* True: its first packet is not to be taken yet; RESUME follows, or it was closed. */
bool imgo__guard_waits(struct imgo__conn *c);
static inline bool imgo__guard_waiting(const struct imgo__conn *c)
{
	return c->state == IMGO__CONN_OPEN && imgo__timer_active(&c->pre->timer);
}
/* Its token is not valid. True: it is closed for that later; false: now. */
bool imgo__guard_failed(struct imgo__conn *c, enum imgo_close why);

/* ---- input.c ---- */
void imgo__conn_readable(struct imgo__conn *c);
void imgo__conn_resume(struct imgo__conn *c); /* takes what was held while the host was asked */
void imgo__input_free(struct imgo__conn *c);
struct imgo__input *imgo__input_get(struct imgo__conn *c); /* makes it; NULL: out of memory (the connection is closed) */
bool imgo__conn_spend(struct imgo__conn *c);               /* one packet of its budget; false: closed for it */

/* ---- tls.c: one way in and one way out for both; a plain connection pays a look at `kind` ---- */
static inline bool imgo__conn_is_ws(const struct imgo__conn *c)
{
	return c->kind & IMGO_HUB_WEBSOCKET;
}
static inline struct imgo__tls_conn *imgo__conn_tls(const struct imgo__conn *c)
{
	return c->kind & IMGO_HUB_TLS ? c->hub->tls[c->slot / IMGO__HUB_PAGE][c->slot % IMGO__HUB_PAGE] : NULL;
}
int imgo__conn_tls_open(struct imgo__conn *c); /* 0, IMGO_ENOMEM */
void imgo__conn_tls_close(struct imgo__conn *c);
void imgo__conn_shake(struct imgo__conn *c);
ssize_t imgo__conn_tls_read(struct imgo__conn *c, void *p, size_t len);
ssize_t imgo__conn_tls_writev(struct imgo__conn *c, const struct iovec *iov, int n);
bool imgo__conn_tls_flush(struct imgo__conn *c); /* false: killed */
void imgo__hub_tls_fini(struct imgo_hub *hub);

static inline ssize_t imgo__conn_read(struct imgo__conn *c, void *p, size_t len)
{
	return c->kind & IMGO_HUB_TLS ? imgo__conn_tls_read(c, p, len) : imgo__sock_read(c->hub->loop, c->fd, p, len);
}
static inline ssize_t imgo__conn_writev(struct imgo__conn *c, const struct iovec *iov, int n)
{
	return c->kind & IMGO_HUB_TLS ? imgo__conn_tls_writev(c, iov, n) : imgo__sock_writev(c->hub->loop, c->fd, iov, n);
}
/* Something is read from the socket, but not taken by the hub. */
static inline bool imgo__conn_pending(const struct imgo__conn *c)
{
	return (c->kind & IMGO_HUB_TLS) && imgo__tls_pending(imgo__conn_tls(c));
}
/* Bytes of `queued` that the socket took. */
static inline uint64_t imgo__conn_written(const struct imgo__conn *c)
{
	return c->kind & IMGO_HUB_TLS ? imgo__tls_written(imgo__conn_tls(c)) : c->queued - (c->out ? c->out->bytes : 0);
}
/* Something is not in the socket yet. */
static inline bool imgo__conn_unwritten(const struct imgo__conn *c)
{
	return c->out || ((c->kind & IMGO_HUB_TLS) && imgo__tls_held(imgo__conn_tls(c)) > 0);
}

/* ---- ws.c: both return bytes taken, or 0 and *need ---- */
size_t imgo__ws_upgrade(struct imgo__conn *c, uint8_t *data, size_t len, size_t *need);
size_t imgo__ws_take(struct imgo__conn *c, uint8_t *data, size_t len, size_t *need);
/* A close frame with the code that fits, or NULL. */
struct imgo__chunk *imgo__ws_close_frame(const struct imgo__conn *c);
int imgo__ws_ping(struct imgo__conn *c, struct imgo_str payload); /* as imgo__conn_queue */

/* ---- packet.c ---- */
void imgo__hub_packet(struct imgo__conn *c, const struct imgo__packet *packet);
/* A packet to this connection in its dialect. 0, IMGO_ELIMIT, IMGO_ENOMEM. */
int imgo__hub_answer(struct imgo__conn *c, const struct imgo__packet *packet);

/* ---- auth.c ---- */
void imgo__hub_auth(struct imgo__conn *c, const struct imgo__packet *packet);

/* ---- output.c ---- */
/* For a cast: writes at once when nothing waits; queues what is not taken. */
bool imgo__conn_give(struct imgo__conn *c, struct imgo__chunk *chunk); /* false: closed over it */
/* For all else: queues; written at the end of the turn. 0, IMGO_ELIMIT (closed as slow), IMGO_ENOMEM. */
int imgo__conn_queue(struct imgo__conn *c, struct imgo__chunk *chunk);
/* Writes as much as the socket takes. False: a socket error; the connection was killed, unless it was dead
 * already. */
bool imgo__conn_flush(struct imgo__conn *c);
void imgo__conn_writable(struct imgo__conn *c);

/* ---- room.c ---- */
void imgo__room_init(struct imgo__room *room);
int imgo__room_join(struct imgo__conn *c, struct imgo_str key); /* 0, IMGO_ELIMIT, IMGO_EINVAL, IMGO_ENOMEM */
int imgo__room_add(struct imgo__conn *c, struct imgo__room *room, uint32_t *pos);
void imgo__room_leave(struct imgo__conn *c, struct imgo_str key);
void imgo__room_leave_all_but(struct imgo__conn *c, struct imgo_str key);
int imgo__user_attach(struct imgo__conn *c, struct imgo_str key); /* 0, IMGO_ENOMEM */
/* Out of every list, room and user. */
void imgo__conn_detach(struct imgo__conn *c);
struct imgo__room *imgo__room_find(struct imgo_hub *hub, struct imgo_str key);
struct imgo__user *imgo__user_find(struct imgo_hub *hub, struct imgo_str key);
static inline struct imgo__member *imgo__conn_members(struct imgo__conn *c)
{
	return c->rooms_cap ? c->members : &c->member;
}
void imgo__rooms_fini(struct imgo_hub *hub);

/* ---- accepts.c: lists are sorted, without doubles, at most IMGO_ACCEPTS_MAX long ---- */
void imgo__accepts_init(struct imgo_hub *hub);
bool imgo__accepts_has(const struct imgo__accepts *accepts, int32_t op);
int imgo__accepts_set(struct imgo__conn *c, const int32_t *ops, size_t n);    /* 0, IMGO_ENOMEM */
int imgo__accepts_add(struct imgo__conn *c, const int32_t *ops, size_t n);    /* 0, IMGO_ENOMEM, IMGO_ELIMIT */
int imgo__accepts_remove(struct imgo__conn *c, const int32_t *ops, size_t n); /* who wants all goes on wanting all */
void imgo__accepts_drop(struct imgo__conn *c);
/* Does it want this operation? */
static inline bool imgo__conn_wants(const struct imgo__conn *c, int32_t op)
{
	return !(c->flags & IMGO__CONN_FILTERED) || imgo__accepts_has(c->accepts, op);
}

/* ---- cast.c ---- */
/* Number of connections that it goes to, IMGO_ENOMEM, IMGO_ELIMIT. */
int imgo__cast_start(struct imgo_hub *hub, struct imgo__room *room, struct imgo_msg *const *messages, size_t n);
void imgo__casts_walk_fresh(struct imgo_hub *hub);
void imgo__casts_walk_timer(struct imgo_loop *loop, struct imgo__timer *timer);
/* Gives c what it is still due of the room's casts: before it leaves. */
void imgo__casts_settle(struct imgo__conn *c);
void imgo__casts_settle_room(struct imgo__conn *c, struct imgo__room *room, uint32_t pos);
/* Position pos is free: fills it so that each cast under way still goes to whom it is due, once. */
void imgo__casts_fill(struct imgo_hub *hub, struct imgo__room *room, uint32_t pos);
void imgo__casts_drop(struct imgo_hub *hub, struct imgo__room *room);

/* ---- pace.c ---- */
void imgo__pace_init(struct imgo_hub *hub);
void imgo__pace_fini(struct imgo_hub *hub);

/* ---- hub.c ---- */
void imgo__hub_schedule(struct imgo_hub *hub); /* a turn's end is due */
/* A limit was met: a line in the log, now and then. */
void imgo__hub_say(struct imgo_hub *hub, struct imgo__seldom *seldom, const char *event);
void imgo__hub_room_made(struct imgo_hub *hub); /* accepting may go on */

#endif
