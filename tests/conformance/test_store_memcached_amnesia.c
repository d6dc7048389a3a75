/* SPDX-License-Identifier: MIT */
/*
 * What must happen when memcached forgets, and is rebuilt by somebody else, between two commands of one call:
 * the windows are too short to be met by chance, so the parts of the store are called one by one here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "memcached_server.h"
#include "store/memcached.h"

enum { EPOCH = 1, PARTITION = 3 };

struct fixture {
	struct memcached_server server;
	struct imgo__mc mc;
	struct imgo__mc_conn *mine, *others; /* two processes, as it were */
	struct imgo__arena arena;
};

static int set_up(void **state)
{
	if (!memcached_installed())
		return 0;
	struct fixture *f = calloc(1, sizeof *f);
	f->mc.options = (struct imgo_store_options)IMGO_STORE_OPTIONS_INIT;
	f->mc.timeout_ms = 2000;
	if (!memcached_start(&f->server) || imgo_loop_new(&f->mc.loop, NULL, NULL) ||
		imgo__mc_servers_parse(&f->mc, f->server.address, NULL))
		return -1;
	imgo__store_stats_init(&f->mc.stats, NULL);
	f->mine = imgo__mc_conn_new(&f->mc);
	f->others = imgo__mc_conn_new(&f->mc);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	if (!f)
		return 0;
	imgo__mc_conn_free(f->mine);
	imgo__mc_conn_free(f->others);
	imgo__arena_free(&f->arena);
	imgo__mc_servers_free(&f->mc);
	imgo_loop_free(f->mc.loop);
	memcached_kill(&f->server);
	free(f);
	return 0;
}

static struct fixture *get(void **state)
{
	if (!*state) {
		print_message("SKIPPED: memcached is not installed\n");
		skip();
	}
	return *state;
}

static struct imgo__mc_view view_of(struct fixture *f, struct imgo__mc_conn *conn, uint64_t rebuild_token)
{
	struct imgo__mc_view view;
	imgo__mc_view_init(&view, conn, &f->mc, &f->arena, imgo__mc_now_ms() + 10000, EPOCH, PARTITION, rebuild_token);
	return view;
}

static void step(struct fixture *f, enum imgo_marker_step which, uint64_t token)
{
	struct imgo__mc_view view = view_of(f, f->others, 0);
	struct imgo_store_marker call = {.epoch = EPOCH, .partition = PARTITION, .step = which, .token = token};
	assert_int_equal(imgo__mc_marker_step(&view, &call), 0);
}

static void begin_and_finish(struct fixture *f, uint64_t token)
{
	step(f, IMGO_MARKER_BEGIN, token);
	step(f, IMGO_MARKER_FINISH, token);
}

/* Between two commands of mine: everything is forgotten, and rebuilt by another. */
static void amnesia(struct fixture *f, uint64_t token)
{
	assert_int_equal(imgo__mc_flush(f->others), 0);
	begin_and_finish(f, token);
}

static int append_as(struct fixture *f, struct imgo__mc_conn *conn, uint64_t id, uint64_t rebuild_token)
{
	struct imgo__mc_view view = view_of(f, conn, rebuild_token);
	struct imgo_store_body body = {.id = {EPOCH, id}, .msgid.b = {(uint8_t)id}, .at_ms = imgo_loop_wall_ms(f->mc.loop)};
	struct imgo_store_append item = {.user = imgo_str("u"), .body = &body};
	struct imgo_store_append_many call = {
		.epoch = EPOCH, .partition = PARTITION, .bodies = &body, .nbodies = 1, .items = &item, .nitems = 1};
	return imgo__mc_append(&view, &call);
}

static void another_complete_marker(void **state)
{
	struct fixture *f = get(state);
	struct imgo__mc_view view = view_of(f, f->mine, 0);
	begin_and_finish(f, 1);
	assert_int_equal(imgo__mc_get_checked(&view, NULL, 0, NULL), 0);
	assert_int_equal(imgo__mc_recheck(&view), 0);
	amnesia(f, 2);
	/* Complete, but not the one that was seen: what was read before says nothing. */
	assert_int_equal(imgo__mc_recheck(&view), IMGO_EREBUILDING);
	assert_int_equal(imgo__mc_get_checked(&view, NULL, 0, NULL), IMGO_EREBUILDING);
}

static void another_rebuild(void **state)
{
	struct fixture *f = get(state);
	struct imgo__mc_view view = view_of(f, f->mine, 5);
	step(f, IMGO_MARKER_BEGIN, 5);
	assert_int_equal(imgo__mc_get_checked(&view, NULL, 0, NULL), 0);
	step(f, IMGO_MARKER_BEGIN, 6);
	assert_int_equal(imgo__mc_recheck(&view), IMGO_ESTALE);
	step(f, IMGO_MARKER_FINISH, 6);
	assert_int_equal(imgo__mc_recheck(&view), IMGO_ESTALE);
}

static int forget_and_append(struct imgo__mc_edit *edit, void *user)
{
	struct fixture *f = user;
	struct imgo__userlog_append append = {.id = {EPOCH, 9}, .at_ms = edit->ctx.now_ms};
	int err = imgo__userlog_append(&edit->log, &edit->ctx, &append);
	amnesia(f, 2);
	return err;
}

/* A log that is gone at the swap is an amnesia: not begun anew as an empty one. */
static void forgotten_before_the_swap(void **state)
{
	struct fixture *f = get(state);
	struct imgo__mc_view view = view_of(f, f->mine, 0);
	struct imgo__mc_key key;
	struct imgo__mc_value value;
	struct imgo__mc_edit edit;
	begin_and_finish(f, 1);
	assert_int_equal(append_as(f, f->others, 1, 0), 0);
	imgo__mc_key_log(&key, PARTITION, imgo_str("u"));
	assert_int_equal(imgo__mc_get_checked(&view, &key, 1, &value), 0);
	assert_true(value.found);
	assert_int_equal(imgo__mc_edit(&edit, &view, imgo_str("u"), value, forget_and_append, f), IMGO_EREBUILDING);
	imgo__userlog_fini(&edit.log);
	struct imgo__mc_view again = view_of(f, f->others, 0);
	assert_int_equal(imgo__mc_get_checked(&again, &key, 1, &value), 0);
	assert_false(value.found);
}

static int compete_and_append(struct imgo__mc_edit *edit, void *user)
{
	struct fixture *f = user;
	static int times;
	struct imgo__userlog_append append = {.id = {EPOCH, 9}, .at_ms = edit->ctx.now_ms, .tag = "nine"};
	int err = imgo__userlog_append(&edit->log, &edit->ctx, &append);
	if (times++ == 0)
		assert_int_equal(append_as(f, f->others, 2, 0), 0);
	return err;
}

/* Somebody else was faster: both are in the log. */
static void a_conflict(void **state)
{
	struct fixture *f = get(state);
	struct imgo__mc_view view = view_of(f, f->mine, 0);
	struct imgo__mc_key key;
	struct imgo__mc_value value;
	struct imgo__mc_edit edit;
	begin_and_finish(f, 1);
	imgo__mc_key_log(&key, PARTITION, imgo_str("u"));
	assert_int_equal(imgo__mc_get_checked(&view, &key, 1, &value), 0);
	assert_false(value.found);
	assert_int_equal(imgo__mc_edit(&edit, &view, imgo_str("u"), value, compete_and_append, f), 0);
	assert_int_equal(edit.log.nlive, 2);
	imgo__userlog_fini(&edit.log);
}

/* Restarted: the next command of the call fails, whatever cas number it has. The first of the next call does
 * not. */
static void restarted_between(void **state)
{
	struct fixture *f = get(state);
	struct imgo__mc_view view = view_of(f, f->mine, 0), next = view_of(f, f->mine, 0);
	struct imgo__mc_key key;
	struct imgo__mc_value value;
	begin_and_finish(f, 1);
	assert_int_equal(append_as(f, f->others, 1, 0), 0);
	imgo__mc_key_log(&key, PARTITION, imgo_str("u"));
	assert_int_equal(imgo__mc_get_checked(&view, &key, 1, &value), 0);
	memcached_kill(&f->server);
	assert_true(memcached_start(&f->server));
	assert_int_equal(imgo__mc_cas(&view, &key, value.data, 0, value.cas), IMGO_EUNAVAILABLE);
	assert_int_equal(imgo__mc_get_checked(&next, &key, 1, &value), IMGO_EREBUILDING);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(another_complete_marker),
		TEST(another_rebuild),
		TEST(forgotten_before_the_swap),
		TEST(a_conflict),
		TEST(restarted_between),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
