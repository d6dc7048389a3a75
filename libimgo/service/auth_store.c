/* SPDX-License-Identifier: MIT */
/* The stock authentication: a token is known by its SHA-256 in the store (DESIGN.md §3, Tokens). */
#include <string.h>

#include "base/hash.h"
#include "service/push_impl.h"

struct auth_store {
	struct imgo_store *store;
	struct imgo_bus *bus;
};

struct lookup {
	struct imgo_auth_check *call;
	struct imgo_store_token token;
	struct imgo_store_token_many many;
	imgo_auth_cb *cb;
	void *user;
};

static void on_token(int err, void *user)
{
	struct lookup *lookup = user;

	if (err == 0)
		err = lookup->token.err == IMGO_ENOTFOUND ? IMGO_EDENIED : lookup->token.err;
	if (err == 0) {
		lookup->call->who = lookup->token.user;
		lookup->call->device = lookup->token.device;
		lookup->call->rooms = lookup->token.rooms;
		lookup->call->nrooms = lookup->token.nrooms;
		lookup->call->expires_ms = lookup->token.expires_ms;
	}
	lookup->cb(err, lookup->user);
	free(lookup);
}

static int auth_store_check(void *impl, struct imgo_auth_check *call, imgo_auth_cb *cb, void *user)
{
	struct auth_store *auth = impl;
	struct lookup *lookup = imgo__zalloc(sizeof *lookup);
	int err;

	if (!lookup)
		return IMGO_ENOMEM;
	lookup->call = call;
	lookup->cb = cb;
	lookup->user = user;
	err = imgo__sha256(call->token.p, call->token.len, lookup->token.hash);
	lookup->many = (struct imgo_store_token_many){
		imgo_bus_epoch(auth->bus), imgo_bus_partitions(auth->bus, IMGO_TOPIC_USERS), &lookup->token, 1};
	if (err == 0)
		err = imgo_store_token_get(auth->store, &lookup->many, on_token, lookup);
	if (err < 0)
		free(lookup);
	return err;
}

static void auth_store_free(void *impl)
{
	free(impl);
}

const struct imgo_auth_ops imgo__auth_store_ops = {
	.size = sizeof(struct imgo_auth_ops),
	.free = auth_store_free,
	.check = auth_store_check,
};

int imgo__auth_store_new(void **impl, struct imgo_store *store, struct imgo_bus *bus)
{
	struct auth_store *auth = imgo__zalloc(sizeof *auth);

	if (!auth)
		return IMGO_ENOMEM;
	auth->store = store;
	auth->bus = bus;
	*impl = auth;
	return 0;
}
