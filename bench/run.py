#!/usr/bin/env python3
"""usage: run.py [sql] [boot] [requests]    native and caddis in one run; the table goes to stdout, figures to
build/results/bench.json. A row passes when it reaches its floor; exit 1 when one does not."""
import json
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "tests"))
import harness  # noqa: E402

REPETITIONS = 5
ROWS = 400_000
# name: (floor as a ratio to native, LiteFS 0.5.14 on the same kind of machine)
SQL = {
    "insert WAL/NORMAL": (0.30, 0.013, ("insert", "wal", "normal", 1500)),
    "insert DELETE/FULL": (0.65, 0.26, ("insert", "delete", "full", 1500)),
    "bulk 100,000 rows, 1 tx": (0.50, 0.12, ("bulk", "wal", "normal", 100_000)),
    "point reads, autocommit": (0.95, 0.033, ("point", "wal", "normal", 1500)),
}


def compiled(name):
    source, program = os.path.join(HERE, name + ".c"), os.path.join(harness.DEPS, "bench-" + name)
    if not os.path.exists(program) or os.path.getmtime(program) < os.path.getmtime(source):
        os.makedirs(harness.DEPS, exist_ok=True)
        subprocess.run(["clang-19", "-O2", "-o", program, source, "-lsqlite3"], check=True)
    return program


class Table:
    def __init__(self):
        self.rows, self.failed = [], 0

    def add(self, name, value, floor, good, detail, litefs):
        self.failed += not good
        self.rows.append({"name": name, "value": value, "floor": floor, "pass": good, "detail": detail, "litefs": litefs})
        print(f"{name:<28} {value:>12}   floor {floor:<10} {'pass' if good else 'FAIL':<5} LiteFS {litefs:<8} {detail}", flush=True)


def bench_sql(t, table, program):
    sqlbench = compiled("sqlbench")
    native = t.mkdir("native")
    node = harness.Node(t, program=program).start()
    for name, (floor, litefs, (work, journal, synchronous, amount)) in SQL.items():
        def once(folder):
            path = os.path.join(folder, f"{work}-{journal}.db")
            if work != "point":
                for suffix in ("", "-wal", "-shm", "-journal"):
                    harness.quietly(os.unlink, path + suffix)
            elif not os.path.exists(path):
                harness.run(sqlbench, "fill", path, journal, synchronous, ROWS, timeout=300)
            return float(harness.run(sqlbench, work, path, journal, synchronous, amount, timeout=300).stdout)
        if work == "point":
            once(native), once(node.mount)
        pairs = []
        for _ in range(REPETITIONS):
            pairs.append((once(native), once(node.mount)))
        ratios = [b / a for a, b in pairs]
        ratio = statistics.median(ratios)
        unit = "reads/s" if work == "point" else "rows/s"
        detail = (f"native {statistics.median(a for a, _ in pairs):,.0f} {unit}, caddis {statistics.median(b for _, b in pairs):,.0f}, "
                  f"ratios {min(ratios):.2f}-{max(ratios):.2f}")
        table.add(name, f"{ratio:.3f}", f">= {floor}", ratio >= floor, detail, litefs)
    for name in os.listdir(os.path.join(node.data, "dbs")):  # the figures count only if the capture was right
        harness.check_database(node, name, integrity=False, log=False)
    assert node.stop(timeout=30) == 0


def boot_times(t, node, count=15):
    """Milliseconds from exec of caddis to the first instruction of the app, count times."""
    stamp, times = compiled("stamp"), []
    for _ in range(count):
        out = t.path("stamp")
        with open(out, "wb") as f:
            started = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            node.start(stamp, wait=False, stdout=f)
            node.wait_exit(60)
        with open(out) as f:
            times.append((int(f.read().split()[-1]) - started) / 1e6)
    return times


def bench_boot(t, table, program):
    config = {"lease": {"candidate": True}}
    empty = harness.Node(t, name="empty", program=program, config=config)
    times = boot_times(t, empty)
    table.add("exec to exec of app, empty", f"{statistics.median(times):.1f} ms", "< 20 ms", statistics.median(times) < 20,
              f"{min(times):.1f}-{max(times):.1f} ms", "15 ms")
    full = harness.Node(t, name="full", program=program, config=config)
    directory = os.path.join(full.data, "dbs", "app.db")
    os.makedirs(directory)
    harness.run(compiled("sqlbench"), "fill", os.path.join(directory, "database"), "wal", "off", 9_300_000, timeout=600)
    size = os.path.getsize(os.path.join(directory, "database"))
    full.start(timeout=120)  # the first boot adopts it; from then on its checksums are on the volume
    assert full.stop(timeout=60) == 0
    times = boot_times(t, full, 7)
    table.add("exec to exec of app, 1 GiB", f"{statistics.median(times):.1f} ms", "< 100 ms", statistics.median(times) < 100,
              f"{min(times):.1f}-{max(times):.1f} ms, database of {size >> 20} MiB", "10.5 s")
    idle = harness.Node(t, name="idle", program=program).start()
    for name in ("a.db", "b.db"):
        idle.sql(name, "PRAGMA journal_mode=WAL", "CREATE TABLE t(x)", "INSERT INTO t VALUES(1)")
    time.sleep(2)
    with open(f"/proc/{idle.pid}/status") as f:
        rss = next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) / 1024
    table.add("idle RSS", f"{rss:.1f} MiB", "< 16 MiB", rss < 16, "two small databases", "13.7 MB")
    assert idle.stop() == 0
    size = os.path.getsize(program) / 1e6
    table.add("binary", f"{size:.1f} MB", "< 12 MB", size < 12, "static, stripped", "14.7 MB")


def bench_requests(t, table, program):
    """FUSE requests a transaction by opcode, counted by caddis itself."""
    node = harness.Node(t, program=program).start()

    def counts():
        found = {}
        for line in node.get("/metrics")[1].splitlines():
            if line.startswith("caddis_fuse_requests_total{"):
                found[line.split('op="')[1].split('"')[0]] = float(line.rsplit(" ", 1)[1])
        return found
    if not counts():
        print("requests: this build has no caddis_fuse_requests_total; nothing to count")
        return
    number = 500
    for journal, synchronous in (("wal", "NORMAL"), ("wal", "FULL"), ("delete", "FULL"), ("truncate", "FULL"), ("persist", "FULL")):
        db = node.db(f"{journal}-{synchronous}.db")
        db.execute(f"PRAGMA journal_mode={journal}")
        db.execute(f"PRAGMA synchronous={synchronous}")
        db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
        before = counts()
        for _ in range(number):
            db.execute("INSERT INTO t(v) VALUES(randomblob(100))")
        after = counts()
        db.close()
        each = {op: (n - before.get(op, 0)) / number for op, n in after.items()}
        text = " ".join(f"{op} {n:.2f}" for op, n in sorted(each.items(), key=lambda e: -e[1]) if n >= 0.01)
        table.rows.append({"name": f"requests {journal}/{synchronous}", "value": each})
        print(f"requests a transaction, {journal}/{synchronous}: {sum(each.values()):.1f} = {text}", flush=True)
    assert node.stop() == 0


def main(arguments):
    program = os.environ.get("CADDIS_BIN") or harness.release_binary()
    table = Table()
    benches = {"sql": bench_sql, "boot": bench_boot, "requests": bench_requests}
    for name in arguments or benches:
        t = harness.Test("bench " + name)
        try:
            benches[name](t, table, program)
            failed = False
        except Exception:
            failed = True
            raise
        finally:
            t.clean_up(failed)
    os.makedirs(harness.RESULTS, exist_ok=True)
    with open(os.path.join(harness.RESULTS, "bench.json"), "w") as f:
        json.dump({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "kernel": os.uname().release,
                   "cpus": os.cpu_count(), "rows": table.rows}, f, indent=1)
    judged = [r for r in table.rows if "pass" in r]
    print(f"{len(judged) - table.failed} passed, {table.failed} failed")
    return 1 if table.failed else 0


if __name__ == "__main__":
    harness.isolate()
    try:
        sys.exit(main(sys.argv[1:]))
    except harness.Skip as reason:
        print(f"./dev bench: {reason}", file=sys.stderr)
        sys.exit(1)
