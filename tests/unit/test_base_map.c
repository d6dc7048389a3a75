/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <imgo/error.h>

#include "base/map.h"
#include "base/mem.h"

enum { N = 3000 };

struct item {
	struct imgo__map_node node;
	char key[16];
	bool in, seen;
};

static struct item items[N];

static struct imgo_str key_of(const struct imgo__map_node *node)
{
	return imgo_str(((const struct item *)(const void *)node)->key);
}

static int fill(void **state)
{
	(void)state;
	memset(items, 0, sizeof(items));
	for (int i = 0; i < N; i++)
		snprintf(items[i].key, sizeof(items[i].key), "k%d", i);
	return 0;
}

static void against_a_model(void **state)
{
	struct imgo__map map;
	size_t n = 0;
	(void)state;
	srand(1);
	imgo__map_init(&map, key_of);
	assert_null(imgo__map_get(&map, imgo_str("k1")));
	assert_null(imgo__map_next(&map, NULL));
	assert_null(imgo__map_pop(&map));
	for (int step = 0; step < 40000; step++) {
		struct item *item = &items[rand() % N];
		if (item->in) {
			assert_ptr_equal(imgo__map_get(&map, imgo_str(item->key)), &item->node);
			imgo__map_remove(&map, &item->node);
			n--;
		} else {
			assert_null(imgo__map_get(&map, imgo_str(item->key)));
			assert_int_equal(imgo__map_put(&map, &item->node), 0);
			n++;
		}
		item->in = !item->in;
		assert_int_equal(map.n, n);
	}
	for (struct imgo__map_node *at = NULL; (at = imgo__map_next(&map, at)) != NULL;) {
		struct item *item = (struct item *)(void *)at;
		assert_true(item->in && !item->seen);
		item->seen = true;
		n--;
	}
	assert_int_equal(n, 0);
	imgo__map_fini(&map);
	imgo__map_fini(&map);
}

/* H16: nobody outside can know which keys share a bucket, for each map hashes in a way of its own. */
static void hashes_are_its_own(void **state)
{
	struct imgo__map a, b;

	(void)state;
	imgo__map_init(&a, key_of);
	imgo__map_init(&b, key_of);
	assert_int_equal(imgo__map_put(&a, &items[0].node), 0);
	memcpy(items[1].key, items[0].key, sizeof items[0].key);
	assert_int_equal(imgo__map_put(&b, &items[1].node), 0);
	assert_int_not_equal(items[0].node.hash, items[1].node.hash);
	imgo__map_fini(&a);
	imgo__map_fini(&b);
}

static void pops_and_goes_on(void **state)
{
	struct imgo__map map;
	struct imgo__map_node *node;
	size_t n = 0;
	(void)state;
	imgo__map_init(&map, key_of);
	for (int i = 0; i < N; i++)
		assert_int_equal(imgo__map_put(&map, &items[i].node), 0);
	for (int i = 0; i < N / 2; i++) {
		node = imgo__map_pop(&map);
		assert_non_null(node);
		assert_null(imgo__map_get(&map, key_of(node)));
		assert_int_equal(imgo__map_put(&map, node), 0);
		assert_ptr_equal(imgo__map_get(&map, key_of(node)), node);
	}
	while ((node = imgo__map_pop(&map)) != NULL)
		n++;
	assert_int_equal(n, N);
	assert_int_equal(imgo__map_put(&map, &items[0].node), 0);
	assert_ptr_equal(imgo__map_get(&map, imgo_str("k0")), &items[0].node);
	imgo__map_fini(&map);
}

static void without_memory(void **state)
{
	struct imgo__map map;
	(void)state;
	imgo__map_init(&map, key_of);
	imgo__mem_fail_after(0);
	assert_int_equal(imgo__map_put(&map, &items[0].node), IMGO_ENOMEM);
	for (int i = 0; i < 200; i++) {
		if (i > 0)
			imgo__mem_fail_after(0);
		assert_int_equal(imgo__map_put(&map, &items[i].node), 0);
	}
	imgo__mem_fail_after(-1);
	for (int i = 0; i < 200; i++)
		assert_ptr_equal(imgo__map_get(&map, imgo_str(items[i].key)), &items[i].node);
	imgo__map_fini(&map);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(against_a_model, fill),
		cmocka_unit_test_setup(hashes_are_its_own, fill),
		cmocka_unit_test_setup(pops_and_goes_on, fill),
		cmocka_unit_test_setup(without_memory, fill),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
