/* SPDX-License-Identifier: MIT */
/* The logic's role: life of the object, tokens, and looking at a log. Pushes are in push_send.c, logins in push_gate.c. */
#include <string.h>

#include "base/error.h"
#include "base/options.h"
#include "base/hash.h"
#include "service/push_impl.h"

/* ---- operations ---- */

void *imgo__push_op_new(struct imgo_push *push, size_t size, void (*orphan)(struct imgo__push_op *op))
{
	struct imgo__push_op *op = imgo__zalloc(size);

	if (!op)
		return NULL;
	op->push = push;
	op->orphan = orphan;
	imgo__list_init(&op->link);
	imgo__list_insert(&push->ops, &op->link);
	return op;
}

void imgo__push_op_free(struct imgo__push_op *op)
{
	imgo__list_remove(&op->link);
	imgo__arena_free(&op->arena);
	free(op);
}

/* ---- tokens ---- */

struct token_op {
	struct imgo__push_op op;
	struct imgo_store_token token;
	struct imgo_store_token_many many;
	imgo_push_cb *cb;
	void *user;
};

static void token_orphan(struct imgo__push_op *op)
{
	struct token_op *self = (struct token_op *)op;

	self->cb(IMGO_ECANCELED, self->user);
}

static void on_token_put(int err, void *user)
{
	struct token_op *self = user;

	if (self->op.push)
		self->cb(err ? err : self->token.err, self->user);
	imgo__push_op_free(&self->op);
}

static bool token_args_ok(
	struct imgo_str token, struct imgo_str who, struct imgo_str device, const struct imgo_str *rooms, size_t nrooms)
{
	if (token.len == 0 || token.len > IMGO_TOKEN_MAX || who.len == 0 || who.len > IMGO_USER_MAX ||
		device.len > IMGO_DEVICE_MAX || nrooms > IMGO_STORE_TOKEN_ROOMS_MAX)
		return false;
	for (size_t i = 0; i < nrooms; i++) {
		if (rooms[i].len == 0 || rooms[i].len > IMGO_ROOM_MAX)
			return false;
	}
	return true;
}

int imgo_push_token(struct imgo_push *push, struct imgo_str token, struct imgo_str who, struct imgo_str device,
	uint64_t expires_ms, const struct imgo_str *rooms, size_t nrooms, imgo_push_cb *cb, void *user)
{
	struct token_op *self;
	bool ok = true;
	int err;

	if (!token_args_ok(token, who, device, rooms, nrooms))
		return IMGO_EINVAL;
	self = imgo__push_op_new(push, sizeof *self, token_orphan);
	if (!self)
		return IMGO_ENOMEM;
	self->cb = cb;
	self->user = user;
	self->token.user = imgo__arena_str(&self->op.arena, who, &ok);
	self->token.device = imgo__arena_str(&self->op.arena, device, &ok);
	self->token.expires_ms = expires_ms;
	for (size_t i = 0; i < nrooms; i++)
		self->token.rooms[i] = imgo__arena_str(&self->op.arena, rooms[i], &ok);
	self->token.nrooms = nrooms;
	self->many = (struct imgo_store_token_many){
		imgo_bus_epoch(push->bus), imgo_bus_partitions(push->bus, IMGO_TOPIC_USERS), &self->token, 1};
	err = ok ? imgo__sha256(token.p, token.len, self->token.hash) : IMGO_ENOMEM;
	if (err == 0)
		err = imgo_store_token_put(push->store, &self->many, on_token_put, self);
	if (err < 0)
		imgo__push_op_free(&self->op);
	return err;
}

/* ---- who ---- */

struct who_op {
	struct imgo__push_op op;
	struct imgo_auth_check check;
	imgo_push_who_cb *cb;
	void *user;
};

static void who_orphan(struct imgo__push_op *op)
{
	struct who_op *self = (struct who_op *)op;

	self->cb(IMGO_ECANCELED, NULL, self->user);
}

static void on_who(int err, void *user)
{
	struct who_op *self = user;

	if (self->op.push)
		self->cb(err, err ? NULL : &self->check, self->user);
	imgo__push_op_free(&self->op);
}

int imgo_push_who(struct imgo_push *push, struct imgo_str token, imgo_push_who_cb *cb, void *user)
{
	struct who_op *self;
	bool ok = true;
	int err;

	if (token.len == 0 || token.len > IMGO_TOKEN_MAX)
		return IMGO_EINVAL;
	self = imgo__push_op_new(push, sizeof *self, who_orphan);
	if (!self)
		return IMGO_ENOMEM;
	self->cb = cb;
	self->user = user;
	self->check.token = imgo__arena_str(&self->op.arena, token, &ok);
	err = ok ? push->auth->check(push->auth_impl, &self->check, on_who, self) : IMGO_ENOMEM;
	if (err < 0)
		imgo__push_op_free(&self->op);
	return err;
}

/* ---- log ---- */

struct log_op {
	struct imgo__push_op op;
	struct imgo_store_read read;
	struct imgo_store_read_many many;
	imgo_push_log_cb *cb;
	void *user;
};

static void log_orphan(struct imgo__push_op *op)
{
	struct log_op *self = (struct log_op *)op;

	self->cb(IMGO_ECANCELED, NULL, self->user);
}

static void on_log(int err, void *user)
{
	struct log_op *self = user;

	if (self->op.push)
		self->cb(err, err ? NULL : &self->read, self->user);
	imgo__push_op_free(&self->op);
}

int imgo_push_log(struct imgo_push *push, struct imgo_str who, struct imgo_id after, uint32_t messages_max,
	imgo_push_log_cb *cb, void *user)
{
	struct log_op *self;
	bool ok = true;
	int err;

	if (who.len == 0 || who.len > IMGO_USER_MAX || messages_max == 0)
		return IMGO_EINVAL;
	self = imgo__push_op_new(push, sizeof *self, log_orphan);
	if (!self)
		return IMGO_ENOMEM;
	self->cb = cb;
	self->user = user;
	self->read.user = imgo__arena_str(&self->op.arena, who, &ok);
	self->read.after = after;
	self->read.messages_max = messages_max;
	self->read.bytes_max = 4u << 20;
	self->many = (struct imgo_store_read_many){imgo_bus_epoch(push->bus),
		imgo_partition(who, imgo_bus_partitions(push->bus, IMGO_TOPIC_USERS)), &self->read, 1};
	err = ok ? imgo_store_read_many(push->store, &self->many, on_log, self) : IMGO_ENOMEM;
	if (err < 0)
		imgo__push_op_free(&self->op);
	return err;
}

/* ---- life ---- */

static int take_options(struct imgo_push_options *o, const struct imgo_push_options *given, struct imgo_error *error)
{
	const struct imgo_push_options defaults = *o;
	int err = imgo__options_take(o, given, "push", error);

	IMGO__OPTION_DEFAULT(*o, defaults, body_max_bytes);
	IMGO__OPTION_DEFAULT(*o, defaults, users_max);
	IMGO__OPTION_DEFAULT(*o, defaults, pushes_max);
	return err;
}

static int check_options(const struct imgo_push_options *options, struct imgo_error *error)
{
	if (!options->registry || !options->store || !options->bus)
		return imgo__fail(error, IMGO_EINVAL, "push: registry, store and bus are mandatory");
	if (options->body_max_bytes > IMGO_BODY_MAX)
		return imgo__fail(error, IMGO_EINVAL, "push: body-max-bytes must be at most %d", IMGO_BODY_MAX);
	return 0;
}

static void collect(struct imgo__collector *collector)
{
	struct imgo_push *push = imgo__container_of(collector, struct imgo_push, collector);

	imgo__gauge_set(&push->in_flight, push->pushes);
}

static void push_stats(struct imgo_push *push)
{
	static const char push_help[] = "how long an accepted push takes, by stage";
	static const char login_help[] = "how long a login takes in a logic, by stage";
	struct imgo_stats *stats = imgo_loop_stats(push->loop);

	push->accepted = imgo_stats_counter(stats, "imgo_push_accepted_total", "pushes that the bus has");
	push->failed = imgo_stats_counter(stats, "imgo_push_failed_total", "pushes that were answered with an error");
	push->blind = imgo_stats_counter(
		stats, "imgo_push_without_address_total", "pushes accepted although the router did not answer in time");
	push->denied = imgo_stats_counter(stats, "imgo_connect_denied_total", "logins with a bad token");
	push->connects = imgo_stats_counter(stats, "imgo_connect_total", "logins that were granted");
	push->connects_failed =
		imgo_stats_counter(stats, "imgo_connect_failed_total", "logins that are to come again later");
	push->evicted = imgo_stats_counter(stats, "imgo_connect_evicted_total",
		"sessions that gave way to a newer one: the maximum, or the same device");
	push->users = imgo_stats_counter(stats, "imgo_push_users_total", "users of the pushes that the bus has");
	push->refused_full =
		imgo_stats_counter(stats, "imgo_push_refused_total{why=\"full\"}", "pushes that were refused at once");
	push->refused_bus = imgo_stats_counter(
		stats, "imgo_push_refused_total{why=\"bus_down\"}", "pushes that were refused at once");
	push->in_flight.stat = imgo_stats_gauge(stats, "imgo_push_in_flight", "pushes that wait for router or bus");
	push->lookup = imgo_stats_histogram(stats, push->loop, "imgo_push_seconds{stage=\"lookup\"}", push_help);
	push->produce = imgo_stats_histogram(stats, push->loop, "imgo_push_seconds{stage=\"produce\"}", push_help);
	push->total = imgo_stats_histogram(stats, push->loop, "imgo_push_seconds{stage=\"total\"}", push_help);
	push->check = imgo_stats_histogram(stats, push->loop, "imgo_logic_connect_seconds{stage=\"token\"}", login_help);
	push->registering =
		imgo_stats_histogram(stats, push->loop, "imgo_logic_connect_seconds{stage=\"register\"}", login_help);
	imgo__collector_add(push->loop, &push->collector, collect);
}

int imgo_push_new(
	struct imgo_push **out, struct imgo_loop *loop, const struct imgo_push_options *given, struct imgo_error *error)
{
	struct imgo_push_options o = IMGO_PUSH_OPTIONS_INIT;
	const struct imgo_push_options *options = &o;
	struct imgo_push *push;
	struct imgo__gate gate;
	int err = take_options(&o, given, error);

	if (err == 0)
		err = check_options(options, error);
	if (err < 0)
		return err;
	push = imgo__zalloc(sizeof *push);
	if (!push)
		return imgo__fail(error, IMGO_ENOMEM, "push: out of memory");
	push->loop = loop;
	push->registry = options->registry;
	push->store = options->store;
	push->bus = options->bus;
	push->sessions_max = options->sessions_max;
	push->sessions_policy = options->sessions_policy;
	push->auth_mode = options->auth_mode;
	push->users_max = options->users_max;
	push->pushes_max = options->pushes_max;
	push->body_max = options->body_max_bytes;
	push->lookup_ms = options->lookup_ms;
	imgo__list_init(&push->ops);
	push_stats(push);
	push->auth = options->auth ? options->auth : &imgo__auth_store_ops;
	push->auth_impl = options->auth_impl;
	if (!options->auth)
		err = imgo__auth_store_new(&push->auth_impl, push->store, push->bus);
	if (err == 0)
		err = imgo__carrier_new(&push->carrier, loop,
			&(struct imgo__carrier_options){.registry = push->registry,
				.secret = options->secret,
				.tls = options->rpc_tls,
				.role = "logic"});
	if (err == 0 && options->rpc_listen) {
		imgo__gate_local(&gate, push);
		err = imgo__gate_server_new(
			&push->server, loop, gate, options->rpc_listen, options->secret, options->rpc_tls, error);
	} else if (err < 0) {
		imgo__fail(error, err, "push: out of memory");
	}
	if (err < 0) {
		imgo_push_free(push);
		return err;
	}
	if (push->auth_mode == IMGO_AUTH_GOIM_INSECURE)
		imgo_log_event(imgo_loop_log(loop), IMGO_LOG_WARN, "push", "goim-insecure",
			"why=\"auth.mode=goim-insecure: a goim client is whoever it says it is\"");
	*out = push;
	return 0;
}

void imgo_push_free(struct imgo_push *push)
{
	if (!push)
		return;
	imgo__list_for(at, &push->ops)
	{
		struct imgo__push_op *op = imgo__container_of(at, struct imgo__push_op, link);
		imgo__list_remove(&op->link);
		op->orphan(op);
		op->push = NULL;
	}
	imgo__gate_server_free(push->server);
	imgo__carrier_free(push->carrier);
	imgo__gauge_set(&push->in_flight, 0);
	imgo__collector_remove(&push->collector);
	if (push->auth_impl)
		push->auth->free(push->auth_impl);
	free(push);
}

int imgo_push_port(const struct imgo_push *push)
{
	return push->server ? imgo__gate_server_port(push->server) : 0;
}

struct imgo_registry *imgo_push_registry(struct imgo_push *push)
{
	return push->registry;
}

struct imgo_bus *imgo_push_bus(struct imgo_push *push)
{
	return push->bus;
}

struct imgo_store *imgo_push_store(struct imgo_push *push)
{
	return push->store;
}

void imgo__push_set_edge(struct imgo_push *push, struct imgo_edge *edge)
{
	imgo__carrier_set_edge(push->carrier, edge);
}
