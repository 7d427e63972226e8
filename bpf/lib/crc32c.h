/* SPDX-License-Identifier: GPL-2.0-only */
/* CRC32c (RFC 9260, appendix A) after a change of two bytes. Pure.
 *
 * The CRC is linear: what a change adds to it is the CRC, from zero, of the
 * changed bits followed by as many zero bytes as follow in the packet. Zero
 * bytes are a multiplication by a power of x modulo the polynomial, so the
 * packet itself isn't read: one multiplication for each bit of its length.
 *
 * Polynomials are reflected: bit 31 is x^0.
 */
#ifndef FAIRLEAD_BPF_LIB_CRC32C_H_
#define FAIRLEAD_BPF_LIB_CRC32C_H_

#include "bpf/lib/shim.h"

#define FL_CRC32C_POLYNOMIAL 0x82f63b78u
/* Bits of a packet's length. */
#define FL_CRC32C_LENGTH_BITS 16

/* Nobody's business but this function's that it is 0 or 1: neither clang nor the
 * verifier shall make two ways of it. */
static __always_inline __u32 fl_crc32c_bit(__u32 value)
{
	value &= 1;
	asm volatile("" : "+r"(value));
	return value;
}

/* a * b modulo the polynomial. A global function is verified once. */
__noinline __u32 fl_crc32c_multiply(__u32 a, __u32 b)
{
	__u32 product = 0;
	int i;

	for (i = 31; i >= 0; i--) {
		product ^= b * fl_crc32c_bit(a >> i);
		b = (b >> 1) ^ (FL_CRC32C_POLYNOMIAL * fl_crc32c_bit(b));
	}
	return product;
}

/* What 2^i zero bytes multiply by: x^(8 * 2^i). */
static __always_inline __u32 fl_crc32c_zeros(__u32 i)
{
	static const __u32 powers[FL_CRC32C_LENGTH_BITS] = {
		0x00800000, 0x00008000, 0x82f63b78, 0x6ea2d55c,
		0x18b8ea18, 0x510ac59a, 0xb82be955, 0xb8fdb1e7,
		0x88e56f72, 0x74c360a4, 0xe4172b16, 0x0d65762a,
		0x35d73a62, 0x28461564, 0xbf455269, 0xe2ea32dc,
	};

	return powers[i & (FL_CRC32C_LENGTH_BITS - 1)];
}

/* What the CRC must be exclusive-ored with after `from` has become `to` (two
 * bytes, as they lie in the packet) and `rest` bytes follow them. In the byte
 * order of the checksum field, on a little-endian machine. */
static __always_inline __u32 fl_crc32c_diff(__be16 from, __be16 to, __u32 rest)
{
	/* The two bytes themselves are the last 16 powers. */
	__u32 crc = (__u16)(from ^ to), zeros = rest + 2;
	__u32 i;

	for (i = 0; i < FL_CRC32C_LENGTH_BITS; i++) {
		if ((zeros >> i) & 1)
			crc = fl_crc32c_multiply(fl_crc32c_zeros(i), crc);
	}
	return crc;
}

#endif /* FAIRLEAD_BPF_LIB_CRC32C_H_ */
