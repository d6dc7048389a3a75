/* SPDX-License-Identifier: MIT */
/* Version of the library, and the two macros that every public header uses. */
#ifndef IMGO_VERSION_H
#define IMGO_VERSION_H

#define IMGO_VERSION "0.1.0"

/* Marks a function as part of the library's ABI: everything else is hidden. */
#if defined(__GNUC__)
#define IMGO_API               __attribute__((visibility("default")))
#define IMGO_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define IMGO_API
#define IMGO_PRINTF(fmt, args)
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Version of the library that runs, as "major.minor.patch"; IMGO_VERSION is the one that was compiled against. */
IMGO_API const char *imgo_version(void);

#ifdef __cplusplus
}
#endif
#endif
