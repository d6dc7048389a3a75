/* SPDX-License-Identifier: MIT */
/*
 * Configuration. All sources are first gathered as text, one setting a property, a higher rank overriding a
 * lower one; then every text is converted once to see that it is right, and once more into the targets, so
 * that a mistake leaves those untouched.
 */
#include "base/prop.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"

static int no_memory(struct imgo_error *error)
{
	return imgo__fail(error, IMGO_ENOMEM, "no memory for the configuration");
}

const char *imgo__config_printf(struct imgo_config *config, const char *fmt, ...)
{
	va_list ap;
	char *text;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	text = n < 0 ? NULL : imgo__arena_alloc(&config->arena, (size_t)n + 1);
	if (text == NULL)
		return NULL;
	va_start(ap, fmt);
	vsnprintf(text, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return text;
}

static struct imgo__setting *find(const struct imgo_config *config, struct imgo_str key)
{
	for (size_t i = 0; i < config->n_settings; i++) {
		if (imgo_str_eq(imgo_str(config->settings[i].property->name), key))
			return &config->settings[i];
	}
	return NULL;
}

struct imgo__setting *imgo__config_find(const struct imgo_config *config, const char *key)
{
	return find(config, imgo_str(key));
}

/* ---- the tables ---- */

static bool field_fits(const struct imgo_property *p)
{
	switch (p->type) {
	case IMGO_PROPERTY_STRING:
		return p->field_bytes == sizeof(char *);
	case IMGO_PROPERTY_BOOL:
		return p->field_bytes == sizeof(bool);
	case IMGO_PROPERTY_ENUM:
		return p->field_bytes == sizeof(int) && p->values;
	case IMGO_PROPERTY_LIST:
		return p->field_bytes == sizeof(struct imgo_config_list);
	default:
		return p->field_bytes == 1 || p->field_bytes == 2 || p->field_bytes == 4 || p->field_bytes == 8;
	}
}

static int add_set(struct imgo_config *config, const struct imgo_config_set *set, struct imgo_error *error)
{
	for (const struct imgo_property *p = set->properties; p->name; p++) {
		if (imgo__config_find(config, p->name))
			return imgo__fail(error, IMGO_EINVAL, "the key %s is declared twice", p->name);
		if (!field_fits(p))
			return imgo__fail(error, IMGO_EINVAL, "the key %s has a field of another type", p->name);
		config->settings[config->n_settings++] = (struct imgo__setting){
			.property = p,
			.field = (char *)set->target + p->offset,
			.value = p->default_value,
			.origin = "default",
			.rank = p->default_value ? IMGO__SET_DEFAULT : IMGO__SET_NOT,
		};
	}
	return 0;
}

static int add_sets(struct imgo_config *config, const struct imgo_config_set *sets, size_t n_sets, struct imgo_error *error)
{
	size_t n = 0;
	int err = 0;

	for (size_t i = 0; i < n_sets; i++) {
		for (const struct imgo_property *p = sets[i].properties; p->name; p++)
			n++;
	}
	config->settings = imgo__arena_zalloc(&config->arena, n, sizeof(config->settings[0]));
	if (config->settings == NULL)
		return no_memory(error);
	for (size_t i = 0; i < n_sets && err == 0; i++)
		err = add_set(config, &sets[i], error);
	return err;
}

/* ---- flags ---- */

static const struct {
	const char *flag;
	enum imgo_config_verb verb;
} verbs[] = {
	{"--help", IMGO_CONFIG_HELP},
	{"-h", IMGO_CONFIG_HELP},
	{"--version", IMGO_CONFIG_VERSION},
	{"--check-config", IMGO_CONFIG_CHECK},
	{"--dump-config", IMGO_CONFIG_DUMP},
	{"--manual", IMGO_CONFIG_MANUAL},
};

static bool take_verb(struct imgo_config *config, const char *arg)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(arg, verbs[i].flag) != 0)
			continue;
		if (config->verb == IMGO_CONFIG_RUN)
			config->verb = verbs[i].verb;
		return true;
	}
	return false;
}

/* Takes argv[*i], which is not a verb, and its value if that is the next. */
static int take_flag(struct imgo_config *config, int argc, char *const *argv, int *i, struct imgo_error *error)
{
	const char *arg = argv[*i], *equals, *value;
	struct imgo__setting *setting;
	struct imgo_str key;
	bool is_file;

	if (strncmp(arg, "--", 2) != 0 || arg[2] == '\0')
		return imgo__fail(error, IMGO_EINVAL, "unexpected argument \"%.80s\" (see --help)", arg);
	equals = strchr(arg, '=');
	key = imgo_strn(arg + 2, equals ? (size_t)(equals - arg - 2) : strlen(arg + 2));
	is_file = imgo_str_eq(key, imgo_str("config"));
	setting = is_file ? NULL : find(config, key);
	if (!is_file && setting == NULL)
		return imgo__fail(error, IMGO_EINVAL, "unknown flag --%.*s (see --help)",
			(int)(key.len < 80 ? key.len : 80), key.p);
	if (equals)
		value = equals + 1;
	else if (setting && setting->property->type == IMGO_PROPERTY_BOOL)
		value = "true";
	else if (*i + 1 < argc)
		value = argv[++*i];
	else
		return imgo__fail(error, IMGO_EINVAL, "--%.*s needs a value", (int)(key.len < 80 ? key.len : 80), key.p);
	value = imgo__config_printf(config, "%s", value);
	if (value == NULL)
		return no_memory(error);
	if (is_file) {
		config->file = value;
		return 0;
	}
	setting->value = value;
	setting->rank = IMGO__SET_FLAG;
	setting->origin = imgo__config_printf(config, "--%s", setting->property->name);
	return setting->origin ? 0 : no_memory(error);
}

static int take_flags(struct imgo_config *config, int argc, char *const *argv, struct imgo_error *error)
{
	for (int i = 1; i < argc; i++) {
		int err = take_verb(config, argv[i]) ? 0 : take_flag(config, argc, argv, &i, error);
		if (err < 0)
			return err;
	}
	return 0;
}

/* ---- environment ---- */

const char *imgo__config_env_name(struct imgo_config *config, const char *key)
{
	char *name = (char *)imgo__config_printf(config, "%s%s", config->options.env_prefix, key);

	for (char *c = name ? name + strlen(config->options.env_prefix) : NULL; c && *c; c++)
		*c = *c == '.' || *c == '-' ? '_' : (char)toupper((unsigned char)*c);
	return name;
}

/* The value is copied: the environment may change. *out is NULL when it is not set. */
static int from_env(struct imgo_config *config, const char *key, const char **out, const char **name)
{
	const char *value;

	*out = NULL;
	if (config->options.env_prefix[0] == '\0')
		return 0;
	*name = imgo__config_env_name(config, key);
	if (*name == NULL)
		return IMGO_ENOMEM;
	value = getenv(*name);
	if (value == NULL || value[0] == '\0')
		return 0;
	*out = imgo__config_printf(config, "%s", value);
	return *out ? 0 : IMGO_ENOMEM;
}

static int take_environment(struct imgo_config *config, struct imgo_error *error)
{
	const char *value, *name = NULL;

	for (size_t i = 0; i < config->n_settings; i++) {
		struct imgo__setting *setting = &config->settings[i];
		if (setting->rank > IMGO__SET_ENV)
			continue;
		if (from_env(config, setting->property->name, &value, &name) < 0)
			return no_memory(error);
		if (value == NULL)
			continue;
		setting->value = value;
		setting->origin = name;
		setting->rank = IMGO__SET_ENV;
	}
	return 0;
}

/* ---- file ---- */

static int take_file(struct imgo_config *config, struct imgo_error *error)
{
	const char *name;

	if (config->file == NULL && from_env(config, "config", &config->file, &name) < 0)
		return no_memory(error);
	if (config->file == NULL && config->options.file && access(config->options.file, F_OK) == 0)
		config->file = config->options.file;
	return config->file ? imgo__config_read_file(config, config->file, error) : 0;
}

/* ---- all of it ---- */

static int convert_all(struct imgo_config *config, bool store, struct imgo_error *error)
{
	for (size_t i = 0; i < config->n_settings; i++) {
		int err = imgo__config_convert(config, &config->settings[i], store, error);
		if (err < 0)
			return err;
	}
	return 0;
}

static int parse(struct imgo_config *config, const struct imgo_config_set *sets, size_t n_sets, int argc,
	char *const *argv, struct imgo_error *error)
{
	int err = add_sets(config, sets, n_sets, error);

	if (err == 0)
		err = take_flags(config, argc, argv, error);
	if (err < 0 || config->verb == IMGO_CONFIG_HELP || config->verb == IMGO_CONFIG_VERSION ||
		config->verb == IMGO_CONFIG_MANUAL)
		return err;
	err = take_environment(config, error);
	if (err == 0)
		err = take_file(config, error);
	if (err == 0)
		err = convert_all(config, false, error);
	if (err == 0)
		err = convert_all(config, true, error);
	return err;
}

int imgo_config_parse(struct imgo_config **out, const struct imgo_config_options *options,
	const struct imgo_config_set *sets, size_t n_sets, int argc, char *const *argv, struct imgo_error *error)
{
	struct imgo_config *config = imgo__zalloc(sizeof(*config));
	int err;

	if (config == NULL)
		return no_memory(error);
	if (options)
		memcpy(&config->options, options,
			options->size < sizeof(config->options) ? options->size : sizeof(config->options));
	if (config->options.env_prefix == NULL)
		config->options.env_prefix = "IMGO_";
	if (config->options.program == NULL)
		config->options.program = "imgo";
	err = parse(config, sets, n_sets, argc, argv, error);
	if (err < 0) {
		imgo_config_free(config);
		return err;
	}
	*out = config;
	return 0;
}

void imgo_config_free(struct imgo_config *config)
{
	if (config == NULL)
		return;
	imgo__arena_free(&config->arena);
	free(config);
}

enum imgo_config_verb imgo_config_verb(const struct imgo_config *config)
{
	return config->verb;
}

const char *imgo_config_file(const struct imgo_config *config)
{
	return config->file;
}

const char *imgo_config_origin(const struct imgo_config *config, const char *key)
{
	const struct imgo__setting *setting = imgo__config_find(config, key);

	return setting ? setting->origin : NULL;
}
