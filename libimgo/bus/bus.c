/* SPDX-License-Identifier: MIT */
/* The caller's door: checks arguments, then passes on to the backend's table. It holds no state of its own, so a
 * handle may be freed at once even when the backend has to wait for the end of the turn. */
#include <imgo/bus.h>

#include "base/mem.h"
#include "bus/bus.h"

struct imgo_bus {
	const struct imgo_bus_ops *ops;
	void *impl;
};

struct imgo_bus_consumer {
	struct imgo_bus *bus;
	enum imgo_topic topic;
	void *handle;
};

static bool ops_complete(const struct imgo_bus_ops *ops)
{
	return ops && ops->size >= sizeof *ops && ops->free && ops->epoch && ops->partitions && ops->ready &&
	       ops->produce_many && ops->subscribe && ops->unsubscribe && ops->fetch && ops->done && ops->released &&
	       ops->query;
}

int imgo_bus_new_custom(struct imgo_bus **out, struct imgo_loop *loop, const struct imgo_bus_ops *ops, void *impl)
{
	struct imgo_bus *bus;

	if (!out || !loop || !ops_complete(ops)) {
		if (ops && ops->size >= sizeof *ops && ops->free)
			ops->free(impl);
		return IMGO_EINVAL;
	}
	bus = imgo__zalloc(sizeof *bus);
	if (!bus) {
		ops->free(impl);
		return IMGO_ENOMEM;
	}
	bus->ops = ops;
	bus->impl = impl;
	*out = bus;
	return 0;
}

void imgo_bus_free(struct imgo_bus *bus)
{
	if (!bus)
		return;
	bus->ops->free(bus->impl);
	free(bus);
}

uint32_t imgo_bus_epoch(struct imgo_bus *bus)
{
	return bus->ops->epoch(bus->impl);
}

uint32_t imgo_bus_partitions(struct imgo_bus *bus, enum imgo_topic topic)
{
	return (unsigned)topic < IMGO_TOPICS ? bus->ops->partitions(bus->impl, topic) : 0;
}

bool imgo_bus_ready(struct imgo_bus *bus)
{
	return bus->ops->ready(bus->impl);
}

bool imgo_bus_full(struct imgo_bus *bus)
{
	return bus->ops->full && bus->ops->full(bus->impl);
}

static int record_check(const struct imgo_bus_record *r, enum imgo_topic topic, uint32_t partitions)
{
	if (r->partition >= partitions || (r->key.len && !r->key.p) || (r->value.len && !r->value.p))
		return IMGO_EINVAL;
	if (r->key.len == 0 && imgo__topic_compacted(topic))
		return IMGO_EINVAL;
	return r->key.len > IMGO_BUS_KEY_MAX || r->value.len > IMGO_BUS_VALUE_MAX ? IMGO_ELIMIT : 0;
}

int imgo_bus_produce_many(struct imgo_bus *bus, enum imgo_topic topic, struct imgo_bus_record *records, size_t n,
	imgo_bus_produce_cb *cb, void *user)
{
	uint32_t partitions = imgo_bus_partitions(bus, topic);

	if (!partitions || !records || n == 0 || !cb)
		return IMGO_EINVAL;
	for (size_t i = 0; i < n; i++) {
		int err = record_check(&records[i], topic, partitions);
		if (err)
			return err;
	}
	return bus->ops->produce_many(bus->impl, topic, records, n, cb, user);
}

int imgo_bus_query(struct imgo_bus *bus, enum imgo_topic topic, uint32_t partition, uint64_t since_ms,
	imgo_bus_query_cb *cb, void *user)
{
	if (partition >= imgo_bus_partitions(bus, topic) || !cb)
		return IMGO_EINVAL;
	return bus->ops->query(bus->impl, topic, partition, since_ms, cb, user);
}

int imgo_bus_subscribe(struct imgo_bus_consumer **out, struct imgo_bus *bus, enum imgo_topic topic, const char *group,
	const struct imgo_bus_consumer_ops *ops, void *user)
{
	struct imgo_bus_consumer *consumer;
	int err;

	if (!out || !imgo_bus_partitions(bus, topic) || !group || !*group || !ops || !ops->assigned || !ops->revoked ||
		!ops->failed)
		return IMGO_EINVAL;
	consumer = imgo__zalloc(sizeof *consumer);
	if (!consumer)
		return IMGO_ENOMEM;
	consumer->bus = bus;
	consumer->topic = topic;
	err = bus->ops->subscribe(bus->impl, topic, group, ops, user, &consumer->handle);
	if (err) {
		free(consumer);
		return err;
	}
	*out = consumer;
	return 0;
}

void imgo_bus_unsubscribe(struct imgo_bus_consumer *consumer)
{
	if (!consumer)
		return;
	consumer->bus->ops->unsubscribe(consumer->handle);
	free(consumer);
}

static bool partition_ok(struct imgo_bus_consumer *consumer, uint32_t partition)
{
	return partition < imgo_bus_partitions(consumer->bus, consumer->topic);
}

int imgo_bus_fetch(struct imgo_bus_consumer *consumer, uint32_t partition, uint64_t from, size_t records_max,
	size_t bytes_max, unsigned wait_ms, imgo_bus_fetch_cb *cb, void *user)
{
	if (!partition_ok(consumer, partition) || records_max == 0 || !cb)
		return IMGO_EINVAL;
	return consumer->bus->ops->fetch(consumer->handle, partition, from, records_max, bytes_max, wait_ms, cb, user);
}

void imgo_bus_done(struct imgo_bus_consumer *consumer, uint32_t partition, uint64_t next)
{
	if (partition_ok(consumer, partition))
		consumer->bus->ops->done(consumer->handle, partition, next);
}

void imgo_bus_released(struct imgo_bus_consumer *consumer, uint32_t partition)
{
	if (partition_ok(consumer, partition))
		consumer->bus->ops->released(consumer->handle, partition);
}
