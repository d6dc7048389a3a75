/* SPDX-License-Identifier: MIT */
/*
 * Logs. The library is a quiet guest: without a sink it says nothing, and it never writes to stdio by itself.
 * A record is one event: a module, an event name and key=value fields, formatted once.
 */
#ifndef IMGO_LOG_H
#define IMGO_LOG_H

#include <stdint.h>

#include <imgo/version.h>

#ifdef __cplusplus
extern "C" {
#endif

enum imgo_log_level {
	IMGO_LOG_ERROR = 1, /* something is lost or cannot go on; a person must act */
	IMGO_LOG_WARN = 2,  /* something is refused, retried or degraded */
	IMGO_LOG_INFO = 3,  /* noteworthy and rare: start, stop, a peer came or went */
	IMGO_LOG_DEBUG = 4, /* for developers; never message bodies or tokens */
};

/* One record. The strings live until the sink returns. */
struct imgo_log_record {
	enum imgo_log_level level;
	uint64_t wall_ms;   /* since 1970 */
	const char *module; /* e.g. "hub" */
	const char *event;  /* e.g. "accept-paused" */
	const char *fields; /* "key=value key=\"two words\"", or "" */
};

/* Called on the thread that logs, maybe on several at once. Must not call back into the library. */
typedef void imgo_log_sink(const struct imgo_log_record *record, void *user);

struct imgo_log;

/* Makes a log that hands records up to `level` to `sink`. *out is the caller's; free it after every object that uses
 * it. Errors: IMGO_ENOMEM. */
IMGO_API int imgo_log_new(struct imgo_log **out, enum imgo_log_level level, imgo_log_sink *sink, void *user);
IMGO_API void imgo_log_free(struct imgo_log *log);

/* Changes the level; any thread. */
IMGO_API void imgo_log_set_level(struct imgo_log *log, enum imgo_log_level level);

/*
 * Logs one event; log may be NULL (nothing happens). Any thread. fields_fmt makes the fields, as printf would, except
 * that the value of each %s (and %c) is escaped, and quoted where it must be and the format has no quotes around it:
 * bytes from a client can be handed over as they are, and "token=%.*s" is fine. NULL: no fields. No %n. Beyond 2 kB the
 * fields are cut.
 */
IMGO_API void imgo_log_event(struct imgo_log *log, enum imgo_log_level level, const char *module, const char *event,
	const char *fields_fmt, ...) IMGO_PRINTF(5, 6);

/*
 * A ready sink: one logfmt line a record, "ts=… level=… module=… event=… fields", to the file descriptor in
 * *(int *)user. It never blocks the caller: when the descriptor is not writable the record is dropped, and the next
 * line that gets through says how many were.
 */
IMGO_API void imgo_log_fd_sink(const struct imgo_log_record *record, void *user);

/* Lines that imgo_log_fd_sink could not write to this descriptor, in this process's life. Any thread. */
IMGO_API uint64_t imgo_log_fd_dropped(int fd);

#ifdef __cplusplus
}
#endif
#endif
