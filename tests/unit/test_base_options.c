/* SPDX-License-Identifier: MIT */
/* Options of programs that were built against an older or a newer header; and the constructors that take them. */
#include "test.h"

#include <imgo/dispatch.h>
#include <imgo/edge.h>
#include <imgo/http.h>
#include <imgo/loop.h>
#include <imgo/node.h>
#include <imgo/push.h>

#include "base/options.h"

struct now {
	size_t size;
	int a;
	const char *b;
	int c;
};

struct newer {
	struct now now;
	int d;
};

static void takes(void **state)
{
	const struct now defaults = {sizeof defaults, 1, "b", 3};
	struct now out = defaults, given = {sizeof given, 7, NULL, 0};
	struct newer newer = {{sizeof newer, 8, "x", 9}, 1};
	struct imgo_error error = {0};

	(void)state;
	assert_int_equal(imgo__options_take(&out, NULL, "t", NULL), 0);
	assert_int_equal(out.a, 1);
	assert_int_equal(imgo__options_take(&out, &given, "t", NULL), 0);
	assert_true(out.size == sizeof out && out.a == 7 && out.b == NULL && out.c == 0);
	/* older: what it does not have is the default */
	out = defaults;
	given.size = offsetof(struct now, b);
	assert_int_equal(imgo__options_take(&out, &given, "t", NULL), 0);
	assert_true(out.size == sizeof out && out.a == 7 && out.c == 3);
	assert_string_equal(out.b, "b");
	out = defaults;
	given.size = sizeof given.size;
	assert_int_equal(imgo__options_take(&out, &given, "t", NULL), 0);
	assert_int_equal(out.a, 1);
	/* newer */
	assert_int_equal(imgo__options_take(&out, &newer, "t", NULL), 0);
	assert_true(out.size == sizeof out && out.a == 8 && out.c == 9);
	out = defaults;
	for (given.size = 0; given.size < sizeof given.size; given.size++)
		assert_int_equal(imgo__options_take(&out, &given, "t", &error), IMGO_EINVAL);
	assert_non_null(strstr(error.text, "t: "));
	assert_int_equal(out.a, 1);
}

/* A node, with options of which every struct ends early. */
static void older_programs(void **state)
{
	struct imgo_push_options push = {.size = offsetof(struct imgo_push_options, sessions_max)};
	struct imgo_edge_options edge = {.size = offsetof(struct imgo_edge_options, rpc),
		.comet = 3,
		.tcp = "127.0.0.1:0",
		.websocket = "127.0.0.1:0"};
	struct imgo_dispatch_options dispatch = {.size = offsetof(struct imgo_dispatch_options, group)};
	struct imgo_http_options http = {.size = offsetof(struct imgo_http_options, api_key),
		.listen = "127.0.0.1:0",
		.store_listen = "127.0.0.1:0"};
	struct imgo_node_options node = {
		.size = sizeof node, .push = &push, .edge = &edge, .dispatch = &dispatch, .http = &http};
	struct imgo_error error = {0};
	struct imgo_loop *loop;
	struct imgo_node *made;
	int port = 0;

	(void)state;
	node.size = offsetof(struct imgo_node_options, http) + sizeof node.http;
	assert_int_equal(imgo_loop_new(&loop, NULL, NULL), 0);
	if (imgo_node_new(&made, loop, &node, &error) < 0)
		fail_msg("%s", error.text);
	imgo_http_ports(imgo_node_http(made), &port, NULL);
	assert_true(port > 0);
	imgo_node_free(made);
	/* zero is the default where it cannot be meant */
	http = (struct imgo_http_options){.size = sizeof http, .listen = "127.0.0.1:0"};
	push = (struct imgo_push_options){.size = sizeof push};
	dispatch = (struct imgo_dispatch_options){.size = sizeof dispatch};
	if (imgo_node_new(&made, loop, &node, &error) < 0)
		fail_msg("%s", error.text);
	imgo_node_free(made);
	/* a size that is not set is an error, not a default */
	http.size = 0;
	assert_int_equal(imgo_node_new(&made, loop, &node, &error), IMGO_EINVAL);
	assert_non_null(strstr(error.text, "node: http"));
	imgo_loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes),
		cmocka_unit_test(older_programs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
