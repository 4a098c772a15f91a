// Counts the allocations of one thread, by standing in front of the C library's functions.
#ifndef HOLDFAST_ALLOCATION_COUNTER_H
#define HOLDFAST_ALLOCATION_COUNTER_H

#include <stdint.h>

/// Watches the calling thread from now on, instead of any other.
void allocation_counter_watch_this_thread(void);

/// Starts to count at zero, and to remember where the first allocations come from.
void allocation_counter_start(void);

/// Stops, and returns how often the watched thread allocated.
uint64_t allocation_counter_stop(void);

/// Allocates once, whatever the compiler thinks of it.
void allocation_counter_allocate_once(void);

/// Prints where the first allocations came from to standard error.
void allocation_counter_print(void);

#endif
