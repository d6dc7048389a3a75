/* SPDX-License-Identifier: MIT */
/* A bus that remembers what it was given last, and can be told to fail, or to wait and then answer in the
 * wrong order. */
#ifndef HTTP_BUS_H
#define HTTP_BUS_H

#include "test.h"

#include <imgo/bus.h>
#include <imgo/envelope.h>

enum { RIG_PARTITIONS = 8 };

struct rig_produce {
	struct imgo_bus_record *records;
	size_t n;
	imgo_bus_produce_cb *cb;
	void *user;
	struct rig_bus *bus;
	struct rig_produce *next;
};

struct rig_bus {
	struct imgo_loop *loop;
	bool down; /* not ready */
	bool full;
	bool hold; /* answers nothing until rig_bus_release */
	int err;   /* what it answers */
	struct rig_produce *held;
	/* the last push */
	unsigned pushes; /* calls */
	enum imgo_topic topic;
	size_t nusers, nrecords;
	char first_user[IMGO_ENVELOPE_KEY_MAX + 1], room[IMGO_ROOM_MAX + 1];
	char body[4096];
	size_t body_len;
	int32_t op;
	uint32_t speed;
	enum imgo_envelope_kind kind;
	struct imgo_msgid msgid;
};

__attribute__((unused)) static void rig_bus_answer(void *user)
{
	struct rig_produce *p = user;

	for (size_t i = 0; i < p->n; i++)
		p->records[i].err = p->bus->err;
	p->cb(p->bus->err, p->user);
	free(p);
}

__attribute__((unused)) static void rig_bus_note(struct rig_bus *bus, const struct imgo_bus_record *record)
{
	struct imgo_envelope *e;

	assert_int_equal(imgo_envelope_decode(&e, record->value.p, record->value.len), 0);
	bus->nusers += e->ntargets;
	bus->kind = e->kind;
	bus->op = e->op;
	bus->speed = e->speed;
	bus->msgid = e->msgid;
	bus->body_len = e->body.len;
	snprintf(bus->body, sizeof bus->body, "%.*s", (int)e->body.len, e->body.len ? e->body.p : "");
	snprintf(bus->room, sizeof bus->room, "%.*s", (int)e->room.len, e->room.len ? e->room.p : "");
	if (e->ntargets)
		snprintf(bus->first_user, sizeof bus->first_user, "%.*s", (int)e->targets[0].user.len,
			e->targets[0].user.p);
	free(e);
}

__attribute__((unused)) static int rig_bus_produce(void *impl, enum imgo_topic topic, struct imgo_bus_record *records,
	size_t n, imgo_bus_produce_cb *cb, void *user)
{
	struct rig_bus *bus = impl;
	struct rig_produce *p = malloc(sizeof *p);

	assert_non_null(p);
	*p = (struct rig_produce){records, n, cb, user, bus, NULL};
	bus->pushes++;
	bus->topic = topic;
	bus->nusers = 0;
	bus->nrecords = n;
	for (size_t i = 0; i < n; i++)
		rig_bus_note(bus, &records[i]);
	if (!bus->hold) {
		assert_int_equal(imgo_loop_post(bus->loop, rig_bus_answer, p), 0);
		return 0;
	}
	p->next = bus->held; /* the newest first: answers come in the wrong order */
	bus->held = p;
	return 0;
}

__attribute__((unused)) static void rig_bus_release(struct rig_bus *bus)
{
	while (bus->held) {
		struct rig_produce *p = bus->held;
		bus->held = p->next;
		rig_bus_answer(p);
	}
}

__attribute__((unused)) static void rig_bus_free(void *impl)
{
	rig_bus_release(impl);
}

__attribute__((unused)) static uint32_t rig_bus_epoch(void *impl)
{
	(void)impl;
	return 7;
}

__attribute__((unused)) static uint32_t rig_bus_partitions(void *impl, enum imgo_topic topic)
{
	(void)impl, (void)topic;
	return RIG_PARTITIONS;
}

__attribute__((unused)) static bool rig_bus_full(void *impl)
{
	return ((struct rig_bus *)impl)->full;
}

__attribute__((unused)) static bool rig_bus_ready(void *impl)
{
	return !((struct rig_bus *)impl)->down;
}

/* No consumers. */
__attribute__((unused)) static int rig_bus_subscribe(void *impl, enum imgo_topic topic, const char *group,
	const struct imgo_bus_consumer_ops *ops, void *user, void **consumer)
{
	(void)impl, (void)topic, (void)group, (void)ops, (void)user, (void)consumer;
	return IMGO_ENOTSUP;
}

__attribute__((unused)) static void rig_bus_unsubscribe(void *consumer)
{
	(void)consumer;
}

__attribute__((unused)) static int rig_bus_fetch(void *consumer, uint32_t partition, uint64_t from, size_t records_max,
	size_t bytes_max, unsigned wait_ms, imgo_bus_fetch_cb *cb, void *user)
{
	(void)consumer, (void)partition, (void)from, (void)records_max, (void)bytes_max, (void)wait_ms, (void)cb,
		(void)user;
	return IMGO_ENOTSUP;
}

__attribute__((unused)) static void rig_bus_done(void *consumer, uint32_t partition, uint64_t next)
{
	(void)consumer, (void)partition, (void)next;
}

__attribute__((unused)) static void rig_bus_released(void *consumer, uint32_t partition)
{
	(void)consumer, (void)partition;
}

__attribute__((unused)) static int rig_bus_query(
	void *impl, enum imgo_topic topic, uint32_t partition, uint64_t since_ms, imgo_bus_query_cb *cb, void *user)
{
	(void)impl, (void)topic, (void)partition, (void)since_ms, (void)cb, (void)user;
	return IMGO_ENOTSUP;
}

__attribute__((unused)) static const struct imgo_bus_ops rig_bus_ops = {sizeof(struct imgo_bus_ops), rig_bus_free,
	rig_bus_epoch, rig_bus_partitions, rig_bus_ready, rig_bus_produce, rig_bus_subscribe, rig_bus_unsubscribe,
	rig_bus_fetch, rig_bus_done, rig_bus_released, rig_bus_query, rig_bus_full};

#endif
