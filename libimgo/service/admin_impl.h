/* SPDX-License-Identifier: MIT */
/* What the files of the administrative server share: admin.c (life, answers), admin_watch.c (parts of the library),
 * admin_process.c (the process's figures). */
#ifndef IMGO__SERVICE_ADMIN_IMPL_H
#define IMGO__SERVICE_ADMIN_IMPL_H

#include <imgo/admin.h>

#include "base/buf.h"
#include "base/mem.h"
#include "service/httpd.h"

enum {
	IMGO__ADMIN_CHECKS_MAX = 32,
	IMGO__ADMIN_LOOK_MS = 1000,
	IMGO__ADMIN_FIRST_MS = 50, /* between looks until it was ready once: so ready is said soon */
	IMGO__ADMIN_DETAIL = 160,
};

struct imgo__admin_check {
	char name[32];
	imgo_health_cb *cb;
	void *user;
	struct imgo__admin_probe *probe; /* NULL: the host's own check */
	enum imgo_health state;
	bool looked, was_up; /* `state` is one; it was up or degraded at some time */
	uint64_t since_ms;
	char detail[IMGO__ADMIN_DETAIL];
	struct imgo_stat *up;
};

struct imgo_admin {
	struct imgo_loop *loop;
	struct imgo_stats *stats;
	struct imgo__httpd *httpd;
	char *program;
	bool process, stopping, was_ready, ever_ready;
	void (*refresh)(void *user);
	void *user;
	struct imgo__admin_check checks[IMGO__ADMIN_CHECKS_MAX];
	unsigned nchecks;
	struct imgo__timer look;
	uint64_t started_ms;
	struct imgo_stat *ready, *requests;
};

/* admin_watch.c: a probe that outlives its admin ends by itself */
void imgo__admin_probe_step(struct imgo__admin_probe *probe); /* once a second */
void imgo__admin_probe_free(struct imgo__admin_probe *probe);

/* admin_process.c */
int imgo__admin_process_text(struct imgo__buf *out);

#endif
