/* SPDX-License-Identifier: MIT */
#include "page.h"

void daemon_page_add(struct imgo_http_options *options)
{
	options->assets = daemon_page_files;
	options->nassets = daemon_page_nfiles;
}

void daemon_page_log(struct daemon *daemon, const struct imgo_http *http)
{
	int port;

	imgo_http_ports(http, &port, NULL);
	imgo_log_event(daemon->log, IMGO_LOG_INFO, daemon->program, "page", "url=http://127.0.0.1:%d/", port);
}
