/* SPDX-License-Identifier: MIT */
/*
 * A hierarchical timing wheel: 6 levels of 64 slots, a slot of level l being 64^l ms wide, so the whole spans
 * 2^36 ms (two years; what is due later waits in the last slot and is sorted in again).
 *
 * A timer's level is that of the highest base-64 digit in which its due time differs from the wheel's time
 * `now`, and its slot is that digit of the due time. Hence, on each level, all timers lie in slots after the
 * one of `now`, in one rotation: the first used slot after it is the next to be reached. When its beginning
 * is reached, its timers are fired (level 0) or sorted in again, one level down or more. Only used slots are
 * visited, found through one 64-bit map a level: a jump of the clock by an hour costs a step a used slot, not
 * a step a millisecond.
 *
 * A bit of the map may outlive the last timer of its slot (removing does not look); it is cleared when
 * reached, so imgo__wheel_next may be early, never late.
 */
#include "loop/loop_impl.h"

enum { BITS = IMGO__WHEEL_BITS, SLOTS = IMGO__WHEEL_SLOTS, LEVELS = IMGO__WHEEL_LEVELS, TOP = LEVELS - 1 };

void imgo__wheel_init(struct imgo__wheel *wheel, uint64_t now_ms)
{
	*wheel = (struct imgo__wheel){.now_ms = now_ms};
	for (int level = 0; level < LEVELS; level++) {
		for (int slot = 0; slot < SLOTS; slot++)
			imgo__list_init(&wheel->slots[level][slot]);
	}
}

static void place(struct imgo__wheel *wheel, struct imgo__timer *timer)
{
	/* One slot less than a rotation: the slot of `now` itself must stay free on the top level too. */
	const uint64_t far = (uint64_t)(SLOTS - 1) << (BITS * TOP);
	uint64_t due = timer->due_ms, differ;
	int level, slot;

	if (due - wheel->now_ms > far)
		due = wheel->now_ms + far;
	differ = (due ^ wheel->now_ms) | 1;
	level = (63 - __builtin_clzll(differ)) / BITS;
	if (level > TOP)
		level = TOP;
	slot = due >> (BITS * level) & (SLOTS - 1);
	imgo__list_insert(&wheel->slots[level][slot], &timer->link);
	wheel->used[level] |= (uint64_t)1 << slot;
}

void imgo__wheel_insert(struct imgo__wheel *wheel, struct imgo__timer *timer, uint64_t due_ms)
{
	uint64_t earliest = (wheel->hold_ms > wheel->now_ms ? wheel->hold_ms : wheel->now_ms) + 1;

	timer->due_ms = due_ms > earliest ? due_ms : earliest;
	place(wheel, timer);
	wheel->n++;
}

void imgo__wheel_remove(struct imgo__wheel *wheel, struct imgo__timer *timer)
{
	imgo__list_remove(&timer->link);
	wheel->n--;
}

/* The level whose next used slot begins first; its beginning in *at. -1: none. On a tie the higher level goes
 * first, because it sorts timers into the lower one. */
static int next_slot(const struct imgo__wheel *wheel, uint64_t *at, int *slot)
{
	int best = -1;

	for (int level = TOP; level >= 0; level--) {
		int shift = BITS * level, now_slot = wheel->now_ms >> shift & (SLOTS - 1), ahead;
		uint64_t used = wheel->used[level], turned, begin;
		if (used == 0)
			continue;
		turned = now_slot == SLOTS - 1 ? used : used >> (now_slot + 1) | used << (SLOTS - 1 - now_slot);
		ahead = __builtin_ctzll(turned) + 1; /* slots after the present one */
		begin = ((wheel->now_ms >> shift) + (uint64_t)ahead) << shift;
		if (best < 0 || begin < *at) {
			best = level;
			*at = begin;
			*slot = (now_slot + ahead) & (SLOTS - 1);
		}
	}
	return best;
}

uint64_t imgo__wheel_next(const struct imgo__wheel *wheel)
{
	uint64_t at = UINT64_MAX;
	int slot;

	if (wheel->n > 0)
		(void)next_slot(wheel, &at, &slot);
	return at;
}

/* Callbacks may start and stop any timer, those in `batch` too: they are unlinked from wherever they are. */
static void reach(struct imgo__wheel *wheel, int level, int slot, struct imgo_loop *loop)
{
	struct imgo__list batch, *link;

	imgo__list_take(&batch, &wheel->slots[level][slot]);
	wheel->used[level] &= ~((uint64_t)1 << slot);
	while ((link = imgo__list_pop(&batch)) != NULL) {
		struct imgo__timer *timer = imgo__container_of(link, struct imgo__timer, link);
		if (timer->due_ms > wheel->now_ms) {
			place(wheel, timer);
		} else {
			wheel->n--;
			timer->fn(loop, timer);
		}
	}
}

void imgo__wheel_advance(struct imgo__wheel *wheel, uint64_t now_ms, struct imgo_loop *loop)
{
	uint64_t at = 0;
	int slot = 0, level;

	wheel->hold_ms = now_ms;
	while (wheel->n > 0 && (level = next_slot(wheel, &at, &slot)) >= 0 && at <= now_ms) {
		wheel->now_ms = at;
		reach(wheel, level, slot, loop);
	}
	if (wheel->n == 0) {
		for (level = 0; level < LEVELS; level++)
			wheel->used[level] = 0;
	}
	if (now_ms > wheel->now_ms)
		wheel->now_ms = now_ms;
}
