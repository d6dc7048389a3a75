/* SPDX-License-Identifier: MIT */
#include "base/hash.h"
#include "codec/http.h"
#include "codec/http_head.h"
#include "codec/ws.h"

#include <string.h>
#include <strings.h>

#include <imgo/error.h>

#define KEY_LEN 24

int imgo__ws_accept(struct imgo_str key, char out[29])
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	char text[KEY_LEN + sizeof guid - 1];
	uint8_t digest[20];

	if (key.len != KEY_LEN)
		return IMGO_EINVAL;
	memcpy(text, key.p, KEY_LEN);
	memcpy(text + KEY_LEN, guid, sizeof guid - 1);
	if (imgo__sha1(text, sizeof text, digest))
		return IMGO_ENOMEM;
	imgo__base64(digest, sizeof digest, out);
	return 0;
}

static bool is_base64(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
}

bool imgo__ws_key_valid(struct imgo_str key)
{
	if (key.len != KEY_LEN || memcmp(key.p + 22, "==", 2) != 0)
		return false;
	for (size_t i = 0; i < 22; i++) {
		if (!is_base64(key.p[i]))
			return false;
	}
	return true;
}

static int refuse(int *status, int code)
{
	*status = code;
	return IMGO_EPROTO;
}

int imgo__ws_handshake(const struct imgo__http_request *request, struct imgo_str *key, int *status)
{
	if (!imgo_str_eq(request->method, imgo_str("GET")))
		return refuse(status, 405);
	if (!request->upgrade_websocket || request->http10 || request->content_length)
		return refuse(status, 400);
	if (imgo__http_header_count(request, "Sec-WebSocket-Version") != 1)
		return refuse(status, 400);
	if (!imgo_str_eq(imgo__http_header(request, "Sec-WebSocket-Version"), imgo_str("13")))
		return refuse(status, 426);
	*key = imgo__http_header(request, "Sec-WebSocket-Key");
	if (imgo__http_header_count(request, "Sec-WebSocket-Key") != 1 || !imgo__ws_key_valid(*key))
		return refuse(status, 400);
	return 0;
}

/* ---- origins ---- */

static struct imgo_str trim(struct imgo_str s)
{
	while (s.len && (*s.p == ' ' || *s.p == '\t'))
		s.p++, s.len--;
	while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
		s.len--;
	return s;
}

/* The next one of the list, without blanks around it; it may be empty. False: there is none. */
static bool next_origin(const char **at, struct imgo_str *out)
{
	size_t len;

	if (!*at)
		return false;
	len = strcspn(*at, ",");
	*out = trim(imgo_strn(*at, len));
	*at = (*at)[len] ? *at + len + 1 : NULL;
	return true;
}

static bool ends_with(struct imgo_str s, const char *end)
{
	size_t len = strlen(end);

	return s.len >= len && memcmp(s.p + s.len - len, end, len) == 0;
}

static const char *origin_wrong(struct imgo_str origin)
{
	size_t scheme = 0;

	if (imgo_str_eq(origin, imgo_str("null")))
		return NULL;
	while (scheme < origin.len && origin.p[scheme] != ':')
		scheme++;
	if (scheme == 0 || origin.len < scheme + 4 || memcmp(origin.p + scheme, "://", 3) != 0)
		return "an origin is scheme://host, with a port when it is not the usual one";
	for (size_t i = scheme + 3; i < origin.len; i++) {
		unsigned char c = (unsigned char)origin.p[i];
		if (c <= ' ' || c >= 0x7F || strchr("/?#@*\"\\", c))
			return "an origin has no path, user or wildcard, and no slash at its end";
	}
	if ((imgo__http_is(imgo_strn(origin.p, scheme), "http") && ends_with(origin, ":80")) ||
		(imgo__http_is(imgo_strn(origin.p, scheme), "https") && ends_with(origin, ":443")))
		return "browsers leave out the port when it is the scheme's own (80, 443)";
	return NULL;
}

const char *imgo__ws_origins_wrong(const char *list)
{
	struct imgo_str origin;
	const char *wrong = NULL;

	if (trim(imgo_str(list)).len == 0)
		return NULL;
	while (!wrong && next_origin(&list, &origin))
		wrong = origin.len == 0 ? "an origin is missing" : origin_wrong(origin);
	return wrong;
}

bool imgo__ws_origin_allowed(const char *list, struct imgo_str origin)
{
	struct imgo_str one;

	if (trim(imgo_str(list)).len == 0)
		return true;
	while (next_origin(&list, &one)) {
		if (one.len == origin.len && strncasecmp(one.p, origin.p, one.len) == 0)
			return true;
	}
	return false;
}
