/* SPDX-License-Identifier: MIT */
/*
 * The store's records: what decodes encodes to the same bytes, and a log that decodes survives operations.
 * The first byte says which record; the checksum is made right here, for otherwise nothing would ever get
 * past it.
 */
#include "fuzz.h"

#include "store/record.h"
#include "store/wire.h"

static const struct imgo_str user = {"u", 1};

static void log_record(const uint8_t *p, size_t len)
{
	struct imgo_store_options o = IMGO_STORE_OPTIONS_INIT;
	struct imgo__userlog_ctx ctx = {.options = &o, .now_ms = 1700000000000};
	struct imgo__userlog_append append = {.id = {1, 1000}, .at_ms = ctx.now_ms, .size = 10};
	struct imgo__userlog_plan plan;
	struct imgo__userlog log;
	struct imgo__buf buf = {0};
	if (imgo__userlog_decode(&log, user, p, len))
		return;
	CHECK(imgo__userlog_encode(&log, user, &buf) == 0);
	CHECK(buf.len == len && memcmp(buf.data, p, len) == 0);
	imgo__userlog_plan(&log, imgo_str("d"), (struct imgo_id){1, 5}, 10, 100, &plan);
	CHECK(plan.n <= log.nlive);
	(void)imgo__userlog_due(&log, &o);
	CHECK(imgo__userlog_append(&log, &ctx, &append) == 0);
	CHECK(imgo__userlog_ack(&log, &ctx, imgo_str("d"), append.id) == 0);
	buf.len = 0;
	CHECK(imgo__userlog_encode(&log, user, &buf) == 0);
	imgo__userlog_fini(&log);
	CHECK(imgo__userlog_decode(&log, user, buf.data, buf.len) == 0);
	imgo__userlog_fini(&log);
	imgo__buf_free(&buf);
}

static void token_record(const uint8_t *p, size_t len)
{
	struct imgo_store_token token;
	struct imgo__buf buf = {0};
	memset(&token, 'h', sizeof token);
	if (imgo__token_decode(&token, p, len) == 0) {
		CHECK(imgo__token_encode(&token, &buf) == 0);
		CHECK(buf.len == len && memcmp(buf.data, p, len) == 0);
	}
	imgo__buf_free(&buf);
}

static void tokenlist_record(const uint8_t *p, size_t len)
{
	struct imgo_store_token token = {.user = user, .device = {"d", 1}, .id = {1, 7}};
	struct imgo__tokenlist list;
	struct imgo__buf buf = {0};
	if (imgo__tokenlist_decode(&list, user, p, len))
		return;
	CHECK(imgo__tokenlist_encode(&list, user, &buf) == 0);
	CHECK(buf.len == len && memcmp(buf.data, p, len) == 0);
	CHECK(imgo__tokenlist_put(&list, &token, 1700000000000) >= 0);
	CHECK(list.n <= IMGO_STORE_DEVICES_MAX);
	imgo__tokenlist_fini(&list);
	imgo__buf_free(&buf);
}

/* A body's checksum is not at its end, but in its head. */
static void body_record(uint8_t *p, size_t len)
{
	enum { CRC_AT = IMGO__BODY_HEAD_LEN - IMGO__WIRE_CRC_LEN };
	struct imgo__userlog_item item = {.tag = {'t', 't', 't', 't', 't', 't', 't', 't'}};
	struct imgo_store_message message;
	if (len >= IMGO__BODY_HEAD_LEN) {
		uint32_t crc = imgo__crc32c(0, p, CRC_AT);
		imgo__put32(p + CRC_AT, imgo__crc32c(crc, p + IMGO__BODY_HEAD_LEN, len - IMGO__BODY_HEAD_LEN));
	}
	if (imgo__body_decode(&message, &item, p, len) == 0)
		CHECK(message.data.len == len - IMGO__BODY_HEAD_LEN);
}

static void marker_record(const uint8_t *p, size_t len)
{
	struct imgo__marker marker = imgo__marker_decode(1, p, len);
	if (marker.state != IMGO_MARKER_MISSING) {
		uint8_t bytes[IMGO__MARKER_LEN];
		imgo__marker_encode(marker, 1, bytes);
		CHECK(len == sizeof bytes && memcmp(bytes, p, len) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	size_t len = size - 1;
	uint8_t *record = malloc(len + IMGO__WIRE_CRC_LEN);
	CHECK(record);
	if (len)
		memcpy(record, data + 1, len);
	imgo__put32(record + len, imgo__crc32c(0, record, len));
	len += IMGO__WIRE_CRC_LEN;
	switch (data[0] % 5) {
	case 0:
		log_record(record, len);
		break;
	case 1:
		token_record(record, len);
		break;
	case 2:
		tokenlist_record(record, len);
		break;
	case 3:
		marker_record(record, len);
		break;
	case 4:
		body_record(record, len);
		break;
	}
	free(record);
	return 0;
}
