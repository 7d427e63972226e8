/* SPDX-License-Identifier: GPL-2.0-only */
/* The only code that touches packet bytes by pointer: a cursor owns the bounds
 * check. Pure; the host compiles it, too.
 */
#ifndef FAIRLEAD_BPF_LIB_CURSOR_H_
#define FAIRLEAD_BPF_LIB_CURSOR_H_

#include "bpf/lib/shim.h"

/* Headers further in than this aren't walked. The verifier needs some bound
 * on variable packet offsets; no real packet comes near this one. */
#define FL_CURSOR_MAX 1024u

struct fl_cursor {
	const __u8 *start;
	const __u8 *end; /* of the bytes that may be read by pointer */
	__u32 off;
	__u32 len; /* of the whole frame, which may be longer */
};

/* Keeps clang from computing a checked pointer a second time, which the
 * verifier would take for an unchecked one. */
#define fl_pin_pointer(p) asm volatile("" : "+r"(p))

/* The next `len` (a constant) bytes, or null if they aren't all there. */
static __always_inline const void *fl_cursor_take(struct fl_cursor *cursor,
						  __u32 len)
{
	const __u8 *at;

	if (cursor->off > FL_CURSOR_MAX)
		return 0;
	at = cursor->start + cursor->off;
	fl_pin_pointer(at);
	if (at + len > cursor->end)
		return 0;
	cursor->off += len;
	return at;
}

static __always_inline void fl_cursor_skip(struct fl_cursor *cursor, __u32 len)
{
	cursor->off += len;
}

#endif /* FAIRLEAD_BPF_LIB_CURSOR_H_ */
