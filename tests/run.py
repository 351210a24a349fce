#!/usr/bin/env python3
"""Runs the system tests: every test_* function of tests/**/test_*.py, each in a PID and mount namespace of its own, so
that whatever a test leaves behind ends with it.

usage: run.py [-k PATTERN] [-j N] [--list] [--counts FILE] [FILE...]
A test takes one argument, harness.Test. It passes by returning, fails by raising and is skipped by raising Skip(reason).
Attributes set by @harness.test(timeout=60, alone=False). Logs: build/results/system/NAME.log.
"""
import argparse
import concurrent.futures
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
import traceback

TESTS = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, TESTS)
import harness  # noqa: E402

LOGS = os.path.join(harness.RESULTS, "system")
SKIPPED = 77


def load(path):
    name = os.path.relpath(path, TESTS)[:-3].replace(os.sep, ".").replace("-", "_")
    spec = importlib.util.spec_from_file_location("caddis_tests." + name, path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, os.path.dirname(path))
    spec.loader.exec_module(module)
    sys.path.pop(0)
    return module


def discover(only):
    """All tests as (id, file, function), in the order of the files and of the functions in them."""
    found = []
    for folder, dirs, files in sorted(os.walk(TESTS)):
        dirs[:] = [d for d in dirs if d not in ("testdata", "__pycache__")]
        for file in sorted(files):
            path = os.path.join(folder, file)
            if not re.fullmatch(r"test_\w+\.py", file) or (only and not any(os.path.samefile(path, o) for o in only)):
                continue
            module = load(path)
            for name, function in vars(module).items():
                if name.startswith("test_") and callable(function) and function.__module__ == module.__name__:
                    found.append((os.path.relpath(path, TESTS)[:-3] + "::" + name[5:], path, function))
    return found


def run_inside(identifier):
    """The child: one test, its verdict as exit code."""
    def ended(signum, _frame):
        raise TimeoutError(f"ended from outside by signal {signum}")

    signal.signal(signal.SIGTERM, ended)
    signal.signal(signal.SIGINT, ended)
    path = os.path.join(TESTS, identifier.split("::")[0] + ".py")
    function = dict((i, f) for i, _, f in discover([path]))[identifier]
    test = harness.Test(identifier)
    status = 0
    try:
        function(test)
    except harness.Skip as reason:
        print("SKIP:", reason)
        status = SKIPPED
    except BaseException:  # a TimeoutError from the signal too: clean up, then report
        traceback.print_exc()
        status = 1
    try:
        test.clean_up(failed=status == 1)
    except Exception:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    os._exit(status)


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            return [int(c) for c in f.read().split()]
    except OSError:
        return []


def end_forcibly(process):
    """A test that does not end: first politely, then its FUSE connections are aborted and everything is killed."""
    inside = children(process.pid) or [process.pid]
    for pid in inside:
        harness.quietly(os.kill, pid, signal.SIGTERM)
    try:
        return process.wait(15)
    except subprocess.TimeoutExpired:
        pass
    for pid in inside:
        harness.abort_fuse_connections(f"/proc/{pid}/mountinfo", "/tmp/caddis-test-")
        harness.quietly(os.kill, pid, signal.SIGKILL)
    process.kill()
    return process.wait(30)


def run_one(identifier, function, isolate):
    command = [sys.executable, "-B", os.path.abspath(__file__), "--one", identifier]
    if isolate:
        command = harness.ISOLATED + command
    log = os.path.join(LOGS, re.sub(r"[^\w.-]+", "_", identifier) + ".log")
    timeout = getattr(function, "timeout", harness.DEFAULT_TIMEOUT)
    started = time.monotonic()
    with open(log, "wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            out.write(f"the test did not end within {timeout} s\n".encode())
            out.flush()
            end_forcibly(process)
            status = 1
    with open(log, errors="replace") as f:
        text = f.read()
    return identifier, status, time.monotonic() - started, text


def report(result, tally):
    identifier, status, seconds, text = result
    if status == SKIPPED:
        tally["skipped"] += 1
        reason = [line for line in text.splitlines() if line.startswith("SKIP: ")] or ["SKIP: no reason given"]
        print(f"SKIP {identifier} ({reason[-1][6:]})", flush=True)
    elif status == 0:
        tally["passed"] += 1
        print(f"ok   {identifier} {seconds:.1f}s", flush=True)
    else:
        tally["failed"] += 1
        print(f"FAIL {identifier} {seconds:.1f}s", flush=True)
        for line in text.splitlines()[-60:]:
            print("     | " + line)
        sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-k", default="", metavar="PATTERN")
    parser.add_argument("-j", type=int, default=2, metavar="N")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--counts", metavar="FILE")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    if options.one:
        run_inside(options.one)
    chosen = [(i, f) for i, _, f in discover(options.files) if re.search(options.k, i)]
    if options.list:
        print("\n".join(i for i, _ in chosen))
        return 0
    os.makedirs(LOGS, exist_ok=True)
    harness.oracle_library()  # compiled once, before the tests need it
    isolate = harness.can_isolate()
    tally = {"passed": 0, "failed": 0, "skipped": 0}
    together = [c for c in chosen if not getattr(c[1], "alone", False)]
    alone = [c for c in chosen if getattr(c[1], "alone", False)]
    together.sort(key=lambda c: -getattr(c[1], "timeout", harness.DEFAULT_TIMEOUT))
    with concurrent.futures.ThreadPoolExecutor(max(1, options.j)) as pool:
        for done in concurrent.futures.as_completed([pool.submit(run_one, i, f, isolate) for i, f in together]):
            report(done.result(), tally)
    for identifier, function in alone:
        report(run_one(identifier, function, isolate), tally)
    if options.counts:
        with open(options.counts, "w") as f:
            f.write("{passed} {failed} {skipped}\n".format(**tally))
    line = "{passed} passed, {failed} failed".format(**tally)
    print("system tests: " + line + (f", {tally['skipped']} skipped" if tally["skipped"] else ""))
    return 1 if tally["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
