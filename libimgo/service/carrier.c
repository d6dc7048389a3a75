/* SPDX-License-Identifier: MIT */
/*
 * One peer for each (comet, incarnation) that is known from the registry or named by a session id. What is to be said
 * to it gathers in three lists, and goes out at the end of the loop's turn:
 *
 *   tells, kicks  always, in one RPC each;
 *   casts         while no batch of casts is in flight to that comet (and, goim's way, when enough have gathered or
 *                 batch_ms have passed): so a lone message goes at once, and under load a batch grows by itself to what
 *                 arrives during one round trip. One connection carries them, so their order stands.
 *
 * A peer that only a session id has named has no address yet: its lists wait for the next answer of the registry, which
 * is asked at once, and are dropped (counted) when that does not know it either. Lists are bounded in bytes.
 */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/seldom.h"
#include "rpc/rpc.h"
#include "service/carrier_wire.h"

enum { REFRESH_MS = 1000, RPC_MS = 5000, ITEMS_MAX = 32768, TARGETS_MAX = 32768, SENT_MAX = 64 };

/* Items of one kind that wait, with what they point to. Targets are one array, cut up at the flush: it moves as it grows. */
struct batch {
	struct imgo__arena arena;
	struct imgo__buf items;   /* struct imgo__tell[], imgo__cast[] or imgo__kick[] */
	struct imgo__buf targets; /* struct imgo__tell_target[] */
	struct imgo_msgid last;   /* tells: whose copy the last item is */
	uint32_t n;
};

struct peer {
	struct imgo__list link;
	struct imgo__carrier *carrier;
	uint32_t comet;
	struct imgo_incarnation inc;
	char address[IMGO_REGISTRY_ADDRESS_MAX + 1];
	bool resolved; /* the registry named it: it is local, or has an RPC client */
	bool local, cast_in_flight;
	uint64_t seen; /* refresh that last named it */
	struct imgo__rpc_client *rpc;
	struct batch tells, casts, kicks;
	uint64_t casts_since_ms;
	/* When the tells and kicks that are under way were sent, in order; they are answered in order. */
	uint64_t sent_us[SENT_MAX], cast_sent_us;
	uint32_t sent_head, sent_n;
};

struct imgo__carrier {
	struct imgo_loop *loop;
	struct imgo_registry *registry;
	struct imgo_edge *edge;
	char *secret, *role;
	struct imgo_tls *tls;
	uint32_t cast_batch_max;
	uint64_t cast_batch_ms;
	size_t queue_max;
	struct imgo__list peers;
	struct imgo__task flush;
	struct imgo__timer refresh_timer, cast_timer;
	struct imgo_registry_comets comets;
	bool refreshing, refresh_again, freed;
	uint64_t refreshes;
	uint32_t in_flight;
	void (*idle_fn)(void *user);
	void *idle_user;
	struct imgo_stat *dropped_full, *dropped_gone, *dropped_failed, *told, *cast, *unknown, *kicks;
	struct imgo_histogram *tell_seconds, *cast_seconds;
	struct imgo__gauge waiting_bytes, peers_known, calls;
	struct imgo__collector collector;
	struct imgo__seldom full; /* in the log */
};

/* ---- batches ---- */

static void batch_reset(struct batch *batch)
{
	imgo__arena_free(&batch->arena);
	batch->items.len = batch->targets.len = 0;
	batch->n = 0;
}

static void batch_fini(struct batch *batch)
{
	batch_reset(batch);
	imgo__buf_free(&batch->items);
	imgo__buf_free(&batch->targets);
}

static size_t batch_bytes(const struct batch *batch)
{
	return batch->arena.total + batch->items.len + batch->targets.len;
}

static bool batch_target(struct batch *batch, uint64_t n, struct imgo_str who, struct imgo_id prev)
{
	bool ok = true;
	struct imgo__tell_target target = {n, imgo__arena_str(&batch->arena, who, &ok), prev};

	return ok && imgo__buf_append(&batch->targets, &target, sizeof target) == 0;
}

/* The targets of items are known by count until now: give each its part of the array. */
static const struct imgo__tell *batch_tells(struct batch *batch)
{
	struct imgo__tell *tells = (struct imgo__tell *)(void *)batch->items.data;
	const struct imgo__tell_target *target = (const struct imgo__tell_target *)(void *)batch->targets.data;

	for (uint32_t i = 0; i < batch->n; i++) {
		tells[i].targets = target;
		target += tells[i].ntargets;
	}
	return tells;
}

static const struct imgo__cast *batch_casts(struct batch *batch)
{
	struct imgo__cast *casts = (struct imgo__cast *)(void *)batch->items.data;
	const struct imgo__tell_target *target = (const struct imgo__tell_target *)(void *)batch->targets.data;

	for (uint32_t i = 0; i < batch->n; i++) {
		casts[i].targets = target;
		target += casts[i].ntargets;
	}
	return casts;
}

/* ---- peers ---- */

static struct peer *peer_find(struct imgo__carrier *carrier, uint32_t comet, struct imgo_incarnation inc)
{
	imgo__list_for(at, &carrier->peers)
	{
		struct peer *peer = imgo__container_of(at, struct peer, link);
		if (peer->comet == comet && imgo_incarnation_cmp(peer->inc, inc) == 0)
			return peer;
	}
	return NULL;
}

static struct peer *peer_new(struct imgo__carrier *carrier, uint32_t comet, struct imgo_incarnation inc)
{
	struct peer *peer = imgo__zalloc(sizeof *peer);

	if (!peer)
		return NULL;
	peer->carrier = carrier;
	peer->comet = comet;
	peer->inc = inc;
	imgo__list_insert(&carrier->peers, &peer->link);
	return peer;
}

static void peer_free(struct peer *peer)
{
	struct imgo__carrier *carrier = peer->carrier;

	imgo_stat_add(carrier->dropped_gone, (int64_t)peer->tells.n + peer->casts.n + peer->kicks.n);
	imgo__list_remove(&peer->link);
	imgo__rpc_client_free(peer->rpc);
	batch_fini(&peer->tells);
	batch_fini(&peer->casts);
	batch_fini(&peer->kicks);
	free(peer);
}

static void refresh(struct imgo__carrier *carrier);

/* The peer that a session id names. One that is not known is asked for at once, and may gather until the answer. */
static struct peer *peer_of(struct imgo__carrier *carrier, const struct imgo_session_id *id)
{
	struct peer *peer = peer_find(carrier, id->comet, id->inc);

	if (peer)
		return peer;
	imgo_stat_add(carrier->unknown, 1);
	peer = peer_new(carrier, id->comet, id->inc);
	refresh(carrier);
	return peer;
}

static void peer_resolve(struct peer *peer, struct imgo_str address)
{
	struct imgo__carrier *carrier = peer->carrier;
	struct imgo__rpc_client_options options = {.secret = carrier->secret,
		.tls = carrier->tls,
		.role = carrier->role,
		.timeout_ms = RPC_MS,
		.queue_max = carrier->queue_max};

	peer->local = carrier->edge && imgo__edge_comet(carrier->edge) == peer->comet && address.len == 0;
	if (peer->local) {
		peer->resolved = true;
		return;
	}
	if (address.len == 0 || address.len > IMGO_REGISTRY_ADDRESS_MAX)
		return; /* in some other process, and it has not said where */
	memcpy(peer->address, address.p, address.len);
	peer->address[address.len] = '\0';
	options.peers = peer->address;
	peer->resolved = imgo__rpc_client_new(&peer->rpc, carrier->loop, &options, NULL) == 0;
}

/* ---- the list of comets ---- */

static void refresh_apply(struct imgo__carrier *carrier)
{
	carrier->refreshes++;
	for (size_t i = 0; i < carrier->comets.n; i++) {
		const struct imgo_comet_info *info = &carrier->comets.comets[i];
		struct peer *peer = peer_find(carrier, info->comet, info->inc);
		if (!peer)
			peer = peer_new(carrier, info->comet, info->inc);
		if (!peer)
			continue;
		peer->seen = carrier->refreshes;
		if (!peer->resolved)
			peer_resolve(peer, info->address);
	}
	/* Who was not named is gone; one refresh of grace for the tells that are on their way. */
	imgo__list_for(at, &carrier->peers)
	{
		struct peer *peer = imgo__container_of(at, struct peer, link);
		if (!peer->resolved || peer->seen + 2 <= carrier->refreshes)
			peer_free(peer);
	}
	imgo__defer(carrier->loop, &carrier->flush);
}

static void on_comets(int err, void *user)
{
	struct imgo__carrier *carrier = user;

	carrier->refreshing = false;
	if (carrier->freed) {
		free(carrier);
		return;
	}
	if (err == 0)
		refresh_apply(carrier);
	imgo__timer_start(carrier->loop, &carrier->refresh_timer, carrier->refresh_again ? 10 : REFRESH_MS);
	carrier->refresh_again = false;
}

static void refresh(struct imgo__carrier *carrier)
{
	if (carrier->refreshing) {
		carrier->refresh_again = true;
		return;
	}
	carrier->refreshing = true;
	if (imgo_registry_comets(carrier->registry, &carrier->comets, on_comets, carrier) < 0) {
		carrier->refreshing = false;
		imgo__timer_start(carrier->loop, &carrier->refresh_timer, REFRESH_MS);
	}
}

static void on_refresh_timer(struct imgo_loop *loop, struct imgo__timer *timer)
{
	(void)loop;
	refresh(imgo__container_of(timer, struct imgo__carrier, refresh_timer));
}

/* ---- sending ---- */

static void check_idle(struct imgo__carrier *carrier)
{
	void (*fn)(void *) = carrier->idle_fn;

	if (!fn || carrier->in_flight)
		return;
	imgo__list_for(at, &carrier->peers)
	{
		struct peer *peer = imgo__container_of(at, struct peer, link);
		if (peer->tells.n || peer->casts.n || peer->kicks.n)
			return;
	}
	carrier->idle_fn = NULL;
	fn(carrier->idle_user);
}

static void answered(struct peer *peer, int err)
{
	struct imgo__carrier *carrier = peer->carrier;

	carrier->in_flight--;
	if (err == IMGO_ECANCELED)
		return; /* the peer, or all of the carrier, is being freed */
	if (err)
		imgo_stat_add(carrier->dropped_failed, 1);
	if (err == IMGO_ESTALE)
		refresh(carrier);
	check_idle(carrier);
}

/* More calls are under way than sent_us holds: those in the middle are not measured. */
static void sent(struct peer *peer)
{
	if (peer->sent_n < SENT_MAX)
		peer->sent_us[(peer->sent_head + peer->sent_n) % SENT_MAX] = imgo__loop_clock_us(peer->carrier->loop);
	peer->sent_n++;
}

static void sent_answered(struct peer *peer, int err)
{
	if (peer->sent_n <= SENT_MAX && err == 0)
		imgo_histogram_add(peer->carrier->tell_seconds,
			imgo__loop_clock_us(peer->carrier->loop) - peer->sent_us[peer->sent_head], 1);
	if (peer->sent_n <= SENT_MAX)
		peer->sent_head = (peer->sent_head + 1) % SENT_MAX;
	peer->sent_n--;
}

static void on_answer(int err, struct imgo__mp *result, void *user)
{
	(void)result;
	sent_answered(user, err);
	answered(user, err);
}

static void on_cast_answer(int err, struct imgo__mp *result, void *user)
{
	struct peer *peer = user;

	(void)result;
	peer->cast_in_flight = false;
	if (err == 0)
		imgo_histogram_add(
			peer->carrier->cast_seconds, imgo__loop_clock_us(peer->carrier->loop) - peer->cast_sent_us, 1);
	if (err != IMGO_ECANCELED && peer->casts.n)
		imgo__defer(peer->carrier->loop, &peer->carrier->flush);
	answered(peer, err);
}

static bool rpc_begin(struct peer *peer, const char *method, struct imgo__mpw **w)
{
	*w = imgo__rpc_begin_call(peer->rpc, method, 3);
	if (!*w)
		return false;
	imgo__incarnation_write(*w, peer->inc);
	return true;
}

static void rpc_end(struct peer *peer, imgo__rpc_reply_fn *fn, uint32_t items)
{
	struct imgo__carrier *carrier = peer->carrier;

	if (imgo__rpc_send(peer->rpc, 0, fn, peer) == 0) {
		carrier->in_flight++;
		if (fn == on_answer)
			sent(peer);
		else
			peer->cast_sent_us = imgo__loop_clock_us(carrier->loop);
		return;
	}
	imgo_stat_add(carrier->dropped_failed, items);
	if (fn == on_cast_answer)
		peer->cast_in_flight = false;
}

static void flush_tells(struct peer *peer)
{
	struct batch *batch = &peer->tells;
	const struct imgo__tell *tells = batch_tells(batch);
	struct imgo__mpw *w;

	imgo_stat_add(peer->carrier->told, (int64_t)(batch->targets.len / sizeof(struct imgo__tell_target)));
	if (peer->local) {
		imgo__edge_tell(peer->carrier->edge, peer->inc, tells, batch->n);
	} else if (rpc_begin(peer, "tell", &w)) {
		imgo__tell_write(w, tells, batch->n);
		rpc_end(peer, on_answer, batch->n);
	}
	batch_reset(batch);
}

static void flush_casts(struct peer *peer)
{
	struct batch *batch = &peer->casts;
	const struct imgo__cast *casts = batch_casts(batch);
	struct imgo__mpw *w;

	imgo_stat_add(peer->carrier->cast, batch->n);
	if (peer->local) {
		imgo__edge_cast(peer->carrier->edge, peer->inc, casts, batch->n);
	} else if (rpc_begin(peer, "cast", &w)) {
		imgo__cast_write(w, casts, batch->n);
		peer->cast_in_flight = true;
		rpc_end(peer, on_cast_answer, batch->n);
	}
	batch_reset(batch);
}

static void flush_kicks(struct peer *peer)
{
	struct batch *batch = &peer->kicks;
	const struct imgo__kick *kicks = (const struct imgo__kick *)(void *)batch->items.data;
	struct imgo__mpw *w;

	if (peer->local) {
		imgo__edge_kick(peer->carrier->edge, peer->inc, kicks, batch->n);
	} else if (rpc_begin(peer, "kick", &w)) {
		imgo__kick_write(w, kicks, batch->n);
		rpc_end(peer, on_answer, batch->n);
	}
	batch_reset(batch);
}

/* Goim's way: hold casts back until enough have come or the oldest has waited long enough. */
static bool casts_due(struct peer *peer)
{
	struct imgo__carrier *carrier = peer->carrier;
	uint64_t age;

	if (peer->cast_in_flight)
		return false;
	if (carrier->cast_batch_ms == 0 || peer->casts.n >= carrier->cast_batch_max)
		return true;
	age = imgo__loop_now_ms(carrier->loop) - peer->casts_since_ms;
	if (age >= carrier->cast_batch_ms)
		return true;
	if (!imgo__timer_active(&carrier->cast_timer))
		imgo__timer_start(carrier->loop, &carrier->cast_timer, carrier->cast_batch_ms - age);
	return false;
}

static void on_flush(struct imgo_loop *loop, struct imgo__task *task)
{
	struct imgo__carrier *carrier = imgo__container_of(task, struct imgo__carrier, flush);

	(void)loop;
	imgo__list_for(at, &carrier->peers)
	{
		struct peer *peer = imgo__container_of(at, struct peer, link);
		if (!peer->resolved)
			continue;
		if (peer->tells.n)
			flush_tells(peer);
		if (peer->casts.n && casts_due(peer))
			flush_casts(peer);
		if (peer->kicks.n)
			flush_kicks(peer);
	}
	check_idle(carrier);
}

static void on_cast_timer(struct imgo_loop *loop, struct imgo__timer *timer)
{
	imgo__defer(loop, &imgo__container_of(timer, struct imgo__carrier, cast_timer)->flush);
}

/* ---- what callers hand over ---- */

static bool room_in(struct imgo__carrier *carrier, struct batch *batch, size_t more)
{
	uint32_t times;

	if (batch_bytes(batch) + more <= carrier->queue_max && batch->n < ITEMS_MAX)
		return true;
	imgo_stat_add(carrier->dropped_full, 1);
	if (imgo__seldom(&carrier->full, imgo__loop_now_ms(carrier->loop), &times))
		imgo_log_event(imgo_loop_log(carrier->loop), IMGO_LOG_WARN, "carrier", "queue-full",
			"times=%u bytes=%zu", times, batch_bytes(batch));
	return false;
}

/* One message to many users of one comet is one item: the body is copied once. */
static bool tell_item(struct batch *batch, const struct imgo_store_body *body)
{
	bool ok = true;
	struct imgo__tell tell = {.id = body->id, .op = body->op};
	const struct imgo__tell *items = (const struct imgo__tell *)(void *)batch->items.data;

	if (batch->n && imgo_id_cmp(items[batch->n - 1].id, body->id) == 0 &&
		memcmp(&batch->last, &body->msgid, sizeof batch->last) == 0)
		return true;
	tell.body = imgo__arena_str(&batch->arena, body->data, &ok);
	if (!ok || imgo__buf_append(&batch->items, &tell, sizeof tell) < 0)
		return false;
	batch->last = body->msgid;
	batch->n++;
	return true;
}

void imgo__carrier_tell(struct imgo__carrier *carrier, struct imgo_session_id id, struct imgo_str who,
	struct imgo_id prev, const struct imgo_store_body *body)
{
	struct peer *peer = peer_of(carrier, &id);
	struct batch *batch;

	if (!peer || !room_in(carrier, &peer->tells, body->data.len))
		return;
	batch = &peer->tells;
	if (batch->targets.len / sizeof(struct imgo__tell_target) >= TARGETS_MAX || !tell_item(batch, body) ||
		!batch_target(batch, id.n, who, prev)) {
		imgo_stat_add(carrier->dropped_full, 1);
		return;
	}
	((struct imgo__tell *)(void *)batch->items.data)[batch->n - 1].ntargets++;
	imgo__defer(carrier->loop, &carrier->flush);
}

/* Appends a copy of the cast without its targets. */
static bool cast_item(struct peer *peer, const struct imgo__cast *cast)
{
	struct batch *batch = &peer->casts;
	struct imgo__cast copy = *cast;
	bool ok = true;

	if (!room_in(peer->carrier, batch, cast->body.len + cast->room.len))
		return false;
	copy.room = imgo__arena_str(&batch->arena, cast->room, &ok);
	copy.body = imgo__arena_str(&batch->arena, cast->body, &ok);
	copy.targets = NULL;
	copy.ntargets = 0;
	if (!ok || imgo__buf_append(&batch->items, &copy, sizeof copy) < 0)
		return false;
	if (batch->n++ == 0)
		peer->casts_since_ms = imgo__loop_now_ms(peer->carrier->loop);
	imgo__defer(peer->carrier->loop, &peer->carrier->flush);
	return true;
}

/* Comets that can be reached. */
static uint32_t count_peers(struct imgo__carrier *carrier)
{
	uint32_t n = 0;

	imgo__list_for(at, &carrier->peers)
	{
		n += imgo__container_of(at, struct peer, link)->resolved;
	}
	return n;
}

void imgo__carrier_cast(struct imgo__carrier *carrier, const struct imgo__cast *cast)
{
	uint32_t n = cast->speed ? count_peers(carrier) : 1;
	struct imgo__cast share = *cast;
	bool any = false;

	share.speed = cast->speed && n ? cast->speed / n + (cast->speed < n) : 0;

	imgo__list_for(at, &carrier->peers)
	{
		struct peer *peer = imgo__container_of(at, struct peer, link);
		if (peer->resolved)
			any |= cast_item(peer, &share);
	}
	if (!any)
		imgo_stat_add(carrier->dropped_gone, 1);
}

/* One record is one item for a comet, however many of its targets are there: a comet drops an id that it has seen. */
static void cast_target(struct peer *peer, uint64_t n, struct imgo_str who, const struct imgo__cast *cast)
{
	struct batch *batch = &peer->casts;
	const struct imgo__cast *last =
		batch->n ? (const struct imgo__cast *)(void *)batch->items.data + batch->n - 1 : NULL;

	if ((!last || last->partition != cast->partition || imgo_id_cmp(last->id, cast->id) != 0) && !cast_item(peer, cast))
		return;
	if (batch_target(batch, n, who, (struct imgo_id){0, 0}))
		((struct imgo__cast *)(void *)batch->items.data)[batch->n - 1].ntargets++;
	else
		imgo_stat_add(peer->carrier->dropped_full, 1);
}

void imgo__carrier_direct(
	struct imgo__carrier *carrier, struct imgo_session_id id, struct imgo_str who, const struct imgo__cast *cast)
{
	struct peer *peer = peer_of(carrier, &id);

	if (peer)
		cast_target(peer, id.n, who, cast);
}

void imgo__carrier_key(struct imgo__carrier *carrier, struct imgo_str key, const struct imgo__cast *cast)
{
	if (count_peers(carrier) == 0)
		imgo_stat_add(carrier->dropped_gone, 1);
	imgo__list_for(at, &carrier->peers)
	{
		struct peer *peer = imgo__container_of(at, struct peer, link);
		if (peer->resolved)
			cast_target(peer, 0, key, cast);
	}
}

void imgo__carrier_kick(struct imgo__carrier *carrier, struct imgo_session_id id, struct imgo_str who, int why)
{
	struct peer *peer = peer_of(carrier, &id);
	struct imgo__kick kick = {.n = id.n, .why = why};
	bool ok = true;

	if (!peer || !room_in(carrier, &peer->kicks, who.len))
		return;
	kick.who = imgo__arena_str(&peer->kicks.arena, who, &ok);
	if (!ok || imgo__buf_append(&peer->kicks.items, &kick, sizeof kick) < 0)
		return;
	peer->kicks.n++;
	imgo_stat_add(carrier->kicks, 1);
	imgo__defer(carrier->loop, &carrier->flush);
}

/* ---- life ---- */

static void collect(struct imgo__collector *collector)
{
	struct imgo__carrier *carrier = imgo__container_of(collector, struct imgo__carrier, collector);
	int64_t bytes = 0, n = 0;

	imgo__list_for(at, &carrier->peers)
	{
		struct peer *peer = imgo__container_of(at, struct peer, link);
		bytes += (int64_t)(batch_bytes(&peer->tells) + batch_bytes(&peer->casts) + batch_bytes(&peer->kicks));
		n += peer->resolved;
	}
	imgo__gauge_set(&carrier->waiting_bytes, bytes);
	imgo__gauge_set(&carrier->peers_known, n);
	imgo__gauge_set(&carrier->calls, carrier->in_flight);
}

static void enter_stats(struct imgo__carrier *carrier)
{
	static const char dropped[] = "tells, casts and kicks (failed: or calls with them) that no comet was told of";
	static const char seconds[] = "from a word to a comet in another process to its answer";
	struct imgo_stats *set = imgo_loop_stats(carrier->loop);

	carrier->dropped_full = imgo_stats_counter(set, "imgo_carrier_dropped_total{why=\"full\"}", dropped);
	carrier->dropped_gone = imgo_stats_counter(set, "imgo_carrier_dropped_total{why=\"no_comet\"}", dropped);
	carrier->dropped_failed = imgo_stats_counter(set, "imgo_carrier_dropped_total{why=\"failed\"}", dropped);
	carrier->told = imgo_stats_counter(set, "imgo_carrier_tells_total", "sessions told of a logged message");
	carrier->cast = imgo_stats_counter(set, "imgo_carrier_casts_total", "casts handed to comets");
	carrier->kicks = imgo_stats_counter(set, "imgo_carrier_kicks_total", "sessions that comets were told to close");
	carrier->unknown = imgo_stats_counter(set, "imgo_carrier_unknown_total",
		"times that a comet was named which the registry had not listed yet");
	carrier->waiting_bytes.stat = imgo_stats_gauge(set, "imgo_carrier_queue_bytes", "words that wait for a comet");
	carrier->peers_known.stat =
		imgo_stats_gauge(set, "imgo_carrier_comets", "comets that are known, to each part that talks to them");
	carrier->calls.stat = imgo_stats_gauge(set, "imgo_carrier_calls", "calls to comets under way");
	carrier->tell_seconds =
		imgo_stats_histogram(set, carrier->loop, "imgo_carrier_call_seconds{what=\"tell\"}", seconds);
	carrier->cast_seconds =
		imgo_stats_histogram(set, carrier->loop, "imgo_carrier_call_seconds{what=\"cast\"}", seconds);
	imgo__collector_add(carrier->loop, &carrier->collector, collect);
}

int imgo__carrier_new(struct imgo__carrier **out, struct imgo_loop *loop, const struct imgo__carrier_options *options)
{
	struct imgo__carrier *carrier = imgo__zalloc(sizeof *carrier);

	if (!carrier)
		return IMGO_ENOMEM;
	carrier->loop = loop;
	carrier->registry = options->registry;
	carrier->secret = options->secret ? imgo__strdup(options->secret) : NULL;
	carrier->role = imgo__strdup(options->role);
	carrier->tls = options->tls;
	carrier->cast_batch_max = options->cast_batch_max ? options->cast_batch_max : UINT32_MAX;
	carrier->cast_batch_ms = options->cast_batch_ms;
	carrier->queue_max = options->queue_max_bytes ? options->queue_max_bytes : 64u << 20;
	imgo__list_init(&carrier->peers);
	imgo__task_init(&carrier->flush, on_flush);
	imgo__timer_init(&carrier->refresh_timer, on_refresh_timer);
	imgo__timer_init(&carrier->cast_timer, on_cast_timer);
	enter_stats(carrier);
	if (!carrier->role || (options->secret && !carrier->secret)) {
		imgo__carrier_free(carrier);
		return IMGO_ENOMEM;
	}
	refresh(carrier);
	*out = carrier;
	return 0;
}

void imgo__carrier_free(struct imgo__carrier *carrier)
{
	if (!carrier)
		return;
	imgo__task_cancel(&carrier->flush);
	imgo__timer_stop(carrier->loop, &carrier->refresh_timer);
	imgo__timer_stop(carrier->loop, &carrier->cast_timer);
	carrier->idle_fn = NULL;
	imgo__list_for(at, &carrier->peers)
	{
		peer_free(imgo__container_of(at, struct peer, link));
	}
	carrier->in_flight = 0;
	collect(&carrier->collector);
	imgo__collector_remove(&carrier->collector);
	free(carrier->secret);
	free(carrier->role);
	carrier->secret = carrier->role = NULL;
	carrier->freed = true;
	if (!carrier->refreshing)
		free(carrier); /* else the registry's answer does it */
}

void imgo__carrier_set_edge(struct imgo__carrier *carrier, struct imgo_edge *edge)
{
	carrier->edge = edge;
	imgo__list_for(at, &carrier->peers)
	{
		struct peer *peer = imgo__container_of(at, struct peer, link);
		if (peer->local)
			peer_free(peer);
	}
	refresh(carrier);
}

void imgo__carrier_idle(struct imgo__carrier *carrier, void (*fn)(void *user), void *user)
{
	carrier->idle_fn = fn;
	carrier->idle_user = user;
	imgo__defer(carrier->loop, &carrier->flush);
}
