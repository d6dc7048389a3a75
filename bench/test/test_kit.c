/* SPDX-License-Identifier: MIT */
/* The instruments themselves: a ruler that is wrong measures nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../kit/clock.h"
#include "../kit/hist.h"
#include "../kit/ledger.h"
#include "../kit/proc.h"
#include "../kit/stamp.h"
#include "../kit/wire.h"

/* ---- histogram ---- */

static void hist_is_within_a_step_of_the_truth(void **state)
{
	static const double percents[] = {0, 1, 50, 90, 99, 99.9, 100};
	struct hist *h = calloc(1, sizeof *h);

	(void)state;
	assert_int_equal(hist_at(h, 50), 0);
	for (uint64_t v = 1; v <= 100000; v++) /* v * 1,000 ns: the p-th percentile is known */
		hist_add(h, v * 1000);
	for (unsigned i = 0; i < sizeof percents / sizeof *percents; i++) {
		double truth = percents[i] == 0 ? 1000 : percents[i] * 1000 * 1000;
		double got = (double)hist_at(h, percents[i]);
		assert_true(got >= truth * 0.9999999 && got <= truth * (1 + 1.0 / HIST_STEPS));
	}
	assert_int_equal(hist_at(h, 100), 100000000);
	free(h);
}

static void hist_takes_any_value(void **state)
{
	struct hist *h = calloc(2, sizeof *h);

	(void)state;
	for (unsigned bit = 0; bit < 64; bit++) {
		memset(h, 0, sizeof *h);
		hist_add(h, 1ull << bit);
		hist_add(h, UINT64_MAX);
		assert_true(hist_at(h, 50) >= 1ull << bit);
		assert_true(hist_at(h, 50) - (1ull << bit) <= (1ull << bit) / HIST_STEPS);
		assert_true(hist_at(h, 100) == UINT64_MAX);
	}
	free(h);
}

static void hists_merge_by_adding(void **state)
{
	struct hist *h = calloc(3, sizeof *h);

	(void)state;
	for (uint64_t v = 0; v < 3000; v++) {
		hist_add(&h[v % 2], v * v);
		hist_add(&h[2], v * v);
	}
	hist_merge(&h[0], &h[1]);
	assert_memory_equal(&h[0], &h[2], sizeof *h);
	free(h);
}

/* ---- ledger ---- */

static void ledger_tells_new_late_and_copies(void **state)
{
	struct ledger l = {0};

	(void)state;
	assert_int_equal(ledger_add(&l, 0), LEDGER_NEW);
	assert_int_equal(ledger_add(&l, 0), LEDGER_COPY);
	assert_int_equal(ledger_add(&l, 3), LEDGER_NEW);
	assert_int_equal(ledger_add(&l, 2), LEDGER_LATE);
	assert_int_equal(ledger_add(&l, 2), LEDGER_COPY);
	assert_int_equal(ledger_add(&l, 3), LEDGER_COPY);
	assert_int_equal(ledger_add(&l, 1), LEDGER_LATE);
	assert_int_equal(l.got, 4);
	assert_int_equal(ledger_add(&l, 66), LEDGER_NEW);
	assert_int_equal(ledger_add(&l, 3), LEDGER_COPY);
	assert_int_equal(ledger_add(&l, 4), LEDGER_LATE);
	assert_int_equal(ledger_add(&l, 1000), LEDGER_NEW); /* far ahead: all before it is forgotten ... */
	assert_int_equal(ledger_add(&l, 66), LEDGER_COPY);  /* ... and counts as there */
	assert_int_equal(ledger_add(&l, 999), LEDGER_LATE);
	assert_int_equal(l.got, 8);
}

/* ---- stamps ---- */

static void stamp_comes_back(void **state)
{
	const struct stamp in = {0xbeef, 0xabcdef, 0xffffffff, 0x0123456789abcdefull};
	struct stamp out;
	char text[200];

	(void)state;
	memset(text, '#', sizeof text);
	for (size_t size = STAMP_MIN; size < 100; size++) {
		stamp_write(text, size, &in);
		assert_memory_equal(text + size - 2, "\"}#", 3);
		assert_true(stamp_read(text, size, &out));
		assert_memory_equal(&in, &out, sizeof in);
		assert_false(stamp_read(text, STAMP_MIN - 1, &out));
		text[size] = '#';
	}
	text[10] = 'g';
	assert_false(stamp_read(text, 99, &out));
}

/* ---- wire ---- */

struct got {
	struct wire_message last;
	unsigned n;
};

static void note(const struct wire_message *message, void *user)
{
	struct got *got = user;

	got->last = *message;
	got->n++;
}

static void packets_are_those_of_the_description(void **state)
{
	static const char reply[] = "\0\0\0\x10\0\x10\0\x01\0\0\0\x08\0\0\0\x01";
	struct got got = {0};
	char out[200];

	(void)state;
	size_t n = wire_login(out, sizeof out, WIRE_TCP, "abc", NULL);
	assert_int_equal(n, 19);
	assert_memory_equal(out,
		"\0\0\0\x13\0\x10\0\x01\0\0\0\x07\0\0\0\x01"
		"abc",
		19);
	for (size_t len = 0; len < 16; len++)
		assert_int_equal(wire_take(WIRE_TCP, 0, reply, len, note, &got), 0);
	assert_int_equal(wire_take(WIRE_TCP, 0, reply, 16, note, &got), 16);
	assert_int_equal(got.n, 1);
	assert_int_equal(got.last.op, WIRE_AUTH_REPLY);
	assert_int_equal(wire_take(WIRE_TCP, 0, "\0\0\0\x0f\0\x10\0\x01\0\0\0\x08\0\0\0\x01", 16, note, &got), -1);
}

static void acknowledgement_has_epoch_and_id(void **state)
{
	char out[64];

	(void)state;
	assert_int_equal(wire_ack(out, sizeof out, WIRE_TCP, 7, 0x0102030405060708ull), 28);
	assert_memory_equal(
		out, "\0\0\0\x1c\0\x1c\0\x02\0\0\0\x12\0\0\0\x01\0\0\0\x07\x01\x02\x03\x04\x05\x06\x07\x08", 28);
}

static void batch_is_taken_apart(void **state)
{
	static const char raw[] = "\0\0\0\x25\0\x10\0\x01\0\0\0\x09\0\0\0\0"
				  "\0\0\0\x15\0\x10\0\x01\0\0\x03\xe8\0\0\0\0hello";
	char frame[64] = "\x82\x25";
	struct got got = {0};

	(void)state;
	memcpy(frame + 2, raw, 37);
	assert_int_equal(wire_take(WIRE_WS_BINARY, 1, frame, 39, note, &got), 39);
	assert_int_equal(got.n, 1);
	assert_int_equal(got.last.op, 1000);
	assert_memory_equal(got.last.body, "hello", 5);
}

static void json_is_found_by_its_marks(void **state)
{
	const struct stamp stamp = {.number = 5};
	struct got got = {0};
	struct stamp out;
	char body[64] = "", text[512], frame[600];

	(void)state;
	stamp_write(body, 50, &stamp);
	int n = snprintf(text, sizeof text,
		"[{\"ver\":2,\"op\":5,\"seq\":0,\"epoch\":9,\"id\":\"123\",\"body\":%s},{\"ver\":0,\"op\":5,\"seq\":0,\"body\":%s}]\n",
		body, body);
	memcpy(frame, "\x81\x7e", 2);
	frame[2] = (char)(n >> 8);
	frame[3] = (char)n;
	memcpy(frame + 4, text, (size_t)n);
	assert_int_equal(wire_take(WIRE_WS_JSON, 1, frame, (size_t)n + 3, note, &got), 0);
	assert_int_equal(wire_take(WIRE_WS_JSON, 1, frame, (size_t)n + 4, note, &got), n + 4);
	assert_int_equal(got.n, 2);
	assert_int_equal(got.last.epoch, 0);
	assert_true(stamp_read(got.last.body, got.last.len, &out));
	assert_int_equal(out.number, 5);
	assert_int_equal(wire_take(WIRE_WS_JSON, 1, "\x81\x11[{\"ver\":1,\"op\":8}]", 19, note, &got), 19);
	assert_int_equal(got.last.op, 8);
}

static void upgrade_is_waited_for(void **state)
{
	static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x89\x01x";
	struct got got = {0};
	size_t head = sizeof answer - 1 - 3;

	(void)state;
	assert_int_equal(wire_take(WIRE_WS_JSON, 0, answer, head - 1, note, &got), 0);
	assert_int_equal(wire_take(WIRE_WS_JSON, 0, answer, head + 3, note, &got), head);
	assert_int_equal(got.last.op, WIRE_UPGRADED);
	assert_int_equal(wire_take(WIRE_WS_JSON, 1, answer + head, 3, note, &got), 3);
	assert_int_equal(got.last.op, WIRE_PING);
	assert_int_equal(wire_take(WIRE_WS_JSON, 0, "HTTP/1.1 400 Bad Request\r\n\r\n", 28, note, &got), -1);
}

/* ---- processes ---- */

static void cpu_time_is_counted(void **state)
{
	struct proc before, after;
	uint64_t end = now_ns() + 50000000;

	(void)state;
	assert_int_equal(proc_read(getpid(), &before), 0);
	assert_true(before.rss > 100000);
	while (now_ns() < end)
		;
	assert_int_equal(proc_read(getpid(), &after), 0);
	assert_true(after.cpu_ns > before.cpu_ns);
	assert_true(after.cpu_ns - before.cpu_ns < 10 * NS_PER_S);
	assert_int_equal(proc_read(0x7ffffff0, &after), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hist_is_within_a_step_of_the_truth),
		cmocka_unit_test(hist_takes_any_value),
		cmocka_unit_test(hists_merge_by_adding),
		cmocka_unit_test(ledger_tells_new_late_and_copies),
		cmocka_unit_test(stamp_comes_back),
		cmocka_unit_test(packets_are_those_of_the_description),
		cmocka_unit_test(acknowledgement_has_epoch_and_id),
		cmocka_unit_test(batch_is_taken_apart),
		cmocka_unit_test(json_is_found_by_its_marks),
		cmocka_unit_test(upgrade_is_waited_for),
		cmocka_unit_test(cpu_time_is_counted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
