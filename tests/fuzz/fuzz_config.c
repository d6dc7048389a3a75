/* SPDX-License-Identifier: MIT */
/*
 * A configuration file, and the same text as command-line flags: refused with a sentence and the targets untouched, or
 * every value is within its bounds, and what is dumped reads back as the same. First byte: file (even) or flags.
 */
#include "fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#include <imgo/config.h>

enum { ARGS_MAX = 16, FILE_MAX = 4096 };

struct target {
	const char *text, *secret;
	bool yes;
	int8_t small;
	uint16_t port;
	uint64_t wait_ms;
	size_t bytes;
	int word;
	struct imgo_config_list list;
};

static const char *const words[] = {"red", "green", "blue", NULL};

static const char *no_x(const char *value)
{
	return strchr(value, 'x') ? "must be without an x" : NULL;
}

static const struct imgo_property table[] = {
	{IMGO_PROPERTY("a.text", STRING, struct target, text, "t", 1, 40, "Text."), .check = no_x},
	{IMGO_PROPERTY("a.secret", STRING, struct target, secret, NULL, 0, 0, "Secret."), .flags = IMGO_PROPERTY_SECRET},
	{IMGO_PROPERTY("a.yes", BOOL, struct target, yes, "false", 0, 0, "Yes.")},
	{IMGO_PROPERTY("a.small", INT, struct target, small, "-1", -100, 100, "Small.")},
	{IMGO_PROPERTY("b.port", UINT, struct target, port, "80", 0, 0, "Port.")},
	{IMGO_PROPERTY("b.wait", DURATION, struct target, wait_ms, "1s", 10, 86400000, "Wait.")},
	{IMGO_PROPERTY("b.bytes", SIZE, struct target, bytes, "4k", 0, INT64_MAX, "Bytes.")},
	{IMGO_PROPERTY("b.word", ENUM, struct target, word, "green", 0, 0, "Word."), .values = words},
	{IMGO_PROPERTY("b.list", LIST, struct target, list, "", 0, 5, "List.")},
	{0},
};

static int parse(struct imgo_config **out, struct target *target, int argc, char **argv)
{
	struct imgo_config_options options = IMGO_CONFIG_OPTIONS_INIT;
	struct imgo_config_set sets[] = {{table, target}};
	struct imgo_error error = {0};
	struct target untouched;

	memset(target, 0x5A, sizeof *target);
	untouched = *target;
	options.program = "fuzz";
	options.env_prefix = "";
	int r = imgo_config_parse(out, &options, sets, 1, argc, argv, &error);
	if (r < 0) {
		CHECK(*out == NULL && memcmp(target, &untouched, sizeof untouched) == 0);
		CHECK(error.text[0] && memchr(error.text, 0, sizeof error.text));
	}
	return r;
}

static void check_values(const struct target *t)
{
	CHECK(t->text && strlen(t->text) >= 1 && strlen(t->text) <= 40 && !strchr(t->text, 'x'));
	CHECK(t->small >= -100 && t->small <= 100);
	CHECK(t->wait_ms >= 10 && t->wait_ms <= 86400000 && t->bytes <= INT64_MAX);
	CHECK(t->word >= 0 && t->word <= 2 && t->list.n <= 5);
	for (size_t i = 0; i < t->list.n; i++)
		CHECK(t->list.items[i] && t->list.items[i][0]);
}

static bool same_text(const char *a, const char *b)
{
	return (!a && !b) || (a && b && strcmp(a, b) == 0);
}

static int parse_file(struct imgo_config **out, struct target *target, const void *text, size_t len)
{
	char path[40];
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	CHECK(fd >= 0 && write(fd, text, len) == (ssize_t)len);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	char *argv[] = {(char *)"fuzz", (char *)"--config", path, NULL};
	int r = parse(out, target, 3, argv);
	close(fd);
	return r;
}

/* A file has no quotes: what it takes for a comment or a blank it cannot say. */
static bool can_be_written(const char *text)
{
	if (text && strlen(text) > 160) /* a line of a file is at most 199 bytes: inih's INI_MAX_LINE */
		return false;
	for (const char *at = text; text && *at; at++) {
		if ((unsigned char)*at <= ' ' || *at == ';' || *at == '#' || *at == 0x7f)
			return false;
	}
	return true;
}

static bool all_can_be_written(const struct target *t)
{
	for (size_t i = 0; i < t->list.n; i++) {
		if (!can_be_written(t->list.items[i]))
			return false;
	}
	return can_be_written(t->text);
}

/* What --dump-config prints is a file that says the same, but for the secret. */
static void check_dump(struct imgo_config *config, const struct target *was)
{
	const char *text = imgo_config_text(config, IMGO_CONFIG_DUMP);
	struct imgo_config *again = NULL;
	struct target now;

	CHECK(text);
	if (!all_can_be_written(was))
		return;
	CHECK(parse_file(&again, &now, text, strlen(text)) == 0);
	CHECK(same_text(was->text, now.text) && was->yes == now.yes && was->small == now.small && was->port == now.port);
	CHECK(was->wait_ms == now.wait_ms && was->bytes == now.bytes && was->word == now.word && was->list.n == now.list.n);
	for (size_t i = 0; i < was->list.n; i++)
		CHECK(same_text(was->list.items[i], now.list.items[i]));
	imgo_config_free(again);
}

static void check(struct imgo_config *config, const struct target *target)
{
	check_values(target);
	check_dump(config, target);
	CHECK(imgo_config_text(config, IMGO_CONFIG_HELP) && imgo_config_origin(config, "a.text"));
	CHECK(imgo_config_origin(config, "a.none") == NULL);
}

/* Lines as arguments. */
static int parse_flags(struct imgo_config **out, struct target *target, char *text)
{
	char *argv[ARGS_MAX + 2] = {(char *)"fuzz"}, *line, *rest = text;
	int argc = 1;

	while (argc <= ARGS_MAX && (line = strsep(&rest, "\n")) != NULL)
		argv[argc++] = line;
	return parse(out, target, argc, argv);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct imgo_config *config = NULL;
	struct target target;
	char text[FILE_MAX + 1];
	int r;

	if (size == 0 || size > FILE_MAX)
		return 0;
	memcpy(text, data + 1, size - 1);
	text[size - 1] = 0;
	if (data[0] % 2 && strstr(text, "--config"))
		return 0; /* names a file of this machine */
	r = data[0] % 2 ? parse_flags(&config, &target, text) : parse_file(&config, &target, data + 1, size - 1);
	if (r == 0 && imgo_config_verb(config) != IMGO_CONFIG_HELP && imgo_config_verb(config) != IMGO_CONFIG_VERSION &&
		imgo_config_verb(config) != IMGO_CONFIG_MANUAL)
		check(config, &target);
	else if (r == 0)
		CHECK(imgo_config_text(config, imgo_config_verb(config)));
	imgo_config_free(config);
	return 0;
}
