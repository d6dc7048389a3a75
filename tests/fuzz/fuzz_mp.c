/* SPDX-License-Identifier: MIT */
/*
 * The cursor against msgpack-c: what we skip as one value is one for it too (the reverse does not hold: ext,
 * depth). Then the input is read with readers chosen by itself.
 */
#include "fuzz.h"

#include <msgpack.h>

#include "codec/mp.h"

static void compare_with_msgpack(const uint8_t *data, size_t size)
{
	msgpack_unpacked result;
	struct imgo__mp mp;
	size_t taken = 0;

	imgo__mp_init(&mp, data, size);
	imgo__mp_skip(&mp);
	if (mp.err)
		return;
	msgpack_unpacked_init(&result);
	CHECK(msgpack_unpack_next(&result, (const char *)data, size, &taken) == MSGPACK_UNPACK_SUCCESS);
	CHECK(taken == (size_t)(mp.at - data));
	msgpack_unpacked_destroy(&result);
}

static void read_one(struct imgo__mp *mp, unsigned reader)
{
	const uint8_t *before = mp->at;
	struct imgo_str s;
	uint8_t fixed[3];

	switch (reader) {
	case 0:
		CHECK(imgo__mp_array(mp, 1000) <= (size_t)(mp->end - mp->at));
		break;
	case 1:
		CHECK(imgo__mp_map(mp, 1000) <= (size_t)(mp->end - mp->at) / 2);
		break;
	case 2:
		imgo__mp_uint(mp);
		break;
	case 3:
		imgo__mp_i32(mp);
		break;
	case 4:
		imgo__mp_bool(mp);
		break;
	case 5:
		s = imgo__mp_str(mp, 100);
		CHECK(s.len <= 100 && (s.p == NULL || (const uint8_t *)s.p + s.len == mp->at));
		break;
	case 6:
		imgo__mp_fixed(mp, fixed, sizeof fixed);
		break;
	default:
		imgo__mp_skip_rest(mp, 2, 1);
	}
	CHECK(mp->err ? mp->at == mp->end : mp->at > before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = copy_of(data, size);
	struct imgo__mp mp;

	compare_with_msgpack(copy, size);
	imgo__mp_init(&mp, copy, size);
	while (mp.at != mp.end && !mp.err)
		read_one(&mp, data[size - 1 - (size_t)(mp.at - copy)] & 7);
	free(copy);
	return 0;
}
