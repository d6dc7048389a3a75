/* SPDX-License-Identifier: MIT */
/* Against a decoder written the other way round: compute the code point, then judge it. In one piece and in
 * two. */
#include "fuzz.h"

#include "codec/json.h"

static bool reference(const uint8_t *p, size_t len)
{
	static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};

	for (size_t i = 0; i < len; i++) {
		size_t n = p[i] < 0x80 ? 0 : (p[i] & 0xE0) == 0xC0 ? 1 : (p[i] & 0xF0) == 0xE0 ? 2 : 3;
		uint32_t c = n ? p[i] & (0x3F >> n) : p[i];
		if ((n == 3 && (p[i] & 0xF8) != 0xF0) || n >= len - i)
			return false;
		for (size_t k = 0; k < n; k++) {
			if ((p[++i] & 0xC0) != 0x80)
				return false;
			c = c << 6 | (p[i] & 0x3F);
		}
		if (c < least[n] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
			return false;
	}
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = copy_of(data, size);
	bool want = reference(data, size);
	size_t cut = size ? data[0] % size : 0;
	uint32_t state = 0;

	CHECK(imgo__utf8_valid(copy, size) == want);
	CHECK((imgo__utf8_feed(&state, copy, cut) && imgo__utf8_feed(&state, copy + cut, size - cut) &&
		      imgo__utf8_complete(state)) == want);
	free(copy);
	return 0;
}
