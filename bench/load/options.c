/* SPDX-License-Identifier: MIT */
#include "load.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <string.h>

#include "../kit/stamp.h"

static const char usage[] =
	"usage: imgo-bench load --subscribe HOST:PORT[,...] [--http HOST:PORT] [OPTION]...\n"
	"       imgo-bench api --http HOST:PORT [OPTION]...\n"
	"\n"
	"load: subscribers, and an open-loop publisher; the latency is from the intended time to each receipt.\n"
	"api: calls of the push API, a fixed number under way. Both print one JSON object.\n"
	"Exit code: 0 good, 1 lost, doubled, reordered or refused, 2 usage, 3 void (the client was the bottleneck).\n"
	"\n"
	"  --dialect NAME        tcp (default), ws-json, ws-binary, or floor (fanout-floor: no login)\n"
	"  --device NAME         log in by version 2 as that device, and acknowledge what is logged\n"
	"  --connections N       subscribers (100); connection i goes to address i mod addresses\n"
	"  --processes N         of subscribers (1 for each 19,000), each from a source address of its own\n"
	"  --window N            logins under way in each process (64)\n"
	"  --rooms N             connection i is in room i mod N (1)\n"
	"  --push KIND           room (default), user, users (api only), all, none\n"
	"  --qos N               0: to those online, 1: kept (default); of pushes to users\n"
	"  --rate N              pushes a second (10), over all rooms or users\n"
	"  --seconds S           how long they are measured (5); --warm-up S before that (1)\n"
	"  --size N              bytes of a message (50)\n"
	"  --settle S            between the last login and the memory reading (0.5)\n"
	"  --idle S              then nothing but heartbeats, measured (0); --heartbeat S: one a connection each S\n"
	"  --drain S             how long the last messages may take (10)\n"
	"  --count N             api: calls (100000); --calls-connections N (16), --depth N of each (16)\n"
	"  --users N             api: different users (100000); --many N: users of one call (1000), --push users\n"
	"  --server NAME=PID     whose CPU time and memory are told; may be given again\n";

enum { USAGE = 2 };

_Noreturn static void refuse(const char *what, const char *value)
{
	fprintf(stderr, "imgo-bench: %s%s%s\n%s", what, value ? ": " : "", value ? value : "", usage);
	exit(USAGE);
}

static double number(const char *text, double min, double max)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !(value >= min && value <= max))
		refuse("a number out of range", text);
	return value;
}

static struct sockaddr_in address(const char *text)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	const char *colon = strrchr(text, ':');
	char host[64];

	if (!colon || (size_t)(colon - text) >= sizeof host)
		refuse("not HOST:PORT, the host an IPv4 address", text);
	snprintf(host, sizeof host, "%.*s", (int)(colon - text), text);
	in.sin_port = htons((uint16_t)number(colon + 1, 1, 65535));
	if (inet_pton(AF_INET, host, &in.sin_addr) != 1)
		refuse("not HOST:PORT, the host an IPv4 address", text);
	return in;
}

static void addresses(struct options *o, char *list)
{
	for (char *save, *p = strtok_r(list, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
		if (o->nsubscribe == TARGETS_MAX)
			refuse("too many addresses", NULL);
		o->subscribe[o->nsubscribe++] = address(p);
	}
}

static void server(struct options *o, const char *text)
{
	const char *eq = strchr(text, '=');
	struct server *s = &o->servers[o->nservers];
	struct proc proc;

	if (o->nservers == SERVERS_MAX || !eq || (size_t)(eq - text) >= sizeof s->name || strchr(text, '"'))
		refuse("--server NAME=PID", text);
	snprintf(s->name, sizeof s->name, "%.*s", (int)(eq - text), text);
	s->pid = (pid_t)number(eq + 1, 1, 1e9);
	if (proc_read(s->pid, &proc))
		refuse("there is no such process", text);
	o->nservers++;
}

static enum push_kind kind(const char *text)
{
	static const char *const names[] = {"none", "room", "user", "users", "all"};

	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		if (strcmp(text, names[i]) == 0)
			return (enum push_kind)i;
	}
	refuse("--push", text);
}

/* ---- the table ---- */

enum type { UNSIGNED, BYTES, REAL };

/* Options whose value is a number, and where it goes. */
static const struct numeric {
	const char *name;
	enum type type;
	size_t at;
	double min, max;
} numerics[] = {
	{"connections", UNSIGNED, offsetof(struct options, connections), 1, 2e6},
	{"processes", UNSIGNED, offsetof(struct options, processes), 1, PROCESSES_MAX},
	{"window", UNSIGNED, offsetof(struct options, window), 1, 10000},
	{"rooms", UNSIGNED, offsetof(struct options, rooms), 1, 1e6},
	{"qos", UNSIGNED, offsetof(struct options, qos), 0, 1},
	{"rate", REAL, offsetof(struct options, rate), 0.01, 1e6},
	{"seconds", REAL, offsetof(struct options, seconds), 0.1, 86400},
	{"warm-up", REAL, offsetof(struct options, warm_up), 0, 3600},
	{"size", BYTES, offsetof(struct options, size), STAMP_MIN, STAMP_MAX},
	{"settle", REAL, offsetof(struct options, settle), 0, 3600},
	{"idle", REAL, offsetof(struct options, idle), 0, 86400},
	{"heartbeat", REAL, offsetof(struct options, heartbeat), 0.01, 86400},
	{"drain", REAL, offsetof(struct options, drain), 0, 3600},
	{"count", UNSIGNED, offsetof(struct options, api_count), 1, 1e8},
	{"calls-connections", UNSIGNED, offsetof(struct options, api_connections), 1, 1000},
	{"depth", UNSIGNED, offsetof(struct options, api_depth), 1, 256},
	{"users", UNSIGNED, offsetof(struct options, api_users), 1, 1e7},
	{"many", UNSIGNED, offsetof(struct options, api_many), 1, 10000},
};

static bool take_number(struct options *o, const char *name, const char *text)
{
	for (const struct numeric *n = numerics; n < numerics + sizeof numerics / sizeof *numerics; n++) {
		if (strcmp(n->name, name) != 0)
			continue;
		double value = number(text, n->min, n->max);
		void *to = (char *)o + n->at;
		if (n->type == REAL)
			*(double *)to = value;
		else if (n->type == BYTES)
			*(size_t *)to = (size_t)value;
		else
			*(unsigned *)to = (unsigned)value;
		return true;
	}
	return false;
}

static void take(struct options *o, const char *name, char *text)
{
	if (take_number(o, name, text))
		return;
	if (strcmp(name, "subscribe") == 0)
		addresses(o, text);
	else if (strcmp(name, "http") == 0)
		o->http = address(text);
	else if (strcmp(name, "device") == 0)
		o->device = text;
	else if (strcmp(name, "push") == 0)
		o->push = kind(text);
	else if (strcmp(name, "server") == 0)
		server(o, text);
	else if (strcmp(name, "dialect") != 0)
		refuse("no such option", name);
	else if (wire_dialect(text, &o->dialect))
		refuse("--dialect", text);
}

static void check(struct options *o)
{
	if (!o->processes)
		o->processes = (o->connections + 18999) / 19000;
	if (o->processes > PROCESSES_MAX || o->connections / o->processes > FDS_MAX)
		refuse("a process holds 20,000 descriptors: more --processes", NULL);
	if (o->http.sin_port == 0 && (o->api_only || o->push != PUSH_NONE || o->dialect != WIRE_FLOOR))
		refuse("--http is missing", NULL);
	if (o->api_only) {
		if (o->push == PUSH_NONE)
			refuse("--push none has no calls", NULL);
		return;
	}
	if (o->nsubscribe == 0)
		refuse("--subscribe is missing", NULL);
	if (o->push == PUSH_USERS)
		refuse("--push users goes with api only", NULL);
	if (o->dialect == WIRE_FLOOR && (o->rooms != 1 || o->push == PUSH_USER || o->heartbeat > 0))
		refuse("the floor has one room, and nothing else", NULL);
	if (o->rooms > o->connections)
		refuse("more rooms than connections", NULL);
}

static const struct options defaults = {.dialect = WIRE_TCP,
	.connections = 100,
	.window = 64,
	.rooms = 1,
	.push = PUSH_ROOM,
	.qos = 1,
	.rate = 10,
	.seconds = 5,
	.warm_up = 1,
	.settle = 0.5,
	.drain = 10,
	.size = 50,
	.api_connections = 16,
	.api_depth = 16,
	.api_count = 100000,
	.api_users = 100000,
	.api_many = 1000};

void options_read(struct options *o, int argc, char **argv)
{
	*o = defaults;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0) {
			fputs(usage, stdout);
			exit(0);
		}
	}
	if (argc < 2 || (strcmp(argv[1], "load") != 0 && strcmp(argv[1], "api") != 0))
		refuse("load or api?", argv[1]);
	o->api_only = strcmp(argv[1], "api") == 0;
	for (int i = 2; i < argc; i++) {
		char *name = argv[i], *value = strchr(name, '=');
		if (strncmp(name, "--", 2) != 0)
			refuse("what is that?", name);
		if (value)
			*value++ = '\0';
		else if (i + 1 < argc)
			value = argv[++i];
		else
			refuse("a value is missing", name);
		take(o, name + 2, value);
	}
	check(o);
}
