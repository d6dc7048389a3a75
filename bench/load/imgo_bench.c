/* SPDX-License-Identifier: MIT */
/*
 * imgo-bench: subscribers and a publisher for any server of imgo's protocol, and for the bare floor beside it. What it
 * measures and how to read it is in bench/README.md, the options in `imgo-bench --help`.
 *
 * The conductor, which is this file, only waits and looks: a phase ends when the counts in the shared mapping say so, and
 * the servers' clocks are read between phases.
 */
#include "load.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BASE = 100, LOGIN_SECONDS = 60 };

struct conductor {
	struct options o;
	struct shared *s;
	pid_t clients[PROCESSES_MAX], pusher;
	struct outcome r;
};

void token_of(const struct shared *s, unsigned i, char *out, size_t size)
{
	snprintf(out, size, "bench-%04x-%u", s->run, i);
}

void room_of(const struct shared *s, unsigned room, char *out, size_t size)
{
	snprintf(out, size, "bench-%04x-%u", s->run, room);
}

static void pause_s(double seconds)
{
	usleep((useconds_t)(seconds * 1e6));
}

/* ---- processes ---- */

/* Users' ids have up to ten digits, like those in the field, unless there are very many; no two runs have the same. */
static struct shared *make_shared(const struct options *o)
{
	struct shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t seed = now_ns() ^ (uint64_t)getpid() << 40;

	if (s == MAP_FAILED)
		give_up("mmap");
	s->run = (uint32_t)(seed * 0x9e3779b97f4a7c15ull >> 48);
	s->first_user = 1 + ((uint64_t)s->run << (o->connections <= 1u << 17 && o->api_users <= 1u << 17 ? 17 : 24));
	s->warm_count = (unsigned)(o->warm_up * o->rate);
	s->count = s->warm_count + (unsigned)(o->seconds * o->rate);
	if (s->count == s->warm_count)
		s->count++;
	return s;
}

static void child_ended(struct conductor *c, pid_t pid)
{
	for (unsigned i = 0; i < c->o.processes; i++) {
		if (pid == c->clients[i]) {
			fprintf(stderr, "subscribers' process %u ended\n", i);
			exit(1);
		}
	}
	fprintf(stderr, "the publisher ended: %s\n", c->s->pusher.first_trouble);
	exit(1);
}

static void look_after_children(struct conductor *c)
{
	pid_t pid = waitpid(-1, NULL, WNOHANG);

	if (pid > 0)
		child_ended(c, pid);
}

static void start_clients(struct conductor *c)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	fflush(stdout);
	for (unsigned i = 0; i < c->o.processes; i++) {
		c->clients[i] = fork();
		if (c->clients[i] < 0)
			give_up("fork");
		if (c->clients[i] == 0)
			clients_run(&c->o, c->s, i);
	}
}

static void end_all(struct conductor *c)
{
	atomic_store(&c->s->phase, PHASE_END);
	for (unsigned i = 0; i < c->o.processes; i++)
		waitpid(c->clients[i], NULL, 0);
	if (c->pusher)
		waitpid(c->pusher, NULL, 0);
}

static void look(struct conductor *c, struct reading *out)
{
	reading_take(&c->o, c->clients, c->pusher, out);
}

/* ---- phases ---- */

static unsigned up(const struct conductor *c, unsigned *failed)
{
	unsigned n = 0;

	*failed = 0;
	for (unsigned i = 0; i < c->o.processes; i++) {
		n += atomic_load(&c->s->clients[i].up);
		*failed += atomic_load(&c->s->clients[i].failed);
	}
	return n;
}

/* Lets each process have that many connections, and waits for them. */
static bool bring_up(struct conductor *c, unsigned each)
{
	uint64_t end = now_ns() + LOGIN_SECONDS * NS_PER_S;
	unsigned n, failed, wanted = 0;

	for (unsigned i = 0; i < c->o.processes; i++) {
		unsigned has = c->o.connections / c->o.processes + (i < c->o.connections % c->o.processes);
		wanted += each < has ? each : has;
	}
	atomic_store(&c->s->allowed, each);
	while ((n = up(c, &failed)) + failed < wanted && now_ns() < end) {
		look_after_children(c);
		usleep(500);
	}
	if (n < wanted)
		fprintf(stderr, "%u of %u connections are up, %u failed\n", n, wanted, failed);
	return n == wanted;
}

/* Memory and CPU of a connection are taken from the hundredth on: code and tables that the first ones need are not theirs. */
static bool connect_all(struct conductor *c)
{
	unsigned first = BASE / c->o.processes, failed;

	look(c, &c->r.start);
	if (first == 0 || c->o.connections < 2 * BASE)
		first = 1;
	if (!bring_up(c, first))
		return false;
	pause_s(0.05);
	c->r.hundred_up = up(c, &failed);
	look(c, &c->r.hundred);
	if (!bring_up(c, c->o.connections))
		return false;
	look(c, &c->r.up);
	pause_s(c->o.settle);
	look(c, &c->r.settled);
	atomic_store(&c->s->phase, PHASE_WARM);
	if (c->o.idle > 0)
		pause_s(c->o.idle);
	look(c, &c->r.idle);
	return true;
}

static uint64_t received(const struct conductor *c)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < c->o.processes; i++)
		n += atomic_load_explicit(&c->s->clients[i].received, memory_order_acquire);
	return n;
}

/* Receipts that `pushes` pushes make, from the first one on. */
static uint64_t receipts(const struct options *o, unsigned pushes)
{
	unsigned streams = streams_of(o), rest = pushes % streams;
	uint64_t n = (uint64_t)(pushes / streams) * o->connections;

	for (unsigned i = 0; i < rest; i++)
		n += members_of(o, i);
	return n;
}

static void wait_received(struct conductor *c, uint64_t wanted)
{
	uint64_t end = now_ns() + (uint64_t)(c->o.drain * 1e9);

	while (received(c) < wanted && now_ns() < end) {
		look_after_children(c);
		usleep(500);
	}
}

static void wait_flag(struct conductor *c, _Atomic bool *flag)
{
	while (!atomic_load(flag)) {
		look_after_children(c);
		usleep(500);
	}
}

static void push_all(struct conductor *c)
{
	struct shared *s = c->s;

	c->pusher = fork();
	if (c->pusher == 0)
		pusher_run(&c->o, s);
	wait_flag(c, &s->pusher.warm);
	wait_received(c, receipts(&c->o, s->warm_count));
	look(c, &c->r.measure);
	atomic_store(&s->phase, PHASE_MEASURE);
	wait_flag(c, &s->pusher.done);
	wait_received(c, receipts(&c->o, s->count));
	look(c, &c->r.end);
	pause_s(0.2); /* for copies */
}

static void settle_accounts(struct conductor *c)
{
	struct outcome *r = &c->r;

	if (c->o.push != PUSH_NONE)
		r->expected = receipts(&c->o, c->s->count);
	r->received = received(c);
	for (unsigned i = 0; i < c->o.processes; i++) {
		const struct client_slot *slot = &c->s->clients[i];
		r->copies += slot->copies;
		r->late += slot->late;
		r->foreign += slot->foreign;
		r->closed += slot->closed;
		r->broken += slot->broken;
	}
}

int main(int argc, char **argv)
{
	static struct conductor c;

	options_read(&c.o, argc, argv);
	c.s = make_shared(&c.o);
	if (c.o.api_only)
		return api_bench(&c.o, c.s);
	if (c.o.dialect != WIRE_FLOOR)
		api_make_tokens(&c.o, c.s);
	start_clients(&c);
	bool good = connect_all(&c);
	if (good && c.o.push != PUSH_NONE)
		push_all(&c);
	else
		look(&c, &c.r.end), c.r.measure = c.r.end;
	settle_accounts(&c);
	end_all(&c);
	int code = report(&c.o, c.s, &c.r);
	return good ? code : 1;
}
