#!/usr/bin/env python3
"""The table of bars out of Google Benchmark's JSON files in a folder."""

import json
import pathlib
import platform
import subprocess
import sys

# file, benchmark's name begins with, counter, bar, True: at most, what it is
BARS = [
    ("tc_bench", "BM_NotOurs/ingress_v4", "x_trivial", 2.5, True,
     "tc, not ours, IPv4 (x a trivial tc program)"),
    ("tc_bench", "BM_NotOurs/ingress_v6", "x_trivial", 2.5, True,
     "tc, not ours, IPv6"),
    ("tc_bench", "BM_NotOurs/egress_v4", "x_trivial", 2.5, True,
     "tc egress, not ours, IPv4"),
    ("tc_bench", "BM_NotOurs/many_ranges_v4", "x_trivial", None, True,
     "tc, not ours, IPv4, eight ServiceCIDRs far apart"),
    ("tc_bench", "BM_NotOurs/many_ranges_v6", "x_trivial", None, True,
     "tc, not ours, IPv6, eight ServiceCIDRs far apart"),
    ("tc_bench", "BM_Hit/tcp_v4/", "x_trivial", 10, True,
     "tc, flow hit, TCP IPv4"),
    ("tc_bench", "BM_Hit/tcp_v6/", "x_trivial", 10, True,
     "tc, flow hit, TCP IPv6"),
    ("tc_bench", "BM_Hit/udp_v4/", "x_trivial", 10, True,
     "tc, flow hit, UDP IPv4"),
    ("tc_bench", "BM_Hit/udp_v6/", "x_trivial", 10, True,
     "tc, flow hit, UDP IPv6"),
    ("tc_bench", "BM_Hit/tcp_v4_64k_flows", "x_trivial", None, True,
     "tc, flow hit, 65,536 flows in turn"),
    ("tc_bench", "BM_NewFlow/tcp_v4/", "x_trivial", 40, True,
     "tc, new flow, TCP IPv4, room in the table"),
    ("tc_bench", "BM_NewFlow/udp_v4/", "x_trivial", 40, True,
     "tc, new flow, UDP IPv4, full table"),
    ("tc_bench", "BM_NewFlow/tcp_v4_masq", "x_trivial", 40, True,
     "tc, new flow, source translated, full table"),
    ("verifier_bench", "verifier/all_programs", "load_ms", 1000, True,
     "all programs opened, verified and loaded (ms, median of 5)"),
    ("verifier_bench", "verifier/all_programs", "processor_ms", None, True,
     "the same in processor time (ms)"),
    ("socket_bench", "UdpFresh", "hit_plus_ns", 80, True,
     "connect hook, hit (ns over a trivial program)"),
    ("socket_bench", "UdpFresh", "miss_plus_ns", 40, True,
     "connect hook, miss"),
    ("socket_bench", "ConnectionRate", "service_to_direct", 0.95, False,
     "TCP connection rate, service / direct"),
    ("syn_flood_bench", "syn_flood/throughput", "ratio", 0.95, False,
     "an established flow's throughput, SYN flood at our NodePort / elsewhere"),
    ("syn_flood_bench", "syn_flood/throughput", "syns_ratio", None, False,
     "SYNs of those two floods"),
    ("reconcile_bench", "publish/kernel/10000", "real_ms", 500, True,
     "10,000 x 10 from objects to published maps (ms)"),
    ("reconcile_bench", "one_change/kernel/1000/", "real_ms", 2, True,
     "one change at 1,000 services (ms)"),
    ("reconcile_bench", "one_change/kernel/10000", "real_ms", 2, True,
     "one change at 10,000 services (ms)"),
    ("reconcile_bench", "restart/kernel/10000", "real_ms", None, True,
     "restart at 10,000 services, nothing changed (ms)"),
    ("api_bench", "BM_Create/16", "items_per_second", None, False,
     "API server in one process: durable creates a second, 16 in flight"),
    ("api_bench", "BM_List10000", "real_ms", None, True,
     "API server in one process: LIST of 10,000 (ms)"),
    ("agent_bench", "agent/sync/", "real_ms", None, True,
     "agent process, 10,000 x 10: first byte to all published (ms)"),
    ("agent_bench", "agent/sync/", "rss_MB", 80, True,
     "agent process, RSS at 10,000 x 10 (MB)"),
    ("agent_bench", "agent/change/", "real_ms", 2, True,
     "agent process, one endpoint's event to the kernel (ms, mean)"),
    ("agent_bench", "agent/change/", "p50_ms", None, True,
     "agent process, one endpoint's event to the kernel (ms, median)"),
    ("agent_bench", "agent/change/", "p99_ms", None, True,
     "agent process, one endpoint's event to the kernel (ms, p99)"),
    ("agent_bench", "agent/restart/", "real_ms", None, True,
     "agent process, restart to in step (ms)"),
    ("agent_bench", "agent/restart/", "operations", 0, True,
     "agent process, operations after a restart"),
    ("agent_bench", "agent/cold/", "real_ms", 1500, True,
     "agent, 10,000 x 25 in protobuf: first byte to all published (ms)"),
    ("agent_bench", "agent/cold/", "peak_MB", 120, True,
     "agent, 10,000 x 25 in protobuf: peak RSS (MB)"),
    ("agent_bench", "agent/cold/", "rss_MB", 60, True,
     "agent, 10,000 x 25 in protobuf: steady RSS (MB)"),
    ("agent_bench", "agent/churn/", "cpu_percent", 15, True,
     "agent, 1,000 endpoint changes a second (% of a core)"),
    ("agent_bench", "agent/churn/", "p50_ms", None, True,
     "agent, 1,000 endpoint changes a second: event to kernel (ms, median)"),
    ("agent_bench", "agent/churn/", "p99_ms", 5, True,
     "agent, 1,000 endpoint changes a second: event to kernel (ms, p99)"),
    ("agent_bench", "agent/idle/", "cpu_percent", 0.1, True,
     "agent, idle (% of a core)"),
    ("agent_bench", "agent/warm/", "real_ms", 500, True,
     "agent, 10,000 x 25 in protobuf: restart to in step (ms)"),
    ("agent_bench", "agent/warm/", "operations", 0, True,
     "agent, 10,000 x 25 in protobuf: kernel writes after a restart"),
    ("controller_bench", "controller/start/", "real_ms", 300, True,
     "controller process, start to ready, empty store (ms)"),
    ("controller_bench", "controller/state/", "real_ms", 2000, True,
     "controller process, start to ready, 10,000 Pods and Services (ms)"),
    ("controller_bench", "controller/start/", "rss_MB", 40, True,
     "controller process, idle RSS (MB)"),
    ("controller_bench", "controller/state/", "rss_MB", 250, True,
     "controller process, RSS with 10,000 Pods and Services (MB)"),
    ("controller_bench", "controller/create/100/", "items_per_second", 3000,
     False, "Service creates a second, 16 clients, at 100 Services"),
    ("controller_bench", "controller/create/10000/", "items_per_second", 3000,
     False, "the same at 10,000 Services"),
    ("controller_bench", "controller/create/100/", "p99_ms", 20, True,
     "one create, p99, at 100 Services (ms)"),
    ("controller_bench", "controller/create/10000/", "p99_ms", 20, True,
     "one create, p99, at 10,000 Services (ms)"),
    ("controller_bench", "controller/create/10000/", "cpu_us", None, True,
     "one create with all that follows it, processor time (us)"),
    ("controller_bench", "controller/list/", "real_ms", 60, True,
     "LIST of 10,000 Services, JSON (ms)"),
    ("controller_bench", "controller/watch/json/", "us_each", 10, True,
     "watch fan-out, per event and watcher, JSON (us of processor)"),
    ("controller_bench", "controller/watch/protobuf/", "us_each", 10, True,
     "watch fan-out, per event and watcher, protobuf (us of processor)"),
    ("controller_bench", "controller/bound/", "real_ms", 2000, True,
     "Deployment of 1,000 replicas, ten nodes, all bound (ms)"),
]
MS = {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3}


def value_of(entry, counter):
    if counter == "real_ms":
        return entry["real_time"] * MS[entry["time_unit"]]
    return entry.get(counter)


def find(entries, prefix, counter):
    """The median of the runs of a benchmark; None if it did not run."""
    values = sorted(v for v in (value_of(e, counter) for e in entries
                                if (e["name"] + "/").startswith(prefix))
                    if v is not None)
    return values[len(values) // 2] if values else None


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        model = next((line.split(":", 1)[1].strip() for line in info
                      if line.startswith("model name")), "unknown")
    cores = subprocess.run(["nproc"], capture_output=True, text=True)
    return (f"{cores.stdout.strip()} x {model}, kernel {platform.release()}, "
            f"load {open('/proc/loadavg', encoding='utf-8').read()[:4]}")


def main(folder):
    runs = {}
    for path in pathlib.Path(folder).glob("*_bench.json"):
        runs[path.stem] = json.loads(path.read_text())["benchmarks"]
    print(f"Machine: {machine()}\n")
    print("| what | measured | bar | |\n|---|---|---|---|")
    for name, prefix, counter, bar, at_most, what in BARS:
        value = find(runs.get(name, []), prefix, counter)
        if value is None:
            print(f"| {what} | not run | | |")
            continue
        sign = "<=" if at_most else ">="
        holds = bar is None or (value <= bar if at_most else value >= bar)
        print(f"| {what} | {value:.3g} | "
              f"{f'{sign} {bar}' if bar is not None else ''} | "
              f"{'' if bar is None else 'holds' if holds else 'MISSED'} |")


if __name__ == "__main__":
    main(sys.argv[1])
