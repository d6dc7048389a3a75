/* SPDX-License-Identifier: MIT */
/*
 * The gate of a push in this process: what comets ask, answered from authentication, registry and store. Acknowledgements and
 * comparisons, which concern many partitions, are in push_split.c.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <imgo/hub.h>

#include "service/push_impl.h"

uint32_t imgo__push_partition(struct imgo_push *push, struct imgo_str who)
{
	return imgo_partition(who, imgo_bus_partitions(push->bus, IMGO_TOPIC_USERS));
}

static void gate_orphan(struct imgo__push_op *op)
{
	struct imgo__gate_op *self = (struct imgo__gate_op *)op;

	self->cb(IMGO_ECANCELED, self->user);
}

void *imgo__gate_op_new(struct imgo_push *push, size_t size, imgo__gate_cb *cb, void *user)
{
	struct imgo__gate_op *self = imgo__push_op_new(push, size, gate_orphan);

	if (self) {
		self->cb = cb;
		self->user = user;
	}
	return self;
}

void imgo__gate_op_end(struct imgo__gate_op *self, int err)
{
	if (self->op.push)
		self->cb(err, self->user);
	imgo__push_op_free(&self->op);
}

/* ---- connect: token -> user -> registered ---- */

struct connect_op {
	struct imgo__gate_op base;
	struct imgo__gate_connect *call;
	struct imgo_auth_check check;
	struct imgo_registry_put put;
	struct imgo_str rooms[IMGO__GATE_ROOMS_MAX];
	uint64_t stage_us; /* when the present stage began */
};

static void connect_end(struct connect_op *self, int err)
{
	struct imgo_push *push = self->base.op.push;

	if (push && err == IMGO_EDENIED)
		imgo_stat_add(push->denied, 1);
	else if (push)
		imgo_stat_add(err ? push->connects_failed : push->connects, 1);
	imgo__gate_op_end(&self->base, err);
}

static void kick_evicted(struct imgo_push *push, const struct imgo_registry_put *put)
{
	imgo_stat_add(push->evicted, (int64_t)put->nevicted);
	for (size_t i = 0; i < put->nevicted; i++)
		imgo__carrier_kick(push->carrier, put->evicted[i], put->session.user, IMGO_CLOSE_REPLACED);
}

static void connect_registered(struct connect_op *self)
{
	struct imgo_push *push = self->base.op.push;
	struct imgo__gate_connect *call = self->call;
	const struct imgo_session *session = &self->put.session;

	kick_evicted(push, &self->put);
	call->who = session->user;
	call->granted_device = session->device;
	call->seq = self->put.seq;
	call->partition = imgo__push_partition(push, session->user);
	call->epoch = imgo_bus_epoch(push->bus);
	memcpy(call->granted_rooms, self->rooms, session->nrooms * sizeof self->rooms[0]);
	call->ngranted = session->nrooms;
}

/* A stage is over, and the next one begins. */
static void connect_stage(struct connect_op *self, struct imgo_histogram *stage)
{
	uint64_t now_us = imgo__loop_clock_us(self->base.op.push->loop);

	imgo_histogram_add(stage, now_us - self->stage_us, 1);
	self->stage_us = now_us;
}

static void on_put(int err, void *user)
{
	struct connect_op *self = user;

	if (err == 0)
		err = self->put.err;
	if (err == 0 && self->base.op.push) {
		connect_stage(self, self->base.op.push->registering);
		connect_registered(self);
	}
	connect_end(self, err);
}

static bool has_room(const struct connect_op *self, size_t n, struct imgo_str room)
{
	for (size_t i = 0; i < n; i++) {
		if (imgo_str_eq(self->rooms[i], room))
			return true;
	}
	return false;
}

/* The token's rooms, then those asked for; a copy, without doubles. */
static int connect_rooms(struct connect_op *self, const struct imgo_str *rooms, size_t nrooms)
{
	struct imgo_session *session = &self->put.session;
	bool ok = true;

	for (size_t i = 0; i < nrooms; i++) {
		if (rooms[i].len == 0 || rooms[i].len > IMGO_ROOM_MAX)
			return IMGO_EINVAL;
		if (has_room(self, session->nrooms, rooms[i]))
			continue;
		if (session->nrooms == IMGO__GATE_ROOMS_MAX)
			return IMGO_ELIMIT;
		self->rooms[session->nrooms++] = imgo__arena_str(&self->base.op.arena, rooms[i], &ok);
	}
	session->rooms = self->rooms;
	return ok ? 0 : IMGO_ENOMEM;
}

/* A token of a named device is for that device only; one of no device may name any. */
static bool connect_device(struct connect_op *self, struct imgo_str *device)
{
	struct imgo_str of_token = self->check.device, asked = self->call->device;

	if (of_token.len && asked.len && !imgo_str_eq(of_token, asked))
		return false;
	*device = of_token.len ? of_token : asked;
	return device->len <= IMGO_DEVICE_MAX;
}

static int connect_register(struct connect_op *self)
{
	struct imgo_push *push = self->base.op.push;
	struct imgo_session *session = &self->put.session;
	struct imgo_str device;
	bool ok = true;
	int err;

	if (!connect_device(self, &device))
		return IMGO_EDENIED;
	session->id = self->call->id;
	session->user = imgo__arena_str(&self->base.op.arena, self->check.who, &ok);
	session->device = imgo__arena_str(&self->base.op.arena, device, &ok);
	err = connect_rooms(self, self->check.rooms, self->check.nrooms);
	if (err == 0)
		err = connect_rooms(self, self->call->rooms, self->call->nrooms);
	if (err < 0 || !ok)
		return err ? err : IMGO_ENOMEM;
	self->put.sessions_max = push->sessions_max;
	self->put.policy = push->sessions_policy;
	return imgo_registry_put_many(push->registry, &self->put, 1, on_put, self);
}

static void on_checked(int err, void *user)
{
	struct connect_op *self = user;

	if (!self->base.op.push)
		err = IMGO_ECANCELED;
	if (err == 0) {
		connect_stage(self, self->base.op.push->check);
		err = connect_register(self);
	}
	if (err < 0)
		connect_end(self, err);
}

#define GUEST "guest:"

/* Who a goim client says it is (auth.mode=goim-insecure). A guest is a user of its own, never heard of again. */
static struct imgo_str who_of_mid(struct connect_op *self)
{
	const struct imgo_session_id *id = &self->call->id;
	char who[IMGO_USER_MAX + 1];
	bool ok = true;

	if (self->call->mid)
		snprintf(who, sizeof who, "%" PRIu64, self->call->mid);
	else
		snprintf(who, sizeof who, GUEST "%" PRIx32 "-%" PRIx64 "-%" PRIx64, id->comet, id->inc.start_us, id->n);
	return imgo__arena_str(&self->base.op.arena, imgo_str(who), &ok);
}

static bool is_guest(const struct imgo_push *push, struct imgo_str who)
{
	return push->auth_mode == IMGO_AUTH_GOIM_INSECURE && who.len > strlen(GUEST) &&
	       memcmp(who.p, GUEST, strlen(GUEST)) == 0;
}

static int connect_check(struct connect_op *self)
{
	struct imgo_push *push = self->base.op.push;
	bool ok = true;

	if (self->call->by_mid && push->auth_mode == IMGO_AUTH_GOIM_INSECURE) {
		self->check.who = who_of_mid(self);
		return self->check.who.len ? connect_register(self) : IMGO_ENOMEM;
	}
	if (self->call->token.len == 0)
		return IMGO_EDENIED;
	self->check.token = imgo__arena_str(&self->base.op.arena, self->call->token, &ok);
	return ok ? push->auth->check(push->auth_impl, &self->check, on_checked, self) : IMGO_ENOMEM;
}

static int local_connect(void *impl, struct imgo__gate_connect *call, imgo__gate_cb *cb, void *user)
{
	struct imgo_push *push = impl;
	struct connect_op *self;
	int err;

	if (call->token.len > IMGO_TOKEN_MAX)
		return IMGO_EDENIED;
	self = imgo__gate_op_new(push, sizeof *self, cb, user);
	if (!self)
		return IMGO_ENOMEM;
	self->call = call;
	self->stage_us = imgo__loop_clock_us(push->loop);
	err = connect_check(self);
	if (err < 0)
		imgo__push_op_free(&self->base.op);
	return err;
}

/* ---- read ---- */

struct read_op {
	struct imgo__gate_op base;
	struct imgo__gate_read *call;
	struct imgo_store_read read;
	struct imgo_store_read_many many;
};

static int read_results(struct read_op *self)
{
	struct imgo__gate_read *call = self->call;
	struct imgo__gate_message *messages;

	messages = imgo__arena_zalloc(&self->base.op.arena, self->read.nmessages + 1, sizeof *messages);
	if (!messages)
		return IMGO_ENOMEM;
	for (size_t i = 0; i < self->read.nmessages; i++) {
		const struct imgo_store_message *from = &self->read.messages[i];
		messages[i] = (struct imgo__gate_message){from->id, from->op, from->data};
	}
	call->messages = messages;
	call->nmessages = self->read.nmessages;
	call->more = self->read.more;
	call->gap = self->read.gap;
	call->position = self->read.position;
	call->cursor = self->read.cursor;
	return 0;
}

static void on_read(int err, void *user)
{
	struct read_op *self = user;

	if (err == 0 && self->base.op.push)
		err = read_results(self);
	imgo__gate_op_end(&self->base, err);
}

static int local_read(void *impl, struct imgo__gate_read *call, imgo__gate_cb *cb, void *user)
{
	struct imgo_push *push = impl;
	struct read_op *self;
	bool ok = true;
	int err;

	if (call->who.len == 0 || call->messages_max == 0)
		return IMGO_EINVAL;
	self = imgo__gate_op_new(push, sizeof *self, cb, user);
	if (!self)
		return IMGO_ENOMEM;
	self->call = call;
	self->read.user = imgo__arena_str(&self->base.op.arena, call->who, &ok);
	self->read.device = imgo__arena_str(&self->base.op.arena, call->device, &ok);
	self->read.after = call->after;
	self->read.attach = !is_guest(push, call->who); /* nothing is ever kept for a guest */
	self->read.messages_max = call->messages_max;
	self->read.bytes_max = call->bytes_max;
	self->many = (struct imgo_store_read_many){
		imgo_bus_epoch(push->bus), imgo__push_partition(push, call->who), &self->read, 1};
	err = ok ? imgo_store_read_many(push->store, &self->many, on_read, self) : IMGO_ENOMEM;
	if (err < 0)
		imgo__push_op_free(&self->base.op);
	return err;
}

/* ---- announce, disconnect, rooms: one call of the registry for all items ---- */

struct sessions_op {
	struct imgo__gate_op base;
	struct imgo__gate_session *items;
	size_t n;
	struct imgo_registry_put *puts; /* one of the three */
	struct imgo_registry_del *dels;
	struct imgo_registry_rooms *rooms;
};

static int result_of(const struct sessions_op *self, size_t i)
{
	if (self->puts)
		return self->puts[i].err;
	return self->dels ? self->dels[i].err : self->rooms[i].err;
}

static void on_sessions(int err, void *user)
{
	struct sessions_op *self = user;

	for (size_t i = 0; err == 0 && self->base.op.push && i < self->n; i++) {
		self->items[i].err = result_of(self, i);
		if (!self->puts || self->items[i].err)
			continue;
		self->items[i].seq = self->puts[i].seq;
		kick_evicted(self->base.op.push, &self->puts[i]);
	}
	imgo__gate_op_end(&self->base, err);
}

static const struct imgo_str *copy_strs(struct imgo__arena *arena, const struct imgo_str *from, size_t n, bool *ok)
{
	struct imgo_str *to = imgo__arena_zalloc(arena, n + 1, sizeof *to);

	if (!to) {
		*ok = false;
		return NULL;
	}
	for (size_t i = 0; i < n; i++)
		to[i] = imgo__arena_str(arena, from[i], ok);
	return to;
}

static struct sessions_op *sessions_op_new(
	struct imgo_push *push, struct imgo__gate_session *items, size_t n, imgo__gate_cb *cb, void *user)
{
	struct sessions_op *self = imgo__gate_op_new(push, sizeof *self, cb, user);

	if (!self)
		return NULL;
	self->items = items;
	self->n = n;
	return self;
}

static int sessions_started(struct sessions_op *self, bool ok, int err)
{
	if (!ok)
		err = IMGO_ENOMEM;
	if (err < 0)
		imgo__push_op_free(&self->base.op);
	return err;
}

static int local_announce(void *impl, struct imgo__gate_session *items, size_t n, imgo__gate_cb *cb, void *user)
{
	struct imgo_push *push = impl;
	struct sessions_op *self = sessions_op_new(push, items, n, cb, user);
	struct imgo__arena *arena;
	bool ok = true;

	if (!self)
		return IMGO_ENOMEM;
	arena = &self->base.op.arena;
	self->puts = imgo__arena_zalloc(arena, n, sizeof *self->puts);
	if (!self->puts)
		return sessions_started(self, false, 0);
	for (size_t i = 0; i < n; i++) {
		struct imgo_session *session = &self->puts[i].session;
		session->id = items[i].id;
		session->seq = items[i].seq;
		session->user = imgo__arena_str(arena, items[i].who, &ok);
		session->device = imgo__arena_str(arena, items[i].device, &ok);
		session->rooms = copy_strs(arena, items[i].rooms, items[i].nrooms, &ok);
		session->nrooms = items[i].nrooms;
	}
	return sessions_started(
		self, ok, ok ? imgo_registry_put_many(push->registry, self->puts, n, on_sessions, self) : 0);
}

static int local_disconnect(void *impl, struct imgo__gate_session *items, size_t n, imgo__gate_cb *cb, void *user)
{
	struct imgo_push *push = impl;
	struct sessions_op *self = sessions_op_new(push, items, n, cb, user);
	bool ok = true;

	if (!self)
		return IMGO_ENOMEM;
	self->dels = imgo__arena_zalloc(&self->base.op.arena, n, sizeof *self->dels);
	if (!self->dels)
		return sessions_started(self, false, 0);
	for (size_t i = 0; i < n; i++) {
		self->dels[i].user = imgo__arena_str(&self->base.op.arena, items[i].who, &ok);
		self->dels[i].id = items[i].id;
	}
	return sessions_started(
		self, ok, ok ? imgo_registry_del_many(push->registry, self->dels, n, on_sessions, self) : 0);
}

static int local_rooms(void *impl, struct imgo__gate_session *items, size_t n, imgo__gate_cb *cb, void *user)
{
	struct imgo_push *push = impl;
	struct sessions_op *self = sessions_op_new(push, items, n, cb, user);
	struct imgo__arena *arena;
	bool ok = true;

	if (!self)
		return IMGO_ENOMEM;
	arena = &self->base.op.arena;
	self->rooms = imgo__arena_zalloc(arena, n, sizeof *self->rooms);
	if (!self->rooms)
		return sessions_started(self, false, 0);
	for (size_t i = 0; i < n; i++) {
		self->rooms[i].user = imgo__arena_str(arena, items[i].who, &ok);
		self->rooms[i].id = items[i].id;
		self->rooms[i].rooms = copy_strs(arena, items[i].rooms, items[i].nrooms, &ok);
		self->rooms[i].nrooms = items[i].nrooms;
	}
	return sessions_started(
		self, ok, ok ? imgo_registry_rooms_many(push->registry, self->rooms, n, on_sessions, self) : 0);
}

/* ---- online ---- */

struct online_op {
	struct imgo__gate_op base;
	struct imgo__gate_online *items;
	size_t n;
	struct imgo_registry_count count;
};

static uint64_t count_of(const struct imgo_registry_count *count, struct imgo_str room)
{
	for (size_t low = 0, high = count->n; low < high;) {
		size_t middle = (low + high) / 2;
		struct imgo_str key = count->rooms[middle].room;
		size_t len = key.len < room.len ? key.len : room.len;
		int order = len ? memcmp(key.p, room.p, len) : 0;
		if (order == 0 && key.len == room.len)
			return count->rooms[middle].count;
		if (order < 0 || (order == 0 && key.len < room.len))
			low = middle + 1;
		else
			high = middle;
	}
	return 0;
}

static void on_counted(int err, void *user)
{
	struct online_op *self = user;

	for (size_t i = 0; err == 0 && self->base.op.push && i < self->n; i++)
		self->items[i].count = count_of(&self->count, self->items[i].room);
	imgo__gate_op_end(&self->base, err);
}

static int local_online(void *impl, struct imgo__gate_online *items, size_t n, imgo__gate_cb *cb, void *user)
{
	struct imgo_push *push = impl;
	struct online_op *self = imgo__gate_op_new(push, sizeof *self, cb, user);
	struct imgo_str *only = self ? imgo__arena_zalloc(&self->base.op.arena, n, sizeof *only) : NULL;
	bool ok = only != NULL;
	int err;

	if (!self)
		return IMGO_ENOMEM;
	self->items = items;
	self->n = n;
	for (size_t i = 0; only && i < n; i++)
		only[i] = imgo__arena_str(&self->base.op.arena, items[i].room, &ok);
	self->count.only = only;
	self->count.nonly = n;
	err = ok ? imgo_registry_count(push->registry, &self->count, on_counted, self) : IMGO_ENOMEM;
	if (err < 0)
		imgo__push_op_free(&self->base.op);
	return err;
}

/* ---- renew ---- */

struct renew_op {
	struct imgo__gate_op base;
	struct imgo__gate_renew *call;
	struct imgo_registry_renew renew;
};

static void on_renewed(int err, void *user)
{
	struct renew_op *self = user;
	struct imgo_push *push = self->base.op.push;

	if (err == 0 && push) {
		struct imgo_str address = self->call->registry.address, hosts = self->call->registry.about.hosts;
		self->call->registry = self->renew;
		self->call->registry.address = address;
		self->call->registry.about.hosts = hosts;
		self->call->epoch = imgo_bus_epoch(push->bus);
		self->call->partitions = imgo_bus_partitions(push->bus, IMGO_TOPIC_USERS);
	}
	imgo__gate_op_end(&self->base, err);
}

static int local_renew(void *impl, struct imgo__gate_renew *call, imgo__gate_cb *cb, void *user)
{
	struct imgo_push *push = impl;
	struct renew_op *self = imgo__gate_op_new(push, sizeof *self, cb, user);
	bool ok = true;
	int err;

	if (!self)
		return IMGO_ENOMEM;
	self->call = call;
	self->renew = call->registry;
	self->renew.address = imgo__arena_str(&self->base.op.arena, call->registry.address, &ok);
	self->renew.about.hosts = imgo__arena_str(&self->base.op.arena, call->registry.about.hosts, &ok);
	err = ok ? imgo_registry_renew(push->registry, &self->renew, on_renewed, self) : IMGO_ENOMEM;
	if (err < 0)
		imgo__push_op_free(&self->base.op);
	return err;
}

static void local_free(void *impl)
{
	(void)impl; /* the push is borrowed */
}

static const struct imgo__gate_ops local_ops = {
	.free = local_free,
	.connect = local_connect,
	.read = local_read,
	.announce = local_announce,
	.disconnect = local_disconnect,
	.rooms = local_rooms,
	.ack = imgo__push_ack,
	.compare = imgo__push_compare,
	.online = local_online,
	.renew = local_renew,
};

int imgo__gate_local(struct imgo__gate *out, struct imgo_push *push)
{
	out->ops = &local_ops;
	out->impl = push;
	return 0;
}
