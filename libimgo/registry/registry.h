/* SPDX-License-Identifier: MIT */
/* What the registries share. */
#ifndef IMGO__REGISTRY_REGISTRY_H
#define IMGO__REGISTRY_REGISTRY_H

#include <imgo/registry.h>

/* Sorts counts by key. When there are more than IMGO_REGISTRY_COUNT_MAX only the largest are kept, at the
 * beginning. Returns how many are left. */
size_t imgo__registry_sort_counts(struct imgo_room_count *counts, size_t n);
void imgo__registry_order_counts(struct imgo_room_count *counts, size_t n); /* by key, all of them */

/* Are these arguments fit for an operation? Also asked by the decoders of what came by RPC. */
bool imgo__registry_valid_put(const struct imgo_registry_put *item);
bool imgo__registry_valid_user(struct imgo_str user);
bool imgo__registry_valid_rooms(const struct imgo_str *rooms, size_t n);
bool imgo__registry_valid_renew(const struct imgo_registry_renew *call);
bool imgo__registry_valid_count(const struct imgo_registry_count *call);

#endif
