/* SPDX-License-Identifier: MIT */
/*
 * What the daemons share: start (configuration, log, counters, loop), run until a signal, end; and the tables of those
 * settings that several of them have.
 */
#ifndef IMGO_DAEMONS_COMMON_H
#define IMGO_DAEMONS_COMMON_H

#include <imgo/admin.h>
#include <imgo/config.h>
#include <imgo/http.h>
#include <imgo/hub.h>
#include <imgo/log.h>
#include <imgo/loop.h>
#include <imgo/stats.h>
#include <imgo/store.h>
#include <imgo/tls.h>

struct daemon_config {
	int log_level;
	const char *secret;
	uint64_t stop_ms;
	struct imgo_tls_options rpc_tls;
};

struct daemon {
	const char *program;
	struct daemon_config common;
	struct imgo_config *config;
	struct imgo_log *log;
	struct imgo_stats *stats;
	struct imgo_loop *loop;
	const char *admin_listen; /* of the table DAEMON_ADMIN */
	struct imgo_admin *admin; /* NULL: none */
	struct imgo_stat *log_dropped;
	struct imgo_tls *rpc_tls; /* NULL: RPC in the clear */
	struct imgo_tls *client_tls;
	int log_fd;
	bool stopping;
	void (*stop)(void *user); /* on SIGTERM; must lead to daemon_stopped */
	void *user;
};

enum { DAEMON_RUN = -1, DAEMON_OK = 0, DAEMON_BAD_CONFIG = 1, DAEMON_FAILED = 2 };

/* Reads the configuration (the common table and the given sets, at most 7: one of them DAEMON_ADMIN) and makes the
 * loop. DAEMON_RUN, or the code to exit with: --help and its like were answered, or an error was printed. */
int daemon_start(struct daemon *daemon, const char *program, const char *summary, const struct imgo_config_set *sets,
	size_t nsets, int argc, char **argv);

/* Prints "program: what: error" and returns DAEMON_FAILED. */
int daemon_fail(struct daemon *daemon, const struct imgo_error *error);

/* The TLS of clients, daemon->client_tls, which SIGHUP reloads like that of RPC. Without a certificate: none, and 0. */
int daemon_client_tls(struct daemon *daemon, const struct imgo_tls_options *options, struct imgo_error *error);

/* Logs "ready" and runs until SIGTERM or SIGINT, which call stop(user); a second one ends at once. SIGHUP reads
 * certificates and ticket keys again. */
void daemon_run(struct daemon *daemon, void (*stop)(void *user), void *user);

/*
 * Opens the administrative server; then name what it is to watch, if it is there (daemon->admin). "none" opens none. At
 * the default address one that is in use is only warned of: a second daemon of a kind on one machine should run. Close
 * it before what it watches is freed.
 */
int daemon_admin_open(struct daemon *daemon, const char *default_listen, struct imgo_error *error);
void daemon_admin_close(struct daemon *daemon);

/* Ends daemon_run. user: the struct daemon. */
void daemon_stopped(void *user);

void daemon_end(struct daemon *daemon);

/* ---- tables ---- */
extern const char *const daemon_sessions_policies[]; /* words of enum imgo_sessions_policy */
extern const char *const daemon_v1_acks[];           /* words of enum imgo_v1_ack */

/* The table of the administrative server, for struct daemon. */
#define DAEMON_ADMIN(default_) \
	{ \
		{IMGO_PROPERTY("admin.listen", STRING, struct daemon, admin_listen, default_, 0, 0, \
			"Address of /metrics, /healthz and /livez; none: there is none.")}, \
			{0}, \
	}

extern const char *const daemon_auth_modes[]; /* enum imgo_auth_mode */

extern const struct imgo_property daemon_hub_table[]; /* struct imgo_hub_options, "hub.…" */
extern const struct imgo_property daemon_api_table[]; /* struct imgo_http_options, "api.…" */

/* The settings of a store's limits, for the table of any struct that has them. */
#define DAEMON_STORE_LIMITS(struct_, prefix_) \
	{IMGO_PROPERTY("store.ttl", DURATION, struct_, prefix_ ttl_ms, "24h", 1000, 2592000000, \
		"How long a message waits for its user.")}, \
		{IMGO_PROPERTY("store.messages-max", UINT, struct_, prefix_ messages_max, "1000", 1, 100000, \
			"Messages in one user's log; beyond it the oldest is dropped and counted.")}, \
	{ \
		IMGO_PROPERTY("store.bytes-max", SIZE, struct_, prefix_ bytes_max, "1m", 1024, 1073741824, \
			"Bytes of bodies in one user's log; beyond it the oldest is dropped and counted.") \
	}

extern const struct imgo_property daemon_tls_table[]; /* struct imgo_tls_options, "tls.…" */

extern const struct imgo_property daemon_store_table[]; /* struct imgo_store_options, "store.…" */

#endif
