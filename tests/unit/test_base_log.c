/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/socket.h>
#include <unistd.h>

#include <imgo/error.h>
#include <imgo/log.h>

#include "base/mem.h"

static char fields[4096];
static int records;

static void keep(const struct imgo_log_record *record, void *user)
{
	assert_ptr_equal(user, &records);
	assert_true(record->wall_ms > 1600000000000u);
	snprintf(fields, sizeof(fields), "%s", record->fields);
	records++;
}

static struct imgo_log *new_log(enum imgo_log_level level)
{
	struct imgo_log *log;
	assert_int_equal(imgo_log_new(&log, level, keep, &records), 0);
	return log;
}

static void levels(void **state)
{
	struct imgo_log *log = new_log(IMGO_LOG_WARN);
	(void)state;
	records = 0;
	imgo_log_event(NULL, IMGO_LOG_ERROR, "m", "e", "%s", "x");
	imgo_log_event(log, IMGO_LOG_INFO, "m", "e", "%s", "x");
	assert_int_equal(records, 0);
	imgo_log_event(log, IMGO_LOG_WARN, "m", "e", "x=%s", "x");
	assert_int_equal(records, 1);
	imgo_log_set_level(log, IMGO_LOG_DEBUG);
	imgo_log_set_level(NULL, IMGO_LOG_DEBUG);
	imgo_log_event(log, IMGO_LOG_DEBUG, "m", "e", "x=%s", "y");
	assert_int_equal(records, 2);
	imgo_log_free(log);
	imgo_log_free(NULL);
	imgo__mem_fail_after(0);
	assert_int_equal(imgo_log_new(&log, IMGO_LOG_WARN, keep, NULL), IMGO_ENOMEM);
}

#define CHECK(expect, ...) \
	do { \
		imgo_log_event(log, IMGO_LOG_INFO, "m", "e", __VA_ARGS__); \
		assert_string_equal(fields, expect); \
	} while (0)

static void formats(void **state)
{
	struct imgo_log *log = new_log(IMGO_LOG_INFO);
	const char *volatile none = NULL;
	char buf[64];
	(void)state;
	CHECK("a=1 b=-2 c=4294967295 d=ff", "a=%d b=%i c=%u d=%x", 1, -2, UINT_MAX, 255);
	CHECK("a=1 b=18446744073709551615 c=-5 d=7 e=9", "a=%ld b=%llu c=%lld d=%zu e=%hhd", 1L, ULLONG_MAX, -5LL,
		(size_t)7, (signed char)9);
	CHECK("a=1.50 b=2.5", "a=%.2f b=%Lg", 1.5, 2.5L);
	CHECK("a=007 b=  7 c=7   d=+1", "a=%03d b=%3d c=%-4dd=%+d", 7, 7, 7, 1);
	CHECK("a=  7 b=0.333", "a=%*d b=%.*f", 3, 7, 3, 1 / 3.0);
	CHECK("a=100% b=c", "a=%d%% b=%c", 100, 'c');
	CHECK("a=(null)", "a=%s", none);
	CHECK("a=abc b=ab", "a=%s b=%.*s", "abc", 2, "abc");
	CHECK("a=abc b=a", "a=%5s b=%.1s", "abc", "abc");
	snprintf(buf, sizeof(buf), "p=%p", (void *)buf);
	CHECK(buf, "p=%p", (void *)buf);
	CHECK("", NULL);
	CHECK("a=1:", "a=%d:%s", 1, "");
	errno = ENOENT;
	CHECK("why=\"No such file or directory\" n=1", "why=%m n=%d", 1);
	imgo_log_free(log);
}

static void nothing_is_forged(void **state)
{
	struct imgo_log *log = new_log(IMGO_LOG_INFO);
	(void)state;
	CHECK("a=\"x\\nts=1 level=error\"", "a=%s", "x\nts=1 level=error");
	CHECK("a=\"\\\"\\\\\\x0d\\x09\\x01\\x7f\"", "a=%s", "\"\\\r\t\x01\x7f");
	CHECK("a=\"two words\" b=\"\"", "a=%s b=%s", "two words", "");
	CHECK("a=\"two words \\\" b=c\"", "a=\"%s\"", "two words \" b=c");
	CHECK("a=\"x=y\" b=1", "a=%s b=%d", "x=y", 1);
	CHECK("a=\"\\xc2\\x85\" b=\xc3\xa9", "a=\"%s\" b=%s", "\xc2\x85", "\xc3\xa9");
	CHECK("a=\"\\n\"", "a=%c", '\n');
	imgo_log_free(log);
}

static void long_fields_are_cut(void **state)
{
	struct imgo_log *log = new_log(IMGO_LOG_INFO);
	char big[5000];
	(void)state;
	memset(big, '\n', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	imgo_log_event(log, IMGO_LOG_INFO, "m", "e", "a=%s b=%d", big, 1);
	assert_true(strlen(fields) < 2048);
	assert_string_equal(fields + strlen(fields) - 15, "\\n\" truncated=1");
	memset(big, 'x', sizeof(big) - 1);
	imgo_log_event(log, IMGO_LOG_INFO, "m", "e", "a=%s b=%d", big, 1);
	assert_string_equal(fields + strlen(fields) - 13, "x truncated=1");
	imgo_log_free(log);
}

static void fd_sink(void **state)
{
	struct imgo_log *log;
	char line[8192];
	int fd[2], lost = 0, n;
	ssize_t got;
	(void)state;
	assert_int_equal(pipe(fd), 0);
	assert_int_equal(imgo_log_new(&log, IMGO_LOG_INFO, imgo_log_fd_sink, &fd[1]), 0);
	imgo_log_event(log, IMGO_LOG_WARN, "hub", "accept-paused", "fds=%d", 5);
	got = read(fd[0], line, sizeof(line) - 1);
	assert_true(got > 0);
	line[got] = '\0';
	assert_int_equal(strlen("ts=2024-01-01T00:00:00.000Z"), strchr(line, ' ') - line);
	assert_string_equal(strchr(line, ' '), " level=warn module=hub event=accept-paused fds=5\n");
	/* A blocking pipe that nobody reads: the sink must come back, and count. */
	for (n = 0; n < 3000; n++)
		imgo_log_event(log, IMGO_LOG_ERROR, "m", "flood", "%0100d", n);
	assert_int_equal(fcntl(fd[0], F_SETFL, O_NONBLOCK), 0);
	for (n = 0; (got = read(fd[0], line, sizeof(line))) > 0;) {
		for (ssize_t i = 0; i < got; i++)
			n += line[i] == '\n';
	}
	assert_true(n > 10 && n < 3000);
	imgo_log_event(log, IMGO_LOG_INFO, "m", "e", "a=b");
	got = read(fd[0], line, sizeof(line) - 1);
	line[got] = '\0';
	assert_non_null(strstr(line, " a=b dropped="));
	sscanf(strstr(line, "dropped="), "dropped=%d", &lost);
	assert_int_equal(lost, 3000 - n);
	imgo_log_event(log, IMGO_LOG_INFO, "m", "e", NULL);
	got = read(fd[0], line, sizeof(line) - 1);
	line[got] = '\0';
	assert_null(strstr(line, "dropped="));
	close(fd[0]);
	imgo_log_event(log, IMGO_LOG_INFO, "m", "e", "a=b"); /* nobody at the other end: no SIGPIPE */
	close(fd[1]);
	imgo_log_event(log, IMGO_LOG_INFO, "m", "e", "a=b");
	imgo_log_free(log);
}

static void fd_sink_socket(void **state)
{
	struct imgo_log *log;
	char big[2000], line[65536];
	int fd[2];
	ssize_t got;
	(void)state;
	memset(big, 'x', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	assert_int_equal(imgo_log_new(&log, IMGO_LOG_INFO, imgo_log_fd_sink, &fd[1]), 0);
	for (int i = 0; i < 2000; i++)
		imgo_log_event(log, IMGO_LOG_INFO, "m", "e", "a=%s", big);
	assert_int_equal(fcntl(fd[0], F_SETFL, O_NONBLOCK), 0);
	while (read(fd[0], line, sizeof(line)) > 0)
		;
	imgo_log_event(log, IMGO_LOG_INFO, "m", "e", "a=b");
	got = read(fd[0], line, sizeof(line) - 1);
	assert_true(got > 0);
	line[got] = '\0';
	assert_non_null(strstr(line, "dropped="));
	close(fd[0]);
	imgo_log_event(log, IMGO_LOG_INFO, "m", "e", "a=b");
	close(fd[1]);
	imgo_log_free(log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(levels),
		cmocka_unit_test(formats),
		cmocka_unit_test(nothing_is_forged),
		cmocka_unit_test(long_fields_are_cut),
		cmocka_unit_test(fd_sink),
		cmocka_unit_test(fd_sink_socket),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
