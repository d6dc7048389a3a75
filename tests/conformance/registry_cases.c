/* SPDX-License-Identifier: MIT */
#include "registry_kit.h"

static void case_put_get_del(struct kit *kit)
{
	struct imgo_registry_put put = kit_session("123456", "", 1, 4, 77), again = put;
	struct imgo_session_id other = put.session.id;

	check_int(kit, kit_get(kit, "123456"), 0);
	check_int(kit, kit->nfound, 0);
	check_int(kit, kit_renew(kit, 1, 4, "127.0.0.1:8092", 60000), 0);
	check_int(kit, kit_put(kit, &put), 0);
	check_int(kit, put.seq, 1);
	check_int(kit, kit_put(kit, &again), 0); /* a repeated put is the same session */
	check_int(kit, again.seq, 1);
	check_int(kit, kit_get(kit, "123456"), 0);
	check_int(kit, kit->nfound, 1);
	check(kit, imgo_session_id_eq(kit->found[0].id, put.session.id));
	check_int(kit, kit->found[0].seq, 1);
	check(kit, strcmp(kit->found[0].user, "123456") == 0);
	check(kit, kit->found[0].device[0] == 0);
	check_int(kit, kit_get(kit, "12345"), 0);
	check_int(kit, kit->nfound, 0);

	other.n++;
	check_int(kit, kit_del(kit, "123456", other), 0);
	other = put.session.id;
	other.inc.random++;
	check_int(kit, kit_del(kit, "123456", other), 0);
	check_int(kit, kit_get(kit, "123456"), 0);
	check_int(kit, kit->nfound, 1);
	check_int(kit, kit_del(kit, "123456", put.session.id), 0);
	check_int(kit, kit_del(kit, "123456", put.session.id), 0);
	check_int(kit, kit_get(kit, "123456"), 0);
	check_int(kit, kit->nfound, 0);
}

static uint64_t put_seq(struct kit *kit, const char *user, const char *device, uint64_t n, uint64_t seq)
{
	struct imgo_registry_put put = kit_session(user, device, 1, 4, n);

	put.session.seq = seq;
	check_int(kit, kit_put(kit, &put), 0);
	return put.seq;
}

static void case_seq(struct kit *kit)
{
	kit_renew(kit, 1, 4, "", 60000);
	check_int(kit, put_seq(kit, "u", "", 1, 0), 1);
	check_int(kit, put_seq(kit, "u", "", 2, 0), 2);
	check_int(kit, put_seq(kit, "u", "", 3, 0), 3);
	check_int(kit, put_seq(kit, "v", "", 4, 0), 1);
	kit_del(kit, "u", kit_session("u", "", 1, 4, 3).session.id); /* the highest goes, ... */
	check_int(kit, put_seq(kit, "u", "", 5, 0), 4);              /* and is not used again */
	kit_del(kit, "u", kit_session("u", "", 1, 4, 5).session.id);
	kit_del(kit, "u", kit_session("u", "", 1, 4, 1).session.id);
	check_int(kit, put_seq(kit, "u", "", 6, 0), 5);
	check_int(kit, put_seq(kit, "u", "", 7, 40), 40); /* announced */
	check_int(kit, put_seq(kit, "u", "", 8, 0), 41);
	check_int(kit, put_seq(kit, "u", "", 9, 12), 12);
	check_int(kit, put_seq(kit, "u", "", 10, 12), 42); /* taken meanwhile */
	check_int(kit, put_seq(kit, "u", "", 11, 0), 43);
	check_int(kit, put_seq(kit, "w", "d", 12, 0), 1);
	check_int(kit, put_seq(kit, "w", "d", 13, 0), 2); /* the replaced one may live on for a moment */
	kit_count(kit);
	check_int(kit, kit->users, 3);
	check_int(kit, kit->sessions, 9);
}

static void case_device(struct kit *kit)
{
	struct imgo_registry_put a = kit_session("u", "phone", 1, 4, 1), b = kit_session("u", "phone", 2, 8, 1), late;

	kit_renew(kit, 1, 4, "", 60000);
	kit_renew(kit, 2, 8, "", 60000);
	check_int(kit, kit_put(kit, &b), 0);
	check_int(kit, kit_put(kit, &a), 0); /* newer, although its comet started earlier */
	check_int(kit, kit->nevicted, 1);
	check(kit, imgo_session_id_eq(kit->evicted[0], b.session.id));
	put_seq(kit, "u", "web", 5, 0);
	put_seq(kit, "u", "", 6, 0);
	put_seq(kit, "u", "", 7, 0);
	check_int(kit, kit_get(kit, "u"), 0);
	check_int(kit, kit->nfound, 4);

	late = kit_session("u", "phone", 2, 8, 9); /* lived before this registry did, so it is older than a */
	late.session.seq = 1000;
	check_int(kit, kit_put(kit, &late), IMGO_EEXISTS);
	check_int(kit, kit->nevicted, 0);

	a = kit_session("v", "phone", 1, 4, 20);
	a.session.seq = 5;
	b = kit_session("v", "phone", 2, 8, 21);
	b.session.seq = 6;
	check_int(kit, kit_put(kit, &b), 0);
	check_int(kit, kit_put(kit, &a), IMGO_EEXISTS); /* both announced: seq decides, in either order */
	check_int(kit, kit_del(kit, "v", b.session.id), 0);
	check_int(kit, kit_put(kit, &a), 0);
	check_int(kit, kit_put(kit, &b), 0);
	check_int(kit, kit->nevicted, 1);
	check(kit, imgo_session_id_eq(kit->evicted[0], a.session.id));
}

static void case_maximum(struct kit *kit)
{
	struct imgo_registry_put put;

	kit_renew(kit, 1, 4, "", 60000);
	for (uint64_t n = 1; n <= 3; n++)
		put_seq(kit, "u", "", n, 0);
	put = kit_session("u", "", 1, 4, 10);
	put.sessions_max = 3;
	put.policy = IMGO_SESSIONS_REFUSE;
	check_int(kit, kit_put(kit, &put), IMGO_ELIMIT);
	put.policy = IMGO_SESSIONS_REPLACE;
	check_int(kit, kit_put(kit, &put), 0);
	check_int(kit, kit->nevicted, 1);
	check_int(kit, kit->evicted[0].n, 1);
	put = kit_session("u", "", 1, 4, 11);
	put.sessions_max = 1;
	check_int(kit, kit_put(kit, &put), 0);
	check_int(kit, kit->nevicted, 3);
	put = kit_session("u", "x", 1, 4, 12);
	put.session.seq = 2; /* announced: no maximum */
	put.sessions_max = 1;
	check_int(kit, kit_put(kit, &put), 0);
	check_int(kit, kit->nevicted, 0);
	put = kit_session("u", "x", 1, 4, 13);
	put.sessions_max = 2;
	put.policy = IMGO_SESSIONS_REFUSE; /* takes its device's place: no more than before */
	check_int(kit, kit_put(kit, &put), 0);
	check_int(kit, kit->nevicted, 1);
	check_int(kit, kit->evicted[0].n, 12);
}

static void case_incarnation(struct kit *kit)
{
	struct imgo_registry_put put;

	check_int(kit, kit_renew(kit, 1, 4, "127.0.0.1:1", 60000), 0);
	check_int(kit, kit_renew(kit, 2, 4, "127.0.0.1:2", 60000), 0);
	put_seq(kit, "u", "", 1, 0);
	put = kit_session("u", "", 2, 4, 1);
	check_int(kit, kit_put(kit, &put), 0);
	put = kit_session("w", "", 1, 3, 9);
	check_int(kit, kit_put(kit, &put), IMGO_ESTALE);
	check_int(kit, kit_renew(kit, 1, 3, "", 60000), IMGO_ESTALE);
	check_int(kit, kit_renew(kit, 1, 5, "127.0.0.1:3", 60000), 0);
	check_int(kit, kit_get(kit, "u"), 0);
	check_int(kit, kit->nfound, 1);
	check_int(kit, kit->found[0].id.comet, 2);
	check_int(kit, kit_renew(kit, 1, 4, "", 60000), IMGO_ESTALE); /* late, and changes nothing */
	check_int(kit, kit_comets(kit), 0);
	check_int(kit, kit->ncomets, 2);
	check_int(kit, kit->comets[0].comet, 1);
	check(kit, imgo_incarnation_cmp(kit->comets[0].inc, kit_inc(5)) == 0);
	check(kit, strcmp(kit->comets[0].address, "127.0.0.1:3") == 0);
	check_int(kit, kit->comets[0].sessions, 0);
	check_int(kit, kit->comets[1].sessions, 1);
	check_int(kit, kit_leave(kit, 2, 3), IMGO_ESTALE);
	check_int(kit, kit_leave(kit, 2, 4), 0);
	check_int(kit, kit_leave(kit, 2, 4), 0);
	check_int(kit, kit_get(kit, "u"), 0);
	check_int(kit, kit->nfound, 0);
	check_int(kit, kit_renew(kit, 2, 1, "", 60000), 0); /* the larger one's lease is over */
}

static void case_lease_ends(struct kit *kit)
{
	struct imgo_registry_renew renew = {.comet = 1, .inc = kit_inc(4), .lease_ms = 150};
	struct imgo_registry_shard before[IMGO_REGISTRY_SHARDS_MAX];

	kit_begin(kit, NULL, NULL);
	check_int(kit, kit_wait(kit, imgo_registry_renew(kit->registry, &renew, kit_done, kit)), 0);
	check(kit, renew.nshards >= 1);
	memcpy(before, renew.shards, sizeof before);
	for (uint32_t i = 0; i < renew.nshards; i++)
		check(kit, renew.shards[i].inc.start_us > 0);
	put_seq(kit, "u", "", 1, 0);
	for (unsigned i = 0; i < 5; i++) {
		kit_sleep(kit, 50);
		check_int(kit, kit_renew(kit, 1, 4, "", 150), 0);
	}
	check_int(kit, kit_get(kit, "u"), 0);
	check_int(kit, kit->nfound, 1);
	kit_sleep(kit, 200);
	check_int(kit, kit_get(kit, "u"), 0);
	check_int(kit, kit->nfound, 0);
	check_int(kit, kit_comets(kit), 0);
	check_int(kit, kit->ncomets, 0);
	kit_begin(kit, NULL, NULL);
	check_int(kit, kit_wait(kit, imgo_registry_renew(kit->registry, &renew, kit_done, kit)), 0);
	for (uint32_t i = 0; i < renew.nshards; i++) /* told to announce */
		check(kit, imgo_incarnation_cmp(before[i].inc, renew.shards[i].inc) != 0);
	check_int(kit, put_seq(kit, "u", "", 1, 1), 1);
}

static void case_provisional(struct kit *kit)
{
	struct imgo_registry_put put = kit_session("u", "", 9, 4, 1);

	check_int(kit, kit_put(kit, &put), 0);
	check_int(kit, kit_get(kit, "u"), 0);
	check_int(kit, kit->nfound, 1);
	check_int(kit, kit_comets(kit), 0);
	check_int(kit, kit->ncomets, 0);
	check_int(kit, kit_renew(kit, 9, 4, "unix:/x", 60000), 0);
	check_int(kit, kit_comets(kit), 0);
	check_int(kit, kit->ncomets, 1);
	check_int(kit, kit->comets[0].sessions, 1);
}

static void case_del_comet(struct kit *kit)
{
	struct imgo_registry_put put = kit_session("u", "", 2, 4, 1);

	kit_renew(kit, 1, 4, "a:1", 60000);
	kit_renew(kit, 2, 4, "a:2", 60000);
	put_seq(kit, "u", "", 1, 0);
	check_int(kit, kit_put(kit, &put), 0);
	check_int(kit, kit_del_comet(kit, 1), 0);
	check_int(kit, kit_del_comet(kit, 77), 0);
	check_int(kit, kit_get(kit, "u"), 0);
	check_int(kit, kit->nfound, 1);
	check_int(kit, kit->found[0].id.comet, 2);
	kit_comets(kit);
	check_int(kit, kit->ncomets, 2);
	put_seq(kit, "u", "", 2, 0);
	kit_get(kit, "u");
	check_int(kit, kit->nfound, 2);
}

static void case_rooms(struct kit *kit)
{
	struct imgo_str rooms[] = {imgo_str("b"), imgo_str("live://1"), imgo_str("b"), imgo_str("a")};
	struct imgo_registry_put put = kit_session("u", "", 1, 4, 1);
	struct imgo_session_id nobody = put.session.id;

	kit_renew(kit, 1, 4, "", 60000);
	put.session.rooms = rooms;
	put.session.nrooms = 4;
	check_int(kit, kit_put(kit, &put), 0);
	put_seq(kit, "v", "", 2, 0);
	kit_count(kit);
	check_int(kit, kit->nrooms, 4);
	check(kit, strcmp(kit->rooms[0].room, "") == 0 && strcmp(kit->rooms[1].room, "a") == 0);
	check(kit, strcmp(kit->rooms[2].room, "b") == 0 && strcmp(kit->rooms[3].room, "live://1") == 0);
	check_int(kit, kit_room(kit, "b"), 1);
	check_int(kit, kit_room(kit, ""), 1);
	check_int(kit, kit->sessions, 2);
	check_int(kit, kit->users, 2);
	check_int(kit, kit_set_rooms(kit, "u", put.session.id, rooms + 1, 1), 0);
	kit_count(kit);
	check_int(kit, kit->nrooms, 2);
	check_int(kit, kit_room(kit, "live://1"), 1);
	check_int(kit, kit_set_rooms(kit, "u", put.session.id, NULL, 0), 0);
	kit_count(kit);
	check_int(kit, kit_room(kit, ""), 2);
	nobody.n = 99;
	check_int(kit, kit_set_rooms(kit, "u", nobody, rooms, 1), IMGO_ENOTFOUND);
	check_int(kit, kit_set_rooms(kit, "x", nobody, rooms, 1), IMGO_ENOTFOUND);
}

enum { MANY = 20000, BATCH = 1000 };

struct many {
	char users[BATCH][16];
	struct imgo_registry_put puts[BATCH];
	struct imgo_registry_get gets[BATCH];
	struct imgo_registry_del dels[BATCH];
	unsigned first, expect;
	struct kit *kit;
};

static void many_found(int err, void *user)
{
	struct many *many = user;

	check_int(many->kit, err, 0);
	for (unsigned i = 0; i < BATCH; i++) {
		const struct imgo_registry_get *get = &many->gets[i];
		check_int(many->kit, get->err, 0);
		check_int(many->kit, get->nsessions, many->expect);
		if (get->nsessions)
			check_int(many->kit, get->sessions[0].id.n, many->first + i);
	}
	kit_done(0, many->kit);
}

static void many_users(struct many *many, unsigned first)
{
	static const struct imgo_str room = {"big", 3};

	many->first = first;
	for (unsigned i = 0; i < BATCH; i++) {
		snprintf(many->users[i], sizeof many->users[i], "user-%u", first + i);
		many->puts[i] = kit_session(many->users[i], "", 1 + i % 2, 4, first + i);
		many->puts[i].session.rooms = &room;
		many->puts[i].session.nrooms = 1;
		many->gets[i].user = many->puts[i].session.user;
		many->dels[i].user = many->puts[i].session.user;
		many->dels[i].id = many->puts[i].session.id;
	}
}

static void many_get(struct many *many, unsigned expect)
{
	struct kit *kit = many->kit;

	many->expect = expect;
	kit_begin(kit, NULL, NULL);
	kit_wait(kit, imgo_registry_get_many(kit->registry, many->gets, BATCH, many_found, many));
}

/* What is asked for is there; more may be. */
static void case_some_rooms(struct kit *kit)
{
	struct imgo_str rooms[] = {imgo_str("live://1"), imgo_str("live://2"), imgo_str("chat://1")};
	struct imgo_str only[] = {imgo_str("live://2"), imgo_str("chat://1"), imgo_str("nobody://1"), imgo_str("live://2")};

	for (unsigned i = 0; i < 40; i++) {
		struct imgo_registry_put put = kit_session("", "", 1, 4, i + 1);
		char user[16];
		snprintf(user, sizeof user, "u%u", i);
		put.session.user = imgo_str(user);
		put.session.rooms = rooms + i % 3;
		put.session.nrooms = 3 - i % 3;
		check_int(kit, kit_put(kit, &put), 0);
	}
	check_int(kit, kit_count_some(kit, "live://", NULL, 0), 0);
	check_int(kit, kit_room(kit, "live://1"), 14);
	check_int(kit, kit_room(kit, "live://2"), 27);
	check_int(kit, kit->sessions, 40);
	check_int(kit, kit_count_some(kit, "", only, 4), 0);
	check_int(kit, kit_room(kit, "live://2"), 27);
	check_int(kit, kit_room(kit, "chat://1"), 40);
	check_int(kit, kit_room(kit, "nobody://1"), 0);
}

/* What a comet says of itself is passed on as it was said last. */
static void case_about(struct kit *kit)
{
	kit->about = (struct imgo_comet_about){imgo_str("203.0.113.7,c1.example.org"), 8080, 8090, 8095, 300000, 10, 3, 2};
	check_int(kit, kit_renew(kit, 1, 4, "a:1", 60000), 0);
	check_int(kit, kit_comets(kit), 0);
	check_int(kit, kit->ncomets, 1);
	check(kit, strcmp(kit->comets[0].hosts, "203.0.113.7,c1.example.org") == 0);
	check_int(kit, kit->comets[0].about.wss_port, 8095);
	check_int(kit, kit->comets[0].about.heartbeat_ms, 300000);
	check_int(kit, kit->comets[0].about.connections, 3);
	kit->about = (struct imgo_comet_about){.hosts = imgo_str("h"), .connections = 5};
	check_int(kit, kit_renew(kit, 1, 4, "a:1", 60000), 0);
	check_int(kit, kit_del_comet(kit, 1), 0);
	check_int(kit, kit_comets(kit), 0);
	check(kit, strcmp(kit->comets[0].hosts, "h") == 0);
	check_int(kit, kit->comets[0].about.connections, 5);
	check_int(kit, kit->comets[0].about.tcp_port, 0);
	kit->about.tcp_port = 65536;
	check_int(kit, kit_renew(kit, 1, 4, "a:1", 60000), IMGO_EINVAL);
	kit->about = (struct imgo_comet_about){0};
}

static void case_many(struct kit *kit)
{
	struct many *many = calloc(1, sizeof *many);

	many->kit = kit;
	kit_renew(kit, 1, 4, "", 60000);
	kit_renew(kit, 2, 4, "", 60000);
	for (unsigned first = 0; first < MANY; first += BATCH) {
		many_users(many, first);
		kit_begin(kit, NULL, NULL);
		check_int(kit, kit_wait(kit, imgo_registry_put_many(kit->registry, many->puts, BATCH, kit_done, kit)), 0);
		many_get(many, 1);
	}
	kit_count(kit);
	check_int(kit, kit->users, MANY);
	check_int(kit, kit_room(kit, "big"), MANY);
	for (unsigned first = 0; first < MANY; first += 2 * BATCH) {
		many_users(many, first);
		kit_begin(kit, NULL, NULL);
		check_int(kit, kit_wait(kit, imgo_registry_del_many(kit->registry, many->dels, BATCH, kit_done, kit)), 0);
		many_get(many, 0);
		many_users(many, first + BATCH);
		many_get(many, 1);
	}
	kit_leave(kit, 1, 4);
	kit_count(kit);
	check_int(kit, kit->users, MANY / 4);
	kit_renew(kit, 2, 5, "", 60000);
	kit_count(kit);
	check_int(kit, kit->users, 0);
	check_int(kit, kit->nrooms, 0);
	free(many);
}

static void case_arguments(struct kit *kit)
{
	char longer[IMGO_ROOM_MAX + 2];
	struct imgo_str room = {longer, IMGO_ROOM_MAX + 1};
	struct imgo_registry_put put = kit_session("", "", 1, 4, 1);
	struct imgo_registry_renew renew = {.comet = 1};

	memset(longer, 'x', sizeof longer);
	check_int(kit, kit_put(kit, &put), IMGO_EINVAL);
	put.session.user = imgo_strn(longer, IMGO_USER_MAX + 1);
	check_int(kit, kit_put(kit, &put), IMGO_EINVAL);
	put.session.user = imgo_str("u");
	put.session.device = imgo_strn(longer, IMGO_DEVICE_MAX + 1);
	check_int(kit, kit_put(kit, &put), IMGO_EINVAL);
	put.session.device = imgo_strn(longer, IMGO_DEVICE_MAX);
	put.session.id.comet = 0;
	check_int(kit, kit_put(kit, &put), IMGO_EINVAL);
	put.session.id.comet = 1;
	put.session.rooms = &room;
	put.session.nrooms = 1;
	check_int(kit, kit_put(kit, &put), IMGO_EINVAL);
	room.len--;
	check_int(kit, kit_put(kit, &put), 0);
	check_int(kit, imgo_registry_put_many(kit->registry, &put, 0, kit_done, kit), IMGO_EINVAL);
	check_int(kit, imgo_registry_renew(kit->registry, &renew, kit_done, kit), IMGO_EINVAL);
	check_int(kit, kit_get(kit, ""), IMGO_EINVAL);
	check_int(kit, kit_del_comet(kit, 0), IMGO_EINVAL);
}

/* Calls made together take effect in their order, and their callbacks come in a later turn or at the end of
 * this one. */
struct order {
	struct kit *kit;
	struct imgo_registry_put put;
	struct imgo_registry_get before, after;
	struct imgo_registry_del del;
	bool returned;
	unsigned n;
	size_t nbefore, nafter;
};

static void order_done(int err, void *user)
{
	struct order *order = user;

	check_int(order->kit, err, 0);
	check(order->kit, order->returned);
	if (++order->n == 2)
		order->nbefore = order->before.nsessions;
	if (order->n < 4)
		return;
	order->nafter = order->after.nsessions;
	kit_done(0, order->kit);
}

static void case_order(struct kit *kit)
{
	struct order order = {.kit = kit, .put = kit_session("u", "", 1, 4, 1)};

	kit_renew(kit, 1, 4, "", 60000);
	order.before.user = order.after.user = order.del.user = order.put.session.user;
	order.del.id = order.put.session.id;
	kit_begin(kit, NULL, NULL);
	check_int(kit, imgo_registry_put_many(kit->registry, &order.put, 1, order_done, &order), 0);
	check_int(kit, imgo_registry_get_many(kit->registry, &order.before, 1, order_done, &order), 0);
	check_int(kit, imgo_registry_del_many(kit->registry, &order.del, 1, order_done, &order), 0);
	check_int(kit, imgo_registry_get_many(kit->registry, &order.after, 1, order_done, &order), 0);
	order.returned = true;
	kit_wait(kit, 0);
	check_int(kit, order.nbefore, 1);
	check_int(kit, order.nafter, 0);
}

struct freer {
	struct kit *kit;
	unsigned canceled, calls;
	bool frees;
};

static void freer_done(int err, void *user)
{
	struct freer *freer = user;

	freer->calls++;
	freer->canceled += err == IMGO_ECANCELED;
	if (freer->frees && freer->calls == 1) {
		imgo_registry_free(freer->kit->registry);
		freer->kit->registry = NULL;
	}
}

static void case_free_pending(struct kit *kit)
{
	struct freer freer = {.kit = kit};
	struct imgo_registry_get get = {.user = imgo_str("u")};
	struct imgo_registry_comets comets;

	check_int(kit, imgo_registry_get_many(kit->registry, &get, 1, freer_done, &freer), 0);
	check_int(kit, imgo_registry_comets(kit->registry, &comets, freer_done, &freer), 0);
	imgo_registry_free(kit->registry);
	kit->registry = NULL;
	check_int(kit, freer.calls, 2);
	check_int(kit, freer.canceled, 2);
}

static void case_free_inside(struct kit *kit)
{
	struct freer freer = {.kit = kit, .frees = true};
	struct imgo_registry_get get = {.user = imgo_str("u")}, second = get;

	check_int(kit, imgo_registry_get_many(kit->registry, &get, 1, freer_done, &freer), 0);
	check_int(kit, imgo_registry_get_many(kit->registry, &second, 1, freer_done, &freer), 0);
	for (unsigned i = 0; i < 200 && freer.calls < 2; i++)
		kit_sleep(kit, 10);
	check_int(kit, freer.calls, 2);
	check_int(kit, freer.canceled, 1);
	kit_sleep(kit, 10);
}

static const struct {
	const char *name;
	void (*run)(struct kit *kit);
} cases[] = {
	{"put, get, del", case_put_get_del},
	{"seq", case_seq},
	{"named devices", case_device},
	{"maximum of sessions", case_maximum},
	{"incarnations", case_incarnation},
	{"lease ends", case_lease_ends},
	{"provisional lease", case_provisional},
	{"del_comet", case_del_comet},
	{"rooms and count", case_rooms},
	{"count of some rooms", case_some_rooms},
	{"what comets say of themselves", case_about},
	{"many", case_many},
	{"arguments", case_arguments},
	{"order of calls", case_order},
	{"free with calls pending", case_free_pending},
	{"free inside a callback", case_free_inside},
	{"model", registry_model},
};

int registry_cases_run(const struct registry_backend *backend, const char *only)
{
	int failed = 0;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct kit *kit;
		if (only && !strstr(cases[i].name, only))
			continue;
		kit = calloc(1, sizeof *kit);
		kit->backend = backend;
		if (imgo_loop_new(&kit->loop, NULL, NULL) < 0 || backend->open(kit->loop, &kit->registry, &kit->state) < 0) {
			fprintf(stderr, "%s: cannot be opened\n", backend->name);
			abort();
		}
		cases[i].run(kit);
		imgo_registry_free(kit->registry);
		backend->close(kit->state);
		imgo_loop_free(kit->loop);
		if (kit->failures)
			fprintf(stderr, "%s: FAILED: %s\n", backend->name, cases[i].name);
		failed += kit->failures > 0;
		free(kit);
	}
	return failed;
}
