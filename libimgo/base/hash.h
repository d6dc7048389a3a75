/* SPDX-License-Identifier: MIT */
/* Hashes and the few cryptographic primitives (libcrypto; hash.c and net/tls.c are its only users). Any thread. */
#ifndef IMGO__BASE_HASH_H
#define IMGO__BASE_HASH_H

#include <imgo/types.h>

uint64_t imgo__siphash(uint64_t k0, uint64_t k1, const void *p, size_t len); /* SipHash-2-4 */
uint32_t imgo__crc32c(uint32_t crc, const void *p, size_t len);              /* Castagnoli; start with 0 */
uint32_t imgo__crc32c_software(uint32_t crc, const void *p, size_t len);     /* the same by tables; for the test */

#define IMGO__SHA256_LEN 32
int imgo__sha256(const void *p, size_t len, uint8_t out[IMGO__SHA256_LEN]); /* IMGO_ENOMEM */
int imgo__sha1(const void *p, size_t len, uint8_t out[20]);                 /* for RFC 6455 §4.2.2 only */
bool imgo__const_eq(const void *a, const void *b, size_t len);              /* in constant time */
void imgo__random_bytes(void *out, size_t len); /* from the kernel; services use imgo__loop_random instead */

void imgo__hex(const void *p, size_t len, char *out /* 2 * len + 1 */);
size_t imgo__base64(const void *p, size_t len, char *out /* 4 * ((len + 2) / 3) + 1 */); /* length without the NUL */

#endif
