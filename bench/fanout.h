/* SPDX-License-Identifier: MIT */
/*
 * What the fan-out benchmarks share: a client process that holds all the connections and reads what comes,
 * and clocks. The two processes share a page: the server's port and dialect go one way, what was received the
 * other.
 */
#ifndef BENCH_FANOUT_H
#define BENCH_FANOUT_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum fanout_login { FANOUT_NONE, FANOUT_TCP, FANOUT_WS };

struct fanout {
	int port, connections;
	enum fanout_login login;
	pid_t client;
	_Atomic uint64_t received; /* bytes, after the logins */
	_Atomic uint64_t echoes;   /* asked for: one heartbeat of each connection for each unit */
	_Atomic int up;
};

static const char fanout_request[] = "GET /sub HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n"
				     "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
				     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/* Of this process, microseconds. */
static inline double cpu_us(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static inline double wall_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static inline void die(const char *what)
{
	perror(what);
	exit(1);
}

static inline void fanout_exact(int fd, void *p, size_t len)
{
	for (size_t have = 0; have < len;) {
		ssize_t n = recv(fd, (char *)p + have, len - have, 0);
		if (n <= 0)
			die("client: recv");
		have += (size_t)n;
	}
}

static inline void fanout_send(int fd, const void *p, size_t len)
{
	if (send(fd, p, len, MSG_NOSIGNAL) != (ssize_t)len)
		die("client: send");
}

/* Logs in as its own user, "u12345", and waits for the answer. */
static inline void fanout_login(struct fanout *f, int fd, int i)
{
	char text[128], buf[512];
	int n;

	if (f->login == FANOUT_TCP) {
		n = snprintf(text + 16, sizeof text - 16, "u%d", i);
		uint8_t head[16] = {0, 0, 0, (uint8_t)(16 + n), 0, 16, 0, 1, 0, 0, 0, 7, 0, 0, 0, 1};
		memcpy(text, head, 16);
		fanout_send(fd, text, 16 + (size_t)n);
		fanout_exact(fd, buf, 16);
	} else if (f->login == FANOUT_WS) {
		fanout_send(fd, fanout_request, sizeof fanout_request - 1);
		fanout_exact(fd, buf, 129);
		n = snprintf(text + 6, sizeof text - 6, "{\"ver\":1,\"op\":7,\"seq\":1,\"body\":\"u%d\"}", i);
		memcpy(text, "\x81\x80\0\0\0", 6);
		text[1] = (char)(0x80 | n);
		fanout_send(fd, text, 6 + (size_t)n);
		fanout_exact(fd, buf, 2);
		fanout_exact(fd, buf + 2, (uint8_t)buf[1]);
	}
}

static inline int fanout_connect(struct fanout *f, int i)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)f->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to))
		die("client: connect");
	fanout_login(f, fd, i);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static inline void fanout_client(struct fanout *f)
{
	static char buf[256 * 1024];
	static struct epoll_event events[512];
	static const uint8_t beat[16] = {0, 0, 0, 16, 0, 16, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1};
	int ep = epoll_create1(0), *fds = calloc((size_t)f->connections, sizeof *fds);
	uint64_t echoes = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 0; i < f->connections; i++) {
		int fd = fds[i] = fanout_connect(f, i);
		struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};
		epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
		atomic_fetch_add(&f->up, 1);
	}
	for (;;) {
		int n = epoll_wait(ep, events, 512, 20);
		uint64_t sum = 0;
		for (int i = 0; i < n; i++) {
			ssize_t got = recv(events[i].data.fd, buf, sizeof buf, 0);
			if (got == 0)
				_exit(0);
			sum += got > 0 ? (uint64_t)got : 0;
		}
		atomic_fetch_add(&f->received, sum);
		for (; echoes < atomic_load(&f->echoes); echoes++) {
			for (int i = 0; i < f->connections; i++)
				fanout_send(fds[i], beat, sizeof beat);
		}
	}
}

static inline struct fanout *fanout_new(int connections, enum fanout_login login)
{
	struct fanout *f = mmap(NULL, sizeof *f, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct rlimit limit;

	if (f == MAP_FAILED)
		die("mmap");
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	f->connections = connections;
	f->login = login;
	return f;
}

/* f->port is listened on already. */
static inline void fanout_start(struct fanout *f)
{
	pid_t pid = fork();

	if (pid == 0)
		fanout_client(f);
	f->client = pid;
}

static inline void fanout_stop(struct fanout *f)
{
	kill(f->client, SIGKILL);
	waitpid(f->client, NULL, 0);
	munmap(f, sizeof *f);
}

/* Sleeps until the clients have all of it. */
static inline void fanout_wait(struct fanout *f, uint64_t bytes)
{
	double end = wall_us() + 30e6;

	while (atomic_load(&f->received) < bytes) {
		usleep(500);
		if (wall_us() > end) {
			fprintf(stderr, "lost: %llu of %llu bytes came\n", (unsigned long long)f->received,
				(unsigned long long)bytes);
			exit(1);
		}
	}
}

static inline int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static inline double median(double *values, int n)
{
	qsort(values, (size_t)n, sizeof *values, by_size);
	return values[n / 2];
}

#endif
