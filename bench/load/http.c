/* SPDX-License-Identifier: MIT */
#include "load.h"

#include <netinet/tcp.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

int http_connect(const struct sockaddr_in *to)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0)
		return -1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (connect(fd, (const struct sockaddr *)to, sizeof *to)) {
		close(fd);
		return -1;
	}
	return fd;
}

static const char *find(const char *data, size_t len, const char *what)
{
	size_t n = strlen(what);

	for (size_t i = 0; i + n <= len; i++) {
		if (strncasecmp(data + i, what, n) == 0)
			return data + i + n;
	}
	return NULL;
}

int http_answer(const char *data, size_t len, struct http_answer *out)
{
	const char *body = memmem(data, len, "\r\n\r\n", 4);

	if (len >= 12 && memcmp(data, "HTTP/1.1 ", 9) != 0)
		return -1;
	if (!body)
		return len > 8192 ? -1 : 0;
	body += 4;
	const char *length = find(data, (size_t)(body - data), "\r\ncontent-length:");
	size_t n = length ? strtoul(length, NULL, 10) : 0;
	if ((size_t)(body - data) + n > len)
		return 0;
	out->len = (size_t)(body - data) + n;
	out->status = atoi(data + 9);
	out->accepted = out->status == 200 && memmem(body, n, "\"ret\":1", 7) != NULL;
	return 1;
}
