/* SPDX-License-Identifier: MIT */
/* The library's own registries through the cases. Arguments: backend, part of a case's name; none:
 * everything. */
#include <stdio.h>

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

static const struct registry_backend backends[] = {
	{"memory", memory_open, memory_close, false},
};

int main(int argc, char **argv)
{
	int failed = 0;

	for (size_t i = 0; i < sizeof backends / sizeof *backends; i++)
		if (argc < 2 || strcmp(argv[1], backends[i].name) == 0)
			failed += registry_cases_run(&backends[i], argc > 2 ? argv[2] : NULL);
	return failed != 0;
}
