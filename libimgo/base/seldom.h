/* SPDX-License-Identifier: MIT */
/* An event that may come ten thousand times a second has one line in the log every ten seconds, which says how many it
 * stands for. Zero-initialise. */
#ifndef IMGO__BASE_SELDOM_H
#define IMGO__BASE_SELDOM_H

#include <stdbool.h>
#include <stdint.h>

enum { IMGO__SELDOM_MS = 10000 };

struct imgo__seldom {
	uint64_t next_ms;
	uint32_t n;
};

/* It has happened again. True: say so now, *times since it was last said, this time among them. */
static inline bool imgo__seldom(struct imgo__seldom *seldom, uint64_t now_ms, uint32_t *times)
{
	seldom->n++;
	if (now_ms < seldom->next_ms)
		return false;
	*times = seldom->n;
	seldom->n = 0;
	seldom->next_ms = now_ms + IMGO__SELDOM_MS;
	return true;
}

#endif
