/* SPDX-License-Identifier: MIT */
/* imgo-cli: a client in a terminal. Listens as a user, makes tokens, pushes, looks at waiting messages, and at daemons. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <imgo/version.h>

#include "cli.h"

static const char usage[] =
	"usage: imgo-cli VERB [OPTION]...\n"
	"\n"
	"  listen   prints each message on a line as it arrives; comes back when the connection is lost\n"
	"             --token T              who it is\n"
	"             --tcp HOST:PORT        [127.0.0.1:8080], or --websocket HOST:PORT\n"
	"             --tls HOST:PORT        or --wss HOST:PORT: the same two in TLS; --ca FILE: whom to trust [the "
	"system's], --name N:\n"
	"                                    whose certificate it must be [HOST], --insecure: anybody's\n"
	"             --room R               enters it\n"
	"             --device D             names the device (version 2)\n"
	"             --count N              ends after N messages\n"
	"             --timeout 30s          ends after so long: exit code 3 when --count is not reached\n"
	"             --json                 an object a line: op, seq, ver, epoch and id if it has one, "
	"body (a string)\n"
	"             --v1                   does not ask for version 2 of the protocol, which acknowledges "
	"what was printed\n"
	"             --goim                 speaks goim's dialect; instead of --token it may say who it is, where the "
	"server has\n"
	"                                    auth.mode=goim-insecure: --mid N (0: a guest)\n"
	"             --accepts 1000,1001    goim: wants these operations only; --key K: goim's key\n"
	"  token    makes a token for --user U\n"
	"             --token T              else a random one, which is printed\n"
	"             --expire SECONDS       [86400]\n"
	"             --device D, --room R   of its sessions\n"
	"  push     to --user U, --room R or --all; the message is the next word, or - : standard input\n"
	"             --key K                Idempotency-Key: push again with the same one when the answer "
	"was lost\n"
	"             --qos0                 only to who is online now\n"
	"  log      the waiting messages of --user U with --token T, looked at only\n"
	"  stats    [ADDRESS...] the figures of daemons, at their admin.listen [the default ones that answer]\n"
	"             --all                  those that are 0, too\n"
	"  top      [ADDRESS...] the same as a screen: what happens each second\n"
	"             -n COUNT               so often, as plain text\n"
	"             --interval SECONDS     [1]\n"
	"  help, --version\n"
	"\n"
	"token, push and log speak to the push API: --http HOST:PORT [127.0.0.1:7172], --api-key KEY; for "
	"token, --key is that too.\n"
	"Exit codes: 0 done, 1 the server said no, 2 usage, 3 time is up, 4 no answer: whether it was done "
	"is unknown.\n";

int cli_fail(int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("imgo-cli: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	return code;
}

/* ---- the command line ---- */

/* Where an option's value goes, or its flag. False: there is no such option. */
static bool find(struct cli_args *args, const char *word, const char ***value, bool **flag)
{
	const struct {
		const char *name;
		const char **value;
		bool *flag;
	} options[] = {
		{"--token", &args->token, NULL},
		{"--tcp", &args->tcp, NULL},
		{"--websocket", &args->websocket, NULL},
		{"--tls", &args->tls, NULL},
		{"--wss", &args->wss, NULL},
		{"--ca", &args->ca, NULL},
		{"--name", &args->name, NULL},
		{"--insecure", NULL, &args->insecure},
		{"--room", &args->room, NULL},
		{"--count", &args->count, NULL},
		{"--timeout", &args->timeout, NULL},
		{"--user", &args->user, NULL},
		{"--expire", &args->expire, NULL},
		{"--device", &args->device, NULL},
		{"--key", &args->key, NULL},
		{"--http", &args->http, NULL},
		{"--api-key", &args->api_key, NULL},
		{"-n", &args->count, NULL},
		{"--interval", &args->interval, NULL},
		{"--mid", &args->mid, NULL},
		{"--accepts", &args->accepts, NULL},
		{"--all", NULL, &args->all},
		{"--json", NULL, &args->json},
		{"--qos0", NULL, &args->qos0},
		{"--v1", NULL, &args->v1},
		{"--goim", NULL, &args->goim},
	};

	for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
		if (strcmp(word, options[i].name) == 0) {
			*value = options[i].value;
			*flag = options[i].flag;
			return true;
		}
	}
	return false;
}

/* "--" ends the options: a message may begin with two dashes. */
static int parse(struct cli_args *args, int argc, char **argv, size_t words_max)
{
	bool words = false;

	for (int i = 2; i < argc; i++) {
		const char **value = NULL;
		bool *flag = NULL;
		if (!words && strcmp(argv[i], "--") == 0) {
			words = true;
		} else if (words || (strncmp(argv[i], "--", 2) != 0 && strcmp(argv[i], "-n") != 0)) {
			if (args->nwords == words_max)
				return cli_fail(CLI_USAGE, "one word too many: %s", argv[i]);
			args->words[args->nwords++] = argv[i];
			args->body = args->words[0];
		} else if (!find(args, argv[i], &value, &flag)) {
			return cli_fail(CLI_USAGE, "no such option: %s (imgo-cli help)", argv[i]);
		} else if (flag) {
			*flag = true;
		} else if (++i < argc) {
			*value = argv[i];
		} else {
			return cli_fail(CLI_USAGE, "%s needs a value", argv[i - 1]);
		}
	}
	return CLI_OK;
}

/* ---- the push API ---- */

enum { TARGET_MAX = 6000 };

static struct cli_http http_of(const struct cli_args *args)
{
	return (struct cli_http){.address = args->http ? args->http : "127.0.0.1:7172",
		.api_key = args->api_key,
		.idempotency_key = args->key};
}

/* Appends "name=value", with & between two; a value of NULL: nothing. */
static bool add(char text[TARGET_MAX], const char *name, const char *value)
{
	size_t len = strlen(text), room = TARGET_MAX - len;
	bool first = len == 0 || text[len - 1] == '?';

	if (!value)
		return true;
	return (size_t)snprintf(text + len, room, "%s%s=", first ? "" : "&", name) < room &&
	       cli_http_escape(text, TARGET_MAX, value);
}

static int verb_token(const struct cli_args *args)
{
	struct cli_http http = http_of(args);
	char form[TARGET_MAX] = "", random[33];
	unsigned char bytes[16];
	int code;

	if (!args->user)
		return cli_fail(CLI_USAGE, "token needs --user");
	if (!http.api_key)
		http.api_key = args->key;
	http.idempotency_key = NULL; /* it is safe to repeat by itself */
	if (getentropy(bytes, sizeof bytes))
		return cli_fail(CLI_BROKEN, "no random bytes to be had");
	for (size_t i = 0; i < sizeof bytes; i++)
		snprintf(random + 2 * i, 3, "%02x", bytes[i]);
	if (!add(form, "uid", args->user) || !add(form, "token", args->token ? args->token : random) ||
		!add(form, "expire", args->expire ? args->expire : "86400") || !add(form, "device", args->device) ||
		!add(form, "rooms", args->room))
		return cli_fail(CLI_USAGE, "too long");
	code = cli_http_call(&http, "POST", "/1/admin/token/new", form, strlen(form));
	if (code == CLI_OK && !args->token)
		printf("%s\n", random);
	return code;
}

enum { BODY_MAX = 16 << 20 };

/* NULL: no memory, an error, or more than BODY_MAX. */
static char *read_stdin(size_t *len)
{
	char *text = malloc(BODY_MAX + 1);

	*len = text ? fread(text, 1, BODY_MAX + 1, stdin) : 0;
	if (text && (ferror(stdin) || *len > BODY_MAX)) {
		free(text);
		return NULL;
	}
	return text;
}

static int verb_push(const struct cli_args *args)
{
	struct cli_http http = http_of(args);
	char target[TARGET_MAX];
	char *input = NULL;
	size_t len = args->body ? strlen(args->body) : 0;
	int code;

	if (!args->body || !!args->user + !!args->room + args->all != 1)
		return cli_fail(CLI_USAGE, "push needs a message, and one of --user, --room, --all");
	if (args->qos0 && !args->user)
		return cli_fail(CLI_USAGE, "--qos0 goes with --user; the others are so anyway");
	strcpy(target, args->user ? "/1/push?" : args->room ? "/1/push/room?" : "/1/push/all");
	if (!add(target, "uid", args->user) || !add(target, "room", args->room) ||
		!add(target, "qos", args->qos0 ? "0" : NULL))
		return cli_fail(CLI_USAGE, "too long");
	if (strcmp(args->body, "-") == 0) {
		input = read_stdin(&len);
		if (!input)
			return cli_fail(CLI_USAGE, "standard input: an error, or more than 16 MiB");
	}
	code = cli_http_call(&http, "POST", target, input ? input : args->body, len);
	free(input);
	return code;
}

static int verb_log(const struct cli_args *args)
{
	struct cli_http http = http_of(args);
	char target[TARGET_MAX] = "/1/msg/get?mid=0";

	if (!args->user || !args->token)
		return cli_fail(CLI_USAGE, "log needs --user and --token");
	if (!add(target, "uid", args->user) || !add(target, "token", args->token))
		return cli_fail(CLI_USAGE, "too long");
	return cli_http_call(&http, "GET", target, "", 0);
}

static bool asks_for_help(const char *word)
{
	return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*fn)(const struct cli_args *args);
		size_t words_max;
	} verbs[] = {{"listen", cli_listen, 1}, {"token", verb_token, 1}, {"push", verb_push, 1}, {"log", verb_log, 1},
		{"stats", cli_stats, CLI_WORDS_MAX}, {"top", cli_top, CLI_WORDS_MAX}};
	const char *verb = argc > 1 ? argv[1] : "";
	struct cli_args args = {0};

	if (strcmp(verb, "help") == 0 || asks_for_help(verb) || (argc > 2 && asks_for_help(argv[2])))
		return fputs(usage, stdout) < 0 ? CLI_BROKEN : CLI_OK;
	if (strcmp(verb, "--version") == 0 || strcmp(verb, "version") == 0)
		return printf("imgo-cli %s\n", imgo_version()) < 0 ? CLI_BROKEN : CLI_OK;
	for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
		if (strcmp(verb, verbs[i].name) == 0)
			return parse(&args, argc, argv, verbs[i].words_max) ? CLI_USAGE : verbs[i].fn(&args);
	}
	fputs(usage, stderr);
	return cli_fail(CLI_USAGE, *verb ? "no such verb: %s" : "no verb%s", verb);
}
