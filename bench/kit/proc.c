/* SPDX-License-Identifier: MIT */
/* CPU time comes from the process's own clock, to the nanosecond; /proc/PID/stat only tells user from system. */
#include "proc.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"

static int read_file(pid_t pid, const char *name, char *text, size_t size)
{
	char path[64];
	size_t n;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
	f = fopen(path, "r");
	if (!f)
		return -1;
	n = fread(text, 1, size - 1, f);
	text[n] = '\0';
	fclose(f);
	return n > 0 ? 0 : -1;
}

static void read_stat(const char *text, struct proc *out)
{
	double tick = (double)sysconf(_SC_CLK_TCK);
	const char *p = strrchr(text, ')');
	unsigned long user = 0, system = 0;

	if (p && sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) == 2) {
		out->user = (double)user / tick;
		out->system = (double)system / tick;
	}
}

int proc_read(pid_t pid, struct proc *out)
{
	unsigned long pages = 0;
	unsigned long long wait = 0;
	struct timespec t;
	clockid_t clock;
	char text[2048];

	*out = (struct proc){0};
	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t))
		return -1;
	out->cpu_ns = (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
	if (read_file(pid, "stat", text, sizeof text))
		return -1;
	read_stat(text, out);
	if (read_file(pid, "statm", text, sizeof text) || sscanf(text, "%*u %lu", &pages) != 1)
		return -1;
	out->rss = (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
	if (read_file(pid, "schedstat", text, sizeof text) == 0 && sscanf(text, "%*u %llu", &wait) == 1)
		out->wait_ns = wait;
	return 0;
}

void machine_read(struct machine *out)
{
	unsigned long long v[8] = {0}; /* user nice system idle iowait irq softirq steal */
	double tick = (double)sysconf(_SC_CLK_TCK);
	FILE *f = fopen("/proc/stat", "r");

	*out = (struct machine){.cores = (int)sysconf(_SC_NPROCESSORS_ONLN)};
	if (!f)
		return;
	if (fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6],
		    &v[7]) == 8) {
		out->busy = (double)(v[0] + v[1] + v[2] + v[5] + v[6]) / tick;
		out->softirq = (double)v[6] / tick;
		out->steal = (double)v[7] / tick;
	}
	fclose(f);
}
