/* SPDX-License-Identifier: MIT */
/* The daemons, each as its main makes it. Hosts: routers 1, 2; logics 3, 4; jobs 5, 6; comets 7, 8. */
#include "sim.h"

#include <imgo/dispatch.h>
#include <imgo/router.h>

struct sim_process sim_daemons[SIM_DAEMONS];
enum imgo_v1_ack sim_v1_ack;
uint64_t sim_compare_ms;
static char names[SIM_DAEMONS][16];

static const char routers[] = "127.0.0.1:7270,127.0.0.2:7270";
static const char logics[] = "127.0.0.3:7170,127.0.0.4:7170";

struct role {
	struct imgo_registry *registry;
	struct imgo_bus *bus;
	struct imgo_store *store;
	struct imgo_router *router;
	struct imgo_push *push;
	struct imgo_dispatch *dispatch;
	struct imgo_edge *edge;
};
_Static_assert(sizeof(struct role) <= sizeof((struct sim_process *)0)->role, "role");

static struct role *role_of(struct sim_process *process)
{
	return (struct role *)(void *)process->role;
}

static void say_error(const struct sim_process *process, const struct imgo_error *error)
{
	sim_note("%s: %s", process->name, error->text);
}

static int parts(struct sim_process *process, struct role *role, struct imgo_error *error)
{
	struct imgo_registry_remote_options remote = IMGO_REGISTRY_REMOTE_OPTIONS_INIT;
	int err;

	remote.routers = routers;
	remote.partitions = SIM_PARTITIONS;
	err = imgo_registry_new_remote(&role->registry, &process->loop, &remote, error);
	if (err == 0)
		err = sim_bus_open(&role->bus, process);
	if (err == 0)
		err = sim_store_open(&role->store, process);
	return err;
}

static void end(struct sim_process *process)
{
	struct role *role = role_of(process);

	imgo_edge_free(role->edge);
	imgo_dispatch_free(role->dispatch);
	imgo_push_free(role->push);
	imgo_router_free(role->router);
	imgo_store_free(role->store);
	imgo_bus_free(role->bus);
	imgo_registry_free(role->registry);
}

static int start_router(struct sim_process *process)
{
	struct imgo_router_options options = IMGO_ROUTER_OPTIONS_INIT;
	struct role *role = role_of(process);
	struct imgo_error error = {0};
	char listen[32];
	int err = imgo_registry_new_memory(&role->registry, &process->loop, &error);

	snprintf(listen, sizeof listen, "127.0.0.%d:7270", process->host);
	options.listen = listen;
	if (err == 0)
		err = imgo_router_new(&role->router, &process->loop, role->registry, &options, &error);
	if (err < 0)
		say_error(process, &error);
	return err;
}

static int start_logic(struct sim_process *process)
{
	struct imgo_push_options options = IMGO_PUSH_OPTIONS_INIT;
	struct role *role = role_of(process);
	struct imgo_error error = {0};
	char listen[32];
	int err = parts(process, role, &error);

	snprintf(listen, sizeof listen, "127.0.0.%d:7170", process->host);
	options.registry = role->registry;
	options.store = role->store;
	options.bus = role->bus;
	options.rpc_listen = listen;
	if (err == 0)
		err = imgo_push_new(&role->push, &process->loop, &options, &error);
	if (err < 0)
		say_error(process, &error);
	return err;
}

static int start_job(struct sim_process *process)
{
	struct imgo_dispatch_options options = IMGO_DISPATCH_OPTIONS_INIT;
	struct role *role = role_of(process);
	struct imgo_error error = {0};
	int err = parts(process, role, &error);

	options.registry = role->registry;
	options.store = role->store;
	options.bus = role->bus;
	if (err == 0)
		err = imgo_dispatch_new(&role->dispatch, &process->loop, &options, &error);
	if (err < 0)
		say_error(process, &error);
	return err;
}

static int start_comet(struct sim_process *process)
{
	struct imgo_edge_options options = IMGO_EDGE_OPTIONS_INIT;
	struct role *role = role_of(process);
	struct imgo_error error = {0};
	char tcp[32], rpc[32];
	int err;

	snprintf(tcp, sizeof tcp, "127.0.0.%d:8080", process->host);
	snprintf(rpc, sizeof rpc, "127.0.0.%d:8092", process->host);
	options.comet = (uint32_t)process->host;
	options.tcp = tcp;
	options.rpc = rpc;
	options.logics = logics;
	options.v1_ack = sim_v1_ack;
	options.compare_ms = sim_compare_ms;
	err = imgo_edge_new(&role->edge, &process->loop, &options, &error);
	if (err < 0)
		say_error(process, &error);
	return err;
}

void sim_roles_init(void)
{
	static const struct {
		const char *name;
		int n;
		int (*start)(struct sim_process *);
	} kinds[] = {{"router", SIM_ROUTERS, start_router}, {"logic", SIM_LOGICS, start_logic},
		{"job", SIM_JOBS, start_job}, {"comet", SIM_COMETS, start_comet}};
	int n = 0;

	for (int kind = 0; kind < 4; kind++) {
		for (int i = 0; i < kinds[kind].n; i++, n++) {
			snprintf(names[n], sizeof names[n], "%s%d", kinds[kind].name, i + 1);
			sim_process_init(&sim_daemons[n], names[n], n + 1, kinds[kind].start, end);
		}
	}
}

struct sim_process *sim_logic(unsigned i)
{
	return &sim_daemons[SIM_ROUTERS + i % SIM_LOGICS];
}

struct imgo_push *sim_logic_push(struct sim_process *logic)
{
	return role_of(logic)->push;
}

void sim_comet_address(unsigned i, char out[32])
{
	snprintf(out, 32, "127.0.0.%d:8080", SIM_ROUTERS + SIM_LOGICS + SIM_JOBS + 1 + (int)(i % SIM_COMETS));
}
