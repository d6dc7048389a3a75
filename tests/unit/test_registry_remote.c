/* SPDX-License-Identifier: MIT */
/* What only a registry over several routers can get wrong: one that is down, old lists, nonsense, restarts.
 */
#include "test.h"

#include <imgo/router.h>

#include "base/mem.h"
#include "rpc/rpc.h"

enum { ROUTERS = 2, USERS = 5000 };

struct fixture {
	struct imgo_loop *loop;
	struct imgo_stats *stats;
	struct imgo_registry *memory[ROUTERS], *remote;
	struct imgo_router *routers[ROUTERS];
	int ports[ROUTERS];
	struct imgo_registry_put puts[USERS];
	struct imgo_registry_get gets[USERS];
	char names[USERS][16];
	unsigned ok, failed, other; /* of the gets */
	int err;
	bool done;
	uint64_t sessions;
	size_t ncomets;
};

static struct fixture *fx;

static void router_start(unsigned i, uint32_t list_version)
{
	struct imgo_router_options options = IMGO_ROUTER_OPTIONS_INIT;
	char listen[32];

	snprintf(listen, sizeof listen, "127.0.0.1:%d", fx->ports[i]);
	options.listen = listen;
	options.list_version = list_version;
	assert_int_equal(imgo_registry_new_memory(&fx->memory[i], fx->loop, NULL), 0);
	assert_int_equal(imgo_router_new(&fx->routers[i], fx->loop, fx->memory[i], &options, NULL), 0);
	fx->ports[i] = imgo_router_port(fx->routers[i]);
}

static void router_stop(unsigned i)
{
	imgo_router_free(fx->routers[i]);
	imgo_registry_free(fx->memory[i]);
	fx->routers[i] = NULL;
	fx->memory[i] = NULL;
}

static void remote_start(uint32_t list_version)
{
	struct imgo_registry_remote_options options = IMGO_REGISTRY_REMOTE_OPTIONS_INIT;
	char list[64];

	snprintf(list, sizeof list, "127.0.0.1:%d,127.0.0.1:%d", fx->ports[0], fx->ports[1]);
	options.routers = list;
	options.list_version = list_version;
	assert_int_equal(imgo_registry_new_remote(&fx->remote, fx->loop, &options, NULL), 0);
}

static int setup(void **state)
{
	struct imgo_loop_options options = IMGO_LOOP_OPTIONS_INIT;

	(void)state;
	fx = calloc(1, sizeof *fx);
	imgo_stats_new(&fx->stats);
	options.stats = fx->stats;
	imgo_loop_new(&fx->loop, &options, NULL);
	for (unsigned i = 0; i < ROUTERS; i++)
		router_start(i, 1);
	remote_start(1);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	imgo_registry_free(fx->remote);
	for (unsigned i = 0; i < ROUTERS; i++)
		router_stop(i);
	imgo_loop_free(fx->loop);
	imgo_stats_free(fx->stats);
	free(fx);
	return 0;
}

static void on_done(int err, void *user)
{
	struct imgo_registry_count *count = user;

	fx->err = err;
	fx->done = true;
	if (count)
		fx->sessions = count->sessions;
	imgo_loop_stop(fx->loop);
}

static int finish(int rc)
{
	if (rc < 0)
		return rc;
	while (!fx->done)
		imgo_loop_run(fx->loop);
	fx->done = false;
	return fx->err;
}

static void on_stop(void *user)
{
	(void)user;
	imgo_loop_stop(fx->loop);
}

static void run_ms(uint64_t ms)
{
	imgo_loop_after(fx->loop, ms, on_stop, NULL, NULL);
	imgo_loop_run(fx->loop);
}

static int renew(struct imgo_registry_renew *call)
{
	call->comet = 1;
	call->inc = (struct imgo_incarnation){1000, 1};
	call->address = imgo_str("127.0.0.1:8092");
	call->lease_ms = 60000;
	return finish(imgo_registry_renew(fx->remote, call, on_done, NULL));
}

static void put_all(void)
{
	for (unsigned i = 0; i < USERS; i++) {
		snprintf(fx->names[i], sizeof fx->names[i], "%u", i + 1);
		memset(&fx->puts[i], 0, sizeof fx->puts[i]);
		fx->puts[i].session.user = fx->gets[i].user = imgo_str(fx->names[i]);
		fx->puts[i].session.device = imgo_str("");
		fx->puts[i].session.id = (struct imgo_session_id){1, {1000, 1}, i + 1};
	}
	assert_int_equal(finish(imgo_registry_put_many(fx->remote, fx->puts, USERS, on_done, NULL)), 0);
}

static void on_got(int err, void *user)
{
	fx->ok = fx->failed = fx->other = 0;
	for (unsigned i = 0; i < USERS; i++) {
		fx->ok += fx->gets[i].err == 0 && fx->gets[i].nsessions == 1 && fx->gets[i].sessions[0].id.n == i + 1;
		fx->failed += fx->gets[i].err == IMGO_EUNAVAILABLE || fx->gets[i].err == IMGO_ETIMEDOUT;
		fx->other += fx->gets[i].err != 0;
	}
	on_done(err, user);
}

static void get_all(void)
{
	assert_int_equal(finish(imgo_registry_get_many(fx->remote, fx->gets, USERS, on_got, NULL)), 0);
}

static void one_router_down(void **state)
{
	struct imgo_registry_renew call = {0};
	struct imgo_registry_comets comets;
	struct imgo_registry_count count = {0};

	(void)state;
	assert_int_equal(renew(&call), 0);
	assert_int_equal(call.nshards, 2);
	assert_int_equal(call.list_version, 1);
	assert_true(call.shards[0].inc.start_us && call.shards[1].inc.start_us);
	put_all();
	get_all();
	assert_int_equal(fx->ok, USERS);
	assert_int_equal(finish(imgo_registry_count(fx->remote, &count, on_done, &count)), 0);
	assert_int_equal(fx->sessions, USERS);

	router_stop(1);
	get_all(); /* an error is for those users alone */
	assert_int_equal(fx->ok + fx->failed, USERS);
	assert_in_range(fx->failed, USERS / 4, USERS * 3 / 4);
	assert_int_equal(renew(&call), 0); /* one is enough */
	assert_true(call.shards[0].inc.start_us != 0 && call.shards[1].inc.start_us == 0);
	assert_int_equal(finish(imgo_registry_comets(fx->remote, &comets, on_done, NULL)), 0);
	assert_int_equal(finish(imgo_registry_count(fx->remote, &count, on_done, &count)), IMGO_EUNAVAILABLE);
	assert_int_equal(finish(imgo_registry_del_comet(fx->remote, 7, on_done, NULL)), IMGO_EUNAVAILABLE);
	router_stop(0);
	assert_int_equal(renew(&call), IMGO_EUNAVAILABLE);
	run_ms(50);
	get_all(); /* fails without anything sent, and yet not before the call returned */
	assert_int_equal(fx->failed, USERS);
	assert_int_equal(finish(imgo_registry_comets(fx->remote, &comets, on_done, NULL)), IMGO_EUNAVAILABLE);
}

static void a_router_that_restarts_is_seen(void **state)
{
	struct imgo_registry_renew before = {0}, after = {0};

	(void)state;
	assert_int_equal(renew(&before), 0);
	put_all();
	router_stop(1);
	run_ms(20);
	router_start(1, 1);
	for (unsigned i = 0; i < 100 && !after.shards[1].inc.start_us; i++) {
		run_ms(20);
		(void)renew(&after);
	}
	assert_int_equal(imgo_incarnation_cmp(before.shards[0].inc, after.shards[0].inc), 0);
	assert_true(imgo_incarnation_cmp(before.shards[1].inc, after.shards[1].inc) != 0);
	for (unsigned i = 0; i < USERS; i++)
		fx->puts[i].session.seq = fx->puts[i].seq; /* announced again, to all: idempotent where it is known */
	assert_int_equal(finish(imgo_registry_put_many(fx->remote, fx->puts, USERS, on_done, NULL)), 0);
	for (unsigned i = 0; i < USERS; i++)
		assert_true(fx->puts[i].err == 0 && fx->puts[i].seq == 1 && fx->puts[i].nevicted == 0);
	get_all();
	assert_int_equal(fx->ok, USERS);
}

static void our_list_is_old(void **state)
{
	struct imgo_registry_renew call = {0};

	(void)state;
	router_stop(1);
	router_start(1, 2);
	for (unsigned i = 0; i < 100 && call.list_version != 2; i++) {
		run_ms(20);
		assert_int_equal(renew(&call), 0); /* and never ESTALE: that would end the comet */
	}
	assert_int_equal(call.list_version, 2);
	put_all();
	get_all();
	for (unsigned i = 0; i < USERS; i++)
		assert_true(fx->puts[i].err == 0 || fx->puts[i].err == IMGO_EVERSION);
	assert_true(fx->other > USERS / 4 && fx->failed == 0 && fx->ok + fx->other == USERS);
	assert_true(imgo_stats_get(fx->stats, "imgo_registry_list_behind_total") > 0);
	assert_true(imgo_stats_get(fx->stats, "imgo_router_list_mismatch_total") > 0);
}

static void our_list_is_newer(void **state)
{
	(void)state;
	imgo_registry_free(fx->remote);
	remote_start(3);
	put_all();
	get_all(); /* served; the routers have it in their logs */
	assert_int_equal(fx->ok, USERS);
	assert_true(imgo_stats_get(fx->stats, "imgo_router_list_mismatch_total") > 0);
	assert_int_equal(imgo_stats_get(fx->stats, "imgo_registry_list_behind_total"), 0);
}

/* ---- a router that answers nonsense ---- */
static unsigned nonsense;

static void on_get(struct imgo__rpc_request *request, struct imgo__mp *params, uint32_t nparams, void *user)
{
	struct imgo__mpw *w = imgo__rpc_reply_begin(request);

	(void)params;
	(void)nparams;
	(void)user;
	if (nonsense == 0) {
		imgo__mpw_uint(w, 5);
	} else if (nonsense == 1) { /* fewer than asked for */
		imgo__mpw_array(w, 2);
		imgo__mpw_uint(w, 1);
		imgo__mpw_array(w, 0);
	} else if (nonsense == 2) { /* a nil with our own number */
		imgo__mpw_array(w, 2);
		imgo__mpw_uint(w, 1);
		imgo__mpw_nil(w);
	} else { /* an error above 0 for each */
		imgo__mpw_array(w, 2);
		imgo__mpw_uint(w, 1);
		imgo__mpw_array(w, 3);
		for (unsigned i = 0; i < 3; i++)
			imgo__mpw_int(w, 1);
	}
	imgo__rpc_reply_end(request);
}

static void answers_nonsense(void **state)
{
	static const struct imgo__rpc_method methods[] = {{"registry.get", on_get}, {NULL, NULL}};
	struct imgo__rpc_server_options options = {.listen = "127.0.0.1:0", .methods = methods};
	struct imgo_registry_remote_options remote = IMGO_REGISTRY_REMOTE_OPTIONS_INIT;
	struct imgo_registry_get gets[3];
	struct imgo__rpc_server *server;
	char address[32];

	(void)state;
	assert_int_equal(imgo__rpc_server_new(&server, fx->loop, &options, NULL), 0);
	snprintf(address, sizeof address, "127.0.0.1:%d", imgo__rpc_server_port(server));
	imgo_registry_free(fx->remote);
	remote.routers = address;
	assert_int_equal(imgo_registry_new_remote(&fx->remote, fx->loop, &remote, NULL), 0);
	for (nonsense = 0; nonsense < 4; nonsense++) {
		for (unsigned i = 0; i < 3; i++)
			gets[i].user = imgo_str("u");
		assert_int_equal(finish(imgo_registry_get_many(fx->remote, gets, 3, on_done, NULL)), 0);
		for (unsigned i = 0; i < 3; i++) {
			assert_int_equal(gets[i].err, IMGO_EPROTO);
			assert_int_equal(gets[i].nsessions, 0);
		}
	}
	imgo__rpc_server_free(server);
}

static void options_are_checked(void **state)
{
	struct imgo_registry_remote_options options = IMGO_REGISTRY_REMOTE_OPTIONS_INIT;
	static const char *const bad[] = {NULL, "", "nonsense", "127.0.0.1:1,", "127.0.0.1:1,127.0.0.1:1"};
	struct imgo_registry *registry;
	struct imgo_error error;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		options.routers = bad[i];
		assert_int_equal(imgo_registry_new_remote(&registry, fx->loop, &options, &error), IMGO_EINVAL);
	}
	options.routers = "127.0.0.1:1";
	options.list_version = 0;
	assert_int_equal(imgo_registry_new_remote(&registry, fx->loop, &options, &error), IMGO_EINVAL);
}

/* The router goes while its registry still works for it. */
static void router_freed_with_calls_pending(void **state)
{
	struct imgo_registry_get get = {.user = imgo_str("u")};

	(void)state;
	for (unsigned i = 0; i < 50; i++) {
		fx->done = false;
		assert_true(imgo_registry_get_many(fx->remote, &get, 1, on_done, NULL) == 0 || true);
		run_ms(0);
		imgo_router_free(fx->routers[0]);
		imgo_router_free(fx->routers[1]);
		imgo_registry_free(fx->memory[0]);
		imgo_registry_free(fx->memory[1]);
		router_start(0, 1);
		router_start(1, 1);
		imgo_registry_free(fx->remote);
		remote_start(1);
	}
}

#define test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(one_router_down),
		test(a_router_that_restarts_is_seen),
		test(our_list_is_old),
		test(our_list_is_newer),
		test(answers_nonsense),
		test(options_are_checked),
		test(router_freed_with_calls_pending),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
