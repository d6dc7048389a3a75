/* SPDX-License-Identifier: MIT */
/*
 * imgo-cli listen. A message is printed and flushed before the client acknowledges it (version 2), so that
 * what was not printed comes again; version 1 cannot say so.
 */
#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <imgo/client.h>
#include <imgo/tls.h>

struct listener {
	const struct cli_args *args;
	struct imgo_loop *loop;
	struct imgo_client *client;
	struct imgo_tls *tls;
	uint64_t left; /* messages to go; 0: no end */
	int code;
};

/* ---- printing ---- */

/* Length of the UTF-8 sequence at p, 0 when there is none. */
static size_t utf8(const unsigned char *p, size_t len)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = *p < 0x80 ? 1 : *p < 0xc2 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 0;
	uint32_t c = n > 1 ? *p & (0xff >> (n + 1)) : 0;

	if (n <= 1)
		return n;
	if (n > len)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	return c < least[n] || (c >= 0xd800 && c < 0xe000) || c > 0x10ffff ? 0 : n;
}

/* A JSON string; bytes that are not UTF-8 become U+FFFD. */
static void print_string(struct imgo_str s)
{
	const unsigned char *p = (const unsigned char *)s.p;

	putchar('"');
	for (size_t i = 0, n; i < s.len; i += n ? n : 1) {
		n = utf8(p + i, s.len - i);
		if (n == 0)
			fputs("\\ufffd", stdout);
		else if (p[i] == '"' || p[i] == '\\')
			printf("\\%c", p[i]);
		else if (p[i] < 0x20)
			printf("\\u%04x", p[i]);
		else
			fwrite(p + i, 1, n, stdout);
	}
	putchar('"');
}

static void print_json(const struct imgo_client_message *message)
{
	printf("{\"op\":%" PRId32 ",\"seq\":%" PRId32 ",\"ver\":%u", message->op, message->seq, message->ver);
	if (message->has_id)
		printf(",\"epoch\":%" PRIu32 ",\"id\":\"%" PRIu64 "\"", message->id.epoch, message->id.id);
	fputs(",\"body\":", stdout);
	print_string(message->body);
	fputs("}\n", stdout);
}

static void print_text(struct imgo_str body)
{
	if (body.len)
		fwrite(body.p, 1, body.len, stdout);
	putchar('\n');
}

/* ---- callbacks ---- */

/* "uid" of a version 2 login's answer, without pretending to parse JSON. */
static struct imgo_str uid_of(struct imgo_str reply)
{
	const char *at = reply.len ? memmem(reply.p, reply.len, "\"uid\":", 6) : NULL;
	const char *end = reply.p + reply.len, *start;

	if (!at)
		return imgo_str(NULL);
	at += 6;
	if (at < end && *at == '"')
		at++;
	for (start = at; at < end && *at != '"' && *at != ',' && *at != '}';)
		at++;
	return imgo_strn(start, (size_t)(at - start));
}

static void on_open(struct imgo_client *client, uint16_t ver, struct imgo_str reply, void *user)
{
	struct imgo_str uid = uid_of(reply);

	(void)client, (void)user;
	if (uid.len)
		fprintf(stderr, "listening as %.*s (version %u)\n", (int)uid.len, uid.p, ver);
	else
		fprintf(stderr, "listening as the user of this token (version %u)\n", ver);
}

static void on_message(struct imgo_client *client, const struct imgo_client_message *message, void *user)
{
	struct listener *self = user;

	if (message->kind == IMGO_CLIENT_CONTROL)
		fprintf(stderr, "imgo-cli: the server says op %" PRId32 " %.*s\n", message->op, (int)message->body.len,
			message->body.p ? message->body.p : "");
	if (message->kind != IMGO_CLIENT_PUSH)
		return;
	if (self->args->json)
		print_json(message);
	else
		print_text(message->body);
	if (fflush(stdout)) {
		self->code = cli_fail(CLI_BROKEN, "standard output: %s", strerror(errno));
		imgo_client_free(client); /* at once: this one is not acknowledged */
		self->client = NULL;
		imgo_loop_stop(self->loop);
	} else if (self->left && --self->left == 0) {
		self->code = CLI_OK;
		imgo_client_close(client); /* acknowledges this message, too */
	}
}

static void on_close(struct imgo_client *client, const struct imgo_client_closed *closed, void *user)
{
	struct listener *self = user;
	const char *why = closed->tls_why               ? closed->tls_why
			  : closed->err == IMGO_EDENIED ? "refused: the token is not good, or it was kicked"
			  : closed->err == IMGO_ESTALE  ? "a newer session took its place"
			  : closed->err == IMGO_ECLOSED && !closed->was_open
				  ? "closed before the login was answered (is the token good?)"
				  : imgo_strerror(closed->err);

	(void)client;
	if (closed->err && closed->final)
		self->code = cli_fail(CLI_NO, "%s", why);
	else if (closed->err)
		cli_fail(0, "%s; again in %.1f s", why, (double)closed->retry_ms / 1000);
	if (closed->final)
		imgo_loop_stop(self->loop);
}

static void on_timeout(void *user)
{
	struct listener *self = user;

	if (self->left)
		self->code = cli_fail(CLI_TIMEOUT, "time is up, %" PRIu64 " messages missing", self->left);
	if (self->client)
		imgo_client_close(self->client);
}

static void on_signal(int signo, void *user)
{
	struct listener *self = user;

	(void)signo;
	if (self->client)
		imgo_client_close(self->client);
}

/* ---- numbers ---- */

static bool count_of(const char *text, uint64_t *out)
{
	char *end = NULL;

	errno = 0;
	*out = text ? strtoull(text, &end, 10) : 0;
	return !text || (*text >= '0' && *text <= '9' && *end == 0 && errno == 0 && *out > 0);
}

/* "30s", "500ms", "2m", "1h", "30": milliseconds. */
static bool duration_of(const char *text, uint64_t *out)
{
	static const struct {
		const char *unit;
		uint64_t ms;
	} units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
	char *end;
	uint64_t n = strtoull(text, &end, 10);

	if (*text < '0' || *text > '9' || n == 0 || n > 1000000000)
		return false;
	for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
		*out = n * units[i].ms;
		if (strcmp(end, units[i].unit) == 0)
			return true;
	}
	return false;
}

static bool mid_of(const char *text, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && *end == 0 && errno == 0 && *out <= INT64_MAX;
}

static bool accepts_of(const char *text, int32_t ops[IMGO_ACCEPTS_MAX], struct imgo_client_options *options)
{
	char *end;

	for (options->accepts = ops;; text = end + 1) {
		errno = 0;
		long op = strtol(text, &end, 10);
		if (end == text || errno || op < INT32_MIN || op > INT32_MAX || options->naccepts == IMGO_ACCEPTS_MAX)
			return false;
		ops[options->naccepts++] = (int32_t)op;
		if (*end == 0)
			return true;
		if (*end != ',')
			return false;
	}
}

/* ---- the verb ---- */

static int open_tls(struct listener *self, struct imgo_client_options *options, struct imgo_error *error)
{
	struct imgo_tls_options tls = IMGO_TLS_OPTIONS_INIT;

	if (!self->args->tls && !self->args->wss)
		return 0;
	tls.ca = self->args->ca;
	tls.insecure = self->args->insecure;
	int err = imgo_tls_new(&self->tls, self->loop, &tls, error);
	options->tls = self->tls;
	options->tls_name = self->args->name;
	return err;
}

static void end(struct listener *self)
{
	imgo_client_free(self->client);
	imgo_tls_free(self->tls);
	imgo_loop_free(self->loop);
}

static int run(struct listener *self, struct imgo_client_options *options, uint64_t timeout)
{
	static const struct imgo_client_ops ops = {sizeof ops, on_open, on_message, on_close};
	struct imgo_error error = {0};

	if (imgo_loop_new(&self->loop, NULL, &error))
		return cli_fail(CLI_BROKEN, "%s", error.text);
	if (open_tls(self, options, &error) || imgo_client_new(&self->client, self->loop, &ops, self, options, &error)) {
		end(self);
		return cli_fail(CLI_USAGE, "%s", error.text);
	}
	if (timeout && imgo_loop_after(self->loop, timeout, on_timeout, self, NULL))
		self->code = cli_fail(CLI_BROKEN, "out of memory");
	else if (imgo_loop_on_signal(self->loop, SIGINT, on_signal, self) ||
		 imgo_loop_on_signal(self->loop, SIGTERM, on_signal, self))
		self->code = cli_fail(CLI_BROKEN, "signals cannot be had");
	else
		imgo_loop_run(self->loop);
	end(self);
	return self->code;
}

static const char *address_of(const struct cli_args *args)
{
	const char *given[] = {args->tcp, args->websocket, args->tls, args->wss};

	for (size_t i = 0; i < sizeof given / sizeof *given; i++)
		if (given[i])
			return given[i];
	return "127.0.0.1:8080";
}

int cli_listen(const struct cli_args *args)
{
	struct imgo_client_options options = IMGO_CLIENT_OPTIONS_INIT;
	struct listener self = {.args = args};
	int32_t ops[IMGO_ACCEPTS_MAX];
	uint64_t timeout = 0;

	if (!args->token && !(args->goim && args->mid))
		return cli_fail(CLI_USAGE, "listen needs --token, or --goim and --mid");
	if (!args->goim && (args->mid || args->accepts || args->key))
		return cli_fail(CLI_USAGE, "--mid, --accepts and --key go with --goim");
	if (!!args->tcp + !!args->websocket + !!args->tls + !!args->wss > 1)
		return cli_fail(CLI_USAGE, "one of --tcp, --websocket, --tls and --wss");
	if ((args->ca || args->name || args->insecure) && !args->tls && !args->wss)
		return cli_fail(CLI_USAGE, "--ca, --name and --insecure go with --tls or --wss");
	if (!count_of(args->count, &self.left))
		return cli_fail(CLI_USAGE, "--count is a positive number");
	if (args->timeout && !duration_of(args->timeout, &timeout))
		return cli_fail(CLI_USAGE, "--timeout is a duration: 30s, 500ms, 2m");
	options.address = address_of(args);
	options.transport = args->websocket || args->wss ? IMGO_CLIENT_WEBSOCKET : IMGO_CLIENT_TCP;
	options.token = args->token;
	options.ver = args->v1 || args->goim ? 1 : 2;
	options.goim = args->goim;
	options.key = args->key;
	if (args->mid && !mid_of(args->mid, &options.mid))
		return cli_fail(CLI_USAGE, "--mid is a number");
	if (args->accepts && !accepts_of(args->accepts, ops, &options))
		return cli_fail(CLI_USAGE, "--accepts is a list of at most %d numbers: 1000,1001", IMGO_ACCEPTS_MAX);
	options.device = args->device;
	options.room = args->room;
	options.retry_max_ms = 5000;
	return run(&self, &options, timeout);
}
