/* SPDX-License-Identifier: MIT */
/*
 * Keys, dates and the list of servers. A user's key may hold any bytes; a memcached key may not (CR LF in it
 * would be commands). So what is not plain is written in hexadecimal, behind another letter.
 */
#include <stdarg.h>
#include <stdio.h>

#include "base/error.h"
#include "base/hash.h"
#include "store/memcached.h"

/* Not isalnum: the host's locale is not ours to depend on. */
static bool is_plain(struct imgo_str s)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.@";
	for (size_t i = 0; i < s.len; i++)
		if (!memchr(plain, s.p[i], sizeof plain - 1))
			return false;
	return true;
}

static void print(struct imgo__mc_key *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void print(struct imgo__mc_key *out, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	out->len = (size_t)vsnprintf(out->s, sizeof out->s, fmt, args);
	va_end(args);
}

static void user_key(struct imgo__mc_key *out, char kind, uint32_t partition, struct imgo_str user)
{
	char hex[2 * IMGO_USER_MAX + 1];
	if (is_plain(user)) {
		print(out, "%c:%u:=%.*s", kind, (unsigned)partition, (int)user.len, user.p);
		return;
	}
	imgo__hex(user.p, user.len, hex);
	print(out, "%c:%u:x%s", kind, (unsigned)partition, hex);
}

void imgo__mc_key_marker(struct imgo__mc_key *out, uint32_t epoch, uint32_t partition)
{
	print(out, "m:%u:%u", (unsigned)epoch, (unsigned)partition);
}

void imgo__mc_key_log(struct imgo__mc_key *out, uint32_t partition, struct imgo_str user)
{
	user_key(out, 'u', partition, user);
}

void imgo__mc_key_list(struct imgo__mc_key *out, uint32_t partition, struct imgo_str user)
{
	user_key(out, 'l', partition, user);
}

void imgo__mc_key_body(
	struct imgo__mc_key *out, uint32_t partition, struct imgo_id id, const uint8_t tag[IMGO__USERLOG_TAG_LEN])
{
	char hex[2 * IMGO__USERLOG_TAG_LEN + 1];
	imgo__hex(tag, IMGO__USERLOG_TAG_LEN, hex);
	print(out, "b:%u:%u:%llu:%s", (unsigned)partition, (unsigned)id.epoch, (unsigned long long)id.id, hex);
}

void imgo__mc_key_token(struct imgo__mc_key *out, const uint8_t hash[IMGO_STORE_TOKEN_HASH_LEN])
{
	char hex[2 * IMGO_STORE_TOKEN_HASH_LEN + 1];
	imgo__hex(hash, IMGO_STORE_TOKEN_HASH_LEN, hex);
	print(out, "t:%s", hex);
}

uint32_t imgo__mc_exptime(uint64_t until_ms, uint64_t now_ms)
{
	enum { RELATIVE_MAX_S = 30 * 24 * 3600, SLACK_S = 60 };
	uint64_t s = (until_ms > now_ms ? (until_ms - now_ms) / 1000 : 0) + SLACK_S;
	if (s > RELATIVE_MAX_S)
		s = now_ms / 1000 + s;          /* a date */
	return s > INT32_MAX ? 0 : (uint32_t)s; /* 0: for ever */
}

/* ---- the list of servers ---- */

static int parse_one(struct imgo__mc *mc, struct imgo_str s, struct imgo_error *error)
{
	unsigned long port = 11211;
	struct imgo_str host = s;
	if (s.len > 5 && memcmp(s.p, "unix:", 5) == 0) {
		host = imgo_strn(s.p + 5, s.len - 5);
		port = 0;
	} else {
		const char *colon = memrchr(s.p, ':', s.len), *bracket = memrchr(s.p, ']', s.len);
		if (colon && colon > bracket) {
			char digits[6] = "", *end;
			size_t n = s.len - (size_t)(colon + 1 - s.p);
			if (n > 0 && n < sizeof digits)
				memcpy(digits, colon + 1, n);
			port = strtoul(digits, &end, 10);
			host.len = (size_t)(colon - s.p);
			if (digits[0] < '0' || digits[0] > '9' || *end || port == 0 || port > 65535)
				host.len = 0;
		}
		if (host.len > 2 && host.p[0] == '[' && host.p[host.len - 1] == ']')
			host = imgo_strn(host.p + 1, host.len - 2);
	}
	if (host.len == 0 || host.len > 255 || mc->nservers == IMGO__MC_SERVERS_MAX)
		return imgo__fail(error, IMGO_EINVAL,
			"memcached servers: \"%.*s\" is not host:port, or there are too many", (int)s.len, s.p);
	mc->servers[mc->nservers].port = (uint16_t)port;
	if (!(mc->servers[mc->nservers].host = imgo__strndup(host.p, host.len)))
		return imgo__fail(error, IMGO_ENOMEM, "out of memory");
	mc->nservers++;
	return 0;
}

int imgo__mc_servers_parse(struct imgo__mc *mc, const char *list, struct imgo_error *error)
{
	int err = 0;
	for (const char *p = list, *end; !err && *p; p = *end ? end + 1 : end) {
		while (*p == ' ')
			p++;
		end = strchrnul(p, ',');
		size_t len = (size_t)(end - p);
		while (len && p[len - 1] == ' ')
			len--;
		err = parse_one(mc, imgo_strn(p, len), error);
	}
	if (!err && mc->nservers == 0)
		err = imgo__fail(error, IMGO_EINVAL, "memcached servers: the list is empty");
	return err;
}

void imgo__mc_servers_free(struct imgo__mc *mc)
{
	for (size_t i = 0; i < mc->nservers; i++)
		free(mc->servers[i].host);
	mc->nservers = 0;
}
