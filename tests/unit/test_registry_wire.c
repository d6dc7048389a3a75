/* SPDX-License-Identifier: MIT */
/* The registry's messages: golden bytes, round trips, what a newer version may append, what is refused. */
#include "test.h"

#include "registry/wire.h"

static const uint32_t both[] = {0, 1};
static struct imgo__buf buf;
static struct imgo__mpw w;
static struct imgo__arena arena;

static int setup(void **state)
{
	(void)state;
	imgo__mpw_init(&w, &buf);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	imgo__buf_free(&buf);
	imgo__arena_free(&arena);
	return 0;
}

static void golden(const char *hex)
{
	char text[2048];

	assert_int_equal(w.err, 0);
	assert_true(buf.len * 2 < sizeof text);
	for (size_t i = 0; i < buf.len; i++)
		snprintf(text + 2 * i, 3, "%02x", buf.data[i]);
	assert_string_equal(text, hex);
}

static struct imgo__mp reader(void)
{
	struct imgo__mp mp;

	imgo__mp_init(&mp, buf.data, buf.len);
	return mp;
}

static struct imgo_session_id id(uint32_t comet, uint64_t n)
{
	return (struct imgo_session_id){comet, {0x0102030405060708, 9}, n};
}

static void put(void **state)
{
	struct imgo_str rooms[] = {imgo_str("r1"), imgo_str("r2")};
	struct imgo_registry_put items[2] = {{.sessions_max = 5, .policy = IMGO_SESSIONS_REFUSE}, {.err = 0}}, *got;
	struct imgo__mp mp;
	size_t n;

	(void)state;
	items[0].session = (struct imgo_session){id(1, 300), imgo_str("u"), imgo_str("web"), 0, rooms, 2};
	items[1].session = (struct imgo_session){id(2, 1), imgo_str("v"), imgo_str(""), 7, NULL, 0};
	imgo__regw_put(&w, items, both, 2);
	golden("929a01cf010203040506070809cd012ca175a377656200"
	       "92a27231a2723205"
	       "01"
	       "9a02cf01020304050607080901a176a007900000");
	mp = reader();
	assert_int_equal(imgo__regw_read_put(&mp, &arena, &got, &n), 0);
	assert_int_equal(n, 2);
	assert_true(imgo_session_id_eq(got[0].session.id, items[0].session.id));
	assert_true(imgo_str_eq(got[0].session.device, imgo_str("web")));
	assert_true(imgo_str_eq(got[0].session.rooms[1], imgo_str("r2")));
	assert_int_equal(got[0].sessions_max, 5);
	assert_int_equal(got[0].policy, IMGO_SESSIONS_REFUSE);
	assert_int_equal(got[1].session.seq, 7);
	assert_int_equal(got[1].session.nrooms, 0);
}

static void put_answer(void **state)
{
	struct imgo_session_id evicted[] = {id(3, 4)};
	struct imgo_registry_put items[2] = {{.seq = 12, .evicted = evicted, .nevicted = 1}, {.err = IMGO_ELIMIT}};
	struct imgo_registry_put got[2] = {{.err = 1}, {.err = 1}};
	struct imgo__mp mp;

	(void)state;
	imgo__regw_put_answer(&w, items, 2);
	golden("9293000c919403cf01020304050607080904"
	       "93fd0090");
	mp = reader();
	assert_int_equal(imgo__regw_read_put_answer(&mp, &arena, got, both, 2), 0);
	assert_int_equal(got[0].err, 0);
	assert_int_equal(got[0].seq, 12);
	assert_int_equal(got[0].nevicted, 1);
	assert_true(imgo_session_id_eq(got[0].evicted[0], evicted[0]));
	assert_int_equal(got[1].err, IMGO_ELIMIT);
	mp = reader();
	assert_int_equal(imgo__regw_read_put_answer(&mp, &arena, got, both, 1), IMGO_EPROTO); /* one was asked for */
}

static void del_and_rooms(void **state)
{
	struct imgo_str rooms[] = {imgo_str("r")};
	struct imgo_registry_del dels[2] = {{imgo_str("u"), id(1, 2), 0}, {imgo_str("v"), id(1, 3), IMGO_EIO}}, *del;
	struct imgo_registry_rooms item = {imgo_str("u"), id(1, 2), rooms, 1, IMGO_ENOTFOUND}, *got;
	struct imgo__mp mp;
	size_t n;

	(void)state;
	imgo__regw_del(&w, dels, both, 2);
	golden("929501cf01020304050607080902a175"
	       "9501cf01020304050607080903a176");
	mp = reader();
	assert_int_equal(imgo__regw_read_del(&mp, &arena, &del, &n), 0);
	assert_true(n == 2 && imgo_session_id_eq(del[1].id, dels[1].id) && imgo_str_eq(del[1].user, dels[1].user));
	buf.len = 0;
	imgo__regw_del_answer(&w, dels, 2);
	golden("9200f7");
	mp = reader();
	dels[0].err = 5;
	assert_int_equal(imgo__regw_read_del_answer(&mp, dels, both, 2), 0);
	assert_int_equal(dels[0].err, 0);
	buf.len = 0;
	imgo__regw_rooms(&w, &item, both, 1);
	golden("919601cf01020304050607080902a17591a172");
	mp = reader();
	assert_int_equal(imgo__regw_read_rooms(&mp, &arena, &got, &n), 0);
	assert_true(n == 1 && got->nrooms == 1 && imgo_str_eq(got->rooms[0], rooms[0]));
	buf.len = 0;
	imgo__regw_rooms_answer(&w, &item, 1);
	golden("91fc");
	mp = reader();
	assert_int_equal(imgo__regw_read_rooms_answer(&mp, &item, both, 1), 0);
}

static void get(void **state)
{
	struct imgo_session sessions[] = {{id(1, 2), imgo_str("u"), imgo_str("web"), 3, NULL, 0}};
	struct imgo_registry_get items[2] = {{.user = imgo_str("u")}, {.user = imgo_str("v")}}, *got;
	struct imgo__mp mp;
	size_t n;

	(void)state;
	imgo__regw_get(&w, items, both, 2);
	golden("92a175a176");
	mp = reader();
	assert_int_equal(imgo__regw_read_get(&mp, &arena, &got, &n), 0);
	assert_true(n == 2 && imgo_str_eq(got[1].user, imgo_str("v")));
	items[0].sessions = sessions;
	items[0].nsessions = 1;
	items[1].err = IMGO_EUNAVAILABLE;
	buf.len = 0;
	imgo__regw_get_answer(&w, items, 2);
	got[0].user = items[0].user; /* they pointed into the buffer */
	got[1].user = items[1].user;
	golden("92919601cf0102030405060708090203a3776562f4");
	mp = reader();
	assert_int_equal(imgo__regw_read_get_answer(&mp, &arena, got, both, 2), 0);
	assert_int_equal(got[0].nsessions, 1);
	assert_true(imgo_session_id_eq(got[0].sessions[0].id, sessions[0].id));
	assert_true(imgo_str_eq(got[0].sessions[0].device, imgo_str("web")));
	assert_true(imgo_str_eq(got[0].sessions[0].user, imgo_str("u")));
	assert_int_equal(got[0].sessions[0].seq, 3);
	assert_int_equal(got[1].err, IMGO_EUNAVAILABLE);
}

static void renew(void **state)
{
	struct imgo_registry_renew call = {.comet = 1,
		.inc = {5, 6},
		.address = imgo_str("a:1"),
		.lease_ms = 10000,
		.about = {imgo_str("h,i"), 1, 2, 3, 4, 5, 6, 7}};
	struct imgo_registry_renew got;
	struct imgo_incarnation inc;
	struct imgo__mp mp;
	int err;

	(void)state;
	imgo__regw_renew(&w, &call);
	golden("97010506a3613a31cd2710c298a3682c6901020304050607");
	mp = reader();
	assert_int_equal(imgo__regw_read_renew(&mp, &got), 0);
	assert_true(got.comet == 1 && got.inc.random == 6 && got.lease_ms == 10000 && !got.leaving);
	assert_true(imgo_str_eq(got.about.hosts, imgo_str("h,i")) && got.about.wss_port == 3 && got.about.ips == 7);
	/* a comet that says nothing of itself yet */
	imgo__mp_init(&mp,
		"\x96\x01\x05\x06\xa3"
		"a:1\xcd\x27\x10\xc2",
		12);
	assert_int_equal(imgo__regw_read_renew(&mp, &got), 0);
	assert_true(got.lease_ms == 10000 && got.about.hosts.len == 0 && got.about.ips == 0);
	buf.len = 0;
	imgo__regw_renew_answer(&w, IMGO_ESTALE, (struct imgo_incarnation){7, 8});
	golden("93f20708");
	mp = reader();
	assert_int_equal(imgo__regw_read_renew_answer(&mp, &err, &inc), 0);
	assert_true(err == IMGO_ESTALE && inc.start_us == 7 && inc.random == 8);
}

static void comets_and_count(void **state)
{
	struct imgo_comet_info infos[] = {{1, {5, 6}, imgo_str("a:1"), 300, {imgo_str("h"), 1, 2, 3, 4, 5, 6, 7}}}, *list;
	struct imgo_registry_comets comets = {infos, 1};
	struct imgo_room_count rooms[] = {{imgo_str(""), 2}, {imgo_str("x"), 1}};
	struct imgo_registry_count count = {.rooms = rooms, .n = 2, .sessions = 3, .users = 2}, got;
	struct imgo__mp mp;
	size_t n;

	(void)state;
	imgo__regw_comets_answer(&w, &comets);
	golden("9196010506a3613a31cd012c98a16801020304050607");
	mp = reader();
	assert_int_equal(imgo__regw_read_comets_answer(&mp, &arena, &list, &n), 0);
	assert_true(n == 1 && list->comet == 1 && list->sessions == 300 && imgo_str_eq(list->address, imgo_str("a:1")));
	assert_true(imgo_str_eq(list->about.hosts, imgo_str("h")) && list->about.weight == 5);
	imgo__mp_init(&mp,
		"\x91\x95\x01\x05\x06\xa3"
		"a:1\x02",
		10); /* of an older router */
	assert_int_equal(imgo__regw_read_comets_answer(&mp, &arena, &list, &n), 0);
	assert_true(n == 1 && list->sessions == 2 && list->about.hosts.len == 0);
	buf.len = 0;
	imgo__regw_count_answer(&w, &count);
	golden("9303029292a00292a17801");
	mp = reader();
	assert_int_equal(imgo__regw_read_count_answer(&mp, &arena, &got), 0);
	assert_true(got.n == 2 && got.sessions == 3 && got.users == 2 && got.rooms[1].count == 1);
}

static void count_of_some(void **state)
{
	struct imgo_str only[] = {imgo_str("a"), imgo_str("b")};
	struct imgo_registry_count call = {0}, got;
	struct imgo__mp mp;

	(void)state;
	imgo__regw_count(&w, &call);
	golden("c0");
	mp = reader();
	assert_int_equal(imgo__regw_read_count(&mp, &arena, &got), 0);
	assert_true(got.prefix.len == 0 && got.nonly == 0);
	buf.len = 0;
	call.prefix = imgo_str("x");
	call.only = only;
	call.nonly = 2;
	imgo__regw_count(&w, &call);
	golden("92a17892a161a162");
	mp = reader();
	assert_int_equal(imgo__regw_read_count(&mp, &arena, &got), 0);
	assert_true(imgo_str_eq(got.prefix, imgo_str("x")) && got.nonly == 2 && imgo_str_eq(got.only[1], only[1]));
	imgo__mp_init(&mp, "\x92\xa0\x91\xa0", 4); /* a room without a key */
	assert_int_equal(imgo__regw_read_count(&mp, &arena, &got), IMGO_EINVAL);
	imgo__mp_init(&mp, "\x92\xa0\xdd\x00\x00\xff\xff", 7); /* more than there are */
	assert_int_equal(imgo__regw_read_count(&mp, &arena, &got), IMGO_EPROTO);
}

static void newer_versions_append(void **state)
{
	struct imgo_registry_del *dels;
	struct imgo_registry_renew got;
	struct imgo__mp mp;
	size_t n;

	(void)state;
	imgo__mp_init(&mp, "\x91\x97\x01\x05\x06\x02\xa1u\x92\x01\x02\xc0", 12); /* [id…, user, [1, 2], nil] */
	assert_int_equal(imgo__regw_read_del(&mp, &arena, &dels, &n), 0);
	assert_true(n == 1 && dels[0].id.n == 2);
	imgo__mp_init(&mp, "\x98\x01\x05\x06\xa1x\x0a\xc2\x99\xa0\x01\x02\x03\x04\x05\x06\x07\xc0\xc3", 19);
	assert_int_equal(imgo__regw_read_renew(&mp, &got), 0);
	assert_int_equal(got.about.ips, 7);
	imgo__mp_init(&mp, "\x95\x01\x05\x06\xa1x\x0a", 7); /* one too few */
	assert_int_equal(imgo__regw_read_renew(&mp, &got), IMGO_EPROTO);
}

static void refused(void **state)
{
	struct imgo_registry_get *gets;
	struct imgo_registry_put *puts;
	struct imgo_registry_renew renew;
	struct imgo__mp mp;
	size_t n;

	(void)state;
	imgo__mp_init(&mp, "\x90", 1);
	assert_int_equal(imgo__regw_read_get(&mp, &arena, &gets, &n), IMGO_EPROTO);
	imgo__mp_init(&mp, "\x91\xa0", 2); /* an empty user */
	assert_int_equal(imgo__regw_read_get(&mp, &arena, &gets, &n), IMGO_EINVAL);
	imgo__mp_init(&mp, "\x91\xa1u\x00", 4); /* something behind */
	assert_int_equal(imgo__regw_read_get(&mp, &arena, &gets, &n), IMGO_EPROTO);
	imgo__mp_init(&mp, "\xdd\x00\x00\xff\xff\xa1", 6); /* counts that are not there */
	assert_int_equal(imgo__regw_read_get(&mp, &arena, &gets, &n), IMGO_EPROTO);
	imgo__mp_init(&mp, "\x91\x9a\x01\x05\x06\x07\xa1u\xa0\x00\x90\x00\x02", 13); /* policy 2 */
	assert_int_equal(imgo__regw_read_put(&mp, &arena, &puts, &n), IMGO_EINVAL);
	imgo__mp_init(&mp, "\x96\x00\x05\x06\xa1x\x0a\xc2", 8); /* comet 0 */
	assert_int_equal(imgo__regw_read_renew(&mp, &renew), IMGO_EINVAL);
	assert_true(arena.total < 4096);
}

#define test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(put),
		test(put_answer),
		test(del_and_rooms),
		test(get),
		test(renew),
		test(comets_and_count),
		test(count_of_some),
		test(newer_versions_append),
		test(refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
