/* SPDX-License-Identifier: MIT */
/*
 * Commands to memcached, through libmemcached; no other file includes its headers.
 *
 * Only add, cas, get and delete are used. A plain `set` that memcached refuses (item too big, out of memory
 * with -M) deletes what was there before; add and cas leave it (measured with 1.6.18).
 *
 * libmemcached spreads by a group key with a fixed modulus (no ejection: the order of the list is the
 * sharding). After anything but a clean answer all connections of this object are closed, so that no late
 * reply can be taken for that of the next command. It follows that a command never runs on another life of
 * the server than the commands of the same call before it: the first command after a restart always fails,
 * and with it the call. So a cas number from before a restart is never used after it, though memcached counts
 * from 1 again (tests/model/README.md, 3; tests/conformance/test_store_stale.c). A server behind a proxy that
 * keeps the connection open over a restart would break this.
 *
 * Deleting the bodies that nobody wants any more is best effort and not waited for: on a handle of its own,
 * "noreply".
 */
#include <libmemcached/memcached.h>
#include <time.h>

#include "base/failpoint.h"
#include "store/memcached.h"

#if LIBMEMCACHED_VERSION_HEX < 0x01001004
#error "libmemcached before 1.1.4 can return another key's value after a time-out"
#endif

struct imgo__mc_conn {
	struct imgo__mc *mc;
	memcached_st *st, *quiet;
};

uint64_t imgo__mc_now_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- handles ---- */

static memcached_return_t add_servers(memcached_st *st, const struct imgo__mc *mc)
{
	memcached_return_t rc = MEMCACHED_SUCCESS;
	for (size_t i = 0; i < mc->nservers && rc == MEMCACHED_SUCCESS; i++)
		rc = mc->servers[i].port ? memcached_server_add(st, mc->servers[i].host, mc->servers[i].port)
					 : memcached_server_add_unix_socket(st, mc->servers[i].host);
	return rc;
}

static memcached_st *make_handle(const struct imgo__mc *mc, bool quiet)
{
	const struct {
		memcached_behavior_t behavior;
		uint64_t value;
	} set[] = {
		{MEMCACHED_BEHAVIOR_POLL_TIMEOUT, mc->timeout_ms},
		{MEMCACHED_BEHAVIOR_CONNECT_TIMEOUT, mc->timeout_ms},
		{MEMCACHED_BEHAVIOR_SND_TIMEOUT, (uint64_t)mc->timeout_ms * 1000},
		{MEMCACHED_BEHAVIOR_RCV_TIMEOUT, (uint64_t)mc->timeout_ms * 1000},
		{MEMCACHED_BEHAVIOR_RETRY_TIMEOUT, 0}, /* the breaker decides */
		{MEMCACHED_BEHAVIOR_TCP_NODELAY, 1},
		{MEMCACHED_BEHAVIOR_VERIFY_KEY, 1},
		{MEMCACHED_BEHAVIOR_SUPPORT_CAS, 1},
		{MEMCACHED_BEHAVIOR_NOREPLY, quiet},
	};
	memcached_st *st = memcached_create(NULL);
	if (!st)
		return NULL;
	memcached_return_t rc = MEMCACHED_SUCCESS;
	for (size_t i = 0; i < sizeof set / sizeof *set && rc == MEMCACHED_SUCCESS; i++)
		rc = memcached_behavior_set(st, set[i].behavior, set[i].value);
	if (rc == MEMCACHED_SUCCESS)
		rc = add_servers(st, mc);
	if (rc == MEMCACHED_SUCCESS)
		return st;
	memcached_free(st);
	return NULL;
}

struct imgo__mc_conn *imgo__mc_conn_new(struct imgo__mc *mc)
{
	struct imgo__mc_conn *conn = imgo__zalloc(sizeof *conn);
	if (!conn)
		return NULL;
	conn->mc = mc;
	conn->st = make_handle(mc, false);
	conn->quiet = make_handle(mc, true);
	if (conn->st && conn->quiet)
		return conn;
	imgo__mc_conn_free(conn);
	return NULL;
}

void imgo__mc_conn_free(struct imgo__mc_conn *conn)
{
	if (!conn)
		return;
	if (conn->st)
		memcached_free(conn->st);
	if (conn->quiet)
		memcached_free(conn->quiet);
	free(conn);
}

/* ---- a server's health ---- */

static struct imgo__mc_breaker *breaker_of(const struct imgo__mc_view *view)
{
	return &view->mc->breakers[memcached_generate_hash(view->conn->st, view->group, strlen(view->group))];
}

int imgo__mc_enter(const struct imgo__mc_view *view)
{
	struct imgo__mc_breaker *breaker = breaker_of(view);
	uint64_t until = atomic_load(&breaker->down_until_ms), now = imgo__mc_now_ms();
	if (until == 0)
		return 0;
	/* One worker goes and asks; until it is back, the others refuse. */
	uint64_t busy = now + 2 * view->mc->timeout_ms + IMGO__MC_RETRY_MS;
	if (now < until || !atomic_compare_exchange_strong(&breaker->down_until_ms, &until, busy))
		return IMGO_EUNAVAILABLE;
	return 0;
}

static void judge(const struct imgo__mc_view *view, bool answered, bool timed_out)
{
	struct imgo__mc_breaker *breaker = breaker_of(view);
	if (answered) {
		if (atomic_exchange(&breaker->failures, 0))
			atomic_store(&breaker->down_until_ms, 0);
		return;
	}
	/* The first broken connection may just be a server that was restarted. */
	if (atomic_fetch_add(&breaker->failures, 1) == 0 && !timed_out)
		return;
	if (atomic_exchange(&breaker->down_until_ms, imgo__mc_now_ms() + IMGO__MC_RETRY_MS) == 0)
		imgo_log_event(imgo_loop_log(view->mc->loop), IMGO_LOG_WARN, "store", "memcached-down",
			"partition=%u error=\"%s\"", (unsigned)view->partition,
			memcached_last_error_message(view->conn->st));
}

/* What a command came to. */
static int outcome(const struct imgo__mc_view *view, memcached_return_t rc)
{
	switch (rc) {
	case MEMCACHED_SUCCESS:
	case MEMCACHED_STORED:
	case MEMCACHED_DELETED:
	case MEMCACHED_END:
		judge(view, true, false);
		return 0;
	case MEMCACHED_NOTFOUND:
		judge(view, true, false);
		return IMGO_ENOTFOUND;
	case MEMCACHED_NOTSTORED:
	case MEMCACHED_DATA_EXISTS:
		judge(view, true, false);
		return IMGO_EEXISTS;
	case MEMCACHED_SERVER_MEMORY_ALLOCATION_FAILURE:
	case MEMCACHED_E2BIG:
		judge(view, true, false);
		memcached_quit(view->conn->st);
		return IMGO_EFULL;
	case MEMCACHED_MEMORY_ALLOCATION_FAILURE:
		memcached_quit(view->conn->st);
		return IMGO_ENOMEM;
	case MEMCACHED_TIMEOUT:
		judge(view, false, true);
		memcached_quit(view->conn->st);
		return IMGO_ETIMEDOUT;
	default:
		judge(view, false, false);
		memcached_quit(view->conn->st);
		return IMGO_EUNAVAILABLE;
	}
}

static bool late(const struct imgo__mc_view *view)
{
	if (imgo__failpoint("store.memcached"))
		return true;
	return imgo__mc_now_ms() >= view->deadline_ms;
}

/* ---- commands ---- */

static int take_result(const struct imgo__mc_view *view, const memcached_result_st *result, struct imgo__mc_value *out)
{
	bool ok = true;
	struct imgo_str value = imgo_strn(memcached_result_value(result), memcached_result_length(result));
	out->data = imgo__arena_str(view->arena, value, &ok);
	out->cas = memcached_result_cas(result);
	out->found = true;
	return ok ? 0 : IMGO_ENOMEM;
}

/* Answers come in the order of the keys, without those that are not there. */
static int take_results(const struct imgo__mc_view *view, const struct imgo__mc_key *keys, size_t n,
	struct imgo__mc_value *out, memcached_return_t *rc)
{
	memcached_result_st result;
	int err = 0;
	size_t i = 0;
	if (!memcached_result_create(view->conn->st, &result))
		return IMGO_ENOMEM;
	while (!err && memcached_fetch_result(view->conn->st, &result, rc)) {
		struct imgo_str key = imgo_strn(memcached_result_key_value(&result), memcached_result_key_length(&result));
		while (i < n && !imgo_str_eq(key, imgo_strn(keys[i].s, keys[i].len)))
			i++;
		err = i < n ? take_result(view, &result, &out[i++]) : IMGO_EUNAVAILABLE; /* not what was asked */
	}
	memcached_result_free(&result);
	return err;
}

static int get_once(const struct imgo__mc_view *view, const struct imgo__mc_key *keys, size_t n, struct imgo__mc_value *out)
{
	const char *names[IMGO__MC_BATCH + 2];
	size_t lens[IMGO__MC_BATCH + 2];
	if (late(view))
		return IMGO_ETIMEDOUT;
	for (size_t i = 0; i < n; i++) {
		names[i] = keys[i].s;
		lens[i] = keys[i].len;
		out[i] = (struct imgo__mc_value){.found = false};
	}
	memcached_st *st = view->conn->st;
	memcached_return_t rc = memcached_mget_by_key(st, view->group, strlen(view->group), names, lens, n);
	if (rc != MEMCACHED_SUCCESS)
		return outcome(view, rc == MEMCACHED_NOTFOUND ? MEMCACHED_FAILURE : rc);
	int err = take_results(view, keys, n, out, &rc);
	if (err) {
		memcached_quit(st);
		return err;
	}
	err = outcome(view, rc == MEMCACHED_NOTFOUND ? MEMCACHED_END : rc); /* "not found": no key was there */
	return err;
}

/* A call begins with a get. When it meets a connection that was broken meanwhile, it tries another one:
 * nothing from before that can be used after it. */
int imgo__mc_get(struct imgo__mc_view *view, const struct imgo__mc_key *keys, size_t n, struct imgo__mc_value *out)
{
	int err = get_once(view, keys, n, out);
	if (err == IMGO_EUNAVAILABLE && !view->answered)
		err = get_once(view, keys, n, out);
	view->answered |= err == 0;
	return err;
}

int imgo__mc_add(const struct imgo__mc_view *view, const struct imgo__mc_key *key, struct imgo_str value, uint32_t exptime)
{
	if (late(view))
		return IMGO_ETIMEDOUT;
	return outcome(view, memcached_add_by_key(view->conn->st, view->group, strlen(view->group), key->s, key->len,
				     value.p, value.len, (time_t)exptime, 0));
}

int imgo__mc_cas(const struct imgo__mc_view *view, const struct imgo__mc_key *key, struct imgo_str value,
	uint32_t exptime, uint64_t cas)
{
	if (late(view))
		return IMGO_ETIMEDOUT;
	return outcome(view, memcached_cas_by_key(view->conn->st, view->group, strlen(view->group), key->s, key->len,
				     value.p, value.len, (time_t)exptime, 0, cas));
}

int imgo__mc_delete(const struct imgo__mc_view *view, const struct imgo__mc_key *key)
{
	if (late(view))
		return IMGO_ETIMEDOUT;
	return outcome(
		view, memcached_delete_by_key(view->conn->st, view->group, strlen(view->group), key->s, key->len, 0));
}

void imgo__mc_delete_quietly(const struct imgo__mc_view *view, const struct imgo__mc_key *keys, size_t n)
{
	memcached_st *st = view->conn->quiet;
	for (size_t i = 0; i < n && !late(view); i++) {
		memcached_return_t rc =
			memcached_delete_by_key(st, view->group, strlen(view->group), keys[i].s, keys[i].len, 0);
		if (rc != MEMCACHED_SUCCESS && rc != MEMCACHED_BUFFERED && rc != MEMCACHED_NOTFOUND) {
			memcached_quit(st);
			return;
		}
	}
}

int imgo__mc_flush(struct imgo__mc_conn *conn)
{
	if (memcached_flush(conn->st, 0) == MEMCACHED_SUCCESS)
		return 0;
	memcached_quit(conn->st);
	return IMGO_EUNAVAILABLE;
}

/* ---- settings ---- */

static memcached_return_t look_at_setting(const memcached_instance_st *server, const char *key, size_t key_len,
	const char *value, size_t len, void *context)
{
	struct imgo__mc *mc = context;
	bool evicts = imgo_str_eq(imgo_strn(key, key_len), imgo_str("evictions")) &&
		      imgo_str_eq(imgo_strn(value, len), imgo_str("on"));
	if (evicts && !atomic_exchange(&mc->evicts, 1))
		imgo_log_event(imgo_loop_log(mc->loop), IMGO_LOG_WARN, "store", "memcached-evicts",
			"server=\"%s:%d\" advice=\"run memcached with -M, or it drops messages when it is "
			"full\"",
			memcached_server_name(server), (int)memcached_server_port(server));
	return MEMCACHED_SUCCESS;
}

void imgo__mc_check_settings(struct imgo__mc_conn *conn)
{
	if (memcached_stat_execute(conn->st, "settings", look_at_setting, conn->mc) != MEMCACHED_SUCCESS)
		memcached_quit(conn->st);
}
