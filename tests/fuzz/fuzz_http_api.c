/* SPDX-License-Identifier: MIT */
/* The parameters of the push API, against jansson: what we take, it takes in the same sense. */
#include "fuzz.h"

#include <jansson.h>

#include "codec/json.h"
#include "service/http_param.h"

enum { USERS_MAX = 50, ROOMS_MAX = 16 };

static bool digits(struct imgo_str s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
	}
	return s.len > 0;
}

static void check_user(struct imgo_str user, const json_t *item)
{
	uint64_t number;
	char text[32];

	CHECK(digits(user) && *user.p != '0' && imgo__http_positive(user, NULL, &number) && number <= INT64_MAX);
	snprintf(text, sizeof text, "%llu", (unsigned long long)number);
	CHECK(imgo_str_eq(user, imgo_str(text)));
	if (json_is_integer(item))
		CHECK((uint64_t)json_integer_value(item) == number);
	else if (item)
		CHECK(strtoull(json_string_value(item), NULL, 10) == number);
}

static void check_pushs(struct imgo__arena *arena, struct imgo_str body)
{
	struct imgo_str *users, m;
	size_t n;
	json_t *root, *u;
	int err = imgo__http_read_pushs(arena, body, USERS_MAX, &users, &n, &m);

	CHECK(err == 0 || err == IMGO_EINVAL || err == IMGO_ELIMIT);
	if (err)
		return;
	CHECK(n > 0 && n <= USERS_MAX);
	CHECK(m.p >= body.p && m.p + m.len <= body.p + body.len && imgo__json_scan(m, 16) == m.len);
	/* It refuses nested doubles and numbers that no double holds; we pass them on as they are. */
	root = json_loadb(body.p, body.len, JSON_ALLOW_NUL, NULL);
	u = json_object_get(root, "u");
	CHECK(!root || (json_array_size(u) == n && json_object_get(root, "m")));
	for (size_t i = 0; i < n; i++)
		check_user(users[i], json_array_get(u, i));
	json_decref(root);
}

static void check_rooms(struct imgo__arena *arena, struct imgo_str text, bool json)
{
	struct imgo_str rooms[ROOMS_MAX];
	size_t n = 0;
	int err = imgo__http_read_rooms(arena, text, json, rooms, ROOMS_MAX, &n);

	CHECK(n <= ROOMS_MAX && (err == 0 || err == IMGO_EINVAL || err == IMGO_ELIMIT));
	for (size_t i = 0; i < n; i++)
		CHECK(rooms[i].len > 0 && rooms[i].len <= IMGO_ROOM_MAX);
}

/* goim's lists, of a query. */
static void check_lists(struct imgo__arena *arena, struct imgo_str query)
{
	struct imgo_str *out = NULL;
	size_t n = 0, values = 0;
	int err = imgo__http_read_mids(arena, query, USERS_MAX, &out, &n);

	CHECK(err == 0 || err == IMGO_EINVAL || err == IMGO_ELIMIT);
	if (err == 0)
		CHECK(n > 0 && n <= USERS_MAX);
	for (size_t i = 0; err == 0 && i < n; i++)
		check_user(out[i], NULL);
	if (imgo__http_read_list(arena, query, "mids", USERS_MAX, &out, &values) == 0) {
		CHECK(values > 0 && values <= USERS_MAX && (err || values <= n));
		for (size_t i = 0; i < values; i++)
			CHECK(values && out[i].len <= query.len && (out[i].len == 0 || !memchr(out[i].p, 0, out[i].len)));
	} else {
		CHECK(err != 0);
	}
}

static void check_fields(struct imgo__arena *arena, struct imgo_str body)
{
	static const char *const names[] = {"uid", "token", "rooms"};
	struct imgo_str value, text;

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (!imgo__http_field(body, names[i], &value) || !value.p)
			continue;
		CHECK(imgo__json_scan(value, 16) == value.len);
		if (imgo__http_scalar(arena, value, &text) == 0)
			CHECK(text.len <= value.len && (text.len == 0 || !memchr(text.p, 0, text.len)));
		check_rooms(arena, value, true);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct imgo_str text = imgo_strn(data, size), canonical;
	struct imgo__arena arena = {0};
	uint64_t number;
	int32_t small;
	char copy[16];

	check_pushs(&arena, text);
	check_rooms(&arena, text, false);
	check_lists(&arena, text);
	if (imgo__json_valid(text, IMGO__HTTP_JSON_DEPTH))
		check_fields(&arena, text);
	if (imgo__http_natural(text, &canonical, &number))
		CHECK(digits(canonical) && (number > 0) == imgo__http_positive(text, NULL, &number));
	if (imgo__http_int32(text, &small) && size < sizeof copy) {
		snprintf(copy, sizeof copy, "%.*s", (int)size, (const char *)data);
		CHECK(strtol(copy, NULL, 10) == small);
	}
	if (imgo__http_callback_name(text))
		CHECK(size <= 64 && !memchr(data, '(', size) && !memchr(data, '<', size));
	imgo__arena_free(&arena);
	return 0;
}
