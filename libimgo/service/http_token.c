/* SPDX-License-Identifier: MIT */
/*
 * POST /1/admin/token/new. The original reads a form or the query, its documentation says JSON, and curl
 * sends JSON as a form: so what the body is, its first byte says. A parameter in the body goes before one in
 * the query.
 */
#include "service/http_impl.h"

#include <stdio.h>

#include "codec/json.h"
#include "service/http_param.h"

enum { EXPIRE_MAX_S = INT32_MAX }; /* 68 years: "for ever" must not overflow milliseconds */

struct params {
	struct imgo__http_call *call;
	struct imgo_str body;
	bool json;
};

/* False: a body in JSON that is none. */
static bool params_init(struct params *params, struct imgo__http_call *call)
{
	struct imgo_str body = call->body;

	while (body.len && strchr(" \t\r\n", *body.p) && *body.p)
		body = imgo_strn(body.p + 1, body.len - 1);
	*params = (struct params){call, body, body.len && *body.p == '{'};
	return !params->json || imgo__json_valid(body, IMGO__HTTP_JSON_DEPTH);
}

/* 0, IMGO_ENOTFOUND, IMGO_EINVAL, IMGO_ENOMEM. raw (may be NULL): a JSON array is fine, it comes as it is. */
static int param(struct params *params, const char *name, struct imgo_str *out, bool *raw)
{
	struct imgo_str value;
	int err;

	if (params->json) {
		if (!imgo__http_field(params->body, name, &value))
			return IMGO_EINVAL;
		if (value.p && raw && *value.p == '[') {
			*raw = true;
			*out = value;
			return 0;
		}
		if (value.p)
			return imgo__http_scalar(&params->call->arena, value, out);
	} else {
		err = imgo__http_param(&params->call->arena, params->body, name, out);
		if (err != IMGO_ENOTFOUND)
			return err;
	}
	return imgo__http_query(params->call, name, out);
}

/* rooms, and rid: a number, of which -1 means none (as the original's routers count). */
static int read_rooms(struct params *params, struct imgo_str *rooms, size_t *n)
{
	struct imgo_str text;
	bool raw = false, ok = true;
	char digits[16];
	int32_t rid;
	int err = param(params, "rooms", &text, &raw);

	if (err == 0)
		err = imgo__http_read_rooms(&params->call->arena, text, raw, rooms, IMGO_STORE_TOKEN_ROOMS_MAX, n);
	if (err && err != IMGO_ENOTFOUND)
		return err;
	err = param(params, "rid", &text, NULL);
	if (err == IMGO_ENOTFOUND)
		return 0;
	if (err || !imgo__http_int32(text, &rid))
		return err ? err : IMGO_EINVAL;
	if (rid == -1)
		return 0;
	if (*n == IMGO_STORE_TOKEN_ROOMS_MAX)
		return IMGO_ELIMIT;
	snprintf(digits, sizeof digits, "%d", rid);
	rooms[(*n)++] = imgo__arena_str(&params->call->arena, imgo_str(digits), &ok);
	return ok ? 0 : IMGO_ENOMEM;
}

static void on_token(int err, void *user)
{
	imgo__http_done(user, err);
}

static const char *create(struct params *params)
{
	struct imgo_http *http = params->call->http;
	struct imgo_str text, who, token, device = {NULL, 0}, rooms[IMGO_STORE_TOKEN_ROOMS_MAX];
	uint64_t uid, expire;
	size_t nrooms = 0;
	int err;

	if (param(params, "uid", &text, NULL) || !imgo__http_positive(text, &who, &uid))
		return "uid must be a positive number";
	if (param(params, "expire", &text, NULL) || !imgo__http_positive(text, NULL, &expire))
		return "expire must be a positive number of seconds";
	if (param(params, "token", &token, NULL) || token.len == 0 || token.len > IMGO_TOKEN_MAX)
		return "token must be 1 to 1024 bytes";
	err = param(params, "device", &device, NULL);
	if ((err && err != IMGO_ENOTFOUND) || device.len > IMGO_DEVICE_MAX)
		return "device must be at most 64 bytes";
	if (read_rooms(params, rooms, &nrooms))
		return "rid must be a 32-bit number, rooms at most 16 of 128 bytes";
	expire = expire < EXPIRE_MAX_S ? expire : EXPIRE_MAX_S;
	err = imgo_push_token(http->push, token, who, device, imgo_loop_wall_ms(http->loop) + expire * 1000, rooms,
		nrooms, on_token, params->call->request);
	if (err < 0)
		imgo__http_done(params->call->request, err);
	return NULL;
}

void imgo__http_token_new(struct imgo__http_call *call)
{
	struct params params;
	const char *wrong = "the body is not valid JSON";

	if (params_init(&params, call))
		wrong = create(&params);
	if (wrong)
		imgo__http_bad(call->request, wrong);
}
