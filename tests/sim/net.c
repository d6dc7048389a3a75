/* SPDX-License-Identifier: MIT */
/*
 * TCP between the processes. What is written leaves in chunks that arrive in order after a while; what has not arrived is
 * what SIOCOUTQ would tell, so "its TCP has the bytes" means here what it means on Linux. A window bounds what is on its way
 * and unread. close() of a connection with unread bytes, or of one that gets more, resets the peer; a reset overtakes what
 * was written. A cut link holds everything back until it heals (TCP sends again); nothing is lost on the way but by a reset.
 *
 * Sockets are freed at the end of the run only: events and peers may point to them for as long as they like.
 */
#include "sim.h"

#include <arpa/inet.h>
#include <netinet/in.h>

enum { WINDOW = 64 * 1024, FD_BASE = 1 << 20, SYN_TIMEOUT_US = 3 * SIM_SECOND };

enum state { LISTENING, CONNECTING, REFUSED, OPEN, CLOSED };

struct sock {
	struct imgo__list link;    /* of its process */
	struct imgo__list waiting; /* LISTENING: head of those to be accepted; OPEN: in that list until accepted */
	enum state state;
	int fd, host, port, peer_host;
	struct sim_process *process;
	struct imgo__io *io;
	int events;
	struct sock *peer;
	uint8_t *rx;
	size_t rx_len, rx_at, rx_cap;
	bool rx_fin, rx_reset, tx_fin;
	size_t flight; /* written, not arrived */
	uint64_t last_us;
	unsigned generation; /* raised by a reset: what was on its way is dropped */
};

struct chunk {
	struct sock *from, *to;
	unsigned generation;
	enum { DATA, FIN, RESET, SYN, SYN_ACK, SYN_REFUSED } kind;
	size_t len;
	uint8_t bytes[];
};

struct sim_net_options sim_net = {50, 800, 30};
static struct sock **socks;
static size_t nsocks, socks_cap;
static uint64_t cut_until[SIM_HOSTS_MAX][SIM_HOSTS_MAX];

/* ---- sockets ---- */

static struct sock *sock_new(struct sim_process *process, enum state state)
{
	struct sock *sock = sim_alloc(sizeof *sock);

	if (nsocks == socks_cap) {
		socks_cap = socks_cap ? socks_cap * 2 : 256;
		socks = realloc(socks, socks_cap * sizeof(struct sock *));
		if (!socks)
			abort();
	}
	sock->fd = FD_BASE + (int)nsocks;
	sock->state = state;
	sock->process = process;
	sock->host = process->host;
	imgo__list_init(&sock->link);
	imgo__list_init(&sock->waiting);
	imgo__list_insert(&process->socks, &sock->link);
	socks[nsocks++] = sock;
	return sock;
}

static struct sock *find(int fd)
{
	struct sock *sock = fd >= FD_BASE && fd - FD_BASE < (int)nsocks ? socks[fd - FD_BASE] : NULL;

	return sock && sock->state != CLOSED ? sock : NULL;
}

void sim_net_init(void)
{
	memset(cut_until, 0, sizeof cut_until);
}

void sim_net_fini(void)
{
	for (size_t i = 0; i < nsocks; i++) {
		free(socks[i]->rx);
		free(socks[i]);
	}
	free(socks);
	socks = NULL;
	nsocks = socks_cap = 0;
}

static size_t unread(const struct sock *sock)
{
	return sock->rx_len - sock->rx_at;
}

static size_t room(const struct sock *sock)
{
	size_t used = sock->flight + (sock->peer ? unread(sock->peer) : 0);

	return used < WINDOW ? WINDOW - used : 0;
}

static int ready(const struct sock *sock)
{
	switch (sock->state) {
	case LISTENING:
		return imgo__list_empty(&sock->waiting) ? 0 : IMGO__READ;
	case REFUSED:
		return IMGO__READ | IMGO__WRITE;
	case OPEN:
		return (unread(sock) || sock->rx_fin || sock->rx_reset ? IMGO__READ : 0) |
		       (room(sock) || sock->rx_reset ? IMGO__WRITE : 0);
	default:
		return 0;
	}
}

static void poke(struct sock *sock)
{
	if (sock->state != CLOSED && sock->io && (ready(sock) & sock->events))
		sim_step_soon(sock->process, sim_between(1, 30));
}

/* ---- the wire ---- */

static void on_arrival(void *arg);

static void send_chunk(struct chunk *chunk)
{
	struct sock *from = chunk->from;
	uint64_t at_us = sim_now_us + sim_between(sim_net.delay_min_us, sim_net.delay_max_us);

	if (chunk->kind == RESET) {
		from->generation++;
		from->flight = 0;
	} else if (at_us <= from->last_us) {
		at_us = from->last_us + 1;
	}
	chunk->generation = from->generation;
	from->last_us = at_us;
	sim_at(at_us - sim_now_us, on_arrival, chunk);
}

static struct chunk *chunk_new(struct sock *from, struct sock *to, int kind, size_t len)
{
	struct chunk *chunk = sim_alloc(sizeof *chunk + len);

	chunk->from = from;
	chunk->to = to;
	chunk->kind = kind;
	chunk->len = len;
	return chunk;
}

static void say(struct sock *from, int kind)
{
	if (from->peer)
		send_chunk(chunk_new(from, from->peer, kind, 0));
}

static void receive(struct sock *sock, const uint8_t *bytes, size_t len)
{
	if (sock->rx_len + len > sock->rx_cap) {
		if (sock->rx)
			memmove(sock->rx, sock->rx + sock->rx_at, unread(sock));
		sock->rx_len -= sock->rx_at;
		sock->rx_at = 0;
		if (sock->rx_len + len > sock->rx_cap) {
			sock->rx_cap = (sock->rx_len + len) * 2;
			sock->rx = realloc(sock->rx, sock->rx_cap);
			if (!sock->rx)
				abort();
		}
	}
	memcpy(sock->rx + sock->rx_len, bytes, len);
	sock->rx_len += len;
}

static struct sock *listener_at(int host, int port)
{
	for (size_t i = nsocks; i-- > 0;) {
		if (socks[i]->state == LISTENING && socks[i]->host == host && socks[i]->port == port)
			return socks[i];
	}
	return NULL;
}

static void on_syn(struct sock *from)
{
	struct sock *listener = listener_at(from->peer_host, from->port), *sock;

	if (from->state != CONNECTING)
		return;
	if (!listener) {
		struct chunk *chunk = chunk_new(from, from, SYN_REFUSED, 0);
		send_chunk(chunk);
		return;
	}
	sock = sock_new(listener->process, OPEN);
	sock->port = listener->port;
	sock->peer_host = from->host;
	sock->peer = from;
	from->peer = sock;
	imgo__list_insert(&listener->waiting, &sock->waiting);
	poke(listener);
	say(sock, SYN_ACK);
}

static void on_data(struct sock *from, struct sock *to, const struct chunk *chunk)
{
	if (to->state != OPEN) {
		say(to, RESET); /* nobody will read it, and it is not acknowledged */
		return;
	}
	from->flight -= chunk->len;
	receive(to, chunk->bytes, chunk->len);
}

static void arrive(struct chunk *chunk)
{
	struct sock *from = chunk->from, *to = chunk->to;

	switch (chunk->kind) {
	case SYN:
		on_syn(from);
		return;
	case SYN_ACK:
		if (to->state == CONNECTING)
			to->state = OPEN;
		else if (to->state == CLOSED)
			say(to, RESET);
		break;
	case SYN_REFUSED:
		if (to->state == CONNECTING)
			to->state = REFUSED;
		break;
	case DATA:
		on_data(from, to, chunk);
		poke(from); /* the window opens when it is read; a writer that was full looks then */
		break;
	case FIN:
		to->rx_fin = true;
		break;
	case RESET:
		to->rx_reset = true;
		to->generation++; /* its own bytes on their way reach nobody */
		to->flight = 0;
		break;
	}
	poke(to);
}

static void on_arrival(void *arg)
{
	struct chunk *chunk = arg;
	int a = chunk->from->host, b = chunk->kind == SYN ? chunk->from->peer_host : chunk->to->host;

	if (chunk->generation != chunk->from->generation) {
		free(chunk);
		return;
	}
	if (cut_until[a][b] > sim_now_us) {
		/* Those that are held back keep their order: events of one time are run by age. */
		sim_at(cut_until[a][b] - sim_now_us, on_arrival, chunk);
		if (chunk->from->last_us < cut_until[a][b])
			chunk->from->last_us = cut_until[a][b];
		return;
	}
	arrive(chunk);
	free(chunk);
}

void sim_net_cut(int host_a, int host_b, uint64_t until_us)
{
	sim_note("link %d-%d is cut for %llu ms", host_a, host_b, (unsigned long long)(until_us - sim_now_us) / 1000);
	cut_until[host_a][host_b] = cut_until[host_b][host_a] = until_us;
}

void sim_net_break_some(void)
{
	for (int tries = 0; tries < 20 && nsocks; tries++) {
		struct sock *sock = socks[sim_below(nsocks)];
		if (sock->state != OPEN || !sock->peer || !imgo__list_empty(&sock->waiting))
			continue;
		sim_note("a connection of %s breaks (fd %d)", sock->process->name, sock->fd);
		sock->rx_reset = true;
		say(sock, RESET);
		poke(sock);
		return;
	}
}

/* ---- what processes do ---- */

static int host_of(const struct imgo__addr *addr, int *port)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)&addr->ss;

	*port = ntohs(in->sin_port);
	return (int)(ntohl(in->sin_addr.s_addr) & 0xFF);
}

static void address_of(int host, int port, struct imgo__addr *out)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&out->ss;

	memset(out, 0, sizeof *out);
	in->sin_family = AF_INET;
	in->sin_port = htons((uint16_t)port);
	in->sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + (uint32_t)host);
	out->len = sizeof *in;
}

static struct sim_process *process_of(struct imgo_loop *loop)
{
	return imgo__container_of(loop, struct sim_process, loop);
}

int sim_net_listen(struct imgo_loop *loop, const struct imgo__addr *addr, int backlog, bool reuse_port, int *fd)
{
	struct sim_process *process = process_of(loop);
	struct sock *sock;
	int port;

	(void)backlog, (void)reuse_port;
	if (!process->alive)
		return IMGO_ECLOSED;
	if (host_of(addr, &port) != process->host)
		return IMGO_EINVAL;
	if (listener_at(process->host, port))
		return IMGO_EEXISTS;
	sock = sock_new(process, LISTENING);
	sock->port = port;
	*fd = sock->fd;
	return 0;
}

int sim_net_accept(struct imgo_loop *loop, int listen_fd, int *fd, struct imgo__addr *peer)
{
	struct sock *listener = find(listen_fd), *sock;
	struct imgo__list *link = listener ? imgo__list_pop(&listener->waiting) : NULL;

	(void)loop;
	if (!link)
		return IMGO_ETIMEDOUT;
	sock = imgo__container_of(link, struct sock, waiting);
	address_of(sock->peer_host, 40000, peer);
	*fd = sock->fd;
	return 0;
}

static void on_syn_timeout(void *arg)
{
	struct sock *sock = arg;

	if (sock->state != CONNECTING)
		return;
	sock->state = REFUSED;
	poke(sock);
}

int sim_net_connect(struct imgo_loop *loop, const struct imgo__addr *addr, int *fd)
{
	struct sim_process *process = process_of(loop);
	struct sock *sock;

	if (!process->alive)
		return IMGO_ECLOSED;
	sock = sock_new(process, CONNECTING);
	sock->peer_host = host_of(addr, &sock->port);
	send_chunk(chunk_new(sock, sock, SYN, 0));
	sim_at(SYN_TIMEOUT_US * 10, on_syn_timeout, sock);
	*fd = sock->fd;
	return 0;
}

int sim_net_error(struct imgo_loop *loop, int fd)
{
	struct sock *sock = find(fd);

	(void)loop;
	if (!sock)
		return IMGO_ECLOSED;
	return sock->state == REFUSED ? IMGO_EUNAVAILABLE : sock->rx_reset ? IMGO_ECLOSED : 0;
}

static size_t slice(size_t len)
{
	return len > 1 && sim_chance(sim_net.slice_permille) ? sim_between(1, len) : len;
}

ssize_t sim_net_read(struct imgo_loop *loop, int fd, void *p, size_t len)
{
	struct sock *sock = find(fd);
	size_t n;

	(void)loop;
	if (!sock)
		return IMGO_ECLOSED;
	n = unread(sock) < len ? unread(sock) : len;
	if (n) {
		n = slice(n);
		memcpy(p, sock->rx + sock->rx_at, n);
		sock->rx_at += n;
		if (sock->peer)
			poke(sock->peer);
		return (ssize_t)n;
	}
	if (sock->rx_reset)
		return IMGO_ECLOSED;
	return sock->rx_fin ? 0 : IMGO_ETIMEDOUT;
}

ssize_t sim_net_writev(struct imgo_loop *loop, int fd, const struct iovec *iov, int n)
{
	struct sock *sock = find(fd);
	struct chunk *chunk;
	size_t len = 0, at = 0;

	(void)loop;
	if (!sock || sock->rx_reset || sock->tx_fin || sock->state == REFUSED)
		return IMGO_ECLOSED;
	for (int i = 0; i < n; i++)
		len += iov[i].iov_len;
	len = slice(len < room(sock) ? len : room(sock));
	if (sock->state != OPEN || len == 0)
		return IMGO_ETIMEDOUT;
	chunk = chunk_new(sock, sock->peer, DATA, len);
	for (int i = 0; at < len; i++) {
		size_t take = iov[i].iov_len < len - at ? iov[i].iov_len : len - at;
		memcpy(chunk->bytes + at, iov[i].iov_base, take);
		at += take;
	}
	sock->flight += len;
	send_chunk(chunk);
	return (ssize_t)len;
}

int sim_net_unsent(struct imgo_loop *loop, int fd)
{
	struct sock *sock = find(fd);

	(void)loop;
	return sock ? (int)sock->flight : IMGO_ECLOSED;
}

int sim_net_local(struct imgo_loop *loop, int fd, struct imgo__addr *out)
{
	struct sock *sock = find(fd);

	(void)loop;
	if (!sock)
		return IMGO_ECLOSED;
	address_of(sock->host, sock->port, out);
	return 0;
}

void sim_net_shutdown(struct imgo_loop *loop, int fd)
{
	struct sock *sock = find(fd);

	(void)loop;
	if (!sock || sock->tx_fin)
		return;
	sock->tx_fin = true;
	say(sock, FIN);
}

static void forget(struct sock *sock)
{
	sock->state = CLOSED;
	sock->io = NULL;
	sock->rx_at = sock->rx_len = 0;
	imgo__list_remove(&sock->link);
	imgo__list_remove(&sock->waiting);
}

static void close_sock(struct sock *sock, bool reset)
{
	struct imgo__list *link;

	while (sock->state == LISTENING && (link = imgo__list_pop(&sock->waiting)))
		close_sock(imgo__container_of(link, struct sock, waiting), true);
	if (sock->state == OPEN && !sock->rx_reset) {
		if (reset || unread(sock))
			say(sock, RESET);
		else if (!sock->tx_fin)
			say(sock, FIN);
	}
	forget(sock);
}

void sim_net_close(struct imgo_loop *loop, int fd)
{
	struct sock *sock = find(fd);

	(void)loop;
	if (sock)
		close_sock(sock, false);
}

void sim_net_reset(struct imgo_loop *loop, int fd)
{
	struct sock *sock = find(fd);

	(void)loop;
	if (sock)
		close_sock(sock, true);
}

void sim_net_drop(struct sim_process *process)
{
	while (!imgo__list_empty(&process->socks))
		close_sock(imgo__container_of(process->socks.next, struct sock, link), false);
}

const uint8_t *sim_net_unread(int fd, size_t *len)
{
	struct sock *sock = find(fd);

	*len = sock ? unread(sock) : 0;
	return sock ? sock->rx + sock->rx_at : NULL;
}

/* ---- turns ---- */

void sim_net_io_set(struct imgo_loop *loop, struct imgo__io *io, int events)
{
	struct sock *sock = find(io->fd);

	(void)loop;
	if (!sock)
		return;
	sock->io = events ? io : NULL;
	sock->events = events;
	poke(sock);
}

bool sim_net_ready(struct sim_process *process)
{
	imgo__list_for(link, &process->socks)
	{
		struct sock *sock = imgo__container_of(link, struct sock, link);
		if (sock->io && (ready(sock) & sock->events))
			return true;
	}
	return false;
}

void sim_net_step(struct sim_process *process)
{
	int fds[256], n = 0;

	imgo__list_for(link, &process->socks)
	{
		struct sock *sock = imgo__container_of(link, struct sock, link);
		if (sock->io && (ready(sock) & sock->events) && n < 256)
			fds[n++] = sock->fd;
	}
	for (int i = n - 1; i > 0; i--) { /* in any order */
		int j = (int)sim_below((uint64_t)i + 1), fd = fds[i];
		fds[i] = fds[j];
		fds[j] = fd;
	}
	for (int i = 0; i < n; i++) {
		struct sock *sock = find(fds[i]);
		int events = sock && sock->io ? ready(sock) & sock->events : 0;
		if (events)
			sock->io->fn(&process->loop, sock->io, events);
	}
}
