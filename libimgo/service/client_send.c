/* SPDX-License-Identifier: MIT */
/* What a client sends: its login, rooms, acknowledgements, and what the host says. */
#include "service/client_impl.h"

#include <inttypes.h>

#include <imgo/error.h>

#include "codec/json.h"

static int32_t next_seq(struct imgo_client *client)
{
	client->seq = client->seq == INT32_MAX ? 1 : client->seq + 1;
	return client->seq;
}

static int put(struct imgo_client *client, int32_t op, int32_t seq, struct imgo_str body, enum imgo__client_body form)
{
	struct imgo__packet packet = {.ver = client->ver, .op = op, .seq = seq, .body = body};

	return imgo__client_put(client, &packet, form);
}

int imgo__client_put_room(struct imgo_client *client)
{
	return put(client, IMGO__OP_ROOM, next_seq(client), imgo_strn(client->room, client->room_len), IMGO__CLIENT_STRING);
}

static bool has_ack(const struct imgo_client *client)
{
	return imgo_id_cmp(client->acked, client->ack_sent) > 0;
}

/* Logged in, and the last words are not said. */
static bool can_say(const struct imgo_client *client)
{
	return client->state == IMGO_CLIENT_OPEN || (client->state == IMGO_CLIENT_CLOSING && !client->ending);
}

/* Does not fit now: the next one, or the next heartbeat, says it too. */
void imgo__client_send_ack(struct imgo_client *client)
{
	struct imgo__packet packet = {.ver = client->ver, .op = IMGO__OP_ACK, .has_id = true, .id = client->acked};

	if (can_say(client) && client->ver >= 2 && has_ack(client) &&
		imgo__client_put(client, &packet, IMGO__CLIENT_VALUE) == 0)
		client->ack_sent = client->acked;
}

/* The object of version 2. */
static int login_object(struct imgo_client *client, struct imgo__buf *out)
{
	int err = imgo__buf_str(out, imgo_str("{\"token\":"));

	if (err == 0)
		err = imgo__json_quote(out, imgo_str(client->opt.token));
	if (err == 0 && client->opt.device) {
		err = imgo__buf_str(out, imgo_str(",\"device\":"));
		if (err == 0)
			err = imgo__json_quote(out, imgo_str(client->opt.device));
	}
	if (err == 0 && client->acked.id)
		err = imgo__buf_printf(out, ",\"resume\":{\"epoch\":%u,\"id\":\"%llu\"}", client->acked.epoch,
			(unsigned long long)client->acked.id);
	return err ? err : imgo__buf_str(out, imgo_str("}"));
}

static int goim_accepts(const struct imgo_client_options *opt, struct imgo__buf *out)
{
	int err = imgo__buf_str(out, imgo_str(opt->accepts ? "[" : "null"));

	for (size_t i = 0; i < opt->naccepts && err == 0; i++)
		err = imgo__buf_printf(out, "%s%" PRId32, i ? "," : "", opt->accepts[i]);
	return err || !opt->accepts ? err : imgo__buf_str(out, imgo_str("]"));
}

/* goim's object. */
static int goim_object(struct imgo_client *client, struct imgo__buf *out)
{
	const struct imgo_client_options *opt = &client->opt;
	int err = imgo__buf_printf(out, "{\"mid\":%" PRIu64 ",\"key\":", opt->mid);

	if (err == 0)
		err = imgo__json_quote(out, imgo_str(opt->key));
	if (err == 0)
		err = imgo__buf_str(out, imgo_str(",\"room_id\":"));
	if (err == 0)
		err = imgo__json_quote(out, imgo_strn(client->room, client->room_len));
	if (err == 0)
		err = imgo__buf_str(out, imgo_str(",\"platform\":\"imgo\",\"accepts\":"));
	if (err == 0)
		err = goim_accepts(opt, out);
	if (err == 0 && opt->token) {
		err = imgo__buf_str(out, imgo_str(",\"token\":"));
		if (err == 0)
			err = imgo__json_quote(out, imgo_str(opt->token));
	}
	return err ? err : imgo__buf_str(out, imgo_str("}"));
}

static int put_login(struct imgo_client *client)
{
	struct imgo_str token = imgo_str(client->opt.token);
	struct imgo__buf object = {0};
	int err;

	if (client->opt.goim) {
		err = goim_object(client, &object);
		if (err == 0)
			err = put(client, IMGO__OP_AUTH, client->login_seq, imgo_strn(object.data, object.len),
				IMGO__CLIENT_VALUE);
		imgo__buf_free(&object);
		return err;
	}
	/* A bare token where it will do: a server of version 1 understands that. */
	if (client->ver < 2 || (!client->opt.device && !client->acked.id && *token.p != '{'))
		return put(client, IMGO__OP_AUTH, client->login_seq, token,
			imgo__client_token_plain(token) ? IMGO__CLIENT_TOKEN : IMGO__CLIENT_VALUE);
	err = login_object(client, &object);
	if (err == 0)
		err = put(client, IMGO__OP_AUTH, client->login_seq, imgo_strn(object.data, object.len), IMGO__CLIENT_VALUE);
	imgo__buf_free(&object);
	return err;
}

void imgo__client_login(struct imgo_client *client)
{
	int err;

	client->login_seq = next_seq(client);
	err = put_login(client);
	if (err)
		imgo__client_lost(client, err);
	else
		client->ack_sent = client->acked;
}

int imgo__client_put_heartbeat(struct imgo_client *client)
{
	return put(client, IMGO__OP_HEARTBEAT, next_seq(client), imgo_str(NULL), IMGO__CLIENT_VALUE);
}

/* ---- the host's calls ---- */

int imgo_client_send(struct imgo_client *client, int32_t op, struct imgo_str body, int32_t *seq)
{
	bool text = op == IMGO__OP_SUB || op == IMGO__OP_UNSUB || op == IMGO__OP_ROOM || op == IMGO__OP_JOIN ||
		    op == IMGO__OP_LEAVE;
	int32_t number;
	int err;

	if (op == IMGO__OP_HEARTBEAT || op == IMGO__OP_AUTH || op == IMGO__OP_ACK)
		return IMGO_EINVAL;
	if (client->state != IMGO_CLIENT_OPEN)
		return IMGO_ECLOSED;
	number = next_seq(client);
	err = put(client, op, number, body, text ? IMGO__CLIENT_STRING : IMGO__CLIENT_VALUE);
	if (err == 0 && seq)
		*seq = number;
	return err;
}

int imgo_client_room(struct imgo_client *client, struct imgo_str room)
{
	if (room.len > IMGO_ROOM_MAX)
		return IMGO_EINVAL;
	if (room.len)
		memmove(client->room, room.p, room.len);
	client->room_len = room.len;
	client->has_room = true;
	return client->state == IMGO_CLIENT_OPEN ? imgo__client_put_room(client) : 0;
}

int imgo_client_ack(struct imgo_client *client, struct imgo_id id)
{
	if (client->opt.ver < 2)
		return IMGO_EINVAL;
	client->acked = imgo_id_max(client->acked, id);
	if (can_say(client) && has_ack(client))
		imgo__defer(client->loop, &client->turn);
	return 0;
}
