/* SPDX-License-Identifier: MIT */
/* The registry, for callers. Read imgo/backend/registry.h for the model and for what each struct means. */
#ifndef IMGO_REGISTRY_H
#define IMGO_REGISTRY_H

#include <imgo/backend/registry.h>
#include <imgo/loop.h>

#ifdef __cplusplus
extern "C" {
#endif

struct imgo_registry;

/* In memory: what a router is made of, and all that a single process needs. No thread. Errors: IMGO_ENOMEM. */
IMGO_API int imgo_registry_new_memory(struct imgo_registry **out, struct imgo_loop *loop, struct imgo_error *error);

struct imgo_registry_remote_options {
	size_t size;
	const char *routers;   /* "host:port,host:port": RPC addresses; partitions are spread by rendezvous hashing */
	uint32_t list_version; /* number of this list, raised with every change */
	uint32_t partitions;   /* the users' partitions of the bus; default 64 */
	const char *secret;    /* of the RPC; NULL: none */
	unsigned timeout_ms;   /* of one call; default 1,000 */
	struct imgo_tls *tls;  /* of the RPC, borrowed; NULL: in the clear */
};
#define IMGO_REGISTRY_REMOTE_OPTIONS_INIT \
	{ \
		sizeof(struct imgo_registry_remote_options), NULL, 1, 64, NULL, 1000, NULL \
	}

/* That of the routers, over RPC. Does not wait for them. Errors: IMGO_EINVAL, IMGO_ENOMEM. */
IMGO_API int imgo_registry_new_remote(struct imgo_registry **out, struct imgo_loop *loop,
	const struct imgo_registry_remote_options *options, struct imgo_error *error);

/* One of your own; impl is freed by ops->free, also when this fails. Errors: IMGO_EINVAL, IMGO_ENOMEM. */
IMGO_API int imgo_registry_new_custom(
	struct imgo_registry **out, struct imgo_loop *loop, const struct imgo_registry_ops *ops, void *impl);

IMGO_API void imgo_registry_free(struct imgo_registry *registry);

/* As in struct imgo_registry_ops, with the arguments checked (IMGO_EINVAL). n may be 0 nowhere. */
IMGO_API int imgo_registry_put_many(
	struct imgo_registry *registry, struct imgo_registry_put *items, size_t n, imgo_registry_cb *cb, void *user);
IMGO_API int imgo_registry_del_many(
	struct imgo_registry *registry, struct imgo_registry_del *items, size_t n, imgo_registry_cb *cb, void *user);
IMGO_API int imgo_registry_get_many(
	struct imgo_registry *registry, struct imgo_registry_get *items, size_t n, imgo_registry_cb *cb, void *user);
IMGO_API int imgo_registry_rooms_many(
	struct imgo_registry *registry, struct imgo_registry_rooms *items, size_t n, imgo_registry_cb *cb, void *user);
IMGO_API int imgo_registry_renew(
	struct imgo_registry *registry, struct imgo_registry_renew *call, imgo_registry_cb *cb, void *user);
IMGO_API int imgo_registry_comets(
	struct imgo_registry *registry, struct imgo_registry_comets *call, imgo_registry_cb *cb, void *user);
IMGO_API int imgo_registry_count(
	struct imgo_registry *registry, struct imgo_registry_count *call, imgo_registry_cb *cb, void *user);
IMGO_API int imgo_registry_del_comet(struct imgo_registry *registry, uint32_t comet, imgo_registry_cb *cb, void *user);

#ifdef __cplusplus
}
#endif
#endif
