/* SPDX-License-Identifier: MIT */
/*
 * Our scanner against jansson: they agree but for depth, and for what jansson cannot represent. Compaction is
 * idempotent; any bytes at all can be quoted and embedded, and what was UTF-8 comes back.
 */
#include "fuzz.h"

#include <jansson.h>

#include "base/buf.h"
#include "codec/json.h"

static struct imgo_str text_of(const struct imgo__buf *buf)
{
	return imgo_strn(buf->data, buf->len);
}

/* What a string means, by both. */
static void compare_strings(struct imgo_str text, const json_t *theirs)
{
	struct imgo__buf compact = {0}, meaning = {0};

	CHECK(imgo__json_compact(&compact, text) == 0 && compact.len >= 2);
	CHECK(imgo__json_unquote(&meaning, imgo_strn(compact.data + 1, compact.len - 2)) == 0);
	CHECK(imgo_str_eq(text_of(&meaning), imgo_strn(json_string_value(theirs), json_string_length(theirs))));
	imgo__buf_free(&compact);
	imgo__buf_free(&meaning);
}

static void compare_with_jansson(struct imgo_str text, bool ours)
{
	json_error_t error;
	json_t *theirs = json_loadb(text.p, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
	enum json_error_code code = theirs ? json_error_unknown : json_error_code(&error);

	/* jansson 2.14 passes over a NUL byte behind a number. */
	if (theirs && !ours && !memchr(text.p, 0, text.len)) {
		size_t deep = 0;
		for (size_t i = 0; i < text.len; i++)
			deep += text.p[i] == '[' || text.p[i] == '{';
		CHECK(deep > IMGO__JSON_DEPTH_MAX);
	}
	if (ours && !theirs)
		CHECK(code == json_error_numeric_overflow || code == json_error_null_byte_in_key);
	if (ours && json_is_string(theirs))
		compare_strings(text, theirs);
	json_decref(theirs);
}

static void check_compact(struct imgo_str text)
{
	struct imgo__buf once = {0}, twice = {0};

	CHECK(imgo__json_compact(&once, text) == 0 && once.len <= text.len);
	CHECK(imgo__json_valid(text_of(&once), IMGO__JSON_DEPTH_MAX) && !memchr(once.data, '\n', once.len));
	CHECK(imgo__json_compact(&twice, text_of(&once)) == 0 && imgo_str_eq(text_of(&once), text_of(&twice)));
	imgo__buf_free(&once);
	imgo__buf_free(&twice);
}

static void check_quote(struct imgo_str bytes)
{
	struct imgo__buf quoted = {0}, back = {0};

	CHECK(imgo__json_quote(&quoted, bytes) == 0 && imgo__json_valid(text_of(&quoted), 0));
	CHECK(imgo__json_unquote(&back, imgo_strn(quoted.data + 1, quoted.len - 2)) == 0);
	CHECK(imgo_str_eq(bytes, text_of(&back)) == imgo__utf8_valid(bytes.p, bytes.len));
	quoted.len = 0;
	CHECK(imgo__json_embed(&quoted, bytes) == 0 && imgo__json_valid(text_of(&quoted), IMGO__JSON_DEPTH_MAX));
	imgo__buf_free(&quoted);
	imgo__buf_free(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = copy_of(data, size);
	struct imgo_str text = imgo_strn(copy, size);
	bool valid = imgo__json_valid(text, IMGO__JSON_DEPTH_MAX);

	compare_with_jansson(text, valid);
	if (valid)
		check_compact(text);
	check_quote(text);
	free(copy);
	return 0;
}
