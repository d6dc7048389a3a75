/* SPDX-License-Identifier: MIT */
/*
 * Clients and callers, in a process that never dies.
 *
 * A client logs in over TCP as version 1, reads what comes and tells check.c. It leaves in all the ways there are: orderly
 * (FIN, and reads on to the end), at once (close, whatever is on its way), by a reset, or it stops reading for a while and
 * then dies; what lay unread in its socket then had reached its TCP, which is all that is promised to version 1.
 *
 * A caller has users of its own and pushes to some of them, one push after the other: again, with the same key and at any
 * logic, until it is accepted.
 */
#include "sim.h"

#include "base/hash.h"
#include "codec/packet.h"

enum {
	CALLERS = 3,
	CLIENTS = SIM_USERS * 2,
	BUFFER = 64 * 1024,
	PUSH_TIMEOUT_US = 5 * SIM_SECOND,
	HEARTBEAT_MS = 5000,
};

struct client {
	uint32_t user;
	unsigned number;
	int fd; /* -1: none */
	struct imgo__io io;
	struct imgo__timer timer; /* to connect, or to leave */
	struct imgo__timer heartbeat;
	uint64_t session;
	enum { AWAY, CONNECTING, GREETING, HERE, LEAVING, DEAF } state;
	uint8_t in[BUFFER];
	size_t len;
};

struct caller {
	unsigned number;
	uint32_t n; /* of the push under way */
	bool busy;
	uint32_t users[SIM_USERS];
	size_t nusers;
	struct imgo__timer timer; /* the next push, or the next try */
};

struct sim_people_options sim_people;
static struct sim_process people;
static struct client clients[CLIENTS];
static struct caller callers[CALLERS];
static uint64_t sessions;
static bool settled, quiet;

static void timer_in(struct imgo__timer *timer, uint64_t delay_ms)
{
	imgo__timer_start(&people.loop, timer, delay_ms);
}

/* ---- what clients say and hear ---- */

static void send_packet(struct client *client, int32_t op, const char *body)
{
	uint8_t bytes[128] = {0};
	size_t len = 16 + strlen(body);
	struct iovec iov = {bytes, len};

	bytes[3] = (uint8_t)len;
	bytes[5] = 16;
	bytes[7] = 1;
	bytes[11] = (uint8_t)op;
	bytes[15] = 1;
	memcpy(bytes + 16, body, len - 16);
	(void)imgo__sock_writev(&people.loop, client->fd, &iov, 1); /* the window is far away */
}

static uint32_t read_u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint32_t number_of(const struct client *client, const uint8_t *packet, size_t len)
{
	char text[32] = {0};
	unsigned caller, n;

	if (len - 16 >= sizeof text)
		sim_fail("a body that nobody pushed");
	memcpy(text, packet + 16, len - 16);
	if (sscanf(text, "%u %u", &caller, &n) != 2 || caller != client->user % CALLERS || n == 0)
		sim_fail("user %u got \"%s\", which is not for them", client->user, text);
	return n;
}

static void hear(struct client *client, const uint8_t *packet, size_t len, bool read)
{
	uint32_t op = read_u32(packet + 8);

	if (op == 8 && client->state == GREETING) {
		client->state = HERE;
		client->session = ++sessions;
		sim_check_session(client->session, client->user);
		timer_in(&client->heartbeat, HEARTBEAT_MS);
	} else if (op == 5) {
		sim_check_received(client->session, client->user, number_of(client, packet, len), read);
	}
}

/* Whole packets off the front. */
static void hear_all(struct client *client, bool read)
{
	size_t at = 0;

	while (client->len - at >= 16) {
		uint32_t len = read_u32(client->in + at);
		if (len < 16 || len > BUFFER)
			sim_fail("a packet of length %u", len);
		if (client->len - at < len)
			break;
		hear(client, client->in + at, len, read);
		at += len;
	}
	memmove(client->in, client->in + at, client->len - at);
	client->len -= at;
}

/* ---- coming and going ---- */

static bool wanted(const struct client *client)
{
	return client->number % 2 == 0 || (sim_people.two_sessions && client->user % 3 == 0 && !settled);
}

static void gone(struct client *client)
{
	sim_note("client %u of user %u is away, was in state %d", client->number, client->user, client->state);
	client->fd = -1;
	client->len = 0;
	client->state = AWAY;
	imgo__timer_stop(&people.loop, &client->heartbeat);
	timer_in(&client->timer, settled ? sim_between(50, 300) : sim_between(20, 2500));
}

static void hang_up(struct client *client, bool reset)
{
	imgo__io_set(&people.loop, &client->io, 0);
	if (reset)
		imgo__sock_reset(&people.loop, client->fd);
	else
		imgo__sock_close(&people.loop, client->fd);
	gone(client);
}

/* What lies in the socket has reached the client's TCP. */
static void die(struct client *client, bool reset)
{
	size_t len;
	const uint8_t *rest = sim_net_unread(client->fd, &len);

	if (client->len + len > BUFFER)
		sim_fail("a window wider than it is");
	if (len)
		memcpy(client->in + client->len, rest, len);
	client->len += len;
	hear_all(client, false);
	hang_up(client, reset);
}

void sim_people_look(void)
{
	for (unsigned i = 0; i < CLIENTS; i++) {
		struct client *client = &clients[i];
		size_t len, at = 0;
		const uint8_t *bytes = sim_net_unread(client->fd, &len);
		struct client copy = *client;
		if (client->state != DEAF)
			continue;
		if (len)
			memcpy(copy.in + copy.len, bytes, len);
		copy.len += len;
		for (uint32_t n, size; copy.len - at >= 16 && (size = read_u32(copy.in + at)) <= copy.len - at; at += size) {
			if (read_u32(copy.in + at + 8) == 5 && (n = number_of(client, copy.in + at, size)) != 0)
				sim_check_lies(client->user, n);
		}
	}
}

static void leave(struct client *client)
{
	switch (sim_below(4)) {
	case 0:
		client->state = LEAVING;
		imgo__sock_shutdown(&people.loop, client->fd);
		timer_in(&client->timer, 3000);
		break;
	case 1:
		die(client, false);
		break;
	case 2:
		die(client, true);
		break;
	default:
		client->state = DEAF;
		imgo__io_set(&people.loop, &client->io, 0);
		timer_in(&client->timer, sim_between(1, 3000));
		break;
	}
}

static void on_io(struct imgo_loop *loop, struct imgo__io *io, int events)
{
	struct client *client = imgo__container_of(io, struct client, io);
	char token[16];
	ssize_t n;

	(void)events;
	if (client->state == CONNECTING) {
		if (imgo__sock_error(loop, client->fd) < 0) {
			hang_up(client, false);
			return;
		}
		client->state = GREETING;
		imgo__io_set(loop, io, IMGO__READ);
		snprintf(token, sizeof token, "token-%u", client->user);
		send_packet(client, 7, token);
		timer_in(&client->timer, sim_people.restless && !settled ? sim_between(50, 9000) : 3600000);
		return;
	}
	while ((n = imgo__sock_read(loop, client->fd, client->in + client->len, BUFFER - client->len)) > 0) {
		client->len += (size_t)n;
		hear_all(client, true);
	}
	if (n != IMGO_ETIMEDOUT)
		hang_up(client, false);
}

static void come(struct client *client)
{
	struct imgo__addr addr;
	char text[32];

	sim_comet_address((unsigned)sim_below(SIM_COMETS), text);
	imgo__addr_parse(&addr, imgo_str(text));
	if (imgo__sock_connect(&people.loop, &addr, &client->fd) < 0) {
		gone(client);
		return;
	}
	client->state = CONNECTING;
	imgo__io_init(&client->io, on_io, client->fd);
	imgo__io_set(&people.loop, &client->io, IMGO__WRITE);
	timer_in(&client->timer, 5000);
}

static void on_timer(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct client *client = imgo__container_of(timer, struct client, timer);

	(void)loop;
	switch (client->state) {
	case AWAY:
		if (wanted(client))
			come(client);
		else if (!settled)
			timer_in(timer, 500);
		break;
	case HERE:
		leave(client);
		break;
	default:
		die(client, sim_chance(500));
		break;
	}
}

static void on_heartbeat(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct client *client = imgo__container_of(timer, struct client, heartbeat);

	(void)loop;
	if (client->state != HERE)
		return;
	send_packet(client, 2, "");
	timer_in(timer, HEARTBEAT_MS);
}

/* ---- callers ---- */

struct push {
	struct sim_call call;
	struct caller *caller;
	uint32_t n;
	struct sim_process *logic;
	int err;
};

static void call_next(struct caller *caller)
{
	caller->busy = false;
	if (!quiet)
		timer_in(&caller->timer, sim_between(1, sim_people.pause_max_ms));
}

static void on_answered(struct sim_call *call)
{
	struct push *push = (struct push *)call;
	struct caller *caller = push->caller;

	if (push->err == 0 && caller->busy && push->n == caller->n) {
		for (size_t i = 0; i < caller->nusers; i++)
			sim_check_accepted(caller->users[i], push->n);
		call_next(caller);
	} else if (push->err && caller->busy && push->n == caller->n) {
		timer_in(&caller->timer, sim_between(20, 300));
	}
	free(push);
}

/* In the logic: the answer goes back, if the logic still lives. */
static void on_pushed(int err, void *user)
{
	struct push *push = user;

	if (!push->logic->alive) {
		free(push);
		return;
	}
	push->err = err;
	push->call.fn = on_answered;
	sim_call_in(&push->call, &people, sim_between(100, 1500));
}

static void on_request(struct sim_call *call)
{
	struct push *push = (struct push *)call;
	struct imgo_push_request request = IMGO_PUSH_REQUEST_INIT;
	struct caller *caller = push->caller;
	struct imgo_str users[SIM_USERS];
	char names[SIM_USERS][16], body[32], key[32];
	int err;

	if (push->n != caller->n) { /* an old one */
		free(push);
		return;
	}
	for (size_t i = 0; i < caller->nusers; i++) {
		snprintf(names[i], sizeof names[i], "%u", caller->users[i]);
		users[i] = imgo_str(names[i]);
	}
	snprintf(body, sizeof body, "%u %u", caller->number, push->n);
	snprintf(key, sizeof key, "%u-%u", caller->number, push->n);
	request.users = users;
	request.nusers = caller->nusers;
	request.body = imgo_str(body);
	request.key = imgo_str(key);
	err = imgo_push_send(sim_logic_push(push->logic), &request, on_pushed, push);
	if (err < 0)
		on_pushed(err, push);
}

static void call_try(struct caller *caller)
{
	struct sim_process *logic = sim_logic((unsigned)sim_random());
	struct push *push;

	timer_in(&caller->timer, PUSH_TIMEOUT_US / 1000);
	if (!logic->alive) {
		timer_in(&caller->timer, sim_between(20, 200));
		return;
	}
	push = sim_alloc(sizeof *push);
	push->caller = caller;
	push->n = caller->n;
	push->logic = logic;
	push->call.fn = on_request;
	sim_call_in(&push->call, logic, sim_between(100, 1500));
}

static void on_call_timer(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct caller *caller = imgo__container_of(timer, struct caller, timer);

	(void)loop;
	if (!caller->busy) {
		if (quiet)
			return;
		caller->busy = true;
		caller->n++;
		caller->nusers = 0;
		for (uint32_t user = caller->number; user < SIM_USERS; user += CALLERS) {
			if (sim_chance(500))
				caller->users[caller->nusers++] = user;
		}
		if (caller->nusers == 0)
			caller->users[caller->nusers++] = caller->number;
	}
	call_try(caller);
}

/* ---- the run ---- */

static int start(struct sim_process *process)
{
	(void)process;
	for (unsigned i = 0; i < CLIENTS; i++) {
		struct client *client = &clients[i];
		memset(client, 0, sizeof *client);
		client->number = i;
		client->user = i / 2;
		client->fd = -1;
		imgo__timer_init(&client->timer, on_timer);
		imgo__timer_init(&client->heartbeat, on_heartbeat);
		timer_in(&client->timer, sim_between(1, 1500));
	}
	for (unsigned i = 0; i < CALLERS; i++) {
		memset(&callers[i], 0, sizeof callers[i]);
		callers[i].number = i;
		imgo__timer_init(&callers[i].timer, on_call_timer);
		timer_in(&callers[i].timer, sim_between(1, 1000));
	}
	return 0;
}

static void end(struct sim_process *process)
{
	for (unsigned i = 0; i < CLIENTS; i++) {
		imgo__timer_stop(&process->loop, &clients[i].timer);
		imgo__timer_stop(&process->loop, &clients[i].heartbeat);
	}
	for (unsigned i = 0; i < CALLERS; i++)
		imgo__timer_stop(&process->loop, &callers[i].timer);
}

void sim_people_init(void)
{
	settled = quiet = false;
	sessions = 0;
	sim_process_init(&people, "people", 14, start, end);
	sim_process_start(&people);
}

void sim_people_fini(void)
{
	sim_process_kill(&people);
}

void sim_people_quiet(void)
{
	sim_note("no push is begun any more");
	quiet = true;
}

void sim_people_settle(void)
{
	settled = quiet = true;
	for (unsigned i = 0; i < CLIENTS; i++) {
		struct client *client = &clients[i];
		if (client->state == HERE && !wanted(client))
			die(client, false);
		else if (client->state == HERE)
			timer_in(&client->timer, 3600000);
		else if (client->state == AWAY && wanted(client))
			timer_in(&client->timer, sim_between(1, 300));
	}
}

bool sim_people_pushes_done(void)
{
	for (unsigned i = 0; i < CALLERS; i++) {
		if (callers[i].busy)
			return false;
	}
	return true;
}
