/* SPDX-License-Identifier: MIT */
/*
 * The parameters of the push API.
 *
 * JSON bodies are first checked as a whole by the strict scanner, which keeps nothing, and then walked at the
 * one level that matters. No tree is built: a tree of hostile JSON takes a hundred times the memory of its
 * text, and the one large value (`m`) is wanted as the bytes that came, not as a tree. A field that we read
 * and that is there twice is an error, because two parsers could choose differently.
 */
#include "service/http_param.h"

#include <imgo/error.h>

#include "base/buf.h"
#include "codec/http.h"
#include "codec/json.h"

/* ---- numbers and names ---- */

bool imgo__http_natural(struct imgo_str text, struct imgo_str *canonical, uint64_t *value)
{
	uint64_t n = 0;

	while (text.len > 1 && *text.p == '0')
		text = imgo_strn(text.p + 1, text.len - 1);
	if (text.len == 0 || text.len > 19) /* 19 digits fit into 64 bits */
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return false;
		n = n * 10 + (uint64_t)(text.p[i] - '0');
	}
	if (canonical)
		*canonical = text;
	*value = n;
	return n <= INT64_MAX;
}

bool imgo__http_positive(struct imgo_str text, struct imgo_str *canonical, uint64_t *value)
{
	return imgo__http_natural(text, canonical, value) && *value > 0;
}

bool imgo__http_int32(struct imgo_str text, int32_t *value)
{
	bool minus = text.len > 1 && *text.p == '-';
	int64_t n = 0;

	if (text.len == 0)
		return false;
	for (size_t i = minus; i < text.len; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return false;
		n = n * 10 + (text.p[i] - '0');
		if (n > (int64_t)INT32_MAX + 1)
			return false;
	}
	n = minus ? -n : n;
	*value = (int32_t)n;
	return n <= INT32_MAX;
}

bool imgo__http_callback_name(struct imgo_str text)
{
	for (size_t i = 0; i < text.len; i++) {
		char c = text.p[i];
		bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
		if (!letter && !(c >= '0' && c <= '9') && c != '_' && c != '.' && c != '$')
			return false;
	}
	return text.len > 0 && text.len <= 64;
}

/* ---- JSON at one level ---- */

static void skip(struct imgo_str *s, const char *chars)
{
	while (s->len && memchr(chars, *s->p, strlen(chars)))
		*s = imgo_strn(s->p + 1, s->len - 1);
}

/* The value at the start, which moves behind it. */
static bool take(struct imgo_str *s, struct imgo_str *value)
{
	size_t len;

	skip(s, " \t\r\n");
	len = imgo__json_scan(*s, IMGO__HTTP_JSON_DEPTH);
	*value = imgo_strn(s->p, len);
	*s = imgo_strn(len ? s->p + len : s->p, s->len - len);
	return len > 0;
}

bool imgo__http_members(struct imgo__http_members *out, struct imgo_str text, bool object)
{
	skip(&text, " \t\r\n");
	if (text.len == 0 || *text.p != (object ? '{' : '['))
		return false;
	*out = (struct imgo__http_members){imgo_strn(text.p + 1, text.len - 1), object};
	return true;
}

bool imgo__http_member(struct imgo__http_members *members, struct imgo_str *key, struct imgo_str *value)
{
	struct imgo_str *rest = &members->rest;

	skip(rest, " \t\r\n,");
	if (members->object) {
		if (rest->len == 0 || *rest->p != '"' || !take(rest, key))
			return false;
		*key = imgo_strn(key->p + 1, key->len - 2);
		skip(rest, " \t\r\n:");
	}
	return rest->len > 0 && take(rest, value); /* a closing bracket is no value */
}

/* 1, 0, or IMGO_ENOMEM. Keys may be written with escapes. */
static int key_is(struct imgo_str key, const char *name)
{
	struct imgo__buf plain = {0};
	int is;

	if (key.len == 0 || !memchr(key.p, '\\', key.len))
		return imgo_str_eq(key, imgo_str(name));
	if (key.len > 6 * strlen(name))
		return 0;
	is = imgo__json_unquote(&plain, key);
	if (is == 0)
		is = imgo_str_eq(imgo_strn(plain.data, plain.len), imgo_str(name));
	imgo__buf_free(&plain);
	return is;
}

bool imgo__http_field(struct imgo_str object, const char *name, struct imgo_str *out)
{
	struct imgo__http_members members;
	struct imgo_str key, value;
	int is;

	*out = imgo_strn(NULL, 0);
	if (!imgo__http_members(&members, object, true))
		return false;
	while (imgo__http_member(&members, &key, &value)) {
		is = key_is(key, name);
		if (is < 0 || (is && out->p))
			return false;
		if (is)
			*out = value;
	}
	return true;
}

int imgo__http_scalar(struct imgo__arena *arena, struct imgo_str value, struct imgo_str *out)
{
	struct imgo__buf text = {0};
	bool ok = true;
	size_t at;

	if (value.len == 0)
		return IMGO_EINVAL;
	if (*value.p != '"') {
		for (at = *value.p == '-'; at < value.len && value.p[at] >= '0' && value.p[at] <= '9'; at++)
			;
		*out = value;
		return at == value.len ? 0 : IMGO_EINVAL;
	}
	*out = imgo_strn(value.p + 1, value.len - 2);
	if (out->len == 0 || !memchr(out->p, '\\', out->len))
		return 0;
	if (imgo__json_unquote(&text, *out) < 0)
		return IMGO_ENOMEM;
	*out = imgo__arena_str(arena, imgo_strn(text.data, text.len), &ok);
	imgo__buf_free(&text);
	if (!ok)
		return IMGO_ENOMEM;
	return memchr(out->p, 0, out->len) ? IMGO_EINVAL : 0;
}

/* ---- /1/pushs ---- */

/* A whole number, or a string of digits: written without escapes in both cases. */
static bool read_user(struct imgo_str value, struct imgo_str *out)
{
	uint64_t number;

	if (value.len > 2 && *value.p == '"')
		value = imgo_strn(value.p + 1, value.len - 2);
	return imgo__http_positive(value, out, &number);
}

int imgo__http_read_pushs(struct imgo__arena *arena, struct imgo_str body, size_t users_max, struct imgo_str **users,
	size_t *nusers, struct imgo_str *m)
{
	struct imgo__http_members members, counted;
	struct imgo_str u, key, value;
	size_t n = 0;

	if (!imgo__json_valid(body, IMGO__HTTP_JSON_DEPTH) || !imgo__http_field(body, "u", &u) ||
		!imgo__http_field(body, "m", m) || !m->p || !imgo__http_members(&members, u, false))
		return IMGO_EINVAL;
	for (counted = members; imgo__http_member(&counted, &key, &value); n++) {
		if (n == users_max)
			return IMGO_ELIMIT;
	}
	if (n == 0)
		return IMGO_EINVAL;
	*users = imgo__arena_zalloc(arena, n, sizeof **users);
	if (!*users)
		return IMGO_ENOMEM;
	for (size_t i = 0; i < n && imgo__http_member(&members, &key, &value); i++) {
		if (!read_user(value, &(*users)[i]))
			return IMGO_EINVAL;
	}
	*nusers = n;
	return 0;
}

/* ---- lists in a query ---- */

static size_t count_char(struct imgo_str s, char c)
{
	size_t n = 0;

	for (size_t i = 0; i < s.len; i++)
		n += s.p[i] == c;
	return n;
}

int imgo__http_read_list(struct imgo__arena *arena, struct imgo_str query, const char *name, size_t max,
	struct imgo_str **out, size_t *n)
{
	size_t cap = count_char(query, '&') + 1;
	int err;

	cap = cap < max ? cap : max;
	*out = imgo__arena_zalloc(arena, cap, sizeof **out);
	*n = 0;
	if (!*out)
		return IMGO_ENOMEM;
	err = imgo__http_params(arena, query, name, *out, cap, n);
	return err == 0 && *n == 0 ? IMGO_EINVAL : err;
}

/* Takes the numbers of one value, which is not empty. */
static int take_mids(struct imgo_str text, struct imgo_str *out, size_t max, size_t *n)
{
	uint64_t number;

	for (;;) {
		const char *comma = text.len ? memchr(text.p, ',', text.len) : NULL;
		size_t len = comma ? (size_t)(comma - text.p) : text.len;
		if (*n == max)
			return IMGO_ELIMIT;
		if (!imgo__http_positive(imgo_strn(text.p, len), &out[*n], &number))
			return IMGO_EINVAL;
		++*n;
		if (!comma)
			return 0;
		text = imgo_strn(comma + 1, text.len - len - 1);
	}
}

int imgo__http_read_mids(struct imgo__arena *arena, struct imgo_str query, size_t max, struct imgo_str **out, size_t *n)
{
	struct imgo_str *values;
	size_t nvalues, cap;
	int err = imgo__http_read_list(arena, query, "mids", max, &values, &nvalues);

	if (err)
		return err;
	cap = nvalues;
	for (size_t i = 0; i < nvalues; i++)
		cap += count_char(values[i], ',');
	cap = cap < max ? cap : max;
	*n = 0;
	*out = imgo__arena_zalloc(arena, cap, sizeof **out);
	if (!*out)
		return IMGO_ENOMEM;
	for (size_t i = 0; err == 0 && i < nvalues; i++)
		err = take_mids(values[i], *out, cap, n);
	return err;
}

/* ---- rooms ---- */

static int add_room(struct imgo_str room, struct imgo_str *out, size_t max, size_t *n)
{
	if (room.len == 0)
		return 0;
	if (room.len > IMGO_ROOM_MAX)
		return IMGO_EINVAL;
	if (*n == max)
		return IMGO_ELIMIT;
	out[(*n)++] = room;
	return 0;
}

int imgo__http_read_rooms(
	struct imgo__arena *arena, struct imgo_str text, bool json, struct imgo_str *out, size_t max, size_t *n)
{
	struct imgo__http_members members;
	struct imgo_str key, value, room;
	int err = 0;

	if (json && !imgo__http_members(&members, text, false))
		return IMGO_EINVAL;
	while (json && err == 0 && imgo__http_member(&members, &key, &value)) {
		err = imgo__http_scalar(arena, value, &room);
		if (err == 0)
			err = add_room(room, out, max, n);
	}
	while (!json && err == 0 && text.len > 0) {
		const char *comma = memchr(text.p, ',', text.len);
		size_t len = comma ? (size_t)(comma - text.p) : text.len;
		err = add_room(imgo_strn(text.p, len), out, max, n);
		len += comma ? 1 : 0;
		text = imgo_strn(text.p + len, text.len - len);
	}
	return err;
}
