/* SPDX-License-Identifier: MIT */
/*
 * Pushes by HTTP, over connections that are kept, to a logic with everything in memory.
 *
 *	http_bench [PUSHES]
 *
 * Prints one JSON object a line: how many calls a second of the server's CPU time (user and system;
 *loopback's TCP work for both sides is in it), and by the clock. `depth` calls of a connection are under way
 *at once; "pushs" has 100 users a call. The clients are another process, which waits for each answer.
 */
#include "fanout.h"

#include <poll.h>

#include <imgo/http.h>

struct bench {
	struct imgo_loop *loop;
	struct imgo_bus *bus;
	struct imgo_store *store;
	struct imgo_registry *registry;
	struct imgo_push *push;
	struct imgo_http *http;
	int port;
};

struct load {
	const char *name;
	int connections, depth;
	bool many;
};

/* ---- the clients ---- */

static size_t make_call(char *out, size_t size, const struct load *load, unsigned n)
{
	static const char message[] = "{\"text\":\"a message of about sixty-six bytes, as in the plan ....\"}";
	char body[1200] = "{\"u\":[";

	if (!load->many)
		return (size_t)snprintf(out, size,
			"POST /1/push?uid=%u HTTP/1.1\r\nHost: 127.0.0.1:7172\r\nUser-Agent: bench\r\n"
			"Content-Length: %zu\r\n\r\n%s",
			1 + n % 100000, sizeof message - 1, message);
	for (unsigned i = 0; i < 100; i++)
		snprintf(body + strlen(body), sizeof body - strlen(body), "%s%u", i ? "," : "", 1 + (n + i * 997) % 100000);
	snprintf(body + strlen(body), sizeof body - strlen(body), "],\"m\":%s}", message);
	return (size_t)snprintf(out, size,
		"POST /1/pushs HTTP/1.1\r\nHost: 127.0.0.1:7172\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
}

/* Answers are of one length: the first one says which. */
static size_t first_answer(int fd, const struct load *load)
{
	char text[2048];
	ssize_t n;

	fanout_send(fd, text, make_call(text, sizeof text, load, 0));
	n = recv(fd, text, sizeof text, 0);
	if (n < 15 || memcmp(text, "HTTP/1.1 200 OK", 15) != 0)
		die("client: the first answer");
	return (size_t)n;
}

static int dial(int port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || connect(fd, (struct sockaddr *)&in, sizeof in))
		die("client: connect");
	return fd;
}

static void run_clients(int port, const struct load *load, unsigned calls)
{
	int ep = epoll_create1(0), fds[256];
	size_t answer = 0, have[256] = {0};
	char text[65536];
	unsigned sent = 0, done = 0;

	for (int i = 0; i < load->connections; i++) {
		struct epoll_event ev = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
		fds[i] = dial(port);
		answer = first_answer(fds[i], load);
		epoll_ctl(ep, EPOLL_CTL_ADD, fds[i], &ev);
	}
	for (int i = 0; i < load->connections; i++)
		for (int d = 0; d < load->depth; d++)
			fanout_send(fds[i], text, make_call(text, sizeof text, load, sent++));
	while (done < calls) {
		struct epoll_event evs[256];
		int n = epoll_wait(ep, evs, 256, -1);
		for (int e = 0; e < n; e++) {
			uint32_t i = evs[e].data.u32;
			ssize_t got = recv(fds[i], text, sizeof text, 0);
			size_t len = 0, answered;
			if (got <= 0)
				die("client: recv");
			have[i] += (size_t)got;
			answered = have[i] / answer;
			have[i] %= answer;
			done += (unsigned)answered;
			for (size_t a = 0; a < answered && sent < calls; a++)
				len += make_call(text + len, sizeof text - len, load, sent++);
			if (len)
				fanout_send(fds[i], text, len);
		}
	}
	_exit(0);
}

/* ---- the server ---- */

static void start(struct bench *b)
{
	struct imgo_bus_memory_options bus = IMGO_BUS_MEMORY_OPTIONS_INIT;
	struct imgo_push_options push = IMGO_PUSH_OPTIONS_INIT;
	struct imgo_http_options http = IMGO_HTTP_OPTIONS_INIT;

	bus.bytes_max = 4ull << 30;
	bus.keep_ms = 1000; /* nobody consumes */
	if (imgo_loop_new(&b->loop, NULL, NULL) || imgo_bus_new_memory(&b->bus, b->loop, &bus, NULL) ||
		imgo_store_new_memory(&b->store, b->loop, NULL, NULL) ||
		imgo_registry_new_memory(&b->registry, b->loop, NULL))
		die("loop, bus, store, registry");
	push.registry = b->registry;
	push.store = b->store;
	push.bus = b->bus;
	if (imgo_push_new(&b->push, b->loop, &push, NULL))
		die("push");
	http.push = b->push;
	http.listen = "127.0.0.1:0";
	http.store_listen = NULL;
	if (imgo_http_new(&b->http, b->loop, &http, NULL))
		die("http");
	imgo_http_ports(b->http, &b->port, NULL);
}

static void stop(struct bench *b)
{
	imgo_http_free(b->http);
	imgo_push_free(b->push);
	imgo_registry_free(b->registry);
	imgo_store_free(b->store);
	imgo_bus_free(b->bus);
	imgo_loop_free(b->loop);
}

static void on_child(int signo, void *user)
{
	(void)signo;
	imgo_loop_stop(user);
}

static void measure(const struct load *load, unsigned calls)
{
	struct bench b;
	double cpu, wall;
	int status;
	pid_t pid;

	start(&b);
	imgo_loop_on_signal(b.loop, SIGCHLD, on_child, b.loop);
	pid = fork();
	if (pid == 0)
		run_clients(b.port, load, calls);
	cpu = cpu_us();
	wall = wall_us();
	imgo_loop_run(b.loop);
	cpu = cpu_us() - cpu;
	wall = wall_us() - wall;
	if (waitpid(pid, &status, 0) != pid || status)
		die("clients");
	imgo_loop_on_signal(b.loop, SIGCHLD, NULL, NULL);
	printf("{\"bench\":\"http\",\"load\":\"%s\",\"connections\":%d,\"depth\":%d,\"calls\":%u,\"calls_per_"
	       "cpu_s\":%.0f,"
	       "\"calls_per_s\":%.0f,\"cpu_us\":%.2f}\n",
		load->name, load->connections, load->depth, calls, calls / cpu * 1e6, calls / wall * 1e6, cpu / calls);
	fflush(stdout);
	stop(&b);
}

int main(int argc, char **argv)
{
	static const struct load loads[] = {
		{"push", 1, 1, false}, {"push", 64, 1, false}, {"push", 64, 16, false}, {"pushs", 16, 1, true}};
	unsigned calls = argc > 1 ? (unsigned)atoi(argv[1]) : 300000;

	for (size_t i = 0; i < sizeof loads / sizeof *loads; i++)
		measure(&loads[i], loads[i].many ? calls / 10 : calls);
	return 0;
}
