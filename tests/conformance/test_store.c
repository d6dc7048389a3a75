/* SPDX-License-Identifier: MIT */
/* test_store memory|lmdb|memcached [substring]: our own stores through the suite. */
#include "store_kit.h"

static int open_memory(struct imgo_store **out, struct imgo_loop *loop, const struct imgo_store_options *options,
	void *user)
{
	(void)user;
	return imgo_store_new_memory(out, loop, options, NULL);
}

int main(int argc, char **argv)
{
	const char *which = argc > 1 ? argv[1] : "memory", *only = argc > 2 ? argv[2] : NULL;
	int failed = check_run(store_cases, open_memory, NULL, which, only);
	failed += check_run(store_cases_time, open_memory, NULL, which, only);
	return failed != 0;
}
