/* SPDX-License-Identifier: MIT */
/*
 * One request, one answer, one connection. The answer is read to the end of the stream ("Connection: close")
 * and counts only when it is as long as its Content-Length says: a connection that breaks half-way must not
 * look like a success.
 */
#include "cli.h"

#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { ANSWER_MAX = 64 << 20, SECONDS = 15, HEAD_MAX = 8192 };

static int dial_one(const struct addrinfo *to, int seconds)
{
	struct timeval deadline = {seconds, 0};
	int fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof deadline);
	if (connect(fd, to->ai_addr, to->ai_addrlen) == 0)
		return fd;
	close(fd);
	return -1;
}

static int dial(const struct cli_http *http)
{
	const char *address = http->address;
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found = NULL;
	const char *colon = strrchr(address, ':');
	char host[256] = "";
	int fd = -1, err;

	if (!colon || (size_t)(colon - address) >= sizeof host) {
		if (!http->quiet)
			cli_fail(0, "not host:port: %s", address);
		return -1;
	}
	memcpy(host, address, (size_t)(colon - address));
	if (host[0] == '[' && colon[-1] == ']') { /* [::1]:7172 */
		memmove(host, host + 1, strlen(host));
		host[strlen(host) - 1] = 0;
	}
	err = getaddrinfo(host, colon + 1, &hints, &found);
	if (err) {
		if (!http->quiet)
			cli_fail(0, "%s: %s", address, gai_strerror(err));
		return -1;
	}
	for (const struct addrinfo *to = found; to && fd < 0; to = to->ai_next)
		fd = dial_one(to, http->seconds ? http->seconds : SECONDS);
	if (fd < 0 && !http->quiet)
		cli_fail(0, "cannot connect to %s: %s", address, strerror(errno));
	freeaddrinfo(found);
	return fd;
}

static bool send_all(int fd, const char *p, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

/* A header of the request, or nothing; false: a line break in it would be a header of its own. */
static bool header(char *head, const char *name, const char *value)
{
	size_t len = strlen(head);

	if (!value)
		return true;
	for (const char *at = value; *at; at++) {
		if (iscntrl((unsigned char)*at))
			return false;
	}
	return (size_t)snprintf(head + len, HEAD_MAX - len, "%s%s\r\n", name, value) < HEAD_MAX - len;
}

static bool make_head(char *head, const struct cli_http *http, const char *method, const char *target, size_t len)
{
	int n = snprintf(
		head, HEAD_MAX, "%s %s HTTP/1.1\r\nConnection: close\r\nContent-Length: %zu\r\n", method, target, len);

	if (n < 0 || n >= HEAD_MAX - 2 || !header(head, "Host: ", http->address) ||
		!header(head, "Authorization: Bearer ", http->api_key) ||
		!header(head, "Idempotency-Key: ", http->idempotency_key) || strlen(head) + 3 > HEAD_MAX)
		return false;
	strcat(head, "\r\n");
	return true;
}

/* All until the end of the stream, with a NUL behind it. NULL: it broke, or is too long. */
static char *read_all(int fd, size_t *len)
{
	size_t cap = 0;
	char *all = NULL;
	ssize_t n = 1;

	for (*len = 0; n > 0; *len += (size_t)n) {
		if (*len == cap) {
			char *more = cap >= ANSWER_MAX ? NULL : realloc(all, (cap ? 2 * cap : 65536) + 1);
			if (!more)
				break;
			all = more;
			cap = cap ? 2 * cap : 65536;
		}
		do
			n = recv(fd, all + *len, cap - *len, 0);
		while (n < 0 && errno == EINTR);
		if (n < 0)
			break;
	}
	if (n != 0) {
		free(all);
		return NULL;
	}
	all[*len] = 0;
	return all;
}

/* The value of Content-Length in a head that ends in a NUL; -1: none. */
static long long content_length(const char *head)
{
	static const char name[] = "\nContent-Length:";

	for (const char *at = head; (at = strchr(at, '\n')) != NULL; at++) {
		if (strncasecmp(at, name, sizeof name - 1) == 0)
			return strtoll(at + sizeof name - 1, NULL, 10);
	}
	return -1;
}

/* Cuts an answer up: its body and status. NULL: it is none, or it broke off. */
static char *body_of(char *answer, size_t len, int *status, size_t *got)
{
	char *body = answer ? strstr(answer, "\r\n\r\n") : NULL;
	long long length;

	*status = 0;
	if (!body || sscanf(answer, "HTTP/1.%*[01] %3d", status) != 1)
		return NULL;
	*body = 0;
	body += 4;
	*got = len - (size_t)(body - answer);
	length = content_length(answer);
	return length >= 0 && (unsigned long long)length != *got ? NULL : body;
}

static int judge(char *answer, size_t len)
{
	size_t got;
	int status;
	char *body = body_of(answer, len, &status, &got);

	if (!body && status == 0)
		return cli_fail(CLI_BROKEN, "no answer that is one; whether it was done is unknown");
	if (!body)
		return cli_fail(CLI_BROKEN, "the answer broke off; whether it was done is unknown");
	fwrite(body, 1, got, stdout);
	if (got > 0 && body[got - 1] != '\n')
		putchar('\n');
	if (fflush(stdout))
		return cli_fail(CLI_BROKEN, "standard output: %s", strerror(errno));
	return status / 100 == 2 ? CLI_OK : cli_fail(CLI_NO, "HTTP status %d", status);
}

int cli_http_call(const struct cli_http *http, const char *method, const char *target, const void *body, size_t len)
{
	char head[HEAD_MAX], *answer = NULL;
	size_t got = 0;
	int fd, code;

	if (!make_head(head, http, method, target, len))
		return cli_fail(CLI_USAGE, "the request is too long, or a key has control characters");
	fd = dial(http);
	if (fd < 0)
		return CLI_BROKEN;
	/* What could not be sent may have been refused: the answer says why. */
	if (send_all(fd, head, strlen(head)))
		(void)send_all(fd, body, len);
	answer = read_all(fd, &got);
	code = judge(answer, got);
	free(answer);
	close(fd);
	return code;
}

char *cli_http_get(const struct cli_http *http, const char *target)
{
	char head[HEAD_MAX], *answer = NULL, *body = NULL;
	size_t len = 0, got = 0;
	int fd = make_head(head, http, "GET", target, 0) ? dial(http) : -1, status = 0;

	if (fd < 0)
		return NULL;
	if (send_all(fd, head, strlen(head)))
		answer = read_all(fd, &len);
	close(fd);
	body = body_of(answer, len, &status, &got);
	if (body && status == 200)
		memmove(answer, body, got + 1);
	else
		body = NULL;
	if (!body)
		free(answer);
	return body ? answer : NULL;
}

bool cli_http_escape(char *text, size_t cap, const char *value)
{
	size_t len = strlen(text);

	for (; *value; value++) {
		if (len + 4 > cap)
			return false;
		if (isalnum((unsigned char)*value) || strchr("-._~", *value))
			text[len++] = *value;
		else
			len += (size_t)snprintf(text + len, 4, "%%%02X", (unsigned char)*value);
	}
	text[len] = 0;
	return true;
}
