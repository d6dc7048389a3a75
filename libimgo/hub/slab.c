/* SPDX-License-Identifier: MIT */
/*
 * Connections live in pages of 256 that are never moved or given back while the hub lives: their addresses
 * are stable (watchers and timers are inside), and a slot keeps its generation. A handle is generation << 32
 * | slot; the generation rises each time the slot is given back, and a slot whose generations are used up is
 * never used again, so no handle ever comes twice. The free list is a stack: the pages in use stay the same
 * few.
 */
#include "hub/internal.h"

#include "base/mem.h"

static bool add_page(struct imgo_hub *hub)
{
	struct imgo__conn **pages = imgo__regrow(hub->pages, hub->npages + 1, sizeof *pages);

	if (!pages)
		return false;
	hub->pages = pages;
	struct imgo__conn *page = imgo__array(IMGO__HUB_PAGE, sizeof *page);
	if (!page)
		return false;
	pages[hub->npages] = page;
	for (uint32_t i = IMGO__HUB_PAGE; i-- > 0;) {
		struct imgo__conn *c = &page[i];
		c->slot = hub->npages * IMGO__HUB_PAGE + i;
		c->generation = 1;
		c->hub = hub;
		c->todo_next = hub->free_head;
		hub->free_head = c->slot + 1;
	}
	hub->npages++;
	return true;
}

struct imgo__conn *imgo__slab_take(struct imgo_hub *hub)
{
	if (!hub->free_head && !add_page(hub))
		return NULL;
	struct imgo__conn *c = imgo__conn_at(hub, hub->free_head - 1);
	hub->free_head = c->todo_next;
	c->todo_next = 0;
	return c;
}

void imgo__slab_give(struct imgo_hub *hub, struct imgo__conn *c)
{
	uint32_t slot = c->slot, generation = c->generation + 1;

	*c = (struct imgo__conn){.slot = slot, .generation = generation, .hub = hub};
	if (generation == 0)
		return; /* used up */
	c->todo_next = hub->free_head;
	hub->free_head = slot + 1;
}

void imgo__slab_free(struct imgo_hub *hub)
{
	for (uint32_t i = 0; i < hub->npages; i++)
		free(hub->pages[i]);
	free(hub->pages);
	hub->pages = NULL;
	hub->npages = 0;
}

struct imgo__conn *imgo__conn_get(struct imgo_hub *hub, struct imgo_conn conn)
{
	uint32_t slot = (uint32_t)conn.h;

	if (hub->freeing || slot / IMGO__HUB_PAGE >= hub->npages)
		return NULL;
	struct imgo__conn *c = imgo__conn_at(hub, slot);
	if (c->generation != conn.h >> 32 || (c->state != IMGO__CONN_LIVE && c->state != IMGO__CONN_AUTHING))
		return NULL;
	return c;
}

void imgo__links_append(struct imgo_hub *hub, struct imgo__list_ends *ends, struct imgo__conn *c)
{
	c->next = 0;
	c->prev = ends->tail;
	if (ends->tail)
		imgo__conn_at(hub, ends->tail - 1)->next = c->slot + 1;
	else
		ends->head = c->slot + 1;
	ends->tail = c->slot + 1;
}

void imgo__links_remove(struct imgo_hub *hub, struct imgo__list_ends *ends, struct imgo__conn *c)
{
	if (c->prev)
		imgo__conn_at(hub, c->prev - 1)->next = c->next;
	else
		ends->head = c->next;
	if (c->next)
		imgo__conn_at(hub, c->next - 1)->prev = c->prev;
	else
		ends->tail = c->prev;
	c->prev = c->next = 0;
}
