/* SPDX-License-Identifier: MIT */
/*
 * Tokens in memcached.
 *
 *   t:hash            -> token, on the server of the hash's partition
 *   l:partition:user  -> the newest hash of each device, on the server of the user's partition
 *
 * Putting writes the list first: it is what decides. Neither write needs a marker, for a store that forgets
 * gets all tokens again from the bus; reading does, of both partitions.
 */
#include "store/memcached.h"

static void go_to(struct imgo__mc_view *view, uint32_t partition)
{
	imgo__mc_view_init(view, view->conn, view->mc, view->arena, view->deadline_ms, view->epoch, partition, 0);
}

static struct imgo_str text(const struct imgo__buf *buf)
{
	return imgo_strn(buf->data, buf->len);
}

/* Writes value where `old` was read; nothing to do when it is the same. */
static int swap(struct imgo__mc_view *view, const struct imgo__mc_key *key, const struct imgo__mc_value *old,
	struct imgo_str value, uint32_t exptime)
{
	if (old->found && imgo_str_eq(old->data, value))
		return 0;
	return old->found ? imgo__mc_cas(view, key, value, exptime, old->cas) : imgo__mc_add(view, key, value, exptime);
}

static bool conflict(int err)
{
	return err == IMGO_EEXISTS || err == IMGO_ENOTFOUND;
}

/* ---- put ---- */

static uint64_t last_expiry(const struct imgo__tokenlist *list)
{
	uint64_t last = 0;
	for (size_t i = 0; i < list->n; i++)
		last = list->e[i].expires_ms > last ? list->e[i].expires_ms : last;
	return last;
}

static int put_in_list(
	struct imgo__mc_view *view, const struct imgo__mc_key *key, const struct imgo_store_token *token, bool *valid)
{
	uint64_t now_ms = imgo_loop_wall_ms(view->mc->loop);
	struct imgo__mc_value old;
	struct imgo__tokenlist list = {NULL, 0};
	struct imgo__buf buf = {0};
	int err = imgo__mc_get(view, key, 1, &old);
	if (!err && old.found)
		err = imgo__tokenlist_decode(&list, token->user, old.data.p, old.data.len);
	if (err == IMGO_EPROTO)
		err = imgo__mc_damaged(view, key, "token-list");
	if (!err && (err = imgo__tokenlist_put(&list, token, now_ms)) > 0)
		err = imgo__tokenlist_encode(&list, token->user, &buf);
	*valid = err >= 0 && imgo__tokenlist_valid(&list, token);
	if (!err && buf.len)
		err = swap(view, key, &old, text(&buf), imgo__mc_exptime(last_expiry(&list), now_ms));
	imgo__buf_free(&buf);
	imgo__tokenlist_fini(&list);
	return err;
}

static int put_record(struct imgo__mc_view *view, const struct imgo__mc_key *key, const struct imgo_store_token *token)
{
	struct imgo__mc_value old;
	struct imgo__buf buf = {0};
	int err = imgo__mc_get(view, key, 1, &old);
	if (!err)
		err = imgo__token_encode(token, &buf);
	if (!err)
		err = swap(view, key, &old, text(&buf),
			imgo__mc_exptime(token->expires_ms, imgo_loop_wall_ms(view->mc->loop)));
	imgo__buf_free(&buf);
	return err;
}

static int put(struct imgo__mc_view *view, uint32_t partitions, const struct imgo_store_token *token)
{
	struct imgo__mc_key key;
	bool valid = false;
	go_to(view, imgo_partition(token->user, partitions));
	imgo__mc_key_list(&key, view->partition, token->user);
	int err = imgo__mc_enter(view);
	if (!err)
		err = put_in_list(view, &key, token, &valid);
	for (int i = 1; conflict(err) && i < IMGO__MC_ATTEMPTS; i++)
		err = put_in_list(view, &key, token, &valid);
	if (err || !valid)
		return conflict(err) ? IMGO_EUNAVAILABLE : err;

	go_to(view, imgo__token_partition(token->hash, partitions));
	imgo__mc_key_token(&key, token->hash);
	err = imgo__mc_enter(view);
	if (!err)
		err = put_record(view, &key, token);
	for (int i = 1; conflict(err) && i < IMGO__MC_ATTEMPTS; i++)
		err = put_record(view, &key, token);
	return conflict(err) ? IMGO_EUNAVAILABLE : err;
}

int imgo__mc_token_put(struct imgo__mc_view *view, const struct imgo_store_token_many *call)
{
	int err = 0;
	for (size_t i = 0; i < call->nitems && !err; i++)
		err = put(view, call->partitions, &call->items[i]);
	return err;
}

/* ---- get ---- */

static int get_record(struct imgo__mc_view *view, struct imgo_store_token *token)
{
	struct imgo__mc_key key;
	struct imgo__mc_value value;
	imgo__mc_key_token(&key, token->hash);
	int err = imgo__mc_enter(view);
	if (!err)
		err = imgo__mc_get_checked(view, &key, 1, &value);
	if (err)
		return err;
	if (!value.found)
		return IMGO_ENOTFOUND;
	err = imgo__token_decode(token, value.data.p, value.data.len);
	return err == IMGO_EPROTO ? imgo__mc_damaged(view, &key, "token") : err;
}

static int look_in_list(struct imgo__mc_view *view, const struct imgo_store_token *token)
{
	struct imgo__mc_key key;
	struct imgo__mc_value value;
	struct imgo__tokenlist list;
	imgo__mc_key_list(&key, view->partition, token->user);
	int err = imgo__mc_enter(view);
	if (!err)
		err = imgo__mc_get_checked(view, &key, 1, &value);
	if (err)
		return err;
	if (!value.found)
		return IMGO_ENOTFOUND;
	err = imgo__tokenlist_decode(&list, token->user, value.data.p, value.data.len);
	if (err)
		return err == IMGO_EPROTO ? imgo__mc_damaged(view, &key, "token-list") : err;
	bool valid = imgo__tokenlist_valid(&list, token);
	imgo__tokenlist_fini(&list);
	return valid ? 0 : IMGO_ENOTFOUND;
}

static int get(struct imgo__mc_view *view, uint32_t partitions, struct imgo_store_token *token)
{
	go_to(view, imgo__token_partition(token->hash, partitions));
	int err = get_record(view, token);
	if (err)
		return err;
	if (token->expires_ms <= imgo_loop_wall_ms(view->mc->loop))
		return IMGO_ENOTFOUND;
	go_to(view, imgo_partition(token->user, partitions));
	return look_in_list(view, token);
}

int imgo__mc_token_get(struct imgo__mc_view *view, struct imgo_store_token_many *call)
{
	for (size_t i = 0; i < call->nitems; i++)
		call->items[i].err = get(view, call->partitions, &call->items[i]);
	return 0;
}
