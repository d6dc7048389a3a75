/* SPDX-License-Identifier: MIT */
/*
 * Serves a gate over RPC: a request's bytes are copied into an arena that lives until it is answered, read into the
 * gate's struct there, handed to the gate, and the struct is written back as the answer.
 */
#include <string.h>

#include "rpc/rpc.h"
#include "service/gate_wire.h"

struct imgo__gate_server {
	struct imgo__gate gate;
	struct imgo__rpc_server *rpc;
	struct imgo__list jobs;
	struct imgo_stat *malformed;
};

struct job;
typedef void answer_fn(struct imgo__mpw *w, struct job *job);

struct job {
	struct imgo__list link;
	struct imgo__rpc_request *request;
	struct imgo__arena arena;
	answer_fn *answer;
	size_t n;
	union {
		struct imgo__gate_connect connect;
		struct imgo__gate_read read;
		struct imgo__gate_renew renew;
		struct imgo__gate_session *sessions;
		struct imgo__gate_ack *acks;
		struct imgo__gate_compare *compares;
		struct imgo__gate_online *online;
	} u;
};

static void job_free(struct job *job)
{
	imgo__list_remove(&job->link);
	imgo__arena_free(&job->arena);
	free(job);
}

static void job_refuse(struct job *job, int err)
{
	imgo__rpc_reply_error(job->request, err);
	job_free(job);
}

/* A job with its own copy of the parameters, at which *mp points now; NULL: the request was refused. */
static struct job *job_new(struct imgo__gate_server *server, struct imgo__rpc_request *request, struct imgo__mp *mp,
	uint32_t nparams, answer_fn *answer)
{
	struct job *job = imgo__zalloc(sizeof *job);
	size_t len = (size_t)(mp->end - mp->at);
	uint8_t *copy;

	if (!job) {
		imgo__rpc_reply_error(request, IMGO_ENOMEM);
		return NULL;
	}
	imgo__list_init(&job->link);
	imgo__list_insert(&server->jobs, &job->link);
	job->request = request;
	job->answer = answer;
	copy = nparams == 1 ? imgo__arena_alloc(&job->arena, len + 1) : NULL;
	if (!copy) {
		imgo_stat_add(server->malformed, nparams != 1);
		job_refuse(job, nparams == 1 ? IMGO_ENOMEM : IMGO_EPROTO);
		return NULL;
	}
	memcpy(copy, mp->at, len);
	imgo__mp_init(mp, copy, len);
	return job;
}

static void on_done(int err, void *user)
{
	struct job *job = user;
	struct imgo__mpw *w;

	if (err < 0) {
		job_refuse(job, err);
		return;
	}
	w = imgo__rpc_reply_begin(job->request);
	if (w)
		job->answer(w, job);
	imgo__rpc_reply_end(job->request);
	job_free(job);
}

/* What a handler does with the outcome of reading (err) or, when that was 0, of the call. */
static void job_started(struct imgo__gate_server *server, struct job *job, int read_err, int call_err)
{
	if (read_err)
		imgo_stat_add(server->malformed, 1);
	if (read_err || call_err < 0)
		job_refuse(job, read_err ? read_err : call_err);
}

static void answer_connect(struct imgo__mpw *w, struct job *job)
{
	imgo__gate_connect_answer_write(w, &job->u.connect);
}

static void answer_read(struct imgo__mpw *w, struct job *job)
{
	imgo__gate_read_answer_write(w, &job->u.read);
}

static void answer_renew(struct imgo__mpw *w, struct job *job)
{
	imgo__gate_renew_answer_write(w, &job->u.renew);
}

static void answer_sessions(struct imgo__mpw *w, struct job *job)
{
	imgo__gate_sessions_answer_write(w, job->u.sessions, job->n);
}

static void answer_acks(struct imgo__mpw *w, struct job *job)
{
	imgo__gate_acks_answer_write(w, job->u.acks, job->n);
}

static void answer_compares(struct imgo__mpw *w, struct job *job)
{
	imgo__gate_compares_answer_write(w, job->u.compares, job->n);
}

static void handle_connect(struct imgo__rpc_request *request, struct imgo__mp *mp, uint32_t nparams, void *user)
{
	struct imgo__gate_server *server = user;
	struct job *job = job_new(server, request, mp, nparams, answer_connect);
	int err, started = 0;

	if (!job)
		return;
	err = imgo__gate_connect_ask_read(mp, &job->arena, &job->u.connect);
	if (err == 0)
		started = server->gate.ops->connect(server->gate.impl, &job->u.connect, on_done, job);
	job_started(server, job, err, started);
}

static void handle_read(struct imgo__rpc_request *request, struct imgo__mp *mp, uint32_t nparams, void *user)
{
	struct imgo__gate_server *server = user;
	struct job *job = job_new(server, request, mp, nparams, answer_read);
	int err, started = 0;

	if (!job)
		return;
	err = imgo__gate_read_ask_read(mp, &job->arena, &job->u.read);
	if (err == 0)
		started = server->gate.ops->read(server->gate.impl, &job->u.read, on_done, job);
	job_started(server, job, err, started);
}

static void handle_renew(struct imgo__rpc_request *request, struct imgo__mp *mp, uint32_t nparams, void *user)
{
	struct imgo__gate_server *server = user;
	struct job *job = job_new(server, request, mp, nparams, answer_renew);
	int err, started = 0;

	if (!job)
		return;
	err = imgo__gate_renew_ask_read(mp, &job->u.renew);
	if (err == 0)
		started = server->gate.ops->renew(server->gate.impl, &job->u.renew, on_done, job);
	job_started(server, job, err, started);
}

typedef int sessions_fn(void *impl, struct imgo__gate_session *items, size_t n, imgo__gate_cb *cb, void *user);

static void handle_sessions(struct imgo__gate_server *server, struct imgo__rpc_request *request, struct imgo__mp *mp,
	uint32_t nparams, sessions_fn *fn)
{
	struct job *job = job_new(server, request, mp, nparams, answer_sessions);
	int err, started = 0;

	if (!job)
		return;
	err = imgo__gate_sessions_ask_read(mp, &job->arena, &job->u.sessions, &job->n);
	if (err == 0 && job->n == 0)
		err = IMGO_EPROTO;
	if (err == 0)
		started = fn(server->gate.impl, job->u.sessions, job->n, on_done, job);
	job_started(server, job, err, started);
}

static void handle_announce(struct imgo__rpc_request *request, struct imgo__mp *mp, uint32_t nparams, void *user)
{
	struct imgo__gate_server *server = user;

	handle_sessions(server, request, mp, nparams, server->gate.ops->announce);
}

static void handle_disconnect(struct imgo__rpc_request *request, struct imgo__mp *mp, uint32_t nparams, void *user)
{
	struct imgo__gate_server *server = user;

	handle_sessions(server, request, mp, nparams, server->gate.ops->disconnect);
}

static void handle_rooms(struct imgo__rpc_request *request, struct imgo__mp *mp, uint32_t nparams, void *user)
{
	struct imgo__gate_server *server = user;

	handle_sessions(server, request, mp, nparams, server->gate.ops->rooms);
}

static void handle_ack(struct imgo__rpc_request *request, struct imgo__mp *mp, uint32_t nparams, void *user)
{
	struct imgo__gate_server *server = user;
	struct job *job = job_new(server, request, mp, nparams, answer_acks);
	int err, started = 0;

	if (!job)
		return;
	err = imgo__gate_acks_ask_read(mp, &job->arena, &job->u.acks, &job->n);
	if (err == 0 && job->n == 0)
		err = IMGO_EPROTO;
	if (err == 0)
		started = server->gate.ops->ack(server->gate.impl, job->u.acks, job->n, on_done, job);
	job_started(server, job, err, started);
}

static void handle_compare(struct imgo__rpc_request *request, struct imgo__mp *mp, uint32_t nparams, void *user)
{
	struct imgo__gate_server *server = user;
	struct job *job = job_new(server, request, mp, nparams, answer_compares);
	int err, started = 0;

	if (!job)
		return;
	err = imgo__gate_compares_ask_read(mp, &job->arena, &job->u.compares, &job->n);
	if (err == 0 && job->n == 0)
		err = IMGO_EPROTO;
	if (err == 0)
		started = server->gate.ops->compare(server->gate.impl, job->u.compares, job->n, on_done, job);
	job_started(server, job, err, started);
}

static void answer_online(struct imgo__mpw *w, struct job *job)
{
	imgo__gate_online_answer_write(w, job->u.online, job->n);
}

static void handle_online(struct imgo__rpc_request *request, struct imgo__mp *mp, uint32_t nparams, void *user)
{
	struct imgo__gate_server *server = user;
	struct job *job = job_new(server, request, mp, nparams, answer_online);
	int err, started = 0;

	if (!job)
		return;
	err = imgo__gate_online_ask_read(mp, &job->arena, &job->u.online, &job->n);
	if (err == 0)
		started = server->gate.ops->online(server->gate.impl, job->u.online, job->n, on_done, job);
	job_started(server, job, err, started);
}

static const struct imgo__rpc_method methods[] = {
	{"connect", handle_connect},
	{"read", handle_read},
	{"renew", handle_renew},
	{"announce", handle_announce},
	{"disconnect", handle_disconnect},
	{"rooms", handle_rooms},
	{"ack", handle_ack},
	{"compare", handle_compare},
	{"online", handle_online},
	{NULL, NULL},
};

int imgo__gate_server_new(struct imgo__gate_server **out, struct imgo_loop *loop, struct imgo__gate gate,
	const char *listen, const char *secret, struct imgo_tls *tls, struct imgo_error *error)
{
	struct imgo__gate_server *server = imgo__zalloc(sizeof *server);
	int err;

	if (!server)
		return IMGO_ENOMEM;
	server->gate = gate;
	imgo__list_init(&server->jobs);
	server->malformed = imgo_stats_counter(
		imgo_loop_stats(loop), "imgo_logic_rpc_malformed_total", "requests of comets that could not be read");
	err = imgo__rpc_server_new(&server->rpc, loop,
		&(struct imgo__rpc_server_options){
			.listen = listen, .secret = secret, .tls = tls, .methods = methods, .user = server},
		error);
	if (err < 0) {
		free(server);
		return err;
	}
	*out = server;
	return 0;
}

/* The gate has ended its calls before this (so every job is gone); what it could not is dropped with the requests. */
void imgo__gate_server_free(struct imgo__gate_server *server)
{
	if (!server)
		return;
	imgo__rpc_server_free(server->rpc);
	imgo__list_for(at, &server->jobs)
	{
		job_free(imgo__container_of(at, struct job, link));
	}
	free(server);
}

int imgo__gate_server_port(const struct imgo__gate_server *server)
{
	return imgo__rpc_server_port(server->rpc);
}
