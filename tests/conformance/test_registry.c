/* SPDX-License-Identifier: MIT */
/* The library's own registries through the cases. Arguments: backend, part of a case's name; none:
 * everything. */
#include <stdio.h>
#include <stdlib.h>

#include <imgo/router.h>

#include "registry_cases.h"

static int memory_open(struct imgo_loop *loop, struct imgo_registry **out, void **state)
{
	*state = NULL;
	return imgo_registry_new_memory(out, loop, NULL);
}

static void memory_close(void *state)
{
	(void)state;
}

/* Registries in memory behind routers, in this process, and the remote one in front of them. */
struct cluster {
	unsigned n;
	struct imgo_registry *memory[3];
	struct imgo_router *routers[3];
};

static int cluster_open(struct imgo_loop *loop, struct imgo_registry **out, void **state, unsigned n)
{
	struct imgo_registry_remote_options remote = IMGO_REGISTRY_REMOTE_OPTIONS_INIT;
	struct cluster *cluster = calloc(1, sizeof *cluster);
	char list[128] = "";

	*state = cluster;
	for (; cluster->n < n; cluster->n++) {
		struct imgo_router_options router = IMGO_ROUTER_OPTIONS_INIT;
		char address[32];
		int err = imgo_registry_new_memory(&cluster->memory[cluster->n], loop, NULL);
		router.listen = "127.0.0.1:0";
		if (err == 0)
			err = imgo_router_new(
				&cluster->routers[cluster->n], loop, cluster->memory[cluster->n], &router, NULL);
		if (err)
			return err;
		snprintf(address, sizeof address, "%s127.0.0.1:%d", cluster->n ? "," : "",
			imgo_router_port(cluster->routers[cluster->n]));
		strcat(list, address);
	}
	remote.routers = list;
	return imgo_registry_new_remote(out, loop, &remote, NULL);
}

static int one_open(struct imgo_loop *loop, struct imgo_registry **out, void **state)
{
	return cluster_open(loop, out, state, 1);
}

static int three_open(struct imgo_loop *loop, struct imgo_registry **out, void **state)
{
	return cluster_open(loop, out, state, 3);
}

static void cluster_close(void *state)
{
	struct cluster *cluster = state;

	for (unsigned i = 0; i < cluster->n; i++) {
		imgo_router_free(cluster->routers[i]);
		imgo_registry_free(cluster->memory[i]);
	}
	free(cluster);
}

static const struct registry_backend backends[] = {
	{"memory", memory_open, memory_close, false},
	{"remote", one_open, cluster_close, true},
	{"remote3", three_open, cluster_close, true},
};

int main(int argc, char **argv)
{
	int failed = 0;

	for (size_t i = 0; i < sizeof backends / sizeof *backends; i++)
		if (argc < 2 || strcmp(argv[1], backends[i].name) == 0)
			failed += registry_cases_run(&backends[i], argc > 2 ? argv[2] : NULL);
	return failed != 0;
}
