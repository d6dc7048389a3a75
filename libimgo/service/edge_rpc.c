/* SPDX-License-Identifier: MIT */
/* The comet's RPC port: tells, casts and kicks of jobs and logics in other processes. Each is answered with nil. */
#include "rpc/rpc.h"
#include "service/carrier_wire.h"
#include "service/edge_impl.h"

/* Reads the incarnation that is meant; false: the request was refused. */
static bool begin(struct imgo_edge *edge, struct imgo__rpc_request *request, struct imgo__mp *mp, uint32_t nparams,
	struct imgo_incarnation *inc)
{
	*inc = imgo__incarnation_read(mp);
	if (nparams == 3 && mp->err == 0)
		return true;
	imgo_stat_add(edge->stats.malformed, 1);
	imgo__rpc_reply_error(request, IMGO_EPROTO);
	return false;
}

static void end(struct imgo_edge *edge, struct imgo__rpc_request *request, struct imgo__arena *arena, int err)
{
	struct imgo__mpw *w;

	imgo__arena_free(arena);
	if (err < 0) {
		imgo_stat_add(edge->stats.malformed, err == IMGO_EPROTO);
		imgo__rpc_reply_error(request, err);
		return;
	}
	w = imgo__rpc_reply_begin(request);
	if (w)
		imgo__mpw_nil(w);
	imgo__rpc_reply_end(request);
}

static void handle_tell(struct imgo__rpc_request *request, struct imgo__mp *mp, uint32_t nparams, void *user)
{
	struct imgo_edge *edge = user;
	struct imgo__arena arena = {0};
	struct imgo_incarnation inc;
	struct imgo__tell *tells;
	size_t n;
	int err;

	if (!begin(edge, request, mp, nparams, &inc))
		return;
	err = imgo__tell_read(mp, &arena, &tells, &n);
	if (err == 0)
		err = imgo__edge_tell(edge, inc, tells, n);
	end(edge, request, &arena, err);
}

static void handle_cast(struct imgo__rpc_request *request, struct imgo__mp *mp, uint32_t nparams, void *user)
{
	struct imgo_edge *edge = user;
	struct imgo__arena arena = {0};
	struct imgo_incarnation inc;
	struct imgo__cast *casts;
	size_t n;
	int err;

	if (!begin(edge, request, mp, nparams, &inc))
		return;
	err = imgo__cast_read(mp, &arena, &casts, &n);
	if (err == 0)
		err = imgo__edge_cast(edge, inc, casts, n);
	end(edge, request, &arena, err);
}

static void handle_kick(struct imgo__rpc_request *request, struct imgo__mp *mp, uint32_t nparams, void *user)
{
	struct imgo_edge *edge = user;
	struct imgo__arena arena = {0};
	struct imgo_incarnation inc;
	struct imgo__kick *kicks;
	size_t n;
	int err;

	if (!begin(edge, request, mp, nparams, &inc))
		return;
	err = imgo__kick_read(mp, &arena, &kicks, &n);
	if (err == 0)
		err = imgo__edge_kick(edge, inc, kicks, n);
	end(edge, request, &arena, err);
}

static const struct imgo__rpc_method methods[] = {
	{"tell", handle_tell},
	{"cast", handle_cast},
	{"kick", handle_kick},
	{NULL, NULL},
};

int imgo__edge_rpc_init(struct imgo_edge *edge, const struct imgo_edge_options *options, struct imgo_error *error)
{
	if (!options->rpc)
		return 0;
	return imgo__rpc_server_new(&edge->rpc, edge->loop,
		&(struct imgo__rpc_server_options){.listen = options->rpc,
			.secret = options->secret,
			.tls = options->rpc_tls,
			.methods = methods,
			.user = edge},
		error);
}
