/* SPDX-License-Identifier: MIT */
/*
 * The whole of imgo in one small program: clients on 8080 (TCP) and 8090 (WebSocket), the push API on 127.0.0.1:7172.
 *
 * With a directory, a push to users that was answered 1 survives kill -9 at any moment.
 *
 *	cc standalone.c $(pkg-config --cflags --libs libimgo) -o standalone && ./standalone /var/lib/imgo
 */
#include <signal.h>
#include <stdio.h>

#include <imgo/node.h>

static struct imgo_loop *loop;

static void on_stopped(void *user)
{
	(void)user;
	imgo_loop_stop(loop);
}

static void on_signal(int signo, void *user)
{
	(void)signo;
	imgo_node_stop(user, 5000, on_stopped, NULL);
}

int main(int argc, char **argv)
{
	struct imgo_node_options options = IMGO_NODE_OPTIONS_INIT;
	struct imgo_node *node = NULL;
	struct imgo_error error = {0};

	options.store_path = argc > 1 ? argv[1] : NULL; /* NULL: in memory */
	if (imgo_loop_new(&loop, NULL, &error) < 0 || imgo_node_new(&node, loop, &options, &error) < 0) {
		fprintf(stderr, "%s\n", error.text);
		return 1;
	}
	imgo_loop_on_signal(loop, SIGTERM, on_signal, node);
	imgo_loop_on_signal(loop, SIGINT, on_signal, node);
	imgo_loop_run(loop);
	imgo_node_free(node);
	imgo_loop_free(loop);
	return 0;
}
