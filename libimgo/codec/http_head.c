/* SPDX-License-Identifier: MIT */
#include "codec/http_head.h"

#include <imgo/error.h>

int imgo__http_line(struct imgo__http_lines *lines, struct imgo_str *line)
{
	size_t len = (size_t)(lines->end - lines->at);
	const char *lf = len ? memchr(lines->at, '\n', len) : NULL;

	*line = imgo_strn(lines->at, lf ? (size_t)(lf - lines->at) : len);
	if (!lf)
		return 0;
	lines->at = lf + 1;
	if (line->len == 0 || line->p[line->len - 1] != '\r')
		return -1;
	line->len--;
	return 1;
}

static bool is_token_char(char c)
{
	if ((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z'))
		return true;
	return c && strchr("!#$%&'*+-.^_`|~", c);
}

bool imgo__http_is_token(struct imgo_str s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (!is_token_char(s.p[i]))
			return false;
	}
	return s.len > 0;
}

static struct imgo_str trim(struct imgo_str s)
{
	while (s.len && (*s.p == ' ' || *s.p == '\t')) {
		s.p++;
		s.len--;
	}
	while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
		s.len--;
	return s;
}

static bool is_field_text(struct imgo_str s)
{
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.p[i];
		if ((c < 0x20 && c != '\t') || c == 0x7F)
			return false;
	}
	return true;
}

bool imgo__http_header_line(struct imgo_str line, struct imgo__http_header *out)
{
	const char *colon = line.len ? memchr(line.p, ':', line.len) : NULL;

	if (!colon)
		return false;
	out->name = imgo_strn(line.p, (size_t)(colon - line.p));
	out->value = trim(imgo_strn(colon + 1, line.len - out->name.len - 1));
	return imgo__http_is_token(out->name) && is_field_text(out->value);
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

bool imgo__http_is(struct imgo_str s, const char *word)
{
	size_t i = 0;

	for (; i < s.len && word[i]; i++) {
		if (lower(s.p[i]) != lower(word[i]))
			return false;
	}
	return i == s.len && word[i] == 0;
}

bool imgo__http_has(struct imgo_str list, const char *word)
{
	while (list.len) {
		const char *comma = memchr(list.p, ',', list.len);
		size_t n = comma ? (size_t)(comma - list.p) : list.len;
		if (imgo__http_is(trim(imgo_strn(list.p, n)), word))
			return true;
		n += comma ? 1 : 0;
		list = imgo_strn(list.p + n, list.len - n);
	}
	return false;
}

int imgo__http_number(struct imgo_str s, size_t max, size_t *out)
{
	size_t value = 0;
	bool over = false;

	if (s.len == 0)
		return IMGO_EPROTO;
	for (size_t i = 0; i < s.len; i++) {
		unsigned digit = (unsigned)(unsigned char)s.p[i] - '0';
		if (digit > 9)
			return IMGO_EPROTO;
		over = over || value > max / 10 || (value == max / 10 && digit > max % 10);
		if (!over)
			value = value * 10 + digit;
	}
	*out = value;
	return over ? IMGO_ELIMIT : 0;
}
