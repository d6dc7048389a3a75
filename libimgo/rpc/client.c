/* SPDX-License-Identifier: MIT */
/*
 * The calls of a client. A call is written straight into its peer's output; only when no peer is up, but one
 * may come up soon, into a buffer of its own, and it waits. Ids rise through 32 bits, so that a late answer
 * finds no other call; the table is indexed by their low bits, and an id whose place is taken is passed over.
 *
 * What became of a call whose connection is lost is unknown (IMGO_ECLOSED), unless its first byte was never
 * handed to the kernel: then it was surely not done (IMGO_EUNAVAILABLE), and its caller may try again
 * whatever it was.
 *
 * A callback may make calls, and may free the client: that takes effect at the end of the turn.
 */
#include "rpc/client.h"

#include "base/error.h"
#include "base/mem.h"

static void end_call(struct imgo__rpc_call *call, int err, struct imgo__mp *result)
{
	struct imgo__rpc_client *client = call->client;
	imgo__rpc_reply_fn *cb = call->cb;
	void *user = call->user;

	imgo__list_remove(&call->link);
	imgo__timer_stop(client->loop, &call->timer);
	client->table[call->id & client->mask] = NULL;
	client->ncalls--;
	imgo__buf_free(&call->frame);
	free(call);
	if (!cb)
		return;
	client->depth++;
	cb(err, result, user);
	client->depth--;
}

/* ---- the table ---- */
static int grow_table(struct imgo__rpc_client *client)
{
	uint32_t mask = client->table ? client->mask * 2 + 1 : 63;
	struct imgo__rpc_call **table = imgo__array((size_t)mask + 1, sizeof(struct imgo__rpc_call *));

	if (!table)
		return IMGO_ENOMEM;
	for (uint32_t i = 0; client->table && i <= client->mask; i++)
		if (client->table[i])
			table[client->table[i]->id & mask] = client->table[i];
	free(client->table);
	client->table = table;
	client->mask = mask;
	return 0;
}

/* At most half of the table is in use, so a free place is near. */
static int new_id(struct imgo__rpc_client *client, uint32_t *out)
{
	if ((!client->table || client->ncalls > client->mask / 2) && grow_table(client) < 0)
		return IMGO_ENOMEM;
	do {
		client->next_id++;
	} while (client->next_id == 0 || client->table[client->next_id & client->mask]);
	*out = client->next_id;
	return 0;
}

/* ---- making a call ---- */
static struct imgo__rpc_peer *pick_among(struct imgo__rpc_client *client, bool suspects)
{
	unsigned first = client->spread ? client->turn++ : 0;

	for (unsigned i = 0; i < client->npeers; i++) {
		struct imgo__rpc_peer *peer = &client->peers[(first + i) % client->npeers];
		if (peer->state == IMGO__RPC_UP && peer->suspect == suspects)
			return peer;
	}
	return NULL;
}

static bool hopeful(const struct imgo__rpc_client *client)
{
	for (unsigned i = 0; i < client->npeers; i++)
		if (imgo__rpc_peer_hopeful(&client->peers[i]))
			return true;
	return false;
}

static int choose(struct imgo__rpc_client *client)
{
	struct imgo__rpc_peer *peer = pick_among(client, false);

	client->now.peer = peer ? peer : pick_among(client, true);
	if (client->freed)
		return IMGO_ECANCELED;
	if (client->ncalls >= client->calls_max)
		return IMGO_ELIMIT;
	if (!client->now.peer)
		return hopeful(client) ? 0 : IMGO_EUNAVAILABLE;
	return imgo__stream_unsent(&client->now.peer->stream) >= client->queue_max ? IMGO_ELIMIT : 0;
}

struct imgo__mpw *imgo__rpc_begin_call(struct imgo__rpc_client *client, const char *method, uint32_t nparams)
{
	struct imgo__rpc_head head = {.type = IMGO__RPC_REQUEST, .method = imgo_str(method)};
	struct imgo__buf *out = &client->now.frame;

	client->now.err = choose(client);
	if (client->now.err == 0)
		client->now.err = new_id(client, &client->now.id);
	if (client->now.err == 0 && client->now.peer) {
		out = &client->now.peer->stream.out;
		client->now.at = imgo__stream_position(&client->now.peer->stream);
	}
	head.id = client->now.id;
	imgo__mpw_init(&client->now.w, out);
	client->now.start = imgo__rpc_begin(&client->now.w, &head);
	imgo__mpw_array(&client->now.w, nparams);
	return &client->now.w;
}

static void on_deadline(struct imgo_loop *loop, struct imgo__timer *timer);

static struct imgo__rpc_call *new_call(struct imgo__rpc_client *client, imgo__rpc_reply_fn *cb, void *user)
{
	struct imgo__rpc_call *call = imgo__zalloc(sizeof *call);

	if (!call)
		return NULL;
	call->client = client;
	call->peer = client->now.peer;
	call->at = client->now.at;
	call->id = client->now.id;
	call->cb = cb;
	call->user = user;
	imgo__list_init(&call->link);
	imgo__timer_init(&call->timer, on_deadline);
	client->table[call->id & client->mask] = call;
	client->ncalls++;
	return call;
}

/* Nothing of the call remains. */
static int take_back(struct imgo__rpc_client *client, int err)
{
	client->now.w.buf->len = client->now.start;
	imgo__buf_free(&client->now.frame);
	return err;
}

int imgo__rpc_send(struct imgo__rpc_client *client, unsigned timeout_ms, imgo__rpc_reply_fn *cb, void *user)
{
	struct imgo__rpc_peer *peer = client->now.peer;
	int err = imgo__rpc_end(&client->now.w, client->now.start, IMGO__RPC_FRAME_MAX);
	struct imgo__rpc_call *call = NULL;

	if (client->now.err)
		err = client->now.err;
	if (err)
		return take_back(client, err);
	if (cb || !peer) {
		call = new_call(client, cb, user);
		if (!call)
			return take_back(client, IMGO_ENOMEM);
		imgo__timer_start(client->loop, &call->timer, timeout_ms ? timeout_ms : client->timeout_ms);
		imgo__list_insert(peer ? &peer->calls : &client->waiting, &call->link);
	}
	imgo_stat_add(client->stat_calls, 1);
	if (peer) {
		imgo__stream_push(&peer->stream);
	} else {
		call->frame = client->now.frame;
		memset(&client->now.frame, 0, sizeof client->now.frame);
	}
	return 0;
}

/* ---- what becomes of it ---- */
static void on_deadline(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo__rpc_call *call = imgo__container_of(timer, struct imgo__rpc_call, timer);
	struct imgo__rpc_client *client = call->client;
	struct imgo__rpc_peer *peer = call->peer;

	(void)loop;
	imgo_stat_add(client->stat_timeouts, 1);
	client->depth++;
	end_call(call, peer ? IMGO_ETIMEDOUT : IMGO_EUNAVAILABLE, NULL);
	if (peer && !client->freed)
		imgo__rpc_peer_timed_out(peer);
	client->depth--;
}

void imgo__rpc_client_response(struct imgo__rpc_client *client, const struct imgo__rpc_head *head, struct imgo__mp *result)
{
	struct imgo__rpc_call *call = client->table ? client->table[head->id & client->mask] : NULL;

	if (!call || call->id != head->id || !call->peer)
		return; /* it has timed out */
	end_call(call, head->error, head->error ? NULL : result);
}

void imgo__rpc_client_lost(struct imgo__rpc_client *client, struct imgo__rpc_peer *peer, uint64_t sent)
{
	struct imgo__list calls, *link;

	imgo__list_take(&calls, &peer->calls);
	while ((link = imgo__list_pop(&calls)) != NULL) {
		struct imgo__rpc_call *call = imgo__container_of(link, struct imgo__rpc_call, link);
		imgo_stat_add(client->stat_lost, 1);
		end_call(call, call->at < sent ? IMGO_ECLOSED : IMGO_EUNAVAILABLE, NULL);
	}
}

void imgo__rpc_client_hopeless(struct imgo__rpc_client *client)
{
	struct imgo__list calls, *link;

	if (pick_among(client, false) || pick_among(client, true) || hopeful(client))
		return;
	imgo__list_take(&calls, &client->waiting);
	while ((link = imgo__list_pop(&calls)) != NULL)
		end_call(imgo__container_of(link, struct imgo__rpc_call, link), IMGO_EUNAVAILABLE, NULL);
}

void imgo__rpc_client_flush(struct imgo__rpc_client *client, struct imgo__rpc_peer *peer)
{
	struct imgo__list *link;

	while ((link = imgo__list_pop(&client->waiting)) != NULL) {
		struct imgo__rpc_call *call = imgo__container_of(link, struct imgo__rpc_call, link);
		call->at = imgo__stream_position(&peer->stream);
		if (imgo__buf_append(&peer->stream.out, call->frame.data, call->frame.len) < 0) {
			end_call(call, IMGO_EUNAVAILABLE, NULL);
			continue;
		}
		imgo__buf_free(&call->frame);
		call->peer = peer;
		if (call->cb)
			imgo__list_insert(&peer->calls, &call->link);
		else
			end_call(call, 0, NULL);
	}
	imgo__stream_push(&peer->stream);
}

bool imgo__rpc_client_up(const struct imgo__rpc_client *client)
{
	for (unsigned i = 0; i < client->npeers; i++)
		if (client->peers[i].state == IMGO__RPC_UP)
			return true;
	return false;
}

/* ---- life ---- */
static void destroy(struct imgo__rpc_client *client)
{
	for (uint32_t i = 0; client->table && i <= client->mask; i++)
		if (client->table[i])
			end_call(client->table[i], IMGO_ECANCELED, NULL);
	for (unsigned i = 0; i < client->npeers; i++)
		imgo__rpc_peer_fini(&client->peers[i]);
	imgo__task_cancel(&client->reap);
	imgo__buf_free(&client->now.frame);
	free(client->table);
	free(client->secret);
	free(client->role);
	free(client);
}

static void on_reap(struct imgo_loop *loop, struct imgo__task *task)
{
	(void)loop;
	destroy(imgo__container_of(task, struct imgo__rpc_client, reap));
}

void imgo__rpc_client_free(struct imgo__rpc_client *client)
{
	if (!client || client->freed)
		return;
	client->freed = true;
	if (client->depth == 0)
		destroy(client);
	else
		imgo__defer(client->loop, &client->reap);
}

static int add_peers(struct imgo__rpc_client *client, const char *peers)
{
	const char *at = peers, *comma;
	int err = 0;

	do {
		comma = strchrnul(at, ',');
		err = imgo__rpc_peer_init(&client->peers[client->npeers], client, imgo_strn(at, (size_t)(comma - at)));
		client->npeers += err == 0;
		at = comma + 1;
	} while (err == 0 && *comma);
	return err;
}

static unsigned count_peers(const char *peers)
{
	unsigned n = 1;

	while ((peers = strchr(peers, ',')) != NULL) {
		peers++;
		n++;
	}
	return n;
}

static void init(struct imgo__rpc_client *client, const struct imgo__rpc_client_options *options)
{
	struct imgo_stats *stats = imgo_loop_stats(client->loop);

	client->timeout_ms = options->timeout_ms ? options->timeout_ms : 1000;
	client->calls_max = options->calls_max ? options->calls_max : 65536;
	client->queue_max = options->queue_max ? options->queue_max : 64 << 20;
	client->spread = options->spread;
	imgo__list_init(&client->waiting);
	imgo__task_init(&client->reap, on_reap);
	client->stat_calls = imgo_stats_counter(stats, "imgo_rpc_calls_total", "RPC calls made");
	client->stat_timeouts = imgo_stats_counter(stats, "imgo_rpc_timeouts_total", "RPC calls that timed out");
	client->stat_lost = imgo_stats_counter(stats, "imgo_rpc_lost_total", "RPC calls whose connection was lost");
	client->stat_connects = imgo_stats_counter(stats, "imgo_rpc_connects_total", "RPC connections made");
}

int imgo__rpc_check_tls(const struct imgo_tls *tls, struct imgo_error *error)
{
	if (!tls || (imgo__tls_has_cert(tls) && imgo__tls_has_ca(tls)))
		return 0;
	return imgo__fail(error, IMGO_EINVAL,
		"rpc: TLS between daemons needs a certificate and the authority of the others' (rpc.tls-cert, rpc.tls-ca)");
}

static int refuse(int err, const char *peers, struct imgo_log *log, struct imgo_error *error)
{
	if (err == IMGO_EDENIED) {
		/* The address may come from a registry, and then nobody sees the error. */
		imgo_log_event(log, IMGO_LOG_ERROR, "rpc", "peer-refused",
			"peers=%s why=\"not loopback, and no secret\"", peers);
		return imgo__fail(error, IMGO_EINVAL, "rpc: %s is not on loopback, so a secret or TLS is needed", peers);
	}
	return imgo__fail(error, err,
		err == IMGO_EINVAL ? "rpc: \"%s\" is not a list of addresses" : "rpc: out of memory for %s", peers);
}

int imgo__rpc_client_new(struct imgo__rpc_client **out, struct imgo_loop *loop,
	const struct imgo__rpc_client_options *options, struct imgo_error *error)
{
	unsigned n = options->peers ? count_peers(options->peers) : 0;
	struct imgo__rpc_client *client;
	int err;

	if (n == 0)
		return imgo__fail(error, IMGO_EINVAL, "rpc: no peers");
	err = imgo__rpc_check_tls(options->tls, error);
	if (err)
		return err;
	client = imgo__zalloc(sizeof *client + n * sizeof client->peers[0]);
	if (!client)
		return imgo__fail(error, IMGO_ENOMEM, "rpc: out of memory");
	client->loop = loop;
	init(client, options);
	client->tls = options->tls;
	client->secret = options->secret ? imgo__strdup(options->secret) : NULL;
	client->role = imgo__strdup(options->role ? options->role : "");
	err = client->role && (client->secret || !options->secret) ? add_peers(client, options->peers) : IMGO_ENOMEM;
	if (err) {
		destroy(client);
		return refuse(err, options->peers, imgo_loop_log(loop), error);
	}
	*out = client;
	return 0;
}
