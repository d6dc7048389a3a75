/* SPDX-License-Identifier: MIT */
#include "bus_kit.h"

#include <poll.h>
#include <time.h>

uint64_t kit_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void kit_turn(struct kit *kit)
{
	struct pollfd p = {imgo_loop_fd(kit->loop), POLLIN, 0};
	int timeout = imgo_loop_timeout_ms(kit->loop);

	poll(&p, 1, timeout < 0 || timeout > 20 ? 20 : timeout);
	imgo_loop_process(kit->loop);
}

void kit_sleep(struct kit *kit, uint64_t ms)
{
	uint64_t end = kit_now() + ms;

	while (kit_now() < end)
		kit_turn(kit);
}

void kit_open(struct kit *kit)
{
	int err = kit->backend->open(kit->loop, kit->scope, &kit->bus, kit->backend->user);

	if (err) {
		fprintf(stderr, "%s: open: %s\n", kit->backend->name, imgo_strerror(err));
		exit(1);
	}
	await(kit, imgo_bus_ready(kit->bus), 5);
}

struct put {
	struct imgo_bus_record *records;
	bool ended;
	int err;
};

static void put_ended(int err, void *user)
{
	struct put *put = user;

	put->ended = true;
	put->err = err;
}

int kit_put(struct kit *kit, enum imgo_topic topic, uint32_t partition, const char *key, const char *value,
	struct imgo_bus_record *out)
{
	struct imgo_bus_record r = {.partition = partition, .key = imgo_str(key), .value = imgo_str(value)};
	struct put put = {&r, false, 0};
	int err = imgo_bus_produce_many(kit->bus, topic, &r, 1, put_ended, &put);

	if (err)
		return err;
	check(kit, !put.ended);
	await(kit, put.ended, 5);
	check_int(kit, put.err, r.err);
	if (out)
		*out = r;
	return r.err;
}

void kit_put_many(struct kit *kit, uint32_t partition, const char *tag, unsigned first, unsigned n, unsigned batch)
{
	struct imgo_bus_record *r = calloc(n, sizeof *r);
	char(*text)[24] = calloc(n, 24);
	struct put *puts = calloc(n / batch + 1, sizeof *puts);
	unsigned calls = 0;

	for (unsigned i = 0; i < n; i++) {
		snprintf(text[i], 24, "%s%u", tag, first + i);
		r[i].partition = partition;
		r[i].value = imgo_str(text[i]);
	}
	for (unsigned at = 0; at < n; at += batch, calls++) {
		unsigned some = n - at < batch ? n - at : batch;
		check_int(kit, imgo_bus_produce_many(kit->bus, IMGO_TOPIC_USERS, r + at, some, put_ended, &puts[calls]), 0);
	}
	for (unsigned i = 0; i < calls; i++) {
		await(kit, puts[i].ended, 10);
		check_int(kit, puts[i].err, 0);
	}
	for (unsigned i = 1; i < n; i++)
		check(kit, r[i].offset > r[i - 1].offset);
	free(puts);
	free(text);
	free(r);
}

struct query {
	bool ended;
	int err;
	uint64_t begin, first, end;
};

static void query_ended(int err, uint64_t begin, uint64_t first, uint64_t end, void *user)
{
	*(struct query *)user = (struct query){true, err, begin, first, end};
}

int kit_query(struct kit *kit, enum imgo_topic topic, uint32_t partition, uint64_t since_ms, uint64_t *begin,
	uint64_t *first, uint64_t *end)
{
	struct query q = {.ended = false};
	int err = imgo_bus_query(kit->bus, topic, partition, since_ms, query_ended, &q);

	if (err)
		return err;
	check(kit, !q.ended);
	await(kit, q.ended, 5);
	*begin = q.begin;
	*first = q.first;
	*end = q.end;
	return q.err;
}

static void text(char *out, size_t size, struct imgo_str s)
{
	size_t n = s.len < size - 1 ? s.len : size - 1;

	if (n)
		memcpy(out, s.p, n);
	out[n] = 0;
}

static void keep(struct kit_con *con, uint32_t partition, const struct imgo_bus_record *r)
{
	struct kit_got *got;

	if (con->n == con->cap) {
		con->cap = con->cap ? con->cap * 2 : 64;
		con->got = realloc(con->got, con->cap * sizeof *con->got);
	}
	got = &con->got[con->n++];
	*got = (struct kit_got){.partition = partition, .offset = r->offset, .at_ms = r->at_ms};
	got->value_len = r->value.len;
	text(got->key, sizeof got->key, r->key);
	text(got->value, sizeof got->value, r->value);
}

static void fetched(int err, const struct imgo_bus_record *records, size_t n, uint64_t next, void *user)
{
	struct kit_part *part = user;
	struct kit_con *con = part->con;

	check(con->kit, part->fetching);
	part->fetching = false;
	con->n_calls++;
	con->n_canceled += err == IMGO_ECANCELED;
	con->n_timedout += err == IMGO_ETIMEDOUT;
	check(con->kit, (err == 0) == (n > 0));
	if (err == IMGO_ECANCELED)
		return;
	for (size_t i = 0; i < n; i++) {
		check(con->kit, i == 0 || records[i].offset > records[i - 1].offset);
		check(con->kit, records[i].offset >= part->next);
		keep(con, part->partition, &records[i]);
	}
	if (n > 0)
		check(con->kit, next > records[n - 1].offset);
	part->next = next;
	if (n > 0 && con->go && !con->keep_undone)
		imgo_bus_done(con->consumer, part->partition, next);
	if (con->go && part->mine)
		kit_fetch(con, part->partition, next);
}

void kit_fetch(struct kit_con *con, uint32_t partition, uint64_t from)
{
	struct kit_part *part = &con->parts[partition];

	part->next = from;
	part->fetching = true;
	check_int(con->kit,
		imgo_bus_fetch(con->consumer, partition, from, part->records_max, part->bytes_max, part->wait_ms,
			fetched, part),
		0);
}

void kit_pump(struct kit_con *con)
{
	con->go = true;
	for (uint32_t p = 0; p < BUS_PARTITIONS; p++)
		if (con->parts[p].mine && !con->parts[p].fetching)
			kit_fetch(con, p, con->parts[p].next);
}

static void assigned(uint32_t partition, uint64_t next, void *user)
{
	struct kit_con *con = user;
	struct kit_part *part = &con->parts[partition];

	check(con->kit, !part->mine);
	con->n_assigned++;
	part->mine = true;
	part->assigned = part->next = next;
	if (con->go)
		kit_fetch(con, partition, next);
}

static void revoked(uint32_t partition, bool lost, void *user)
{
	struct kit_con *con = user;
	struct kit_part *part = &con->parts[partition];

	check(con->kit, part->mine && !part->fetching);
	part->mine = false;
	con->n_revoked++;
	con->n_lost += lost;
	if (!con->hold)
		imgo_bus_released(con->consumer, partition);
}

static void failed(int err, const char *why, void *user)
{
	struct kit_con *con = user;

	check(con->kit, err < 0 && why && *why);
	con->failed = err;
	con->n_failed++;
}

void kit_join(struct kit *kit, struct kit_con *con, enum imgo_topic topic, const char *group)
{
	static const struct imgo_bus_consumer_ops ops = {assigned, revoked, failed};

	con->kit = kit;
	for (uint32_t p = 0; p < BUS_PARTITIONS; p++)
		con->parts[p] = (struct kit_part){con, p, false, false, 0, 0, 1000, 1 << 20, 1000};
	check_int(kit, imgo_bus_subscribe(&con->consumer, kit->bus, topic, group, &ops, con), 0);
}

void kit_leave(struct kit_con *con)
{
	imgo_bus_unsubscribe(con->consumer);
	con->consumer = NULL;
	for (uint32_t p = 0; p < BUS_PARTITIONS; p++) {
		check(con->kit, !con->parts[p].fetching);
		con->parts[p].mine = false;
	}
}

void kit_end(struct kit_con *con)
{
	if (con->consumer)
		kit_leave(con);
	free(con->got);
	*con = (struct kit_con){.kit = NULL};
}

unsigned kit_owned(const struct kit_con *con)
{
	unsigned n = 0;

	for (uint32_t p = 0; p < BUS_PARTITIONS; p++)
		n += con->parts[p].mine;
	return n;
}

size_t kit_count(struct kit_con *con, uint32_t partition)
{
	uint64_t last = 0;
	size_t n = 0;

	for (size_t i = 0; i < con->n; i++) {
		if (con->got[i].partition != partition)
			continue;
		check(con->kit, n == 0 || con->got[i].offset > last);
		last = con->got[i].offset;
		n++;
	}
	return n;
}

bool kit_has(const struct kit_con *con, const char *value)
{
	for (size_t i = 0; i < con->n; i++)
		if (strcmp(con->got[i].value, value) == 0)
			return true;
	return false;
}
