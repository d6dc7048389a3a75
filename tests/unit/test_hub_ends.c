/* SPDX-License-Identifier: MIT */
/* How far the bytes came, and how a connection ended: what acknowledgement by TCP rests on. Real sockets,
 * real endings. */
#include "hub_test.h"

#include <signal.h>
#include <sys/wait.h>

static struct rig rig;

static int setup(void **state)
{
	(void)state;
	rig_new(&rig, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rig_free(&rig);
	return 0;
}

static void send_one(const char *body)
{
	struct imgo_msg *msg = message(body);

	assert_int_equal(imgo_hub_send(rig.hub, rig.conn, &msg, 1), 0);
	imgo_msg_unref(msg);
}

static void orderly_after_reading(void **state)
{
	(void)state;
	for (int ws = 0; ws < 2; ws++) {
		int fd = ws ? ws_login(&rig, "t") : login(&rig, "t");
		uint64_t queued = 0, acknowledged = 0;
		send_one("1");
		assert_int_equal(imgo_hub_position(rig.hub, rig.conn, &queued, &acknowledged), 0);
		assert_true(acknowledged < queued);
		if (ws)
			expect_text(&rig, fd, "[{\"ver\":0,\"op\":5,\"seq\":0,\"body\":1}]");
		else
			expect_packet(&rig, fd, 0, 5, 0, "1");
		assert_int_equal(imgo_hub_position(rig.hub, rig.conn, &queued, &acknowledged), 0);
		assert_int_equal(acknowledged, queued);
		close(fd);
		rig_until(&rig, rig.closes == ws + 1);
		assert_int_equal(rig.closed.why, IMGO_CLOSE_PEER);
		assert_true(rig.closed.orderly);
		assert_int_equal(rig.closed.queued, queued);
		assert_int_equal(rig.closed.acknowledged, queued);
	}
}

/* Its TCP had the bytes, but the program never read them: the kernel says so with a reset. */
static void closed_with_unread_data(void **state)
{
	(void)state;
	for (int ws = 0; ws < 3; ws++) {
		int fd = ws ? ws_login(&rig, "t") : login(&rig, "t");
		int closes = rig.closes;
		send_one("1");
		rig_for(&rig, 10);
		if (ws == 2) /* a browser's tab that closes */
			put_frame(fd, IMGO__WS_CLOSE, true, "\x03\xe9");
		close(fd);
		rig_until(&rig, rig.closes == closes + 1);
		assert_int_equal(rig.closed.why, IMGO_CLOSE_RESET);
		assert_false(rig.closed.orderly);
	}
}

/* The peer's FIN was on its way when we sent more: that was not received. */
static void sent_after_the_fin(void **state)
{
	(void)state;
	int fd = login(&rig, "t");
	uint64_t before;
	assert_int_equal(imgo_hub_position(rig.hub, rig.conn, &before, NULL), 0);
	close(fd);
	send_one("too late");
	rig_until(&rig, rig.closes == 1);
	assert_true(!rig.closed.orderly || rig.closed.acknowledged <= before);
	assert_int_equal(rig.closed.queued, before + 16 + 8);
}

static void half_close(void **state)
{
	(void)state;
	int fd = client(rig.tcp);
	uint8_t b[256];
	size_t n = packet_bytes(b, 1, 7, 1, "t");
	n += packet_bytes(b + n, 1, 4, 2, "echo");
	put(fd, b, n);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	expect_packet(&rig, fd, 1, 8, 1, "");
	expect_packet(&rig, fd, 1, 5, 2, "echo");
	assert_int_equal(ending(&rig, fd, NULL), 0);
	assert_int_equal(rig.closed.why, IMGO_CLOSE_PEER);
	assert_true(rig.closed.orderly);
	close(fd);
}

/* A client in a process of its own, killed. */
static void killed(bool reads)
{
	int ready[2], closes = rig.closes;
	char c;

	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	if (pid == 0) {
		uint8_t b[256];
		int fd = client(rig.tcp);
		fcntl(fd, F_SETFL, 0);
		put_packet(fd, 1, 7, 1, "t");
		(void)!read(fd, b, 16);
		if (reads)
			(void)!read(fd, b, 16 + 4);
		(void)!write(ready[1], "r", 1);
		pause();
		_exit(0);
	}
	int auths = rig.auths;
	rig_until(&rig, rig.auths == auths + 1);
	send_one("data");
	fcntl(ready[0], F_SETFL, O_NONBLOCK);
	rig_until(&rig, read(ready[0], &c, 1) == 1);
	rig_for(&rig, 20);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	rig_until(&rig, rig.closes == closes + 1);
	close(ready[0]);
	close(ready[1]);
}

static void killed_client(void **state)
{
	(void)state;
	killed(false);
	assert_int_equal(rig.closed.why, IMGO_CLOSE_RESET);
	assert_false(rig.closed.orderly);
	killed(true);
	assert_int_equal(rig.closed.why, IMGO_CLOSE_PEER);
	assert_int_equal(rig.closed.queued, rig.closed.acknowledged);
}

/* It stops reading: it alone is closed, its memory stays within the bound, the others lose nothing. */
static void slow_consumer(void **state)
{
	enum { N = 3000 };
	(void)state;
	int slow = login(&rig, "slow"), quick = login(&rig, "quick");
	static char body[4096];
	memset(body, 'x', sizeof body - 1);
	for (int i = 0; i < N; i++) {
		struct imgo_msg *msg = message(body);
		imgo_hub_broadcast(rig.hub, &msg, 1);
		imgo_msg_unref(msg);
		expect_packet(&rig, quick, 0, 5, 0, body);
	}
	assert_int_equal(rig.closes, 1);
	assert_int_equal(rig.closed.why, IMGO_CLOSE_SLOW);
	assert_true(rig.closed.acknowledged <= rig.closed.queued);
	assert_int_equal(rig_stat(&rig, "imgo_hub_closed_total{why=\"slow\"}"), 1);
	assert_true(rig_stat(&rig, "imgo_hub_dropped_total") >= 1);
	struct imgo_hub_counts counts;
	imgo_hub_counts(rig.hub, &counts);
	assert_int_equal(counts.authenticated, 1);
	close(slow);
	close(quick);
}

/* A slow WebSocket client is told when it comes back soon, between two messages and not within one. */
static void slow_websocket(void **state)
{
	(void)state;
	int fd = ws_login(&rig, "slow");
	static char body[8192];
	memset(body, '7', sizeof body - 1);
	while (rig.closes == 0) {
		struct imgo_msg *msg = message(body);
		imgo_hub_send(rig.hub, rig.conn, &msg, 1);
		imgo_msg_unref(msg);
		rig_turn(&rig);
	}
	assert_int_equal(rig.closed.why, IMGO_CLOSE_SLOW);
	static char text[16384];
	size_t len;
	int messages = 0;
	while (get_frame(&rig, fd, text, sizeof text, &len) == IMGO__WS_TEXT)
		messages++;
	assert_true(messages > 10);
	assert_int_equal((uint8_t)text[0] << 8 | (uint8_t)text[1], 4008);
	assert_int_equal(ending(&rig, fd, NULL), 0);
	close(fd);
}

/* A queue forms, empties, and says so; the bytes are right. */
static void drains(void **state)
{
	(void)state;
	int fd = login(&rig, "t");
	static char body[200 * 1024];
	int sent = 0;
	memset(body, 'q', sizeof body - 1);
	uint64_t queued = 0, acknowledged = 0;
	do { /* longer than half the bound: one may wait, a second one not */
		struct imgo_msg *msg = message(body);
		assert_int_equal(imgo_hub_send(rig.hub, rig.conn, &msg, 1), 0);
		imgo_msg_unref(msg);
		sent++;
		imgo_loop_process(rig.loop);
		imgo_loop_process(rig.loop);
		imgo_hub_position(rig.hub, rig.conn, &queued, &acknowledged);
		assert_true(sent < 200);
	} while (rig_stat(&rig, "imgo_hub_bytes_out_total") == (int64_t)queued);
	for (int i = 0; i < sent; i++) {
		static uint8_t got[sizeof body + 16];
		get(&rig, fd, got, sizeof body - 1 + 16);
		assert_memory_equal(got + 16, body, sizeof body - 1);
	}
	rig_until(&rig, rig.drains == 1);
	imgo_hub_position(rig.hub, rig.conn, &queued, &acknowledged);
	rig_until(&rig, imgo_hub_position(rig.hub, rig.conn, &queued, &acknowledged) == 0 && queued == acknowledged);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(orderly_after_reading, setup, teardown),
		cmocka_unit_test_setup_teardown(closed_with_unread_data, setup, teardown),
		cmocka_unit_test_setup_teardown(sent_after_the_fin, setup, teardown),
		cmocka_unit_test_setup_teardown(half_close, setup, teardown),
		cmocka_unit_test_setup_teardown(killed_client, setup, teardown),
		cmocka_unit_test_setup_teardown(slow_consumer, setup, teardown),
		cmocka_unit_test_setup_teardown(slow_websocket, setup, teardown),
		cmocka_unit_test_setup_teardown(drains, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
