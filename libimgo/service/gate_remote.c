/* SPDX-License-Identifier: MIT */
/*
 * The gate over RPC: a call is written from the caller's struct, and its answer read back into the same struct. Since
 * every call may be repeated, one whose connection broke is sent once more, to another logic if there is one.
 */
#include <stdio.h>

#include "rpc/rpc.h"
#include "service/gate_wire.h"

enum { CALL_MS = 2000 };

typedef void ask_fn(struct imgo__mpw *w, const void *call, size_t n);
typedef int answer_fn(struct imgo__mp *mp, struct imgo__arena *arena, void *call, size_t n);

struct method {
	const char *name;
	ask_fn *ask;
	answer_fn *answer;
};

struct call {
	struct imgo__rpc_client *client;
	const struct method *method;
	void *args;
	size_t n;
	bool repeated;
	imgo__gate_cb *cb;
	void *user;
};

/* ---- the methods, with the types that gate_wire.h knows ---- */

static void connect_ask(struct imgo__mpw *w, const void *args, size_t n)
{
	(void)n;
	imgo__gate_connect_ask_write(w, args);
}

static int connect_answer(struct imgo__mp *mp, struct imgo__arena *arena, void *args, size_t n)
{
	(void)n;
	return imgo__gate_connect_answer_read(mp, arena, args);
}

static void read_ask(struct imgo__mpw *w, const void *args, size_t n)
{
	(void)n;
	imgo__gate_read_ask_write(w, args);
}

static int read_answer(struct imgo__mp *mp, struct imgo__arena *arena, void *args, size_t n)
{
	(void)n;
	return imgo__gate_read_answer_read(mp, arena, args);
}

static void renew_ask(struct imgo__mpw *w, const void *args, size_t n)
{
	(void)n;
	imgo__gate_renew_ask_write(w, args);
}

static int renew_answer(struct imgo__mp *mp, struct imgo__arena *arena, void *args, size_t n)
{
	(void)arena, (void)n;
	return imgo__gate_renew_answer_read(mp, args);
}

static void sessions_ask(struct imgo__mpw *w, const void *args, size_t n)
{
	imgo__gate_sessions_ask_write(w, args, n);
}

static int sessions_answer(struct imgo__mp *mp, struct imgo__arena *arena, void *args, size_t n)
{
	(void)arena;
	return imgo__gate_sessions_answer_read(mp, args, n);
}

static void acks_ask(struct imgo__mpw *w, const void *args, size_t n)
{
	imgo__gate_acks_ask_write(w, args, n);
}

static int acks_answer(struct imgo__mp *mp, struct imgo__arena *arena, void *args, size_t n)
{
	(void)arena;
	return imgo__gate_acks_answer_read(mp, args, n);
}

static void compares_ask(struct imgo__mpw *w, const void *args, size_t n)
{
	imgo__gate_compares_ask_write(w, args, n);
}

static int compares_answer(struct imgo__mp *mp, struct imgo__arena *arena, void *args, size_t n)
{
	(void)arena;
	return imgo__gate_compares_answer_read(mp, args, n);
}

static void online_ask(struct imgo__mpw *w, const void *args, size_t n)
{
	imgo__gate_online_ask_write(w, args, n);
}

static int online_answer(struct imgo__mp *mp, struct imgo__arena *arena, void *args, size_t n)
{
	(void)arena;
	return imgo__gate_online_answer_read(mp, args, n);
}

static const struct method m_connect = {"connect", connect_ask, connect_answer};
static const struct method m_read = {"read", read_ask, read_answer};
static const struct method m_renew = {"renew", renew_ask, renew_answer};
static const struct method m_announce = {"announce", sessions_ask, sessions_answer};
static const struct method m_disconnect = {"disconnect", sessions_ask, sessions_answer};
static const struct method m_rooms = {"rooms", sessions_ask, sessions_answer};
static const struct method m_ack = {"ack", acks_ask, acks_answer};
static const struct method m_compare = {"compare", compares_ask, compares_answer};
static const struct method m_online = {"online", online_ask, online_answer};

/* ---- one call ---- */

static void on_reply(int err, struct imgo__mp *result, void *user);

static int transmit(struct call *call)
{
	struct imgo__mpw *w = imgo__rpc_begin_call(call->client, call->method->name, 1);

	if (!w)
		return IMGO_ENOMEM;
	call->method->ask(w, call->args, call->n);
	return imgo__rpc_send(call->client, CALL_MS, on_reply, call);
}

static void on_reply(int err, struct imgo__mp *result, void *user)
{
	struct call *call = user;
	struct imgo__arena arena = {0};

	if (err == IMGO_ECLOSED && !call->repeated) {
		call->repeated = true;
		err = transmit(call);
		if (err == 0)
			return;
	}
	if (err == 0)
		err = call->method->answer(result, &arena, call->args, call->n);
	call->cb(err, call->user);
	imgo__arena_free(&arena);
	free(call);
}

static int submit(struct imgo__rpc_client *client, const struct method *method, void *args, size_t n, imgo__gate_cb *cb,
	void *user)
{
	struct call *call;
	int err;

	if (n > IMGO__GATE_ITEMS_MAX)
		return IMGO_ELIMIT;
	call = imgo__zalloc(sizeof *call);
	if (!call)
		return IMGO_ENOMEM;
	*call = (struct call){client, method, args, n, false, cb, user};
	err = transmit(call);
	if (err < 0)
		free(call);
	return err;
}

static int remote_connect(void *impl, struct imgo__gate_connect *args, imgo__gate_cb *cb, void *user)
{
	return submit(impl, &m_connect, args, 1, cb, user);
}

static int remote_read(void *impl, struct imgo__gate_read *args, imgo__gate_cb *cb, void *user)
{
	return submit(impl, &m_read, args, 1, cb, user);
}

static int remote_announce(void *impl, struct imgo__gate_session *items, size_t n, imgo__gate_cb *cb, void *user)
{
	return submit(impl, &m_announce, items, n, cb, user);
}

static int remote_disconnect(void *impl, struct imgo__gate_session *items, size_t n, imgo__gate_cb *cb, void *user)
{
	return submit(impl, &m_disconnect, items, n, cb, user);
}

static int remote_rooms(void *impl, struct imgo__gate_session *items, size_t n, imgo__gate_cb *cb, void *user)
{
	return submit(impl, &m_rooms, items, n, cb, user);
}

static int remote_ack(void *impl, struct imgo__gate_ack *items, size_t n, imgo__gate_cb *cb, void *user)
{
	return submit(impl, &m_ack, items, n, cb, user);
}

static int remote_compare(void *impl, struct imgo__gate_compare *items, size_t n, imgo__gate_cb *cb, void *user)
{
	return submit(impl, &m_compare, items, n, cb, user);
}

static int remote_online(void *impl, struct imgo__gate_online *items, size_t n, imgo__gate_cb *cb, void *user)
{
	return submit(impl, &m_online, items, n, cb, user);
}

static int remote_renew(void *impl, struct imgo__gate_renew *args, imgo__gate_cb *cb, void *user)
{
	return submit(impl, &m_renew, args, 1, cb, user);
}

static bool remote_up(void *impl)
{
	return imgo__rpc_client_up(impl);
}

static void remote_free(void *impl)
{
	imgo__rpc_client_free(impl);
}

static const struct imgo__gate_ops remote_ops = {
	.free = remote_free,
	.connect = remote_connect,
	.read = remote_read,
	.announce = remote_announce,
	.disconnect = remote_disconnect,
	.rooms = remote_rooms,
	.ack = remote_ack,
	.compare = remote_compare,
	.online = remote_online,
	.renew = remote_renew,
	.up = remote_up,
};

int imgo__gate_remote(struct imgo__gate *out, struct imgo_loop *loop, const char *logics, const char *secret,
	struct imgo_tls *tls, uint32_t comet, struct imgo_error *error)
{
	struct imgo__rpc_client *client;
	char role[32];
	int err;

	snprintf(role, sizeof role, "comet %u", comet);
	err = imgo__rpc_client_new(&client, loop,
		&(struct imgo__rpc_client_options){
			.peers = logics, .secret = secret, .tls = tls, .role = role, .timeout_ms = CALL_MS, .spread = true},
		error);
	if (err < 0)
		return err;
	out->ops = &remote_ops;
	out->impl = client;
	return 0;
}
