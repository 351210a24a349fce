#!/usr/bin/env python3
"""usage: run.py [--native] [FILE...]    SQLite's suite on the mount, one fresh mount a file (default: files.txt).

The table goes to build/results/sqlite-suite.txt, the output of each file that is not clean beside it."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
sys.path.insert(0, HERE)
import harness  # noqa: E402
import suite  # noqa: E402


def main(arguments):
    native = "--native" in arguments
    names = [os.path.basename(a).removesuffix(".test") for a in arguments if not a.startswith("-")]
    known, excused = suite.listed(), suite.exceptions()
    sqlite_dir = suite.source()
    program = None if native else os.environ.get("CADDIS_BIN") or harness.release_binary()
    out = os.path.join(harness.RESULTS, "sqlite-suite")
    os.makedirs(out, exist_ok=True)
    lines, clean, deaths, failed = [], 0, 0, 0
    for name in names or known:
        t = harness.Test("sqlite-suite " + name)
        try:
            if native:
                verdict, death = suite.run_file(sqlite_dir, name, t.path("testdir"), t.mkdir("work")), None
            else:
                verdict, death = suite.run_on_mount(t, harness.Node, name, program)
        finally:
            t.clean_up(failed=False)
        good = verdict.clean and not death
        clean, deaths = clean + good, deaths + bool(death)
        failed += not good and (name not in excused or bool(death))
        note = "" if good else (death or excused.get(name) or " ".join(verdict.failures[:6]) or f"exit {verdict.code}")
        if not good:
            with open(os.path.join(out, name + ".log"), "w") as f:
                f.write(verdict.output + (death or ""))
        lines.append(f"{'ok  ' if good else 'DIED' if death else 'exc ' if name in excused else 'FAIL'} {name:<14} "
                     f"{verdict.cases:>6} cases (ext4 {known.get(name, '-')}), {verdict.errors} errors, {verdict.seconds:6.1f} s  {note}")
        print(lines[-1][:240], flush=True)
    with open(out + ".txt", "w") as f:
        f.write("\n".join(lines) + "\n")
    total = len(lines)
    print(f"{clean} of {total} files clean, {deaths} daemon deaths, {sum(n in excused for n in names or known)} with a named exception")
    print(f"{total - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    harness.isolate()
    try:
        sys.exit(main(sys.argv[1:]))
    except harness.Skip as reason:
        print(f"./dev sqlite-suite: {reason}", file=sys.stderr)
        sys.exit(1)
