/* SPDX-License-Identifier: MIT */
/* What is taken can be written, is then taken again with the same fields, and is written the same way. */
#include "fuzz.h"

#include "base/buf.h"
#include "codec/json.h"
#include "codec/packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = copy_of(data, size);
	struct imgo__packet first, again;
	struct imgo__buf a = {0}, b = {0};

	if (imgo__packet_decode_json(imgo_strn(copy, size), &first) == 0) {
		CHECK(imgo__json_valid(imgo_strn(copy, size), 16));
		CHECK(imgo__packet_encode_json(&a, &first) == 0);
		CHECK(imgo__packet_decode_json(imgo_strn(a.data, a.len), &again) == 0);
		CHECK(first.ver == again.ver && first.op == again.op && first.seq == again.seq);
		CHECK(first.has_id == again.has_id && imgo_id_cmp(first.id, again.id) == 0);
		CHECK(first.quoted == again.quoted && (!first.quoted || imgo_str_eq(first.body, again.body)));
		CHECK(imgo__packet_encode_json(&b, &again) == 0);
		CHECK(imgo_str_eq(imgo_strn(a.data, a.len), imgo_strn(b.data, b.len)));
		CHECK(memchr(a.data, '\n', a.len) == NULL);
	}
	free(copy);
	imgo__buf_free(&a);
	imgo__buf_free(&b);
	return 0;
}
