/* SPDX-License-Identifier: MIT */
/*
 * The packet of the TCP dialects. What the first bytes say is judged as soon as they are there, in the order
 * of the bytes, so that the verdict does not depend on how the stream was cut: 4 bytes give the total, 6 the
 * header's length.
 */
#include "codec/packet.h"

#include "base/buf.h"

#include <imgo/error.h>

static bool too_long(uint32_t total, uint32_t header, size_t body_max)
{
	return total > header && total - header > body_max;
}

/* 0 while nothing is wrong with the first len bytes, else the error. */
static int check(const uint8_t *data, size_t len, size_t body_max)
{
	uint32_t total;
	uint16_t header;

	if (len < 4)
		return 0;
	total = imgo__get32(data);
	if (total < IMGO__PACKET_HEADER)
		return IMGO_EPROTO;
	if (too_long(total, IMGO__PACKET_HEADER2, body_max))
		return IMGO_ELIMIT;
	if (len < 6)
		return 0;
	header = imgo__get16(data + 4);
	if ((header != IMGO__PACKET_HEADER && header != IMGO__PACKET_HEADER2) || total < header)
		return IMGO_EPROTO;
	return too_long(total, header, body_max) ? IMGO_ELIMIT : 0;
}

ssize_t imgo__packet_decode(const uint8_t *data, size_t len, size_t body_max, struct imgo__packet *out, size_t *need)
{
	int rc = check(data, len, body_max);
	size_t header;

	if (rc)
		return rc;
	*need = len < 4 ? IMGO__PACKET_HEADER : imgo__get32(data);
	if (len < *need)
		return 0;
	header = imgo__get16(data + 4);
	*out = (struct imgo__packet){
		.ver = imgo__get16(data + 6),
		.op = (int32_t)imgo__get32(data + 8),
		.seq = (int32_t)imgo__get32(data + 12),
		.has_id = header == IMGO__PACKET_HEADER2,
		.body = imgo_strn(data + header, *need - header),
	};
	if (out->has_id)
		out->id = (struct imgo_id){imgo__get32(data + 16), imgo__get64(data + 20)};
	return (ssize_t)*need;
}

size_t imgo__packet_header(const struct imgo__packet *packet, uint8_t out[IMGO__PACKET_HEADER2])
{
	size_t header = packet->has_id ? IMGO__PACKET_HEADER2 : IMGO__PACKET_HEADER;

	imgo__put32(out, (uint32_t)(header + packet->body.len));
	imgo__put16(out + 4, (uint16_t)header);
	imgo__put16(out + 6, packet->ver);
	imgo__put32(out + 8, (uint32_t)packet->op);
	imgo__put32(out + 12, (uint32_t)packet->seq);
	if (packet->has_id) {
		imgo__put32(out + 16, packet->id.epoch);
		imgo__put64(out + 20, packet->id.id);
	}
	return header;
}
