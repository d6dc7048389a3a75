/* SPDX-License-Identifier: MIT */
/* What the backends of the bus share. */
#ifndef IMGO__BUS_BUS_H
#define IMGO__BUS_BUS_H

#include <imgo/bus.h>

#define IMGO__BUS_REVOKE_MS 2000u /* from revoked() until the partition goes to somebody else */

static inline bool imgo__topic_compacted(enum imgo_topic topic)
{
	return topic == IMGO_TOPIC_TOKENS || topic == IMGO_TOPIC_CURSORS;
}

static inline const char *imgo__topic_name(enum imgo_topic topic)
{
	static const char *const names[IMGO_TOPICS] = {"users", "casts", "tokens", "cursors"};
	return names[topic];
}

#endif
