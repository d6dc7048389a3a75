/* SPDX-License-Identifier: MIT */
/* The job's role: life of the object. What it does is in dispatch_users.c, dispatch_rebuild.c and dispatch_casts.c. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/options.h"
#include "base/hash.h"
#include "service/dispatch_impl.h"

enum { POISON_BYTES_MAX = 4096 }; /* of one record that are kept */

void *imgo__dispatch_op_new(struct imgo_dispatch *dispatch, size_t size)
{
	struct imgo__dispatch_op *op = imgo__zalloc(size);

	if (!op)
		return NULL;
	op->dispatch = dispatch;
	imgo__list_init(&op->link);
	imgo__list_insert(&dispatch->ops, &op->link);
	return op;
}

void imgo__dispatch_op_free(struct imgo__dispatch_op *op)
{
	imgo__list_remove(&op->link);
	if (op->free)
		op->free(op);
	imgo__arena_free(&op->arena);
	free(op);
}

/* One line a record: where it was, why, and its first bytes in hex. A failing disk must not stop the messages. */
static void poison_keep(struct imgo_dispatch *dispatch, enum imgo_topic topic, const struct imgo_bus_record *record, int err)
{
	size_t len = record->value.len < POISON_BYTES_MAX ? record->value.len : POISON_BYTES_MAX;
	struct imgo__buf line = {0};

	if (dispatch->poison_fd < 0 ||
		imgo__buf_printf(&line, "topic=%s partition=%u offset=%llu at_ms=%llu why=%s bytes=%zu ",
			topic == IMGO_TOPIC_USERS ? "users" : "casts", record->partition, (unsigned long long)record->offset,
			(unsigned long long)record->at_ms, imgo_err_name(err), record->value.len) < 0)
		return;
	if (imgo__buf_reserve(&line, 2 * len + 2) == 0) {
		imgo__hex(record->value.p, len, (char *)line.data + line.len);
		line.len += 2 * len;
		line.data[line.len++] = '\n';
		if (write(dispatch->poison_fd, line.data, line.len) < 0)
			imgo_log_event(imgo_loop_log(dispatch->loop), IMGO_LOG_ERROR, "dispatch", "poison-lost",
				"errno=%d", errno);
	}
	imgo__buf_free(&line);
}

void imgo__dispatch_poison(
	struct imgo_dispatch *dispatch, enum imgo_topic topic, const struct imgo_bus_record *record, int err)
{
	imgo_stat_add(dispatch->stats.poison, 1);
	imgo_log_event(imgo_loop_log(dispatch->loop), IMGO_LOG_ERROR, "dispatch", "poison",
		"topic=%s partition=%u offset=%llu err=%s", topic == IMGO_TOPIC_USERS ? "users" : "casts",
		record->partition, (unsigned long long)record->offset, imgo_err_name(err));
	poison_keep(dispatch, topic, record, err);
}

static int take_options(struct imgo_dispatch_options *o, const struct imgo_dispatch_options *given, struct imgo_error *error)
{
	const struct imgo_dispatch_options defaults = *o;
	int err = imgo__options_take(o, given, "dispatch", error);

	IMGO__OPTION_DEFAULT(*o, defaults, group);
	IMGO__OPTION_DEFAULT(*o, defaults, ttl_ms);
	IMGO__OPTION_DEFAULT(*o, defaults, cast_age_max_ms);
	return err;
}

static int check_options(const struct imgo_dispatch_options *options, struct imgo_error *error)
{
	if (!options->registry || !options->store || !options->bus || !options->group[0])
		return imgo__fail(error, IMGO_EINVAL, "dispatch: registry, store, bus and group are mandatory");
	if (options->room_batch_max && !options->room_batch_ms)
		return imgo__fail(error, IMGO_EINVAL, "room.batch-max needs room.batch-ms");
	return 0;
}

static int open_poison(struct imgo_dispatch *dispatch, const char *path, struct imgo_error *error)
{
	dispatch->poison_fd = -1;
	if (!path)
		return 0;
	dispatch->poison_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (dispatch->poison_fd < 0)
		return imgo__fail(error, IMGO_EIO, "job.poison-path: %s: %s", path, strerror(errno));
	return 0;
}

static int open_consumers(struct imgo_dispatch *dispatch, const char *group, struct imgo_error *error)
{
	char name[128];
	int err;

	if (snprintf(name, sizeof name, "%s-casts", group) >= (int)sizeof name)
		return imgo__fail(error, IMGO_EINVAL, "job.group is too long");
	err = imgo_bus_subscribe(
		&dispatch->users, dispatch->bus, IMGO_TOPIC_USERS, group, &imgo__dispatch_users_ops, dispatch);
	if (err == 0)
		err = imgo_bus_subscribe(
			&dispatch->casts, dispatch->bus, IMGO_TOPIC_CASTS, name, &imgo__dispatch_casts_ops, dispatch);
	return err ? imgo__fail(error, err, "dispatch: cannot subscribe: %s", imgo_strerror(err)) : 0;
}

int imgo_dispatch_new(struct imgo_dispatch **out, struct imgo_loop *loop, const struct imgo_dispatch_options *given,
	struct imgo_error *error)
{
	struct imgo_dispatch_options o = IMGO_DISPATCH_OPTIONS_INIT;
	const struct imgo_dispatch_options *options = &o;
	struct imgo_dispatch *dispatch;
	int err = take_options(&o, given, error);

	if (err == 0)
		err = check_options(options, error);
	if (err < 0)
		return err;
	dispatch = imgo__zalloc(sizeof *dispatch);
	if (!dispatch)
		return imgo__fail(error, IMGO_ENOMEM, "dispatch: out of memory");
	dispatch->loop = loop;
	dispatch->registry = options->registry;
	dispatch->store = options->store;
	dispatch->bus = options->bus;
	dispatch->ttl_ms = options->ttl_ms;
	dispatch->cast_age_max_ms = options->cast_age_max_ms;
	imgo__list_init(&dispatch->ops);
	imgo__timer_init(&dispatch->stop_timer, NULL);
	err = open_poison(dispatch, options->poison_path, error);
	if (err == 0 && (imgo__dispatch_users_init(dispatch) < 0 || imgo__dispatch_casts_init(dispatch) < 0 ||
				imgo__dispatch_stats_init(dispatch) < 0))
		err = imgo__fail(error, IMGO_ENOMEM, "dispatch: out of memory");
	if (err == 0 && imgo__carrier_new(&dispatch->carrier, loop,
				&(struct imgo__carrier_options){.registry = dispatch->registry,
					.secret = options->secret,
					.tls = options->rpc_tls,
					.role = "job",
					.cast_batch_max = options->room_batch_max,
					.cast_batch_ms = options->room_batch_ms}) < 0)
		err = imgo__fail(error, IMGO_ENOMEM, "dispatch: out of memory");
	if (err == 0 && options->edge)
		imgo__carrier_set_edge(dispatch->carrier, options->edge);
	if (err == 0)
		err = open_consumers(dispatch, options->group, error);
	if (err < 0) {
		imgo_dispatch_free(dispatch);
		return err;
	}
	*out = dispatch;
	return 0;
}

void imgo_dispatch_free(struct imgo_dispatch *dispatch)
{
	if (!dispatch)
		return;
	dispatch->stopping = true;
	dispatch->stopped = NULL;
	imgo__timer_stop(dispatch->loop, &dispatch->stop_timer);
	imgo_bus_unsubscribe(dispatch->users);
	imgo_bus_unsubscribe(dispatch->casts);
	imgo__list_for(at, &dispatch->ops)
	{
		imgo__list_remove(at);
		imgo__container_of(at, struct imgo__dispatch_op, link)->dispatch = NULL;
	}
	imgo__carrier_free(dispatch->carrier);
	imgo__dispatch_stats_fini(dispatch);
	imgo__dispatch_users_fini(dispatch);
	imgo__dispatch_casts_fini(dispatch);
	if (dispatch->poison_fd >= 0)
		close(dispatch->poison_fd);
	free(dispatch);
}

/* ---- stop: no new steps; the last ones end, what is told goes out, then the group is left ---- */

static void stop_end(void *user)
{
	struct imgo_dispatch *dispatch = user;
	void (*stopped)(void *) = dispatch->stopped;

	imgo__timer_stop(dispatch->loop, &dispatch->stop_timer);
	dispatch->stopped = NULL;
	imgo_bus_unsubscribe(dispatch->users);
	imgo_bus_unsubscribe(dispatch->casts);
	dispatch->users = dispatch->casts = NULL;
	if (stopped)
		stopped(dispatch->stopped_user);
}

static void on_stop_timer(struct imgo_loop *loop, struct imgo__timer *timer)
{
	(void)loop;
	stop_end(imgo__container_of(timer, struct imgo_dispatch, stop_timer));
}

void imgo__dispatch_check_stopped(struct imgo_dispatch *dispatch)
{
	if (!dispatch->stopping || !dispatch->stopped || dispatch->asks)
		return;
	for (uint32_t i = 0; i < dispatch->nparts; i++) {
		if (dispatch->parts[i].busy)
			return;
	}
	imgo__carrier_idle(dispatch->carrier, stop_end, dispatch);
}

void imgo_dispatch_stop(struct imgo_dispatch *dispatch, uint64_t deadline_ms, void (*done)(void *user), void *user)
{
	dispatch->stopping = true;
	dispatch->stopped = done;
	dispatch->stopped_user = user;
	imgo__timer_init(&dispatch->stop_timer, on_stop_timer);
	imgo__timer_start(dispatch->loop, &dispatch->stop_timer, deadline_ms);
	imgo__dispatch_check_stopped(dispatch);
}

void imgo_dispatch_state(const struct imgo_dispatch *dispatch, struct imgo_dispatch_state *out)
{
	memset(out, 0, sizeof *out);
	for (uint32_t i = 0; i < dispatch->nparts; i++) {
		out->assigned += dispatch->parts[i].assigned;
		out->waiting += dispatch->parts[i].failures != 0;
		out->rebuilding += dispatch->parts[i].token != 0;
	}
}
