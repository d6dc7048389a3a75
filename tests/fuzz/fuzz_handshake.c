/* SPDX-License-Identifier: MIT */
/* The upgrade to WebSocket: what is taken has what RFC 6455 §4.2.1 demands, and a page of another origin than those of the
 * list never passes. Up to the first NUL: the list of origins; behind it the request. */
#include "fuzz.h"

#include <strings.h>

#include "codec/http.h"
#include "codec/ws.h"

static const struct imgo__http_limits limits = {.target_max = 200, .head_max = 2000, .body_max = 0};

static void check_taken(const struct imgo__http_request *request, struct imgo_str key)
{
	char accept[29];

	CHECK(imgo_str_eq(request->method, imgo_str("GET")) && !request->http10 && request->upgrade_websocket);
	CHECK(request->content_length == 0);
	CHECK(imgo_str_eq(imgo__http_header(request, "Sec-WebSocket-Version"), imgo_str("13")));
	CHECK(imgo__http_header_count(request, "Sec-WebSocket-Key") == 1 && imgo__ws_key_valid(key));
	CHECK(imgo__ws_accept(key, accept) == 0 && strlen(accept) == 28);
}

/* Again, by other means: one item of the list is the origin. */
static bool listed(const char *list, struct imgo_str origin)
{
	char copy[300], *item, *rest = copy;

	snprintf(copy, sizeof copy, "%s", list);
	while ((item = strsep(&rest, ",")) != NULL) {
		item += strspn(item, " \t");
		size_t len = strlen(item);
		while (len > 0 && strchr(" \t", item[len - 1]))
			len--;
		if (len == origin.len && strncasecmp(item, origin.p, len) == 0)
			return true;
	}
	return false;
}

static void check_origin(const char *list, const struct imgo__http_request *request)
{
	struct imgo_str origin = imgo__http_header(request, "Origin");

	if (list[strspn(list, " \t")] && origin.p && /* a blank list allows all */
		strlen(list) < 300 && !imgo__ws_origins_wrong(list))
		CHECK(imgo__ws_origin_allowed(list, origin) == listed(list, origin));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = memchr(data, 0, size);
	struct imgo__http_request request;
	struct imgo_str key = {NULL, 0};
	int status = 0;

	if (!end)
		return 0;
	size_t at = (size_t)(end - data) + 1;
	uint8_t *copy = copy_of(data + at, size - at);
	if (imgo__http_decode(copy, size - at, &limits, &request, &status) > 0) {
		if (imgo__ws_handshake(&request, &key, &status) == 0)
			check_taken(&request, key);
		else
			CHECK(status == 400 || status == 405 || status == 426);
		check_origin((const char *)data, &request);
	}
	free(copy);
	return 0;
}
