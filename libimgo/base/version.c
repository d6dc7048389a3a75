/* SPDX-License-Identifier: MIT */
#include <imgo/version.h>

const char *imgo_version(void)
{
	return IMGO_VERSION;
}
