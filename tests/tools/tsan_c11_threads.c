/* SPDX-License-Identifier: MIT */
/*
 * C11 threads on top of POSIX threads, for LD_PRELOAD under ThreadSanitizer, which knows only the latter:
 * librdkafka makes its threads with thrd_create and crashes there otherwise. Not built by default:
 *
 *	cc -shared -fPIC -o c11.so tests/tools/tsan_c11_threads.c
 *	LD_PRELOAD=./c11.so TSAN_OPTIONS=ignore_noninstrumented_modules=1 program
 */
#include <threads.h>
#include <pthread.h>
#include <stdlib.h>
#include <errno.h>
struct start {
	thrd_start_t f;
	void *p;
};
static void *go(void *v)
{
	struct start a = *(struct start *)v;
	free(v);
	return (void *)(long)a.f(a.p);
}
int thrd_create(thrd_t *t, thrd_start_t f, void *p)
{
	struct start *a = malloc(sizeof *a);
	a->f = f;
	a->p = p;
	return pthread_create(t, NULL, go, a) ? thrd_error : thrd_success;
}
int thrd_join(thrd_t t, int *r)
{
	void *v;
	int e = pthread_join(t, &v);
	if (r)
		*r = (int)(long)v;
	return e ? thrd_error : thrd_success;
}
int thrd_detach(thrd_t t)
{
	return pthread_detach(t) ? thrd_error : thrd_success;
}
int mtx_init(mtx_t *m, int t)
{
	pthread_mutexattr_t a;
	pthread_mutexattr_init(&a);
	if (t & mtx_recursive)
		pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
	return pthread_mutex_init((void *)m, &a) ? thrd_error : thrd_success;
}
int mtx_lock(mtx_t *m)
{
	return pthread_mutex_lock((void *)m) ? thrd_error : thrd_success;
}
int mtx_trylock(mtx_t *m)
{
	int e = pthread_mutex_trylock((void *)m);
	return e == EBUSY ? thrd_busy : e ? thrd_error : thrd_success;
}
int mtx_unlock(mtx_t *m)
{
	return pthread_mutex_unlock((void *)m) ? thrd_error : thrd_success;
}
void mtx_destroy(mtx_t *m)
{
	pthread_mutex_destroy((void *)m);
}
int cnd_init(cnd_t *c)
{
	return pthread_cond_init((void *)c, NULL) ? thrd_error : thrd_success;
}
int cnd_signal(cnd_t *c)
{
	return pthread_cond_signal((void *)c) ? thrd_error : thrd_success;
}
int cnd_broadcast(cnd_t *c)
{
	return pthread_cond_broadcast((void *)c) ? thrd_error : thrd_success;
}
int cnd_wait(cnd_t *c, mtx_t *m)
{
	return pthread_cond_wait((void *)c, (void *)m) ? thrd_error : thrd_success;
}
int cnd_timedwait(cnd_t *c, mtx_t *m, const struct timespec *t)
{
	int e = pthread_cond_timedwait((void *)c, (void *)m, t);
	return e == ETIMEDOUT ? thrd_timedout : e ? thrd_error : thrd_success;
}
void cnd_destroy(cnd_t *c)
{
	pthread_cond_destroy((void *)c);
}
