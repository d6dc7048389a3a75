/* SPDX-License-Identifier: MIT */
/* The hub as a whole: making and freeing, limits, listeners, the end of a turn, and the calls that are a
 * look-up. */
#include "hub/internal.h"

#include <sys/resource.h>

#include "base/error.h"
#include "base/mem.h"

enum {
	SPARE_DESCRIPTORS = 64,
	ROUNDS = 16 * 1024,   /* connections of the to-do list served before the loop goes on */
	SHED_AFTER_MS = 1000, /* of silence, at the cap of those not logged in */
	SHED_LOOKS = 512,     /* for one such */
};

struct hub_listener {
	struct imgo__list link;
	struct imgo_hub *hub;
	enum imgo_hub_kind kind;
	struct imgo__listener *listener;
};

/* ---- accepting ---- */

static void on_accept(void *user, int fd, const struct imgo__addr *peer)
{
	struct hub_listener *l = user;

	l->hub->busy++;
	(void)imgo__conn_open(l->hub, fd, l->kind, peer);
	l->hub->busy--;
}

/* The longest silent first: they are at the head of the list. False: none is silent for long enough. */
static bool shed_silent(struct imgo_hub *hub)
{
	uint64_t now = imgo__loop_now_ms(hub->loop);
	uint32_t link = hub->waiting.head;

	for (int looks = 0; link && looks < SHED_LOOKS; looks++) {
		struct imgo__conn *c = imgo__conn_at(hub, link - 1);
		link = c->next;
		uint64_t since = c->deadline_ms - hub->opt.handshake_timeout_ms;
		if (now < since + SHED_AFTER_MS)
			return false;
		if (c->state == IMGO__CONN_AUTHING)
			continue;
		imgo__conn_kill(c, IMGO_CLOSE_HANDSHAKE);
		return true;
	}
	return false;
}

/* At the cap one that is silent gives way to the next that comes; which waits until it is gone, where there is no room
 * for both. */
static bool may_accept(void *user)
{
	struct imgo_hub *hub = ((struct hub_listener *)user)->hub;

	if (hub->freeing)
		return false;
	if (hub->unauthenticated < hub->opt.unauthenticated_max)
		return true;
	return shed_silent(hub) && hub->connections < hub->opt.connections_max;
}

void imgo__hub_say(struct imgo_hub *hub, struct imgo__seldom *seldom, const char *event)
{
	uint32_t times;

	if (imgo__seldom(seldom, imgo__loop_now_ms(hub->loop), &times))
		imgo_log_event(imgo_loop_log(hub->loop), IMGO_LOG_WARN, "hub", event,
			"times=%u connections=%u unauthenticated=%u", times, hub->connections, hub->unauthenticated);
}

static void on_pause(void *user, int err)
{
	struct hub_listener *l = user;

	(void)err;
	imgo_stat_add(l->hub->stats.pauses, 1);
	imgo__hub_say(l->hub, &l->hub->pauses, "accept-paused");
}

static const struct imgo__listener_ops listener_ops = {on_accept, may_accept, on_pause};

void imgo__hub_room_made(struct imgo_hub *hub)
{
	if (hub->unauthenticated >= hub->opt.unauthenticated_max)
		return;
	imgo__list_for(link, &hub->listeners)
		imgo__listener_resume(imgo__container_of(link, struct hub_listener, link)->listener);
}

static bool can_speak(const struct imgo_hub *hub, enum imgo_hub_kind kind)
{
	return !(kind & IMGO_HUB_TLS) || (hub->opt.tls && imgo__tls_has_cert(hub->opt.tls));
}

int imgo_hub_listen(struct imgo_hub *hub, const char *address, enum imgo_hub_kind kind, int *port, struct imgo_error *error)
{
	if (hub->freeing || (unsigned)kind > IMGO_HUB_WSS)
		return imgo__fail(error, IMGO_EINVAL, "no such kind of listener");
	if (!can_speak(hub, kind))
		return imgo__fail(error, IMGO_EINVAL, "TLS needs a certificate: imgo_hub_options.tls, tls.cert");
	struct hub_listener *l = imgo__zalloc(sizeof *l);
	if (!l)
		return imgo__fail(error, IMGO_ENOMEM, "out of memory");
	l->hub = hub;
	l->kind = kind;
	int r = imgo__listener_new(&l->listener, hub->loop, address, &listener_ops, l, port, error);
	if (r) {
		free(l);
		return r;
	}
	imgo__list_insert(&hub->listeners, &l->link);
	return 0;
}

void imgo_hub_stop_listening(struct imgo_hub *hub)
{
	struct imgo__list *link;

	while ((link = imgo__list_pop(&hub->listeners)) != NULL) {
		struct hub_listener *l = imgo__container_of(link, struct hub_listener, link);
		imgo__listener_free(l->listener);
		free(l);
	}
}

int imgo_hub_adopt_fd(struct imgo_hub *hub, int fd, enum imgo_hub_kind kind)
{
	struct imgo__addr peer = {.len = sizeof peer.ss};

	if (getpeername(fd, (struct sockaddr *)&peer.ss, &peer.len))
		peer = (struct imgo__addr){.len = 0};
	if ((unsigned)kind > IMGO_HUB_WSS || !can_speak(hub, kind)) {
		imgo__sock_close(hub->loop, fd);
		return IMGO_EINVAL;
	}
	imgo__sock_watch_peer(fd);
	return imgo__conn_open(hub, fd, kind, &peer);
}

/* ---- the end of a turn ---- */

void imgo__hub_schedule(struct imgo_hub *hub)
{
	if (!hub->freeing)
		imgo__defer(hub->loop, &hub->turn);
}

static void count(struct imgo_stat *stat, uint64_t *tally)
{
	if (*tally)
		imgo_stat_add(stat, (int64_t)*tally);
	*tally = 0;
}

static void count_all(struct imgo_hub *hub)
{
	struct imgo__hub_tally *t = &hub->tally;
	struct imgo__hub_stats *s = &hub->stats;

	count(s->packets_in, &t->packets_in);
	count(s->packets_out, &t->packets_out);
	count(s->bytes_in, &t->bytes_in);
	count(s->bytes_out, &t->bytes_out);
	count(s->reads, &t->reads);
	count(s->writes, &t->writes);
	count(s->dropped, &t->dropped);
	count(s->filtered, &t->filtered);
}

static struct imgo__conn *todo_pop(struct imgo_hub *hub)
{
	if (!hub->todo.head)
		return NULL;
	struct imgo__conn *c = imgo__conn_at(hub, hub->todo.head - 1);
	hub->todo.head = c->todo_next;
	if (!hub->todo.head)
		hub->todo.tail = 0;
	c->todo_next = 0;
	return c;
}

static void serve(struct imgo__conn *c)
{
	unsigned flags = c->flags;

	c->flags &= (uint16_t) ~(IMGO__CONN_TODO | IMGO__CONN_FLUSH | IMGO__CONN_RESUME);
	if (imgo__conn_alive(c) && (flags & IMGO__CONN_RESUME))
		imgo__conn_resume(c);
	if (imgo__conn_alive(c) && (flags & IMGO__CONN_FLUSH) && !(c->events & IMGO__WRITE))
		(void)imgo__conn_flush(c);
	if (c->state == IMGO__CONN_DYING && !(c->flags & IMGO__CONN_TODO))
		imgo__conn_reap(c);
}

static void on_turn(struct imgo_loop *loop, struct imgo__task *task)
{
	struct imgo_hub *hub = imgo__container_of(task, struct imgo_hub, turn);
	struct imgo__conn *c;

	(void)loop;
	hub->busy++;
	hub->turning = true;
	imgo__casts_walk_fresh(hub);
	for (int i = 0; i < ROUNDS && !hub->freeing && (c = todo_pop(hub)) != NULL; i++)
		serve(c);
	count_all(hub);
	hub->turning = false;
	hub->busy--;
	if (!hub->freeing && (hub->todo.head || !imgo__list_empty(&hub->fresh)))
		imgo__hub_schedule(hub);
}

/* ---- making ---- */

/* All that the descriptor limit allows, less some for the rest of the process. */
static uint32_t connections_max(uint32_t asked)
{
	struct rlimit limit;

	if (asked)
		return asked;
	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur > 100000000)
		return 100000000;
	return limit.rlim_cur > 2 * SPARE_DESCRIPTORS ? (uint32_t)limit.rlim_cur - SPARE_DESCRIPTORS
						      : (uint32_t)limit.rlim_cur / 2;
}

/* What the caller did not say, in full or by 0, is the default; packets_per_second_max may be 0. */
static void take_options(struct imgo_hub *hub, const struct imgo_hub_options *options)
{
	const struct imgo_hub_options defaults = IMGO_HUB_OPTIONS_INIT;
	struct imgo_hub_options *o = &hub->opt;

	*o = defaults;
	if (options)
		memcpy(o, options, options->size < sizeof *o ? options->size : sizeof *o);
#define DEFAULT(name) \
	if (o->name == 0) \
	o->name = defaults.name
	DEFAULT(handshake_timeout_ms);
	DEFAULT(heartbeat_timeout_ms);
	DEFAULT(body_max_bytes);
	DEFAULT(write_queue_max_bytes);
	DEFAULT(unauthenticated_max);
	DEFAULT(rooms_max);
	DEFAULT(walk_slice);
#undef DEFAULT
	o->connections_max = connections_max(o->connections_max);
	if (o->body_max_bytes > IMGO_BODY_MAX)
		o->body_max_bytes = IMGO_BODY_MAX;
	if (o->rooms_max > UINT16_MAX)
		o->rooms_max = UINT16_MAX;
	if (o->packets_per_second_max > 1000000)
		o->packets_per_second_max = 1000000;
	hub->packet_us = o->packets_per_second_max ? 1000000 / o->packets_per_second_max : 0;
}

static struct imgo_str user_key(const struct imgo__map_node *node)
{
	const struct imgo__user *user = imgo__container_of(node, struct imgo__user, node);

	return imgo_strn(user->key, user->len);
}

static struct imgo_str room_key(const struct imgo__map_node *node)
{
	const struct imgo__room *room = imgo__container_of(node, struct imgo__room, node);

	return imgo_strn(room->key, room->len);
}

static void enter_gauges(struct imgo_hub *hub, struct imgo_stats *set)
{
	static const char *const dialects[IMGO__DIALECTS] = {
		[IMGO__DIALECT_TCP1] = "imgo_hub_sessions{dialect=\"tcp1\"}",
		[IMGO__DIALECT_TCPG] = "imgo_hub_sessions{dialect=\"goim-tcp\"}",
		[IMGO__DIALECT_TCP2] = "imgo_hub_sessions{dialect=\"tcp2\"}",
		[IMGO__DIALECT_JSON1] = "imgo_hub_sessions{dialect=\"json1\"}",
		[IMGO__DIALECT_JSON2] = "imgo_hub_sessions{dialect=\"json2\"}",
		[IMGO__DIALECT_BING] = "imgo_hub_sessions{dialect=\"goim-websocket\"}",
		[IMGO__DIALECT_BIN2] = "imgo_hub_sessions{dialect=\"binary2\"}",
	};
	struct imgo__hub_stats *s = &hub->stats;

	for (int i = 0; i < IMGO__DIALECTS; i++)
		s->dialects[i].stat =
			imgo_stats_gauge(set, dialects[i], "client connections that are logged in, by dialect");
	s->handshaking.stat =
		imgo_stats_gauge(set, "imgo_hub_handshaking", "client connections that are not logged in yet");
	s->closing.stat = imgo_stats_gauge(set, "imgo_hub_closing", "client connections whose end is under way");
	s->users.stat = imgo_stats_gauge(set, "imgo_hub_users", "users with a connection");
	s->rooms.stat = imgo_stats_gauge(set, "imgo_hub_rooms", "rooms with a connection");
	s->cast_bytes.stat = imgo_stats_gauge(
		set, "imgo_hub_cast_queue_bytes", "messages to rooms and all that are not given out yet");
}

static void collect(struct imgo__collector *collector)
{
	struct imgo_hub *hub = imgo__container_of(collector, struct imgo_hub, collector);
	struct imgo__hub_stats *s = &hub->stats;

	for (int i = 0; i < IMGO__DIALECTS; i++)
		imgo__gauge_set(&s->dialects[i], hub->dialects[i]);
	imgo__gauge_set(&s->handshaking, hub->unauthenticated);
	imgo__gauge_set(&s->closing, (int64_t)hub->connections - hub->unauthenticated - hub->authenticated);
	imgo__gauge_set(&s->users, (int64_t)hub->users.n);
	imgo__gauge_set(&s->rooms, (int64_t)hub->rooms.n);
	imgo__gauge_set(&s->cast_bytes, (int64_t)hub->cast_bytes);
}

static void enter_stats(struct imgo_hub *hub)
{
	static const char *const closed[IMGO__HUB_CLOSES] = {
		[IMGO_CLOSE_NONE] = "imgo_hub_closed_total{why=\"none\"}",
		[IMGO_CLOSE_PEER] = "imgo_hub_closed_total{why=\"peer\"}",
		[IMGO_CLOSE_RESET] = "imgo_hub_closed_total{why=\"reset\"}",
		[IMGO_CLOSE_PROTOCOL] = "imgo_hub_closed_total{why=\"protocol\"}",
		[IMGO_CLOSE_TOO_BIG] = "imgo_hub_closed_total{why=\"too_big\"}",
		[IMGO_CLOSE_HANDSHAKE] = "imgo_hub_closed_total{why=\"handshake\"}",
		[IMGO_CLOSE_HEARTBEAT] = "imgo_hub_closed_total{why=\"heartbeat\"}",
		[IMGO_CLOSE_SLOW] = "imgo_hub_closed_total{why=\"slow\"}",
		[IMGO_CLOSE_DENIED] = "imgo_hub_closed_total{why=\"denied\"}",
		[IMGO_CLOSE_TRY_LATER] = "imgo_hub_closed_total{why=\"try_later\"}",
		[IMGO_CLOSE_REPLACED] = "imgo_hub_closed_total{why=\"replaced\"}",
		[IMGO_CLOSE_KICKED] = "imgo_hub_closed_total{why=\"kicked\"}",
		[IMGO_CLOSE_FLOOD] = "imgo_hub_closed_total{why=\"flood\"}",
		[IMGO_CLOSE_SHUTDOWN] = "imgo_hub_closed_total{why=\"shutdown\"}",
	};
	struct imgo_stats *set = imgo_loop_stats(hub->loop);
	struct imgo__hub_stats *s = &hub->stats;

	s->connections = imgo_stats_gauge(set, "imgo_hub_connections", "open client connections");
	s->authenticated = imgo_stats_gauge(set, "imgo_hub_authenticated", "client connections that are logged in");
	s->accepted = imgo_stats_counter(set, "imgo_hub_accepted_total", "client connections taken");
	s->refused_connections = imgo_stats_counter(
		set, "imgo_hub_refused_total{why=\"connections\"}", "client connections refused when accepted");
	s->refused_memory = imgo_stats_counter(
		set, "imgo_hub_refused_total{why=\"memory\"}", "client connections refused when accepted");
	s->refused_origin = imgo_stats_counter(
		set, "imgo_hub_refused_total{why=\"origin\"}", "client connections refused when accepted");
	s->pauses = imgo_stats_counter(set, "imgo_hub_accept_pauses_total", "times that accepting paused");
	for (int i = 0; i < IMGO__HUB_CLOSES; i++)
		s->closed[i] = imgo_stats_counter(set, closed[i], "client connections closed");
	s->packets_in = imgo_stats_counter(set, "imgo_hub_packets_in_total", "packets and frames of clients");
	s->packets_out = imgo_stats_counter(set, "imgo_hub_packets_out_total", "packets given to connections");
	s->bytes_in = imgo_stats_counter(set, "imgo_hub_bytes_in_total", "bytes read from clients");
	s->bytes_out = imgo_stats_counter(set, "imgo_hub_bytes_out_total", "bytes written to clients");
	s->reads = imgo_stats_counter(set, "imgo_hub_reads_total", "system calls that read");
	s->writes = imgo_stats_counter(set, "imgo_hub_writes_total", "system calls that wrote");
	s->dropped = imgo_stats_counter(set, "imgo_hub_dropped_total",
		"messages (or batches in a queue) that a connection should have got and did not");
	s->filtered = imgo_stats_counter(set, "imgo_hub_filtered_total",
		"messages not sent as their operation is not among those the client accepts");
	enter_gauges(hub, set);
	s->greeting = imgo_stats_histogram(
		set, hub->loop, "imgo_connect_seconds{stage=\"greeting\"}", "how long a login takes, by stage");
	s->login = imgo_stats_histogram(
		set, hub->loop, "imgo_connect_seconds{stage=\"login\"}", "how long a login takes, by stage");
}

static void on_free(struct imgo_loop *loop, struct imgo__task *task);

static void hub_init(struct imgo_hub *hub)
{
	imgo__map_init(&hub->users, user_key);
	imgo__map_init(&hub->rooms, room_key);
	imgo__accepts_init(hub);
	imgo__room_init(hub->everyone);
	imgo__list_init(&hub->fresh);
	imgo__list_init(&hub->going);
	imgo__list_init(&hub->listeners);
	imgo__task_init(&hub->turn, on_turn);
	imgo__task_init(&hub->free_task, on_free);
	imgo__timer_init(&hub->walk, imgo__casts_walk_timer);
	imgo__pace_init(hub);
	enter_stats(hub);
	imgo__collector_add(hub->loop, &hub->collector, collect);
	imgo__guard_init(hub);
}

const char *imgo_hub_check_origins(const char *list)
{
	return imgo__ws_origins_wrong(list);
}

static const char *origins_wrong(const struct imgo_hub_options *options)
{
	if (!options || options->size < offsetof(struct imgo_hub_options, origins) + sizeof options->origins)
		return NULL;
	return options->origins ? imgo__ws_origins_wrong(options->origins) : NULL;
}

int imgo_hub_new(struct imgo_hub **out, struct imgo_loop *loop, const struct imgo_hub_ops *ops, void *user,
	const struct imgo_hub_options *options, struct imgo_error *error)
{
	const char *wrong = origins_wrong(options);

	*out = NULL;
	if (!loop || !ops || ops->size < offsetof(struct imgo_hub_ops, on_packet) || !ops->on_auth)
		return imgo__fail(error, IMGO_EINVAL, "a hub needs a loop and on_auth");
	if (wrong)
		return imgo__fail(error, IMGO_EINVAL, "hub.origins: %s", wrong);
	struct imgo_hub *hub = imgo__zalloc(sizeof *hub);
	if (!hub)
		return imgo__fail(error, IMGO_ENOMEM, "out of memory");
	memcpy(&hub->ops, ops, ops->size < sizeof *ops ? ops->size : sizeof *ops);
	hub->loop = loop;
	hub->user = user;
	take_options(hub, options);
	hub->everyone = imgo__zalloc(sizeof *hub->everyone);
	if (hub->opt.origins)
		hub->origins = imgo__strdup(hub->opt.origins);
	if (!hub->everyone || (hub->opt.origins && !hub->origins)) {
		free(hub->everyone);
		free(hub->origins);
		free(hub);
		return imgo__fail(error, IMGO_ENOMEM, "out of memory");
	}
	hub->opt.origins = hub->origins;
	hub_init(hub);
	*out = hub;
	return 0;
}

/* ---- freeing ---- */

static void hub_destroy(struct imgo_hub *hub)
{
	hub->busy++; /* on_close may call imgo_hub_free again */
	imgo__task_cancel(&hub->turn);
	imgo__timer_stop(hub->loop, &hub->walk);
	imgo__pace_fini(hub);
	imgo_hub_stop_listening(hub);
	for (uint32_t slot = 0; slot < hub->npages * IMGO__HUB_PAGE; slot++) {
		struct imgo__conn *c = imgo__conn_at(hub, slot);
		if (c->state == IMGO__CONN_FREE)
			continue;
		if (imgo__conn_alive(c))
			imgo__casts_settle(c);
		imgo__conn_destroy(c);
	}
	count_all(hub);
	imgo__rooms_fini(hub);
	hub->cast_bytes = 0;
	collect(&hub->collector);
	imgo__collector_remove(&hub->collector);
	imgo__guard_fini(hub);
	imgo__slab_free(hub);
	imgo__hub_tls_fini(hub);
	imgo__buf_free(&hub->scratch);
	free(hub->origins);
	free(hub);
}

static void on_free(struct imgo_loop *loop, struct imgo__task *task)
{
	(void)loop;
	hub_destroy(imgo__container_of(task, struct imgo_hub, free_task));
}

void imgo_hub_free(struct imgo_hub *hub)
{
	if (!hub || hub->freeing)
		return;
	hub->freeing = true;
	if (hub->busy)
		imgo__defer(hub->loop, &hub->free_task);
	else
		hub_destroy(hub);
}
