/* SPDX-License-Identifier: MIT */
/*
 * The gate of a push in this process: what comets ask, answered from authentication, registry and store.
 *
 * Many-calls are split by partition, because that is how the store wants them: the items are sorted by partition, one
 * call is made for each run of equal partitions, and when the last has answered the results are put back in the order
 * in which they were asked. A part that fails fails its own items only.
 */
#include <string.h>

#include <imgo/hub.h>

#include "service/push_impl.h"

static uint32_t partition_of(struct imgo_push *push, struct imgo_str who)
{
	return imgo_partition(who, imgo_bus_partitions(push->bus, IMGO_TOPIC_USERS));
}

/* Every op of the gate ends by one callback of this form. */
struct gate_op {
	struct imgo__push_op op;
	imgo__gate_cb *cb;
	void *user;
};

static void gate_orphan(struct imgo__push_op *op)
{
	struct gate_op *self = (struct gate_op *)op;

	self->cb(IMGO_ECANCELED, self->user);
}

static void *gate_op_new(struct imgo_push *push, size_t size, imgo__gate_cb *cb, void *user)
{
	struct gate_op *self = imgo__push_op_new(push, size, gate_orphan);

	if (self) {
		self->cb = cb;
		self->user = user;
	}
	return self;
}

static void gate_op_end(struct gate_op *self, int err)
{
	if (self->op.push)
		self->cb(err, self->user);
	imgo__push_op_free(&self->op);
}

/* ---- connect: token -> user -> registered ---- */

struct connect_op {
	struct gate_op base;
	struct imgo__gate_connect *call;
	struct imgo_auth_check check;
	struct imgo_registry_put put;
	struct imgo_str rooms[IMGO__GATE_ROOMS_MAX];
};

static void connect_end(struct connect_op *self, int err)
{
	struct imgo_push *push = self->base.op.push;

	if (push && err == IMGO_EDENIED)
		imgo_stat_add(push->denied, 1);
	if (push && err == 0)
		imgo_stat_add(push->connects, 1);
	gate_op_end(&self->base, err);
}

static void connect_registered(struct connect_op *self)
{
	struct imgo_push *push = self->base.op.push;
	struct imgo__gate_connect *call = self->call;
	const struct imgo_session *session = &self->put.session;

	for (size_t i = 0; i < self->put.nevicted; i++)
		imgo__carrier_kick(push->carrier, self->put.evicted[i], session->user, IMGO_CLOSE_REPLACED);
	call->who = session->user;
	call->granted_device = session->device;
	call->seq = self->put.seq;
	call->partition = partition_of(push, session->user);
	call->epoch = imgo_bus_epoch(push->bus);
	memcpy(call->granted_rooms, self->rooms, session->nrooms * sizeof self->rooms[0]);
	call->ngranted = session->nrooms;
}

static void on_put(int err, void *user)
{
	struct connect_op *self = user;

	if (err == 0)
		err = self->put.err;
	if (err == 0 && self->base.op.push)
		connect_registered(self);
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
	if (err == 0)
		err = connect_register(self);
	if (err < 0)
		connect_end(self, err);
}

static int local_connect(void *impl, struct imgo__gate_connect *call, imgo__gate_cb *cb, void *user)
{
	struct imgo_push *push = impl;
	struct connect_op *self;
	bool ok = true;
	int err;

	if (call->token.len == 0 || call->token.len > IMGO_TOKEN_MAX)
		return IMGO_EDENIED;
	self = gate_op_new(push, sizeof *self, cb, user);
	if (!self)
		return IMGO_ENOMEM;
	self->call = call;
	self->check.token = imgo__arena_str(&self->base.op.arena, call->token, &ok);
	err = ok ? push->auth->check(push->auth_impl, &self->check, on_checked, self) : IMGO_ENOMEM;
	if (err < 0)
		imgo__push_op_free(&self->base.op);
	return err;
}

/* ---- read ---- */

struct read_op {
	struct gate_op base;
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
	gate_op_end(&self->base, err);
}

static int local_read(void *impl, struct imgo__gate_read *call, imgo__gate_cb *cb, void *user)
{
	struct imgo_push *push = impl;
	struct read_op *self;
	bool ok = true;
	int err;

	if (call->who.len == 0 || call->messages_max == 0)
		return IMGO_EINVAL;
	self = gate_op_new(push, sizeof *self, cb, user);
	if (!self)
		return IMGO_ENOMEM;
	self->call = call;
	self->read.user = imgo__arena_str(&self->base.op.arena, call->who, &ok);
	self->read.device = imgo__arena_str(&self->base.op.arena, call->device, &ok);
	self->read.after = call->after;
	self->read.attach = true;
	self->read.messages_max = call->messages_max;
	self->read.bytes_max = call->bytes_max;
	self->many = (struct imgo_store_read_many){imgo_bus_epoch(push->bus), partition_of(push, call->who), &self->read, 1};
	err = ok ? imgo_store_read_many(push->store, &self->many, on_read, self) : IMGO_ENOMEM;
	if (err < 0)
		imgo__push_op_free(&self->base.op);
	return err;
}

/* ---- announce, disconnect, rooms: one call of the registry for all items ---- */

struct sessions_op {
	struct gate_op base;
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

	for (size_t i = 0; err == 0 && self->base.op.push && i < self->n; i++)
		self->items[i].err = result_of(self, i);
	gate_op_end(&self->base, err);
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

static struct sessions_op *sessions_op_new(struct imgo_push *push, struct imgo__gate_session *items, size_t n,
	imgo__gate_cb *cb, void *user)
{
	struct sessions_op *self = gate_op_new(push, sizeof *self, cb, user);

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
	return sessions_started(self, ok, ok ? imgo_registry_put_many(push->registry, self->puts, n, on_sessions, self) : 0);
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
	return sessions_started(self, ok, ok ? imgo_registry_del_many(push->registry, self->dels, n, on_sessions, self) : 0);
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
	return sessions_started(self, ok, ok ? imgo_registry_rooms_many(push->registry, self->rooms, n, on_sessions, self) : 0);
}

/* ---- ack, compare: split by partition ---- */

struct order { /* where an item of the call went */
	uint32_t partition, index;
};

static int order_cmp(const void *a, const void *b)
{
	const struct order *x = a, *y = b;

	if (x->partition != y->partition)
		return x->partition < y->partition ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

struct split_op;

/* A run of items of one partition, and the store's call for them. */
struct part {
	struct split_op *op;
	size_t from, n;
	struct imgo_store_ack_many ack;
	struct imgo_store_peek_many peek;
	int err;
};

struct split_op {
	struct gate_op base;
	size_t n, nparts;
	struct order *order;
	struct part *parts;
	unsigned waiting;
	struct imgo__gate_ack *asked_acks;         /* one of the two */
	struct imgo__gate_compare *asked_compares;
	struct imgo_store_ack *acks;
	struct imgo_store_peek *peeks;
	struct imgo_id *delivered, *acked; /* of compare, in the sorted order */
};

static struct split_op *split_op_new(struct imgo_push *push, size_t n, imgo__gate_cb *cb, void *user)
{
	struct split_op *self = gate_op_new(push, sizeof *self, cb, user);

	if (!self)
		return NULL;
	self->n = n;
	self->order = imgo__arena_zalloc(&self->base.op.arena, n, sizeof *self->order);
	self->parts = imgo__arena_zalloc(&self->base.op.arena, n, sizeof *self->parts);
	if (self->order && self->parts)
		return self;
	imgo__push_op_free(&self->base.op);
	return NULL;
}

/* order[i].partition is filled in: sorts, and cuts into parts. */
static void split_sort(struct split_op *self)
{
	qsort(self->order, self->n, sizeof *self->order, order_cmp);
	for (size_t i = 0; i < self->n; i++) {
		if (i == 0 || self->order[i].partition != self->order[i - 1].partition)
			self->parts[self->nparts++] = (struct part){.op = self, .from = i};
		self->parts[self->nparts - 1].n++;
	}
}

static void split_ack_result(struct split_op *self, size_t i, int err)
{
	self->asked_acks[self->order[i].index].err = err;
}

/* The comet's cursor may be ahead of a store that was rebuilt: write it again (DESIGN.md §3, A store may forget). */
static void split_compare_result(struct split_op *self, size_t i, int err)
{
	struct imgo__gate_compare *asked = &self->asked_compares[self->order[i].index];

	asked->err = err;
	asked->behind = err == 0 && imgo_id_cmp(self->peeks[i].head, self->delivered[i]) > 0;
}

static void split_end(struct split_op *self)
{
	for (size_t p = 0; self->base.op.push && p < self->nparts; p++) {
		const struct part *part = &self->parts[p];
		for (size_t i = part->from; i < part->from + part->n; i++) {
			if (self->asked_acks)
				split_ack_result(self, i, part->err);
			else
				split_compare_result(self, i, part->err);
		}
	}
	gate_op_end(&self->base, 0);
}

static void part_done(int err, void *user)
{
	struct part *part = user;

	part->err = err;
	if (--part->op->waiting == 0)
		split_end(part->op);
}

/* Some part is under way: 0. None: the op is gone and the call has failed as the first did. */
static int split_started(struct split_op *self)
{
	int err = self->parts[0].err;

	if (self->waiting)
		return 0;
	imgo__push_op_free(&self->base.op);
	return err;
}

static int local_ack(void *impl, struct imgo__gate_ack *items, size_t n, imgo__gate_cb *cb, void *user)
{
	struct imgo_push *push = impl;
	struct split_op *self = split_op_new(push, n, cb, user);
	bool ok = self != NULL;

	if (self)
		self->acks = imgo__arena_zalloc(&self->base.op.arena, n, sizeof *self->acks);
	if (!ok || !self->acks) {
		if (self)
			imgo__push_op_free(&self->base.op);
		return IMGO_ENOMEM;
	}
	self->asked_acks = items;
	for (size_t i = 0; i < n; i++)
		self->order[i] = (struct order){partition_of(push, items[i].who), (uint32_t)i};
	split_sort(self);
	for (size_t i = 0; i < n; i++) {
		const struct imgo__gate_ack *item = &items[self->order[i].index];
		self->acks[i].user = imgo__arena_str(&self->base.op.arena, item->who, &ok);
		self->acks[i].device = imgo__arena_str(&self->base.op.arena, item->device, &ok);
		self->acks[i].id = item->id;
	}
	for (size_t p = 0; p < self->nparts; p++) {
		struct part *part = &self->parts[p];
		part->ack = (struct imgo_store_ack_many){imgo_bus_epoch(push->bus), self->order[part->from].partition,
			&self->acks[part->from], part->n};
		part->err = ok ? imgo_store_ack_many(push->store, &part->ack, part_done, part) : IMGO_ENOMEM;
		self->waiting += part->err == 0;
	}
	return split_started(self);
}

static int compare_fill(struct split_op *self, struct imgo_push *push, const struct imgo__gate_compare *items)
{
	struct imgo__arena *arena = &self->base.op.arena;
	bool ok = true;

	self->peeks = imgo__arena_zalloc(arena, self->n, sizeof *self->peeks);
	self->delivered = imgo__arena_zalloc(arena, self->n, sizeof *self->delivered);
	self->acked = imgo__arena_zalloc(arena, self->n, sizeof *self->acked);
	if (!self->peeks || !self->delivered || !self->acked)
		return IMGO_ENOMEM;
	for (size_t i = 0; i < self->n; i++)
		self->order[i] = (struct order){partition_of(push, items[i].who), (uint32_t)i};
	split_sort(self);
	for (size_t i = 0; i < self->n; i++) {
		const struct imgo__gate_compare *item = &items[self->order[i].index];
		self->peeks[i].user = imgo__arena_str(arena, item->who, &ok);
		self->peeks[i].device = imgo__arena_str(arena, item->device, &ok);
		self->delivered[i] = item->delivered;
		self->acked[i] = item->acked;
	}
	return ok ? 0 : IMGO_ENOMEM;
}

static void ack_ignored(int err, void *user)
{
	(void)err; /* the next comparison tries again */
	free(user);
}

struct reack {
	struct imgo__gate_ack item;
	char bytes[IMGO_USER_MAX + IMGO_DEVICE_MAX];
};

/* After a rebuild the store's cursor is behind what the session has acknowledged. */
static void compare_reack(struct imgo_push *push, const struct imgo_store_peek *peek, struct imgo_id acked)
{
	struct reack *reack;

	if (imgo_id_cmp(acked, peek->cursor) <= 0)
		return;
	reack = imgo__zalloc(sizeof *reack);
	if (!reack)
		return;
	memcpy(reack->bytes, peek->user.p, peek->user.len);
	memcpy(reack->bytes + peek->user.len, peek->device.p, peek->device.len);
	reack->item.who = imgo_strn(reack->bytes, peek->user.len);
	reack->item.device = imgo_strn(reack->bytes + peek->user.len, peek->device.len);
	reack->item.id = acked;
	if (local_ack(push, &reack->item, 1, ack_ignored, reack) < 0)
		free(reack);
}

static void compare_part_done(int err, void *user)
{
	struct part *part = user;
	struct split_op *self = part->op;

	for (size_t i = part->from; err == 0 && self->base.op.push && i < part->from + part->n; i++)
		compare_reack(self->base.op.push, &self->peeks[i], self->acked[i]);
	part_done(err, part);
}

static int local_compare(void *impl, struct imgo__gate_compare *items, size_t n, imgo__gate_cb *cb, void *user)
{
	struct imgo_push *push = impl;
	struct split_op *self = split_op_new(push, n, cb, user);

	if (!self)
		return IMGO_ENOMEM;
	self->asked_compares = items;
	if (compare_fill(self, push, items) < 0) {
		imgo__push_op_free(&self->base.op);
		return IMGO_ENOMEM;
	}
	for (size_t p = 0; p < self->nparts; p++) {
		struct part *part = &self->parts[p];
		part->peek = (struct imgo_store_peek_many){imgo_bus_epoch(push->bus), self->order[part->from].partition,
			&self->peeks[part->from], part->n};
		part->err = imgo_store_peek_many(push->store, &part->peek, compare_part_done, part);
		self->waiting += part->err == 0;
	}
	return split_started(self);
}

/* ---- renew ---- */

struct renew_op {
	struct gate_op base;
	struct imgo__gate_renew *call;
	struct imgo_registry_renew renew;
};

static void on_renewed(int err, void *user)
{
	struct renew_op *self = user;
	struct imgo_push *push = self->base.op.push;

	if (err == 0 && push) {
		struct imgo_str address = self->call->registry.address;
		self->call->registry = self->renew;
		self->call->registry.address = address;
		self->call->epoch = imgo_bus_epoch(push->bus);
		self->call->partitions = imgo_bus_partitions(push->bus, IMGO_TOPIC_USERS);
	}
	gate_op_end(&self->base, err);
}

static int local_renew(void *impl, struct imgo__gate_renew *call, imgo__gate_cb *cb, void *user)
{
	struct imgo_push *push = impl;
	struct renew_op *self = gate_op_new(push, sizeof *self, cb, user);
	bool ok = true;
	int err;

	if (!self)
		return IMGO_ENOMEM;
	self->call = call;
	self->renew = call->registry;
	self->renew.address = imgo__arena_str(&self->base.op.arena, call->registry.address, &ok);
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
	.ack = local_ack,
	.compare = local_compare,
	.renew = local_renew,
};

int imgo__gate_local(struct imgo__gate *out, struct imgo_push *push)
{
	out->ops = &local_ops;
	out->impl = push;
	return 0;
}
