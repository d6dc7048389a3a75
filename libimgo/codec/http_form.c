/* SPDX-License-Identifier: MIT */
/* application/x-www-form-urlencoded: query strings and form bodies. */
#include "base/mem.h"
#include "codec/http.h"

#include <imgo/error.h>

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes one character from the start of *s, which is not empty; -1: a broken escape. */
static int take_char(struct imgo_str *s)
{
	int c = (unsigned char)*s->p, used = 1;

	if (c == '+') {
		c = ' ';
	} else if (c == '%') {
		int high = s->len > 2 ? hex(s->p[1]) : -1;
		int low = s->len > 2 ? hex(s->p[2]) : -1;
		c = high < 0 || low < 0 ? -1 : high << 4 | low;
		used = 3;
	}
	if (c >= 0)
		*s = imgo_strn(s->p + used, s->len - (size_t)used);
	return c;
}

static bool name_is(struct imgo_str encoded, const char *name)
{
	for (; encoded.len && *name; name++) {
		if (take_char(&encoded) != (unsigned char)*name)
			return false;
	}
	return encoded.len == 0 && *name == 0;
}

static int decode(struct imgo__arena *arena, struct imgo_str encoded, struct imgo_str *out)
{
	char *text = imgo__arena_alloc(arena, encoded.len + 1);
	size_t n = 0;

	if (!text)
		return IMGO_ENOMEM;
	while (encoded.len) {
		int c = take_char(&encoded);
		if (c <= 0)
			return IMGO_EINVAL;
		text[n++] = (char)c;
	}
	text[n] = 0;
	*out = imgo_strn(text, n);
	return 0;
}

/* The value, still encoded, of the next pair of that name; false: no more. *form goes on behind it. */
static bool next_value(struct imgo_str *form, const char *name, struct imgo_str *value)
{
	while (form->len) {
		const char *amp = memchr(form->p, '&', form->len);
		size_t n = amp ? (size_t)(amp - form->p) : form->len;
		const char *eq = n ? memchr(form->p, '=', n) : NULL;
		struct imgo_str key = imgo_strn(form->p, eq ? (size_t)(eq - form->p) : n);

		*value = eq ? imgo_strn(eq + 1, n - key.len - 1) : imgo_strn(form->p + n, 0);
		n += amp ? 1 : 0;
		*form = imgo_strn(form->p + n, form->len - n);
		if (name_is(key, name))
			return true;
	}
	return false;
}

int imgo__http_param(struct imgo__arena *arena, struct imgo_str form, const char *name, struct imgo_str *out)
{
	struct imgo_str value;

	if (!next_value(&form, name, &value))
		return IMGO_ENOTFOUND;
	return decode(arena, value, out);
}

int imgo__http_params(
	struct imgo__arena *arena, struct imgo_str form, const char *name, struct imgo_str *out, size_t max, size_t *n)
{
	struct imgo_str value;

	*n = 0;
	while (next_value(&form, name, &value)) {
		int rc = *n < max ? decode(arena, value, &out[*n]) : IMGO_ELIMIT;
		if (rc)
			return rc;
		++*n;
	}
	return 0;
}
