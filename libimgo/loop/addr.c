/* SPDX-License-Identifier: MIT */
/* Addresses as text. An empty host is the IPv6 wildcard, which listens for IPv4 too (see imgo__real_listen).
 */
#include "loop/loop.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

static int parse_port(struct imgo_str text, uint16_t *out)
{
	uint32_t port = 0;

	if (text.len == 0 || text.len > 5)
		return IMGO_EINVAL;
	for (size_t i = 0; i < text.len; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return IMGO_EINVAL;
		port = port * 10 + (uint32_t)(text.p[i] - '0');
	}
	if (port > 65535)
		return IMGO_EINVAL;
	*out = htons((uint16_t)port);
	return 0;
}

static int parse_unix(struct imgo__addr *out, struct imgo_str path)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&out->ss;

	if (path.len == 0 || path.len >= sizeof(un->sun_path) || memchr(path.p, '\0', path.len))
		return IMGO_EINVAL;
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path.p, path.len);
	out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len + 1);
	return 0;
}

static int parse_v4(struct imgo__addr *out, const char *host, uint16_t port)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&out->ss;

	in->sin_family = AF_INET;
	in->sin_port = port;
	out->len = sizeof(*in);
	return inet_pton(AF_INET, host, &in->sin_addr) == 1 ? 0 : IMGO_EINVAL;
}

static int parse_v6(struct imgo__addr *out, const char *host, uint16_t port)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&out->ss;

	in6->sin6_family = AF_INET6;
	in6->sin6_port = port;
	out->len = sizeof(*in6);
	return inet_pton(AF_INET6, host, &in6->sin6_addr) == 1 ? 0 : IMGO_EINVAL;
}

int imgo__addr_parse(struct imgo__addr *out, struct imgo_str text)
{
	char host[INET6_ADDRSTRLEN] = "";
	struct imgo_str h;
	const char *colon;
	uint16_t port;

	*out = (struct imgo__addr){0};
	if (text.len > 5 && memcmp(text.p, "unix:", 5) == 0)
		return parse_unix(out, imgo_strn(text.p + 5, text.len - 5));
	colon = text.len ? memrchr(text.p, ':', text.len) : NULL;
	if (colon == NULL)
		return IMGO_EINVAL;
	h = imgo_strn(text.p, (size_t)(colon - text.p));
	if (parse_port(imgo_strn(colon + 1, text.len - h.len - 1), &port) < 0)
		return IMGO_EINVAL;
	if (h.len == 0)
		return parse_v6(out, "::", port);
	if (imgo_str_eq(h, imgo_str("localhost")))
		return parse_v4(out, "127.0.0.1", port);
	if (h.len >= sizeof(host) + 2 || memchr(h.p, '\0', h.len))
		return IMGO_EINVAL;
	if (h.len > 2 && h.p[0] == '[' && h.p[h.len - 1] == ']') {
		memcpy(host, h.p + 1, h.len - 2 < sizeof(host) ? h.len - 2 : sizeof(host) - 1);
		return parse_v6(out, host, port);
	}
	if (h.len >= sizeof(host))
		return IMGO_EINVAL;
	memcpy(host, h.p, h.len);
	return parse_v4(out, host, port);
}

void imgo__addr_format(const struct imgo__addr *addr, char out[64])
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&addr->ss;
	const struct sockaddr_in *in = (const struct sockaddr_in *)&addr->ss;
	const struct sockaddr_un *un = (const struct sockaddr_un *)&addr->ss;
	char host[INET6_ADDRSTRLEN] = "";

	switch (addr->ss.ss_family) {
	case AF_INET:
		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		snprintf(out, 64, "%s:%u", host, ntohs(in->sin_port));
		return;
	case AF_INET6:
		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		snprintf(out, 64, "[%s]:%u", host, ntohs(in6->sin6_port));
		return;
	case AF_UNIX:
		if (addr->len > offsetof(struct sockaddr_un, sun_path))
			snprintf(out, 64, "unix:%.58s", un->sun_path);
		else
			snprintf(out, 64, "unix:");
		return;
	default:
		snprintf(out, 64, "?");
	}
}

bool imgo__addr_is_loopback(const struct imgo__addr *addr)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&addr->ss;
	const struct sockaddr_in *in = (const struct sockaddr_in *)&addr->ss;

	switch (addr->ss.ss_family) {
	case AF_INET:
		return ntohl(in->sin_addr.s_addr) >> 24 == 127;
	case AF_INET6:
		return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) ||
		       (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) && in6->sin6_addr.s6_addr[12] == 127);
	default:
		return addr->ss.ss_family == AF_UNIX;
	}
}
