/* SPDX-License-Identifier: MIT */
#include "base/options.h"

#include <string.h>

#include "base/error.h"

int imgo__options_take(void *out, const void *given, const char *what, struct imgo_error *error)
{
	size_t known, size;

	if (!given)
		return 0;
	memcpy(&known, out, sizeof known);
	memcpy(&size, given, sizeof size);
	if (size < sizeof size)
		return imgo__fail(error, IMGO_EINVAL, "%s: the size of the options is not set: use the INIT macro", what);
	memcpy(out, given, size < known ? size : known);
	memcpy(out, &known, sizeof known);
	return 0;
}
