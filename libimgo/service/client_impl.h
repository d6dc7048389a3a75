/* SPDX-License-Identifier: MIT */
/* The inside of a client: client.c has its life, client_send.c what it says, client_wire.c the two dialects,
 * client_json.c the server's JSON. */
#ifndef IMGO__SERVICE_CLIENT_IMPL_H
#define IMGO__SERVICE_CLIENT_IMPL_H

#include <imgo/client.h>

#include "codec/packet.h"
#include "codec/ws.h"
#include "net/stream.h"

/* What the bytes that come are, while state is CONNECTING or OPEN. */
enum imgo__client_phase { IMGO__CLIENT_UPGRADE, IMGO__CLIENT_FRAMES, IMGO__CLIENT_PACKETS };

struct imgo_client {
	struct imgo_loop *loop;
	struct imgo_client_ops ops;
	void *user;
	struct imgo_client_options opt; /* its strings are copies */
	struct imgo__addr addr;
	struct imgo__stream stream;
	struct imgo__timer timer; /* of the state: what happens when nothing else does */
	struct imgo__timer heartbeat;
	struct imgo__task turn, free_task;
	enum imgo_client_state state;
	enum imgo__client_phase phase;
	unsigned busy; /* callbacks of the host's that are running */
	bool freeing, was_open;
	bool ending, fin_sent; /* CLOSING: the last words are said; all is sent, and the FIN */
	unsigned attempts;     /* failed ones, in a row */
	uint64_t open_ms;
	int32_t seq, login_seq;
	uint16_t ver;                   /* granted */
	struct imgo_id acked, ack_sent; /* {0, 0}: none */
	bool has_room;
	size_t room_len;
	char room[IMGO_ROOM_MAX];
	/* WebSocket */
	struct imgo__ws ws;
	struct imgo__buf message; /* of several fragments, while they come */
	struct imgo__buf scratch; /* JSON on its way out */
	char accept[29];
	uint16_t code; /* the server's, for on_close */
};

/* client.c */
void imgo__client_packet(struct imgo_client *client, const struct imgo__packet *packet); /* body: as the host gets it */
void imgo__client_lost(struct imgo_client *client, int err);

static inline bool imgo__client_alive(const struct imgo_client *client)
{
	return !client->freeing && (client->state == IMGO_CLIENT_CONNECTING || client->state == IMGO_CLIENT_OPEN);
}

/* client_send.c */
void imgo__client_login(struct imgo_client *client);
int imgo__client_put_heartbeat(struct imgo_client *client);
int imgo__client_put_room(struct imgo_client *client);
void imgo__client_send_ack(struct imgo_client *client); /* if there is something new to say */

/* client_wire.c. The writers append to the stream: IMGO_ENOMEM, IMGO_ELIMIT (the queue). */
enum imgo__client_body {
	IMGO__CLIENT_VALUE,  /* JSON as it is, else a string */
	IMGO__CLIENT_STRING, /* a string, also when it is JSON */
	IMGO__CLIENT_TOKEN,  /* a string whose inside is not escaped: a token is the raw text */
};
int imgo__client_put(struct imgo_client *client, const struct imgo__packet *packet, enum imgo__client_body form);
int imgo__client_put_upgrade(struct imgo_client *client);
int imgo__client_put_close(struct imgo_client *client);
void imgo__client_input(struct imgo_client *client); /* takes what is behind stream.in_at */
/* A token that a JSON string can hold without escapes, as the server looks at it without undoing them. */
bool imgo__client_token_plain(struct imgo_str token);

/* client_json.c: the next packet of a message, *rest being its whole text at first. 1: there is one, its body
 * the raw text of the value (quoted: the inside of a string); 0: the end; IMGO_EPROTO. */
int imgo__client_json_next(struct imgo_str *rest, bool first, struct imgo__packet *out);

#endif
