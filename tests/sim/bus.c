/* SPDX-License-Identifier: MIT */
/*
 * A record log with consumer groups, that behaves as Kafka does: a record may be appended although its producer hears
 * nothing of it; a group moves partitions when its members change, and waits for the old owner, but not for ever; a member
 * that is silent for session_us is out, and may not know it yet; commits reach the broker a while after done().
 *
 * The log itself belongs to nobody; what a process holds is a door to it, which dies with the process.
 */
#include "sim.h"

#include "base/mem.h"

enum { COMMIT_MAX_US = SIM_SECOND, REVOKE_US = 2 * SIM_SECOND, GROUPS_MAX = 4, PARTITIONS_MAX = 8, MEMBERS_MAX = 8 };

struct record {
	struct imgo_str key, value;
	uint64_t at_ms;
};

struct log {
	struct record *records;
	size_t n, cap;
};

struct consumer;

struct group {
	enum imgo_topic topic;
	char name[64];
	struct consumer *members[MEMBERS_MAX];
	unsigned nmembers;
	struct consumer *owner[PARTITIONS_MAX];
	uint64_t committed[PARTITIONS_MAX];
	uint64_t revoke_until[PARTITIONS_MAX]; /* != 0: the owner is giving it back */
};

struct door {
	struct sim_process *process;
	struct imgo__list ops;       /* struct op: their callbacks are due */
	struct imgo__list consumers; /* struct consumer */
};

struct fetch {
	bool active;
	uint64_t from, until_us;
	size_t records_max;
	imgo_bus_fetch_cb *cb;
	void *user;
};

/* One member of a group. It outlives its door as long as the group has not noticed. */
struct consumer {
	struct imgo__list link; /* of the door */
	struct door *door;      /* NULL: the process is gone, or it has unsubscribed */
	struct group *group;
	const struct imgo_bus_consumer_ops *ops;
	void *user;
	bool mine[PARTITIONS_MAX], revoking[PARTITIONS_MAX]; /* as the process knows it */
	struct fetch fetches[PARTITIONS_MAX];
	uint64_t heard_us, told_us; /* words of the group arrive in order */
};

struct sim_bus_options sim_bus = {0, 0, 6 * SIM_SECOND};
static struct log logs[IMGO_TOPICS][PARTITIONS_MAX];
static struct group groups[GROUPS_MAX];
static unsigned ngroups;
static uint64_t down_until_us;
static struct imgo__list orphans; /* consumers without a door */

/* ---- the log ---- */

static uint32_t partitions_of(enum imgo_topic topic)
{
	return topic == IMGO_TOPIC_CASTS ? SIM_CASTS_PARTITIONS : SIM_PARTITIONS;
}

static struct imgo_str copy(struct imgo_str from)
{
	char *p = sim_alloc(from.len + 1);

	if (from.len)
		memcpy(p, from.p, from.len);
	return imgo_strn(p, from.len);
}

static uint64_t append(enum imgo_topic topic, uint32_t partition, struct imgo_str key, struct imgo_str value, uint64_t at_ms)
{
	struct log *log = &logs[topic][partition];

	if (log->n == log->cap) {
		log->cap = log->cap ? log->cap * 2 : 64;
		log->records = realloc(log->records, log->cap * sizeof *log->records);
		if (!log->records)
			abort();
	}
	log->records[log->n] = (struct record){copy(key), copy(value), at_ms};
	return log->n++;
}

uint64_t sim_bus_end(enum imgo_topic topic, uint32_t partition)
{
	return logs[topic][partition].n;
}

static uint64_t wall_ms(void)
{
	return 1700000000000u + sim_now_us / 1000;
}

static bool down(void)
{
	return sim_now_us < down_until_us;
}

void sim_bus_down(uint64_t until_us)
{
	sim_note("the bus is down for %llu ms", (unsigned long long)(until_us - sim_now_us) / 1000);
	down_until_us = until_us;
}

/* ---- groups ---- */

static void check_groups(void *unused);

static struct group *group_of(enum imgo_topic topic, const char *name)
{
	for (unsigned i = 0; i < ngroups; i++) {
		if (groups[i].topic == topic && strcmp(groups[i].name, name) == 0)
			return &groups[i];
	}
	if (ngroups == GROUPS_MAX)
		abort();
	memset(&groups[ngroups], 0, sizeof groups[ngroups]);
	groups[ngroups].topic = topic;
	snprintf(groups[ngroups].name, sizeof groups[ngroups].name, "%s", name);
	return &groups[ngroups++];
}

uint64_t sim_bus_committed(uint32_t partition)
{
	for (unsigned i = 0; i < ngroups; i++) {
		if (groups[i].topic == IMGO_TOPIC_USERS)
			return groups[i].committed[partition];
	}
	return 0;
}

/* A word of the group to a member, which it hears in a turn of its process. */
struct word {
	struct sim_call call;
	struct consumer *consumer;
	uint32_t partition;
	enum { ASSIGNED, REVOKED, LOST } what;
	uint64_t next;
};

static void fetch_end(struct consumer *consumer, uint32_t partition, int err)
{
	struct fetch fetch = consumer->fetches[partition];

	consumer->fetches[partition].active = false;
	if (fetch.active)
		fetch.cb(err, NULL, 0, fetch.from, fetch.user);
}

static void on_word(struct sim_call *call)
{
	struct word *word = (struct word *)call;
	struct consumer *consumer = word->consumer;
	uint32_t partition = word->partition;

	if (consumer->door && word->what == ASSIGNED) {
		consumer->mine[partition] = true;
		consumer->revoking[partition] = false;
		consumer->ops->assigned(partition, word->next, consumer->user);
	} else if (consumer->door && consumer->mine[partition]) {
		bool lost = word->what == LOST;
		consumer->revoking[partition] = true;
		fetch_end(consumer, partition, IMGO_ECANCELED);
		if (lost)
			consumer->mine[partition] = false;
		consumer->ops->revoked(partition, lost, consumer->user);
	}
	free(word);
}

static void tell(struct consumer *consumer, uint32_t partition, int what, uint64_t next)
{
	struct word *word;
	uint64_t at_us;

	if (!consumer->door)
		return;
	word = sim_alloc(sizeof *word);
	word->call.fn = on_word;
	word->consumer = consumer;
	word->partition = partition;
	word->what = what;
	word->next = next;
	at_us = sim_now_us + sim_between(100, 3000);
	consumer->told_us = at_us > consumer->told_us ? at_us : consumer->told_us + 1;
	sim_call_in(&word->call, consumer->door->process, consumer->told_us - sim_now_us);
}

static void give(struct group *group, uint32_t partition, struct consumer *to)
{
	group->owner[partition] = to;
	group->revoke_until[partition] = 0;
	if (to)
		tell(to, partition, ASSIGNED, group->committed[partition]);
}

static void balance(struct group *group)
{
	for (uint32_t p = 0; p < partitions_of(group->topic); p++) {
		struct consumer *want = group->nmembers ? group->members[p % group->nmembers] : NULL;
		struct consumer *owner = group->owner[p];
		if (owner == want && !group->revoke_until[p])
			continue;
		if (!owner) {
			give(group, p, want);
		} else if (!group->revoke_until[p]) {
			group->revoke_until[p] = sim_now_us + REVOKE_US;
			tell(owner, p, REVOKED, 0);
		} else if (sim_now_us >= group->revoke_until[p]) {
			tell(owner, p, LOST, 0);
			give(group, p, want);
		}
	}
}

static void member_out(struct group *group, struct consumer *consumer)
{
	unsigned i = 0;

	while (i < group->nmembers && group->members[i] != consumer)
		i++;
	if (i == group->nmembers)
		return;
	memmove(&group->members[i], &group->members[i + 1], (--group->nmembers - i) * sizeof group->members[0]);
	for (uint32_t p = 0; p < PARTITIONS_MAX; p++) {
		if (group->owner[p] != consumer)
			continue;
		tell(consumer, p, LOST, 0);
		group->owner[p] = NULL;
		group->revoke_until[p] = 0;
	}
}

static bool is_member(const struct group *group, const struct consumer *consumer)
{
	for (unsigned i = 0; i < group->nmembers; i++) {
		if (group->members[i] == consumer)
			return true;
	}
	return false;
}

/* The broker's clock: who is silent is out, who is heard again joins again, what is due moves. */
static void check_group(struct group *group)
{
	for (unsigned i = group->nmembers; i-- > 0;) {
		struct consumer *consumer = group->members[i];
		if (sim_now_us - consumer->heard_us > sim_bus.session_us) {
			sim_note("a member of %s is out", group->name);
			member_out(group, consumer);
		}
	}
	balance(group);
}

static void check_groups(void *unused)
{
	for (unsigned i = 0; i < ngroups && !down(); i++)
		check_group(&groups[i]);
	sim_at(200 * SIM_MS, check_groups, unused);
}

static void beat(struct door *door)
{
	imgo__list_for(link, &door->consumers)
	{
		struct consumer *consumer = imgo__container_of(link, struct consumer, link);
		consumer->heard_us = sim_now_us;
		if (!is_member(consumer->group, consumer) && consumer->group->nmembers < MEMBERS_MAX) {
			consumer->group->members[consumer->group->nmembers++] = consumer;
			balance(consumer->group);
		}
	}
}

/* ---- commits ---- */

struct commit {
	struct group *group;
	struct consumer *consumer;
	uint32_t partition;
	uint64_t next;
};

static void commit_now(struct group *group, struct consumer *consumer, uint32_t partition, uint64_t next)
{
	if (group->owner[partition] == consumer && next > group->committed[partition])
		group->committed[partition] = next;
}

static void on_commit(void *arg)
{
	struct commit *commit = arg;

	if (commit->consumer->door && down()) { /* librdkafka tries again */
		sim_at(200 * SIM_MS, on_commit, commit);
		return;
	}
	if (commit->consumer->door) /* a process that died before has not sent it */
		commit_now(commit->group, commit->consumer, commit->partition, commit->next);
	free(commit);
}

/* ---- what a process does ---- */

struct op {
	struct sim_call call; /* the answer */
	struct imgo__list link;
	struct door *door;
	enum imgo_topic topic;
	struct imgo_bus_record *records; /* the caller's */
	size_t n;
	imgo_bus_produce_cb *produced;
	imgo_bus_query_cb *queried;
	void *user;
	uint32_t partition;
	uint64_t since_ms;
};

static void op_gone(struct sim_call *call)
{
	free(call); /* its door has ended it */
}

static void op_start(struct op *op, struct door *door, void (*fn)(struct sim_call *), uint64_t delay_us)
{
	op->door = door;
	op->call.fn = fn;
	op->call.gone = op_gone;
	imgo__list_init(&op->link);
	imgo__list_insert(&door->ops, &op->link);
	sim_call_in(&op->call, door->process, delay_us);
}

static void on_produced(struct sim_call *call)
{
	struct op *op = (struct op *)call;
	int err = 0;

	imgo__list_remove(&op->link);
	for (size_t i = 0; i < op->n && err == 0; i++)
		err = op->records[i].err;
	op->produced(err, op->user);
	free(op);
}

/* What reaches the broker of a produce: copies, because its process may be dead by then. */
struct arrival {
	enum imgo_topic topic;
	uint32_t partition;
	struct imgo_str key, value;
};

static void on_late_append(void *arg)
{
	struct arrival *arrival = arg;

	append(arrival->topic, arrival->partition, arrival->key, arrival->value, wall_ms());
	free((void *)arrival->key.p);
	free((void *)arrival->value.p);
	free(arrival);
}

static void append_late(enum imgo_topic topic, const struct imgo_bus_record *record)
{
	struct arrival *arrival = sim_alloc(sizeof *arrival);

	*arrival = (struct arrival){topic, record->partition, copy(record->key), copy(record->value)};
	sim_at(sim_between(SIM_MS, 3 * SIM_SECOND), on_late_append, arrival);
}

static void produce_one(enum imgo_topic topic, struct imgo_bus_record *record)
{
	if (down() || sim_chance(sim_bus.lost_permille)) {
		record->err = sim_chance(500) ? IMGO_ETIMEDOUT : IMGO_EUNAVAILABLE;
	} else if (sim_chance(sim_bus.unsure_permille)) {
		/* The producer hears nothing; the record is there, or will be. */
		if (sim_chance(500))
			append(topic, record->partition, record->key, record->value, wall_ms());
		else
			append_late(topic, record);
		record->err = IMGO_ETIMEDOUT;
	} else {
		record->at_ms = wall_ms();
		record->offset = append(topic, record->partition, record->key, record->value, record->at_ms);
		record->err = 0;
	}
}

static int door_produce(void *impl, enum imgo_topic topic, struct imgo_bus_record *records, size_t n,
	imgo_bus_produce_cb *cb, void *user)
{
	struct op *op = sim_alloc(sizeof *op);

	op->topic = topic;
	op->records = records;
	op->n = n;
	op->produced = cb;
	op->user = user;
	for (size_t i = 0; i < n; i++)
		produce_one(topic, &records[i]);
	op_start(op, impl, on_produced, sim_between(300, 8000));
	return 0;
}

static void on_queried(struct sim_call *call)
{
	struct op *op = (struct op *)call;
	const struct log *log = &logs[op->topic][op->partition];
	uint64_t first = 0;

	imgo__list_remove(&op->link);
	while (first < log->n && log->records[first].at_ms < op->since_ms)
		first++;
	if (down())
		op->queried(IMGO_EUNAVAILABLE, 0, 0, 0, op->user);
	else
		op->queried(0, 0, first, log->n, op->user);
	free(op);
}

static int door_query(
	void *impl, enum imgo_topic topic, uint32_t partition, uint64_t since_ms, imgo_bus_query_cb *cb, void *user)
{
	struct op *op = sim_alloc(sizeof *op);

	op->topic = topic;
	op->partition = partition;
	op->since_ms = since_ms;
	op->queried = cb;
	op->user = user;
	op_start(op, impl, on_queried, sim_between(300, 5000));
	return 0;
}

static uint32_t door_epoch(void *impl)
{
	(void)impl;
	return 1;
}

static uint32_t door_partitions(void *impl, enum imgo_topic topic)
{
	(void)impl;
	return partitions_of(topic);
}

static bool door_ready(void *impl)
{
	(void)impl;
	return !down();
}

static int door_subscribe(void *impl, enum imgo_topic topic, const char *group, const struct imgo_bus_consumer_ops *ops,
	void *user, void **out)
{
	struct door *door = impl;
	struct consumer *consumer = sim_alloc(sizeof *consumer);

	consumer->door = door;
	consumer->group = group_of(topic, group);
	consumer->ops = ops;
	consumer->user = user;
	consumer->heard_us = sim_now_us;
	imgo__list_init(&consumer->link);
	imgo__list_insert(&door->consumers, &consumer->link);
	*out = consumer;
	return 0;
}

static void door_unsubscribe(void *handle)
{
	struct consumer *consumer = handle;
	bool polite = consumer->door->process->alive;

	for (uint32_t p = 0; p < PARTITIONS_MAX; p++)
		fetch_end(consumer, p, IMGO_ECANCELED);
	consumer->door = NULL;
	imgo__list_remove(&consumer->link);
	imgo__list_insert(&orphans, &consumer->link);
	if (polite) {
		member_out(consumer->group, consumer);
		balance(consumer->group);
	}
}

static void door_done(void *handle, uint32_t partition, uint64_t next)
{
	struct consumer *consumer = handle;
	struct commit *commit;

	if (!consumer->mine[partition])
		return;
	commit = sim_alloc(sizeof *commit);
	*commit = (struct commit){consumer->group, consumer, partition, next};
	sim_at(sim_between(SIM_MS, COMMIT_MAX_US), on_commit, commit);
	if (consumer->revoking[partition] && !down()) /* committed with the release */
		commit_now(consumer->group, consumer, partition, next);
}

static void door_released(void *handle, uint32_t partition)
{
	struct consumer *consumer = handle;
	struct group *group = consumer->group;

	consumer->mine[partition] = consumer->revoking[partition] = false;
	if (down() || group->owner[partition] != consumer)
		return;
	give(group, partition, group->nmembers ? group->members[partition % group->nmembers] : NULL);
}

static void answer_fetch(struct consumer *consumer, uint32_t partition)
{
	struct fetch *fetch = &consumer->fetches[partition], mine = *fetch;
	struct imgo_bus_record records[64];
	const struct log *log = &logs[consumer->group->topic][partition];
	size_t n = 0, max = 1 + sim_below(64);

	for (; n < max && n < mine.records_max && mine.from + n < log->n; n++) {
		const struct record *from = &log->records[mine.from + n];
		records[n] = (struct imgo_bus_record){partition, from->key, from->value, mine.from + n, from->at_ms, 0};
	}
	if (n == 0 && sim_now_us < mine.until_us)
		return;
	fetch->active = false;
	mine.cb(n ? 0 : IMGO_ETIMEDOUT, n ? records : NULL, n, mine.from + n, mine.user);
}

/* A member asks again and again, as librdkafka does; that is also how the group knows that it lives. */
struct poller {
	struct sim_call call;
	struct door *door;
};

static void on_poll(struct sim_call *call)
{
	struct poller *poller = (struct poller *)call;
	struct door *door = poller->door;

	if (!down()) {
		beat(door);
		imgo__list_for(link, &door->consumers)
		{
			struct consumer *consumer = imgo__container_of(link, struct consumer, link);
			for (uint32_t p = 0; p < partitions_of(consumer->group->topic); p++) {
				if (consumer->door && consumer->fetches[p].active)
					answer_fetch(consumer, p);
			}
		}
	}
	sim_call_in(call, door->process, sim_between(500, 15 * SIM_MS));
}

static int door_fetch(void *handle, uint32_t partition, uint64_t from, size_t records_max, size_t bytes_max,
	unsigned wait_ms, imgo_bus_fetch_cb *cb, void *user)
{
	struct consumer *consumer = handle;

	(void)bytes_max;
	if (!consumer->mine[partition] || consumer->revoking[partition])
		return IMGO_ESTALE;
	if (consumer->fetches[partition].active)
		return IMGO_EINVAL;
	consumer->fetches[partition] =
		(struct fetch){true, from, sim_now_us + wait_ms * (uint64_t)SIM_MS, records_max, cb, user};
	return 0;
}

static void door_free(void *impl)
{
	struct door *door = impl;
	struct imgo__list *link;

	while ((link = imgo__list_pop(&door->ops))) {
		struct op *op = imgo__container_of(link, struct op, link);
		if (op->produced)
			op->produced(IMGO_ECANCELED, op->user);
		else
			op->queried(IMGO_ECANCELED, 0, 0, 0, op->user);
		sim_call_cancel(&op->call);
	}
	free(door);
}

static const struct imgo_bus_ops door_ops = {
	.size = sizeof door_ops,
	.free = door_free,
	.epoch = door_epoch,
	.partitions = door_partitions,
	.ready = door_ready,
	.produce_many = door_produce,
	.subscribe = door_subscribe,
	.unsubscribe = door_unsubscribe,
	.fetch = door_fetch,
	.done = door_done,
	.released = door_released,
	.query = door_query,
};

int sim_bus_open(struct imgo_bus **out, struct sim_process *process)
{
	struct door *door = sim_alloc(sizeof *door);
	struct poller *poller = sim_alloc(sizeof *poller);

	door->process = process;
	imgo__list_init(&door->ops);
	imgo__list_init(&door->consumers);
	poller->call.fn = on_poll;
	poller->door = door;
	sim_call_in(&poller->call, process, sim_between(500, 5 * SIM_MS));
	return imgo_bus_new_custom(out, &process->loop, &door_ops, door);
}

/* ---- the run ---- */

void sim_bus_init(void)
{
	memset(logs, 0, sizeof logs);
	ngroups = 0;
	down_until_us = 0;
	imgo__list_init(&orphans);
	sim_at(200 * SIM_MS, check_groups, NULL);
}

void sim_bus_fini(void)
{
	struct imgo__list *link;

	for (int t = 0; t < IMGO_TOPICS; t++) {
		for (uint32_t p = 0; p < PARTITIONS_MAX; p++) {
			for (size_t i = 0; i < logs[t][p].n; i++) {
				free((void *)logs[t][p].records[i].key.p);
				free((void *)logs[t][p].records[i].value.p);
			}
			free(logs[t][p].records);
		}
	}
	while ((link = imgo__list_pop(&orphans)))
		free(imgo__container_of(link, struct consumer, link));
}
