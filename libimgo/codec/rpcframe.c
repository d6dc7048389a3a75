/* SPDX-License-Identifier: MIT */
#include "codec/rpcframe.h"

#include <imgo/error.h>

ssize_t imgo__rpc_frame(const uint8_t *data, size_t len, size_t max, struct imgo_str *payload, size_t *need)
{
	size_t n;

	*need = IMGO__RPC_PREFIX;
	if (len < IMGO__RPC_PREFIX)
		return 0;
	n = imgo__get32(data);
	if (n == 0)
		return IMGO_EPROTO;
	if (n > max)
		return IMGO_ELIMIT;
	*need = IMGO__RPC_PREFIX + n;
	if (len < *need)
		return 0;
	*payload = imgo_strn(data + IMGO__RPC_PREFIX, n);
	return (ssize_t)*need;
}

int imgo__rpc_decode_head(struct imgo_str payload, struct imgo__rpc_head *out, struct imgo__mp *rest)
{
	uint32_t n, type;

	*out = (struct imgo__rpc_head){0};
	imgo__mp_init(rest, payload.p, payload.len);
	n = imgo__mp_array(rest, 4);
	type = imgo__mp_u32(rest);
	if (rest->err || type > IMGO__RPC_NOTIFY || n != (type == IMGO__RPC_NOTIFY ? 3 : 4))
		return IMGO_EPROTO;
	out->type = (enum imgo__rpc_type)type;
	if (type != IMGO__RPC_NOTIFY)
		out->id = imgo__mp_u32(rest);
	if (type != IMGO__RPC_RESPONSE) {
		out->method = imgo__mp_str(rest, IMGO__RPC_METHOD_MAX);
		if (out->method.len == 0)
			return IMGO_EPROTO;
	} else if (!imgo__mp_nil(rest)) {
		out->error = imgo__mp_i32(rest);
		if (out->error >= 0)
			return IMGO_EPROTO;
	}
	return rest->err || rest->at == rest->end ? IMGO_EPROTO : 0;
}

size_t imgo__rpc_begin(struct imgo__mpw *w, const struct imgo__rpc_head *head)
{
	static const uint8_t prefix[IMGO__RPC_PREFIX];
	size_t start = w->buf->len;

	if (w->err == 0 && imgo__buf_append(w->buf, prefix, sizeof prefix))
		w->err = IMGO_ENOMEM;
	imgo__mpw_array(w, head->type == IMGO__RPC_NOTIFY ? 3 : 4);
	imgo__mpw_uint(w, head->type);
	if (head->type != IMGO__RPC_NOTIFY)
		imgo__mpw_uint(w, head->id);
	if (head->type != IMGO__RPC_RESPONSE)
		imgo__mpw_str(w, head->method);
	else if (head->error)
		imgo__mpw_int(w, head->error);
	else
		imgo__mpw_nil(w);
	return start;
}

int imgo__rpc_end(struct imgo__mpw *w, size_t start, size_t max)
{
	size_t n = w->buf->len - start;
	int err = w->err;

	if (max > UINT32_MAX)
		max = UINT32_MAX;
	if (err == 0 && n - IMGO__RPC_PREFIX > max)
		err = IMGO_ELIMIT;
	if (err) {
		w->buf->len = start;
		w->err = 0;
		return err;
	}
	imgo__put32(w->buf->data + start, (uint32_t)(n - IMGO__RPC_PREFIX));
	return 0;
}
