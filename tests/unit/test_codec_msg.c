/* SPDX-License-Identifier: MIT */
#include "codec_test.h"

#include <pthread.h>

#include "codec/msg.h"

static struct imgo_msg *make(int32_t op, struct imgo_id id, struct imgo_str body)
{
	struct imgo_msg *msg;

	assert_int_equal(imgo_msg_new(&msg, op, id, body.p, body.len), 0);
	return msg;
}

static void check(struct imgo_msg *const *messages, size_t n, enum imgo__dialect dialect, struct imgo_str want)
{
	struct imgo__chunk *chunk = imgo__msg_encode(messages, n, dialect);

	assert_non_null(chunk);
	assert_bytes(chunk->data, chunk->len, want.p, want.len);
	imgo__chunk_unref(chunk);
}

static void check_hex(struct imgo_msg *const *messages, size_t n, enum imgo__dialect dialect, const char *hex)
{
	uint8_t want[500];
	size_t len = unhex(hex, want);

	check(messages, n, dialect, imgo_strn(want, len));
}

static const struct imgo_id none;

/* COMPATIBILITY.md, and DESIGN.md §4. */
static void golden_packets(void **state)
{
	struct imgo_msg *push = make(IMGO_OP_PUSH, none, imgo_str("hello"));
	struct imgo_msg *goim = make(1000, none, imgo_str("hello"));
	struct imgo_msg *logged = make(5, (struct imgo_id){7, 42}, imgo_str("hi"));
	struct imgo_msg *empty = make(5, none, imgo_strn(NULL, 0));
	struct imgo_msg *batch[] = {logged, goim};

	(void)state;
#define PUSH   "00000015 0010 0000 00000005 00000000 68656c6c6f"
#define GOIM   "00000015 0010 0001 000003e8 00000000 68656c6c6f"
#define LOGGED "0000001e 001c 0002 00000005 00000000 00000007 000000000000002a 6869"
	check_hex(&push, 1, IMGO__DIALECT_TCP1, PUSH);
	check_hex(&push, 1, IMGO__DIALECT_TCP2, PUSH);
	check_hex(&goim, 1, IMGO__DIALECT_TCPG, GOIM);
	check_hex(&goim, 1, IMGO__DIALECT_BING, "8225 00000025 0010 0001 00000009 00000000" GOIM);
	check_hex(&goim, 1, IMGO__DIALECT_BIN2, "8225 00000025 0010 0001 00000009 00000000" GOIM);
	check_hex(&logged, 1, IMGO__DIALECT_TCP1, "00000012 0010 0000 00000005 00000000 6869");
	check_hex(&logged, 1, IMGO__DIALECT_TCPG, "00000012 0010 0001 00000005 00000000 6869");
	check_hex(&logged, 1, IMGO__DIALECT_TCP2, LOGGED);
	check_hex(&logged, 1, IMGO__DIALECT_BIN2, "822e 0000002e 0010 0001 00000009 00000000" LOGGED);
	check_hex(&empty, 1, IMGO__DIALECT_TCP1, "00000010 0010 0000 00000005 00000000");
	check_hex(batch, 2, IMGO__DIALECT_BIN2, "8243 00000043 0010 0001 00000009 00000000" LOGGED GOIM);
	check_hex(batch, 2, IMGO__DIALECT_TCP1,
		"00000012 0010 0000 00000005 00000000 6869 00000015 0010 0000 000003e8 00000000 68656c6c6f");
	check_hex(batch, 2, IMGO__DIALECT_TCP2, LOGGED "00000015 0010 0000 000003e8 00000000 68656c6c6f");
	imgo_msg_unref(push);
	imgo_msg_unref(goim);
	imgo_msg_unref(logged);
	imgo_msg_unref(empty);
}

/* A single message ends in a newline, a batch does not. */
static void golden_json(void **state)
{
	struct imgo_msg *json = make(5, (struct imgo_id){7, 42}, imgo_str("{ \"a\" :\n[1, \" \"] }"));
	struct imgo_msg *text = make(5, none, imgo_str("hello\n\xff"));
	struct imgo_msg *empty = make(5, none, imgo_str(""));
	struct imgo_msg *batch[] = {json, empty, text};

	(void)state;
	check(&json, 1, IMGO__DIALECT_JSON1,
		BYTES("\x81\x30[{\"ver\":0,\"op\":5,\"seq\":0,\"body\":{\"a\":[1,\" \"]}}]\n"));
	check(&json, 1, IMGO__DIALECT_JSON2,
		BYTES("\x81\x44[{\"ver\":2,\"op\":5,\"seq\":0,\"body\":{\"a\":[1,\" "
		      "\"]},\"epoch\":7,\"id\":\"42\"}]\n"));
	check(&text, 1, IMGO__DIALECT_JSON1,
		BYTES("\x81\x2F[{\"ver\":0,\"op\":5,\"seq\":0,\"body\":\"hello\\n\xEF\xBF\xBD\"}]\n"));
	check(&empty, 1, IMGO__DIALECT_JSON2, BYTES("\x81\x25[{\"ver\":0,\"op\":5,\"seq\":0,\"body\":{}}]\n"));
	check(batch, 3, IMGO__DIALECT_JSON1,
		BYTES("\x81\x7E\x00\x7F[{\"ver\":0,\"op\":5,\"seq\":0,\"body\":{\"a\":[1,\" \"]}},"
		      "{\"ver\":0,\"op\":5,\"seq\":0,\"body\":{}},"
		      "{\"ver\":0,\"op\":5,\"seq\":0,\"body\":\"hello\\n\xEF\xBF\xBD\"}]"));
	imgo_msg_unref(json);
	imgo_msg_unref(text);
	imgo_msg_unref(empty);
}

/* The three lengths of a WebSocket header, and slices of the cached encodings behind each. */
static void frames_of_all_sizes(void **state)
{
	static const size_t sizes[] = {50, 88, 89, 5000, 65490, 65500, 65600, IMGO_BODY_MAX};
	static char body[IMGO_BODY_MAX];

	(void)state;
	memset(body, 'x', sizeof body);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		struct imgo_msg *msg = make(5, none, imgo_strn(body, sizes[i])), *two[] = {msg, msg};
		struct imgo__chunk *one = imgo__msg_encode(&msg, 1, IMGO__DIALECT_JSON1);
		struct imgo__chunk *both = imgo__msg_encode(two, 2, IMGO__DIALECT_JSON1);
		size_t text = sizes[i] + 37, head = text < 126 ? 2 : text < 65536 ? 4 : 10;
		assert_int_equal(one->len, head + text);
		assert_memory_equal(one->data + one->len - 4, "\"}]\n", 4);
		text = 2 * (text - 3) + 3;
		head = text < 126 ? 2 : text < 65536 ? 4 : 10;
		assert_int_equal(both->len, head + text);
		assert_memory_equal(both->data + head, "[{\"ver\":0,", 10);
		assert_memory_equal(both->data + both->len - 3, "\"}]", 3);
		imgo__chunk_unref(one);
		imgo__chunk_unref(both);
		imgo_msg_unref(msg);
	}
}

static void shares_one_encoding(void **state)
{
	struct imgo_msg *msg = make(5, (struct imgo_id){1, 1}, imgo_str("x"));
	struct imgo__chunk *a = imgo__msg_encode(&msg, 1, IMGO__DIALECT_TCP1);
	struct imgo__chunk *b = imgo__msg_encode(&msg, 1, IMGO__DIALECT_TCP1);

	(void)state;
	assert_ptr_equal(a, b);
	assert_int_equal(a->refs, 3);
	imgo__chunk_unref(a);
	imgo_msg_unref(imgo_msg_ref(msg));
	imgo_msg_unref(msg); /* the chunk lives on */
	assert_int_equal(b->refs, 1);
	assert_int_equal(b->len, 17);
	imgo__chunk_unref(b);
	imgo__chunk_unref(NULL);
	imgo_msg_unref(NULL);
}

static void reads_fields(void **state)
{
	static char big[IMGO_BODY_MAX + 1];
	struct imgo_msg *msg = make(-3, (struct imgo_id){9, 8}, imgo_str("body"));

	(void)state;
	assert_str(imgo_msg_body(msg), "body");
	assert_int_equal(imgo_msg_op(msg), -3);
	assert_true(imgo_msg_id(msg).epoch == 9 && imgo_msg_id(msg).id == 8);
	imgo_msg_unref(msg);
	assert_int_equal(imgo_msg_new(&msg, 5, none, big, sizeof big), IMGO_ELIMIT);
}

#define ROUNDS 2000
static struct imgo_msg *shared[ROUNDS];

static void *encoder(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) {
		for (int dialect = 0; dialect < IMGO__DIALECTS; dialect++)
			imgo__chunk_unref(imgo__msg_encode(&shared[i], 1, (enum imgo__dialect)dialect));
		imgo_msg_unref(shared[i]);
	}
	return arg;
}

/* For TSan and valgrind: threads race for the first encoding and for the last reference. */
static void threads_share(void **state)
{
	pthread_t threads[3];

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		shared[i] = make(5, (struct imgo_id){1, 1}, imgo_str("{ }"));
		imgo_msg_ref(imgo_msg_ref(shared[i]));
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, encoder, NULL), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_packets),
		cmocka_unit_test(golden_json),
		cmocka_unit_test(frames_of_all_sizes),
		cmocka_unit_test(shares_one_encoding),
		cmocka_unit_test(reads_fields),
		cmocka_unit_test(threads_share),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
