/* SPDX-License-Identifier: MIT */
/*
 * One connection of a server. Until it is greeted, one message of 4 kB is all that it may send, within 5 s.
 * After that, reading pauses while calls_max calls wait for their answers or 4 MB of answers wait to be
 * taken; a peer that lets 64 MB pile up, or is silent for 30 s though it should ping each second, is closed.
 * Anything malformed closes too. A connection that is closed waits for the reaper, because one of its own
 * handlers may be running; its unanswered requests live on by themselves, and answering them does nothing.
 */
#include "rpc/server.h"

#include "base/mem.h"

enum { HELLO_MAX = 4096, HELLO_MS = 5000, SILENCE_MS = 30000, OUT_PAUSE = 4 << 20, OUT_MAX = 64 << 20 };

static bool must_pause(const struct imgo__rpc_conn *conn)
{
	return conn->nrequests >= conn->server->calls_max || imgo__stream_unsent(&conn->stream) > OUT_PAUSE;
}

void imgo__rpc_conn_close(struct imgo__rpc_conn *conn)
{
	struct imgo__rpc_server *server = conn->server;
	struct imgo__list *link;

	imgo__stream_close(&conn->stream);
	imgo__timer_stop(server->loop, &conn->timer);
	imgo__task_cancel(&conn->resume);
	while ((link = imgo__list_pop(&conn->requests)) != NULL)
		imgo__container_of(link, struct imgo__rpc_request, link)->conn = NULL;
	imgo__list_remove(&conn->link);
	imgo__list_insert(&server->dead, &conn->link);
	imgo__defer(server->loop, &server->reap);
}

void imgo__rpc_conn_free(struct imgo__rpc_conn *conn)
{
	imgo__list_remove(&conn->link);
	imgo__stream_fini(&conn->stream);
	conn->server->nconns--;
	free(conn);
}

static void punish(struct imgo__rpc_conn *conn, struct imgo_stat *stat, const char *event, const char *why)
{
	imgo_stat_add(stat, 1);
	imgo_log_event(imgo_loop_log(conn->server->loop), IMGO_LOG_WARN, "rpc", event, "why=\"%s\"", why);
	imgo__rpc_conn_close(conn);
}

/* ---- answering ---- */

/* Takes the request off its connection, which is NULL when nobody waits for an answer. */
static struct imgo__rpc_conn *detach(struct imgo__rpc_request *request)
{
	struct imgo__rpc_conn *conn = request->conn;

	imgo__list_remove(&request->link);
	if (!conn)
		return NULL;
	conn->nrequests--;
	if (conn->stream.paused && !must_pause(conn))
		imgo__defer(conn->server->loop, &conn->resume);
	return request->notify ? NULL : conn;
}

/* The answer to one request is complete, or err says why it cannot be given. */
static void finish(struct imgo__rpc_request *request, int err)
{
	struct imgo__rpc_conn *conn = detach(request);
	struct imgo__rpc_head head = {.type = IMGO__RPC_RESPONSE, .id = request->id, .error = err};

	if (conn && err) {
		imgo__mpw_init(&request->w, &conn->stream.out);
		request->start = imgo__rpc_begin(&request->w, &head);
		imgo__mpw_nil(&request->w);
		err = imgo__rpc_end(&request->w, request->start, IMGO__RPC_FRAME_MAX);
	}
	imgo__buf_free(&request->waste);
	free(request);
	if (!conn)
		return;
	if (err)
		punish(conn, conn->server->stat_slow, "closed", "no memory for an answer");
	else if (imgo__stream_unsent(&conn->stream) > OUT_MAX)
		punish(conn, conn->server->stat_slow, "closed", "does not take its answers");
	else
		imgo__stream_push(&conn->stream);
}

struct imgo__mpw *imgo__rpc_reply_begin(struct imgo__rpc_request *request)
{
	struct imgo__rpc_head head = {.type = IMGO__RPC_RESPONSE, .id = request->id};
	bool wanted = request->conn && !request->notify;

	imgo__mpw_init(&request->w, wanted ? &request->conn->stream.out : &request->waste);
	request->start = imgo__rpc_begin(&request->w, &head);
	return &request->w;
}

void imgo__rpc_reply_end(struct imgo__rpc_request *request)
{
	finish(request, imgo__rpc_end(&request->w, request->start, IMGO__RPC_FRAME_MAX));
}

void imgo__rpc_reply_error(struct imgo__rpc_request *request, int err)
{
	finish(request, err < 0 ? err : IMGO_EINVAL);
}

/* ---- the greeting ---- */
static bool secret_matches(const struct imgo__rpc_server *server, struct imgo_str secret)
{
	uint8_t hash[IMGO__SHA256_LEN];

	if (server->open)
		return true;
	return imgo__sha256(secret.p, secret.len, hash) == 0 && imgo__const_eq(hash, server->secret, sizeof hash);
}

/* [version, secret or nil, role]; whatever a newer version appends is skipped. */
static int greet(struct imgo__rpc_conn *conn, const struct imgo__rpc_head *head, struct imgo__mp *mp)
{
	struct imgo_str secret = {NULL, 0}, role;
	uint32_t n = imgo__mp_array(mp, 16), version = imgo__mp_u32(mp);

	if (!imgo_str_eq(head->method, imgo_str("hello")) || head->type != IMGO__RPC_REQUEST)
		return IMGO_EPROTO;
	if (!mp->err && version != IMGO__RPC_VERSION)
		return IMGO_EVERSION;
	if (!imgo__mp_nil(mp))
		secret = imgo__mp_str(mp, HELLO_MAX);
	role = imgo__mp_str(mp, 255);
	imgo__mp_skip_rest(mp, n, 3);
	if (imgo__mp_finish(mp) < 0)
		return IMGO_EPROTO;
	if (!secret_matches(conn->server, secret))
		return IMGO_EDENIED;
	imgo_log_event(imgo_loop_log(conn->server->loop), IMGO_LOG_INFO, "rpc", "peer-greeted", "role=\"%.*s\"",
		(int)role.len, role.p ? role.p : "");
	return 0;
}

static void answer_hello(struct imgo__rpc_conn *conn, uint32_t id, int err)
{
	struct imgo__rpc_head head = {.type = IMGO__RPC_RESPONSE, .id = id, .error = err};
	struct imgo__mpw w;
	size_t start;

	imgo__mpw_init(&w, &conn->stream.out);
	start = imgo__rpc_begin(&w, &head);
	if (err == 0) {
		imgo__mpw_array(&w, 1);
		imgo__mpw_uint(&w, IMGO__RPC_VERSION);
	} else {
		imgo__mpw_nil(&w);
	}
	if (imgo__rpc_end(&w, start, IMGO__RPC_FRAME_MAX) < 0)
		imgo__rpc_conn_close(conn);
	else
		imgo__stream_push(&conn->stream);
}

static void hello(struct imgo__rpc_conn *conn, const struct imgo__rpc_head *head, struct imgo__mp *mp)
{
	struct imgo__rpc_server *server = conn->server;
	int err = greet(conn, head, mp);

	if (err == IMGO_EPROTO) {
		punish(conn, server->stat_garbage, "closed", "no hello");
		return;
	}
	if (err) { /* it is told, and closed when that is sent */
		imgo_stat_add(server->stat_refused, 1);
		imgo_log_event(
			imgo_loop_log(server->loop), IMGO_LOG_WARN, "rpc", "refused", "why=\"%s\"", imgo_strerror(err));
		conn->closing = true;
		imgo__stream_pause(&conn->stream, true);
		imgo__timer_start(server->loop, &conn->timer, 1);
	} else {
		conn->greeted = true;
		imgo__timer_start(server->loop, &conn->timer, SILENCE_MS);
	}
	answer_hello(conn, head->id, err);
}

/* ---- calls ---- */
static imgo__rpc_handler *find_method(const struct imgo__rpc_server *server, struct imgo_str name)
{
	const struct imgo__rpc_method *m;

	for (m = server->methods; m->name; m++)
		if (imgo_str_eq(imgo_str(m->name), name))
			return m->fn;
	return NULL;
}

static void on_ping(struct imgo__rpc_request *request, struct imgo__mp *params, uint32_t nparams, void *user)
{
	(void)params;
	(void)nparams;
	(void)user;
	imgo__mpw_nil(imgo__rpc_reply_begin(request));
	imgo__rpc_reply_end(request);
}

static void call(struct imgo__rpc_conn *conn, const struct imgo__rpc_head *head, struct imgo__mp *mp)
{
	struct imgo__rpc_server *server = conn->server;
	struct imgo__rpc_request *request = imgo__zalloc(sizeof *request);
	uint32_t nparams = imgo__mp_array(mp, UINT32_MAX);
	imgo__rpc_handler *fn = find_method(server, head->method);

	if (!request || mp->err) {
		free(request);
		punish(conn, server->stat_garbage, "closed", mp->err ? "malformed" : "no memory");
		return;
	}
	request->conn = conn;
	request->id = head->id;
	request->notify = head->type == IMGO__RPC_NOTIFY;
	imgo__list_insert(&conn->requests, &request->link);
	conn->nrequests++;
	imgo_stat_add(server->stat_calls, 1);
	if (!fn && imgo_str_eq(head->method, imgo_str("ping")))
		fn = on_ping;
	if (!fn) {
		imgo__rpc_reply_error(request, IMGO_ENOTSUP);
		return;
	}
	server->depth++;
	fn(request, mp, nparams, server->user);
	server->depth--;
}

static void message(struct imgo__rpc_conn *conn, struct imgo_str payload)
{
	struct imgo__rpc_head head;
	struct imgo__mp mp;

	if (imgo__rpc_decode_head(payload, &head, &mp) < 0 || head.type == IMGO__RPC_RESPONSE)
		punish(conn, conn->server->stat_garbage, "closed", "malformed");
	else if (conn->greeted)
		call(conn, &head, &mp);
	else
		hello(conn, &head, &mp);
}

static void on_data(struct imgo__stream *s)
{
	struct imgo__rpc_conn *conn = imgo__container_of(s, struct imgo__rpc_conn, stream);

	while (s->fd >= 0 && !conn->closing) {
		size_t need, max = conn->greeted ? IMGO__RPC_FRAME_MAX : HELLO_MAX;
		struct imgo_str payload;
		ssize_t n;
		if (must_pause(conn)) {
			imgo__stream_pause(s, true);
			return;
		}
		n = imgo__rpc_frame(s->in.data + s->in_at, s->in.len - s->in_at, max, &payload, &need);
		if (n == 0)
			return;
		if (n < 0) {
			punish(conn, conn->server->stat_garbage, "closed", "malformed");
			return;
		}
		s->in_at += (size_t)n;
		message(conn, payload);
	}
}

static void on_resume(struct imgo_loop *loop, struct imgo__task *task)
{
	struct imgo__rpc_conn *conn = imgo__container_of(task, struct imgo__rpc_conn, resume);

	(void)loop;
	if (conn->closing || must_pause(conn))
		return;
	imgo__stream_pause(&conn->stream, false);
	imgo__stream_again(&conn->stream);
}

static void on_drained(struct imgo__stream *s)
{
	struct imgo__rpc_conn *conn = imgo__container_of(s, struct imgo__rpc_conn, stream);

	if (s->paused)
		imgo__defer(s->loop, &conn->resume);
}

static void on_closed(struct imgo__stream *s, int err)
{
	struct imgo__rpc_conn *conn = imgo__container_of(s, struct imgo__rpc_conn, stream);

	(void)err;
	if (s->why && !conn->greeted)
		punish(conn, conn->server->stat_refused, "refused", s->why);
	else
		imgo__rpc_conn_close(conn);
}

static void on_timer(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo__rpc_conn *conn = imgo__container_of(timer, struct imgo__rpc_conn, timer);
	uint64_t silent_ms = imgo__loop_now_ms(loop) - conn->stream.active_ms;
	bool ours = conn->nrequests >= conn->server->calls_max; /* we do not read, so its pings are not seen */

	if (conn->closing)
		imgo__rpc_conn_close(conn);
	else if (!conn->greeted)
		punish(conn, conn->server->stat_refused, "closed", "no hello in time");
	else if (silent_ms >= SILENCE_MS && !ours)
		punish(conn, conn->server->stat_slow, "closed", "silent");
	else
		imgo__timer_start(loop, timer, ours ? SILENCE_MS : SILENCE_MS - silent_ms);
}

void imgo__rpc_conn_start(struct imgo__rpc_server *server, int fd)
{
	static const struct imgo__stream_ops ops = {.data = on_data, .drained = on_drained, .closed = on_closed};
	struct imgo__rpc_conn *conn = imgo__zalloc(sizeof *conn);

	if (!conn) {
		imgo__sock_close(server->loop, fd);
		return;
	}
	conn->server = server;
	imgo__list_init(&conn->requests);
	imgo__list_init(&conn->link);
	imgo__list_insert(&server->conns, &conn->link);
	server->nconns++;
	imgo__task_init(&conn->resume, on_resume);
	imgo__timer_init(&conn->timer, on_timer);
	imgo__timer_start(server->loop, &conn->timer, HELLO_MS);
	imgo__stream_init(&conn->stream, server->loop, &ops);
	if (server->tls)
		imgo__stream_secure(&conn->stream, server->tls, IMGO__RPC_ALPN, NULL);
	if (imgo__stream_accept(&conn->stream, fd))
		imgo__rpc_conn_close(conn);
}
