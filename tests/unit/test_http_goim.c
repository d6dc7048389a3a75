/* SPDX-License-Identifier: MIT */
/* goim's API (COMPATIBILITY.md §3): its calls, good and bad, and the exact answers. */
#include "http_test.h"

#define OK       "{\"code\":0,\"message\":\"\"}"
#define bad(why) "{\"code\":-400,\"message\":\"" why "\"}"

static void expect(struct response r, int status, const char *body)
{
	if (r.status != status || strcmp(r.body, body) != 0)
		fail_msg("%d %s, expected %d %s", r.status, r.body, status, body);
	assert_non_null(strstr(r.head, "Content-Type: application/json"));
}

static void expect_code(struct response r, int status, const char *code)
{
	if (r.status != status || !strstr(r.body, code) || !strstr(r.body, "\"message\":\""))
		fail_msg("%d %s, expected %d with %s", r.status, r.body, status, code);
	assert_null(strstr(r.body, "\"data\""));
}

/* ---- pushes ---- */

static void pushes_to_mids(void **state)
{
	(void)state;
	expect(post("/goim/push/mids?operation=1000&mids=123", "hello"), 200, OK);
	assert_int_equal(rig.rec.kind, IMGO_ENVELOPE_USERS); /* logged: it waits for who is away */
	assert_int_equal(rig.rec.topic, IMGO_TOPIC_USERS);
	assert_string_equal(rig.rec.first_user, "123");
	assert_string_equal(rig.rec.body, "hello");
	assert_int_equal(rig.rec.op, 1000);
	expect(post("/goim/push/mids?mids=1&operation=-7&mids=2&mids=007,9%2C10&mids=2", ""), 200, OK);
	assert_int_equal(rig.rec.nusers, 5);
	assert_int_equal(rig.rec.op, -7);
	assert_int_equal(rig.rec.body_len, 0);
	expect(post("/goim/push/mids?operation=5&mids=9223372036854775807", "x"), 200, OK);
	assert_string_equal(rig.rec.first_user, "9223372036854775807");
	assert_int_equal(stat_of("imgo_http_requests_total{call=\"/goim/push/mids\",status=\"2xx\"}"), 3);
}

static void pushes_to_keys(void **state)
{
	char target[400] = "/goim/push/keys?operation=1&keys=";

	(void)state;
	expect(post("/goim/push/keys?operation=1000&keys=123_1", "hello"), 200, OK);
	assert_int_equal(rig.rec.kind, IMGO_ENVELOPE_KEYS);
	assert_int_equal(rig.rec.topic, IMGO_TOPIC_CASTS);
	assert_string_equal(rig.rec.first_user, "123_1");
	expect(post("/goim/push/keys?keys=a,b&keys=a%20b&operation=1000&keys=a,b", "x"), 200, OK); /* no list */
	assert_int_equal(rig.rec.nusers, 2);
	memset(target + strlen(target), 'k', 96);
	expect(post(target, "x"), 200, OK);
	target[strlen(target)] = 'k';
	expect_code(post(target, "x"), 400, "\"code\":-400");
}

static void pushes_to_rooms_and_all(void **state)
{
	(void)state;
	expect(post("/goim/push/room?operation=1000&type=live&room=1000", "r"), 200, OK);
	assert_int_equal(rig.rec.kind, IMGO_ENVELOPE_ROOM);
	assert_string_equal(rig.rec.room, "live://1000");
	assert_int_equal(rig.rec.op, 1000);
	expect(post("/goim/push/room?operation=1&type=a%3a&room=%e2%82%ac/1", "r"), 200, OK);
	assert_string_equal(rig.rec.room, "a:://\xe2\x82\xac/1");
	expect(post("/goim/push/all?operation=1000", "a"), 200, OK);
	assert_int_equal(rig.rec.kind, IMGO_ENVELOPE_BROADCAST);
	assert_int_equal(rig.rec.speed, 0);
	expect(post("/goim/push/all?operation=1000&speed=500", "a"), 200, OK);
	assert_int_equal(rig.rec.speed, 500);
	expect(post("/goim/push/all?operation=1000&speed=-1", "a"), 200, OK);
	assert_int_equal(rig.rec.speed, 0);
}

static void keeps_the_key(void **state)
{
	struct imgo_msgid first;

	(void)state;
	expect(call_on(rig.port, "POST", "/goim/push/mids?operation=1&mids=1", "Idempotency-Key: k\r\n", imgo_str("x")),
		200, OK);
	first = rig.rec.msgid;
	expect(call_on(rig.port, "POST", "/1/push?uid=1", "Idempotency-Key: k\r\n", imgo_str("x")), 200, "{\"ret\":1}");
	assert_memory_equal(&first, &rig.rec.msgid, sizeof first); /* one name space */
	expect(post("/goim/push/mids?operation=1&mids=1", "x"), 200, OK);
	assert_memory_not_equal(&first, &rig.rec.msgid, sizeof first);
	expect_code(call_on(rig.port, "POST", "/goim/push/mids?operation=1&mids=1",
			    "Idempotency-Key: k\r\nIdempotency-Key: k\r\n", imgo_str("x")),
		400, "\"code\":-400");
}

static void refuses_parameters(void **state)
{
	static const char *const posts[] = {"/goim/push/mids", "/goim/push/mids?operation=1", "/goim/push/mids?mids=1",
		"/goim/push/mids?operation=&mids=1", "/goim/push/mids?operation=0&mids=1",
		"/goim/push/mids?operation=x&mids=1", "/goim/push/mids?operation=2147483648&mids=1",
		"/goim/push/mids?operation=1&mids=", "/goim/push/mids?operation=1&mids=0",
		"/goim/push/mids?operation=1&mids=-1", "/goim/push/mids?operation=1&mids=1,,2",
		"/goim/push/mids?operation=1&mids=1,", "/goim/push/mids?operation=1&mids=,1",
		"/goim/push/mids?operation=1&mids=1&mids=x", "/goim/push/mids?operation=1&mids=9223372036854775808",
		"/goim/push/mids?operation=1&mids=%zz", "/goim/push/mids?operation=1&mids=1%00", "/goim/push/keys",
		"/goim/push/keys?operation=1", "/goim/push/keys?operation=1&keys=", "/goim/push/keys?keys=a",
		"/goim/push/room", "/goim/push/room?operation=1&type=live", "/goim/push/room?operation=1&room=1",
		"/goim/push/room?operation=1&type=&room=1",
		"/goim/push/room?operation=1&type=live&room=", "/goim/push/room?type=live&room=1", "/goim/push/all",
		"/goim/push/all?operation=1&speed=x", "/goim/push/all?operation=1&speed="};
	static const char *const gets[] = {"/goim/online/top", "/goim/online/top?type=live", "/goim/online/top?limit=1",
		"/goim/online/top?type=live&limit=0", "/goim/online/top?type=live&limit=-1",
		"/goim/online/top?type=live&limit=x", "/goim/online/top?type=&limit=1", "/goim/online/room",
		"/goim/online/room?type=live", "/goim/online/room?rooms=1",
		"/goim/online/room?type=live&rooms=", "/goim/nodes/weighted?platform=%zz"};

	(void)state;
	for (size_t i = 0; i < sizeof posts / sizeof *posts; i++)
		expect_code(post(posts[i], "x"), 400, "\"code\":-400");
	for (size_t i = 0; i < sizeof gets / sizeof *gets; i++)
		expect_code(get(gets[i]), 400, "\"code\":-400");
	assert_int_equal(rig.rec.pushes, 0);
	expect(post("/goim/push/mids?operation=1&mids=1", "x"), 200, OK); /* and it lives */
}

/* As many users as a push may have, in the target; one more, and a target that is longer than may be. */
static void bounds(void **state)
{
	struct imgo__buf target = {0};
	char *big;

	(void)state;
	assert_int_equal(imgo__buf_printf(&target, "/goim/push/mids?operation=1"), 0);
	for (int i = 0; i < 10000; i++)
		assert_int_equal(imgo__buf_printf(&target, "&mids=%d", 1000000000 + i), 0);
	assert_int_equal(imgo__buf_append(&target, "", 1), 0);
	expect(post((char *)target.data, "x"), 200, OK);
	assert_int_equal(rig.rec.nusers, 10000);
	assert_int_equal(rig.rec.nrecords, RIG_PARTITIONS);
	target.len--;
	assert_int_equal(imgo__buf_printf(&target, "&mids=1"), 0);
	assert_int_equal(imgo__buf_append(&target, "", 1), 0);
	expect(post((char *)target.data, "x"), 413, bad("too many of them"));
	target.len--;
	while (target.len <= 256 * 1024)
		assert_int_equal(imgo__buf_printf(&target, "&mids=1"), 0);
	assert_int_equal(imgo__buf_append(&target, "", 1), 0);
	assert_int_equal(post((char *)target.data, "x").status, 414);
	imgo__buf_free(&target);
	big = calloc(1, 256 * 1024 + 1);
	expect(call_on(rig.port, "POST", "/goim/push/all?operation=1", NULL, imgo_strn(big, 256 * 1024)), 200, OK);
	expect(call_on(rig.port, "POST", "/goim/push/all?operation=1", NULL, imgo_strn(big, 256 * 1024 + 1)), 413,
		bad("message too long"));
	free(big);
}

/* A long head in many small pieces costs one look for each of its lines. */
static void slow_head(void **state)
{
	struct client c = client_open(rig.port);
	struct response r;

	(void)state;
	client_say(&c, "POST /goim/push/mids?operation=1&mids=1");
	for (int i = 0; i < 5000; i++)
		client_say(&c, i % 7 ? ",2" : ",333");
	client_say(&c, " HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r");
	rig_run(20);
	client_say(&c, "\nyPOST /goim/push/all?operation=2 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nz");
	assert_true(client_next(&c, &r, false));
	expect(r, 200, OK);
	assert_true(client_next(&c, &r, false));
	expect(r, 200, OK);
	assert_int_equal(rig.rec.pushes, 2);
	client_close(&c);
}

static void knows_methods_and_paths(void **state)
{
	static const char *const cases[] = {"GET /goim/push/mids?operation=1&mids=1", "GET /goim/push/all?operation=1",
		"HEAD /goim/push/room", "PUT /goim/push/keys", "POST /goim/online/total", "POST /goim/nodes/weighted",
		"GET /goim/", "GET /goim/push", "POST /goim/push/", "POST /goim/push/mid", "GET /goim/online/Total"};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char method[8], target[64];
		assert_int_equal(sscanf(cases[i], "%7s %63s", method, target), 2);
		struct response r = call_on(rig.port, method, target, NULL, imgo_str(""));
		assert_int_equal(r.status, 404);
		if (strcmp(method, "HEAD") != 0)
			assert_string_equal(r.body, bad("no such call"));
	}
	assert_int_equal(rig.rec.pushes, 0);
	assert_int_equal(call_on(rig.store_port, "GET", "/goim/online/total", NULL, imgo_str("")).status, 404);
}

static void says_when_it_fails(void **state)
{
	(void)state;
	rig.rec.down = true;
	struct response r = post("/goim/push/mids?operation=1&mids=1", "x");
	expect_code(r, 503, "\"code\":-500");
	assert_non_null(strstr(r.head, "Retry-After: "));
	rig.rec.down = false;
	rig.rec.err = IMGO_EIO;
	expect_code(post("/goim/push/room?operation=1&type=a&room=b", "x"), 503, "\"code\":-500");
	expect_code(get("/goim/nodes/weighted"), 503, "\"code\":-500"); /* no comet lives */
}

static void wants_the_key(void **state)
{
	(void)state;
	rig.options.api_key = "s3cret-key";
	rig_start();
	struct response r = post("/goim/push/mids?operation=1&mids=1", "x");
	expect(r, 401, bad("no valid key"));
	assert_non_null(strstr(r.head, "WWW-Authenticate: Bearer"));
	expect(get("/goim/online/total"), 401, bad("no valid key"));
	expect(call_on(rig.port, "POST", "/goim/push/mids?operation=1&mids=1", "Authorization: Bearer s3cret-key\r\n",
		       imgo_str("x")),
		200, OK);
}

/* ---- online and nodes ---- */

static int call_err;
static bool call_done;

static void on_call(int err, void *user)
{
	(void)user;
	call_err = err;
	call_done = true;
}

static void finish_call(int rc)
{
	assert_int_equal(rc, 0);
	while (!call_done)
		rig_turn(1);
	call_done = false;
	assert_int_equal(call_err, 0);
}

static void comet(uint32_t id, const char *address, struct imgo_comet_about about)
{
	struct imgo_registry_renew renew = {
		.comet = id, .inc = {1545750122311688, 1}, .address = imgo_str(address), .lease_ms = 60000, .about = about};

	finish_call(imgo_registry_renew(rig.registry, &renew, on_call, NULL));
}

static void session(uint32_t comet_id, uint64_t n, const char *user, const char *room)
{
	struct imgo_str rooms = imgo_str(room);
	struct imgo_registry_put put = {.session = {.id = {comet_id, {1545750122311688, 1}, n},
						.user = imgo_str(user),
						.rooms = &rooms,
						.nrooms = *room != '\0'}};

	finish_call(imgo_registry_put_many(rig.registry, &put, 1, on_call, NULL));
	assert_int_equal(put.err, 0);
}

static void online(void **state)
{
	(void)state;
	expect(get("/goim/online/top?type=live&limit=3"), 200, "{\"code\":0,\"message\":\"\",\"data\":[]}");
	expect(get("/goim/online/room?type=live&rooms=1"), 200, "{\"code\":0,\"message\":\"\",\"data\":{\"1\":0}}");
	expect(get("/goim/online/total"), 200, "{\"code\":0,\"message\":\"\",\"data\":{\"conn_count\":0,\"ip_count\":0}}");
	comet(1, "", (struct imgo_comet_about){.connections = 4, .ips = 2});
	comet(2, "", (struct imgo_comet_about){.connections = 2, .ips = 1});
	session(1, 1, "1", "live://1000");
	session(1, 2, "2", "live://2000");
	session(1, 3, "3", "live://2000");
	session(1, 4, "4", "");
	session(2, 1, "5", "live://\"3\"");
	session(2, 2, "5", "lives://1");
	expect(get("/goim/online/top?type=live&limit=2"), 200,
		"{\"code\":0,\"message\":\"\",\"data\":[{\"room_id\":\"2000\",\"count\":2},{\"room_id\":\"\\\"3\\\"\",\"count\":1}]}");
	expect(get("/goim/online/top?type=lives&limit=2147483647"), 200,
		"{\"code\":0,\"message\":\"\",\"data\":[{\"room_id\":\"1\",\"count\":1}]}");
	expect(get("/goim/online/top?type=liv&limit=1"), 200, "{\"code\":0,\"message\":\"\",\"data\":[]}");
	expect(get("/goim/online/room?type=live&rooms=2000&rooms=9&rooms=1000&rooms=2000"), 200,
		"{\"code\":0,\"message\":\"\",\"data\":{\"1000\":1,\"2000\":2,\"9\":0}}");
	expect(get("/goim/online/total"), 200, "{\"code\":0,\"message\":\"\",\"data\":{\"conn_count\":6,\"ip_count\":3}}");
}

static void nodes(void **state)
{
	struct imgo_comet_about about = {imgo_str("203.0.113.7,c1.example.org"), 3101, 3102, 3103, 300000, 10, 5, 4};

	(void)state;
	comet(1, "10.0.0.1:8092", about);
	expect(get("/goim/nodes/weighted?platform=android"), 200,
		"{\"code\":0,\"message\":\"\",\"data\":{\"domain\":\"localhost\",\"tcp_port\":3101,\"ws_port\":3102,\"wss_port\":3103,"
		"\"heartbeat\":120,\"heartbeat_max\":2,"
		"\"backoff\":{\"max_delay\":300,\"base_delay\":3,\"factor\":1.8,\"jitter\":0.3},\"nodes\":[\"203.0.113.7\"]}}");
	assert_non_null(strstr(get("/goim/nodes/weighted?platform=web").body, "\"nodes\":[\"c1.example.org\"]"));
	expect(get("/goim/nodes/instances"), 200,
		"{\"code\":0,\"message\":\"\",\"data\":[{\"region\":\"\",\"zone\":\"\",\"env\":\"\",\"appid\":\"goim.comet\","
		"\"hostname\":\"comet-1\",\"addrs\":[\"imgo://10.0.0.1:8092\"],\"version\":\"\","
		"\"latest_timestamp\":1545750122311688000,\"metadata\":{\"addrs\":\"203.0.113.7,c1.example.org\","
		"\"conn_count\":\"5\",\"ip_count\":\"4\",\"offline\":\"false\",\"weight\":\"10\",\"comet\":\"1\","
		"\"tcp_port\":\"3101\",\"ws_port\":\"3102\",\"wss_port\":\"3103\"}}]}");
	/* Of one kind only; else by the address of its RPC; else the domain. */
	about.hosts = imgo_str("203.0.113.8,[2001:db8::8]");
	comet(1, "10.0.0.1:8092", about);
	assert_non_null(
		strstr(get("/goim/nodes/weighted?platform=web").body, "\"nodes\":[\"203.0.113.8\",\"[2001:db8::8]\"]"));
	about.hosts = imgo_str("");
	comet(1, "10.0.0.1:8092", about);
	assert_non_null(strstr(get("/goim/nodes/weighted").body, "\"nodes\":[\"10.0.0.1\"]"));
	comet(1, "", about);
	assert_non_null(strstr(get("/goim/nodes/weighted").body, "\"nodes\":[\"localhost\"]"));
}

/* A chance by weight and connections; five at most; those with other ports are not mixed in. */
static void weighs_nodes(void **state)
{
	struct imgo_comet_about about = {.tcp_port = 1, .heartbeat_ms = 1000, .weight = 10, .connections = 10000};
	unsigned first_empty = 0, first_big = 0;

	(void)state;
	for (uint32_t i = 1; i <= 8; i++) {
		char host[16];
		snprintf(host, sizeof host, "10.0.0.%u", i);
		about.hosts = imgo_str(host);
		about.connections = i == 1 ? 0 : 10000;
		about.weight = i == 2 ? 30 : 10;
		about.tcp_port = i == 8 ? 2 : 1;
		comet(i, "", about);
	}
	for (int i = 0; i < 400; i++) {
		struct response r = get("/goim/nodes/weighted");
		const char *nodes_at = strstr(r.body, "\"nodes\":[\"");
		bool other = strstr(r.body, "\"tcp_port\":2") != NULL;
		unsigned commas = 0;
		assert_non_null(nodes_at);
		for (const char *p = nodes_at; *p; p++)
			commas += *p == ',';
		assert_int_equal(commas, other ? 0 : 4);
		assert_true(other == (strstr(nodes_at, "10.0.0.8") != NULL));
		assert_non_null(strstr(r.body, "\"heartbeat\":1,"));
		first_empty += strncmp(nodes_at + 10, "10.0.0.1\"", 9) == 0;
		first_big += strncmp(nodes_at + 10, "10.0.0.2\"", 9) == 0;
	}
	/* Expected: 400 * 9/(9+3+6*1) ≈ 190, and 3 for each one that 10.0.0.3 … get: 400 * 3/18 ≈ 64 */
	assert_in_range(first_empty, 120, 280);
	assert_in_range(first_big, 25, 120);
}

/* Many who ask at once share one answer of the routers; and the API may go before it comes. */
static void asks_once(void **state)
{
	struct client c = client_open(rig.port);
	struct response r;

	(void)state;
	comet(1, "", (struct imgo_comet_about){.hosts = imgo_str("h"), .connections = 1, .ips = 1});
	for (int i = 0; i < 3; i++)
		client_say(&c, "GET /goim/online/total HTTP/1.1\r\nHost: x\r\n\r\nGET /goim/nodes/weighted HTTP/1.1\r\nHost: x\r\n\r\n"
			       "GET /goim/nodes/instances HTTP/1.1\r\nHost: x\r\n\r\n");
	for (int i = 0; i < 9; i++) {
		assert_true(client_next(&c, &r, false));
		assert_int_equal(r.status, 200);
		assert_non_null(strstr(r.body, i % 3 == 0   ? "ip_count\":1"
					       : i % 3 == 1 ? "\"nodes\":[\"h\"]"
							    : "goim.comet"));
	}
	client_say(&c,
		"GET /goim/online/total HTTP/1.1\r\nHost: x\r\n\r\nGET /goim/online/top?type=a&limit=1 HTTP/1.1\r\nHost: x\r\n\r\n");
	client_take(&c);
	for (int i = 0; i < 50 && stat_of("imgo_http_requests_total{call=\"none\",status=\"2xx\"}") == 0; i++)
		imgo_loop_process(rig.loop);
	imgo_http_free(rig.http);
	rig.http = NULL;
	rig_run(20);
	client_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(pushes_to_mids, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(pushes_to_keys, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(pushes_to_rooms_and_all, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(keeps_the_key, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(refuses_parameters, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(bounds, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(slow_head, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(knows_methods_and_paths, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(says_when_it_fails, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(wants_the_key, rig_setup_only_prepared, rig_teardown),
		cmocka_unit_test_setup_teardown(online, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(nodes, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(weighs_nodes, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(asks_once, rig_setup, rig_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
