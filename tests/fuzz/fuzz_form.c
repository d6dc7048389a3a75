/* SPDX-License-Identifier: MIT */
/* Values of a form: never longer than what they were decoded from, never with a NUL, and the first of all is
 * the one. */
#include "fuzz.h"

#include "base/mem.h"
#include "codec/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = copy_of(data, size);
	struct imgo_str form = imgo_strn(copy, size), one, all[4];
	struct imgo__arena arena = {0};
	size_t n = 0, total = 0;
	int rc_one = imgo__http_param(&arena, form, "u", &one);
	int rc_all = imgo__http_params(&arena, form, "u", all, 4, &n);

	CHECK(n <= 4 && (rc_one == 0) == (n > 0) && (rc_one != IMGO_ENOTFOUND || (rc_all == 0 && n == 0)));
	CHECK(rc_all == 0 || rc_all == IMGO_EINVAL || rc_all == IMGO_ELIMIT);
	for (size_t i = 0; i < n; i++) {
		total += all[i].len;
		CHECK(memchr(all[i].p, 0, all[i].len + 1) == all[i].p + all[i].len);
	}
	CHECK(total <= size && (n == 0 || imgo_str_eq(one, all[0])));
	imgo__arena_free(&arena);
	free(copy);
	return 0;
}
