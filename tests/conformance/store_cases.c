/* SPDX-License-Identifier: MIT */
/* What every store must do, one thing a case. */
#include "store_kit.h"

#define NEW       IMGO_APPEND_NEW
#define PRESENT   IMGO_APPEND_PRESENT
#define BELOW     IMGO_APPEND_BELOW
#define DUPLICATE IMGO_APPEND_DUPLICATE
#define EXPIRED   IMGO_APPEND_EXPIRED

/* ---- markers ---- */

static int step(struct check *c, enum imgo_marker_step step, uint64_t token, struct imgo_store_marker *call)
{
	*call = (struct imgo_store_marker){.epoch = c->epoch, .partition = c->partition, .step = step, .token = token};
	return check_marker(c, call);
}

static void markers(struct check *c)
{
	struct imgo_store_marker m;
	CHECK_EQ(c, step(c, IMGO_MARKER_LOOK, 0, &m), 0);
	CHECK_EQ(c, m.state, IMGO_MARKER_MISSING);
	CHECK_EQ(c, step(c, IMGO_MARKER_FINISH, 5, &m), IMGO_ESTALE);
	CHECK_EQ(c, step(c, IMGO_MARKER_BEGIN, 5, &m), 0);
	CHECK_EQ(c, m.state, IMGO_MARKER_BUILDING);
	CHECK_EQ(c, m.state_token, 5);
	CHECK_EQ(c, step(c, IMGO_MARKER_BEGIN, 6, &m), 0); /* stolen */
	CHECK_EQ(c, m.state_token, 6);
	CHECK_EQ(c, step(c, IMGO_MARKER_FINISH, 5, &m), IMGO_ESTALE);
	CHECK_EQ(c, step(c, IMGO_MARKER_LOOK, 0, &m), 0);
	CHECK_EQ(c, m.state, IMGO_MARKER_BUILDING);
	CHECK_EQ(c, m.state_token, 6);
	CHECK_EQ(c, step(c, IMGO_MARKER_FINISH, 6, &m), 0);
	CHECK_EQ(c, step(c, IMGO_MARKER_FINISH, 6, &m), 0); /* a repetition */
	CHECK_EQ(c, step(c, IMGO_MARKER_FINISH, 5, &m), IMGO_ESTALE);
	CHECK_EQ(c, step(c, IMGO_MARKER_BEGIN, 7, &m), 0); /* finds it complete: changes nothing */
	CHECK_EQ(c, m.state, IMGO_MARKER_COMPLETE);
	CHECK_EQ(c, m.state_token, 6);
	c->epoch++; /* of another epoch: its own */
	CHECK_EQ(c, step(c, IMGO_MARKER_LOOK, 0, &m), 0);
	CHECK_EQ(c, m.state, IMGO_MARKER_MISSING);
}

static void content_needs_the_marker(struct check *c)
{
	struct check_append a = {.user = "u", .text = "a", .id = 1};
	struct check_read r;
	check_append(c, &a);
	CHECK_EQ(c, a.err, IMGO_EREBUILDING);
	check_read(c, "u", "", 0, false, &r);
	CHECK_EQ(c, r.err, IMGO_EREBUILDING);
	check_read(c, "u", "", 0, true, &r);
	CHECK_EQ(c, r.err, IMGO_EREBUILDING);
	CHECK_EQ(c, check_ack(c, "u", "", 1, 0), IMGO_EREBUILDING);
	struct imgo_store_peek peek = {.user = check_user(c, "u"), .device = imgo_str("")};
	struct imgo_store_peek_many peeks = {.epoch = c->epoch, .partition = c->partition, .items = &peek, .nitems = 1};
	CHECK_EQ(c, check_peek_many(c, &peeks), IMGO_EREBUILDING);

	TRY(c, check_begin(c, 5));
	check_read(c, "u", "", 0, false, &r);
	CHECK_EQ(c, r.err, IMGO_EREBUILDING);
	check_append(c, &a);
	CHECK_EQ(c, a.err, IMGO_EREBUILDING);
	a.rebuild = 4;
	check_append(c, &a);
	CHECK_EQ(c, a.err, IMGO_ESTALE);
	CHECK_EQ(c, check_ack(c, "u", "", 1, 4), IMGO_ESTALE);
	a.rebuild = 5;
	check_append(c, &a);
	CHECK_EQ(c, a.err, 0);
	TRY(c, check_begin(c, 6)); /* stolen */
	check_append(c, &a);
	CHECK_EQ(c, a.err, IMGO_ESTALE);
	TRY(c, check_complete(c));
	check_append(c, &a); /* not building any more */
	CHECK_EQ(c, a.err, IMGO_ESTALE);
	TRY(c, check_reads(c, "u", "", 0, "1"));
}

static void a_rebuild_does_not_act_on_cursors(struct check *c)
{
	TRY(c, check_begin(c, 5));
	CHECK_EQ(c, check_ack(c, "u", "phone", 3, 5), 0);
	struct check_append a = {.user = "u", .text = "x", .rebuild = 5};
	for (a.id = 1; a.id <= 4; a.id++) {
		check_append(c, &a);
		CHECK_EQ(c, a.err, 0);
		CHECK_EQ(c, a.result, NEW); /* another device may still want it */
	}
	CHECK_EQ(c, check_ack(c, "u", "tablet", 2, 5), 0);
	TRY(c, check_complete(c));
	TRY(c, check_reads(c, "u", "phone", 0, "4"));
	TRY(c, check_reads(c, "u", "tablet", 0, "3 4"));
	TRY(c, check_appended(c, "u", 2, "x", BELOW));
	TRY(c, check_appended(c, "u", 3, "x", PRESENT));
}

/* ---- appending and reading ---- */

static void order(struct check *c)
{
	TRY(c, check_complete(c));
	struct check_append a = {.user = "u", .text = "one", .id = 3};
	check_append(c, &a);
	CHECK_EQ(c, a.err, 0);
	CHECK_EQ(c, a.result, NEW);
	CHECK_EQ(c, imgo_id_cmp(a.prev, (struct imgo_id){0, 0}), 0);
	a = (struct check_append){.user = "u", .text = "two", .id = 9};
	check_append(c, &a);
	CHECK_EQ(c, a.result, NEW);
	CHECK_EQ(c, imgo_id_cmp(a.prev, check_id(c, 3)), 0);
	check_append(c, &a);
	CHECK_EQ(c, a.result, PRESENT);
	CHECK_EQ(c, imgo_id_cmp(a.prev, check_id(c, 3)), 0);

	struct check_read r;
	check_read(c, "u", "", 0, false, &r);
	CHECK_EQ(c, r.err, 0);
	CHECK_EQ(c, r.n, 2);
	CHECK_EQ(c, r.ids[0], 3);
	CHECK_EQ(c, r.ids[1], 9);
	CHECK_EQ(c, r.epochs[1], c->epoch);
	CHECK(c, strcmp(r.texts[0], "one") == 0 && strcmp(r.texts[1], "two") == 0);
	CHECK(c, !r.more && !r.gap && r.missing == 0);
	CHECK_EQ(c, imgo_id_cmp(r.position, check_id(c, 9)), 0);
	CHECK_EQ(c, imgo_id_cmp(r.cursor, (struct imgo_id){0, 0}), 0);
	TRY(c, check_reads(c, "u", "", 3, "9"));
	TRY(c, check_reads(c, "u", "", 9, ""));
	TRY(c, check_reads(c, "other", "", 0, ""));
}

static void paging(struct check *c)
{
	TRY(c, check_complete(c));
	for (uint64_t id = 1; id <= 5; id++)
		TRY(c, check_appended(c, "u", id, "ten bytes.", NEW));
	struct check_read r;
	check_read_limits(c, "u", "", 0, 2, 1000, &r);
	CHECK_EQ(c, r.n, 2);
	CHECK(c, r.more);
	CHECK_EQ(c, r.position.id, 2);
	check_read_limits(c, "u", "", 2, 100, 25, &r);
	CHECK_EQ(c, r.n, 2);
	CHECK(c, r.more);
	CHECK_EQ(c, r.position.id, 4);
	check_read_limits(c, "u", "", 4, 100, 3, &r); /* one at least */
	CHECK_EQ(c, r.n, 1);
	CHECK(c, !r.more);
	CHECK_EQ(c, r.position.id, 5);
}

/* Several users, bodies shared and not, one user's items in one call. */
static void many(struct check *c)
{
	TRY(c, check_complete(c));
	enum { N = 100 };
	static struct imgo_store_body bodies[N];
	static struct imgo_store_append items[2 * N];
	static char users[N][IMGO_USER_MAX + 1];
	for (int i = 0; i < N; i++) {
		snprintf(users[i], sizeof users[i], "%llx-many-%d", (unsigned long long)c->base, i);
		bodies[i] = (struct imgo_store_body){.id = check_id(c, (uint64_t)i + 1),
			.at_ms = check_now(c),
			.msgid.b = {(uint8_t)i, 1},
			.data = imgo_str(users[i]),
			.users = 1};
	}
	bodies[0].users = N + 1; /* to all */
	for (int i = 0; i < N; i++)
		items[i] = (struct imgo_store_append){.user = imgo_str(users[i]), .body = &bodies[0]};
	for (int i = 1; i < N; i++) /* and to the first, one after the other */
		items[N + i - 1] = (struct imgo_store_append){.user = imgo_str(users[0]), .body = &bodies[i]};
	struct imgo_store_append_many call = {.epoch = c->epoch,
		.partition = c->partition,
		.bodies = bodies,
		.nbodies = N,
		.items = items,
		.nitems = 2 * N - 1};
	CHECK_EQ(c, check_append_many(c, &call), 0);
	for (int i = 0; i < 2 * N - 1; i++) {
		CHECK_EQ(c, items[i].result, NEW);
		CHECK_EQ(c, items[i].prev.id, i < N ? 0 : i - N + 1);
	}
	CHECK_EQ(c, check_append_many(c, &call), 0); /* a replay */
	for (int i = 0; i < 2 * N - 1; i++)
		CHECK_EQ(c, items[i].result, PRESENT);

	static struct imgo_store_read reads[N];
	for (int i = 0; i < N; i++)
		reads[i] = (struct imgo_store_read){
			.user = imgo_str(users[i]), .attach = true, .messages_max = 1000, .bytes_max = 1 << 20};
	struct imgo_store_read_many read = {.epoch = c->epoch, .partition = c->partition, .items = reads, .nitems = N};
	CHECK_EQ(c, check_read_many(c, &read, NULL, NULL), 0);
	for (int i = 0; i < N; i++)
		CHECK_EQ(c, reads[i].nmessages, i ? 1 : N);

	/* One acknowledges a shared body: the others keep it. */
	static struct imgo_store_ack acks[N];
	for (int i = 0; i < N - 1; i++)
		acks[i] = (struct imgo_store_ack){.user = imgo_str(users[i]), .id = check_id(c, N)};
	struct imgo_store_ack_many ack = {.epoch = c->epoch, .partition = c->partition, .items = acks, .nitems = N - 1};
	CHECK_EQ(c, check_ack_many(c, &ack), 0);
	CHECK_EQ(c, check_read_many(c, &read, NULL, NULL), 0);
	for (int i = 0; i < N; i++) {
		CHECK_EQ(c, reads[i].nmessages, i == N - 1 ? 1 : 0);
		CHECK_EQ(c, reads[i].missing, 0);
	}
}

static void bytes_of_all_kinds(struct check *c)
{
	TRY(c, check_complete(c));
	static const char odd[] = "a\r\nset x 0 0 1\r\n \0\xff%";
	char longest[IMGO_USER_MAX];
	memset(longest, 0xff, sizeof longest);
	memcpy(longest, &c->base, sizeof c->base);
	struct imgo_str users[3] = {imgo_strn(odd, sizeof odd), imgo_strn(longest, sizeof longest), imgo_str("\x01")};
	char *big = malloc(IMGO_BODY_MAX);
	CHECK(c, big != NULL);
	memset(big, '\n', IMGO_BODY_MAX);
	struct imgo_store_body bodies[3] = {
		{.id = check_id(c, 1), .at_ms = check_now(c), .msgid.b = {1}, .op = -7, .data = imgo_strn(NULL, 0)},
		{.id = check_id(c, INT64_MAX - 1),
			.at_ms = check_now(c),
			.msgid.b = {2},
			.op = INT32_MAX,
			.data = imgo_strn(odd, sizeof odd)},
		{.id = check_id(c, INT64_MAX),
			.at_ms = check_now(c),
			.msgid.b = {3},
			.op = INT32_MIN,
			.data = imgo_strn(big, IMGO_BODY_MAX)},
	};
	struct imgo_store_append items[9];
	for (int i = 0; i < 9; i++)
		items[i] = (struct imgo_store_append){.user = users[i / 3], .body = &bodies[i % 3]};
	struct imgo_store_append_many call = {
		.epoch = c->epoch, .partition = c->partition, .bodies = bodies, .nbodies = 3, .items = items, .nitems = 9};
	int err = check_append_many(c, &call);
	free(big);
	CHECK_EQ(c, err, 0);
	for (int u = 0; u < 3; u++) {
		struct imgo_store_read item = {.user = users[u],
			.device = imgo_strn(odd, sizeof odd),
			.attach = true,
			.messages_max = 2,
			.bytes_max = 1000};
		struct imgo_store_read_many read = {
			.epoch = c->epoch, .partition = c->partition, .items = &item, .nitems = 1};
		CHECK_EQ(c, check_read_many(c, &read, NULL, NULL), 0);
		CHECK_EQ(c, item.nmessages, 2);
		CHECK(c, item.more);
		item.after = check_id(c, INT64_MAX - 1);
		CHECK_EQ(c, check_read_many(c, &read, NULL, NULL), 0);
		CHECK_EQ(c, item.nmessages, 1);
	}
}

static void look_at_bytes(int err, void *user)
{
	struct imgo_store_read *item = user;
	bool ok = err == 0 && item->nmessages == 2;
	for (size_t i = 0; ok && i < 2; i++) {
		const struct imgo_store_message *m = &item->messages[i];
		ok = m->op == -3 + (int)i && m->at_ms != 0 && m->data.len == i * 5 &&
		     (i == 0 || memcmp(m->data.p, "\0\r\n\xff ", 5) == 0);
	}
	item->missing = ok ? 0 : 99; /* for the case to see */
}

static void bodies_come_back_whole(struct check *c)
{
	TRY(c, check_complete(c));
	struct imgo_store_body bodies[2] = {{.id = check_id(c, 4), .msgid.b = {1}, .op = -3, .at_ms = check_now(c)},
		{.id = check_id(c, 5), .msgid.b = {2}, .op = -2, .at_ms = check_now(c), .data = imgo_strn("\0\r\n\xff ", 5)}};
	struct imgo_store_append items[2] = {
		{.user = check_user(c, "u"), .body = bodies}, {.user = check_user(c, "u"), .body = bodies + 1}};
	struct imgo_store_append_many call = {
		.epoch = c->epoch, .partition = c->partition, .bodies = bodies, .nbodies = 2, .items = items, .nitems = 2};
	CHECK_EQ(c, check_append_many(c, &call), 0);
	struct imgo_store_read item = {.user = check_user(c, "u"), .messages_max = 9, .bytes_max = 999};
	struct imgo_store_read_many read = {.epoch = c->epoch, .partition = c->partition, .items = &item, .nitems = 1};
	CHECK_EQ(c, check_read_many(c, &read, look_at_bytes, &item), 0);
	CHECK_EQ(c, item.missing, 0);
}

static void duplicates(struct check *c)
{
	TRY(c, check_complete(c));
	struct check_append a = {.user = "u", .text = "x", .id = 1, .msgid = 50};
	check_append(c, &a);
	CHECK_EQ(c, a.result, NEW);
	a.id = 2;
	check_append(c, &a);
	CHECK_EQ(c, a.result, DUPLICATE);
	CHECK_EQ(c, check_ack(c, "u", "", 1, 0), 0); /* it need not be in the log any more */
	a.id = 3;
	check_append(c, &a);
	CHECK_EQ(c, a.result, DUPLICATE);
	a.user = "v"; /* of another user: its own */
	check_append(c, &a);
	CHECK_EQ(c, a.result, NEW);
	a = (struct check_append){
		.user = "u", .text = "x", .id = 4, .msgid = 50, .at_ms = check_now(c) + IMGO_STORE_TAGS_MS + 5000};
	check_append(c, &a); /* more than 5 minutes apart */
	CHECK_EQ(c, a.result, NEW);
	TRY(c, check_reads(c, "u", "", 0, "4"));
}

static void epochs(struct check *c)
{
	TRY(c, check_complete(c));
	TRY(c, check_appended(c, "u", 100, "old", NEW));
	TRY(c, check_appended(c, "u", 200, "old", NEW));
	c->epoch++;
	struct check_read r;
	check_read(c, "u", "", 0, false, &r);
	CHECK_EQ(c, r.err, IMGO_EREBUILDING);
	TRY(c, check_complete(c));
	struct check_append a = {.user = "u", .text = "new", .id = 7};
	check_append(c, &a);
	CHECK_EQ(c, a.err, 0);
	CHECK_EQ(c, a.result, NEW);
	CHECK_EQ(c, a.prev.id, 200);
	CHECK_EQ(c, a.prev.epoch, c->epoch - 1);
	TRY(c, check_reads(c, "u", "", 0, "100 200 7"));
	CHECK_EQ(c, check_ack(c, "u", "", 7, 0), 0);
	TRY(c, check_reads(c, "u", "", 0, ""));
}

/* ---- devices ---- */

static void cursors(struct check *c)
{
	TRY(c, check_complete(c));
	struct check_read r;
	check_read(c, "u", "a", 0, true, &r);
	check_read(c, "u", "b", 0, true, &r);
	CHECK_EQ(c, r.err, 0);
	for (uint64_t id = 1; id <= 4; id++)
		TRY(c, check_appended(c, "u", id, "x", NEW));
	CHECK_EQ(c, check_ack(c, "u", "a", 3, 0), 0);
	CHECK_EQ(c, check_ack(c, "u", "a", 1, 0), 0); /* forward only */
	TRY(c, check_reads(c, "u", "a", 0, "4"));
	TRY(c, check_reads(c, "u", "b", 0, "1 2 3 4"));
	TRY(c, check_reads(c, "u", "b", 2, "3 4"));
	TRY(c, check_appended(c, "u", 2, "x", PRESENT)); /* b wants it */
	CHECK_EQ(c, check_ack(c, "u", "b", 2, 0), 0);
	TRY(c, check_appended(c, "u", 2, "x", BELOW));
	TRY(c, check_appended(c, "u", 3, "x", PRESENT));
	TRY(c, check_reads(c, "u", "new", 0, "3 4")); /* one that is not known sees the whole log */

	struct imgo_store_peek peeks[3] = {{.user = check_user(c, "u"), .device = imgo_str("a")},
		{.user = check_user(c, "u"), .device = imgo_str("zz")}, {.user = check_user(c, "nobody")}};
	struct imgo_store_peek_many peek = {.epoch = c->epoch, .partition = c->partition, .items = peeks, .nitems = 3};
	CHECK_EQ(c, check_peek_many(c, &peek), 0);
	CHECK_EQ(c, peeks[0].head.id, 4);
	CHECK_EQ(c, peeks[0].cursor.id, 3);
	CHECK_EQ(c, peeks[0].nmessages, 2);
	CHECK_EQ(c, peeks[1].cursor.id, 0);
	CHECK_EQ(c, peeks[2].head.id, 0);

	CHECK_EQ(c, check_ack(c, "u", "a", 4, 0), 0);
	CHECK_EQ(c, check_ack(c, "u", "b", 4, 0), 0);
	CHECK_EQ(c, check_peek_many(c, &peek), 0);
	CHECK_EQ(c, peeks[0].head.id, 4); /* the floor */
	CHECK_EQ(c, peeks[0].nmessages, 0);
	struct check_append a = {.user = "u", .text = "x", .id = 6};
	check_append(c, &a);
	CHECK_EQ(c, a.prev.id, 4);
}

static void attaching(struct check *c)
{
	TRY(c, check_complete(c));
	TRY(c, check_appended(c, "u", 1, "x", NEW)); /* nobody was there */
	struct check_read r;
	check_read(c, "u", "a", 0, true, &r);
	CHECK_EQ(c, r.n, 1);
	CHECK_EQ(c, r.cursor.id, 0);
	CHECK_EQ(c, check_ack(c, "u", "a", 1, 0), 0);
	TRY(c, check_appended(c, "u", 2, "x", NEW));
	check_read(c, "u", "b", 0, true, &r); /* begins at the floor */
	CHECK_EQ(c, r.n, 1);
	CHECK_EQ(c, r.ids[0], 2);
	CHECK_EQ(c, r.cursor.id, 1);
	CHECK(c, !r.gap);
	CHECK_EQ(c, check_ack(c, "u", "a", 2, 0), 0);
	TRY(c, check_reads(c, "u", "b", 0, "2"));  /* kept for b */
	check_read(c, "u", "guest", 0, false, &r); /* only looks: nothing is kept for it */
	CHECK_EQ(c, check_ack(c, "u", "b", 2, 0), 0);
	TRY(c, check_reads(c, "u", "guest", 0, ""));
}

static void too_many_devices(struct check *c)
{
	TRY(c, check_complete(c));
	struct check_read r;
	char device[16];
	for (int i = 0; i < IMGO_STORE_DEVICES_MAX; i++) {
		snprintf(device, sizeof device, "d%d", i);
		check_read(c, "u", device, 0, true, &r);
		CHECK_EQ(c, r.err, 0);
	}
	for (uint64_t id = 1; id <= 3; id++)
		TRY(c, check_appended(c, "u", id, "x", NEW));
	for (int i = 1; i < IMGO_STORE_DEVICES_MAX; i++) {
		snprintf(device, sizeof device, "d%d", i);
		CHECK_EQ(c, check_ack(c, "u", device, 3, 0), 0);
	}
	TRY(c, check_reads(c, "u", "d0", 0, "1 2 3"));
	check_read(c, "u", "one more", 0, true, &r); /* one is forgotten */
	CHECK_EQ(c, r.err, 0);
	TRY(c, check_appended(c, "u", 4, "x", NEW));
	TRY(c, check_reads(c, "u", "one more", 3, "4"));
}

/* ---- limits ---- */

static void limit_of_messages(struct check *c)
{
	c->options.messages_max = 3;
	CHECK_EQ(c, check_open(c), 0);
	TRY(c, check_complete(c));
	struct check_read r;
	check_read(c, "u", "a", 0, true, &r);
	for (uint64_t id = 1; id <= 3; id++)
		TRY(c, check_appended(c, "u", id, "x", NEW));
	struct check_append a = {.user = "u", .text = "x", .id = 4};
	check_append(c, &a);
	CHECK_EQ(c, a.result, NEW);
	CHECK_EQ(c, a.dropped, 1);
	check_read(c, "u", "a", 0, false, &r);
	CHECK(c, r.gap);
	CHECK_EQ(c, r.n, 3);
	CHECK_EQ(c, r.ids[0], 2);
	check_read(c, "u", "a", 1, false, &r);
	CHECK(c, !r.gap);
	check_read(c, "u", "stranger", 0, false, &r); /* begins where the log does: missed nothing */
	CHECK(c, !r.gap);
	TRY(c, check_appended(c, "u", 1, "x", BELOW)); /* a replay */
}

static void limit_of_bytes(struct check *c)
{
	c->options.bytes_max = 25;
	CHECK_EQ(c, check_open(c), 0);
	TRY(c, check_complete(c));
	for (uint64_t id = 1; id <= 4; id++)
		TRY(c, check_appended(c, "u", id, "ten bytes.", NEW));
	TRY(c, check_reads(c, "u", "", 0, "3 4"));
	struct check_append a = {.user = "u", .text = "more than there is room for", .id = 5};
	check_append(c, &a);
	CHECK_EQ(c, a.result, NEW);
	CHECK_EQ(c, a.dropped, 2);
	TRY(c, check_reads(c, "u", "", 0, "5"));
}

static void expired_at_append(struct check *c)
{
	TRY(c, check_complete(c));
	struct check_append a = {.user = "u", .text = "x", .id = 1, .at_ms = check_now(c) - c->options.ttl_ms - 1000};
	check_append(c, &a);
	CHECK_EQ(c, a.err, 0);
	CHECK_EQ(c, a.result, EXPIRED);
	TRY(c, check_reads(c, "u", "", 0, ""));
	a = (struct check_append){.user = "u", .text = "x", .id = 2};
	check_append(c, &a);
	CHECK_EQ(c, a.result, NEW);
	CHECK(c, a.prev.id <= 1); /* a log that holds nothing may be gone, floor and all */
}

/* ---- calls ---- */

static void wrong_arguments(struct check *c)
{
	TRY(c, check_complete(c));
	char longest[IMGO_USER_MAX + 1] = "x";
	struct imgo_store_body body = {.id = check_id(c, 1)};
	struct imgo_store_append item = {.body = &body};
	struct imgo_store_append_many append = {
		.epoch = c->epoch, .partition = c->partition, .bodies = &body, .nbodies = 1, .items = &item, .nitems = 1};
	CHECK_EQ(c, check_append_many(c, &append), IMGO_EINVAL); /* no user */
	item.user = imgo_strn(longest, sizeof longest);
	CHECK_EQ(c, check_append_many(c, &append), IMGO_EINVAL);
	item.user = check_user(c, "u");
	body.id.id = 0;
	CHECK_EQ(c, check_append_many(c, &append), IMGO_EINVAL);
	body.id.id = 1;
	item.body = &body + 1;
	CHECK_EQ(c, check_append_many(c, &append), IMGO_EINVAL);
	struct check_read r;
	check_read_limits(c, "u", "", 0, 0, 100, &r);
	CHECK_EQ(c, r.err, IMGO_EINVAL);
	struct imgo_store_marker m = {.epoch = c->epoch, .step = IMGO_MARKER_BEGIN};
	CHECK_EQ(c, check_marker(c, &m), IMGO_EINVAL);
	struct imgo_store_token_many tokens = {.epoch = c->epoch};
	CHECK_EQ(c, check_token_get(c, &tokens, NULL, NULL), IMGO_EINVAL);
}

static void nothing_to_do(struct check *c)
{
	TRY(c, check_complete(c));
	struct imgo_store_append_many append = {.epoch = c->epoch, .partition = c->partition};
	CHECK_EQ(c, check_append_many(c, &append), 0);
	struct imgo_store_read_many read = {.epoch = c->epoch, .partition = c->partition};
	CHECK_EQ(c, check_read_many(c, &read, NULL, NULL), 0);
	struct imgo_store_ack_many ack = {.epoch = c->epoch, .partition = c->partition};
	CHECK_EQ(c, check_ack_many(c, &ack), 0);
	struct imgo_store_peek_many peek = {.epoch = c->epoch, .partition = c->partition};
	CHECK_EQ(c, check_peek_many(c, &peek), 0);
	struct imgo_store_token_many token = {.epoch = c->epoch, .partitions = 64};
	CHECK_EQ(c, check_token_put(c, &token), 0);
	CHECK_EQ(c, check_token_get(c, &token, NULL, NULL), 0);
}

static void count(int err, void *user)
{
	int *counts = user;
	counts[err == IMGO_ECANCELED]++;
}

static void freeing(struct check *c)
{
	TRY(c, check_complete(c));
	enum { N = 50 };
	static struct imgo_store_peek items[N];
	static struct imgo_store_peek_many calls[N];
	int counts[2] = {0, 0};
	for (int i = 0; i < N; i++) {
		items[i] = (struct imgo_store_peek){.user = imgo_str("u")};
		calls[i] = (struct imgo_store_peek_many){
			.epoch = c->epoch, .partition = c->partition, .items = &items[i], .nitems = 1};
		CHECK_EQ(c, imgo_store_peek_many(c->store, &calls[i], count, counts), 0);
	}
	check_close(c);
	CHECK_EQ(c, counts[0] + counts[1], N); /* each once, and by now */
}

struct free_inside {
	struct check *c;
	int counts[2];
};

static void free_it(int err, void *user)
{
	struct free_inside *f = user;
	count(err, f->counts);
	check_close(f->c);
}

static void freeing_inside_a_callback(struct check *c)
{
	TRY(c, check_complete(c));
	struct free_inside f = {.c = c};
	struct imgo_store_peek items[3];
	struct imgo_store_peek_many calls[3];
	for (int i = 0; i < 3; i++) {
		items[i] = (struct imgo_store_peek){.user = imgo_str("u")};
		calls[i] = (struct imgo_store_peek_many){
			.epoch = c->epoch, .partition = c->partition, .items = &items[i], .nitems = 1};
		CHECK_EQ(c, imgo_store_peek_many(c->store, &calls[i], free_it, &f), 0);
	}
	check_sleep(c, 100);
	CHECK_EQ(c, f.counts[0] + f.counts[1], 3);
}

static void forgetting(struct check *c)
{
	TRY(c, check_complete(c));
	TRY(c, check_appended(c, "u", 1, "x", NEW));
	int err = check_forget(c, c->partition);
	if (err == IMGO_ENOTSUP)
		return;
	CHECK_EQ(c, err, 0);
	struct check_read r;
	check_read(c, "u", "", 0, false, &r);
	CHECK_EQ(c, r.err, IMGO_EREBUILDING);
	TRY(c, check_complete(c));
	CHECK_EQ(c, check_forget(c, UINT32_MAX), 0);
	check_read(c, "u", "", 0, false, &r);
	CHECK_EQ(c, r.err, IMGO_EREBUILDING);
	TRY(c, check_complete(c));
	TRY(c, check_reads(c, "u", "", 0, ""));
	TRY(c, check_appended(c, "u", 1, "x", NEW));
	TRY(c, check_reads(c, "u", "", 0, "1"));
}

extern check_case_fn store_tokens, store_tokens_order, store_tokens_markers;

const struct check_case store_cases[] = {
	{"markers", markers},
	{"content-needs-the-marker", content_needs_the_marker},
	{"a-rebuild-does-not-act-on-cursors", a_rebuild_does_not_act_on_cursors},
	{"order", order},
	{"paging", paging},
	{"many", many},
	{"bytes-of-all-kinds", bytes_of_all_kinds},
	{"bodies-come-back-whole", bodies_come_back_whole},
	{"duplicates", duplicates},
	{"epochs", epochs},
	{"cursors", cursors},
	{"attaching", attaching},
	{"too-many-devices", too_many_devices},
	{"limit-of-messages", limit_of_messages},
	{"limit-of-bytes", limit_of_bytes},
	{"expired-at-append", expired_at_append},
	{"wrong-arguments", wrong_arguments},
	{"nothing-to-do", nothing_to_do},
	{"freeing", freeing},
	{"freeing-inside-a-callback", freeing_inside_a_callback},
	{"tokens", store_tokens},
	{"tokens-order", store_tokens_order},
	{"tokens-markers", store_tokens_markers},
	{"forgetting", forgetting},
	{NULL, NULL},
};

static void ttl(struct check *c)
{
	c->options.ttl_ms = 700;
	CHECK_EQ(c, check_open(c), 0);
	TRY(c, check_complete(c));
	struct check_read r;
	check_read(c, "u", "a", 0, true, &r);
	TRY(c, check_appended(c, "u", 1, "x", NEW));
	check_sleep(c, 400);
	TRY(c, check_appended(c, "u", 2, "x", NEW));
	TRY(c, check_reads(c, "u", "a", 0, "1 2"));
	check_sleep(c, 400);
	check_read(c, "u", "a", 0, false, &r);
	CHECK_EQ(c, r.n, 1);
	CHECK_EQ(c, r.ids[0], 2);
	CHECK(c, r.gap);
	TRY(c, check_appended(c, "u", 1, "x", BELOW));
	check_sleep(c, 1700); /* a sweep may have come by */
	check_read(c, "u", "a", 0, false, &r);
	CHECK_EQ(c, r.n, 0);
	CHECK(c, r.gap);
	CHECK_EQ(c, r.position.id, 2);
	check_read(c, "u", "a", 2, false, &r);
	CHECK(c, !r.gap);
	TRY(c, check_appended(c, "u", 3, "x", NEW));
	TRY(c, check_reads(c, "u", "a", 0, "3"));
}

extern check_case_fn store_tokens_expiry;

const struct check_case store_cases_time[] = {
	{"ttl", ttl},
	{"tokens-expiry", store_tokens_expiry},
	{NULL, NULL},
};
