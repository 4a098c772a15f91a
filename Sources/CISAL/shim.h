// The part of ISA-L that is used: erasure codes over GF(2^8).
#ifndef HOLDFAST_CISAL_H
#define HOLDFAST_CISAL_H

#include <isa-l/erasure_code.h>

#endif
