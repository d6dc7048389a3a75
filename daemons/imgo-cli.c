/* SPDX-License-Identifier: MIT */
/* imgo-cli: a terminal client. Listens as a user, makes tokens, pushes, looks at waiting messages. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <imgo/client.h>
#include <imgo/version.h>

#include "cli_http.h"

static const char usage[] =
	"usage: imgo-cli VERB [--OPTION VALUE]...\n"
	"\n"
	"  listen --token T     prints each message on a line as it arrives; comes back when the connection is lost\n"
	"         --tcp HOST:PORT (127.0.0.1:8080) or --websocket HOST:PORT; --room R: enters it;\n"
	"         --count N: ends after N messages; --timeout SECONDS: gives up after so long (exit code 3)\n"
	"  token  --user U      makes a token; --token T (else a random one, printed), --expire SECONDS (86400), --device D, --room R\n"
	"  push   --user U | --room R | --all yes   BODY (or - : from standard input); --key K: Idempotency-Key\n"
	"  log    --user U --token T    the waiting messages, looked at only\n"
	"  help, version\n"
	"\n"
	"token, push and log speak to the push API: --http HOST:PORT (127.0.0.1:7172), --api-key KEY\n";

struct args {
	const char *token, *tcp, *websocket, *room, *count, *timeout, *user, *expire, *device, *all, *key, *http, *api_key;
	const char *body; /* the one word that is no option */
};

static int bad(const char *what, const char *word)
{
	fprintf(stderr, "imgo-cli: %s%s%s (imgo-cli help)\n", what, word ? ": " : "", word ? word : "");
	return 2;
}

static int parse(struct args *args, int argc, char **argv)
{
	const struct {
		const char *name;
		const char **value;
	} options[] = {{"--token", &args->token}, {"--tcp", &args->tcp}, {"--websocket", &args->websocket}, {"--room", &args->room},
		{"--count", &args->count}, {"--timeout", &args->timeout}, {"--user", &args->user}, {"--expire", &args->expire},
		{"--device", &args->device}, {"--all", &args->all}, {"--key", &args->key}, {"--http", &args->http},
		{"--api-key", &args->api_key}};

	for (int i = 2; i < argc; i++) {
		size_t at = 0;
		while (at < sizeof options / sizeof options[0] && strcmp(argv[i], options[at].name) != 0)
			at++;
		if (at < sizeof options / sizeof options[0] && i + 1 < argc)
			*options[at].value = argv[++i];
		else if (at == sizeof options / sizeof options[0] && strncmp(argv[i], "--", 2) != 0 && !args->body)
			args->body = argv[i];
		else
			return bad("cannot make sense of", argv[i]);
	}
	return 0;
}

/* ---- listen ---- */

struct listener {
	struct imgo_loop *loop;
	struct imgo_client *client;
	unsigned long left; /* messages to go; 0: no end */
	int code;
};

static void on_open(struct imgo_client *client, uint16_t ver, struct imgo_str reply, void *user)
{
	(void)client, (void)ver, (void)reply, (void)user;
	fprintf(stderr, "listening\n");
}

static void on_message(struct imgo_client *client, const struct imgo_client_message *message, void *user)
{
	struct listener *self = user;

	if (message->kind != IMGO_CLIENT_PUSH)
		return;
	printf("%.*s\n", (int)message->body.len, message->body.p);
	fflush(stdout);
	if (self->left && --self->left == 0)
		imgo_client_close(client);
}

static void on_close(struct imgo_client *client, const struct imgo_client_closed *closed, void *user)
{
	struct listener *self = user;

	(void)client;
	if (closed->err && closed->final)
		fprintf(stderr, "imgo-cli: %s\n", closed->err == IMGO_EDENIED ? "the token is not good" : imgo_strerror(closed->err));
	else if (closed->err)
		fprintf(stderr, "imgo-cli: %s, trying again in %.1f s\n", imgo_strerror(closed->err), (double)closed->retry_ms / 1000);
	if (!closed->final)
		return;
	self->code = closed->err ? 1 : self->code;
	imgo_loop_stop(self->loop);
}

static void on_timeout(void *user)
{
	struct listener *self = user;

	fprintf(stderr, "imgo-cli: time is up\n");
	self->code = 3;
	imgo_client_close(self->client);
}

static void on_signal(int signo, void *user)
{
	struct listener *self = user;

	(void)signo;
	imgo_client_close(self->client);
}

static int verb_listen(const struct args *args)
{
	static const struct imgo_client_ops ops = {sizeof ops, on_open, on_message, on_close};
	struct imgo_client_options options = IMGO_CLIENT_OPTIONS_INIT;
	struct listener self = {.left = args->count ? strtoul(args->count, NULL, 10) : 0};
	struct imgo_error error = {0};

	if (!args->token)
		return bad("listen needs --token", NULL);
	options.address = args->websocket ? args->websocket : args->tcp ? args->tcp : "127.0.0.1:8080";
	options.transport = args->websocket ? IMGO_CLIENT_WEBSOCKET : IMGO_CLIENT_TCP;
	options.token = args->token;
	options.room = args->room;
	options.retry_max_ms = 5000;
	if (imgo_loop_new(&self.loop, NULL, &error) < 0 ||
		imgo_client_new(&self.client, self.loop, &ops, &self, &options, &error) < 0) {
		imgo_loop_free(self.loop);
		return bad(error.text, NULL);
	}
	if (args->timeout)
		imgo_loop_after(self.loop, strtoul(args->timeout, NULL, 10) * 1000, on_timeout, &self, NULL);
	imgo_loop_on_signal(self.loop, SIGINT, on_signal, &self);
	imgo_loop_on_signal(self.loop, SIGTERM, on_signal, &self);
	imgo_loop_run(self.loop);
	imgo_client_free(self.client);
	imgo_loop_free(self.loop);
	return self.code;
}

/* ---- the push API ---- */

static struct cli_http http_of(const struct args *args)
{
	return (struct cli_http){args->http ? args->http : "127.0.0.1:7172", args->api_key, args->key};
}

/* Appends "&name=value". */
static int add(char *text, size_t cap, const char *name, const char *value)
{
	size_t len = strlen(text);

	if (!value)
		return 0;
	if (snprintf(text + len, cap - len, "%s%s=", len && text[len - 1] != '?' ? "&" : "", name) >= (int)(cap - len))
		return -1;
	return cli_http_escape(text, cap, value);
}

static const char *random_token(void)
{
	static char text[33];
	FILE *file = fopen("/dev/urandom", "rb");
	unsigned char bytes[16];

	if (!file || fread(bytes, 1, sizeof bytes, file) != sizeof bytes)
		exit(bad("no random bytes to be had", NULL));
	fclose(file);
	for (size_t i = 0; i < sizeof bytes; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	return text;
}

static int verb_token(const struct args *args)
{
	const char *token = args->token ? args->token : random_token();
	struct cli_http http = http_of(args);
	char form[4096] = "";

	if (!args->user)
		return bad("token needs --user", NULL);
	if (add(form, sizeof form, "uid", args->user) || add(form, sizeof form, "token", token) ||
		add(form, sizeof form, "expire", args->expire ? args->expire : "86400") ||
		add(form, sizeof form, "device", args->device) || add(form, sizeof form, "rooms", args->room))
		return bad("too long", NULL);
	if (!args->token)
		printf("%s\n", token);
	return cli_http_call(&http, "POST", "/1/admin/token/new", form, strlen(form));
}

static char *read_stdin(size_t *len)
{
	size_t cap = 1 << 20, n;
	char *text = malloc(cap);

	*len = 0;
	while (text && *len < cap && (n = fread(text + *len, 1, cap - *len, stdin)) > 0)
		*len += n;
	return text;
}

static int verb_push(const struct args *args)
{
	struct cli_http http = http_of(args);
	char target[2048] = "";
	bool from_stdin = args->body && strcmp(args->body, "-") == 0;
	size_t len = args->body ? strlen(args->body) : 0;
	char *text = from_stdin ? read_stdin(&len) : NULL;
	int code;

	strcpy(target, args->user ? "/1/push?" : args->room ? "/1/push/room?" : "/1/push/all");
	if (!args->body || (!args->user && !args->room && !args->all))
		return bad("push needs a body, and --user, --room or --all", NULL);
	if (add(target, sizeof target, args->user ? "uid" : "room", args->user ? args->user : args->room))
		return bad("too long", NULL);
	code = cli_http_call(&http, "POST", target, from_stdin ? text : args->body, len);
	free(text);
	return code;
}

static int verb_log(const struct args *args)
{
	struct cli_http http = http_of(args);
	char target[4096] = "/1/msg/get?mid=0";

	if (!args->user || !args->token)
		return bad("log needs --user and --token", NULL);
	if (add(target, sizeof target, "uid", args->user) || add(target, sizeof target, "token", args->token))
		return bad("too long", NULL);
	return cli_http_call(&http, "GET", target, "", 0);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*fn)(const struct args *args);
	} verbs[] = {{"listen", verb_listen}, {"token", verb_token}, {"push", verb_push}, {"log", verb_log}};
	struct args args = {0};
	const char *verb = argc > 1 ? argv[1] : "help";

	if (strcmp(verb, "help") == 0 || strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0)
		return fputs(usage, argc > 1 ? stdout : stderr), argc > 1 ? 0 : 2;
	if (strcmp(verb, "version") == 0 || strcmp(verb, "--version") == 0)
		return printf("imgo-cli %s\n", imgo_version()), 0;
	for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
		if (strcmp(verb, verbs[i].name) == 0)
			return parse(&args, argc, argv) ? 2 : verbs[i].fn(&args);
	}
	return bad("no such verb", verb);
}
