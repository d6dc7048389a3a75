/* SPDX-License-Identifier: MIT */
/* The texts that are made from the tables: --help, --dump-config and the manual. */
#include "base/prop.h"

#include <stdio.h>

/* What kind of value, for a person: "NUMBER", "memory|lmdb". */
static int put_kind(struct imgo__buf *buf, const struct imgo_property *p)
{
	static const char *const kinds[] = {
		[IMGO_PROPERTY_STRING] = "TEXT",
		[IMGO_PROPERTY_BOOL] = "true|false",
		[IMGO_PROPERTY_INT] = "NUMBER",
		[IMGO_PROPERTY_UINT] = "NUMBER",
		[IMGO_PROPERTY_DURATION] = "DURATION",
		[IMGO_PROPERTY_SIZE] = "SIZE",
		[IMGO_PROPERTY_LIST] = "LIST",
	};
	int err = 0;

	if (p->type != IMGO_PROPERTY_ENUM)
		return imgo__buf_str(buf, imgo_str(kinds[p->type]));
	for (int i = 0; p->values[i] && err == 0; i++)
		err = imgo__buf_printf(buf, "%s%s", i ? "|" : "", p->values[i]);
	return err;
}

/* "1 .. 65535", "64k or more", or nothing when the field's own bounds are all. */
static int put_bounds(struct imgo__buf *buf, const struct imgo_property *p, const char *before, const char *after)
{
	const char *of_what = p->type == IMGO_PROPERTY_STRING ? " bytes"
			      : p->type == IMGO_PROPERTY_LIST ? " items"
							      : "";
	int64_t min = p->min, max = p->max;
	char low[32], high[32];

	if ((min == 0 && max == 0) || p->type == IMGO_PROPERTY_BOOL || p->type == IMGO_PROPERTY_ENUM)
		return 0;
	if (of_what[0] == '\0')
		imgo__config_bounds(p, &min, &max);
	imgo__config_number(low, p->type, min);
	imgo__config_number(high, p->type, max);
	if (max == INT64_MAX)
		return imgo__buf_printf(buf, "%s%s or more%s", before, low, after);
	return imgo__buf_printf(buf, "%s%s to %s%s%s", before, low, high, of_what, after);
}

static const char *default_of(const struct imgo_property *p)
{
	return p->default_value && p->default_value[0] ? p->default_value : NULL;
}

static int put_help_of(struct imgo__buf *buf, const struct imgo_property *p)
{
	int err = imgo__buf_printf(buf, "  --%s=", p->name);

	if (err == 0)
		err = put_kind(buf, p);
	if (err == 0)
		err = imgo__buf_printf(buf, "\n        %s", p->help ? p->help : "");
	if (err == 0)
		err = put_bounds(buf, p, " (", ")");
	if (err == 0 && p->flags & IMGO_PROPERTY_REQUIRED)
		err = imgo__buf_printf(buf, " Required.");
	if (err == 0 && default_of(p))
		err = imgo__buf_printf(buf, " [%s]", default_of(p));
	return err == 0 ? imgo__buf_printf(buf, "\n") : err;
}

static int put_help(struct imgo__buf *buf, const struct imgo_config *config)
{
	const struct imgo_config_options *o = &config->options;
	int err = imgo__buf_printf(buf,
		"%s %s%s%s\n\n"
		"Usage: %s [--config FILE] [--KEY=VALUE]...\n\n"
		"  --config FILE    read FILE%s%s%s\n"
		"  --check-config   say whether the configuration is right, and exit\n"
		"  --dump-config    print the effective configuration as a file, and exit\n"
		"  --help           print this, and exit\n"
		"  --version        print the version, and exit\n\n"
		"Keys: as a flag --section.name=VALUE",
		o->program, imgo_version(), o->summary ? ": " : "", o->summary ? o->summary : "", o->program,
		o->file ? " instead of " : "", o->file ? o->file : "", o->file ? ", which need not exist" : "");

	if (err == 0 && o->env_prefix[0])
		err = imgo__buf_printf(buf, ", in the environment %sSECTION_NAME=VALUE", o->env_prefix);
	if (err == 0)
		err = imgo__buf_printf(buf, ",\nin the file name = VALUE under [section]; the first that is set wins.\n\n");
	for (size_t i = 0; i < config->n_settings && err == 0; i++)
		err = put_help_of(buf, config->settings[i].property);
	return err;
}

static int put_manual(struct imgo__buf *buf, const struct imgo_config *config)
{
	int err = imgo__buf_printf(buf, "| key | value | default | meaning |\n|---|---|---|---|\n");

	for (size_t i = 0; i < config->n_settings && err == 0; i++) {
		const struct imgo_property *p = config->settings[i].property;
		struct imgo__buf kind = {0};
		err = put_kind(&kind, p);
		if (err == 0)
			err = put_bounds(&kind, p, ", ", "");
		err = err ? err : imgo__buf_printf(buf, "| `%s` | ", p->name);
		for (size_t j = 0; j < kind.len && err == 0; j++) /* a bar would end the cell */
			err = imgo__buf_printf(buf, kind.data[j] == '|' ? "\\%c" : "%c", kind.data[j]);
		imgo__buf_free(&kind);
		if (err == 0)
			err = imgo__buf_printf(buf, default_of(p) ? " | `%s` | %s%s |\n" : " | %s | %s%s |\n",
				default_of(p) ? default_of(p) : "", p->help ? p->help : "",
				p->flags & IMGO_PROPERTY_REQUIRED ? " Required." : "");
	}
	return err;
}

/* ---- dump ---- */

static int put_value(struct imgo__buf *buf, const struct imgo__setting *setting, const char *name)
{
	const struct imgo_property *p = setting->property;
	const char *at = setting->value;
	struct imgo_str item;
	int err;

	if (setting->value == NULL)
		return imgo__buf_printf(buf, "; %s is not set\n", name);
	if (p->flags & IMGO_PROPERTY_SECRET)
		return imgo__buf_printf(buf, "; %s = ***\n", name);
	if (p->type != IMGO_PROPERTY_LIST)
		return imgo__buf_printf(buf, "%s = %s\n", name, setting->value);
	err = imgo__buf_printf(buf, "%s =", name);
	for (int n = 0; imgo__config_next_item(&at, &item) && err == 0; n++)
		err = imgo__buf_printf(buf, "%s%.*s", n ? "\n\t" : " ", (int)item.len, item.p); /* goes on, indented */
	return err == 0 ? imgo__buf_printf(buf, "\n") : err;
}

static int put_dump(struct imgo__buf *buf, const struct imgo_config *config)
{
	struct imgo_str section = imgo_strn("", 0);
	int err = imgo__buf_printf(buf, "; %s %s, effective configuration\n", config->options.program, imgo_version());

	for (size_t i = 0; i < config->n_settings && err == 0; i++) {
		const struct imgo__setting *setting = &config->settings[i];
		const char *name = setting->property->name, *dot = strchr(name, '.');
		struct imgo_str here = imgo_strn(name, dot ? (size_t)(dot - name) : 0);
		if (!imgo_str_eq(here, section))
			err = imgo__buf_printf(buf, "\n[%.*s]\n", (int)here.len, here.p);
		section = here;
		if (err == 0 && setting->rank > IMGO__SET_DEFAULT)
			err = imgo__buf_printf(buf, "; from %s:\n", setting->origin);
		if (err == 0)
			err = put_value(buf, setting, dot ? dot + 1 : name);
	}
	return err;
}

const char *imgo_config_text(struct imgo_config *config, enum imgo_config_verb verb)
{
	struct imgo__buf buf = {0};
	struct imgo_str text;
	bool ok = true;
	int err = 0;

	switch (verb) {
	case IMGO_CONFIG_RUN:
		return "";
	case IMGO_CONFIG_HELP:
		err = put_help(&buf, config);
		break;
	case IMGO_CONFIG_VERSION:
		err = imgo__buf_printf(&buf, "%s %s\n", config->options.program, imgo_version());
		break;
	case IMGO_CONFIG_CHECK:
		err = imgo__buf_printf(&buf, "The configuration is right%s%s%s.\n", config->file ? " (" : "",
			config->file ? config->file : "", config->file ? ")" : "");
		break;
	case IMGO_CONFIG_DUMP:
		err = put_dump(&buf, config);
		break;
	case IMGO_CONFIG_MANUAL:
		err = put_manual(&buf, config);
		break;
	}
	text = imgo__arena_str(&config->arena, imgo_strn(buf.data, buf.len), &ok);
	imgo__buf_free(&buf);
	return err == 0 && ok ? text.p : NULL;
}
