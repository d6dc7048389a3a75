/* SPDX-License-Identifier: MIT */
/* Frames are found the same however they are cut; a head that is read is read again from what is written of
 * it. */
#include "fuzz.h"

#include "codec/rpcframe.h"

#define MESSAGE_MAX 500

static void check_head(struct imgo_str payload)
{
	struct imgo__rpc_head head, again;
	struct imgo__mp rest, rest2;
	struct imgo__buf buf = {0};
	struct imgo_str payload2;
	struct imgo__mpw w;
	size_t need, start;

	if (imgo__rpc_decode_head(payload, &head, &rest))
		return;
	CHECK(rest.at < rest.end && (const char *)rest.end == payload.p + payload.len);
	CHECK(head.method.len <= IMGO__RPC_METHOD_MAX && head.error <= 0);
	imgo__mpw_init(&w, &buf);
	start = imgo__rpc_begin(&w, &head);
	CHECK(imgo__buf_append(&buf, rest.at, (size_t)(rest.end - rest.at)) == 0);
	CHECK(imgo__rpc_end(&w, start, MESSAGE_MAX) == 0);
	CHECK(imgo__rpc_frame(buf.data, buf.len, MESSAGE_MAX, &payload2, &need) == (ssize_t)buf.len);
	CHECK(imgo__rpc_decode_head(payload2, &again, &rest2) == 0);
	CHECK(head.type == again.type && head.id == again.id && head.error == again.error);
	CHECK(imgo_str_eq(head.method, again.method) && rest2.end - rest2.at == rest.end - rest.at);
	imgo__buf_free(&buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct imgo_str payload, part;
	size_t need;
	ssize_t want = imgo__rpc_frame(data, size, MESSAGE_MAX, &payload, &need);

	for (size_t n = 0; n < size; n++) {
		uint8_t *copy = copy_of(data, n);
		ssize_t got = imgo__rpc_frame(copy, n, MESSAGE_MAX, &part, &need);
		CHECK(got == 0 ? need > n && need <= 4 + MESSAGE_MAX && (want <= 0 || n < (size_t)want) : got == want);
		free(copy);
	}
	if (want > 0) {
		uint8_t *copy = copy_of(payload.p, payload.len);
		check_head(imgo_strn(copy, payload.len));
		free(copy);
	}
	return 0;
}
