/* SPDX-License-Identifier: MIT */
/* The TCP dialect, byte for byte (COMPATIBILITY.md §1), and every way in which a connection ends. */
#include "hub_test.h"

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

static void golden_bytes(void **state)
{
	(void)state;
	int fd = client(rig.tcp);
	put_hex(fd, "00000015 0010 0001 00000007 00000001 746f6b656e");
	expect_hex(&rig, fd, "00000010 0010 0001 00000008 00000001");
	assert_string_equal(rig.token, "token");
	assert_int_equal(strncmp(rig.peer, "127.0.0.1:", 10), 0);
	put_hex(fd, "00000012 0010 0000 00000002 00000007 6162"); /* heartbeat, ver 0, any body */
	expect_hex(&rig, fd, "00000010 0010 0000 00000003 00000007");
	put_hex(fd, "00000013 0010 0001 00000004 fffffffe 616263");
	expect_hex(&rig, fd, "00000013 0010 0001 00000005 fffffffe 616263");
	put_hex(fd, "00000010 0010 0001 000000fe 00000009");
	expect_hex(&rig, fd, "00000022 0010 0001 000000ff 00000009 7b2274657374223a22636f6d65206f6e227d");
	struct imgo_msg *msg = message("hello");
	assert_int_equal(imgo_hub_send_user(rig.hub, imgo_str("token"), &msg, 1), 1);
	expect_hex(&rig, fd, "00000015 0010 0000 00000005 00000000 68656c6c6f");
	imgo_msg_unref(msg);
	msg = message("");
	assert_int_equal(imgo_hub_broadcast(rig.hub, &msg, 1), 1);
	expect_hex(&rig, fd, "00000010 0010 0000 00000005 00000000");
	imgo_msg_unref(msg);
	close(fd);
	rig_until(&rig, rig.closes == 1);
	assert_int_equal(rig.closed.why, IMGO_CLOSE_PEER);
	assert_true(rig.closed.orderly);
	assert_int_equal(rig.closed.acknowledged, rig.closed.queued);
}

static void quotes_around_the_token(void **state)
{
	(void)state;
	int fd = login(&rig, "\"abc\"");
	assert_string_equal(rig.token, "abc");
	close(fd);
	fd = login(&rig, "\"");
	assert_string_equal(rig.token, "\"");
	close(fd);
	fd = login(&rig, "{\"test\":1}");
	assert_string_equal(rig.token, "{\"test\":1}");
	close(fd);
}

static void rooms(void **state)
{
	(void)state;
	int a = login(&rig, "a"), b = login(&rig, "b");
	struct imgo_msg *pair[2] = {message("one"), message("two")};
	struct imgo_str list[4];
	put_packet(a, 1, 12, 5, "live://1000");
	expect_packet(&rig, a, 1, 13, 5, "live://1000");
	put_packet(b, 1, 12, 5, "live://1000");
	expect_packet(&rig, b, 1, 13, 5, "live://1000");
	assert_int_equal(rig.rooms, 2);
	assert_int_equal(imgo_hub_send_room(rig.hub, imgo_str("live://1000"), pair, 2), 2);
	expect_packet(&rig, a, 0, 5, 0, "one");
	expect_packet(&rig, a, 0, 5, 0, "two");
	expect_packet(&rig, b, 0, 5, 0, "one");
	expect_packet(&rig, b, 0, 5, 0, "two");
	put_packet(b, 1, 20, 6, "second");
	expect_packet(&rig, b, 1, 22, 6, "second");
	assert_int_equal(imgo_hub_rooms(rig.hub, rig.conn, list, 4), 2);
	put_packet(b, 1, 21, 7, "live://1000");
	expect_packet(&rig, b, 1, 23, 7, "live://1000");
	assert_int_equal(imgo_hub_rooms(rig.hub, rig.conn, list, 4), 1);
	assert_true(imgo_str_eq(list[0], imgo_str("second")));
	assert_int_equal(imgo_hub_room_size(rig.hub, imgo_str("live://1000")), 1);
	put_packet(b, 1, 12, 8, "");
	expect_packet(&rig, b, 1, 13, 8, "");
	assert_int_equal(imgo_hub_rooms(rig.hub, rig.conn, list, 4), 0);
	assert_int_equal(imgo_hub_room_size(rig.hub, imgo_str("second")), 0);
	assert_int_equal(imgo_hub_send_room(rig.hub, imgo_str("second"), pair, 2), 0);
	struct imgo_hub_counts counts;
	imgo_hub_counts(rig.hub, &counts);
	assert_int_equal(counts.rooms, 1);
	assert_int_equal(counts.users, 2);
	imgo_msg_unref(pair[0]);
	imgo_msg_unref(pair[1]);
	close(a);
	close(b);
}

static void version_2(void **state)
{
	(void)state;
	rig.grant_reply = "{\"uid\":1}";
	rig.grant_room = "r";
	int fd = client(rig.tcp);
	put_packet(fd, 2, 7, 3,
		" {\"device\":\"p\\u0068one\", \"token\":\"tok\\\"en\",\"rooms\":[\"live://1000\", \"x\"],"
		"\"resume\":{\"epoch\":7,\"id\":\"18446744073709551615\"},\"new\":[1,{}]} ");
	expect_packet(&rig, fd, 2, 8, 3, "{\"uid\":1}");
	assert_string_equal(rig.token, "tok\"en");
	assert_string_equal(rig.device, "phone");
	assert_int_equal(rig.nrooms, 2);
	assert_string_equal(rig.room, "live://1000");
	assert_true(rig.has_resume);
	assert_int_equal(rig.resume.epoch, 7);
	assert_true(rig.resume.id == UINT64_MAX);
	assert_int_equal(imgo_hub_room_size(rig.hub, imgo_str("r")), 1);
	struct imgo_msg *msg;
	assert_int_equal(imgo_msg_new(&msg, 5, (struct imgo_id){9, 258}, "hi", 2), 0);
	uint64_t queued, acknowledged;
	assert_int_equal(imgo_hub_send(rig.hub, rig.conn, &msg, 1), 0);
	assert_int_equal(imgo_hub_position(rig.hub, rig.conn, &queued, &acknowledged), 0);
	assert_int_equal(queued, 16 + 9 + 28 + 2);
	expect_hex(&rig, fd, "0000001e 001c 0002 00000005 00000000 00000009 0000000000000102 6869");
	rig_until(&rig, imgo_hub_position(rig.hub, rig.conn, NULL, &acknowledged) == 0 && acknowledged == queued);
	imgo_msg_unref(msg);
	/* an acknowledgement is the host's */
	put_hex(fd, "0000001c 001c 0002 00000012 00000000 00000009 0000000000000102");
	rig_until(&rig, rig.closes == 1); /* which did not take it */
	assert_int_equal(rig.packet.op, 18);
	assert_true(rig.packet.has_id);
	assert_int_equal(rig.packet.id.epoch, 9);
	assert_int_equal(rig.packet.id.id, 258);
	close(fd);
}

static void bare_token_and_version(void **state)
{
	(void)state;
	int fd = client(rig.tcp);
	put_packet(fd, 2, 7, 3, "bare");
	expect_packet(&rig, fd, 2, 8, 3, "");
	assert_string_equal(rig.token, "bare");
	close(fd);
	rig.grant_ver = 1;
	fd = client(rig.tcp);
	put_packet(fd, 2, 7, 3, "{\"other\":1}");
	expect_packet(&rig, fd, 1, 8, 3, "");
	assert_string_equal(rig.token, "{\"other\":1}");
	close(fd);
}

struct ending_case {
	const char *name, *hex;
	bool before; /* without a login */
	enum imgo_close why;
};

static void endings(void **state)
{
	static const struct ending_case cases[] = {
		{"first is not a login", "00000010 0010 0001 00000002 00000001", true, IMGO_CLOSE_PROTOCOL},
		{"second login", "00000011 0010 0001 00000007 00000001 61", false, IMGO_CLOSE_PROTOCOL},
		{"unknown operation", "00000010 0010 0001 00000063 00000001", false, IMGO_CLOSE_PROTOCOL},
		{"header length", "00000014 0014 0001 00000002 00000001 00000000", false, IMGO_CLOSE_PROTOCOL},
		{"length below header", "0000000f 0010 0001 00000002 00000001", false, IMGO_CLOSE_PROTOCOL},
		{"negative length", "ffffffff 0010 0001 00000002 00000001", false, IMGO_CLOSE_TOO_BIG},
		{"too long", "00001011 0010 0001 00000004 00000001", false, IMGO_CLOSE_TOO_BIG},
		{"an id in version 1", "0000001c 001c 0001 00000002 00000001 00000001 0000000000000001", false,
			IMGO_CLOSE_PROTOCOL},
		{"room key too long", NULL, false, IMGO_CLOSE_PROTOCOL},
		{"no room to join", "00000010 0010 0001 00000014 00000001", false, IMGO_CLOSE_PROTOCOL},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const struct ending_case *c = &cases[i];
		int closes = rig.closes;
		int fd = c->before ? client(rig.tcp) : login(&rig, "t");
		char key[140];
		memset(key, 'k', 129);
		key[129] = 0;
		if (c->hex)
			put_hex(fd, c->hex);
		else
			put_packet(fd, 1, 12, 1, key);
		if (ending(&rig, fd, NULL))
			fail_msg("%s: reset", c->name);
		close(fd);
		if (c->before)
			continue;
		rig_until(&rig, rig.closes == closes + 1);
		if (rig.closed.why != c->why)
			fail_msg("%s: %d, not %d", c->name, rig.closed.why, c->why);
	}
	assert_int_equal(rig_stat(&rig, "imgo_hub_closed_total{why=\"too_big\"}"), 2);
	rig_until(&rig, rig_stat(&rig, "imgo_hub_connections") == 0);
}

static void host_closes(void **state)
{
	(void)state;
	rig.auth = RIG_REFUSE;
	int fd = client(rig.tcp);
	put_packet(fd, 1, 7, 1, "bad");
	assert_int_equal(ending(&rig, fd, NULL), 0);
	assert_int_equal(rig.closed.why, IMGO_CLOSE_DENIED);
	close(fd);
	rig.auth = RIG_ACCEPT;
	fd = login(&rig, "a");
	struct imgo_msg *msg = message("last words");
	struct imgo_conn conn = rig.conn;
	assert_int_equal(imgo_hub_send(rig.hub, conn, &msg, 1), 0);
	assert_int_equal(imgo_hub_broadcast(rig.hub, &msg, 1), 1);
	assert_int_equal(imgo_hub_close(rig.hub, conn, IMGO_CLOSE_KICKED), 0);
	assert_int_equal(imgo_hub_close(rig.hub, conn, IMGO_CLOSE_KICKED), IMGO_ESTALE);
	assert_int_equal(imgo_hub_send(rig.hub, conn, &msg, 1), IMGO_ESTALE);
	assert_int_equal(imgo_hub_send_user(rig.hub, imgo_str("a"), &msg, 1), 0);
	assert_int_equal(imgo_hub_broadcast(rig.hub, &msg, 1), 0);
	imgo_msg_unref(msg);
	expect_packet(&rig, fd, 0, 5, 0, "last words");
	expect_packet(&rig, fd, 0, 5, 0, "last words");
	assert_int_equal(ending(&rig, fd, NULL), 0);
	assert_int_equal(rig.closed.why, IMGO_CLOSE_KICKED);
	close(fd);
}

static void deadlines(void **state)
{
	(void)state;
	rig_free(&rig);
	struct imgo_hub_options options = IMGO_HUB_OPTIONS_INIT;
	options.handshake_timeout_ms = 150;
	options.heartbeat_timeout_ms = 300;
	rig_new(&rig, &options);
	uint64_t start = rig_ms();
	int silent = client(rig.tcp), half = client(rig.tcp), drip = client(rig.ws), kept = login(&rig, "a");
	put_hex(half, "0000");
	for (int i = 0; i < 10; i++) { /* a byte now and then does not help (slowloris), heartbeats do */
		(void)!send(drip, upgrade_request + i, 1, MSG_NOSIGNAL);
		put_packet(kept, 1, 2, i, "");
		expect_packet(&rig, kept, 1, 3, i, "");
		rig_for(&rig, 50);
	}
	assert_int_equal(rig_stat(&rig, "imgo_hub_closed_total{why=\"handshake\"}"), 3);
	(void)ending(&rig, silent, NULL);
	(void)ending(&rig, half, NULL);
	(void)ending(&rig, drip, NULL);
	start = rig_ms();
	put_packet(kept, 1, 4, 0, "not a heartbeat");
	expect_packet(&rig, kept, 1, 5, 0, "not a heartbeat");
	assert_int_equal(ending(&rig, kept, NULL), 0);
	assert_true(rig_ms() - start < 400);
	assert_int_equal(rig.closed.why, IMGO_CLOSE_HEARTBEAT);
	/* the host that does not answer is no excuse */
	rig.auth = RIG_LATER;
	int fd = client(rig.tcp);
	put_packet(fd, 1, 7, 1, "t");
	(void)ending(&rig, fd, NULL);
	assert_int_equal(rig.closed.why, IMGO_CLOSE_HANDSHAKE);
	struct imgo_hub_grant grant = IMGO_HUB_GRANT_INIT;
	grant.user = imgo_str("t");
	assert_int_equal(imgo_hub_auth_finish(rig.hub, rig.conn, &grant), IMGO_ESTALE);
	assert_int_equal(imgo_hub_auth_refuse(rig.hub, rig.conn, IMGO_CLOSE_DENIED), IMGO_ESTALE);
	close(silent), close(half), close(drip), close(kept), close(fd);
}

static void pipelining_and_flood(void **state)
{
	uint8_t b[32 * 16 * 20];
	size_t n;
	(void)state;
	/* 300 packets with the login in one piece, while the host thinks */
	rig.auth = RIG_LATER;
	int fd = client(rig.tcp);
	n = packet_bytes(b, 1, 7, 1, "t");
	for (int i = 0; i < 300; i++)
		n += packet_bytes(b + n, 1, 2, i, "");
	put(fd, b, n);
	rig_until(&rig, rig.auths == 1);
	rig_for(&rig, 20);
	assert_int_equal(rig.packets, 0);
	rig_grant(&rig, rig.conn);
	expect_packet(&rig, fd, 1, 8, 1, "");
	for (int i = 0; i < 300; i++)
		expect_packet(&rig, fd, 1, 3, i, "");
	close(fd);
	rig_until(&rig, rig.closes == 1);
	assert_int_equal(rig.closed.why, IMGO_CLOSE_PEER);
	/* 600 are more than five seconds' worth */
	rig.auth = RIG_ACCEPT;
	fd = login(&rig, "u");
	n = 0;
	for (int i = 0; i < 600; i++)
		n += packet_bytes(b + n, 1, 2, i, "");
	put(fd, b, n);
	rig_until(&rig, rig.closes == 2);
	assert_int_equal(rig.closed.why, IMGO_CLOSE_FLOOD);
	close(fd);
	/* rooms: 17 */
	fd = login(&rig, "v");
	n = 0;
	for (int i = 0; i < 17; i++) {
		char key[16];
		snprintf(key, sizeof key, "r%d", i);
		n += packet_bytes(b + n, 1, 20, i, key);
	}
	put(fd, b, n);
	rig_until(&rig, rig.closes == 3);
	assert_int_equal(rig.closed.why, IMGO_CLOSE_FLOOD);
	close(fd);
}

/* The same session, in pieces of every size. */
static void split_at_every_byte(void **state)
{
	uint8_t in[1024], out[1024];
	size_t nin = 0, nout = 0;
	(void)state;
	nin += packet_bytes(in, 1, 7, 1, "token");
	nout += packet_bytes(out, 1, 8, 1, "");
	nin += packet_bytes(in + nin, 1, 2, 2, "");
	nout += packet_bytes(out + nout, 1, 3, 2, "");
	nin += packet_bytes(in + nin, 1, 4, 3, "some body of some length, longer than a header");
	nout += packet_bytes(out + nout, 1, 5, 3, "some body of some length, longer than a header");
	nin += packet_bytes(in + nin, 1, 12, 4, "room");
	nout += packet_bytes(out + nout, 1, 13, 4, "room");
	nin += packet_bytes(in + nin, 1, 254, 5, "");
	nout += packet_bytes(out + nout, 1, 255, 5, "{\"test\":\"come on\"}");
	for (size_t piece = 1; piece <= nin; piece++) {
		int fd = client(rig.tcp);
		rig.auth = piece % 2 ? RIG_ACCEPT : RIG_LATER;
		int auths = rig.auths;
		for (size_t at = 0; at < nin; at += piece) {
			put(fd, in + at, at + piece < nin ? piece : nin - at);
			rig_turn(&rig);
			imgo_loop_process(rig.loop);
		}
		rig_until(&rig, rig.auths == auths + 1);
		if (rig.auth == RIG_LATER)
			rig_grant(&rig, rig.conn);
		expect(&rig, fd, out, nout);
		close(fd);
	}
	rig_until(&rig, rig.closes == (int)nin);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(golden_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(quotes_around_the_token, setup, teardown),
		cmocka_unit_test_setup_teardown(rooms, setup, teardown),
		cmocka_unit_test_setup_teardown(version_2, setup, teardown),
		cmocka_unit_test_setup_teardown(bare_token_and_version, setup, teardown),
		cmocka_unit_test_setup_teardown(endings, setup, teardown),
		cmocka_unit_test_setup_teardown(host_closes, setup, teardown),
		cmocka_unit_test_setup_teardown(deadlines, setup, teardown),
		cmocka_unit_test_setup_teardown(pipelining_and_flood, setup, teardown),
		cmocka_unit_test_setup_teardown(split_at_every_byte, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
