/* SPDX-License-Identifier: MIT */
/*
 * The topics, made or checked, and whether the broker answers.
 *
 * The check is a job on a worker: metadata of all topics; those of ours that are missing are created; then partitions,
 * settings and replicas are compared with what the design needs. Its outcome is
 *	OK      the bus is ready, consumers join their groups;
 *	RETRY   no answer, or just made: again soon, for ever;
 *	WRONG   a topic is not what it must be: said loudly, consumers fail, and it is looked at again every 5 s,
 *	        since a person may put it right.
 *
 * The probe is a metadata request. It runs when something looked like trouble, and every 500 ms while the broker does
 * not answer; only its failure makes the bus "down", so a connection that was merely closed does not.
 */
#include "bus/kafka.h"

#include <inttypes.h>
#include <stdio.h>

#include "bus/kafka_consume.h"

#define CASTS_KEEP_MS 600000u
#define SLACK_MS      3600000u /* kept longer than the TTL: for what is on its way */
#define MESSAGE_MAX   (IMGO_BUS_VALUE_MAX + IMGO_BUS_KEY_MAX + 4096)

enum outcome { OK, RETRY, WRONG };

struct setting {
	const char *name;
	char value[24];
};

struct check {
	struct imgo__work work;
	struct imgo__kafka *k;
	struct imgo__kclient *client;
	struct {
		const char *name;
		int partitions, replicas;
		struct setting settings[8]; /* those to make it with; an empty name ends them */
		bool missing;
	} topics[IMGO_TOPICS];
	int replication;
	uint64_t ttl_ms;
	enum outcome outcome;
	int topic; /* that is wrong */
	char text[200];
};

/* ---- on the worker ---- */

static void retry(struct check *c, const char *what, rd_kafka_resp_err_t err)
{
	c->outcome = RETRY;
	snprintf(c->text, sizeof c->text, "%s: %s", what, rd_kafka_err2str(err));
}

static bool look(struct check *c)
{
	const struct rd_kafka_metadata *md;
	rd_kafka_resp_err_t err = rd_kafka_metadata(c->client->rk, 1, NULL, &md, IMGO__KAFKA_RPC_MS);

	if (err) {
		retry(c, "metadata", err);
		return false;
	}
	for (int t = 0; t < IMGO_TOPICS; t++)
		c->topics[t].missing = true;
	for (int i = 0; i < md->topic_cnt; i++)
		for (int t = 0; t < IMGO_TOPICS; t++) {
			const struct rd_kafka_metadata_topic *m = &md->topics[i];
			if (strcmp(m->topic, c->topics[t].name) != 0)
				continue;
			c->topics[t].missing = false;
			c->topics[t].replicas = m->partition_cnt > 0 ? m->partitions[0].replica_cnt : 0;
			if (m->err || m->partition_cnt == 0) {
				retry(c, m->topic, m->err);
			} else if (m->partition_cnt != c->topics[t].partitions) {
				c->outcome = WRONG;
				c->topic = t;
				snprintf(c->text, sizeof c->text,
					"it has %d partitions, not %d: set the number it has, or a new epoch",
					m->partition_cnt, c->topics[t].partitions);
			}
		}
	rd_kafka_metadata_destroy(md);
	return c->outcome == OK;
}

static rd_kafka_NewTopic_t *new_topic(struct check *c, int t)
{
	char text[200];
	rd_kafka_NewTopic_t *topic =
		rd_kafka_NewTopic_new(c->topics[t].name, c->topics[t].partitions, c->replication, text, sizeof text);

	if (!topic) {
		snprintf(c->text, sizeof c->text, "%s", text);
		c->outcome = WRONG;
		c->topic = t;
		return NULL;
	}
	for (struct setting *s = c->topics[t].settings; s->name; s++)
		rd_kafka_NewTopic_set_config(topic, s->name, s->value);
	return topic;
}

/* Waits for the answer of an admin request. */
static rd_kafka_event_t *answer(rd_kafka_queue_t *queue, struct check *c, const char *what)
{
	rd_kafka_event_t *ev = rd_kafka_queue_poll(queue, 3 * (int)IMGO__KAFKA_RPC_MS);

	if (!ev || rd_kafka_event_error(ev)) {
		retry(c, what, ev ? rd_kafka_event_error(ev) : RD_KAFKA_RESP_ERR__TIMED_OUT);
		if (ev)
			rd_kafka_event_destroy(ev);
		return NULL;
	}
	return ev;
}

static void create(struct check *c, rd_kafka_queue_t *queue)
{
	rd_kafka_NewTopic_t *topics[IMGO_TOPICS];
	const rd_kafka_topic_result_t **results;
	rd_kafka_event_t *ev;
	size_t n = 0;

	for (int t = 0; t < IMGO_TOPICS; t++)
		if (c->topics[t].missing && (topics[n] = new_topic(c, t)))
			n++;
	if (n == 0)
		return;
	rd_kafka_CreateTopics(c->client->rk, topics, n, NULL, queue);
	rd_kafka_NewTopic_destroy_array(topics, n);
	ev = answer(queue, c, "create topics");
	if (!ev)
		return;
	retry(c, "topics were made", RD_KAFKA_RESP_ERR_NO_ERROR); /* look at them again */
	results = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(ev), &n);
	for (size_t i = 0; i < n; i++) {
		rd_kafka_resp_err_t err = rd_kafka_topic_result_error(results[i]);
		if (err && err != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
			snprintf(c->text, sizeof c->text, "cannot make %s: %s", rd_kafka_topic_result_name(results[i]),
				rd_kafka_topic_result_error_string(results[i]));
	}
	rd_kafka_event_destroy(ev);
}

static void compare(struct check *c, int t, const char *name, const char *value)
{
	const char *must = NULL;

	if (strcmp(name, "message.timestamp.type") == 0 && strcmp(value, "LogAppendTime") != 0)
		must = "LogAppendTime";
	else if (strcmp(name, "cleanup.policy") == 0 &&
		 strcmp(value, imgo__topic_compacted((enum imgo_topic)t) ? "compact" : "delete") != 0)
		must = imgo__topic_compacted((enum imgo_topic)t) ? "compact" : "delete";
	else if (t == IMGO_TOPIC_USERS && strcmp(name, "retention.ms") == 0 && strcmp(value, "-1") != 0 &&
		 strtoull(value, NULL, 10) < c->ttl_ms)
		must = "at least the TTL";
	else if (t == IMGO_TOPIC_USERS && strcmp(name, "retention.bytes") == 0 && strcmp(value, "-1") != 0)
		must = "-1";
	else if (strcmp(name, "max.message.bytes") == 0 && strtoull(value, NULL, 10) < 1u << 20)
		must = "at least 1048576";
	if (!must || c->outcome == WRONG)
		return;
	c->outcome = WRONG;
	c->topic = t;
	snprintf(c->text, sizeof c->text, "its %s is %s and must be %s", name, value, must);
}

static void compare_all(struct check *c, rd_kafka_event_t *ev)
{
	size_t n, m;
	const rd_kafka_ConfigResource_t **all =
		rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(ev), &n);

	for (size_t i = 0; i < n; i++) {
		const rd_kafka_ConfigEntry_t **entries;
		int t = 0;
		if (rd_kafka_ConfigResource_error(all[i])) {
			retry(c, "describe topics", rd_kafka_ConfigResource_error(all[i]));
			return;
		}
		while (t < IMGO_TOPICS - 1 && strcmp(c->topics[t].name, rd_kafka_ConfigResource_name(all[i])) != 0)
			t++;
		entries = rd_kafka_ConfigResource_configs(all[i], &m);
		for (size_t j = 0; j < m; j++)
			if (rd_kafka_ConfigEntry_value(entries[j]))
				compare(c, t, rd_kafka_ConfigEntry_name(entries[j]),
					rd_kafka_ConfigEntry_value(entries[j]));
	}
}

static void describe(struct check *c, rd_kafka_queue_t *queue)
{
	rd_kafka_ConfigResource_t *resources[IMGO_TOPICS];
	rd_kafka_event_t *ev;

	for (int t = 0; t < IMGO_TOPICS; t++)
		resources[t] = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, c->topics[t].name);
	rd_kafka_DescribeConfigs(c->client->rk, resources, IMGO_TOPICS, NULL, queue);
	rd_kafka_ConfigResource_destroy_array(resources, IMGO_TOPICS);
	ev = answer(queue, c, "describe topics");
	if (!ev)
		return;
	compare_all(c, ev);
	rd_kafka_event_destroy(ev);
}

/* The first message to a topic is slow unless its metadata is there (librdkafka #5032). */
static void warm_up(struct check *c)
{
	for (int t = 0; t < IMGO_TOPICS; t++) {
		const struct rd_kafka_metadata *md;
		if (rd_kafka_metadata(c->client->rk, 0, c->client->topics[t], &md, IMGO__KAFKA_RPC_MS) == 0)
			rd_kafka_metadata_destroy(md);
	}
}

static void check_run(struct imgo__work *work, void *thread)
{
	struct check *c = imgo__container_of(work, struct check, work);
	bool missing = false;
	rd_kafka_queue_t *queue;

	(void)thread;
	if (!look(c))
		return;
	queue = rd_kafka_queue_new(c->client->rk);
	for (int t = 0; t < IMGO_TOPICS; t++)
		missing |= c->topics[t].missing;
	if (missing)
		create(c, queue);
	else
		describe(c, queue);
	rd_kafka_queue_destroy(queue);
	if (c->outcome == OK)
		warm_up(c);
}

/* ---- on the loop ---- */

static void set_wrong(struct imgo__kafka *k, struct check *c)
{
	char text[240];

	snprintf(text, sizeof text, "topic %s: %s", c->topics[c->topic].name, c->text);
	if (strcmp(text, k->wrong) == 0)
		return;
	memcpy(k->wrong, text, sizeof text);
	imgo_log_event(imgo_loop_log(k->loop), IMGO_LOG_ERROR, "bus", "topic-wrong", "text=%s", text);
	/* The bus is not ready as a whole; every consumer is told at its next tick. */
}

static void set_ok(struct imgo__kafka *k, struct check *c)
{
	struct imgo_log *log = imgo_loop_log(k->loop);

	k->topics_ok = true;
	k->wrong[0] = 0;
	imgo_log_event(log, IMGO_LOG_INFO, "bus", "ready", "topic=%s partitions=%u replicas=%d",
		k->names[IMGO_TOPIC_USERS], k->partitions[IMGO_TOPIC_USERS], c->topics[IMGO_TOPIC_USERS].replicas);
	if (c->topics[IMGO_TOPIC_USERS].replicas < 2)
		imgo_log_event(log, IMGO_LOG_WARN, "bus", "one-replica",
			"topic=%s text=\"accepted pushes are on one broker: its power loss can cost the last "
			"seconds, "
			"its disk all of them\"",
			k->names[IMGO_TOPIC_USERS]);
	imgo__ktopics_answered(k);
	imgo__list_for(l, &k->consumers) imgo__kconsumer_start(imgo__container_of(l, struct imgo__kconsumer, link));
}

static void check_done(struct imgo_loop *loop, struct imgo__work *work)
{
	struct check *c = imgo__container_of(work, struct check, work);
	struct imgo__kafka *k = c->k;
	bool live = !work->canceled && !k->closing;

	k->depth++;
	k->checking = false;
	imgo__kclient_unref(c->client);
	if (live && c->outcome == OK)
		set_ok(k, c);
	else if (live && c->outcome == WRONG)
		set_wrong(k, c);
	else if (live)
		imgo_log_event(imgo_loop_log(loop), IMGO_LOG_INFO, "bus", "topics-wait", "text=%s", c->text);
	if (live && c->outcome != OK && !k->closing)
		imgo__timer_start(loop, &k->check, c->outcome == WRONG ? 5000 : 100);
	free(c);
	imgo__kafka_leave(k);
}

static struct setting *add(struct setting *s, const char *name, const char *fmt, uint64_t value)
{
	s->name = name;
	if (fmt)
		snprintf(s->value, sizeof s->value, "%s", fmt);
	else
		snprintf(s->value, sizeof s->value, "%" PRIu64, value);
	return s + 1;
}

/* Segments are what retention drops and compaction reads, so they are a fraction of the time. */
static void settings_of(struct imgo__kafka *k, enum imgo_topic t, struct setting *s)
{
	uint64_t keep = t == IMGO_TOPIC_CASTS ? CASTS_KEEP_MS : k->o.ttl_ms + SLACK_MS;

	s = add(s, "message.timestamp.type", "LogAppendTime", 0);
	s = add(s, "max.message.bytes", NULL, MESSAGE_MAX);
	s = add(s, "segment.ms", NULL, keep / 6 < 60000 ? 60000 : keep / 6);
	if (imgo__topic_compacted(t)) {
		s = add(s, "cleanup.policy", "compact", 0);
		s = add(s, "delete.retention.ms", NULL, keep);
	} else {
		s = add(s, "cleanup.policy", "delete", 0);
		s = add(s, "retention.ms", NULL, keep);
	}
	if (k->o.replication >= 3)
		add(s, "min.insync.replicas", NULL, 2);
}

static void check_start(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo__kafka *k = imgo__container_of(timer, struct imgo__kafka, check);
	struct check *c;

	if (k->checking || k->closing)
		return;
	c = imgo__zalloc(sizeof *c);
	if (!c) {
		imgo__timer_start(loop, timer, 1000);
		return;
	}
	c->work.run = check_run;
	c->work.done = check_done;
	c->k = k;
	c->client = imgo__kclient_ref(k->p.client);
	c->replication = k->o.replication;
	c->ttl_ms = k->o.ttl_ms;
	for (int t = 0; t < IMGO_TOPICS; t++) {
		c->topics[t].name = k->names[t];
		c->topics[t].partitions = (int)k->partitions[t];
		settings_of(k, (enum imgo_topic)t, c->topics[t].settings);
	}
	k->checking = true;
	if (imgo__pool_submit(k->pool, &c->work)) {
		k->checking = false;
		imgo__kclient_unref(c->client);
		free(c);
		imgo__timer_start(loop, timer, 1000);
	}
}

/* ---- the probe ---- */

struct probe {
	struct imgo__work work;
	struct imgo__kafka *k;
	struct imgo__kclient *client;
	bool answered;
};

static void probe_run(struct imgo__work *work, void *thread)
{
	struct probe *p = imgo__container_of(work, struct probe, work);
	const struct rd_kafka_metadata *md;

	(void)thread;
	p->answered = rd_kafka_metadata(p->client->rk, 0, p->client->topics[0], &md, 500) == 0;
	if (p->answered)
		rd_kafka_metadata_destroy(md);
}

void imgo__ktopics_answered(struct imgo__kafka *k)
{
	if (k->down)
		imgo_log_event(imgo_loop_log(k->loop), IMGO_LOG_WARN, "bus", "up", "brokers=%s", k->o.brokers);
	k->down = false;
	imgo_stat_set(k->up, k->topics_ok && !k->broken);
}

static void probe_done(struct imgo_loop *loop, struct imgo__work *work)
{
	struct probe *p = imgo__container_of(work, struct probe, work);
	struct imgo__kafka *k = p->k;

	k->probing = false;
	imgo__kclient_unref(p->client);
	if (!work->canceled && !k->closing && p->answered) {
		imgo__ktopics_answered(k);
	} else if (!work->canceled && !k->closing) {
		if (!k->down)
			imgo_log_event(imgo_loop_log(loop), IMGO_LOG_WARN, "bus", "down", "brokers=%s", k->o.brokers);
		k->down = true;
		imgo_stat_set(k->up, 0);
		imgo__timer_start(loop, &k->probe, 500);
	}
	free(p);
}

static void probe_start(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo__kafka *k = imgo__container_of(timer, struct imgo__kafka, probe);
	struct probe *p;

	if (k->probing || k->closing)
		return;
	p = imgo__zalloc(sizeof *p);
	if (!p) {
		imgo__timer_start(loop, timer, 500);
		return;
	}
	p->work.run = probe_run;
	p->work.done = probe_done;
	p->k = k;
	p->client = imgo__kclient_ref(k->p.client);
	k->probing = true;
	if (imgo__pool_submit(k->pool, &p->work)) {
		k->probing = false;
		imgo__kclient_unref(p->client);
		free(p);
		imgo__timer_start(loop, timer, 500);
	}
}

void imgo__ktopics_suspect(struct imgo__kafka *k)
{
	if (k->topics_ok && !imgo__timer_active(&k->probe))
		probe_start(k->loop, &k->probe);
}

void imgo__ktopics_start(struct imgo__kafka *k)
{
	imgo__timer_init(&k->check, check_start);
	imgo__timer_init(&k->probe, probe_start);
	check_start(k->loop, &k->check);
}
