/* SPDX-License-Identifier: MIT */
/*
 * What TLS costs a hub.
 *
 *	tls_bench [CONNECTIONS]
 *
 * One JSON line each: handshake (processor time of this process a full and a resumed handshake with a P-256
 * certificate, login included), idle (resident memory a connection that is logged in, the hub's and OpenSSL's), fanout
 * (processor time of one write of a room message). Clients are in another process.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include <imgo/hub.h>
#include <imgo/stats.h>
#include <imgo/tls.h>

enum { ROUNDS = 20, LOGIN = 20, ANSWER = 16 };

static char folder[] = "/tmp/imgo-tls-bench-XXXXXX";

struct bench {
	struct imgo_loop *loop;
	struct imgo_stats *stats;
	struct imgo_tls *tls;
	struct imgo_hub *hub;
	int port, to_clients, from_clients;
	pid_t clients;
};

static void die(const char *what)
{
	fprintf(stderr, "tls_bench: %s\n", what);
	exit(1);
}

static double cpu_us(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1e6 + (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

static double resident(void)
{
	long pages = 0, all = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	if (!f || fscanf(f, "%ld %ld", &all, &pages) != 2)
		die("statm");
	fclose(f);
	return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

/* ---- the clients ---- */

struct crowd {
	SSL_CTX *ctx;
	SSL **ssl;
	int n, port;
};

static SSL *connect_one(struct crowd *crowd, SSL_SESSION *session)
{
	static const unsigned char login[LOGIN] = "\0\0\0\x14\0\x10\0\1\0\0\0\7\0\0\0\1user";
	struct sockaddr_in in = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)crowd->port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char answer[ANSWER];

	if (fd < 0 || connect(fd, (struct sockaddr *)&in, sizeof in))
		die("connect");
	SSL *ssl = SSL_new(crowd->ctx);
	SSL_set_fd(ssl, fd);
	if (session)
		SSL_set_session(ssl, session);
	if (SSL_connect(ssl) != 1 || SSL_write(ssl, login, LOGIN) != LOGIN || SSL_read(ssl, answer, ANSWER) != ANSWER)
		die("handshake or login");
	return ssl;
}

static void end_one(SSL *ssl)
{
	int fd = SSL_get_fd(ssl);

	SSL_shutdown(ssl);
	SSL_free(ssl);
	close(fd);
}

/* Commands: h full handshakes, r resumed ones, i stay. Answers with a byte. */
static void be_clients(struct crowd *crowd, int commands, int answers)
{
	char command;

	while (read(commands, &command, 1) == 1) {
		SSL *first = connect_one(crowd, NULL);
		SSL_SESSION *session = SSL_get1_session(first);
		end_one(first);
		for (int i = 0; i < crowd->n; i++) {
			crowd->ssl[i] = connect_one(crowd, command == 'r' ? session : NULL);
			if (command == 'r' && !SSL_session_reused(crowd->ssl[i]))
				die("not resumed");
			if (command == 'r' && i % 2) { /* a ticket is used once */
				SSL_SESSION_free(session);
				session = SSL_get1_session(crowd->ssl[i]);
			}
			if (command != 'i')
				end_one(crowd->ssl[i]);
		}
		if (write(answers, &command, 1) != 1)
			die("pipe");
	}
	_exit(0);
}

static void start_clients(struct bench *b, int n)
{
	int commands[2], answers[2];

	if (pipe(commands) || pipe(answers))
		die("pipe");
	b->clients = fork();
	if (b->clients == 0) {
		struct crowd crowd = {.n = n, .port = b->port, .ctx = SSL_CTX_new(TLS_client_method())};
		SSL_CTX_set_mode(crowd.ctx, SSL_MODE_RELEASE_BUFFERS);
		SSL_CTX_set_max_proto_version(crowd.ctx, TLS1_3_VERSION);
		crowd.ssl = calloc((size_t)n, sizeof *crowd.ssl);
		close(commands[1]);
		be_clients(&crowd, commands[0], answers[1]);
	}
	close(commands[0]);
	close(answers[1]);
	b->to_clients = commands[1];
	b->from_clients = answers[0];
}

/* ---- the hub ---- */

static void on_auth(struct imgo_hub *hub, struct imgo_conn conn, const struct imgo_hub_auth *auth, void *user)
{
	struct imgo_hub_grant grant = IMGO_HUB_GRANT_INIT;
	struct imgo_str room = imgo_str("live://1000");

	(void)auth, (void)user;
	grant.user = imgo_str("user");
	grant.rooms = &room;
	grant.nrooms = 1;
	imgo_hub_auth_finish(hub, conn, &grant);
}

static void turn(struct bench *b)
{
	struct pollfd p[2] = {{imgo_loop_fd(b->loop), POLLIN, 0}, {b->from_clients, POLLIN, 0}};

	(void)poll(p, 2, 1);
	imgo_loop_process(b->loop);
}

/* Lets the clients do it, and turns until they have. */
static void let(struct bench *b, char command)
{
	struct pollfd p = {b->from_clients, POLLIN, 0};

	if (write(b->to_clients, &command, 1) != 1)
		die("pipe");
	while (poll(&p, 1, 0) == 0)
		turn(b);
	if (read(b->from_clients, &command, 1) != 1)
		die("the clients have ended");
}

static void start(struct bench *b, int n)
{
	static const struct imgo_hub_ops ops = {.size = sizeof ops, .on_auth = on_auth};
	struct imgo_tls_options tls = IMGO_TLS_OPTIONS_INIT;
	struct imgo_hub_options hub = IMGO_HUB_OPTIONS_INIT;
	struct imgo_loop_options loop = IMGO_LOOP_OPTIONS_INIT;
	struct imgo_error error = {0};
	char cert[64], key[64], command[512];

	if (!mkdtemp(folder))
		die("mkdtemp");
	snprintf(cert, sizeof cert, "%s/cert.pem", folder);
	snprintf(key, sizeof key, "%s/key.pem", folder);
	snprintf(command, sizeof command,
		"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=bench "
		"-keyout %s -out %s 2>/dev/null",
		key, cert);
	if (system(command))
		die("openssl");
	tls.cert = cert;
	tls.key = key;
	imgo_stats_new(&b->stats);
	loop.stats = b->stats;
	if (imgo_loop_new(&b->loop, &loop, &error) || imgo_tls_new(&b->tls, b->loop, &tls, &error))
		die(error.text);
	hub.tls = b->tls;
	hub.heartbeat_timeout_ms = 3600 * 1000;
	if (imgo_hub_new(&b->hub, b->loop, &ops, NULL, &hub, &error) ||
		imgo_hub_listen(b->hub, "127.0.0.1:0", IMGO_HUB_TLS, &b->port, &error))
		die(error.text);
	snprintf(command, sizeof command, "rm -r %s", folder);
	if (system(command))
		die("rm");
	start_clients(b, n);
}

static void fan_out(struct bench *b, int n)
{
	static const char body[] = "{\"x\":\"0000000000000000000000000000000000000000\"}";
	double before = 0;
	struct imgo_msg *msg;

	imgo_msg_new(&msg, IMGO_OP_PUSH, (struct imgo_id){0, 0}, body, sizeof body - 1);
	for (int round = -2; round < ROUNDS; round++) {
		if (round == 0)
			before = cpu_us();
		if (imgo_hub_send_room(b->hub, imgo_str("live://1000"), &msg, 1) != n)
			die("send_room");
		int64_t writes = imgo_stats_get(b->stats, "imgo_hub_writes_total");
		while (imgo_stats_get(b->stats, "imgo_hub_writes_total") < writes + n)
			turn(b);
	}
	printf("{\"bench\":\"tls_fanout\",\"connections\":%d,\"bytes\":%zu,\"write_us\":%.2f}\n", n,
		16 + sizeof body - 1, (cpu_us() - before) / ROUNDS / n);
	imgo_msg_unref(msg);
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 2000;
	struct bench b = {0};
	double before, full, resumed;

	start(&b, n);
	let(&b, 'h'); /* warms up */
	before = cpu_us();
	let(&b, 'h');
	full = (cpu_us() - before) / (n + 1);
	before = cpu_us();
	let(&b, 'r');
	resumed = (cpu_us() - before) / (n + 1);
	printf("{\"bench\":\"tls_handshake\",\"connections\":%d,\"full_us\":%.0f,\"resumed_us\":%.0f}\n", n, full, resumed);
	before = resident();
	let(&b, 'i');
	for (int i = 0; i < 50; i++)
		turn(&b);
	printf("{\"bench\":\"tls_idle\",\"connections\":%d,\"bytes\":%.0f}\n", n, (resident() - before) / n);
	fan_out(&b, n);
	close(b.to_clients);
	kill(b.clients, SIGKILL);
	waitpid(b.clients, NULL, 0);
	imgo_hub_free(b.hub);
	imgo_tls_free(b.tls);
	imgo_loop_free(b.loop);
	imgo_stats_free(b.stats);
	return 0;
}
