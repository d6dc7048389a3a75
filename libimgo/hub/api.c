/* SPDX-License-Identifier: MIT */
/* Sending, rooms, closing and looking, as the host calls them. */
#include "hub/internal.h"

enum { PORTION = 64 };

/* ---- sending ---- */

static int send_chunk(struct imgo__conn *c, struct imgo__chunk *chunk, size_t n)
{
	int r = chunk ? imgo__conn_queue(c, chunk) : IMGO_ENOMEM;

	if (r == 0)
		c->hub->tally.packets_out += n;
	else
		c->hub->tally.dropped += n;
	return r;
}

static int send_all(struct imgo__conn *c, struct imgo_msg *const *messages, size_t n)
{
	struct imgo__chunk *chunk;
	int r;

	if (n == 0)
		return 0;
	chunk = imgo__msg_encode(messages, n, (enum imgo__dialect)c->dialect);
	r = send_chunk(c, chunk, n);
	imgo__chunk_unref(chunk);
	return r;
}

/* Those that it wants, in portions. */
static int send_wanted(struct imgo__conn *c, struct imgo_msg *const *messages, size_t n)
{
	struct imgo_msg *wanted[PORTION];
	size_t count = 0, sent = 0;
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		if (imgo__conn_wants(c, imgo_msg_op(messages[i])))
			wanted[count++] = messages[i];
		if (count == PORTION || i + 1 == n) {
			r = send_all(c, wanted, count);
			sent += count;
			count = 0;
		}
	}
	if (r == 0)
		c->hub->tally.filtered += n - sent;
	return r;
}

static bool wants_all(const struct imgo__conn *c, struct imgo_msg *const *messages, size_t n)
{
	size_t i = 0;

	while (i < n && imgo__conn_wants(c, imgo_msg_op(messages[i])))
		i++;
	return i == n;
}

int imgo_hub_send(struct imgo_hub *hub, struct imgo_conn conn, struct imgo_msg *const *messages, size_t n)
{
	struct imgo__conn *c = imgo__conn_get(hub, conn);

	if (!c || c->state != IMGO__CONN_LIVE)
		return IMGO_ESTALE;
	return wants_all(c, messages, n) ? send_all(c, messages, n) : send_wanted(c, messages, n);
}

int imgo_hub_send_user(struct imgo_hub *hub, struct imgo_str key, struct imgo_msg *const *messages, size_t n)
{
	struct imgo__chunk *chunks[IMGO__DIALECTS] = {NULL};
	struct imgo__user *user = hub->freeing ? NULL : imgo__user_find(hub, key);
	int sent = 0, failed = 0;

	if (!user || n == 0)
		return 0;
	for (uint32_t link = user->first; link;) {
		struct imgo__conn *c = imgo__conn_at(hub, link - 1);
		link = c->next; /* before it may be closed for being slow */
		if (c->state != IMGO__CONN_LIVE)
			continue;
		int r;
		if (wants_all(c, messages, n)) {
			if (!chunks[c->dialect])
				chunks[c->dialect] = imgo__msg_encode(messages, n, (enum imgo__dialect)c->dialect);
			r = send_chunk(c, chunks[c->dialect], n);
		} else {
			r = send_wanted(c, messages, n);
		}
		sent += r != IMGO_ENOMEM;
		failed += r == IMGO_ENOMEM;
	}
	for (int i = 0; i < IMGO__DIALECTS; i++)
		imgo__chunk_unref(chunks[i]);
	return sent || !failed ? sent : IMGO_ENOMEM;
}

int imgo_hub_send_room(struct imgo_hub *hub, struct imgo_str key, struct imgo_msg *const *messages, size_t n)
{
	struct imgo__room *room = hub->freeing ? NULL : imgo__room_find(hub, key);

	return room ? imgo__cast_start(hub, room, messages, n) : 0;
}

int imgo_hub_broadcast(struct imgo_hub *hub, struct imgo_msg *const *messages, size_t n)
{
	return hub->freeing ? 0 : imgo__cast_start(hub, hub->everyone, messages, n);
}

int imgo_hub_reply(struct imgo_hub *hub, struct imgo_conn conn, const struct imgo_hub_packet *packet)
{
	struct imgo__conn *c = imgo__conn_get(hub, conn);

	if (!c || c->state != IMGO__CONN_LIVE)
		return IMGO_ESTALE;
	struct imgo__packet p = {.ver = packet->ver,
		.op = packet->op,
		.seq = packet->seq,
		.has_id = packet->has_id,
		.id = packet->id,
		.body = packet->body};
	return imgo__hub_answer(c, &p);
}

/* ---- rooms ---- */

int imgo_hub_join(struct imgo_hub *hub, struct imgo_conn conn, struct imgo_str room)
{
	struct imgo__conn *c = imgo__conn_get(hub, conn);

	if (!c || c->state != IMGO__CONN_LIVE)
		return IMGO_ESTALE;
	return imgo__room_join(c, room);
}

int imgo_hub_leave(struct imgo_hub *hub, struct imgo_conn conn, struct imgo_str room)
{
	struct imgo__conn *c = imgo__conn_get(hub, conn);

	if (!c || c->state != IMGO__CONN_LIVE)
		return IMGO_ESTALE;
	imgo__room_leave(c, room);
	return 0;
}

int imgo_hub_rooms(struct imgo_hub *hub, struct imgo_conn conn, struct imgo_str *out, size_t max)
{
	struct imgo__conn *c = imgo__conn_get(hub, conn);

	if (!c || c->state != IMGO__CONN_LIVE)
		return IMGO_ESTALE;
	const struct imgo__member *m = imgo__conn_members(c);
	for (size_t i = 0; i < max && i < c->nrooms; i++)
		out[i] = imgo_strn(m[i].room->key, m[i].room->len);
	return c->nrooms;
}

uint32_t imgo_hub_room_size(struct imgo_hub *hub, struct imgo_str key)
{
	struct imgo__room *room = hub->freeing ? NULL : imgo__room_find(hub, key);

	return room ? room->n : 0;
}

/* ---- one connection ---- */

int imgo_hub_close(struct imgo_hub *hub, struct imgo_conn conn, enum imgo_close why)
{
	struct imgo__conn *c = imgo__conn_get(hub, conn);

	if (!c)
		return IMGO_ESTALE;
	imgo__casts_settle(c);
	imgo__conn_kill(c, why == IMGO_CLOSE_NONE ? IMGO_CLOSE_KICKED : why);
	return 0;
}

void *imgo_hub_data(struct imgo_hub *hub, struct imgo_conn conn)
{
	struct imgo__conn *c = imgo__conn_get(hub, conn);

	return c && c->state == IMGO__CONN_LIVE ? c->data : NULL;
}

struct imgo_str imgo_hub_user(struct imgo_hub *hub, struct imgo_conn conn)
{
	struct imgo__conn *c = imgo__conn_get(hub, conn);

	return c && c->state == IMGO__CONN_LIVE ? imgo_strn(c->user->key, c->user->len) : imgo_str(NULL);
}

int imgo_hub_position(struct imgo_hub *hub, struct imgo_conn conn, uint64_t *queued, uint64_t *acknowledged)
{
	struct imgo__conn *c = imgo__conn_get(hub, conn);

	if (!c)
		return IMGO_ESTALE;
	imgo__conn_position(c, queued, acknowledged);
	return 0;
}

int imgo_hub_written(struct imgo_hub *hub, struct imgo_conn conn, uint64_t *out)
{
	struct imgo__conn *c = imgo__conn_get(hub, conn);

	if (!c)
		return IMGO_ESTALE;
	*out = imgo__conn_written(c);
	return 0;
}

int imgo_hub_ping(struct imgo_hub *hub, struct imgo_conn conn, struct imgo_str payload)
{
	struct imgo__conn *c = imgo__conn_get(hub, conn);

	if (!c || c->state != IMGO__CONN_LIVE)
		return IMGO_ESTALE;
	if (!(c->flags & IMGO__CONN_UPGRADED))
		return IMGO_ENOTSUP;
	if (payload.len == 0 || payload.len > IMGO__WS_CONTROL_MAX)
		return IMGO_EINVAL;
	return imgo__ws_ping(c, payload);
}

void imgo_hub_counts(struct imgo_hub *hub, struct imgo_hub_counts *out)
{
	*out = (struct imgo_hub_counts){.connections = hub->connections,
		.authenticated = hub->authenticated,
		.rooms = (uint32_t)hub->rooms.n,
		.users = (uint32_t)hub->users.n};
}
