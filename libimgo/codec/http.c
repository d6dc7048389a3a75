/* SPDX-License-Identifier: MIT */
/*
 * HTTP heads. The parser keeps no state: it is given the head from its first byte each time and goes through
 * it line by line. It never looks beyond head_max (or headers_max), and it judges each complete line before the next, so what
 * it answers depends on the bytes only and not on how they arrived. The one thing it judges in an incomplete
 * line is a target that is too long.
 *
 * Strictness is the point: wherever two parsers (ours and a proxy's) could disagree about where a message
 * ends, the request is refused. Hence one Content-Length of digits, no Transfer-Encoding, no folding, no bare
 * LF, no second Host.
 */
#include "codec/http.h"

#include "codec/http_head.h"

#include <imgo/error.h>

#define METHOD_MAX 32

/* The target, as far as it has come; from left to right, as everything here. Returns 0 or a status. */
static int check_target(struct imgo_str target, size_t target_max)
{
	if (target.len && *target.p != '/')
		return 400;
	for (size_t i = 0; i < target.len && i < target_max; i++) {
		unsigned char c = (unsigned char)target.p[i];
		if (c <= 0x20 || c >= 0x7F || c == '#')
			return 400;
	}
	return target.len > target_max ? 414 : 0;
}

static int read_version(struct imgo_str s, bool *http10)
{
	bool shaped = s.len == 8 && memcmp(s.p, "HTTP/", 5) == 0 && s.p[5] >= '0' && s.p[5] <= '9' && s.p[6] == '.' &&
		      s.p[7] >= '0' && s.p[7] <= '9';

	if (!shaped)
		return 400;
	*http10 = s.p[7] == '0';
	return s.p[5] == '1' && s.p[7] <= '1' ? 0 : 505;
}

static void split_target(struct imgo__http_request *out)
{
	const char *mark = memchr(out->target.p, '?', out->target.len);

	out->path = out->target;
	out->query = imgo_strn(NULL, 0);
	if (mark) {
		out->path.len = (size_t)(mark - out->target.p);
		out->query = imgo_strn(mark + 1, out->target.len - out->path.len - 1);
	}
}

/* Returns 0 or a status. An incomplete line is judged as far as its target. */
static int read_request_line(struct imgo_str line, bool complete, size_t target_max, struct imgo__http_request *out)
{
	const char *space = line.len ? memchr(line.p, ' ', line.len) : NULL;
	int status;

	out->method = imgo_strn(line.p, space ? (size_t)(space - line.p) : line.len);
	if (out->method.len > METHOD_MAX)
		return 400;
	if (!space)
		return complete ? 400 : 0;
	if (!imgo__http_is_token(out->method))
		return 400;
	line = imgo_strn(space + 1, line.len - out->method.len - 1);
	space = line.len ? memchr(line.p, ' ', line.len) : NULL;
	out->target = imgo_strn(line.p, space ? (size_t)(space - line.p) : line.len);
	/* A CR may be the end of a line whose LF has not come. */
	if (!complete && !space && out->target.len && out->target.p[out->target.len - 1] == '\r')
		out->target.len--;
	status = check_target(out->target, target_max);
	if (status || !complete)
		return status;
	if (!space || out->target.len == 0)
		return 400;
	split_target(out);
	return read_version(imgo_strn(space + 1, line.len - out->target.len - 1), &out->http10);
}

/* What the headers say that concerns framing; a request and a response share it. */
struct framing {
	unsigned hosts;
	bool close, keep_alive, connection_upgrade, upgrade_websocket, expect_continue, has_content_length;
	size_t content_length;
};

static int note_content_length(struct framing *f, struct imgo_str value, size_t body_max)
{
	int rc = imgo__http_number(value, body_max, &f->content_length);

	if (rc == IMGO_EPROTO || f->has_content_length)
		return 400;
	f->has_content_length = true;
	return rc ? 413 : 0;
}

/* host[:port] of RFC 3986, without user and without what some parsers take for a list. */
static bool is_host(struct imgo_str s)
{
	for (size_t i = 0; i < s.len; i++) {
		char c = s.p[i];
		if (c <= 0x20 || c >= 0x7F || strchr("/\\?#@,\"<>^`{|}", c))
			return false;
	}
	return true;
}

/* Returns 0 or a status. */
static int note_header(struct framing *f, const struct imgo__http_header *h, size_t body_max)
{
	if (imgo__http_is(h->name, "Content-Length"))
		return note_content_length(f, h->value, body_max);
	if (imgo__http_is(h->name, "Transfer-Encoding"))
		return 501;
	if (imgo__http_is(h->name, "Host"))
		return f->hosts++ || !is_host(h->value) ? 400 : 0;
	if (imgo__http_is(h->name, "Expect")) {
		f->expect_continue = imgo__http_is(h->value, "100-continue");
		return f->expect_continue ? 0 : 417;
	}
	if (imgo__http_is(h->name, "Connection")) {
		f->close |= imgo__http_has(h->value, "close");
		f->keep_alive |= imgo__http_has(h->value, "keep-alive");
		f->connection_upgrade |= imgo__http_has(h->value, "upgrade");
	}
	if (imgo__http_is(h->name, "Upgrade"))
		f->upgrade_websocket |= imgo__http_has(h->value, "websocket");
	return 0;
}

/* Reads header lines up to the empty one. > 0: all there; 0: incomplete; < 0: *status. */
static int read_headers(struct imgo__http_lines *lines, size_t body_max, struct framing *f,
	struct imgo__http_header *headers, unsigned *nheaders, int *status)
{
	struct imgo__http_header *h;
	struct imgo_str line;
	int rc;

	*nheaders = 0;
	while ((rc = imgo__http_line(lines, &line)) > 0) {
		if (line.len == 0)
			return 1;
		*status = 431;
		if (*nheaders == IMGO__HTTP_HEADERS_MAX)
			return IMGO_EPROTO;
		h = &headers[*nheaders];
		*status = imgo__http_header_line(line, h) ? note_header(f, h, body_max) : 400;
		if (*status)
			return IMGO_EPROTO;
		++*nheaders;
	}
	*status = rc < 0 ? 400 : 0;
	return rc < 0 ? IMGO_EPROTO : 0;
}

static void take_framing(struct imgo__http_request *out, const struct framing *f)
{
	out->keep_alive = !f->close && (f->keep_alive || !out->http10);
	out->expect_continue = f->expect_continue && !out->http10;
	out->upgrade_websocket = f->connection_upgrade && f->upgrade_websocket && !out->http10;
	out->has_content_length = f->has_content_length;
	out->content_length = f->content_length;
}

static struct imgo__http_lines lines_of(const uint8_t *data, size_t len)
{
	const char *at = (const char *)data;

	return (struct imgo__http_lines){at, len ? at + len : at}; /* data may be NULL then */
}

static int refuse(int *status, int code)
{
	*status = code;
	return IMGO_EPROTO;
}

ssize_t imgo__http_decode(const uint8_t *data, size_t len, const struct imgo__http_limits *limits,
	struct imgo__http_request *out, int *status)
{
	bool full = len >= limits->head_max;
	struct imgo__http_lines lines = lines_of(data, full ? limits->head_max : len);
	struct framing f = {0};
	struct imgo_str line;
	int complete = imgo__http_line(&lines, &line);
	int rc;

	*status = read_request_line(line, complete > 0, limits->target_max, out);
	if (*status)
		return IMGO_EPROTO;
	if (complete < 0)
		return refuse(status, 400);
	if (complete && limits->headers_max && (size_t)(lines.end - lines.at) >= limits->headers_max) {
		lines.end = lines.at + limits->headers_max;
		full = true;
	}
	rc = complete ? read_headers(&lines, limits->body_max, &f, out->headers, &out->nheaders, status) : 0;
	if (rc < 0)
		return rc;
	if (rc == 0)
		return full ? refuse(status, 431) : 0;
	if (f.hosts == 0 && !out->http10)
		return refuse(status, 400);
	take_framing(out, &f);
	return lines.at - (const char *)data;
}

struct imgo_str imgo__http_header(const struct imgo__http_request *request, const char *name)
{
	for (unsigned i = 0; i < request->nheaders; i++) {
		if (imgo__http_is(request->headers[i].name, name))
			return request->headers[i].value;
	}
	return imgo_strn(NULL, 0);
}

unsigned imgo__http_header_count(const struct imgo__http_request *request, const char *name)
{
	unsigned n = 0;

	for (unsigned i = 0; i < request->nheaders; i++)
		n += imgo__http_is(request->headers[i].name, name);
	return n;
}

/* "HTTP/1.1 200 OK": the reason may be anything, or missing with its space. */
static bool read_status_line(struct imgo_str line, int *status, bool *http10)
{
	size_t code;

	if (line.len < 12 || read_version(imgo_strn(line.p, 8), http10) || line.p[8] != ' ')
		return false;
	if (imgo__http_number(imgo_strn(line.p + 9, 3), 999, &code) || code < 100 || (line.len > 12 && line.p[12] != ' '))
		return false;
	*status = (int)code;
	return true;
}

ssize_t imgo__http_decode_response(const uint8_t *data, size_t len, size_t head_max, struct imgo__http_response *out)
{
	bool full = len >= head_max, http10 = false;
	struct imgo__http_lines lines = lines_of(data, full ? head_max : len);
	struct framing f = {0};
	struct imgo_str line;
	int rc = imgo__http_line(&lines, &line), status;

	if (rc < 0 || (rc > 0 && !read_status_line(line, &out->status, &http10)))
		return IMGO_EPROTO;
	if (rc > 0)
		rc = read_headers(&lines, SIZE_MAX, &f, out->headers, &out->nheaders, &status);
	if (rc < 0 || (rc == 0 && full))
		return IMGO_EPROTO;
	if (rc == 0)
		return 0;
	out->keep_alive = !f.close && (f.keep_alive || !http10);
	out->has_content_length = f.has_content_length;
	out->content_length = f.content_length;
	return lines.at - (const char *)data;
}

const char *imgo__http_reason(int status)
{
	static const struct {
		int status;
		const char *reason;
	} reasons[] = {
		{100, "Continue"},
		{101, "Switching Protocols"},
		{200, "OK"},
		{201, "Created"},
		{202, "Accepted"},
		{204, "No Content"},
		{400, "Bad Request"},
		{401, "Unauthorized"},
		{403, "Forbidden"},
		{404, "Not Found"},
		{405, "Method Not Allowed"},
		{408, "Request Timeout"},
		{409, "Conflict"},
		{411, "Length Required"},
		{413, "Content Too Large"},
		{414, "URI Too Long"},
		{415, "Unsupported Media Type"},
		{417, "Expectation Failed"},
		{422, "Unprocessable Content"},
		{426, "Upgrade Required"},
		{429, "Too Many Requests"},
		{431, "Request Header Fields Too Large"},
		{500, "Internal Server Error"},
		{501, "Not Implemented"},
		{503, "Service Unavailable"},
		{504, "Gateway Timeout"},
		{505, "HTTP Version Not Supported"},
		{507, "Insufficient Storage"},
	};

	for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
		if (reasons[i].status == status)
			return reasons[i].reason;
	}
	return "Unknown";
}
