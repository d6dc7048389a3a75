/* SPDX-License-Identifier: MIT */
/* The router's role: serves a registry over RPC. Give it the registry in memory, or one of your own. */
#ifndef IMGO_ROUTER_H
#define IMGO_ROUTER_H

#include <imgo/registry.h>

#ifdef __cplusplus
extern "C" {
#endif

struct imgo_router;

struct imgo_router_options {
	size_t size;
	const char *listen;       /* RPC; default "127.0.0.1:7270" */
	const char *secret;       /* NULL: none; without one only a loopback address is accepted */
	uint32_t list_version;    /* of the list of routers that this one is part of */
	struct imgo_tls *rpc_tls; /* of RPC, borrowed; NULL: in the clear */
};
#define IMGO_ROUTER_OPTIONS_INIT \
	{ \
		sizeof(struct imgo_router_options), "127.0.0.1:7270", NULL, 1, NULL \
	}

/* Listens when it returns. registry is borrowed. Errors: IMGO_EINVAL, IMGO_EIO (address in use: error says so),
 * IMGO_ENOMEM. */
IMGO_API int imgo_router_new(struct imgo_router **out, struct imgo_loop *loop, struct imgo_registry *registry,
	const struct imgo_router_options *options, struct imgo_error *error);
IMGO_API void imgo_router_free(struct imgo_router *router);
IMGO_API int imgo_router_port(const struct imgo_router *router); /* that it listens on, for port 0 */

#ifdef __cplusplus
}
#endif
#endif
