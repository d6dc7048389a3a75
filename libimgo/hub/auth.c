/* SPDX-License-Identifier: MIT */
/*
 * Logging in. What the body of op 7 may be is codec/login.h's affair. Nothing is kept of it: the host sees it in on_auth,
 * and what it grants is copied.
 */
#include "hub/internal.h"

#include "base/mem.h"
#include "codec/login.h"

/* ---- asking ---- */

/* On TCP the login tells the dialect; on WebSocket the first message has told it already. */
static void choose_dialect(struct imgo__conn *c, const struct imgo__login *login, uint16_t ver)
{
	if (!imgo__conn_is_ws(c) && login->is_goim && ver != 2)
		c->dialect = IMGO__DIALECT_TCPG;
}

static void ask(struct imgo__conn *c, const struct imgo__packet *packet, const struct imgo__login *login)
{
	struct imgo_hub *hub = c->hub;
	char peer[sizeof c->pre->peer]; /* `pre` is gone once the host has answered */
	struct imgo_hub_auth auth = {
		.token = login->token,
		.device = login->device,
		.ver = packet->ver == 2 ? 2 : 1,
		.rooms = login->rooms,
		.nrooms = login->nrooms,
		.has_resume = login->has_resume,
		.resume = login->resume,
		.kind = (enum imgo_hub_kind)c->kind,
		.has_token = login->has_token || !login->is_goim,
		.mid = login->mid,
		.key = login->key,
		.accepts = login->accepts,
		.naccepts = login->naccepts,
	};

	auth.peer = imgo_str(memcpy(peer, c->pre->peer, sizeof peer));
	imgo_histogram_add(hub->stats.greeting, imgo_loop_now_us(hub->loop) - c->pre->since_us, 1);
	c->pre->since_us = imgo_loop_now_us(hub->loop);
	c->pre->ver = packet->ver;
	c->pre->seq = packet->seq;
	c->state = IMGO__CONN_AUTHING;
	c->flags |= IMGO__CONN_ASKED;
	hub->ops.on_auth(hub, imgo__conn_handle(c), &auth, hub->user);
}

static enum imgo_close why_not(int err)
{
	switch (err) {
	case IMGO_ENOMEM:
		return IMGO_CLOSE_TRY_LATER;
	case IMGO_ELIMIT:
		return IMGO_CLOSE_TOO_BIG;
	default:
		return IMGO_CLOSE_PROTOCOL;
	}
}

void imgo__hub_auth(struct imgo__conn *c, const struct imgo__packet *packet)
{
	struct imgo__login login;
	bool goim = c->dialect == IMGO__DIALECT_BING;
	int r = imgo__login_read(&login, packet->body, packet->ver, goim, c->hub->opt.rooms_max);

	if (r) {
		imgo__conn_kill(c, why_not(r));
	} else {
		choose_dialect(c, &login, packet->ver);
		ask(c, packet, &login);
	}
	imgo__login_free(&login);
}

/* ---- the answer ---- */

static int check_grant(const struct imgo_hub *hub, const struct imgo_hub_grant *grant)
{
	if (grant->size < sizeof *grant || grant->user.len == 0 || grant->user.len > IMGO_USER_MAX ||
		grant->nrooms > hub->opt.rooms_max || (grant->ver != 1 && grant->ver != 2))
		return IMGO_EINVAL;
	for (size_t i = 0; i < grant->nrooms; i++) {
		if (grant->rooms[i].len == 0 || grant->rooms[i].len > IMGO_ROOM_MAX)
			return IMGO_EINVAL;
	}
	if (grant->naccepts > IMGO_ACCEPTS_MAX || (grant->naccepts && !grant->accepts))
		return IMGO_EINVAL;
	for (size_t i = 1; i < grant->naccepts; i++) {
		if (grant->accepts[i - 1] >= grant->accepts[i])
			return IMGO_EINVAL;
	}
	return 0;
}

/* Version 1 is answered as it asked; who asked for 2 and is granted 1 must see that. */
static uint16_t reply_ver(uint16_t asked, uint16_t granted)
{
	return granted == 2 ? 2 : asked == 2 ? 1 : asked;
}

static uint8_t version_2(uint8_t dialect)
{
	switch (dialect) {
	case IMGO__DIALECT_JSON1:
		return IMGO__DIALECT_JSON2;
	case IMGO__DIALECT_BING:
		return IMGO__DIALECT_BIN2;
	default:
		return IMGO__DIALECT_TCP2;
	}
}

static int install(struct imgo__conn *c, const struct imgo_hub_grant *grant, struct imgo__packet *reply)
{
	struct imgo_hub *hub = c->hub;
	struct imgo__pre *pre = c->pre;

	*reply = (struct imgo__packet){
		.ver = reply_ver(pre->ver, grant->ver), .op = IMGO__OP_AUTH_REPLY, .seq = pre->seq, .body = grant->reply};
	int r = imgo__user_attach(c, grant->user);
	if (r)
		return r;
	imgo_histogram_add(hub->stats.login, imgo_loop_now_us(hub->loop) - pre->since_us, 1);
	imgo__guard_leave(hub, pre);
	free(pre);
	c->state = IMGO__CONN_LIVE;
	c->ver = (uint8_t)grant->ver;
	c->data = grant->data;
	if (grant->ver == 2)
		c->dialect = version_2(c->dialect);
	hub->dialects[c->dialect]++;
	imgo__conn_deadline(c, hub->opt.heartbeat_timeout_ms);
	if (grant->accepts)
		r = imgo__accepts_set(c, grant->accepts, grant->naccepts);
	for (size_t i = 0; i < grant->nrooms && r == 0; i++)
		r = imgo__room_join(c, grant->rooms[i]);
	return r;
}

int imgo_hub_auth_finish(struct imgo_hub *hub, struct imgo_conn conn, const struct imgo_hub_grant *grant)
{
	struct imgo__conn *c = imgo__conn_get(hub, conn);
	struct imgo__packet reply;

	if (!c)
		return IMGO_ESTALE;
	if (c->state == IMGO__CONN_AUTHING && c->pre->refused)
		return IMGO_ESTALE;
	if (c->state != IMGO__CONN_AUTHING || check_grant(hub, grant))
		return IMGO_EINVAL;
	int r = install(c, grant, &reply);
	if (r == 0)
		r = imgo__hub_answer(c, &reply);
	if (r) {
		imgo__conn_kill(c, IMGO_CLOSE_TRY_LATER);
		return IMGO_ENOMEM;
	}
	imgo__conn_todo(c, IMGO__CONN_RESUME);
	imgo__hub_room_made(hub);
	return 0;
}

int imgo_hub_auth_refuse(struct imgo_hub *hub, struct imgo_conn conn, enum imgo_close why)
{
	struct imgo__conn *c = imgo__conn_get(hub, conn);

	if (!c || c->state != IMGO__CONN_AUTHING || c->pre->refused)
		return IMGO_ESTALE;
	if (why == IMGO_CLOSE_NONE)
		why = IMGO_CLOSE_DENIED;
	if (why != IMGO_CLOSE_DENIED || !imgo__guard_failed(c, why))
		imgo__conn_kill(c, why);
	return 0;
}
