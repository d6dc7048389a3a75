/* SPDX-License-Identifier: MIT */
#include "base/hash.h"
#include "codec/http.h"
#include "codec/ws.h"

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
