/* SPDX-License-Identifier: MIT */
/* Rooms under random joins, leaves, closes and casts, with walks cut into slices, against a model. */
#include "hub_test.h"

enum { CLIENTS = 60, ROOMS = 5, STEPS = 6000, DUE = 4096 };

/* What is due to a client: for each room, and for itself (index ROOMS), the numbers in order. */
struct due {
	int n, got;
	int numbers[DUE];
};

struct peer {
	int fd;
	struct imgo_conn conn;
	bool in[ROOMS], open;
	struct due due[ROOMS + 2];
	uint8_t buf[65536];
	size_t len;
};

static struct rig rig;
static struct peer peers[CLIENTS];
static int number, sent, received;

static void due_add(struct peer *p, int channel)
{
	struct due *d = &p->due[channel];

	assert_true(d->n < DUE);
	d->numbers[d->n++] = number;
	sent++;
}

/* "channel number": must be exactly the next one due on that channel. */
static void take_body(struct peer *p, const char *body)
{
	int channel, n;

	assert_int_equal(sscanf(body, "%d %d", &channel, &n), 2);
	struct due *d = &p->due[channel];
	if (d->got >= d->n)
		fail_msg("channel %d: %d was not due", channel, n);
	if (d->numbers[d->got] != n)
		fail_msg("channel %d: %d came, %d was due", channel, n, d->numbers[d->got]);
	d->got++;
	received++;
}

static void drain(struct peer *p)
{
	size_t at = 0;

	if (p->fd < 0)
		return;
	for (ssize_t n; (n = recv(p->fd, p->buf + p->len, sizeof p->buf - p->len, 0)) > 0;) {
		p->len += (size_t)n;
		struct imgo__packet packet;
		size_t need;
		ssize_t took;
		for (at = 0; (took = imgo__packet_decode(p->buf + at, p->len - at, 4096, &packet, &need)) > 0;
			at += (size_t)took) {
			char body[64];
			if (packet.op != IMGO_OP_PUSH)
				continue;
			snprintf(body, sizeof body, "%.*s", (int)packet.body.len, packet.body.p);
			take_body(p, body);
		}
		assert_true(took >= 0);
		memmove(p->buf, p->buf + at, p->len - at);
		p->len -= at;
	}
}

static void open_peer(struct peer *p)
{
	memset(p, 0, sizeof *p);
	p->fd = login(&rig, "u");
	p->conn = rig.conn;
	p->open = true;
}

static struct imgo_msg *numbered(int channel)
{
	char body[64];

	snprintf(body, sizeof body, "%d %d", channel, ++number);
	return message(body);
}

static const char *room_name(int room)
{
	static const char *const names[ROOMS] = {"zero", "one", "two", "three", "four"};

	return names[room];
}

static void cast_room(int room)
{
	struct imgo_msg *msg = numbered(room);
	int members = 0;

	for (int i = 0; i < CLIENTS; i++) {
		if (!peers[i].open || !peers[i].in[room])
			continue;
		due_add(&peers[i], room);
		members++;
	}
	assert_int_equal(imgo_hub_send_room(rig.hub, imgo_str(room_name(room)), &msg, 1), members);
	imgo_msg_unref(msg);
}

static void broadcast(void)
{
	struct imgo_msg *msg = numbered(ROOMS + 1);
	int n = 0;

	for (int i = 0; i < CLIENTS; i++) {
		if (!peers[i].open)
			continue;
		due_add(&peers[i], ROOMS + 1);
		n++;
	}
	assert_int_equal(imgo_hub_broadcast(rig.hub, &msg, 1), n);
	imgo_msg_unref(msg);
}

static void step(void)
{
	struct peer *p = &peers[rand() % CLIENTS];
	int room = rand() % ROOMS, what = rand() % 100;

	if (!p->open) {
		if (p->fd >= 0) { /* closed by us: all that was due must have come */
			drain(p);
			for (int i = 0; i < ROOMS + 2; i++)
				assert_int_equal(p->due[i].got, p->due[i].n);
			close(p->fd);
		}
		open_peer(p);
	} else if (what < 25) {
		assert_int_equal(imgo_hub_join(rig.hub, p->conn, imgo_str(room_name(room))), 0);
		p->in[room] = true;
	} else if (what < 45) {
		assert_int_equal(imgo_hub_leave(rig.hub, p->conn, imgo_str(room_name(room))), 0);
		p->in[room] = false;
	} else if (what < 80) {
		cast_room(room);
	} else if (what < 84) {
		broadcast();
	} else if (what < 90) {
		struct imgo_msg *msg = numbered(ROOMS);
		due_add(p, ROOMS);
		assert_int_equal(imgo_hub_send(rig.hub, p->conn, &msg, 1), 0);
		imgo_msg_unref(msg);
	} else if (what < 92) {
		assert_int_equal(imgo_hub_close(rig.hub, p->conn, IMGO_CLOSE_KICKED), 0);
		p->open = false;
		rig_turn(&rig);
		rig_turn(&rig);
	} else {
		imgo_loop_process(rig.loop);
	}
}

static void against_a_model(void **state)
{
	struct imgo_hub_options options = IMGO_HUB_OPTIONS_INIT;

	(void)state;
	for (unsigned seed = 1; seed <= 4; seed++) {
		options.walk_slice = seed * seed; /* 1, 4, 9, 16 connections a turn */
		rig_new(&rig, &options);
		srand(seed);
		number = sent = received = 0;
		for (int i = 0; i < CLIENTS; i++)
			open_peer(&peers[i]);
		for (int i = 0; i < STEPS; i++) {
			step();
			if (i % 20 == 0) {
				for (int k = 0; k < CLIENTS; k++)
					drain(&peers[k]);
			}
		}
		/* So long because a receiver that was not drained in time makes the kernel drop small segments (TcpExtPruneCalled),
		 * and what is sent again comes after 0.2, 0.4, … 6.4 s. */
		uint64_t end = rig_ms() + 60000;
		while (received < sent && rig_ms() < end) {
			rig_turn(&rig);
			for (int k = 0; k < CLIENTS; k++)
				drain(&peers[k]);
		}
		assert_int_equal(received, sent);
		for (int i = 0; i < CLIENTS; i++)
			close(peers[i].fd);
		rig_free(&rig);
	}
}

/* While a long walk goes on, other traffic is served between its slices, and a small room does not wait for
 * its end. */
static void between_slices(void **state)
{
	struct imgo_hub_options options = IMGO_HUB_OPTIONS_INIT;
	int fds[200];

	(void)state;
	options.walk_slice = 2;
	rig_new(&rig, &options);
	rig.grant_room = "big";
	for (int i = 0; i < 200; i++)
		fds[i] = login(&rig, "u");
	rig.grant_room = "small";
	int other = login(&rig, "other");
	struct imgo_msg *msg = message("x"), *note = message("y");
	assert_int_equal(imgo_hub_send_room(rig.hub, imgo_str("big"), &msg, 1), 200);
	imgo_loop_process(rig.loop);
	put_packet(other, 1, 2, 7, "");
	assert_int_equal(imgo_hub_send_room(rig.hub, imgo_str("small"), &note, 1), 1);
	for (int i = 0; i < 6; i++)
		imgo_loop_process(rig.loop);
	uint8_t b[64];
	assert_int_equal(recv(other, b, sizeof b, 0), 16 + 17);
	assert_int_equal(recv(fds[199], b, sizeof b, 0), -1); /* the walk is not there yet */
	/* what is sent behind it gathers into one batch, one write a connection */
	int64_t writes = rig_stat(&rig, "imgo_hub_writes_total");
	for (int i = 0; i < 10; i++)
		assert_int_equal(imgo_hub_send_room(rig.hub, imgo_str("big"), &note, 1), 200);
	for (int i = 0; i < 200; i++) {
		expect_packet(&rig, fds[i], 0, 5, 0, "x");
		for (int k = 0; k < 10; k++)
			expect_packet(&rig, fds[i], 0, 5, 0, "y");
	}
	assert_true(rig_stat(&rig, "imgo_hub_writes_total") - writes <= 400);
	imgo_msg_unref(msg);
	imgo_msg_unref(note);
	/* a hub that goes away in the middle of a walk */
	msg = message("last");
	assert_int_equal(imgo_hub_send_room(rig.hub, imgo_str("big"), &msg, 1), 200);
	imgo_loop_process(rig.loop);
	imgo_msg_unref(msg);
	imgo_hub_free(rig.hub);
	rig.freed = true;
	for (int i = 0; i < 200; i++) {
		expect_packet(&rig, fds[i], 0, 5, 0, "last");
		assert_int_equal(ending(&rig, fds[i], NULL), 0);
		close(fds[i]);
	}
	close(other);
	rig_free(&rig);
}

/* Messages that nobody waits for do not pile up without end. */
static void too_much_waits(void **state)
{
	struct imgo_hub_options options = IMGO_HUB_OPTIONS_INIT;

	(void)state;
	options.walk_slice = 1;
	rig_new(&rig, &options);
	int a = login(&rig, "a"), b = login(&rig, "b"), r = 0;
	static char body[64 * 1024];
	memset(body, 'x', sizeof body - 1);
	struct imgo_msg *msg = message(body);
	int n = 0;
	while ((r = imgo_hub_broadcast(rig.hub, &msg, 1)) == 2)
		n++;
	assert_int_equal(r, IMGO_ELIMIT);
	assert_true(n > 400 && n < 600);
	imgo_msg_unref(msg);
	close(a);
	close(b);
	rig_free(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(against_a_model),
		cmocka_unit_test(between_slices),
		cmocka_unit_test(too_much_waits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
