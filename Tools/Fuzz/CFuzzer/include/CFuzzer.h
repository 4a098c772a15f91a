// libFuzzer without its main function: the driver that a program calls with a function to be fuzzed.
#pragma once
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*consume)(const uint8_t *data, size_t size));
