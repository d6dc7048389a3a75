/* SPDX-License-Identifier: MIT */
/*
 * A message of the server's: an array of packets, each an object. Only the two outer levels are walked here,
 * with each member's value scanned by itself, so that a pushed body may nest as deep as the codec allows,
 * which it could not if the whole text were one value to it. Strict where it is about structure; a missing
 * number is 0, what is not known is skipped, and of two equal keys the last counts.
 */
#include "service/client_impl.h"

#include <errno.h>
#include <stdlib.h>

#include <imgo/error.h>

#include "codec/json.h"

enum { VER, OP, SEQ, BODY, EPOCH, ID, MEMBERS };

static const char *const names[MEMBERS] = {"ver", "op", "seq", "body", "epoch", "id"};

static void skip_space(struct imgo_str *s)
{
	while (s->len && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t'))
		s->p++, s->len--;
}

static bool eat(struct imgo_str *s, char c)
{
	skip_space(s);
	if (s->len == 0 || *s->p != c)
		return false;
	s->p++, s->len--;
	return true;
}

static bool eat_value(struct imgo_str *s, struct imgo_str *out)
{
	skip_space(s);
	*out = imgo_strn(s->p, imgo__json_scan(*s, IMGO__JSON_DEPTH_MAX));
	s->p += out->len, s->len -= out->len;
	return out->len > 0;
}

static struct imgo_str inside(struct imgo_str quoted)
{
	return imgo_strn(quoted.p + 1, quoted.len - 2);
}

static bool eat_member(struct imgo_str *s, struct imgo_str members[MEMBERS])
{
	struct imgo_str key, value;

	if (!eat_value(s, &key) || *key.p != '"' || !eat(s, ':') || !eat_value(s, &value))
		return false;
	for (int i = 0; i < MEMBERS; i++) {
		if (imgo_str_eq(inside(key), imgo_str(names[i])))
			members[i] = value;
	}
	return true;
}

static bool eat_object(struct imgo_str *s, struct imgo_str members[MEMBERS])
{
	if (!eat(s, '{'))
		return false;
	if (eat(s, '}'))
		return true;
	do {
		if (!eat_member(s, members))
			return false;
	} while (eat(s, ','));
	return eat(s, '}');
}

/* A whole number of at most 20 characters; an absent one is 0. */
static bool number(struct imgo_str s, int64_t min, int64_t max, int64_t *out)
{
	char text[24], *end;

	*out = 0;
	if (s.len == 0)
		return true;
	if (s.len >= sizeof text || (*s.p != '-' && (*s.p < '0' || *s.p > '9')))
		return false;
	memcpy(text, s.p, s.len);
	text[s.len] = 0;
	errno = 0;
	*out = strtoll(text, &end, 10);
	return errno == 0 && *end == 0 && *out >= min && *out <= max;
}

static bool id_of(const struct imgo_str members[MEMBERS], struct imgo_id *out)
{
	struct imgo_str id = members[ID];
	int64_t epoch;
	char text[24], *end;

	if (id.len < 3 || id.len >= sizeof text || *id.p != '"' || id.p[1] < '0' || id.p[1] > '9' ||
		!number(members[EPOCH], 0, UINT32_MAX, &epoch))
		return false;
	id = inside(id);
	memcpy(text, id.p, id.len);
	text[id.len] = 0;
	errno = 0;
	*out = (struct imgo_id){(uint32_t)epoch, strtoull(text, &end, 10)};
	return errno == 0 && *end == 0;
}

static bool packet_of(const struct imgo_str members[MEMBERS], struct imgo__packet *out)
{
	int64_t ver, op, seq;

	*out = (struct imgo__packet){.body = members[BODY]};
	if (members[OP].len == 0 || !number(members[VER], 0, UINT16_MAX, &ver) ||
		!number(members[OP], INT32_MIN, INT32_MAX, &op) || !number(members[SEQ], INT32_MIN, INT32_MAX, &seq))
		return false;
	out->ver = (uint16_t)ver;
	out->op = (int32_t)op;
	out->seq = (int32_t)seq;
	out->quoted = out->body.len > 0 && *out->body.p == '"';
	if (out->quoted)
		out->body = inside(out->body);
	out->has_id = ver >= 2 && members[ID].len > 0;
	return !out->has_id || id_of(members, &out->id);
}

int imgo__client_json_next(struct imgo_str *rest, bool first, struct imgo__packet *out)
{
	struct imgo_str members[MEMBERS] = {{NULL, 0}};

	if (first && !eat(rest, '['))
		return IMGO_EPROTO;
	if (eat(rest, ']')) {
		skip_space(rest);
		return rest->len == 0 ? 0 : IMGO_EPROTO;
	}
	if (!first && !eat(rest, ','))
		return IMGO_EPROTO;
	return eat_object(rest, members) && packet_of(members, out) ? 1 : IMGO_EPROTO;
}
