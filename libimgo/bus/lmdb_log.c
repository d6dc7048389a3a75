/* SPDX-License-Identifier: MIT */
/*
 * The log on the disk. Four databases:
 *
 *	bus.meta	"bus" -> version, epoch, partitions
 *	bus.records	topic, partition, offset -> a record: crc, at_ms, length of the key, key, value
 *	bus.positions	topic, partition, group -> the lowest offset that is not done; group "": all below was cut
 *	bus.keys	compacted topics: topic, partition, SHA-256 of the key -> offset of its last record
 *
 * Numbers are big-endian, so that a partition's records lie together in order. Each value carries a CRC32C over its
 * key and itself: a record that does not match is skipped and counted; a position or the meta record that does not is
 * a reason not to start.
 *
 * A compacted topic keeps the last record of each key: one that is superseded goes at once, one with an empty value
 * when everybody has had it.
 */
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "bus/lmdb.h"

enum {
	PART_LEN = 1 + 4,
	RECORD_KEY_LEN = PART_LEN + 8,
	RECORD_HEAD_LEN = 4 + 8 + 2,
	INDEX_KEY_LEN = PART_LEN + IMGO__SHA256_LEN,
	POSITION_LEN = 8 + 4,
	NAME_MAX_LEN = 255,
};

static void put_part(uint8_t *p, enum imgo_topic topic, uint32_t partition)
{
	p[0] = (uint8_t)topic;
	imgo__put32(p + 1, partition);
}

static struct imgo_str record_key(uint8_t out[RECORD_KEY_LEN], enum imgo_topic topic, uint32_t partition, uint64_t offset)
{
	put_part(out, topic, partition);
	imgo__put64(out + PART_LEN, offset);
	return imgo_strn(out, RECORD_KEY_LEN);
}

/* Of a key and the value behind its crc. */
static uint32_t checksum(struct imgo_str key, const uint8_t *p, size_t len)
{
	return imgo__crc32c(imgo__crc32c(0, key.p, key.len), p, len);
}

static bool in_part(struct imgo_str key, enum imgo_topic topic, uint32_t partition)
{
	uint8_t part[PART_LEN];

	put_part(part, topic, partition);
	return key.len == RECORD_KEY_LEN && memcmp(key.p, part, PART_LEN) == 0;
}

static uint64_t offset_of(struct imgo_str key)
{
	return imgo__get64((const uint8_t *)key.p + PART_LEN);
}

static bool decode(struct imgo_str key, struct imgo_str value, struct imgo_bus_record *out)
{
	const uint8_t *p = (const uint8_t *)value.p;
	size_t key_len;

	if (value.len < RECORD_HEAD_LEN || checksum(key, p + 4, value.len - 4) != imgo__get32(p))
		return false;
	key_len = imgo__get16(p + 12);
	if (RECORD_HEAD_LEN + key_len > value.len)
		return false;
	*out = (struct imgo_bus_record){.partition = imgo__get32((const uint8_t *)key.p + 1),
		.key = imgo_strn(p + RECORD_HEAD_LEN, key_len),
		.value = imgo_strn(p + RECORD_HEAD_LEN + key_len, value.len - RECORD_HEAD_LEN - key_len),
		.offset = offset_of(key),
		.at_ms = imgo__get64(p + 4)};
	return true;
}

/* ---- writing ---- */

static int index_key(uint8_t out[INDEX_KEY_LEN], enum imgo_topic topic, uint32_t partition, struct imgo_str key)
{
	put_part(out, topic, partition);
	return imgo__sha256(key.p, key.len, out + PART_LEN);
}

/* The record is the last of its key now. */
static int supersede(const struct imgo__buslog *log, struct imgo__lmdb_txn *txn, enum imgo_topic topic,
	const struct imgo_bus_record *record)
{
	uint8_t index[INDEX_KEY_LEN], b[RECORD_KEY_LEN], value[8];
	struct imgo_str old;
	int err = index_key(index, topic, record->partition, record->key);

	if (err)
		return err;
	err = imgo__lmdb_get(txn, log->keys, imgo_strn(index, sizeof index), &old);
	if (err == 0 && old.len == sizeof value)
		err = imgo__lmdb_del(txn, log->records,
			record_key(b, topic, record->partition, imgo__get64((const uint8_t *)old.p)));
	if (err && err != IMGO_ENOTFOUND)
		return err;
	imgo__put64(value, record->offset);
	return imgo__lmdb_put(txn, log->keys, imgo_strn(index, sizeof index), imgo_strn(value, sizeof value));
}

int imgo__buslog_put(const struct imgo__buslog *log, struct imgo__lmdb_txn *txn, enum imgo_topic topic,
	const struct imgo_bus_record *record)
{
	uint8_t b[RECORD_KEY_LEN], *p;
	struct imgo_str key = record_key(b, topic, record->partition, record->offset);
	size_t len = RECORD_HEAD_LEN + record->key.len + record->value.len;
	int err = imgo__lmdb_add(txn, log->records, key, len, &p);

	if (err)
		return err == IMGO_EEXISTS ? IMGO_EIO : err;
	imgo__put64(p + 4, record->at_ms);
	imgo__put16(p + 12, (uint16_t)record->key.len);
	if (record->key.len)
		memcpy(p + RECORD_HEAD_LEN, record->key.p, record->key.len);
	if (record->value.len)
		memcpy(p + RECORD_HEAD_LEN + record->key.len, record->value.p, record->value.len);
	imgo__put32(p, checksum(key, p + 4, len - 4));
	return imgo__topic_compacted(topic) ? supersede(log, txn, topic, record) : 0;
}

int imgo__buslog_position(
	const struct imgo__buslog *log, struct imgo__lmdb_txn *txn, const struct imgo__busposition *position)
{
	uint8_t b[PART_LEN + NAME_MAX_LEN], value[POSITION_LEN];
	size_t len = strlen(position->name);
	struct imgo_str key;

	if (len > NAME_MAX_LEN)
		return IMGO_EINVAL;
	put_part(b, position->topic, position->partition);
	memcpy(b + PART_LEN, position->name, len);
	key = imgo_strn(b, PART_LEN + len);
	imgo__put64(value, position->next);
	imgo__put32(value + 8, checksum(key, value, 8));
	return imgo__lmdb_put(txn, log->positions, key, imgo_strn(value, sizeof value));
}

/* Whether the record at this offset is the last of its key, and has something to say. */
static int is_wanted(const struct imgo__buslog *log, struct imgo__lmdb_txn *txn, enum imgo_topic topic,
	const struct imgo_bus_record *record, bool *wanted)
{
	uint8_t index[INDEX_KEY_LEN];
	struct imgo_str value;
	int err = index_key(index, topic, record->partition, record->key);

	*wanted = false;
	if (!err)
		err = imgo__lmdb_get(txn, log->keys, imgo_strn(index, sizeof index), &value);
	if (err || value.len != 8 || imgo__get64((const uint8_t *)value.p) != record->offset)
		return err == IMGO_ENOTFOUND ? 0 : err;
	*wanted = record->value.len > 0;
	return *wanted ? 0 : imgo__lmdb_del(txn, log->keys, imgo_strn(index, sizeof index));
}

/* 0: cut, or kept; 1: nothing more to cut. */
static int cut_one(const struct imgo__buslog *log, struct imgo__lmdb_txn *txn, struct imgo__buscut *cut)
{
	enum imgo_topic topic = cut->part->topic;
	uint8_t from[RECORD_KEY_LEN], own[RECORD_KEY_LEN];
	struct imgo_str key, value;
	struct imgo_bus_record record;
	bool wanted = false;
	uint64_t offset;
	int err = imgo__lmdb_seek(
		txn, log->records, record_key(from, topic, cut->part->partition, cut->done), &key, &value);

	if (err == IMGO_ENOTFOUND || (!err && !in_part(key, topic, cut->part->partition)) ||
		(!err && offset_of(key) >= cut->below)) {
		cut->done = cut->below;
		return 1;
	}
	if (err)
		return err;
	offset = offset_of(key);
	if (decode(key, value, &record)) {
		if (record.at_ms > cut->before_ms)
			return 1;
		if (imgo__topic_compacted(topic))
			err = is_wanted(log, txn, topic, &record, &wanted);
	}
	if (!err && !wanted)
		err = imgo__lmdb_del(txn, log->records, record_key(own, topic, cut->part->partition, offset));
	if (!err)
		cut->done = offset + 1;
	return err;
}

int imgo__buslog_cut(const struct imgo__buslog *log, struct imgo__lmdb_txn *txn, struct imgo__buscut *cut, size_t *budget)
{
	struct imgo__busposition floor = {cut->part->topic, cut->part->partition, "", 0};
	int err = 0;

	cut->done = cut->from;
	for (; *budget && !err && cut->done < cut->below; --*budget)
		err = cut_one(log, txn, cut);
	if (err < 0 || cut->done == cut->from)
		return err < 0 ? err : 0;
	floor.next = cut->done;
	return imgo__buslog_position(log, txn, &floor);
}

/* ---- reading ---- */

struct reading {
	struct imgo__busread *read;
	int err;
};

static int keep(struct imgo__busread *read, const struct imgo_bus_record *record)
{
	struct imgo_bus_record *out = &read->out[read->n];
	int err = imgo__buf_append(read->buf, record->key.p, record->key.len);

	if (!err)
		err = imgo__buf_append(read->buf, record->value.p, record->value.len);
	*out = *record;
	return err;
}

static int read_one(struct imgo_str key, struct imgo_str value, void *user)
{
	struct reading *reading = user;
	struct imgo__busread *read = reading->read;
	struct imgo_bus_record record;
	size_t bytes;

	if (!in_part(key, read->topic, read->partition) || offset_of(key) >= read->end) {
		read->next = read->end;
		return 1;
	}
	if (!decode(key, value, &record)) {
		read->ndamaged++;
		read->damaged = read->next = offset_of(key) + 1;
		return 0;
	}
	bytes = record.key.len + record.value.len;
	if (read->n == read->max || (read->n && read->bytes + bytes > read->bytes_max))
		return 1;
	if (read->out && (reading->err = keep(read, &record)))
		return 1;
	read->n++;
	read->bytes += bytes;
	read->next = record.offset + 1;
	return 0;
}

int imgo__buslog_read(const struct imgo__buslog *log, struct imgo__lmdb_txn *txn, struct imgo__busread *read)
{
	uint8_t b[RECORD_KEY_LEN];
	struct reading reading = {.read = read};
	const uint8_t *p;
	int rc;

	if (read->out && imgo__buf_reserve(read->buf, 1)) /* so that there is something to point to */
		return IMGO_ENOMEM;
	read->n = read->bytes = 0;
	read->next = read->from;
	rc = imgo__lmdb_walk(
		txn, log->records, record_key(b, read->topic, read->partition, read->from), read_one, &reading);
	if (rc == 0)
		read->next = read->end;
	if (rc < 0 || reading.err)
		return rc < 0 ? rc : reading.err;
	p = read->out ? read->buf->data : NULL; /* not before: it may have moved while it grew */
	for (size_t i = 0; p && i < read->n; i++) {
		read->out[i].key.p = (const char *)p;
		p += read->out[i].key.len;
		read->out[i].value.p = (const char *)p;
		p += read->out[i].value.len;
	}
	return 0;
}

/* The first record at or after `from`: its offset and time; `end` when there is none. */
static int first_at(const struct imgo__buslog *log, struct imgo__lmdb_txn *txn, const struct imgo__memcall *call,
	uint64_t from, uint64_t end, uint64_t *offset, uint64_t *at_ms)
{
	enum imgo_topic topic = call->query.topic;
	uint8_t b[RECORD_KEY_LEN];
	struct imgo_str key, value;
	int err = imgo__lmdb_seek(txn, log->records, record_key(b, topic, call->query.partition, from), &key, &value);

	*offset = end;
	*at_ms = UINT64_MAX;
	if (err && err != IMGO_ENOTFOUND)
		return err;
	if (!err && in_part(key, topic, call->query.partition) && offset_of(key) < end && value.len >= RECORD_HEAD_LEN) {
		*offset = offset_of(key);
		*at_ms = imgo__get64((const uint8_t *)value.p + 4);
	}
	return 0;
}

/* By halves: times rise with the offsets. */
int imgo__buslog_query(const struct imgo__buslog *log, struct imgo__lmdb_txn *txn, uint64_t end, struct imgo__memcall *call)
{
	uint64_t at_ms, offset, low, high = end;
	int err = first_at(log, txn, call, 0, end, &low, &at_ms);

	call->query.begin = low;
	call->query.end = end;
	while (!err && low < high) {
		uint64_t middle = low + (high - low) / 2;
		err = first_at(log, txn, call, middle, end, &offset, &at_ms);
		if (at_ms >= call->query.since_ms)
			high = middle;
		else
			low = offset + 1;
	}
	if (!err)
		err = first_at(log, txn, call, low, end, &call->query.first, &at_ms);
	return err;
}

int imgo__buslog_newest(const struct imgo__buslog *log, struct imgo__lmdb_txn *txn, enum imgo_topic topic,
	uint32_t partition, uint64_t *offset, uint64_t *at_ms)
{
	uint8_t b[RECORD_KEY_LEN];
	struct imgo_str key, value;
	int err = imgo__lmdb_before(txn, log->records, record_key(b, topic, partition + 1, 0), &key, &value);

	if (err || !in_part(key, topic, partition))
		return err ? err : IMGO_ENOTFOUND;
	*offset = offset_of(key);
	*at_ms = value.len >= RECORD_HEAD_LEN ? imgo__get64((const uint8_t *)value.p + 4) : 0;
	return 0;
}

struct saying {
	int (*fn)(const struct imgo__busposition *position, void *user);
	void *user;
};

static int say_position(struct imgo_str key, struct imgo_str value, void *user)
{
	const struct saying *saying = user;
	char name[NAME_MAX_LEN + 1];
	struct imgo__busposition position = {.name = name};
	const uint8_t *k = (const uint8_t *)key.p, *v = (const uint8_t *)value.p;

	if (key.len < PART_LEN || key.len > PART_LEN + NAME_MAX_LEN || value.len != POSITION_LEN ||
		checksum(key, v, 8) != imgo__get32(v + 8))
		return IMGO_EIO;
	position.topic = (enum imgo_topic)k[0];
	position.partition = imgo__get32(k + 1);
	position.next = imgo__get64(v);
	memcpy(name, k + PART_LEN, key.len - PART_LEN);
	name[key.len - PART_LEN] = 0;
	return saying->fn(&position, saying->user);
}

int imgo__buslog_positions(const struct imgo__buslog *log, struct imgo__lmdb_txn *txn,
	int (*fn)(const struct imgo__busposition *position, void *user), void *user)
{
	struct saying saying = {fn, user};

	return imgo__lmdb_walk(txn, log->positions, imgo_strn(NULL, 0), say_position, &saying);
}
