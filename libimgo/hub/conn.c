/* SPDX-License-Identifier: MIT */
/*
 * A connection's life.
 *
 *   (SHAKE) ──TLS──▶ HTTP ──upgrade──▶ OPEN ──op 7──▶ AUTHING ──auth_finish──▶ LIVE
 *      └──────────────┴────────────────┴──────kill───────┴───────────kill───────┴──▶ DYING ──reap──▶ (LINGER) ──▶ FREE
 *
 * kill() may come from anywhere, also from inside a callback of that very connection: it only marks the
 * connection, which from then on is found by no handle, and the reaper at the end of the turn does the rest:
 * output is flushed as far as it goes, a WebSocket peer is told the reason, the position is taken *before*
 * the socket is closed, on_close runs.
 *
 * LINGER is for the peer's sake: closing a socket with unread input makes the kernel send a reset, which
 * destroys what the peer has not read yet. So after our last byte we send FIN, and read and forget until the
 * peer's FIN; never longer than IMGO__HUB_LINGER_MS, then it is a reset. Where the peer began a WebSocket
 * close, on_close waits for the end of LINGER, because only then it is known whether the peer left orderly
 * (its FIN) or with unread data (a reset).
 *
 * A peer that sends a close frame and closes without waiting for the answer would be made to reset by that very
 * answer, and then nobody could say whether it had read everything. So the answer waits a moment
 * (IMGO__HUB_GOODBYE_MS): when the peer's FIN comes first, it left orderly, is reported so, and the answer follows in
 * case that it only closed one half.
 *
 * There is one timer a connection. Its deadline is a number that moves for free (a heartbeat only stores it);
 * the timer, when it fires too early, is started again for the rest. It also pings WebSocket clients of which
 * nothing was heard (websocket_ping_ms).
 */
#include "hub/internal.h"

#include "base/mem.h"

static void on_event(struct imgo_loop *loop, struct imgo__io *io, int events);
static void on_timer(struct imgo_loop *loop, struct imgo__timer *timer);

int imgo__conn_open(struct imgo_hub *hub, int fd, enum imgo_hub_kind kind, const struct imgo__addr *peer)
{
	if (hub->freeing || hub->connections >= hub->opt.connections_max) {
		imgo_stat_add(hub->stats.refused_connections, 1);
		imgo__sock_close(hub->loop, fd);
		return IMGO_ELIMIT;
	}
	struct imgo__pre *pre = imgo__zalloc(sizeof *pre);
	int r = pre ? imgo__guard_enter(hub, pre, peer) : IMGO_ENOMEM;
	struct imgo__conn *c = r == 0 ? imgo__slab_take(hub) : NULL;
	if (!c) {
		if (r == 0)
			imgo__guard_leave(hub, pre);
		free(pre);
		if (r != IMGO_ELIMIT)
			imgo_stat_add(hub->stats.refused_memory, 1);
		imgo__sock_close(hub->loop, fd);
		return r == IMGO_ELIMIT ? r : IMGO_ENOMEM;
	}
	pre->conn = c;
	imgo__addr_format(peer, pre->peer);
	pre->since_us = imgo_loop_now_us(hub->loop);
	c->pre = pre;
	c->fd = fd;
	c->kind = (uint8_t)kind;
	c->dialect = imgo__conn_is_ws(c) ? IMGO__DIALECT_JSON1 : IMGO__DIALECT_TCP1;
	if (c->kind & IMGO_HUB_TLS && imgo__conn_tls_open(c)) {
		free(pre);
		imgo__slab_give(hub, c);
		imgo_stat_add(hub->stats.refused_memory, 1);
		imgo__sock_close(hub->loop, fd);
		return IMGO_ENOMEM;
	}
	if (c->kind & IMGO_HUB_TLS)
		c->state = IMGO__CONN_SHAKE;
	else
		imgo__conn_begin(c);
	imgo__links_append(hub, &hub->waiting, c);
	hub->unauthenticated++;
	hub->connections++;
	imgo_stat_add(hub->stats.connections, 1);
	imgo_stat_add(hub->stats.accepted, 1);
	imgo__timer_init(&c->timer, on_timer);
	imgo__io_init(&c->io, on_event, fd);
	imgo__conn_watch(c, IMGO__READ);
	imgo__conn_deadline(c, hub->opt.handshake_timeout_ms);
	return 0;
}

void imgo__conn_begin(struct imgo__conn *c)
{
	c->state = imgo__conn_is_ws(c) ? IMGO__CONN_HTTP : IMGO__CONN_OPEN;
}

void imgo__conn_watch(struct imgo__conn *c, int events)
{
	if (c->events == events)
		return;
	c->events = (uint8_t)events;
	imgo__io_set(c->hub->loop, &c->io, events);
}

/* How long until the client is to be pinged, or given up as it did not answer one. */
static uint64_t until_ping(const struct imgo__conn *c, uint64_t now_ms)
{
	uint64_t every = c->hub->opt.websocket_ping_ms;
	uint32_t silent = (uint32_t)now_ms - c->heard_ms;

	if (every == 0 || c->state != IMGO__CONN_LIVE || !(c->flags & IMGO__CONN_UPGRADED))
		return UINT64_MAX;
	return silent < every ? every - silent : 0;
}

/* The timer is to fire for the deadline or a ping, whatever comes first; when it would fire sooner, it stays. */
static void start_timer(struct imgo__conn *c, uint64_t now_ms)
{
	uint64_t delay = c->deadline_ms > now_ms ? c->deadline_ms - now_ms : 0, ping = until_ping(c, now_ms);

	if (delay > ping)
		delay = ping;
	if (!imgo__timer_active(&c->timer) || c->timer.due_ms > now_ms + delay)
		imgo__timer_start(c->hub->loop, &c->timer, delay);
}

void imgo__conn_deadline(struct imgo__conn *c, uint64_t delay_ms)
{
	uint64_t now = imgo__loop_now_ms(c->hub->loop);

	c->deadline_ms = now + delay_ms;
	start_timer(c, now);
}

void imgo__conn_todo(struct imgo__conn *c, unsigned flags)
{
	struct imgo_hub *hub = c->hub;

	c->flags |= (uint16_t)flags;
	if (c->flags & IMGO__CONN_TODO)
		return;
	c->flags |= IMGO__CONN_TODO;
	c->todo_next = 0;
	if (hub->todo.tail)
		imgo__conn_at(hub, hub->todo.tail - 1)->todo_next = c->slot + 1;
	else
		hub->todo.head = c->slot + 1;
	hub->todo.tail = c->slot + 1;
	imgo__hub_schedule(hub);
}

void imgo__conn_kill(struct imgo__conn *c, enum imgo_close why)
{
	if (!imgo__conn_alive(c))
		return;
	c->state = IMGO__CONN_DYING;
	c->why = (uint8_t)why;
	if (!c->hub->hold)
		imgo__conn_detach(c);
	imgo__conn_todo(c, 0);
}

void imgo__conn_position(struct imgo__conn *c, uint64_t *queued, uint64_t *acknowledged)
{
	if (queued)
		*queued = c->queued;
	if (!acknowledged)
		return;
	uint64_t written = imgo__conn_written(c);
	struct imgo__tls_conn *tls = imgo__conn_tls(c);
	int unsent = imgo__sock_unsent(c->hub->loop, c->fd);
	if (unsent < 0) {
		*acknowledged = 0;
		return;
	}
	if (unsent > 0 && (c->flags & IMGO__CONN_FIN_SENT))
		unsent--; /* the FIN counts as a byte there */
	if (tls)
		*acknowledged = imgo__tls_acknowledged(tls, (uint64_t)unsent);
	else
		*acknowledged = written > (uint64_t)unsent ? written - (uint64_t)unsent : 0;
}

/* ---- the end ---- */

static void report(struct imgo__conn *c)
{
	struct imgo_hub *hub = c->hub;
	struct imgo_hub_closed closed = {.why = (enum imgo_close)c->why};

	if (!(c->flags & IMGO__CONN_ASKED))
		return;
	c->flags &= (uint16_t)~IMGO__CONN_ASKED;
	imgo__conn_position(c, &closed.queued, &closed.acknowledged);
	closed.written = imgo__conn_written(c);
	closed.said_goodbye = (c->flags & IMGO__CONN_CLOSE_READ) != 0;
	closed.orderly = (c->flags & IMGO__CONN_FIN_READ) && c->why == IMGO_CLOSE_PEER;
	if (hub->ops.on_close)
		hub->ops.on_close(hub, imgo__conn_handle(c), c->data, &closed, hub->user);
}

/* The last words: what was queued, and for a WebSocket peer the reason. A slow one gets the reason instead of
 * the queue. */
static void say_goodbye(struct imgo__conn *c)
{
	if (c->why == IMGO_CLOSE_RESET)
		return;
	if (c->why == IMGO_CLOSE_SLOW && c->out) {
		size_t bytes = c->out->bytes, chunks = c->out->n;
		imgo__outq_cut(&c->out);
		/* these were never written, nor will be */
		c->queued -= bytes - (c->out ? c->out->bytes : 0);
		c->hub->tally.dropped += chunks - (c->out ? c->out->n : 0);
	}
	/* Nobody listens behind a FIN, and words to nobody are answered with a reset; but a close frame is answered. */
	if ((c->flags & IMGO__CONN_UPGRADED) && (!(c->flags & IMGO__CONN_FIN_READ) || (c->flags & IMGO__CONN_CLOSE_READ))) {
		struct imgo__chunk *frame = imgo__ws_close_frame(c);
		if (frame && imgo__outq_push(&c->out, frame, 0) == 0)
			c->queued += frame->len;
		imgo__chunk_unref(frame);
	}
	(void)imgo__conn_flush(c);
}

static void destroy(struct imgo__conn *c, bool reset)
{
	struct imgo_hub *hub = c->hub;

	report(c);
	if ((c->flags & IMGO__CONN_GOODBYE_DUE) && !reset)
		say_goodbye(c);
	imgo__timer_stop(hub->loop, &c->timer);
	imgo__conn_watch(c, 0);
	if (c->kind & IMGO_HUB_TLS)
		imgo__conn_tls_close(c);
	if (reset)
		imgo__sock_reset(hub->loop, c->fd);
	else
		imgo__sock_close(hub->loop, c->fd);
	if (c->out)
		hub->tally.dropped += c->out->n;
	imgo__outq_free(&c->out);
	imgo__input_free(c);
	hub->connections--;
	imgo_stat_add(hub->stats.connections, -1);
	imgo__slab_give(hub, c);
	imgo__hub_room_made(hub);
}

static void finish_writing(struct imgo__conn *c)
{
	if (imgo__conn_unwritten(c) || (c->flags & IMGO__CONN_FIN_SENT))
		return;
	if (c->flags & IMGO__CONN_GOODBYE_DUE) {
		imgo__conn_watch(c, IMGO__READ);
		return;
	}
	if (c->kind & IMGO_HUB_TLS)
		imgo__tls_bye(imgo__conn_tls(c));
	if (imgo__conn_unwritten(c)) {
		imgo__conn_watch(c, IMGO__READ | IMGO__WRITE);
		return;
	}
	imgo__sock_shutdown(c->hub->loop, c->fd);
	c->flags |= IMGO__CONN_FIN_SENT;
	imgo__conn_watch(c, IMGO__READ);
}

/* Its FIN was read: was there a reset behind it? */
static void check_reset(struct imgo__conn *c)
{
	if (c->why == IMGO_CLOSE_PEER && imgo__sock_error(c->hub->loop, c->fd))
		c->why = IMGO_CLOSE_RESET;
}

/* There is something that a reset could destroy on its way. */
static bool has_spoken(const struct imgo__conn *c)
{
	return c->queued > 0 || ((c->kind & IMGO_HUB_TLS) && imgo__tls_spoke(imgo__conn_tls(c)));
}

/* Our last words are said, or will be: waits for the peer's end. */
static void start_lingering(struct imgo__conn *c, uint64_t ms)
{
	imgo__conn_watch(c, IMGO__READ | (imgo__conn_unwritten(c) ? IMGO__WRITE : 0));
	finish_writing(c);
	imgo__conn_deadline(c, ms);
}

void imgo__conn_reap(struct imgo__conn *c)
{
	struct imgo_hub *hub = c->hub;
	bool answers = c->why == IMGO_CLOSE_PEER && (c->flags & IMGO__CONN_CLOSE_READ);

	imgo__conn_detach(c);
	if (answers) {
		c->flags |= IMGO__CONN_GOODBYE_DUE;
		(void)imgo__conn_flush(c);
	} else {
		say_goodbye(c);
	}
	if (c->flags & IMGO__CONN_FIN_READ)
		check_reset(c);
	imgo_stat_add(hub->stats.closed[c->why], 1);
	if (c->why == IMGO_CLOSE_SLOW)
		imgo__hub_say(hub, &hub->slow, "slow-clients-closed");
	else if (c->why == IMGO_CLOSE_FLOOD)
		imgo__hub_say(hub, &hub->flooding, "flooding-clients-closed");
	if (c->why == IMGO_CLOSE_RESET || (c->flags & IMGO__CONN_FIN_READ) || !has_spoken(c)) {
		destroy(c, c->why == IMGO_CLOSE_RESET);
		return;
	}
	c->state = IMGO__CONN_LINGER;
	c->lingered = 0;
	imgo__input_free(c);
	start_lingering(c, answers ? IMGO__HUB_GOODBYE_MS : IMGO__HUB_LINGER_MS);
	if (c->why != IMGO_CLOSE_PEER)
		report(c);
}

void imgo__conn_destroy(struct imgo__conn *c)
{
	if (c->state != IMGO__CONN_LINGER) {
		c->state = IMGO__CONN_DYING;
		if (c->why == IMGO_CLOSE_NONE)
			c->why = IMGO_CLOSE_SHUTDOWN;
		imgo__conn_detach(c);
		say_goodbye(c);
		imgo_stat_add(c->hub->stats.closed[c->why], 1);
		if (c->kind & IMGO_HUB_TLS)
			imgo__tls_bye(imgo__conn_tls(c));
		/* Input that nobody reads any more would turn the close into a reset. */
		imgo__sock_shutdown(c->hub->loop, c->fd);
		(void)imgo__sock_read(c->hub->loop, c->fd, c->hub->rbuf, sizeof c->hub->rbuf);
	}
	destroy(c, c->why == IMGO_CLOSE_RESET);
}

static void linger(struct imgo__conn *c, int events)
{
	struct imgo_hub *hub = c->hub;

	if ((events & IMGO__WRITE) && imgo__conn_unwritten(c)) {
		if (((c->kind & IMGO_HUB_TLS) && !imgo__conn_tls_flush(c)) || !imgo__conn_flush(c)) {
			c->why = IMGO_CLOSE_RESET;
			destroy(c, true);
			return;
		}
		finish_writing(c);
	}
	if (!(events & IMGO__READ))
		return;
	ssize_t n = imgo__sock_read(hub->loop, c->fd, hub->rbuf, sizeof hub->rbuf);
	if (n == IMGO_ETIMEDOUT)
		return;
	if (n > 0) {
		c->lingered += (uint64_t)n;
		if (c->lingered > IMGO__HUB_LINGER_BYTES)
			destroy(c, true);
		return;
	}
	if (n == 0) {
		c->flags |= IMGO__CONN_FIN_READ;
		check_reset(c);
	} else if (c->why == IMGO_CLOSE_PEER) {
		c->why = IMGO_CLOSE_RESET;
	}
	destroy(c, n < 0);
}

/* ---- events ---- */

static void on_event(struct imgo_loop *loop, struct imgo__io *io, int events)
{
	struct imgo__conn *c = imgo__container_of(io, struct imgo__conn, io);
	struct imgo_hub *hub = c->hub;

	(void)loop;
	if (hub->freeing)
		return;
	hub->busy++;
	if (c->state == IMGO__CONN_LINGER) {
		linger(c, events);
	} else {
		if (events & IMGO__WRITE)
			imgo__conn_writable(c);
		if (events & IMGO__READ && c->state == IMGO__CONN_SHAKE)
			imgo__conn_shake(c);
		else if (events & IMGO__READ)
			imgo__conn_readable(c);
	}
	hub->busy--;
	imgo__hub_schedule(hub);
}

/* Nothing was heard for a while: once more, or never again. */
static void ask(struct imgo__conn *c, uint64_t now_ms)
{
	if (c->flags & IMGO__CONN_PINGED) {
		imgo__conn_kill(c, IMGO_CLOSE_HEARTBEAT);
		return;
	}
	c->flags |= IMGO__CONN_PINGED;
	c->heard_ms = (uint32_t)now_ms;
	(void)imgo__ws_ping(c, imgo_str(NULL));
	start_timer(c, now_ms);
}

static void answer_close(struct imgo__conn *c)
{
	c->flags &= (uint16_t)~IMGO__CONN_GOODBYE_DUE;
	say_goodbye(c);
	start_lingering(c, IMGO__HUB_LINGER_MS);
}

static void on_timer(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo__conn *c = imgo__container_of(timer, struct imgo__conn, timer);
	struct imgo_hub *hub = c->hub;
	uint64_t now = imgo__loop_now_ms(loop);

	if (hub->freeing)
		return;
	if (now < c->deadline_ms && until_ping(c, now) > 0) {
		start_timer(c, now);
		return;
	}
	hub->busy++;
	if (now < c->deadline_ms)
		ask(c, now);
	else if (c->flags & IMGO__CONN_GOODBYE_DUE)
		answer_close(c);
	else if (c->state == IMGO__CONN_LINGER)
		destroy(c, true);
	else
		imgo__conn_kill(c, c->state == IMGO__CONN_LIVE ? IMGO_CLOSE_HEARTBEAT : IMGO_CLOSE_HANDSHAKE);
	hub->busy--;
}
