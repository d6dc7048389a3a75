/* SPDX-License-Identifier: MIT */
/* Virtual time: events in a heap, by time and then by age; chance; and processes, whose loops take their turns as events. */
#include "sim.h"

#include <sys/types.h>

struct event {
	uint64_t at_us, order;
	void (*fn)(void *arg);
	void *arg;
};

uint64_t sim_now_us;
enum imgo_log_level sim_log_level = IMGO_LOG_WARN;
static uint64_t order, state[2];
static struct event *heap;
static size_t nheap, heap_cap;

/* ---- chance: xorshift128+ ---- */

uint64_t sim_random(void)
{
	uint64_t a = state[0], b = state[1];

	state[0] = b;
	a ^= a << 23;
	state[1] = a ^ b ^ (a >> 18) ^ (b >> 5);
	return state[1] + b;
}

uint64_t sim_below(uint64_t n)
{
	return n ? sim_random() % n : 0;
}

uint64_t sim_between(uint64_t a, uint64_t b)
{
	return a + sim_below(b - a + 1);
}

bool sim_chance(unsigned permille)
{
	return sim_below(1000) < permille;
}

static void seed_chance(uint64_t seed)
{
	for (int i = 0; i < 2; i++) { /* splitmix64 */
		uint64_t z = seed += 0x9E3779B97F4A7C15u;
		z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
		z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
		state[i] = z ^ (z >> 31);
	}
}

/* The library's own random bytes (keys of its hash maps) come from here too: this takes the place of libc's. */
ssize_t getrandom(void *out, size_t len, unsigned flags);
ssize_t getrandom(void *out, size_t len, unsigned flags)
{
	(void)flags;
	for (size_t i = 0; i < len; i++)
		((uint8_t *)out)[i] = (uint8_t)(sim_random() >> 32);
	return (ssize_t)len;
}

/* ---- events ---- */

static bool before(const struct event *a, const struct event *b)
{
	return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

void sim_at(uint64_t delay_us, void (*fn)(void *arg), void *arg)
{
	struct event event = {sim_now_us + delay_us, order++, fn, arg};
	size_t i = nheap++;

	if (nheap > heap_cap) {
		heap_cap = heap_cap ? heap_cap * 2 : 1024;
		heap = realloc(heap, heap_cap * sizeof *heap);
		if (!heap)
			abort();
	}
	for (; i > 0 && before(&event, &heap[(i - 1) / 2]); i = (i - 1) / 2)
		heap[i] = heap[(i - 1) / 2];
	heap[i] = event;
}

static struct event pop(void)
{
	struct event first = heap[0], last = heap[--nheap];
	size_t i = 0;

	for (;;) {
		size_t child = 2 * i + 1;
		if (child >= nheap)
			break;
		if (child + 1 < nheap && before(&heap[child + 1], &heap[child]))
			child++;
		if (!before(&heap[child], &last))
			break;
		heap[i] = heap[child];
		i = child;
	}
	if (nheap)
		heap[i] = last;
	return first;
}

void sim_run_until(uint64_t us)
{
	while (nheap && heap[0].at_us <= us) {
		struct event event = pop();
		sim_now_us = event.at_us;
		event.fn(event.arg);
	}
	sim_now_us = us;
}

void sim_world_init(uint64_t seed)
{
	seed_chance(seed);
	sim_now_us = 1000 * (uint64_t)SIM_SECOND;
	order = 0;
	nheap = 0;
}

void sim_world_fini(void)
{
	free(heap);
	heap = NULL;
	nheap = heap_cap = 0;
}

/* ---- turns ---- */

static void take_inbox(struct sim_process *process)
{
	struct imgo__list due, *link;

	imgo__list_take(&due, &process->inbox);
	while ((link = imgo__list_pop(&due))) {
		struct sim_call *call = imgo__container_of(link, struct sim_call, link);
		call->state = SIM_CALL_IDLE;
		call->fn(call);
	}
}

static void turn(struct sim_process *process)
{
	bool more;

	process->in_step = true;
	sim_net_step(process);
	if (process->armed_us <= sim_now_us) {
		process->armed_us = UINT64_MAX;
		imgo__loop_timers(&process->loop);
	}
	take_inbox(process);
	if (imgo__loop_mail_waiting(&process->loop))
		imgo__loop_mail(&process->loop);
	more = imgo__loop_deferred(&process->loop);
	process->in_step = false;
	if (more || sim_net_ready(process) || !imgo__list_empty(&process->inbox) || imgo__loop_mail_waiting(&process->loop))
		sim_step_soon(process, sim_between(1, 60));
	else if (process->armed_us != UINT64_MAX)
		sim_step_soon(process, process->armed_us > sim_now_us ? process->armed_us - sim_now_us : 1);
}

static void on_step(void *arg)
{
	struct sim_process *process = arg;

	if (!process->alive || process->stopped || sim_now_us < process->step_due_us)
		return;
	process->step_due_us = UINT64_MAX;
	turn(process);
}

void sim_step_soon(struct sim_process *process, uint64_t delay_us)
{
	uint64_t due_us = sim_now_us + delay_us;

	if (!process->alive || due_us >= process->step_due_us)
		return;
	process->step_due_us = due_us;
	sim_at(delay_us, on_step, process);
}

/* ---- calls into a process ---- */

static void call_gone(struct sim_call *call)
{
	if (call->gone)
		call->gone(call);
	else
		free(call);
}

static void on_call(void *arg)
{
	struct sim_call *call = arg;
	struct sim_process *process = call->process;

	if (call->state == SIM_CALL_CANCELED) {
		free(call);
	} else if (!process->alive || call->life != process->lives) {
		call->state = SIM_CALL_IDLE;
		call_gone(call);
	} else {
		call->state = SIM_CALL_DUE;
		imgo__list_insert(&process->inbox, &call->link);
		sim_step_soon(process, sim_between(1, 20));
	}
}

void sim_call_in(struct sim_call *call, struct sim_process *process, uint64_t delay_us)
{
	imgo__list_init(&call->link);
	call->process = process;
	call->life = process->lives;
	call->state = SIM_CALL_WAITS;
	sim_at(delay_us, on_call, call);
}

void sim_call_cancel(struct sim_call *call)
{
	if (call->state == SIM_CALL_WAITS) {
		call->state = SIM_CALL_CANCELED;
		return;
	}
	imgo__list_remove(&call->link);
	free(call);
}

/* ---- processes ---- */

void sim_process_init(struct sim_process *process, const char *name, int host, int (*start)(struct sim_process *),
	void (*end)(struct sim_process *))
{
	memset(process, 0, sizeof *process);
	process->name = name;
	process->host = host;
	process->start = start;
	process->end = end;
	imgo__list_init(&process->inbox);
	imgo__list_init(&process->socks);
}

static void discard_inbox(struct sim_process *process)
{
	struct imgo__list *link;

	while ((link = imgo__list_pop(&process->inbox)))
		call_gone(imgo__container_of(link, struct sim_call, link));
}

/* Daemons log the first and the last of everything; with the rest a run could not be read. */
static void on_log(const struct imgo_log_record *record, void *user)
{
	const struct sim_process *process = user;

	sim_note("%s: %s %s %s", process->name, record->module, record->event, record->fields);
}

void sim_process_start(struct sim_process *process)
{
	struct imgo_loop_options options = IMGO_LOOP_OPTIONS_INIT;

	if (process->alive)
		return;
	sim_note("%s starts", process->name);
	process->alive = true;
	process->stopped = false;
	process->lives++;
	process->step_due_us = process->armed_us = UINT64_MAX;
	if (imgo_log_new(&options.log, sim_log_level, on_log, process) < 0)
		abort();
	imgo__loop_init(&process->loop, &sim_loop_ops, &options, sim_now_us / 1000);
	memset(process->role, 0, sizeof process->role);
	if (process->start(process) < 0)
		sim_fail("%s does not start", process->name);
	sim_step_soon(process, 1);
}

void sim_process_kill(struct sim_process *process)
{
	if (!process->alive)
		return;
	sim_note("%s dies", process->name);
	process->alive = false;
	sim_net_drop(process);
	process->end(process);
	imgo_log_free(process->loop.log);
	imgo__loop_fini(&process->loop);
	discard_inbox(process);
}

void sim_process_stop(struct sim_process *process)
{
	if (process->alive)
		sim_note("%s is stopped", process->name);
	process->stopped = true;
}

void sim_process_continue(struct sim_process *process)
{
	if (!process->stopped)
		return;
	process->stopped = false;
	if (!process->alive)
		return;
	sim_note("%s goes on", process->name);
	process->step_due_us = UINT64_MAX;
	sim_step_soon(process, 1);
}

/* ---- the table ---- */

static struct sim_process *of(struct imgo_loop *loop)
{
	return imgo__container_of(loop, struct sim_process, loop);
}

static void op_wake(struct imgo_loop *loop)
{
	sim_step_soon(of(loop), sim_between(1, 20));
}

static void op_turn(struct imgo_loop *loop)
{
	if (!of(loop)->in_step)
		sim_step_soon(of(loop), 1);
}

static void op_arm(struct imgo_loop *loop, uint64_t delay_ms)
{
	struct sim_process *process = of(loop);

	process->armed_us = delay_ms == UINT64_MAX ? delay_ms : (sim_now_us / 1000 + delay_ms) * 1000;
	if (delay_ms != UINT64_MAX && !process->in_step)
		sim_step_soon(process, process->armed_us > sim_now_us ? process->armed_us - sim_now_us : 1);
}

static uint64_t op_now_us(struct imgo_loop *loop)
{
	(void)loop;
	return sim_now_us;
}

static uint64_t op_wall_ms(struct imgo_loop *loop)
{
	(void)loop;
	return 1700000000000u + sim_now_us / 1000;
}

static void op_random(struct imgo_loop *loop, void *out, size_t len)
{
	(void)loop;
	(void)!getrandom(out, len, 0);
}

const struct imgo__loop_ops sim_loop_ops = {
	.wake = op_wake,
	.arm = op_arm,
	.turn = op_turn,
	.now_us = op_now_us,
	.wall_ms = op_wall_ms,
	.random = op_random,
	.io_set = sim_net_io_set,
	.listen = sim_net_listen,
	.accept = sim_net_accept,
	.connect = sim_net_connect,
	.sock_error = sim_net_error,
	.read = sim_net_read,
	.writev = sim_net_writev,
	.unsent = sim_net_unsent,
	.local = sim_net_local,
	.shutdown = sim_net_shutdown,
	.close = sim_net_close,
	.reset = sim_net_reset,
};
