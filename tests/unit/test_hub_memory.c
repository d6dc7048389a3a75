/* SPDX-License-Identifier: MIT */
/* Each allocation of a whole session fails once: nothing crashes or leaks, clients are closed at worst, and
 * the hub goes on. */
#include "hub_test.h"

#include "base/mem.h"

static struct rig rig;

/* The session's clients do not insist on anything: they may be closed at every point. */
static void session(void)
{
	uint8_t b[2048];
	size_t n = packet_bytes(b, 2, 7, 1, "{\"token\":\"a\",\"device\":\"d\",\"rooms\":[\"r\"],\"accepts\":[5]}");
	int tcp = client(rig.tcp), ws = client(rig.ws);
	struct imgo_msg *two[2] = {NULL, NULL}, *other = NULL;

	n += packet_bytes(b + n, 1, 12, 2, "one");
	n += packet_bytes(b + n, 1, 20, 3, "two");
	n += packet_bytes(b + n, 1, 14, 4, "7");
	n += packet_bytes(b + n, 1, 16, 4, "7");
	n += packet_bytes(b + n, 1, 4, 4, "echo");
	put(tcp, b, n - 3); /* a part is kept */
	put(ws, upgrade_request, sizeof upgrade_request - 1);
	n = frame_bytes(b, IMGO__WS_TEXT, true, "{\"ver\":1,\"op\":7,\"body\":\"w\"}", 28);
	n += frame_bytes(b + n, IMGO__WS_TEXT, false, "{\"op\":12,", 9);
	n += frame_bytes(b + n, IMGO__WS_CONT, true, "\"body\":\"one\"}", 13);
	put(ws, b, n);
	rig_for(&rig, 3);
	(void)!send(tcp, "cho", 3, MSG_NOSIGNAL);
	rig_for(&rig, 2);
	if (imgo_msg_new(&two[0], 5, (struct imgo_id){1, 2}, "x", 1) == 0 &&
		imgo_msg_new(&two[1], 5, (struct imgo_id){1, 3}, "y", 1) == 0 &&
		imgo_msg_new(&other, 6, (struct imgo_id){1, 4}, "z", 1) == 0) {
		struct imgo_msg *mixed[3] = {two[0], other, two[1]};
		(void)imgo_hub_send_room(rig.hub, imgo_str("one"), two, 2);
		(void)imgo_hub_broadcast(rig.hub, two, 1);
		(void)imgo_hub_send_user(rig.hub, imgo_str("a"), two, 2);
		(void)imgo_hub_send(rig.hub, rig.conn, two, 1);
		(void)imgo_hub_join(rig.hub, rig.conn, imgo_str("three"));
		rig_for(&rig, 2);
		(void)imgo_hub_broadcast(rig.hub, mixed, 3);
		rig_for(&rig, 2);
		(void)imgo_hub_send(rig.hub, rig.conn, mixed, 3);
		(void)imgo_hub_close(rig.hub, rig.conn, IMGO_CLOSE_KICKED);
	}
	imgo_msg_unref(two[0]);
	imgo_msg_unref(two[1]);
	imgo_msg_unref(other);
	rig_for(&rig, 2);
	close(tcp);
	close(ws);
}

static void grant_if_possible(struct rig *r)
{
	struct imgo_hub_grant grant = IMGO_HUB_GRANT_INIT;

	grant.user = imgo_str(r->token);
	grant.ver = r->ver;
	if (r->has_accepts) {
		grant.accepts = r->accepts;
		grant.naccepts = r->naccepts;
	}
	int err = imgo_hub_auth_finish(r->hub, r->conn, &grant);
	assert_true(err == 0 || err == IMGO_ENOMEM);
}

static void every_allocation(void **state)
{
	int n;

	(void)state;
	for (n = 0; n < 1000; n++) {
		rig_new(&rig, NULL);
		rig.hook_auth = grant_if_possible;
		imgo__mem_fail_after(n);
		session();
		bool struck = imgo__mem_fail_after(-1) < 0;
		rig_until(&rig, rig_stat(&rig, "imgo_hub_connections") == 0);
		assert_int_equal(rig.auths, rig.closes);
		int fd = login(&rig, "again");
		close(fd);
		rig_until(&rig, rig_stat(&rig, "imgo_hub_connections") == 0);
		struct imgo_hub_counts counts;
		imgo_hub_counts(rig.hub, &counts);
		assert_int_equal(counts.users, 0);
		assert_int_equal(counts.rooms, 0);
		rig_free(&rig);
		if (!struck)
			break;
	}
	assert_true(n > 30 && n < 1000);
}

static void hub_new_fails(void **state)
{
	(void)state;
	rig_new(&rig, NULL);
	struct imgo_hub_options options = IMGO_HUB_OPTIONS_INIT;
	struct imgo_hub_ops ops = {.size = sizeof ops, .on_auth = rig_on_auth};
	options.origins = "https://a.example";
	for (int n = 0;; n++) {
		struct imgo_hub *hub;
		struct imgo_error error;
		imgo__mem_fail_after(n);
		int r = imgo_hub_new(&hub, rig.loop, &ops, NULL, &options, &error);
		int l = r ? r : imgo_hub_listen(hub, "127.0.0.1:0", IMGO_HUB_TCP, NULL, &error);
		bool struck = imgo__mem_fail_after(-1) < 0;
		imgo_hub_free(hub);
		if (!struck) {
			assert_int_equal(l, 0);
			break;
		}
		assert_true(r == 0 || r == IMGO_ENOMEM);
		assert_true(l == 0 || l == IMGO_ENOMEM);
	}
	rig_free(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_allocation),
		cmocka_unit_test(hub_new_fails),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
