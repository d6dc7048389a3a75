/* SPDX-License-Identifier: MIT */
/* goim v2's dialects, byte for byte (COMPATIBILITY.md §1), and which operations a connection is sent. */
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

/* ---- clients ---- */

static int goim_login(const char *body)
{
	int fd = client(rig.tcp);

	put_packet(fd, 1, 7, 1, body);
	expect_packet(&rig, fd, 1, 8, 1, "");
	return fd;
}

static void put_binary(int fd, const uint8_t *bytes, size_t n)
{
	uint8_t frame[8192];

	put(fd, frame, frame_bytes(frame, IMGO__WS_BINARY, true, bytes, n));
}

static void put_ws_packet(int fd, int32_t op, int32_t seq, const char *body)
{
	uint8_t b[8000];

	put_binary(fd, b, packet_bytes(b, 1, op, seq, body));
}

static void expect_binary(int fd, const uint8_t *want, size_t n)
{
	char got[8192];
	size_t len;

	assert_int_equal(get_frame(&rig, fd, got, sizeof got, &len), IMGO__WS_BINARY);
	assert_int_equal(len, n);
	assert_memory_equal(got, want, n);
}

static void expect_binary_hex(int fd, const char *hex)
{
	uint8_t b[512];

	expect_binary(fd, b, hex_bytes(hex, b));
}

static void expect_ws_packet(int fd, int32_t op, int32_t seq, const char *body)
{
	uint8_t b[8000];

	expect_binary(fd, b, packet_bytes(b, 1, op, seq, body));
}

static int goim_ws_login(const char *body)
{
	int fd = ws_client(&rig);

	put_ws_packet(fd, 7, 1, body);
	expect_ws_packet(fd, 8, 1, "");
	return fd;
}

static struct imgo_msg *push_of(int32_t op, const char *body)
{
	struct imgo_msg *msg;

	assert_int_equal(imgo_msg_new(&msg, op, (struct imgo_id){0, 0}, body, strlen(body)), 0);
	return msg;
}

static void heartbeat_is(int fd, uint32_t online)
{
	uint8_t b[20];

	put_hex(fd, "00000010 0010 0001 00000002 00000007");
	get(&rig, fd, b, sizeof b);
	assert_memory_equal(b, "\0\0\0\x14\0\x10\0\x01\0\0\0\x03\0\0\0\x07", 16);
	assert_int_equal(imgo__get32(b + 16), online);
}

/* ---- tests ---- */

#define LOGIN "{\"mid\":123,\"key\":\"k1\",\"room_id\":\"live://1000\",\"platform\":\"web\",\"accepts\":[1000,1001]}"

static void golden_tcp(void **state)
{
	(void)state;
	int fd = goim_login(LOGIN);
	assert_int_equal(rig.mid, 123);
	assert_string_equal(rig.key, "k1");
	assert_string_equal(rig.room, "live://1000");
	assert_int_equal(rig.naccepts, 2);
	assert_false(rig.has_token);
	assert_string_equal(rig.token, LOGIN);
	put_hex(fd, "00000011 0010 0001 00000002 00000005 78"); /* heartbeat, in no room */
	expect_hex(&rig, fd, "00000014 0010 0001 00000003 00000005 00000000");
	put_hex(fd, "0000001b 0010 0001 0000000c 00000002 6c6976653a2f2f31303030");
	expect_hex(&rig, fd, "0000001b 0010 0001 0000000d 00000002 6c6976653a2f2f31303030");
	heartbeat_is(fd, 1);
	rig.online = 70000;
	heartbeat_is(fd, 70000);
	put_hex(fd, "00000018 0010 0001 0000000e 00000003 313030322c203103"); /* no list: nothing changes */
	expect_hex(&rig, fd, "00000018 0010 0001 0000000f 00000003 313030322c203103");
	put_hex(fd, "00000018 0010 0001 0000000e 00000003 313030322c203120");
	expect_hex(&rig, fd, "00000018 0010 0001 0000000f 00000003 313030322c203120");
	put_hex(fd, "00000014 0010 0001 00000010 00000004 31303032");
	expect_hex(&rig, fd, "00000014 0010 0001 00000011 00000004 31303032");
	put_hex(fd, "00000012 0010 0001 00000004 00000008 6869"); /* op 4, unknown ones, a second login, 254 */
	expect_hex(&rig, fd, "00000010 0010 0001 00000004 00000008");
	put_hex(fd, "00000012 0010 0007 00000063 00000009 6869");
	expect_hex(&rig, fd, "00000010 0010 0007 00000063 00000009");
	put_hex(fd, "00000012 0010 0001 00000007 0000000a 6869");
	expect_hex(&rig, fd, "00000010 0010 0001 00000007 0000000a");
	put_hex(fd, "00000010 0010 0001 000000fe 0000000b");
	expect_hex(&rig, fd, "00000010 0010 0001 000000fe 0000000b");
	put_hex(fd, "00000012 0010 0001 00000009 0000000c 6869"); /* op 9: nothing */
	put_hex(fd, "00000011 0010 0001 00000014 0000000d 72");   /* join and leave a further room */
	expect_hex(&rig, fd, "00000011 0010 0001 00000016 0000000d 72");
	put_hex(fd, "00000011 0010 0001 00000015 0000000e 72");
	expect_hex(&rig, fd, "00000011 0010 0001 00000017 0000000e 72");
	struct imgo_msg *msg = push_of(1000, "hello");
	assert_int_equal(imgo_hub_broadcast(rig.hub, &msg, 1), 1);
	expect_hex(&rig, fd, "00000015 0010 0001 000003e8 00000000 68656c6c6f");
	imgo_msg_unref(msg);
	struct imgo_msg *two[2] = {push_of(5, "a"), push_of(1001, "b")}; /* a batch is bare packets, a room asks no one */
	assert_int_equal(imgo_hub_send_room(rig.hub, imgo_str("live://1000"), two, 2), 1);
	expect_hex(&rig, fd, "00000011 0010 0001 00000005 00000000 61 00000011 0010 0001 000003e9 00000000 62");
	imgo_msg_unref(two[0]);
	imgo_msg_unref(two[1]);
	close(fd);
}

static void golden_websocket(void **state)
{
	(void)state;
	int fd = goim_ws_login(LOGIN);
	put_ws_packet(fd, 12, 2, "live://1000");
	expect_ws_packet(fd, 13, 2, "live://1000");
	put_ws_packet(fd, 2, 5, "");
	expect_binary_hex(fd, "00000014 0010 0001 00000003 00000005 00000001");
	put_ws_packet(fd, 4, 6, "x");
	expect_ws_packet(fd, 4, 6, "");
	put_ws_packet(fd, 14, 7, "1002");
	expect_ws_packet(fd, 15, 7, "1002");
	put_ws_packet(fd, 16, 8, "1002");
	expect_ws_packet(fd, 17, 8, "1002");
	put_ws_packet(fd, 9, 8, "1002");
	put_ws_packet(fd, 20, 9, "r");
	expect_ws_packet(fd, 22, 9, "r");
	struct imgo_msg *msg = push_of(1000, "hello");
	assert_int_equal(imgo_hub_send_user(rig.hub, imgo_str(rig.token), &msg, 1), 0); /* cut at IMGO_USER_MAX: nobody */
	assert_int_equal(imgo_hub_send(rig.hub, rig.conn, &msg, 1), 0);
	expect_binary_hex(fd, "00000025 0010 0001 00000009 00000000 00000015 0010 0001 000003e8 00000000 68656c6c6f");
	struct imgo_msg *two[2] = {push_of(5, "a"), msg};
	assert_int_equal(imgo_hub_send_room(rig.hub, imgo_str("live://1000"), two, 2), 1);
	expect_binary_hex(fd, "00000036 0010 0001 00000009 00000000 00000011 0010 0001 00000005 00000000 61"
			      "00000015 0010 0001 000003e8 00000000 68656c6c6f");
	imgo_msg_unref(two[0]);
	imgo_msg_unref(msg);
	close(fd);
}

/* A bare token in a binary frame, and version 2 there: its packets inside op 9. */
static void other_logins_in_binary_frames(void **state)
{
	(void)state;
	int fd = goim_ws_login("abc");
	assert_string_equal(rig.token, "abc");
	assert_true(rig.has_token);
	put_ws_packet(fd, 4, 6, "x");
	expect_ws_packet(fd, 4, 6, "");
	close(fd);
	fd = goim_ws_login("{\"token\":\"t\",\"room_id\":\"r\"}");
	assert_string_equal(rig.token, "t");
	assert_true(rig.has_token);
	close(fd);
	fd = ws_client(&rig);
	uint8_t b[256];
	put_binary(fd, b, packet_bytes(b, 2, 7, 3, "{\"token\":\"t\"}"));
	expect_binary(fd, b, packet_bytes(b, 2, 8, 3, ""));
	struct imgo_msg *msg;
	assert_int_equal(imgo_msg_new(&msg, 5, (struct imgo_id){9, 258}, "hi", 2), 0);
	assert_int_equal(imgo_hub_send(rig.hub, rig.conn, &msg, 1), 0);
	expect_binary_hex(fd, "0000002e 0010 0001 00000009 00000000"
			      "0000001e 001c 0002 00000005 00000000 00000009 0000000000000102 6869");
	imgo_msg_unref(msg);
	put_binary(fd, b, packet_bytes(b, 2, 4, 4, "hi")); /* an echo, as it is no goim client */
	expect_binary(fd, b, packet_bytes(b, 2, 5, 4, "hi"));
	put_binary(fd, b, packet_bytes(b, 2, 99, 4, "hi"));
	expect_close(&rig, fd, 1002);
	close(fd);
}

static void version_2_on_tcp_may_declare_too(void **state)
{
	(void)state;
	int fd = client(rig.tcp);
	put_packet(fd, 2, 7, 3, "{\"token\":\"t\",\"accepts\":[5]}");
	expect_packet(&rig, fd, 2, 8, 3, "");
	struct imgo_msg *two[2] = {push_of(6, "no"), push_of(5, "yes")};
	assert_int_equal(imgo_hub_broadcast(rig.hub, two, 2), 1);
	expect_packet(&rig, fd, 0, 5, 0, "yes");
	put_packet(fd, 2, 4, 4, "echo");
	expect_packet(&rig, fd, 2, 5, 4, "echo");
	imgo_msg_unref(two[0]);
	imgo_msg_unref(two[1]);
	close(fd);
}

static void one_dialect_a_connection(void **state)
{
	(void)state;
	int fd = goim_ws_login(LOGIN);
	put_text(fd, "{\"ver\":1,\"op\":2}");
	expect_close(&rig, fd, 1003);
	close(fd);
	fd = goim_ws_login(LOGIN);
	put_frame(fd, IMGO__WS_BINARY, true, "{\"ver\":1,\"op\":2}");
	expect_close(&rig, fd, 1003);
	close(fd);
	fd = ws_login(&rig, "t");
	put_ws_packet(fd, 2, 1, "");
	expect_close(&rig, fd, 1003);
	close(fd);
	/* JSON in a binary frame is JSON, and answered in text. */
	fd = ws_client(&rig);
	put_frame(fd, IMGO__WS_BINARY, true, " {\"ver\":1,\"op\":7,\"seq\":1,\"body\":\"t\"}");
	expect_text(&rig, fd, "[{\"ver\":1,\"op\":8,\"seq\":1,\"body\":{}}]");
	put_frame(fd, IMGO__WS_BINARY, true, "{\"op\":14,\"seq\":2,\"body\":\"7,8\"}");
	expect_text(&rig, fd, "[{\"ver\":0,\"op\":15,\"seq\":2,\"body\":\"7,8\"}]");
	close(fd);
}

struct bad_frame {
	const char *hex;
	unsigned code;
};

static void bad_packets_in_frames(void **state)
{
	static const struct bad_frame cases[] = {
		{"00", 1002}, {"00000010 0010 0001 00000007", 1002},
		{"00000010 0010 0001 00000007 00000001 00", 1002}, /* something behind it */
		{"0000000f 0010 0001 00000007 00000001", 1002}, {"00000010 0011 0001 00000007 00000001", 1002},
		{"ffffffff 0010 0001 00000007 00000001", 1009},
		{"00000010 0010 0001 00000002 00000001", 1002}, /* the first is not a login */
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		int fd = ws_client(&rig);
		uint8_t b[64];
		put_binary(fd, b, hex_bytes(cases[i].hex, b));
		expect_close(&rig, fd, cases[i].code);
		close(fd);
	}
	assert_int_equal(rig.auths, 0);
}

static void body_limit(void **state)
{
	static char body[4098];

	(void)state;
	memset(body, 'x', 4096);
	int fd = goim_login(LOGIN), ws = goim_ws_login(LOGIN);
	put_packet(fd, 1, 99, 1, body);
	expect_packet(&rig, fd, 1, 99, 1, "");
	put_ws_packet(ws, 99, 1, body);
	expect_ws_packet(ws, 99, 1, "");
	body[4096] = 'x';
	put_packet(fd, 1, 99, 1, body);
	assert_int_equal(ending(&rig, fd, NULL), 0);
	put_ws_packet(ws, 99, 1, body);
	expect_close(&rig, ws, 1009);
	assert_int_equal(rig_stat(&rig, "imgo_hub_closed_total{why=\"too_big\"}"), 2);
	close(fd);
	close(ws);
}

/* ---- wanted operations ---- */

/* Op 1 with body 1, … */
static void expect_ops(int fd, const char *digits)
{
	for (const char *at = digits; *at; at++) {
		char body[2] = {*at, 0};
		expect_packet(&rig, fd, 1, *at - '0', 0, body);
	}
}

static void broadcasts_by_operation(void **state)
{
	(void)state;
	int all = goim_login("{\"mid\":1}"), none = goim_login("{\"mid\":1,\"accepts\":[]}"),
	    odd = goim_login("{\"mid\":1,\"accepts\":[1,3,5]}"), two = goim_login("{\"mid\":1,\"accepts\":[2]}"),
	    odd_too = goim_login("{\"mid\":1,\"accepts\":[5,3,1,1]}");
	struct imgo_msg *messages[6];

	for (int i = 0; i < 6; i++) {
		char body[2] = {(char)('1' + i), 0};
		messages[i] = push_of(i + 1, body);
	}
	assert_int_equal(imgo_hub_broadcast(rig.hub, messages, 6), 5); /* more operations than one cast has */
	expect_ops(all, "123456");
	expect_ops(odd, "135");
	expect_ops(odd_too, "135");
	expect_ops(two, "2");
	assert_int_equal(rig_stat(&rig, "imgo_hub_filtered_total"), 6 + 3 + 5 + 3);
	for (int i = 5; i >= 0; i--) /* one by one, in one turn: a batch */
		assert_int_equal(imgo_hub_broadcast(rig.hub, &messages[i], 1), 5);
	expect_ops(all, "654321");
	expect_ops(odd, "531");
	expect_ops(two, "2");
	assert_int_equal(rig_stat(&rig, "imgo_hub_dropped_total"), 0);
	assert_int_equal(rig_stat(&rig, "imgo_hub_packets_out_total"), 5 + 2 * (6 + 3 + 3 + 1));
	put_packet(none, 1, 12, 1, "r");
	expect_packet(&rig, none, 1, 13, 1, "r");
	assert_int_equal(imgo_hub_send_room(rig.hub, imgo_str("r"), messages, 6), 1);
	expect_ops(none, "123456");
	for (int i = 0; i < 6; i++)
		imgo_msg_unref(messages[i]);
	close(all), close(none), close(odd), close(odd_too), close(two);
}

static void to_a_user_by_operation(void **state)
{
	static struct imgo_msg *messages[200];

	(void)state;
	int fd = client(rig.tcp);
	uint64_t before, after;
	put_packet(fd, 1, 7, 1, "{\"token\":\"u\",\"accepts\":[2]}");
	expect_packet(&rig, fd, 1, 8, 1, "");
	for (int i = 0; i < 200; i++)
		messages[i] = push_of(i % 2 ? 2 : 3, i % 2 ? "2" : "3");
	assert_int_equal(imgo_hub_position(rig.hub, rig.conn, &before, NULL), 0);
	assert_int_equal(imgo_hub_send(rig.hub, rig.conn, messages, 1), 0); /* filtered: as if sent */
	assert_int_equal(imgo_hub_position(rig.hub, rig.conn, &after, NULL), 0);
	assert_true(before == after);
	assert_int_equal(imgo_hub_send_user(rig.hub, imgo_str("u"), messages, 1), 1);
	assert_int_equal(imgo_hub_send_user(rig.hub, imgo_str("u"), messages, 200), 1);
	for (int i = 0; i < 100; i++)
		expect_packet(&rig, fd, 1, 2, 0, "2");
	assert_int_equal(imgo_hub_send(rig.hub, rig.conn, messages + 1, 1), 0);
	expect_packet(&rig, fd, 1, 2, 0, "2");
	assert_int_equal(rig_stat(&rig, "imgo_hub_filtered_total"), 102);
	for (int i = 0; i < 200; i++)
		imgo_msg_unref(messages[i]);
	close(fd);
}

static void subscribing(void **state)
{
	(void)state;
	int fd = login(&rig, "imgo"); /* not goim's alone */
	struct imgo_msg *six[6];
	for (int i = 0; i < 6; i++) {
		char body[2] = {(char)('1' + i), 0};
		six[i] = push_of(i + 1, body);
	}
#define EXPECT(digits) \
	do { \
		assert_int_equal(imgo_hub_send(rig.hub, rig.conn, six, 6), 0); \
		for (const char *at = digits; *at; at++) { \
			char body[2] = {*at, 0}; \
			expect_packet(&rig, fd, 0, *at - '0', 0, body); \
		} \
	} while (0)
	put_packet(fd, 1, 16, 1, "2"); /* who wants everything goes on wanting it */
	expect_packet(&rig, fd, 1, 17, 1, "2");
	EXPECT("123456");
	put_packet(fd, 1, 14, 2, "");
	expect_packet(&rig, fd, 1, 15, 2, "");
	EXPECT("123456");
	put_packet(fd, 1, 14, 3, "6, 2,2");
	expect_packet(&rig, fd, 1, 15, 3, "6, 2,2");
	EXPECT("26");
	put_packet(fd, 1, 14, 4, "1,6,3");
	expect_packet(&rig, fd, 1, 15, 4, "1,6,3");
	EXPECT("1236");
	put_packet(fd, 1, 16, 5, "1,2,9,6");
	expect_packet(&rig, fd, 1, 17, 5, "1,2,9,6");
	EXPECT("3");
	put_packet(fd, 1, 16, 6, "3");
	expect_packet(&rig, fd, 1, 17, 6, "3");
	EXPECT("");
	put_packet(fd, 1, 14, 7, "4");
	expect_packet(&rig, fd, 1, 15, 7, "4");
	EXPECT("4");
	for (int i = 0; i < 6; i++)
		imgo_msg_unref(six[i]);
	put_packet(fd, 1, 14, 7, "x");
	assert_int_equal(ending(&rig, fd, NULL), 0);
	rig_until(&rig, rig.closed.why == IMGO_CLOSE_PROTOCOL);
	close(fd);
}

static void too_many_operations(void **state)
{
	char list[2000];
	size_t n = 0;

	(void)state;
	for (int i = 0; i < IMGO_ACCEPTS_MAX; i++)
		n += (size_t)snprintf(list + n, sizeof list - n, "%s%d", i ? "," : "", i);
	int fd = goim_login("{\"mid\":1,\"accepts\":[5000]}");
	put_packet(fd, 1, 16, 1, "5000");
	expect_packet(&rig, fd, 1, 17, 1, "5000");
	put_packet(fd, 1, 14, 2, list);
	expect_packet(&rig, fd, 1, 15, 2, list);
	put_packet(fd, 1, 14, 3, "5000");
	assert_int_equal(ending(&rig, fd, NULL), 0);
	rig_until(&rig, rig.closed.why == IMGO_CLOSE_FLOOD);
	close(fd);
}

static void grants_are_checked(void **state)
{
	static const int32_t unsorted[] = {2, 1}, doubled[] = {1, 1};
	struct imgo_hub_grant grant = IMGO_HUB_GRANT_INIT;

	(void)state;
	rig.auth = RIG_LATER;
	int fd = client(rig.tcp);
	put_packet(fd, 1, 7, 1, "t");
	rig_until(&rig, rig.auths == 1);
	grant.user = imgo_str("u");
	grant.naccepts = 2;
	assert_int_equal(imgo_hub_auth_finish(rig.hub, rig.conn, &grant), IMGO_EINVAL);
	grant.accepts = unsorted;
	assert_int_equal(imgo_hub_auth_finish(rig.hub, rig.conn, &grant), IMGO_EINVAL);
	grant.accepts = doubled;
	assert_int_equal(imgo_hub_auth_finish(rig.hub, rig.conn, &grant), IMGO_EINVAL);
	grant.naccepts = 1;
	assert_int_equal(imgo_hub_auth_finish(rig.hub, rig.conn, &grant), 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(golden_tcp, setup, teardown),
		cmocka_unit_test_setup_teardown(golden_websocket, setup, teardown),
		cmocka_unit_test_setup_teardown(other_logins_in_binary_frames, setup, teardown),
		cmocka_unit_test_setup_teardown(version_2_on_tcp_may_declare_too, setup, teardown),
		cmocka_unit_test_setup_teardown(one_dialect_a_connection, setup, teardown),
		cmocka_unit_test_setup_teardown(bad_packets_in_frames, setup, teardown),
		cmocka_unit_test_setup_teardown(body_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(broadcasts_by_operation, setup, teardown),
		cmocka_unit_test_setup_teardown(to_a_user_by_operation, setup, teardown),
		cmocka_unit_test_setup_teardown(subscribing, setup, teardown),
		cmocka_unit_test_setup_teardown(too_many_operations, setup, teardown),
		cmocka_unit_test_setup_teardown(grants_are_checked, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
