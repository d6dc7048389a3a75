/* SPDX-License-Identifier: MIT */
/* The client against a hub on the same loop, and against servers that misbehave. */
#include "hub_test.h"

#include <imgo/client.h>

#include "base/mem.h"

struct seen {
	struct rig rig;
	struct imgo_client *client;
	struct imgo_client_options options;
	int opens, messages, closes;
	uint16_t ver;
	char reply[128];
	struct imgo_client_message last;
	char body[8192];
	char all[512]; /* bodies, one after the other, '|' between */
	struct imgo_client_closed closed;
	void (*hook)(struct seen *seen);
	char address[64];
};

static void on_open(struct imgo_client *client, uint16_t ver, struct imgo_str reply, void *user)
{
	struct seen *seen = user;

	assert_int_equal(imgo_client_state(client), IMGO_CLIENT_OPEN);
	seen->opens++;
	seen->ver = ver;
	snprintf(seen->reply, sizeof seen->reply, "%.*s", (int)reply.len, reply.p ? reply.p : "");
}

static void on_message(struct imgo_client *client, const struct imgo_client_message *message, void *user)
{
	struct seen *seen = user;
	size_t len = message->body.len;

	(void)client;
	seen->messages++;
	seen->last = *message;
	assert_true(len < sizeof seen->body);
	memcpy(seen->body, len ? message->body.p : "", len);
	seen->body[len] = 0;
	if (len < 32 && strlen(seen->all) < 400) {
		strcat(seen->all, seen->body);
		strcat(seen->all, "|");
	}
	if (seen->hook)
		seen->hook(seen);
}

static void on_close(struct imgo_client *client, const struct imgo_client_closed *closed, void *user)
{
	struct seen *seen = user;

	assert_int_equal(imgo_client_state(client), closed->final ? IMGO_CLIENT_CLOSED : IMGO_CLIENT_WAITING);
	seen->closes++;
	seen->closed = *closed;
}

static const struct imgo_client_ops client_ops = {sizeof client_ops, on_open, on_message, on_close};

static void prepare(struct seen *seen, enum imgo_client_transport transport)
{
	static const struct imgo_client_options defaults = IMGO_CLIENT_OPTIONS_INIT;

	memset(seen, 0, sizeof *seen);
	rig_new(&seen->rig, NULL);
	seen->options = defaults;
	seen->options.transport = transport;
	seen->options.token = "alice";
	seen->options.retry_min_ms = 10;
	seen->options.retry_max_ms = 40;
	snprintf(seen->address, sizeof seen->address, "127.0.0.1:%d",
		transport == IMGO_CLIENT_TCP ? seen->rig.tcp : seen->rig.ws);
	seen->options.address = seen->address;
}

static void begin(struct seen *seen)
{
	struct imgo_error error = {0};

	assert_int_equal(imgo_client_new(&seen->client, seen->rig.loop, &client_ops, seen, &seen->options, &error), 0);
	assert_int_equal(seen->opens + seen->closes, 0);
}

static void open_client(struct seen *seen)
{
	begin(seen);
	rig_until(&seen->rig, seen->opens > 0);
}

static void end(struct seen *seen)
{
	imgo_client_free(seen->client);
	rig_free(&seen->rig);
}

static void push(struct seen *seen, const char *body)
{
	struct imgo_msg *msg = message(body);

	assert_int_equal(imgo_hub_send_user(seen->rig.hub, imgo_str("alice"), &msg, 1), 1);
	imgo_msg_unref(msg);
}

/* ---- with the hub, both transports ---- */

static void calls(enum imgo_client_transport transport)
{
	struct seen seen;
	int32_t seq = 0;
	bool ws = transport == IMGO_CLIENT_WEBSOCKET;

	prepare(&seen, transport);
	begin(&seen);
	assert_int_equal(imgo_client_send(seen.client, 4, imgo_str("x"), NULL), IMGO_ECLOSED);
	rig_until(&seen.rig, seen.opens > 0);
	assert_string_equal(seen.rig.token, "alice");
	assert_int_equal(seen.ver, 1);
	assert_string_equal(seen.reply, ws ? "{}" : "");

	push(&seen, "plain");
	rig_until(&seen.rig, seen.messages == 1);
	assert_string_equal(seen.body, "plain");
	assert_int_equal(seen.last.kind, IMGO_CLIENT_PUSH);
	assert_int_equal(seen.last.op, 5);
	assert_int_equal(seen.last.seq, 0);
	assert_int_equal(seen.last.is_string, ws);
	assert_false(seen.last.has_id);

	assert_int_equal(imgo_client_send(seen.client, 4, imgo_str("a \"b\"\n"), &seq), 0);
	rig_until(&seen.rig, seen.messages == 2);
	assert_string_equal(seen.body, "a \"b\"\n");
	assert_int_equal(seen.last.kind, IMGO_CLIENT_ANSWER);
	assert_int_equal(seen.last.seq, seq);
	assert_true(seq > 0);

	assert_int_equal(imgo_client_send(seen.client, 254, imgo_str(NULL), NULL), 0);
	rig_until(&seen.rig, seen.messages == 3);
	assert_string_equal(seen.body, "{\"test\":\"come on\"}");
	assert_int_equal(seen.last.op, 255);
	for (int op = 2; op <= 18; op += op == 2 ? 5 : 11)
		assert_int_equal(imgo_client_send(seen.client, op, imgo_str(""), NULL), IMGO_EINVAL);
	assert_int_equal(imgo_client_ack(seen.client, (struct imgo_id){1, 1}), IMGO_EINVAL);
	end(&seen);
}

static void test_calls_tcp(void **state)
{
	(void)state;
	calls(IMGO_CLIENT_TCP);
}

static void test_calls_ws(void **state)
{
	(void)state;
	calls(IMGO_CLIENT_WEBSOCKET);
}

static void rooms(enum imgo_client_transport transport)
{
	struct seen seen;
	struct imgo_msg *msgs[3] = {message("1"), message("{\"two\": 2}"), message("drei")};

	prepare(&seen, transport);
	seen.options.room = "5"; /* a number in JSON, a name here */
	open_client(&seen);
	rig_until(&seen.rig, seen.messages == 1);
	assert_int_equal(seen.last.op, 13);
	assert_int_equal(imgo_hub_send_room(seen.rig.hub, imgo_str("5"), msgs, 3), 1);
	rig_until(&seen.rig, seen.messages == 4);
	if (transport == IMGO_CLIENT_TCP)
		assert_string_equal(seen.all, "5|1|{\"two\": 2}|drei|");
	else
		assert_string_equal(seen.all, "5|1|{\"two\":2}|drei|");

	assert_int_equal(imgo_client_room(seen.client, imgo_str("live://1")), 0);
	rig_until(&seen.rig, seen.messages == 5);
	assert_int_equal(imgo_hub_room_size(seen.rig.hub, imgo_str("5")), 0);
	assert_int_equal(imgo_hub_room_size(seen.rig.hub, imgo_str("live://1")), 1);
	/* it is remembered */
	imgo_hub_close(seen.rig.hub, seen.rig.conn, IMGO_CLOSE_SHUTDOWN);
	rig_until(&seen.rig, seen.opens == 2 && seen.messages == 6);
	assert_int_equal(imgo_hub_room_size(seen.rig.hub, imgo_str("live://1")), 1);
	assert_int_equal(imgo_client_room(seen.client, imgo_str("")), 0);
	rig_until(&seen.rig, seen.messages == 7);
	assert_int_equal(imgo_hub_room_size(seen.rig.hub, imgo_str("live://1")), 0);
	for (int i = 0; i < 3; i++)
		imgo_msg_unref(msgs[i]);
	end(&seen);
}

static void test_rooms_tcp(void **state)
{
	(void)state;
	rooms(IMGO_CLIENT_TCP);
}

static void test_rooms_ws(void **state)
{
	(void)state;
	rooms(IMGO_CLIENT_WEBSOCKET);
}

static uint64_t acked;
static int acks;

static bool take_ack(struct rig *rig, struct imgo_conn conn, const struct imgo_hub_packet *packet)
{
	(void)rig, (void)conn;
	if (packet->op != 18)
		return false;
	acked = packet->id.id;
	acks++;
	return true;
}

static void version2(enum imgo_client_transport transport)
{
	struct seen seen;
	struct imgo_msg *msgs[2];

	acks = 0;
	prepare(&seen, transport);
	seen.options.ver = 2;
	seen.options.device = "ph\"one";
	seen.rig.hook_packet = take_ack;
	seen.rig.grant_reply = "{\"heartbeat\":30}";
	open_client(&seen);
	assert_int_equal(seen.ver, 2);
	assert_string_equal(seen.reply, "{\"heartbeat\":30}");
	assert_string_equal(seen.rig.device, "ph\"one");
	assert_false(seen.rig.has_resume);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(imgo_msg_new(&msgs[i], 5, (struct imgo_id){7, 41 + i}, "logged", 6), 0);
	assert_int_equal(imgo_hub_send_user(seen.rig.hub, imgo_str("alice"), msgs, 2), 1);
	rig_until(&seen.rig, acks > 0 && acked == 42);
	assert_int_equal(acks, 1); /* cumulative */
	assert_int_equal(seen.messages, 2);
	assert_true(seen.last.has_id);
	assert_int_equal(seen.last.id.epoch, 7);
	assert_int_equal(seen.last.id.id, 42);
	imgo_hub_close(seen.rig.hub, seen.rig.conn, IMGO_CLOSE_SHUTDOWN);
	rig_until(&seen.rig, seen.opens == 2);
	assert_true(seen.rig.has_resume);
	assert_int_equal(seen.rig.resume.id, 42);
	for (int i = 0; i < 2; i++)
		imgo_msg_unref(msgs[i]);
	end(&seen);
}

static void test_version2_tcp(void **state)
{
	(void)state;
	version2(IMGO_CLIENT_TCP);
}

static void test_version2_ws(void **state)
{
	(void)state;
	version2(IMGO_CLIENT_WEBSOCKET);
}

static void test_manual_ack(void **state)
{
	struct seen seen;
	struct imgo_msg *msg;

	(void)state;
	acks = 0;
	prepare(&seen, IMGO_CLIENT_TCP);
	seen.options.ver = 2;
	seen.options.manual_ack = true;
	seen.rig.hook_packet = take_ack;
	open_client(&seen);
	assert_int_equal(imgo_msg_new(&msg, 5, (struct imgo_id){7, 9}, "logged", 6), 0);
	assert_int_equal(imgo_hub_send_user(seen.rig.hub, imgo_str("alice"), &msg, 1), 1);
	rig_until(&seen.rig, seen.messages == 1);
	rig_for(&seen.rig, 20);
	assert_int_equal(acks, 0);
	assert_int_equal(imgo_client_ack(seen.client, seen.last.id), 0);
	rig_until(&seen.rig, acks == 1);
	imgo_msg_unref(msg);
	end(&seen);
}

static void close_it(struct seen *seen)
{
	imgo_client_close(seen->client);
}

static void test_close_acknowledges(void **state)
{
	(void)state;
	for (int transport = 0; transport < 2; transport++) {
		struct seen seen;
		struct imgo_msg *msgs[2];
		acks = 0;
		prepare(&seen, (enum imgo_client_transport)transport);
		seen.options.ver = 2;
		seen.rig.hook_packet = take_ack;
		seen.hook = close_it;
		open_client(&seen);
		for (unsigned i = 0; i < 2; i++)
			assert_int_equal(imgo_msg_new(&msgs[i], 5, (struct imgo_id){7, 1 + i}, "x", 1), 0);
		imgo_hub_send_user(seen.rig.hub, imgo_str("alice"), msgs, 2);
		rig_until(&seen.rig, seen.closes == 1);
		assert_int_equal(seen.messages, 1);
		assert_int_equal(acks, 1);
		assert_int_equal(acked, 1); /* that one, and not the next */
		assert_true(seen.rig.closed.orderly);
		end(&seen);
		imgo_msg_unref(msgs[0]);
		imgo_msg_unref(msgs[1]);
	}
}

static void test_granted_version1(void **state)
{
	struct seen seen;

	(void)state;
	prepare(&seen, IMGO_CLIENT_TCP);
	seen.options.ver = 2;
	seen.rig.hook_packet = take_ack;
	open_client(&seen);
	assert_string_equal(seen.rig.token, "alice"); /* bare: no object was needed */
	end(&seen);
}

static int hub_heartbeats;

static bool count_heartbeats(struct rig *rig, struct imgo_conn conn, const struct imgo_hub_packet *packet)
{
	(void)rig, (void)conn;
	hub_heartbeats += packet->op == 2;
	return false;
}

static bool swallow(struct rig *rig, struct imgo_conn conn, const struct imgo_hub_packet *packet)
{
	(void)rig, (void)conn, (void)packet;
	return true;
}

static void test_heartbeats(void **state)
{
	struct seen seen;

	(void)state;
	for (int transport = 0; transport < 2; transport++) {
		hub_heartbeats = 0;
		prepare(&seen, (enum imgo_client_transport)transport);
		seen.options.heartbeat_ms = 20;
		seen.options.heartbeat_timeout_ms = 1000;
		seen.rig.hook_packet = count_heartbeats;
		open_client(&seen);
		rig_until(&seen.rig, hub_heartbeats >= 5);
		assert_int_equal(seen.messages + seen.closes, 0);
		/* no answer any more */
		seen.rig.hook_packet = swallow;
		imgo_client_free(seen.client);
		seen.options.heartbeat_timeout_ms = 30;
		seen.opens = seen.closes = 0;
		begin(&seen);
		rig_until(&seen.rig, seen.closes > 0);
		assert_int_equal(seen.closed.err, IMGO_ETIMEDOUT);
		assert_true(seen.closed.was_open && !seen.closed.final);
		end(&seen);
	}
}

static void test_refused(void **state)
{
	struct seen seen;

	(void)state;
	prepare(&seen, IMGO_CLIENT_WEBSOCKET);
	seen.rig.auth = RIG_REFUSE;
	begin(&seen);
	rig_until(&seen.rig, seen.closes > 0);
	assert_int_equal(seen.closed.err, IMGO_EDENIED);
	assert_int_equal(seen.closed.code, 4001);
	assert_true(seen.closed.final && !seen.closed.was_open);
	rig_for(&seen.rig, 60);
	assert_int_equal(seen.closes, 1);
	assert_int_equal(imgo_client_send(seen.client, 4, imgo_str(""), NULL), IMGO_ECLOSED);
	end(&seen);

	/* TCP cannot tell, so it goes on */
	prepare(&seen, IMGO_CLIENT_TCP);
	seen.rig.auth = RIG_REFUSE;
	begin(&seen);
	rig_until(&seen.rig, seen.closes >= 3);
	assert_int_equal(seen.closed.err, IMGO_ECLOSED);
	assert_false(seen.closed.final);
	seen.rig.auth = RIG_ACCEPT;
	rig_until(&seen.rig, seen.opens == 1);
	end(&seen);
}

static void test_ends(void **state)
{
	static const struct {
		enum imgo_close why;
		int err;
		uint16_t code;
		bool final;
	} cases[] = {
		{IMGO_CLOSE_REPLACED, IMGO_ESTALE, 4009, true},
		{IMGO_CLOSE_KICKED, IMGO_EDENIED, 4003, true},
		{IMGO_CLOSE_SLOW, IMGO_ELIMIT, 4008, false},
		{IMGO_CLOSE_TRY_LATER, IMGO_EUNAVAILABLE, 1013, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct seen seen;
		prepare(&seen, IMGO_CLIENT_WEBSOCKET);
		open_client(&seen);
		imgo_hub_close(seen.rig.hub, seen.rig.conn, cases[i].why);
		rig_until(&seen.rig, seen.closes == 1);
		assert_int_equal(seen.closed.err, cases[i].err);
		assert_int_equal(seen.closed.code, cases[i].code);
		assert_int_equal(seen.closed.final, cases[i].final);
		end(&seen);
	}
}

static void test_polite_close(void **state)
{
	(void)state;
	for (int transport = 0; transport < 2; transport++) {
		struct seen seen;
		prepare(&seen, (enum imgo_client_transport)transport);
		open_client(&seen);
		assert_int_equal(imgo_client_send(seen.client, 4, imgo_str("last"), NULL), 0);
		imgo_client_close(seen.client);
		imgo_client_close(seen.client);
		assert_int_equal(seen.closes, 0);
		assert_int_equal(imgo_client_state(seen.client), IMGO_CLIENT_CLOSING);
		rig_until(&seen.rig, seen.closes == 1 && seen.rig.closes == 1);
		assert_int_equal(seen.closed.err, 0);
		assert_true(seen.closed.final && seen.closed.was_open);
		assert_int_equal(seen.rig.packets, 1);
		assert_int_equal(seen.rig.closed.why, IMGO_CLOSE_PEER);
		assert_true(seen.rig.closed.orderly);
		assert_int_equal(seen.messages, 0);
		end(&seen);

		/* before it is open, and while it waits */
		prepare(&seen, (enum imgo_client_transport)transport);
		begin(&seen);
		imgo_client_close(seen.client);
		rig_until(&seen.rig, seen.closes == 1);
		assert_int_equal(seen.closed.err, 0);
		assert_true(seen.closed.final && !seen.closed.was_open);
		end(&seen);
	}
}

static void free_it(struct seen *seen)
{
	imgo_client_free(seen->client);
	seen->client = NULL;
}

static void test_end_in_callback(void **state)
{
	(void)state;
	for (int transport = 0; transport < 2; transport++) {
		struct seen seen;
		struct imgo_msg *msgs[2] = {message("1"), message("\"2\"")};
		prepare(&seen, (enum imgo_client_transport)transport);
		seen.hook = free_it;
		open_client(&seen);
		imgo_hub_send_user(seen.rig.hub, imgo_str("alice"), msgs, 2);
		rig_until(&seen.rig, seen.client == NULL && seen.rig.closes == 1);
		assert_int_equal(seen.messages, 1);
		assert_int_equal(seen.closes, 0);
		end(&seen);

		prepare(&seen, (enum imgo_client_transport)transport);
		seen.hook = close_it;
		open_client(&seen);
		imgo_hub_send_user(seen.rig.hub, imgo_str("alice"), msgs, 2);
		rig_until(&seen.rig, seen.closes == 1);
		assert_int_equal(seen.messages, 1);
		end(&seen);
		imgo_msg_unref(msgs[0]);
		imgo_msg_unref(msgs[1]);
	}
}

static void test_deep_body(void **state)
{
	char body[129] = "";
	struct seen seen;

	(void)state;
	memset(body, '[', 64);
	memset(body + 64, ']', 64);
	prepare(&seen, IMGO_CLIENT_WEBSOCKET);
	open_client(&seen);
	push(&seen, body);
	rig_until(&seen.rig, seen.messages == 1);
	assert_string_equal(seen.body, body);
	assert_false(seen.last.is_string);
	push(&seen, "");
	rig_until(&seen.rig, seen.messages == 2);
	assert_string_equal(seen.body, "{}");
	end(&seen);
}

static void test_reconnects(void **state)
{
	struct seen seen;

	(void)state;
	prepare(&seen, IMGO_CLIENT_TCP);
	open_client(&seen);
	for (int i = 1; i <= 5; i++) {
		imgo_hub_close(seen.rig.hub, seen.rig.conn, IMGO_CLOSE_SHUTDOWN);
		rig_until(&seen.rig, seen.opens == i + 1);
		assert_int_equal(seen.closes, i);
		assert_true(seen.closed.retry_ms <= 40);
	}
	/* nobody there */
	imgo_hub_free(seen.rig.hub);
	seen.rig.freed = true;
	rig_until(&seen.rig, seen.closes > 8);
	assert_int_equal(seen.closed.err, IMGO_EUNAVAILABLE);
	end(&seen);

	prepare(&seen, IMGO_CLIENT_TCP);
	seen.options.retry_max_ms = 0;
	open_client(&seen);
	imgo_hub_close(seen.rig.hub, seen.rig.conn, IMGO_CLOSE_SHUTDOWN);
	rig_until(&seen.rig, seen.closes == 1);
	assert_true(seen.closed.final);
	end(&seen);
}

static void test_login_deadline(void **state)
{
	struct seen seen;

	(void)state;
	prepare(&seen, IMGO_CLIENT_TCP);
	seen.options.login_timeout_ms = 30;
	seen.rig.auth = RIG_LATER;
	begin(&seen);
	rig_until(&seen.rig, seen.closes == 1);
	assert_int_equal(seen.closed.err, IMGO_ETIMEDOUT);
	end(&seen);
}

/* ---- a server of our own ---- */

struct fake {
	int listen, fd;
};

static void fake_new(struct fake *fake, struct seen *seen)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof in;

	fake->listen = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fake->listen, (struct sockaddr *)&in, len), 0);
	assert_int_equal(listen(fake->listen, 8), 0);
	assert_int_equal(getsockname(fake->listen, (struct sockaddr *)&in, &len), 0);
	fcntl(fake->listen, F_SETFL, O_NONBLOCK);
	snprintf(seen->address, sizeof seen->address, "127.0.0.1:%d", ntohs(in.sin_port));
}

static void fake_accept(struct fake *fake, struct seen *seen)
{
	rig_until(&seen->rig, (fake->fd = accept4(fake->listen, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0);
}

/* Takes the login, and answers it byte by byte. */
static void fake_login(struct fake *fake, struct seen *seen)
{
	uint8_t b[64];
	size_t n;
	int turns = 1;

	fake_accept(fake, seen);
	n = packet_bytes(b, 1, 7, 1, "alice");
	expect(&seen->rig, fake->fd, b, n);
	n = packet_bytes(b, 1, 8, 1, "");
	for (size_t i = 0; i < n; i++) {
		put(fake->fd, b + i, 1);
		rig_for(&seen->rig, (uint64_t)turns);
	}
	rig_until(&seen->rig, seen->opens == 1);
}

static void fake_end(struct fake *fake, struct seen *seen)
{
	close(fake->fd);
	close(fake->listen);
	end(seen);
}

static void test_split_bytes(void **state)
{
	struct seen seen;
	struct fake fake;
	uint8_t b[128];
	size_t n;

	(void)state;
	prepare(&seen, IMGO_CLIENT_TCP);
	fake_new(&fake, &seen);
	begin(&seen);
	fake_login(&fake, &seen);
	n = packet_bytes(b, 0, 5, 0, "one");
	n += packet_bytes(b + n, 0, 5, 0, "");
	n += packet_bytes(b + n, 0, 1000, 0, "three");
	for (size_t i = 0; i < n; i++) {
		put(fake.fd, b + i, 1);
		rig_turn(&seen.rig);
	}
	rig_until(&seen.rig, seen.messages == 3);
	assert_string_equal(seen.all, "one||three|");
	assert_int_equal(seen.last.kind, IMGO_CLIENT_PUSH);
	/* a kick is final */
	n = packet_bytes(b, 2, 26, 0, "{}");
	put(fake.fd, b, n);
	rig_until(&seen.rig, seen.closes == 1);
	assert_int_equal(seen.last.kind, IMGO_CLIENT_CONTROL);
	assert_int_equal(seen.closed.err, IMGO_EDENIED);
	assert_true(seen.closed.final);
	fake_end(&fake, &seen);
}

static void test_garbage_tcp(void **state)
{
	static const struct {
		const char *hex;
		bool before;
		int err;
	} cases[] = {
		{"00000010 0011 0001 00000005 00000000", false, IMGO_EPROTO},
		{"0000000f 0010 0001 00000005 00000000", false, IMGO_EPROTO},
		{"7fffffff 0010 0001 00000005 00000000", false, IMGO_ELIMIT},
		{"00000010 0010 0001 00000005 00000000", true, IMGO_EPROTO}, /* a push before the login's answer */
		{"00000010 0010 0001 00000008 00000009", true, IMGO_EPROTO}, /* another's answer */
		{"48545450 2f31 2e31 20323030 204f4b0d", true, IMGO_ELIMIT},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct seen seen;
		struct fake fake;
		prepare(&seen, IMGO_CLIENT_TCP);
		seen.options.retry_max_ms = 0;
		fake_new(&fake, &seen);
		begin(&seen);
		if (cases[i].before)
			fake_accept(&fake, &seen);
		else
			fake_login(&fake, &seen);
		put_hex(fake.fd, cases[i].hex);
		rig_until(&seen.rig, seen.closes == 1);
		assert_int_equal(seen.closed.err, cases[i].err);
		assert_int_equal(seen.messages, 0);
		fake_end(&fake, &seen);
	}
}

/* The upgrade, as a server; the key is somewhere in the request. */
static void fake_upgrade(struct fake *fake, struct seen *seen, const char *answer)
{
	char request[1024] = "", accept[29], text[512], *key;
	size_t n = 0;

	fake_accept(fake, seen);
	while (!strstr(request, "\r\n\r\n")) {
		get(&seen->rig, fake->fd, request + n++, 1);
		assert_true(n < sizeof request - 1);
	}
	assert_non_null(strstr(request, "GET /sub HTTP/1.1\r\n"));
	key = strstr(request, "Sec-WebSocket-Key: ");
	assert_non_null(key);
	assert_int_equal(imgo__ws_accept(imgo_strn(key + 19, 24), accept), 0);
	if (answer) {
		put(fake->fd, answer, strlen(answer));
		return;
	}
	n = (size_t)snprintf(text, sizeof text,
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		"Sec-WebSocket-Accept: %s\r\n\r\n",
		accept);
	put(fake->fd, text, n);
}

static void fake_text(struct fake *fake, const char *text)
{
	uint8_t head[10];

	put(fake->fd, head, imgo__ws_header(IMGO__WS_TEXT, strlen(text), head));
	put(fake->fd, text, strlen(text));
}

static void test_upgrade_refused(void **state)
{
	static const struct {
		const char *answer;
		int err;
		uint16_t code;
	} cases[] = {
		{"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", IMGO_EUNAVAILABLE, 503},
		{"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", IMGO_EPROTO, 404},
		{"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", IMGO_EDENIED, 403},
		{"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		 "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
			IMGO_EPROTO, 0},
		{"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", IMGO_EPROTO, 0},
		{"220 mail.example ESMTP\r\n\r\n", IMGO_EPROTO, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct seen seen;
		struct fake fake;
		prepare(&seen, IMGO_CLIENT_WEBSOCKET);
		seen.options.retry_max_ms = 0;
		fake_new(&fake, &seen);
		begin(&seen);
		fake_upgrade(&fake, &seen, cases[i].answer);
		rig_until(&seen.rig, seen.closes == 1);
		assert_int_equal(seen.closed.err, cases[i].err);
		assert_int_equal(seen.closed.code, cases[i].code);
		fake_end(&fake, &seen);
	}
}

static void ws_begin(struct seen *seen, struct fake *fake)
{
	uint8_t b[128];

	prepare(seen, IMGO_CLIENT_WEBSOCKET);
	seen->options.retry_max_ms = 0;
	fake_new(fake, seen);
	begin(seen);
	fake_upgrade(fake, seen, NULL);
	/* the login: masked, of 48 bytes */
	static const char want[] = "{\"ver\":1,\"op\":7,\"seq\":1,\"body\":\"alice\"}";
	get(&seen->rig, fake->fd, b, 6 + sizeof want - 1);
	assert_int_equal(b[0], 0x81);
	assert_int_equal(b[1], 0x80 | (sizeof want - 1));
	imgo__ws_mask(b + 6, sizeof want - 1, b + 2);
	assert_memory_equal(b + 6, want, sizeof want - 1);
	fake_text(fake, " [ { \"body\" : {} , \"x\":[1], \"op\":8,\"seq\":1, \"ver\":1 } ] ");
	rig_until(&seen->rig, seen->opens == 1);
}

static void test_ws_messages(void **state)
{
	struct seen seen;
	struct fake fake;
	uint8_t b[64];

	(void)state;
	ws_begin(&seen, &fake);
	fake_text(&fake, "[{\"ver\":0,\"op\":5,\"seq\":0,\"body\":\"\\u00e9\\n\"},{\"op\":5,\"body\":[1, "
			 "2]},{\"op\":5}]");
	rig_until(&seen.rig, seen.messages == 3);
	assert_string_equal(seen.all, "\xc3\xa9\n|[1, 2]||");
	fake_text(&fake, "[{\"ver\":2,\"op\":5,\"seq\":0,\"body\":1,\"epoch\":3,\"id\":\"18446744073709551615\"}]");
	rig_until(&seen.rig, seen.messages == 4);
	assert_true(seen.last.has_id && seen.last.id.epoch == 3 && seen.last.id.id == UINT64_MAX);
	/* a ping with a payload, between fragments */
	put_hex(fake.fd, "01 07 5b7b226f70223a  89 01 70  80 04 357d5d0a");
	rig_until(&seen.rig, seen.messages == 5);
	get(&seen.rig, fake.fd, b, 7);
	assert_int_equal(b[0], 0x8a);
	assert_int_equal(b[6] ^ b[2], 'p');
	/* close frame: answered with the same code */
	put_hex(fake.fd, "88 02 0fa9");
	rig_until(&seen.rig, seen.closes == 1);
	assert_int_equal(seen.closed.err, IMGO_ESTALE);
	get(&seen.rig, fake.fd, b, 8);
	assert_int_equal(b[0], 0x88);
	assert_int_equal((b[6] ^ b[2]) << 8 | (b[7] ^ b[3]), 4009);
	fake_end(&fake, &seen);
}

static void test_garbage_ws(void **state)
{
	static const char *const texts[] = {"", "{}", "[", "[1]", "[{\"op\":5},]", "[{\"op\":5}] x", "[{\"op\":\"5\"}]",
		"[{\"op\":5.5}]", "[{\"op\":99999999999}]", "[{\"ver\":-1,\"op\":5}]", "[{\"body\":1}]",
		"[{\"op\":5 \"seq\":1}]", "[{\"op\":5,\"ver\":2,\"id\":\"x\"}]", "[{\"op\":5,\"ver\":2,\"id\":7}]",
		"[{\"op\":5,\"ver\":2,\"id\":\"18446744073709551616\"}]", "[{\"op\":5,\"body\":\"\xff\"}]"};
	static const char *const frames[] = {"81 80 00000000", "c1 00", "83 00", "80 00", "88 01 03"};

	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct seen seen;
		struct fake fake;
		ws_begin(&seen, &fake);
		fake_text(&fake, texts[i]);
		rig_until(&seen.rig, seen.closes == 1);
		assert_int_equal(seen.closed.err, IMGO_EPROTO);
		fake_end(&fake, &seen);
	}
	for (size_t i = 0; i < sizeof frames / sizeof *frames; i++) {
		struct seen seen;
		struct fake fake;
		ws_begin(&seen, &fake);
		put_hex(fake.fd, frames[i]);
		rig_until(&seen.rig, seen.closes == 1);
		assert_int_equal(seen.closed.err, IMGO_EPROTO);
		fake_end(&fake, &seen);
	}
}

/* A server that does not read: the queue is bounded. */
static void test_send_queue(void **state)
{
	static char big[60000];
	struct seen seen;
	struct fake fake;
	int r = 0, i;

	(void)state;
	prepare(&seen, IMGO_CLIENT_TCP);
	seen.options.send_queue_max_bytes = 100000;
	fake_new(&fake, &seen);
	begin(&seen);
	fake_login(&fake, &seen);
	for (i = 0; i < 1000 && r == 0; i++) {
		r = imgo_client_send(seen.client, 4, imgo_strn(big, sizeof big), NULL);
		rig_turn(&seen.rig);
	}
	assert_int_equal(r, IMGO_ELIMIT);
	assert_int_equal(imgo_client_state(seen.client), IMGO_CLIENT_OPEN);
	fake_end(&fake, &seen);
}

/* ---- making ---- */

static int make(struct seen *seen)
{
	struct imgo_error error = {0};
	int r = imgo_client_new(&seen->client, seen->rig.loop, &client_ops, seen, &seen->options, &error);

	assert_true(r == 0 || (seen->client == NULL && error.text[0] && (int)error.code == r));
	imgo_client_free(seen->client);
	seen->client = NULL;
	return r;
}

static void test_options(void **state)
{
	struct seen seen;
	struct imgo_client_options fine;
	char room[200];

	(void)state;
	prepare(&seen, IMGO_CLIENT_WEBSOCKET);
	fine = seen.options;
	assert_int_equal(make(&seen), 0);
#define REFUSES(member, value) \
	do { \
		seen.options = fine; \
		seen.options.member = (value); \
		assert_int_equal(make(&seen), IMGO_EINVAL); \
	} while (0)
	REFUSES(address, NULL);
	REFUSES(address, "nowhere");
	REFUSES(address, "name.example:80");
	REFUSES(token, NULL);
	REFUSES(token, "");
	REFUSES(token, "a\"b");
	REFUSES(token, "a\nb");
	REFUSES(token, "\xff");
	REFUSES(ver, 3);
	REFUSES(device, "d"); /* version 1 */
	REFUSES(path, "sub");
	REFUSES(path, "/a b");
	REFUSES(path, "/a\r\nX: y");
	REFUSES(heartbeat_ms, 0);
	REFUSES(mid, 5); /* not goim's dialect */
	REFUSES(key, "k");
	REFUSES(transport, (enum imgo_client_transport)7);
	memset(room, 'r', sizeof room);
	room[sizeof room - 1] = 0;
	REFUSES(room, room);
	seen.options = fine;
	seen.options.token = "{\"a\": \"\\u0000\"}";
	assert_int_equal(make(&seen), 0);
	rig_free(&seen.rig);
	imgo_client_free(NULL);
}

/* ---- goim's dialect ---- */

static void goim(enum imgo_client_transport transport)
{
	static const int32_t accepts[] = {1001, 1000};
	struct imgo_msg *batch[3];
	struct seen seen;
	int32_t seq;

	prepare(&seen, transport);
	seen.options.goim = true;
	seen.options.mid = 77;
	seen.options.key = "k\"1";
	seen.options.room = "live://1";
	seen.options.accepts = accepts;
	seen.options.naccepts = 2;
	open_client(&seen);
	assert_string_equal(seen.rig.token, "alice");
	assert_int_equal(seen.rig.mid, 77);
	assert_string_equal(seen.rig.key, "k\"1");
	assert_string_equal(seen.rig.room, "live://1");
	assert_int_equal(seen.rig.naccepts, 2);
	assert_int_equal(seen.ver, 1);
	assert_int_equal(imgo_client_room(seen.client, imgo_str("live://2")), 0);
	rig_until(&seen.rig, seen.messages == 1);
	assert_int_equal(seen.last.kind, IMGO_CLIENT_ANSWER);
	assert_int_equal(seen.last.op, 13);
	for (int i = 0; i < 3; i++)
		assert_int_equal(imgo_msg_new(&batch[i], 24 + i * 976, (struct imgo_id){0, 0}, &"abc"[i], 1), 0);
	assert_int_equal(imgo_hub_broadcast(seen.rig.hub, batch, 3), 1); /* 24 is not wanted */
	rig_until(&seen.rig, seen.messages == 2);
	assert_int_equal(seen.last.op, 1000);
	assert_int_equal(seen.last.ver, 1);
	assert_int_equal(imgo_hub_send_room(seen.rig.hub, imgo_str("live://2"), batch, 3), 1);
	rig_until(&seen.rig, seen.messages == 5);
	assert_string_equal(seen.all, "live://2|b|a|b|c|");
	assert_int_equal(seen.last.kind, IMGO_CLIENT_PUSH); /* op 24 too: nothing happened to the client */
	assert_int_equal(imgo_client_send(seen.client, 16, imgo_str("1000"), &seq), 0);
	rig_until(&seen.rig, seen.messages == 6);
	assert_int_equal(seen.last.op, 17);
	assert_int_equal(seen.last.seq, seq);
	assert_string_equal(seen.body, "1000");
	for (int i = 0; i < 3; i++)
		imgo_msg_unref(batch[i]);
	end(&seen);
}

static void test_goim_tcp(void **state)
{
	(void)state;
	goim(IMGO_CLIENT_TCP);
}

static void test_goim_ws(void **state)
{
	(void)state;
	goim(IMGO_CLIENT_WEBSOCKET);
}

static void test_goim_without_token(void **state)
{
	struct seen seen;

	(void)state;
	for (int transport = 0; transport < 2; transport++) {
		prepare(&seen, (enum imgo_client_transport)transport);
		seen.options.goim = true;
		seen.options.token = NULL;
		seen.options.mid = INT64_MAX;
		open_client(&seen);
		assert_false(seen.rig.has_token);
		assert_true(seen.rig.mid == INT64_MAX);
		assert_false(seen.rig.has_accepts);
		end(&seen);
	}
}

static void test_goim_garbage_ws(void **state)
{
	static const char *const frames[] = {"81 02 5b5d", "82 00", "82 0f 00000010 0010 0001 000003e8 000000",
		"82 11 00000010 0010 0001 000003e8 00000000 00",
		"82 20 00000020 0010 0001 00000009 00000000 00000011 0010 0001 000003e8 00000000"};

	(void)state;
	for (size_t i = 0; i < sizeof frames / sizeof *frames; i++) {
		struct seen seen;
		struct fake fake;
		uint8_t b[256];
		prepare(&seen, IMGO_CLIENT_WEBSOCKET);
		seen.options.goim = true;
		seen.options.retry_max_ms = 0;
		fake_new(&fake, &seen);
		begin(&seen);
		fake_upgrade(&fake, &seen, NULL);
		get(&seen.rig, fake.fd, b, 8); /* the login: its length in one byte, and the mask */
		get(&seen.rig, fake.fd, b + 8, b[1] & 127 ? (size_t)(b[1] & 127) - 2 : 0);
		put_hex(fake.fd, "82 10 00000010 0010 0001 00000008 00000001");
		rig_until(&seen.rig, seen.opens == 1);
		put_hex(fake.fd, frames[i]);
		rig_until(&seen.rig, seen.closes == 1);
		assert_int_equal(seen.closed.err, IMGO_EPROTO);
		assert_int_equal(seen.messages, 0);
		fake_end(&fake, &seen);
	}
}

static void grant_if_it_can(struct rig *rig)
{
	struct imgo_hub_grant grant = IMGO_HUB_GRANT_INIT;

	grant.user = imgo_str(rig->token);
	grant.ver = rig->ver;
	(void)imgo_hub_auth_finish(rig->hub, rig->conn, &grant);
}

/* The n-th allocation fails, the client's or the hub's: it gets there all the same. */
static void test_no_memory(void **state)
{
	(void)state;
	for (int kind = 0; kind < 4; kind++) {
		static const int32_t accepts[] = {5};
		bool struck = true, goim = kind >= 2;
		for (long n = 0; struck; n++) {
			struct seen seen;
			struct imgo_error error;
			prepare(&seen, (enum imgo_client_transport)(kind % 2));
			seen.rig.hook_auth = grant_if_it_can;
			seen.options.ver = goim ? 1 : 2;
			seen.options.device = goim ? NULL : "phone";
			seen.options.room = goim ? NULL : "r";
			seen.options.goim = goim;
			seen.options.key = goim ? "key" : NULL;
			seen.options.accepts = goim ? accepts : NULL;
			seen.options.naccepts = goim;
			imgo__mem_fail_after(n);
			while (imgo_client_new(&seen.client, seen.rig.loop, &client_ops, &seen, &seen.options, &error))
				assert_int_equal(error.code, IMGO_ENOMEM);
			rig_until(&seen.rig, seen.opens > 0 && (goim || seen.messages > 0));
			struck = imgo__mem_fail_after(-1) < 0;
			seen.messages = 0;
			push(&seen, "\"text\"");
			rig_until(&seen.rig, seen.messages > 0);
			end(&seen);
		}
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls_tcp),
		cmocka_unit_test(test_calls_ws),
		cmocka_unit_test(test_rooms_tcp),
		cmocka_unit_test(test_rooms_ws),
		cmocka_unit_test(test_version2_tcp),
		cmocka_unit_test(test_version2_ws),
		cmocka_unit_test(test_manual_ack),
		cmocka_unit_test(test_close_acknowledges),
		cmocka_unit_test(test_granted_version1),
		cmocka_unit_test(test_heartbeats),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_polite_close),
		cmocka_unit_test(test_end_in_callback),
		cmocka_unit_test(test_deep_body),
		cmocka_unit_test(test_reconnects),
		cmocka_unit_test(test_login_deadline),
		cmocka_unit_test(test_split_bytes),
		cmocka_unit_test(test_garbage_tcp),
		cmocka_unit_test(test_upgrade_refused),
		cmocka_unit_test(test_ws_messages),
		cmocka_unit_test(test_garbage_ws),
		cmocka_unit_test(test_send_queue),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_goim_tcp),
		cmocka_unit_test(test_goim_ws),
		cmocka_unit_test(test_goim_without_token),
		cmocka_unit_test(test_goim_garbage_ws),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
