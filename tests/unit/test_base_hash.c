/* SPDX-License-Identifier: MIT */
#include "test.h"

#include "base/hash.h"

/* The published vectors of imgo_partition: an implementation in another language must agree with these. */
static void partition_vectors(void **state)
{
	static const char a64[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
	const struct {
		struct imgo_str key;
		uint32_t of_64, of_7, of_1000000007;
	} vectors[] = {
		{imgo_strn("", 0), 11, 4, 872998909},
		{imgo_str("1"), 15, 2, 428125064},
		{imgo_str("42"), 61, 2, 686566589},
		{imgo_str("123456"), 44, 4, 552925022},
		{imgo_str("alice"), 30, 5, 927234057},
		{imgo_strn("\x00\xff", 2), 48, 5, 230491561},
		{imgo_str("live://1000"), 16, 1, 735231177},
		{imgo_str(a64), 56, 4, 373030314},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		assert_int_equal(imgo_partition(vectors[i].key, 64), vectors[i].of_64);
		assert_int_equal(imgo_partition(vectors[i].key, 7), vectors[i].of_7);
		assert_int_equal(imgo_partition(vectors[i].key, 1000000007), vectors[i].of_1000000007);
		assert_int_equal(imgo_partition(vectors[i].key, 1), 0);
		assert_int_equal(imgo_partition(vectors[i].key, 0), 0);
	}
}

static void partition_spreads(void **state)
{
	int count[64] = {0};
	(void)state;
	for (int i = 0; i < 64000; i++) {
		char key[16];
		snprintf(key, sizeof(key), "%d", i);
		count[imgo_partition(imgo_str(key), 64)]++;
	}
	for (int i = 0; i < 64; i++)
		assert_in_range(count[i], 850, 1150);
}

static void siphash_vectors(void **state)
{
	const uint64_t k0 = 0x0706050403020100u, k1 = 0x0f0e0d0c0b0a0908u;
	uint8_t in[64];
	(void)state;
	for (unsigned i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)i;
	/* The reference implementation's vectors_sip64. */
	assert_true(imgo__siphash(k0, k1, in, 0) == 0x726fdb47dd0e0e31u);
	assert_true(imgo__siphash(k0, k1, in, 1) == 0x74f839c593dc67fdu);
	assert_true(imgo__siphash(k0, k1, in, 7) == 0xab0200f58b01d137u);
	assert_true(imgo__siphash(k0, k1, in, 8) == 0x93f5f5799a932462u);
	assert_true(imgo__siphash(k0, k1, in, 15) == 0xa129ca6149be45e5u); /* of the paper */
	assert_true(imgo__siphash(k0, k1, NULL, 0) == 0x726fdb47dd0e0e31u);
}

static void crc_vectors(void **state)
{
	uint8_t in[1000], zeros[32] = {0};
	(void)state;
	assert_true(imgo__crc32c(0, "123456789", 9) == 0xe3069283u);
	assert_true(imgo__crc32c(0, zeros, 32) == 0x8a9136aau); /* RFC 3720 B.4 */
	assert_true(imgo__crc32c(0, NULL, 0) == 0);
	imgo__random_bytes(in, sizeof(in));
	for (size_t len = 0; len < sizeof(in); len += 13) {
		uint32_t crc = imgo__crc32c(0, in, len);
		assert_true(crc == imgo__crc32c_software(0, in, len));
		assert_true(crc == imgo__crc32c(imgo__crc32c(0, in, len / 3), in + len / 3, len - len / 3));
	}
}

static void check_hex(const uint8_t *p, size_t len, const char *expect)
{
	char hex[129];
	imgo__hex(p, len, hex);
	assert_string_equal(hex, expect);
}

static void sha(void **state)
{
	uint8_t out[IMGO__SHA256_LEN];
	(void)state;
	assert_int_equal(imgo__sha256("abc", 3, out), 0);
	check_hex(out, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	assert_int_equal(imgo__sha256(NULL, 0, out), 0);
	check_hex(out, 32, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	assert_int_equal(imgo__sha1("abc", 3, out), 0);
	check_hex(out, 20, "a9993e364706816aba3e25717850c26c9cd0d89d");
}

static void base64(void **state)
{
	static const char *const vectors[][2] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"},
		{"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}};
	char out[16];
	(void)state;
	for (size_t i = 0; i < 7; i++) {
		assert_int_equal(imgo__base64(vectors[i][0], i, out), strlen(vectors[i][1]));
		assert_string_equal(out, vectors[i][1]);
	}
	imgo__base64("\xff\xfe\xfb", 3, out);
	assert_string_equal(out, "//77");
	imgo__hex("", 0, out);
	assert_string_equal(out, "");
}

static void const_eq(void **state)
{
	(void)state;
	assert_true(imgo__const_eq("abc", "abc", 3));
	assert_false(imgo__const_eq("abc", "abd", 3));
	assert_true(imgo__const_eq(NULL, NULL, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(partition_vectors),
		cmocka_unit_test(partition_spreads),
		cmocka_unit_test(siphash_vectors),
		cmocka_unit_test(crc_vectors),
		cmocka_unit_test(sha),
		cmocka_unit_test(base64),
		cmocka_unit_test(const_eq),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
