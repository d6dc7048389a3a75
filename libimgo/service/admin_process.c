/* SPDX-License-Identifier: MIT */
/* The process's figures, under the names that Prometheus's own clients use. What /proc does not tell is left out. */
#include "service/admin_impl.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static bool read_file(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	return true;
}

static int figure(struct imgo__buf *out, const char *name, const char *type, const char *help, double value)
{
	return imgo__buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %.15g\n", name, help, name, type, name, value);
}

static int memory(struct imgo__buf *out)
{
	unsigned long pages, resident;
	double page = (double)sysconf(_SC_PAGESIZE);
	char text[256];
	int err;

	if (!read_file("/proc/self/statm", text, sizeof text) || sscanf(text, "%lu %lu", &pages, &resident) != 2)
		return 0;
	err = figure(out, "process_resident_memory_bytes", "gauge", "resident memory", (double)resident * page);
	return err ? err : figure(out, "process_virtual_memory_bytes", "gauge", "address space", (double)pages * page);
}

static int descriptors(struct imgo__buf *out)
{
	DIR *dir = opendir("/proc/self/fd");
	struct rlimit limit;
	unsigned n = 0;
	int err = 0;

	while (dir && readdir(dir))
		n++;
	if (dir) {
		closedir(dir);
		err = figure(out, "process_open_fds", "gauge", "open descriptors", n > 3 ? n - 3 : 0); /* ., .. and dir */
	}
	if (err == 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0)
		err = figure(out, "process_max_fds", "gauge", "limit of open descriptors", (double)limit.rlim_cur);
	return err;
}

/* Field 20 is the number of threads, field 22 the start in ticks after boot. */
static int start_and_threads(struct imgo__buf *out)
{
	unsigned long long ticks;
	struct timespec boot, now;
	char text[1024], *at;
	double start;
	long threads;
	int err;

	if (!read_file("/proc/self/stat", text, sizeof text) || !(at = strrchr(text, ')')) ||
		sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %ld %*d %llu",
			&threads, &ticks) != 2)
		return 0;
	clock_gettime(CLOCK_BOOTTIME, &boot);
	clock_gettime(CLOCK_REALTIME, &now);
	start = (double)(now.tv_sec - boot.tv_sec) + (double)(now.tv_nsec - boot.tv_nsec) / 1e9 +
		(double)ticks / (double)sysconf(_SC_CLK_TCK);
	err = figure(out, "process_threads", "gauge", "threads", (double)threads);
	return err ? err : figure(out, "process_start_time_seconds", "gauge", "start, in seconds since 1970", start);
}

int imgo__admin_process_text(struct imgo__buf *out)
{
	struct rusage usage;
	int err = 0;

	if (getrusage(RUSAGE_SELF, &usage) == 0)
		err = figure(out, "process_cpu_seconds_total", "counter", "processor time, user and system",
			(double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
				(double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
	if (err == 0)
		err = memory(out);
	if (err == 0)
		err = descriptors(out);
	return err ? err : start_and_threads(out);
}
