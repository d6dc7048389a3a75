/* SPDX-License-Identifier: MIT */
/*
 * Checks of parts of the library. Bus, edge and dispatch know how they are; a registry and a store only show it when they
 * are called, so each is called a little all the time (a probe), and the check tells what came of that.
 *
 * A probe has one call under way, never two: a peer that does not answer is not buried in questions. What is under way may
 * be answered after the admin was freed: then the answer frees the probe.
 */
#include "service/admin_impl.h"

#include <stdio.h>
#include <string.h>

#include "service/edge_impl.h"

enum {
	USERS = 64,            /* of a look-up: together they meet every router */
	ROUND_PARTITIONS = 64, /* looked at in a second while something is amiss, ... */
	CALM_PARTITIONS = 8,   /* ... and while all is well: a wake-up each 62 ms, not each 8 */
};

struct imgo__admin_probe {
	struct imgo_loop *loop;
	struct imgo_registry *registry; /* one of the two */
	struct imgo_store *store;
	struct imgo_bus *bus;
	struct imgo__timer again;
	bool busy, freed, answered;
	bool round_done; /* store: all partitions were looked at once */
	int err;         /* of the last call that failed, 0 since one that did not */
	uint64_t at_ms;  /* when the call under way began */
	/* registry */
	char names[USERS][24];
	struct imgo_registry_get gets[USERS];
	/* store */
	struct imgo_store_marker marker;
	uint32_t partition, left;    /* next one to look at; those of this second's round that are not looked at yet */
	uint32_t building, rebuilds; /* partitions that are not complete: in this round through all, and in the last */
};

static bool answered(struct imgo__admin_probe *probe, int err)
{
	probe->busy = false;
	if (probe->freed) {
		free(probe);
		return false;
	}
	probe->answered = true;
	probe->err = err;
	return true;
}

/* ---- registry ---- */

static void on_sessions(int err, void *user)
{
	struct imgo__admin_probe *probe = user;

	for (int i = 0; err == 0 && i < USERS; i++)
		err = probe->gets[i].err;
	(void)answered(probe, err);
}

static int ask_registry(struct imgo__admin_probe *probe)
{
	memset(probe->gets, 0, sizeof probe->gets);
	for (int i = 0; i < USERS; i++)
		probe->gets[i].user = imgo_str(probe->names[i]);
	return imgo_registry_get_many(probe->registry, probe->gets, USERS, on_sessions, probe);
}

/* ---- store ---- */

static void on_marker(int err, void *user);

static int ask_store(struct imgo__admin_probe *probe)
{
	uint32_t partitions = imgo_bus_partitions(probe->bus, IMGO_TOPIC_USERS);

	if (probe->partition >= partitions) {
		probe->rebuilds = probe->building;
		probe->partition = probe->building = 0;
		probe->round_done = true;
	}
	probe->marker = (struct imgo_store_marker){.epoch = imgo_bus_epoch(probe->bus), .partition = probe->partition};
	return imgo_store_marker(probe->store, &probe->marker, on_marker, probe);
}

static uint32_t partitions_a_second(const struct imgo__admin_probe *probe)
{
	bool calm = probe->round_done && !probe->err && !probe->building && !probe->rebuilds;

	return calm ? CALM_PARTITIONS : ROUND_PARTITIONS;
}

static void on_marker(int err, void *user)
{
	struct imgo__admin_probe *probe = user;

	if (!answered(probe, err) || err)
		return; /* the same partition is asked about again, in a second */
	probe->building += probe->marker.state != IMGO_MARKER_COMPLETE;
	probe->partition++;
	if (probe->left && --probe->left)
		imgo__timer_start(probe->loop, &probe->again, IMGO__ADMIN_LOOK_MS / 2 / partitions_a_second(probe));
}

/* ---- probes ---- */

static void ask(struct imgo__admin_probe *probe)
{
	int err;

	probe->busy = true;
	probe->at_ms = imgo__loop_now_ms(probe->loop);
	err = probe->registry ? ask_registry(probe) : ask_store(probe);
	if (err < 0)
		(void)answered(probe, err);
}

static void on_again(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo__admin_probe *probe = imgo__container_of(timer, struct imgo__admin_probe, again);

	(void)loop;
	if (!probe->busy)
		ask(probe);
}

void imgo__admin_probe_step(struct imgo__admin_probe *probe)
{
	uint32_t partitions;

	if (probe->store) {
		partitions = imgo_bus_partitions(probe->bus, IMGO_TOPIC_USERS);
		probe->left = partitions_a_second(probe);
		probe->left = partitions < probe->left ? partitions : probe->left;
	}
	if (!probe->busy && !imgo__timer_active(&probe->again))
		ask(probe);
}

void imgo__admin_probe_free(struct imgo__admin_probe *probe)
{
	if (!probe)
		return;
	imgo__timer_stop(probe->loop, &probe->again);
	probe->freed = true;
	if (!probe->busy)
		free(probe);
}

static enum imgo_health probed(char *detail, size_t size, void *user)
{
	struct imgo__admin_probe *probe = user;
	uint64_t age_ms = imgo__loop_now_ms(probe->loop) - probe->at_ms;

	if (probe->busy && age_ms > 2 * IMGO__ADMIN_LOOK_MS) {
		snprintf(detail, size, "no answer for %llu ms", (unsigned long long)age_ms);
		return IMGO_HEALTH_DOWN;
	}
	if (!probe->answered || probe->err) {
		snprintf(detail, size, "%s", probe->answered ? imgo_strerror(probe->err) : "not asked yet");
		return IMGO_HEALTH_DOWN;
	}
	if (!probe->store)
		return IMGO_HEALTH_UP;
	if (probe->building > probe->rebuilds || probe->rebuilds) {
		snprintf(detail, size, "partitions to be rebuilt: %u",
			probe->building > probe->rebuilds ? probe->building : probe->rebuilds);
		return IMGO_HEALTH_DEGRADED;
	}
	return IMGO_HEALTH_UP;
}

static int watch(struct imgo_admin *admin, const char *name, struct imgo_registry *registry, struct imgo_store *store,
	struct imgo_bus *bus)
{
	struct imgo__admin_probe *probe = imgo__zalloc(sizeof *probe);
	int err;

	if (!probe)
		return IMGO_ENOMEM;
	probe->loop = admin->loop;
	probe->registry = registry;
	probe->store = store;
	probe->bus = bus;
	imgo__timer_init(&probe->again, on_again);
	for (int i = 0; i < USERS; i++) /* no user of anybody's: a key with a control character */
		snprintf(probe->names[i], sizeof probe->names[i], "\001probe-%d", i);
	err = imgo_admin_check(admin, name, probed, probe);
	if (err < 0) {
		free(probe);
		return err;
	}
	admin->checks[admin->nchecks - 1].probe = probe;
	return 0;
}

int imgo_admin_watch_registry(struct imgo_admin *admin, const char *name, struct imgo_registry *registry)
{
	return watch(admin, name, registry, NULL, NULL);
}

int imgo_admin_watch_store(struct imgo_admin *admin, const char *name, struct imgo_store *store, struct imgo_bus *bus)
{
	return watch(admin, name, NULL, store, bus);
}

/* ---- parts that know ---- */

static enum imgo_health check_bus(char *detail, size_t size, void *user)
{
	if (!imgo_bus_ready(user)) {
		snprintf(detail, size, "it does not answer, or its topics are not there yet");
		return IMGO_HEALTH_DOWN;
	}
	if (!imgo_bus_full(user))
		return IMGO_HEALTH_UP;
	snprintf(detail, size, "full: pushes to users are refused until there is room");
	return IMGO_HEALTH_DEGRADED;
}

int imgo_admin_watch_bus(struct imgo_admin *admin, const char *name, struct imgo_bus *bus)
{
	return imgo_admin_check(admin, name, check_bus, bus);
}

static enum imgo_health check_logic(char *detail, size_t size, void *user)
{
	struct imgo_edge *edge = user;

	if (!edge->gate.ops->up || edge->gate.ops->up(edge->gate.impl))
		return IMGO_HEALTH_UP;
	snprintf(detail, size, "no logic is connected");
	return IMGO_HEALTH_DOWN;
}

static enum imgo_health check_lease(char *detail, size_t size, void *user)
{
	struct imgo_edge *edge = user;

	if (imgo_edge_ready(edge)) {
		snprintf(detail, size, "renewed %llu ms ago",
			(unsigned long long)(imgo__loop_now_ms(edge->loop) - edge->renewed_ms));
		return edge->renew_err ? IMGO_HEALTH_DEGRADED : IMGO_HEALTH_UP;
	}
	snprintf(detail, size, "%s",
		edge->superseded  ? "a newer process has this comet.id"
		: edge->renew_err ? imgo_strerror(edge->renew_err)
				  : "no logic and router have granted one yet");
	return IMGO_HEALTH_DOWN;
}

int imgo_admin_watch_edge(struct imgo_admin *admin, struct imgo_edge *edge)
{
	int err = imgo_admin_check(admin, "logic", check_logic, edge);

	return err ? err : imgo_admin_check(admin, "lease", check_lease, edge);
}

static enum imgo_health check_dispatch(char *detail, size_t size, void *user)
{
	struct imgo_dispatch_state state;

	imgo_dispatch_state(user, &state);
	snprintf(detail, size, "%u assigned, %u waiting, %u being rebuilt", state.assigned, state.waiting,
		state.rebuilding);
	return state.assigned && !state.waiting && !state.rebuilding ? IMGO_HEALTH_UP : IMGO_HEALTH_DEGRADED;
}

int imgo_admin_watch_dispatch(struct imgo_admin *admin, struct imgo_dispatch *dispatch)
{
	return imgo_admin_check(admin, "partitions", check_dispatch, dispatch);
}
