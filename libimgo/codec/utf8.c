/* SPDX-License-Identifier: MIT */
/*
 * UTF-8 (RFC 3629), one byte at a time. Between two bytes of a sequence the state is what the next byte must
 * be: the number of bytes still to come, and the lowest and highest value allowed for the next one (which is
 * how overlong forms, surrogates and values above U+10FFFF are refused at the first byte that shows them).
 * Between sequences it is 0, and then eight ASCII bytes are taken at once.
 */
#include "codec/json.h"

#define STATE(more, low, high) ((uint32_t)(more) << 16 | (uint32_t)(low) << 8 | (uint32_t)(high))

static uint32_t lead(uint8_t b)
{
	switch (b) {
	case 0xE0:
		return STATE(2, 0xA0, 0xBF);
	case 0xED:
		return STATE(2, 0x80, 0x9F);
	case 0xF0:
		return STATE(3, 0x90, 0xBF);
	case 0xF4:
		return STATE(3, 0x80, 0x8F);
	default:
		return STATE(b < 0xE0 ? 1 : b < 0xF0 ? 2 : 3, 0x80, 0xBF);
	}
}

static bool step(uint32_t *state, uint8_t b)
{
	uint32_t more = *state >> 16;

	if (more == 0) {
		if (b < 0x80)
			return true;
		if (b < 0xC2 || b > 0xF4)
			return false;
		*state = lead(b);
		return true;
	}
	if (b < (*state >> 8 & 0xFF) || b > (*state & 0xFF))
		return false;
	*state = more == 1 ? 0 : STATE(more - 1, 0x80, 0xBF);
	return true;
}

bool imgo__utf8_feed(uint32_t *state, const void *p, size_t len)
{
	const uint8_t *at = p, *end = len ? at + len : at;

	while (at != end) {
		if (*state == 0) {
			uint64_t word;
			while (end - at >= 8 && (memcpy(&word, at, 8), (word & 0x8080808080808080u) == 0))
				at += 8;
			if (at == end)
				break;
		}
		if (!step(state, *at++))
			return false;
	}
	return true;
}

bool imgo__utf8_valid(const void *p, size_t len)
{
	uint32_t state = 0;

	return imgo__utf8_feed(&state, p, len) && imgo__utf8_complete(state);
}
