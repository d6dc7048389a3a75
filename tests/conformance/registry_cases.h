/* SPDX-License-Identifier: MIT */
/*
 * What a registry must do, as cases that run against any implementation. Only public headers are used: give
 * it yours.
 */
#ifndef REGISTRY_CASES_H
#define REGISTRY_CASES_H

#include <imgo/registry.h>

struct registry_backend {
	const char *name;
	/* A new, empty registry on this loop; *state is the backend's own. Returns 0 or a negative error. */
	int (*open)(struct imgo_loop *loop, struct imgo_registry **out, void **state);
	/* Frees what `open` made beside the registry, which is freed already (maybe inside a callback). */
	void (*close)(void *state);
	bool distributed; /* the registry's calls may go to several shards */
};

/* Runs all cases, or those whose name contains `only`; prints the failures to stderr. Returns how many
 * failed. */
int registry_cases_run(const struct registry_backend *backend, const char *only);

#endif
