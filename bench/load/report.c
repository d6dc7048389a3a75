/* SPDX-License-Identifier: MIT */
/* Readings, the verdict, and the result in JSON. */
#include "load.h"

#include <string.h>

void reading_take(const struct options *o, const pid_t *clients, pid_t pusher, struct reading *out)
{
	*out = (struct reading){.at_ns = now_ns()};
	for (unsigned i = 0; i < o->nservers; i++) {
		if (proc_read(o->servers[i].pid, &out->servers[i])) {
			fprintf(stderr, "the server %s has ended\n", o->servers[i].name);
			exit(1);
		}
	}
	for (unsigned i = 0; clients && i < o->processes; i++)
		proc_read(clients[i], &out->clients[i]);
	if (pusher)
		proc_read(pusher, &out->pusher);
	machine_read(&out->machine);
}

/* ---- JSON ---- */

static void print_text(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			printf("\\%c", *text);
		else if ((unsigned char)*text < 0x20)
			printf("\\u%04x", (unsigned char)*text);
		else
			putchar(*text);
	}
	putchar('"');
}

/* Microseconds. */
void print_hist(const char *name, const struct hist *h)
{
	printf("\"%s\":{\"n\":%llu,\"mean\":%.1f,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}",
		name, (unsigned long long)h->n, h->n ? (double)h->sum / (double)h->n / 1e3 : 0,
		(double)hist_at(h, 50) / 1e3, (double)hist_at(h, 90) / 1e3, (double)hist_at(h, 99) / 1e3,
		(double)hist_at(h, 99.9) / 1e3, (double)h->max / 1e3);
}

static double seconds(const struct reading *a, const struct reading *b)
{
	return (double)(b->at_ns - a->at_ns) / 1e9;
}

static double cpu(const struct proc *a, const struct proc *b)
{
	return (double)(b->cpu_ns - a->cpu_ns) / 1e9;
}

void print_servers(const struct options *o, const struct reading *a, const struct reading *b, double each)
{
	double all = 0;

	putchar('{');
	for (unsigned i = 0; i < o->nservers; i++) {
		const struct proc *x = &a->servers[i], *y = &b->servers[i];
		all += cpu(x, y);
		printf("\"%s\":{\"cpu_s\":%.6f,\"user_s\":%.2f,\"system_s\":%.2f,\"us_each\":%.4f,\"waited_s\":%.4f,\"rss\":%llu},",
			o->servers[i].name, cpu(x, y), y->user - x->user, y->system - x->system,
			each > 0 ? cpu(x, y) * 1e6 / each : 0, (double)(y->wait_ns - x->wait_ns) / 1e9,
			(unsigned long long)y->rss);
	}
	printf("\"all\":{\"cpu_s\":%.6f,\"us_each\":%.4f}}", all, each > 0 ? all * 1e6 / each : 0);
}

static void print_memory(const struct options *o, const struct outcome *r)
{
	putchar('{');
	for (unsigned i = 0; i < o->nservers; i++) {
		double grown = (double)r->settled.servers[i].rss - (double)r->hundred.servers[i].rss;
		unsigned n = o->connections - r->hundred_up;
		printf("%s\"%s\":{\"start\":%llu,\"up\":%llu,\"a_connection\":%.0f,\"end\":%llu}", i ? "," : "",
			o->servers[i].name, (unsigned long long)r->start.servers[i].rss,
			(unsigned long long)r->settled.servers[i].rss, n ? grown / n : 0,
			(unsigned long long)r->end.servers[i].rss);
	}
	putchar('}');
}

/* ---- sums over processes ---- */

struct sums {
	struct hist connect, latency, gap; /* gap: from the answer of a push to its receipt, 0 when that came first */
	uint64_t bytes, reads, received, up, failed;
	double busiest, client_cpu;
	const char *trouble;
};

static struct sums *sum_up(const struct options *o, const struct shared *s, const struct outcome *r)
{
	struct sums *sums = calloc(1, sizeof *sums);
	double wall = seconds(&r->measure, &r->end);

	if (!sums)
		give_up("calloc");
	for (unsigned i = 0; i < o->processes; i++) {
		const struct client_slot *c = &s->clients[i];
		double used = cpu(&r->measure.clients[i], &r->end.clients[i]);
		hist_merge(&sums->connect, &c->connect);
		hist_merge(&sums->latency, &c->latency);
		sums->bytes += c->bytes;
		sums->reads += c->reads;
		sums->received += c->received;
		sums->up += c->up;
		sums->failed += c->failed;
		sums->client_cpu += used;
		if (wall > 0 && used / wall > sums->busiest)
			sums->busiest = used / wall;
		if (!sums->trouble && c->first_trouble[0])
			sums->trouble = c->first_trouble;
	}
	for (unsigned i = s->warm_count; o->push == PUSH_USER && i < s->count && i < TRACED_MAX; i++) {
		uint64_t answered = s->answered_ns[i], received = s->received_ns[i];
		if (answered && received)
			hist_add(&sums->gap, received > answered ? received - answered : 0);
	}
	if (!sums->trouble && s->pusher.first_trouble[0])
		sums->trouble = s->pusher.first_trouble;
	return sums;
}

/* What makes the figures worthless: each is a sentence; returns how many. */
static unsigned print_void(const struct options *o, const struct shared *s, const struct outcome *r, const struct sums *sums)
{
	double wall = seconds(&r->measure, &r->end), ours = sums->client_cpu + cpu(&r->measure.pusher, &r->end.pusher);
	const struct machine *a = &r->measure.machine, *b = &r->end.machine;
	double busy = b->busy - a->busy - (b->softirq - a->softirq);
	unsigned n = 0;

	for (unsigned i = 0; i < o->nservers; i++)
		ours += cpu(&r->measure.servers[i], &r->end.servers[i]);
	printf("\"others_cores\":%.2f,\"void\":[", wall > 0 && busy > ours ? (busy - ours) / wall : 0);
	if (sums->busiest > 0.9)
		printf("%s\"the clients are the bottleneck: one used %.0f %% of a core\"", n++ ? "," : "",
			sums->busiest * 100);
	if (s->pusher.lateness.n && hist_at(&s->pusher.lateness, 99) > 5000000)
		printf("%s\"the publisher is late: p99 %.1f ms\"", n++ ? "," : "",
			(double)hist_at(&s->pusher.lateness, 99) / 1e6);
	if (wall > 0.5 && (busy - ours) / wall > 0.15 * b->cores)
		printf("%s\"other processes used %.2f of %d cores\"", n++ ? "," : "", (busy - ours) / wall, b->cores);
	if (b->steal - a->steal > 0.05 * wall * b->cores)
		printf("%s\"the host took %.0f %% of the machine away\"", n++ ? "," : "",
			(b->steal - a->steal) / wall / b->cores * 100);
	printf("]");
	return n;
}

static void print_counts(const struct shared *s, const struct outcome *r, const struct sums *sums)
{
	printf("\"expected\":%llu,\"received\":%llu,\"lost\":%lld,\"copies\":%llu,\"reordered\":%llu,\"foreign\":%llu,"
	       "\"closed\":%llu,\"broken\":%llu,\"pushes_refused\":%u,\"logins_failed\":%llu",
		(unsigned long long)r->expected, (unsigned long long)r->received,
		(long long)r->expected - (long long)r->received, (unsigned long long)r->copies,
		(unsigned long long)r->late, (unsigned long long)r->foreign, (unsigned long long)r->closed,
		(unsigned long long)r->broken, atomic_load(&s->pusher.refused), (unsigned long long)sums->failed);
}

static bool kept_promise(const struct shared *s, const struct outcome *r, const struct sums *sums)
{
	return r->expected == r->received && !r->copies && !r->late && !r->foreign && !r->closed && !r->broken &&
	       !atomic_load(&s->pusher.refused) && !sums->failed;
}

static void print_load(const struct options *o, const struct shared *s, const struct outcome *r, const struct sums *sums)
{
	double wall = seconds(&r->measure, &r->end), n = (double)sums->latency.n;

	printf(",\"push\":{\"pushes\":%u,\"rate\":%g,\"size\":%zu,\"deliveries\":%.0f,\"seconds\":%.3f,\"deliveries_per_s\":%.0f,",
		s->count - s->warm_count, o->rate, o->size, n, wall, wall > 0 ? n / wall : 0);
	print_hist("latency_us", &sums->latency);
	putchar(',');
	print_hist("answer_us", &s->pusher.answer);
	putchar(',');
	print_hist("lateness_us", &s->pusher.lateness);
	if (o->push == PUSH_USER) {
		putchar(',');
		print_hist("after_answer_us", &sums->gap);
	}
	printf(",\"servers\":");
	print_servers(o, &r->measure, &r->end, n);
	printf(",\"clients\":{\"cpu_s\":%.4f,\"us_each\":%.4f,\"busiest\":%.3f,\"bytes_each\":%.1f,\"reads_each\":%.4f},",
		sums->client_cpu, n > 0 ? sums->client_cpu * 1e6 / n : 0, sums->busiest,
		(double)sums->bytes / (double)(sums->received ? sums->received : 1),
		(double)sums->reads / (double)(sums->received ? sums->received : 1));
}

int report(const struct options *o, const struct shared *s, const struct outcome *r)
{
	struct sums *sums = sum_up(o, s, r);
	unsigned worthless = 0, n = o->connections - r->hundred_up;
	bool passed = kept_promise(s, r, sums);

	printf("{\"bench\":\"load\",\"dialect\":\"%s\",\"connections\":%u,\"processes\":%u,\"rooms\":%u,\"cores\":%d,"
	       "\"passed\":%s,",
		wire_name(o->dialect), o->connections, o->processes, o->rooms, r->end.machine.cores,
		passed ? "true" : "false");
	print_counts(s, r, sums);
	printf(",\"memory\":");
	print_memory(o, r);
	printf(",\"connects\":{\"n\":%u,\"seconds\":%.4f,", n, seconds(&r->hundred, &r->up));
	print_hist("login_us", &sums->connect);
	printf(",\"servers\":");
	print_servers(o, &r->hundred, &r->up, n);
	putchar('}');
	if (o->idle > 0) {
		double each = seconds(&r->settled, &r->idle) * o->connections;
		printf(",\"idle\":{\"seconds\":%.3f,\"servers\":", seconds(&r->settled, &r->idle));
		print_servers(o, &r->settled, &r->idle, each);
		putchar('}');
	}
	if (o->push != PUSH_NONE) {
		print_load(o, s, r, sums);
		worthless = print_void(o, s, r, sums);
		putchar('}');
	}
	printf(",\"trouble\":");
	print_text(sums->trouble ? sums->trouble : "");
	printf("}\n");
	free(sums);
	return !passed ? 1 : worthless ? 3 : 0;
}
