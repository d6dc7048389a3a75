/* SPDX-License-Identifier: MIT */
/*
 * The store as a server that is far away: the library's own store in memory, in a process that never dies, behind doors. A
 * call is done at the server when it is sent or when its answer is read, by lot; its answer is late, or lost, and then
 * nobody knows whether it was done. What a read found is copied, because it may be old news when it arrives. Two servers:
 * partitions are theirs by turns, and each may forget everything.
 */
#include "sim.h"

#include "base/mem.h"

enum op_kind { APPEND, READ, ACK, PEEK, MARKER, TOKEN_PUT, TOKEN_GET };

struct door {
	struct sim_process *process;
	struct imgo__list ops;
};

struct op {
	struct sim_call call;
	struct imgo__list link; /* of the door */
	struct door *door;
	enum op_kind kind;
	void *args;
	imgo_store_cb *cb;
	void *user;
	bool done;
	int err;
	struct imgo__arena copies;
};

struct sim_store_options sim_store;
static struct sim_process server;
static struct imgo_store *store;
static uint64_t down_until_us, slow_until_us;

/* ---- the server ---- */

static int server_start(struct sim_process *process)
{
	return imgo_store_new_memory(&store, &process->loop, NULL, NULL);
}

static void server_end(struct sim_process *process)
{
	(void)process;
	imgo_store_free(store);
	store = NULL;
}

void sim_store_init(void)
{
	down_until_us = slow_until_us = 0;
	sim_process_init(&server, "store", 15, server_start, server_end);
	sim_process_start(&server);
}

void sim_store_fini(void)
{
	sim_process_kill(&server);
}

struct imgo_store *sim_store_server(void)
{
	return store;
}

void sim_store_settle(void)
{
	while (imgo__loop_deferred(&server.loop))
		;
}

void sim_store_down(uint64_t until_us)
{
	sim_note("the store is down for %llu ms", (unsigned long long)(until_us - sim_now_us) / 1000);
	down_until_us = until_us;
}

void sim_store_slow(uint64_t until_us)
{
	sim_note("the store is slow for %llu ms", (unsigned long long)(until_us - sim_now_us) / 1000);
	slow_until_us = until_us;
}

static void ignored(int err, void *user)
{
	(void)err, (void)user;
}

void sim_store_forget(unsigned which)
{
	sim_note("store server %u forgets everything", which);
	for (uint32_t p = which; p < SIM_PARTITIONS; p += 2)
		imgo_store_forget(store, 1, p, ignored, NULL);
	sim_store_settle();
}

/* ---- what was found, copied ---- */

static void copy_read(struct op *op, struct imgo_store_read *item)
{
	struct imgo_store_message *messages = imgo__arena_zalloc(&op->copies, item->nmessages + 1, sizeof *messages);
	bool ok = messages;

	for (size_t i = 0; ok && i < item->nmessages; i++) {
		messages[i] = item->messages[i];
		messages[i].data = imgo__arena_str(&op->copies, item->messages[i].data, &ok);
	}
	if (!ok)
		abort();
	item->messages = messages;
}

static void copy_token(struct op *op, struct imgo_store_token *token)
{
	bool ok = true;

	if (token->err)
		return;
	token->user = imgo__arena_str(&op->copies, token->user, &ok);
	token->device = imgo__arena_str(&op->copies, token->device, &ok);
	for (size_t i = 0; i < token->nrooms; i++)
		token->rooms[i] = imgo__arena_str(&op->copies, token->rooms[i], &ok);
	if (!ok)
		abort();
}

static void on_served(int err, void *user)
{
	struct op *op = user;

	op->err = err;
	op->done = true;
	if (err == 0 && op->kind == READ) {
		struct imgo_store_read_many *call = op->args;
		for (size_t i = 0; i < call->nitems; i++)
			copy_read(op, &call->items[i]);
	} else if (err == 0 && op->kind == TOKEN_GET) {
		struct imgo_store_token_many *call = op->args;
		for (size_t i = 0; i < call->nitems; i++)
			copy_token(op, &call->items[i]);
	}
}

static void serve(struct op *op)
{
	int err = IMGO_EINVAL;

	switch (op->kind) {
	case APPEND:
		err = imgo_store_append_many(store, op->args, on_served, op);
		break;
	case READ:
		err = imgo_store_read_many(store, op->args, on_served, op);
		break;
	case ACK:
		err = imgo_store_ack_many(store, op->args, on_served, op);
		break;
	case PEEK:
		err = imgo_store_peek_many(store, op->args, on_served, op);
		break;
	case MARKER:
		err = imgo_store_marker(store, op->args, on_served, op);
		break;
	case TOKEN_PUT:
		err = imgo_store_token_put(store, op->args, on_served, op);
		break;
	case TOKEN_GET:
		err = imgo_store_token_get(store, op->args, on_served, op);
		break;
	}
	if (err < 0)
		on_served(err, op);
	sim_store_settle();
	if (!op->done)
		abort();
}

/* ---- a door ---- */

static void on_answer(struct sim_call *call)
{
	struct op *op = (struct op *)call;

	imgo__list_remove(&op->link);
	if (!op->done && !op->err)
		serve(op);
	op->cb(op->err, op->user);
	imgo__arena_free(&op->copies);
	free(op);
}

static int door_call(struct door *door, enum op_kind kind, void *args, imgo_store_cb *cb, void *user)
{
	struct op *op = sim_alloc(sizeof *op);
	uint64_t delay_us = sim_between(200, 4000);

	op->door = door;
	op->kind = kind;
	op->args = args;
	op->cb = cb;
	op->user = user;
	op->call.fn = on_answer;
	imgo__list_init(&op->link);
	imgo__list_insert(&door->ops, &op->link);
	if (sim_now_us < slow_until_us)
		delay_us = sim_between(20 * SIM_MS, 400 * SIM_MS);
	if (sim_now_us < down_until_us || sim_chance(sim_store.refused_permille)) {
		op->err = IMGO_EUNAVAILABLE;
	} else if (sim_chance(sim_store.lost_permille) || delay_us > 300 * SIM_MS) {
		if (sim_chance(500))
			serve(op);
		imgo__arena_free(&op->copies);
		op->err = IMGO_ETIMEDOUT;
		delay_us = 300 * SIM_MS;
	} else if (sim_chance(500)) {
		serve(op);
	}
	sim_call_in(&op->call, door->process, delay_us);
	return 0;
}

#define DOOR(name, type, kind) \
	static int name(void *impl, struct type *args, imgo_store_cb *cb, void *user) \
	{ \
		return door_call(impl, kind, args, cb, user); \
	}

DOOR(door_append, imgo_store_append_many, APPEND)
DOOR(door_read, imgo_store_read_many, READ)
DOOR(door_ack, imgo_store_ack_many, ACK)
DOOR(door_peek, imgo_store_peek_many, PEEK)
DOOR(door_marker, imgo_store_marker, MARKER)
DOOR(door_token_put, imgo_store_token_many, TOKEN_PUT)
DOOR(door_token_get, imgo_store_token_many, TOKEN_GET)

static void door_free(void *impl)
{
	struct door *door = impl;
	struct imgo__list *link;

	while ((link = imgo__list_pop(&door->ops))) {
		struct op *op = imgo__container_of(link, struct op, link);
		op->cb(IMGO_ECANCELED, op->user);
		imgo__arena_free(&op->copies);
		sim_call_cancel(&op->call);
	}
	free(door);
}

static const struct imgo_store_ops door_ops = {
	.size = sizeof door_ops,
	.free = door_free,
	.append_many = door_append,
	.read_many = door_read,
	.ack_many = door_ack,
	.peek_many = door_peek,
	.marker = door_marker,
	.token_put = door_token_put,
	.token_get = door_token_get,
};

int sim_store_open(struct imgo_store **out, struct sim_process *process)
{
	struct door *door = sim_alloc(sizeof *door);

	door->process = process;
	imgo__list_init(&door->ops);
	return imgo_store_new_custom(out, &process->loop, &door_ops, door);
}
