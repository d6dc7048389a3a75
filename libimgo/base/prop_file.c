/* SPDX-License-Identifier: MIT */
/*
 * The file, by inih. Our reader hands it the lines, because inih neither tells the handler the number of the
 * line nor notices a line that does not fit its buffer: it would take the rest for another line.
 *
 * inih calls the handler again, with the same key, for each indented line that goes on with a value.
 */
#include "base/prop.h"

#include <errno.h>
#include <stdio.h>

#include <ini.h>

#include "base/error.h"

struct reading {
	struct imgo_config *config;
	const char *path;
	FILE *file;
	int line;
	int error_line; /* of the first mistake that we found; 0: none */
	int err;
	struct imgo_error error;
};

#define MISTAKE(r, code, ...) \
	do { \
		if ((r)->error_line == 0) { \
			(r)->error_line = (r)->line; \
			(r)->err = imgo__fail(&(r)->error, code, __VA_ARGS__); \
		} \
	} while (0)

/* As fgets. */
static char *read_line(char *line, int size, void *user)
{
	struct reading *r = user;
	int n = 0, c;

	r->line++;
	while ((c = getc(r->file)) != EOF && c != '\n') {
		if (c == '\0')
			MISTAKE(r, IMGO_EINVAL, "%s:%d: a NUL byte", r->path, r->line);
		if (n < size - 2)
			line[n++] = (char)c;
		else
			MISTAKE(r, IMGO_EINVAL, "%s:%d: the line is longer than %d bytes", r->path, r->line, size - 2);
	}
	if (c == EOF && n == 0)
		return NULL;
	line[n++] = '\n';
	line[n] = '\0';
	return line;
}

/* A value that a list already has from this file is gone on with. */
static const char *value_of(struct reading *r, const struct imgo__setting *setting, const char *value)
{
	if (setting->rank != IMGO__SET_FILE)
		return imgo__config_printf(r->config, "%s", value);
	if (setting->property->type == IMGO_PROPERTY_LIST)
		return imgo__config_printf(r->config, "%s,%s", setting->value, value);
	MISTAKE(r, IMGO_EINVAL, "%s:%d: %s is set twice (first at %s), or a line is indented", r->path, r->line,
		setting->property->name, setting->origin);
	return "";
}

static int on_value(void *user, const char *section, const char *name, const char *value)
{
	struct reading *r = user;
	struct imgo__setting *setting;
	char key[160];

	if (r->error_line)
		return 0;
	snprintf(key, sizeof(key), "%s%s%s", section, *section ? "." : "", name);
	setting = imgo__config_find(r->config, key);
	if (setting == NULL) {
		MISTAKE(r, IMGO_EINVAL, "%s:%d: unknown key %s", r->path, r->line, key);
		return 0;
	}
	if (setting->rank > IMGO__SET_FILE)
		return 1;
	value = value_of(r, setting, value);
	if (r->error_line)
		return 0;
	if (setting->rank != IMGO__SET_FILE)
		setting->origin = imgo__config_printf(r->config, "%s:%d", r->path, r->line);
	if (value == NULL || setting->origin == NULL) {
		MISTAKE(r, IMGO_ENOMEM, "no memory for the configuration");
		return 0;
	}
	setting->value = value;
	setting->rank = IMGO__SET_FILE;
	return 1;
}

int imgo__config_read_file(struct imgo_config *config, const char *path, struct imgo_error *error)
{
	struct reading r = {.config = config, .path = path, .file = fopen(path, "re")};
	int syntax_line, io;

	if (r.file == NULL)
		return imgo__fail(error, errno == ENOENT ? IMGO_ENOTFOUND : IMGO_EIO, "%.150s: %s", path, strerror(errno));
	errno = 0;
	syntax_line = ini_parse_stream(read_line, &r, on_value, &r);
	io = ferror(r.file) ? errno : 0;
	fclose(r.file);
	if (io)
		return imgo__fail(error, IMGO_EIO, "%.150s: %s", path, strerror(io));
	if (syntax_line > 0 && (r.error_line == 0 || syntax_line < r.error_line))
		return imgo__fail(error, IMGO_EINVAL, "%.150s:%d: neither [section], key = value nor ; comment", path,
			syntax_line);
	if (syntax_line < 0)
		return imgo__fail(error, IMGO_ENOMEM, "no memory for the configuration");
	if (r.error_line && error)
		*error = r.error;
	return r.err;
}
