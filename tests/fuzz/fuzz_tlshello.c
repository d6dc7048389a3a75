/* SPDX-License-Identifier: MIT */
/* However it is cut, the answer is the same; and it never asks for more than its bound. */
#include "fuzz.h"

#include "codec/tlshello.h"

#define HELLO_MAX 600

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t need = 0;
	ssize_t want = imgo__tlshello(data, size, HELLO_MAX, &need);

	CHECK(want <= (ssize_t)size && want <= 2 * HELLO_MAX);
	for (size_t n = 0; n < size; n++) {
		uint8_t *copy = copy_of(data, n);
		size_t more = 0;
		ssize_t got = imgo__tlshello(copy, n, HELLO_MAX, &more);
		if (got == 0)
			CHECK(more > n && more <= 2 * HELLO_MAX + 5 && (want <= 0 || n < (size_t)want));
		else
			CHECK(got == want);
		free(copy);
	}
	return 0;
}
