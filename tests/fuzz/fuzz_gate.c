/* SPDX-License-Identifier: MIT */
/* The messages between comet, logic and job. The first byte chooses which; what can be read is written and read again. */
#include "fuzz.h"

#include "service/carrier_wire.h"
#include "service/gate_wire.h"

static void again(struct imgo__buf *bytes, struct imgo__mp *mp, const struct imgo__mpw *w)
{
	CHECK(w->err == 0);
	imgo__mp_init(mp, bytes->data, bytes->len);
}

static void tells(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo__mpw *w)
{
	struct imgo__tell *items;
	size_t n, m;

	if (imgo__tell_read(mp, arena, &items, &n) < 0)
		return;
	imgo__tell_write(w, items, n);
	again(w->buf, mp, w);
	CHECK(imgo__tell_read(mp, arena, &items, &m) == 0 && m == n);
}

static void casts(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo__mpw *w)
{
	struct imgo__cast *items;
	size_t n, m;

	if (imgo__cast_read(mp, arena, &items, &n) < 0)
		return;
	imgo__cast_write(w, items, n);
	again(w->buf, mp, w);
	CHECK(imgo__cast_read(mp, arena, &items, &m) == 0 && m == n);
}

static void sessions(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo__mpw *w)
{
	struct imgo__gate_session *items;
	size_t n, m;

	if (imgo__gate_sessions_ask_read(mp, arena, &items, &n) < 0)
		return;
	imgo__gate_sessions_ask_write(w, items, n);
	again(w->buf, mp, w);
	CHECK(imgo__gate_sessions_ask_read(mp, arena, &items, &m) == 0 && m == n);
}

static void online(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo__mpw *w)
{
	struct imgo__gate_online *items;
	size_t n, m;

	if (imgo__gate_online_ask_read(mp, arena, &items, &n) < 0)
		return;
	imgo__gate_online_ask_write(w, items, n);
	again(w->buf, mp, w);
	CHECK(imgo__gate_online_ask_read(mp, arena, &items, &m) == 0 && m == n);
}

static void logins(struct imgo__mp *mp, struct imgo__arena *arena, struct imgo__mpw *w)
{
	struct imgo__gate_connect call = {0};

	if (imgo__gate_connect_ask_read(mp, arena, &call) < 0)
		return;
	imgo__gate_connect_ask_write(w, &call);
	again(w->buf, mp, w);
	CHECK(imgo__gate_connect_ask_read(mp, arena, &call) == 0);
}

static void answers(struct imgo__mp *mp, struct imgo__arena *arena)
{
	struct imgo__mp from = *mp;
	struct imgo__gate_connect connect = {0};
	struct imgo__gate_read read = {0};
	struct imgo__gate_renew renew = {0};
	struct imgo__gate_ack *acks;
	struct imgo__gate_compare *compares;
	struct imgo__kick *kicks;
	size_t n;

	imgo__gate_connect_answer_read(mp, arena, &connect);
	*mp = from;
	imgo__gate_read_answer_read(mp, arena, &read);
	*mp = from;
	imgo__gate_read_ask_read(mp, arena, &read);
	*mp = from;
	imgo__gate_renew_answer_read(mp, &renew);
	*mp = from;
	imgo__gate_renew_ask_read(mp, &renew);
	*mp = from;
	imgo__gate_acks_ask_read(mp, arena, &acks, &n);
	*mp = from;
	imgo__gate_compares_ask_read(mp, arena, &compares, &n);
	*mp = from;
	imgo__kick_read(mp, arena, &kicks, &n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct imgo__arena arena = {0};
	struct imgo__buf out = {0};
	struct imgo__mpw w;
	struct imgo__mp mp;

	if (size == 0)
		return 0;
	imgo__mpw_init(&w, &out);
	imgo__mp_init(&mp, data + 1, size - 1);
	switch (data[0] % 6) {
	case 0:
		tells(&mp, &arena, &w);
		break;
	case 1:
		casts(&mp, &arena, &w);
		break;
	case 2:
		sessions(&mp, &arena, &w);
		break;
	case 3:
		logins(&mp, &arena, &w);
		break;
	case 5:
		online(&mp, &arena, &w);
		break;
	default:
		answers(&mp, &arena);
	}
	imgo__buf_free(&out);
	imgo__arena_free(&arena);
	return 0;
}
