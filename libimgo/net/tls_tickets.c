/* SPDX-License-Identifier: MIT */
/*
 * Session tickets: the state of a session, encrypted for ourselves (AES-256-CBC, HMAC-SHA-256 over it; RFC 5077 §4) and
 * kept by the client. Who has the keys can resume, so servers that share a file of keys share sessions.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/rand.h>

#include "base/error.h"
#include "net/tls_impl.h"

enum { KEY_BYTES = sizeof(struct imgo__tls_ticket_key), LINE_MAX_BYTES = 1024 };

/* ---- the file ---- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static bool read_key(struct imgo__tls_ticket_key *key, const char *line)
{
	uint8_t *bytes = (uint8_t *)key;

	for (size_t i = 0; i < KEY_BYTES; i++) {
		int high = hex_digit(line[2 * i]), low = high < 0 ? -1 : hex_digit(line[2 * i + 1]);
		if (low < 0)
			return false;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	return line[2 * KEY_BYTES + strspn(line + 2 * KEY_BYTES, " \t\r\n")] == 0;
}

static int read_lines(struct imgo__tls_ticket_keys *out, FILE *file, const char *path, struct imgo_error *error)
{
	char line[LINE_MAX_BYTES];

	for (unsigned number = 1; fgets(line, sizeof line, file); number++) {
		const char *text = line + strspn(line, " \t\r\n");
		if (*text == '#' || *text == 0)
			continue;
		if (out->n == IMGO__TLS_TICKET_KEYS)
			return imgo__fail(error, IMGO_EINVAL, "tls: %s has more than %d ticket keys", path,
				IMGO__TLS_TICKET_KEYS);
		if (!read_key(&out->key[out->n], text))
			return imgo__fail(error, IMGO_EINVAL,
				"tls: %s:%u is no ticket key: it has 160 hexadecimal digits", path, number);
		out->n++;
	}
	OPENSSL_cleanse(line, sizeof line);
	if (ferror(file))
		return imgo__fail(error, IMGO_EIO, "tls: cannot read %s", path);
	if (out->n == 0)
		return imgo__fail(error, IMGO_EINVAL, "tls: %s has no ticket key", path);
	return 0;
}

int imgo__tls_tickets_read(struct imgo__tls_ticket_keys *out, const char *path, struct imgo_error *error)
{
	memset(out, 0, sizeof *out);
	if (!path) {
		out->n = 1;
		return RAND_bytes((uint8_t *)&out->key[0], KEY_BYTES) == 1
			       ? 0
			       : imgo__fail(error, IMGO_EIO, "tls: no random bytes");
	}
	FILE *file = fopen(path, "re");
	if (!file)
		return imgo__fail(error, errno == ENOENT ? IMGO_ENOTFOUND : IMGO_EIO, "tls: cannot read %s: %s", path,
			strerror(errno));
	int err = read_lines(out, file, path, error);
	fclose(file);
	return err;
}

/* ---- OpenSSL asks ---- */

static bool set_mac(EVP_MAC_CTX *mac, struct imgo__tls_ticket_key *key)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac, sizeof key->mac),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* < 0: no ticket for now; 0: none of ours, a full handshake; 1: fine; 2: fine, and the client gets a new one. */
int imgo__tls_ticket_cb(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int enc)
{
	const struct imgo__tls_conn *conn = SSL_get_app_data(ssl);
	struct imgo__tls_ticket_keys *keys = &conn->tls->tickets;
	struct imgo__tls_ticket_key *key = &keys->key[0];

	if (enc) {
		memcpy(name, key->name, sizeof key->name);
		if (RAND_bytes(iv, EVP_MAX_IV_LENGTH) != 1 ||
			!EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv))
			return -1;
		return set_mac(mac, key) ? 1 : -1;
	}
	for (unsigned i = 0; i < keys->n; i++, key++) {
		if (memcmp(name, key->name, sizeof key->name) != 0)
			continue;
		if (!set_mac(mac, key) || !EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv))
			return -1;
		/* Clients use a ticket of TLS 1.3 once (RFC 8446, C.4): the next visit needs a new one. */
		return i == 0 && SSL_version(ssl) < TLS1_3_VERSION ? 1 : 2;
	}
	return 0;
}
