/* SPDX-License-Identifier: MIT */
/*
 * What only goim's clients have: a name of their own for their connection, its key, by which goim's push/keys addresses it.
 *
 * Keys are the clients' choice, so two may choose the same. The session that came first has the key: another user's does
 * not get it (or anybody could take over what is meant for others), a newer one of the same user takes it over, and the
 * older one is closed, as goim does. Only a session with a key costs a node here; the key itself stands behind the session.
 */
#include "service/edge_impl.h"

struct keyed {
	struct imgo__map_node node;
	struct imgo__edge_session *session;
};

static struct imgo_str key_of(const struct imgo__map_node *node)
{
	return imgo__edge_key(imgo__container_of(node, struct keyed, node)->session);
}

static struct keyed *find(struct imgo_edge *edge, struct imgo_str key)
{
	struct imgo__map_node *node = key.len ? imgo__map_get(&edge->keys, key) : NULL;

	return node ? imgo__container_of(node, struct keyed, node) : NULL;
}

struct imgo__edge_session *imgo__edge_by_key(struct imgo_edge *edge, struct imgo_str key)
{
	struct keyed *keyed = find(edge, key);

	return keyed ? keyed->session : NULL;
}

void imgo__edge_key_drop(struct imgo_edge *edge, struct imgo__edge_session *session)
{
	struct keyed *keyed = find(edge, imgo__edge_key(session));

	if (!keyed || keyed->session != session)
		return;
	imgo__map_remove(&edge->keys, &keyed->node);
	free(keyed);
}

int imgo__edge_key_take(struct imgo_edge *edge, struct imgo__edge_session *session)
{
	struct imgo__edge_session *older = imgo__edge_by_key(edge, imgo__edge_key(session));
	struct keyed *keyed;

	if (session->key_len == 0)
		return 0;
	if (older && !imgo_str_eq(imgo__edge_who(older), imgo__edge_who(session))) {
		imgo_stat_add(edge->stats.key_taken, 1);
		return 0;
	}
	keyed = imgo__zalloc(sizeof *keyed);
	if (!keyed)
		return IMGO_ENOMEM;
	if (older) {
		imgo__edge_key_drop(edge, older);
		imgo_hub_close(edge->hub, older->conn, IMGO_CLOSE_REPLACED);
	}
	keyed->session = session;
	if (imgo__map_put(&edge->keys, &keyed->node)) {
		free(keyed);
		return IMGO_ENOMEM;
	}
	return 0;
}

void imgo__edge_goim_init(struct imgo_edge *edge)
{
	imgo__map_init(&edge->keys, key_of);
}

void imgo__edge_goim_fini(struct imgo_edge *edge)
{
	imgo__map_fini(&edge->keys); /* every session has ended, and taken its node along */
}
