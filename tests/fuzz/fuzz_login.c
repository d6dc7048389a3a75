/* SPDX-License-Identifier: MIT */
/* The body of a login: what is taken keeps the bounds that the hub relies on, and a list of operations is in order. The
 * first byte says how it is asked. */
#include "fuzz.h"

#include "codec/login.h"

#include <imgo/error.h>

enum { ROOMS_MAX = 5 };

static void check(const struct imgo__login *login)
{
	CHECK(login->token.p && login->token.len <= IMGO_TOKEN_MAX);
	CHECK(login->device.len <= IMGO_DEVICE_MAX && login->key.len <= IMGO_KEY_MAX);
	CHECK(login->nrooms <= ROOMS_MAX && login->naccepts <= IMGO_ACCEPTS_MAX && login->mid <= INT64_MAX);
	CHECK(login->accepts || login->naccepts == 0);
	for (size_t i = 0; i < login->nrooms; i++)
		CHECK(login->rooms[i].len > 0 && login->rooms[i].len <= IMGO_ROOM_MAX);
	for (size_t i = 1; i < login->naccepts; i++)
		CHECK(login->accepts[i - 1] < login->accepts[i]);
	CHECK(login->is_goim || (!login->accepts && login->mid == 0 && login->key.len == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct imgo__login login;
	int32_t ops[8];
	uint8_t *copy;
	int err;

	if (size == 0)
		return 0;
	copy = copy_of(data + 1, size - 1);
	err = imgo__login_read(&login, imgo_strn(copy, size - 1), data[0] & 1 ? 2 : 1, data[0] & 2, ROOMS_MAX);
	CHECK(err == 0 || err == IMGO_EPROTO || err == IMGO_ELIMIT);
	if (err == 0)
		check(&login);
	imgo__login_free(&login);
	err = imgo__ops_read(imgo_strn(copy, size - 1), ops, 8);
	CHECK(err <= 8 && (err >= 0 || err == IMGO_EPROTO || err == IMGO_ELIMIT));
	for (int i = 1; i < err; i++)
		CHECK(ops[i - 1] < ops[i]);
	free(copy);
	return 0;
}
