/* SPDX-License-Identifier: MIT */
/*
 * The administrative server: who is healthy, and what was counted. It is an HTTP server of its own (httpd.c), so that a
 * push API at its limits can still be looked at, and what it does is not counted as the API's.
 *
 * All checks are looked at once a second, and again for each question, so that an answer is never older than the
 * question; what takes time (a probe over the network) goes on in the background, and the check tells its last outcome.
 */
#include "service/admin_impl.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/options.h"

static const char *const states[] = {"down", "up", "degraded"};

/* ---- looking ---- */

static void say_change(struct imgo_admin *admin, const struct imgo__admin_check *check, enum imgo_health before)
{
	enum imgo_log_level level = check->state == IMGO_HEALTH_DOWN ? IMGO_LOG_WARN : IMGO_LOG_INFO;
	const char *event = check->state == IMGO_HEALTH_DOWN ? "peer-lost"
			    : before == IMGO_HEALTH_DOWN     ? (check->was_up ? "peer-back" : "peer-there")
			    : check->state == IMGO_HEALTH_UP ? "peer-well"
							     : "peer-degraded";

	imgo_log_event(imgo_loop_log(admin->loop), level, "health", event, "peer=%s after_ms=%llu detail=%s",
		check->name, (unsigned long long)(imgo__loop_now_ms(admin->loop) - check->since_ms), check->detail);
}

static void look_at(struct imgo_admin *admin, struct imgo__admin_check *check)
{
	enum imgo_health before = check->state;

	check->detail[0] = '\0';
	check->state = check->cb(check->detail, sizeof check->detail, check->user);
	check->detail[sizeof check->detail - 1] = '\0';
	if (!check->looked || check->state != before) {
		/* Down from the start is the ordinary case: nothing was lost. */
		if (check->looked)
			say_change(admin, check, before);
		check->since_ms = imgo__loop_now_ms(admin->loop);
	}
	check->looked = true;
	check->was_up |= check->state != IMGO_HEALTH_DOWN;
	imgo_stat_set(check->up, check->state != IMGO_HEALTH_DOWN);
}

static bool look(struct imgo_admin *admin)
{
	bool ready = admin->nchecks > 0 && !admin->stopping;

	for (unsigned i = 0; i < admin->nchecks; i++) {
		look_at(admin, &admin->checks[i]);
		ready &= admin->checks[i].state != IMGO_HEALTH_DOWN;
	}
	if (ready != admin->was_ready)
		imgo_log_event(imgo_loop_log(admin->loop), ready || admin->stopping ? IMGO_LOG_INFO : IMGO_LOG_WARN,
			"health", ready ? "ready" : "not-ready", "program=%s up_ms=%llu", admin->program,
			(unsigned long long)(imgo__loop_now_ms(admin->loop) - admin->started_ms));
	admin->was_ready = ready;
	admin->ever_ready |= ready;
	imgo_stat_set(admin->ready, ready);
	return ready;
}

static void on_look(struct imgo_loop *loop, struct imgo__timer *timer)
{
	struct imgo_admin *admin = imgo__container_of(timer, struct imgo_admin, look);

	for (unsigned i = 0; i < admin->nchecks; i++) {
		if (admin->checks[i].probe)
			imgo__admin_probe_step(admin->checks[i].probe);
	}
	(void)look(admin);
	imgo__timer_start(loop, timer, admin->ever_ready ? IMGO__ADMIN_LOOK_MS : IMGO__ADMIN_FIRST_MS);
}

bool imgo_admin_ready(struct imgo_admin *admin)
{
	return look(admin);
}

void imgo_admin_stopping(struct imgo_admin *admin)
{
	if (!admin)
		return;
	admin->stopping = true;
	(void)look(admin);
}

static bool name_ok(const char *name, size_t size)
{
	size_t len = name ? strlen(name) : 0;

	return len > 0 && len < size &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == len;
}

int imgo_admin_check(struct imgo_admin *admin, const char *name, imgo_health_cb *cb, void *user)
{
	struct imgo__admin_check *check = &admin->checks[admin->nchecks];
	char stat[64];

	if (!cb || !name_ok(name, sizeof check->name))
		return IMGO_EINVAL;
	if (admin->nchecks == IMGO__ADMIN_CHECKS_MAX)
		return IMGO_ELIMIT;
	for (unsigned i = 0; i < admin->nchecks; i++) {
		if (strcmp(admin->checks[i].name, name) == 0)
			return IMGO_EEXISTS;
	}
	*check = (struct imgo__admin_check){.cb = cb, .user = user, .since_ms = imgo__loop_now_ms(admin->loop)};
	strcpy(check->name, name);
	imgo_stat_name(stat, sizeof stat, "imgo_peer_up", "peer", name);
	check->up = imgo_stats_gauge(admin->stats, stat, "1 while what this process needs is there, else 0");
	admin->nchecks++;
	return 0;
}

/* ---- answers ---- */

static void put_json(struct imgo__buf *out, const char *text)
{
	imgo__buf_append(out, "\"", 1);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			imgo__buf_append(out, "\\", 1);
		if ((unsigned char)*text < 0x20)
			imgo__buf_printf(out, "\\u%04x", *text);
		else
			imgo__buf_append(out, text, 1);
	}
	imgo__buf_append(out, "\"", 1);
}

static void put_who(struct imgo_admin *admin, struct imgo__buf *out, const char *status)
{
	imgo__buf_printf(out, "{\"status\":\"%s\",\"program\":", status);
	put_json(out, admin->program);
	imgo__buf_printf(out, ",\"version\":\"%s\",\"uptime_seconds\":%llu", imgo_version(),
		(unsigned long long)(imgo__loop_now_ms(admin->loop) - admin->started_ms) / 1000);
}

static int health(struct imgo_admin *admin, struct imgo__buf *out)
{
	bool ready = look(admin);

	put_who(admin, out, ready ? "ready" : admin->stopping ? "stopping" : "not ready");
	imgo__buf_printf(out, ",\"peers\":[");
	for (unsigned i = 0; i < admin->nchecks; i++) {
		const struct imgo__admin_check *check = &admin->checks[i];
		imgo__buf_printf(out,
			"%s{\"name\":\"%s\",\"state\":\"%s\",\"since_seconds\":%llu,\"detail\":", i ? "," : "",
			check->name, states[check->state],
			(unsigned long long)(imgo__loop_now_ms(admin->loop) - check->since_ms) / 1000);
		put_json(out, check->detail);
		imgo__buf_append(out, "}", 1);
	}
	return imgo__buf_printf(out, "]}\n") ? 500 : ready ? 200 : 503;
}

static int live(struct imgo_admin *admin, struct imgo__buf *out)
{
	put_who(admin, out, "alive");
	return imgo__buf_printf(out, "}\n") ? 500 : 200;
}

static int metrics(struct imgo_admin *admin, struct imgo__buf *out)
{
	size_t len = 0;
	char *text;
	int err;

	(void)look(admin);
	imgo_loop_refresh_stats(admin->loop);
	if (admin->refresh)
		admin->refresh(admin->user);
	if (imgo_stats_text(admin->stats, &text, &len) < 0)
		return 500;
	err = imgo__buf_append(out, text, len);
	free(text);
	if (err == 0 && admin->process)
		err = imgo__admin_process_text(out);
	return err ? 500 : 200;
}

static int index_page(struct imgo_admin *admin, struct imgo__buf *out)
{
	return imgo__buf_printf(out, "%s %s\n/metrics\n/healthz\n/livez\n", admin->program, imgo_version()) ? 500 : 200;
}

static const struct page {
	const char *path, *type;
	int (*make)(struct imgo_admin *admin, struct imgo__buf *out); /* its status */
} pages[] = {
	{"/metrics", IMGO_STATS_CONTENT_TYPE, metrics},
	{"/healthz", NULL, health},
	{"/livez", NULL, live},
	{"/", "text/plain; charset=utf-8", index_page},
};

static const struct page *find_page(struct imgo_str path)
{
	for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
		if (imgo_str_eq(path, imgo_str(pages[i].path)))
			return &pages[i];
	}
	return NULL;
}

static bool on_head(
	struct imgo__httpd_request *request, const struct imgo__http_request *head, unsigned listener, void *user)
{
	struct imgo__httpd_answer answer = {.status = 404};
	struct imgo_admin *admin = user;

	(void)listener;
	imgo_stat_add(admin->requests, 1);
	if (find_page(head->path)) {
		if (imgo_str_eq(head->method, imgo_str("GET")) || imgo_str_eq(head->method, imgo_str("HEAD")))
			return true;
		answer.status = 405;
		answer.headers = "Allow: GET, HEAD\r\n";
	}
	imgo__httpd_answer(request, &answer);
	return false;
}

static void on_handle(struct imgo__httpd_request *request, const struct imgo__http_request *head, struct imgo_str body,
	unsigned listener, void *user)
{
	const struct page *page = find_page(head->path);
	struct imgo__httpd_answer answer = {.content_type = page->type, .headers = "Cache-Control: no-store\r\n"};
	struct imgo__buf text = {0};

	(void)body, (void)listener;
	if (page->make == health && imgo_str_eq(head->query, imgo_str("live")))
		answer.status = live(user, &text);
	else
		answer.status = page->make(user, &text);
	answer.body = imgo_strn(text.data, answer.status == 500 ? 0 : text.len);
	imgo__httpd_answer(request, &answer);
	imgo__buf_free(&text);
}

static const struct imgo__httpd_ops ops = {.head = on_head, .handle = on_handle};

/* ---- life ---- */

static int start(struct imgo_admin *admin, const struct imgo_admin_options *options, struct imgo_error *error)
{
	struct imgo__httpd_options o = IMGO__HTTPD_OPTIONS_INIT;
	struct imgo__addr addr;
	int err;

	o.ops = &ops;
	o.user = admin;
	o.uncounted = true;
	o.connections_max = 64;
	o.body_max = 1024;
	o.bytes_max = 64u << 20;
	if (imgo__addr_parse(&addr, imgo_str(options->listen)) < 0)
		return imgo__fail(error, IMGO_EINVAL, "admin.listen: not an address: %s", options->listen);
	if (!admin->program || imgo__httpd_new(&admin->httpd, admin->loop, &o) < 0)
		return imgo__fail(error, IMGO_ENOMEM, "admin: out of memory");
	err = imgo__httpd_listen(admin->httpd, &addr);
	if (err == IMGO_EEXISTS)
		return imgo__fail(error, err, "admin.listen: %s: the address is in use", options->listen);
	if (err < 0)
		return imgo__fail(error, err == IMGO_ENOMEM ? err : IMGO_EIO, "admin.listen: cannot listen on %s: %s",
			options->listen, imgo_strerror(err));
	return 0;
}

static void enter_stats(struct imgo_admin *admin)
{
	char name[256];

	admin->ready = imgo_stats_gauge(admin->stats, "imgo_ready", "1 while this process is ready, as /healthz tells");
	admin->requests =
		imgo_stats_counter(admin->stats, "imgo_admin_requests_total", "requests to the administrative server");
	if (imgo_stat_name(name, sizeof name - 32, "imgo_build_info", "program", admin->program) < 0)
		return;
	snprintf(strrchr(name, '}'), 32, ",version=\"%.16s\"}", imgo_version());
	imgo_stat_set(imgo_stats_gauge(admin->stats, name, "always 1; program and version are labels"), 1);
}

int imgo_admin_new(struct imgo_admin **out, struct imgo_loop *loop, const struct imgo_admin_options *given,
	struct imgo_error *error)
{
	struct imgo_admin_options o = IMGO_ADMIN_OPTIONS_INIT;
	const struct imgo_admin_options *options = &o;
	struct imgo_admin *admin;
	int err = imgo__options_take(&o, given, "admin", error);

	if (err < 0)
		return err;
	if (!options->listen)
		return imgo__fail(error, IMGO_EINVAL, "admin: listen is mandatory");
	admin = imgo__zalloc(sizeof *admin);
	if (!admin)
		return imgo__fail(error, IMGO_ENOMEM, "admin: out of memory");
	admin->loop = loop;
	admin->stats = options->stats ? options->stats : imgo_loop_stats(loop);
	admin->program = imgo__strdup(options->program ? options->program : "imgo");
	admin->process = options->process;
	admin->refresh = options->refresh;
	admin->user = options->user;
	admin->started_ms = imgo__loop_now_ms(loop);
	imgo__timer_init(&admin->look, on_look);
	err = start(admin, options, error);
	if (err < 0) {
		imgo_admin_free(admin);
		return err;
	}
	enter_stats(admin);
	imgo__timer_start(loop, &admin->look, 0);
	*out = admin;
	return 0;
}

void imgo_admin_free(struct imgo_admin *admin)
{
	if (!admin)
		return;
	imgo__timer_stop(admin->loop, &admin->look);
	imgo__httpd_free(admin->httpd);
	for (unsigned i = 0; i < admin->nchecks; i++)
		imgo__admin_probe_free(admin->checks[i].probe);
	free(admin->program);
	free(admin);
}

int imgo_admin_port(const struct imgo_admin *admin)
{
	return imgo__httpd_port(admin->httpd, 0);
}
