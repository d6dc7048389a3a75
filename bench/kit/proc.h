/* SPDX-License-Identifier: MIT */
/* What /proc and the clocks say of other processes, and of the machine. */
#ifndef BENCH_PROC_H
#define BENCH_PROC_H

#include <stdint.h>
#include <sys/types.h>

struct proc {
	uint64_t cpu_ns;     /* user and system, all threads, exact */
	double user, system; /* seconds, as /proc has them: in ticks of 10 ms */
	uint64_t rss;        /* bytes */
	uint64_t wait_ns;    /* for a processor, the main thread */
};

/* -1: there is no such process, or it may not be looked at. */
int proc_read(pid_t pid, struct proc *out);

/* CPU time that the machine spent on anything, seconds, all cores; of that on soft interrupts; and stolen from it. */
struct machine {
	double busy, softirq, steal;
	int cores;
};
void machine_read(struct machine *out);

#endif
