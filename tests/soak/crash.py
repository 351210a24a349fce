#!/usr/bin/env python3
"""usage: crash.py [--rounds N] [--minutes M]

kill -9 at a random moment under load: N rounds (200) in each of WAL and DELETE mode; power loss: N/4 rounds. With
--minutes the three take turns until the time is over."""
import argparse
import os
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
sys.path.insert(0, HERE)
import harness  # noqa: E402
import rounds  # noqa: E402


def attempt(name, function):
    """One part as a test of its own; its number of rounds and whether all were good."""
    t, started = harness.Test("soak " + name), time.monotonic()
    failed = True
    try:
        looked_for = function(t)
        failed = False
        print(f"{name}: good, {looked_for} acknowledged commits looked for and found, {time.monotonic() - started:.0f} s", flush=True)
    except Exception:
        traceback.print_exc()
        print(f"{name}: FAILED", flush=True)
    finally:
        t.clean_up(failed)
    return not failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--minutes", type=float)
    options = parser.parse_args()
    program = os.environ.get("CADDIS_BIN") or harness.release_binary()
    each = options.rounds or (20 if options.minutes else 200)
    quarter = max(1, each // 4)
    deadline = time.monotonic() + 60 * options.minutes if options.minutes else 0

    def say(text):
        if sys.stdout.isatty():
            print("\r" + text, end="\033[K", flush=True)

    parts = [(f"{each} kill -9 in WAL mode", lambda t: rounds.kill_rounds(t, "WAL", each, program, say)),
             (f"{each} kill -9 in DELETE mode", lambda t: rounds.kill_rounds(t, "DELETE", each, program, say)),
             (f"{quarter} power losses", lambda t: rounds.power_rounds(t, quarter, program, say))]
    verdicts = []
    while True:
        verdicts += [attempt(name, function) for name, function in parts]
        if time.monotonic() >= deadline:
            break
    print(f"{sum(verdicts)} passed, {len(verdicts) - sum(verdicts)} failed")
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    harness.isolate()
    try:
        sys.exit(main())
    except harness.Skip as reason:
        print(f"./dev soak: {reason}", file=sys.stderr)
        sys.exit(1)
