/* SPDX-License-Identifier: MIT */
/* Synchronous calls and checks for registry_cases.c and registry_model.c. Results are copied: they die with
 * the callback. */
#ifndef REGISTRY_KIT_H
#define REGISTRY_KIT_H

#include <stdio.h>
#include <stdlib.h>

#include "registry_cases.h"

struct kit {
	struct imgo_loop *loop;
	struct imgo_registry *registry;
	void *state;
	const struct registry_backend *backend;
	int failures;
	/* the call under way */
	bool done, in_call;
	int err;
	void (*copy)(struct kit *kit);
	void *args;
	struct imgo_comet_about about; /* what kit_renew says */
	/* copies of results */
	struct imgo_session_id evicted[64];
	size_t nevicted;
	struct kit_session {
		struct imgo_session_id id;
		uint64_t seq;
		char user[IMGO_USER_MAX + 1], device[IMGO_DEVICE_MAX + 1];
	} found[256];
	size_t nfound;
	struct kit_comet {
		uint32_t comet;
		struct imgo_incarnation inc;
		char address[IMGO_REGISTRY_ADDRESS_MAX + 1];
		uint64_t sessions;
		struct imgo_comet_about about; /* its hosts are here: */
		char hosts[IMGO_REGISTRY_HOSTS_MAX + 1];
	} comets[64];
	size_t ncomets;
	struct kit_room {
		char room[IMGO_ROOM_MAX + 1];
		uint64_t count;
	} rooms[256];
	size_t nrooms;
	uint64_t sessions, users;
};

#define check(kit, what) \
	do { \
		if (!(what)) { \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, (kit)->backend->name, #what); \
			(kit)->failures++; \
		} \
	} while (0)
#define check_int(kit, a, b) \
	do { \
		long long a_ = (long long)(a), b_ = (long long)(b); \
		if (a_ != b_) { \
			fprintf(stderr, "%s:%d: %s: %s is %lld, not %lld\n", __FILE__, __LINE__, (kit)->backend->name, \
				#a, a_, b_); \
			(kit)->failures++; \
		} \
	} while (0)

imgo_registry_cb kit_done;
/* Before a call that is to end with kit_done; copy (may be NULL) runs in it. */
void kit_begin(struct kit *kit, void *args, void (*copy)(struct kit *kit));
int kit_wait(struct kit *kit, int rc); /* runs the loop until the call has ended; its error */
void kit_sleep(struct kit *kit, uint64_t ms);

struct imgo_incarnation kit_inc(uint64_t n); /* the n-th, rising */
struct imgo_registry_put kit_session(const char *user, const char *device, uint32_t comet, uint64_t inc, uint64_t n);

/* Each returns the error of the call, or of the item. */
int kit_put(struct kit *kit, struct imgo_registry_put *put);
int kit_del(struct kit *kit, const char *user, struct imgo_session_id id);
int kit_get(struct kit *kit, const char *user); /* → found */
int kit_set_rooms(struct kit *kit, const char *user, struct imgo_session_id id, const struct imgo_str *rooms, size_t n);
int kit_renew(struct kit *kit, uint32_t comet, uint64_t inc, const char *address, uint64_t lease_ms);
int kit_leave(struct kit *kit, uint32_t comet, uint64_t inc);
int kit_comets(struct kit *kit); /* → comets */
int kit_count(struct kit *kit);  /* → rooms, sessions, users */
/* The same of some rooms; there may be others in the answer. */
int kit_count_some(struct kit *kit, const char *prefix, const struct imgo_str *only, size_t n);
int kit_del_comet(struct kit *kit, uint32_t comet);
uint64_t kit_room(const struct kit *kit, const char *room); /* count of it in rooms, 0 if absent */

void registry_model(struct kit *kit); /* registry_model.c */

#endif
