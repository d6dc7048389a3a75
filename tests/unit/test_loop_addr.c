/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <imgo/error.h>

#include "loop/loop.h"

static void round_trips(void **state)
{
	static const struct {
		const char *in, *out;
		bool loopback;
	} cases[] = {
		{"127.0.0.1:8080", "127.0.0.1:8080", true},
		{"127.9.9.9:0", "127.9.9.9:0", true},
		{"10.1.2.3:65535", "10.1.2.3:65535", false},
		{"localhost:80", "127.0.0.1:80", true},
		{":80", "[::]:80", false},
		{"0.0.0.0:080", "0.0.0.0:80", false},
		{"[::1]:80", "[::1]:80", true},
		{"[::ffff:127.0.0.1]:80", "[::ffff:127.0.0.1]:80", true},
		{"[fe80:1111:2222:3333:4444:5555:6666:7777]:80", "[fe80:1111:2222:3333:4444:5555:6666:7777]:80", false},
		{"unix:/tmp/x", "unix:/tmp/x", true},
	};
	struct imgo__addr addr;
	char text[64];
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(imgo__addr_parse(&addr, imgo_str(cases[i].in)), 0);
		imgo__addr_format(&addr, text);
		assert_string_equal(text, cases[i].out);
		assert_int_equal(imgo__addr_is_loopback(&addr), cases[i].loopback);
	}
}

static void refuses(void **state)
{
	static const char *const bad[] = {"", ":", "80", "host:80", "1.2.3:80", "1.2.3.4:", "1.2.3.4:65536",
		"1.2.3.4:-1", "1.2.3.4:1x", "1.2.3.4: 1", "1.2.3.4:000001", "::1:80", "[::1:80", "[]:80", "[::1]80",
		"[1.2.3.4]:80", "unix:", "fe80::1%eth0:1", "[11111111111111111111111111111111111111111111111111]:1",
		"111111111111111111111111111111111111111111111111111111:1", " 1.2.3.4:80",
		"[1111:1111:1111:1111:1111:1111:255.255.255.2555]:1"};
	struct imgo__addr addr;
	char path[200] = "unix:", text[64];
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(imgo__addr_parse(&addr, imgo_str(bad[i])), IMGO_EINVAL);
	assert_int_equal(imgo__addr_parse(&addr, imgo_strn("1.2.3.4\0:80", 11)), IMGO_EINVAL);
	memset(path + 5, 'x', 150);
	assert_int_equal(imgo__addr_parse(&addr, imgo_str(path)), IMGO_EINVAL);
	assert_int_equal(imgo__addr_parse(&addr, imgo_strn(path, 5 + 107)), 0);
	imgo__addr_format(&addr, text);
	assert_int_equal(strlen(text), 63);
	addr.ss.ss_family = 0;
	imgo__addr_format(&addr, text);
	assert_string_equal(text, "?");
	assert_false(imgo__addr_is_loopback(&addr));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trips),
		cmocka_unit_test(refuses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
