/* SPDX-License-Identifier: MIT */
/*
 * The publisher: push i is meant for began + i / rate, whatever became of those before it. It goes out on one connection
 * (so their order is defined), pipelined; when the server takes no more, it waits in a buffer here, and its latency runs.
 * The first warm_count pushes come first, and then a pause until the conductor opens the measurement.
 */
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../kit/stamp.h"

enum { OUT_MAX = 8 << 20, IN_MAX = 1 << 20 };

struct pusher {
	const struct options *o;
	struct shared *s;
	struct pusher_slot *slot;
	int fd;
	char *out, *in;
	size_t out_at, out_len, in_len;
	unsigned made, answered;
	uint64_t *intended; /* by push */
};

static void trouble(struct pusher *p, const char *text, size_t len)
{
	if (!p->slot->first_trouble[0])
		snprintf(p->slot->first_trouble, sizeof p->slot->first_trouble, "%.*s", (int)len, text);
}

static size_t put_head(const struct pusher *p, char *out, size_t size, unsigned stream)
{
	char room[64];
	int n;

	switch (p->o->push) {
	case PUSH_ALL:
		n = snprintf(out, size, "POST /1/push/all");
		break;
	case PUSH_ROOM:
		room_of(p->s, stream, room, sizeof room);
		n = snprintf(out, size, "POST /1/push/room?room=%s", room);
		break;
	default:
		n = snprintf(out, size, "POST /1/push?uid=%llu%s", (unsigned long long)(p->s->first_user + stream),
			p->o->qos ? "" : "&qos=0");
	}
	n += snprintf(out + n, size - (size_t)n, " HTTP/1.1\r\nHost: bench\r\nContent-Length: %zu\r\n\r\n", p->o->size);
	return (size_t)n;
}

static void make(struct pusher *p, uint64_t intended_ns)
{
	unsigned streams = streams_of(p->o), i = p->made++;
	struct stamp stamp = {.run = p->s->run, .stream = i % streams, .number = i / streams, .intended_ns = intended_ns};

	if (p->out_at == p->out_len)
		p->out_at = p->out_len = 0;
	if (OUT_MAX - p->out_len < 512 + p->o->size) {
		memmove(p->out, p->out + p->out_at, p->out_len - p->out_at);
		p->out_len -= p->out_at;
		p->out_at = 0;
	}
	if (OUT_MAX - p->out_len < 512 + p->o->size) {
		trouble(p, "the server takes nothing for too long", 40);
		_exit(1);
	}
	p->intended[i] = intended_ns;
	p->out_len += put_head(p, p->out + p->out_len, 512, stamp.stream);
	stamp_write(p->out + p->out_len, p->o->size, &stamp);
	p->out_len += p->o->size;
	if (i >= p->s->warm_count)
		hist_add(&p->slot->lateness, now_ns() - intended_ns);
}

static void flush(struct pusher *p)
{
	while (p->out_at < p->out_len) {
		ssize_t n = send(p->fd, p->out + p->out_at, p->out_len - p->out_at, MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			trouble(p, strerror(errno), 60);
			_exit(1);
		}
		p->out_at += (size_t)n;
	}
}

static void take_answer(struct pusher *p, const struct http_answer *answer, const char *text)
{
	uint64_t now = now_ns();
	unsigned i = p->answered++;

	if (answer->accepted) {
		if (i >= p->s->warm_count)
			hist_add(&p->slot->answer, now - p->intended[i]);
		if (i < TRACED_MAX)
			atomic_store_explicit(&p->s->answered_ns[i], now, memory_order_relaxed);
		atomic_fetch_add(&p->slot->answered, 1);
	} else {
		trouble(p, text, answer->len);
		atomic_fetch_add(&p->slot->refused, 1);
	}
}

static void take(struct pusher *p)
{
	struct http_answer answer;
	size_t at = 0;
	int r;

	ssize_t n = recv(p->fd, p->in + p->in_len, IN_MAX - p->in_len, 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		trouble(p, "the server closed the publisher's connection", 50);
		_exit(1);
	}
	p->in_len += (size_t)n;
	while ((r = http_answer(p->in + at, p->in_len - at, &answer)) > 0) {
		take_answer(p, &answer, p->in + at);
		at += answer.len;
	}
	if (r < 0) {
		trouble(p, "an answer that is not HTTP", 30);
		_exit(1);
	}
	memmove(p->in, p->in + at, p->in_len - at);
	p->in_len -= at;
}

/* Until then (0: no longer than 10 ms), or until something can be done. */
static void wait_until(struct pusher *p, uint64_t until_ns)
{
	struct pollfd fd = {.fd = p->fd, .events = (short)(POLLIN | (p->out_at < p->out_len ? POLLOUT : 0))};
	uint64_t now = now_ns(), ns = until_ns > now ? until_ns - now : 0;

	if (until_ns == 0 || ns > 10000000)
		ns = 10000000;
	struct timespec t = {.tv_sec = 0, .tv_nsec = (long)ns};
	if (ppoll(&fd, 1, &t, NULL) > 0) {
		if (fd.revents & (POLLIN | POLLHUP | POLLERR))
			take(p);
		if (fd.revents & POLLOUT)
			flush(p);
	}
}

/* Pushes up to number `end`, from now on, and waits for their answers. */
static void run(struct pusher *p, unsigned end)
{
	double period_ns = 1e9 / p->o->rate;
	unsigned first = p->made;
	uint64_t began = now_ns() + 1000000;

	p->slot->began_ns = began;
	while (p->answered < end) {
		uint64_t now = now_ns(), next = began + (uint64_t)((double)(p->made - first) * period_ns);
		while (p->made < end && next <= now) {
			make(p, next);
			next = began + (uint64_t)((double)(p->made - first) * period_ns);
		}
		flush(p);
		wait_until(p, p->made < end ? next : 0);
	}
	p->slot->ended_ns = now_ns();
}

_Noreturn void pusher_run(const struct options *o, struct shared *s)
{
	struct pusher p = {.o = o, .s = s, .slot = &s->pusher};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_TIMERSLACK, 1000);
	p.out = malloc(OUT_MAX);
	p.in = malloc(IN_MAX);
	p.intended = calloc(s->count, sizeof *p.intended);
	p.fd = http_connect(&o->http);
	if (!p.out || !p.in || !p.intended || p.fd < 0)
		give_up("publisher");
	fcntl(p.fd, F_SETFL, O_NONBLOCK);
	run(&p, s->warm_count);
	atomic_store(&p.slot->warm, true);
	while (atomic_load(&s->phase) != PHASE_MEASURE)
		usleep(1000);
	run(&p, s->count);
	atomic_store(&p.slot->done, true);
	while (atomic_load(&s->phase) != PHASE_END)
		usleep(10000);
	_exit(0);
}
