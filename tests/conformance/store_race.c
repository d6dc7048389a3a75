/* SPDX-License-Identifier: MIT */
#include "store_kit.h"
const struct check_case store_cases_race[] = {{NULL, NULL}};
