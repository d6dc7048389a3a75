/* SPDX-License-Identifier: MIT */
/* A stream of frames gives the same events however it is cut. First byte: who receives, and the size of the
 * cuts. */
#include "fuzz.h"

#include "base/buf.h"
#include "codec/json.h"
#include "codec/ws.h"

#define MESSAGE_MAX 300

static void note(struct imgo__buf *log, const struct imgo__ws_event *event, uint8_t message_op)
{
	uint8_t head[8] = {event->op};

	if (event->op == 0)
		return;
	CHECK(event->op >= IMGO__WS_CLOSE || message_op == 0);
	CHECK(event->payload.len <= (event->op < IMGO__WS_CLOSE ? MESSAGE_MAX : 125));
	if (event->op == IMGO__WS_TEXT || event->op == IMGO__WS_CLOSE)
		CHECK(imgo__utf8_valid(event->payload.p, event->payload.len));
	imgo__put16(head + 2, event->close_code);
	imgo__put32(head + 4, (uint32_t)event->payload.len);
	CHECK(imgo__buf_append(log, head, sizeof head) == 0 && imgo__buf_str(log, event->payload) == 0);
}

/* Feeds `step` more bytes each time. The log gets the events, and at last what the connection is closed with.
 */
static void receive(struct imgo__buf *log, bool server, const uint8_t *data, size_t size, size_t step)
{
	struct imgo__buf in = {0}, message = {0};
	struct imgo__ws ws = {0};
	size_t at = 0, need;
	ssize_t got = 0;
	uint16_t code = 0;

	while (got >= 0 && !ws.closed) {
		struct imgo__ws_event event;
		uint8_t *copy = copy_of(in.data, in.len);
		got = imgo__ws_decode(&ws, server, copy, in.len, MESSAGE_MAX, &message, &event, &code, &need);
		CHECK(got <= (ssize_t)in.len && message.len <= MESSAGE_MAX);
		if (got > 0) {
			note(log, &event, ws.message_op);
			imgo__buf_consume(&in, (size_t)got);
		}
		free(copy);
		if (got == 0) {
			CHECK(need > in.len && need <= 14 + MESSAGE_MAX);
			if (at == size)
				break;
			step = step < size - at ? step : size - at;
			CHECK(imgo__buf_append(&in, data + at, step) == 0);
			at += step;
		}
	}
	if (got < 0)
		CHECK(code && imgo__buf_append(log, &code, sizeof code) == 0);
	imgo__buf_free(&in);
	imgo__buf_free(&message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct imgo__buf whole = {0}, cut = {0};

	if (size < 2)
		return 0;
	receive(&whole, data[0] & 1, data + 1, size - 1, size);
	receive(&cut, data[0] & 1, data + 1, size - 1, 1 + (data[0] >> 1) % 17);
	CHECK(imgo_str_eq(imgo_strn(whole.data, whole.len), imgo_strn(cut.data, cut.len)));
	imgo__buf_free(&whole);
	imgo__buf_free(&cut);
	return 0;
}
