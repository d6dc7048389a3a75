/* SPDX-License-Identifier: MIT */
#include "cli_http.h"

#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { ANSWER_MAX = 16 << 20, SECONDS = 15 };

static int dial(const char *address)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found = NULL;
	struct timeval deadline = {SECONDS, 0};
	const char *colon = strrchr(address, ':');
	char host[128];
	int fd = -1;

	if (!colon || (size_t)(colon - address) >= sizeof host) {
		fprintf(stderr, "imgo-cli: not an address: %s\n", address);
		return -1;
	}
	memcpy(host, address, (size_t)(colon - address));
	host[colon - address] = '\0';
	if (getaddrinfo(host, colon + 1, &hints, &found) == 0) {
		fd = socket(found->ai_family, found->ai_socktype, 0);
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof deadline);
		if (fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) < 0) {
			close(fd);
			fd = -1;
		}
		freeaddrinfo(found);
	}
	if (fd < 0)
		fprintf(stderr, "imgo-cli: cannot connect to %s: %s\n", address, strerror(errno));
	return fd;
}

static int send_all(int fd, const char *p, size_t len)
{
	while (len) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
		if (n <= 0)
			return -1;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int send_request(int fd, const struct cli_http *http, const char *method, const char *target, const void *body,
	size_t len)
{
	char head[8192];
	int n = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Length: %zu\r\n%s%s%s%s%s%s\r\n",
		method, target, http->address, len, http->api_key ? "Authorization: Bearer " : "",
		http->api_key ? http->api_key : "", http->api_key ? "\r\n" : "", http->idempotency_key ? "Idempotency-Key: " : "",
		http->idempotency_key ? http->idempotency_key : "", http->idempotency_key ? "\r\n" : "");

	if (n < 0 || (size_t)n >= sizeof head)
		return -1;
	return send_all(fd, head, (size_t)n) < 0 ? -1 : send_all(fd, body, len);
}

/* Reads to the end of the stream. NULL: nothing, or too much. */
static char *read_answer(int fd, size_t *len)
{
	char *answer = malloc(ANSWER_MAX + 1);
	ssize_t n;

	*len = 0;
	while (answer && *len < ANSWER_MAX && (n = recv(fd, answer + *len, ANSWER_MAX - *len, 0)) > 0)
		*len += (size_t)n;
	if (answer)
		answer[*len] = '\0';
	return answer;
}

static int print_answer(const char *answer)
{
	const char *body = answer ? strstr(answer, "\r\n\r\n") : NULL;
	int status = 0;

	if (!body || sscanf(answer, "HTTP/1.1 %d", &status) != 1) {
		fprintf(stderr, "imgo-cli: no answer\n");
		return 2;
	}
	printf("%s\n", body + 4);
	if (status / 100 == 2)
		return 0;
	fprintf(stderr, "imgo-cli: HTTP status %d\n", status);
	return 1;
}

int cli_http_call(const struct cli_http *http, const char *method, const char *target, const void *body, size_t len)
{
	int fd = dial(http->address), code = 2;
	char *answer;
	size_t got;

	if (fd < 0)
		return 2;
	if (send_request(fd, http, method, target, body, len) < 0) {
		fprintf(stderr, "imgo-cli: the connection broke\n");
	} else {
		answer = read_answer(fd, &got);
		code = print_answer(answer);
		free(answer);
	}
	close(fd);
	return code;
}

int cli_http_escape(char *text, size_t cap, const char *value)
{
	size_t len = strlen(text);

	for (; *value; value++) {
		if (len + 4 > cap)
			return -1;
		if (isalnum((unsigned char)*value) || strchr("-._~", *value))
			text[len++] = *value;
		else
			len += (size_t)snprintf(text + len, 4, "%%%02X", (unsigned char)*value);
	}
	text[len] = '\0';
	return 0;
}
