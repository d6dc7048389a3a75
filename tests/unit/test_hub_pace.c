/* SPDX-License-Identifier: MIT */
/* Broadcasts at a speed: to whom they go, how fast, and what else goes on meanwhile. */
#include "hub_test.h"

enum { CLIENTS = 100 };

static struct rig rig;

/* How many of these have something to read. */
static int have(const int *fds, int n)
{
	uint8_t byte;
	int count = 0;

	for (int i = 0; i < n; i++)
		count += recv(fds[i], &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
	return count;
}

static bool silent(int fd)
{
	uint8_t byte;

	return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == -1;
}

static void at_its_speed(void **state)
{
	int fds[CLIENTS];
	struct imgo_msg *msg, *other;
	uint64_t begin;

	(void)state;
	rig_new(&rig, NULL);
	for (int i = 0; i < CLIENTS; i++)
		fds[i] = login(&rig, "u");
	msg = message("slow");
	other = message("quick");
	begin = rig_ms();
	assert_int_equal(imgo_hub_broadcast_paced(rig.hub, &msg, 1, 250), CLIENTS);
	imgo_msg_unref(msg);
	rig_for(&rig, 100);
	assert_in_range(have(fds, CLIENTS), 10, 80);
	/* Who leaves does not get it, who comes, or comes again in another place, neither. */
	close(fds[CLIENTS - 1]);
	rig_for(&rig, 10);
	fds[CLIENTS - 1] = login(&rig, "u");
	int late = login(&rig, "late");
	/* Another broadcast does not wait. */
	assert_int_equal(imgo_hub_broadcast(rig.hub, &other, 1), CLIENTS + 1);
	expect_packet(&rig, late, 0, 5, 0, "quick");
	expect_packet(&rig, fds[CLIENTS - 1], 0, 5, 0, "quick");
	for (int i = 0; i < CLIENTS - 1; i++) {
		uint8_t got[64];
		get(&rig, fds[i], got, 16 + 4 + 16 + 5);
		assert_true(memcmp(got + 16, "slow", 4) == 0 || memcmp(got + 16, "quick", 5) == 0);
	}
	assert_in_range(rig_ms() - begin, 350, 5000);
	rig_for(&rig, 50);
	assert_true(silent(late) && silent(fds[CLIENTS - 1]));
	assert_int_equal(have(fds, CLIENTS), 0);
	imgo_msg_unref(other);
	for (int i = 0; i < CLIENTS; i++)
		close(fds[i]);
	close(late);
	rig_free(&rig);
}

/* The first goes at once; a speed of 0 is one of 1; what is much faster than a slice takes several turns. */
static void slow_and_fast(void **state)
{
	struct imgo_hub_options options = IMGO_HUB_OPTIONS_INIT;
	int fds[CLIENTS];
	struct imgo_msg *msg;

	(void)state;
	options.walk_slice = 3;
	rig_new(&rig, &options);
	for (int i = 0; i < CLIENTS; i++)
		fds[i] = login(&rig, "u");
	msg = message("x");
	assert_int_equal(imgo_hub_broadcast_paced(rig.hub, &msg, 1, 0), CLIENTS);
	rig_for(&rig, 60);
	assert_int_equal(have(fds, CLIENTS), 1);
	assert_int_equal(imgo_hub_broadcast_paced(rig.hub, &msg, 1, UINT32_MAX), CLIENTS);
	for (int i = 0; i < CLIENTS; i++)
		expect_packet(&rig, fds[i], 0, 5, 0, "x");
	imgo_msg_unref(msg);
	for (int i = 0; i < CLIENTS; i++)
		close(fds[i]);
	rig_free(&rig);
}

static void bounds(void **state)
{
	struct imgo_msg *msg = message("x");
	int a;

	(void)state;
	rig_new(&rig, NULL);
	assert_int_equal(imgo_hub_broadcast_paced(rig.hub, &msg, 1, 1), 0); /* to nobody */
	a = login(&rig, "a");
	int b = login(&rig, "b");
	for (int i = 0; i < 64; i++)
		assert_int_equal(imgo_hub_broadcast_paced(rig.hub, &msg, 1, 1), 2);
	assert_int_equal(imgo_hub_broadcast_paced(rig.hub, &msg, 1, 1), IMGO_ELIMIT);
	rig_for(&rig, 20);
	assert_int_equal(rig_stat(&rig, "imgo_hub_dropped_total"), 2);
	imgo_msg_unref(msg);
	rig_free(&rig); /* in the middle of all of them */
	close(a);
	close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(at_its_speed),
		cmocka_unit_test(slow_and_fast),
		cmocka_unit_test(bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
