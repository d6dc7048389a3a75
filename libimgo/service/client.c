/* SPDX-License-Identifier: MIT */
/*
 * The client's life:
 *
 *	WAITING --timer--> CONNECTING --login answered--> OPEN --close()--> CLOSING --end--> CLOSED
 *	   ^                   |                            |
 *	   +------ lost -------+----------------------------+     (or CLOSED, when that was final)
 *
 * One timer means, by the state: the next attempt, the deadline of this one, that nothing came after a
 *heartbeat, or that the server does not end. Whatever goes wrong comes to imgo__client_lost, which is the
 *only place that calls on_close, and which runs only from the loop: no call of the host's leads to a callback
 *before it returns.
 *
 * Invariants: a descriptor is open only in CONNECTING, OPEN and CLOSING. login_seq is 0 until the login was
 *sent. Buffers of a lost connection are kept until the next attempt or the end, as a callback may still look
 *into them.
 */
#include "service/client_impl.h"

#include <imgo/error.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/options.h"
#include "codec/json.h"

enum {
	STEADY_MS = 5000, /* open for so long: the next failure is the first one again */
	END_MS = 2000,    /* a polite end has so long */
};

/* ---- heartbeats ---- */

static void next_heartbeat(struct imgo_client *client)
{
	uint64_t chance, span = client->opt.heartbeat_ms / 4;

	imgo__loop_random(client->loop, &chance, sizeof chance);
	imgo__timer_start(client->loop, &client->heartbeat, client->opt.heartbeat_ms - chance % (span + 1));
}

static void on_heartbeat(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo_client *client = imgo__container_of(timer, struct imgo_client, heartbeat);

	imgo__client_send_ack(client);
	/* If the queue is full: the answer will be missed, and rightly. */
	(void)imgo__client_put_heartbeat(client);
	if (!imgo__timer_active(&client->timer))
		imgo__timer_start(loop, &client->timer, client->opt.heartbeat_timeout_ms);
	next_heartbeat(client);
}

/* ---- what comes ---- */

static void opened(struct imgo_client *client, const struct imgo__packet *packet)
{
	client->state = IMGO_CLIENT_OPEN;
	client->ver = packet->ver < client->ver ? packet->ver : client->ver;
	client->was_open = true;
	client->open_ms = imgo__loop_now_ms(client->loop);
	imgo__timer_stop(client->loop, &client->timer);
	next_heartbeat(client);
	imgo_log_event(imgo_loop_log(client->loop), IMGO_LOG_DEBUG, "client", "open", "server=%s ver=%u",
		client->opt.address, client->ver);
	if (client->has_room && !client->opt.goim) { /* goim's login has named it */
		int err = imgo__client_put_room(client);
		if (err) {
			imgo__client_lost(client, err);
			return;
		}
	}
	if (!client->ops.on_open)
		return;
	client->busy++;
	client->ops.on_open(client, client->ver, packet->body, client->user);
	client->busy--;
}

static enum imgo_client_kind kind_of(const struct imgo_client *client, const struct imgo__packet *packet)
{
	if (client->opt.goim) /* every operation may be an application's */
		return packet->seq ? IMGO_CLIENT_ANSWER : IMGO_CLIENT_PUSH;
	switch (packet->op) {
	case IMGO__OP_GAP:
	case IMGO__OP_RECONNECT:
	case IMGO__OP_KICK:
		return IMGO_CLIENT_CONTROL;
	case IMGO__OP_ROOM_REPLY:
	case IMGO__OP_SUB_REPLY:
	case IMGO__OP_UNSUB_REPLY:
	case IMGO__OP_JOIN_REPLY:
	case IMGO__OP_LEAVE_REPLY:
	case IMGO__OP_TEST_REPLY:
		return IMGO_CLIENT_ANSWER;
	default:
		return packet->seq ? IMGO_CLIENT_ANSWER : IMGO_CLIENT_PUSH;
	}
}

static void message(struct imgo_client *client, const struct imgo__packet *packet)
{
	struct imgo_client_message m = {.kind = kind_of(client, packet),
		.op = packet->op,
		.seq = packet->seq,
		.ver = packet->ver,
		.has_id = packet->has_id,
		.id = packet->id,
		.body = packet->body,
		.is_string = packet->quoted};

	client->busy++;
	client->ops.on_message(client, &m, client->user);
	client->busy--;
	if (client->freeing)
		return;
	if (m.has_id && client->opt.ver >= 2 && !client->opt.manual_ack)
		(void)imgo_client_ack(client, m.id);
	if (client->state != IMGO_CLIENT_OPEN || m.kind != IMGO_CLIENT_CONTROL || m.op == IMGO__OP_GAP)
		return;
	imgo__client_lost(client, m.op == IMGO__OP_KICK ? IMGO_EDENIED : IMGO_EUNAVAILABLE);
}

void imgo__client_packet(struct imgo_client *client, const struct imgo__packet *packet)
{
	if (client->state == IMGO_CLIENT_OPEN) {
		if (packet->op != IMGO__OP_HEARTBEAT_REPLY && packet->op != IMGO__OP_AUTH_REPLY)
			message(client, packet);
	} else if (packet->op == IMGO__OP_AUTH_REPLY && packet->seq == client->login_seq) {
		opened(client, packet);
	} else if (packet->op == IMGO__OP_KICK && !client->opt.goim) {
		imgo__client_lost(client, IMGO_EDENIED);
	} else {
		imgo__client_lost(client, IMGO_EPROTO);
	}
}

static void on_opened(struct imgo__stream *s)
{
	struct imgo_client *client = imgo__container_of(s, struct imgo_client, stream);

	if (client->state != IMGO_CLIENT_CONNECTING)
		return;
	if (client->opt.transport == IMGO_CLIENT_TCP)
		imgo__client_login(client);
	else if (imgo__client_put_upgrade(client))
		imgo__client_lost(client, IMGO_ENOMEM);
}

static void on_data(struct imgo__stream *s)
{
	struct imgo_client *client = imgo__container_of(s, struct imgo_client, stream);

	if (client->state == IMGO_CLIENT_OPEN) /* the server lives */
		imgo__timer_stop(client->loop, &client->timer);
	imgo__client_input(client);
	if (client->state == IMGO_CLIENT_CLOSING)
		s->in_at = s->in.len;
}

static void on_closed(struct imgo__stream *s, int err)
{
	struct imgo_client *client = imgo__container_of(s, struct imgo_client, stream);

	/* A certificate that is not accepted is no login refused for good. */
	imgo__client_lost(client, s->why && err == IMGO_EDENIED ? IMGO_EPROTO : err);
}

/* A polite end: all is sent, now the FIN. */
static void on_drained(struct imgo__stream *s)
{
	struct imgo_client *client = imgo__container_of(s, struct imgo_client, stream);

	if (client->state != IMGO_CLIENT_CLOSING || !client->ending || client->fin_sent)
		return;
	client->fin_sent = true;
	imgo__stream_end(s);
}

static const struct imgo__stream_ops stream_ops = {on_opened, on_data, on_drained, on_closed};

/* ---- attempts and ends ---- */

static void attempt(struct imgo_client *client)
{
	int err;

	imgo__stream_fini(&client->stream);
	imgo__stream_init(&client->stream, client->loop, &stream_ops);
	imgo__buf_free(&client->message);
	client->ws = (struct imgo__ws){0};
	client->code = 0;
	client->login_seq = 0;
	client->ver = client->opt.ver;
	client->phase = client->opt.transport == IMGO_CLIENT_TCP ? IMGO__CLIENT_PACKETS : IMGO__CLIENT_UPGRADE;
	client->state = IMGO_CLIENT_CONNECTING;
	imgo__timer_start(client->loop, &client->timer, client->opt.login_timeout_ms);
	if (client->opt.tls)
		imgo__stream_secure(&client->stream, client->opt.tls,
			client->opt.transport == IMGO_CLIENT_TCP ? "imgo" : "http/1.1", client->opt.tls_name);
	err = imgo__stream_connect(&client->stream, &client->addr);
	if (err)
		imgo__client_lost(client, err);
}

/* From 0 to retry_min_ms << attempts, at most retry_max_ms. */
static uint64_t retry_ms(struct imgo_client *client)
{
	uint64_t top = client->opt.retry_min_ms, chance;

	for (unsigned i = 0; i < client->attempts && top < client->opt.retry_max_ms; i++)
		top *= 2;
	if (top > client->opt.retry_max_ms)
		top = client->opt.retry_max_ms;
	imgo__loop_random(client->loop, &chance, sizeof chance);
	return chance % (top + 1);
}

static void plan(struct imgo_client *client, struct imgo_client_closed *closed)
{
	if (closed->was_open && imgo__loop_now_ms(client->loop) - client->open_ms >= STEADY_MS)
		client->attempts = 0;
	closed->final = closed->err == 0 || closed->err == IMGO_EDENIED || closed->err == IMGO_ESTALE ||
			client->opt.retry_max_ms == 0;
	client->state = closed->final ? IMGO_CLIENT_CLOSED : IMGO_CLIENT_WAITING;
	if (closed->final)
		return;
	closed->retry_ms = retry_ms(client);
	if (client->attempts < 64)
		client->attempts++;
	imgo__timer_start(client->loop, &client->timer, closed->retry_ms);
}

void imgo__client_lost(struct imgo_client *client, int err)
{
	struct imgo_client_closed closed = {.err = client->state == IMGO_CLIENT_CLOSING ? 0 : err,
		.code = client->code,
		.was_open = client->was_open,
		.tls_why = client->stream.why};

	imgo__stream_close(&client->stream);
	imgo__timer_stop(client->loop, &client->timer);
	imgo__timer_stop(client->loop, &client->heartbeat);
	plan(client, &closed);
	client->was_open = false;
	imgo_log_event(imgo_loop_log(client->loop), IMGO_LOG_DEBUG, "client", "closed",
		"server=%s why=\"%s\" code=%u final=%d", client->opt.address, imgo_strerror(closed.err), closed.code,
		closed.final);
	if (!client->ops.on_close)
		return;
	client->busy++;
	client->ops.on_close(client, &closed, client->user);
	client->busy--;
}

static void on_timer(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo_client *client = imgo__container_of(timer, struct imgo_client, timer);

	(void)loop;
	if (client->state == IMGO_CLIENT_WAITING)
		attempt(client);
	else
		imgo__client_lost(client, IMGO_ETIMEDOUT);
}

/* The end of the turn: the acknowledgement, which covers also a message whose callback closed the client;
 * then, of a client that is closing, the last words. */
static void on_turn(struct imgo_loop *loop, struct imgo__task *task)
{
	struct imgo_client *client = imgo__container_of(task, struct imgo_client, turn);

	(void)loop;
	imgo__client_send_ack(client);
	if (client->state != IMGO_CLIENT_CLOSING || client->ending)
		return;
	if (client->opt.transport == IMGO_CLIENT_WEBSOCKET)
		(void)imgo__client_put_close(client);
	client->ending = true;
	imgo__stream_push(&client->stream); /* also with nothing to send: drained comes */
}

void imgo_client_close(struct imgo_client *client)
{
	bool open = client->state == IMGO_CLIENT_OPEN;

	if (client->freeing || client->state == IMGO_CLIENT_CLOSING || client->state == IMGO_CLIENT_CLOSED)
		return;
	client->state = IMGO_CLIENT_CLOSING;
	client->ending = !open;
	client->fin_sent = false;
	imgo__timer_stop(client->loop, &client->heartbeat);
	imgo__timer_start(client->loop, &client->timer, open ? END_MS : 0);
	if (open)
		imgo__defer(client->loop, &client->turn);
	else
		imgo__stream_close(&client->stream);
}

enum imgo_client_state imgo_client_state(const struct imgo_client *client)
{
	return client->state;
}

/* ---- making and freeing ---- */

static const char *wrong(const struct imgo_client_options *o)
{
	size_t token = o->token ? strlen(o->token) : 0;

	if (!o->address)
		return "a client needs an address";
	if ((token == 0 && !(o->goim && !o->token)) || token > IMGO_TOKEN_MAX)
		return "a client's token has 1 to 1024 bytes";
	if (o->transport != IMGO_CLIENT_TCP && o->transport != IMGO_CLIENT_WEBSOCKET)
		return "no such transport";
	if (o->ver < 1 || o->ver > 2)
		return "a client's version is 1 or 2";
	if (o->device && (o->ver < 2 || strlen(o->device) > IMGO_DEVICE_MAX))
		return "a device needs version 2, and has at most 64 bytes";
	if (o->room && strlen(o->room) > IMGO_ROOM_MAX)
		return "a room has at most 128 bytes";
	if (!o->path || *o->path != '/' ||
		o->path[strspn(o->path, "!\"#$%&'()*+,-./0123456789:;<=>?@[\\]^_`{|}~"
					"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")])
		return "a path begins with / and has no spaces";
	if (!o->goim && (o->mid || o->key || o->accepts))
		return "mid, key and accepts are goim's";
	if (o->goim && o->ver != 1)
		return "goim's dialect has no version 2";
	if (o->mid > INT64_MAX || (o->key && strlen(o->key) > IMGO_KEY_MAX) || o->naccepts > IMGO_ACCEPTS_MAX)
		return "goim's mid has 63 bits, its key at most 64 bytes, and it accepts at most 128 operations";
	/* What JSON cannot carry as it is could only be JSON itself. */
	if (o->transport == IMGO_CLIENT_WEBSOCKET && !o->goim && !imgo__client_token_plain(imgo_str(o->token)) &&
		!imgo__json_valid(imgo_str(o->token), IMGO__JSON_DEPTH_MAX))
		return "the token cannot be sent over WebSocket";
	if (!o->heartbeat_ms || !o->heartbeat_timeout_ms || !o->login_timeout_ms || !o->packet_max_bytes)
		return "a client's limits are positive";
	return NULL;
}

static void copy(const char **string)
{
	if (*string)
		*string = imgo__strdup(*string);
}

/* "localhost" of "localhost:8080", "::1" of "[::1]:8080". */
static char *host_of(const char *address)
{
	const char *colon = strrchr(address, ':');
	size_t len = colon ? (size_t)(colon - address) : strlen(address);
	bool brackets = len > 2 && address[0] == '[' && address[len - 1] == ']';

	return brackets ? imgo__strndup(address + 1, len - 2) : imgo__strndup(address, len);
}

static bool take_options(struct imgo_client *client, const struct imgo_client_options *o)
{
	struct imgo_client_options *opt = &client->opt;

	*opt = *o;
	copy(&opt->address);
	copy(&opt->token);
	copy(&opt->device);
	copy(&opt->path);
	if (opt->tls && !opt->tls_name)
		opt->tls_name = host_of(o->address);
	else
		copy(&opt->tls_name);
	copy(&opt->key);
	if (o->accepts) {
		int32_t *accepts = imgo__array(o->naccepts + 1, sizeof *accepts);
		if (accepts)
			memcpy(accepts, o->accepts, o->naccepts * sizeof *accepts);
		opt->accepts = accepts;
	}
	opt->room = NULL;
	if (o->room) {
		client->has_room = true;
		client->room_len = strlen(o->room);
		memcpy(client->room, o->room, client->room_len);
	}
	return opt->address && opt->path && (opt->token || !o->token) && (opt->device || !o->device) &&
	       (opt->key || !o->key) && (opt->accepts || !o->accepts) && (opt->tls_name || !opt->tls);
}

static void destroy(struct imgo_client *client)
{
	imgo__task_cancel(&client->turn);
	imgo__stream_fini(&client->stream);
	imgo__buf_free(&client->message);
	imgo__buf_free(&client->scratch);
	free((char *)client->opt.address);
	free((char *)client->opt.token);
	free((char *)client->opt.device);
	free((char *)client->opt.path);
	free((char *)client->opt.tls_name);
	free((char *)client->opt.key);
	free((int32_t *)client->opt.accepts);
	free(client);
}

static void on_free(struct imgo_loop *loop, struct imgo__task *task)
{
	(void)loop;
	destroy(imgo__container_of(task, struct imgo_client, free_task));
}

int imgo_client_new(struct imgo_client **out, struct imgo_loop *loop, const struct imgo_client_ops *ops, void *user,
	const struct imgo_client_options *options, struct imgo_error *error)
{
	struct imgo_client_options o = IMGO_CLIENT_OPTIONS_INIT;
	struct imgo__addr addr;
	struct imgo_client *client;
	const char *why;

	*out = NULL;
	if (!loop || !ops || !options || ops->size < offsetof(struct imgo_client_ops, on_close) || !ops->on_message)
		return imgo__fail(error, IMGO_EINVAL, "a client needs a loop, on_message and options");
	if (imgo__options_take(&o, options, "client", error) < 0)
		return IMGO_EINVAL;
	why = wrong(&o);
	if (why)
		return imgo__fail(error, IMGO_EINVAL, "%s", why);
	if (imgo__addr_parse(&addr, imgo_str(o.address)))
		return imgo__fail(error, IMGO_EINVAL, "%s is not host:port with a numeric host", o.address);
	client = imgo__zalloc(sizeof *client);
	if (!client)
		return imgo__fail(error, IMGO_ENOMEM, "out of memory");
	client->loop = loop;
	client->user = user;
	client->addr = addr;
	memcpy(&client->ops, ops, ops->size < sizeof *ops ? ops->size : sizeof *ops);
	imgo__stream_init(&client->stream, loop, &stream_ops);
	imgo__timer_init(&client->timer, on_timer);
	imgo__timer_init(&client->heartbeat, on_heartbeat);
	imgo__task_init(&client->turn, on_turn);
	imgo__task_init(&client->free_task, on_free);
	if (!take_options(client, &o)) {
		destroy(client);
		return imgo__fail(error, IMGO_ENOMEM, "out of memory");
	}
	imgo__timer_start(loop, &client->timer, 0);
	*out = client;
	return 0;
}

void imgo_client_free(struct imgo_client *client)
{
	if (!client || client->freeing)
		return;
	client->freeing = true;
	client->state = IMGO_CLIENT_CLOSED;
	imgo__stream_close(&client->stream);
	imgo__timer_stop(client->loop, &client->timer);
	imgo__timer_stop(client->loop, &client->heartbeat);
	if (client->busy)
		imgo__defer(client->loop, &client->free_task);
	else
		destroy(client);
}
