/* SPDX-License-Identifier: MIT */
/* The server under the push API: framing, limits, order (FAILURES.md A1, A2, A4). */
#include "http_test.h"

/* ---- framing ---- */

/* A1: one answer, then the end; nothing of it is taken for a request. */
static void refuses_what_is_ambiguous(void **state)
{
#define CASE(text) \
	{ \
		"" text, sizeof(text) - 1 \
	}
#define SMUGGLED "POST /1/push?uid=666 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"
#define START    "POST /1/push?uid=1 HTTP/1.1\r\nHost: h\r\n"
	static const struct imgo_str cases[] = {
		CASE(START "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" SMUGGLED),
		CASE(START "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" SMUGGLED),
		CASE(START "Transfer-Encoding: gzip, chunked\r\n\r\n" SMUGGLED),
		CASE(START "Transfer-Encoding:\r\n chunked\r\n\r\n" SMUGGLED),
		CASE(START "Content-Length: 0\r\nContent-Length: 70\r\n\r\n" SMUGGLED),
		CASE(START "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello" SMUGGLED),
		CASE(START "Content-Length : 70\r\n\r\n" SMUGGLED),
		CASE(START "Content-Length: +3\r\n\r\nabc" SMUGGLED),
		CASE(START "Content-Length: -1\r\n\r\n" SMUGGLED),
		CASE(START "Content-Length: 3, 3\r\n\r\nabc" SMUGGLED),
		CASE(START "Content-Length: 18446744073709551617\r\n\r\n" SMUGGLED),
		CASE(START "X: a\r\n Content-Length: 70\r\n\r\n" SMUGGLED),
		CASE(START "X: a\nContent-Length: 0\r\n\r\n" SMUGGLED),
		CASE(START "X: a\rb\r\n\r\n" SMUGGLED),
		CASE(START "X: a\0b\r\n\r\n" SMUGGLED),
		CASE(START "\n" SMUGGLED),
		CASE("POST /1/push?uid=1 HTTP/1.1\r\n\r\n" SMUGGLED),
		CASE(START "Host: i\r\n\r\n" SMUGGLED),
		CASE("POST  /1/push?uid=1 HTTP/1.1\r\nHost: h\r\n\r\n" SMUGGLED),
		CASE("\r\n" SMUGGLED),
		CASE("POST http://h/1/push?uid=1 HTTP/1.1\r\nHost: h\r\n\r\n" SMUGGLED),
		CASE("\x16\x03\x01\x02\x00\x01\n"),
		CASE("POST /1/push?uid=1\r\n\r\n" SMUGGLED),
		CASE("POST /1/push?uid=1 HTTP/2.0\r\n\r\n" SMUGGLED),
		CASE(START "Expect: something\r\nContent-Length: 0\r\n\r\n" SMUGGLED),
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct client c = client_open(rig.port);
		struct response r;
		client_send(&c, cases[i].p, cases[i].len);
		assert_true(client_next(&c, &r, false));
		if (r.status < 400 || r.keep_alive || !strstr(r.body, "\"ret\":65534"))
			fail_msg("case %zu: %d %s", i, r.status, r.body);
		client_ended(&c);
		client_close(&c);
	}
	assert_int_equal(rig.rec.pushes, 0);
	assert_int_equal(stat_of("imgo_http_refused_total{reason=\"malformed\"}") +
				 stat_of("imgo_http_refused_total{reason=\"body_too_large\"}"),
		sizeof cases / sizeof *cases);
}

/* A2: the answer comes before the body does. */
static void refuses_what_is_too_large(void **state)
{
	struct imgo__buf text = {0};
	struct client c;

	(void)state;
	for (int which = 0; which < 5; which++) {
		static const int status[] = {431, 431, 431, 414, 413};
		text.len = 0;
		imgo__buf_printf(&text, which == 3 ? "GET /" : "POST /1/push?uid=1 HTTP/1.1\r\nHost: h\r\n");
		for (int i = 0; i < 64 && which == 0; i++)
			imgo__buf_printf(&text, "X: a\r\n"); /* with Host 65 */
		if (which == 1)
			imgo__buf_printf(&text, "X: %08000d\r\nY: %0200d\r\n", 0, 0);
		if (which == 2)
			imgo__buf_printf(&text, "X%09000d", 0); /* and no end of the line */
		if (which == 3)
			imgo__buf_printf(&text, "%0262144d HTTP/1.1\r\nHost: h\r\n", 0);
		if (which == 4)
			imgo__buf_printf(&text, "Content-Length: 1048577\r\n");
		imgo__buf_printf(&text, "\r\n");
		c = client_open(rig.port);
		client_send(&c, text.data, text.len);
		next_is(&c, status[which]);
		client_ended(&c);
		client_close(&c);
	}
	imgo__buf_free(&text);
	assert_int_equal(stat_of("imgo_http_refused_total{reason=\"head_too_large\"}"), 4);
}

/* The client that has begun to send a megabyte that is not wanted sees the answer, not a reset. */
static void lingers(void **state)
{
	static char body[1000 * 1000];
	struct client c = client_open(rig.port);

	(void)state;
	client_say(&c, "POST /1/push?uid=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n");
	client_send(&c, body, sizeof body);
	next_is(&c, 413);
	client_ended(&c);
	client_close(&c);

	/* A refusal that leaves the framing intact: the rest is skipped, the connection goes on. */
	c = client_open(rig.port);
	client_say(&c, "POST /nowhere HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n");
	client_send(&c, body, sizeof body);
	client_say(&c, PUSH_1);
	next_is(&c, 404);
	next_is(&c, 200);
	client_close(&c);
}

static void expects(void **state)
{
	static const struct {
		const char *head;
		int status;
	} refused[] = {{"POST /1/push?uid=1", 413}, {"POST /nowhere", 404}, {"GET /1/push?uid=1", 405}};
	struct client c = client_open(rig.port);
	struct response r;

	(void)state;
	client_say(&c, "POST /1/push?uid=1 HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: "
		       "5\r\n\r\n");
	next_is(&c, 100);
	client_say(&c, "hello" HEALTH);
	next_is(&c, 200);
	next_is(&c, 200);
	/* in its turn: not before what came before is answered */
	rig.rec.hold = true;
	client_say(&c, PUSH_1 "POST /1/push?uid=2 HTTP/1.1\r\nHost: h\r\nExpect: "
			      "100-continue\r\nContent-Length: 5\r\n\r\n");
	rig_run(20);
	client_take(&c);
	assert_int_equal(client_has(&c), 0);
	rig.rec.hold = false;
	rig_bus_release(&rig.rec);
	next_is(&c, 200);
	next_is(&c, 100);
	client_say(&c, "abcde");
	next_is(&c, 200);
	client_close(&c);
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) { /* not continued, and closed */
		char text[200];
		snprintf(text, sizeof text,
			"%s HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 300000\r\n\r\n",
			refused[i].head);
		c = client_open(rig.port);
		client_say(&c, text);
		assert_true(client_next(&c, &r, false));
		assert_int_equal(r.status, refused[i].status);
		assert_false(r.keep_alive);
		client_ended(&c);
		client_close(&c);
	}
}

/* ---- however it arrives ---- */

static const char stream[] =
	PUSH_1 "POST /1/push?uid=0 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc" HEALTH
	       "POST /none HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nGET " PUSH_1
	       "POST /1/push/all HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx";

static void stream_answers(struct client *c)
{
	static const int want[] = {200, 400, 200, 404, 200, 200};

	for (size_t i = 0; i < sizeof want / sizeof *want; i++)
		next_is(c, want[i]);
	client_ended(c);
	client_close(c);
}

static void splits_at_every_byte(void **state)
{
	struct client c;

	(void)state;
	for (size_t at = 0; at <= sizeof stream - 1; at++) {
		c = client_open(rig.port);
		client_send(&c, stream, at);
		rig_turn(0);
		rig_turn(0);
		client_send(&c, stream + at, sizeof stream - 1 - at);
		stream_answers(&c);
	}
	c = client_open(rig.port);
	for (size_t at = 0; at < sizeof stream - 1; at++) {
		client_send(&c, stream + at, 1);
		rig_turn(0);
	}
	stream_answers(&c);
	assert_int_equal(rig.rec.pushes, 3 * (sizeof stream + 1));
}

/* A4: a thousand at once, whose bus answers the wrong way round. */
static void pipelines_in_order(void **state)
{
	struct client c = client_open(rig.port);
	struct imgo__buf text = {0};
	unsigned held;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		const char *target = i % 7 == 0 ? "/none" : i % 5 == 0 ? "/1/push?uid=x" : "/1/push?uid=1";
		assert_int_equal(
			imgo__buf_printf(&text, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok", target), 0);
	}
	rig.rec.hold = true;
	client_send(&c, text.data, text.len);
	for (int i = 0; i < 1000; i++) {
		client_take(&c);
		for (int turn = 0; turn < 4 && client_has(&c) == 0; turn++) {
			rig_turn(0);
			client_take(&c);
		}
		held = 0;
		for (struct rig_produce *p = rig.rec.held; p; p = p->next)
			held++;
		assert_true(held <= 64);
		rig_bus_release(&rig.rec);
		next_is(&c, i % 7 == 0 ? 404 : i % 5 == 0 ? 400 : 200);
	}
	client_close(&c);
	imgo__buf_free(&text);
}

/* Reads nothing of a client that does not read: what it sends waits in its own kernel. */
static void presses_back(void **state)
{
	enum { LEN = sizeof HEALTH - 1, BLOCK = 1000 * LEN };
	static char block[BLOCK];
	struct client c = client_open(rig.port);
	size_t sent = 0, answers;
	int idle = 0;

	(void)state;
	for (int i = 0; i < 1000; i++)
		memcpy(block + i * LEN, HEALTH, LEN);
	while (idle < 50) {
		ssize_t n = send(c.fd, block + sent % BLOCK, BLOCK - sent % BLOCK, MSG_NOSIGNAL);
		sent += n > 0 ? (size_t)n : 0;
		idle = n > 0 ? 0 : idle + 1;
		rig_turn(n > 0 ? 0 : 1);
	}
	client_send(&c, &HEALTH[sent % LEN], (LEN - sent % LEN) % LEN);
	answers = (sent + LEN - 1) / LEN;
	assert_in_range(answers, 1000, 5000000);
	for (size_t i = 0; i < answers; i++)
		next_is(&c, 200);
	client_say(&c, PUSH_1);
	next_is(&c, 200);
	client_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(refuses_what_is_ambiguous, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(refuses_what_is_too_large, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(lingers, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(expects, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(splits_at_every_byte, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(pipelines_in_order, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(presses_back, rig_setup, rig_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
