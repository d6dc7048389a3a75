/* SPDX-License-Identifier: MIT */
/* Compiled with -Dfailpoints=true only. The environment is read once, at the first point that is passed. */
#include "base/failpoint.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { POINTS_MAX = 32, EXIT_CODE = 86 };

enum action { ACTION_EXIT, ACTION_SLEEP, ACTION_ERR, ACTION_EVERY, ACTION_DELAY };

static struct point {
	char name[64];
	enum action action;
	unsigned value; /* milliseconds, or N of every */
	atomic_uint passed;
} points[POINTS_MAX];
static unsigned n_points;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static bool parse_action(struct point *point, const char *text)
{
	static const char *const names[] = {"exit", "sleep=", "err", "every=", "delay="};

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		size_t len = strlen(names[i]);
		if (strncmp(text, names[i], len) != 0)
			continue;
		point->action = (enum action)i;
		point->value = (unsigned)strtoul(text + len, NULL, 10);
		return true;
	}
	return false;
}

/* A misspelt failpoint would make a test pass for the wrong reason: it ends the process. */
static void parse(void)
{
	const char *env = getenv("IMGO_FAILPOINT");
	char text[1024], *save = NULL;

	if (env == NULL)
		return;
	if (strlen(env) >= sizeof(text))
		abort();
	strcpy(text, env);
	for (char *one = strtok_r(text, ",", &save); one; one = strtok_r(NULL, ",", &save)) {
		struct point *point = &points[n_points];
		char *colon = strchr(one, ':');
		if (colon == NULL || n_points == POINTS_MAX || (size_t)(colon - one) >= sizeof(point->name) ||
			!parse_action(point, colon + 1))
			abort();
		memcpy(point->name, one, (size_t)(colon - one));
		n_points++;
	}
}

static int act(struct point *point)
{
	switch (point->action) {
	case ACTION_EXIT:
		_exit(EXIT_CODE);
	case ACTION_SLEEP:
		usleep(point->value * 1000);
		return 0;
	case ACTION_ERR:
		return IMGO_EIO;
	case ACTION_EVERY:
		return point->value && (atomic_fetch_add(&point->passed, 1) + 1) % point->value == 0 ? IMGO_EIO : 0;
	case ACTION_DELAY:
		break;
	}
	return 0;
}

int imgo__failpoint(const char *name)
{
	int err = 0;

	pthread_once(&once, parse);
	for (unsigned i = 0; i < n_points; i++) {
		if (strcmp(points[i].name, name) == 0 && act(&points[i]) != 0)
			err = IMGO_EIO;
	}
	return err;
}

unsigned imgo__failpoint_delay_ms(const char *name)
{
	pthread_once(&once, parse);
	for (unsigned i = 0; i < n_points; i++) {
		if (strcmp(points[i].name, name) == 0 && points[i].action == ACTION_DELAY)
			return points[i].value;
	}
	return 0;
}
