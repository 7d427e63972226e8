/* SPDX-License-Identifier: GPL-2.0-only */
/* The configuration, constant while a program is loaded. */
#ifndef FAIRLEAD_BPF_LIB_CONFIG_H_
#define FAIRLEAD_BPF_LIB_CONFIG_H_

#include "bpf/lib/shim.h"

#ifdef __bpf__
/* volatile: the compiler must not fold the zeros that are here at build time;
 * the verifier folds the loader's values, and prunes what they switch off. */
const volatile struct fl_config fl_config = {};
#elif defined(__cplusplus)
extern "C" struct fl_config fl_config;
#else
extern struct fl_config fl_config;
#endif

/* May translated sources have this port? */
static __always_inline __u32 fl_is_source_port(__be16 port)
{
	__u16 host = bpf_ntohs(port);

	return host >= fl_config.source_port_min &&
	       host <= fl_config.source_port_max;
}

#endif /* FAIRLEAD_BPF_LIB_CONFIG_H_ */
