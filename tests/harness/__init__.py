"""What the system tests share. A test is `def test_sentence_it_proves(t: Test)`; see run.py."""
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEPS = os.path.join(TOP, "build", "deps")
RESULTS = os.path.join(TOP, "build", "results")
TESTDATA = os.path.join(TOP, "tests", "testdata")
DEFAULT_TIMEOUT = 60


class Skip(Exception):
    """The test cannot run here; the text says why."""


def test(timeout=DEFAULT_TIMEOUT, alone=False):
    """Decorator: `timeout` in seconds; `alone`: not beside another test (it measures time or uses much)."""
    def mark(function):
        function.timeout, function.alone = timeout, alone
        return function
    return mark


def quietly(function, *args):
    with contextlib.suppress(OSError):
        function(*args)


def binary():
    """The caddis under test: CADDIS_BIN, else the dev build, else the release build."""
    for path in (os.environ.get("CADDIS_BIN"), f"{TOP}/build/dev/caddis", f"{TOP}/build/release/caddis"):
        if path and os.access(path, os.X_OK):
            return os.path.abspath(path)
    raise Skip("there is no build/dev/caddis: src/main.cc is not built")


def release_binary():
    path = os.environ.get("CADDIS_RELEASE") or f"{TOP}/build/release/caddis"
    if not os.access(path, os.X_OK):
        raise Skip("there is no build/release/caddis: run ./dev build")
    return path


def need_root_and_fuse():
    if os.geteuid() != 0:
        raise Skip("needs root")
    if not os.path.exists("/dev/fuse"):
        raise Skip("there is no /dev/fuse")


ISOLATED = ["unshare", "-mpf", "--kill-child", "--mount-proc", "--propagation", "private"]


def can_isolate():
    return (os.geteuid() == 0 and shutil.which("unshare") is not None and
            subprocess.run([*ISOLATED, "true"], stderr=subprocess.DEVNULL).returncode == 0)


def isolate():
    """The running program once more, in a PID and mount namespace of its own: what it leaves ends with it, and no other
    namespace holds on to its mounts. Without the right to do so it goes on as it is."""
    if os.getpid() != 1 and "CADDIS_ISOLATED" not in os.environ and can_isolate():
        os.environ["CADDIS_ISOLATED"] = "1"
        os.execvp("unshare", [*ISOLATED, sys.executable, "-B", *sys.argv])


def wait_until(condition, seconds, what):
    """Polls; returns the first true value. `what` completes the sentence "waited N s for ..."."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s for {what}")
        time.sleep(0.005)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def mounts_under(path, mountinfo="/proc/self/mountinfo"):
    """[(mount point, minor of the device, file system type)], innermost last mounted first."""
    found = []
    with open(mountinfo) as f:
        for line in f:
            fields = line.split()
            point = fields[4].encode().decode("unicode_escape")
            if point == path or point.startswith(path.rstrip("/") + "/"):
                found.append((point, int(fields[2].split(":")[1]), fields[fields.index("-") + 1]))
    return found[::-1]


def is_mounted(path):
    return any(point == path for point, _, _ in mounts_under(path))


def abort_fuse_connections(mountinfo, prefix):
    """Frees processes that hang in a FUSE mount whose path begins with `prefix`."""
    with contextlib.suppress(OSError):
        with open(mountinfo) as f:
            lines = [line.split() for line in f]
        for fields in lines:
            if fields[4].startswith(prefix) and fields[fields.index("-") + 1].startswith("fuse"):
                with open(f"/sys/fs/fuse/connections/{fields[2].split(':')[1]}/abort", "w") as f:
                    f.write("1")


def run(*command, timeout=60, check=True, **options):
    """subprocess.run with text output captured; a failure shows the output."""
    done = subprocess.run([str(c) for c in command], stdin=options.pop("stdin", subprocess.DEVNULL), timeout=timeout,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


class Test:
    """One running test: its directory, and what is undone when it ends."""

    def __init__(self, identifier):
        self.identifier = identifier
        self.dir = tempfile.mkdtemp(prefix="caddis-test-", dir="/tmp")
        self._undo = []
        self.nodes = []

    def defer(self, function, *args):
        self._undo.append((function, args))

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def mkdir(self, *parts):
        os.makedirs(self.path(*parts), exist_ok=True)
        return self.path(*parts)

    def spawn(self, *command, **options):
        """A process that is killed at the end of the test if it still runs."""
        process = subprocess.Popen([str(c) for c in command], stdin=options.pop("stdin", subprocess.DEVNULL), **options)

        def end():
            if process.poll() is None:
                process.kill()
                process.wait(10)
        self.defer(end)
        return process

    def clean_up(self, failed):
        if failed:
            for node in self.nodes:
                print(f"--- log of {node.name}\n{node.log()[-6000:]}")
        for function, args in reversed(self._undo):
            try:
                function(*args)
            except Exception as error:
                print("clean-up:", error)
        abort_fuse_connections("/proc/self/mountinfo", self.dir)
        for point, _, _ in mounts_under(self.dir):
            run("umount", "-l", point, check=False)
        keep = os.environ.get("CADDIS_TEST_KEEP")
        if not (failed and keep):
            run("rm", "-rf", "--one-file-system", self.dir, check=False)  # never into something still mounted there


from .http_faults import HttpFaultProxy  # noqa: E402
from .node import Node  # noqa: E402
from .oracle import library as oracle_library  # noqa: E402
from .oracle import (Position, check_database, committed_image, database_sum, parse_position,  # noqa: E402, F401
                     read_position, replay_log)
from .peers import FaultProxy, MotoS3, RcloneS3, litestream, venv_program  # noqa: E402
from .volume import Ext4Volume  # noqa: E402

__all__ = ["Ext4Volume", "FaultProxy", "HttpFaultProxy", "MotoS3", "Node", "Position", "RcloneS3", "Skip", "Test",
           "check_database", "committed_image", "database_sum", "litestream", "read_position", "replay_log", "test",
           "venv_program", "wait_until", "signal"]
