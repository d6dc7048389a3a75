/* SPDX-License-Identifier: MIT */
/* What a comet says of itself with each renewal of its lease: where clients reach it, and how many it has. The logics answer
 * GET /goim/nodes/... and /goim/online/total from that. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "service/edge_impl.h"

/* The host of a listener's address, unless it stands for every address of this machine, or is a path. */
static bool host_of(const char *address, char *out, size_t size)
{
	struct imgo__addr addr;
	char text[64], *colon;

	if (!address || imgo__addr_parse(&addr, imgo_str(address)) < 0)
		return false;
	imgo__addr_format(&addr, text);
	colon = strrchr(text, ':');
	if (!colon || strncmp(text, "unix:", 5) == 0)
		return false;
	*colon = '\0';
	if (strcmp(text, "0.0.0.0") == 0 || strcmp(text, "[::]") == 0)
		return false;
	snprintf(out, size, "%s", text);
	return true;
}

static bool hosts_valid(const char *hosts)
{
	static const char fine[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[],";
	size_t len = strlen(hosts);

	return len > 0 && len <= IMGO_REGISTRY_HOSTS_MAX && strspn(hosts, fine) == len;
}

int imgo__edge_about_init(struct imgo_edge *edge, const struct imgo_edge_options *options, struct imgo_error *error)
{
	const struct imgo_hub_options defaults = IMGO_HUB_OPTIONS_INIT;
	uint64_t heartbeat_ms = options->hub ? options->hub->heartbeat_timeout_ms : 0;

	edge->weight = options->weight;
	heartbeat_ms = heartbeat_ms ? heartbeat_ms : defaults.heartbeat_timeout_ms;
	edge->heartbeat_ms = heartbeat_ms < UINT32_MAX ? (uint32_t)heartbeat_ms : UINT32_MAX;
	imgo__loop_random(edge->loop, &edge->peers.k0, sizeof edge->peers.k0);
	imgo__loop_random(edge->loop, &edge->peers.k1, sizeof edge->peers.k1);
	if (!options->advertise) {
		if (!host_of(options->tcp, edge->hosts, sizeof edge->hosts))
			host_of(options->websocket, edge->hosts, sizeof edge->hosts);
		return 0;
	}
	if (!hosts_valid(options->advertise))
		return imgo__fail(error, IMGO_EINVAL,
			"comet.advertise: host names or addresses between commas, at most %d bytes",
			IMGO_REGISTRY_HOSTS_MAX);
	strcpy(edge->hosts, options->advertise);
	return 0;
}

void imgo__edge_about_fini(struct imgo_edge *edge)
{
	imgo__peers_fini(&edge->peers);
}

struct imgo_comet_about imgo__edge_about(struct imgo_edge *edge)
{
	struct imgo_hub_counts counts;

	imgo_hub_counts(edge->hub, &counts);
	return (struct imgo_comet_about){
		.hosts = imgo_str(edge->hosts),
		.tcp_port = (uint32_t)edge->tcp_port,
		.websocket_port = (uint32_t)edge->websocket_port,
		.wss_port = (uint32_t)edge->wss_port,
		.heartbeat_ms = edge->heartbeat_ms,
		.weight = edge->weight,
		.connections = counts.authenticated,
		.ips = edge->peers.n,
	};
}
