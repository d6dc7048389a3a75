/* SPDX-License-Identifier: MIT */
/* Files beside the API: for this machine only; and requests of browsers, which say what page they are of. */
#include "http_test.h"

#include "service/http_impl.h"
#include "service/httpd_impl.h"

static const struct imgo_http_asset assets[] = {
	{"/", "text/html; charset=utf-8", "<p>hello", 8}, {"/icon", "image/png", "\x89PNG\xff", 5}};

static int setup(void **state)
{
	(void)state;
	rig_prepare();
	rig.options.assets = assets;
	rig.options.nassets = 2;
	rig_start();
	return 0;
}

/* The answer to a request of a client whose address is a loopback address, or is not. */
static struct response ask(const char *text, bool loopback)
{
	struct client c = {0};
	struct response r;
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	assert_int_equal(imgo__httpd_conn_new(rig.http->httpd, fd[1], 0, loopback), 0);
	c.fd = fd[0];
	client_say(&c, text);
	assert_true(client_next(&c, &r, false));
	client_close(&c);
	return r;
}

static struct response fetch(const char *path, const char *headers, bool loopback)
{
	char text[512];

	snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n", path, headers);
	return ask(text, loopback);
}

static void serves_this_machine(void **state)
{
	struct response r = fetch("/", "", true);

	(void)state;
	assert_int_equal(r.status, 200);
	assert_string_equal(r.body, "<p>hello");
	assert_non_null(strstr(r.head, "Content-Type: text/html; charset=utf-8\r\n"));
	assert_non_null(strstr(r.head, "Content-Security-Policy: "));
	r = fetch("/icon", "", true);
	assert_int_equal(r.body_len, 5);
	assert_memory_equal(r.body, "\x89PNG\xff", 5);
	assert_int_equal(fetch("/icon/", "", true).status, 404);
	assert_int_equal(fetch("asset", "", true).status, 400); /* the route's name is no path */
	assert_int_equal(ask("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", true).status, 405);
	assert_int_equal(stat_of("imgo_http_requests_total{call=\"asset\",status=\"2xx\"}"), 2);
}

static void serves_nobody_else(void **state)
{
	(void)state;
	assert_int_equal(fetch("/", "", false).status, 404);
	assert_int_equal(fetch("/1/count?type=room", "", false).status, 200);
}

static void knows_pages_of_other_sites(void **state)
{
	static const struct {
		const char *origin;
		int status;
	} cases[] = {{"http://127.0.0.1:7172", 200}, {"http://127.9.9.9", 200}, {"http://[::1]:80", 200},
		{"http://localhost", 200}, {"https://localhost:1", 200}, {"null", 403}, {"", 403},
		{"http://localhost.example", 403}, {"http://127.0.0.1.example", 403}, {"http://10.0.0.1:7172", 403},
		{"http://example:7172", 403},
		{"http://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 403}};
	char header[256];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		snprintf(header, sizeof header, "Origin: %s\r\n", cases[i].origin);
		if (fetch("/1/count?type=room", header, true).status != cases[i].status)
			fail_msg("Origin %s", cases[i].origin);
	}
	assert_int_equal(stat_of("imgo_http_refused_total{reason=\"cross_site\"}"), 7);
}

static void trusts_the_key(void **state)
{
	(void)state;
	rig.options.api_key = "sesame-key";
	rig_start();
	assert_int_equal(
		fetch("/1/count?type=room", "Authorization: Bearer sesame-key\r\nOrigin: http://example\r\n", true).status,
		200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(serves_this_machine, setup, rig_teardown),
		cmocka_unit_test_setup_teardown(serves_nobody_else, setup, rig_teardown),
		cmocka_unit_test_setup_teardown(knows_pages_of_other_sites, setup, rig_teardown),
		cmocka_unit_test_setup_teardown(trusts_the_key, rig_setup_only_prepared, rig_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
