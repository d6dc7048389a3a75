/* SPDX-License-Identifier: MIT */
/*
 * What one receiver has of one stream of messages, which are numbered from 0: each is counted as new, as a copy of one that
 * came before, or as new but out of order. It remembers the last 64 numbers; what is older than that and comes again counts
 * as a copy.
 */
#ifndef BENCH_LEDGER_H
#define BENCH_LEDGER_H

#include <stdint.h>

struct ledger {
	uint32_t next; /* one above the highest number that came */
	uint32_t got;  /* different ones */
	uint64_t seen; /* bit i: next - 1 - i came */
};

enum ledger_note { LEDGER_NEW, LEDGER_COPY, LEDGER_LATE /* new, after a higher one */ };

static inline enum ledger_note ledger_add(struct ledger *l, uint32_t number)
{
	if (number >= l->next) {
		uint32_t step = number - l->next + 1;
		l->seen = (step < 64 ? l->seen << step : 0) | 1;
		l->next = number + 1;
		l->got++;
		return LEDGER_NEW;
	}
	uint32_t back = l->next - 1 - number;
	if (back >= 64 || (l->seen >> back & 1))
		return LEDGER_COPY;
	l->seen |= 1ull << back;
	l->got++;
	return LEDGER_LATE;
}

#endif
