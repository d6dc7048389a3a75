/* SPDX-License-Identifier: MIT */
/* From the text of a setting to the field of a struct. */
#include "base/prop.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

#include "base/error.h"

struct unit {
	const char *name;
	int64_t factor;
};

/* The largest last. */
static const struct unit durations[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}, {0}};
static const struct unit sizes[] = {{"", 1}, {"k", 1 << 10}, {"m", 1 << 20}, {"g", 1 << 30}, {0}};
static const struct unit plain[] = {{"", 1}, {0}};

static const struct unit *units_of(enum imgo_property_type type)
{
	return type == IMGO_PROPERTY_DURATION ? durations : type == IMGO_PROPERTY_SIZE ? sizes : plain;
}

void imgo__config_number(char out[32], enum imgo_property_type type, int64_t value)
{
	const struct unit *units = units_of(type), *best = units;

	for (const struct unit *u = units; u->name; u++) {
		if (value != 0 && value % u->factor == 0)
			best = u;
	}
	snprintf(out, 32, "%lld%s", (long long)(value / best->factor), value == 0 ? "" : best->name);
}

void imgo__config_bounds(const struct imgo_property *property, int64_t *min, int64_t *max)
{
	unsigned bits = (unsigned)property->field_bytes * 8;
	bool is_signed = property->type == IMGO_PROPERTY_INT;

	*max = bits >= 64 ? INT64_MAX : ((int64_t)1 << (bits - is_signed)) - 1;
	*min = is_signed ? -*max - 1 : 0;
	if (property->min == 0 && property->max == 0)
		return;
	if (property->min > *min)
		*min = property->min;
	if (property->max < *max)
		*max = property->max;
}

/* ---- each returns NULL, or why not; `why` is room for that ---- */

enum { WHY = 120 };

static const char *no_number(enum imgo_property_type type)
{
	if (type == IMGO_PROPERTY_DURATION)
		return "must be a duration such as 500ms, 10s, 2m";
	return type == IMGO_PROPERTY_SIZE ? "must be a size such as 4096, 64k, 1m" : "must be a whole number";
}

static const char *no_unit(enum imgo_property_type type)
{
	if (type == IMGO_PROPERTY_DURATION)
		return "has an unknown unit: use ms, s, m, h or d";
	return type == IMGO_PROPERTY_SIZE ? "has an unknown unit: use k, m or g" : "must be a whole number";
}

static const char *parse_number(enum imgo_property_type type, const char *text, int64_t *out)
{
	bool negative = *text == '-';
	const char *at = text + negative;
	int64_t value = 0;

	if (!isdigit((unsigned char)*at))
		return no_number(type);
	for (; isdigit((unsigned char)*at); at++) {
		if (__builtin_mul_overflow(value, (int64_t)10, &value) ||
			__builtin_add_overflow(value, (int64_t)(*at - '0'), &value))
			return "is too large";
	}
	for (const struct unit *u = units_of(type); u->name; u++) {
		if (strcasecmp(at, u->name) != 0 && *at != '\0')
			continue;
		if (*at != '\0' && __builtin_mul_overflow(value, u->factor, &value))
			return "is too large";
		*out = negative ? -value : value;
		return NULL;
	}
	return no_unit(type);
}

static void store_number(void *field, size_t bytes, int64_t value)
{
	switch (bytes) {
	case 1:
		*(uint8_t *)field = (uint8_t)value;
		break;
	case 2:
		*(uint16_t *)field = (uint16_t)value;
		break;
	case 4:
		*(uint32_t *)field = (uint32_t)value;
		break;
	default:
		*(uint64_t *)field = (uint64_t)value;
	}
}

static const char *convert_number(const struct imgo__setting *setting, bool store, char why[WHY])
{
	const struct imgo_property *p = setting->property;
	int64_t value, min, max;
	const char *wrong = parse_number(p->type, setting->value, &value);
	char low[32], high[32];

	if (wrong)
		return wrong;
	imgo__config_bounds(p, &min, &max);
	if (value < min || value > max) {
		imgo__config_number(low, p->type, min);
		imgo__config_number(high, p->type, max);
		snprintf(why, WHY, "must be from %s to %s", low, high);
		return why;
	}
	if (store)
		store_number(setting->field, p->field_bytes, value);
	return NULL;
}

static const char *convert_bool(const struct imgo__setting *setting, bool store)
{
	static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcasecmp(setting->value, words[i]) == 0) {
			if (store)
				*(bool *)setting->field = i % 2;
			return NULL;
		}
	}
	return "must be true or false";
}

static const char *convert_enum(const struct imgo__setting *setting, bool store, char why[WHY])
{
	const char *const *values = setting->property->values;
	size_t n = 0;

	for (int i = 0; values[i]; i++) {
		if (strcasecmp(setting->value, values[i]) == 0) {
			if (store)
				*(int *)setting->field = i;
			return NULL;
		}
	}
	n = (size_t)snprintf(why, WHY, "must be one of");
	for (int i = 0; values[i] && n < WHY; i++)
		n += (size_t)snprintf(why + n, WHY - n, "%s %s", i ? "," : "", values[i]);
	return why;
}

static const char *check_count(const struct imgo_property *p, size_t n, const char *of_what, char why[WHY])
{
	if (p->max == 0 || ((int64_t)n >= p->min && (int64_t)n <= p->max))
		return NULL;
	snprintf(why, WHY, "must have from %lld to %lld %s", (long long)p->min, (long long)p->max, of_what);
	return why;
}

static const char *convert_string(const struct imgo__setting *setting, bool store, char why[WHY])
{
	const struct imgo_property *p = setting->property;
	const char *wrong = check_count(p, strlen(setting->value), "bytes", why);

	if (wrong == NULL && p->check)
		wrong = p->check(setting->value);
	if (wrong == NULL && store)
		*(const char **)setting->field = setting->value;
	return wrong;
}

bool imgo__config_next_item(const char **at, struct imgo_str *item)
{
	const char *begin = *at, *end;

	while (*begin == ',' || isspace((unsigned char)*begin))
		begin++;
	if (*begin == '\0')
		return false;
	end = begin + strcspn(begin, ",");
	*at = end;
	while (isspace((unsigned char)end[-1]))
		end--;
	*item = imgo_strn(begin, (size_t)(end - begin));
	return true;
}

static const char *const out_of_memory = "no memory";

static const char *convert_list(struct imgo_config *config, const struct imgo__setting *setting, bool store, char why[WHY])
{
	const struct imgo_property *p = setting->property;
	struct imgo_config_list *list = setting->field;
	const char *at = setting->value, *wrong, **items;
	struct imgo_str item;
	size_t n = 0;
	bool ok = true;

	while (imgo__config_next_item(&at, &item))
		n++;
	wrong = check_count(p, n, "items", why);
	if (wrong)
		return wrong;
	items = imgo__arena_zalloc(&config->arena, n, sizeof(*items));
	n = 0;
	for (at = setting->value; items && imgo__config_next_item(&at, &item); n++) {
		items[n] = imgo__arena_str(&config->arena, item, &ok).p;
		if (!ok)
			return out_of_memory;
		wrong = p->check ? p->check(items[n]) : NULL;
		if (wrong) {
			snprintf(why, WHY, "its item %zu %s", n + 1, wrong);
			return why;
		}
	}
	if (store && items)
		*list = (struct imgo_config_list){items, n};
	return items ? NULL : out_of_memory;
}

/* A field without value and default: zero, NULL, an empty list. */
static void clear_field(const struct imgo__setting *setting)
{
	memset(setting->field, 0, setting->property->field_bytes);
}

static int missing(struct imgo_config *config, const char *key, struct imgo_error *error)
{
	const char *env = imgo__config_env_name(config, key);

	return imgo__fail(error, IMGO_EINVAL, "%s must be set (in the file, by --%s or by %s)", key, key, env ? env : "?");
}

int imgo__config_convert(
	struct imgo_config *config, const struct imgo__setting *setting, bool store, struct imgo_error *error)
{
	const struct imgo_property *p = setting->property;
	const char *wrong;
	char why[WHY];

	if ((p->flags & IMGO_PROPERTY_REQUIRED) && (setting->value == NULL || setting->value[0] == '\0'))
		return missing(config, p->name, error);
	if (setting->value == NULL) {
		if (store)
			clear_field(setting);
		return 0;
	}
	if (p->type == IMGO_PROPERTY_STRING)
		wrong = convert_string(setting, store, why);
	else if (p->type == IMGO_PROPERTY_BOOL)
		wrong = convert_bool(setting, store);
	else if (p->type == IMGO_PROPERTY_ENUM)
		wrong = convert_enum(setting, store, why);
	else if (p->type == IMGO_PROPERTY_LIST)
		wrong = convert_list(config, setting, store, why);
	else
		wrong = convert_number(setting, store, why);
	if (wrong == NULL)
		return 0;
	if (wrong == out_of_memory)
		return imgo__fail(error, IMGO_ENOMEM, "no memory for the configuration");
	return imgo__fail(error, IMGO_EINVAL, "%s = \"%.50s\" (%.60s): %s", p->name,
		p->flags & IMGO_PROPERTY_SECRET ? "***" : setting->value, setting->origin, wrong);
}
