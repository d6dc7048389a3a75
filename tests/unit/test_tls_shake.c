/* SPDX-License-Identifier: MIT */
/* TLS of a hub, up to the end of the handshake: at every cut, refused, resumed, reloaded, in its turn. */
#include "tls_test.h"

#include <signal.h>

#include "base/mem.h"

static struct pki pki;

#define FAILURES(t, why) rig_stat(&(t)->rig, "imgo_tls_failures_total{why=\"" why "\"}")

static int make_pki(void **state)
{
	(void)state;
	pki_new(&pki);
	return 0;
}

static int free_pki(void **state)
{
	(void)state;
	pki_free(&pki);
	return 0;
}

/* ---- cuts ---- */

/* Handshake and login in one stream of the client's bytes, of which the first `cut` come at once, and the rest when the
 * server has had time. Returns the length of the stream. */
static size_t run_cut(struct tls_rig *t, SSL_CTX *ctx, size_t cut, size_t step)
{
	struct tls_client c;
	size_t sent = 0, n;
	uint8_t packet[64];
	size_t len = packet_bytes(packet, 1, 7, 1, "cut");
	bool said = false;

	tls_client_new(&c, ctx, t->tls_port);
	for (uint64_t end = rig_ms() + 5000; t->rig.auths == 0 || !said;) {
		if (tls_client_shake(&c) == 1 && !said) {
			assert_int_equal(SSL_write(c.ssl, packet, (int)len), len);
			said = true;
		}
		while ((n = tls_client_give(&c, sent < cut ? (cut - sent < step ? cut - sent : step) : step)) > 0) {
			sent += n;
			if (sent == cut || step < SIZE_MAX)
				rig_turn(&t->rig);
		}
		rig_turn(&t->rig);
		tls_client_take(&c);
		assert_int_equal(c.error, 0);
		assert_true(rig_ms() < end);
	}
	tls_expect_packet(&t->rig, &c, 8, 1, "");
	assert_string_equal(t->rig.token, "cut");
	t->rig.auths = 0;
	tls_client_free(&c);
	return sent;
}

static void at_every_cut(void **state)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	struct tls_rig t;

	(void)state;
	for (size_t v = 0; v < 2; v++) {
		SSL_CTX *ctx = tls_client_ctx(&pki, versions[v]);
		tls_rig_new(&t, &pki, NULL, NULL, 0);
		size_t len = run_cut(&t, ctx, 0, SIZE_MAX);
		assert_true(len > 300);
		for (size_t cut = 1; cut < len; cut++)
			run_cut(&t, ctx, cut, SIZE_MAX);
		run_cut(&t, ctx, 0, 1); /* and byte by byte */
		rig_until(&t.rig, rig_stat(&t.rig, "imgo_tls_connections") == 0);
		assert_int_equal(rig_stat(&t.rig, "imgo_tls_handshakes_total"), len + 1);
		tls_rig_free(&t);
		SSL_CTX_free(ctx);
	}
}

/* ---- refused ---- */

static void raw(struct tls_rig *t, const char *hex, int port)
{
	int fd = client(port);

	put_hex(fd, hex);
	ending(&t->rig, fd, NULL);
	close(fd);
}

static void what_is_no_tls(void **state)
{
	struct tls_rig t;

	(void)state;
	tls_rig_new(&t, &pki, NULL, NULL, 0);
	raw(&t, "474554202f20485454502f312e310d0a", t.wss_port);        /* GET / HTTP/1.1 */
	raw(&t, "00000014 0010 0001 00000007 00000001 61", t.tls_port); /* imgo's packet in the clear */
	assert_int_equal(FAILURES(&t, "not_tls"), 2);
	raw(&t, "802e 01 0002 0015 0000 0010 010080", t.tls_port); /* SSL 2 */
	assert_int_equal(FAILURES(&t, "version"), 1);
	raw(&t, "160301 4000 01 010000", t.tls_port); /* 64 kB announced: nothing is allocated for it */
	assert_int_equal(FAILURES(&t, "too_big"), 1);
	assert_int_equal(rig_stat(&t.rig, "imgo_tls_handshakes_total"), 0);
	/* A hello that is none inside. */
	raw(&t, "160301 0008 01 000004 03030000", t.tls_port);
	assert_int_equal(FAILURES(&t, "other"), 1);
	assert_int_equal(t.rig.auths, 0);
	tls_rig_free(&t);
}

static void old_versions(void **state)
{
	static const int versions[] = {TLS1_VERSION, TLS1_1_VERSION};
	struct tls_rig t;
	struct tls_client c;

	(void)state;
	tls_rig_new(&t, &pki, NULL, NULL, 0);
	for (size_t i = 0; i < 2; i++) {
		SSL_CTX *ctx = tls_client_ctx(&pki, versions[i]);
		tls_client_new(&c, ctx, t.tls_port);
		assert_int_equal(tls_client_connect(&t.rig, &c), -1);
		/* It is told why: the alert is not lost in a reset. */
		assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_TLSV1_ALERT_PROTOCOL_VERSION);
		tls_client_free(&c);
		SSL_CTX_free(ctx);
	}
	assert_int_equal(FAILURES(&t, "version"), 2);
	tls_rig_free(&t);
}

static int offer(struct tls_rig *t, SSL_CTX *ctx, int port, const char *list, char *chosen)
{
	const unsigned char *p;
	unsigned len;
	struct tls_client c;

	tls_client_new(&c, ctx, port);
	SSL_set_alpn_protos(c.ssl, (const unsigned char *)list, (unsigned)strlen(list));
	int r = tls_client_connect(&t->rig, &c);
	SSL_get0_alpn_selected(c.ssl, &p, &len);
	snprintf(chosen, 32, "%.*s", (int)len, p ? (const char *)p : "");
	tls_client_free(&c);
	return r;
}

static void protocols(void **state)
{
	SSL_CTX *ctx = tls_client_ctx(&pki, TLS1_3_VERSION);
	struct tls_rig t;
	char chosen[32];

	(void)state;
	tls_rig_new(&t, &pki, NULL, NULL, 0);
	assert_int_equal(offer(&t, ctx, t.wss_port, "\x02h2\x08http/1.1", chosen), 1);
	assert_string_equal(chosen, "http/1.1");
	assert_int_equal(offer(&t, ctx, t.tls_port, "\x04imgo", chosen), 1);
	assert_string_equal(chosen, "imgo");
	assert_int_equal(offer(&t, ctx, t.wss_port, "\x02h2", chosen), -1);
	assert_int_equal(offer(&t, ctx, t.tls_port, "\x08http/1.1", chosen), -1);
	rig_until(&t.rig, FAILURES(&t, "alpn") == 2);
	tls_rig_free(&t);
	SSL_CTX_free(ctx);
}

/* ---- deadlines and turns ---- */

static void slow_ones_end_at_the_deadline(void **state)
{
	struct imgo_hub_options hub = IMGO_HUB_OPTIONS_INIT;
	SSL_CTX *ctx = tls_client_ctx(&pki, TLS1_3_VERSION);
	struct tls_rig t;
	struct tls_client slow, half;
	uint64_t began;

	(void)state;
	hub.handshake_timeout_ms = 300;
	tls_rig_new(&t, &pki, NULL, &hub, 0);
	began = rig_ms();
	tls_client_new(&slow, ctx, t.tls_port); /* a byte each few ms: would take seconds */
	tls_client_new(&half, ctx, t.tls_port); /* sends its hello, and then nothing */
	tls_client_shake(&slow);
	tls_client_shake(&half);
	tls_client_give(&half, SIZE_MAX);
	while (!slow.fin && !slow.error && rig_ms() - began < 3000) {
		tls_client_give(&slow, 1);
		rig_for(&t.rig, 5);
		tls_client_take(&slow);
	}
	assert_in_range(rig_ms() - began, 290, 1500);
	tls_ending(&t.rig, &half, NULL);
	rig_until(&t.rig, rig_stat(&t.rig, "imgo_tls_connections") == 1);
	tls_client_free(&half); /* it lingered for the sake of what it was sent */
	rig_until(&t.rig, rig_stat(&t.rig, "imgo_tls_connections") == 0);
	assert_int_equal(FAILURES(&t, "unfinished"), 2);
	assert_int_equal(rig_stat(&t.rig, "imgo_hub_closed_total{why=\"handshake\"}"), 2);
	tls_client_free(&slow);
	tls_rig_free(&t);
	SSL_CTX_free(ctx);
}

enum { CROWD = 30 };

/* How many of clients [from, to) have an answer. */
static int answered(struct tls_client *c, int from, int to)
{
	int n = 0;

	for (int i = from; i < to; i++) {
		tls_client_take(&c[i]);
		n += BIO_pending(c[i].in) > 0;
	}
	return n;
}

static void a_crowd_waits_in_order(void **state)
{
	SSL_CTX *ctx = tls_client_ctx(&pki, TLS1_3_VERSION);
	struct tls_client c[CROWD];
	struct tls_rig t;
	int before = 0;

	(void)state;
	tls_rig_new(&t, &pki, NULL, NULL, 1); /* µs: one step a turn */
	for (int i = 0; i < CROWD; i++)
		tls_client_new(&c[i], ctx, t.tls_port);
	rig_for(&t.rig, 20); /* all are accepted */
	for (int i = 0; i < CROWD; i++) {
		tls_client_shake(&c[i]);
		tls_client_give(&c[i], SIZE_MAX);
		if (i != CROWD / 2 - 1)
			continue;
		imgo_loop_process(t.rig.loop);
		assert_in_range(rig_stat(&t.rig, "imgo_tls_waiting"), CROWD / 2 - 2, CROWD / 2);
	}
	before = answered(c, 0, CROWD);
	for (uint64_t end = rig_ms() + 5000; before < CROWD;) {
		int early = answered(c, 0, CROWD / 2), late = answered(c, CROWD / 2, CROWD);
		assert_in_range(early + late - before, 0, 4); /* one in a turn, and a few turns in a call */
		assert_true(late == 0 || early == CROWD / 2); /* who came later waits longer */
		before = early + late;
		imgo_loop_process(t.rig.loop);
		assert_true(rig_ms() < end);
	}
	for (int i = 0; i < CROWD; i++) {
		assert_int_equal(tls_client_connect(&t.rig, &c[i]), 1);
		tls_client_free(&c[i]);
	}
	assert_int_equal(rig_stat(&t.rig, "imgo_tls_waiting"), 0);
	tls_rig_free(&t);
	SSL_CTX_free(ctx);
}

/* The hub goes away while handshakes wait for their turn. */
static void freed_with_a_queue(void **state)
{
	SSL_CTX *ctx = tls_client_ctx(&pki, TLS1_3_VERSION);
	struct tls_client c[CROWD];
	struct tls_rig t;

	(void)state;
	tls_rig_new(&t, &pki, NULL, NULL, 1);
	for (int i = 0; i < CROWD; i++) {
		tls_client_new(&c[i], ctx, t.tls_port);
		tls_client_shake(&c[i]);
		tls_client_give(&c[i], SIZE_MAX);
	}
	rig_until(&t.rig, rig_stat(&t.rig, "imgo_tls_waiting") > 3);
	imgo_hub_free(t.rig.hub);
	t.rig.freed = true;
	assert_int_equal(rig_stat(&t.rig, "imgo_tls_waiting"), 0);
	assert_int_equal(rig_stat(&t.rig, "imgo_tls_connections"), 0);
	tls_rig_free(&t);
	for (int i = 0; i < CROWD; i++)
		tls_client_free(&c[i]);
	SSL_CTX_free(ctx);
}

/* ---- tickets ---- */

static SSL_SESSION *last_session;

/* Connects, echoes, and keeps the ticket. True: the session was resumed. */
static bool visit(struct tls_rig *t, SSL_CTX *ctx, bool with_ticket)
{
	struct tls_client c;

	tls_client_new(&c, ctx, t->tls_port);
	if (with_ticket)
		assert_int_equal(SSL_set_session(c.ssl, last_session), 1);
	assert_int_equal(tls_client_connect(&t->rig, &c), 1);
	tls_put_packet(&c, 7, 1, "visitor");
	tls_expect_packet(&t->rig, &c, 8, 1, "");
	bool reused = SSL_session_reused(c.ssl);
	SSL_SESSION_free(last_session);
	last_session = SSL_get1_session(c.ssl);
	SSL_shutdown(c.ssl); /* else its session is not one to resume */
	tls_client_free(&c);
	return reused;
}

static void write_tickets(const char *path, const char *const *keys)
{
	char text[4096] = "# keys of the test\n\n", line[256];

	for (; *keys; keys++) {
		for (size_t i = 0; i < 160; i++)
			line[i] = (*keys)[i % strlen(*keys)];
		snprintf(line + 160, sizeof line - 160, "\n");
		strcat(text, line);
	}
	pki_text(path, text);
}

static void a_ticket_is_good_at_every_hub(void **state)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	struct tls_rig one, two;

	(void)state;
	for (size_t v = 0; v < 2; v++) {
		SSL_CTX *ctx = tls_client_ctx(&pki, versions[v]);
		write_tickets(pki.tickets, (const char *const[]){"1a", "2b", NULL});
		tls_rig_new(&one, &pki, pki.tickets, NULL, 0);
		tls_rig_new(&two, &pki, pki.tickets, NULL, 0);
		assert_false(visit(&one, ctx, false));
		assert_true(visit(&two, ctx, true));
		assert_true(visit(&one, ctx, true));
		assert_int_equal(rig_stat(&two.rig, "imgo_tls_resumed_total"), 1);
		/* Rotated: the old key opens still, a third one does not. */
		write_tickets(pki.tickets, (const char *const[]){"3C", "1A", NULL});
		assert_int_equal(imgo_tls_reload(two.tls, NULL), 0);
		assert_true(visit(&two, ctx, true));
		assert_false(visit(&one, ctx, true)); /* a ticket of 3c */
		write_tickets(pki.tickets, (const char *const[]){"4d", NULL});
		assert_int_equal(imgo_tls_reload(two.tls, NULL), 0);
		assert_false(visit(&two, ctx, true));
		SSL_CTX_free(ctx);
		tls_rig_free(&one);
		tls_rig_free(&two);
	}
	SSL_SESSION_free(last_session);
	last_session = NULL;
}

/* Without a file: random keys, which a reload does not change. */
static void tickets_without_a_file(void **state)
{
	SSL_CTX *ctx = tls_client_ctx(&pki, TLS1_3_VERSION);
	struct tls_rig one, two;

	(void)state;
	tls_rig_new(&one, &pki, NULL, NULL, 0);
	tls_rig_new(&two, &pki, NULL, NULL, 0);
	assert_false(visit(&one, ctx, false));
	assert_int_equal(imgo_tls_reload(one.tls, NULL), 0);
	assert_true(visit(&one, ctx, true));
	assert_false(visit(&two, ctx, true));
	SSL_CTX_free(ctx);
	tls_rig_free(&one);
	tls_rig_free(&two);
	SSL_SESSION_free(last_session);
	last_session = NULL;
}

/* ---- files ---- */

static void fails(struct imgo_tls *tls, int err, const char *text)
{
	struct imgo_error error = {0};

	assert_int_equal(imgo_tls_reload(tls, &error), err);
	if (!strstr(error.text, text))
		fail_msg("\"%s\" says nothing of \"%s\"", error.text, text);
}

static bool served(struct tls_rig *t, SSL_CTX *ctx)
{
	struct tls_client c;

	tls_client_new(&c, ctx, t->tls_port);
	bool ok = tls_client_connect(&t->rig, &c) == 1;
	tls_client_free(&c);
	return ok;
}

static void reload_takes_all_or_nothing(void **state)
{
	SSL_CTX *ctx = tls_client_ctx(&pki, TLS1_3_VERSION);
	struct tls_client stays;
	struct tls_rig t;

	(void)state;
	write_tickets(pki.tickets, (const char *const[]){"1a", NULL});
	tls_rig_new(&t, &pki, pki.tickets, NULL, 0);
	tls_client_new(&stays, ctx, t.tls_port);
	assert_int_equal(tls_client_connect(&t.rig, &stays), 1);
	tls_put_packet(&stays, 7, 1, "stays");
	tls_expect_packet(&t.rig, &stays, 8, 1, "");

	/* Wrong in many ways: each time everything stays. */
	pki_issue(pki.cert, pki.other_key, "imgo.test", 86400, pki.root, pki.root_key);
	fails(t.tls, IMGO_EINVAL, "key");
	pki_text(pki.cert, "no certificate\n");
	fails(t.tls, IMGO_EINVAL, "cert.pem");
	assert_int_equal(unlink(pki.cert), 0);
	fails(t.tls, IMGO_ENOTFOUND, "cert.pem");
	pki_issue(pki.cert, pki.key, "imgo.test", -60, pki.root, pki.root_key);
	fails(t.tls, IMGO_EINVAL, "expired");
	assert_true(served(&t, ctx));
	pki_issue(pki.cert, pki.key, "imgo.test", 86400, pki.root, pki.root_key);
	pki_text(pki.tickets, "0123\n");
	fails(t.tls, IMGO_EINVAL, "tickets:1");
	pki_text(pki.tickets, "# none\n");
	fails(t.tls, IMGO_EINVAL, "no ticket key");
	write_tickets(pki.tickets, (const char *const[]){"1", "2", "3", "4", "5", "6", "7", "8", "9", NULL});
	fails(t.tls, IMGO_EINVAL, "more than 8");
	assert_int_equal(rig_stat(&t.rig, "imgo_tls_reloads_total{outcome=\"failed\"}"), 7);
	assert_true(served(&t, ctx));

	/* Right: an authority that the clients do not know shows that it is really taken. */
	write_tickets(pki.tickets, (const char *const[]){"1a", NULL});
	pki_issue(pki.cert, pki.key, "imgo.test", 86400, pki.other_root, pki.other_root_key);
	assert_int_equal(imgo_tls_reload(t.tls, NULL), 0);
	assert_int_equal(rig_stat(&t.rig, "imgo_tls_reloads_total{outcome=\"ok\"}"), 1);
	assert_false(served(&t, ctx));
	rig_until(&t.rig, FAILURES(&t, "alert") == 1);
	pki_issue(pki.cert, pki.key, "imgo.test", 86400, pki.root, pki.root_key);
	assert_int_equal(imgo_tls_reload(t.tls, NULL), 0);
	assert_true(served(&t, ctx));

	tls_put_packet(&stays, 4, 9, "all the while");
	tls_expect_packet(&t.rig, &stays, 5, 9, "all the while");
	tls_client_free(&stays);
	tls_rig_free(&t);
	SSL_CTX_free(ctx);
}

static void what_cannot_be_made(void **state)
{
	struct imgo_tls_options options = IMGO_TLS_OPTIONS_INIT;
	struct imgo_hub_options hub = IMGO_HUB_OPTIONS_INIT;
	struct imgo_error error;
	struct imgo_tls *tls;
	struct rig rig;
	EVP_PKEY *key = EVP_EC_gen("P-256");
	FILE *file = fopen(pki.other_key, "w");

	(void)state;
	rig_new(&rig, NULL);
	assert_int_equal(imgo_hub_listen(rig.hub, "127.0.0.1:0", IMGO_HUB_WSS, NULL, &error), IMGO_EINVAL);
	assert_int_equal(imgo_hub_adopt_fd(rig.hub, client(rig.tcp), IMGO_HUB_TLS), IMGO_EINVAL);
	imgo_hub_free(rig.hub);
	/* An encrypted key asks nobody for its password. */
	PEM_write_PrivateKey(file, key, EVP_aes_128_cbc(), (const unsigned char *)"secret", 6, NULL, NULL);
	fclose(file);
	EVP_PKEY_free(key);
	options.cert = pki.cert;
	options.key = pki.other_key;
	assert_int_equal(imgo_tls_new(&tls, rig.loop, &options, &error), IMGO_EINVAL);
	assert_null(tls);
	options.key = "/nowhere";
	assert_int_equal(imgo_tls_new(&tls, rig.loop, &options, &error), IMGO_ENOTFOUND);
	options.cert = options.key = NULL;
	options.ca = pki.cert;
	assert_int_equal(imgo_tls_new(&tls, rig.loop, &options, &error), 0); /* a client's: fine, but no server's */
	hub.tls = tls;
	rig_new_hub(&rig, &hub);
	assert_int_equal(imgo_hub_listen(rig.hub, "127.0.0.1:0", IMGO_HUB_TLS, NULL, &error), IMGO_EINVAL);
	imgo_hub_free(rig.hub);
	imgo_tls_free(tls);
	rig.freed = true;
	rig_free(&rig);
}

/* The n-th allocation fails, for each n: nobody crashes, and the next one is served. */
static void without_memory(void **state)
{
	SSL_CTX *ctx = tls_client_ctx(&pki, TLS1_3_VERSION);
	struct tls_client c;
	struct tls_rig t;

	(void)state;
	tls_rig_new(&t, &pki, NULL, NULL, 0);
	for (long n = 0, left = -1; left < 0; n++) {
		assert_true(n < 100);
		imgo__mem_fail_after(n);
		tls_client_new(&c, ctx, t.tls_port);
		if (tls_client_connect(&t.rig, &c) == 1)
			rig_for(&t.rig, 2);
		left = imgo__mem_fail_after(-1);
		tls_client_free(&c);
		rig_until(&t.rig, rig_stat(&t.rig, "imgo_tls_connections") == 0);
		assert_true(served(&t, ctx));
	}
	tls_rig_free(&t);
	SSL_CTX_free(ctx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(at_every_cut),
		cmocka_unit_test(what_is_no_tls),
		cmocka_unit_test(old_versions),
		cmocka_unit_test(protocols),
		cmocka_unit_test(slow_ones_end_at_the_deadline),
		cmocka_unit_test(a_crowd_waits_in_order),
		cmocka_unit_test(freed_with_a_queue),
		cmocka_unit_test(a_ticket_is_good_at_every_hub),
		cmocka_unit_test(tickets_without_a_file),
		cmocka_unit_test(reload_takes_all_or_nothing),
		cmocka_unit_test(what_cannot_be_made),
		cmocka_unit_test(without_memory),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, make_pki, free_pki);
}
