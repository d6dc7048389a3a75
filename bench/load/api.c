/* SPDX-License-Identifier: MIT */
/* Calls of the HTTP API with a fixed number under way: the next goes out when an answer comes. */
#include "load.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../kit/stamp.h"

enum { OUT_MAX = 1 << 20, IN_MAX = 256 * 1024, DEPTH_MAX = 256, API_CONNECTIONS_MAX = 1024 };

struct line { /* one connection */
	int fd;
	unsigned head, under_way;
	size_t have;
	char *in;
	uint64_t since[DEPTH_MAX];
};

struct load {
	unsigned depth, count, made, done;
	api_call *make;
	void *user;
	struct api_result *out;
	char *text;
};

static void send_calls(struct load *load, struct line *line)
{
	size_t len = 0;

	while (line->under_way < load->depth && load->made < load->count && len + OUT_MAX / 4 < OUT_MAX) {
		len += load->make(load->text + len, OUT_MAX - len, load->made++, load->user);
		line->since[(line->head + line->under_way++) % DEPTH_MAX] = now_ns();
	}
	for (size_t at = 0; at < len;) {
		ssize_t n = send(line->fd, load->text + at, len - at, MSG_NOSIGNAL);
		if (n < 0)
			give_up("API: send");
		at += (size_t)n;
	}
}

static void answered(struct load *load, struct line *line, const char *text, const struct http_answer *answer)
{
	struct api_result *r = load->out;

	hist_add(&r->latency, now_ns() - line->since[line->head % DEPTH_MAX]);
	line->head++;
	line->under_way--;
	load->done++;
	r->calls++;
	if (answer->accepted)
		return;
	if (!r->refused++)
		snprintf(r->first_trouble, sizeof r->first_trouble, "%.*s", (int)answer->len, text);
}

static void receive(struct load *load, struct line *line)
{
	struct http_answer answer;
	size_t at = 0;
	int r;
	ssize_t n = recv(line->fd, line->in + line->have, IN_MAX - line->have, 0);

	if (n <= 0)
		give_up("API: recv");
	line->have += (size_t)n;
	while ((r = http_answer(line->in + at, line->have - at, &answer)) > 0) {
		answered(load, line, line->in + at, &answer);
		at += answer.len;
	}
	if (r < 0) {
		fprintf(stderr, "API: an answer that is not HTTP\n");
		exit(1);
	}
	memmove(line->in, line->in + at, line->have - at);
	line->have -= at;
	send_calls(load, line);
}

void api_run(const struct sockaddr_in *to, unsigned connections, unsigned depth, unsigned count, api_call *make,
	void *user, struct api_result *out)
{
	struct load load = {.depth = depth < DEPTH_MAX ? depth : DEPTH_MAX,
		.count = count,
		.make = make,
		.user = user,
		.out = out,
		.text = malloc(OUT_MAX)};
	struct line *lines = calloc(connections, sizeof *lines);
	struct epoll_event events[64];
	int ep = epoll_create1(EPOLL_CLOEXEC);
	uint64_t began;

	if (!lines || !load.text || ep < 0)
		give_up("API");
	for (unsigned i = 0; i < connections; i++) {
		struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &lines[i]};
		lines[i].fd = http_connect(to);
		lines[i].in = malloc(IN_MAX);
		if (lines[i].fd < 0 || !lines[i].in || epoll_ctl(ep, EPOLL_CTL_ADD, lines[i].fd, &ev))
			give_up("API: connect");
	}
	began = now_ns();
	for (unsigned i = 0; i < connections; i++)
		send_calls(&load, &lines[i]);
	while (load.done < count) {
		int n = epoll_wait(ep, events, 64, 30000);
		if (n <= 0) {
			fprintf(stderr, "API: no answer in 30 s\n");
			exit(1);
		}
		for (int i = 0; i < n; i++)
			receive(&load, events[i].data.ptr);
	}
	out->seconds = (double)(now_ns() - began) / 1e9;
	for (unsigned i = 0; i < connections; i++) {
		close(lines[i].fd);
		free(lines[i].in);
	}
	close(ep);
	free(lines);
	free(load.text);
}

/* ---- tokens ---- */

struct tokens {
	const struct options *o;
	const struct shared *s;
};

static size_t token_call(char *out, size_t size, unsigned n, void *user)
{
	const struct tokens *t = user;
	char token[64], room[64], device[64] = "";

	token_of(t->s, n, token, sizeof token);
	room_of(t->s, n % t->o->rooms, room, sizeof room);
	if (t->o->device)
		snprintf(device, sizeof device, "&device=%s", t->o->device);
	return (size_t)snprintf(out, size,
		"POST /1/admin/token/new?uid=%llu&token=%s&expire=86400&rooms=%s%s HTTP/1.1\r\nHost: bench\r\n"
		"Content-Length: 0\r\n\r\n",
		(unsigned long long)(t->s->first_user + n), token, room, device);
}

void api_make_tokens(const struct options *o, const struct shared *s)
{
	struct tokens t = {o, s};
	struct api_result *result = calloc(1, sizeof *result);

	if (!result)
		give_up("calloc");
	api_run(&o->http, 4, 32, o->connections, token_call, &t, result);
	if (result->refused) {
		fprintf(stderr, "token/new: %llu of %llu refused, the first: %s\n", (unsigned long long)result->refused,
			(unsigned long long)result->calls, result->first_trouble);
		exit(1);
	}
	free(result);
}

/* ---- the verb api ---- */

static size_t push_call(char *out, size_t size, unsigned n, void *user)
{
	const struct tokens *t = user;
	const struct options *o = t->o;
	uint64_t uid = t->s->first_user + n % o->api_users;
	struct stamp stamp = {.run = t->s->run, .stream = n % o->api_users, .number = n / o->api_users};
	char path[128];
	int len;

	if (o->push == PUSH_ROOM)
		snprintf(path, sizeof path, "/1/push/room?room=bench-%x", t->s->run);
	else if (o->push == PUSH_ALL)
		snprintf(path, sizeof path, "/1/push/all");
	else
		snprintf(path, sizeof path, "/1/push?uid=%llu%s", (unsigned long long)uid, o->qos ? "" : "&qos=0");
	len = snprintf(out, size, "POST %s HTTP/1.1\r\nHost: bench\r\nContent-Length: %zu\r\n\r\n", path, o->size);
	stamp_write(out + len, o->size, &stamp);
	return (size_t)len + o->size;
}

static size_t pushs_call(char *out, size_t size, unsigned n, void *user)
{
	const struct tokens *t = user;
	const struct options *o = t->o;
	struct stamp stamp = {.run = t->s->run, .number = n};
	static char body[OUT_MAX / 4];
	size_t len = (size_t)snprintf(body, sizeof body, "{\"u\":[");

	for (unsigned i = 0; i < o->api_many; i++)
		len += (size_t)snprintf(body + len, sizeof body - len, "%s%llu", i ? "," : "",
			(unsigned long long)(t->s->first_user + (n * 31 + i) % o->api_users));
	len += (size_t)snprintf(body + len, sizeof body - len, "],\"m\":");
	stamp_write(body + len, o->size, &stamp);
	len += o->size;
	body[len++] = '}';
	int head = snprintf(out, size, "POST /1/pushs%s HTTP/1.1\r\nHost: bench\r\nContent-Length: %zu\r\n\r\n",
		o->qos ? "" : "?qos=0", len);
	memcpy(out + head, body, len);
	return (size_t)head + len;
}

int api_bench(const struct options *o, struct shared *s)
{
	struct tokens t = {o, s};
	static struct api_result warm, result;
	static struct reading before, after;
	api_call *make = o->push == PUSH_USERS ? pushs_call : push_call;

	api_run(&o->http, o->api_connections, o->api_depth, o->api_count / 10 + 1, make, &t, &warm);
	reading_take(o, NULL, 0, &before);
	api_run(&o->http, o->api_connections, o->api_depth, o->api_count, make, &t, &result);
	reading_take(o, NULL, 0, &after);
	printf("{\"bench\":\"api\",\"calls\":%llu,\"refused\":%llu,\"seconds\":%.4f,\"calls_per_s\":%.0f,\"users_a_call\":%u,",
		(unsigned long long)result.calls, (unsigned long long)result.refused, result.seconds,
		(double)result.calls / result.seconds, o->push == PUSH_USERS ? o->api_many : 1);
	print_hist("answer", &result.latency);
	printf(",\"servers\":");
	print_servers(o, &before, &after, (double)result.calls);
	printf(",\"passed\":%s}\n", result.refused || warm.refused ? "false" : "true");
	if (result.refused || warm.refused)
		fprintf(stderr, "refused, the first: %s\n", warm.refused ? warm.first_trouble : result.first_trouble);
	return result.refused || warm.refused ? 1 : 0;
}
