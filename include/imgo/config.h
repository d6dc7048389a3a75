/* SPDX-License-Identifier: MIT */
/*
 * Configuration that is described once, as data.
 *
 * A program (or a library) has a struct of plain fields and a table of properties: for each field its key, type,
 * default, bounds and a sentence of help. From the table come the reading of
 *
 *	flags              --hub.write-queue-max-bytes=64k  or  --hub.write-queue-max-bytes 64k
 *	the environment    IMGO_HUB_WRITE_QUEUE_MAX_BYTES=64k   (an empty variable counts as not set)
 *	a file             [hub]
 *	                   write-queue-max-bytes = 64k
 *	the defaults
 *
 * (the first that is set wins), the checks, and the texts of --help, --dump-config and the manual. In the file, lines
 * that begin with ; or # are comments, " ;" begins one within a line, and a list may go on in indented lines. An
 * unknown key in the file or on the command line is an error; in the environment it is not.
 *
 * Everything here is for the start of a program: any thread, one at a time, nothing is kept but the config object.
 */
#ifndef IMGO_CONFIG_H
#define IMGO_CONFIG_H

#include <stddef.h>
#include <stdint.h>

#include <imgo/error.h>

#ifdef __cplusplus
extern "C" {
#endif

enum imgo_property_type {
	IMGO_PROPERTY_STRING = 1, /* const char *; NULL when not set and without default */
	IMGO_PROPERTY_BOOL,       /* bool: true yes on 1, false no off 0; "--key" alone means true */
	IMGO_PROPERTY_INT,        /* int8_t .. int64_t, int: a whole number */
	IMGO_PROPERTY_UINT,       /* uint8_t .. uint64_t, unsigned, size_t: a whole number, not negative */
	IMGO_PROPERTY_DURATION,   /* as UINT, milliseconds: "1500", "1500ms", "10s", "2m", "1h", "7d" */
	IMGO_PROPERTY_SIZE,       /* as UINT, bytes: "65536", "64k", "1m", "2g" (of 1024) */
	IMGO_PROPERTY_ENUM,       /* int: the index of the word in `values` */
	IMGO_PROPERTY_LIST,       /* struct imgo_config_list: words between commas */
};

enum {
	IMGO_PROPERTY_REQUIRED = 1, /* must be set to something that is not empty */
	IMGO_PROPERTY_SECRET = 2,   /* texts show *** instead of the value */
};

struct imgo_config_list {
	const char *const *items;
	size_t n;
};

/* One key. Static data; make it with IMGO_PROPERTY and, where need be, further designated members. */
struct imgo_property {
	const char *name; /* "section.name"; lower case, dashes. NULL ends a table */
	enum imgo_property_type type;
	const char *default_value; /* as in a file; NULL: none (numbers are 0 then) */
	int64_t min, max;          /* of numbers, bytes of a string, items of a list; both 0: what the field can hold */
	const char *const *values; /* words of an ENUM, NULL-terminated */
	const char *help;          /* a sentence or two, without the default and the bounds: those are added */
	size_t offset, field_bytes; /* the field in the target struct */
	unsigned flags;
	/* Further check of a STRING or of each item of a LIST; NULL: fine, else the reason ("must be host:port"). */
	const char *(*check)(const char *value);
};

/* {IMGO_PROPERTY("comet.id", UINT, struct comet_config, id, "1", 1, UINT32_MAX, "Number of this comet.")}; more
 * members may follow: {IMGO_PROPERTY(…), .flags = IMGO_PROPERTY_REQUIRED} */
#define IMGO_PROPERTY(name_, type_, struct_, member_, default_, min_, max_, help_) \
	.name = (name_), .type = IMGO_PROPERTY_##type_, .default_value = (default_), .min = (min_), .max = (max_), \
	.help = (help_), .offset = offsetof(struct_, member_), .field_bytes = sizeof(((struct_ *)0)->member_)

/* A table and the struct that it fills. Several make up a program's configuration; no key may be in two. */
struct imgo_config_set {
	const struct imgo_property *properties;
	void *target;
};

struct imgo_config_options {
	size_t size;            /* sizeof(struct imgo_config_options) */
	const char *program;    /* "imgo-comet" */
	const char *summary;    /* one line, for --help */
	const char *file;       /* read when it exists and no other is named; NULL: none */
	const char *env_prefix; /* NULL: "IMGO_"; "": the environment is not read */
};
#define IMGO_CONFIG_OPTIONS_INIT \
	{ \
		sizeof(struct imgo_config_options), NULL, NULL, NULL, NULL \
	}

/* What the command line asks the program to do. All but RUN: print imgo_config_text and exit. */
enum imgo_config_verb {
	IMGO_CONFIG_RUN = 0,
	IMGO_CONFIG_HELP,    /* --help, -h */
	IMGO_CONFIG_VERSION, /* --version */
	IMGO_CONFIG_CHECK,   /* --check-config: it was read and is fine */
	IMGO_CONFIG_DUMP,    /* --dump-config: the effective values, as a file */
	IMGO_CONFIG_MANUAL,  /* --manual: the keys as a table in Markdown */
};

struct imgo_config;

/*
 * Reads the configuration into the targets. --config FILE (or IMGO_CONFIG) names the file, which must then exist.
 * argv[0] is skipped. *out owns the strings and lists in the targets: free it after their last use. On failure the
 * targets are untouched and error says which key, which value, why, and where it was set. With --help, --version and
 * --manual nothing is read and the targets are untouched. To reload, parse again into other targets.
 * Errors: IMGO_EINVAL (any mistake in a value or flag), IMGO_ENOTFOUND (the named file does not exist), IMGO_EIO (it
 * cannot be read), IMGO_ENOMEM.
 */
IMGO_API int imgo_config_parse(struct imgo_config **out, const struct imgo_config_options *options,
	const struct imgo_config_set *sets, size_t n_sets, int argc, char *const *argv, struct imgo_error *error);
IMGO_API void imgo_config_free(struct imgo_config *config);

IMGO_API enum imgo_config_verb imgo_config_verb(const struct imgo_config *config);

/* The text of a verb, ready to print, owned by config; "" for RUN. NULL when there is no memory. */
IMGO_API const char *imgo_config_text(struct imgo_config *config, enum imgo_config_verb verb);

/* Where the value of a key comes from: "imgo.conf:12", "--comet.id", "IMGO_COMET_ID" or "default"; NULL when there is
 * no such key. Owned by config. */
IMGO_API const char *imgo_config_origin(const struct imgo_config *config, const char *key);

/* The file that was read, or NULL. Owned by config. */
IMGO_API const char *imgo_config_file(const struct imgo_config *config);

#ifdef __cplusplus
}
#endif
#endif
