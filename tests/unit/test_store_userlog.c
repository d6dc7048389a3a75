/* SPDX-License-Identifier: MIT */
/*
 * The user's log against a naive model: a list of everything that was ever appended, with flags, searched
 * from end to end each time. Random operations, several seeds; after each, both must say the same, the
 * invariants must hold, and the record must decode to the same log.
 */
#include "test.h"

#include "base/mem.h"
#include "store/userlog.h"

enum { OPERATIONS = 25000, SEEDS = 6, IDS = 4000, NAMES = 20 };

/* ---- the model ---- */

struct entry {
	struct imgo_id id;
	uint64_t at_ms;
	uint32_t size;
	uint8_t tag;
	bool live, known; /* known: its tag is still remembered */
};

struct device {
	bool there;
	struct imgo_id cursor;
	uint64_t seen_ms;
};

struct model {
	struct entry entries[IDS]; /* by rising id */
	size_t n;
	struct device devices[NAMES];
	struct imgo_id floor, lost, top;
	uint32_t dropped;
	bool rebuild;
	uint64_t now_ms;
	struct imgo_store_options options;
};

static bool before(struct imgo_id a, struct imgo_id b)
{
	return imgo_id_cmp(a, b) < 0;
}

static int count_devices(const struct model *m)
{
	int n = 0;
	for (int i = 0; i < NAMES; i++)
		n += m->devices[i].there;
	return n;
}

static bool is_wanted(const struct model *m, struct imgo_id id)
{
	for (int i = 0; i < NAMES; i++)
		if (m->devices[i].there && before(m->devices[i].cursor, id))
			return true;
	return count_devices(m) == 0;
}

static void model_lose(struct model *m, struct imgo_id id)
{
	if (is_wanted(m, id)) {
		m->lost = imgo_id_max(m->lost, id);
		m->dropped++;
	}
	for (size_t i = 0; i < m->n; i++)
		if (m->entries[i].live && before(m->entries[i].id, id))
			return;
	m->floor = imgo_id_max(m->floor, id);
}

static void model_cut(struct model *m)
{
	struct imgo_id low = {UINT32_MAX, UINT64_MAX};
	if (m->rebuild || count_devices(m) == 0)
		return;
	for (int i = 0; i < NAMES; i++)
		if (m->devices[i].there && before(m->devices[i].cursor, low))
			low = m->devices[i].cursor;
	for (size_t i = 0; i < m->n; i++)
		if (!before(low, m->entries[i].id))
			m->entries[i].live = false;
	m->floor = imgo_id_max(m->floor, low);
}

static void model_forget_device(struct model *m, int d)
{
	struct imgo_id cursor = m->devices[d].cursor;
	m->devices[d].there = false;
	if (count_devices(m) == 0 || m->rebuild)
		return;
	for (size_t i = 0; i < m->n; i++) {
		const struct entry *e = &m->entries[i];
		if (e->live && before(cursor, e->id) && !is_wanted(m, e->id)) {
			m->lost = imgo_id_max(m->lost, e->id);
			m->dropped++;
		}
	}
}

/* Tags are remembered of the last 256 entries in the log, within 5 minutes of the newest of these. */
static void model_prune(struct model *m)
{
	uint64_t newest = 0;
	size_t position = 0, kept = 0;
	for (size_t i = 0; i < m->n; i++) {
		if (!m->entries[i].known && !m->entries[i].live)
			continue;
		kept++;
		newest = m->entries[i].at_ms > newest ? m->entries[i].at_ms : newest;
	}
	for (size_t i = 0; i < m->n; i++) {
		struct entry *e = &m->entries[i];
		if (!e->known && !e->live)
			continue;
		bool last = kept - position++ <= IMGO_STORE_TAGS_MAX;
		e->known = e->live || (last && e->at_ms + IMGO_STORE_TAGS_MS >= newest &&
					      e->at_ms + IMGO_STORE_TAGS_MS + m->options.ttl_ms > m->now_ms);
	}
}

static void model_settle(struct model *m)
{
	model_cut(m);
	for (size_t i = 0; i < m->n; i++) {
		struct entry *e = &m->entries[i];
		if (e->live && e->at_ms + m->options.ttl_ms <= m->now_ms) {
			e->live = false;
			model_lose(m, e->id);
		}
	}
	for (int i = 0; i < NAMES; i++)
		if (m->devices[i].there && m->devices[i].seen_ms + IMGO__USERLOG_KEEP_MS <= m->now_ms)
			model_forget_device(m, i);
	model_cut(m);
}

static void model_limits(struct model *m)
{
	for (;;) {
		size_t live = 0, first = m->n;
		uint64_t bytes = 0;
		for (size_t i = m->n; i-- > 0;) {
			if (m->entries[i].live) {
				live++;
				bytes += m->entries[i].size;
				first = i;
			}
		}
		if (live <= 1 || (live <= m->options.messages_max && bytes <= m->options.bytes_max))
			return;
		m->entries[first].live = false;
		model_lose(m, m->entries[first].id);
	}
}

static struct imgo_id model_prev(const struct model *m, struct imgo_id id)
{
	struct imgo_id prev = m->floor;
	for (size_t i = 0; i < m->n; i++)
		if (m->entries[i].live && before(m->entries[i].id, id))
			prev = m->entries[i].id;
	return prev;
}

static bool model_duplicate(const struct model *m, const struct entry *e)
{
	size_t position = 0, kept = 0;
	for (size_t i = 0; i < m->n; i++)
		kept += m->entries[i].known;
	for (size_t i = 0; i < m->n; i++) {
		const struct entry *o = &m->entries[i];
		if (!o->known || kept - position++ > IMGO_STORE_TAGS_MAX || o->tag != e->tag)
			continue;
		uint64_t apart = o->at_ms > e->at_ms ? o->at_ms - e->at_ms : e->at_ms - o->at_ms;
		if (apart <= IMGO_STORE_TAGS_MS)
			return true;
	}
	return false;
}

static void model_add(struct model *m, size_t i, struct entry new, bool live)
{
	if (i == m->n || imgo_id_cmp(m->entries[i].id, new.id) != 0) {
		memmove(&m->entries[i + 1], &m->entries[i], (m->n - i) * sizeof new);
		m->n++;
	}
	m->entries[i] = new;
	m->entries[i].live = live;
	m->entries[i].known = true;
}

static enum imgo_append_result model_append(struct model *m, struct entry new, struct imgo_id *prev)
{
	enum imgo_append_result result;
	size_t i = 0;
	model_settle(m);
	model_prune(m);
	*prev = (struct imgo_id){0, 0};
	while (i < m->n && before(m->entries[i].id, new.id))
		i++;
	bool same = i < m->n && imgo_id_cmp(m->entries[i].id, new.id) == 0;
	if (same && m->entries[i].live) {
		*prev = model_prev(m, new.id);
		return IMGO_APPEND_PRESENT;
	}
	if (same && m->entries[i].known)
		return IMGO_APPEND_BELOW;
	if (!before(m->top, new.id) || !before(m->floor, new.id)) {
		result = before(m->floor, new.id) && model_duplicate(m, &new) ? IMGO_APPEND_DUPLICATE : IMGO_APPEND_BELOW;
		if (m->rebuild && result == IMGO_APPEND_BELOW)
			model_add(m, i, new, false);
	} else {
		m->top = new.id;
		result = IMGO_APPEND_NEW;
		if (model_duplicate(m, &new)) {
			result = IMGO_APPEND_DUPLICATE;
		} else if (new.at_ms + m->options.ttl_ms <= m->now_ms) {
			model_add(m, i, new, false);
			model_lose(m, new.id);
			result = IMGO_APPEND_EXPIRED;
		} else {
			model_add(m, i, new, true);
			model_limits(m);
			*prev = model_prev(m, new.id);
		}
	}
	model_prune(m);
	return result;
}

static void model_ack(struct model *m, int name, struct imgo_id id)
{
	struct device *d = &m->devices[name];
	model_settle(m);
	if (!d->there) {
		if (count_devices(m) == IMGO_STORE_DEVICES_MAX) {
			int oldest = -1;
			for (int i = 0; i < NAMES; i++)
				if (m->devices[i].there &&
					(oldest < 0 || m->devices[i].seen_ms < m->devices[oldest].seen_ms))
					oldest = i;
			model_forget_device(m, oldest);
			model_cut(m);
		}
		*d = (struct device){true, m->floor, m->now_ms};
	} else if (d->seen_ms + IMGO__USERLOG_SEEN_MS <= m->now_ms) {
		d->seen_ms = m->now_ms;
	}
	d->cursor = imgo_id_max(d->cursor, id);
	model_cut(m);
	model_prune(m);
}

/* ---- comparing ---- */

static unsigned seed;

static unsigned chance(unsigned n)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % n;
}

static struct imgo_str name_of(int i)
{
	return imgo_strn("dddddddddddddddddddd", (size_t)i); /* the first is "" */
}

static void same_id(struct imgo_id a, struct imgo_id b)
{
	assert_int_equal(a.epoch, b.epoch);
	assert_int_equal(a.id, b.id);
}

static void same(const struct model *m, const struct imgo__userlog *log)
{
	size_t k = 0, live = 0;
	uint64_t bytes = 0;
	same_id(m->floor, log->floor);
	same_id(m->lost, log->lost);
	same_id(m->top, log->top);
	for (size_t i = 0; i < m->n; i++) {
		const struct entry *e = &m->entries[i];
		if (!e->live)
			continue;
		while (k < log->nitems && !log->items[k].live)
			k++;
		assert_true(k < log->nitems);
		same_id(e->id, log->items[k].id);
		assert_int_equal(e->size, log->items[k++].size);
		live++;
		bytes += e->size;
	}
	assert_int_equal(live, log->nlive);
	assert_int_equal(bytes, log->bytes);
	assert_int_equal(count_devices(m), log->ndevices);
	for (int i = 0; i < NAMES; i++)
		same_id(m->devices[i].there ? m->devices[i].cursor : (struct imgo_id){0, 0},
			imgo__userlog_cursor(log, name_of(i)));
}

static void invariants(const struct imgo__userlog *log, const struct imgo_store_options *o)
{
	for (size_t i = 0; i < log->nitems; i++) {
		if (i)
			assert_true(before(log->items[i - 1].id, log->items[i].id));
		if (log->items[i].live)
			assert_true(before(log->floor, log->items[i].id));
		assert_false(before(log->top, log->items[i].id));
	}
	assert_true(log->nlive <= o->messages_max || log->nlive == 1);
	assert_true(log->bytes <= o->bytes_max || log->nlive == 1);
	assert_true(log->ndevices <= IMGO_STORE_DEVICES_MAX);
	assert_true(log->nitems - log->nlive <= IMGO_STORE_TAGS_MAX);
}

/* Encodes, decodes, encodes again; goes on with the decoded one. */
static void through_the_record(struct imgo__userlog *log)
{
	struct imgo__buf a = {0}, b = {0};
	struct imgo__userlog copy;
	struct imgo_str user = imgo_strn("a\0\xff", 3);
	assert_int_equal(imgo__userlog_encode(log, user, &a), 0);
	assert_int_equal(imgo__userlog_decode(&copy, imgo_str("b"), a.data, a.len), IMGO_EPROTO);
	assert_int_equal(imgo__userlog_decode(&copy, user, a.data, a.len), 0);
	assert_int_equal(imgo__userlog_encode(&copy, user, &b), 0);
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.data, b.data, a.len);
	assert_int_equal(log->nlive, copy.nlive);
	assert_int_equal(log->bytes, copy.bytes);
	imgo__userlog_fini(log);
	*log = copy;
	imgo__buf_free(&a);
	imgo__buf_free(&b);
}

static size_t went;

static void on_gone(const struct imgo__userlog_item *item, void *user)
{
	(void)user;
	assert_true(item->live);
	went++;
}

static void same_plan(const struct model *m, const struct imgo__userlog *log)
{
	struct imgo__userlog_plan plan;
	int name = (int)chance(NAMES);
	struct imgo_id after = {1 + chance(2), chance(IDS)};
	uint32_t messages_max = 1 + chance(10);
	size_t bytes_max = chance(500), n = 0, bytes = 0;
	if (chance(3) == 0)
		after = (struct imgo_id){0, 0};
	imgo__userlog_plan(log, name_of(name), after, messages_max, bytes_max, &plan);
	const struct device *d = &m->devices[name];
	struct imgo_id has = d->there ? imgo_id_max(after, d->cursor) : after;
	struct imgo_id position = imgo_id_max(has, m->floor);
	bool more = false, knows = d->there || before((struct imgo_id){0, 0}, after);
	size_t k = plan.first;
	for (size_t i = 0; i < m->n && !more; i++) {
		const struct entry *e = &m->entries[i];
		if (!e->live || !before(has, e->id))
			continue;
		bytes += e->size;
		if (n && (n >= messages_max || bytes > bytes_max)) {
			more = true;
			break;
		}
		while (!log->items[k].live)
			k++;
		same_id(log->items[k++].id, e->id);
		position = e->id;
		n++;
	}
	if (!more)
		position = imgo_id_max(position, m->lost);
	assert_int_equal(n, plan.n);
	assert_int_equal(more, plan.more);
	assert_int_equal(knows && before(has, m->lost), plan.gap);
	same_id(position, plan.position);
}

/* ---- the test ---- */

struct run {
	struct model m;
	struct imgo__userlog log;
	struct imgo__userlog_ctx ctx;
	struct imgo_id next;
	uint64_t born, died;
};

static void do_append(struct run *r)
{
	struct model *m = &r->m;
	struct imgo__userlog_append append = {.own = chance(2)};
	struct entry e = {.size = chance(100), .tag = (uint8_t)chance(250)};
	struct imgo_id prev;
	/* mostly the next one; sometimes one from before (a replay, with what it had), or a hole is filled */
	e.at_ms = m->now_ms - chance(chance(20) ? 1000 : 2000000);
	if (chance(4) == 0 && m->n) {
		e = m->entries[chance((unsigned)m->n)];
		e.live = e.known = false;
	} else if (chance(8) == 0 && r->next.id) { /* any that went by: a repeat, or long forgotten */
		e.id = (struct imgo_id){r->next.epoch, 1 + chance((unsigned)r->next.id)};
	} else {
		r->next.id += 1 + chance(2);
		e.id = r->next;
	}
	append.id = e.id;
	append.at_ms = e.at_ms;
	append.size = e.size;
	append.tag[0] = e.tag;
	if (m->n == IDS - 1)
		return;
	enum imgo_append_result expected = model_append(m, e, &prev);
	assert_int_equal(imgo__userlog_append(&r->log, &r->ctx, &append), 0);
	assert_int_equal(append.result, expected);
	same_id(append.prev, prev);
	r->born += append.inserted;
}

static void do_ack(struct run *r)
{
	int name = (int)chance(chance(3) ? 4 : NAMES);
	struct imgo_id id = {r->next.epoch, r->next.id - chance(r->next.id < 30 ? (unsigned)r->next.id + 1 : 30)};
	if (chance(5) == 0)
		id = (struct imgo_id){0, 0};
	model_ack(&r->m, name, id);
	assert_int_equal(imgo__userlog_ack(&r->log, &r->ctx, name_of(name), id), 0);
}

static void let_time_pass(struct run *r)
{
	static const uint64_t jumps[] = {100, 1000, 60000, 900000, 4000000, 40ull * 24 * 3600 * 1000};
	r->m.now_ms += chance(60) ? chance(3000) : jumps[chance(6)];
	if (chance(400) == 0) { /* a new epoch */
		r->next.epoch++;
		r->next.id = 0;
	}
	if (chance(150) == 0)
		r->m.rebuild = !r->m.rebuild;
}

static void step(struct run *r)
{
	struct model *m = &r->m;
	let_time_pass(r);
	r->ctx = (struct imgo__userlog_ctx){
		.options = &m->options, .now_ms = m->now_ms, .rebuild = m->rebuild, .gone = on_gone, .user = r};
	m->dropped = 0;
	went = 0;
	if (chance(3))
		do_append(r);
	else
		do_ack(r);
	assert_int_equal(m->dropped, r->ctx.dropped);
	r->died += went;
	same(m, &r->log);
	invariants(&r->log, &m->options);
	assert_int_equal(r->born - r->died, r->log.nlive); /* each that dies is told, once */
	same_plan(m, &r->log);
	same_id(imgo_id_max(model_prev(m, (struct imgo_id){UINT32_MAX, UINT64_MAX}), m->lost), imgo__userlog_head(&r->log));
	assert_false(before(imgo__userlog_head(&r->log), m->floor));
	if (chance(20) == 0)
		through_the_record(&r->log);
	if (m->n > IDS - 100) { /* the model is full: forget what neither side knows */
		size_t n = 0;
		for (size_t i = 0; i < m->n; i++)
			if (m->entries[i].live || m->entries[i].known)
				m->entries[n++] = m->entries[i];
		m->n = n;
	}
}

static void against_the_model(void **state)
{
	(void)state;
	for (unsigned s = 1; s <= SEEDS; s++) {
		struct run *r = calloc(1, sizeof *r);
		assert_non_null(r);
		seed = s * 7919;
		r->m.options = (struct imgo_store_options){
			sizeof r->m.options, 3600 * 1000, s % 2 ? 20 : 400, s % 3 ? 1000000 : 700};
		r->m.now_ms = 1700000000000;
		r->next.epoch = 1;
		imgo__userlog_init(&r->log);
		for (int i = 0; i < OPERATIONS; i++)
			step(r);
		imgo__userlog_fini(&r->log);
		free(r);
	}
}

static enum imgo_append_result append_one(
	struct imgo__userlog *log, struct imgo__userlog_ctx ctx, uint64_t id, uint8_t tag, uint64_t at_ms)
{
	struct imgo__userlog_append append = {.id = {1, id}, .at_ms = at_ms, .tag = {tag}};
	assert_int_equal(imgo__userlog_append(log, &ctx, &append), 0);
	return append.result;
}

/* tests/model/README.md, 5: a repeat whose tag has gone since is not taken for new; it is written once. */
static void grows_at_its_end_only(void **state)
{
	(void)state;
	struct imgo_store_options o = IMGO_STORE_OPTIONS_INIT;
	struct imgo__userlog log;
	struct imgo__userlog_ctx ctx = {.options = &o, .now_ms = 1700000000000};
	uint64_t at_ms = ctx.now_ms;
	imgo__userlog_init(&log);
	assert_int_equal(append_one(&log, ctx, 1, 1, at_ms), IMGO_APPEND_NEW);
	assert_int_equal(append_one(&log, ctx, 2, 1, at_ms), IMGO_APPEND_DUPLICATE);
	assert_int_equal(imgo__userlog_ack(&log, &ctx, imgo_str("d"), (struct imgo_id){1, 1}), 0);
	assert_int_equal(append_one(&log, ctx, 9, 9, at_ms + 2 * IMGO_STORE_TAGS_MS), IMGO_APPEND_NEW);
	assert_int_equal(log.nitems, 1); /* the tag has gone */
	assert_int_equal(append_one(&log, ctx, 2, 1, at_ms), IMGO_APPEND_BELOW);
	assert_int_equal(append_one(&log, ctx, 9, 9, at_ms), IMGO_APPEND_PRESENT);
	assert_int_equal(log.nlive, 1);
	imgo__userlog_fini(&log);
}

/* tests/model/README.md, 6: a rebuild leaves the tags of what is too old or done with, too. */
static void rebuild_remembers_tags(void **state)
{
	(void)state;
	struct imgo_store_options o = IMGO_STORE_OPTIONS_INIT;
	struct imgo__userlog log;
	struct imgo__userlog_ctx ctx = {.options = &o, .now_ms = 1700000000000, .rebuild = true};
	uint64_t born_ms = ctx.now_ms - o.ttl_ms;
	imgo__userlog_init(&log);
	assert_int_equal(append_one(&log, ctx, 1, 1, born_ms - 1000), IMGO_APPEND_EXPIRED);
	assert_int_equal(append_one(&log, ctx, 2, 1, born_ms + 1000), IMGO_APPEND_DUPLICATE);
	assert_int_equal(append_one(&log, ctx, 3, 3, born_ms + 1000), IMGO_APPEND_NEW);
	imgo__userlog_fini(&log);

	log.floor = log.top = (struct imgo_id){1, 5};
	assert_int_equal(append_one(&log, ctx, 4, 4, ctx.now_ms), IMGO_APPEND_BELOW);
	assert_int_equal(append_one(&log, ctx, 6, 4, ctx.now_ms), IMGO_APPEND_DUPLICATE);
	assert_int_equal(append_one(&log, ctx, 4, 4, ctx.now_ms), IMGO_APPEND_BELOW);
	assert_int_equal(log.nitems, 1);
	assert_int_equal(log.nlive, 0);
	imgo__userlog_fini(&log);
}

/* Out of memory anywhere: an error, and the log is as before. */
static void out_of_memory(void **state)
{
	(void)state;
	struct imgo_store_options o = IMGO_STORE_OPTIONS_INIT;
	struct imgo__userlog log;
	imgo__userlog_init(&log);
	for (uint64_t id = 1; id <= 100; id++) {
		for (long n = 0;; n++) {
			struct imgo__userlog_ctx ctx = {.options = &o, .now_ms = 1000};
			struct imgo__userlog_append append = {.id = {1, id}, .at_ms = 1000};
			memcpy(append.tag, &id, sizeof append.tag);
			imgo__mem_fail_after(n);
			int err = imgo__userlog_append(&log, &ctx, &append);
			imgo__mem_fail_after(-1);
			assert_int_equal(log.nlive, err ? id - 1 : id);
			if (!err)
				break;
			assert_int_equal(err, IMGO_ENOMEM);
		}
	}
	struct imgo__userlog_ctx ctx = {.options = &o, .now_ms = 1000};
	imgo__mem_fail_after(0);
	assert_int_equal(imgo__userlog_ack(&log, &ctx, imgo_str("d"), (struct imgo_id){1, 50}), IMGO_ENOMEM);
	imgo__mem_fail_after(-1);
	assert_int_equal(log.nlive, 100);
	imgo__userlog_fini(&log);
}

/* Every flipped bit and every cut is noticed. */
static void damage(void **state)
{
	(void)state;
	struct imgo_store_options o = IMGO_STORE_OPTIONS_INIT;
	struct imgo__userlog log, copy;
	struct imgo__buf buf = {0};
	struct imgo_str user = imgo_str("user");
	imgo__userlog_init(&log);
	for (uint64_t id = 1; id <= 20; id++) {
		struct imgo__userlog_ctx ctx = {.options = &o, .now_ms = 1000 + id};
		struct imgo__userlog_append append = {.id = {(uint32_t)id / 5 + 1, id * 1000000}, .at_ms = 1000 - id};
		memcpy(append.tag, &id, sizeof append.tag);
		assert_int_equal(imgo__userlog_append(&log, &ctx, &append), 0);
		assert_int_equal(imgo__userlog_attach(&log, &ctx, name_of((int)id % 3)), 0);
	}
	assert_int_equal(imgo__userlog_encode(&log, user, &buf), 0);
	assert_int_equal(imgo__userlog_decode(&copy, user, buf.data, buf.len), 0);
	imgo__userlog_fini(&copy);
	for (size_t i = 0; i < buf.len * 8; i++) {
		buf.data[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_not_equal(imgo__userlog_decode(&copy, user, buf.data, buf.len), 0);
		assert_null(copy.items);
		buf.data[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	for (size_t len = 0; len < buf.len; len++)
		assert_int_equal(imgo__userlog_decode(&copy, user, buf.data, len), IMGO_EPROTO);
	imgo__buf_free(&buf);
	imgo__userlog_fini(&log);
}

static void size_of_a_record(void **state)
{
	(void)state;
	struct imgo_store_options o = IMGO_STORE_OPTIONS_INIT;
	struct imgo__userlog log;
	struct imgo__buf buf = {0};
	imgo__userlog_init(&log);
	for (uint64_t i = 1; i <= 1000; i++) {
		struct imgo__userlog_ctx ctx = {.options = &o, .now_ms = 1700000000000};
		struct imgo__userlog_append append = {
			.id = {1, i * 77}, .at_ms = 1700000000000 + i * 86, .size = 200 + (uint32_t)i};
		memcpy(append.tag, &i, sizeof append.tag);
		assert_int_equal(imgo__userlog_append(&log, &ctx, &append), 0);
	}
	assert_int_equal(imgo__userlog_encode(&log, imgo_str("user"), &buf), 0);
	assert_true(buf.len < 16000);
	imgo__buf_free(&buf);
	imgo__userlog_fini(&log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(against_the_model),
		cmocka_unit_test(grows_at_its_end_only),
		cmocka_unit_test(rebuild_remembers_tags),
		cmocka_unit_test(out_of_memory),
		cmocka_unit_test(damage),
		cmocka_unit_test(size_of_a_record),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
