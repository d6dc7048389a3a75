/* SPDX-License-Identifier: MIT */
/*
 * One line is one event, whoever wrote the values: imgo_log_event walks the format itself, so that it knows
 * which bytes came from a %s. Those are escaped, and quoted where the format does not already quote them;
 * numbers go through snprintf. A caller can therefore hand over what a client sent as it is.
 */
#include <imgo/log.h>

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <imgo/error.h>

#include "base/mem.h"

struct imgo_log {
	_Atomic int level;
	imgo_log_sink *sink;
	void *user;
};

enum { FIELDS_MAX = 2048, TAIL = 32 /* kept free for the closing quote and " truncated=1" */ };

/* The fields as they grow. */
struct line {
	char text[FIELDS_MAX];
	size_t len;
	bool quoted; /* inside quotes */
	bool full;
};

int imgo_log_new(struct imgo_log **out, enum imgo_log_level level, imgo_log_sink *sink, void *user)
{
	struct imgo_log *log = imgo__zalloc(sizeof(*log));

	if (log == NULL)
		return IMGO_ENOMEM;
	atomic_init(&log->level, level);
	log->sink = sink;
	log->user = user;
	*out = log;
	return 0;
}

void imgo_log_free(struct imgo_log *log)
{
	free(log);
}

void imgo_log_set_level(struct imgo_log *log, enum imgo_log_level level)
{
	if (log)
		atomic_store_explicit(&log->level, level, memory_order_relaxed);
}

/* Adds a unit that must not be cut in two. */
static void put(struct line *line, const char *p, size_t len)
{
	if (line->full || line->len + len > sizeof(line->text) - TAIL) {
		line->full = true;
		return;
	}
	memcpy(line->text + line->len, p, len);
	line->len += len;
}

static void put_escaped(struct line *line, const unsigned char *p, size_t len)
{
	for (size_t i = 0; i < len && !line->full; i++) {
		char text[12];
		int n = 1;
		if (p[i] == 0xc2 && i + 1 < len && p[i + 1] >= 0x80 && p[i + 1] <= 0x9f) {
			n = snprintf(text, sizeof(text), "\\x%02x\\x%02x", p[i], p[i + 1]); /* U+0080 .. U+009F */
			i++;
		} else if (p[i] == '"' || p[i] == '\\') {
			n = snprintf(text, sizeof(text), "\\%c", p[i]);
		} else if (p[i] == '\n') {
			n = snprintf(text, sizeof(text), "\\n");
		} else if (p[i] < 0x20 || p[i] == 0x7f) {
			n = snprintf(text, sizeof(text), "\\x%02x", p[i]);
		} else {
			text[0] = (char)p[i];
		}
		put(line, text, (size_t)n);
	}
}

static bool needs_quotes(const unsigned char *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (p[i] <= ' ' || p[i] == '"' || p[i] == '\\' || p[i] == '=' || p[i] == 0x7f)
			return true;
	}
	return len == 0;
}

static void put_value(struct line *line, const char *value, int precision)
{
	size_t len;
	bool quote;

	if (value == NULL)
		value = "(null)";
	len = precision < 0 ? strlen(value) : strnlen(value, (size_t)precision);
	quote = !line->quoted && needs_quotes((const unsigned char *)value, len);
	if (len == 0 && (line->len == 0 || line->text[line->len - 1] != '='))
		quote = false; /* an empty value is key="", but an empty part of one is nothing */
	if (quote) {
		put(line, "\"", 1);
		line->quoted = true;
	}
	put_escaped(line, (const unsigned char *)value, len);
	if (quote && !line->full) {
		put(line, "\"", 1);
		line->quoted = false;
	}
}

/* One conversion of the format: flags, width and precision as digits, length modifier, letter. */
struct spec {
	char text[48];
	char size; /* 0, 'l', 'L' (ll and j), 'z', 'D' (long double) */
	int precision;
	char letter;
};

static const char *spec_number(struct spec *spec, size_t *n, const char *at, int from_args, int *value)
{
	*value = 0;
	if (*at == '*') {
		*value = from_args;
		at++;
	} else {
		while (*at >= '0' && *at <= '9' && *value < 10000)
			*value = *value * 10 + (*at++ - '0');
	}
	if (*value > 0)
		*n += (size_t)snprintf(spec->text + *n, 12, "%d", *value);
	return at;
}

static const char *spec_size(struct spec *spec, const char *at)
{
	for (; *at && strchr("hljzqtL", *at); at++) {
		if (*at == 'l')
			spec->size = spec->size == 'l' ? 'L' : 'l';
		else if (*at == 'j' || *at == 'q')
			spec->size = 'L';
		else if (*at == 'z' || *at == 't')
			spec->size = 'z';
		else if (*at == 'L')
			spec->size = 'D';
	}
	return at;
}

static const char *size_text(char size)
{
	switch (size) {
	case 'L':
		return "ll";
	case 'D':
		return "L";
	case 'z':
		return "z";
	default:
		return "l";
	}
}

static const char *spec_parse(struct spec *spec, const char *at, va_list *ap)
{
	size_t n = 0;
	int value;

	*spec = (struct spec){.precision = -1};
	spec->text[n++] = '%';
	for (; *at && strchr("-+ #0", *at) && n < 7; at++)
		spec->text[n++] = *at;
	at = spec_number(spec, &n, at, *at == '*' ? va_arg(*ap, int) : 0, &value);
	if (*at == '.') {
		at++;
		spec->text[n++] = '.';
		at = spec_number(spec, &n, at, *at == '*' ? va_arg(*ap, int) : 0, &spec->precision);
	}
	at = spec_size(spec, at);
	spec->letter = *at;
	if (spec->letter != 's' && spec->letter != 'c' && spec->size)
		n += (size_t)snprintf(spec->text + n, 3, "%s", size_text(spec->size));
	spec->text[n++] = *at;
	spec->text[n] = '\0';
	return *at ? at + 1 : at;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void put_number(struct line *line, const struct spec *spec, va_list *ap)
{
	char text[400];
	int n;

	if (strchr("diouxX", spec->letter)) {
		if (spec->size == 'L')
			n = snprintf(text, sizeof(text), spec->text, va_arg(*ap, long long));
		else if (spec->size)
			n = snprintf(text, sizeof(text), spec->text, va_arg(*ap, long));
		else
			n = snprintf(text, sizeof(text), spec->text, va_arg(*ap, int));
	} else if (strchr("aAeEfFgG", spec->letter)) {
		if (spec->size == 'D')
			n = snprintf(text, sizeof(text), spec->text, va_arg(*ap, long double));
		else
			n = snprintf(text, sizeof(text), spec->text, va_arg(*ap, double));
	} else {
		n = snprintf(text, sizeof(text), "%p", va_arg(*ap, void *));
	}
	if (n > 0)
		put(line, text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
}
#pragma GCC diagnostic pop

static void put_spec(struct line *line, const struct spec *spec, int errnum, va_list *ap)
{
	char c[2] = {0};

	switch (spec->letter) {
	case '%':
		put(line, "%", 1);
		return;
	case 's':
		put_value(line, va_arg(*ap, const char *), spec->precision);
		return;
	case 'm':
		put_value(line, strerror(errnum), -1);
		return;
	case 'c':
		c[0] = (char)va_arg(*ap, int);
		put_value(line, c, 1);
		return;
	default:
		put_number(line, spec, ap);
	}
}

static void format(struct line *line, const char *fmt, va_list *ap)
{
	int errnum = errno;

	while (*fmt && !line->full) {
		struct spec spec;
		if (*fmt != '%') {
			if (*fmt == '"')
				line->quoted = !line->quoted;
			if ((unsigned char)*fmt < 0x20)
				put_escaped(line, (const unsigned char *)fmt, 1);
			else
				put(line, fmt, 1);
			fmt++;
			continue;
		}
		fmt = spec_parse(&spec, fmt + 1, ap);
		put_spec(line, &spec, errnum, ap);
	}
	if (line->full) {
		const char *tail = line->quoted ? "\" truncated=1" : " truncated=1";
		memcpy(line->text + line->len, tail, strlen(tail));
		line->len += strlen(tail);
	}
	line->text[line->len] = '\0';
}

void imgo_log_event(struct imgo_log *log, enum imgo_log_level level, const char *module, const char *event,
	const char *fields_fmt, ...)
{
	struct imgo_log_record record = {.level = level, .module = module, .event = event};
	struct line line;
	struct timespec now;
	va_list ap;

	if (log == NULL || (int)level > atomic_load_explicit(&log->level, memory_order_relaxed))
		return;
	line.len = 0;
	line.quoted = line.full = false;
	va_start(ap, fields_fmt);
	format(&line, fields_fmt ? fields_fmt : "", &ap);
	va_end(ap);
	clock_gettime(CLOCK_REALTIME, &now);
	record.wall_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	record.fields = line.text;
	log->sink(&record, log->user);
}

/*
 * The descriptor sink. The descriptor may be shared with others and in blocking mode, and its mode is not
 * ours to change; so a socket gets MSG_DONTWAIT, and anything else is written to only when poll says that
 * PIPE_BUF bytes will go through at once. The lock is never held while blocking. What was lost is remembered
 * for a descriptor's number.
 */
enum { FDS = 64 };

static pthread_mutex_t sink_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
	unsigned long dropped; /* since the last line that got through */
	uint64_t lost;         /* ever */
	bool torn;             /* a socket took part of a line */
} sinks[FDS];

static ssize_t write_now(int fd, const char *p, size_t len)
{
	struct pollfd pfd = {.fd = fd, .events = POLLOUT};
	ssize_t n = send(fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n >= 0 || errno != ENOTSOCK)
		return n;
	if (poll(&pfd, 1, 0) != 1 || (pfd.revents & (POLLERR | POLLHUP | POLLNVAL)))
		return -1;
	return write(fd, p, len);
}

static size_t compose(char *line, size_t size, const struct imgo_log_record *record, unsigned long dropped, bool torn)
{
	static const char *const levels[] = {"error", "error", "warn", "info", "debug"};
	time_t seconds = (time_t)(record->wall_ms / 1000);
	char when[32], lost[40] = "";
	struct tm tm;
	int n;

	gmtime_r(&seconds, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	if (dropped)
		snprintf(lost, sizeof(lost), " dropped=%lu", dropped);
	n = snprintf(line, size, "%sts=%s.%03uZ level=%s module=%s event=%s%s%s%s", torn ? "\n" : "", when,
		(unsigned)(record->wall_ms % 1000),
		levels[record->level >= IMGO_LOG_ERROR && record->level <= IMGO_LOG_DEBUG ? record->level : 0],
		record->module, record->event, *record->fields ? " " : "", record->fields, lost);
	if (n < 0)
		return 0;
	if ((size_t)n >= size - 1)
		n = (int)size - 2;
	line[n] = '\n';
	return (size_t)n + 1;
}

void imgo_log_fd_sink(const struct imgo_log_record *record, void *user)
{
	int fd = *(const int *)user;
	unsigned i = (unsigned)fd % FDS;
	int saved = errno;
	char line[PIPE_BUF];
	ssize_t n;
	size_t len;

	pthread_mutex_lock(&sink_lock);
	len = compose(line, sizeof(line), record, sinks[i].dropped, sinks[i].torn);
	n = write_now(fd, line, len);
	if (n <= 0) {
		sinks[i].dropped++;
		sinks[i].lost++;
	} else {
		sinks[i].torn = (size_t)n < len;
		sinks[i].dropped = sinks[i].torn ? 1 : 0;
		sinks[i].lost += sinks[i].torn;
	}
	pthread_mutex_unlock(&sink_lock);
	errno = saved;
}

uint64_t imgo_log_fd_dropped(int fd)
{
	uint64_t lost;

	pthread_mutex_lock(&sink_lock);
	lost = sinks[(unsigned)fd % FDS].lost;
	pthread_mutex_unlock(&sink_lock);
	return lost;
}
