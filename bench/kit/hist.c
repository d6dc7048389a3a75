/* SPDX-License-Identifier: MIT */
/*
 * Values below 64 have a cell each. Above, the cell of a value is given by its highest bit and the six bits after it.
 */
#include "hist.h"

#include <math.h>

static unsigned cell_of(uint64_t value)
{
	if (value < HIST_STEPS)
		return (unsigned)value;
	unsigned shift = 57 - (unsigned)__builtin_clzll(value);
	return (shift + 1) * HIST_STEPS + (unsigned)(value >> shift & (HIST_STEPS - 1));
}

/* The largest value of a cell. */
static uint64_t top_of(unsigned cell)
{
	if (cell < HIST_STEPS)
		return cell;
	unsigned shift = cell / HIST_STEPS - 1;
	return ((uint64_t)(HIST_STEPS + cell % HIST_STEPS) << shift) + (1ull << shift) - 1;
}

void hist_add(struct hist *h, uint64_t value)
{
	h->cells[cell_of(value)]++;
	h->n++;
	h->sum += value;
	if (value > h->max)
		h->max = value;
}

void hist_merge(struct hist *into, const struct hist *from)
{
	for (unsigned i = 0; i < HIST_CELLS; i++)
		into->cells[i] += from->cells[i];
	into->n += from->n;
	into->sum += from->sum;
	if (from->max > into->max)
		into->max = from->max;
}

uint64_t hist_at(const struct hist *h, double percent)
{
	uint64_t rank = (uint64_t)ceil(percent / 100 * (double)h->n), seen = 0;

	if (rank == 0)
		rank = 1;
	for (unsigned i = 0; i < HIST_CELLS; i++) {
		seen += h->cells[i];
		if (seen >= rank)
			return top_of(i) < h->max ? top_of(i) : h->max;
	}
	return h->max;
}
