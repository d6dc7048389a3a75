/* SPDX-License-Identifier: MIT */
/* Certificates made for one test, in a folder of its own. */
#ifndef PKI_TEST_H
#define PKI_TEST_H

#include "test.h"

#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

struct pki {
	char dir[64];
	char ca[128], cert[128], key[128], other_ca[128], other_cert[128], other_key[128], tickets[128];
	X509 *root, *other_root;
	EVP_PKEY *root_key, *other_root_key;
};

static inline void pki_path(const struct pki *pki, char out[128], const char *name)
{
	snprintf(out, 128, "%s/%s", pki->dir, name);
}

static inline void pki_extension(X509 *cert, int nid, const char *value)
{
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	assert_non_null(ext);
	assert_int_equal(X509_add_ext(cert, ext, -1), 1);
	X509_EXTENSION_free(ext);
}

/* A certificate for name (and 127.0.0.1), good until `seconds` from now, signed by issuer (NULL: itself). */
static inline X509 *pki_make(EVP_PKEY *key, const char *name, long seconds, X509 *issuer, EVP_PKEY *issuer_key)
{
	X509 *cert = X509_new();
	char san[128];
	long serial;

	assert_non_null(cert);
	RAND_bytes((unsigned char *)&serial, sizeof serial);
	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), serial & 0x7fffffff);
	X509_gmtime_adj(X509_getm_notBefore(cert), -7200);
	X509_gmtime_adj(X509_getm_notAfter(cert), seconds);
	X509_set_pubkey(cert, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(issuer ? issuer : cert));
	if (issuer) {
		snprintf(san, sizeof san, "DNS:%s,IP:127.0.0.1", name);
		pki_extension(cert, NID_subject_alt_name, san);
	} else {
		pki_extension(cert, NID_basic_constraints, "critical,CA:TRUE");
	}
	assert_true(X509_sign(cert, issuer_key, EVP_sha256()) > 0);
	return cert;
}

static inline void pki_write(const char *path, X509 *cert, EVP_PKEY *key)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	if (cert)
		assert_int_equal(PEM_write_X509(file, cert), 1);
	if (key)
		assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(file);
}

static inline void pki_text(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

/* A certificate and its key, into two files. */
static inline void pki_issue(
	const char *cert_path, const char *key_path, const char *name, long seconds, X509 *root, EVP_PKEY *root_key)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = pki_make(key, name, seconds, root, root_key);

	pki_write(cert_path, cert, NULL);
	pki_write(key_path, NULL, key);
	X509_free(cert);
	EVP_PKEY_free(key);
}

static inline void pki_new(struct pki *pki)
{
	*pki = (struct pki){.dir = "/tmp/imgo-tls-XXXXXX"};
	assert_non_null(mkdtemp(pki->dir));
	pki_path(pki, pki->ca, "ca.pem");
	pki_path(pki, pki->cert, "cert.pem");
	pki_path(pki, pki->key, "key.pem");
	pki_path(pki, pki->other_ca, "other-ca.pem");
	pki_path(pki, pki->other_cert, "other-cert.pem");
	pki_path(pki, pki->other_key, "other-key.pem");
	pki_path(pki, pki->tickets, "tickets");
	pki->root_key = EVP_EC_gen("P-256");
	pki->other_root_key = EVP_EC_gen("P-256");
	pki->root = pki_make(pki->root_key, "root", 86400, NULL, pki->root_key);
	pki->other_root = pki_make(pki->other_root_key, "other root", 86400, NULL, pki->other_root_key);
	pki_write(pki->ca, pki->root, NULL);
	pki_write(pki->other_ca, pki->other_root, NULL);
	pki_issue(pki->cert, pki->key, "imgo.test", 86400, pki->root, pki->root_key);
	pki_issue(pki->other_cert, pki->other_key, "other.test", 86400, pki->other_root, pki->other_root_key);
}

static inline void pki_free(struct pki *pki)
{
	char command[128];

	X509_free(pki->root);
	X509_free(pki->other_root);
	EVP_PKEY_free(pki->root_key);
	EVP_PKEY_free(pki->other_root_key);
	snprintf(command, sizeof command, "rm -r %s", pki->dir);
	assert_int_equal(system(command), 0);
}

#endif
