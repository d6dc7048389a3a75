/* SPDX-License-Identifier: MIT */
/*
 * One push: the users are sorted by partition (and doubles drop out), the router is asked once for all of them where
 * they are, one envelope a partition is made, and all go to the bus in one call. The answer of the bus is the answer.
 *
 * Keys have no look-up: they are sorted and doubled out in the same way, and it is job who asks where they are.
 *
 * The address is a hint: when the router has not answered after lookup_ms the push goes without one, and job asks
 * again. So an op may have two answers outstanding (the late one of the router, the bus's); `waiting` counts them.
 */
#include <string.h>

#include "base/failpoint.h"
#include "base/hash.h"
#include "base/options.h"
#include "service/push_impl.h"

enum {
	RECORD_BYTES_MAX = 900 * 1024, /* Kafka's default message.max.bytes is 1 MiB less a header */
	KEY_MAX = 255,
};

struct slot { /* one user, sorted by partition */
	struct imgo_str who;
	uint32_t partition;
};

struct send_op {
	struct imgo__push_op op;
	struct imgo__timer timer;         /* of the look-up */
	struct imgo_push_request request; /* strings in the arena */
	struct imgo_msgid msgid;
	struct slot *slots;
	size_t nslots;
	struct imgo_registry_get *gets;
	struct imgo_bus_record *records;
	size_t nrecords, records_cap;
	unsigned waiting;
	bool looking;
	uint64_t since_us, stage_us;
	imgo_push_cb *cb;
	void *user;
};

static void send_free(struct send_op *self)
{
	for (size_t i = 0; i < self->nrecords; i++)
		free((void *)(uintptr_t)self->records[i].value.p);
	free(self->records);
	imgo__push_op_free(&self->op);
}

static void send_orphan(struct imgo__push_op *op)
{
	struct send_op *self = (struct send_op *)op;

	imgo__timer_stop(op->push->loop, &self->timer);
	if (self->cb)
		self->cb(IMGO_ECANCELED, self->user);
	self->cb = NULL;
}

/* Tells the caller, once; frees when nothing is outstanding. */
static void send_finish(struct send_op *self, int err)
{
	struct imgo_push *push = self->op.push;
	imgo_push_cb *cb = self->cb;

	if (push && cb) {
		self->cb = NULL;
		push->pushes--;
		imgo_stat_add(err ? push->failed : push->accepted, 1);
		if (err == 0) {
			imgo_stat_add(push->users, (int64_t)self->nslots);
			imgo_histogram_add(push->total, imgo__loop_clock_us(push->loop) - self->since_us, 1);
		}
		cb(err, self->user);
	}
	if (self->waiting == 0)
		send_free(self);
}

/* ---- envelopes ---- */

static int add_record(struct send_op *self, uint32_t partition, const struct imgo_envelope *envelope)
{
	void *data;
	size_t len;
	int err;

	if (self->nrecords == self->records_cap) {
		size_t cap = self->records_cap ? self->records_cap * 2 : 4;
		struct imgo_bus_record *grown = imgo__regrow(self->records, cap, sizeof *grown);
		if (!grown)
			return IMGO_ENOMEM;
		self->records = grown;
		self->records_cap = cap;
	}
	err = imgo_envelope_encode(envelope, &data, &len);
	if (err < 0)
		return err;
	self->records[self->nrecords++] = (struct imgo_bus_record){.partition = partition, .value = imgo_strn(data, len)};
	return 0;
}

static struct imgo_envelope envelope_of(const struct send_op *self, enum imgo_envelope_kind kind)
{
	struct imgo_envelope envelope = {.kind = kind,
		.msgid = self->msgid,
		.op = self->request.op,
		.body = self->request.body,
		.at_ms = imgo_loop_wall_ms(self->op.push->loop),
		.room = self->request.room,
		.speed = self->request.target == IMGO_PUSH_ALL ? self->request.speed : 0};

	return envelope;
}

static size_t target_bytes(const struct imgo_envelope_target *target)
{
	return target->user.len + 8 + 40 * target->nsessions;
}

static enum imgo_envelope_kind users_kind(const struct imgo_push_request *request)
{
	if (request->target == IMGO_PUSH_KEYS)
		return IMGO_ENVELOPE_KEYS;
	return request->qos0 ? IMGO_ENVELOPE_DIRECT : IMGO_ENVELOPE_USERS;
}

static bool is_logged(const struct imgo_push_request *request)
{
	return request->target == IMGO_PUSH_USERS && !request->qos0;
}

/* One partition's users: one record, or several when their addresses are many. */
static int encode_partition(struct send_op *self, const struct imgo_envelope_target *targets, size_t n, uint32_t partition)
{
	struct imgo_envelope envelope = envelope_of(self, users_kind(&self->request));
	size_t room = RECORD_BYTES_MAX > envelope.body.len ? RECORD_BYTES_MAX - envelope.body.len : 0;

	while (n > 0) {
		size_t take = 0, bytes = 0;
		while (take < n && take < IMGO_ENVELOPE_TARGETS_MAX &&
			(take == 0 || bytes + target_bytes(&targets[take]) <= room))
			bytes += target_bytes(&targets[take++]);
		envelope.targets = targets;
		envelope.ntargets = take;
		int err = add_record(self, partition, &envelope);
		if (err < 0)
			return err;
		targets += take;
		n -= take;
	}
	return 0;
}

/* The sessions that the router named for one user, as many as an envelope takes. */
static int fill_target(struct send_op *self, struct imgo_envelope_target *target, const struct imgo_registry_get *get)
{
	struct imgo_session_id *ids;
	size_t n = get->nsessions < IMGO_ENVELOPE_SESSIONS_MAX ? get->nsessions : IMGO_ENVELOPE_SESSIONS_MAX;

	target->user = get->user;
	if (get->err || n == 0)
		return 0;
	ids = imgo__arena_alloc(&self->op.arena, n * sizeof *ids);
	if (!ids)
		return IMGO_ENOMEM;
	for (size_t i = 0; i < n; i++)
		ids[i] = get->sessions[i].id;
	target->sessions = ids;
	target->nsessions = n;
	return 0;
}

static int encode_users(struct send_op *self, bool addressed)
{
	struct imgo_envelope_target *targets = imgo__arena_zalloc(&self->op.arena, self->nslots, sizeof *targets);
	size_t from = 0;
	int err = targets ? 0 : IMGO_ENOMEM;

	for (size_t i = 0; err == 0 && i < self->nslots; i++) {
		targets[i].user = self->slots[i].who;
		if (addressed)
			err = fill_target(self, &targets[i], &self->gets[i]);
	}
	while (err == 0 && from < self->nslots) {
		size_t to = from + 1;
		while (to < self->nslots && self->slots[to].partition == self->slots[from].partition)
			to++;
		err = encode_partition(self, targets + from, to - from, self->slots[from].partition);
		from = to;
	}
	return err;
}

/* ---- to the bus ---- */

static void on_produced(int err, void *user)
{
	struct send_op *self = user;

	self->waiting--;
	if (err == 0 && self->op.push)
		imgo_histogram_add(self->op.push->produce, imgo__loop_clock_us(self->op.push->loop) - self->stage_us, 1);
	if (err == 0 && imgo__failpoint("logic.push.produced"))
		err = IMGO_EIO;
	send_finish(self, err);
}

static int produce(struct send_op *self)
{
	enum imgo_topic topic = is_logged(&self->request) ? IMGO_TOPIC_USERS : IMGO_TOPIC_CASTS;
	int err;

	self->stage_us = imgo__loop_clock_us(self->op.push->loop);
	err = imgo_bus_produce_many(self->op.push->bus, topic, self->records, self->nrecords, on_produced, self);

	if (err == 0)
		self->waiting++;
	return err;
}

/* The look-up is over: encode while its results live, then produce. */
static void looked_up(struct send_op *self, bool addressed)
{
	struct imgo_push *push = self->op.push;
	int err;

	self->looking = false;
	imgo__timer_stop(push->loop, &self->timer);
	imgo_histogram_add(push->lookup, imgo__loop_clock_us(push->loop) - self->since_us, 1);
	if (!addressed)
		imgo_stat_add(push->blind, 1);
	err = encode_users(self, addressed);
	if (err == 0)
		err = produce(self);
	if (err < 0)
		send_finish(self, err);
}

static void on_sessions(int err, void *user)
{
	struct send_op *self = user;

	self->waiting--;
	if (self->op.push && self->looking)
		looked_up(self, err == 0);
	else if (self->waiting == 0 && !self->cb)
		send_free(self);
}

static void on_lookup_timer(struct imgo_loop *loop, struct imgo__timer *timer)
{
	(void)loop;
	looked_up(imgo__container_of(timer, struct send_op, timer), false);
}

/* ---- the request ---- */

static int slot_cmp(const void *a, const void *b)
{
	const struct slot *x = a, *y = b;
	size_t common = x->who.len < y->who.len ? x->who.len : y->who.len;
	int order;

	if (x->partition != y->partition)
		return x->partition < y->partition ? -1 : 1;
	order = memcmp(x->who.p, y->who.p, common);
	if (order == 0 && x->who.len != y->who.len)
		order = x->who.len < y->who.len ? -1 : 1;
	return order;
}

static int copy_users(struct send_op *self, const struct imgo_push_request *request)
{
	enum imgo_topic topic = is_logged(request) ? IMGO_TOPIC_USERS : IMGO_TOPIC_CASTS;
	uint32_t partitions = imgo_bus_partitions(self->op.push->bus, topic);
	size_t len_max = request->target == IMGO_PUSH_KEYS ? IMGO_ENVELOPE_KEY_MAX : IMGO_USER_MAX;
	bool ok = true;
	size_t n = 0;

	self->slots = imgo__arena_zalloc(&self->op.arena, request->nusers, sizeof *self->slots);
	self->gets = imgo__arena_zalloc(&self->op.arena, request->nusers, sizeof *self->gets);
	if (!self->slots || !self->gets)
		return IMGO_ENOMEM;
	for (size_t i = 0; i < request->nusers; i++) {
		if (request->users[i].len == 0 || request->users[i].len > len_max)
			return IMGO_EINVAL;
		self->slots[i].who = imgo__arena_str(&self->op.arena, request->users[i], &ok);
		self->slots[i].partition = imgo_partition(request->users[i], partitions);
	}
	if (!ok)
		return IMGO_ENOMEM;
	qsort(self->slots, request->nusers, sizeof *self->slots, slot_cmp);
	for (size_t i = 0; i < request->nusers; i++) {
		if (n == 0 || slot_cmp(&self->slots[n - 1], &self->slots[i]) != 0)
			self->slots[n++] = self->slots[i];
	}
	self->nslots = n;
	for (size_t i = 0; i < n; i++)
		self->gets[i].user = self->slots[i].who;
	return 0;
}

static int make_msgid(struct send_op *self, struct imgo_str key)
{
	uint8_t hash[IMGO__SHA256_LEN];
	int err;

	if (key.len == 0) {
		imgo__loop_random(self->op.push->loop, &self->msgid, sizeof self->msgid);
		return 0;
	}
	err = imgo__sha256(key.p, key.len, hash);
	memcpy(&self->msgid, hash, sizeof self->msgid);
	return err;
}

static void say_full(struct imgo_push *push)
{
	uint32_t times;

	imgo_stat_add(push->refused_full, 1);
	if (imgo__seldom(&push->full, imgo__loop_now_ms(push->loop), &times))
		imgo_log_event(imgo_loop_log(push->loop), IMGO_LOG_WARN, "push", "pushes-full", "times=%u pushes=%u",
			times, push->pushes);
}

static int check_request(struct imgo_push *push, const struct imgo_push_request *request)
{
	if (request->key.len > KEY_MAX)
		return IMGO_EINVAL;
	if ((request->target == IMGO_PUSH_USERS || request->target == IMGO_PUSH_KEYS) && request->nusers == 0)
		return IMGO_EINVAL;
	if (request->target == IMGO_PUSH_ROOM && (request->room.len == 0 || request->room.len > IMGO_ROOM_MAX))
		return IMGO_EINVAL;
	if (request->body.len > push->body_max || request->nusers > push->users_max)
		return IMGO_ELIMIT;
	if (push->pushes >= push->pushes_max) {
		say_full(push);
		return IMGO_ELIMIT;
	}
	if (!imgo_bus_ready(push->bus)) {
		imgo_stat_add(push->refused_bus, 1);
		return IMGO_EUNAVAILABLE;
	}
	return 0;
}

static int start_users(struct send_op *self, const struct imgo_push_request *request)
{
	struct imgo_push *push = self->op.push;
	int err = copy_users(self, request);

	if (err < 0)
		return err;
	self->looking = true;
	imgo__timer_start(push->loop, &self->timer, push->lookup_ms);
	if (imgo_registry_get_many(push->registry, self->gets, self->nslots, on_sessions, self) == 0) {
		self->waiting++;
		return 0;
	}
	self->looking = false;
	imgo__timer_stop(push->loop, &self->timer);
	imgo_stat_add(push->blind, 1);
	err = encode_users(self, false);
	return err ? err : produce(self);
}

static int start_keys(struct send_op *self, const struct imgo_push_request *request)
{
	int err = copy_users(self, request);

	if (err == 0)
		err = encode_users(self, false);
	return err ? err : produce(self);
}

static int start_cast(struct send_op *self)
{
	struct imgo_push *push = self->op.push;
	bool room = self->request.target == IMGO_PUSH_ROOM;
	struct imgo_envelope envelope = envelope_of(self, room ? IMGO_ENVELOPE_ROOM : IMGO_ENVELOPE_BROADCAST);
	uint32_t partitions = imgo_bus_partitions(push->bus, IMGO_TOPIC_CASTS);
	int err = add_record(self, room ? imgo_partition(self->request.room, partitions) : 0, &envelope);

	return err ? err : produce(self);
}

static int start(struct send_op *self, const struct imgo_push_request *request)
{
	switch (request->target) {
	case IMGO_PUSH_USERS:
		return start_users(self, request);
	case IMGO_PUSH_KEYS:
		return start_keys(self, request);
	case IMGO_PUSH_ROOM:
	case IMGO_PUSH_ALL:
		return start_cast(self);
	}
	return IMGO_EINVAL;
}

int imgo_push_send(struct imgo_push *push, const struct imgo_push_request *given, imgo_push_cb *cb, void *user)
{
	struct imgo_push_request taken = IMGO_PUSH_REQUEST_INIT;
	const struct imgo_push_request *request = &taken;
	struct send_op *self;
	bool ok = true;
	int err = imgo__options_take(&taken, given, "push", NULL);

	if (err == 0)
		err = check_request(push, request);
	if (err < 0)
		return err;
	self = imgo__push_op_new(push, sizeof *self, send_orphan);
	if (!self)
		return IMGO_ENOMEM;
	imgo__timer_init(&self->timer, on_lookup_timer);
	self->since_us = imgo__loop_clock_us(push->loop);
	self->cb = cb;
	self->user = user;
	self->request = *request;
	self->request.body = imgo__arena_str(&self->op.arena, request->body, &ok);
	self->request.room = request->target == IMGO_PUSH_ROOM ? imgo__arena_str(&self->op.arena, request->room, &ok)
							       : imgo_strn(NULL, 0);
	self->request.users = NULL;
	err = ok ? make_msgid(self, request->key) : IMGO_ENOMEM;
	if (err == 0)
		err = start(self, request);
	if (err < 0) {
		send_free(self);
		return err;
	}
	push->pushes++;
	return 0;
}
