/* SPDX-License-Identifier: MIT */
/*
 * sim [--from SEED] [--seeds N] [--only ACCIDENT,…] [--no-comparison] [--trace]
 *
 * Runs N seeds, each a life of half a minute full of accidents and then a minute in which everything is well; what goes
 * wrong, and how much, is drawn from the seed. Ends with 0, or with 1 at the first seed whose run is not as it should be,
 * and prints how to run it again.
 */
#include "sim.h"

#include "base/hash.h"

enum { ACCIDENTS_US = 30 * SIM_SECOND, WELL_US = 60 * SIM_SECOND, NOTES = 60 };

static uint64_t seed;
static bool trace, no_comparison;
static const char *only; /* accidents of these kinds; NULL: of all */
static char notes[NOTES][160];
static unsigned nnotes;

/* ---- the tools of the others ---- */

void *sim_alloc(size_t size)
{
	void *p = calloc(1, size);

	if (!p)
		abort();
	return p;
}

void sim_note(const char *format, ...)
{
	char *note = notes[nnotes++ % NOTES];
	int at = snprintf(note, sizeof notes[0], "%10.3f ms  ", (double)(sim_now_us % (1000u * SIM_SECOND)) / 1000);
	va_list args;

	va_start(args, format);
	vsnprintf(note + at, sizeof notes[0] - (size_t)at, format, args);
	va_end(args);
	if (trace)
		fprintf(stderr, "%s\n", note);
}

void sim_fail(const char *format, ...)
{
	va_list args;

	for (unsigned i = nnotes > NOTES ? nnotes - NOTES : 0; i < nnotes && !trace; i++)
		fprintf(stderr, "%s\n", notes[i % NOTES]);
	fprintf(stderr, "%10.3f ms  FAILED: ", (double)(sim_now_us % (1000u * SIM_SECOND)) / 1000);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\nagain: sim --from %llu --seeds 1 --trace%s%s%s\n", (unsigned long long)seed,
		only ? " --only " : "", only ? only : "", no_comparison ? " --no-comparison" : "");
	exit(1);
}

/* ---- tokens: put straight into the store, again when it has forgotten them ---- */

static void ignored(int err, void *user)
{
	(void)user;
	if (err)
		sim_fail("token_put: %d", err);
}

static void give_tokens(void)
{
	for (unsigned user = 0; user < SIM_USERS; user++) {
		struct imgo_store_token token = {.expires_ms = 1ull << 42, .id = {1, 1}};
		struct imgo_store_token_many call = {1, SIM_PARTITIONS, &token, 1};
		char name[16], text[16];
		snprintf(name, sizeof name, "%u", user);
		snprintf(text, sizeof text, "token-%u", user);
		imgo__sha256(text, strlen(text), token.hash);
		token.user = imgo_str(name);
		imgo_store_token_put(sim_store_server(), &call, ignored, NULL);
		sim_store_settle();
	}
}

/* ---- accidents ---- */

struct accidents {
	unsigned kill, stop, break_one, cut, store_down, store_slow, forget, bus_down; /* weights */
	uint64_t pause_max_us;                                                         /* between two */
};

static struct accidents accidents;
static bool well;

static void on_restart(void *arg)
{
	sim_process_start(arg);
}

static void on_continue(void *arg)
{
	sim_process_continue(arg);
}

static struct sim_process *somebody(void)
{
	return &sim_daemons[sim_below(SIM_DAEMONS)];
}

static void kill_one(void)
{
	struct sim_process *process = somebody();

	if (!process->alive || process->stopped)
		return;
	sim_process_kill(process);
	sim_at(sim_between(10 * SIM_MS, 3 * SIM_SECOND), on_restart, process);
}

static void stop_one(void)
{
	struct sim_process *process = somebody();

	if (!process->alive || process->stopped)
		return;
	sim_process_stop(process);
	sim_at(sim_chance(200) ? sim_between(6 * SIM_SECOND, 12 * SIM_SECOND) : sim_between(10 * SIM_MS, 3 * SIM_SECOND),
		on_continue, process);
}

static void cut_one(void)
{
	int a = 1 + (int)sim_below(SIM_DAEMONS), b = sim_chance(300) ? 14 : 1 + (int)sim_below(SIM_DAEMONS);

	sim_net_cut(a, b, sim_now_us + sim_between(50 * SIM_MS, 5 * SIM_SECOND));
}

static bool drawn(uint64_t *lot, unsigned weight)
{
	if (*lot < weight) {
		*lot = UINT64_MAX;
		return true;
	}
	if (*lot != UINT64_MAX)
		*lot -= weight;
	return false;
}

static void on_accident(void *arg)
{
	const struct accidents *a = &accidents;
	unsigned sum = a->kill + a->stop + a->break_one + a->cut + a->store_down + a->store_slow + a->forget + a->bus_down;
	uint64_t lot = sim_below(sum ? sum : 1);

	if (well || sum == 0)
		return;
	if (drawn(&lot, a->kill))
		kill_one();
	else if (drawn(&lot, a->stop))
		stop_one();
	else if (drawn(&lot, a->break_one))
		sim_net_break_some();
	else if (drawn(&lot, a->cut))
		cut_one();
	else if (drawn(&lot, a->store_down))
		sim_store_down(sim_now_us + sim_between(10 * SIM_MS, 3 * SIM_SECOND));
	else if (drawn(&lot, a->store_slow))
		sim_store_slow(sim_now_us + sim_between(10 * SIM_MS, 3 * SIM_SECOND));
	else if (drawn(&lot, a->forget)) {
		sim_store_forget((unsigned)sim_below(2));
		give_tokens();
	} else if (drawn(&lot, a->bus_down))
		sim_bus_down(sim_now_us + sim_between(10 * SIM_MS, 4 * SIM_SECOND));
	sim_at(sim_between(5 * SIM_MS, a->pause_max_us), on_accident, arg);
}

static bool named(const char *name)
{
	const char *at = only;
	size_t len = strlen(name);

	while (at && strncmp(at, name, len) != 0) {
		at = strchr(at, ',');
		at = at ? at + 1 : NULL;
	}
	return !only || (at && (at[len] == ',' || at[len] == '\0'));
}

static unsigned weight(const char *name)
{
	unsigned weight = sim_chance(500) ? 0 : (unsigned)sim_between(1, 10);

	return named(name) ? weight : 0;
}

static void draw(void)
{
	accidents = (struct accidents){.kill = weight("kill"),
		.stop = weight("stop"),
		.break_one = weight("break") * 3,
		.cut = weight("cut"),
		.store_down = weight("store-down"),
		.store_slow = weight("store-slow"),
		.forget = weight("forget"),
		.bus_down = weight("bus-down"),
		.pause_max_us = sim_between(100 * SIM_MS, 3 * SIM_SECOND)};
	sim_net.delay_max_us = sim_chance(300) ? sim_between(1 * SIM_MS, 60 * SIM_MS) : 800;
	sim_net.slice_permille = sim_chance(300) ? 300 : 10;
	sim_bus = (struct sim_bus_options){sim_chance(300) ? 50 : 0, sim_chance(300) ? 100 : 0, 6 * SIM_SECOND};
	sim_store = (struct sim_store_options){sim_chance(300) ? 30 : 0, sim_chance(300) ? 30 : 0};
	sim_people = (struct sim_people_options){sim_chance(300), sim_chance(700), sim_chance(300) ? 30 : 400};
	sim_v1_ack = IMGO_V1_ACK_TCP;
	sim_compare_ms = no_comparison ? 0 : 10000;
}

/* ---- a run ---- */

static void set_up(void)
{
	well = false;
	nnotes = 0;
	sim_world_init(seed);
	sim_net_init();
	draw();
	sim_bus_init();
	sim_store_init();
	sim_check_init();
	give_tokens();
	sim_roles_init();
	for (int i = 0; i < SIM_DAEMONS; i++)
		sim_process_start(&sim_daemons[i]);
	sim_people_init();
}

static void heal(void)
{
	sim_note("all is well from here on");
	well = true;
	sim_net.slice_permille = 0;
	sim_bus.lost_permille = sim_bus.unsure_permille = 0;
	sim_store.lost_permille = sim_store.refused_permille = 0;
}

static void tear_down(void)
{
	sim_people_fini();
	for (int i = SIM_DAEMONS; i-- > 0;)
		sim_process_kill(&sim_daemons[i]);
	sim_run_until(sim_now_us + 40 * SIM_SECOND); /* what is left of calls is freed */
	sim_store_fini();
	sim_bus_fini();
	sim_check_fini();
	sim_net_fini();
	sim_world_fini();
}

static void check_bus(void)
{
	for (uint32_t p = 0; p < SIM_PARTITIONS; p++) {
		if (sim_bus_committed(p) != sim_bus_end(IMGO_TOPIC_USERS, p))
			sim_fail("partition %u is done up to %llu of %llu", p, (unsigned long long)sim_bus_committed(p),
				(unsigned long long)sim_bus_end(IMGO_TOPIC_USERS, p));
	}
}

static void run(void)
{
	set_up();
	sim_at(sim_between(1 * SIM_SECOND, 2 * SIM_SECOND), on_accident, NULL);
	sim_run_until(sim_now_us + ACCIDENTS_US);
	if (sim_chance(500)) { /* what goes wrong with the last messages, no later one brings to light */
		sim_people_quiet();
		sim_run_until(sim_now_us + 2 * SIM_SECOND);
	}
	heal();
	sim_run_until(sim_now_us + 15 * SIM_SECOND);
	sim_people_settle();
	sim_run_until(sim_now_us + WELL_US);
	if (!sim_people_pushes_done())
		sim_fail("a push is not accepted although all is well");
	check_bus();
	sim_check_end();
	tear_down();
}

int main(int argc, char **argv)
{
	uint64_t from = 1, n = 1000;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--from") == 0 && i + 1 < argc)
			from = strtoull(argv[++i], NULL, 0);
		else if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc)
			n = strtoull(argv[++i], NULL, 0);
		else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
			only = argv[++i];
		else if (strcmp(argv[i], "--no-comparison") == 0)
			no_comparison = true;
		else if (strcmp(argv[i], "--trace") == 0)
			trace = true;
		else
			return fprintf(stderr,
				       "usage: sim [--from SEED] [--seeds N] [--only ACCIDENT,…] [--no-comparison] [--trace]\n"),
			       2;
	}
	for (seed = from; seed < from + n; seed++)
		run();
	printf("%llu seeds: %llu accepted, %llu received, %llu received again, %llu unread in a dead client's socket, 0 lost\n",
		(unsigned long long)n, (unsigned long long)sim_totals.accepted, (unsigned long long)sim_totals.received,
		(unsigned long long)sim_totals.again, (unsigned long long)sim_totals.unread);
	return 0;
}
