/* SPDX-License-Identifier: MIT */
/*
 * What is different for a connection in TLS. Its imgo__tls_conn is found beside the slab, page by page, so that plain
 * connections neither hold nor load anything for it. Before the handshake is done it is in SHAKE: readable means a
 * step of the handshake, which waits for its turn (net/tls_shake.c), and meanwhile the socket is not watched. The
 * deadline of the login goes on through all of it.
 */
#include "hub/internal.h"

#include "base/mem.h"

static struct imgo__tls_conn **place(struct imgo_hub *hub, const struct imgo__conn *c)
{
	uint32_t page = c->slot / IMGO__HUB_PAGE;

	if (page >= hub->ntls) {
		struct imgo__tls_conn ***grown = imgo__regrow(hub->tls, page + 1, sizeof *grown);
		if (!grown)
			return NULL;
		hub->tls = grown;
		while (hub->ntls <= page)
			grown[hub->ntls++] = NULL;
	}
	if (!hub->tls[page])
		hub->tls[page] = imgo__array(IMGO__HUB_PAGE, sizeof **hub->tls);
	return hub->tls[page] ? &hub->tls[page][c->slot % IMGO__HUB_PAGE] : NULL;
}

void imgo__hub_tls_fini(struct imgo_hub *hub)
{
	for (uint32_t i = 0; i < hub->ntls; i++)
		free(hub->tls[i]);
	free(hub->tls);
}

static void watch_held(struct imgo__conn *c, struct imgo__tls_conn *tls)
{
	if (imgo__tls_held(tls) > 0)
		imgo__conn_watch(c, c->events | IMGO__WRITE);
}

/* ---- the handshake ---- */

static enum imgo_close failure(int err)
{
	switch (err) {
	case IMGO_ECLOSED:
		return IMGO_CLOSE_PEER;
	case IMGO_ENOMEM:
		return IMGO_CLOSE_TRY_LATER;
	case IMGO_EDENIED:
		return IMGO_CLOSE_DENIED;
	default:
		return IMGO_CLOSE_PROTOCOL;
	}
}

static void on_shaken(void *owner, int err)
{
	struct imgo__conn *c = owner;
	struct imgo_hub *hub = c->hub;

	if (hub->freeing || c->state != IMGO__CONN_SHAKE)
		return;
	hub->busy++;
	if (err && err != IMGO_ETIMEDOUT) {
		imgo__conn_kill(c, failure(err));
	} else {
		imgo__conn_watch(c, c->events | IMGO__READ);
		watch_held(c, imgo__conn_tls(c));
		if (err == 0) {
			imgo__conn_begin(c);
			imgo__conn_readable(c); /* the first packet may have come with the last bytes of the handshake */
		}
	}
	hub->busy--;
	imgo__hub_schedule(hub);
}

int imgo__conn_tls_open(struct imgo__conn *c)
{
	struct imgo__tls_setup setup = {.fd = c->fd,
		.server = true,
		.alpn = imgo__conn_is_ws(c) ? "http/1.1" : "imgo",
		.shaken = on_shaken,
		.owner = c};
	struct imgo__tls_conn **tls = place(c->hub, c);

	return tls ? imgo__tls_open(tls, c->hub->opt.tls, &setup) : IMGO_ENOMEM;
}

void imgo__conn_tls_close(struct imgo__conn *c)
{
	struct imgo__tls_conn **tls = &c->hub->tls[c->slot / IMGO__HUB_PAGE][c->slot % IMGO__HUB_PAGE];

	imgo__tls_bye(*tls);
	imgo__tls_close(*tls);
	*tls = NULL;
}

void imgo__conn_shake(struct imgo__conn *c)
{
	if (imgo__tls_shake(imgo__conn_tls(c)))
		imgo__conn_watch(c, c->events & ~IMGO__READ);
}

/* ---- bytes ---- */

ssize_t imgo__conn_tls_read(struct imgo__conn *c, void *p, size_t len)
{
	struct imgo__tls_conn *tls = imgo__conn_tls(c);
	ssize_t n = imgo__tls_read(tls, p, len, !c->hub->turning);

	watch_held(c, tls);
	return n;
}

ssize_t imgo__conn_tls_writev(struct imgo__conn *c, const struct iovec *iov, int n)
{
	struct imgo__tls_conn *tls = imgo__conn_tls(c);
	ssize_t done = imgo__tls_writev(tls, iov, n);

	watch_held(c, tls);
	return done;
}

bool imgo__conn_tls_flush(struct imgo__conn *c)
{
	int err = imgo__tls_flush(imgo__conn_tls(c));

	if (err == 0 || err == IMGO_ETIMEDOUT)
		return true;
	imgo__conn_kill(c, IMGO_CLOSE_RESET);
	return false;
}
