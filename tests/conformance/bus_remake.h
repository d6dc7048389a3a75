/* SPDX-License-Identifier: MIT */
#ifndef BUS_REMAKE_H
#define BUS_REMAKE_H

/* Deletes the users' topic of this prefix and makes an empty one, as an operator's mistake would. */
void remake_topic(const char *brokers, const char *prefix, int partitions);

#endif
