/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop/loop.h"

static struct imgo_loop *loop;

static int setup(void **state)
{
	(void)state;
	return imgo_loop_new(&loop, NULL, NULL);
}

static int teardown(void **state)
{
	(void)state;
	imgo_loop_free(loop);
	return 0;
}

static void wait_for(int fd, short events)
{
	struct pollfd pfd = {.fd = fd, .events = events};
	assert_int_equal(poll(&pfd, 1, 5000), 1);
}

static struct imgo__addr parse(const char *text)
{
	struct imgo__addr addr;
	assert_int_equal(imgo__addr_parse(&addr, imgo_str(text)), 0);
	return addr;
}

static int flag(int fd, int level, int option)
{
	int value = -1;
	socklen_t len = sizeof(value);
	assert_int_equal(getsockopt(fd, level, option, &value, &len), 0);
	return value;
}

/* A listener on `text`, and both ends of a connection to it. */
static void connected(const char *text, int *listener, int *client, int *server)
{
	struct imgo__addr addr = parse(text), peer;
	assert_int_equal(imgo__sock_listen(loop, &addr, 16, false, listener), 0);
	assert_int_equal(imgo__sock_accept(loop, *listener, server, &peer), IMGO_ETIMEDOUT);
	assert_int_equal(imgo__sock_local(loop, *listener, &addr), 0);
	if (addr.ss.ss_family == AF_INET6) { /* the wildcard: reach it by IPv4 */
		uint16_t port = ((struct sockaddr_in6 *)&addr.ss)->sin6_port;
		addr = parse("127.0.0.1:0");
		((struct sockaddr_in *)&addr.ss)->sin_port = port;
	} else if (addr.ss.ss_family == AF_INET) {
		((struct sockaddr_in *)&addr.ss)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	}
	assert_int_equal(imgo__sock_connect(loop, &addr, client), 0);
	wait_for(*listener, POLLIN);
	assert_int_equal(imgo__sock_accept(loop, *listener, server, &peer), 0);
	wait_for(*client, POLLOUT);
	assert_int_equal(imgo__sock_error(loop, *client), 0);
	if (peer.ss.ss_family != AF_UNIX) {
		assert_int_equal(peer.ss.ss_family, AF_INET);
		assert_true(imgo__addr_is_loopback(&peer));
		assert_int_equal(flag(*server, IPPROTO_TCP, TCP_NODELAY), 1);
		assert_int_equal(flag(*client, IPPROTO_TCP, TCP_NODELAY), 1);
	}
	assert_true(fcntl(*server, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(*client, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(*server, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(*client, F_GETFD) & FD_CLOEXEC);
}

static void talk(const char *address)
{
	const struct iovec iov[2] = {{(void *)"hello ", 6}, {(void *)"world", 5}};
	int listener, client, server;
	char buf[64];

	connected(address, &listener, &client, &server);
	assert_int_equal(imgo__sock_read(loop, server, buf, sizeof(buf)), IMGO_ETIMEDOUT);
	assert_int_equal(imgo__sock_writev(loop, client, iov, 2), 11);
	wait_for(server, POLLIN);
	assert_int_equal(imgo__sock_read(loop, server, buf, sizeof(buf)), 11);
	assert_memory_equal(buf, "hello world", 11);
	imgo__sock_shutdown(loop, client);
	wait_for(server, POLLIN);
	assert_int_equal(imgo__sock_read(loop, server, buf, sizeof(buf)), 0);
	assert_int_equal(imgo__sock_writev(loop, server, iov, 1), 6);
	imgo__sock_close(loop, client);
	imgo__sock_close(loop, server);
	imgo__sock_close(loop, listener);
}

static void talks(void **state)
{
	char path[64];
	(void)state;
	snprintf(path, sizeof(path), "unix:/tmp/imgo-test-sock-%d", (int)getpid());
	talk("127.0.0.1:0");
	talk(":0");
	talk(path);
	talk(path); /* the file is still there; nobody listens on it */
	unlink(path + 5);
}

static void fills_and_counts(void **state)
{
	static char block[65536];
	const struct iovec iov = {block, sizeof(block)};
	int listener, client, server;
	ssize_t n;
	(void)state;
	connected("127.0.0.1:0", &listener, &client, &server);
	assert_int_equal(imgo__sock_unsent(loop, client), 0);
	while ((n = imgo__sock_writev(loop, client, &iov, 1)) > 0)
		;
	assert_int_equal(n, IMGO_ETIMEDOUT);
	assert_true(imgo__sock_unsent(loop, client) > 0);
	imgo__sock_reset(loop, server);
	wait_for(client, POLLIN);
	assert_int_equal(imgo__sock_read(loop, client, block, sizeof(block)), IMGO_ECLOSED);
	assert_int_equal(imgo__sock_writev(loop, client, &iov, 1), IMGO_ECLOSED); /* and no SIGPIPE */
	imgo__sock_close(loop, client);
	imgo__sock_close(loop, listener);
	assert_true(imgo__sock_unsent(loop, -1) < 0);
	assert_true(imgo__sock_error(loop, -1) < 0);
	assert_true(imgo__sock_local(loop, -1, &(struct imgo__addr){0}) < 0);
}

static void refused(void **state)
{
	struct imgo__addr addr = parse("127.0.0.1:0"), missing = parse("unix:/tmp/imgo-test-no-such-socket"), peer;
	int listener, other, fd, err;
	(void)state;
	assert_int_equal(imgo__sock_listen(loop, &addr, 1, false, &listener), 0);
	assert_int_equal(imgo__sock_local(loop, listener, &addr), 0);
	assert_int_equal(imgo__sock_listen(loop, &addr, 1, false, &other), IMGO_EEXISTS);
	imgo__sock_close(loop, listener);
	err = imgo__sock_connect(loop, &addr, &fd);
	if (err == 0) {
		wait_for(fd, POLLOUT);
		err = imgo__sock_error(loop, fd);
		imgo__sock_close(loop, fd);
	}
	assert_int_equal(err, IMGO_EUNAVAILABLE);
	assert_int_equal(imgo__sock_connect(loop, &missing, &fd), IMGO_EUNAVAILABLE);
	addr = parse("127.0.0.1:0");
	assert_int_equal(imgo__sock_listen(loop, &addr, 1, true, &listener), 0);
	assert_int_equal(imgo__sock_local(loop, listener, &addr), 0);
	assert_int_equal(imgo__sock_listen(loop, &addr, 1, true, &other), 0); /* SO_REUSEPORT */
	imgo__sock_close(loop, listener);
	imgo__sock_close(loop, other);
	assert_true(imgo__sock_accept(loop, -1, &fd, &peer) < 0);
	addr = parse("192.0.2.1:1"); /* not ours to listen on */
	assert_true(imgo__sock_listen(loop, &addr, 1, false, &listener) < 0);
}

static void out_of_descriptors(void **state)
{
	struct imgo__addr addr = parse("127.0.0.1:0"), peer;
	struct rlimit old, low;
	const char *preload = getenv("LD_PRELOAD");
	int listener, client, server;
	(void)state;
	if (preload && strstr(preload, "vgpreload"))
		skip(); /* valgrind plays this limit itself: it accepts and closes */
	assert_int_equal(imgo__sock_listen(loop, &addr, 1, false, &listener), 0);
	assert_int_equal(imgo__sock_local(loop, listener, &addr), 0);
	assert_int_equal(imgo__sock_connect(loop, &addr, &client), 0);
	wait_for(listener, POLLIN);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = (struct rlimit){(rlim_t)client + 1, old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	assert_int_equal(imgo__sock_accept(loop, listener, &server, &peer), IMGO_ELIMIT);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(imgo__sock_accept(loop, listener, &server, &peer), 0);
	imgo__sock_close(loop, server);
	imgo__sock_close(loop, client);
	imgo__sock_close(loop, listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(talks, setup, teardown),
		cmocka_unit_test_setup_teardown(fills_and_counts, setup, teardown),
		cmocka_unit_test_setup_teardown(refused, setup, teardown),
		cmocka_unit_test_setup_teardown(out_of_descriptors, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
