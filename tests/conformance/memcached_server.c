/* SPDX-License-Identifier: MIT */
#include "memcached_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const char program[] = "/usr/bin/memcached";

bool memcached_installed(void)
{
	return access(program, X_OK) == 0;
}

static struct sockaddr_in address(int port)
{
	struct sockaddr_in sin;
	memset(&sin, 0, sizeof sin);
	sin.sin_family = AF_INET;
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	sin.sin_port = htons((uint16_t)port);
	return sin;
}

static int free_port(void)
{
	struct sockaddr_in sin = address(0);
	socklen_t len = sizeof sin;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sin, len) || getsockname(fd, (struct sockaddr *)&sin, &len))
		return 0;
	close(fd);
	return ntohs(sin.sin_port);
}

static bool answers(int port)
{
	struct sockaddr_in sin = address(port);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	bool ok = fd >= 0 && connect(fd, (struct sockaddr *)&sin, sizeof sin) == 0;
	close(fd);
	return ok;
}

static void become(const struct memcached_server *server)
{
	char port[16], megabytes[16];
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that dies takes it along */
	snprintf(port, sizeof port, "%d", server->port);
	snprintf(megabytes, sizeof megabytes, "%d", server->megabytes ? server->megabytes : 64);
	execl(program, program, server->evicts ? "-v" : "-M", "-U", "0", "-l", "127.0.0.1", "-t", "2", "-p", port, "-m",
		megabytes, "-u", geteuid() == 0 ? "root" : "nobody", (char *)NULL);
	_exit(127);
}

bool memcached_start(struct memcached_server *server)
{
	if (server->port == 0)
		server->port = free_port();
	snprintf(server->address, sizeof server->address, "127.0.0.1:%d", server->port);
	server->pid = fork();
	if (server->pid == 0)
		become(server);
	for (int i = 0; server->pid > 0 && i < 500; i++) {
		if (answers(server->port))
			return true;
		usleep(10000);
	}
	return false;
}

void memcached_kill(struct memcached_server *server)
{
	if (server->pid <= 0)
		return;
	kill(server->pid, SIGKILL);
	while (waitpid(server->pid, NULL, 0) < 0 && errno == EINTR)
		;
	server->pid = 0;
}

bool memcached_command(struct memcached_server *server, const char *command, const char *answer)
{
	struct sockaddr_in sin = address(server->port);
	char line[256] = "";
	size_t n = 0;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sin, sizeof sin) ||
		send(fd, command, strlen(command), MSG_NOSIGNAL) < 0)
		return false;
	while (n < sizeof line - 1 && read(fd, line + n, 1) == 1 && line[n] != '\n')
		n++;
	close(fd);
	line[strcspn(line, "\r\n")] = 0;
	return strcmp(line, answer) == 0;
}
