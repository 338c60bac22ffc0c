/* CRC-32C (Castagnoli, RFC 3720 appendix B.4) with the processor's instruction where it has one. */
#ifndef DECREE_BASE_CRC32C_H
#define DECREE_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Checksum of p[0..n) continued from crc; 0 begins a new one. crc32c(0, "123456789", 9) is
 * 0xe3069283. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);

#endif
