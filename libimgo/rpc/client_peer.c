/* SPDX-License-Identifier: MIT */
/*
 * One peer of a client: down → connecting (TCP, then hello) → up → down …
 *
 * An attempt has 1 s; after a failed one the peer is known to be down, and the next attempt comes after 50
 * ms, 100 ms, … 2 s, each with up to half of it taken off by chance, so that many clients do not come back in
 * step. A connection that was up for a second starts over without delay.
 *
 * Only what arrives proves that a peer lives. Each second without it a ping is sent; after 3 s in which
 * something should have been answered the connection is closed. Pings and hello have the id 0, calls never.
 */
#include "rpc/client.h"

#include "base/mem.h"

enum {
	ATTEMPT_MS = 1000,
	BACKOFF_MIN_MS = 50,
	BACKOFF_MAX_MS = 2000,
	STEADY_MS = 1000, /* up for so long: the next attempt is the first one again */
	PING_MS = 1000,
	SILENT_MS = 3000,
	TIMEOUTS = 3,       /* of calls, in a row: the connection is closed, and the peer suspect */
	FORGIVE_MS = 10000, /* up for so long: not suspect any more */
};

static void say(struct imgo__rpc_peer *peer, enum imgo_log_level level, const char *event, const char *why)
{
	char text[64];

	imgo__addr_format(&peer->addr, text);
	imgo_log_event(imgo_loop_log(peer->client->loop), level, "rpc", event, "peer=%s why=\"%s\"", text, why);
}

static void retry_later(struct imgo__rpc_peer *peer)
{
	struct imgo_loop *loop = peer->client->loop;
	uint64_t delay = 0;
	uint32_t chance;

	if (peer->attempts > 0)
		delay = peer->attempts > 6 ? BACKOFF_MAX_MS : BACKOFF_MIN_MS << (peer->attempts - 1);
	if (delay > BACKOFF_MAX_MS)
		delay = BACKOFF_MAX_MS;
	imgo__loop_random(loop, &chance, sizeof chance);
	if (delay)
		delay -= chance % (delay / 2 + 1);
	imgo__timer_start(loop, &peer->timer, delay);
}

/* The connection, or the attempt, is over; blame: the peer is at fault, so that having been up does not
 * count. */
static void down(struct imgo__rpc_peer *peer, bool blame, const char *why)
{
	struct imgo__rpc_client *client = peer->client;
	bool was_up = peer->state == IMGO__RPC_UP;

	imgo__stream_close(&peer->stream);
	peer->state = IMGO__RPC_DOWN;
	if (was_up && imgo__loop_now_ms(client->loop) - peer->up_ms >= STEADY_MS)
		peer->attempts = 0;
	peer->attempts += blame;
	peer->known_down = peer->attempts > 0;
	if (!peer->said_down)
		say(peer, IMGO_LOG_WARN, "peer-down", why);
	peer->said_down = true;
	retry_later(peer);
	if (was_up)
		imgo__rpc_client_lost(client, peer, peer->stream.sent);
	imgo__rpc_client_hopeless(client);
}

bool imgo__rpc_peer_hopeful(const struct imgo__rpc_peer *peer)
{
	return peer->state != IMGO__RPC_UP && !peer->known_down;
}

void imgo__rpc_peer_timed_out(struct imgo__rpc_peer *peer)
{
	if (++peer->timeouts < TIMEOUTS || peer->state != IMGO__RPC_UP)
		return;
	peer->suspect = true;
	down(peer, true, "calls time out");
}

/* ---- greeting and pinging ---- */
static struct imgo__mpw begin(struct imgo__rpc_peer *peer, const char *method, size_t *start)
{
	struct imgo__rpc_head head = {.type = IMGO__RPC_REQUEST, .method = imgo_str(method)};
	struct imgo__mpw w;

	imgo__mpw_init(&w, &peer->stream.out);
	*start = imgo__rpc_begin(&w, &head);
	return w;
}

static void end(struct imgo__rpc_peer *peer, struct imgo__mpw *w, size_t start)
{
	if (imgo__rpc_end(w, start, IMGO__RPC_FRAME_MAX) == 0)
		imgo__stream_push(&peer->stream);
}

static void on_opened(struct imgo__stream *s)
{
	struct imgo__rpc_peer *peer = imgo__container_of(s, struct imgo__rpc_peer, stream);
	size_t start;
	struct imgo__mpw w = begin(peer, "hello", &start);

	imgo__mpw_array(&w, 3);
	imgo__mpw_uint(&w, IMGO__RPC_VERSION);
	if (peer->client->secret)
		imgo__mpw_str(&w, imgo_str(peer->client->secret));
	else
		imgo__mpw_nil(&w);
	imgo__mpw_str(&w, imgo_str(peer->client->role));
	end(peer, &w, start);
}

static void ping(struct imgo__rpc_peer *peer, uint64_t now)
{
	size_t start;
	struct imgo__mpw w = begin(peer, "ping", &start);

	imgo__mpw_array(&w, 0);
	end(peer, &w, start);
	peer->pinged_ms = now;
}

static void greeted(struct imgo__rpc_peer *peer, int err)
{
	struct imgo_loop *loop = peer->client->loop;

	if (err) {
		down(peer, false, imgo_strerror(err));
		return;
	}
	peer->state = IMGO__RPC_UP;
	peer->known_down = false;
	peer->timeouts = 0;
	peer->up_ms = peer->heard_ms = peer->pinged_ms = imgo__loop_now_ms(loop);
	if (peer->said_down || imgo_stat_get(peer->client->stat_connects) == 0)
		say(peer, IMGO_LOG_INFO, "peer-up", "greeted");
	peer->said_down = false;
	imgo_stat_add(peer->client->stat_connects, 1);
	imgo__timer_start(loop, &peer->timer, PING_MS);
	imgo__rpc_client_flush(peer->client, peer);
}

/* Each second of an up connection. */
static void look(struct imgo__rpc_peer *peer)
{
	uint64_t now = imgo__loop_now_ms(peer->client->loop);
	bool asked = peer->pinged_ms > peer->heard_ms || !imgo__list_empty(&peer->calls);

	if (asked && now - peer->heard_ms >= SILENT_MS) {
		down(peer, true, "silent");
		return;
	}
	if (now - peer->up_ms >= FORGIVE_MS)
		peer->suspect = false;
	if (now - peer->heard_ms >= PING_MS - 50)
		ping(peer, now);
	imgo__timer_start(peer->client->loop, &peer->timer, PING_MS);
}

/* ---- the stream ---- */
static int message(struct imgo__rpc_peer *peer, struct imgo_str payload)
{
	struct imgo__rpc_head head;
	struct imgo__mp mp;

	if (imgo__rpc_decode_head(payload, &head, &mp) < 0 || head.type != IMGO__RPC_RESPONSE)
		return IMGO_EPROTO;
	if (peer->state == IMGO__RPC_CONNECTING) {
		if (head.id != 0)
			return IMGO_EPROTO;
		greeted(peer, head.error);
		return 0;
	}
	if (head.id == 0)
		return 0; /* pong */
	peer->timeouts = 0;
	peer->suspect = false;
	imgo__rpc_client_response(peer->client, &head, &mp);
	return 0;
}

static void on_data(struct imgo__stream *s)
{
	struct imgo__rpc_peer *peer = imgo__container_of(s, struct imgo__rpc_peer, stream);

	peer->heard_ms = imgo__loop_now_ms(s->loop);
	while (s->fd >= 0 && !peer->client->freed) {
		struct imgo_str payload;
		size_t need;
		ssize_t n = imgo__rpc_frame(
			s->in.data + s->in_at, s->in.len - s->in_at, IMGO__RPC_FRAME_MAX, &payload, &need);
		if (n == 0)
			return;
		s->in_at += n > 0 ? (size_t)n : 0;
		if (n < 0 || message(peer, payload) < 0) {
			down(peer, true, "malformed");
			return;
		}
	}
}

static void on_closed(struct imgo__stream *s, int err)
{
	struct imgo__rpc_peer *peer = imgo__container_of(s, struct imgo__rpc_peer, stream);

	down(peer, false, s->why ? s->why : imgo_strerror(err));
}

static const struct imgo__stream_ops stream_ops = {.opened = on_opened, .data = on_data, .closed = on_closed};

static void attempt(struct imgo__rpc_peer *peer)
{
	int err;

	imgo__stream_fini(&peer->stream);
	imgo__stream_init(&peer->stream, peer->client->loop, &stream_ops);
	peer->state = IMGO__RPC_CONNECTING;
	peer->attempts++;
	if (peer->client->tls)
		imgo__stream_secure(&peer->stream, peer->client->tls, IMGO__RPC_ALPN, NULL);
	err = imgo__stream_connect(&peer->stream, &peer->addr);
	if (err)
		down(peer, false, imgo_strerror(err));
	else
		imgo__timer_start(peer->client->loop, &peer->timer, ATTEMPT_MS);
}

static void on_timer(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo__rpc_peer *peer = imgo__container_of(timer, struct imgo__rpc_peer, timer);

	(void)loop;
	if (peer->state == IMGO__RPC_DOWN)
		attempt(peer);
	else if (peer->state == IMGO__RPC_CONNECTING)
		down(peer, false, "no answer to the hello");
	else
		look(peer);
}

int imgo__rpc_peer_init(struct imgo__rpc_peer *peer, struct imgo__rpc_client *client, struct imgo_str address)
{
	peer->client = client;
	if (imgo__addr_parse(&peer->addr, address) < 0)
		return IMGO_EINVAL;
	if (!client->secret && !client->tls && !imgo__addr_is_loopback(&peer->addr))
		return IMGO_EDENIED;
	imgo__stream_init(&peer->stream, client->loop, &stream_ops);
	imgo__list_init(&peer->calls);
	imgo__timer_init(&peer->timer, on_timer);
	imgo__timer_start(client->loop, &peer->timer, 0);
	return 0;
}

void imgo__rpc_peer_fini(struct imgo__rpc_peer *peer)
{
	imgo__timer_stop(peer->client->loop, &peer->timer);
	imgo__stream_fini(&peer->stream);
}
