#define _GNU_SOURCE
#include "allocation_counter.h"

#include <errno.h>
#include <execinfo.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

enum { mostTraces = 8, mostFrames = 24 };

static _Atomic pthread_t watched;
static atomic_bool isCounting;
static _Atomic uint64_t count;
static void *traces[mostTraces][mostFrames];
static int depths[mostTraces];
// Only the watched thread touches it: taking a trace may itself allocate.
static int isTracing;

static void counted(void) {
    if (!atomic_load_explicit(&isCounting, memory_order_relaxed)) return;
    if (pthread_self() != atomic_load_explicit(&watched, memory_order_relaxed) || isTracing) return;
    uint64_t number = atomic_fetch_add(&count, 1);
    if (number >= mostTraces) return;
    isTracing = 1;
    depths[number] = backtrace(traces[number], mostFrames);
    isTracing = 0;
}

void *malloc(size_t size) {
    counted();
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
    counted();
    return __libc_calloc(number, size);
}

void *realloc(void *place, size_t size) {
    counted();
    return __libc_realloc(place, size);
}

void *memalign(size_t alignment, size_t size) {
    counted();
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **place, size_t alignment, size_t size) {
    *place = memalign(alignment, size);
    return *place ? 0 : ENOMEM;
}

void allocation_counter_watch_this_thread(void) {
    // The first trace of a process loads a library: not while it counts.
    void *frame;
    backtrace(&frame, 1);
    atomic_store(&watched, pthread_self());
}

void allocation_counter_start(void) {
    atomic_store(&count, 0);
    atomic_store(&isCounting, 1);
}

uint64_t allocation_counter_stop(void) {
    atomic_store(&isCounting, 0);
    return atomic_load(&count);
}

void allocation_counter_allocate_once(void) {
    void *volatile place = malloc(1);
    free(place);
}

void allocation_counter_print(void) {
    uint64_t taken = atomic_load(&count);
    for (uint64_t number = 0; number < taken && number < mostTraces; number++) {
        if (write(2, "-- allocation\n", 14) < 0) return;
        backtrace_symbols_fd(traces[number], depths[number], 2);
    }
}
