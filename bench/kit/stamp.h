/* SPDX-License-Identifier: MIT */
/*
 * What a benchmark's message says of itself, so that its receiver can tell how long it took, and whether any is lost, comes
 * twice or out of order:
 *
 *	{"m":"RRRRSSSSSSNNNNNNNNTTTTTTTTTTTTTTTT....."}
 *
 * in hexadecimal the run, the stream (a room or a user), the number in the stream, and the time in nanoseconds at which it was
 * to be sent; then dots up to the size asked for. It is JSON without spaces, so it crosses any dialect as it is.
 */
#ifndef BENCH_STAMP_H
#define BENCH_STAMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STAMP_MIN = 6 + 34 + 2, STAMP_MAX = 64 * 1024 };
#define STAMP_MARK "{\"m\":\""

struct stamp {
	uint32_t run, stream, number;
	uint64_t intended_ns;
};

/* Writes exactly `size` bytes (STAMP_MIN to STAMP_MAX), no zero after them. */
void stamp_write(char *out, size_t size, const struct stamp *stamp);
/* From the first byte of the mark on. False: that is not a stamp. */
bool stamp_read(const char *text, size_t len, struct stamp *out);

#endif
