/* SPDX-License-Identifier: MIT */
/* The WebSocket dialect in JSON (COMPATIBILITY.md §2): upgrade, frames, every refusal. */
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

static void session(void **state)
{
	(void)state;
	int fd = ws_login(&rig, "token");
	assert_string_equal(rig.token, "token");
	put_text(fd, "{\"op\":2,\"seq\":9}"); /* B19: what is omitted is 0 */
	expect_text(&rig, fd, "[{\"ver\":0,\"op\":3,\"seq\":9,\"body\":{}}]");
	put_frame(fd, IMGO__WS_BINARY, true, " {\"ver\":1,\"op\":4,\"seq\":2,\"body\":{\"a\":[1, \"x\\n\"]}}");
	expect_text(&rig, fd, "[{\"ver\":1,\"op\":5,\"seq\":2,\"body\":{\"a\":[1,\"x\\n\"]}}]");
	put_text(fd, "{\"ver\":1,\"op\":4,\"seq\":2,\"body\":\"te\\u0078t\"}");
	expect_text(&rig, fd, "[{\"ver\":1,\"op\":5,\"seq\":2,\"body\":\"te\\u0078t\"}]");
	put_text(fd, "{\"ver\":1,\"op\":254,\"seq\":3}");
	expect_text(&rig, fd, "[{\"ver\":1,\"op\":255,\"seq\":3,\"body\":{\"test\":\"come on\"}}]");
	put_text(fd, "{\"ver\":1,\"op\":12,\"seq\":4,\"body\":\"live:\\/\\/1\"}");
	expect_text(&rig, fd, "[{\"ver\":1,\"op\":13,\"seq\":4,\"body\":\"live:\\/\\/1\"}]");
	assert_int_equal(imgo_hub_room_size(rig.hub, imgo_str("live://1")), 1);
	put_text(fd, "{\"ver\":1,\"op\":12,\"seq\":4,\"body\":1000}");
	expect_text(&rig, fd, "[{\"ver\":1,\"op\":13,\"seq\":4,\"body\":1000}]");
	assert_int_equal(imgo_hub_room_size(rig.hub, imgo_str("1000")), 1);
	struct imgo_msg *two[2] = {message("{\"test\": 1}"), message("not json")}; /* B6 */
	assert_int_equal(imgo_hub_send_room(rig.hub, imgo_str("1000"), two, 2), 1);
	expect_text(&rig, fd,
		"[{\"ver\":0,\"op\":5,\"seq\":0,\"body\":{\"test\":1}},{\"ver\":0,\"op\":5,\"seq\":0,"
		"\"body\":\"not json\"}]");
	assert_int_equal(imgo_hub_send(rig.hub, rig.conn, two, 1), 0);
	expect_text(&rig, fd, "[{\"ver\":0,\"op\":5,\"seq\":0,\"body\":{\"test\":1}}]");
	put_text(fd, "{\"ver\":1,\"op\":12,\"seq\":4,\"body\":{}}");
	expect_text(&rig, fd, "[{\"ver\":1,\"op\":13,\"seq\":4,\"body\":{}}]");
	assert_int_equal(imgo_hub_room_size(rig.hub, imgo_str("1000")), 0);
	imgo_msg_unref(two[0]);
	imgo_msg_unref(two[1]);
	put_frame(fd, IMGO__WS_PING, true, "ping!");
	char text[128];
	size_t len;
	assert_int_equal(get_frame(&rig, fd, text, sizeof text, &len), IMGO__WS_PONG);
	assert_string_equal(text, "ping!");
	put_frame(fd, IMGO__WS_CLOSE, true, "\x03\xe8 bye");
	expect_close(&rig, fd, 1000);
	assert_int_equal(ending(&rig, fd, NULL), 0);
	assert_int_equal(rig.closes, 0); /* how it ends is not known yet */
	close(fd);
	rig_until(&rig, rig.closes == 1);
	assert_int_equal(rig.closed.why, IMGO_CLOSE_PEER);
	assert_true(rig.closed.orderly);
	assert_int_equal(rig.closed.queued, rig.closed.acknowledged);
}

static void tokens_of_any_kind(void **state)
{
	static const char *const bodies[][2] = {
		{"1", "1"}, {"{\"test\":1}", "{\"test\":1}"}, {"\"a\\\"b\"", "a\\\"b"}, {"null", "null"}};
	(void)state;
	for (size_t i = 0; i < 4; i++) { /* B3: none of them harms the next */
		char text[200];
		int fd = ws_client(&rig);
		snprintf(text, sizeof text, "{\"ver\":1,\"op\":7,\"seq\":1,\"body\":%s}", bodies[i][0]);
		put_text(fd, text);
		expect_text(&rig, fd, "[{\"ver\":1,\"op\":8,\"seq\":1,\"body\":{}}]");
		assert_string_equal(rig.token, bodies[i][1]);
		close(fd);
	}
}

static void version_2(void **state)
{
	(void)state;
	int fd = ws_client(&rig);
	rig.grant_reply = "{\"uid\":1}";
	put_text(fd, "{\"ver\":2,\"op\":7,\"seq\":1,\"body\":{\"token\":\"t\",\"device\":\"d\"}}");
	expect_text(&rig, fd, "[{\"ver\":2,\"op\":8,\"seq\":1,\"body\":{\"uid\":1}}]");
	assert_string_equal(rig.device, "d");
	struct imgo_msg *msg;
	assert_int_equal(imgo_msg_new(&msg, 5, (struct imgo_id){9, 258}, "1", 1), 0);
	assert_int_equal(imgo_hub_send(rig.hub, rig.conn, &msg, 1), 0);
	imgo_msg_unref(msg);
	expect_text(&rig, fd, "[{\"ver\":2,\"op\":5,\"seq\":0,\"body\":1,\"epoch\":9,\"id\":\"258\"}]");
	put_text(fd, "{\"ver\":2,\"op\":18,\"epoch\":9,\"id\":\"258\"}");
	rig_until(&rig, rig.packets == 1);
	assert_true(rig.packet.has_id && rig.packet.id.id == 258);
	expect_close(&rig, fd, 1002); /* the host did not take it */
	close(fd);
}

#define HEAD    "Host: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
#define KEY     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"

static void refused_upgrades(void **state)
{
	static const struct {
		const char *request, *answer;
	} cases[] = {
		{"GET /other HTTP/1.1\r\n" HEAD KEY VERSION "\r\n", "HTTP/1.1 404 "},
		{"POST /other HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 404 "},
		{"POST /sub HTTP/1.1\r\n" HEAD KEY VERSION "\r\n", "HTTP/1.1 405 "},
		{"GET /sub HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 400 "},
		{"GET /sub HTTP/1.1\r\n" HEAD VERSION "\r\n", "HTTP/1.1 400 "},
		{"GET /sub HTTP/1.1\r\n" HEAD KEY KEY VERSION "\r\n", "HTTP/1.1 400 "},
		{"GET /sub HTTP/1.1\r\n" HEAD "Sec-WebSocket-Key: short\r\n" VERSION "\r\n", "HTTP/1.1 400 "},
		{"GET /sub HTTP/1.1\r\n" HEAD KEY "Sec-WebSocket-Version: 8\r\n\r\n", "HTTP/1.1 426 "},
		{"GET /sub HTTP/1.1\r\n" HEAD KEY VERSION "Origin: https://evil.example\r\n\r\n", "HTTP/1.1 403 "},
		{"GET /sub HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 4"},
		{"\x16\x03\x01\x02garbage\r\n", "HTTP/1.1 400 "},
	};
	struct imgo_hub_options options = IMGO_HUB_OPTIONS_INIT;
	(void)state;
	rig_free(&rig);
	options.origins = "https://a.example, https://b.example";
	rig_new(&rig, &options);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		int fd = client(rig.ws);
		char text[64] = "";
		put(fd, cases[i].request, strlen(cases[i].request));
		get(&rig, fd, text, strlen(cases[i].answer));
		assert_string_equal(text, cases[i].answer);
		assert_int_equal(ending(&rig, fd, NULL), 0);
		close(fd);
	}
	int fd = client(rig.ws);
	const char *good = "GET /sub HTTP/1.1\r\n" HEAD KEY VERSION "Origin: https://B.example\r\n\r\n";
	put(fd, good, strlen(good));
	expect(&rig, fd, upgrade_answer, sizeof upgrade_answer - 1);
	close(fd);
	fd = client(rig.ws);
	char big[9000];
	memset(big, 'a', sizeof big);
	memcpy(big, "GET /sub HTTP/1.1\r\nX: ", 22);
	put(fd, big, sizeof big);
	char text[14] = "";
	get(&rig, fd, text, 13);
	assert_string_equal(text, "HTTP/1.1 431 ");
	close(fd);
}

static void wrong_frames(void **state)
{
	static const struct {
		const char *hex;
		unsigned code;
	} cases[] = {
		{"8105 68656c6c6f", 1002},          /* not masked */
		{"c185 00000000 68656c6c6f", 1002}, /* RSV */
		{"8385 00000000 68656c6c6f", 1002}, /* opcode */
		{"0985 00000000 68656c6c6f", 1002}, /* a fragmented ping */
		{"8085 00000000 68656c6c6f", 1002}, /* a continuation of nothing */
		{"89fe 0080", 1002},                /* a long ping */
		{"8881 00000000 03", 1002},         /* half a close code */
		{"8882 00000000 03ed", 1002},       /* close code 1005 */
		{"81fe 8000", 1009},                /* too big, known at the header */
		{"81ff 7fffffffffffffff", 1009},
		{"8184 00000000 ce61", 1007},       /* not UTF-8: fail fast, before the frame is whole */
		{"8185 00000000 68656c6c6f", 1002}, /* text that is not JSON */
		{"8282 00000000 0000", 1003},       /* goim's binary dialect: not yet */
		{"8282 00000000 7bff", 1007},       /* JSON must be UTF-8 in a binary frame, too */
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		int fd = ws_login(&rig, "t");
		int closes = rig.closes;
		put_hex(fd, cases[i].hex);
		expect_close(&rig, fd, cases[i].code);
		assert_int_equal(ending(&rig, fd, NULL), 0);
		close(fd);
		rig_until(&rig, rig.closes == closes + 1);
	}
}

static void fragments(void **state)
{
	const char *text = "{\"ver\":1,\"op\":4,\"seq\":2,\"body\":\"\xc3\xa4\"}";
	size_t len = strlen(text);
	(void)state;
	int fd = ws_login(&rig, "t");
	for (size_t i = 0; i < len; i++) {
		char one[2] = {text[i], 0};
		put_frame(fd, i ? IMGO__WS_CONT : IMGO__WS_TEXT, i == len - 1, one);
		if (i == len / 2)
			put_frame(fd, IMGO__WS_PING, true, "x");
	}
	char pong[8];
	size_t n;
	assert_int_equal(get_frame(&rig, fd, pong, sizeof pong, &n), IMGO__WS_PONG);
	expect_text(&rig, fd, "[{\"ver\":1,\"op\":5,\"seq\":2,\"body\":\"\xc3\xa4\"}]");
	/* never the last: it ends by the budget, the number of fragments or the size, all bounded */
	put_frame(fd, IMGO__WS_TEXT, false, "{");
	for (int i = 0; i < 1200; i++)
		(void)!send(fd, "\x00\x80\x00\x00\x00\x00", 6, MSG_NOSIGNAL);
	expect_close(&rig, fd, 1008);
	close(fd);
}

/* The same session, upgrade included, in pieces of every size. */
static void split_at_every_byte(void **state)
{
	uint8_t in[2048];
	size_t nin = sizeof upgrade_request - 1;
	const char *longer = "{\"ver\":1,\"op\":4,\"seq\":3,\"body\":\"some body, longer than 125 bytes, so that the "
			     "length "
			     "of the frame takes two bytes, and then letters of more than one: \xc3\xa4\xe2\x82\xac\"}";
	const char *texts[] = {"{\"ver\":1,\"op\":7,\"seq\":1,\"body\":\"token\"}", "{\"op\":2}", longer};
	(void)state;
	memcpy(in, upgrade_request, nin);
	for (int i = 0; i < 3; i++)
		nin += frame_bytes(in + nin, IMGO__WS_TEXT, true, texts[i], strlen(texts[i]));
	for (size_t piece = 1; piece <= nin; piece += piece < 200 ? 1 : 7) {
		int fd = client(rig.ws);
		rig.auth = piece % 2 ? RIG_ACCEPT : RIG_LATER;
		int auths = rig.auths;
		for (size_t at = 0; at < nin; at += piece) {
			put(fd, in + at, at + piece < nin ? piece : nin - at);
			imgo_loop_process(rig.loop);
			imgo_loop_process(rig.loop);
		}
		rig_until(&rig, rig.auths == auths + 1);
		if (rig.auth == RIG_LATER)
			rig_grant(&rig, rig.conn);
		expect(&rig, fd, upgrade_answer, sizeof upgrade_answer - 1);
		expect_text(&rig, fd, "[{\"ver\":1,\"op\":8,\"seq\":1,\"body\":{}}]");
		expect_text(&rig, fd, "[{\"ver\":0,\"op\":3,\"seq\":0,\"body\":{}}]");
		char text[300];
		size_t len;
		assert_int_equal(get_frame(&rig, fd, text, sizeof text, &len), IMGO__WS_TEXT);
		assert_non_null(strstr(text, "\xc3\xa4\xe2\x82\xac"));
		close(fd);
	}
	rig_until(&rig, rig_stat(&rig, "imgo_hub_connections") == 0);
}

static void reasons(void **state)
{
	static const struct {
		enum imgo_close why;
		unsigned code;
	} cases[] = {{IMGO_CLOSE_KICKED, 4003}, {IMGO_CLOSE_REPLACED, 4009}, {IMGO_CLOSE_SHUTDOWN, 1001},
		{IMGO_CLOSE_TRY_LATER, 1013}, {IMGO_CLOSE_DENIED, 4001}};
	(void)state;
	for (size_t i = 0; i < 5; i++) {
		int fd = ws_login(&rig, "t");
		assert_int_equal(imgo_hub_close(rig.hub, rig.conn, cases[i].why), 0);
		expect_close(&rig, fd, cases[i].code);
		assert_int_equal(ending(&rig, fd, NULL), 0);
		assert_int_equal(rig.closed.why, cases[i].why);
		close(fd);
	}
	int fd = ws_login(&rig, "t");
	imgo_hub_free(rig.hub);
	rig.freed = true;
	assert_int_equal(rig.closed.why, IMGO_CLOSE_SHUTDOWN);
	expect_close(&rig, fd, 1001);
	assert_int_equal(ending(&rig, fd, NULL), 0);
	close(fd);
}

/* ---- pings of the host's, and of the hub's ---- */

static void pings(void **state)
{
	char text[200] = "";
	size_t len;
	(void)state;
	int fd = ws_login(&rig, "t");
	struct imgo_conn conn = rig.conn;
	uint64_t written = 0, queued = 0;
	assert_int_equal(imgo_hub_ping(rig.hub, conn, imgo_str("")), IMGO_EINVAL);
	memset(text, 'x', 126);
	assert_int_equal(imgo_hub_ping(rig.hub, conn, imgo_strn(text, 126)), IMGO_EINVAL);
	assert_int_equal(imgo_hub_ping(rig.hub, conn, imgo_strn(text, 125)), 0);
	assert_int_equal(imgo_hub_position(rig.hub, conn, &queued, NULL), 0);
	assert_int_equal(imgo_hub_written(rig.hub, conn, &written), 0);
	assert_int_equal(queued - written, 127); /* the end of the turn writes it */
	assert_int_equal(get_frame(&rig, fd, text, sizeof text, &len), IMGO__WS_PING);
	assert_int_equal(len, 125);
	assert_int_equal(imgo_hub_written(rig.hub, conn, &written), 0);
	assert_int_equal(queued, written);
	put_frame(fd, IMGO__WS_PONG, true, "abc");
	rig_until(&rig, rig.pongs == 1);
	assert_string_equal(rig.pong, "abc");
	put_frame(fd, IMGO__WS_CLOSE, true, "\x03\xe8");
	expect_close(&rig, fd, 1000);
	assert_int_equal(imgo_hub_ping(rig.hub, conn, imgo_str("a")), IMGO_ESTALE);
	assert_int_equal(imgo_hub_written(rig.hub, conn, &written), IMGO_ESTALE);
	close(fd);
	fd = login(&rig, "t");
	assert_int_equal(imgo_hub_ping(rig.hub, rig.conn, imgo_str("a")), IMGO_ENOTSUP);
	close(fd);
}

/* A client that does not read is owed one pong, not ten thousand. */
static void pongs_are_coalesced(void **state)
{
	struct imgo_hub_options options = IMGO_HUB_OPTIONS_INIT;
	uint64_t queued, written, blocked;
	char *body = test_malloc(101000), text[128];
	size_t len;
	(void)state;
	rig_free(&rig);
	options.packets_per_second_max = 0;
	options.write_queue_max_bytes = 64 << 20;
	rig_new(&rig, &options);
	int fd = ws_login(&rig, "t");
	memset(body, '1', 100000);
	body[100000] = 0;
	struct imgo_msg *msg = message(body);
	do { /* until the socket takes no more */
		assert_int_equal(imgo_hub_send(rig.hub, rig.conn, &msg, 1), 0);
		rig_turn(&rig);
		rig_turn(&rig);
		imgo_hub_position(rig.hub, rig.conn, &blocked, NULL);
		imgo_hub_written(rig.hub, rig.conn, &written);
	} while (written == blocked);
	for (int i = 0; i < 1000; i++) {
		snprintf(text, sizeof text, "%d", i);
		put_frame(fd, IMGO__WS_PING, true, text);
	}
	put_text(fd, "{\"op\":4}");
	put_frame(fd, IMGO__WS_PING, true, "last");
	rig_until(&rig, rig.packets == 1);
	rig_for(&rig, 20);
	imgo_hub_position(rig.hub, rig.conn, &queued, NULL);
	assert_true(queued - blocked < 200); /* a pong, the echo, a pong */
	for (bool seen = false; !seen;) {
		uint8_t head[2];
		get(&rig, fd, head, 2);
		len = head[1];
		if (head[1] >= 126) {
			uint8_t more[8];
			get(&rig, fd, more, head[1] == 126 ? 2 : 8);
			len = head[1] == 126 ? (size_t)more[0] << 8 | more[1] : (size_t)imgo__get64(more);
		}
		get(&rig, fd, len < sizeof text ? text : body, len);
		seen = head[0] == (0x80 | IMGO__WS_PONG);
	}
	assert_memory_equal(text, "999", 3);
	assert_int_equal(get_frame(&rig, fd, text, sizeof text, &len), IMGO__WS_TEXT);
	assert_int_equal(get_frame(&rig, fd, text, sizeof text, &len), IMGO__WS_PONG);
	assert_string_equal(text, "last");
	imgo_msg_unref(msg);
	test_free(body);
	close(fd);
}

static void idle_clients_are_pinged(void **state)
{
	struct imgo_hub_options options = IMGO_HUB_OPTIONS_INIT;
	char text[32];
	size_t len;
	(void)state;
	rig_free(&rig);
	options.websocket_ping_ms = 100;
	rig_new(&rig, &options);
	int tcp = login(&rig, "t"), fd = ws_login(&rig, "t");
	uint64_t start = rig_ms();
	for (int i = 1; i <= 3; i++) {
		assert_int_equal(get_frame(&rig, fd, text, sizeof text, &len), IMGO__WS_PING);
		assert_int_equal(len, 0);
		assert_true(rig_ms() - start >= 90 * (unsigned)i);
		put_frame(fd, IMGO__WS_PONG, true, "");
	}
	rig_until(&rig, rig.pongs == 3);
	assert_int_equal(get_frame(&rig, fd, text, sizeof text, &len), IMGO__WS_PING);
	expect_close(&rig, fd, 1001);
	assert_true(rig_ms() - start >= 450);
	assert_int_equal(rig.closed.why, IMGO_CLOSE_HEARTBEAT);
	assert_int_equal(rig.closes, 1); /* the TCP client is left alone */
	close(fd);
	close(tcp);
}

/* ---- ends ---- */

/* A close frame, and close() without waiting for the answer: orderly, however late the FIN is within the moment that the
 * answer waits; after that the kernel resets, and the host is told that there was a close frame. */
static void close_frame_and_gone(void **state)
{
	char text[32];
	(void)state;
	for (int late = 0; late < 2; late++) {
		int fd = ws_login(&rig, "t"), closes = rig.closes;
		put_frame(fd, IMGO__WS_CLOSE, true, "\x03\xe8");
		if (late) {
			rig_until(&rig, recv(fd, text, 1, MSG_PEEK) == 1);
		} else {
			rig_turn(&rig);
			rig_turn(&rig);
		}
		close(fd);
		rig_until(&rig, rig.closes == closes + 1);
		assert_int_equal(rig.closed.why, late ? IMGO_CLOSE_RESET : IMGO_CLOSE_PEER);
		assert_int_equal(rig.closed.orderly, !late);
		assert_true(rig.closed.said_goodbye);
		assert_int_equal(rig.closed.written, rig.closed.queued);
	}
	int fd = ws_login(&rig, "t"), closes = rig.closes;
	close(fd);
	rig_until(&rig, rig.closes == closes + 1);
	assert_true(rig.closed.orderly && !rig.closed.said_goodbye);
}

/* Half-closed behind the close frame: it is answered, at once. */
static void close_frame_and_half_closed(void **state)
{
	(void)state;
	int fd = ws_login(&rig, "t");
	put_frame(fd, IMGO__WS_CLOSE, true, "\x0f\xa0");
	shutdown(fd, SHUT_WR);
	expect_close(&rig, fd, 4000);
	assert_int_equal(ending(&rig, fd, NULL), 0);
	rig_until(&rig, rig.closes == 1);
	assert_true(rig.closed.orderly && rig.closed.said_goodbye);
	close(fd);
}

/* The hub goes away while an answer waits. */
static void freed_before_the_answer(void **state)
{
	(void)state;
	int fd = ws_login(&rig, "t");
	put_frame(fd, IMGO__WS_CLOSE, true, "\x0f\xa0");
	while (imgo_hub_position(rig.hub, rig.conn, NULL, NULL) == 0)
		rig_turn(&rig);
	imgo_hub_free(rig.hub);
	rig.freed = true;
	assert_int_equal(rig.closes, 1);
	expect_close(&rig, fd, 4000);
	assert_int_equal(ending(&rig, fd, NULL), 0);
	close(fd);
}

/* Who never answers our close is reset after the linger time. */
static void never_reading_the_close(void **state)
{
	(void)state;
	int fd = ws_login(&rig, "t");
	uint64_t start = rig_ms();
	put_frame(fd, IMGO__WS_CLOSE, true, "\x03\xe8");
	while (rig.closes == 0 && rig_ms() < start + 7000)
		rig_turn(&rig);
	assert_true(rig_ms() - start >= 4900 && rig_ms() - start < 6000);
	assert_int_equal(rig.closes, 1);
	assert_false(rig.closed.orderly);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(session, setup, teardown),
		cmocka_unit_test_setup_teardown(tokens_of_any_kind, setup, teardown),
		cmocka_unit_test_setup_teardown(version_2, setup, teardown),
		cmocka_unit_test_setup_teardown(refused_upgrades, setup, teardown),
		cmocka_unit_test_setup_teardown(wrong_frames, setup, teardown),
		cmocka_unit_test_setup_teardown(fragments, setup, teardown),
		cmocka_unit_test_setup_teardown(split_at_every_byte, setup, teardown),
		cmocka_unit_test_setup_teardown(reasons, setup, teardown),
		cmocka_unit_test_setup_teardown(pings, setup, teardown),
		cmocka_unit_test_setup_teardown(pongs_are_coalesced, setup, teardown),
		cmocka_unit_test_setup_teardown(idle_clients_are_pinged, setup, teardown),
		cmocka_unit_test_setup_teardown(close_frame_and_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(close_frame_and_half_closed, setup, teardown),
		cmocka_unit_test_setup_teardown(freed_before_the_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(never_reading_the_close, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
