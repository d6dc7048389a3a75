/* SPDX-License-Identifier: MIT */
#include "store_kit.h"

#include <stdarg.h>
#include <time.h>

/* ---- running ---- */

void check_fail(struct check *c, const char *file, int line, const char *what, long long a, long long b)
{
	if (!c->failure[0])
		snprintf(c->failure, sizeof c->failure, "%s:%d: %s (%lld, %lld)", file, line, what, a, b);
}

unsigned check_random(struct check *c, unsigned n)
{
	c->random = c->random * 1664525u + 1013904223u;
	return (c->random >> 8) % n;
}

static void stop(void *loop)
{
	imgo_loop_stop(loop);
}

void check_sleep(struct check *c, uint64_t ms)
{
	imgo_loop_after(c->loop, ms, stop, c->loop, NULL);
	imgo_loop_run(c->loop);
}

uint64_t check_now(struct check *c)
{
	return imgo_loop_wall_ms(c->loop);
}

int check_open(struct check *c)
{
	imgo_store_free(c->store);
	c->store = NULL;
	return c->open(&c->store, c->loop, &c->options, c->user);
}

void check_close(struct check *c)
{
	imgo_store_free(c->store);
	c->store = NULL;
}

static void run_case(struct check *c, const struct check_case *cs)
{
	if (imgo_loop_new(&c->loop, NULL, NULL)) {
		check_fail(c, __FILE__, __LINE__, "no loop", 0, 0);
		return;
	}
	int err = check_open(c);
	if (err)
		check_fail(c, __FILE__, __LINE__, "the store does not open", err, 0);
	else
		cs->fn(c);
	check_close(c);
	imgo_loop_free(c->loop);
}

int check_run(const struct check_case *cases, check_open_fn *open, void *user, const char *title, const char *only)
{
	static uint64_t counter;
	int failed = 0;
	if (!counter)
		counter = (uint64_t)time(NULL) * 1000;
	for (const struct check_case *cs = cases; cs->name; cs++) {
		if (only && !strstr(cs->name, only))
			continue;
		counter++;
		struct check c = {.open = open,
			.user = user,
			.options = (struct imgo_store_options)IMGO_STORE_OPTIONS_INIT,
			.epoch = (uint32_t)(counter & 0x3fffffff),
			.partition = (uint32_t)(counter % 61),
			.base = counter,
			.random = (unsigned)counter};
		run_case(&c, cs);
		printf("%s %s: %s%s%s\n", c.failure[0] ? "not ok" : "ok", title, cs->name, c.failure[0] ? " # " : "",
			c.failure);
		fflush(stdout);
		failed += c.failure[0] != 0;
	}
	return failed;
}

/* ---- calls that wait ---- */

struct wait {
	struct check *c;
	imgo_store_cb *look;
	void *user;
	int err;
	bool returned, done;
};

static void woken(int err, void *user)
{
	struct wait *w = user;
	if (!w->returned)
		check_fail(w->c, __FILE__, __LINE__, "a callback ran before its call returned", 0, 0);
	if (w->done)
		check_fail(w->c, __FILE__, __LINE__, "a callback ran twice", 0, 0);
	if (w->look)
		w->look(err, w->user);
	w->err = err;
	w->done = true;
	imgo_loop_stop(w->c->loop);
}

static int wait_for(struct wait *w, int err)
{
	w->returned = true;
	if (err)
		return err;
	while (!w->done)
		imgo_loop_run(w->c->loop);
	return w->err;
}

int check_append_many(struct check *c, struct imgo_store_append_many *call)
{
	struct wait w = {.c = c};
	return wait_for(&w, imgo_store_append_many(c->store, call, woken, &w));
}

int check_read_many(struct check *c, struct imgo_store_read_many *call, imgo_store_cb *look, void *user)
{
	struct wait w = {.c = c, .look = look, .user = user};
	return wait_for(&w, imgo_store_read_many(c->store, call, woken, &w));
}

int check_ack_many(struct check *c, struct imgo_store_ack_many *call)
{
	struct wait w = {.c = c};
	return wait_for(&w, imgo_store_ack_many(c->store, call, woken, &w));
}

int check_peek_many(struct check *c, struct imgo_store_peek_many *call)
{
	struct wait w = {.c = c};
	return wait_for(&w, imgo_store_peek_many(c->store, call, woken, &w));
}

int check_marker(struct check *c, struct imgo_store_marker *call)
{
	struct wait w = {.c = c};
	return wait_for(&w, imgo_store_marker(c->store, call, woken, &w));
}

int check_token_put(struct check *c, struct imgo_store_token_many *call)
{
	struct wait w = {.c = c};
	return wait_for(&w, imgo_store_token_put(c->store, call, woken, &w));
}

int check_token_get(struct check *c, struct imgo_store_token_many *call, imgo_store_cb *look, void *user)
{
	struct wait w = {.c = c, .look = look, .user = user};
	return wait_for(&w, imgo_store_token_get(c->store, call, woken, &w));
}

int check_forget(struct check *c, uint32_t partition)
{
	struct wait w = {.c = c};
	return wait_for(&w, imgo_store_forget(c->store, c->epoch, partition, woken, &w));
}

/* ---- one user at a time ---- */

struct imgo_id check_id(struct check *c, uint64_t id)
{
	return (struct imgo_id){id ? c->epoch : 0, id};
}

struct imgo_str check_user(struct check *c, const char *name)
{
	static char names[16][IMGO_USER_MAX + 1];
	static unsigned at;
	char *out = names[at++ % 16];
	snprintf(out, sizeof names[0], "%llx-%s", (unsigned long long)c->base, name);
	return imgo_str(out);
}

void check_begin(struct check *c, uint64_t token)
{
	struct imgo_store_marker call = {
		.epoch = c->epoch, .partition = c->partition, .step = IMGO_MARKER_BEGIN, .token = token};
	CHECK_EQ(c, check_marker(c, &call), 0);
	CHECK_EQ(c, call.state, IMGO_MARKER_BUILDING);
}

void check_complete(struct check *c)
{
	TRY(c, check_begin(c, 77));
	struct imgo_store_marker call = {
		.epoch = c->epoch, .partition = c->partition, .step = IMGO_MARKER_FINISH, .token = 77};
	CHECK_EQ(c, check_marker(c, &call), 0);
	CHECK_EQ(c, call.state, IMGO_MARKER_COMPLETE);
}

static struct imgo_msgid msgid_of(struct check *c, uint64_t n)
{
	struct imgo_msgid msgid;
	memset(&msgid, 0, sizeof msgid);
	memcpy(msgid.b, &n, sizeof n);
	memcpy(msgid.b + 8, &c->base, 8);
	return msgid;
}

void check_append(struct check *c, struct check_append *append)
{
	struct imgo_store_body body = {.id = check_id(c, append->id),
		.msgid = msgid_of(c, append->msgid ? append->msgid : append->id),
		.op = 5,
		.users = append->users,
		.at_ms = append->at_ms ? append->at_ms : check_now(c),
		.data = imgo_str(append->text)};
	struct imgo_store_append item = {.user = check_user(c, append->user), .body = &body};
	struct imgo_store_append_many call = {.epoch = c->epoch,
		.partition = c->partition,
		.rebuild_token = append->rebuild,
		.bodies = &body,
		.nbodies = 1,
		.items = &item,
		.nitems = 1};
	append->err = check_append_many(c, &call);
	append->result = item.result;
	append->prev = item.prev;
	append->dropped = item.dropped;
}

void check_appended(struct check *c, const char *user, uint64_t id, const char *text, enum imgo_append_result expected)
{
	struct check_append append = {.user = user, .text = text, .id = id};
	check_append(c, &append);
	CHECK_EQ(c, append.err, 0);
	CHECK_EQ(c, append.result, expected);
}

struct look {
	struct check_read *out;
	const struct imgo_store_read *item;
};

static void copy_result(int err, void *user)
{
	struct look *look = user;
	struct check_read *out = look->out;
	const struct imgo_store_read *item = look->item;
	if (err)
		return;
	for (size_t i = 0; i < item->nmessages && i < 64; i++) {
		const struct imgo_store_message *m = &item->messages[i];
		out->ids[i] = m->id.id;
		out->epochs[i] = m->id.epoch;
		out->lens[i] = m->data.len;
		snprintf(out->texts[i], sizeof out->texts[i], "%.*s", (int)(m->data.len < 15 ? m->data.len : 15),
			m->data.p ? m->data.p : "");
	}
	out->n = item->nmessages;
	out->more = item->more;
	out->gap = item->gap;
	out->missing = item->missing;
	out->position = item->position;
	out->cursor = item->cursor;
}

static void read_with(struct check *c, struct imgo_store_read *item, struct check_read *out)
{
	struct imgo_store_read_many call = {.epoch = c->epoch, .partition = c->partition, .items = item, .nitems = 1};
	struct look look = {out, item};
	memset(out, 0, sizeof *out);
	out->err = check_read_many(c, &call, copy_result, &look);
}

void check_read(struct check *c, const char *user, const char *device, uint64_t after, bool attach, struct check_read *out)
{
	struct imgo_store_read item = {.user = check_user(c, user),
		.device = imgo_str(device),
		.after = check_id(c, after),
		.attach = attach,
		.messages_max = 64,
		.bytes_max = 1 << 20};
	read_with(c, &item, out);
}

void check_read_limits(struct check *c, const char *user, const char *device, uint64_t after, uint32_t messages_max,
	size_t bytes_max, struct check_read *out)
{
	struct imgo_store_read item = {.user = check_user(c, user),
		.device = imgo_str(device),
		.after = check_id(c, after),
		.messages_max = messages_max,
		.bytes_max = bytes_max};
	read_with(c, &item, out);
}

void check_reads(struct check *c, const char *user, const char *device, uint64_t after, const char *ids)
{
	struct check_read r;
	char got[1024] = "";
	check_read(c, user, device, after, false, &r);
	CHECK_EQ(c, r.err, 0);
	for (size_t i = 0, at = 0; i < r.n; i++)
		at += (size_t)snprintf(got + at, sizeof got - at, "%s%llu", i ? " " : "", (unsigned long long)r.ids[i]);
	if (strcmp(got, ids) != 0) {
		snprintf(c->failure, sizeof c->failure, "user %s device \"%s\": read \"%.200s\", expected \"%.200s\"",
			user, device, got, ids);
	}
}

int check_ack(struct check *c, const char *user, const char *device, uint64_t id, uint64_t rebuild)
{
	struct imgo_store_ack item = {.user = check_user(c, user), .device = imgo_str(device), .id = check_id(c, id)};
	struct imgo_store_ack_many call = {
		.epoch = c->epoch, .partition = c->partition, .items = &item, .nitems = 1, .rebuild_token = rebuild};
	return check_ack_many(c, &call);
}
