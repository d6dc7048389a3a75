/* SPDX-License-Identifier: MIT */
/*
 * Files beside the API, for browsers on this machine; and which requests of browsers are answered at all.
 *
 * A page of any site can make its visitor's browser POST to an address of the visitor's own machine, where the API needs
 * no key; the browser marks that with the page's Origin (the Fetch standard, "Origin" header). A site whose name is made to
 * point at this machine meanwhile (DNS rebinding) has its own name there all the same. So what counts is that the origin is
 * a loopback address, not that it equals Host. Programs send no Origin.
 */
#include <string.h>

#include "service/http_impl.h"

static const char headers[] =
	"Cache-Control: no-cache\r\n"
	"Content-Security-Policy: default-src 'self'; connect-src 'self' ws: wss:; frame-ancestors 'none'\r\n"
	"X-Content-Type-Options: nosniff\r\n";

const struct imgo_http_asset *imgo__http_find_asset(const struct imgo_http *http, struct imgo_str path)
{
	for (size_t i = 0; i < http->nassets; i++) {
		if (imgo_str_eq(path, imgo_str(http->assets[i].path)))
			return &http->assets[i];
	}
	return NULL;
}

void imgo__http_asset(struct imgo__http_call *call)
{
	const struct imgo_http_asset *asset = imgo__http_find_asset(call->http, call->head->path);

	imgo__http_answer(call->request, &(struct imgo__httpd_answer){.status = 200,
						 .content_type = asset->content_type,
						 .headers = headers,
						 .body = imgo_strn(asset->data, asset->len)});
}

static struct imgo_str without_prefix(struct imgo_str text, const char *prefix)
{
	size_t len = strlen(prefix);

	return text.len >= len && memcmp(text.p, prefix, len) == 0 ? imgo_strn(text.p + len, text.len - len) : text;
}

bool imgo__http_same_machine(const struct imgo__http_request *head)
{
	struct imgo_str origin = imgo__http_header(head, "Origin");
	struct imgo__addr addr;
	char text[80];

	if (!origin.p)
		return true;
	origin = without_prefix(without_prefix(origin, "https://"), "http://");
	if (imgo_str_eq(origin, imgo_str("localhost")) || without_prefix(origin, "localhost:").p != origin.p)
		return true;
	/* "127.0.0.1" or "127.0.0.1:7172": imgo__addr_parse takes what has a port. */
	if (origin.len + sizeof ":80" > sizeof text)
		return false;
	memcpy(text, origin.p, origin.len);
	text[origin.len] = '\0';
	if (imgo__addr_parse(&addr, imgo_str(text)) < 0)
		strcpy(text + origin.len, ":80");
	return imgo__addr_parse(&addr, imgo_str(text)) == 0 && imgo__addr_is_loopback(&addr);
}
