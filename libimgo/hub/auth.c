/* SPDX-License-Identifier: MIT */
/*
 * Logging in. The body of op 7 is the token; in version 2 it may instead be a JSON object that holds it, with
 * device, rooms and resume. An object without "token" is a token itself, as it always was. Nothing is kept of
 * the body: the host sees it in on_auth, and what it grants is copied.
 */
#include "hub/internal.h"

#include "base/mem.h"
#include "codec/json.h"

enum { DEPTH_MAX = 8, ROOMS_MAX = 64 };

struct login {
	struct imgo_hub_auth auth;
	struct imgo_str rooms[ROOMS_MAX];
	struct imgo__buf strings; /* reserved once, so that pointers into it stay */
};

/* ---- the object: a walk over members of a text that is known to be valid JSON ---- */

static void skip_space(struct imgo_str *s)
{
	while (s->len > 0 && (*s->p == ' ' || *s->p == '\t' || *s->p == '\r' || *s->p == '\n'))
		s->p++, s->len--;
}

static bool next_char(struct imgo_str *s, char c)
{
	skip_space(s);
	if (s->len == 0 || *s->p != c)
		return false;
	s->p++, s->len--;
	return true;
}

static struct imgo_str next_value(struct imgo_str *s)
{
	skip_space(s);
	size_t len = imgo__json_scan(*s, DEPTH_MAX);
	struct imgo_str value = imgo_strn(s->p, len);
	s->p += len, s->len -= len;
	return value;
}

/* *s is behind '{' or ','; false at the end. */
static bool next_member(struct imgo_str *s, struct imgo_str *key, struct imgo_str *value)
{
	skip_space(s);
	if (s->len == 0 || *s->p != '"')
		return false;
	*key = next_value(s);
	next_char(s, ':');
	*value = next_value(s);
	next_char(s, ',');
	return true;
}

static bool is_key(struct imgo_str quoted, const char *name)
{
	return imgo_str_eq(imgo_strn(quoted.p + 1, quoted.len - 2), imgo_str(name));
}

/* A JSON string's value, of at most max bytes. */
static int take_string(struct login *login, struct imgo_str value, size_t max, struct imgo_str *out)
{
	size_t at = login->strings.len;

	if (value.len < 2 || *value.p != '"')
		return IMGO_EPROTO;
	if (imgo__json_unquote(&login->strings, imgo_strn(value.p + 1, value.len - 2)))
		return IMGO_ENOMEM;
	*out = imgo_strn(login->strings.data + at, login->strings.len - at);
	return out->len > max ? IMGO_EPROTO : 0;
}

static int take_rooms(struct login *login, struct imgo_str list, size_t max)
{
	if (!next_char(&list, '['))
		return IMGO_EPROTO;
	for (skip_space(&list); list.len > 0 && *list.p != ']'; skip_space(&list)) {
		if (login->auth.nrooms == max || login->auth.nrooms == ROOMS_MAX)
			return IMGO_ELIMIT;
		struct imgo_str *room = &login->rooms[login->auth.nrooms];
		int r = take_string(login, next_value(&list), IMGO_ROOM_MAX, room);
		if (r || room->len == 0)
			return r ? r : IMGO_EPROTO;
		login->auth.nrooms++;
		next_char(&list, ',');
	}
	login->auth.rooms = login->rooms;
	return 0;
}

/* Digits, with or without quotes. */
static int take_number(struct imgo_str value, uint64_t max, uint64_t *out)
{
	if (value.len >= 2 && *value.p == '"')
		value = imgo_strn(value.p + 1, value.len - 2);
	if (value.len == 0)
		return IMGO_EPROTO;
	*out = 0;
	for (size_t i = 0; i < value.len; i++) {
		unsigned digit = (unsigned)((unsigned char)value.p[i] - '0');
		if (digit > 9 || *out > (max - digit) / 10)
			return IMGO_EPROTO;
		*out = *out * 10 + digit;
	}
	return 0;
}

static int take_resume(struct login *login, struct imgo_str object)
{
	struct imgo_str key, value;
	uint64_t epoch = 0, id = 0;
	int r = 0;

	if (!next_char(&object, '{'))
		return IMGO_EPROTO;
	while (r == 0 && next_member(&object, &key, &value)) {
		if (is_key(key, "epoch"))
			r = take_number(value, UINT32_MAX, &epoch);
		else if (is_key(key, "id"))
			r = take_number(value, UINT64_MAX, &id);
	}
	login->auth.has_resume = true;
	login->auth.resume = (struct imgo_id){(uint32_t)epoch, id};
	return r;
}

static int take_member(struct login *login, struct imgo_str key, struct imgo_str value, size_t rooms_max)
{
	static const char *const names[] = {"token", "device", "rooms", "resume"};
	const bool seen[] = {login->auth.token.p, login->auth.device.p, login->auth.rooms, login->auth.has_resume};

	for (size_t i = 0; i < sizeof seen; i++) {
		if (is_key(key, names[i]) && seen[i])
			return IMGO_EPROTO; /* twice: which one would it be? */
	}
	if (is_key(key, "token"))
		return take_string(login, value, IMGO_TOKEN_MAX, &login->auth.token);
	if (is_key(key, "device"))
		return take_string(login, value, IMGO_DEVICE_MAX, &login->auth.device);
	if (is_key(key, "rooms"))
		return take_rooms(login, value, rooms_max);
	if (is_key(key, "resume"))
		return take_resume(login, value);
	return 0;
}

/* 0: it is such an object; IMGO_ENOTFOUND: the body is a bare token; else an error. */
static int read_object(struct login *login, struct imgo_str body, size_t rooms_max)
{
	struct imgo_str rest = body, key, value;
	bool has_token = false;

	if (!imgo__json_valid(body, DEPTH_MAX) || !next_char(&rest, '{'))
		return IMGO_ENOTFOUND;
	for (struct imgo_str s = rest; next_member(&s, &key, &value);)
		has_token = has_token || is_key(key, "token");
	if (!has_token)
		return IMGO_ENOTFOUND;
	if (imgo__buf_reserve(&login->strings, body.len + 1))
		return IMGO_ENOMEM;
	while (next_member(&rest, &key, &value)) {
		int r = take_member(login, key, value, rooms_max);
		if (r)
			return r;
	}
	return 0;
}

/* ---- asking ---- */

static int read_login(struct imgo__conn *c, const struct imgo__packet *packet, struct login *login)
{
	struct imgo_str token = packet->body;
	int r = packet->ver == 2 && !packet->quoted ? read_object(login, packet->body, c->hub->opt.rooms_max)
						    : IMGO_ENOTFOUND;

	if (r != IMGO_ENOTFOUND)
		return r;
	if (token.len >= 2 && *token.p == '"' && token.p[token.len - 1] == '"')
		token = imgo_strn(token.p + 1, token.len - 2);
	login->auth.token = token;
	return token.len > IMGO_TOKEN_MAX ? IMGO_ELIMIT : 0;
}

void imgo__hub_auth(struct imgo__conn *c, const struct imgo__packet *packet)
{
	struct imgo_hub *hub = c->hub;
	struct login login;

	login.auth = (struct imgo_hub_auth){
		.ver = packet->ver == 2 ? 2 : 1, .kind = (enum imgo_hub_kind)c->kind, .peer = imgo_str(c->pre->peer)};
	login.strings = (struct imgo__buf){0};
	int r = read_login(c, packet, &login);
	if (r) {
		imgo__conn_kill(c, r == IMGO_ENOMEM   ? IMGO_CLOSE_TRY_LATER
				   : r == IMGO_ELIMIT ? IMGO_CLOSE_TOO_BIG
						      : IMGO_CLOSE_PROTOCOL);
	} else {
		if (!login.auth.token.p)
			login.auth.token = imgo_str("");
		if (!login.auth.device.p)
			login.auth.device = imgo_str("");
		char peer[sizeof c->pre->peer]; /* `pre` is gone once the host has answered */
		memcpy(peer, c->pre->peer, sizeof peer);
		login.auth.peer = imgo_str(peer);
		c->pre->ver = packet->ver;
		c->pre->seq = packet->seq;
		c->state = IMGO__CONN_AUTHING;
		c->flags |= IMGO__CONN_ASKED;
		hub->ops.on_auth(hub, imgo__conn_handle(c), &login.auth, hub->user);
	}
	imgo__buf_free(&login.strings);
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
	return 0;
}

/* Version 1 is answered as it asked; who asked for 2 and is granted 1 must see that. */
static uint16_t reply_ver(uint16_t asked, uint16_t granted)
{
	return granted == 2 ? 2 : asked == 2 ? 1 : asked;
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
	free(pre);
	c->state = IMGO__CONN_LIVE;
	c->ver = (uint8_t)grant->ver;
	c->data = grant->data;
	if (grant->ver == 2)
		c->dialect = c->kind == IMGO_HUB_WEBSOCKET ? IMGO__DIALECT_JSON2 : IMGO__DIALECT_TCP2;
	imgo__conn_deadline(c, hub->opt.heartbeat_timeout_ms);
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

	if (!c || c->state != IMGO__CONN_AUTHING)
		return IMGO_ESTALE;
	imgo__conn_kill(c, why == IMGO_CLOSE_NONE ? IMGO_CLOSE_DENIED : why);
	return 0;
}
