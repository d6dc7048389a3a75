/* SPDX-License-Identifier: MIT */
/* Parameters of the HTTP API: numbers, ids, and the raw text of a member of a JSON object. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "codec/json.h"
#include "service/http_impl.h"

int imgo__http_arg(struct imgo__http_ask *ask, const char *name, struct imgo_str *out)
{
	return imgo__http_param(&ask->arena, ask->head->query, name, out);
}

int imgo__http_int(struct imgo_str text, int64_t min, int64_t max, int64_t *out)
{
	bool negative = text.len && text.p[0] == '-';
	size_t i = negative;
	uint64_t value = 0;

	if (text.len == i || text.len > 20)
		return IMGO_EINVAL;
	for (; i < text.len; i++) {
		unsigned digit = (unsigned)(text.p[i] - '0');
		if (digit > 9 || value > ((uint64_t)INT64_MAX - digit) / 10)
			return IMGO_EINVAL;
		value = value * 10 + digit;
	}
	*out = negative ? -(int64_t)value : (int64_t)value;
	return *out < min || *out > max ? IMGO_EINVAL : 0;
}

static int decimal(struct imgo__arena *arena, int64_t value, struct imgo_str *out)
{
	char text[24];
	bool ok = true;
	int n = snprintf(text, sizeof text, "%" PRId64, value);

	*out = imgo__arena_str(arena, imgo_strn(text, (size_t)n), &ok);
	return ok ? 0 : IMGO_ENOMEM;
}

int imgo__http_uid(struct imgo__arena *arena, struct imgo_str text, struct imgo_str *out)
{
	int64_t uid;
	int err = imgo__http_int(text, 1, INT64_MAX, &uid);

	return err ? err : decimal(arena, uid, out);
}

int imgo__http_rid(struct imgo__arena *arena, struct imgo_str text, struct imgo_str *out)
{
	int64_t rid;
	int err = imgo__http_int(text, INT32_MIN, INT32_MAX, &rid);

	if (err == 0 && rid == -1)
		err = IMGO_EINVAL;
	return err ? err : decimal(arena, rid, out);
}

static size_t skip_space(struct imgo_str text, size_t at)
{
	while (at < text.len && memchr(" \t\r\n", text.p[at], 4))
		at++;
	return at;
}

/* Takes one value from `at`, white space before it included. The text is valid JSON, so there is one. */
static struct imgo_str take_value(struct imgo_str text, size_t *at)
{
	size_t from = skip_space(text, *at);
	size_t len = imgo__json_scan(imgo_strn(text.p + from, text.len - from), 64);

	*at = from + len;
	return imgo_strn(text.p + from, len);
}

int imgo__http_raw(struct imgo_str text, const char *key, struct imgo_str *out)
{
	size_t at = skip_space(text, 0) + 1, key_len = strlen(key);

	if (at > text.len || text.p[at - 1] != '{')
		return IMGO_ENOTFOUND;
	while ((at = skip_space(text, at)) < text.len && text.p[at] != '}') {
		struct imgo_str name = take_value(text, &at);
		at = skip_space(text, at) + 1; /* the colon */
		struct imgo_str value = take_value(text, &at);
		if (name.len == key_len + 2 && memcmp(name.p + 1, key, key_len) == 0) {
			*out = value;
			return 0;
		}
		at = skip_space(text, at);
		if (at < text.len && text.p[at] == ',')
			at++;
	}
	return IMGO_ENOTFOUND;
}
