/* SPDX-License-Identifier: MIT */
#include "test.h"

#include "net/outq.h"

static struct imgo__chunk *chunk(uint8_t first, size_t len)
{
	struct imgo__chunk *c = imgo__chunk_new(len);

	for (size_t i = 0; i < len; i++)
		c->data[i] = (uint8_t)(first + i);
	return c;
}

/* Random pushes and partial writes: the bytes come out in order, none twice, and an empty queue is no queue.
 */
static void in_order(void **state)
{
	struct imgo__outq *q = NULL;
	uint8_t next_in = 0, next_out = 0;
	size_t inside = 0;

	(void)state;
	srand(7);
	for (int step = 0; step < 20000; step++) {
		if (rand() % 3 && inside < 5000) {
			struct imgo__chunk *c = chunk(next_in, 1 + (size_t)rand() % 40);
			size_t offset = !q && c->len > 1 ? (size_t)rand() % (c->len - 1) : 0;
			assert_int_equal(imgo__outq_push(&q, c, (uint32_t)offset), 0);
			next_in = (uint8_t)(next_in + c->len);
			next_out = (uint8_t)(next_out + offset);
			inside += c->len - offset;
			imgo__chunk_unref(c);
		} else if (q) {
			struct iovec iov[7];
			int n = imgo__outq_iov(q, iov, 7);
			size_t want = 0, take;
			for (int i = 0; i < n; i++)
				want += iov[i].iov_len;
			take = (size_t)rand() % (want + 1);
			for (size_t i = 0, done = 0; done < take; i++) {
				for (size_t k = 0; k < iov[i].iov_len && done < take; k++, done++)
					assert_int_equal(((uint8_t *)iov[i].iov_base)[k], next_out++);
			}
			imgo__outq_consume(&q, take);
			inside -= take;
		}
		assert_int_equal(q ? q->bytes : 0, inside);
		assert_int_equal(q == NULL, inside == 0);
		assert_true(imgo__outq_weight(q) >= inside);
	}
	imgo__outq_free(&q);
	imgo__outq_free(&q);
}

static void cut(void **state)
{
	struct imgo__outq *q = NULL;
	struct imgo__chunk *c = chunk(0, 10);

	(void)state;
	imgo__outq_cut(&q);
	for (int i = 0; i < 9; i++)
		assert_int_equal(imgo__outq_push(&q, c, 0), 0);
	imgo__outq_consume(&q, 13);
	imgo__outq_cut(&q); /* the rest of the second stays */
	assert_int_equal(q->bytes, 7);
	assert_int_equal(q->n, 1);
	imgo__outq_consume(&q, 7);
	assert_null(q);
	assert_int_equal(imgo__outq_push(&q, c, 0), 0);
	imgo__outq_cut(&q);
	assert_null(q);
	assert_int_equal(c->refs, 1);
	imgo__chunk_unref(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_order),
		cmocka_unit_test(cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
