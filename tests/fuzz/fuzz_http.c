/* SPDX-License-Identifier: MIT */
/* A head is judged the same however it arrives; one that is taken ends with an empty line and holds to the
 * limits. */
#include "fuzz.h"

#include "codec/http.h"
#include "codec/ws.h"

static const struct imgo__http_limits limits = {.target_max = 60, .head_max = 400, .body_max = 1000};

static void check_request(const uint8_t *data, ssize_t len, const struct imgo__http_request *r)
{
	struct imgo_str key;
	int status;

	CHECK((size_t)len <= limits.head_max && memcmp(data + len - 4, "\r\n\r\n", 4) == 0);
	CHECK(memchr(data, 0, (size_t)len) == NULL);
	CHECK(r->target.len <= limits.target_max && r->path.len <= r->target.len && *r->path.p == '/');
	CHECK(r->content_length <= limits.body_max && (r->has_content_length || r->content_length == 0));
	CHECK(imgo__http_header_count(r, "host") == 1 || r->http10);
	CHECK(imgo__http_header_count(r, "content-length") == r->has_content_length);
	CHECK(imgo__http_header_count(r, "transfer-encoding") == 0);
	CHECK(imgo__ws_handshake(r, &key, &status) || key.len == 24);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct imgo__http_request whole, part;
	struct imgo__http_response response;
	int status = 0, part_status;
	ssize_t want = imgo__http_decode(data, size, &limits, &whole, &status);
	ssize_t reply = imgo__http_decode_response(data, size, limits.head_max, &response);

	CHECK(want >= 0 || (status >= 400 && status <= 505));
	CHECK(want || size < limits.head_max);
	if (want > 0)
		check_request(data, want, &whole);
	for (size_t n = 0; n < size && n <= limits.head_max; n += n < 64 ? 1 : 1 + data[n] % 16) {
		uint8_t *copy = copy_of(data, n);
		ssize_t got = imgo__http_decode(copy, n, &limits, &part, &part_status);
		CHECK(got == 0 ? want <= 0 || (size_t)want > n : got == want);
		CHECK(got >= 0 || part_status == status);
		got = imgo__http_decode_response(copy, n, limits.head_max, &response);
		CHECK(got == 0 ? reply <= 0 || (size_t)reply > n : got == reply);
		free(copy);
	}
	return 0;
}
