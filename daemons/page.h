/* SPDX-License-Identifier: MIT */
/* The page that logic serves to browsers on this machine: the files of examples/web, made part of the program. */
#ifndef DAEMON_PAGE_H
#define DAEMON_PAGE_H

#include <imgo/http.h>

#include "common.h"

/* page_files.c, which the build writes */
extern const struct imgo_http_asset daemon_page_files[];
extern const size_t daemon_page_nfiles;

#define DAEMON_PAGE_PROPERTY(struct_, member_) \
	{ \
		IMGO_PROPERTY("logic.page", BOOL, struct_, member_, "true", 0, 0, \
			"Serve the page of examples/web at / to browsers on this machine.") \
	}

void daemon_page_add(struct imgo_http_options *options);
void daemon_page_log(struct daemon *daemon, const struct imgo_http *http); /* its address, when it is served */

#endif
