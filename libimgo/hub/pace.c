/* SPDX-License-Identifier: MIT */
/*
 * Fan-out at a speed: a message to everybody, so many connections a second (goim's push/all with `speed`), so that what it
 * makes the clients do does not come at once.
 *
 * A walk goes through the slab, not through the array of all connections, whose members move as others leave: a slot is
 * its connection's for life. Who has logged in since the walk began is told by the number of its login, so that a client
 * that comes again in a slot further on does not get the message twice. So a walk costs no memory for each connection,
 * however long it takes, and its beginning costs nothing.
 *
 * Each tick a walk gets the deliveries that are due by the clock, and looks at a bounded number of slots for them; what is
 * left over is done in the next turn.
 */
#include "hub/internal.h"

#include "base/mem.h"

enum {
	WALKS_MAX = 64,
	TICK_MS = 10,
	LOOK_FACTOR = 16, /* slots looked at in a turn, in multiples of walk_slice */
};

struct walk {
	struct imgo__list link;
	uint32_t slot; /* to be looked at next */
	uint32_t born; /* the last login when it began */
	uint32_t per_second;
	uint64_t since_ms; /* due, in deliveries a thousand: (now - since_ms) * per_second + due */
	uint64_t due;
	size_t n;
	struct imgo_msg *messages[];
};

static void walk_free(struct imgo_hub *hub, struct walk *walk)
{
	imgo__list_remove(&walk->link);
	for (size_t i = 0; i < walk->n; i++)
		imgo_msg_unref(walk->messages[i]);
	free(walk);
	hub->npaced--;
}

static bool is_meant(const struct walk *walk, const struct imgo__conn *c)
{
	return c->state == IMGO__CONN_LIVE && (int32_t)(walk->born - c->born) >= 0;
}

/* Sends what is due. True: it has come to the end. */
static bool walk_on(struct imgo_hub *hub, struct walk *walk)
{
	uint64_t now = imgo__loop_now_ms(hub->loop);
	uint32_t slice = hub->opt.walk_slice, looked = 0, sent = 0;
	uint32_t end = hub->npages * IMGO__HUB_PAGE;

	walk->due += (now - walk->since_ms) * walk->per_second;
	walk->since_ms = now;
	while (walk->slot < end && walk->due >= 1000 && sent < slice && looked < slice * LOOK_FACTOR) {
		struct imgo__conn *c = imgo__conn_at(hub, walk->slot++);
		looked++;
		if (!is_meant(walk, c))
			continue;
		imgo_hub_send(hub, imgo__conn_handle(c), walk->messages, walk->n);
		walk->due -= 1000;
		sent++;
	}
	return walk->slot >= end;
}

static void on_pace(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo_hub *hub = imgo__container_of(timer, struct imgo_hub, pace);
	bool behind = false;

	if (hub->freeing)
		return;
	imgo__list_for(link, &hub->paced)
	{
		struct walk *walk = imgo__container_of(link, struct walk, link);
		if (walk_on(hub, walk))
			walk_free(hub, walk);
		else
			behind |= walk->due >= 1000;
	}
	if (!imgo__list_empty(&hub->paced))
		imgo__timer_start(loop, timer, behind ? 0 : TICK_MS);
}

int imgo_hub_broadcast_paced(struct imgo_hub *hub, struct imgo_msg *const *messages, size_t n, uint32_t per_second)
{
	struct walk *walk;

	if (hub->freeing || hub->authenticated == 0 || n == 0)
		return 0;
	if (hub->npaced >= WALKS_MAX) {
		hub->tally.dropped += (uint64_t)n * hub->authenticated;
		return IMGO_ELIMIT;
	}
	walk = imgo__zalloc(sizeof *walk + n * sizeof *walk->messages);
	if (!walk) {
		hub->tally.dropped += (uint64_t)n * hub->authenticated;
		return IMGO_ENOMEM;
	}
	imgo__list_init(&walk->link);
	walk->born = hub->logins;
	walk->per_second = per_second ? per_second : 1;
	walk->since_ms = imgo__loop_now_ms(hub->loop);
	walk->due = 1000; /* the first one goes at once */
	for (walk->n = 0; walk->n < n; walk->n++)
		walk->messages[walk->n] = imgo_msg_ref(messages[walk->n]);
	imgo__list_insert(&hub->paced, &walk->link);
	hub->npaced++;
	if (!imgo__timer_active(&hub->pace))
		imgo__timer_start(hub->loop, &hub->pace, 0);
	return (int)hub->authenticated;
}

void imgo__pace_init(struct imgo_hub *hub)
{
	imgo__list_init(&hub->paced);
	imgo__timer_init(&hub->pace, on_pace);
}

void imgo__pace_fini(struct imgo_hub *hub)
{
	imgo__timer_stop(hub->loop, &hub->pace);
	imgo__list_for(link, &hub->paced)
	{
		walk_free(hub, imgo__container_of(link, struct walk, link));
	}
}
