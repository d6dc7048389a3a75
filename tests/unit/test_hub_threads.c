/* SPDX-License-Identifier: MIT */
/*
 * Two loops in two threads, a hub each, one set of counters and one log: messages made in a third thread cross by reference
 * and go to the clients of both, while clients come, ask and go. For ThreadSanitizer above all.
 */
#include "test.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include <imgo/hub.h>
#include <imgo/log.h>
#include <imgo/stats.h>

enum { SHARDS = 2, CLIENTS = 20, MESSAGES = 300, COMERS = 100, BODY = 200 };

struct shard {
	struct imgo_loop *loop;
	struct imgo_hub *hub;
	int port;
	pthread_t thread, clients, comers;
	atomic_int logins, received, wrong;
};

struct cast {
	struct shard *shard;
	struct imgo_msg *msg;
};

static struct shard shards[SHARDS];
static struct imgo_stats *stats;
static struct imgo_log *log_;

/* ---- the server's side ---- */

static void on_auth(struct imgo_hub *hub, struct imgo_conn conn, const struct imgo_hub_auth *auth, void *user)
{
	struct imgo_hub_grant grant = IMGO_HUB_GRANT_INIT;
	struct imgo_str room = imgo_str("room");

	grant.user = auth->token;
	grant.rooms = &room;
	grant.nrooms = imgo_str_eq(auth->token, imgo_str("stays"));
	if (imgo_hub_auth_finish(hub, conn, &grant) == 0 && grant.nrooms)
		atomic_fetch_add(&((struct shard *)user)->logins, 1);
}

static void on_cast(void *user)
{
	struct cast *cast = user;

	if (imgo_hub_send_room(cast->shard->hub, imgo_str("room"), &cast->msg, 1) != CLIENTS)
		atomic_fetch_add(&cast->shard->wrong, 1);
	imgo_msg_unref(cast->msg);
	free(cast);
}

static void on_end(void *user)
{
	struct shard *shard = user;

	imgo_hub_free(shard->hub);
	imgo_loop_stop(shard->loop);
}

static void *serve(void *user)
{
	imgo_loop_run(((struct shard *)user)->loop);
	return NULL;
}

/* ---- the clients' side: blocking sockets ---- */

static int client(int port, const char *token)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	uint8_t packet[64] = {[5] = 16, [7] = 1, [11] = 7, [15] = 1};
	struct timeval patience = {30, 0};
	size_t len = 16 + strlen(token);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	packet[3] = (uint8_t)len;
	memcpy(packet + 16, token, len - 16);
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof addr) || send(fd, packet, len, MSG_NOSIGNAL) < 0 ||
		recv(fd, packet, 16, MSG_WAITALL) != 16) {
		close(fd);
		return -1;
	}
	return fd;
}

static void receive_one(struct shard *shard, int fd, unsigned n)
{
	uint8_t packet[16 + BODY];

	if (recv(fd, packet, sizeof packet, MSG_WAITALL) != sizeof packet || packet[16] != (uint8_t)n ||
		packet[sizeof packet - 1] != (uint8_t)n)
		atomic_fetch_add(&shard->wrong, 1);
	else
		atomic_fetch_add(&shard->received, 1);
}

static void *stay(void *user)
{
	struct shard *shard = user;
	int fds[CLIENTS];

	for (int i = 0; i < CLIENTS; i++)
		fds[i] = client(shard->port, "stays");
	for (unsigned n = 0; n < MESSAGES; n++) {
		for (int i = 0; i < CLIENTS; i++)
			receive_one(shard, fds[i], n);
	}
	for (int i = 0; i < CLIENTS; i++)
		close(fds[i]);
	return NULL;
}

static void *come_and_go(void *user)
{
	struct shard *shard = user;

	for (int i = 0; i < COMERS; i++) {
		int fd = client(shard->port, "comes and goes");
		if (fd < 0)
			atomic_fetch_add(&shard->wrong, 1);
		close(fd);
	}
	return NULL;
}

/* ---- the test ---- */

static void nowhere(const struct imgo_log_record *record, void *user)
{
	(void)record, (void)user;
}

static void shard_start(struct shard *shard)
{
	static const struct imgo_hub_ops ops = {.size = sizeof ops, .on_auth = on_auth};
	struct imgo_loop_options options = IMGO_LOOP_OPTIONS_INIT;
	struct imgo_error error;

	options.stats = stats;
	options.log = log_;
	assert_int_equal(imgo_loop_new(&shard->loop, &options, &error), 0);
	assert_int_equal(imgo_hub_new(&shard->hub, shard->loop, &ops, shard, NULL, &error), 0);
	assert_int_equal(imgo_hub_listen(shard->hub, "127.0.0.1:0", IMGO_HUB_TCP, &shard->port, &error), 0);
	assert_int_equal(pthread_create(&shard->thread, NULL, serve, shard), 0);
	assert_int_equal(pthread_create(&shard->clients, NULL, stay, shard), 0);
	assert_int_equal(pthread_create(&shard->comers, NULL, come_and_go, shard), 0);
}

static void cast_to_all(unsigned n)
{
	uint8_t body[BODY];
	struct imgo_msg *msg;

	memset(body, (int)n, sizeof body);
	assert_int_equal(imgo_msg_new(&msg, IMGO_OP_PUSH, (struct imgo_id){0, 0}, body, sizeof body), 0);
	for (int i = 0; i < SHARDS; i++) {
		struct cast *cast = malloc(sizeof *cast);
		assert_non_null(cast);
		*cast = (struct cast){&shards[i], imgo_msg_ref(msg)};
		assert_int_equal(imgo_loop_post(shards[i].loop, on_cast, cast), 0);
	}
	imgo_msg_unref(msg);
}

static void two_loops(void **state)
{
	(void)state;
	assert_int_equal(imgo_stats_new(&stats), 0);
	assert_int_equal(imgo_log_new(&log_, IMGO_LOG_DEBUG, nowhere, NULL), 0);
	for (int i = 0; i < SHARDS; i++)
		shard_start(&shards[i]);
	for (int i = 0; i < SHARDS; i++) {
		for (int waited = 0; atomic_load(&shards[i].logins) < CLIENTS && waited < 30000; waited++)
			usleep(1000);
	}
	for (unsigned n = 0; n < MESSAGES; n++)
		cast_to_all(n);
	for (int i = 0; i < SHARDS; i++) {
		pthread_join(shards[i].clients, NULL);
		pthread_join(shards[i].comers, NULL);
		assert_int_equal(imgo_loop_post(shards[i].loop, on_end, &shards[i]), 0);
		pthread_join(shards[i].thread, NULL);
		imgo_loop_free(shards[i].loop);
		assert_int_equal(atomic_load(&shards[i].wrong), 0);
		assert_int_equal(atomic_load(&shards[i].received), CLIENTS * MESSAGES);
	}
	imgo_log_free(log_);
	imgo_stats_free(stats);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(two_loops)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
