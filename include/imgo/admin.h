/* SPDX-License-Identifier: MIT */
/*
 * The eyes of an operator: a small HTTP server of its own that tells how a process is.
 *
 *	GET /metrics      everything in a set of statistics, as Prometheus's text (version 0.0.4)
 *	GET /healthz      is it ready? 200 or 503, and a JSON object that names each peer and its state
 *	GET /livez        is it alive? 200, as long as the loop turns (/healthz?live is the same)
 *
 * Ready means that what this process needs is there. What that is, its host says: by checks of its own
 * (imgo_admin_check), or by naming parts of the library that are then looked at once a second (imgo_admin_watch_…).
 * Each check is also a gauge, imgo_peer_up{peer="…"}, and a line in the log when it changes; imgo_ready is all of them.
 *
 * It holds no secret and takes no order, and it asks for no key: listen on loopback, or where only the monitoring comes.
 */
#ifndef IMGO_ADMIN_H
#define IMGO_ADMIN_H

#include <imgo/dispatch.h>
#include <imgo/edge.h>

#ifdef __cplusplus
extern "C" {
#endif

struct imgo_admin;

struct imgo_admin_options {
	size_t size;
	const char *listen;       /* "127.0.0.1:9100", mandatory; port 0: any that is free */
	const char *program;      /* named in the answers; default "imgo" */
	struct imgo_stats *stats; /* borrowed; NULL: those of the loop */
	/* Tells of the process too: memory, descriptors, processor, start. It reads /proc/self when it is asked. */
	bool process;
	/* Called before each answer to /metrics: the moment to set gauges that are not kept up to date. May be NULL. */
	void (*refresh)(void *user);
	void *user;
};
#define IMGO_ADMIN_OPTIONS_INIT \
	{ \
		sizeof(struct imgo_admin_options), NULL, "imgo", NULL, true, NULL, NULL \
	}

/* Listens when it returns. *out is the caller's. Errors: IMGO_EINVAL (listen), IMGO_EEXISTS (the address is in use),
 * IMGO_EIO, IMGO_ENOMEM. */
IMGO_API int imgo_admin_new(struct imgo_admin **out, struct imgo_loop *loop, const struct imgo_admin_options *options,
	struct imgo_error *error);
/* Before what it watches. No callback runs any more. */
IMGO_API void imgo_admin_free(struct imgo_admin *admin);
IMGO_API int imgo_admin_port(const struct imgo_admin *admin);

enum imgo_health {
	IMGO_HEALTH_DOWN = 0, /* not ready */
	IMGO_HEALTH_UP,
	IMGO_HEALTH_DEGRADED, /* it works in part, or will soon: ready all the same */
};

/* How is that peer? Called once a second and at each question, on the loop's thread; must not block. May write a few words
 * (with their NUL) to detail. */
typedef enum imgo_health imgo_health_cb(char *detail, size_t size, void *user);

/* name: letters, digits, '-' and '_'; copied. Errors: IMGO_EINVAL, IMGO_EEXISTS, IMGO_ELIMIT (32 checks), IMGO_ENOMEM. */
IMGO_API int imgo_admin_check(struct imgo_admin *admin, const char *name, imgo_health_cb *cb, void *user);

/* Checks of parts of the library, which are borrowed; errors as above. */
IMGO_API int imgo_admin_watch_bus(struct imgo_admin *admin, const char *name, struct imgo_bus *bus);
/* Asks for users that nobody is. */
IMGO_API int imgo_admin_watch_registry(struct imgo_admin *admin, const char *name, struct imgo_registry *registry);
/* Looks at the markers of the bus's partitions, one after the other, all of them in a second if there are at most 64. A
 * partition that is being rebuilt makes it degraded. */
IMGO_API int imgo_admin_watch_store(
	struct imgo_admin *admin, const char *name, struct imgo_store *store, struct imgo_bus *bus);
/* "logic": one is reached; "lease": it is held. */
IMGO_API int imgo_admin_watch_edge(struct imgo_admin *admin, struct imgo_edge *edge);
/* "partitions": degraded while some wait or are rebuilt, or there are none. */
IMGO_API int imgo_admin_watch_dispatch(struct imgo_admin *admin, struct imgo_dispatch *dispatch);

/* All checks are up or degraded, there is at least one, and it is not stopping. */
IMGO_API bool imgo_admin_ready(struct imgo_admin *admin);
/* From now on /healthz says 503: the process is about to end. NULL is fine. */
IMGO_API void imgo_admin_stopping(struct imgo_admin *admin);

#ifdef __cplusplus
}
#endif
#endif
