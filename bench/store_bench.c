/* SPDX-License-Identifier: MIT */
/*
 * store_bench memory|lmdb|memcached PLACE [SECONDS]: how much a store takes. PLACE: "-", a directory,
 * "host:port,…".
 *
 * Many calls are kept under way on one loop, over 64 partitions, as job and comet make them. Rows: appends to
 * one user each, 200-byte bodies, in batches of 1, 16 and 64 a call; then a read of 20 and an acknowledgement
 * for each user. Says operations a second of wall clock and of CPU (all threads of this process; a memcached
 * has its own).
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <imgo/loop.h>
#include <imgo/store.h>

enum { PARTITIONS = 64, USERS = 6400, BATCH_MAX = 64, CALLS_MAX = 256, BODY = 200 };

struct bench;

struct call {
	struct bench *bench;
	uint32_t partition;
	char names[BATCH_MAX][16];
	struct imgo_store_body bodies[BATCH_MAX];
	struct imgo_store_append items[BATCH_MAX];
	struct imgo_store_append_many append;
	struct imgo_store_read read;
	struct imgo_store_read_many reads;
	struct imgo_store_ack ack;
	struct imgo_store_ack_many acks;
};

struct bench {
	struct imgo_loop *loop;
	struct imgo_store *store;
	const char *title;
	int mode; /* 0 append, 1 read, 2 ack */
	size_t batch, ncalls, under_way;
	uint64_t next[PARTITIONS], done, failed, until_us;
	unsigned user;
	struct call calls[CALLS_MAX];
};

static char body[BODY];

static void again(struct call *call);

static void ended(int err, void *user)
{
	struct call *call = user;
	struct bench *b = call->bench;
	b->under_way--;
	b->done += err ? 0 : b->mode == 1 ? call->read.nmessages : b->batch;
	b->failed += err != 0;
	if (imgo_loop_now_us(b->loop) < b->until_us)
		again(call);
	else if (b->under_way == 0)
		imgo_loop_stop(b->loop);
}

static void name_user(struct bench *b, struct call *call, size_t i)
{
	unsigned n = b->user++ % (USERS / PARTITIONS);
	snprintf(call->names[i], sizeof call->names[i], "user%u-%u", (unsigned)call->partition, n);
}

static int append(struct bench *b, struct call *call)
{
	for (size_t i = 0; i < b->batch; i++) {
		uint64_t id = ++b->next[call->partition];
		name_user(b, call, i);
		call->bodies[i] = (struct imgo_store_body){.id = {1, id},
			.at_ms = imgo_loop_wall_ms(b->loop),
			.data = imgo_strn(body, sizeof body),
			.users = 1};
		memcpy(call->bodies[i].msgid.b, &id, sizeof id);
		call->items[i] = (struct imgo_store_append){.user = imgo_str(call->names[i]), .body = &call->bodies[i]};
	}
	call->append = (struct imgo_store_append_many){.epoch = 1,
		.partition = call->partition,
		.bodies = call->bodies,
		.nbodies = b->batch,
		.items = call->items,
		.nitems = b->batch};
	return imgo_store_append_many(b->store, &call->append, ended, call);
}

static int read_log(struct bench *b, struct call *call)
{
	name_user(b, call, 0);
	call->read = (struct imgo_store_read){.user = imgo_str(call->names[0]), .messages_max = 20, .bytes_max = 1 << 20};
	call->reads = (struct imgo_store_read_many){
		.epoch = 1, .partition = call->partition, .items = &call->read, .nitems = 1};
	return imgo_store_read_many(b->store, &call->reads, ended, call);
}

static int acknowledge(struct bench *b, struct call *call)
{
	name_user(b, call, 0);
	/* a little further each time */
	call->ack = (struct imgo_store_ack){.user = imgo_str(call->names[0]), .id = {1, ++b->next[call->partition]}};
	call->acks =
		(struct imgo_store_ack_many){.epoch = 1, .partition = call->partition, .items = &call->ack, .nitems = 1};
	return imgo_store_ack_many(b->store, &call->acks, ended, call);
}

static void again(struct call *call)
{
	struct bench *b = call->bench;
	int err = b->mode == 0 ? append(b, call) : b->mode == 1 ? read_log(b, call) : acknowledge(b, call);
	if (err) {
		fprintf(stderr, "%s: %s\n", b->title, imgo_strerror(err));
		exit(1);
	}
	b->under_way++;
}

static double cpu_s(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void measure(struct bench *b, const char *title, int mode, size_t batch, size_t ncalls, unsigned seconds)
{
	uint64_t began_us;
	b->title = title;
	b->mode = mode;
	b->batch = batch;
	b->done = b->failed = 0;
	imgo_loop_process(b->loop); /* for the clock */
	began_us = imgo_loop_now_us(b->loop);
	b->until_us = began_us + seconds * 1000000ull;
	double cpu = cpu_s();
	for (size_t i = 0; i < ncalls; i++) {
		b->calls[i].bench = b;
		b->calls[i].partition = (uint32_t)(i % PARTITIONS);
		again(&b->calls[i]);
	}
	imgo_loop_run(b->loop);
	double wall = (double)(imgo_loop_now_us(b->loop) - began_us) / 1e6;
	cpu = cpu_s() - cpu;
	printf("%-34s %9.0f /s   %9.0f /s of one core   %llu failed\n", title, (double)b->done / wall,
		(double)b->done / cpu, (unsigned long long)b->failed);
	fflush(stdout);
}

static void marked(int err, void *loop)
{
	if (err) {
		fprintf(stderr, "marker: %s\n", imgo_strerror(err));
		exit(1);
	}
	imgo_loop_stop(loop);
}

static void complete(struct bench *b)
{
	for (uint32_t p = 0; p < PARTITIONS; p++) {
		for (int step = IMGO_MARKER_BEGIN; step <= IMGO_MARKER_FINISH; step++) {
			struct imgo_store_marker m = {
				.epoch = 1, .partition = p, .step = (enum imgo_marker_step)step, .token = 1};
			imgo_store_marker(b->store, &m, marked, b->loop);
			imgo_loop_run(b->loop);
		}
	}
}

static int open_store(struct bench *b, const char *which, const char *place, struct imgo_error *error)
{
	struct imgo_store_lmdb_options lmdb = IMGO_STORE_LMDB_OPTIONS_INIT;
	struct imgo_store_memcached_options memcached = IMGO_STORE_MEMCACHED_OPTIONS_INIT;
	struct imgo_store_options options = IMGO_STORE_OPTIONS_INIT;
	options.messages_max = 100;
	lmdb.path = place;
	memcached.servers = place;
	if (strcmp(which, "memory") == 0)
		return imgo_store_new_memory(&b->store, b->loop, &options, error);
	if (strcmp(which, "lmdb") == 0)
		return imgo_store_new_lmdb(&b->store, b->loop, &lmdb, &options, error);
	return imgo_store_new_memcached(&b->store, b->loop, &memcached, &options, error);
}

int main(int argc, char **argv)
{
	static struct bench bench;
	struct imgo_error error = {0};
	unsigned seconds = argc > 3 ? (unsigned)atoi(argv[3]) : 3;
	if (argc < 3) {
		fprintf(stderr, "usage: store_bench memory|lmdb|memcached PLACE [SECONDS]\n");
		return 2;
	}
	if (imgo_loop_new(&bench.loop, NULL, &error) || open_store(&bench, argv[1], argv[2], &error)) {
		fprintf(stderr, "%s\n", error.text);
		return 1;
	}
	complete(&bench);
	measure(&bench, "append, 1 a call, 1 under way", 0, 1, 1, seconds);
	measure(&bench, "append, 1 a call, 256 under way", 0, 1, 256, seconds);
	measure(&bench, "append, 16 a call, 64 under way", 0, 16, 64, seconds);
	measure(&bench, "append, 64 a call, 64 under way", 0, 64, 64, seconds);
	measure(&bench, "read 20, messages", 1, 1, 64, seconds);
	memset(bench.next, 0, sizeof bench.next);
	measure(&bench, "acknowledge", 2, 1, 64, seconds);
	imgo_store_free(bench.store);
	imgo_loop_free(bench.loop);
	return 0;
}
