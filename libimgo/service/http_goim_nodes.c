/* SPDX-License-Identifier: MIT */
/*
 * What goim's clients ask before they connect, and its operators of the comets: online/total, nodes/weighted,
 * nodes/instances. All is in the leases, which the comets renew with what they say of themselves. Apps may ask at every
 * start, so those who ask while the routers are being asked share one answer.
 *
 * nodes/weighted names up to five comets, drawn by lot: a comet's chance is its weight by its connections, so that a new
 * one fills up and those who ask at the same moment do not all go to the same. The answer has one set of ports for all of
 * its nodes, so it names only comets that have those of the first one drawn.
 */
#include "service/http_impl.h"

#include <stdio.h>

#include "base/buf.h"
#include "codec/json.h"

enum { NODES_MAX = 5 };

struct waiter;
typedef int answer_fn(const struct waiter *waiter, const struct imgo_registry_comets *comets, struct imgo__buf *body);

/* One that waits for the list of comets. */
struct waiter {
	struct imgo__list link;
	struct imgo_http *http; /* valid while its look has one */
	struct imgo__httpd_request *request;
	answer_fn *answer;
	bool web; /* platform=web: names rather than addresses */
};

struct imgo__goim_look {
	struct imgo_http *http; /* NULL: it was freed meanwhile */
	struct imgo_registry_comets comets;
	struct imgo__list waiters;
};

static void finish(struct waiter *waiter, const struct imgo_registry_comets *comets, int err)
{
	struct imgo__buf body = {0};

	if (err == 0)
		err = imgo__goim_begin(&body);
	if (err == 0)
		err = waiter->answer(waiter, comets, &body);
	imgo__goim_end(waiter->request, &body, err);
	free(waiter);
}

static void on_comets(int err, void *user)
{
	struct imgo__goim_look *look = user;
	struct imgo__list *link;

	if (look->http)
		look->http->look = NULL;
	else
		err = IMGO_ECANCELED;
	while ((link = imgo__list_pop(&look->waiters)))
		finish(imgo__container_of(link, struct waiter, link), &look->comets, err);
	free(look);
}

void imgo__goim_orphan(struct imgo_http *http)
{
	if (http->look)
		http->look->http = NULL;
}

static int look_start(struct imgo_http *http)
{
	struct imgo__goim_look *look = imgo__zalloc(sizeof *look);
	int err;

	if (!look)
		return IMGO_ENOMEM;
	look->http = http;
	imgo__list_init(&look->waiters);
	err = imgo_registry_comets(http->push->registry, &look->comets, on_comets, look);
	if (err < 0)
		free(look);
	else
		http->look = look;
	return err;
}

static void ask(struct imgo__http_call *call, answer_fn *answer, bool web)
{
	struct imgo_http *http = call->http;
	struct waiter *waiter = imgo__zalloc(sizeof *waiter);
	int err = waiter ? 0 : IMGO_ENOMEM;

	if (err == 0 && !http->look)
		err = look_start(http);
	if (err < 0) {
		free(waiter);
		imgo__goim_done(call->request, err);
		return;
	}
	waiter->http = http;
	waiter->request = call->request;
	waiter->answer = answer;
	waiter->web = web;
	imgo__list_init(&waiter->link);
	imgo__list_insert(&http->look->waiters, &waiter->link);
}

/* ---- GET /goim/online/total ---- */

static int put_total(const struct waiter *waiter, const struct imgo_registry_comets *comets, struct imgo__buf *body)
{
	unsigned long long ips = 0, sessions = 0;

	(void)waiter;
	for (size_t i = 0; i < comets->n; i++) {
		ips += comets->comets[i].about.ips;
		sessions += comets->comets[i].sessions;
	}
	return imgo__buf_printf(body, "{\"conn_count\":%llu,\"ip_count\":%llu}", sessions, ips);
}

void imgo__goim_online_total(struct imgo__http_call *call)
{
	ask(call, put_total, false);
}

/* ---- the hosts of a comet ---- */

/* Where clients reach it: what it says; else where logic and job reach it; else the domain of all. */
static struct imgo_str hosts_of(const struct waiter *waiter, const struct imgo_comet_info *info)
{
	const char *colon;

	if (info->about.hosts.len)
		return info->about.hosts;
	colon = info->address.len ? memrchr(info->address.p, ':', info->address.len) : NULL;
	return colon ? imgo_strn(info->address.p, (size_t)(colon - info->address.p)) : imgo_str(waiter->http->domain);
}

static bool next_host(struct imgo_str *hosts, struct imgo_str *host)
{
	while (hosts->len) {
		const char *comma = memchr(hosts->p, ',', hosts->len);
		size_t len = comma ? (size_t)(comma - hosts->p) : hosts->len, taken = len + (comma != NULL);
		*host = imgo_strn(hosts->p, len);
		*hosts = imgo_strn(hosts->p + taken, hosts->len - taken);
		if (len)
			return true;
	}
	return false;
}

/* 203.0.113.7 or [2001:db8::7]; all else is a name. */
static bool is_address(struct imgo_str host)
{
	size_t i = 0;

	while (i < host.len && ((host.p[i] >= '0' && host.p[i] <= '9') || host.p[i] == '.'))
		i++;
	return i == host.len || *host.p == '[';
}

static bool has_kind(struct imgo_str hosts, bool address)
{
	struct imgo_str host;

	while (next_host(&hosts, &host)) {
		if (is_address(host) == address)
			return true;
	}
	return false;
}

/* The names for browsers (certificates have names), the addresses for others; all when there are none of that kind. */
static int put_hosts(struct imgo_str hosts, bool web, bool *any, struct imgo__buf *body)
{
	bool choose = has_kind(hosts, !web);
	struct imgo_str host;
	int err = 0;

	while (err == 0 && next_host(&hosts, &host)) {
		if (choose && is_address(host) == web)
			continue;
		err = *any ? imgo__buf_printf(body, ",") : 0;
		if (err == 0)
			err = imgo__json_quote(body, host);
		*any = true;
	}
	return err;
}

/* ---- GET /goim/nodes/weighted ---- */

struct lot {
	const struct imgo_comet_info *comets[NODES_MAX];
	size_t n;
};

static bool drawn(const struct lot *lot, const struct imgo_comet_info *info)
{
	for (size_t i = 0; i < lot->n; i++) {
		if (lot->comets[i] == info)
			return true;
	}
	return false;
}

static bool same_ports(const struct imgo_comet_about *a, const struct imgo_comet_about *b)
{
	return a->tcp_port == b->tcp_port && a->websocket_port == b->websocket_port && a->wss_port == b->wss_port;
}

/* A comet's chance. `pad` keeps an empty one from getting everybody. 0: it cannot be drawn. */
static double chance(const struct lot *lot, const struct imgo_comet_info *info, double pad)
{
	const struct imgo_comet_about *about = &info->about;

	if (drawn(lot, info) || (lot->n && !same_ports(about, &lot->comets[0]->about)))
		return 0;
	return (about->weight ? about->weight : 1) / (about->connections + pad);
}

static double random_unit(struct imgo_loop *loop)
{
	uint32_t r;

	imgo__loop_random(loop, &r, sizeof r);
	return r / 4294967296.0;
}

static void draw(struct imgo_loop *loop, const struct imgo_registry_comets *comets, struct lot *lot)
{
	double pad = 8;

	for (size_t i = 0; i < comets->n; i++)
		pad += comets->comets[i].about.connections / 8.0 / (double)comets->n;
	for (lot->n = 0; lot->n < NODES_MAX; lot->n++) {
		const struct imgo_comet_info *got = NULL;
		double sum = 0, at;
		for (size_t i = 0; i < comets->n; i++)
			sum += chance(lot, &comets->comets[i], pad);
		at = random_unit(loop) * sum;
		for (size_t i = 0; i < comets->n && (!got || at >= 0); i++) {
			double c = chance(lot, &comets->comets[i], pad);
			if (c > 0)
				got = &comets->comets[i];
			at -= c;
		}
		if (!got)
			break;
		lot->comets[lot->n] = got;
	}
}

/* A client that sends a heartbeat every two fifths of the time-out may miss one. */
static int put_node_facts(const struct imgo_comet_about *about, struct imgo__buf *body)
{
	unsigned heartbeat_s = about->heartbeat_ms / 2500;

	return imgo__buf_printf(body,
		",\"tcp_port\":%u,\"ws_port\":%u,\"wss_port\":%u,\"heartbeat\":%u,\"heartbeat_max\":2,"
		"\"backoff\":{\"max_delay\":300,\"base_delay\":3,\"factor\":1.8,\"jitter\":0.3},\"nodes\":[",
		about->tcp_port, about->websocket_port, about->wss_port, heartbeat_s ? heartbeat_s : 1);
}

static int put_weighted(const struct waiter *waiter, const struct imgo_registry_comets *comets, struct imgo__buf *body)
{
	struct lot lot;
	bool any = false;
	int err;

	draw(waiter->http->loop, comets, &lot);
	if (lot.n == 0)
		return IMGO_EUNAVAILABLE; /* no comet lives: come again */
	err = imgo__buf_printf(body, "{\"domain\":");
	if (err == 0)
		err = imgo__json_quote(body, imgo_str(waiter->http->domain));
	if (err == 0)
		err = put_node_facts(&lot.comets[0]->about, body);
	for (size_t i = 0; err == 0 && i < lot.n; i++)
		err = put_hosts(hosts_of(waiter, lot.comets[i]), waiter->web, &any, body);
	return err ? err : imgo__buf_printf(body, "]}");
}

void imgo__goim_nodes_weighted(struct imgo__http_call *call)
{
	struct imgo_str platform = {NULL, 0};

	if (imgo__http_query(call, "platform", &platform) == IMGO_EINVAL)
		imgo__goim_refuse(call->request, 400, "platform cannot be read", NULL);
	else
		ask(call, put_weighted, imgo_str_eq(platform, imgo_str("web")));
}

/* ---- GET /goim/nodes/instances ---- */

static int put_instance(const struct waiter *waiter, const struct imgo_comet_info *info, struct imgo__buf *body)
{
	const struct imgo_comet_about *about = &info->about;
	char rpc[IMGO_REGISTRY_ADDRESS_MAX + 8];
	int err = imgo__buf_printf(body,
		"{\"region\":\"\",\"zone\":\"\",\"env\":\"\",\"appid\":\"goim.comet\",\"hostname\":\"comet-%u\",\"addrs\":[",
		info->comet);

	snprintf(rpc, sizeof rpc, "imgo://%.*s", (int)info->address.len, info->address.len ? info->address.p : "");
	if (err == 0 && info->address.len)
		err = imgo__json_quote(body, imgo_str(rpc));
	if (err == 0)
		err = imgo__buf_printf(body, "],\"version\":\"\",\"latest_timestamp\":%llu,\"metadata\":{\"addrs\":",
			(unsigned long long)info->inc.start_us * 1000);
	if (err == 0)
		err = imgo__json_quote(body, hosts_of(waiter, info));
	if (err == 0)
		err = imgo__buf_printf(body,
			",\"conn_count\":\"%u\",\"ip_count\":\"%u\",\"offline\":\"false\",\"weight\":\"%u\",\"comet\":\"%u\","
			"\"tcp_port\":\"%u\",\"ws_port\":\"%u\",\"wss_port\":\"%u\"}}",
			about->connections, about->ips, about->weight, info->comet, about->tcp_port,
			about->websocket_port, about->wss_port);
	return err;
}

static int put_instances(const struct waiter *waiter, const struct imgo_registry_comets *comets, struct imgo__buf *body)
{
	int err = imgo__buf_printf(body, "[");

	for (size_t i = 0; err == 0 && i < comets->n; i++) {
		err = i ? imgo__buf_printf(body, ",") : 0;
		if (err == 0)
			err = put_instance(waiter, &comets->comets[i], body);
	}
	return err ? err : imgo__buf_printf(body, "]");
}

void imgo__goim_nodes_instances(struct imgo__http_call *call)
{
	ask(call, put_instances, false);
}
