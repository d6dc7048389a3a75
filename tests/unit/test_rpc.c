/* SPDX-License-Identifier: MIT */
/* Client and server of the RPC, on one loop over loopback; raw sockets where a peer misbehaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "codec/rpcframe.h"
#include "rpc/rpc.h"

/* test_rpc_tls.c is this file again, with TLS. */
#ifdef RPC_TLS
#include "pki_test.h"
static struct pki pki;
#endif

struct fixture {
	struct imgo_loop *loop;
	struct imgo_stats *stats;
	struct imgo__rpc_server *server;
	struct imgo__rpc_client *client;
	struct imgo_tls *tls;                  /* NULL: in the clear */
	struct imgo__rpc_request *held[10000]; /* by "hold" */
	unsigned nheld, handled;
	unsigned replies, errors, pending;
	int last_err;
	uint64_t last_value;
	bool free_in_reply, free_in_handler;
};

static struct fixture fx;

/* ---- the methods ---- */
static void method_add(struct imgo__rpc_request *request, struct imgo__mp *params, uint32_t nparams, void *user)
{
	uint64_t a = imgo__mp_uint(params), b = imgo__mp_uint(params);

	(void)user;
	fx.handled++;
	if (nparams != 2 || imgo__mp_finish(params) < 0) {
		imgo__rpc_reply_error(request, IMGO_EPROTO);
		return;
	}
	imgo__mpw_uint(imgo__rpc_reply_begin(request), a + b);
	imgo__rpc_reply_end(request);
}

static void method_hold(struct imgo__rpc_request *request, struct imgo__mp *params, uint32_t nparams, void *user)
{
	(void)params;
	(void)nparams;
	(void)user;
	fx.handled++;
	fx.held[fx.nheld++] = request;
}

static void method_fail(struct imgo__rpc_request *request, struct imgo__mp *params, uint32_t nparams, void *user)
{
	(void)params;
	(void)nparams;
	(void)user;
	if (fx.free_in_handler) {
		imgo__rpc_server_free(fx.server);
		fx.server = NULL;
	}
	imgo__rpc_reply_error(request, IMGO_EFULL);
}

static void method_echo(struct imgo__rpc_request *request, struct imgo__mp *params, uint32_t nparams, void *user)
{
	struct imgo_str s = imgo__mp_str(params, SIZE_MAX);
	struct imgo__mpw *w = imgo__rpc_reply_begin(request);

	(void)nparams;
	(void)user;
	imgo__mpw_bin(w, s.p, s.len);
	imgo__rpc_reply_end(request);
}

static void method_big(struct imgo__rpc_request *request, struct imgo__mp *params, uint32_t nparams, void *user)
{
	size_t len = (size_t)imgo__mp_uint(params);
	char *p = calloc(1, len);

	(void)nparams;
	(void)user;
	imgo__mpw_bin(imgo__rpc_reply_begin(request), p, len);
	imgo__rpc_reply_end(request);
	free(p);
}

static const struct imgo__rpc_method methods[] = {
	{"add", method_add},
	{"hold", method_hold},
	{"fail", method_fail},
	{"echo", method_echo},
	{"big", method_big},
	{NULL, NULL},
};

/* ---- helpers ---- */
static struct imgo__rpc_server *new_server(const char *listen, const char *secret, unsigned calls_max)
{
	struct imgo__rpc_server_options options = {.listen = listen, .secret = secret, .tls = fx.tls, .methods = methods};
	struct imgo__rpc_server *server = NULL;
	struct imgo_error error;

	options.calls_max = calls_max;
	if (imgo__rpc_server_new(&server, fx.loop, &options, &error) < 0)
		fail_msg("%s", error.text);
	return server;
}

static struct imgo__rpc_client *new_client(const char *peers, const char *secret, bool spread)
{
	struct imgo__rpc_client_options options = {
		.peers = peers, .secret = secret, .tls = fx.tls, .role = "test", .spread = spread};
	struct imgo__rpc_client *client = NULL;

	assert_int_equal(imgo__rpc_client_new(&client, fx.loop, &options, NULL), 0);
	return client;
}

static const char *address(int port)
{
	static char text[4][32];
	static unsigned next;
	char *p = text[next++ % 4];

	snprintf(p, sizeof text[0], "127.0.0.1:%d", port);
	return p;
}

static const char *addresses(int a, int b)
{
	static char text[64];

	snprintf(text, sizeof text, "127.0.0.1:%d,127.0.0.1:%d", a, b);
	return text;
}

static void on_stop(void *user)
{
	(void)user;
	imgo_loop_stop(fx.loop);
}

static void run_ms(uint64_t ms)
{
	imgo_loop_after(fx.loop, ms, on_stop, NULL, NULL);
	imgo_loop_run(fx.loop);
}

static void on_reply(int err, struct imgo__mp *result, void *user)
{
	(void)user;
	assert_true(fx.pending > 0);
	fx.pending--;
	fx.replies++;
	fx.errors += err != 0;
	fx.last_err = err;
	if (err == 0)
		fx.last_value = imgo__mp_uint(result);
	if (fx.free_in_reply && fx.client) {
		imgo__rpc_client_free(fx.client);
		fx.client = NULL;
	}
	if (fx.pending == 0)
		imgo_loop_stop(fx.loop);
}

static int call(const char *method, uint64_t a, uint64_t b, unsigned timeout_ms)
{
	struct imgo__mpw *w = imgo__rpc_begin_call(fx.client, method, 2);
	int err;

	imgo__mpw_uint(w, a);
	imgo__mpw_uint(w, b);
	fx.pending++;
	err = imgo__rpc_send(fx.client, timeout_ms, on_reply, NULL);
	if (err)
		fx.pending--;
	return err;
}

static void run_pending(void)
{
	for (unsigned i = 0; fx.pending && i < 500; i++)
		run_ms(20);
	assert_int_equal(fx.pending, 0);
}

static int call_sync(const char *method, uint64_t a, uint64_t b, unsigned timeout_ms)
{
	int err = call(method, a, b, timeout_ms);

	if (err)
		return err;
	run_pending();
	return fx.last_err;
}

static void wait_up(bool up)
{
	for (unsigned i = 0; i < 500 && imgo__rpc_client_up(fx.client) != up; i++)
		run_ms(10);
	assert_int_equal(imgo__rpc_client_up(fx.client), up);
}

static int64_t stat_of(const char *name)
{
	return imgo_stats_get(fx.stats, name);
}

#ifdef RPC_TLS
static struct imgo_tls *tls_of(const char *cert, const char *key, const char *ca, const char *name)
{
	struct imgo_tls_options options = IMGO_TLS_OPTIONS_INIT;
	struct imgo_tls *tls = NULL;

	options.cert = cert;
	options.key = key;
	options.ca = ca;
	options.name = name;
	assert_int_equal(imgo_tls_new(&tls, fx.loop, &options, NULL), 0);
	return tls;
}
#endif

static int setup(void **state)
{
	struct imgo_loop_options options = IMGO_LOOP_OPTIONS_INIT;

	(void)state;
	memset(&fx, 0, sizeof fx);
	imgo_stats_new(&fx.stats);
	options.stats = fx.stats;
	imgo_loop_new(&fx.loop, &options, NULL);
#ifdef RPC_TLS
	fx.tls = tls_of(pki.cert, pki.key, pki.ca, NULL);
#endif
	fx.server = new_server("127.0.0.1:0", NULL, 0);
	fx.client = new_client(address(imgo__rpc_server_port(fx.server)), NULL, false);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	imgo__rpc_client_free(fx.client);
	imgo__rpc_server_free(fx.server);
	for (unsigned i = 0; i < fx.nheld; i++) /* to nobody: nothing happens */
		imgo__rpc_reply_error(fx.held[i], IMGO_EIO);
	imgo_tls_free(fx.tls);
	imgo_loop_free(fx.loop);
	imgo_stats_free(fx.stats);
	return 0;
}

/* ---- plain ---- */
static void answers(void **state)
{
	(void)state;
	assert_int_equal(call_sync("add", 40, 2, 0), 0); /* waits for the connection */
	assert_int_equal(fx.last_value, 42);
	assert_int_equal(call_sync("fail", 0, 0, 0), IMGO_EFULL);
	assert_int_equal(call_sync("nothing", 0, 0, 0), IMGO_ENOTSUP);
	assert_int_equal(call_sync("add", UINT64_MAX, 1, 0), 0);
	assert_int_equal(fx.last_value, 0);
}

static void many_in_flight(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 20000; i++)
		assert_int_equal(call("add", i, 1, 10000), 0);
	run_pending();
	assert_int_equal(fx.replies, 20000);
	assert_int_equal(fx.errors, 0);
	assert_int_equal(fx.handled, 20000);
}

static void held_ones_pause_reading(void **state)
{
	(void)state;
	imgo__rpc_server_free(fx.server);
	imgo__rpc_client_free(fx.client);
	fx.server = new_server("127.0.0.1:0", NULL, 10);
	fx.client = new_client(address(imgo__rpc_server_port(fx.server)), NULL, false);
	for (unsigned i = 0; i < 100; i++)
		call("hold", 0, 0, 5000);
	run_ms(200);
	assert_int_equal(fx.nheld, 10);
	for (unsigned i = 0; i < 100; i++) {
		assert_true(i < fx.nheld);
		imgo__mpw_uint(imgo__rpc_reply_begin(fx.held[i]), i);
		imgo__rpc_reply_end(fx.held[i]);
		run_ms(1);
	}
	run_pending();
	assert_int_equal(fx.errors, 0);
	fx.nheld = 0;
}

static void without_callback(void **state)
{
	struct imgo__mpw *w = imgo__rpc_begin_call(fx.client, "add", 2);

	(void)state;
	imgo__mpw_uint(w, 1);
	imgo__mpw_uint(w, 1);
	assert_int_equal(imgo__rpc_send(fx.client, 0, NULL, NULL), 0);
	wait_up(true);
	w = imgo__rpc_begin_call(fx.client, "add", 2);
	imgo__mpw_uint(w, 1);
	imgo__mpw_uint(w, 1);
	assert_int_equal(imgo__rpc_send(fx.client, 0, NULL, NULL), 0);
	assert_int_equal(call_sync("add", 1, 1, 0), 0);
	assert_int_equal(fx.handled, 3);
}

static void deadline(void **state)
{
	(void)state;
	assert_int_equal(call_sync("hold", 0, 0, 50), IMGO_ETIMEDOUT);
	assert_int_equal(call_sync("add", 1, 2, 0), 0);
	imgo__mpw_uint(imgo__rpc_reply_begin(fx.held[0]), 7); /* too late: dropped by its id */
	imgo__rpc_reply_end(fx.held[0]);
	fx.nheld = 0;
	assert_int_equal(call_sync("add", 1, 2, 0), 0);
	assert_int_equal(fx.last_value, 3);
	assert_int_equal(stat_of("imgo_rpc_timeouts_total"), 1);
}

static void limits(void **state)
{
	struct imgo__rpc_client_options options = {.tls = fx.tls, .role = "test", .calls_max = 5, .queue_max = 1000};
	struct imgo__mpw *w;
	static char big[17 << 20];

	(void)state;
	imgo__rpc_client_free(fx.client);
	options.peers = address(imgo__rpc_server_port(fx.server));
	assert_int_equal(imgo__rpc_client_new(&fx.client, fx.loop, &options, NULL), 0);
	wait_up(true);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(call("add", 1, 1, 0), 0);
	assert_int_equal(call("add", 1, 1, 0), IMGO_ELIMIT);
	run_pending();
	w = imgo__rpc_begin_call(fx.client, "echo", 1);
	imgo__mpw_bin(w, big, 2000);
	fx.pending++;
	assert_int_equal(imgo__rpc_send(fx.client, 0, on_reply, NULL), 0);
	assert_int_equal(call("add", 1, 1, 0), IMGO_ELIMIT); /* 2000 bytes are unsent */
	run_pending();
	w = imgo__rpc_begin_call(fx.client, "echo", 1);
	imgo__mpw_bin(w, big, sizeof big);
	assert_int_equal(imgo__rpc_send(fx.client, 0, on_reply, NULL), IMGO_ELIMIT);
	assert_int_equal(call_sync("big", 17 << 20, 0, 0), IMGO_ELIMIT); /* of the reply */
	assert_int_equal(call_sync("add", 1, 1, 0), 0);
}

static void big_answers(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 12; i++) /* 36 MB: reading pauses at 4 */
		call("big", 3 << 20, 0, 20000);
	run_pending();
	assert_int_equal(fx.replies, 12);
	assert_int_equal(call_sync("big", 17 << 20, 0, 0), IMGO_ELIMIT);
	assert_int_equal(call_sync("add", 1, 1, 0), 0);
}

/* ---- peers that go ---- */
static void server_goes_midflight(void **state)
{
	int port = imgo__rpc_server_port(fx.server);

	(void)state;
	assert_int_equal(call_sync("add", 1, 2, 0), 0);
	for (unsigned i = 0; i < 100; i++)
		call("hold", 0, 0, 5000);
	run_ms(50);
	assert_int_equal(fx.nheld, 100);
	imgo__rpc_server_free(fx.server);
	fx.server = NULL;
	run_pending();
	assert_int_equal(fx.last_err, IMGO_ECLOSED);
	assert_int_equal(fx.errors, 100);
	run_ms(100);
	assert_int_equal(call("add", 1, 2, 0), IMGO_EUNAVAILABLE); /* known to be down: at once */
	fx.server = new_server(address(port), NULL, 0);
	wait_up(true);
	assert_int_equal(call_sync("add", 1, 2, 0), 0);
}

static void unsent_is_surely_not_done(void **state)
{
	(void)state;
	assert_int_equal(call_sync("add", 1, 2, 0), 0);
	imgo__rpc_server_free(fx.server);
	fx.server = NULL;
	run_ms(1); /* maybe it is noticed, maybe not */
	if (call("add", 1, 2, 0) == 0)
		run_pending();
	assert_true(fx.handled == 1);
}

static void two_peers(void **state)
{
	struct imgo__rpc_server *second = new_server("127.0.0.1:0", NULL, 0);
	int a = imgo__rpc_server_port(fx.server), b = imgo__rpc_server_port(second);
	unsigned errors = 0;

	(void)state;
	imgo__rpc_client_free(fx.client);
	fx.client = new_client(addresses(a, b), NULL, false);
	run_ms(50);
	assert_int_equal(call_sync("add", 1, 2, 0), 0);
	imgo__rpc_server_free(fx.server);
	fx.server = NULL;
	for (unsigned i = 0; i < 50; i++)
		errors += call_sync("add", i, 2, 0) != 0;
	assert_true(errors <= 1); /* the one that was under way */
	imgo__rpc_server_free(second);
	wait_up(false);
	fx.server = new_server(address(a), NULL, 0);
	wait_up(true);
	assert_int_equal(call_sync("add", 1, 2, 0), 0);
}

static void spreads(void **state)
{
	struct imgo__rpc_server *second = new_server("127.0.0.1:0", NULL, 0);

	(void)state;
	imgo__rpc_client_free(fx.client);
	fx.client = new_client(addresses(imgo__rpc_server_port(fx.server), imgo__rpc_server_port(second)), NULL, true);
	run_ms(100);
	for (unsigned i = 0; i < 10; i++)
		call("hold", 0, 0, 5000);
	run_ms(50);
	imgo__rpc_server_free(second);
	run_ms(50);
	assert_int_equal(fx.errors, 5);
	imgo__rpc_server_free(fx.server);
	fx.server = NULL;
	run_pending();
	assert_int_equal(fx.errors, 10);
}

/* A process that is stopped: the connection stays, nothing comes. */
static void stopped_peer(void **state)
{
	int ports[2], port = 0, good = imgo__rpc_server_port(fx.server), failed = 0, status;
	pid_t child;

	(void)state;
	assert_int_equal(pipe(ports), 0);
	child = fork();
	if (child == 0) {
		struct imgo__rpc_server *server;
		imgo_loop_new(&fx.loop, NULL, NULL);
		server = new_server("127.0.0.1:0", NULL, 0);
		port = imgo__rpc_server_port(server);
		if (write(ports[1], &port, sizeof port) == sizeof port)
			imgo_loop_run(fx.loop);
		_exit(1);
	}
	assert_int_equal(read(ports[0], &port, sizeof port), sizeof port);
	imgo__rpc_client_free(fx.client);
	fx.client = new_client(addresses(port, good), NULL, false);
	run_ms(100);
	assert_int_equal(call_sync("add", 1, 1, 0), 0);
	assert_int_equal(fx.handled, 0); /* the child did it */
	kill(child, SIGSTOP);
	for (unsigned i = 0; i < 10; i++)
		failed += call_sync("add", 1, 1, 100) != 0;
	assert_int_equal(failed, 3); /* then the circuit is broken */
	assert_int_equal(fx.handled, 7);
	kill(child, SIGCONT);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	close(ports[0]);
	close(ports[1]);
}

/* Accepts and says nothing, ever. */
static void silent_listener(void **state)
{
	struct imgo__addr addr;
	int fd, port;

	(void)state;
	imgo__addr_parse(&addr, imgo_str("127.0.0.1:0"));
	assert_int_equal(imgo__sock_listen(fx.loop, &addr, 5, false, &fd), 0);
	imgo__sock_local(fx.loop, fd, &addr);
	port = ntohs(((struct sockaddr_in *)&addr.ss)->sin_port);
	imgo__rpc_client_free(fx.client);
	fx.client = new_client(address(port), NULL, false);
	assert_int_equal(call("add", 1, 1, 200), 0);
	assert_int_equal(call("add", 1, 1, 3000), 0);
	run_pending();
	assert_int_equal(fx.last_err, IMGO_EUNAVAILABLE); /* after 1 s: the hello was not answered */
	assert_int_equal(fx.errors, 2);
	assert_int_equal(call("add", 1, 1, 200), IMGO_EUNAVAILABLE);
	close(fd);
}

static void idle_silence_is_noticed(void **state)
{
	int ports[2], port = 0, status;
	pid_t child;

	(void)state;
	assert_int_equal(pipe(ports), 0);
	child = fork();
	if (child == 0) {
		imgo_loop_new(&fx.loop, NULL, NULL);
		port = imgo__rpc_server_port(new_server("127.0.0.1:0", NULL, 0));
		if (write(ports[1], &port, sizeof port) == sizeof port)
			imgo_loop_run(fx.loop);
		_exit(1);
	}
	assert_int_equal(read(ports[0], &port, sizeof port), sizeof port);
	imgo__rpc_client_free(fx.client);
	fx.client = new_client(address(port), NULL, false);
	wait_up(true);
	run_ms(2500); /* kept alive by pings */
	assert_true(imgo__rpc_client_up(fx.client));
	kill(child, SIGSTOP);
	run_ms(4200);
	assert_false(imgo__rpc_client_up(fx.client));
	kill(child, SIGCONT);
	wait_up(true);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	close(ports[0]);
	close(ports[1]);
}

/* ---- hostile peers of the server ---- */
static int raw(int port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof in), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static bool closed_by_server(int fd)
{
	char p[65536];
	ssize_t n;

	for (unsigned i = 0; i < 100; i++) {
		while ((n = read(fd, p, sizeof p)) > 0)
			;
		if (n == 0 || errno != EAGAIN)
			return true;
		run_ms(5);
	}
	return false;
}

static size_t frame(uint8_t *out, const char *method, const char *secret, unsigned version)
{
	struct imgo__buf buf = {0};
	struct imgo__rpc_head head = {.type = IMGO__RPC_REQUEST, .id = 9, .method = imgo_str(method)};
	struct imgo__mpw w;
	size_t start, len;

	imgo__mpw_init(&w, &buf);
	start = imgo__rpc_begin(&w, &head);
	imgo__mpw_array(&w, 4);
	imgo__mpw_uint(&w, version);
	if (secret)
		imgo__mpw_str(&w, imgo_str(secret));
	else
		imgo__mpw_nil(&w);
	imgo__mpw_str(&w, imgo_str("raw"));
	imgo__mpw_uint(&w, 1); /* appended by a newer version */
	imgo__rpc_end(&w, start, 1000);
	len = buf.len;
	memcpy(out, buf.data, len);
	imgo__buf_free(&buf);
	return len;
}

static void garbage(void **state)
{
	static const char *const bad[] = {"GET / HTTP/1.1\r\n\r\n", "\xff\xff\xff\xff", "\x00\x00\x00\x00",
		"\x00\x00\x00\x01\xc1", "\x00\x00\x00\x05\xdd\xff\xff\xff\xff", "\x00\x00\x10\x01"};
	static const size_t lens[] = {18, 4, 4, 5, 9, 4};
	int port = imgo__rpc_server_port(fx.server), fd;
	uint8_t hello[256];
	size_t len;

	(void)state;
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		fd = raw(port);
		assert_int_equal(write(fd, bad[i], lens[i]), (ssize_t)lens[i]);
		assert_true(closed_by_server(fd));
		close(fd);
	}
	fd = raw(port); /* a call before hello */
	len = frame(hello, "add", NULL, 1);
	assert_int_equal(write(fd, hello, len), (ssize_t)len);
	assert_true(closed_by_server(fd));
	close(fd);
	fd = raw(port); /* garbage after hello */
	len = frame(hello, "hello", NULL, 1);
	assert_int_equal(write(fd, hello, len), (ssize_t)len);
	assert_int_equal(write(fd, "\x00\x00\x00\x02\x91\x05", 6), 6);
	assert_true(closed_by_server(fd));
	close(fd);
	assert_int_equal(stat_of("imgo_rpc_garbage_total"), sizeof bad / sizeof *bad + 2);
	assert_int_equal(call_sync("add", 1, 1, 0), 0); /* and nobody else noticed */
}

static void wrong_version(void **state)
{
	uint8_t hello[256], reply[256];
	size_t len = frame(hello, "hello", NULL, 2);
	struct imgo__rpc_head head;
	struct imgo_str payload;
	struct imgo__mp mp;
	int fd = raw(imgo__rpc_server_port(fx.server));
	ssize_t n;

	(void)state;
	assert_int_equal(write(fd, hello, len), (ssize_t)len);
	run_ms(30);
	n = read(fd, reply, sizeof reply);
	assert_true(n > 4);
	assert_int_equal(imgo__rpc_frame(reply, (size_t)n, 1000, &payload, &len), n);
	assert_int_equal(imgo__rpc_decode_head(payload, &head, &mp), 0);
	assert_int_equal(head.error, IMGO_EVERSION);
	assert_true(closed_by_server(fd));
	close(fd);
}

static void secrets(void **state)
{
	struct imgo__rpc_server_options options = {.listen = "0.0.0.0:0", .methods = methods};
	struct imgo__rpc_server *server = NULL;
	int port;

	(void)state;
	assert_int_equal(imgo__rpc_server_new(&server, fx.loop, &options, NULL), IMGO_EINVAL);
	options.listen = "nonsense";
	assert_int_equal(imgo__rpc_server_new(&server, fx.loop, &options, NULL), IMGO_EINVAL);
	options.listen = address(imgo__rpc_server_port(fx.server));
	assert_int_equal(imgo__rpc_server_new(&server, fx.loop, &options, NULL), IMGO_EIO);

	imgo__rpc_server_free(fx.server);
	imgo__rpc_client_free(fx.client);
	fx.server = new_server("0.0.0.0:0", "tell nobody", 0);
	port = imgo__rpc_server_port(fx.server);
	fx.client = new_client(address(port), "tell nobod", false);
	assert_int_equal(call_sync("add", 1, 2, 2000), IMGO_EUNAVAILABLE);
	imgo__rpc_client_free(fx.client);
	fx.client = new_client(address(port), NULL, false);
	assert_int_equal(call_sync("add", 1, 2, 2000), IMGO_EUNAVAILABLE);
	imgo__rpc_client_free(fx.client);
	fx.client = new_client(address(port), "tell nobody", false);
	assert_int_equal(call_sync("add", 1, 2, 2000), 0);
	assert_true(stat_of("imgo_rpc_refused_total") >= 2);
}

static void byte_by_byte(void **state)
{
	int fd = raw(imgo__rpc_server_port(fx.server));
	uint8_t bytes[512], reply[256];
	size_t len = frame(bytes, "hello", NULL, 1), hello = len;
	ssize_t n = 0;

	(void)state;
	len += frame(bytes + len, "nothing", NULL, 1);
	for (size_t i = 0; i < len; i++) {
		assert_int_equal(write(fd, bytes + i, 1), 1);
		run_ms(1);
		if (i == hello - 1) {
			run_ms(10);
			n = read(fd, reply, sizeof reply);
			assert_int_equal(n, 10); /* prefix, [1, 9, nil, [1]] */
		}
	}
	run_ms(10);
	n = read(fd, reply, sizeof reply);
	assert_true(n > 0);
	close(fd);
	run_ms(10);
}

static void does_not_take_answers(void **state)
{
	int fd = raw(imgo__rpc_server_port(fx.server));
	uint8_t bytes[128];
	size_t len = frame(bytes, "hello", NULL, 1);
	struct imgo__buf buf = {0};
	struct imgo__mpw w;

	(void)state;
	assert_int_equal(write(fd, bytes, len), (ssize_t)len);
	imgo__mpw_init(&w, &buf);
	for (unsigned i = 0; i < 100; i++) { /* answers of 300 MB in all; it stops reading at 4 */
		struct imgo__rpc_head head = {.type = IMGO__RPC_REQUEST, .id = i, .method = imgo_str("big")};
		size_t start = imgo__rpc_begin(&w, &head);
		imgo__mpw_array(&w, 1);
		imgo__mpw_uint(&w, 3 << 20);
		imgo__rpc_end(&w, start, 1000);
	}
	assert_int_equal(write(fd, buf.data, buf.len), (ssize_t)buf.len);
	imgo__buf_free(&buf);
	run_ms(200);
	assert_true(stat_of("imgo_rpc_served_total") < 20);
	assert_int_equal(call_sync("add", 1, 1, 0), 0);
	close(fd);
	run_ms(50);
}

/* ---- freeing ---- */
static void free_with_calls_pending(void **state)
{
	(void)state;
	call("add", 1, 1, 0); /* waits for the connection */
	imgo__rpc_client_free(fx.client);
	assert_int_equal(fx.last_err, IMGO_ECANCELED);
	fx.client = new_client(address(imgo__rpc_server_port(fx.server)), NULL, false);
	wait_up(true);
	for (unsigned i = 0; i < 10; i++)
		call("hold", 1, 1, 0);
	run_ms(30);
	imgo__rpc_client_free(fx.client);
	fx.client = NULL;
	assert_int_equal(fx.pending, 0);
	assert_int_equal(fx.replies, 11);
	run_ms(30);
	assert_int_equal(fx.nheld, 10);
}

static void free_inside(void **state)
{
	(void)state;
	fx.free_in_reply = true;
	for (unsigned i = 0; i < 10; i++)
		call("add", 1, 1, 0);
	run_pending();
	assert_int_equal(fx.replies, 10);
	assert_int_equal(fx.errors, 9);
	fx.free_in_reply = false;
	fx.client = new_client(address(imgo__rpc_server_port(fx.server)), NULL, false);
	fx.free_in_handler = true;
	assert_int_equal(call_sync("fail", 1, 1, 1000), IMGO_ECLOSED);
	assert_null(fx.server);
}

static void bad_peers(void **state)
{
	struct imgo__rpc_client_options options = {.peers = "127.0.0.1:1,nonsense"};
	struct imgo__rpc_client *client;
	struct imgo_error error;

	(void)state;
	assert_int_equal(imgo__rpc_client_new(&client, fx.loop, &options, &error), IMGO_EINVAL);
	options.peers = NULL;
	assert_int_equal(imgo__rpc_client_new(&client, fx.loop, &options, &error), IMGO_EINVAL);
	options.peers = "";
	assert_int_equal(imgo__rpc_client_new(&client, fx.loop, &options, &error), IMGO_EINVAL);
	/* Another machine: with a secret only. */
	options.peers = "127.0.0.1:1,192.0.2.1:1";
	assert_int_equal(imgo__rpc_client_new(&client, fx.loop, &options, &error), IMGO_EINVAL);
	assert_non_null(strstr(error.text, "secret"));
	options.secret = "a secret";
	assert_int_equal(imgo__rpc_client_new(&client, fx.loop, &options, &error), 0);
	imgo__rpc_client_free(client);
}

#ifdef RPC_TLS
/* What a peer with these files is told: 0 when it is let in. */
static int calls_with(const char *cert, const char *key, const char *ca, const char *name)
{
	struct imgo_tls *ours = fx.tls, *tls = tls_of(cert, key, ca, name);

	imgo__rpc_client_free(fx.client);
	fx.tls = tls;
	fx.client = new_client(address(imgo__rpc_server_port(fx.server)), NULL, false);
	int err = call_sync("add", 1, 2, 3000);
	imgo__rpc_client_free(fx.client);
	fx.client = NULL;
	imgo_tls_free(tls);
	fx.tls = ours;
	return err;
}

static void certificates_of_both_sides(void **state)
{
	(void)state;
	assert_int_equal(calls_with(pki.cert, pki.key, pki.ca, NULL), 0);
	assert_int_equal(calls_with(pki.cert, pki.key, pki.ca, "imgo.test"), 0);
	assert_int_equal(calls_with(pki.cert, pki.key, pki.ca, "other.test"), IMGO_EUNAVAILABLE);
	/* The client's is of an authority that the server does not know, and the other way round. */
	assert_int_equal(calls_with(pki.other_cert, pki.other_key, pki.ca, NULL), IMGO_EUNAVAILABLE);
	assert_int_equal(calls_with(pki.cert, pki.key, pki.other_ca, NULL), IMGO_EUNAVAILABLE);
	assert_true(stat_of("imgo_tls_failures_total{why=\"certificate\"}") > 0);
	assert_true(stat_of("imgo_rpc_refused_total") > 0);
}

/* The server, too, looks at the name. */
static void name_of_the_client(void **state)
{
	struct imgo_tls *strict = tls_of(pki.cert, pki.key, pki.ca, "imgo.test"), *ours = fx.tls;
	char cert[128], key[128];

	(void)state;
	pki_path(&pki, cert, "stranger.pem");
	pki_path(&pki, key, "stranger.key");
	pki_issue(cert, key, "stranger.test", 3600, pki.root, pki.root_key);
	imgo__rpc_server_free(fx.server);
	fx.tls = strict;
	fx.server = new_server("127.0.0.1:0", NULL, 0);
	fx.tls = ours;
	assert_int_equal(calls_with(cert, key, pki.ca, NULL), IMGO_EUNAVAILABLE);
	assert_int_equal(calls_with(pki.cert, pki.key, pki.ca, NULL), 0);
	imgo__rpc_server_free(fx.server);
	imgo_tls_free(strict);
	fx.server = new_server("127.0.0.1:0", NULL, 0);
}

static void without_authority_or_certificate(void **state)
{
	struct imgo__rpc_server_options server = {.listen = "127.0.0.1:0", .methods = methods};
	struct imgo__rpc_client_options client = {.peers = "127.0.0.1:1"};
	struct imgo__rpc_server *s;
	struct imgo__rpc_client *c;
	struct imgo_error error;

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct imgo_tls *half = i ? tls_of(pki.cert, pki.key, NULL, NULL) : tls_of(NULL, NULL, pki.ca, NULL);
		server.tls = client.tls = half;
		assert_int_equal(imgo__rpc_server_new(&s, fx.loop, &server, &error), IMGO_EINVAL);
		assert_int_equal(imgo__rpc_client_new(&c, fx.loop, &client, &error), IMGO_EINVAL);
		imgo_tls_free(half);
	}
	/* With both, other machines are fine without a secret. */
	server.tls = client.tls = fx.tls;
	server.listen = "0.0.0.0:0";
	client.peers = "192.0.2.1:1";
	assert_int_equal(imgo__rpc_server_new(&s, fx.loop, &server, &error), 0);
	assert_int_equal(imgo__rpc_client_new(&c, fx.loop, &client, &error), 0);
	imgo__rpc_server_free(s);
	imgo__rpc_client_free(c);
}

/* A peer in the clear: each side waits for the other's kind, and not for ever. */
static void in_the_clear(void **state)
{
	struct imgo_tls *ours = fx.tls;

	(void)state;
	imgo__rpc_client_free(fx.client);
	fx.tls = NULL;
	fx.client = new_client(address(imgo__rpc_server_port(fx.server)), NULL, false);
	assert_int_equal(call_sync("add", 1, 2, 3000), IMGO_EUNAVAILABLE);
	fx.tls = ours;
	assert_true(stat_of("imgo_tls_failures_total{why=\"not_tls\"}") > 0);
}

static int make_pki(void **state)
{
	(void)state;
	pki_new(&pki);
	return 0;
}

static int free_pki(void **state)
{
	(void)state;
	pki_free(&pki);
	return 0;
}
#endif

#define test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

/* Peers of raw bytes, or in a process of their own: in the clear. */
__attribute__((unused)) static const struct CMUnitTest raw_peers[] = {
	test(stopped_peer),
	test(silent_listener),
	test(idle_silence_is_noticed),
	test(garbage),
	test(wrong_version),
	test(byte_by_byte),
	test(does_not_take_answers),
};

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(answers),
		test(many_in_flight),
		test(held_ones_pause_reading),
		test(without_callback),
		test(deadline),
		test(limits),
		test(big_answers),
		test(server_goes_midflight),
		test(unsent_is_surely_not_done),
		test(two_peers),
		test(spreads),
		test(secrets),
#ifdef RPC_TLS
		test(certificates_of_both_sides),
		test(name_of_the_client),
		test(without_authority_or_certificate),
		test(in_the_clear),
#endif
		test(free_with_calls_pending),
		test(free_inside),
		test(bad_peers),
	};

	signal(SIGPIPE, SIG_IGN);
#ifdef RPC_TLS
	return cmocka_run_group_tests(tests, make_pki, free_pki);
#else
	return cmocka_run_group_tests(tests, NULL, NULL) + cmocka_run_group_tests(raw_peers, NULL, NULL);
#endif
}
