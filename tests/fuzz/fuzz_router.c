/* SPDX-License-Identifier: MIT */
/*
 * A router, its RPC server and its registry, fed with what a peer sends over a real socket: from the first
 * byte when the input's first byte is odd, else after a good hello. Whatever comes, the next, well-behaved
 * peer is served.
 */
#include "fuzz.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <imgo/router.h>

static struct imgo_loop *loop;
static struct imgo_registry *registry;
static int port;

static const uint8_t hello[] = "\0\0\0\x0e\x94\x00\x01\xa5hello\x93\x01\xc0\xa1x"; /* [0, 1, "hello", [1, nil, "x"]] */
static const uint8_t comets[] = "\0\0\0\x14\x94\x00\x07\xafregistry.comets\x92\x01\xc0"; /* prefix patched below */

static void start(void)
{
	struct imgo_router_options options = IMGO_ROUTER_OPTIONS_INIT;
	struct imgo_router *router;

	options.listen = "127.0.0.1:0";
	CHECK(imgo_loop_new(&loop, NULL, NULL) == 0);
	CHECK(imgo_registry_new_memory(&registry, loop, NULL) == 0);
	CHECK(imgo_router_new(&router, loop, registry, &options, NULL) == 0);
	port = imgo_router_port(router);
}

static int connected(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	struct linger linger = {1, 0}; /* no TIME_WAIT: there are many */
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&in, sizeof in) == 0);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static void turns(unsigned n)
{
	while (n-- > 0)
		imgo_loop_process(loop);
}

static void send_all(int fd, const void *p, size_t len)
{
	ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

	(void)n;
}

static void is_well(void)
{
	uint8_t bytes[sizeof comets], reply[65536];
	int fd = connected();
	ssize_t n = 0, got = 0;

	memcpy(bytes, comets, sizeof comets);
	bytes[3] = sizeof comets - 1 - 4;
	send_all(fd, hello, sizeof hello - 1);
	send_all(fd, bytes, sizeof bytes - 1);
	for (unsigned i = 0; i < 100 && n < 20; i++) { /* two answers: 10 bytes, and more than 10 */
		turns(1);
		got = recv(fd, reply + n, sizeof reply - (size_t)n, 0);
		n += got > 0 ? got : 0;
	}
	CHECK(n >= 18 && reply[3] == 6 && reply[6] == 1);
	close(fd);
	turns(2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static unsigned runs;
	uint8_t sink[65536];
	int fd;

	if (size < 2)
		return 0;
	if (!loop)
		start();
	fd = connected();
	if (data[0] % 2 == 0)
		send_all(fd, hello, sizeof hello - 1);
	send_all(fd, data + 1, size - 1);
	turns(4);
	while (recv(fd, sink, sizeof sink, 0) > 0)
		turns(1);
	close(fd);
	turns(2);
	if (runs++ % 64 == 0)
		is_well();
	return 0;
}
