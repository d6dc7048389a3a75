/* SPDX-License-Identifier: MIT */
/* The calls of the push API, good and bad (COMPATIBILITY.md §3; FAILURES.md A5 to A9; the defects B2 and
 * B23). */
#include "http_test.h"

#define OK     "{\"ret\":1}"
#define ret(n) "\"ret\":" #n

static void assert_answer(const struct response *r, int status, const char *part)
{
	if (r->status != status || !strstr(r->body, part))
		fail_msg("%d %s, expected %d %s", r->status, r->body, status, part);
	if (status >= 400)
		assert_null(strstr(r->body, "\"ret\":1}"));
	assert_non_null(strstr(r->head, "Content-Length: "));
}

static void expect(struct response r, int status, const char *part)
{
	assert_answer(&r, status, part);
}

static void pushes(void **state)
{
	(void)state;
	expect(post("/1/push?uid=123", "hello"), 200, OK);
	assert_int_equal(rig.rec.kind, IMGO_ENVELOPE_USERS);
	assert_int_equal(rig.rec.topic, IMGO_TOPIC_USERS);
	assert_string_equal(rig.rec.first_user, "123");
	assert_string_equal(rig.rec.body, "hello");
	assert_int_equal(rig.rec.op, 5);
	expect(post("/1/push?uid=0012&op=-7", ""), 200, OK); /* canonical; an empty message is one */
	assert_string_equal(rig.rec.first_user, "12");
	assert_int_equal(rig.rec.body_len, 0);
	assert_int_equal(rig.rec.op, -7);
	expect(post("/1/push?uid=9223372036854775807&qos=0", "\x01\xff"), 200, OK);
	assert_int_equal(rig.rec.kind, IMGO_ENVELOPE_DIRECT);
	assert_string_equal(rig.rec.first_user, "9223372036854775807");
	expect(post("/1/push/room?rid=-5&ensure=true", "r"), 200, OK);
	assert_int_equal(rig.rec.kind, IMGO_ENVELOPE_ROOM);
	assert_string_equal(rig.rec.room, "-5");
	expect(post("/1/push/room?room=live://%31", "r"), 200, OK);
	assert_string_equal(rig.rec.room, "live://1");
	expect(post("/1/push/all", "a"), 200, OK);
	assert_int_equal(rig.rec.kind, IMGO_ENVELOPE_BROADCAST);
	assert_int_equal(rig.rec.pushes, 6);
	assert_int_equal(stat_of("imgo_http_requests_total{call=\"/1/push\",status=\"2xx\"}"), 3);
}

static void pushes_to_many(void **state)
{
	(void)state;
	expect(post("/1/pushs", "{\"u\":[1,\"2\",3,3],\"m\": {\"t\" : [1.50, \"\\u00e9\"]} }"), 200, OK);
	assert_int_equal(rig.rec.nusers, 3);
	assert_string_equal(rig.rec.body, "{\"t\" : [1.50, \"\\u00e9\"]}"); /* the bytes that came */
	expect(post("/1/pushs?op=9&qos=0", " { \"x\":{\"m\":0}, \"m\":\"s\",\"\\u0075\":[9007199254740993]}\n"), 200, OK);
	assert_string_equal(rig.rec.first_user, "9007199254740993");
	assert_string_equal(rig.rec.body, "\"s\"");
	assert_int_equal(rig.rec.op, 9);
	assert_int_equal(rig.rec.kind, IMGO_ENVELOPE_DIRECT);
}

static void keeps_the_key(void **state)
{
	struct imgo_msgid first;
	char header[400] = "Idempotency-Key: ";

	(void)state;
	expect(call_on(rig.port, "POST", "/1/push?uid=1", "Idempotency-Key: k1\r\n", imgo_str("x")), 200, OK);
	first = rig.rec.msgid;
	expect(call_on(rig.port, "POST", "/1/push?uid=1", "idempotency-key:  k1 \r\n", imgo_str("x")), 200, OK);
	assert_memory_equal(&first, &rig.rec.msgid, sizeof first);
	expect(call_on(rig.port, "POST", "/1/push?uid=1", "Idempotency-Key: k2\r\n", imgo_str("x")), 200, OK);
	assert_memory_not_equal(&first, &rig.rec.msgid, sizeof first);
	expect(call_on(rig.port, "POST", "/1/push?uid=1", "Idempotency-Key: k\r\nIdempotency-Key: k\r\n", imgo_str("x")),
		400, ret(65534));
	memset(header + strlen(header), 'k', 256);
	strcat(header, "\r\n");
	expect(call_on(rig.port, "POST", "/1/push?uid=1", header, imgo_str("x")), 400, ret(65534));
}

/* B2, and every other parameter that is wrong. */
static void refuses_parameters(void **state)
{
	static const char *const targets[] = {"/1/push", "/1/push?uid=", "/1/push?uid=-1", "/1/push?uid=0",
		"/1/push?uid=9223372036854775808", "/1/push?uid=18446744073709551617", "/1/push?uid=1x",
		"/1/push?uid=+1", "/1/push?uid=%201", "/1/push?uid=1%00", "/1/push?uid=%zz", "/1/push?uid=1.0",
		"/1/push?uid=0x1", "/1/push?uid=1&op=x", "/1/push?uid=1&op=2147483648",
		"/1/push?uid=1&op=", "/1/push?uid=1&qos=2", "/1/push?uid=1&qos=", "/1/push/room",
		"/1/push/room?rid=", "/1/push/room?rid=-1", "/1/push/room?room=", "/1/push/room?rid=2147483648",
		"/1/push/room?rid=-2147483649", "/1/push/room?rid=live://1", "/1/push/room?rid=-", "/1/server/del",
		"/1/server/del?server=", "/1/server/del?server=0", "/1/server/del?server=-1",
		"/1/server/del?server=9223372036854775808"};

	(void)state;
	for (size_t i = 0; i < sizeof targets / sizeof *targets; i++)
		expect(post(targets[i], "x"), 400, ret(65534));
	expect(get("/1/count"), 400, ret(65534));
	expect(get("/1/count?type=rooms"), 400, ret(65534));
	assert_int_equal(rig.rec.pushes, 0);
	expect(post("/1/push?uid=1", "x"), 200, OK); /* and it lives */
}

/* A6 */
static void refuses_json(void **state)
{
	static const char *const bodies[] = {"", "x", "[]", "{}", "{\"u\":[1]}", "{\"m\":1}", "{\"u\":[],\"m\":1}",
		"{\"u\":1,\"m\":1}", "{\"u\":{},\"m\":1}", "{\"u\":[0],\"m\":1}", "{\"u\":[-1],\"m\":1}",
		"{\"u\":[1.0],\"m\":1}", "{\"u\":[1e3],\"m\":1}", "{\"u\":[true],\"m\":1}", "{\"u\":[null],\"m\":1}",
		"{\"u\":[[1]],\"m\":1}", "{\"u\":[\"\"],\"m\":1}", "{\"u\":[\"a\"],\"m\":1}",
		"{\"u\":[\" 1\"],\"m\":1}", "{\"u\":[\"\\u0031\"],\"m\":1}", "{\"u\":[9223372036854775808],\"m\":1}",
		"{\"u\":[99999999999999999999999],\"m\":1}", "{\"u\":[1],\"u\":[2],\"m\":1}",
		"{\"u\":[1],\"m\":1,\"m\":2}", "{\"u\":[1],\"m\":1,\"\\u006d\":2}", "{\"u\":[1],\"m\":NaN}",
		"{\"u\":[1],\"m\":Infinity}", "{\"u\":[1],\"m\":01}", "{\"u\":[1],\"m\":\"\xff\"}",
		"{\"u\":[1],\"m\":\"\\ud800\"}", "{\"u\":[1],\"m\":1} x", "{\"u\":[1],\"m\":1", "{\"u\":[1,],\"m\":1}",
		"{\"u\":[1] \"m\":1}", "{'u':[1],'m':1}", "{\"u\":[1],\"m\":\"a\nb\"}", "\xef\xbb\xbf{\"u\":[1],\"m\":1}"};
	char deep[200] = "{\"u\":[1],\"m\":";

	(void)state;
	for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
		expect(post("/1/pushs", bodies[i]), 400, ret(65534));
	memset(deep + strlen(deep), '[', 15);
	memset(deep + strlen(deep), ']', 15);
	strcat(deep, "}");
	expect(post("/1/pushs", deep), 200, OK); /* sixteen deep with the object */
	memcpy(deep + 13, "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]}", 34);
	expect(post("/1/pushs", deep), 400, ret(65534));
	assert_int_equal(rig.rec.pushes, 1);
}

/* A7 and the size of a message. */
static void refuses_too_much(void **state)
{
	struct imgo__buf body = {0};
	char *big;

	(void)state;
	assert_int_equal(imgo__buf_printf(&body, "{\"m\":1,\"u\":[1"), 0);
	for (int i = 2; i <= 10000; i++)
		assert_int_equal(imgo__buf_printf(&body, ",%d", i), 0);
	assert_int_equal(imgo__buf_printf(&body, "]}"), 0);
	expect(call_on(rig.port, "POST", "/1/pushs", NULL, imgo_strn(body.data, body.len)), 200, OK);
	assert_int_equal(rig.rec.nusers, 10000);
	assert_int_equal(rig.rec.nrecords, RIG_PARTITIONS);
	body.len -= 2;
	assert_int_equal(imgo__buf_printf(&body, ",10001]}"), 0);
	expect(call_on(rig.port, "POST", "/1/pushs", NULL, imgo_strn(body.data, body.len)), 413, ret(65534));
	for (int i = 0; body.len < 1000 * 1000; i++) { /* a million users */
		body.len -= 2;
		assert_int_equal(imgo__buf_printf(&body, ",1,1,1,1,1,1]}"), 0);
	}
	expect(call_on(rig.port, "POST", "/1/pushs", NULL, imgo_strn(body.data, body.len)), 413, ret(65534));
	imgo__buf_free(&body);

	big = calloc(1, 256 * 1024 + 1);
	expect(call_on(rig.port, "POST", "/1/push?uid=1", NULL, imgo_strn(big, 256 * 1024)), 200, OK);
	expect(call_on(rig.port, "POST", "/1/push?uid=1", NULL, imgo_strn(big, 256 * 1024 + 1)), 413, ret(65534));
	expect(call_on(rig.port, "POST", "/1/push/all", NULL, imgo_strn(big, 256 * 1024 + 1)), 413, ret(65534));
	free(big);
}

static void knows_methods_and_paths(void **state)
{
	static const struct {
		const char *method, *target;
		int status;
		const char *allow;
	} cases[] = {
		{"GET", "/1/push?uid=1", 405, "Allow: POST\r\n"},
		{"HEAD", "/1/push?uid=1", 405, "Allow: POST\r\n"},
		{"PUT", "/1/pushs", 405, "Allow: POST\r\n"},
		{"DELETE", "/1/push/all", 405, "Allow: POST\r\n"},
		{"OPTIONS", "/1/push/room?rid=1", 405, "Allow: POST\r\n"},
		{"POST", "/1/count?type=room", 405, "Allow: GET\r\n"},
		{"HEAD", "/1/count?type=room", 405, "Allow: GET\r\n"},
		{"GET", "/1/server/del?server=1", 405, "Allow: POST\r\n"},
		{"GET", "/1/admin/token/new", 405, "Allow: POST\r\n"},
		{"POST", "/1/msg/get", 405, "Allow: GET\r\n"},
		{"HEAD", "/healthz", 405, "Allow: GET\r\n"},
		{"get", "/healthz", 405, "Allow: GET\r\n"},
		{"GET", "/", 404, ""},
		{"POST", "/1/push/", 404, ""},
		{"POST", "/1/PUSH?uid=1", 404, ""},
		{"POST", "/1/%70ush?uid=1", 404, ""},
		{"POST", "//1/push?uid=1", 404, ""},
		{"HEAD", "/x", 404, ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct response r = call_on(rig.port, cases[i].method, cases[i].target, NULL, imgo_str(""));
		assert_int_equal(r.status, cases[i].status);
		assert_non_null(strstr(r.head, cases[i].allow));
		assert_true(strcmp(cases[i].method, "HEAD") == 0 || strstr(r.body, ret(65534)));
	}
	assert_int_equal(rig.rec.pushes, 0);
	/* The store's port has its call and no other. */
	assert_int_equal(call_on(rig.store_port, "POST", "/1/push?uid=1", NULL, imgo_str("")).status, 404);
	assert_int_equal(call_on(rig.store_port, "GET", "/healthz", NULL, imgo_str("")).status, 200);
}

/* Whatever is in the way: never ret 1, an HTTP error, and the same key again is the way out. */
static void says_when_it_fails(void **state)
{
	static const struct {
		int err, status;
		const char *ret;
	} cases[] = {{IMGO_EUNAVAILABLE, 503, ret(65535)}, {IMGO_ETIMEDOUT, 503, ret(65535)},
		{IMGO_ELIMIT, 503, ret(65535)}, {IMGO_EIO, 503, ret(65535)}, {IMGO_EPROTO, 500, ret(65535)},
		{IMGO_ECANCELED, 503, ret(65535)}, {IMGO_EFULL, 503, ret(65535)}};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct response r;
		rig.rec.err = cases[i].err;
		r = post("/1/push?uid=1", "x");
		assert_answer(&r, cases[i].status, cases[i].ret);
		assert_non_null(strstr(r.body, "\"retry\":true"));
		assert_true(cases[i].status != 503 || strstr(r.head, "Retry-After: 1\r\n"));
		expect(post("/1/pushs", "{\"u\":[1,2,3],\"m\":1}"), cases[i].status, cases[i].ret);
		expect(post("/1/push/all", "x"), cases[i].status, cases[i].ret);
	}
	rig.rec.err = 0;
	rig.rec.down = true;
	expect(post("/1/push?uid=1", "x"), 503, ret(65535));
	expect(get("/healthz"), 503, "{\"ready\":false,\"missing\":[\"bus\"]}");
	rig.rec.full = true;
	expect(get("/healthz"), 503, "{\"ready\":false,\"missing\":[\"bus\"]}");
	rig.rec.down = false;
	expect(get("/healthz"), 503, "{\"ready\":false,\"missing\":[\"space\"]}");
	rig.rec.full = false;
	expect(get("/healthz"), 200, "{\"ready\":true}");
	expect(post("/1/push?uid=1", "x"), 200, OK);
	assert_int_equal(stat_of("imgo_http_requests_total{call=\"/1/push\",status=\"5xx\"}"), 8);
}

/* A9: a bus that is full. */
static void says_when_it_is_full(void **state)
{
	struct imgo_bus_memory_options options = IMGO_BUS_MEMORY_OPTIONS_INIT;
	struct imgo_bus *bus;
	struct response r;
	char body[1000];

	(void)state;
	options.bytes_max = 4096;
	assert_int_equal(imgo_bus_new_memory(&bus, rig.loop, &options, NULL), 0);
	rig.bus = bus;
	rig_start();
	memset(body, 'x', sizeof body);
	for (int i = 0; i < 10; i++) {
		r = call_on(rig.port, "POST", "/1/push?uid=1", NULL, imgo_strn(body, sizeof body));
		if (r.status != 200)
			break;
	}
	assert_answer(&r, 503, ret(65535));
	assert_non_null(strstr(r.head, "Retry-After: 1\r\n"));
}

/* A9: too many pushes under way. */
static void says_when_it_is_busy(void **state)
{
	struct client c;
	struct response r;

	(void)state;
	rig.push_options.pushes_max = 2;
	rig_start();
	c = client_open(rig.port);
	rig.rec.hold = true;
	for (int i = 0; i < 3; i++)
		client_say(&c, "POST /1/push?uid=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx");
	rig_run(20);
	rig.rec.hold = false;
	rig_bus_release(&rig.rec);
	for (int i = 0; i < 2; i++) {
		assert_true(client_next(&c, &r, false));
		assert_answer(&r, 200, OK);
	}
	assert_true(client_next(&c, &r, false));
	assert_answer(&r, 503, ret(65535));
	assert_true(r.keep_alive);
	client_close(&c);
}

/* B23 and A5 */
static void wants_the_key(void **state)
{
	static const struct {
		const char *headers;
		int status;
	} cases[] = {{NULL, 401}, {"Authorization: Bearer s3cre\r\n", 401}, {"Authorization: Bearer s3crets\r\n", 401},
		{"Authorization: Bearer S3cret\r\n", 401}, {"Authorization: Bearer\r\n", 401},
		{"Authorization: s3cret\r\n", 401}, {"Authorization: Basic s3cret\r\n", 401},
		{"Authorization: Bearer s3cret x\r\n", 401},
		{"Authorization: Bearer s3cret\r\nAuthorization: Bearer s3cret\r\n", 401},
		{"Authorization: Bearer s3cret\r\n", 200}, {"authorization:bearer   s3cret\r\n", 200}};
	static const char *const calls[] = {"POST /1/push?uid=1", "POST /1/pushs", "POST /1/push/room?rid=1",
		"POST /1/push/all", "GET /1/count?type=room", "POST /1/server/del?server=1", "POST /1/admin/token/new",
		"GET /1/msg/get", "GET /nowhere"};
	struct response r;

	(void)state;
	rig.options.api_key = "s3cret";
	rig_start();
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		r = call_on(rig.port, "POST", "/1/push?uid=1", cases[i].headers, imgo_str("x"));
		assert_int_equal(r.status, cases[i].status);
		assert_true(r.status == 200 ||
			    (strstr(r.head, "WWW-Authenticate: Bearer\r\n") && strstr(r.body, ret(65533))));
	}
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
		char method[8], target[64];
		assert_int_equal(sscanf(calls[i], "%7s %63s", method, target), 2);
		assert_int_equal(call_on(rig.port, method, target, NULL, imgo_str("x")).status, 401);
	}
	assert_int_equal(call_on(rig.store_port, "GET", "/1/msg/get?uid=1", NULL, imgo_str("")).status, 401);
	assert_int_equal(get("/healthz").status, 200);
	assert_int_equal(rig.rec.pushes, 2);
}

static void without_a_key_loopback_only(void **state)
{
	struct imgo_http_options options;
	struct imgo_error error;
	struct imgo_http *http;

	(void)state;
	options = rig.options;
	options.listen = "0.0.0.0:0";
	assert_int_equal(imgo_http_new(&http, rig.loop, &options, &error), IMGO_EINVAL);
	options.listen = ":0";
	assert_int_equal(imgo_http_new(&http, rig.loop, &options, &error), IMGO_EINVAL);
	options.listen = "127.0.0.1:0";
	options.store_listen = "[::]:0";
	assert_int_equal(imgo_http_new(&http, rig.loop, &options, &error), IMGO_EINVAL);
	options.store_listen = "nonsense";
	assert_int_equal(imgo_http_new(&http, rig.loop, &options, &error), IMGO_EINVAL);
	options.store_listen = NULL;
	options.api_key = "";
	assert_int_equal(imgo_http_new(&http, rig.loop, &options, &error), IMGO_EINVAL);
	options.api_key = "k";
	options.listen = "0.0.0.0:0";
	assert_int_equal(imgo_http_new(&http, rig.loop, &options, &error), 0);
	imgo_http_free(http);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(pushes, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(pushes_to_many, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(keeps_the_key, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(refuses_parameters, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(refuses_json, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(refuses_too_much, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(knows_methods_and_paths, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(says_when_it_fails, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(says_when_it_is_full, rig_setup_only_prepared, rig_teardown),
		cmocka_unit_test_setup_teardown(says_when_it_is_busy, rig_setup_only_prepared, rig_teardown),
		cmocka_unit_test_setup_teardown(wants_the_key, rig_setup_only_prepared, rig_teardown),
		cmocka_unit_test_setup_teardown(without_a_key_loopback_only, rig_setup, rig_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
