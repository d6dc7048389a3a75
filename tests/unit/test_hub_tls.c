/* SPDX-License-Identifier: MIT */
/* A hub's connections in TLS, after the handshake: both dialects, both ways, long and slow, and every end. */
#include "tls_test.h"

#include <signal.h>

static struct pki pki;
static SSL_CTX *ctx12, *ctx13;
static struct tls_rig t;

#define FAILURES(why) rig_stat(&t.rig, "imgo_tls_failures_total{why=\"" why "\"}")

static int make_pki(void **state)
{
	(void)state;
	pki_new(&pki);
	ctx12 = tls_client_ctx(&pki, TLS1_2_VERSION);
	ctx13 = tls_client_ctx(&pki, TLS1_3_VERSION);
	return 0;
}

static int free_pki(void **state)
{
	(void)state;
	SSL_CTX_free(ctx12);
	SSL_CTX_free(ctx13);
	pki_free(&pki);
	return 0;
}

static int setup(void **state)
{
	(void)state;
	tls_rig_new(&t, &pki, NULL, NULL, 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	tls_rig_free(&t);
	return 0;
}

static void connected(struct tls_client *c, SSL_CTX *ctx, int port)
{
	tls_client_new(c, ctx, port);
	assert_int_equal(tls_client_connect(&t.rig, c), 1);
}

static void logged_in(struct tls_client *c, SSL_CTX *ctx)
{
	connected(c, ctx, t.tls_port);
	tls_put_packet(c, 7, 1, "user");
	tls_expect_packet(&t.rig, c, 8, 1, "");
}

/* ---- bytes ---- */

static void tcp_dialect(void **state)
{
	struct tls_client c;

	(void)state;
	for (int i = 0; i < 2; i++) {
		logged_in(&c, i ? ctx13 : ctx12);
		tls_put_packet(&c, 4, 2, "hello");
		tls_expect_packet(&t.rig, &c, 5, 2, "hello");
		tls_put_packet(&c, 2, 3, "");
		tls_expect_packet(&t.rig, &c, 3, 3, "");
		tls_client_free(&c);
	}
}

static void websocket_dialect(void **state)
{
	struct tls_client c;
	char got[512];
	uint8_t frame[512];
	static const char login_text[] = "{\"ver\":1,\"op\":7,\"seq\":1,\"body\":\"user\"}";
	static const char want[] = "[{\"ver\":1,\"op\":8,\"seq\":1,\"body\":{}}]\n";

	(void)state;
	connected(&c, ctx13, t.wss_port);
	tls_put(&c, upgrade_request, sizeof upgrade_request - 1);
	tls_get(&t.rig, &c, got, sizeof upgrade_answer - 1);
	assert_memory_equal(got, upgrade_answer, sizeof upgrade_answer - 1);
	tls_put(&c, frame, frame_bytes(frame, IMGO__WS_TEXT, true, login_text, sizeof login_text - 1));
	tls_get(&t.rig, &c, got, 2 + sizeof want - 1);
	assert_int_equal((uint8_t)got[0], 0x81);
	assert_memory_equal(got + 2, want, sizeof want - 1);
	/* A close frame of the client's is answered, and then comes close_notify. */
	tls_put(&c, frame, frame_bytes(frame, IMGO__WS_CLOSE, true, "\x03\xe8", 2));
	tls_get(&t.rig, &c, got, 4);
	assert_memory_equal(got, "\x88\x02\x03\xe8", 4);
	bool notified;
	assert_int_equal(tls_ending(&t.rig, &c, &notified), 0);
	assert_true(notified);
	SSL_shutdown(c.ssl);
	tls_client_give(&c, SIZE_MAX);
	tls_client_free(&c);
	rig_until(&t.rig, t.rig.closes == 1);
	assert_true(t.rig.closed.orderly);
}

/* The login, and more, in the same segment as the last bytes of the handshake. */
static void all_in_one_segment(void **state)
{
	struct tls_client c;
	uint8_t bytes[4096];
	size_t len;

	(void)state;
	tls_client_new(&c, ctx13, t.tls_port);
	tls_client_shake(&c);
	tls_client_give(&c, SIZE_MAX);
	rig_until(&t.rig, (tls_client_take(&c), BIO_pending(c.in) > 0));
	assert_int_equal(tls_client_shake(&c), 1);
	len = packet_bytes(bytes, 1, 7, 1, "user");
	len += packet_bytes(bytes + len, 1, 4, 2, "one");
	assert_int_equal(SSL_write(c.ssl, bytes, (int)len), len);
	len = packet_bytes(bytes, 1, 4, 3, "two");
	assert_int_equal(SSL_write(c.ssl, bytes, (int)len), len);
	tls_client_give(&c, SIZE_MAX);
	tls_expect_packet(&t.rig, &c, 8, 1, "");
	tls_expect_packet(&t.rig, &c, 5, 2, "one");
	tls_expect_packet(&t.rig, &c, 5, 3, "two");
	tls_client_free(&c);
}

/* While the host decides about a login, more is held than what is taken before it: it all comes, though the socket
 * will never be readable again. */
static void held_while_asked(void **state)
{
	struct tls_client c;
	char body[3000];

	(void)state;
	memset(body, 'x', sizeof body);
	body[sizeof body - 1] = 0;
	t.rig.auth = RIG_LATER;
	connected(&c, ctx13, t.tls_port);
	tls_put_packet(&c, 7, 1, "user");
	for (int i = 0; i < 4; i++)
		tls_put_packet(&c, 4, 10 + i, body);
	rig_until(&t.rig, t.rig.auths == 1);
	rig_for(&t.rig, 20);
	rig_grant(&t.rig, t.rig.conn);
	tls_expect_packet(&t.rig, &c, 8, 1, "");
	for (int i = 0; i < 4; i++)
		tls_expect_packet(&t.rig, &c, 5, 10 + i, body);
	tls_client_free(&c);
}

/* Many little packets in many little records: all read in one go. */
static void many_records_at_once(void **state)
{
	struct tls_client c;
	uint8_t bytes[64];
	size_t len;

	(void)state;
	logged_in(&c, ctx13);
	for (int i = 0; i < 300; i++) {
		len = packet_bytes(bytes, 1, 4, i, "x");
		for (size_t at = 0; at < len; at++) /* a record a byte */
			assert_int_equal(SSL_write(c.ssl, bytes + at, 1), 1);
	}
	while (tls_client_give(&c, SIZE_MAX))
		;
	for (int i = 0; i < 300; i++)
		tls_expect_packet(&t.rig, &c, 5, i, "x");
	tls_client_free(&c);
}

static void fan_out(void **state)
{
	struct tls_client c[3];
	struct imgo_msg *msg = message("to all");
	int plain;

	(void)state;
	for (int i = 0; i < 3; i++)
		logged_in(&c[i], i ? ctx13 : ctx12);
	plain = login(&t.rig, "plain");
	assert_int_equal(imgo_hub_broadcast(t.rig.hub, &msg, 1), 4);
	for (int i = 0; i < 3; i++) {
		uint8_t want[64], got[64];
		struct imgo__packet p = {.op = 5, .body = imgo_str("to all")};
		size_t n = imgo__packet_header(&p, want);
		memcpy(want + n, "to all", 6);
		tls_get(&t.rig, &c[i], got, n + 6);
		assert_memory_equal(got, want, n + 6);
		tls_client_free(&c[i]);
	}
	expect_packet(&t.rig, plain, 0, 5, 0, "to all");
	close(plain);
	imgo_msg_unref(msg);
}

/* ---- a slow reader, and what was acknowledged ---- */

enum { BIG = 100 * 1000, BIGS = 8 };

static void long_messages_to_a_slow_reader(void **state)
{
	struct imgo_hub_options options = IMGO_HUB_OPTIONS_INIT;
	static char body[BIG + 1], got[BIG + 16];
	uint64_t ends[BIGS], queued, acknowledged, before = 0;
	struct tls_client c;
	int small = 64 * 1024;

	(void)state;
	tls_rig_free(&t);
	options.write_queue_max_bytes = 16 << 20;
	tls_rig_new(&t, &pki, NULL, &options, 0);
	tls_client_new(&c, ctx13, t.tls_port);
	setsockopt(c.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
	assert_int_equal(tls_client_connect(&t.rig, &c), 1);
	tls_put_packet(&c, 7, 1, "user");
	tls_expect_packet(&t.rig, &c, 8, 1, "");
	for (int i = 0; i < BIGS; i++) {
		memset(body, 'a' + i, BIG);
		struct imgo_msg *msg = message(body);
		assert_int_equal(imgo_hub_send(t.rig.hub, t.rig.conn, &msg, 1), 0);
		imgo_msg_unref(msg);
		assert_int_equal(imgo_hub_position(t.rig.hub, t.rig.conn, &ends[i], NULL), 0);
	}
	rig_for(&t.rig, 30); /* the socket is full */
	assert_int_equal(imgo_hub_position(t.rig.hub, t.rig.conn, &queued, &acknowledged), 0);
	assert_int_equal(queued, ends[BIGS - 1]);
	assert_true(acknowledged < queued);
	for (int i = 0; i < BIGS; i++) {
		tls_get(&t.rig, &c, got, BIG + 16);
		for (int j = 0; j < BIG; j++)
			if (got[16 + j] != 'a' + i)
				fail_msg("message %d, byte %d", i, j);
		assert_int_equal(imgo_hub_position(t.rig.hub, t.rig.conn, NULL, &acknowledged), 0);
		assert_true(acknowledged >= before && acknowledged <= queued); /* it only moves on */
		before = acknowledged;
	}
	rig_until(&t.rig, (imgo_hub_position(t.rig.hub, t.rig.conn, NULL, &acknowledged), acknowledged == queued));
	tls_client_free(&c);
}

/* The client's TCP is closed for reading: what it did not take is not acknowledged, to the record. */
static void never_too_much_acknowledged(void **state)
{
	struct imgo_hub_options options = IMGO_HUB_OPTIONS_INIT;
	static char body[BIG + 1];
	uint64_t acknowledged, queued;
	struct tls_client c;
	int small = 64 * 1024;
	char *sink = test_malloc(8 << 20);

	(void)state;
	tls_rig_free(&t);
	options.write_queue_max_bytes = 16 << 20;
	tls_rig_new(&t, &pki, NULL, &options, 0);
	tls_client_new(&c, ctx13, t.tls_port);
	setsockopt(c.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
	assert_int_equal(tls_client_connect(&t.rig, &c), 1);
	tls_put_packet(&c, 7, 1, "user");
	tls_expect_packet(&t.rig, &c, 8, 1, "");
	memset(body, 'x', BIG);
	size_t plain = 16;
	for (int i = 0; i < 120; i++) { /* the last 40 are not taken */
		struct imgo_msg *msg = message(body);
		assert_int_equal(imgo_hub_send(t.rig.hub, t.rig.conn, &msg, 1), 0);
		imgo_msg_unref(msg);
		rig_for(&t.rig, 2);
		assert_int_equal(imgo_hub_position(t.rig.hub, t.rig.conn, &queued, &acknowledged), 0);
		/* All that the client's TCP has, decrypted, is at least what is said to be acknowledged. */
		if (i % 4 == 3 && i < 80) {
			tls_client_take(&c);
			int n;
			while ((n = SSL_read(c.ssl, sink, 8 << 20)) > 0)
				plain += (size_t)n;
			assert_true(plain >= acknowledged);
		}
	}
	assert_true(acknowledged > 0 && acknowledged < queued && plain < queued);
	test_free(sink);
	tls_client_free(&c);
	rig_until(&t.rig, t.rig.closes == 1);
	assert_true(t.rig.closed.acknowledged < t.rig.closed.queued);
}

static void too_slow(void **state)
{
	static char body[BIG + 1];
	struct tls_client c;

	(void)state;
	logged_in(&c, ctx13);
	memset(body, 'x', BIG);
	for (int i = 0; i < 200 && t.rig.closes == 0; i++) {
		struct imgo_msg *msg = message(body);
		(void)imgo_hub_send_user(t.rig.hub, imgo_str("user"), &msg, 1);
		imgo_msg_unref(msg);
		rig_turn(&t.rig);
	}
	rig_until(&t.rig, t.rig.closes == 1);
	assert_int_equal(t.rig.closed.why, IMGO_CLOSE_SLOW);
	/* What it gets is whole records and the end. */
	bool notified;
	assert_int_equal(tls_ending(&t.rig, &c, &notified), 0);
	assert_true(notified);
	tls_client_free(&c);
}

/* ---- floods of TLS itself ---- */

static void renegotiation_ends_it(void **state)
{
	struct tls_client c;

	(void)state;
	logged_in(&c, ctx12);
	assert_int_equal(SSL_renegotiate(c.ssl), 1);
	(void)SSL_do_handshake(c.ssl);
	tls_client_give(&c, SIZE_MAX);
	rig_until(&t.rig, t.rig.closes == 1);
	assert_int_equal(t.rig.closed.why, IMGO_CLOSE_PROTOCOL);
	assert_int_equal(FAILURES("renegotiation"), 1);
	tls_client_free(&c);
}

static void new_keys_now_and_then(void **state)
{
	struct tls_client c;

	(void)state;
	logged_in(&c, ctx13);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(SSL_key_update(c.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
		tls_put_packet(&c, 4, i, "x");
		tls_expect_packet(&t.rig, &c, 5, i, "x");
	}
	tls_client_free(&c);
}

static void new_keys_all_the_time(void **state)
{
	struct tls_client c;

	(void)state;
	logged_in(&c, ctx13);
	for (int i = 0; i < 2000 && t.rig.closes == 0; i++) {
		SSL_key_update(c.ssl, i % 2 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED);
		(void)SSL_do_handshake(c.ssl);
		if (i % 50 == 0) {
			tls_client_give(&c, SIZE_MAX);
			rig_turn(&t.rig);
		}
	}
	rig_until(&t.rig, t.rig.closes == 1);
	assert_int_equal(t.rig.closed.why, IMGO_CLOSE_FLOOD);
	assert_int_equal(FAILURES("rekey"), 1);
	tls_client_free(&c);
}

static void garbage_after_the_handshake(void **state)
{
	struct tls_client c;

	(void)state;
	logged_in(&c, ctx13);
	put(c.fd, "\x17\x03\x03\x00\x20 this is not what was encrypted !", 5 + 32);
	rig_until(&t.rig, t.rig.closes == 1);
	assert_int_equal(t.rig.closed.why, IMGO_CLOSE_PROTOCOL);
	tls_client_free(&c);
}

/* ---- ends ---- */

static void close_notify_is_an_orderly_end(void **state)
{
	struct tls_client c;
	bool notified;

	(void)state;
	logged_in(&c, ctx13);
	tls_put_packet(&c, 4, 2, "last words");
	SSL_shutdown(c.ssl);
	tls_client_give(&c, SIZE_MAX);
	tls_expect_packet(&t.rig, &c, 5, 2, "last words");
	assert_int_equal(tls_ending(&t.rig, &c, &notified), 0);
	assert_true(notified);
	rig_until(&t.rig, t.rig.closes == 1);
	assert_true(t.rig.closed.why == IMGO_CLOSE_PEER && t.rig.closed.orderly);
	tls_client_free(&c);
}

static void fin_without_close_notify(void **state)
{
	struct tls_client c;

	(void)state;
	logged_in(&c, ctx13);
	assert_int_equal(shutdown(c.fd, SHUT_WR), 0); /* half of it: the answer can still come */
	bool notified;
	assert_int_equal(tls_ending(&t.rig, &c, &notified), 0);
	rig_until(&t.rig, t.rig.closes == 1);
	assert_true(t.rig.closed.why == IMGO_CLOSE_PEER && t.rig.closed.orderly);
	tls_client_free(&c);
}

static void a_reset(void **state)
{
	struct linger now = {1, 0};
	struct tls_client c;

	(void)state;
	logged_in(&c, ctx13);
	setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	tls_client_free(&c);
	rig_until(&t.rig, t.rig.closes == 1);
	assert_int_equal(t.rig.closed.why, IMGO_CLOSE_RESET);
	assert_false(t.rig.closed.orderly);
}

/* The server ends it: what was sent arrives, then close_notify; a client that does not answer is waited for, and then
 * reset. */
static void closed_by_us(void **state)
{
	struct imgo_msg *msg = message("before");
	struct tls_client c;
	uint8_t got[22];
	bool notified;

	(void)state;
	logged_in(&c, ctx13);
	assert_int_equal(imgo_hub_send(t.rig.hub, t.rig.conn, &msg, 1), 0);
	assert_int_equal(imgo_hub_close(t.rig.hub, t.rig.conn, IMGO_CLOSE_KICKED), 0);
	imgo_msg_unref(msg);
	tls_get(&t.rig, &c, got, sizeof got);
	assert_memory_equal(got + 16, "before", 6);
	assert_int_equal(tls_ending(&t.rig, &c, &notified), 0);
	assert_true(notified);
	assert_int_equal(rig_stat(&t.rig, "imgo_hub_connections"), 1);
	uint64_t began = rig_ms();
	while (rig_stat(&t.rig, "imgo_hub_connections") == 1 && rig_ms() - began < 8000)
		rig_turn(&t.rig);
	assert_in_range(rig_ms() - began, 4000, 7000);
	tls_client_free(&c);
}

static void the_hub_goes(void **state)
{
	struct tls_client c;
	bool notified;

	(void)state;
	logged_in(&c, ctx13);
	imgo_hub_free(t.rig.hub);
	t.rig.freed = true;
	assert_int_equal(tls_ending(&t.rig, &c, &notified), 0);
	assert_true(notified);
	assert_int_equal(t.rig.closes, 1);
	tls_client_free(&c);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(tcp_dialect),
		TEST(websocket_dialect),
		TEST(all_in_one_segment),
		TEST(held_while_asked),
		TEST(many_records_at_once),
		TEST(fan_out),
		TEST(long_messages_to_a_slow_reader),
		TEST(never_too_much_acknowledged),
		TEST(too_slow),
		TEST(renegotiation_ends_it),
		TEST(new_keys_now_and_then),
		TEST(new_keys_all_the_time),
		TEST(garbage_after_the_handshake),
		TEST(close_notify_is_an_orderly_end),
		TEST(fin_without_close_notify),
		TEST(a_reset),
		TEST(closed_by_us),
		TEST(the_hub_goes),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, make_pki, free_pki);
}
