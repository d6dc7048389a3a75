/* SPDX-License-Identifier: MIT */
/*
 * An existing service gains push: its own libev loop and its own idea of a login stay, and a hub is put
 * beside them. No daemon, no broker, no store. Every second each logged-in client is told the time.
 *
 *	embed [TCP-ADDRESS [WEBSOCKET-ADDRESS]]       default 127.0.0.1:8080 127.0.0.1:8090
 *
 * A client logs in with a token of the form NAME:secret (op 7) and gets pushes (op 5); see the protocol's
 * description.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <ev.h>

#include <imgo/hub.h>
#include <imgo/loop_ev.h>

/* The host's own check, here as simple as it can be. A slow one may answer later: keep `conn`, it is only a
 * number. */
static void on_auth(struct imgo_hub *hub, struct imgo_conn conn, const struct imgo_hub_auth *auth, void *user)
{
	static const char secret[] = ":secret";
	size_t tail = sizeof secret - 1;
	struct imgo_hub_grant grant = IMGO_HUB_GRANT_INIT;
	struct imgo_str lobby = imgo_str("lobby");

	(void)user;
	if (auth->token.len <= tail || memcmp(auth->token.p + auth->token.len - tail, secret, tail) != 0) {
		imgo_hub_auth_refuse(hub, conn, IMGO_CLOSE_DENIED);
		return;
	}
	grant.user = imgo_strn(auth->token.p, auth->token.len - tail);
	grant.rooms = &lobby;
	grant.nrooms = 1;
	if (imgo_hub_auth_finish(hub, conn, &grant))
		imgo_hub_auth_refuse(hub, conn, IMGO_CLOSE_TRY_LATER); /* a name that is too long, say */
}

static void on_close(
	struct imgo_hub *hub, struct imgo_conn conn, void *data, const struct imgo_hub_closed *closed, void *user)
{
	(void)hub, (void)conn, (void)data, (void)user;
	printf("a client has gone, reason %d\n", closed->why);
}

static void every_second(struct ev_loop *ev, ev_timer *timer, int events)
{
	struct imgo_hub *hub = timer->data;
	struct imgo_msg *msg;
	char body[64];
	int len = snprintf(body, sizeof body, "{\"time\":%lld}", (long long)time(NULL));

	(void)ev, (void)events;
	if (imgo_msg_new(&msg, IMGO_OP_PUSH, (struct imgo_id){0, 0}, body, (size_t)len))
		return;
	imgo_hub_send_room(hub, imgo_str("lobby"), &msg, 1);
	imgo_msg_unref(msg);
}

static void on_interrupt(struct ev_loop *ev, ev_signal *signal, int events)
{
	(void)signal, (void)events;
	ev_break(ev, EVBREAK_ALL);
}

int main(int argc, char **argv)
{
	const struct imgo_hub_ops ops = {.size = sizeof ops, .on_auth = on_auth, .on_close = on_close};
	struct ev_loop *ev = ev_default_loop(0); /* the host's */
	struct imgo_loop *loop = NULL;
	struct imgo_hub *hub = NULL;
	struct imgo_error error = {0};
	ev_timer timer;
	ev_signal interrupt;

	setvbuf(stdout, NULL, _IOLBF, 0);
	int r = imgo_loop_from_ev(&loop, ev, NULL, &error);
	if (r == 0)
		r = imgo_hub_new(&hub, loop, &ops, NULL, NULL, &error);
	if (r == 0)
		r = imgo_hub_listen(hub, argc > 1 ? argv[1] : "127.0.0.1:8080", IMGO_HUB_TCP, NULL, &error);
	if (r == 0)
		r = imgo_hub_listen(hub, argc > 2 ? argv[2] : "127.0.0.1:8090", IMGO_HUB_WEBSOCKET, NULL, &error);
	if (r == 0) {
		ev_timer_init(&timer, every_second, 1., 1.);
		timer.data = hub;
		ev_timer_start(ev, &timer);
		ev_signal_init(&interrupt, on_interrupt, SIGINT);
		ev_signal_start(ev, &interrupt);
		printf("listening\n");
		ev_run(ev, 0);
	} else {
		fprintf(stderr, "embed: %s\n", error.text);
	}
	imgo_hub_free(hub);
	imgo_loop_free(loop);
	return r ? 1 : 0;
}
