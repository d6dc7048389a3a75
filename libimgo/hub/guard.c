/* SPDX-License-Identifier: MIT */
/*
 * What the hub remembers of addresses, against those that open many connections and those that guess tokens. It
 * exists only while one is not logged in or has failed lately; a client that is logged in has none.
 *
 * An address (IPv4; of IPv6 the first 64 bits, which one customer has to himself) may have so many connections
 * that are not logged in, and so many failed logins a minute. The latter is a leaky bucket (GCRA) of a minute's
 * failures: owed_us is the time at which all are paid for. While more is owed than the bucket holds, logins of
 * that address are taken one by one, each in a slot of its own at the bucket's rate: a delay, not a lockout, and
 * however many connections guess at the same time, they guess no faster. Who would have to wait longer than the
 * handshake allows is told to come again later.
 *
 * A connection waits before its first packet is taken: its bytes stay in its input, as while the host decides.
 * And all that are refused are told so at the same time after they asked, whatever was wrong with their token
 * (refusal_delay_ms; later only when the host took longer): the time says nothing about the token.
 *
 * Addresses that owe something and have no connection are in a list, the oldest first, that is swept as others
 * come; at SOURCES_MAX of them the oldest debt is forgotten.
 */
#include "hub/internal.h"

#include <netinet/in.h>

#include "base/mem.h"

enum { SOURCES_MAX = 65536, SWEEP = 8, MINUTE_US = 60000000 };

struct imgo__source {
	struct imgo__map_node node;
	struct imgo__list link; /* in guard.debtors, while nobody waits */
	uint32_t waiting;       /* its connections that are not logged in */
	uint64_t owed_us, next_us;
	uint8_t len, key[16];
};

static struct imgo_str source_key(const struct imgo__map_node *node)
{
	const struct imgo__source *source = imgo__container_of(node, struct imgo__source, node);

	return imgo_strn(source->key, source->len);
}

void imgo__guard_init(struct imgo_hub *hub)
{
	struct imgo_stats *set = imgo_loop_stats(hub->loop);
	struct imgo__guard *guard = &hub->guard;

	imgo__map_init(&guard->sources, source_key);
	imgo__list_init(&guard->debtors);
	guard->failure_us = hub->opt.address_failures_max ? MINUTE_US / hub->opt.address_failures_max : 0;
	guard->refused = imgo_stats_counter(
		set, "imgo_hub_refused_total{why=\"address\"}", "client connections refused when accepted");
	guard->failures =
		imgo_stats_counter(set, "imgo_hub_login_failures_total", "logins with a token that is not valid");
	guard->held = imgo_stats_counter(
		set, "imgo_hub_logins_held_total", "logins that waited because of earlier failures of their address");
}

static void source_free(struct imgo__guard *guard, struct imgo__source *source)
{
	if (!imgo__list_empty(&source->link))
		guard->ndebtors--;
	imgo__list_remove(&source->link);
	imgo__map_remove(&guard->sources, &source->node);
	free(source);
}

void imgo__guard_fini(struct imgo_hub *hub)
{
	struct imgo__map_node *node;

	while ((node = imgo__map_pop(&hub->guard.sources)) != NULL)
		free(imgo__container_of(node, struct imgo__source, node));
	imgo__map_fini(&hub->guard.sources);
}

/* A few of those that owe nothing any more; the oldest whatever it owes, when there are too many. */
static void sweep(struct imgo_hub *hub, uint64_t now)
{
	struct imgo__guard *guard = &hub->guard;

	for (int i = 0; i < SWEEP && !imgo__list_empty(&guard->debtors); i++) {
		struct imgo__source *oldest = imgo__container_of(guard->debtors.next, struct imgo__source, link);
		if (oldest->owed_us > now && guard->ndebtors <= SOURCES_MAX)
			return;
		source_free(guard, oldest);
	}
}

/* The bytes that stand for an address. False: it is not limited. */
static bool key_of(const struct imgo_hub *hub, const struct imgo__addr *peer, uint8_t key[16], uint8_t *len)
{
	if (peer->len == 0 || (imgo__addr_is_loopback(peer) && !hub->opt.limit_loopback))
		return false;
	if (peer->ss.ss_family == AF_INET) {
		memcpy(key, &((const struct sockaddr_in *)&peer->ss)->sin_addr, *len = 4);
		return true;
	}
	if (peer->ss.ss_family != AF_INET6)
		return false;
	const struct in6_addr *six = &((const struct sockaddr_in6 *)&peer->ss)->sin6_addr;
	if (IN6_IS_ADDR_V4MAPPED(six))
		memcpy(key, six->s6_addr + 12, *len = 4);
	else
		memcpy(key, six->s6_addr, *len = 8);
	return true;
}

static struct imgo__source *source_get(struct imgo__guard *guard, const uint8_t *key, uint8_t len)
{
	struct imgo__map_node *node = imgo__map_get(&guard->sources, imgo_strn(key, len));
	struct imgo__source *source;

	if (node)
		return imgo__container_of(node, struct imgo__source, node);
	source = imgo__zalloc(sizeof *source);
	if (!source)
		return NULL;
	imgo__list_init(&source->link);
	source->len = len;
	memcpy(source->key, key, len);
	if (imgo__map_put(&guard->sources, &source->node)) {
		free(source);
		return NULL;
	}
	return source;
}

static void on_admitted(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo__pre *pre = imgo__container_of(timer, struct imgo__pre, timer);

	(void)loop;
	imgo__conn_todo(pre->conn, IMGO__CONN_RESUME);
}

int imgo__guard_enter(struct imgo_hub *hub, struct imgo__pre *pre, const struct imgo__addr *peer)
{
	struct imgo__guard *guard = &hub->guard;
	struct imgo__source *source;
	uint8_t key[16], len;

	imgo__timer_init(&pre->timer, on_admitted);
	if ((hub->opt.address_unauthenticated_max == 0 && guard->failure_us == 0) || !key_of(hub, peer, key, &len))
		return 0;
	sweep(hub, imgo_loop_now_us(hub->loop));
	source = source_get(guard, key, len);
	if (!source)
		return IMGO_ENOMEM;
	if (hub->opt.address_unauthenticated_max && source->waiting >= hub->opt.address_unauthenticated_max) {
		imgo_stat_add(guard->refused, 1);
		return IMGO_ELIMIT;
	}
	if (!imgo__list_empty(&source->link)) {
		imgo__list_remove(&source->link);
		guard->ndebtors--;
	}
	source->waiting++;
	pre->source = source;
	return 0;
}

void imgo__guard_leave(struct imgo_hub *hub, struct imgo__pre *pre)
{
	struct imgo__guard *guard = &hub->guard;
	struct imgo__source *source = pre->source;

	imgo__timer_stop(hub->loop, &pre->timer);
	pre->source = NULL;
	if (!source || --source->waiting > 0)
		return;
	if (source->owed_us > imgo_loop_now_us(hub->loop)) {
		imgo__list_insert(&guard->debtors, &source->link);
		guard->ndebtors++;
	} else {
		source_free(guard, source);
	}
}

/* ---- waiting ---- */

bool imgo__guard_waits(struct imgo__conn *c)
{
	struct imgo_hub *hub = c->hub;
	struct imgo__source *source = c->pre->source;
	uint64_t now = imgo_loop_now_us(hub->loop), period = hub->guard.failure_us;

	if (imgo__timer_active(&c->pre->timer))
		return true;
	if (c->pre->admitted || !source || period == 0)
		return false;
	c->pre->admitted = true;
	if (source->owed_us <= now + MINUTE_US)
		return false;
	if (source->next_us < now)
		source->next_us = now;
	source->next_us += period;
	imgo_stat_add(hub->guard.held, 1);
	uint64_t wait_ms = (source->next_us - now) / 1000;
	if (imgo__loop_now_ms(hub->loop) + wait_ms >= c->deadline_ms) {
		source->next_us -= period;
		imgo__conn_kill(c, IMGO_CLOSE_TRY_LATER);
		return true;
	}
	imgo__timer_start(hub->loop, &c->pre->timer, wait_ms + 1);
	return true;
}

/* ---- failing ---- */

static void on_refusal_due(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo__pre *pre = imgo__container_of(timer, struct imgo__pre, timer);

	(void)loop;
	imgo__conn_kill(pre->conn, (enum imgo_close)pre->refused);
}

bool imgo__guard_failed(struct imgo__conn *c, enum imgo_close why)
{
	struct imgo_hub *hub = c->hub;
	struct imgo__source *source = c->pre->source;
	uint64_t now = imgo_loop_now_us(hub->loop), due = c->pre->since_us + hub->opt.refusal_delay_ms * 1000;

	imgo_stat_add(hub->guard.failures, 1);
	if (!source)
		return false;
	if (source->owed_us < now)
		source->owed_us = now;
	/* What is owed is bounded too, or an hour of guessing would be an hour's delay for who comes after. */
	if (source->owed_us < now + 2 * (uint64_t)MINUTE_US)
		source->owed_us += hub->guard.failure_us;
	if (due <= now)
		return false;
	c->pre->refused = (uint8_t)why;
	imgo__timer_init(&c->pre->timer, on_refusal_due);
	imgo__timer_start(hub->loop, &c->pre->timer, (due - now + 999) / 1000);
	return true;
}
