/* SPDX-License-Identifier: MIT */
/* Every allocation of the codec fails once: the caller is told, nothing leaks (ASan), no half value is left.
 */
#include "codec_test.h"

#include <imgo/envelope.h>

#include "base/buf.h"
#include "base/mem.h"
#include "codec/http.h"
#include "codec/json.h"
#include "codec/msg.h"
#include "codec/packet.h"
#include "codec/rpcframe.h"
#include "codec/ws.h"

static char body[3000];
static const struct imgo__packet packet = {.op = 5, .has_id = true, .id = {1, 2}, .body = {body, sizeof body}};

/* Each returns 0, or an error. */

static int quoting(struct imgo__buf *buf)
{
	return imgo__json_quote(buf, packet.body);
}

static int embedding(struct imgo__buf *buf)
{
	return imgo__json_embed(buf, imgo_str("[1, 2, [3, 4]]"));
}

static int unquoting(struct imgo__buf *buf)
{
	return imgo__json_unquote(buf, imgo_str("\\u00e9 and some more \\ud83d\\ude00"));
}

static int encoding_packet(struct imgo__buf *buf)
{
	return imgo__packet_encode_json(buf, &packet);
}

static int framing_rpc(struct imgo__buf *buf)
{
	struct imgo__rpc_head head = {.type = IMGO__RPC_REQUEST, .method = imgo_str("method")};
	struct imgo__mpw w;
	size_t start;

	imgo__mpw_init(&w, buf);
	start = imgo__rpc_begin(&w, &head);
	imgo__mpw_bin(&w, body, sizeof body);
	return imgo__rpc_end(&w, start, 1 << 20);
}

static int envelope(struct imgo__buf *buf)
{
	static const struct imgo_session_id sessions[] = {{.comet = 1}, {.comet = 2}};
	static const struct imgo_envelope_target target = {{"u", 1}, sessions, 2};
	struct imgo_envelope e = {.kind = IMGO_ENVELOPE_USERS, .body = packet.body, .targets = &target, .ntargets = 1};
	struct imgo_envelope *back;
	void *data;
	size_t len;
	int rc = imgo_envelope_encode(&e, &data, &len);

	(void)buf;
	if (rc)
		return rc;
	rc = imgo_envelope_decode(&back, data, len);
	if (rc == 0)
		free(back);
	free(data);
	return rc;
}

static int messages(struct imgo__buf *buf)
{
	struct imgo_msg *msg, *two[2];
	int rc = imgo_msg_new(&msg, 5, (struct imgo_id){1, 2}, body, sizeof body);

	(void)buf;
	if (rc)
		return rc;
	two[0] = two[1] = msg;
	for (int dialect = 0; dialect < IMGO__DIALECTS && rc == 0; dialect++) {
		struct imgo__chunk *batch = imgo__msg_encode(two, 2, (enum imgo__dialect)dialect);
		struct imgo__chunk *one = imgo__msg_encode(&msg, 1, (enum imgo__dialect)dialect);
		rc = batch && one ? 0 : IMGO_ENOMEM;
		imgo__chunk_unref(batch);
		imgo__chunk_unref(one);
	}
	imgo_msg_unref(msg);
	return rc;
}

static int gathering(struct imgo__buf *buf)
{
	static const uint8_t first[] = "\x01\x05Hello", last[] = "\x80\x01!";
	uint8_t frame[16];
	struct imgo__buf message = {0};
	struct imgo__ws ws = {0};
	struct imgo__ws_event event;
	uint16_t code = 0;
	size_t need;
	ssize_t rc;

	(void)buf;
	memcpy(frame, first, sizeof first);
	rc = imgo__ws_decode(&ws, false, frame, 7, 100, &message, &event, &code, &need);
	if (rc > 0) {
		memcpy(frame, last, sizeof last);
		rc = imgo__ws_decode(&ws, false, frame, 3, 100, &message, &event, &code, &need);
	}
	assert_true(rc > 0 || code == 1011);
	imgo__buf_free(&message);
	return rc > 0 ? 0 : (int)rc;
}

static int params(struct imgo__buf *buf)
{
	struct imgo__arena arena = {0};
	struct imgo_str value;
	int rc = imgo__http_param(&arena, imgo_str("a=b"), "a", &value);

	(void)buf;
	imgo__arena_free(&arena);
	return rc;
}

static void each_allocation_fails(void **state)
{
	static int (*const cases[])(struct imgo__buf *) = {
		quoting, embedding, unquoting, encoding_packet, framing_rpc, envelope, messages, gathering, params};

	(void)state;
	memset(body, 0xFF, sizeof body);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		bool struck = true;
		for (long n = 0; struck; n++) {
			struct imgo__buf buf = {0};
			int rc;
			assert_true(n < 1000);
			assert_int_equal(imgo__buf_append(&buf, "x", 1), 0);
			imgo__mem_fail_after(n);
			rc = cases[i](&buf);
			struck = imgo__mem_fail_after(-1) < 0;
			assert_int_equal(rc, struck ? IMGO_ENOMEM : 0);
			if (struck)
				assert_int_equal(buf.len, 1);
			imgo__buf_free(&buf);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_allocation_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
