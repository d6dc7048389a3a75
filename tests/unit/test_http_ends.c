/* SPDX-License-Identifier: MIT */
/* The server under the push API: deadlines, ends of connections and of itself, want of room (FAILURES.md A3,
 * A9, O1, O2). */
#include "http_test.h"

#include <sys/resource.h>

#include "base/mem.h"
#include "service/http_impl.h"
#include "service/httpd_impl.h"

/* ---- deadlines ---- */

/* A3: the deadline of a request is absolute: a byte now and then does not move it. */
static void times_out(void **state)
{
	static const char *const parts[] = {"P", "POST /1/push?uid=1 HTTP/1.1\r\nHost: h\r\nX: ",
		"POST /1/push?uid=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\n"};

	(void)state;
	rig.options.request_timeout_ms = 200;
	rig_start();
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		struct client c = client_open(rig.port);
		uint64_t begin = now_ms();
		client_say(&c, PUSH_1);
		client_say(&c, parts[i]);
		next_is(&c, 200);
		while (client_has(&c) == 0 && now_ms() < begin + 1000) {
			client_say(&c, i == 0 ? "O" : "x");
			rig_run(20);
			client_take(&c);
		}
		assert_in_range(now_ms() - begin, 150, 600);
		next_is(&c, 408);
		client_ended(&c);
		client_close(&c);
	}
	rig_run(20);
	assert_int_equal(stat_of("imgo_http_timeouts_total{what=\"request\"}"), 3);
	assert_int_equal(stat_of("imgo_http_connections"), 0);
}

static void idles_out(void **state)
{
	struct client fresh, used;
	uint64_t begin = now_ms();

	(void)state;
	rig.options.idle_timeout_ms = 200;
	rig_start();
	fresh = client_open(rig.port);
	used = client_open(rig.port);
	client_say(&used, PUSH_1);
	next_is(&used, 200);
	rig.rec.hold = true; /* waiting for us is not idling */
	client_say(&used, PUSH_1);
	client_ended(&fresh);
	assert_in_range(now_ms() - begin, 180, 2000);
	rig_run(300);
	rig.rec.hold = false;
	rig_bus_release(&rig.rec);
	next_is(&used, 200);
	client_ended(&used);
	client_close(&fresh);
	client_close(&used);
	assert_int_equal(stat_of("imgo_http_timeouts_total{what=\"idle\"}"), 2);
}

/* ---- keep-alive and ends ---- */

static void keeps_alive_or_not(void **state)
{
	static const struct {
		const char *text;
		bool keep;
		const char *header;
	} cases[] = {
		{HEALTH, true, "\r\n"},
		{"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", false, "Connection: close\r\n"},
		{"GET /healthz HTTP/1.0\r\n\r\n", false, "Connection: close\r\n"},
		{"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true, "Connection: keep-alive\r\n"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct client c = client_open(rig.port);
		struct response r;
		for (int n = 0; n < (cases[i].keep ? 3 : 1); n++) {
			client_say(&c, cases[i].text);
			assert_true(client_next(&c, &r, false));
			assert_int_equal(r.status, 200);
			assert_non_null(strstr(r.head, cases[i].header));
		}
		if (!cases[i].keep)
			client_ended(&c);
		client_close(&c);
	}
}

static void counts_requests(void **state)
{
	struct client c;
	struct response r;

	(void)state;
	rig.options.requests_max = 3;
	rig_start();
	c = client_open(rig.port);
	client_say(&c, HEALTH HEALTH PUSH_1 PUSH_1 PUSH_1);
	for (int i = 0; i < 3; i++) {
		assert_true(client_next(&c, &r, false));
		assert_int_equal(r.keep_alive, i < 2);
	}
	client_ended(&c);
	client_close(&c);
	assert_int_equal(rig.rec.pushes, 1);
}

/* printf … | nc -N */
static void answers_who_has_said_all(void **state)
{
	struct client c = client_open(rig.port);

	(void)state;
	client_say(&c, PUSH_1 PUSH_1 "POST /1/pu");
	shutdown(c.fd, SHUT_WR);
	next_is(&c, 200);
	next_is(&c, 200);
	client_ended(&c);
	client_close(&c);
}

static void survives_who_has_gone(void **state)
{
	const struct linger now = {1, 0};
	struct client c = client_open(rig.port);

	(void)state;
	rig.rec.hold = true;
	client_say(&c, PUSH_1 PUSH_1);
	rig_run(10);
	setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	client_close(&c);
	rig_run(10);
	assert_int_equal(stat_of("imgo_http_connections"), 0);
	rig_bus_release(&rig.rec);
	rig.rec.hold = false;
	assert_int_equal(post("/1/push?uid=1", "x").status, 200);

	rig.rec.hold = true; /* and the API before the push */
	c = client_open(rig.port);
	client_say(&c, PUSH_1 "GET /1/msg/get?uid=1&mid=0&token=t HTTP/1.1\r\nHost: h\r\n\r\n");
	while (rig.rec.held == NULL)
		rig_turn(1);
	imgo_http_free(rig.http);
	rig.http = NULL;
	rig_run(10);
	rig_bus_release(&rig.rec);
	client_close(&c);
}

static void on_stopped(void *user)
{
	++*(int *)user;
}

static void stops(void **state)
{
	struct client idle = client_open(rig.port), busy = client_open(rig.port), partial = client_open(rig.port);
	struct response r;
	int stopped = 0;

	(void)state;
	rig.rec.hold = true;
	client_say(&busy, PUSH_1);
	client_say(&partial, "POST /1/push?uid=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhel");
	client_say(&idle, HEALTH);
	next_is(&idle, 200);
	rig_run(10);
	imgo_http_stop(rig.http, 5000, on_stopped, &stopped);
	assert_int_equal(stopped, 0);
	client_ended(&idle);
	client_close(&idle);
	rig.rec.hold = false;
	rig_bus_release(&rig.rec);
	assert_true(client_next(&busy, &r, false));
	assert_true(r.status == 200 && !r.keep_alive);
	client_ended(&busy);
	client_close(&busy);
	assert_int_equal(stopped, 0);
	client_say(&partial, "lo" PUSH_1);
	assert_true(client_next(&partial, &r, false));
	assert_true(r.status == 200 && !r.keep_alive);
	client_ended(&partial);
	client_close(&partial);
	rig_run(20);
	assert_int_equal(stopped, 1);
}

static void stops_at_the_deadline(void **state)
{
	struct client c = client_open(rig.port);
	int stopped = 0;

	(void)state;
	rig.rec.hold = true;
	client_say(&c, PUSH_1);
	rig_run(10);
	imgo_http_stop(rig.http, 50, on_stopped, &stopped);
	rig_run(120);
	assert_int_equal(stopped, 1);
	client_take(&c);
	assert_true(c.reset);
	client_close(&c);
}

/* ---- no room ---- */

static void bounds_connections(void **state)
{
	struct client c[5];

	(void)state;
	rig.options.connections_max = 3;
	rig_start();
	for (int i = 0; i < 3; i++) {
		c[i] = client_open(rig.port);
		client_say(&c[i], HEALTH);
		next_is(&c[i], 200);
	}
	c[3] = client_open(rig.port); /* in the kernel's queue */
	client_say(&c[3], HEALTH);
	rig_run(150);
	client_take(&c[3]);
	assert_int_equal(client_has(&c[3]), 0);
	assert_true(stat_of("imgo_http_accept_full_total") > 0);
	client_close(&c[1]);
	next_is(&c[3], 200);
	rig_run(1000); /* now the oldest one is idle for long enough to give way */
	c[4] = client_open(rig.port);
	client_say(&c[4], HEALTH);
	next_is(&c[4], 200);
	client_ended(&c[0]);
	assert_int_equal(stat_of("imgo_http_evicted_total"), 1);
	for (int i = 0; i < 5; i++)
		client_close(&c[i]);
}

/* O1, B17 */
static void survives_want_of_descriptors(void **state)
{
	struct rlimit old, low;
	struct client c;
	int last = dup(0);
	const char *preload = getenv("LD_PRELOAD");

	(void)state;
	close(last);
	if (preload && strstr(preload, "vgpreload"))
		skip(); /* valgrind keeps to the limit by closing what was accepted */
	getrlimit(RLIMIT_NOFILE, &old);
	c = client_open(rig.port);
	client_say(&c, HEALTH);
	low = old;
	low.rlim_cur = (rlim_t)last + 1; /* the client's is the last one */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	rig_run(250);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_in_range(stat_of("imgo_http_accept_failed_total"), 1, 5);
	next_is(&c, 200);
	client_close(&c);
}

/* What all connections hold together is bounded, however many bodies have begun. */
static void bounds_bytes(void **state)
{
	static char body[100 * 1000];
	struct client a = client_open(rig.port), b = client_open(rig.port);
	struct response r;

	(void)state;
	rig.http->httpd->options.bytes_max = 300 * 1000;
	client_say(&a, "POST /1/push?uid=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n");
	client_say(&b, "POST /1/push?uid=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n");
	client_send(&a, body, sizeof body);
	rig_run(20);
	client_send(&b, body, sizeof body);
	rig_run(20);
	client_send(&b, body, sizeof body);
	assert_true(client_next(&b, &r, false));
	assert_int_equal(r.status, 503);
	assert_false(r.keep_alive);
	assert_non_null(strstr(r.head, "Retry-After: 1\r\n"));
	client_ended(&b);
	client_send(&a, body, sizeof body);
	next_is(&a, 200);
	client_close(&a);
	client_close(&b);
	rig_run(20);
	assert_int_equal(rig.http->httpd->held, 0);
	assert_int_equal(stat_of("imgo_http_refused_total{reason=\"overload\"}"), 1);
}

/* One allocation fails, whichever: an error, a closed connection, but never a crash, and the next request
 * works. */
static void survives_want_of_memory(void **state)
{
	static const char text[] = PUSH_1 "POST /1/pushs HTTP/1.1\r\nHost: h\r\nContent-Length: "
					  "27\r\n\r\n{\"u\":[1,2],\"m\":\"x\",\"y\":[]}\n"
					  "POST /1/admin/token/new?uid=1&token=a%20b&expire=5 HTTP/1.1\r\nHost: "
					  "h\r\nContent-Length: 40\r\n\r\n"
					  "{\"device\":\"\\u0061\",\"rooms\":[1],\"rid\":77}"
					  "\nGET /1/count?type=server HTTP/1.1\r\nHost: h\r\n\r\n"
					  "GET /1/msg/get?uid=1&mid=0&token=t&cb=f HTTP/1.1\r\nHost: h\r\n\r\n";
	static char sink[65536];

	(void)state;
	for (long n = 0;; n++) {
		struct client c = client_open(rig.port);
		long left;
		imgo__mem_fail_after(n);
		assert_true(send(c.fd, text, sizeof text / 2, MSG_NOSIGNAL) > 0);
		for (int i = 0; i < 5; i++)
			rig_turn(0);
		(void)!send(c.fd, text + sizeof text / 2, sizeof text - 1 - sizeof text / 2, MSG_NOSIGNAL);
		for (int i = 0; i < 20; i++)
			rig_turn(0);
		left = imgo__mem_fail_after(-1);
		while (recv(c.fd, sink, sizeof sink, 0) > 0)
			;
		client_close(&c);
		rig_run(left == 0 ? 1 : 0);
		if (left > 0)
			break;
		assert_true(n < 1000);
	}
	rig_run(150); /* accepting may have paused */
	assert_int_equal(post("/1/push?uid=1", "x").status, 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(times_out, rig_setup_only_prepared, rig_teardown),
		cmocka_unit_test_setup_teardown(idles_out, rig_setup_only_prepared, rig_teardown),
		cmocka_unit_test_setup_teardown(keeps_alive_or_not, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(counts_requests, rig_setup_only_prepared, rig_teardown),
		cmocka_unit_test_setup_teardown(answers_who_has_said_all, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(survives_who_has_gone, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(stops, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(stops_at_the_deadline, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(bounds_connections, rig_setup_only_prepared, rig_teardown),
		cmocka_unit_test_setup_teardown(survives_want_of_descriptors, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(bounds_bytes, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(survives_want_of_memory, rig_setup, rig_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
