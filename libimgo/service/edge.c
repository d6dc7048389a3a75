/* SPDX-License-Identifier: MIT */
/*
 * The comet's role: life of the object, and logins.
 *
 * A login: the hub asks (on_auth) -> the gate is asked (token -> user -> registered under this connection's handle) -> the
 * hub is told, and the session's log is read. A client that is gone by then was registered all the same: it is
 * unregistered. A login whose answer never came may be registered too; a tell for it finds nobody here and unregisters it.
 */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/options.h"
#include "base/failpoint.h"
#include "rpc/rpc.h"
#include "service/edge_impl.h"
#include "service/push_impl.h"

void *imgo__edge_call_new(struct imgo_edge *edge, size_t size)
{
	struct imgo__edge_call *call = imgo__zalloc(size);

	if (!call)
		return NULL;
	call->edge = edge;
	imgo__list_init(&call->link);
	imgo__list_insert(&edge->calls, &call->link);
	return call;
}

void imgo__edge_call_free(struct imgo__edge_call *call)
{
	imgo__list_remove(&call->link);
	imgo__arena_free(&call->arena);
	free(call);
}

bool imgo__edge_describe(struct imgo_edge *edge, const struct imgo__edge_session *session, struct imgo__arena *arena,
	struct imgo__gate_session *out)
{
	struct imgo_str now[IMGO__GATE_ROOMS_MAX], *rooms;
	int n = imgo_hub_rooms(edge->hub, session->conn, now, IMGO__GATE_ROOMS_MAX);
	bool ok = true;

	n = n < 0 ? 0 : n > IMGO__GATE_ROOMS_MAX ? IMGO__GATE_ROOMS_MAX : n;
	out->who = imgo__arena_str(arena, imgo__edge_who(session), &ok);
	out->device = imgo__arena_str(arena, imgo__edge_device(session), &ok);
	out->id = imgo__edge_session_id(edge, session->conn.h);
	out->seq = session->seq;
	rooms = imgo__arena_zalloc(arena, (size_t)n + 1, sizeof *rooms);
	if (!rooms)
		return false;
	for (int i = 0; i < n; i++)
		rooms[i] = imgo__arena_str(arena, now[i], &ok);
	out->rooms = rooms;
	out->nrooms = (size_t)n;
	return ok;
}

/* ---- logins ---- */

struct login_call {
	struct imgo__edge_call call;
	struct imgo__timer delay; /* failpoint "comet.connect.reply:delay=N" */
	struct imgo_conn conn;
	enum imgo_hub_kind kind;
	struct imgo__gate_connect connect;
	struct imgo_str key;
	int32_t *accepts;
	size_t naccepts;
	uint32_t peer;
	int err;
};

static struct imgo__edge_session *session_new(struct imgo_edge *edge, const struct login_call *login)
{
	const struct imgo__gate_connect *granted = &login->connect;
	struct imgo_str who = granted->who, device = granted->granted_device, key = login->key;
	size_t size = offsetof(struct imgo__edge_session, bytes) + who.len + device.len + key.len;
	struct imgo__edge_session *session = imgo__zalloc(size > sizeof *session ? size : sizeof *session);

	if (!session || !imgo__peers_add(&edge->peers, login->peer)) {
		free(session);
		return NULL;
	}
	session->peer = login->peer;
	session->conn = login->conn;
	session->seq = granted->seq;
	session->login_ms = (uint32_t)imgo__loop_now_ms(edge->loop) | 1;
	session->who_len = (uint8_t)who.len;
	session->device_len = (uint8_t)device.len;
	session->key_len = (uint8_t)key.len;
	memcpy(session->bytes, who.p, who.len);
	if (device.len)
		memcpy(session->bytes + who.len, device.p, device.len);
	if (key.len)
		memcpy(session->bytes + who.len + device.len, key.p, key.len);
	imgo__list_init(&session->ring);
	imgo__list_init(&session->marks);
	imgo__list_insert(&edge->rings[imgo_partition(who, edge->partitions)], &session->ring);
	imgo_stat_add(edge->stats.sessions, 1);
	return session;
}

static void session_free(struct imgo_edge *edge, struct imgo__edge_session *session)
{
	imgo__edge_key_drop(edge, session);
	imgo__list_remove(&session->ring);
	imgo__list_remove(&session->marks);
	imgo__peers_drop(&edge->peers, session->peer);
	imgo_stat_add(edge->stats.sessions, -1);
	free(session);
}

static enum imgo_close refusal(int err)
{
	return err == IMGO_EDENIED || err == IMGO_EINVAL ? IMGO_CLOSE_DENIED : IMGO_CLOSE_TRY_LATER;
}

/* Granted by logic: the hub's connection becomes a session, or, if it is gone, the grant is undone. */
static void login_granted(struct imgo_edge *edge, const struct login_call *login)
{
	const struct imgo__gate_connect *granted = &login->connect;
	struct imgo__edge_session *session = session_new(edge, login);
	struct imgo_hub_grant grant = IMGO_HUB_GRANT_INIT;
	struct imgo_conn conn = login->conn;
	int err = session ? 0 : IMGO_ENOMEM;

	grant.user = granted->who;
	grant.data = session;
	grant.rooms = granted->granted_rooms;
	grant.nrooms = granted->ngranted;
	grant.accepts = login->accepts;
	grant.naccepts = login->naccepts;
	if (session)
		session->websocket = (login->kind & IMGO_HUB_WEBSOCKET) != 0;
	if (session)
		err = imgo_hub_auth_finish(edge->hub, conn, &grant);
	if (err == 0) {
		if (imgo__edge_key_take(edge, session))
			imgo_hub_close(edge->hub, conn, IMGO_CLOSE_TRY_LATER);
		imgo__edge_load(edge, session);
		return;
	}
	if (session)
		session_free(edge, session);
	if (err != IMGO_ESTALE)
		imgo_hub_auth_refuse(edge->hub, conn, refusal(err));
	imgo__edge_unregister(edge, conn.h, granted->who, granted->granted_device, (struct imgo_id){0, 0});
}

static void login_end(struct login_call *self)
{
	struct imgo_edge *edge = self->call.edge;

	if (edge && self->err) {
		imgo_stat_add(edge->stats.refused, 1);
		imgo_hub_auth_refuse(edge->hub, self->conn, refusal(self->err));
	} else if (edge) {
		login_granted(edge, self);
	}
	imgo__edge_call_free(&self->call);
}

static void on_login_delay(struct imgo_loop *loop, struct imgo__timer *timer)
{
	(void)loop;
	login_end(imgo__container_of(timer, struct login_call, delay));
}

/* The failpoint holds the answer back; what it points to must be kept. */
static bool login_keep(struct login_call *self)
{
	struct imgo__gate_connect *granted = &self->connect;
	bool ok = true;

	granted->who = imgo__arena_str(&self->call.arena, granted->who, &ok);
	granted->granted_device = imgo__arena_str(&self->call.arena, granted->granted_device, &ok);
	for (size_t i = 0; i < granted->ngranted; i++)
		granted->granted_rooms[i] = imgo__arena_str(&self->call.arena, granted->granted_rooms[i], &ok);
	return ok;
}

static void on_connected(int err, void *user)
{
	struct login_call *self = user;
	unsigned delay_ms = imgo__failpoint_delay_ms("comet.connect.reply");

	self->err = err;
	if (delay_ms && err == 0 && self->call.edge && login_keep(self)) {
		imgo__timer_init(&self->delay, on_login_delay);
		imgo__timer_start(self->call.edge->loop, &self->delay, delay_ms);
		return;
	}
	login_end(self);
}

/* False: out of memory. */
static bool login_accepts(struct login_call *self, const struct imgo_hub_auth *auth)
{
	if (!auth->accepts)
		return true;
	self->accepts = imgo__arena_zalloc(&self->call.arena, auth->naccepts + 1, sizeof *self->accepts);
	if (!self->accepts)
		return false;
	memcpy(self->accepts, auth->accepts, auth->naccepts * sizeof *self->accepts);
	self->naccepts = auth->naccepts;
	return true;
}

/* Copies what is asked for, and asks. */
static int login_start(struct imgo_edge *edge, struct imgo_conn conn, const struct imgo_hub_auth *auth)
{
	struct login_call *self = imgo__edge_call_new(edge, sizeof *self);
	struct imgo_str *rooms = NULL;
	bool ok = true;
	int err;

	if (!self)
		return IMGO_ENOMEM;
	if (auth->nrooms)
		rooms = imgo__arena_zalloc(&self->call.arena, auth->nrooms, sizeof *rooms);
	for (size_t i = 0; rooms && i < auth->nrooms; i++)
		rooms[i] = imgo__arena_str(&self->call.arena, auth->rooms[i], &ok);
	self->conn = conn;
	self->kind = auth->kind;
	self->peer = imgo__peers_hash(&edge->peers, auth->peer);
	self->connect.token = imgo__arena_str(&self->call.arena, auth->token, &ok);
	self->connect.device = imgo__arena_str(&self->call.arena, auth->device, &ok);
	self->key = imgo__arena_str(&self->call.arena, auth->key, &ok);
	self->connect.ver = 1;
	self->connect.id = imgo__edge_session_id(edge, conn.h);
	self->connect.rooms = rooms;
	self->connect.nrooms = auth->nrooms;
	self->connect.by_mid = !auth->has_token;
	self->connect.mid = auth->mid;
	if (!ok || (auth->nrooms && !rooms) || !login_accepts(self, auth))
		err = IMGO_ENOMEM;
	else
		err = edge->gate.ops->connect(edge->gate.impl, &self->connect, on_connected, self);
	if (err < 0)
		imgo__edge_call_free(&self->call);
	return err;
}

/* ---- the hub's callbacks ---- */

static void on_auth(struct imgo_hub *hub, struct imgo_conn conn, const struct imgo_hub_auth *auth, void *user)
{
	struct imgo_edge *edge = user;
	int err = edge->ready && !edge->stopping ? 0 : IMGO_EUNAVAILABLE;

	if (err == 0)
		err = login_start(edge, conn, auth);
	if (err < 0) {
		imgo_stat_add(edge->stats.refused, 1);
		imgo_hub_auth_refuse(hub, conn, refusal(err));
	}
}

static bool on_packet(struct imgo_hub *hub, struct imgo_conn conn, const struct imgo_hub_packet *packet, void *user)
{
	struct imgo__edge_session *session = imgo_hub_data(hub, conn);

	if (session)
		imgo__edge_packet(user, session, packet->op);
	return false;
}

static void on_pong(struct imgo_hub *hub, struct imgo_conn conn, struct imgo_str payload, void *user)
{
	struct imgo__edge_session *session = imgo_hub_data(hub, conn);

	if (session)
		imgo__edge_pong(user, session, payload);
}

static void on_rooms(struct imgo_hub *hub, struct imgo_conn conn, void *user)
{
	struct imgo__edge_session *session = imgo_hub_data(hub, conn);

	if (session)
		imgo__edge_rooms_changed(user, session);
}

static void on_close(
	struct imgo_hub *hub, struct imgo_conn conn, void *data, const struct imgo_hub_closed *closed, void *user)
{
	struct imgo_edge *edge = user;
	struct imgo__edge_session *session = data;

	(void)hub, (void)conn;
	if (!session)
		return; /* was logging in: the gate's answer finds nobody and undoes the grant */
	imgo__edge_closed(edge, session, closed);
	session_free(edge, session);
}

static uint32_t on_online(struct imgo_hub *hub, struct imgo_str room, uint32_t here, void *user)
{
	(void)hub;
	return imgo__edge_online(user, room, here);
}

static const struct imgo_hub_ops hub_ops = {
	.size = sizeof(struct imgo_hub_ops),
	.on_auth = on_auth,
	.on_packet = on_packet,
	.on_rooms = on_rooms,
	.on_close = on_close,
	.on_pong = on_pong,
	.on_online = on_online,
};

/* ---- life ---- */

static int take_options(struct imgo_edge_options *o, const struct imgo_edge_options *given, struct imgo_error *error)
{
	const struct imgo_edge_options defaults = *o;
	int err = imgo__options_take(o, given, "edge", error);

	IMGO__OPTION_DEFAULT(*o, defaults, lease_ms);
	IMGO__OPTION_DEFAULT(*o, defaults, read_bytes_max);
	IMGO__OPTION_DEFAULT(*o, defaults, weight);
	return err;
}

static int check_options(const struct imgo_edge_options *options, struct imgo_error *error)
{
	if (options->comet == 0 || options->comet > INT32_MAX)
		return imgo__fail(error, IMGO_EINVAL, "comet.id must be a positive 32-bit integer");
	if (!options->logics == !options->push)
		return imgo__fail(error, IMGO_EINVAL, "edge: give the addresses of logics, or a push of this process");
	if (options->rpc_advertise && strlen(options->rpc_advertise) > IMGO_REGISTRY_ADDRESS_MAX)
		return imgo__fail(
			error, IMGO_EINVAL, "comet.rpc-advertise is longer than %d bytes", IMGO_REGISTRY_ADDRESS_MAX);
	if (options->lease_ms < 100)
		return imgo__fail(error, IMGO_EINVAL, "comet.lease must be at least 100 ms");
	return 0;
}

static int open_gate(struct imgo_edge *edge, const struct imgo_edge_options *options, struct imgo_error *error)
{
	if (options->push) {
		edge->push = options->push;
		return imgo__gate_local(&edge->gate, options->push);
	}
	return imgo__gate_remote(
		&edge->gate, edge->loop, options->logics, options->secret, options->rpc_tls, options->comet, error);
}

/* Where others reach us: what the operator says, else where we listen. */
static int set_address(struct imgo_edge *edge, const struct imgo_edge_options *options, struct imgo_error *error)
{
	struct imgo__addr addr;
	char text[64];

	if (!edge->rpc)
		return 0;
	if (options->rpc_advertise) {
		strcpy(edge->address, options->rpc_advertise); /* its length was checked */
		return 0;
	}
	if (imgo__addr_parse(&addr, imgo_str(options->rpc)) < 0)
		return imgo__fail(error, IMGO_EINVAL, "comet.rpc: not an address: %s", options->rpc);
	imgo__addr_format(&addr, text);
	char *colon = strrchr(text, ':');
	snprintf(edge->address, sizeof edge->address, "%.*s:%d", colon ? (int)(colon - text) : (int)strlen(text), text,
		imgo__rpc_server_port(edge->rpc));
	return 0;
}

static int open_hub(struct imgo_edge *edge, const struct imgo_edge_options *options, struct imgo_error *error)
{
	int err = imgo_hub_new(&edge->hub, edge->loop, &hub_ops, edge, options->hub, error);

	if (err == 0 && options->tcp)
		err = imgo_hub_listen(edge->hub, options->tcp, IMGO_HUB_TCP, &edge->tcp_port, error);
	if (err == 0 && options->websocket)
		err = imgo_hub_listen(edge->hub, options->websocket, IMGO_HUB_WEBSOCKET, &edge->websocket_port, error);
	if (err == 0 && options->tls)
		err = imgo_hub_listen(edge->hub, options->tls, IMGO_HUB_TLS, &edge->tls_port, error);
	if (err == 0 && options->wss)
		err = imgo_hub_listen(edge->hub, options->wss, IMGO_HUB_WSS, &edge->wss_port, error);
	return err;
}

int imgo_edge_new(
	struct imgo_edge **out, struct imgo_loop *loop, const struct imgo_edge_options *given, struct imgo_error *error)
{
	struct imgo_edge_options o = IMGO_EDGE_OPTIONS_INIT;
	const struct imgo_edge_options *options = &o;
	struct imgo_edge *edge;
	int err = take_options(&o, given, error);

	if (err == 0)
		err = check_options(options, error);
	if (err < 0)
		return err;
	edge = imgo__zalloc(sizeof *edge);
	if (!edge)
		return imgo__fail(error, IMGO_ENOMEM, "edge: out of memory");
	edge->loop = loop;
	edge->comet = options->comet;
	edge->lease_ms = options->lease_ms;
	edge->compare_ms = options->compare_ms;
	edge->v1_ack = options->v1_ack;
	edge->read_bytes_max = options->read_bytes_max;
	edge->on_superseded = options->on_superseded;
	edge->user = options->user;
	imgo__list_init(&edge->calls);
	imgo__edge_stats_init(edge);
	imgo__edge_deliver_init(edge);
	imgo__edge_goim_init(edge);
	imgo__edge_ack_init(edge);
	imgo__timer_init(&edge->stop_timer, NULL);
	err = imgo__edge_lease_init(edge);
	if (err == 0)
		err = open_gate(edge, options, error);
	if (err == 0)
		err = imgo__edge_about_init(edge, options, error);
	if (err == 0)
		err = open_hub(edge, options, error);
	if (err == 0)
		err = imgo__edge_rpc_init(edge, options, error);
	if (err == 0)
		err = set_address(edge, options, error);
	if (err < 0) {
		imgo_edge_free(edge);
		return err;
	}
	if (edge->push)
		imgo__push_set_edge(edge->push, edge);
	*out = edge;
	return 0;
}

void imgo_edge_free(struct imgo_edge *edge)
{
	if (!edge)
		return;
	if (edge->push && edge->address[0] == '\0')
		imgo__push_set_edge(edge->push, NULL);
	imgo__timer_stop(edge->loop, &edge->stop_timer);
	imgo_hub_free(edge->hub); /* every session ends, and is queued to be unregistered: too late for that */
	imgo__rpc_server_free(edge->rpc);
	imgo__edge_ack_fini(edge);
	imgo__edge_lease_fini(edge);
	imgo__edge_deliver_fini(edge);
	imgo__edge_goim_fini(edge);
	imgo__edge_about_fini(edge);
	imgo__list_for(at, &edge->calls)
	{
		struct imgo__edge_call *call = imgo__container_of(at, struct imgo__edge_call, link);
		imgo__list_remove(at);
		call->edge = NULL;
	}
	if (edge->gate.ops)
		edge->gate.ops->free(edge->gate.impl);
	imgo__edge_stats_fini(edge);
	free(edge);
}

/* ---- stop: close clients, write back, leave ---- */

static void stop_end(struct imgo_edge *edge)
{
	void (*stopped)(void *) = edge->stopped;

	imgo__timer_stop(edge->loop, &edge->stop_timer);
	edge->stopped = NULL;
	if (stopped)
		stopped(edge->stopped_user);
}

static void on_stop_timer(struct imgo_loop *loop, struct imgo__timer *timer)
{
	(void)loop;
	stop_end(imgo__container_of(timer, struct imgo_edge, stop_timer));
}

void imgo__edge_check_stopped(struct imgo_edge *edge)
{
	struct imgo_hub_counts counts;

	if (!edge->stopping || edge->leaving || edge->writes || !imgo__edge_written(edge))
		return;
	imgo_hub_counts(edge->hub, &counts);
	if (counts.authenticated)
		return;
	edge->leaving = true;
	imgo__edge_leave(edge, stop_end);
}

void imgo__edge_close_sessions(struct imgo_edge *edge)
{
	for (uint32_t i = 0; i < edge->partitions; i++) {
		imgo__list_for(at, &edge->rings[i])
		{
			struct imgo__edge_session *session = imgo__container_of(at, struct imgo__edge_session, ring);
			imgo_hub_close(edge->hub, session->conn, IMGO_CLOSE_SHUTDOWN);
		}
	}
}

void imgo_edge_stop(struct imgo_edge *edge, uint64_t deadline_ms, void (*done)(void *user), void *user)
{
	edge->stopping = true;
	edge->stopped = done;
	edge->stopped_user = user;
	imgo__timer_init(&edge->stop_timer, on_stop_timer);
	imgo__timer_start(edge->loop, &edge->stop_timer, deadline_ms);
	imgo_hub_stop_listening(edge->hub);
	imgo__edge_close_sessions(edge);
	imgo__timer_start(edge->loop, &edge->write_timer, 1);
}

bool imgo_edge_ready(const struct imgo_edge *edge)
{
	return edge->ready && imgo__loop_now_ms(edge->loop) - edge->renewed_ms <= edge->lease_ms;
}

struct imgo_hub *imgo_edge_hub(struct imgo_edge *edge)
{
	return edge->hub;
}

void imgo_edge_tls_ports(const struct imgo_edge *edge, int *tls, int *wss)
{
	if (tls)
		*tls = edge->tls_port;
	if (wss)
		*wss = edge->wss_port;
}

void imgo_edge_ports(const struct imgo_edge *edge, int *tcp, int *websocket, int *rpc)
{
	if (tcp)
		*tcp = edge->tcp_port;
	if (websocket)
		*websocket = edge->websocket_port;
	if (rpc)
		*rpc = edge->rpc ? imgo__rpc_server_port(edge->rpc) : 0;
}

uint32_t imgo__edge_comet(const struct imgo_edge *edge)
{
	return edge->comet;
}
