/* SPDX-License-Identifier: MIT */
/* Closing and freeing from inside every callback, handles, limits, churn, and a process without descriptors.
 */
#include "hub_test.h"

static struct rig rig;

static int teardown(void **state)
{
	(void)state;
	rig_free(&rig);
	return 0;
}

static int setup(void **state)
{
	(void)state;
	rig_new(&rig, NULL);
	return 0;
}

/* ---- from inside callbacks ---- */

static bool free_it; /* else close the connection */

static void act(struct rig *r, struct imgo_conn conn)
{
	if (free_it && !r->freed) {
		imgo_hub_free(r->hub);
		r->freed = true;
		assert_int_equal(imgo_hub_close(r->hub, conn, IMGO_CLOSE_KICKED), IMGO_ESTALE);
		assert_int_equal(imgo_hub_broadcast(r->hub, NULL, 0), 0);
	} else if (!free_it) {
		imgo_hub_close(r->hub, conn, IMGO_CLOSE_KICKED);
	}
}

static void act_in_auth(struct rig *r)
{
	act(r, r->conn);
}

static void act_after_grant(struct rig *r)
{
	rig_grant(r, r->conn);
	act(r, r->conn);
}

static bool act_in_packet(struct rig *r, struct imgo_conn conn, const struct imgo_hub_packet *packet)
{
	(void)packet;
	act(r, conn);
	return false;
}

static void act_in_close(struct rig *r, struct imgo_conn conn, void *data)
{
	(void)data;
	act(r, conn);
}

static void act_in_rooms(struct rig *r, struct imgo_conn conn)
{
	act(r, conn);
}

static int act_in_room(struct rig *r, struct imgo_str room)
{
	(void)room;
	act(r, r->conn);
	return 0;
}

static void act_in_drain(struct rig *r, struct imgo_conn conn)
{
	act(r, conn);
}

/* A queue that forms and, when the client reads, drains. */
static void make_drain(int fd)
{
	static char body[200 * 1024];
	static uint8_t got[65536];

	memset(body, 'q', sizeof body - 1);
	struct imgo_msg *msg = message(body);
	for (int i = 0; i < 40 && rig.closes == 0 && !rig.freed; i++) {
		imgo_hub_send(rig.hub, rig.conn, &msg, 1);
		rig_turn(&rig);
		uint64_t queued = 0;
		if (imgo_hub_position(rig.hub, rig.conn, &queued, NULL) == 0 &&
			rig_stat(&rig, "imgo_hub_bytes_out_total") < (int64_t)queued)
			break;
	}
	imgo_msg_unref(msg);
	for (uint64_t end = rig_ms() + 3000; rig.drains == 0 && !rig.freed && rig_ms() < end;) {
		if (recv(fd, got, sizeof got, 0) <= 0)
			rig_turn(&rig);
	}
}

static void inside_callbacks(void **state)
{
	(void)state;
	for (int round = 0; round < 28; round++) {
		int which = round / 4, others = round % 2;
		free_it = round / 2 % 2;
		rig_new(&rig, NULL);
		int fds[3], fd;
		for (int i = 0; i < 3 * others; i++)
			fds[i] = login(&rig, "other");
		fd = which < 2 ? client(rig.tcp) : login(&rig, "t");
		rig.hook_auth = which == 0 ? act_in_auth : which == 1 ? act_after_grant : NULL;
		rig.hook_packet = which == 2 ? act_in_packet : NULL;
		rig.hook_close = which == 3 ? act_in_close : NULL;
		rig.hook_rooms = which == 4 ? act_in_rooms : NULL;
		rig.hook_drain = which == 5 ? act_in_drain : NULL;
		rig.hook_room = which == 6 ? act_in_room : NULL;
		uint8_t b[256];
		size_t n = which < 2 ? packet_bytes(b, 1, 7, 1, "t") : 0;
		n += packet_bytes(b + n, 1, 12, 2, "room");
		n += packet_bytes(b + n, 1, 2, 3, "");
		put(fd, b, n);
		if (which == 3)
			imgo_hub_close(rig.hub, rig.conn, IMGO_CLOSE_KICKED);
		if (which == 5)
			make_drain(fd);
		rig_until(&rig, rig.closes > 0);
		rig_for(&rig, 3);
		if (rig.freed)
			assert_int_equal(rig.closes, 1 + 3 * others);
		close(fd);
		for (int i = 0; i < 3 * others; i++)
			close(fds[i]);
		rig_free(&rig);
	}
	rig_new(&rig, NULL);
}

/* ---- handles ---- */

static void *closed_data;

static void note_data(struct rig *r, struct imgo_conn conn, void *data)
{
	(void)r, (void)conn;
	closed_data = data;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void handles(void **state)
{
	enum { N = 600 };
	static uint64_t seen[N];
	int data;

	(void)state;
	rig.hook_close = note_data;
	for (int i = 0; i < N; i++) {
		rig.data = &data;
		int fd = login(&rig, "t");
		struct imgo_conn conn = rig.conn;
		seen[i] = conn.h;
		assert_true(conn.h != 0);
		assert_ptr_equal(imgo_hub_data(rig.hub, conn), &data);
		assert_true(imgo_str_eq(imgo_hub_user(rig.hub, conn), imgo_str("t")));
		close(fd);
		rig_until(&rig, rig.closes == i + 1);
		assert_ptr_equal(closed_data, &data);
		assert_null(imgo_hub_data(rig.hub, conn));
		assert_int_equal(imgo_hub_join(rig.hub, conn, imgo_str("r")), IMGO_ESTALE);
		assert_int_equal(imgo_hub_user(rig.hub, conn).len, 0);
	}
	qsort(seen, N, sizeof seen[0], by_value);
	for (int i = 1; i < N; i++)
		assert_true(seen[i] != seen[i - 1]);
	assert_null(imgo_hub_data(rig.hub, (struct imgo_conn){0}));
	assert_null(imgo_hub_data(rig.hub, (struct imgo_conn){UINT64_MAX}));
}

static void grants(void **state)
{
	(void)state;
	rig.auth = RIG_LATER;
	int fd = client(rig.tcp);
	put_packet(fd, 1, 7, 1, "t");
	rig_until(&rig, rig.auths == 1);
	struct imgo_hub_grant grant = IMGO_HUB_GRANT_INIT;
	struct imgo_str rooms[2] = {imgo_str("a"), imgo_str("a")}, none = imgo_str("");
	struct imgo_msg *msg = message("early");
	assert_int_equal(imgo_hub_send(rig.hub, rig.conn, &msg, 1), IMGO_ESTALE);
	assert_int_equal(imgo_hub_broadcast(rig.hub, &msg, 1), 0);
	imgo_msg_unref(msg);
	assert_int_equal(imgo_hub_auth_finish(rig.hub, rig.conn, &grant), IMGO_EINVAL); /* no user */
	grant.user = imgo_str("u");
	grant.rooms = &none;
	grant.nrooms = 1;
	assert_int_equal(imgo_hub_auth_finish(rig.hub, rig.conn, &grant), IMGO_EINVAL);
	grant.rooms = rooms;
	grant.nrooms = 17;
	assert_int_equal(imgo_hub_auth_finish(rig.hub, rig.conn, &grant), IMGO_EINVAL);
	grant.nrooms = 2;
	assert_int_equal(imgo_hub_auth_finish(rig.hub, rig.conn, &grant), 0);
	assert_int_equal(imgo_hub_auth_finish(rig.hub, rig.conn, &grant), IMGO_EINVAL); /* twice */
	assert_int_equal(imgo_hub_auth_refuse(rig.hub, rig.conn, IMGO_CLOSE_DENIED), IMGO_ESTALE);
	assert_int_equal(imgo_hub_room_size(rig.hub, imgo_str("a")), 1);
	assert_int_equal(imgo_hub_join(rig.hub, rig.conn, imgo_str("")), IMGO_EINVAL);
	for (int i = 0; i < 15; i++) {
		char key[8];
		snprintf(key, sizeof key, "r%d", i);
		assert_int_equal(imgo_hub_join(rig.hub, rig.conn, imgo_str(key)), 0);
	}
	assert_int_equal(imgo_hub_join(rig.hub, rig.conn, imgo_str("one more")), IMGO_ELIMIT);
	assert_int_equal(imgo_hub_join(rig.hub, rig.conn, imgo_str("r3")), 0);
	expect_packet(&rig, fd, 1, 8, 1, "");
	close(fd);
}

/* ---- limits ---- */

static double cpu_seconds(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void no_descriptors(void **state)
{
	enum { N = 30 };
	struct rlimit old, few;
	int fds[N];

	(void)state;
	for (int i = 0; i < N; i++)
		fds[i] = client(rig.tcp);
	getrlimit(RLIMIT_NOFILE, &old);
	few = old;
	few.rlim_cur = (rlim_t)fds[N - 1] + 1 + 5;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	double before = cpu_seconds();
	rig_for(&rig, 500);
	assert_true(cpu_seconds() - before < 0.25); /* the turns of the test itself, not a spinning accept */
	assert_int_equal(rig_stat(&rig, "imgo_hub_accepted_total"), 5);
	assert_true(rig_stat(&rig, "imgo_hub_accept_pauses_total") >= 3);
	setrlimit(RLIMIT_NOFILE, &old);
	rig_until(&rig, rig_stat(&rig, "imgo_hub_accepted_total") == N); /* it goes on by itself */
	put_packet(fds[N - 1], 1, 7, 1, "t");
	expect_packet(&rig, fds[N - 1], 1, 8, 1, "");
	for (int i = 0; i < N; i++)
		close(fds[i]);
}

static void connection_limits(void **state)
{
	struct imgo_hub_options options = IMGO_HUB_OPTIONS_INIT;
	int silent[20];

	(void)state;
	rig_free(&rig);
	options.unauthenticated_max = 10;
	options.connections_max = 14;
	rig_new(&rig, &options);
	for (int i = 0; i < 20; i++)
		silent[i] = client(rig.tcp);
	rig_for(&rig, 50);
	assert_int_equal(rig_stat(&rig, "imgo_hub_connections"), 10);
	/* the longest silent make room, long before their deadline */
	uint64_t start = rig_ms();
	int good[15];
	for (int i = 0; i < 15; i++)
		good[i] = client(rig.tcp);
	for (int i = 0; i < 14; i++) {
		put_packet(good[i], 1, 7, 1, "t");
		if (i < 10)
			expect_packet(&rig, good[i], 1, 8, 1, "");
	}
	assert_true(rig_ms() - start < 3500);
	for (int i = 0; i < 20; i++)
		close(silent[i]);
	for (int i = 10; i < 14; i++)
		expect_packet(&rig, good[i], 1, 8, 1, "");
	(void)ending(&rig, good[14], NULL); /* over the limit */
	assert_true(rig_stat(&rig, "imgo_hub_refused_total{why=\"connections\"}") >= 1);
	for (int i = 0; i < 15; i++)
		close(good[i]);
}

/* ---- churn ---- */

static void churn(void **state)
{
	enum { N = 1000, STEPS = 6000 };
	static struct {
		int fd;
		bool in;
	} c[N];
	int open = 0, logins = 0;
	uint8_t b[64];
	size_t n = packet_bytes(b, 1, 7, 1, "token");

	(void)state;
	srand(3);
	rig.grant_room = "room";
	for (int i = 0; i < STEPS; i++) {
		int k = rand() % N;
		if (c[k].in) {
			if (rand() % 3 == 0) { /* some leave with unread data */
				struct imgo_msg *msg = message("x");
				imgo_hub_send_room(rig.hub, imgo_str("room"), &msg, 1);
				imgo_msg_unref(msg);
			}
			close(c[k].fd);
			open--;
		} else {
			c[k].fd = rand() % 4 ? client(rig.tcp) : client(rig.ws);
			put(c[k].fd, b, n);
			open++;
			logins++;
		}
		c[k].in = !c[k].in;
		if (i % 7 == 0)
			imgo_loop_process(rig.loop);
	}
	for (int i = 0; i < N; i++) {
		if (c[i].in)
			close(c[i].fd);
	}
	rig_until(&rig, rig_stat(&rig, "imgo_hub_connections") == 0 && rig_stat(&rig, "imgo_hub_accepted_total") == logins);
	struct imgo_hub_counts counts;
	imgo_hub_counts(rig.hub, &counts);
	assert_int_equal(counts.connections, 0);
	assert_int_equal(counts.authenticated, 0);
	assert_int_equal(counts.rooms, 0);
	assert_int_equal(counts.users, 0);
	assert_int_equal(rig.auths, rig.closes);
}

static void wrong_use(void **state)
{
	struct imgo_hub_ops ops = {.size = sizeof ops};
	struct imgo_hub *hub;
	struct imgo_error error;

	(void)state;
	assert_int_equal(imgo_hub_new(&hub, rig.loop, &ops, NULL, NULL, &error), IMGO_EINVAL);
	assert_int_equal(imgo_hub_listen(rig.hub, "nonsense", IMGO_HUB_TCP, NULL, &error), IMGO_EINVAL);
	char taken[32];
	snprintf(taken, sizeof taken, "127.0.0.1:%d", rig.tcp);
	assert_int_equal(imgo_hub_listen(rig.hub, taken, IMGO_HUB_TCP, NULL, &error), IMGO_EIO);
	assert_non_null(strstr(error.text, "in use"));
	assert_non_null(strstr(error.text, taken));
	imgo_hub_free(NULL);
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(imgo_hub_adopt_fd(rig.hub, pair[1], IMGO_HUB_TCP), 0);
	put_packet(pair[0], 1, 7, 1, "adopted");
	expect_packet(&rig, pair[0], 1, 8, 1, "");
	close(pair[0]);
	rig_until(&rig, rig.closes == 1);
	imgo_hub_stop_listening(rig.hub);
	rig_for(&rig, 2);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in in = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)rig.tcp), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof in), -1);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(inside_callbacks, NULL, teardown),
		cmocka_unit_test_setup_teardown(handles, setup, teardown),
		cmocka_unit_test_setup_teardown(grants, setup, teardown),
		cmocka_unit_test_setup_teardown(no_descriptors, setup, teardown),
		cmocka_unit_test_setup_teardown(connection_limits, setup, teardown),
		cmocka_unit_test_setup_teardown(churn, setup, teardown),
		cmocka_unit_test_setup_teardown(wrong_use, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
