/* SPDX-License-Identifier: MIT */
/* The wheel against a naive model: random starts, stops, moves and steps of time, from inside callbacks too.
 */
#include "test.h"

#include "loop/loop_impl.h"

enum { N = 200 };

static struct {
	struct imgo__timer timer;
	bool active;
	uint64_t due;
} model[N];

static struct imgo__wheel wheel;
static uint64_t now;
static int fired;
static bool meddle;

static void start(int i, uint64_t due)
{
	uint64_t earliest = (wheel.hold_ms > wheel.now_ms ? wheel.hold_ms : wheel.now_ms) + 1;
	if (model[i].active)
		imgo__wheel_remove(&wheel, &model[i].timer);
	imgo__wheel_insert(&wheel, &model[i].timer, due);
	model[i].active = true;
	model[i].due = due > earliest ? due : earliest;
}

static void stop(int i)
{
	if (model[i].active)
		imgo__wheel_remove(&wheel, &model[i].timer);
	model[i].active = false;
}

static uint64_t some_delay(void)
{
	static const uint64_t spans[] = {
		1, 3, 64, 200, 5000, 70000, 4000000, 400000000, 1ull << 35, 1ull << 37, 1ull << 41};
	uint64_t span = spans[rand() % (int)(sizeof(spans) / sizeof(spans[0]))];
	return ((uint64_t)rand() << 20 ^ (uint64_t)rand()) % (span + 1);
}

static void on_fire(struct imgo_loop *loop, struct imgo__timer *timer)
{
	int i = (int)((char *)timer - (char *)&model[0].timer) / (int)sizeof(model[0]);
	(void)loop;
	assert_true(model[i].active);
	assert_true(model[i].due <= now);
	assert_true(model[i].due == timer->due_ms);
	assert_false(imgo__timer_active(timer));
	model[i].active = false;
	fired++;
	if (meddle && rand() % 2) {
		start(i, now + some_delay());
		start(rand() % N, now + some_delay());
		stop(rand() % N);
	}
}

static uint64_t earliest(void)
{
	uint64_t min = UINT64_MAX;
	for (int i = 0; i < N; i++) {
		if (model[i].active && model[i].due < min)
			min = model[i].due;
	}
	return min;
}

static void random_operations(uint64_t begin, unsigned seed)
{
	srand(seed);
	now = begin;
	imgo__wheel_init(&wheel, now);
	for (int i = 0; i < N; i++) {
		imgo__timer_init(&model[i].timer, on_fire);
		model[i].active = false;
	}
	for (int step = 0; step < 20000; step++) {
		uint64_t hint;
		switch (rand() % 4) {
		case 0:
			stop(rand() % N);
			break;
		case 1:
			if (rand() % 3 == 0 && earliest() != UINT64_MAX) {
				now = earliest() - (uint64_t)(rand() % 2);
				if (now < wheel.now_ms)
					now = wheel.now_ms;
			} else {
				now += some_delay() / 16;
			}
			imgo__wheel_advance(&wheel, now, NULL);
			assert_true(earliest() > now);
			break;
		default:
			start(rand() % N, now + some_delay());
		}
		hint = imgo__wheel_next(&wheel);
		assert_true(hint <= earliest());
		assert_true(hint > wheel.now_ms);
		if (earliest() == UINT64_MAX)
			assert_true(hint == UINT64_MAX);
	}
}

static void against_a_model(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		meddle = i;
		fired = 0;
		random_operations(0, 1);
		random_operations(12345678901, 2);
		random_operations((1ull << 36) - 5000, 3);
		random_operations((1ull << 42) - 1, 4);
		assert_true(fired > 5000);
	}
}

/* Following the hints alone must fire each timer at its very millisecond, with few wake-ups for nothing. */
static void hints_lead_to_each(void **state)
{
	int wakeups = 0;
	(void)state;
	meddle = false;
	srand(5);
	now = 777;
	imgo__wheel_init(&wheel, now);
	for (int i = 0; i < N; i++) {
		imgo__timer_init(&model[i].timer, on_fire);
		model[i].active = false;
		start(i, now + some_delay());
	}
	while (earliest() != UINT64_MAX) {
		uint64_t next = earliest();
		while (imgo__wheel_next(&wheel) < next) {
			now = imgo__wheel_next(&wheel);
			imgo__wheel_advance(&wheel, now, NULL);
			wakeups++;
		}
		assert_true(imgo__wheel_next(&wheel) == next);
		fired = 0;
		now = next;
		imgo__wheel_advance(&wheel, now, NULL);
		assert_true(fired > 0);
	}
	assert_true(wakeups < N * 40);
}

static void a_jump_is_cheap(void **state)
{
	(void)state;
	meddle = false;
	imgo__wheel_init(&wheel, 1);
	imgo__timer_init(&model[0].timer, on_fire);
	imgo__timer_init(&model[1].timer, on_fire);
	for (int i = 0; i < 1000; i++) { /* 1000 jumps of a year: one step a millisecond would take for ever */
		start(0, wheel.now_ms + 5);
		start(1, wheel.now_ms + 20ull * 365 * 86400 * 1000);
		now = wheel.now_ms + 365ull * 86400 * 1000;
		imgo__wheel_advance(&wheel, now, NULL);
		assert_false(model[0].active);
		assert_true(model[1].active);
	}
	stop(1);
	assert_true(imgo__wheel_next(&wheel) == UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(against_a_model),
		cmocka_unit_test(hints_lead_to_each),
		cmocka_unit_test(a_jump_is_cheap),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
