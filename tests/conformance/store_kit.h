/* SPDX-License-Identifier: MIT */
/*
 * The conformance suite of stores: a table of cases that any implementation of imgo/backend/store.h must pass. It uses
 * public headers only, so that it can be built against a store of somebody else's.
 *
 * Each case opens the store anew, with options of its own, on a loop of its own, and uses an epoch, partitions and user
 * keys that no other case uses: what an earlier run left in the backend does not matter.
 */
#ifndef STORE_KIT_H
#define STORE_KIT_H

#include <stdio.h>
#include <stdlib.h>

#include <imgo/loop.h>
#include <imgo/store.h>

/* Opens the store to be checked; 0 or an error. `again`: the same place as before is opened once more. */
typedef int check_open_fn(
	struct imgo_store **out, struct imgo_loop *loop, const struct imgo_store_options *options, void *user);

struct check {
	check_open_fn *open;
	void *user;
	struct imgo_loop *loop;
	struct imgo_store *store;
	struct imgo_store_options options;
	uint32_t epoch, partition; /* of this case */
	uint64_t base;             /* distinguishes this case's users and tokens */
	unsigned random;           /* state of check_random */
	char failure[512];
};

typedef void check_case_fn(struct check *c);
struct check_case {
	const char *name;
	check_case_fn *fn;
};
extern const struct check_case store_cases[];      /* ends with {NULL, NULL} */
extern const struct check_case store_cases_time[]; /* those that sleep */
extern const struct check_case store_cases_race[]; /* concurrent ones */

/* Runs them, prints a TAP-like line for each, returns the number that failed. only: a substring of names, or NULL. */
int check_run(const struct check_case *cases, check_open_fn *open, void *user, const char *title, const char *only);

/* Ends the case (a failure) unless it holds. */
#define CHECK(c, cond) \
	do { \
		if (!(cond)) { \
			check_fail(c, __FILE__, __LINE__, #cond, 0, 0); \
			return; \
		} \
	} while (0)
#define CHECK_EQ(c, a, b) \
	do { \
		long long a_ = (long long)(a), b_ = (long long)(b); \
		if (a_ != b_) { \
			check_fail(c, __FILE__, __LINE__, #a " == " #b, a_, b_); \
			return; \
		} \
	} while (0)
/* Of helpers that check by themselves: ends the case when they failed. */
#define TRY(c, call) \
	do { \
		call; \
		if ((c)->failure[0]) \
			return; \
	} while (0)

void check_fail(struct check *c, const char *file, int line, const char *what, long long a, long long b);
unsigned check_random(struct check *c, unsigned n); /* 0 .. n - 1 */
uint64_t check_now(struct check *c);
void check_sleep(struct check *c, uint64_t ms); /* the loop runs meanwhile */

/* ---- calls that wait ---- */

int check_open(struct check *c); /* with c->options; closes the one before */
void check_close(struct check *c);

int check_append_many(struct check *c, struct imgo_store_append_many *call);
int check_read_many(struct check *c, struct imgo_store_read_many *call, imgo_store_cb *look, void *user);
int check_ack_many(struct check *c, struct imgo_store_ack_many *call);
int check_peek_many(struct check *c, struct imgo_store_peek_many *call);
int check_marker(struct check *c, struct imgo_store_marker *call);
int check_token_put(struct check *c, struct imgo_store_token_many *call);
int check_token_get(struct check *c, struct imgo_store_token_many *call, imgo_store_cb *look, void *user);
int check_forget(struct check *c, uint32_t partition);

/* ---- one user at a time, in c->epoch and c->partition ---- */

struct imgo_id check_id(struct check *c, uint64_t id);
struct imgo_str check_user(struct check *c, const char *name); /* valid until the 16th call after it */
void check_begin(struct check *c, uint64_t token);
void check_complete(struct check *c); /* BEGIN and FINISH */

struct check_append {
	const char *user, *text;
	uint64_t id, msgid, at_ms; /* msgid 0: as id; at_ms 0: now */
	uint64_t rebuild;
	uint32_t users;
	/* results */
	int err;
	enum imgo_append_result result;
	struct imgo_id prev;
	uint32_t dropped;
};
void check_append(struct check *c, struct check_append *append);
/* Appends and expects this result; fails the case otherwise. */
void check_appended(struct check *c, const char *user, uint64_t id, const char *text, enum imgo_append_result expected);

/* What a read returned, copied. */
struct check_read {
	int err;
	size_t n;
	uint64_t ids[64];
	uint32_t epochs[64];
	char texts[64][16]; /* the first 15 bytes */
	size_t lens[64];
	bool more, gap;
	uint32_t missing;
	struct imgo_id position, cursor;
};
void check_read(struct check *c, const char *user, const char *device, uint64_t after, bool attach,
	struct check_read *out); /* at most 64 messages, 1 MiB */
void check_read_limits(struct check *c, const char *user, const char *device, uint64_t after, uint32_t messages_max,
	size_t bytes_max, struct check_read *out);
/* Reads without attaching and expects exactly these ids, as "1 2 3". */
void check_reads(struct check *c, const char *user, const char *device, uint64_t after, const char *ids);

int check_ack(struct check *c, const char *user, const char *device, uint64_t id, uint64_t rebuild);

#endif
