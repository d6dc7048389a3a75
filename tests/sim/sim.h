/* SPDX-License-Identifier: MIT */
/*
 * A simulated machine room: every role of imgo, unchanged, each in a "process" of its own with its own loop, all in one
 * real process, on virtual time. Everything that happens (how long a packet takes, which connection breaks, who dies, what
 * the store forgets) is drawn from one seed, so a run that fails can be run again exactly.
 *
 *   world.c    virtual time: the queue of events, chance; processes and their loops (struct imgo__loop_ops)
 *   net.c      TCP between processes: delays, slices, windows, FIN and RST, links that are cut
 *   bus.c      a record log with consumer groups, as Kafka behaves: lost answers, rebalances, zombies
 *   store.c    the library's store in memory as a server far away: late answers, lost ones, amnesia
 *   roles.c    router, logic, job, comet as processes
 *   people.c   clients and callers, who write down what they saw
 *   check.c    what must hold of what they wrote
 *   sim.c      the scenarios: who there is, what goes wrong when; the command line
 *
 * A process that dies loses its connections first (its kernel closes them), then its objects are freed, which reaches
 * nobody any more. One that is stopped (SIGSTOP) has no turns until it goes on.
 */
#ifndef SIM_H
#define SIM_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <imgo/bus.h>
#include <imgo/edge.h>
#include <imgo/push.h>
#include <imgo/registry.h>
#include <imgo/store.h>

#include "base/list.h"
#include "loop/loop_impl.h"

enum {
	SIM_PARTITIONS = 4,
	SIM_CASTS_PARTITIONS = 2,
	SIM_HOSTS_MAX = 16,
	SIM_SECOND = 1000000, /* in µs */
	SIM_MS = 1000,
};

/* Ends the run: prints the seed, what was wrong, and the last events; longjmps to sim.c. */
_Noreturn void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Of the last events a ring is kept, for sim_fail; with --trace all are printed. */
void sim_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void *sim_alloc(size_t size); /* zeroed; never NULL */

/* ---- world.c ---- */
extern uint64_t sim_now_us;
extern enum imgo_log_level sim_log_level; /* of the daemons, into the notes */
void sim_world_init(uint64_t seed);
void sim_world_fini(void);
uint64_t sim_random(void);
uint64_t sim_below(uint64_t n);               /* 0 .. n-1 */
uint64_t sim_between(uint64_t a, uint64_t b); /* a .. b */
bool sim_chance(unsigned permille);
void sim_at(uint64_t delay_us, void (*fn)(void *arg), void *arg);
void sim_run_until(uint64_t us);

struct sim_process {
	struct imgo_loop loop; /* the first member: the table's functions get it */
	const char *name;
	int host; /* its address is 127.0.0.host */
	bool alive, stopped, in_step;
	uint64_t step_due_us, armed_us;
	struct imgo__list inbox;                   /* struct sim_call that are due */
	struct imgo__list socks;                   /* net.c's */
	int (*start)(struct sim_process *process); /* makes the objects; 0, or an error: tried again */
	void (*end)(struct sim_process *process);  /* frees them */
	unsigned lives;
	char role[1024] __attribute__((aligned(16))); /* the role's struct */
};

void sim_process_init(struct sim_process *process, const char *name, int host, int (*start)(struct sim_process *),
	void (*end)(struct sim_process *));
void sim_process_start(struct sim_process *process);
void sim_process_kill(struct sim_process *process);
void sim_process_stop(struct sim_process *process);
void sim_process_continue(struct sim_process *process);
void sim_step_soon(struct sim_process *process, uint64_t delay_us);

/*
 * Something that will be done in a process after a while: in a turn of its loop, unless it was canceled or the process died.
 * Embed it. `gone` is called when it will never be done (the process died first; not after sim_call_cancel).
 */
struct sim_call {
	struct imgo__list link;
	struct sim_process *process;
	unsigned life;
	enum { SIM_CALL_IDLE, SIM_CALL_WAITS, SIM_CALL_DUE, SIM_CALL_CANCELED } state;
	void (*fn)(struct sim_call *call);
	void (*gone)(struct sim_call *call); /* NULL: free(call) */
};
void sim_call_in(struct sim_call *call, struct sim_process *process, uint64_t delay_us);
/* Frees it, now or when its time has come. It must be from malloc, and the call its first member. */
void sim_call_cancel(struct sim_call *call);

/* ---- net.c ---- */
struct sim_net_options {
	uint64_t delay_min_us, delay_max_us;
	unsigned slice_permille; /* of reads and writes that take only part */
};
extern struct sim_net_options sim_net;
extern const struct imgo__loop_ops sim_loop_ops;
void sim_net_init(void);
void sim_net_fini(void);
void sim_net_step(struct sim_process *process);  /* calls what is ready */
bool sim_net_ready(struct sim_process *process); /* something is */
void sim_net_drop(struct sim_process *process);  /* its kernel closes everything */
void sim_net_cut(int host_a, int host_b, uint64_t until_us);
void sim_net_break_some(void); /* one connection, drawn by lot, is reset */
/* Bytes that have come to a connection and were not read; *len of them. */
const uint8_t *sim_net_unread(int fd, size_t *len);
int sim_net_listen(struct imgo_loop *, const struct imgo__addr *, int backlog, bool reuse_port, int *fd);
int sim_net_accept(struct imgo_loop *, int listen_fd, int *fd, struct imgo__addr *peer);
int sim_net_connect(struct imgo_loop *, const struct imgo__addr *, int *fd);
int sim_net_error(struct imgo_loop *, int fd);
ssize_t sim_net_read(struct imgo_loop *, int fd, void *p, size_t len);
ssize_t sim_net_writev(struct imgo_loop *, int fd, const struct iovec *iov, int n);
int sim_net_unsent(struct imgo_loop *, int fd);
int sim_net_local(struct imgo_loop *, int fd, struct imgo__addr *out);
void sim_net_shutdown(struct imgo_loop *, int fd);
void sim_net_close(struct imgo_loop *, int fd);
void sim_net_reset(struct imgo_loop *, int fd);
void sim_net_io_set(struct imgo_loop *, struct imgo__io *, int events);

/* ---- bus.c ---- */
struct sim_bus_options {
	unsigned lost_permille;   /* of records that are not appended, the caller told it does not know */
	unsigned unsure_permille; /* that are appended, the caller told the same */
	uint64_t session_us;      /* a member that is silent for so long is out */
};
extern struct sim_bus_options sim_bus;
void sim_bus_init(void);
void sim_bus_fini(void);
void sim_bus_down(uint64_t until_us); /* answers nobody */
int sim_bus_open(struct imgo_bus **out, struct sim_process *process);
uint64_t sim_bus_end(enum imgo_topic topic, uint32_t partition);
/* The lowest offset that is not committed by the group of the jobs. */
uint64_t sim_bus_committed(uint32_t partition);

/* ---- store.c ---- */
struct sim_store_options {
	unsigned lost_permille; /* of calls that fail: done or not, the caller does not know */
	unsigned refused_permille;
};
extern struct sim_store_options sim_store;
void sim_store_init(void);
void sim_store_fini(void);
void sim_store_down(uint64_t until_us);
void sim_store_slow(uint64_t until_us);
void sim_store_forget(unsigned server); /* partitions with partition % 2 == server */
int sim_store_open(struct imgo_store **out, struct sim_process *process);
struct imgo_store *sim_store_server(void); /* the store itself; sim_store_settle runs what was asked of it */
void sim_store_settle(void);

/* ---- roles.c ---- */
enum { SIM_ROUTERS = 2, SIM_LOGICS = 2, SIM_JOBS = 2, SIM_COMETS = 2 };
enum { SIM_DAEMONS = SIM_ROUTERS + SIM_LOGICS + SIM_JOBS + SIM_COMETS };
extern struct sim_process sim_daemons[SIM_DAEMONS];
extern enum imgo_v1_ack sim_v1_ack;
extern uint64_t sim_compare_ms;
void sim_roles_init(void);
struct imgo_push *sim_logic_push(struct sim_process *logic);
struct sim_process *sim_logic(unsigned i);
void sim_comet_address(unsigned i, char out[32]);

/* ---- people.c ---- */
enum { SIM_USERS = 8 };
struct sim_people_options {
	bool two_sessions;     /* some users have two at a time */
	bool restless;         /* clients come and go */
	uint64_t pause_max_ms; /* between two pushes of a caller */
};
extern struct sim_people_options sim_people;
void sim_people_init(void);
void sim_people_fini(void);
void sim_people_quiet(void);  /* no push is begun any more */
void sim_people_settle(void); /* nobody leaves any more, and no push is begun */
bool sim_people_pushes_done(void);
void sim_people_look(void); /* tells check.c what lies in sockets that are not read */

/* ---- check.c ---- */
void sim_check_init(void);
void sim_check_fini(void);
void sim_check_accepted(uint32_t user, uint32_t n); /* push n (from 1, rising) to the user was accepted */
void sim_check_session(uint64_t session, uint32_t user);
/* read: by the client. Else: it lay in the socket of a client that died. */
void sim_check_received(uint64_t session, uint32_t user, uint32_t n, bool read);
void sim_check_lies(uint32_t user, uint32_t n); /* in the socket of a client that does not read just now */
void sim_check_end(void);
struct sim_totals {
	uint64_t accepted, received, again, unread;
};
extern struct sim_totals sim_totals;

#endif
