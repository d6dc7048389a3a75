/* SPDX-License-Identifier: MIT */
/* The inside of a config object, shared by prop*.c: one setting a property, in the order of the tables. */
#ifndef IMGO__BASE_PROP_H
#define IMGO__BASE_PROP_H

#include <imgo/config.h>

#include "base/buf.h"
#include "base/mem.h"

/* Later ones override earlier ones. */
enum imgo__setting_rank {
	IMGO__SET_NOT,
	IMGO__SET_DEFAULT,
	IMGO__SET_FILE,
	IMGO__SET_ENV,
	IMGO__SET_FLAG,
};

struct imgo__setting {
	const struct imgo_property *property;
	void *field;
	const char *value; /* as text; NULL: none */
	const char *origin;
	enum imgo__setting_rank rank;
};

struct imgo_config {
	struct imgo__arena arena;
	struct imgo_config_options options;
	struct imgo__setting *settings;
	size_t n_settings;
	enum imgo_config_verb verb;
	const char *file;
};

struct imgo__setting *imgo__config_find(const struct imgo_config *config, const char *key);
/* A formatted string in the config's arena; NULL: no memory. */
const char *imgo__config_printf(struct imgo_config *config, const char *fmt, ...) IMGO_PRINTF(2, 3);

/* Reads the file into the settings. */
int imgo__config_read_file(struct imgo_config *config, const char *path, struct imgo_error *error);

/* Checks the setting's text, and writes the field when `store`. */
int imgo__config_convert(
	struct imgo_config *config, const struct imgo__setting *setting, bool store, struct imgo_error *error);

/* "10s", "64k", "7" for a number of that type. */
void imgo__config_number(char out[32], enum imgo_property_type type, int64_t value);
/* The range of a number's field and bounds together. */
void imgo__config_bounds(const struct imgo_property *property, int64_t *min, int64_t *max);
/* The next word of a list from *at on; false at the end. */
bool imgo__config_next_item(const char **at, struct imgo_str *item);
/* The environment variable of a key, in the config's arena. */
const char *imgo__config_env_name(struct imgo_config *config, const char *key);

#endif
