/* SPDX-License-Identifier: MIT */
/*
 * The object is first checked whole (imgo__json_valid), then walked twice: once to see which members it has, since what it
 * is depends on that, and once to take them. Strings are unquoted into one buffer that is as long as the body, so it never
 * moves.
 */
#include "codec/login.h"

#include <stdlib.h>

#include "codec/json.h"

#include <imgo/error.h>

enum { DEPTH_MAX = 8 };

enum member { TOKEN, DEVICE, ROOMS, RESUME, MID, KEY, ROOM_ID, ACCEPTS, MEMBERS }; /* from MID on: goim's */

static const char *const names[MEMBERS] = {"token", "device", "rooms", "resume", "mid", "key", "room_id", "accepts"};

/* ---- a walk over members of a text that is known to be valid JSON ---- */

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

static bool is_null(struct imgo_str value)
{
	return imgo_str_eq(value, imgo_str("null"));
}

/* ---- values ---- */

/* A JSON string's value, of at most max bytes. */
static int take_string(struct imgo__login *login, struct imgo_str value, size_t max, struct imgo_str *out)
{
	size_t at = login->strings.len;

	if (value.len < 2 || *value.p != '"')
		return IMGO_EPROTO;
	if (imgo__json_unquote(&login->strings, imgo_strn(value.p + 1, value.len - 2)))
		return IMGO_ENOMEM;
	*out = imgo_strn(login->strings.data + at, login->strings.len - at);
	return out->len > max ? IMGO_EPROTO : 0;
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

static int add_room(struct imgo__login *login, struct imgo_str value, size_t max)
{
	if (login->nrooms == max || login->nrooms == IMGO__LOGIN_ROOMS_MAX)
		return IMGO_ELIMIT;
	struct imgo_str *room = &login->room_list[login->nrooms];
	int r = take_string(login, value, IMGO_ROOM_MAX, room);
	login->nrooms += r == 0 && room->len > 0;
	return r;
}

static int take_rooms(struct imgo__login *login, struct imgo_str list, size_t max)
{
	int r = 0;

	if (!next_char(&list, '['))
		return IMGO_EPROTO;
	for (skip_space(&list); r == 0 && list.len > 0 && *list.p != ']'; skip_space(&list)) {
		size_t before = login->nrooms;
		r = add_room(login, next_value(&list), max);
		if (r == 0 && login->nrooms == before)
			r = IMGO_EPROTO; /* one without a name */
		next_char(&list, ',');
	}
	return r;
}

static int take_resume(struct imgo__login *login, struct imgo_str object)
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
	login->has_resume = true;
	login->resume = (struct imgo_id){(uint32_t)epoch, id};
	return r;
}

/* ---- operations ---- */

static int compare_ops(const void *a, const void *b)
{
	int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;

	return x < y ? -1 : x > y;
}

static size_t sort_ops(int32_t *ops, size_t n)
{
	size_t kept = 0;

	if (n == 0)
		return 0;
	qsort(ops, n, sizeof *ops, compare_ops);
	for (size_t i = 1; i < n; i++) {
		if (ops[i] != ops[kept])
			ops[++kept] = ops[i];
	}
	return kept + 1;
}

/* A whole number of 32 bits, with a sign or without. */
static int read_op(struct imgo_str text, int32_t *out)
{
	bool negative = text.len > 0 && *text.p == '-';
	uint64_t value = 0;

	if (negative)
		text = imgo_strn(text.p + 1, text.len - 1);
	if (text.len == 0 || *text.p == '"' || take_number(text, negative ? (uint64_t)INT32_MAX + 1 : INT32_MAX, &value))
		return IMGO_EPROTO;
	*out = (int32_t)(negative ? -(int64_t)value : (int64_t)value);
	return 0;
}

static struct imgo_str trim(struct imgo_str s)
{
	skip_space(&s);
	while (s.len > 0 && strchr(" \t\r\n", s.p[s.len - 1]) && s.p[s.len - 1])
		s.len--;
	return s;
}

int imgo__ops_read(struct imgo_str text, int32_t *ops, size_t max)
{
	size_t n = 0;

	text = trim(text);
	if (text.len == 0)
		return 0;
	for (;;) {
		const char *comma = memchr(text.p, ',', text.len);
		size_t len = comma ? (size_t)(comma - text.p) : text.len;
		int32_t op;
		if (read_op(trim(imgo_strn(text.p, len)), &op))
			return IMGO_EPROTO;
		if (n == max)
			return IMGO_ELIMIT;
		ops[n++] = op;
		if (!comma)
			return (int)sort_ops(ops, n);
		text = imgo_strn(comma + 1, text.len - len - 1);
	}
}

static int take_accepts(struct imgo__login *login, struct imgo_str list)
{
	if (list.len < 2 || *list.p != '[')
		return IMGO_EPROTO;
	int n = imgo__ops_read(imgo_strn(list.p + 1, list.len - 2), login->accept_list, IMGO_ACCEPTS_MAX);
	if (n < 0)
		return n;
	login->accepts = login->accept_list;
	login->naccepts = (size_t)n;
	return 0;
}

/* ---- the whole ---- */

static int take_member(struct imgo__login *login, enum member member, struct imgo_str value, size_t rooms_max)
{
	/* goim reads null as a member that is not there; encoders make it of no text and no list. */
	if (member >= MID && is_null(value))
		return 0;
	switch (member) {
	case TOKEN:
		login->has_token = true;
		return take_string(login, value, IMGO_TOKEN_MAX, &login->token);
	case DEVICE:
		return take_string(login, value, IMGO_DEVICE_MAX, &login->device);
	case ROOMS:
		return take_rooms(login, value, rooms_max);
	case RESUME:
		return take_resume(login, value);
	case MID:
		return take_number(value, INT64_MAX, &login->mid);
	case KEY:
		return take_string(login, value, IMGO_KEY_MAX, &login->key);
	case ROOM_ID:
		return add_room(login, value, rooms_max);
	default:
		return take_accepts(login, value);
	}
}

static enum member which(struct imgo_str key)
{
	unsigned i = 0;

	while (i < MEMBERS && !is_key(key, names[i]))
		i++;
	return (enum member)i;
}

/* Counts the members by name. False: the text is no JSON object. */
static bool survey(struct imgo_str body, unsigned seen[MEMBERS + 1])
{
	struct imgo_str key, value;

	if (!imgo__json_valid(body, DEPTH_MAX) || !next_char(&body, '{'))
		return false;
	while (next_member(&body, &key, &value))
		seen[which(key)]++;
	return true;
}

/* The first `known` members count, others are ignored. */
static int take_object(struct imgo__login *login, struct imgo_str body, unsigned known, size_t rooms_max)
{
	struct imgo_str key, value;
	int r = 0;

	if (imgo__buf_reserve(&login->strings, body.len + 1))
		return IMGO_ENOMEM;
	next_char(&body, '{');
	while (r == 0 && next_member(&body, &key, &value)) {
		enum member member = which(key);
		if (member < known)
			r = take_member(login, member, value, rooms_max);
	}
	login->rooms = login->room_list;
	return r;
}

int imgo__login_read(struct imgo__login *out, struct imgo_str body, uint16_t ver, bool goim, size_t rooms_max)
{
	unsigned seen[MEMBERS + 1] = {0};
	struct imgo_str token = body;
	int r = 0;

	memset(out, 0, offsetof(struct imgo__login, room_list));
	out->token = out->device = out->key = imgo_str("");
	if (token.len >= 2 && *token.p == '"' && token.p[token.len - 1] == '"')
		token = imgo_strn(token.p + 1, token.len - 2);
	if (survey(body, seen)) {
		out->is_goim = goim || seen[MID] || seen[ACCEPTS];
		unsigned known = out->is_goim ? MEMBERS : ver == 2 && seen[TOKEN] ? MID : 0;
		for (unsigned i = 0; i < known; i++) {
			if (seen[i] > 1)
				return IMGO_EPROTO; /* which one would it be? */
		}
		if (known)
			r = take_object(out, body, known, rooms_max);
	}
	if (!out->has_token && !(out->is_goim && token.len > IMGO_TOKEN_MAX))
		out->token = imgo_strn(token.len ? token.p : "", token.len);
	return r == 0 && out->token.len > IMGO_TOKEN_MAX ? IMGO_ELIMIT : r;
}

void imgo__login_free(struct imgo__login *login)
{
	imgo__buf_free(&login->strings);
}
