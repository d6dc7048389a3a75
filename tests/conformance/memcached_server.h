/* SPDX-License-Identifier: MIT */
/* A real memcached for tests: on a free port of 127.0.0.1, with -M, without disk; stopped by its pid. */
#ifndef MEMCACHED_SERVER_H
#define MEMCACHED_SERVER_H

#include <stdbool.h>
#include <sys/types.h>

struct memcached_server {
	pid_t pid;
	int port;
	char address[32]; /* "127.0.0.1:port" */
	int megabytes;    /* 0: 64 */
	bool evicts;      /* without -M */
};

bool memcached_installed(void);
/* Starts it (on the same port when it had one) and waits until it answers. False: it does not. */
bool memcached_start(struct memcached_server *server);
void memcached_kill(struct memcached_server *server); /* -9; waits for its end */
/* Does one command of the text protocol by hand; true when the answer's first line is `answer`. */
bool memcached_command(struct memcached_server *server, const char *command, const char *answer);

#endif
