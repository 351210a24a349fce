"""SQLite's Tcl suite: one file at a time, natively or on a fresh mount."""
import os
import re
import subprocess
import time

from harness import DEPS, Skip

HERE = os.path.dirname(os.path.abspath(__file__))
FILE_TIMEOUT = 400


def listed(share_only=False):
    """{file: cases on ext4} from files.txt."""
    names = {}
    with open(os.path.join(HERE, "files.txt")) as f:
        for line in f:
            fields = line.split()
            if fields and fields[0] != "#" and not line.startswith("#") and (not share_only or "*" in fields):
                names[fields[0]] = int(fields[1])
    return names


def exceptions():
    """{file: reason}: files that are clean on ext4 and may not be on the mount."""
    reasons = {}
    with open(os.path.join(HERE, "exceptions.txt")) as f:
        for line in f:
            if line.strip() and not line.startswith("#"):
                name, reason = line.split(None, 1)
                reasons[name] = reason.strip()
    return reasons


def source():
    """The directory with testfixture; built on the first call."""
    done = subprocess.run([os.path.join(HERE, "build.sh"), DEPS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Skip(f"SQLite's testfixture could not be built: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout.strip()


class Verdict:
    def __init__(self, name, output, code, seconds):
        match = re.search(r"^(\d+) errors out of (\d+) tests", output, re.M)
        self.name, self.seconds, self.code, self.output = name, seconds, code, output
        self.errors, self.cases = (int(match.group(1)), int(match.group(2))) if match else (None, 0)
        self.failures = re.findall(r"^! (\S+) expected", output, re.M)

    @property
    def clean(self):
        return self.code == 0 and self.errors == 0


def run_file(sqlite_dir, name, testdir, workdir):
    """Runs test/NAME.test with its files in testdir."""
    os.makedirs(workdir, exist_ok=True)
    started = time.monotonic()
    command = [f"{sqlite_dir}/testfixture", f"{sqlite_dir}/test/{name}.test", f"--testdir={testdir}"]
    process = subprocess.Popen(command, cwd=workdir, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, errors="replace")
    try:
        output, _ = process.communicate(timeout=FILE_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        output += f"\nended after {FILE_TIMEOUT} s\n"
    return Verdict(name, output, process.returncode, time.monotonic() - started)


def run_on_mount(t, node_class, name, program=None):
    """One file on a fresh mount. Returns (Verdict, None or what happened to the daemon)."""
    node = node_class(t, name=f"suite-{name}", program=program).start()
    verdict = run_file(source(), name, node.mount, t.mkdir("work-" + name))
    death = None
    if node.process.poll() is not None:
        death = f"daemon ended with {node.process.returncode}: {node.log()[-1500:]}"
    else:
        code = node.stop(timeout=30)
        if code != 0:
            death = f"daemon stopped with {code}: {node.log()[-1500:]}"
    return verdict, death
