/* SPDX-License-Identifier: MIT */
/*
 * The floor of fan-out: accept, epoll and send(), and nothing else. What a server costs beyond this is the server's.
 *
 *	fanout-floor CONNECTIONS BYTES ROUNDS	prints the CPU time of one send(), in microseconds: the median of the rounds
 *	fanout-floor serve BATCH WAIT_MS	a server for imgo-bench --dialect floor; prints its ports, ends by SIGTERM
 *
 * `serve` has subscribers on one port, which say nothing, and a publisher on the other, whose requests are all of one
 * length. Each wake-up takes what the publisher sent; each body goes to each subscriber as one packet, in one send() of its
 * own (BATCH 1), or together with the next ones: when there are BATCH, or WAIT_MS after the first of them.
 */
#include "fanout.h"

#include <endian.h>
#include <netinet/tcp.h>

#include "kit/clock.h"

enum { HEAD = 16, SUBSCRIBERS_MAX = 20000, IN_MAX = 1 << 20, OUT_MAX = 4 << 20 };

static int listen_any(int *port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof in;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&in, len) || listen(fd, 4096) ||
		getsockname(fd, (struct sockaddr *)&in, &len))
		die("listen");
	*port = ntohs(in.sin_port);
	return fd;
}

static int accept_one(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;

	if (fd < 0)
		die("accept");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return fd;
}

/* ---- the cost of a send() ---- */

static int measure(int connections, int bytes, int rounds)
{
	struct fanout *f = fanout_new(connections, FANOUT_NONE);
	int *fds = calloc((size_t)connections, sizeof *fds), ep = epoll_create1(0);
	double *each = calloc((size_t)rounds, sizeof *each);
	char *message = calloc(1, (size_t)bytes);
	int listener = listen_any(&f->port);

	fanout_start(f);
	for (int i = 0; i < connections; i++) {
		struct epoll_event ev = {.events = EPOLLIN};
		fds[i] = accept_one(listener);
		epoll_ctl(ep, EPOLL_CTL_ADD, fds[i], &ev);
	}
	for (int round = -2; round < rounds; round++) { /* two to warm up */
		double before = cpu_us();
		for (int i = 0; i < connections; i++) {
			if (send(fds[i], message, (size_t)bytes, MSG_NOSIGNAL) != bytes)
				die("send");
		}
		if (round >= 0)
			each[round] = (cpu_us() - before) / connections;
		fanout_wait(f, (uint64_t)(round + 3) * (uint64_t)connections * (uint64_t)bytes);
	}
	printf("%.3f\n", median(each, rounds));
	fanout_stop(f);
	free(fds);
	free(each);
	free(message);
	return 0;
}

/* ---- serving ---- */

struct server {
	int ep, subscribers, publishers, nfds;
	int fds[SUBSCRIBERS_MAX];
	size_t request, body, in_len, out_len; /* request, body: length of each, once the first has come */
	int batch, waiting;
	uint64_t wait_ns, since_ns;
	char in[IN_MAX], out[OUT_MAX];
};

static void watch(struct server *s, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

	if (epoll_ctl(s->ep, EPOLL_CTL_ADD, fd, &ev))
		die("epoll_ctl");
}

static void fan_out(struct server *s)
{
	for (int i = 0; i < s->nfds; i++) {
		if (s->fds[i] >= 0 && send(s->fds[i], s->out, s->out_len, MSG_NOSIGNAL) != (ssize_t)s->out_len)
			die("a subscriber does not take it: the floor has no queues");
	}
	s->out_len = 0;
	s->waiting = 0;
}

static void add_packet(struct server *s, const char *body)
{
	uint32_t head[4] = {htobe32((uint32_t)(HEAD + s->body)), htobe32(HEAD << 16), htobe32(5), 0};

	if (s->out_len + HEAD + s->body > OUT_MAX)
		die("a batch too large");
	memcpy(s->out + s->out_len, head, HEAD);
	memcpy(s->out + s->out_len + HEAD, body, s->body);
	s->out_len += HEAD + s->body;
	if (s->waiting++ == 0)
		s->since_ns = now_ns();
	if (s->waiting >= s->batch)
		fan_out(s);
}

static void learn(struct server *s)
{
	const char *end = memmem(s->in, s->in_len, "\r\n\r\n", 4),
		   *length = memmem(s->in, s->in_len, "Content-Length: ", 16);

	if (!end || !length)
		return;
	s->body = (size_t)atol(length + 16);
	s->request = (size_t)(end + 4 - s->in) + s->body;
}

static void publish(struct server *s, int fd)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"ret\":1}";
	ssize_t n = recv(fd, s->in + s->in_len, IN_MAX - s->in_len, 0);
	size_t at = 0;

	if (n <= 0) {
		close(fd);
		s->in_len = s->request = 0;
		return;
	}
	s->in_len += (size_t)n;
	if (!s->request)
		learn(s);
	while (s->request && s->in_len - at >= s->request) {
		at += s->request;
		add_packet(s, s->in + at - s->body);
		fanout_send(fd, answer, sizeof answer - 1);
	}
	memmove(s->in, s->in + at, s->in_len - at);
	s->in_len -= at;
}

static void leave(struct server *s, int fd)
{
	for (int i = 0; i < s->nfds; i++) {
		if (s->fds[i] == fd)
			s->fds[i] = s->fds[--s->nfds];
	}
	close(fd);
}

static void join(struct server *s)
{
	if (s->nfds == SUBSCRIBERS_MAX)
		die("too many subscribers");
	int fd = s->fds[s->nfds++] = accept_one(s->subscribers);
	watch(s, fd);
}

_Noreturn static void serve(int batch, int wait_ms)
{
	static struct server s;
	struct epoll_event events[64];
	struct rlimit limit;
	int ports[2], publisher = -1;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	s.ep = epoll_create1(0);
	s.batch = batch;
	s.wait_ns = (uint64_t)wait_ms * 1000000;
	s.subscribers = listen_any(&ports[0]);
	s.publishers = listen_any(&ports[1]);
	watch(&s, s.subscribers);
	watch(&s, s.publishers);
	printf("%d %d\n", ports[0], ports[1]);
	fflush(stdout);
	for (;;) {
		uint64_t now = s.waiting ? now_ns() : 0, due = s.since_ns + s.wait_ns;
		int ms = !s.waiting ? -1 : due > now ? (int)((due - now + 999999) / 1000000) : 0;
		int n = epoll_wait(s.ep, events, 64, ms);
		if (s.waiting && now_ns() >= due)
			fan_out(&s);
		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;
			if (fd == s.subscribers)
				join(&s);
			else if (fd == s.publishers)
				watch(&s, publisher = accept_one(s.publishers));
			else if (fd == publisher)
				publish(&s, fd);
			else
				leave(&s, fd);
		}
	}
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "serve") == 0 && atoi(argv[2]) > 0)
		serve(atoi(argv[2]), atoi(argv[3]));
	return measure(argc > 1 ? atoi(argv[1]) : 19000, argc > 2 ? atoi(argv[2]) : 66, argc > 3 ? atoi(argv[3]) : 10);
}
