/* SPDX-License-Identifier: MIT */
/* A packet that is taken is written back to the same bytes; no prefix of the input says anything else than
 * the whole. */
#include "fuzz.h"

#include "codec/packet.h"

#define BODY_MAX 200

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct imgo__packet whole, part;
	uint8_t header[IMGO__PACKET_HEADER2];
	size_t need;
	ssize_t want = imgo__packet_decode(data, size, BODY_MAX, &whole, &need);

	if (want > 0) {
		size_t n = imgo__packet_header(&whole, header);
		CHECK(memcmp(header, data, n) == 0 && (size_t)want == n + whole.body.len);
		CHECK(whole.body.p == (const char *)data + n && whole.body.len <= BODY_MAX);
	}
	for (size_t n = 0; n < size; n++) {
		uint8_t *copy = copy_of(data, n);
		ssize_t got = imgo__packet_decode(copy, n, BODY_MAX, &part, &need);
		CHECK(got == 0 ? need > n && (want <= 0 || n < (size_t)want) : got == want);
		CHECK(got || need <= IMGO__PACKET_HEADER2 + BODY_MAX);
		free(copy);
	}
	return 0;
}
