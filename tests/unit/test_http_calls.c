/* SPDX-License-Identifier: MIT */
/* The calls that ask: tokens, messages, counts, forgetting a comet; and the same with a store that is down.
 */
#include "http_test.h"

#define ret(n) "\"ret\":" #n

static void expect(struct response r, int status, const char *part)
{
	if (r.status != status || !strstr(r.body, part))
		fail_msg("%d %s, expected %d %s", r.status, r.body, status, part);
}

/* ---- what the tests wait for ---- */

static bool called;
static int call_err;

static void on_call(int err, void *user)
{
	(void)user;
	called = true;
	call_err = err;
}

static void finish_call(int err)
{
	assert_int_equal(err, 0);
	for (called = false; !called;)
		rig_turn(1);
	assert_int_equal(call_err, 0);
}

/* The store is complete: what it does not know is not there. */
static void complete(uint32_t partition)
{
	struct imgo_store_marker marker = {.epoch = 7, .partition = partition, .step = IMGO_MARKER_BEGIN, .token = 1};

	finish_call(imgo_store_marker(rig.store, &marker, on_call, NULL));
	marker.step = IMGO_MARKER_FINISH;
	finish_call(imgo_store_marker(rig.store, &marker, on_call, NULL));
}

static void complete_all(void)
{
	for (uint32_t p = 0; p < RIG_PARTITIONS; p++)
		complete(p);
}

/* ---- tokens ---- */

struct who {
	bool called;
	int err;
	char who[IMGO_USER_MAX + 1], device[IMGO_DEVICE_MAX + 1], rooms[256];
	uint64_t expires_ms;
};

static void on_who(int err, const struct imgo_auth_check *result, void *user)
{
	struct who *who = user;

	who->called = true;
	who->err = err;
	if (err)
		return;
	snprintf(who->who, sizeof who->who, "%.*s", (int)result->who.len, result->who.p);
	snprintf(who->device, sizeof who->device, "%.*s", (int)result->device.len, result->device.p);
	who->expires_ms = result->expires_ms;
	for (size_t i = 0; i < result->nrooms; i++)
		snprintf(who->rooms + strlen(who->rooms), sizeof who->rooms - strlen(who->rooms), "%.*s|",
			(int)result->rooms[i].len, result->rooms[i].p);
}

static struct who who_is(const char *token)
{
	struct who who = {0};

	assert_int_equal(imgo_push_who(rig.push, imgo_str(token), on_who, &who), 0);
	while (!who.called)
		rig_turn(1);
	return who;
}

static void makes_tokens(void **state)
{
	static const struct {
		const char *target, *body, *token, *who, *device, *rooms;
	} cases[] = {
		{"?uid=7&token=q&expire=60", "", "q", "7", "", ""},
		{"", "uid=8&token=a%26b+c&expire=60&device=phone", "a&b c", "8", "phone", ""},
		{"", "{\"uid\":9,\"token\":\"j\",\"expire\":60}", "j", "9", "", ""},
		{"?expire=60&uid=1",
			" \n{\"uid\":\"010\",\"token\":\"\\u0074k\",\"device\":\"d\",\"rid\":3,\"rooms\":["
			"\"live://1\",4]}",
			"tk", "10", "d", "live://1|4|3|"},
		{"?uid=11&token=r&expire=60&rid=5&rooms=a,b%2Cc", "", "r", "11", "", "a|b|c|5|"},
		{"", "{\"uid\":12,\"token\":\"n\",\"expire\":\"60\",\"rid\":\"-1\",\"rooms\":\"x,y\"}", "n", "12", "",
			"x|y|"},
	};

	(void)state;
	complete_all();
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char target[200];
		struct who who;
		snprintf(target, sizeof target, "/1/admin/token/new%s", cases[i].target);
		expect(call_on(rig.port, "POST", target, "Content-Type: application/x-www-form-urlencoded\r\n",
			       imgo_str(cases[i].body)),
			200, "{\"ret\":1}");
		who = who_is(cases[i].token);
		assert_int_equal(who.err, 0);
		assert_string_equal(who.who, cases[i].who);
		assert_string_equal(who.device, cases[i].device);
		assert_string_equal(who.rooms, cases[i].rooms);
		assert_in_range(who.expires_ms, imgo_loop_wall_ms(rig.loop) + 50000, imgo_loop_wall_ms(rig.loop) + 60000);
	}
	expect(post("/1/admin/token/new?uid=7&token=q2&expire=9223372036854775807", ""), 200, "{\"ret\":1}");
	assert_int_equal(who_is("q").err, IMGO_EDENIED); /* B22: the newer one of the device revokes it */
	assert_int_equal(who_is("q2").err, 0);
}

static void refuses_tokens(void **state)
{
	static const char *const queries[] = {"", "?uid=0&token=t&expire=60", "?uid=7&token=t&expire=0",
		"?uid=7&token=t", "?uid=7&expire=60", "?uid=7&token=&expire=60", "?uid=-7&token=t&expire=60",
		"?uid=7&token=t&expire=-1", "?uid=7&token=t&expire=1.5", "?uid=7&token=t%00&expire=60",
		"?uid=7&token=t&expire=60&rid=x", "?uid=7&token=t&expire=60&rid=2147483648",
		"?uid=7&token=t&expire=60&rooms=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17",
		("?uid=7&token=t&expire=60&device="
		 "0123456789012345678901234567890123456789012345678901234567890123456789")};
	static const char *const bodies[] = {"{", "{}", "{\"uid\":7,\"token\":\"t\",\"expire\":60}}",
		"{\"uid\":7,\"uid\":7}", "{\"uid\":true,\"token\":\"t\",\"expire\":60}",
		"{\"uid\":7,\"token\":5.5,\"expire\":60}", "{\"uid\":7,\"token\":\"\\u0000\",\"expire\":60}",
		"{\"uid\":7,\"token\":[\"t\"],\"expire\":60}", "{\"uid\":7,\"token\":\"t\",\"expire\":60,\"rooms\":{}}",
		"{\"uid\":7,\"token\":\"t\",\"expire\":60,\"rooms\":[[1]]}"};
	char big[1200] = "uid=7&expire=60&token=";

	(void)state;
	complete_all();
	for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
		char target[200];
		snprintf(target, sizeof target, "/1/admin/token/new%s", queries[i]);
		expect(post(target, ""), 400, ret(65534));
	}
	for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
		expect(post("/1/admin/token/new", bodies[i]), 400, ret(65534));
	memset(big + strlen(big), 't', IMGO_TOKEN_MAX + 1);
	expect(post("/1/admin/token/new", big), 400, ret(65534));
	assert_int_equal(who_is("t").err, IMGO_EDENIED);
}

/* ---- messages ---- */

static void append(const char *user, uint32_t epoch, uint64_t id, const char *data)
{
	struct imgo_store_body body = {.id = {epoch, id},
		.msgid.b = {(uint8_t)epoch, (uint8_t)id},
		.op = 5,
		.at_ms = imgo_loop_wall_ms(rig.loop),
		.data = imgo_str(data),
		.users = 1};
	struct imgo_store_append item = {.user = imgo_str(user), .body = &body};
	struct imgo_store_append_many many = {.epoch = 7,
		.partition = imgo_partition(imgo_str(user), RIG_PARTITIONS),
		.bodies = &body,
		.nbodies = 1,
		.items = &item,
		.nitems = 1};

	finish_call(imgo_store_append_many(rig.store, &many, on_call, NULL));
	assert_int_equal(item.result, IMGO_APPEND_NEW);
}

static void fill_store(void)
{
	complete_all();
	append("7", 7, 10, "one");
	append("7", 7, 20, "");
	append("7", 7, 30, "\xff");
	expect(post("/1/admin/token/new?uid=7&token=t7&expire=60", ""), 200, "{\"ret\":1}");
	expect(post("/1/admin/token/new?uid=8&token=t8&expire=60", ""), 200, "{\"ret\":1}");
}

static void reads_messages(void **state)
{
	static const char all[] = "{\"data\":{\"msgs\":[{\"msg\":\"b25l\",\"mid\":10,\"gid\":0},{\"msg\":"
				  "\"\",\"mid\":20,\"gid\":0},"
				  "{\"msg\":\"/w==\",\"mid\":30,\"gid\":0}]},\"ret\":0}";
	struct response r;

	(void)state;
	fill_store();
	for (int i = 0; i < 2; i++) /* B10: it only looks */
		assert_string_equal(get("/1/msg/get?uid=7&mid=0&token=t7").body, all);
	r = call_on(rig.store_port, "GET", "/1/msg/get?uid=07&mid=0&token=t7", NULL, imgo_str(""));
	assert_string_equal(r.body, all);
	assert_non_null(strstr(r.head, "Content-Type: application/json\r\n"));
	assert_string_equal(get("/1/msg/get?uid=7&mid=20&token=t7").body,
		"{\"data\":{\"msgs\":[{\"msg\":\"/w==\",\"mid\":30,\"gid\":0}]},\"ret\":0}");
	assert_string_equal(get("/1/msg/get?uid=7&mid=30&token=t7").body, "{\"data\":{\"msgs\":[]},\"ret\":0}");
	assert_string_equal(get("/1/msg/get?uid=7&mid=31&token=t7").body, all); /* above the end */
	assert_string_equal(get("/1/msg/get?uid=7&mid=1690000000000000&token=t7").body, all);
	assert_string_equal(get("/1/msg/get?uid=8&mid=5&token=t8").body, "{\"data\":{\"msgs\":[]},\"ret\":0}");

	r = get("/1/msg/get?uid=8&mid=0&token=t8&cb=jQuery.x_1$");
	assert_string_equal(r.body, "jQuery.x_1$({\"data\":{\"msgs\":[]},\"ret\":0})");
	assert_non_null(strstr(r.head, "Content-Type: application/javascript\r\n"));
}

static void guards_messages(void **state)
{
	static const char *const bad[] = {"", "?uid=7&mid=0", "?mid=0&token=t7", "?uid=7&token=t7&mid=-1",
		"?uid=7&token=t7&mid=", "?uid=7&token=t7&mid=abc0", "?uid=0&mid=0&token=t7",
		"?uid=7&mid=0&token=", "?uid=7&mid=9223372036854775808&token=t7",
		"?uid=7&mid=0&token=t7&cb=", "?uid=7&mid=0&token=t7&cb=a(b)", "?uid=7&mid=0&token=t7&cb=%3Cscript%3E",
		"?uid=7&mid=0&token=t7&cb=a%20b",
		"?uid=7&mid=0&token=t7&cb=a2345678901234567890123456789012345678901234567890123456789012345"};

	(void)state;
	fill_store();
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		char target[200];
		snprintf(target, sizeof target, "/1/msg/get%s", bad[i]);
		expect(get(target), 400, ret(65534));
	}
	expect(get("/1/msg/get?uid=7&mid=0&token=t8"), 403, ret(65533));
	expect(get("/1/msg/get?uid=7&mid=0&token=none"), 403, ret(65533));
	expect(get("/1/msg/get?uid=7&mid=0&token=none&cb=f"), 403, "f({\"ret\":65533");
}

/* The marker is missing: the store is being rebuilt, which is not "no messages". */
static void says_when_it_rebuilds(void **state)
{
	struct response r;

	(void)state;
	expect(post("/1/admin/token/new?uid=7&token=t7&expire=60", ""), 200, "{\"ret\":1}");
	r = get("/1/msg/get?uid=7&mid=0&token=t7");
	expect(r, 503, ret(65535));
	assert_non_null(strstr(r.head, "Retry-After: 1\r\n"));
}

/* ---- a store that is down ---- */

static int store_err;

static void down_free(void *impl)
{
	(void)impl;
}

struct later {
	imgo_store_cb *cb;
	void *user;
};

static void run_later(void *user)
{
	struct later *later = user;

	later->cb(store_err, later->user);
	free(later);
}

static int answer_later(imgo_store_cb *cb, void *user)
{
	struct later *later = malloc(sizeof *later);

	assert_non_null(later);
	*later = (struct later){cb, user};
	return imgo_loop_post(rig.loop, run_later, later);
}

#define DOWN(name, type) \
	static int name(void *impl, struct type *call, imgo_store_cb *cb, void *user) \
	{ \
		(void)impl, (void)call; \
		return answer_later(cb, user); \
	}
DOWN(down_append, imgo_store_append_many)
DOWN(down_read, imgo_store_read_many)
DOWN(down_ack, imgo_store_ack_many)
DOWN(down_peek, imgo_store_peek_many)
DOWN(down_marker, imgo_store_marker)
DOWN(down_token_put, imgo_store_token_many)
DOWN(down_token_get, imgo_store_token_many)

static const struct imgo_store_ops down_ops = {sizeof down_ops, down_free, down_append, down_read, down_ack, down_peek,
	down_marker, down_token_put, down_token_get, NULL};

static void says_when_the_store_is_down(void **state)
{
	static const int errs[] = {IMGO_EUNAVAILABLE, IMGO_ETIMEDOUT, IMGO_EREBUILDING, IMGO_EIO, IMGO_EFULL};
	struct imgo_store *store;
	struct response r;

	(void)state;
	assert_int_equal(imgo_store_new_custom(&store, rig.loop, &down_ops, NULL), 0);
	rig.store = store;
	rig_start();
	for (size_t i = 0; i < sizeof errs / sizeof *errs; i++) {
		store_err = errs[i];
		r = post("/1/admin/token/new?uid=7&token=t7&expire=60", "");
		expect(r, 503, ret(65535));
		assert_non_null(strstr(r.head, "Retry-After: 1\r\n"));
		/* never "bad token" when it cannot be known */
		r = get("/1/msg/get?uid=7&mid=0&token=t7");
		expect(r, 503, ret(65535));
		assert_non_null(strstr(r.head, "Retry-After: 1\r\n"));
		expect(post("/1/push?uid=1", "x"), 200, "{\"ret\":1}"); /* pushes need no store */
	}
}

/* ---- counts ---- */

static void put_session(uint32_t comet, uint64_t n, const char *user, const char *const *names, size_t nrooms)
{
	struct imgo_str rooms[4];
	struct imgo_registry_put put = {
		.session = {.id = {comet, {1, 1}, n}, .user = imgo_str(user), .rooms = rooms, .nrooms = nrooms}};

	for (size_t i = 0; i < nrooms; i++)
		rooms[i] = imgo_str(names[i]);
	finish_call(imgo_registry_put_many(rig.registry, &put, 1, on_call, NULL));
	assert_int_equal(put.err, 0);
}

static void counts(void **state)
{
	static const char *const rooms[] = {"-12", "live://1", "007", "0"};

	(void)state;
	assert_string_equal(get("/1/count?type=room").body, "{\"data\":[],\"ret\":1}");
	assert_string_equal(get("/1/count?type=server").body, "{\"data\":[],\"ret\":1}");
	for (uint32_t comet = 1; comet <= 2; comet++) {
		struct imgo_registry_renew renew = {
			.comet = comet, .inc = {1, 1}, .address = imgo_str("127.0.0.1:1"), .lease_ms = 60000};
		finish_call(imgo_registry_renew(rig.registry, &renew, on_call, NULL));
	}
	put_session(1, 1, "7", NULL, 0);
	assert_string_equal(get("/1/count?type=room").body, "{\"data\":[{\"RoomId\":-1,\"Count\":1}],\"ret\":1}");
	put_session(1, 2, "8", rooms, 4);
	put_session(2, 1, "8", rooms, 1);
	expect(get("/1/count?type=room"), 200, "{\"RoomId\":-12,\"Count\":2}");
	expect(get("/1/count?type=room"), 200, "{\"RoomId\":\"live://1\",\"Count\":1}");
	expect(get("/1/count?type=room"), 200, "{\"RoomId\":\"007\",\"Count\":1}");
	expect(get("/1/count?type=room"), 200, "{\"RoomId\":0,\"Count\":1}");
	assert_string_equal(get("/1/count?type=server").body,
		"{\"data\":[{\"Server\":1,\"Count\":2},{\"Server\":2,\"Count\":1}],\"ret\":1}");

	/* B5: forgets that comet's sessions and no other's */
	expect(post("/1/server/del?server=1", ""), 200, "{\"ret\":1}");
	assert_string_equal(get("/1/count?type=server").body,
		"{\"data\":[{\"Server\":1,\"Count\":0},{\"Server\":2,\"Count\":1}],\"ret\":1}");
	expect(post("/1/server/del", "server=2"), 200, "{\"ret\":1}");
	expect(post("/1/server/del?server=99", ""), 200, "{\"ret\":1}");
	expect(post("/1/server/del?server=99999999999", ""), 400, ret(65534));
	assert_string_equal(get("/1/count?type=room").body, "{\"data\":[],\"ret\":1}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(makes_tokens, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(refuses_tokens, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(reads_messages, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(guards_messages, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(says_when_it_rebuilds, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(says_when_the_store_is_down, rig_setup_only_prepared, rig_teardown),
		cmocka_unit_test_setup_teardown(counts, rig_setup, rig_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
