/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <unistd.h>

#include <imgo/config.h>

#include "base/mem.h"

struct sample {
	const char *name, *secret, *addr;
	bool enable;
	int8_t small;
	int number;
	uint16_t port;
	uint32_t id;
	uint64_t timeout_ms;
	size_t cache_bytes;
	int mode;
	struct imgo_config_list brokers, empty;
};

static const char *must_have_colon(const char *value)
{
	return strchr(value, ':') ? NULL : "must be host:port";
}

static const char *const modes[] = {"memory", "lmdb", "memcached", NULL};

static const struct imgo_property table[] = {
	{IMGO_PROPERTY("comet.id", UINT, struct sample, id, "1", 1, 4294967295, "Number of this comet.")},
	{IMGO_PROPERTY("comet.name", STRING, struct sample, name, NULL, 0, 8, "Its name.")},
	{IMGO_PROPERTY("comet.addr", STRING, struct sample, addr, ":8080", 0, 0, "Where."), .check = must_have_colon},
	{IMGO_PROPERTY("comet.secret", STRING, struct sample, secret, NULL, 0, 0, "Key."), .flags = IMGO_PROPERTY_SECRET},
	{IMGO_PROPERTY("comet.tls-enable", BOOL, struct sample, enable, "no", 0, 0, "Whether.")},
	{IMGO_PROPERTY("hub.small", INT, struct sample, small, "-3", 0, 0, "Any.")},
	{IMGO_PROPERTY("hub.number", INT, struct sample, number, "0", -10, 10, "Bound.")},
	{IMGO_PROPERTY("hub.port", UINT, struct sample, port, "0", 0, 0, "Port.")},
	{IMGO_PROPERTY("hub.timeout-ms", DURATION, struct sample, timeout_ms, "10s", 1, 3600000, "Limit.")},
	{IMGO_PROPERTY("hub.cache-bytes", SIZE, struct sample, cache_bytes, "64k", 0, 0, "Cache.")},
	{IMGO_PROPERTY("store.mode", ENUM, struct sample, mode, "lmdb", 0, 0, "Kind | sort."), .values = modes},
	{IMGO_PROPERTY("bus.brokers", LIST, struct sample, brokers, "a:1", 1, 3, "Where."), .check = must_have_colon},
	{IMGO_PROPERTY("bus.empty", LIST, struct sample, empty, NULL, 0, 0, "Nothing.")},
	{0},
};

static struct sample sample;
static struct imgo_config *config;
static struct imgo_error error;
static const char *default_file;
static char path[64];

static int parse(int argc, const char *const *argv)
{
	const struct imgo_config_set set = {table, &sample};
	struct imgo_config_options options = IMGO_CONFIG_OPTIONS_INIT;
	options.program = "imgo-test";
	options.summary = "a test";
	options.file = default_file;
	memset(&error, 0, sizeof(error));
	imgo_config_free(config);
	config = NULL;
	return imgo_config_parse(&config, &options, &set, 1, argc, (char *const *)argv, &error);
}

#define PARSE(...) \
	parse(sizeof((const char *const[]){"imgo-test", __VA_ARGS__}) / sizeof(char *), \
		(const char *const[]){"imgo-test", __VA_ARGS__})

static void write_file_n(const char *text, size_t len)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	fclose(f);
}

static void write_file(const char *text)
{
	write_file_n(text, strlen(text));
}

static int setup(void **state)
{
	(void)state;
	memset(&sample, 0x55, sizeof(sample));
	default_file = NULL;
	snprintf(path, sizeof(path), "/tmp/imgo-test-config-%d.conf", (int)getpid());
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	imgo_config_free(config);
	config = NULL;
	unlink(path);
	return 0;
}

static void defaults(void **state)
{
	const char *argv[] = {"imgo-test"};
	(void)state;
	assert_int_equal(parse(1, argv), 0);
	assert_int_equal(imgo_config_verb(config), IMGO_CONFIG_RUN);
	assert_int_equal(sample.id, 1);
	assert_null(sample.name);
	assert_string_equal(sample.addr, ":8080");
	assert_false(sample.enable);
	assert_int_equal(sample.small, -3);
	assert_int_equal(sample.timeout_ms, 10000);
	assert_int_equal(sample.cache_bytes, 65536);
	assert_int_equal(sample.mode, 1);
	assert_int_equal(sample.brokers.n, 1);
	assert_string_equal(sample.brokers.items[0], "a:1");
	assert_int_equal(sample.empty.n, 0);
	assert_string_equal(imgo_config_origin(config, "comet.id"), "default");
	assert_null(imgo_config_origin(config, "comet.nonsense"));
	assert_null(imgo_config_file(config));
}

static void flags(void **state)
{
	(void)state;
	assert_int_equal(PARSE("--comet.id=7", "--comet.name", "abc", "--comet.tls-enable", "--hub.timeout-ms=2m",
				 "--bus.brokers", " b:1 ,, c:2,", "--store.mode=MEMCACHED", "--hub.number=-10"),
		0);
	assert_int_equal(sample.id, 7);
	assert_string_equal(sample.name, "abc");
	assert_true(sample.enable);
	assert_int_equal(sample.timeout_ms, 120000);
	assert_int_equal(sample.brokers.n, 2);
	assert_string_equal(sample.brokers.items[0], "b:1");
	assert_string_equal(sample.brokers.items[1], "c:2");
	assert_int_equal(sample.mode, 2);
	assert_int_equal(sample.number, -10);
	assert_string_equal(imgo_config_origin(config, "comet.id"), "--comet.id");
	assert_int_equal(PARSE("--comet.tls-enable=off", "--comet.name="), 0);
	assert_false(sample.enable);
	assert_string_equal(sample.name, "");
}

static void file(void **state)
{
	(void)state;
	write_file("# comment\n; comment\n[comet]\nid = 3 ; here\nname: x y\n\n[bus]\nbrokers = a:1,\n  "
		   "b:2\n\tc:3\n"
		   "[hub]\ncache-bytes = 1M");
	assert_int_equal(PARSE("--config", path), 0);
	assert_int_equal(sample.id, 3);
	assert_string_equal(sample.name, "x y");
	assert_int_equal(sample.brokers.n, 3);
	assert_string_equal(sample.brokers.items[2], "c:3");
	assert_int_equal(sample.cache_bytes, 1 << 20);
	assert_string_equal(imgo_config_file(config), path);
	assert_non_null(strstr(imgo_config_origin(config, "comet.id"), ".conf:4"));
	default_file = path;
	assert_int_equal(PARSE("--comet.name=z"), 0);
	assert_int_equal(sample.id, 3);
	unlink(path);
	assert_int_equal(PARSE("--comet.name=z"), 0); /* the default file need not exist, */
	assert_int_equal(sample.id, 1);
	assert_int_equal(PARSE("--config", path), IMGO_ENOTFOUND); /* a named one must */
	assert_int_equal(PARSE("--config=/tmp"), IMGO_EIO);
}

static void precedence(void **state)
{
	(void)state;
	write_file("[comet]\nid = 3\nname = f\naddr = f:1\n");
	setenv("IMGO_CONFIG", path, 1);
	setenv("IMGO_COMET_NAME", "e", 1);
	setenv("IMGO_COMET_ADDR", "e:1", 1);
	setenv("IMGO_COMET_TLS_ENABLE", "true", 1);
	setenv("IMGO_COMET_ID", "", 1); /* empty: not set */
	assert_int_equal(PARSE("--comet.addr=g:1"), 0);
	assert_int_equal(sample.id, 3);
	assert_string_equal(sample.name, "e");
	assert_string_equal(sample.addr, "g:1");
	assert_true(sample.enable);
	assert_string_equal(imgo_config_origin(config, "comet.name"), "IMGO_COMET_NAME");
	setenv("IMGO_COMET_ID", "x", 1);
	assert_int_equal(PARSE("--comet.addr=g:1"), IMGO_EINVAL);
	assert_string_equal(error.text, "comet.id = \"x\" (IMGO_COMET_ID): must be a whole number");
	unsetenv("IMGO_CONFIG");
	unsetenv("IMGO_COMET_NAME");
	unsetenv("IMGO_COMET_ADDR");
	unsetenv("IMGO_COMET_TLS_ENABLE");
	unsetenv("IMGO_COMET_ID");
}

static void bad_flags(void **state)
{
	static const struct {
		const char *arg, *text;
	} cases[] = {
		{"--comet.id=x", "comet.id = \"x\" (--comet.id): must be a whole number"},
		{"--comet.id=", "comet.id = \"\" (--comet.id): must be a whole number"},
		{"--comet.id=1k", "comet.id = \"1k\" (--comet.id): must be a whole number"},
		{"--comet.id= 1", "comet.id = \" 1\" (--comet.id): must be a whole number"},
		{"--comet.id=0x10", "comet.id = \"0x10\" (--comet.id): must be a whole number"},
		{"--comet.id=0", "comet.id = \"0\" (--comet.id): must be from 1 to 4294967295"},
		{"--comet.id=-1", "comet.id = \"-1\" (--comet.id): must be from 1 to 4294967295"},
		{"--comet.id=4294967296", "comet.id = \"4294967296\" (--comet.id): must be from 1 to 4294967295"},
		{"--comet.id=99999999999999999999", "comet.id = \"99999999999999999999\" (--comet.id): is too large"},
		{"--hub.small=128", "hub.small = \"128\" (--hub.small): must be from -128 to 127"},
		{"--hub.number=11", "hub.number = \"11\" (--hub.number): must be from -10 to 10"},
		{"--hub.port=65536", "hub.port = \"65536\" (--hub.port): must be from 0 to 65535"},
		{"--hub.timeout-ms=5x", "hub.timeout-ms = \"5x\" (--hub.timeout-ms): has an unknown unit: "
					"use ms, s, m, h or d"},
		{"--hub.timeout-ms=s", "hub.timeout-ms = \"s\" (--hub.timeout-ms): must be a duration such "
				       "as 500ms, 10s, 2m"},
		{"--hub.timeout-ms=2h", "hub.timeout-ms = \"2h\" (--hub.timeout-ms): must be from 1ms to 1h"},
		{"--hub.timeout-ms=200000000000000d",
			"hub.timeout-ms = \"200000000000000d\" (--hub.timeout-ms): is too large"},
		{"--hub.cache-bytes=1.5m",
			"hub.cache-bytes = \"1.5m\" (--hub.cache-bytes): has an unknown unit: use k, m or g"},
		{"--comet.tls-enable=maybe", "comet.tls-enable = \"maybe\" (--comet.tls-enable): must be true or false"},
		{"--store.mode=x", "store.mode = \"x\" (--store.mode): must be one of memory, lmdb, memcached"},
		{"--comet.name=123456789", "comet.name = \"123456789\" (--comet.name): must have from 0 to 8 bytes"},
		{"--comet.addr=x", "comet.addr = \"x\" (--comet.addr): must be host:port"},
		{"--bus.brokers=a:1,b", "bus.brokers = \"a:1,b\" (--bus.brokers): its item 2 must be host:port"},
		{"--bus.brokers=,", "bus.brokers = \",\" (--bus.brokers): must have from 1 to 3 items"},
		{"--bus.brokers=a:1,b:1,c:1,d:1",
			"bus.brokers = \"a:1,b:1,c:1,d:1\" (--bus.brokers): must have from 1 to 3 items"},
		{"--comet.ID=1", "unknown flag --comet.ID (see --help)"},
		{"--comet.i=1", "unknown flag --comet.i (see --help)"},
		{"--", "unexpected argument \"--\" (see --help)"},
		{"-x", "unexpected argument \"-x\" (see --help)"},
		{"x", "unexpected argument \"x\" (see --help)"},
		{"", "unexpected argument \"\" (see --help)"},
		{"--comet.id", "--comet.id needs a value"},
		{"--config", "--config needs a value"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sample before = sample;
		assert_int_equal(PARSE(cases[i].arg), IMGO_EINVAL);
		assert_string_equal(error.text, cases[i].text);
		assert_int_equal(error.code, IMGO_EINVAL);
		assert_memory_equal(&before, &sample, sizeof(sample));
	}
}

static void bad_files(void **state)
{
	static const struct {
		const char *text, *expect;
	} cases[] = {
		{"[comet]\nid = 1\nidd = 2\n", ":3: unknown key comet.idd"},
		{"id = 1\n", ":1: unknown key id"},
		{"[comet]\nid\n", ":2: neither [section], key = value nor ; comment"},
		{"[comet\nid = 1\n", ":1: neither [section], key = value nor ; comment"},
		{"[comet]\nid = 1\n\nid = 2\n", ":4: comet.id is set twice (first at "},
		{"[comet]\nid = 1\n  name = 2\n", ":3: comet.id is set twice (first at "},
		{"[comet]\n\nid = x\n", ":3): must be a whole number"},
	};
	char text[600];
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		write_file(cases[i].text);
		assert_int_equal(PARSE("--config", path), IMGO_EINVAL);
		if (strstr(error.text, cases[i].expect) == NULL)
			assert_string_equal(error.text, cases[i].expect);
	}
	snprintf(text, sizeof(text), "[comet]\n; %0300d\n", 1);
	write_file(text);
	assert_int_equal(PARSE("--config", path), IMGO_EINVAL);
	assert_non_null(strstr(error.text, ":2: the line is longer than 198 bytes"));
	write_file_n("[comet]\nid = 1\0\n", 16);
	assert_int_equal(PARSE("--config", path), IMGO_EINVAL);
	assert_non_null(strstr(error.text, ":2: a NUL byte"));
	write_file("");
	assert_int_equal(PARSE("--config", path), 0);
}

static void verbs(void **state)
{
	const char *text;
	(void)state;
	assert_int_equal(PARSE("--help", "--comet.id=bad"), 0); /* help comes before checks */
	assert_int_equal(imgo_config_verb(config), IMGO_CONFIG_HELP);
	text = imgo_config_text(config, imgo_config_verb(config));
	assert_non_null(strstr(text, "imgo-test 0.1.0: a test\n"));
	assert_non_null(strstr(text, "  --hub.timeout-ms=DURATION\n        Limit. (1ms to 1h) [10s]\n"));
	assert_non_null(strstr(text, "  --store.mode=memory|lmdb|memcached\n"));
	assert_int_equal(PARSE("--version"), 0);
	assert_string_equal(imgo_config_text(config, imgo_config_verb(config)), "imgo-test 0.1.0\n");
	assert_int_equal(PARSE("--check-config", "--comet.id=x"), IMGO_EINVAL);
	assert_int_equal(PARSE("--check-config"), 0);
	assert_string_equal(imgo_config_text(config, imgo_config_verb(config)), "The configuration is right.\n");
	assert_int_equal(PARSE("--manual"), 0);
	text = imgo_config_text(config, imgo_config_verb(config));
	assert_non_null(strstr(text, "| `store.mode` | memory\\|lmdb\\|memcached | `lmdb` |"));
	assert_non_null(strstr(text, "| `comet.name` | TEXT, 0 to 8 bytes |  | Its name. |"));
	assert_int_equal(PARSE("-h"), 0);
	assert_string_equal(imgo_config_text(config, IMGO_CONFIG_RUN), "");
}

static void a_dump_reads_back(void **state)
{
	const char *text;
	(void)state;
	assert_int_equal(PARSE("--dump-config", "--comet.id=9", "--comet.secret=hush", "--bus.brokers=a:1,b:2,c:3",
				 "--comet.tls-enable"),
		0);
	text = imgo_config_text(config, imgo_config_verb(config));
	assert_null(strstr(text, "hush"));
	assert_non_null(strstr(text, "; from --comet.id:\nid = 9\n"));
	write_file(text);
	memset(&sample, 0, sizeof(sample));
	assert_int_equal(PARSE("--config", path), 0);
	assert_int_equal(sample.id, 9);
	assert_true(sample.enable);
	assert_int_equal(sample.brokers.n, 3);
	assert_null(sample.secret);
	assert_int_equal(sample.timeout_ms, 10000);
}

static void required_and_secret(void **state)
{
	static const struct imgo_property need[] = {
		{IMGO_PROPERTY("a.key", UINT, struct sample, id, NULL, 5, 6, "Key."),
			.flags = IMGO_PROPERTY_REQUIRED | IMGO_PROPERTY_SECRET},
		{0},
	};
	static const struct imgo_property bad[] = {
		{IMGO_PROPERTY("a.bool", BOOL, struct sample, id, NULL, 0, 0, "Bad.")},
		{0},
	};
	const struct imgo_config_set wrong = {bad, &sample};
	const struct imgo_config_set twice[] = {{need, &sample}, {need, &sample}};
	char *argv[] = {(char *)"x", (char *)"--a.key=1", NULL};
	(void)state;
	assert_int_equal(imgo_config_parse(&config, NULL, twice, 1, 1, argv, &error), IMGO_EINVAL);
	assert_string_equal(error.text, "a.key must be set (in the file, by --a.key or by IMGO_A_KEY)");
	assert_int_equal(imgo_config_parse(&config, NULL, twice, 1, 2, argv, &error), IMGO_EINVAL);
	assert_string_equal(error.text, "a.key = \"***\" (--a.key): must be from 5 to 6");
	assert_int_equal(imgo_config_parse(&config, NULL, twice, 2, 1, argv, &error), IMGO_EINVAL);
	assert_string_equal(error.text, "the key a.key is declared twice");
	assert_int_equal(imgo_config_parse(&config, NULL, &wrong, 1, 1, argv, &error), IMGO_EINVAL);
	assert_string_equal(error.text, "the key a.bool has a field of another type");
}

static void without_memory(void **state)
{
	int err;
	(void)state;
	write_file("[bus]\nbrokers = a:1\n\tb:2\n[comet]\nid = 2\n");
	setenv("IMGO_COMET_NAME", "e", 1);
	for (long n = 0;; n++) {
		imgo__mem_fail_after(n);
		err = PARSE("--config", path, "--hub.port=1");
		if (imgo__mem_fail_after(-1) >= 0)
			break;
		assert_int_equal(err, IMGO_ENOMEM);
		assert_int_equal(error.code, IMGO_ENOMEM);
	}
	assert_int_equal(err, 0);
	for (int verb = IMGO_CONFIG_HELP; verb <= IMGO_CONFIG_MANUAL; verb++) {
		for (long n = 0;; n++) {
			const char *text;
			imgo__mem_fail_after(n);
			text = imgo_config_text(config, (enum imgo_config_verb)verb);
			if (imgo__mem_fail_after(-1) >= 0)
				break;
			assert_null(text);
		}
	}
	unsetenv("IMGO_COMET_NAME");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(defaults, setup, teardown),
		cmocka_unit_test_setup_teardown(flags, setup, teardown),
		cmocka_unit_test_setup_teardown(file, setup, teardown),
		cmocka_unit_test_setup_teardown(precedence, setup, teardown),
		cmocka_unit_test_setup_teardown(bad_flags, setup, teardown),
		cmocka_unit_test_setup_teardown(bad_files, setup, teardown),
		cmocka_unit_test_setup_teardown(verbs, setup, teardown),
		cmocka_unit_test_setup_teardown(a_dump_reads_back, setup, teardown),
		cmocka_unit_test_setup_teardown(required_and_secret, setup, teardown),
		cmocka_unit_test_setup_teardown(without_memory, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
