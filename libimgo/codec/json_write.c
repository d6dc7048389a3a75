/* SPDX-License-Identifier: MIT */
/*
 * Writing JSON. What can be copied is copied in runs, not byte by byte, because message bodies go through
 * here (once a message and dialect). Each writer restores the buffer's length when memory runs out.
 */
#include "base/buf.h"
#include "codec/json.h"

#include <imgo/error.h>

/* Length of the run at p of bytes that need no attention inside a JSON string of ours. */
static size_t plain_run(const uint8_t *p, size_t len)
{
	size_t n = 0;

	while (n < len && p[n] >= 0x20 && p[n] < 0x80 && p[n] != '"' && p[n] != '\\')
		n++;
	return n;
}

/* Length of the string at p, its quotes included. The text is valid. */
static size_t string_len(const char *p, size_t len)
{
	size_t n = 1;

	while (n < len && p[n] != '"')
		n += p[n] == '\\' ? 2 : 1;
	return n < len ? n + 1 : len;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

int imgo__json_compact(struct imgo__buf *out, struct imgo_str text)
{
	size_t at = 0;

	/* Never longer than the text: after this nothing can fail. */
	if (imgo__buf_reserve(out, text.len))
		return IMGO_ENOMEM;
	while (at < text.len) {
		size_t run = at;
		while (run < text.len && !is_space(text.p[run]))
			run += text.p[run] == '"' ? string_len(text.p + run, text.len - run) : 1;
		if (run != at && imgo__buf_append(out, text.p + at, run - at))
			return IMGO_ENOMEM;
		while (run < text.len && is_space(text.p[run]))
			run++;
		at = run;
	}
	return 0;
}

static int quote_control(struct imgo__buf *out, uint8_t c)
{
	static const char hex[] = "0123456789abcdef";
	static const char names[] = "\"\"\\\\\bb\ff\nn\rr\tt";
	char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};

	for (size_t i = 0; i < sizeof names - 1; i += 2) {
		if ((uint8_t)names[i] == c) {
			escape[1] = names[i + 1];
			return imgo__buf_append(out, escape, 2);
		}
	}
	return imgo__buf_append(out, escape, 6);
}

/* One sequence of UTF-8 at p, or U+FFFD for the longest start of one. *used: the bytes it stands for, at
 * least one. */
static int quote_multibyte(struct imgo__buf *out, const uint8_t *p, size_t len, size_t *used)
{
	uint32_t state = 0;
	size_t n = 0;

	while (n < len && imgo__utf8_feed(&state, p + n, 1)) {
		n++;
		if (imgo__utf8_complete(state)) {
			*used = n;
			return imgo__buf_append(out, p, n);
		}
	}
	*used = n ? n : 1;
	return imgo__buf_append(out, "\xEF\xBF\xBD", 3);
}

static int quote_body(struct imgo__buf *out, const uint8_t *p, size_t len)
{
	while (len) {
		size_t n = plain_run(p, len);
		int rc = n ? imgo__buf_append(out, p, n) : 0;
		if (!n) {
			n = 1;
			rc = *p >= 0x80 ? quote_multibyte(out, p, len, &n) : quote_control(out, *p);
		}
		if (rc)
			return rc;
		p += n;
		len -= n;
	}
	return 0;
}

int imgo__json_quote(struct imgo__buf *out, struct imgo_str bytes)
{
	size_t start = out->len;

	if (imgo__buf_append(out, "\"", 1) || quote_body(out, (const uint8_t *)bytes.p, bytes.len) ||
		imgo__buf_append(out, "\"", 1)) {
		out->len = start;
		return IMGO_ENOMEM;
	}
	return 0;
}

static uint32_t hex4(const char *p)
{
	uint32_t value = 0;

	for (int i = 0; i < 4; i++)
		value = value << 4 | (uint32_t)(p[i] <= '9' ? p[i] - '0' : (p[i] | 0x20) - 'a' + 10);
	return value;
}

static size_t put_utf8(uint8_t *p, uint32_t c)
{
	if (c < 0x80) {
		p[0] = (uint8_t)c;
		return 1;
	}
	if (c < 0x800) {
		p[0] = (uint8_t)(0xC0 | c >> 6);
		p[1] = (uint8_t)(0x80 | (c & 0x3F));
		return 2;
	}
	if (c < 0x10000) {
		p[0] = (uint8_t)(0xE0 | c >> 12);
		p[1] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
		p[2] = (uint8_t)(0x80 | (c & 0x3F));
		return 3;
	}
	p[0] = (uint8_t)(0xF0 | c >> 18);
	p[1] = (uint8_t)(0x80 | (c >> 12 & 0x3F));
	p[2] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
	p[3] = (uint8_t)(0x80 | (c & 0x3F));
	return 4;
}

/* The escape at p, which starts with a backslash and is valid. Returns the bytes written; *used: the bytes
 * read. */
static size_t unescape(uint8_t *out, const char *p, size_t *used)
{
	static const char names[] = "b\bf\fn\nr\rt\t";
	uint32_t unit;

	*used = 2;
	if (p[1] != 'u') {
		*out = (uint8_t)p[1];
		for (size_t i = 0; i < sizeof names - 1; i += 2) {
			if (names[i] == p[1])
				*out = (uint8_t)names[i + 1];
		}
		return 1;
	}
	*used = 6;
	unit = hex4(p + 2);
	if (unit >= 0xD800 && unit <= 0xDBFF) {
		*used = 12;
		unit = 0x10000 + ((unit & 0x3FF) << 10) + (hex4(p + 8) & 0x3FF);
	}
	return put_utf8(out, unit);
}

int imgo__json_unquote(struct imgo__buf *out, struct imgo_str inside)
{
	uint8_t bytes[4];

	if (imgo__buf_reserve(out, inside.len))
		return IMGO_ENOMEM;
	for (size_t at = 0; at < inside.len;) {
		size_t used = 1, n = 1;
		bytes[0] = (uint8_t)inside.p[at];
		if (bytes[0] == '\\')
			n = unescape(bytes, inside.p + at, &used);
		if (imgo__buf_append(out, bytes, n))
			return IMGO_ENOMEM;
		at += used;
	}
	return 0;
}

int imgo__json_embed(struct imgo__buf *out, struct imgo_str body)
{
	if (body.len == 0)
		return imgo__buf_append(out, "{}", 2);
	if (imgo__json_valid(body, IMGO__JSON_DEPTH_MAX))
		return imgo__json_compact(out, body);
	return imgo__json_quote(out, body);
}
