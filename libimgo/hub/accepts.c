/* SPDX-License-Identifier: MIT */
/*
 * Which operations a connection wants to be sent: a sorted list, shared by all connections of the hub that want the same.
 * An application has few such lists and very many connections, so a connection pays for a pointer. A list is never changed:
 * a connection that wants another one is given another one. It lives while a connection has it.
 */
#include "hub/internal.h"

#include "base/mem.h"

struct imgo__accepts {
	struct imgo__map_node node;
	uint32_t refs, n;
	int32_t ops[];
};

static struct imgo_str key_of(const struct imgo__map_node *node)
{
	const struct imgo__accepts *accepts = imgo__container_of(node, struct imgo__accepts, node);

	return imgo_strn(accepts->ops, accepts->n * sizeof accepts->ops[0]);
}

void imgo__accepts_init(struct imgo_hub *hub)
{
	imgo__map_init(&hub->accepts, key_of);
}

bool imgo__accepts_has(const struct imgo__accepts *accepts, int32_t op)
{
	uint32_t low = 0, high = accepts->n;

	while (low < high) {
		uint32_t middle = (low + high) / 2;
		if (accepts->ops[middle] == op)
			return true;
		if (accepts->ops[middle] < op)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

static struct imgo__accepts *share(struct imgo_hub *hub, const int32_t *ops, size_t n)
{
	struct imgo__map_node *node = imgo__map_get(&hub->accepts, imgo_strn(ops, n * sizeof *ops));
	struct imgo__accepts *accepts;

	if (node) {
		accepts = imgo__container_of(node, struct imgo__accepts, node);
		accepts->refs++;
		return accepts;
	}
	accepts = imgo__alloc(sizeof *accepts + n * sizeof *ops);
	if (!accepts)
		return NULL;
	accepts->refs = 1;
	accepts->n = (uint32_t)n;
	if (n)
		memcpy(accepts->ops, ops, n * sizeof *ops);
	if (imgo__map_put(&hub->accepts, &accepts->node)) {
		free(accepts);
		return NULL;
	}
	return accepts;
}

void imgo__accepts_drop(struct imgo__conn *c)
{
	struct imgo__accepts *accepts = c->accepts;

	c->accepts = NULL;
	c->flags &= (uint16_t)~IMGO__CONN_FILTERED;
	if (!accepts || --accepts->refs > 0)
		return;
	imgo__map_remove(&c->hub->accepts, &accepts->node);
	free(accepts);
}

int imgo__accepts_set(struct imgo__conn *c, const int32_t *ops, size_t n)
{
	struct imgo__accepts *accepts = share(c->hub, ops, n);

	if (!accepts)
		return IMGO_ENOMEM;
	imgo__accepts_drop(c);
	c->accepts = accepts;
	c->flags |= IMGO__CONN_FILTERED;
	return 0;
}

/* Both lists are sorted and without doubles; so is the union. */
int imgo__accepts_add(struct imgo__conn *c, const int32_t *ops, size_t n)
{
	static const struct imgo__accepts none;
	const struct imgo__accepts *old = c->accepts ? c->accepts : &none;
	int32_t all[2 * IMGO_ACCEPTS_MAX];
	size_t count = 0, i = 0, j = 0;

	while (i < old->n || j < n) {
		bool mine = j == n || (i < old->n && old->ops[i] <= ops[j]);
		if (mine && j < n && old->ops[i] == ops[j])
			j++;
		all[count++] = mine ? old->ops[i++] : ops[j++];
	}
	return count > IMGO_ACCEPTS_MAX ? IMGO_ELIMIT : imgo__accepts_set(c, all, count);
}

int imgo__accepts_remove(struct imgo__conn *c, const int32_t *ops, size_t n)
{
	int32_t left[IMGO_ACCEPTS_MAX];
	size_t count = 0, j = 0;

	if (!c->accepts)
		return 0;
	for (uint32_t i = 0; i < c->accepts->n; i++) {
		while (j < n && ops[j] < c->accepts->ops[i])
			j++;
		if (j == n || ops[j] != c->accepts->ops[i])
			left[count++] = c->accepts->ops[i];
	}
	return imgo__accepts_set(c, left, count);
}
