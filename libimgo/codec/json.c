/* SPDX-License-Identifier: MIT */
/*
 * A recursive-descent scanner of RFC 8259 that says how long a value is and keeps nothing. It recurses once
 * for each array or object, and never deeper than IMGO__JSON_DEPTH_MAX, so its stack is bounded whatever the
 * text says. Every byte is looked at once.
 */
#include "codec/json.h"

struct scan {
	const char *at, *end;
	unsigned depth; /* how much deeper it may go */
};

static bool scan_value(struct scan *s);

static void skip_space(struct scan *s)
{
	while (s->at != s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\r' || *s->at == '\t'))
		s->at++;
}

static bool take(struct scan *s, char c)
{
	if (s->at == s->end || *s->at != c)
		return false;
	s->at++;
	return true;
}

static bool take_word(struct scan *s, const char *word, size_t len)
{
	if ((size_t)(s->end - s->at) < len || memcmp(s->at, word, len) != 0)
		return false;
	s->at += len;
	return true;
}

static bool take_digits(struct scan *s)
{
	const char *start = s->at;

	while (s->at != s->end && *s->at >= '0' && *s->at <= '9')
		s->at++;
	return s->at != start;
}

static bool scan_number(struct scan *s)
{
	take(s, '-');
	if (!take(s, '0') && !take_digits(s))
		return false;
	if (take(s, '.') && !take_digits(s))
		return false;
	if (take(s, 'e') || take(s, 'E')) {
		if (!take(s, '+'))
			take(s, '-');
		return take_digits(s);
	}
	return true;
}

/* Four hexadecimal digits, or -1. */
static int take_hex4(struct scan *s)
{
	int value = 0;

	if (s->end - s->at < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		char c = *s->at++;
		int digit = c >= '0' && c <= '9'                     ? c - '0'
			    : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
								     : -1;
		if (digit < 0)
			return -1;
		value = value << 4 | digit;
	}
	return value;
}

/* What follows a backslash. */
static bool scan_escape(struct scan *s)
{
	int unit;

	if (s->at == s->end)
		return false;
	if (!take(s, 'u')) {
		const char *known = memchr("\"\\/bfnrt", *s->at++, 8);
		return known != NULL;
	}
	unit = take_hex4(s);
	if (unit < 0 || (unit >= 0xDC00 && unit <= 0xDFFF))
		return false;
	if (unit < 0xD800 || unit > 0xDBFF)
		return true;
	if (!take_word(s, "\\u", 2))
		return false;
	unit = take_hex4(s);
	return unit >= 0xDC00 && unit <= 0xDFFF;
}

/* One UTF-8 sequence of two to four bytes. */
static bool scan_multibyte(struct scan *s)
{
	uint32_t state = 0;

	do {
		if (s->at == s->end || !imgo__utf8_feed(&state, s->at++, 1))
			return false;
	} while (!imgo__utf8_complete(state));
	return true;
}

static bool scan_string(struct scan *s)
{
	if (!take(s, '"'))
		return false;
	while (s->at != s->end) {
		unsigned char c = (unsigned char)*s->at;
		if (c >= 0x80) {
			if (!scan_multibyte(s))
				return false;
			continue;
		}
		s->at++;
		if (c == '"')
			return true;
		if (c < 0x20 || (c == '\\' && !scan_escape(s)))
			return false;
	}
	return false;
}

static bool scan_container(struct scan *s, bool object)
{
	const char close = object ? '}' : ']';

	if (s->depth == 0)
		return false;
	s->depth--;
	s->at++;
	skip_space(s);
	if (!take(s, close)) {
		do {
			if (object) {
				skip_space(s);
				if (!scan_string(s))
					return false;
				skip_space(s);
				if (!take(s, ':'))
					return false;
			}
			if (!scan_value(s))
				return false;
			skip_space(s);
		} while (take(s, ','));
		if (!take(s, close))
			return false;
	}
	s->depth++;
	return true;
}

static bool scan_value(struct scan *s)
{
	skip_space(s);
	if (s->at == s->end)
		return false;
	switch (*s->at) {
	case '{':
		return scan_container(s, true);
	case '[':
		return scan_container(s, false);
	case '"':
		return scan_string(s);
	case 't':
		return take_word(s, "true", 4);
	case 'f':
		return take_word(s, "false", 5);
	case 'n':
		return take_word(s, "null", 4);
	default:
		return scan_number(s);
	}
}

size_t imgo__json_scan(struct imgo_str text, unsigned depth_max)
{
	struct scan s = {.at = text.p, .end = text.len ? text.p + text.len : text.p};

	s.depth = depth_max < IMGO__JSON_DEPTH_MAX ? depth_max : IMGO__JSON_DEPTH_MAX;
	return scan_value(&s) ? (size_t)(s.at - text.p) : 0;
}

bool imgo__json_valid(struct imgo_str text, unsigned depth_max)
{
	size_t len = imgo__json_scan(text, depth_max);
	struct scan s;

	if (len == 0)
		return false;
	s = (struct scan){.at = text.p + len, .end = text.p + text.len};
	skip_space(&s);
	return s.at == s.end;
}
