/* SPDX-License-Identifier: MIT */
/*
 * What a bus must do, as cases that run against any implementation. Only public headers are used: give it yours.
 */
#ifndef BUS_CASES_H
#define BUS_CASES_H

#include <imgo/bus.h>
#include <imgo/loop.h>

struct bus_backend {
	const char *name;
	/* A bus with BUS_PARTITIONS (casts: BUS_CASTS) and a revocation time of 2 s. Each scope is a world of its own, empty
	 * at first; for a lasting bus a second one of the same scope, at once or later, has the same records. */
	int (*open)(struct imgo_loop *loop, const char *scope, struct imgo_bus **out, void *user);
	bool lasting;
	/* Lasting ones behind a server: takes it down without a chance to write anything, and up again. May be NULL. */
	void (*server_kill)(void *user);
	void (*server_start)(void *user);
	/* Removes the users' topic of the scope and makes an empty one. May be NULL. */
	void (*recreate)(const char *scope, void *user);
	const struct imgo_loop_options *loop_options; /* may be NULL */
	unsigned slow_ms; /* an upper bound of one step (ready, joining a group), e.g. 1,000 in memory */
	void *user;
};

enum { BUS_PARTITIONS = 4, BUS_CASTS = 2 };

/* Runs all cases, or those whose name contains `only`; prints the failures to stderr. Returns how many failed. */
int bus_cases_run(const struct bus_backend *backend, const char *only);

#endif
