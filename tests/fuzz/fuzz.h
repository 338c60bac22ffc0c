/* What fuzz entries and their mutators share with libFuzzer, or with replay_main.c in its place. */
#ifndef DECREE_TESTS_FUZZ_H
#define DECREE_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An entry whose inputs carry checksums defines this: it changes data by LLVMFuzzerMutate, then
 * makes the checksums right again, since no chance ever finds one. Returns the new size. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);

#endif
