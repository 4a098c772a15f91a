// How Swift's libraries put threads in order, told to ThreadSanitizer.
//
// It sees what was compiled for it: our code, and what the libraries have inlined in that. Behind a call of them it
// sees nothing: a mutex that was waited for, and a global that another thread has made, order two threads by a
// futex in there, and whatever they protect would be reported. So these functions stand in front of the libraries',
// and say what those did. (Jobs and actors need none: their library tells of them itself. Counts of references, and
// continuations that are resumed early, cannot be had in this way: see suppressions.)
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

// ThreadSanitizer's: what happened before a release of a place happened before an acquisition of it.
void __tsan_acquire(void *place);
void __tsan_release(void *place);

#define UNSEEN __attribute__((no_sanitize("thread")))
#define SWIFT UNSEEN __attribute__((swiftcall))
#define SELF __attribute__((swift_context)) void *self

/// The function of the same name that stands behind ours.
UNSEEN static void *behind(const char *name) {
    void *function = dlsym(RTLD_NEXT, name);
    if (function) return function;
    fprintf(stderr, "CThreadSanitizer: this Swift has no function %s; see edges.c\n", name);
    abort();
}

// ---- Mutex, of Synchronization: a free one is locked and unlocked by inlined code -------------------

// Synchronization._MutexHandle._lockSlow(Swift.UInt32) -> ()
#define LOCK "$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF"
// Synchronization._MutexHandle._unlockSlow() -> ()
#define UNLOCK "$s15Synchronization12_MutexHandleV11_unlockSlowyyF"
// Synchronization._MutexHandle._tryLockSlow() -> Swift.Bool
#define TRY "$s15Synchronization12_MutexHandleV12_tryLockSlowSbyF"

SWIFT void lock(uint32_t thread, SELF) __asm__(LOCK);
SWIFT void lock(uint32_t thread, SELF) {
    ((__attribute__((swiftcall)) void (*)(uint32_t, SELF))behind(LOCK))(thread, self);
    __tsan_acquire(self);
}

SWIFT void unlock(SELF) __asm__(UNLOCK);
SWIFT void unlock(SELF) {
    __tsan_release(self);
    ((__attribute__((swiftcall)) void (*)(SELF))behind(UNLOCK))(self);
}

SWIFT bool try_lock(SELF) __asm__(TRY);
SWIFT bool try_lock(SELF) {
    bool done = ((__attribute__((swiftcall)) bool (*)(SELF))behind(TRY))(self);
    if (done) __tsan_acquire(self);
    return done;
}

// ---- Globals and static properties: each is made by who first asks for it --------------------------

struct once {
    void *flag;
    void (*make)(void *);
    void *argument;
};

UNSEEN static void make(void *argument) {
    struct once *once = argument;
    once->make(once->argument);
    __tsan_release(once->flag);
}

UNSEEN void swift_once(void *flag, void (*function)(void *), void *argument) {
    static void *_Atomic known;
    void *real = known;
    if (!real) known = real = behind("swift_once");
    struct once once = {flag, function, argument};
    ((void (*)(void *, void (*)(void *), void *))real)(flag, make, &once);
    __tsan_acquire(flag);
}
