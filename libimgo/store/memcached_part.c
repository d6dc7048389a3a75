/* SPDX-License-Identifier: MIT */
/*
 * A partition as one call sees it: through its marker.
 *
 * memcached may forget everything at any moment, and another process may begin or end a rebuild. So what a
 * record says, and even more that there is none, counts only between two looks at the marker that agree: the
 * keys are asked for in one command "gets marker … marker", which the server answers in order. All later
 * commands of the call must find that same marker, or the call ends with IMGO_EREBUILDING (IMGO_ESTALE for a
 * rebuild that is not the one that goes on any more).
 */
#include <stdio.h>

#include "store/memcached.h"

void imgo__mc_view_init(struct imgo__mc_view *view, struct imgo__mc_conn *conn, struct imgo__mc *mc,
	struct imgo__arena *arena, uint64_t deadline_ms, uint32_t epoch, uint32_t partition, uint64_t rebuild_token)
{
	*view = (struct imgo__mc_view){.mc = mc,
		.conn = conn,
		.arena = arena,
		.deadline_ms = deadline_ms,
		.epoch = epoch,
		.partition = partition,
		.rebuild_token = rebuild_token};
	snprintf(view->group, sizeof view->group, "p%u", (unsigned)partition);
}

static struct imgo__marker decode(const struct imgo__mc_view *view, const struct imgo__mc_value *value)
{
	if (!value->found)
		return (struct imgo__marker){IMGO_MARKER_MISSING, 0};
	return imgo__marker_decode(view->mc->list_version, value->data.p, value->data.len);
}

static int lost(const struct imgo__mc_view *view)
{
	return view->rebuild_token ? IMGO_ESTALE : IMGO_EREBUILDING;
}

static int check(struct imgo__mc_view *view, struct imgo__marker marker)
{
	int err = imgo__marker_check(marker, view->rebuild_token);
	if (err)
		return err;
	if (view->seen && !imgo__marker_eq(view->marker, marker))
		return lost(view);
	view->marker = marker;
	view->seen = true;
	return 0;
}

int imgo__mc_get_checked(struct imgo__mc_view *view, const struct imgo__mc_key *keys, size_t n, struct imgo__mc_value *out)
{
	struct imgo__mc_key all[IMGO__MC_BATCH + 2];
	struct imgo__mc_value values[IMGO__MC_BATCH + 2];
	imgo__mc_key_marker(&all[0], view->epoch, view->partition);
	if (n)
		memcpy(all + 1, keys, n * sizeof *keys);
	all[n + 1] = all[0];
	int err = imgo__mc_get(view, all, n + 2, values);
	if (!err)
		err = check(view, decode(view, &values[0]));
	if (!err)
		err = check(view, decode(view, &values[n + 1]));
	if (n)
		memcpy(out, values + 1, n * sizeof *out);
	return err;
}

int imgo__mc_recheck(struct imgo__mc_view *view)
{
	struct imgo__mc_key key;
	struct imgo__mc_value value;
	imgo__mc_key_marker(&key, view->epoch, view->partition);
	int err = imgo__mc_get(view, &key, 1, &value);
	return err ? err : check(view, decode(view, &value));
}

int imgo__mc_damaged(struct imgo__mc_view *view, const struct imgo__mc_key *key, const char *what)
{
	imgo_stat_add(view->mc->stats.corrupt, 1);
	imgo_log_event(imgo_loop_log(view->mc->loop), IMGO_LOG_ERROR, "store", "damaged-record",
		"backend=memcached what=%s partition=%u", what, (unsigned)view->partition);
	/* The record first: the marker must not be found missing, and rebuilt, while it is still there. */
	int err = imgo__mc_delete(view, key);
	if (!err || err == IMGO_ENOTFOUND)
		err = imgo__mc_forget_marker(view);
	return err ? err : lost(view);
}

/* ---- steps ---- */

static int write_marker(struct imgo__mc_view *view, const struct imgo__mc_key *key, const struct imgo__mc_value *old,
	struct imgo__marker marker)
{
	uint8_t bytes[IMGO__MARKER_LEN];
	imgo__marker_encode(marker, view->mc->list_version, bytes);
	struct imgo_str value = imgo_strn(bytes, sizeof bytes);
	return old->found ? imgo__mc_cas(view, key, value, 0, old->cas) : imgo__mc_add(view, key, value, 0);
}

int imgo__mc_marker_step(struct imgo__mc_view *view, struct imgo_store_marker *call)
{
	struct imgo__mc_key key;
	struct imgo__mc_value value;
	imgo__mc_key_marker(&key, view->epoch, view->partition);
	for (int i = 0; i < IMGO__MC_ATTEMPTS; i++) {
		int err = imgo__mc_get(view, &key, 1, &value);
		if (err)
			return err;
		struct imgo__marker marker = decode(view, &value);
		bool changed;
		err = imgo__marker_step(&marker, call, &changed);
		if (err || !changed)
			return err;
		err = write_marker(view, &key, &value, marker);
		if (err != IMGO_EEXISTS && err != IMGO_ENOTFOUND)
			return err;
	}
	return IMGO_EUNAVAILABLE;
}

int imgo__mc_forget_marker(struct imgo__mc_view *view)
{
	struct imgo__mc_key key;
	imgo__mc_key_marker(&key, view->epoch, view->partition);
	int err = imgo__mc_delete(view, &key);
	return err == IMGO_ENOTFOUND ? 0 : err;
}
