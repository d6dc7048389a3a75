/* SPDX-License-Identifier: MIT */
#include "store/memory_data.h"

#include "base/buf.h"
#include "base/mem.h"

static struct imgo_str part_key(const struct imgo__map_node *node)
{
	return imgo_strn(imgo__container_of(node, struct imgo__mem_part, node)->key, 4);
}

static struct imgo_str user_key(const struct imgo__map_node *node)
{
	struct imgo__mem_user *user = imgo__container_of(node, struct imgo__mem_user, node);
	return imgo_strn(user->name, user->len);
}

static struct imgo_str body_key(const struct imgo__map_node *node)
{
	return imgo_strn(imgo__container_of(node, struct imgo__mem_body, node)->key, IMGO__BODY_KEY_LEN);
}

static struct imgo_str token_key(const struct imgo__map_node *node)
{
	return imgo_strn(imgo__container_of(node, struct imgo__mem_token, node)->token.hash, IMGO_STORE_TOKEN_HASH_LEN);
}

void imgo__mem_init(struct imgo__mem_data *data)
{
	memset(data, 0, sizeof *data);
	imgo__map_init(&data->parts, part_key);
	imgo__list_init(&data->users);
	imgo__list_init(&data->tokens);
}

/* ---- partitions ---- */

static struct imgo_str partition_key(uint8_t out[4], uint32_t partition)
{
	imgo__put32(out, partition);
	return imgo_strn(out, 4);
}

struct imgo__mem_part *imgo__mem_part_get(struct imgo__mem_data *data, uint32_t partition)
{
	uint8_t key[4];
	struct imgo__map_node *node = imgo__map_get(&data->parts, partition_key(key, partition));
	return node ? imgo__container_of(node, struct imgo__mem_part, node) : NULL;
}

struct imgo__mem_part *imgo__mem_part_make(struct imgo__mem_data *data, uint32_t partition)
{
	struct imgo__mem_part *part = imgo__mem_part_get(data, partition);
	if (part || !(part = imgo__zalloc(sizeof *part)))
		return part;
	partition_key(part->key, partition);
	imgo__map_init(&part->users, user_key);
	imgo__map_init(&part->bodies, body_key);
	imgo__map_init(&part->tokens, token_key);
	if (imgo__map_put(&data->parts, &part->node)) {
		free(part);
		return NULL;
	}
	return part;
}

static void free_user(struct imgo__mem_data *data, struct imgo__mem_user *user)
{
	imgo__list_remove(&user->ring);
	data->nusers--;
	imgo__userlog_fini(&user->log);
	imgo__tokenlist_fini(&user->tokens);
	free(user);
}

static void free_token(struct imgo__mem_data *data, struct imgo__mem_token *token)
{
	imgo__list_remove(&token->ring);
	data->ntokens--;
	free(token);
}

static void free_part(struct imgo__mem_data *data, struct imgo__mem_part *part)
{
	struct imgo__map_node *node;
	while ((node = imgo__map_pop(&part->users)))
		free_user(data, imgo__container_of(node, struct imgo__mem_user, node));
	while ((node = imgo__map_pop(&part->tokens)))
		free_token(data, imgo__container_of(node, struct imgo__mem_token, node));
	while ((node = imgo__map_pop(&part->bodies)))
		free(imgo__container_of(node, struct imgo__mem_body, node));
	imgo__map_fini(&part->users);
	imgo__map_fini(&part->tokens);
	imgo__map_fini(&part->bodies);
	free(part->markers);
	free(part);
}

void imgo__mem_forget(struct imgo__mem_data *data, uint32_t partition)
{
	struct imgo__map_node *node;
	if (partition == UINT32_MAX) {
		while ((node = imgo__map_pop(&data->parts)))
			free_part(data, imgo__container_of(node, struct imgo__mem_part, node));
		return;
	}
	struct imgo__mem_part *part = imgo__mem_part_get(data, partition);
	if (!part)
		return;
	imgo__map_remove(&data->parts, &part->node);
	free_part(data, part);
}

void imgo__mem_fini(struct imgo__mem_data *data)
{
	imgo__mem_forget(data, UINT32_MAX);
	imgo__map_fini(&data->parts);
}

/* ---- users ---- */

struct imgo__mem_user *imgo__mem_user_get(struct imgo__mem_part *part, struct imgo_str name)
{
	struct imgo__map_node *node = part ? imgo__map_get(&part->users, name) : NULL;
	return node ? imgo__container_of(node, struct imgo__mem_user, node) : NULL;
}

struct imgo__mem_user *imgo__mem_user_make(struct imgo__mem_data *data, struct imgo__mem_part *part, struct imgo_str name)
{
	struct imgo__mem_user *user = imgo__mem_user_get(part, name);
	if (user || !(user = imgo__zalloc(sizeof *user + name.len)))
		return user;
	user->part = part;
	user->len = name.len;
	memcpy(user->name, name.p, name.len);
	if (imgo__map_put(&part->users, &user->node)) {
		free(user);
		return NULL;
	}
	imgo__list_insert(&data->users, &user->ring);
	data->nusers++;
	return user;
}

void imgo__mem_user_drop(struct imgo__mem_data *data, struct imgo__mem_user *user)
{
	imgo__map_remove(&user->part->users, &user->node);
	free_user(data, user);
}

/* ---- bodies ---- */

static struct imgo_str make_key(uint8_t out[IMGO__BODY_KEY_LEN], struct imgo_id id, const uint8_t *tag)
{
	imgo__put32(out, id.epoch);
	imgo__put64(out + 4, id.id);
	memcpy(out + 12, tag, IMGO__USERLOG_TAG_LEN);
	return imgo_strn(out, IMGO__BODY_KEY_LEN);
}

struct imgo__mem_body *imgo__mem_body_get(struct imgo__mem_part *part, const struct imgo__userlog_item *item)
{
	uint8_t key[IMGO__BODY_KEY_LEN];
	struct imgo__map_node *node = imgo__map_get(&part->bodies, make_key(key, item->id, item->tag));
	return node ? imgo__container_of(node, struct imgo__mem_body, node) : NULL;
}

struct imgo__mem_body *imgo__mem_body_ref(struct imgo__mem_part *part, const struct imgo_store_body *from)
{
	struct imgo__userlog_item item = {.id = from->id};
	imgo__userlog_tag(item.tag, &from->msgid);
	struct imgo__mem_body *body = imgo__mem_body_get(part, &item);
	if (body) {
		body->refs++;
		return body;
	}
	body = imgo__alloc(sizeof *body + from->data.len);
	if (!body)
		return NULL;
	*body = (struct imgo__mem_body){
		.refs = 1, .op = from->op, .at_ms = from->at_ms, .msgid = from->msgid, .size = from->data.len};
	make_key(body->key, from->id, item.tag);
	if (from->data.len)
		memcpy(body->data, from->data.p, from->data.len);
	if (imgo__map_put(&part->bodies, &body->node)) {
		free(body);
		return NULL;
	}
	return body;
}

void imgo__mem_body_unref(struct imgo__mem_part *part, const struct imgo__userlog_item *item)
{
	struct imgo__mem_body *body = imgo__mem_body_get(part, item);
	if (!body || --body->refs)
		return;
	imgo__map_remove(&part->bodies, &body->node);
	free(body);
}

/* ---- tokens ---- */

struct imgo__mem_token *imgo__mem_token_get(struct imgo__mem_part *part, const uint8_t *hash)
{
	struct imgo__map_node *node =
		part ? imgo__map_get(&part->tokens, imgo_strn(hash, IMGO_STORE_TOKEN_HASH_LEN)) : NULL;
	return node ? imgo__container_of(node, struct imgo__mem_token, node) : NULL;
}

void imgo__mem_token_drop(struct imgo__mem_data *data, struct imgo__mem_token *token)
{
	imgo__map_remove(&token->part->tokens, &token->node);
	free_token(data, token);
}

static struct imgo_str keep(char **at, struct imgo_str s)
{
	char *p = *at;
	if (s.len)
		memcpy(p, s.p, s.len);
	*at += s.len;
	return imgo_strn(p, s.len);
}

int imgo__mem_token_put(struct imgo__mem_data *data, struct imgo__mem_part *part, const struct imgo_store_token *from)
{
	size_t len = from->user.len + from->device.len;
	for (size_t i = 0; i < from->nrooms; i++)
		len += from->rooms[i].len;
	struct imgo__mem_token *token = imgo__zalloc(sizeof *token + len);
	if (!token)
		return IMGO_ENOMEM;
	token->part = part;
	token->token = *from;
	char *at = token->text;
	token->token.user = keep(&at, from->user);
	token->token.device = keep(&at, from->device);
	for (size_t i = 0; i < from->nrooms; i++)
		token->token.rooms[i] = keep(&at, from->rooms[i]);

	struct imgo__mem_token *old = imgo__mem_token_get(part, from->hash);
	if (old)
		imgo__mem_token_drop(data, old);
	if (imgo__map_put(&part->tokens, &token->node)) {
		free(token);
		return IMGO_ENOMEM;
	}
	imgo__list_insert(&data->tokens, &token->ring);
	data->ntokens++;
	return 0;
}

/* ---- markers ---- */

struct imgo__marker imgo__mem_marker(const struct imgo__mem_part *part, uint32_t epoch)
{
	for (size_t i = 0; part && i < part->nmarkers; i++)
		if (part->markers[i].epoch == epoch)
			return part->markers[i].marker;
	return (struct imgo__marker){IMGO_MARKER_MISSING, 0};
}

int imgo__mem_marker_set(struct imgo__mem_part *part, uint32_t epoch, struct imgo__marker marker)
{
	for (size_t i = 0; i < part->nmarkers; i++) {
		if (part->markers[i].epoch == epoch) {
			part->markers[i].marker = marker;
			return 0;
		}
	}
	void *markers = imgo__regrow(part->markers, part->nmarkers + 1, sizeof *part->markers);
	if (!markers)
		return IMGO_ENOMEM;
	part->markers = markers;
	part->markers[part->nmarkers++] = (struct imgo__mem_marker){epoch, marker};
	return 0;
}
