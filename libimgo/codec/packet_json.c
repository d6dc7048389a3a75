/* SPDX-License-Identifier: MIT */
/*
 * The JSON form of a packet. The text is first checked whole, then its members are walked, and each known one
 * is noted as a piece of the text; only then is anything interpreted, because what a member means depends on
 * others (an "id" of a version 1 client is not ours) and members come in any order.
 */
#include "codec/packet.h"

#include <inttypes.h>

#include "base/buf.h"
#include "codec/json.h"

#include <imgo/error.h>

#define DEPTH_MAX 16

enum { VER, OP, SEQ, BODY, EPOCH, ID, MEMBERS };

static const char *const names[MEMBERS] = {"ver", "op", "seq", "body", "epoch", "id"};

static void skip_space(struct imgo_str *rest)
{
	while (rest->len && memchr(" \n\r\t", *rest->p, 4)) {
		rest->p++;
		rest->len--;
	}
}

static char take_char(struct imgo_str *rest)
{
	skip_space(rest);
	if (rest->len == 0)
		return 0;
	rest->len--;
	return *rest->p++;
}

/* The next value of a valid text. */
static struct imgo_str take_value(struct imgo_str *rest)
{
	struct imgo_str value;

	skip_space(rest);
	value = imgo_strn(rest->p, imgo__json_scan(*rest, DEPTH_MAX));
	rest->p += value.len;
	rest->len -= value.len;
	return value;
}

static struct imgo_str unquoted(struct imgo_str value)
{
	return imgo_strn(value.p + 1, value.len - 2);
}

static int note_member(struct imgo_str members[MEMBERS], struct imgo_str key, struct imgo_str value)
{
	for (int i = 0; i < MEMBERS; i++) {
		if (!imgo_str_eq(key, imgo_str(names[i])))
			continue;
		if (members[i].p)
			return IMGO_EPROTO;
		members[i] = value;
	}
	return 0;
}

static int walk(struct imgo_str text, struct imgo_str members[MEMBERS])
{
	char next;

	if (!imgo__json_valid(text, DEPTH_MAX) || take_char(&text) != '{')
		return IMGO_EPROTO;
	skip_space(&text);
	if (*text.p == '}')
		return 0;
	do {
		struct imgo_str key = take_value(&text);
		take_char(&text); /* the colon */
		if (note_member(members, unquoted(key), take_value(&text)))
			return IMGO_EPROTO;
		next = take_char(&text);
	} while (next == ',');
	return 0;
}

/* Decimal digits only, at most max. */
static bool parse_digits(struct imgo_str s, uint64_t max, uint64_t *out)
{
	uint64_t value = 0;

	if (s.len == 0)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		unsigned digit = (unsigned)(unsigned char)s.p[i] - '0';
		if (digit > 9 || value > max / 10 || (value == max / 10 && digit > max % 10))
			return false;
		value = value * 10 + digit;
	}
	*out = value;
	return true;
}

/* A JSON integer; an absent one is 0. */
static bool parse_int(struct imgo_str s, int64_t min, uint64_t max, int64_t *out)
{
	bool negative = s.len && *s.p == '-';
	uint64_t value;

	*out = 0;
	if (s.p == NULL)
		return true;
	if (negative)
		s = imgo_strn(s.p + 1, s.len - 1);
	if (!parse_digits(s, negative ? (uint64_t)-min : max, &value))
		return false;
	*out = negative ? -(int64_t)value : (int64_t)value;
	return true;
}

static bool parse_id(struct imgo_str epoch, struct imgo_str id, struct imgo_id *out)
{
	uint64_t value;

	if (epoch.p == NULL || id.p == NULL || *id.p != '"' || !parse_digits(epoch, UINT32_MAX, &value))
		return false;
	out->epoch = (uint32_t)value;
	return parse_digits(unquoted(id), UINT64_MAX, &out->id);
}

int imgo__packet_decode_json(struct imgo_str text, struct imgo__packet *out)
{
	struct imgo_str members[MEMBERS] = {{NULL, 0}};
	int64_t ver, op, seq;

	if (walk(text, members))
		return IMGO_EPROTO;
	if (!parse_int(members[VER], 0, UINT16_MAX, &ver) || !parse_int(members[OP], INT32_MIN, INT32_MAX, &op) ||
		!parse_int(members[SEQ], INT32_MIN, INT32_MAX, &seq))
		return IMGO_EPROTO;
	*out = (struct imgo__packet){.ver = (uint16_t)ver, .op = (int32_t)op, .seq = (int32_t)seq, .body = members[BODY]};
	out->quoted = out->body.len && *out->body.p == '"';
	if (out->quoted)
		out->body = unquoted(out->body);
	if ((members[EPOCH].p || members[ID].p) && (ver >= 2 || op == IMGO__OP_ACK)) {
		out->has_id = true;
		return parse_id(members[EPOCH], members[ID], &out->id) ? 0 : IMGO_EPROTO;
	}
	return 0;
}

static int encode(struct imgo__buf *out, const struct imgo__packet *packet)
{
	int rc = imgo__buf_printf(out, "{\"ver\":%u,\"op\":%" PRId32 ",\"seq\":%" PRId32 ",\"body\":", packet->ver,
		packet->op, packet->seq);

	if (rc)
		return rc;
	if (packet->quoted)
		rc = imgo__buf_append(out, "\"", 1) || imgo__buf_str(out, packet->body) || imgo__buf_append(out, "\"", 1);
	else
		rc = imgo__json_embed(out, packet->body);
	if (rc)
		return rc;
	if (packet->has_id)
		return imgo__buf_printf(
			out, ",\"epoch\":%" PRIu32 ",\"id\":\"%" PRIu64 "\"}", packet->id.epoch, packet->id.id);
	return imgo__buf_append(out, "}", 1);
}

int imgo__packet_encode_json(struct imgo__buf *out, const struct imgo__packet *packet)
{
	size_t start = out->len;

	if (encode(out, packet)) {
		out->len = start;
		return IMGO_ENOMEM;
	}
	return 0;
}
