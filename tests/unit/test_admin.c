/* SPDX-License-Identifier: MIT */
/* The administrative server: its pages, checks of the host's own, watched parts, and what it refuses. */
#include "http_test.h"

#include <imgo/admin.h>
#include <imgo/edge.h>

#include "base/mem.h"

static struct imgo_admin *admin;
static enum imgo_health health_of[2];
static const char *detail_of = "";
static int refreshed;

static enum imgo_health own_check(char *detail, size_t size, void *user)
{
	snprintf(detail, size, "%s", detail_of);
	return *(enum imgo_health *)user;
}

static void on_refresh(void *user)
{
	(*(int *)user)++;
}

static int setup(void **state)
{
	struct imgo_admin_options options = IMGO_ADMIN_OPTIONS_INIT;

	rig_setup(state);
	health_of[0] = health_of[1] = IMGO_HEALTH_UP;
	detail_of = "";
	refreshed = 0;
	options.listen = "127.0.0.1:0";
	options.program = "te\"st";
	options.refresh = on_refresh;
	options.user = &refreshed;
	assert_int_equal(imgo_admin_new(&admin, rig.loop, &options, NULL), 0);
	return 0;
}

static int teardown(void **state)
{
	imgo_admin_free(admin);
	admin = NULL;
	return rig_teardown(state);
}

/* One request, one answer; the body is in a buffer that the next call overwrites. */
static const char *ask(const char *method, const char *target, int status)
{
	static char text[64 * 1024];
	struct client c = client_open(imgo_admin_port(admin));
	char request[256];
	uint64_t end = now_ms() + RIG_WAIT_MS;
	char *body;
	int got = 0;

	snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", method, target);
	client_say(&c, request);
	while (!c.eof && now_ms() < end) {
		rig_turn(1);
		client_take(&c);
	}
	snprintf(text, sizeof text, "%.*s", (int)c.in.len, (const char *)c.in.data);
	client_close(&c);
	assert_int_equal(sscanf(text, "HTTP/1.1 %d", &got), 1);
	assert_int_equal(got, status);
	body = strstr(text, "\r\n\r\n");
	assert_non_null(body);
	if (strncmp(target, "/metrics", 8) == 0 && status == 200)
		assert_non_null(strstr(text, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
	return body + 4;
}

static bool says(const char *text, const char *what)
{
	return strstr(text, what) != NULL;
}

static void ready_is_all_checks(void **state)
{
	const char *text;
	(void)state;

	assert_true(says(ask("GET", "/healthz", 503), "{\"status\":\"not ready\",\"program\":\"te\\\"st\",")); /* no checks */
	assert_false(imgo_admin_ready(admin));
	assert_int_equal(imgo_admin_check(admin, "one", own_check, &health_of[0]), 0);
	assert_int_equal(imgo_admin_check(admin, "two", own_check, &health_of[1]), 0);
	assert_true(says(ask("GET", "/healthz", 200), "\"peers\":[{\"name\":\"one\",\"state\":\"up\","));
	health_of[1] = IMGO_HEALTH_DEGRADED;
	assert_true(says(ask("GET", "/healthz", 200), "{\"name\":\"two\",\"state\":\"degraded\","));
	assert_true(imgo_admin_ready(admin));
	health_of[1] = IMGO_HEALTH_DOWN;
	detail_of = "a \"quote\" \\ and\n\001";
	text = ask("GET", "/healthz", 503);
	assert_true(says(text, "{\"name\":\"two\",\"state\":\"down\","));
	assert_true(says(text, "\"detail\":\"a \\\"quote\\\" \\\\ and\\u000a\\u0001\"}"));
	assert_true(says(ask("GET", "/livez", 200), "{\"status\":\"alive\","));
	assert_true(says(ask("GET", "/healthz?live", 200), "{\"status\":\"alive\","));
	assert_int_equal(stat_of("imgo_peer_up{peer=\"one\"}"), 1);
	assert_int_equal(stat_of("imgo_peer_up{peer=\"two\"}"), 0);
	assert_int_equal(stat_of("imgo_ready"), 0);
	health_of[1] = IMGO_HEALTH_UP;
	assert_true(imgo_admin_ready(admin));
	assert_int_equal(stat_of("imgo_ready"), 1);
	imgo_admin_stopping(admin);
	imgo_admin_stopping(NULL);
	assert_true(says(ask("GET", "/healthz", 503), "{\"status\":\"stopping\","));
	assert_true(says(ask("GET", "/livez", 200), "alive"));
}

static void checks_are_judged(void **state)
{
	char name[16];
	(void)state;

	assert_int_equal(imgo_admin_check(admin, "a b", own_check, &health_of[0]), IMGO_EINVAL);
	assert_int_equal(imgo_admin_check(admin, "", own_check, &health_of[0]), IMGO_EINVAL);
	assert_int_equal(imgo_admin_check(admin, NULL, own_check, &health_of[0]), IMGO_EINVAL);
	assert_int_equal(imgo_admin_check(admin, "a", NULL, NULL), IMGO_EINVAL);
	assert_int_equal(
		imgo_admin_check(admin, "abcdefghijklmnopqrstuvwxyz0123456", own_check, &health_of[0]), IMGO_EINVAL);
	assert_int_equal(imgo_admin_check(admin, "a", own_check, &health_of[0]), 0);
	assert_int_equal(imgo_admin_check(admin, "a", own_check, &health_of[0]), IMGO_EEXISTS);
	for (int i = 1; i < 32; i++) {
		snprintf(name, sizeof name, "n%d", i);
		assert_int_equal(imgo_admin_check(admin, name, own_check, &health_of[0]), 0);
	}
	assert_int_equal(imgo_admin_check(admin, "more", own_check, &health_of[0]), IMGO_ELIMIT);
	assert_int_equal(imgo_admin_watch_registry(admin, "more", rig.registry), IMGO_ELIMIT);
	(void)ask("GET", "/healthz", 200);
}

static void pages(void **state)
{
	const char *text;
	(void)state;

	text = ask("GET", "/metrics", 200);
	assert_int_equal(refreshed, 1);
	assert_true(says(text, "\nimgo_build_info{program=\"te\\\"st\",version=\""));
	assert_true(says(text, "\nprocess_resident_memory_bytes "));
	assert_true(says(text, "\nprocess_start_time_seconds "));
	assert_true(says(text, "\n# TYPE imgo_push_seconds histogram\n"));
	assert_string_equal(ask("HEAD", "/metrics", 200), "");
	assert_true(says(ask("GET", "/", 200), "/metrics\n/healthz\n/livez\n"));
	(void)ask("GET", "/other", 404);
	(void)ask("POST", "/metrics", 405);
	(void)ask("DELETE", "/healthz", 405);
	assert_true(stat_of("imgo_admin_requests_total") >= 6);
	assert_int_equal(stat_of("imgo_http_heads_total"), 0); /* the API's, and nobody has called that */
}

/* Store and registry that answer, then one that does not exist any more for them: probes end with their admin. */
static void parts_are_watched(void **state)
{
	const char *text;
	(void)state;

	assert_int_equal(imgo_admin_watch_bus(admin, "bus", rig.bus), 0);
	assert_int_equal(imgo_admin_watch_registry(admin, "registry", rig.registry), 0);
	assert_int_equal(imgo_admin_watch_store(admin, "store", rig.store, rig.bus), 0);
	for (uint64_t end = now_ms() + RIG_WAIT_MS; !imgo_admin_ready(admin) && now_ms() < end;)
		rig_turn(1);
	text = ask("GET", "/healthz", 200);
	assert_true(says(text, "{\"name\":\"bus\",\"state\":\"up\","));
	assert_true(says(text, "{\"name\":\"registry\",\"state\":\"up\","));
	/* No job has built a partition: the store answers, and that is all that ready needs. */
	assert_true(says(text, "{\"name\":\"store\",\"state\":\"degraded\","));
	assert_true(says(text, "\"detail\":\"partitions to be rebuilt: "));
}

static void addresses(void **state)
{
	struct imgo_admin_options options = IMGO_ADMIN_OPTIONS_INIT;
	struct imgo_error error = {0};
	struct imgo_admin *other = NULL;
	char taken[32];
	(void)state;

	assert_int_equal(imgo_admin_new(&other, rig.loop, &options, &error), IMGO_EINVAL);
	options.listen = "nonsense";
	assert_int_equal(imgo_admin_new(&other, rig.loop, &options, &error), IMGO_EINVAL);
	snprintf(taken, sizeof taken, "127.0.0.1:%d", imgo_admin_port(admin));
	options.listen = taken;
	assert_int_equal(imgo_admin_new(&other, rig.loop, &options, &error), IMGO_EEXISTS);
	assert_true(says(error.text, "in use"));
	options.listen = "127.0.0.1:0";
	for (int n = 0; n < 3; n++) {
		imgo__mem_fail_after(n);
		assert_int_equal(imgo_admin_new(&other, rig.loop, &options, &error), IMGO_ENOMEM);
	}
	assert_null(other);
	imgo_admin_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(ready_is_all_checks, setup, teardown),
		cmocka_unit_test_setup_teardown(checks_are_judged, setup, teardown),
		cmocka_unit_test_setup_teardown(pages, setup, teardown),
		cmocka_unit_test_setup_teardown(parts_are_watched, setup, teardown),
		cmocka_unit_test_setup_teardown(addresses, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
