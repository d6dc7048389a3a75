/* SPDX-License-Identifier: MIT */
/*
 * The router's role: calls of the registry come by RPC (registry/wire.h has the messages), are put to the
 * registry at hand, and its results go back. A served call owns copies of its arguments in an arena, since
 * the request's bytes are gone when the handler returns, and knows nothing of the router: so the router may
 * be freed while the registry works.
 *
 * A caller whose list of routers is older than ours is told so and gets nothing done: its list may lead it to
 * the wrong router. One whose list is newer is served; then it is us who should be told, so that is logged.
 */
#include <imgo/router.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/options.h"
#include "registry/wire.h"
#include "rpc/rpc.h"

struct imgo_router {
	struct imgo_loop *loop;
	struct imgo_registry *registry;
	struct imgo__rpc_server *server;
	uint32_t list_version, seen; /* seen: the last other one that was logged */
	struct imgo_stat *stat_mismatch;
};

struct served {
	struct imgo__rpc_request *request;
	struct imgo__arena arena;
	struct imgo__mp mp; /* stands before the argument, in the arena */
	uint32_t list_version;
	size_t n;
	union {
		struct imgo_registry_put *put;
		struct imgo_registry_del *del;
		struct imgo_registry_get *get;
		struct imgo_registry_rooms *rooms;
		struct imgo_registry_renew *renew;
		struct imgo_registry_comets comets;
		struct imgo_registry_count count;
	} args;
};

/* ---- opening and ending a call ---- */
static void drop(struct served *s)
{
	imgo__arena_free(&s->arena);
	free(s);
}

static struct imgo__mpw *answer(struct served *s)
{
	struct imgo__mpw *w = imgo__rpc_reply_begin(s->request);

	imgo__mpw_array(w, 2);
	imgo__mpw_uint(w, s->list_version);
	return w;
}

static void answered(struct served *s)
{
	imgo__rpc_reply_end(s->request);
	drop(s);
}

static void refuse(struct served *s, int err)
{
	imgo__rpc_reply_error(s->request, err);
	drop(s);
}

static bool list_fits(struct imgo_router *router, uint32_t theirs)
{
	if (theirs == router->list_version)
		return true;
	imgo_stat_add(router->stat_mismatch, 1);
	if (theirs != router->seen)
		imgo_log_event(imgo_loop_log(router->loop), IMGO_LOG_WARN, "router",
			theirs < router->list_version ? "caller-list-old" : "router-list-old", "ours=%u theirs=%u",
			router->list_version, theirs);
	router->seen = theirs;
	return theirs > router->list_version;
}

/* Reads the list's number and copies the argument; NULL: the request is answered already. */
static struct served *open_call(
	struct imgo_router *router, struct imgo__rpc_request *request, struct imgo__mp *params, uint32_t nparams)
{
	struct served *s = imgo__zalloc(sizeof *s);
	uint32_t theirs = imgo__mp_u32(params);
	struct imgo_str rest = imgo_strn(params->at, (size_t)(params->end - params->at));
	bool ok = s != NULL;

	if (ok && nparams == 2 && !params->err)
		rest = imgo__arena_str(&s->arena, rest, &ok);
	else
		rest.len = 0;
	if (!ok || rest.len == 0) {
		imgo__rpc_reply_error(request, ok ? IMGO_EPROTO : IMGO_ENOMEM);
		if (s)
			drop(s);
		return NULL;
	}
	s->request = request;
	s->list_version = router->list_version;
	imgo__mp_init(&s->mp, rest.p, rest.len);
	if (list_fits(router, theirs))
		return s;
	imgo__mpw_nil(answer(s));
	answered(s);
	return NULL;
}

/* ---- calls of many users ---- */
static void put_done(int err, void *user)
{
	struct served *s = user;

	if (err) {
		refuse(s, err);
		return;
	}
	imgo__regw_put_answer(answer(s), s->args.put, s->n);
	answered(s);
}

static void serve_put(struct imgo__rpc_request *request, struct imgo__mp *params, uint32_t nparams, void *user)
{
	struct imgo_router *router = user;
	struct served *s = open_call(router, request, params, nparams);
	int err;

	if (!s)
		return;
	err = imgo__regw_read_put(&s->mp, &s->arena, &s->args.put, &s->n);
	if (err == 0)
		err = imgo_registry_put_many(router->registry, s->args.put, s->n, put_done, s);
	if (err)
		refuse(s, err);
}

static void del_done(int err, void *user)
{
	struct served *s = user;

	if (err) {
		refuse(s, err);
		return;
	}
	imgo__regw_del_answer(answer(s), s->args.del, s->n);
	answered(s);
}

static void serve_del(struct imgo__rpc_request *request, struct imgo__mp *params, uint32_t nparams, void *user)
{
	struct imgo_router *router = user;
	struct served *s = open_call(router, request, params, nparams);
	int err;

	if (!s)
		return;
	err = imgo__regw_read_del(&s->mp, &s->arena, &s->args.del, &s->n);
	if (err == 0)
		err = imgo_registry_del_many(router->registry, s->args.del, s->n, del_done, s);
	if (err)
		refuse(s, err);
}

static void get_done(int err, void *user)
{
	struct served *s = user;

	if (err) {
		refuse(s, err);
		return;
	}
	imgo__regw_get_answer(answer(s), s->args.get, s->n);
	answered(s);
}

static void serve_get(struct imgo__rpc_request *request, struct imgo__mp *params, uint32_t nparams, void *user)
{
	struct imgo_router *router = user;
	struct served *s = open_call(router, request, params, nparams);
	int err;

	if (!s)
		return;
	err = imgo__regw_read_get(&s->mp, &s->arena, &s->args.get, &s->n);
	if (err == 0)
		err = imgo_registry_get_many(router->registry, s->args.get, s->n, get_done, s);
	if (err)
		refuse(s, err);
}

static void rooms_done(int err, void *user)
{
	struct served *s = user;

	if (err) {
		refuse(s, err);
		return;
	}
	imgo__regw_rooms_answer(answer(s), s->args.rooms, s->n);
	answered(s);
}

static void serve_rooms(struct imgo__rpc_request *request, struct imgo__mp *params, uint32_t nparams, void *user)
{
	struct imgo_router *router = user;
	struct served *s = open_call(router, request, params, nparams);
	int err;

	if (!s)
		return;
	err = imgo__regw_read_rooms(&s->mp, &s->arena, &s->args.rooms, &s->n);
	if (err == 0)
		err = imgo_registry_rooms_many(router->registry, s->args.rooms, s->n, rooms_done, s);
	if (err)
		refuse(s, err);
}

/* ---- calls of comets ---- */

/* A registry that has several shards itself (a router in front of routers) appears as one: new when one of
 * them is. */
static struct imgo_incarnation one_of(const struct imgo_registry_renew *call)
{
	struct imgo_incarnation inc = {0, 0};

	for (uint32_t i = 0; i < call->nshards && i < IMGO_REGISTRY_SHARDS_MAX; i++) {
		if (call->shards[i].inc.start_us > inc.start_us)
			inc.start_us = call->shards[i].inc.start_us;
		inc.random += call->shards[i].inc.random;
	}
	return inc;
}

/* That a larger incarnation lives is an answer, not a failure of the call. */
static void renew_done(int err, void *user)
{
	struct served *s = user;

	if (err && err != IMGO_ESTALE) {
		refuse(s, err);
		return;
	}
	imgo__regw_renew_answer(answer(s), err, one_of(s->args.renew));
	answered(s);
}

static void serve_renew(struct imgo__rpc_request *request, struct imgo__mp *params, uint32_t nparams, void *user)
{
	struct imgo_router *router = user;
	struct served *s = open_call(router, request, params, nparams);
	int err;

	if (!s)
		return;
	s->args.renew = imgo__arena_alloc(&s->arena, sizeof *s->args.renew);
	err = s->args.renew ? imgo__regw_read_renew(&s->mp, s->args.renew) : IMGO_ENOMEM;
	if (err == 0)
		err = imgo_registry_renew(router->registry, s->args.renew, renew_done, s);
	if (err)
		refuse(s, err);
}

static void comets_done(int err, void *user)
{
	struct served *s = user;

	if (err) {
		refuse(s, err);
		return;
	}
	imgo__regw_comets_answer(answer(s), &s->args.comets);
	answered(s);
}

static void serve_comets(struct imgo__rpc_request *request, struct imgo__mp *params, uint32_t nparams, void *user)
{
	struct imgo_router *router = user;
	struct served *s = open_call(router, request, params, nparams);
	int err;

	if (!s)
		return;
	err = imgo_registry_comets(router->registry, &s->args.comets, comets_done, s);
	if (err)
		refuse(s, err);
}

static void count_done(int err, void *user)
{
	struct served *s = user;

	if (err) {
		refuse(s, err);
		return;
	}
	imgo__regw_count_answer(answer(s), &s->args.count);
	answered(s);
}

static void serve_count(struct imgo__rpc_request *request, struct imgo__mp *params, uint32_t nparams, void *user)
{
	struct imgo_router *router = user;
	struct served *s = open_call(router, request, params, nparams);
	int err;

	if (!s)
		return;
	err = imgo__regw_read_count(&s->mp, &s->arena, &s->args.count);
	if (err == 0)
		err = imgo_registry_count(router->registry, &s->args.count, count_done, s);
	if (err)
		refuse(s, err);
}

static void del_comet_done(int err, void *user)
{
	struct served *s = user;

	imgo__mpw_int(answer(s), err);
	answered(s);
}

static void serve_del_comet(struct imgo__rpc_request *request, struct imgo__mp *params, uint32_t nparams, void *user)
{
	struct imgo_router *router = user;
	struct served *s = open_call(router, request, params, nparams);
	uint32_t comet;
	int err;

	if (!s)
		return;
	comet = imgo__mp_u32(&s->mp);
	err = imgo__mp_finish(&s->mp);
	if (err == 0)
		err = imgo_registry_del_comet(router->registry, comet, del_comet_done, s);
	if (err)
		refuse(s, err);
}

/* ---- life ---- */
static const struct imgo__rpc_method methods[] = {
	{"registry.put", serve_put},
	{"registry.del", serve_del},
	{"registry.get", serve_get},
	{"registry.rooms", serve_rooms},
	{"registry.renew", serve_renew},
	{"registry.comets", serve_comets},
	{"registry.count", serve_count},
	{"registry.del_comet", serve_del_comet},
	{NULL, NULL},
};

int imgo_router_new(struct imgo_router **out, struct imgo_loop *loop, struct imgo_registry *registry,
	const struct imgo_router_options *options, struct imgo_error *error)
{
	struct imgo_router_options o = IMGO_ROUTER_OPTIONS_INIT;
	struct imgo__rpc_server_options server = {.methods = methods};
	struct imgo_router *router;
	int err = imgo__options_take(&o, options, "router", error);

	if (err < 0)
		return err;
	if (!registry || !o.list_version)
		return imgo__fail(error, IMGO_EINVAL, "router: a registry and the number of its list are needed");
	router = imgo__zalloc(sizeof *router);
	if (!router)
		return imgo__fail(error, IMGO_ENOMEM, "router: out of memory");
	router->loop = loop;
	router->registry = registry;
	router->list_version = o.list_version;
	router->stat_mismatch = imgo_stats_counter(
		imgo_loop_stats(loop), "imgo_router_list_mismatch_total", "Calls with another list of routers");
	server.listen = o.listen;
	server.secret = o.secret;
	server.tls = o.rpc_tls;
	server.user = router;
	err = imgo__rpc_server_new(&router->server, loop, &server, error);
	if (err) {
		free(router);
		return err;
	}
	*out = router;
	return 0;
}

void imgo_router_free(struct imgo_router *router)
{
	if (!router)
		return;
	imgo__rpc_server_free(router->server);
	free(router);
}

int imgo_router_port(const struct imgo_router *router)
{
	return imgo__rpc_server_port(router->server);
}
