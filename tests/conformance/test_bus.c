/* SPDX-License-Identifier: MIT */
/*
 * The library's own buses through the cases.
 *	test_bus memory [CASE]
 */
#include <stdio.h>

#include <imgo/log.h>

#include "bus_cases.h"

static int memory_open(struct imgo_loop *loop, const char *scope, struct imgo_bus **out, void *user)
{
	struct imgo_bus_memory_options o = IMGO_BUS_MEMORY_OPTIONS_INIT;

	(void)scope;
	(void)user;
	o.partitions = BUS_PARTITIONS;
	o.casts_partitions = BUS_CASTS;
	return imgo_bus_new_memory(out, loop, &o, NULL);
}

int main(int argc, char **argv)
{
	const struct bus_backend memory = {.name = "memory", .open = memory_open, .slow_ms = 500};
	const char *only = argc > 2 ? argv[2] : NULL;
	int failed = 0;

	if (argc < 2 || strcmp(argv[1], "memory") == 0)
		failed += bus_cases_run(&memory, only);
	return failed != 0;
}
