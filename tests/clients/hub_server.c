/* SPDX-License-Identifier: MIT */
/*
 * A hub as a small program, for tests of clients. It prints "TCP-port WEBSOCKET-port" and obeys lines on its
 * standard input:
 *
 *	user U BODY | room R BODY | all BODY | log U ID BODY    send
 *	close U CODE                                             enum imgo_close, of U's last connection
 *	quit
 *
 * Everybody may log in as what the token says, but "bad…" is refused and "later…" is told to come again.
 * Standard output says "login U VER DEVICE", "ack ID", "closed U WHY".
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <imgo/hub.h>

enum { EPOCH = 7, LINE = 70000 };

struct server {
	struct imgo_loop *loop;
	struct imgo_hub *hub;
};

struct session {
	char user[IMGO_USER_MAX + 1];
	struct imgo_conn conn;
	struct session *next;
};

static struct session *sessions;

static void refuse(struct imgo_hub *hub, struct imgo_conn conn, enum imgo_close why)
{
	imgo_hub_auth_refuse(hub, conn, why);
}

static void on_auth(struct imgo_hub *hub, struct imgo_conn conn, const struct imgo_hub_auth *auth, void *user)
{
	struct imgo_hub_grant grant = IMGO_HUB_GRANT_INIT;
	struct session *session = calloc(1, sizeof *session);
	bool bad = auth->token.len >= 3 && memcmp(auth->token.p, "bad", 3) == 0;
	bool later = auth->token.len >= 5 && memcmp(auth->token.p, "later", 5) == 0;

	(void)user;
	if (!session || bad || later || auth->token.len == 0 || auth->token.len > IMGO_USER_MAX) {
		free(session);
		refuse(hub, conn, later ? IMGO_CLOSE_TRY_LATER : IMGO_CLOSE_DENIED);
		return;
	}
	memcpy(session->user, auth->token.p, auth->token.len);
	session->conn = conn;
	session->next = sessions;
	sessions = session;
	grant.user = imgo_str(session->user);
	grant.data = session;
	grant.rooms = auth->rooms;
	grant.nrooms = auth->nrooms;
	grant.ver = auth->ver;
	if (auth->ver == 2)
		grant.reply = imgo_str("{\"heartbeat\":30}");
	printf("login %s %u %.*s\n", session->user, auth->ver, (int)auth->device.len, auth->device.p);
	imgo_hub_auth_finish(hub, conn, &grant);
}

static bool on_packet(struct imgo_hub *hub, struct imgo_conn conn, const struct imgo_hub_packet *packet, void *user)
{
	(void)hub, (void)conn, (void)user;
	if (packet->op != 18)
		return false;
	printf("ack %" PRIu64 "\n", packet->id.id);
	return true;
}

static void on_close(
	struct imgo_hub *hub, struct imgo_conn conn, void *data, const struct imgo_hub_closed *closed, void *user)
{
	struct session *session = data;

	(void)hub, (void)conn, (void)user;
	if (!session)
		return;
	printf("closed %s %d\n", session->user, closed->why);
	for (struct session **at = &sessions; *at; at = &(*at)->next) {
		if (*at == session) {
			*at = session->next;
			break;
		}
	}
	free(session);
}

static void send_to(struct imgo_hub *hub, char kind, const char *to, struct imgo_id id, const char *body)
{
	struct imgo_msg *msg;

	if (imgo_msg_new(&msg, IMGO_OP_PUSH, id, body, strlen(body)))
		return;
	if (kind == 'u')
		imgo_hub_send_user(hub, imgo_str(to), &msg, 1);
	else if (kind == 'r')
		imgo_hub_send_room(hub, imgo_str(to), &msg, 1);
	else
		imgo_hub_broadcast(hub, &msg, 1);
	imgo_msg_unref(msg);
}

/* The next word of *at; the rest is what comes after one space. */
static char *word(char **at)
{
	return strsep(at, " ") ?: (char *)"";
}

static const char *rest(char *at)
{
	return at ? at : "";
}

static bool obey(struct server *self, char *line)
{
	char *at = line, *verb = word(&at);
	struct imgo_id none = {0, 0};

	if (strcmp(verb, "user") == 0 || strcmp(verb, "room") == 0) {
		const char *to = word(&at);
		send_to(self->hub, verb[0], to, none, rest(at));
	} else if (strcmp(verb, "all") == 0) {
		send_to(self->hub, 'a', "", none, rest(at));
	} else if (strcmp(verb, "log") == 0) {
		const char *to = word(&at);
		struct imgo_id id = {EPOCH, strtoull(word(&at), NULL, 10)};
		send_to(self->hub, 'u', to, id, rest(at));
	} else if (strcmp(verb, "close") == 0) {
		const char *who = word(&at);
		for (struct session *s = sessions; s; s = s->next) {
			if (strcmp(s->user, who) == 0) {
				imgo_hub_close(self->hub, s->conn, (enum imgo_close)atoi(rest(at)));
				break;
			}
		}
	} else {
		return false;
	}
	return true;
}

static void serve(struct server *self)
{
	static char line[LINE];
	size_t len = 0;

	for (;;) {
		struct pollfd p[2] = {{.fd = imgo_loop_fd(self->loop), .events = POLLIN}, {.fd = 0, .events = POLLIN}};
		poll(p, 2, imgo_loop_timeout_ms(self->loop));
		imgo_loop_process(self->loop);
		if (!p[1].revents)
			continue;
		ssize_t n = read(0, line + len, sizeof line - len);
		if (n <= 0)
			return;
		len += (size_t)n;
		for (char *end; (end = memchr(line, '\n', len));) {
			*end = 0;
			if (!obey(self, line))
				return;
			len -= (size_t)(end + 1 - line);
			memmove(line, end + 1, len);
		}
	}
}

int main(void)
{
	struct imgo_hub_ops ops = {.size = sizeof ops, .on_auth = on_auth, .on_packet = on_packet, .on_close = on_close};
	struct imgo_error error = {0};
	struct server self;
	int tcp, ws;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (imgo_loop_new(&self.loop, NULL, &error) || imgo_hub_new(&self.hub, self.loop, &ops, &self, NULL, &error) ||
		imgo_hub_listen(self.hub, "127.0.0.1:0", IMGO_HUB_TCP, &tcp, &error) ||
		imgo_hub_listen(self.hub, "127.0.0.1:0", IMGO_HUB_WEBSOCKET, &ws, &error)) {
		fprintf(stderr, "hub_server: %s\n", error.text);
		return 1;
	}
	printf("%d %d\n", tcp, ws);
	serve(&self);
	imgo_hub_free(self.hub);
	imgo_loop_free(self.loop);
	return 0;
}
