/* SPDX-License-Identifier: MIT */
/*
 * The floor of fan-out: a bare accept, epoll and send() loop. What the hub costs beyond this is the hub's.
 *
 *	fanout_floor CONNECTIONS BYTES ROUNDS
 *
 * Prints the CPU time of one send(), in microseconds: the median of the rounds.
 */
#include "fanout.h"

#include <netinet/tcp.h>

static int listen_any(int *port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof in;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(fd, (struct sockaddr *)&in, len) || listen(fd, 4096) || getsockname(fd, (struct sockaddr *)&in, &len))
		die("listen");
	*port = ntohs(in.sin_port);
	return fd;
}

int main(int argc, char **argv)
{
	int connections = argc > 1 ? atoi(argv[1]) : 19000, bytes = argc > 2 ? atoi(argv[2]) : 66;
	int rounds = argc > 3 ? atoi(argv[3]) : 10;
	struct fanout *f = fanout_new(connections, FANOUT_NONE);
	int *fds = calloc((size_t)connections, sizeof *fds), one = 1, ep = epoll_create1(0);
	double *each = calloc((size_t)rounds, sizeof *each);
	char *message = calloc(1, (size_t)bytes);
	int listener = listen_any(&f->port);

	fanout_start(f);
	for (int i = 0; i < connections; i++) {
		struct epoll_event ev = {.events = EPOLLIN};
		fds[i] = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
		if (fds[i] < 0)
			die("accept");
		setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
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
	return 0;
}
