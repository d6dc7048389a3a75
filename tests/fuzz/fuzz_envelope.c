/* SPDX-License-Identifier: MIT */
/* An envelope that is read can be written, and what is written is read as the same and written as the same
 * bytes. */
#include "fuzz.h"

#include <imgo/envelope.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = copy_of(data, size);
	struct imgo_envelope *first, *again;
	size_t a_len, b_len;
	void *a, *b;

	if (imgo_envelope_decode(&first, copy, size) == 0) {
		CHECK(imgo_envelope_encode(first, &a, &a_len) == 0);
		CHECK(imgo_envelope_decode(&again, a, a_len) == 0);
		CHECK(first->kind == again->kind && first->at_ms == again->at_ms && first->op == again->op);
		CHECK(imgo_str_eq(first->body, again->body) && first->ntargets == again->ntargets);
		CHECK(imgo_envelope_encode(again, &b, &b_len) == 0);
		CHECK(imgo_str_eq(imgo_strn(a, a_len), imgo_strn(b, b_len)));
		free(first);
		free(again);
		free(a);
		free(b);
	}
	free(copy);
	return 0;
}
