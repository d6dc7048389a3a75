/* SPDX-License-Identifier: MIT */
/* The RPC messages between comet, logic and job: what is written is read again, and every truncation is refused. */
#include "test.h"

#include "service/carrier_wire.h"
#include "service/gate_wire.h"

static const struct imgo_str rooms[] = {{"live://1", 8}, {"1000", 4}};
static const struct imgo_session_id sid = {7, {123456789, 42}, 0x100000002};

static struct imgo__mpw writer;
static struct imgo__buf bytes;

static struct imgo__mpw *begin(void)
{
	bytes.len = 0;
	imgo__mpw_init(&writer, &bytes);
	return &writer;
}

static struct imgo__mp reader(size_t len)
{
	struct imgo__mp mp;

	imgo__mp_init(&mp, bytes.data, len);
	return mp;
}

/* Reads the message cut to every shorter length with `read` (an expression over `mp`): never 0. */
#define refuses_truncation(read) \
	do { \
		assert_int_equal(writer.err, 0); \
		for (size_t len_ = 0; len_ < bytes.len; len_++) { \
			struct imgo__arena arena = {0}; \
			struct imgo__mp mp = reader(len_); \
			assert_int_not_equal(read, 0); \
			imgo__arena_free(&arena); \
		} \
	} while (0)

static void connect_message(void **state)
{
	struct imgo__gate_connect call = {.token = imgo_str("secret"),
		.ver = 1,
		.device = imgo_str("phone"),
		.id = sid,
		.rooms = rooms,
		.nrooms = 2,
		.by_mid = true,
		.mid = 1ull << 40};
	struct imgo__gate_connect got = {0};
	struct imgo__arena arena = {0};
	struct imgo__mp mp;

	(void)state;
	imgo__gate_connect_ask_write(begin(), &call);
	refuses_truncation(imgo__gate_connect_ask_read(&mp, &arena, &got));
	mp = reader(bytes.len);
	assert_int_equal(imgo__gate_connect_ask_read(&mp, &arena, &got), 0);
	assert_int_equal(imgo__mp_finish(&mp), 0);
	assert_true(imgo_str_eq(got.token, call.token) && imgo_str_eq(got.device, call.device));
	assert_true(imgo_session_id_eq(got.id, sid));
	assert_int_equal(got.nrooms, 2);
	assert_true(imgo_str_eq(got.rooms[1], rooms[1]));
	assert_true(got.by_mid && got.mid == 1ull << 40);

	call.who = imgo_str("1");
	call.granted_device = imgo_str("phone");
	call.seq = 3;
	call.partition = 9;
	call.epoch = 4;
	call.ngranted = 2;
	call.granted_rooms[0] = rooms[0];
	call.granted_rooms[1] = rooms[1];
	imgo__gate_connect_answer_write(begin(), &call);
	refuses_truncation(imgo__gate_connect_answer_read(&mp, &arena, &got));
	mp = reader(bytes.len);
	assert_int_equal(imgo__gate_connect_answer_read(&mp, &arena, &got), 0);
	assert_true(imgo_str_eq(got.who, call.who));
	assert_int_equal(got.seq, 3);
	assert_int_equal(got.ngranted, 2);
	assert_true(imgo_str_eq(got.granted_rooms[0], rooms[0]));
	imgo__arena_free(&arena);
}

static void read_message(void **state)
{
	struct imgo__gate_message messages[] = {{{1, 5}, 5, {"hello", 5}}, {{1, 9}, 1000, {NULL, 0}}};
	struct imgo__gate_read call = {.who = imgo_str("1"),
		.device = imgo_str(""),
		.after = {1, 4},
		.messages_max = 10,
		.bytes_max = 1000,
		.messages = messages,
		.nmessages = 2,
		.more = true,
		.gap = true,
		.position = {1, 9},
		.cursor = {1, 4}};
	struct imgo__gate_read got = {0};
	struct imgo__arena arena = {0};
	struct imgo__mp mp;

	(void)state;
	imgo__gate_read_ask_write(begin(), &call);
	refuses_truncation(imgo__gate_read_ask_read(&mp, &arena, &got));
	mp = reader(bytes.len);
	assert_int_equal(imgo__gate_read_ask_read(&mp, &arena, &got), 0);
	assert_int_equal(got.after.id, 4);
	assert_int_equal(got.bytes_max, 1000);

	imgo__gate_read_answer_write(begin(), &call);
	refuses_truncation(imgo__gate_read_answer_read(&mp, &arena, &got));
	mp = reader(bytes.len);
	assert_int_equal(imgo__gate_read_answer_read(&mp, &arena, &got), 0);
	assert_true(got.more && got.gap);
	assert_int_equal(got.nmessages, 2);
	assert_true(imgo_str_eq(got.messages[0].body, messages[0].body));
	assert_int_equal(got.messages[1].op, 1000);
	assert_int_equal(got.position.id, 9);
	imgo__arena_free(&arena);
}

static void sessions_message(void **state)
{
	struct imgo__gate_session items[] = {{.who = imgo_str("1"), .id = sid, .seq = 2, .rooms = rooms, .nrooms = 2},
		{.who = imgo_str("2"), .device = imgo_str("d"), .id = sid, .seq = 1}};
	struct imgo__gate_session *got = NULL, answers[2] = {{.err = 1}, {.err = 1}};
	struct imgo__arena arena = {0};
	struct imgo__mp mp;
	size_t n = 0;

	(void)state;
	imgo__gate_sessions_ask_write(begin(), items, 2);
	refuses_truncation(imgo__gate_sessions_ask_read(&mp, &arena, &got, &n));
	mp = reader(bytes.len);
	assert_int_equal(imgo__gate_sessions_ask_read(&mp, &arena, &got, &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(got[0].nrooms, 2);
	assert_int_equal(got[0].seq, 2);

	items[0].err = IMGO_EEXISTS;
	imgo__gate_sessions_answer_write(begin(), items, 2);
	refuses_truncation(imgo__gate_sessions_answer_read(&mp, answers, 2));
	mp = reader(bytes.len);
	assert_int_equal(imgo__gate_sessions_answer_read(&mp, answers, 2), 0);
	assert_int_equal(answers[0].err, IMGO_EEXISTS);
	assert_int_equal(answers[1].err, 0);
	mp = reader(bytes.len); /* an answer to another number of questions */
	assert_int_not_equal(imgo__gate_sessions_answer_read(&mp, answers, 1), 0);
	imgo__arena_free(&arena);
}

static void acks_and_compares(void **state)
{
	struct imgo__gate_ack acks[] = {
		{.who = imgo_str("1"), .device = imgo_str(""), .id = {2, 3}, .err = IMGO_EREBUILDING}};
	struct imgo__gate_compare compares[] = {
		{.who = imgo_str("1"), .delivered = {1, 2}, .acked = {1, 1}, .behind = true}};
	struct imgo__gate_ack *got_acks = NULL, ack_answer[1] = {{.err = 1}};
	struct imgo__gate_compare *got_compares = NULL, compare_answer[1] = {{.err = 1}};
	struct imgo__arena arena = {0};
	struct imgo__mp mp;
	size_t n = 0;

	(void)state;
	imgo__gate_acks_ask_write(begin(), acks, 1);
	refuses_truncation(imgo__gate_acks_ask_read(&mp, &arena, &got_acks, &n));
	mp = reader(bytes.len);
	assert_int_equal(imgo__gate_acks_ask_read(&mp, &arena, &got_acks, &n), 0);
	assert_int_equal(got_acks[0].id.epoch, 2);
	imgo__gate_acks_answer_write(begin(), acks, 1);
	refuses_truncation(imgo__gate_acks_answer_read(&mp, ack_answer, 1));
	mp = reader(bytes.len);
	assert_int_equal(imgo__gate_acks_answer_read(&mp, ack_answer, 1), 0);
	assert_int_equal(ack_answer[0].err, IMGO_EREBUILDING);

	imgo__gate_compares_ask_write(begin(), compares, 1);
	refuses_truncation(imgo__gate_compares_ask_read(&mp, &arena, &got_compares, &n));
	mp = reader(bytes.len);
	assert_int_equal(imgo__gate_compares_ask_read(&mp, &arena, &got_compares, &n), 0);
	assert_int_equal(got_compares[0].acked.id, 1);
	imgo__gate_compares_answer_write(begin(), compares, 1);
	refuses_truncation(imgo__gate_compares_answer_read(&mp, compare_answer, 1));
	mp = reader(bytes.len);
	assert_int_equal(imgo__gate_compares_answer_read(&mp, compare_answer, 1), 0);
	assert_true(compare_answer[0].behind && compare_answer[0].err == 0);
	imgo__arena_free(&arena);
}

static void renew_message(void **state)
{
	struct imgo__gate_renew call = {
		.registry = {
			.comet = 3, .inc = {5, 6}, .address = imgo_str("127.0.0.1:8092"), .lease_ms = 10000, .leaving = true}};
	struct imgo__gate_renew got = {0};
	struct imgo__mp mp;

	(void)state;
	imgo__gate_renew_ask_write(begin(), &call);
	refuses_truncation(imgo__gate_renew_ask_read(&mp, &got));
	mp = reader(bytes.len);
	assert_int_equal(imgo__gate_renew_ask_read(&mp, &got), 0);
	assert_true(got.registry.leaving && got.registry.comet == 3 && got.registry.lease_ms == 10000);
	assert_true(imgo_str_eq(got.registry.address, call.registry.address));
	call.epoch = 8;
	call.partitions = 64;
	call.registry.nshards = 1;
	call.registry.shards[0].inc = (struct imgo_incarnation){9, 9};
	imgo__gate_renew_answer_write(begin(), &call);
	refuses_truncation(imgo__gate_renew_answer_read(&mp, &got));
	mp = reader(bytes.len);
	assert_int_equal(imgo__gate_renew_answer_read(&mp, &got), 0);
	assert_int_equal(got.partitions, 64);
	assert_int_equal(got.registry.shards[0].inc.random, 9);
}

static void tells_casts_kicks(void **state)
{
	char key[IMGO_ENVELOPE_KEY_MAX + 1] = "";
	struct imgo__tell_target targets[] = {{11, {"1", 1}, {1, 2}}, {12, {"2", 1}, {0, 0}}};
	struct imgo__tell_target keys[] = {{11, {"1", 1}, {0, 0}}, {0, imgo_str(key), {0, 0}}};
	struct imgo__tell tells[] = {{{1, 3}, 5, {"body", 4}, targets, 2}};
	struct imgo__cast casts[] = {{IMGO_ENVELOPE_ROOM, 1, {1, 7}, 5, {"r", 1}, {"b", 1}, NULL, 0, 0},
		{IMGO_ENVELOPE_DIRECT, 1, {1, 8}, 5, {NULL, 0}, {"b", 1}, targets, 2, 0},
		{IMGO_ENVELOPE_BROADCAST, 1, {1, 9}, 5, {NULL, 0}, {"b", 1}, NULL, 0, 700},
		{IMGO_ENVELOPE_KEYS, 1, {1, 10}, 5, {NULL, 0}, {"b", 1}, keys, 2, 0}};
	struct imgo__kick kicks[] = {{11, {"1", 1}, 10}};
	struct imgo__tell *got_tells = NULL;
	struct imgo__cast *got_casts = NULL;
	struct imgo__kick *got_kicks = NULL;
	struct imgo__arena arena = {0};
	struct imgo__mp mp;
	size_t n = 0;

	(void)state;
	memset(key, 'k', IMGO_ENVELOPE_KEY_MAX);
	keys[1].who = imgo_str(key);
	imgo__tell_write(begin(), tells, 1);
	refuses_truncation(imgo__tell_read(&mp, &arena, &got_tells, &n));
	mp = reader(bytes.len);
	assert_int_equal(imgo__tell_read(&mp, &arena, &got_tells, &n), 0);
	assert_int_equal(got_tells[0].ntargets, 2);
	assert_int_equal(got_tells[0].targets[0].prev.id, 2);
	imgo__cast_write(begin(), casts, 4);
	refuses_truncation(imgo__cast_read(&mp, &arena, &got_casts, &n));
	mp = reader(bytes.len);
	assert_int_equal(imgo__cast_read(&mp, &arena, &got_casts, &n), 0);
	assert_int_equal(got_casts[0].kind, IMGO_ENVELOPE_ROOM);
	assert_int_equal(got_casts[1].targets[1].n, 12);
	assert_int_equal(got_casts[2].speed, 700);
	assert_true(got_casts[3].targets[1].n == 0 && imgo_str_eq(got_casts[3].targets[1].who, imgo_str(key)));
	imgo__kick_write(begin(), kicks, 1);
	refuses_truncation(imgo__kick_read(&mp, &arena, &got_kicks, &n));
	mp = reader(bytes.len);
	assert_int_equal(imgo__kick_read(&mp, &arena, &got_kicks, &n), 0);
	assert_int_equal(got_kicks[0].why, 10);
	imgo__arena_free(&arena);
}

static void online_message(void **state)
{
	struct imgo__gate_online items[2] = {{rooms[0], 7}, {rooms[1], 1ull << 40}}, *got = NULL;
	struct imgo__arena arena = {0};
	struct imgo__mp mp;
	size_t n = 0;

	(void)state;
	imgo__gate_online_ask_write(begin(), items, 2);
	refuses_truncation(imgo__gate_online_ask_read(&mp, &arena, &got, &n));
	mp = reader(bytes.len);
	assert_int_equal(imgo__gate_online_ask_read(&mp, &arena, &got, &n), 0);
	assert_int_equal(n, 2);
	assert_true(imgo_str_eq(got[1].room, rooms[1]));
	imgo__gate_online_answer_write(begin(), items, 2);
	refuses_truncation(imgo__gate_online_answer_read(&mp, got, 2));
	mp = reader(bytes.len);
	assert_int_equal(imgo__gate_online_answer_read(&mp, got, 2), 0);
	assert_true(got[0].count == 7 && got[1].count == 1ull << 40);
	mp = reader(bytes.len);
	assert_int_equal(imgo__gate_online_answer_read(&mp, got, 1), IMGO_EPROTO); /* not as many as were asked about */
	imgo__arena_free(&arena);
}

static int fini(void **state)
{
	(void)state;
	imgo__buf_free(&bytes);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connect_message),
		cmocka_unit_test(online_message),
		cmocka_unit_test(read_message),
		cmocka_unit_test(sessions_message),
		cmocka_unit_test(acks_and_compares),
		cmocka_unit_test(renew_message),
		cmocka_unit_test(tells_casts_kicks),
	};

	return cmocka_run_group_tests_name("service_wire", tests, NULL, fini);
}
