/* SPDX-License-Identifier: MIT */
/*
 * imgo-bench in pieces, which are processes:
 *
 *   imgo_bench.c  the conductor: starts the others, opens the phases, looks at the servers' clocks, judges
 *   options.c     argv
 *   clients.c     the subscribers' processes: connections, what comes on them, the ledger of each
 *   pusher.c      the open-loop publisher      api.c   calls without pause, for rates and for making tokens
 *   http.c        as much HTTP as these need   report.c   the result as JSON
 *
 * All share one mapping (struct shared): numbers go one way, what was counted the other. There is no other talk.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "../kit/clock.h"
#include "../kit/hist.h"
#include "../kit/proc.h"
#include "../kit/wire.h"

enum {
	PROCESSES_MAX = 64,
	SERVERS_MAX = 16,
	TARGETS_MAX = 16,
	FDS_MAX = 19900, /* of one process */
	TRACED_MAX = 1 << 20,
};

enum push_kind { PUSH_NONE, PUSH_ROOM, PUSH_USER, PUSH_USERS, PUSH_ALL };

struct server {
	char name[32];
	pid_t pid;
};

struct options {
	bool api_only;                             /* the verb api */
	struct sockaddr_in subscribe[TARGETS_MAX]; /* connection i goes to i % nsubscribe */
	unsigned nsubscribe;
	struct sockaddr_in http;
	enum wire_dialect dialect;
	const char *device; /* of version 2, NULL: version 1 */
	unsigned connections, processes, rooms, window;
	enum push_kind push;
	unsigned qos;
	double rate, seconds, warm_up, settle, idle, heartbeat, drain;
	size_t size;
	unsigned api_connections, api_depth, api_count, api_users, api_many;
	struct server servers[SERVERS_MAX];
	unsigned nservers;
	bool own_tokens; /* made here, by the API */
};

/* Ends the program with usage on what it does not understand. */
void options_read(struct options *o, int argc, char **argv);

/* Of one subscribers' process. */
struct client_slot {
	_Atomic unsigned up, failed; /* logged in; refused or lost before that */
	_Atomic uint64_t received;   /* stamped messages, each counted once */
	_Atomic uint64_t heartbeats; /* answers */
	uint64_t copies, late, foreign, closed, broken;
	uint64_t bytes, reads;        /* once all are up */
	struct hist connect, latency; /* latency: of the measured messages only */
	char first_trouble[120];
};

struct pusher_slot {
	_Atomic unsigned answered, refused; /* refused: by anything but 200 and ret 1 */
	_Atomic bool warm, done;
	uint64_t began_ns, ended_ns;
	struct hist lateness, answer; /* of sending, and of the answer, against the intended time */
	char first_trouble[120];
};

enum phase { PHASE_CONNECT, PHASE_WARM, PHASE_MEASURE, PHASE_END };

struct shared {
	_Atomic int phase;
	_Atomic unsigned allowed; /* connections of each process */
	uint32_t run;             /* of the stamps */
	uint64_t first_user;
	unsigned warm_count, count; /* pushes: to warm up, and in all */
	struct pusher_slot pusher;
	struct client_slot clients[PROCESSES_MAX];
	/* By push, where it is to one user each: when the answer came, and when the message did. */
	_Atomic uint64_t answered_ns[TRACED_MAX], received_ns[TRACED_MAX];
};

/* Connection i is the user first_user + i, in the room i % rooms, with a token and, for version 2, a device of its own. */
static inline unsigned streams_of(const struct options *o)
{
	return o->push == PUSH_ROOM ? o->rooms : o->push == PUSH_ALL ? 1 : o->connections;
}
static inline unsigned members_of(const struct options *o, unsigned stream)
{
	if (o->push == PUSH_ROOM)
		return o->connections / o->rooms + (stream < o->connections % o->rooms);
	return o->push == PUSH_ALL ? o->connections : 1;
}
void token_of(const struct shared *s, unsigned i, char *out, size_t size);
void room_of(const struct shared *s, unsigned room, char *out, size_t size);

/* Each runs in a process of its own and does not return. */
_Noreturn void clients_run(const struct options *o, struct shared *s, unsigned process);
_Noreturn void pusher_run(const struct options *o, struct shared *s);

/* ---- http.c ---- */
int http_connect(const struct sockaddr_in *to); /* -1 with errno */
struct http_answer {
	size_t len; /* all of it */
	int status;
	bool accepted; /* 200, and "ret":1 in the body */
};
/* 1: one whole answer is at the front; 0: not yet; -1: this is not HTTP. */
int http_answer(const char *data, size_t len, struct http_answer *out);

/* ---- api.c ---- */
struct api_result {
	uint64_t calls, refused;
	double seconds;
	struct hist latency;
	char first_trouble[120];
};
typedef size_t api_call(char *out, size_t size, unsigned n, void *user);
/* `count` calls, `depth` of them under way on each of `connections`. */
void api_run(const struct sockaddr_in *to, unsigned connections, unsigned depth, unsigned count, api_call *make,
	void *user, struct api_result *out);
void api_make_tokens(const struct options *o, const struct shared *s);
/* The verb api. Returns the exit code. */
int api_bench(const struct options *o, struct shared *s);

/* ---- report.c ---- */
struct reading {
	uint64_t at_ns;
	struct proc servers[SERVERS_MAX], clients[PROCESSES_MAX], pusher;
	struct machine machine;
};
void reading_take(const struct options *o, const pid_t *clients, pid_t pusher, struct reading *out);

struct outcome {
	struct reading start, hundred, up, settled, idle, measure, end;
	unsigned hundred_up;
	uint64_t expected, received, copies, late, foreign, closed, broken;
};
/* Prints the result, one JSON object. Returns the exit code: 0, 1 for a broken promise, 3 for a void run. */
int report(const struct options *o, const struct shared *s, const struct outcome *r);
/* Of what is between two readings, one server each: {"name":{"cpu_us":…},…} per `each` of something. */
void print_servers(const struct options *o, const struct reading *a, const struct reading *b, double each);
void print_hist(const char *name, const struct hist *h);

#endif
