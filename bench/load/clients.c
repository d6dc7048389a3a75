/* SPDX-License-Identifier: MIT */
/*
 * The subscribers of one process: connection i of all is here when i % processes says so. They come up `window` at a
 * time, from a source address of the process's own, so that ports do not run out. One shared buffer is read into; what
 * is not a whole packet is kept with its connection until the rest comes.
 */
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../kit/ledger.h"
#include "../kit/stamp.h"

enum { READ_MAX = 256 * 1024, EVENTS = 512, OUT_MAX = 1024 };

enum sub_state { SUB_NONE, SUB_CONNECTING, SUB_UPGRADING, SUB_LOGGING_IN, SUB_LIVE, SUB_GONE };

struct sub {
	int fd;
	uint32_t index, stream;
	enum sub_state state;
	struct ledger ledger;
	uint64_t since_ns;
	char *held; /* the beginning of a packet */
	uint32_t held_len;
	uint32_t ack_epoch; /* to be acknowledged after this read, when not 0 */
	uint64_t ack_id;
};

struct process {
	const struct options *o;
	struct shared *s;
	struct client_slot *slot;
	unsigned number, n, begun, pending, beat;
	int ep;
	struct sub *subs, *current;
	uint64_t now, beats_began_ns;
	char *buf;
};

static void trouble(struct process *p, const struct sub *sub, const char *what)
{
	if (!p->slot->first_trouble[0])
		snprintf(p->slot->first_trouble, sizeof p->slot->first_trouble, "connection %u: %s", sub->index, what);
}

/* Before the login it has failed, after it the server has closed it; both fail the run. */
static void gone(struct process *p, struct sub *sub, const char *why)
{
	trouble(p, sub, why);
	if (sub->state == SUB_LIVE) {
		p->slot->closed++;
	} else {
		atomic_fetch_add(&p->slot->failed, 1);
		p->pending--;
	}
	sub->state = SUB_GONE;
	close(sub->fd);
	free(sub->held);
	sub->held = NULL;
	sub->held_len = 0;
}

static void say(struct process *p, struct sub *sub, const char *bytes, size_t len)
{
	if (send(sub->fd, bytes, len, MSG_NOSIGNAL) != (ssize_t)len)
		gone(p, sub, "does not take what is sent");
}

/* ---- what comes ---- */

static void take_stamp(struct process *p, struct sub *sub, const struct wire_message *m)
{
	struct stamp stamp;

	if (!stamp_read(m->body, m->len, &stamp) || stamp.run != p->s->run) {
		p->slot->broken++;
		trouble(p, sub, "a message that is not of this run");
		return;
	}
	if (p->o->dialect != WIRE_FLOOR && stamp.stream != sub->stream) {
		p->slot->foreign++;
		trouble(p, sub, "a message for somebody else");
		return;
	}
	enum ledger_note note = ledger_add(&sub->ledger, stamp.number);
	if (note == LEDGER_COPY) {
		p->slot->copies++;
		trouble(p, sub, "a message twice");
		return;
	}
	if (note == LEDGER_LATE) {
		p->slot->late++;
		trouble(p, sub, "a message out of order");
	}
	uint64_t push = (uint64_t)stamp.number * streams_of(p->o) + stamp.stream;
	if (push >= p->s->warm_count)
		hist_add(&p->slot->latency, p->now > stamp.intended_ns ? p->now - stamp.intended_ns : 0);
	if (p->o->push == PUSH_USER && push < TRACED_MAX)
		atomic_store_explicit(&p->s->received_ns[push], p->now, memory_order_relaxed);
	atomic_store_explicit(&p->slot->received, p->slot->received + 1, memory_order_release);
}

static void log_in(struct process *p, struct sub *sub)
{
	char out[OUT_MAX], token[64];

	sub->state = SUB_LOGGING_IN;
	token_of(p->s, sub->index, token, sizeof token);
	say(p, sub, out, wire_login(out, sizeof out, p->o->dialect, token, p->o->device));
}

static void live(struct process *p, struct sub *sub)
{
	sub->state = SUB_LIVE;
	p->pending--;
	hist_add(&p->slot->connect, now_ns() - sub->since_ns);
	atomic_fetch_add(&p->slot->up, 1);
}

static void on_message(const struct wire_message *m, void *user)
{
	struct process *p = user;
	struct sub *sub = p->current;
	char out[OUT_MAX];

	if (sub->state == SUB_GONE)
		return;
	switch (m->op) {
	case WIRE_PUSH:
		take_stamp(p, sub, m);
		if (m->epoch) {
			sub->ack_epoch = m->epoch;
			sub->ack_id = m->id;
		}
		break;
	case WIRE_AUTH_REPLY:
		if (sub->state == SUB_LOGGING_IN)
			live(p, sub);
		break;
	case WIRE_UPGRADED:
		log_in(p, sub);
		break;
	case WIRE_HEARTBEAT_REPLY:
		atomic_fetch_add(&p->slot->heartbeats, 1);
		break;
	case WIRE_PING:
		if (m->len <= 125)
			say(p, sub, out, wire_pong(out, sizeof out, m->body, m->len));
		break;
	case WIRE_CLOSED:
		gone(p, sub, "the server sent a close frame");
		break;
	default:
		p->slot->broken++;
		trouble(p, sub, "an operation that nobody asked for");
	}
}

/* What is left over is kept. */
static void keep(struct sub *sub, const char *rest, size_t len)
{
	char *held = len ? realloc(sub->held, len) : NULL;

	if (len && !held)
		give_up("realloc");
	if (len)
		memcpy(held, rest, len);
	else
		free(sub->held);
	sub->held = held;
	sub->held_len = (uint32_t)len;
}

static void take(struct process *p, struct sub *sub, size_t len)
{
	size_t at = 0;
	ssize_t n = 1;

	while (at < len && n > 0 && sub->state != SUB_GONE) {
		n = wire_take(p->o->dialect, sub->state > SUB_UPGRADING, p->buf + at, len - at, on_message, p);
		at += n > 0 ? (size_t)n : 0;
	}
	if (sub->state == SUB_GONE)
		return;
	if (n < 0)
		gone(p, sub, "what comes is not the protocol");
	else if (at < len || sub->held)
		keep(sub, p->buf + at, len - at);
}

static void acknowledge(struct process *p, struct sub *sub)
{
	char out[OUT_MAX];

	if (!sub->ack_epoch || sub->state != SUB_LIVE)
		return;
	say(p, sub, out, wire_ack(out, sizeof out, p->o->dialect, sub->ack_epoch, sub->ack_id));
	sub->ack_epoch = 0;
}

static void on_readable(struct process *p, struct sub *sub)
{
	size_t held = sub->held_len;

	if (held > READ_MAX / 2) {
		gone(p, sub, "a packet too long for this client");
		return;
	}
	ssize_t n = recv(sub->fd, p->buf + held, READ_MAX - held, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		gone(p, sub, n == 0 ? "closed by the server" : strerror(errno));
		return;
	}
	if (held)
		memcpy(p->buf, sub->held, held);
	if (atomic_load_explicit(&p->s->phase, memory_order_relaxed) != PHASE_CONNECT) {
		p->slot->bytes += (uint64_t)n;
		p->slot->reads++;
	}
	p->now = now_ns();
	p->current = sub;
	take(p, sub, held + (size_t)n);
	acknowledge(p, sub);
}

/* ---- coming up ---- */

static void on_connected(struct process *p, struct sub *sub)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = sub};
	int err = 0, one = 1;
	socklen_t len = sizeof err;
	char out[OUT_MAX];

	getsockopt(sub->fd, SOL_SOCKET, SO_ERROR, &err, &len);
	if (err) {
		gone(p, sub, strerror(err));
		return;
	}
	setsockopt(sub->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	epoll_ctl(p->ep, EPOLL_CTL_MOD, sub->fd, &ev);
	if (p->o->dialect == WIRE_FLOOR) {
		live(p, sub);
	} else if (wire_is_ws(p->o->dialect)) {
		sub->state = SUB_UPGRADING;
		say(p, sub, out, wire_upgrade(out, sizeof out));
	} else {
		log_in(p, sub);
	}
}

static void begin(struct process *p, struct sub *sub)
{
	const struct sockaddr_in *to = &p->o->subscribe[sub->index % p->o->nsubscribe];
	struct sockaddr_in from = {.sin_family = AF_INET};
	struct epoll_event ev = {.events = EPOLLOUT, .data.ptr = sub};
	int one = 1;

	from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + p->number);
	sub->since_ns = now_ns();
	sub->state = SUB_CONNECTING;
	sub->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (sub->fd < 0)
		give_up("socket");
	p->pending++;
	if ((ntohl(to->sin_addr.s_addr) >> 24) == 127) {
		setsockopt(sub->fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
		if (bind(sub->fd, (struct sockaddr *)&from, sizeof from))
			give_up("bind");
	}
	if (connect(sub->fd, (const struct sockaddr *)to, sizeof *to) && errno != EINPROGRESS) {
		gone(p, sub, strerror(errno));
		return;
	}
	if (epoll_ctl(p->ep, EPOLL_CTL_ADD, sub->fd, &ev))
		give_up("epoll_ctl");
}

static void come_up(struct process *p)
{
	unsigned allowed = atomic_load(&p->s->allowed);

	while (p->begun < p->n && p->begun < allowed && p->pending < p->o->window)
		begin(p, &p->subs[p->begun++]);
}

/* ---- life ---- */

/* Heartbeats of all, spread over their period. */
static void beat(struct process *p)
{
	char out[OUT_MAX];
	size_t len;

	if (p->o->heartbeat <= 0 || atomic_load(&p->s->phase) == PHASE_CONNECT)
		return;
	if (!p->beats_began_ns)
		p->beats_began_ns = now_ns();
	double due = (double)(now_ns() - p->beats_began_ns) / 1e9 / p->o->heartbeat * p->n;
	len = wire_heartbeat(out, sizeof out, p->o->dialect);
	for (; p->beat < (unsigned)due; p->beat++) {
		struct sub *sub = &p->subs[p->beat % p->n];
		if (sub->state == SUB_LIVE)
			say(p, sub, out, len);
	}
}

static struct sub *make_subs(const struct options *o, unsigned number, unsigned n)
{
	struct sub *subs = calloc(n ? n : 1, sizeof *subs);
	unsigned streams = streams_of(o);

	if (!subs)
		give_up("calloc");
	for (unsigned i = 0; i < n; i++) {
		subs[i].index = i * o->processes + number;
		subs[i].stream = subs[i].index % streams;
	}
	return subs;
}

_Noreturn void clients_run(const struct options *o, struct shared *s, unsigned number)
{
	unsigned n = o->connections / o->processes + (number < o->connections % o->processes);
	struct process p = {.o = o, .s = s, .slot = &s->clients[number], .number = number, .n = n};
	struct epoll_event events[EVENTS];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	p.ep = epoll_create1(EPOLL_CLOEXEC);
	p.buf = malloc(READ_MAX);
	p.subs = make_subs(o, number, n);
	if (p.ep < 0 || !p.buf)
		give_up("epoll, memory");
	while (atomic_load(&s->phase) != PHASE_END) {
		come_up(&p);
		int got = epoll_wait(p.ep, events, EVENTS, p.o->heartbeat > 0 ? 2 : 10);
		for (int i = 0; i < got; i++) {
			struct sub *sub = events[i].data.ptr;
			if (sub->state == SUB_CONNECTING)
				on_connected(&p, sub);
			else if (sub->state != SUB_GONE)
				on_readable(&p, sub);
		}
		beat(&p);
	}
	_exit(0);
}
