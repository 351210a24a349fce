#!/usr/bin/env python3
"""usage: proxy.py [PROBE]    requests through the proxy and past it, in one run; PROBE is the release build of proxy_probe.

Two apps: Node's own server, and the cheapest app there can be (hello.c). Beside the second stands a pump that only carries
bytes: with client, app and proxy on two processors, no proxy can get past it. wrk asks; the rows are medians."""
import os
import re
import shutil
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "tests"))
import harness  # noqa: E402

REPETITIONS = 5
SECONDS = 2
CONNECTIONS = 32
NODE_APP = """require("http").createServer((q, r) => r.end("Hello, World!")).listen(%d, "127.0.0.1")"""


def compiled():
    source, program = os.path.join(HERE, "hello.c"), os.path.join(harness.DEPS, "bench-hello")
    if not os.path.exists(program) or os.path.getmtime(program) < os.path.getmtime(source):
        os.makedirs(harness.DEPS, exist_ok=True)
        harness.run("clang-19", "-O2", "-o", program, source)
    return program


def wrk(port, connections):
    """(requests a second, median latency in us)"""
    if not shutil.which("wrk"):
        raise harness.Skip("there is no wrk: apt-get install wrk")
    text = harness.run("wrk", "-t1", f"-c{connections}", f"-d{SECONDS}", "--latency", f"http://127.0.0.1:{port}/").stdout
    assert "Non-2xx" not in text and "Socket errors" not in text, text
    value, unit = re.search(r"50%\s+([\d.]+)(us|ms|s)", text).groups()
    return float(re.search(r"Requests/sec:\s*([\d.]+)", text).group(1)), float(value) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]


def listening(port):
    harness.wait_until(lambda: not harness.run("bash", "-c", f"</dev/tcp/127.0.0.1/{port}", check=False).returncode, 10,
                       f"something to listen on {port}")
    return port


def through_probe(t, probe):
    """A function app_port -> port of a proxy in front of it."""
    def start(app_port):
        process = t.spawn(probe, "--addr", "127.0.0.1:0", "--target", f"127.0.0.1:{app_port}", stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True)
        return int(process.stdout.readline().split()[1])
    return start


def bench_proxy(t, table, start_proxy):
    """table: run.py's. start_proxy(app_port) puts a proxy before an app and returns its port."""
    apps = {}
    port = harness.free_port()
    t.spawn(compiled(), port)
    apps["bare C server"] = listening(port)
    pump = harness.free_port()
    t.spawn(compiled(), pump, port)
    listening(pump)
    if shutil.which("node"):
        port = harness.free_port()
        t.spawn("node", "-e", NODE_APP % port)
        apps["Node server"] = listening(port)
    for name, direct in apps.items():
        ports = {"direct": direct, "proxy": start_proxy(direct)}
        if name == "bare C server":
            ports["pump"] = pump
        rates, latencies = {k: [] for k in ports}, {k: [] for k in ports}
        for _ in range(REPETITIONS):  # interleaved
            for kind, at in ports.items():
                rates[kind].append(wrk(at, CONNECTIONS)[0])
                latencies[kind].append(wrk(at, 1)[1])
        rate, latency = ({k: statistics.median(v) for k, v in all_of.items()} for all_of in (rates, latencies))
        ratio, added = rate["proxy"] / rate["direct"], (latency["proxy"] - latency["direct"]) / 1000
        detail = ", ".join(f"{kind} {value:,.0f}/s" for kind, value in rate.items())
        if "pump" in ports:  # the share of what is possible at all
            share = rate["proxy"] / rate["pump"]
            table.add(f"requests, {name}", f"{ratio:.2f}", "0.6 of pump", share >= 0.6, f"{share:.2f} of the pump; {detail}", "")
        else:
            table.add(f"requests, {name}", f"{ratio:.2f}", ">= 0.6", ratio >= 0.6, detail, "0.20")
        table.add(f"added at p50, {name}", f"{added:.3f} ms", "< 0.2 ms", added < 0.2, "one connection", "")


def main(arguments):
    import run as rows  # bench/run.py
    probe = arguments[0] if arguments else f"{harness.TOP}/build/dev/src/proxy/proxy_probe"
    t, table = harness.Test("bench proxy"), rows.Table()
    try:
        bench_proxy(t, table, through_probe(t, probe))
    finally:
        t.clean_up(False)
    return 1 if table.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except harness.Skip as reason:
        print(f"bench/proxy.py: {reason}", file=sys.stderr)
        sys.exit(1)
