"""A Fly machine seen from outside: what flyctl, Fly's proxy and an operator over ssh can do with it."""
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from typing import NamedTuple

from harness import TOP, quietly, run, wait_until

from . import volume as volumes
from .dns import Entry
from .flyapi import FlyApi

HERE = os.path.dirname(os.path.abspath(__file__))
NODE_PORT = 20202
WORKDIR = os.path.join(HERE, "app")


class Image(NamedTuple):
    """What is deployed. The program is found as caddis and litefs, the working directory is fleet/app."""
    program: str
    argv: tuple = ("caddis", "mount")  # ENTRYPOINT and CMD
    files: dict = {}                   # as [[files]] in fly.toml: path -> text
    env: dict = {}
    version: int = 1

    def next(self, **changes):
        return self._replace(version=self.version + 1, **changes)

    @property
    def ref(self):
        return f"registry.fly.io/app:deployment-{self.version:04d}"


class Exit(NamedTuple):
    """How a run of the machine ended, as Fly's init reports it."""
    code: int = 137
    signal: int = None
    stage: str = None         # the last signal it took: the kill signal, "last SIGTERM" or "SIGKILL"; None: by itself
    elapsed: float = None     # seconds from the kill signal to the end of the main child
    umount_attempts: int = 0
    lazy: bool = False
    held: list = ()           # why an attempt to unmount the volume failed
    killed: bool = False      # the machine was killed from outside


class Machine:
    """entry: how the program is started.
    "init": child of Fly's init; "direct": PID 1 itself; "sh", "busybox": shell form under init; "tini": tini is PID 1."""

    def __init__(self, fleet, ident, region, ip, image, volume=None, group="app", entry="init", env=None, in_dns=True):
        self.fleet, self.id, self.region, self.ip, self.image = fleet, ident, region, ip, image
        self.volume, self.group, self.entry, self.env, self.in_dns = volume, group, entry, dict(env or {}), in_dns
        self.volume_at, self.memory_mb = "/data", 256
        self.metadata, self.state, self.exit, self.cut_off = {}, "created", None, False
        self.pid, self._guest, self._loop, self._changed = None, None, None, threading.Condition()
        self.dir = fleet.test.mkdir("machines", ident)
        self.log_path = os.path.join(self.dir, "log")
        self._log_start, self.boots = 0, 0
        open(self.log_path, "ab").close()
        os.makedirs(os.path.join(self.dir, "fly"), exist_ok=True)
        os.makedirs(os.path.join(self.dir, "root"), exist_ok=True)
        self.api = FlyApi(self, os.path.join(self.dir, "fly"))
        fleet.test.defer(self.api.close)

    # what harness.Test prints of a failed test
    @property
    def name(self):
        return f"{self.id} ({self.region}, {self.state})"

    def __repr__(self):
        return self.name

    def entry_in_dns(self):
        return Entry(self.id, self.region, self.ip, self.group, self.in_dns and self.state == "started", dict(self.metadata))

    # ---- life

    def environment(self):
        fleet = self.fleet
        env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root",
               "FLY_APP_NAME": fleet.app, "FLY_MACHINE_ID": self.id, "FLY_ALLOC_ID": self.id, "FLY_REGION": self.region,
               "FLY_PRIVATE_IP": self.ip, "FLY_PUBLIC_IP": "2604:1380::1", "FLY_IMAGE_REF": self.image.ref,
               "FLY_MACHINE_VERSION": f"01J{self.image.version:023d}", "FLY_PROCESS_GROUP": self.group,
               "FLY_VM_MEMORY_MB": str(self.memory_mb), "HOSTNAME": self.id}
        if fleet.primary_region:
            env["PRIMARY_REGION"] = fleet.primary_region
        env.update(fleet.secrets)
        env.update(self.image.env)
        env.update(self.env)
        return {k: v for k, v in env.items() if v is not None}

    def argv(self):
        argv = [str(a) for a in self.image.argv]
        if self.entry in ("sh", "busybox"):
            words = " ".join("'" + a.replace("'", "'\\''") + "'" for a in argv)
            return [*(("/usr/bin/dash",) if self.entry == "sh" else ("/usr/bin/busybox", "sh")), "-c", words]
        return ["tini", "--", *argv] if self.entry == "tini" else argv

    def specification(self):
        hosts = (f"127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n{self.ip} fly-local-6pn\n"
                 f"{self.ip} {self.id}\n")
        files = {"/etc/hosts": hosts, "/etc/resolv.conf": "nameserver fdaa::3\n", "/etc/hostname": self.id + "\n",
                 **self.image.files}
        # Links, not binds: a bind from the host's disk would look like a second volume in the mount table.
        links = [(self.image.program, "/usr/local/bin/caddis"), (self.image.program, "/usr/local/bin/litefs")]
        binds = [(os.path.join(self.dir, "fly"), "/.fly")]
        if hidden := [p for p in (TOP, os.path.dirname(self.image.program)) if not _shows_through(p)]:
            binds += [(p, p) for p in dict.fromkeys(hidden)]
        return {"id": self.id, "ip": self.ip, "dir": os.path.join(self.dir, "root"), "binds": binds, "links": links,
                "files": files, "volume": self.volume.image if self.volume else None, "volume_at": self.volume_at,
                "workdir": WORKDIR, "argv": self.argv(), "env": self.environment(), "nofile": 10240,
                "pid1": "program" if self.entry in ("direct", "tini") else "init", "rules": self.fleet.network.rules(self),
                "umount_pause": 0.75 * self.fleet.pace, "last_call": 1.0 * self.fleet.pace}

    def start(self, wait=True, timeout=30):
        """wait: until its health checks pass (the fleet's `checks`)."""
        assert self.pid is None, f"{self} runs"
        assert self.volume is None or self.volume.machine in (None, self), f"{self.volume.name} is another machine's"
        self._log_start = os.path.getsize(self.log_path)
        self.boots += 1
        with open(self.log_path, "ab") as log:
            log.write(f"--- boot {self.boots} of {self.id}, {self.image.ref}\n".encode())
            log.flush()
            events_in, events_out = os.pipe()
            with open(os.path.join(self.dir, "specification.json"), "w") as f:
                json.dump(self.specification(), f)
            command = [sys.executable, "-B", "-S", "-E", os.path.join(HERE, "guest.py"), f.name, str(events_out)]
            self._guest = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, pass_fds=[events_out],
                                           start_new_session=True)
            os.close(events_out)
        self.exit = None
        lines = os.fdopen(events_in, "rb")
        self._expect(lines, "namespaces")
        self.fleet.network.plug(self, self._guest.pid)
        self._command(go=True)
        self.pid = self._expect(lines, "started")["pid"]
        if self.volume:
            self.volume.machine = self
        self._become("started")
        threading.Thread(target=self._watch, args=(lines,), daemon=True).start()
        if self.fleet.network.blocks or self.cut_off:
            self.fleet.network.apply()
        if wait:
            self.wait_healthy(timeout)
        return self

    def _expect(self, lines, event):
        line = lines.readline()
        if not line:
            self._guest.wait(10)
            raise AssertionError(f"{self} could not be made:\n{self.log(this_boot=True)}")
        told = json.loads(line)
        assert told["event"] == event, told
        return told

    def _command(self, **command):
        self._guest.stdin.write(json.dumps(command).encode() + b"\n")
        self._guest.stdin.flush()

    def _watch(self, lines):
        told = None
        for line in lines:
            told = json.loads(line)
        lines.close()
        self._guest.wait()
        quietly(self._guest.stdin.close)
        self._wait_for_volume()
        if told is None:
            self.exit = Exit(killed=True)
        else:
            self.exit = Exit(**{k: v for k, v in told.items() if k != "event"})
        self.pid = None
        self._become("stopped")

    def _wait_for_volume(self):
        """The image may be mounted again only when nobody has it: the kernel drops a dead namespace's mounts on its own
        time."""
        if self.volume is None:
            return
        name = os.path.basename(os.path.dirname(self.volume.image)) + "/" + os.path.basename(self.volume.image)
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not _loops_over(name), 10, "the volume to be released")

    def _become(self, state):
        with self._changed:
            self.state = state
            self._changed.notify_all()

    def wait_exit(self, timeout=15):
        with self._changed:
            if not self._changed.wait_for(lambda: self.state in ("stopped", "created") and self.pid is None, timeout):
                raise AssertionError(f"{self} did not end within {timeout} s:\n{self.log(this_boot=True)[-3000:]}")
        return self.exit

    def stop(self, sig="SIGINT", timeout=5.0, wait=True):
        """As Fly stops a machine: kill_signal, kill_timeout, SIGTERM, SIGKILL. Returns the Exit."""
        if self.pid is None:
            return self.exit
        self._become("stopping")
        self._command(stop=sig, timeout=timeout)
        return self.wait_exit(timeout + 15) if wait else None

    def kill9(self):
        """The virtual machine is gone at once. Its volume keeps what was written, synced or not."""
        guest = self._guest
        self._become("stopping")
        quietly(os.kill, self.pid, signal.SIGKILL)
        quietly(guest.kill)
        return self.wait_exit()

    def lose_power(self):
        """The host is gone: what was not synced is not on the volume either. The network goes first: nobody hears an answer
        that was given after the disk had stopped (an fsync that is under way at that moment may report success)."""
        self.cut_off = True
        self.fleet.network.apply()
        volumes.lose_power(self.outside(self.volume_at))
        ended = self.kill9()
        self.cut_off = False
        return ended

    def kill_main(self, sig=signal.SIGKILL):
        """A signal to the program alone, from inside (`kill` in a shell of the machine)."""
        os.kill(self.main_pid, sig)

    def update(self, image, sig="SIGINT", timeout=5.0):
        """In place: the same id, volume and address, a fresh root file system."""
        was_running = self.pid is not None
        ended = self.stop(sig, timeout)
        self.image = image
        if was_running:
            self.start(wait=False)
        return ended

    def suspend(self):
        """All processes but init stand still and the network card is dead. Unlike Fly's suspend the clocks run on: a
        process can see the gap, and the kernel's timers fire at once on resume; and it is SIGSTOP, so a parent that asks
        for it is told."""
        self.cut_off = True
        self.fleet.network.apply()
        stopped = set()
        while more := [p for p in self.processes() if p not in stopped]:
            for pid in more:
                quietly(os.kill, pid, signal.SIGSTOP)
                stopped.add(pid)
        self._become("suspended")

    def resume(self):
        self._become("started")
        self.cut_off = False
        self.fleet.network.apply()
        for pid in self.processes():
            quietly(os.kill, pid, signal.SIGCONT)

    # ---- what is inside

    def processes(self):
        """Pids, as the test sees them, of all processes of the machine but init."""
        try:
            space = os.readlink(f"/proc/{self.pid}/ns/pid")
        except OSError:
            return []
        found = []
        for entry in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if entry.isdigit() and os.readlink(f"/proc/{entry}/ns/pid") == space:
                    found.append(int(entry))
        return [p for p in found if p != self.pid or self.entry in ("direct", "tini")]

    @property
    def main_pid(self):
        """The program's pid as the test sees it (behind a shell or tini: the shell's or tini's)."""
        if self.entry in ("direct", "tini"):
            return self.pid

        def children():
            with open(f"/proc/{self.pid}/task/{self.pid}/children") as f:
                return f.read().split()
        return int(wait_until(children, 5, f"{self} to start its program")[0])

    def outside(self, path):
        """A path of the machine as the test can open it, while it runs."""
        return f"/proc/{self.pid}/root{path}"

    def exec(self, *argv, check=True, timeout=30, env=None, **options):
        """As `fly ssh console -C`: a process in all namespaces of the machine."""
        command = ["nsenter", "-t", self.pid, "-m", "-p", "-u", "-n", "--", *argv]
        return run(*command, check=check, timeout=timeout, env={**self.environment(), **(env or {})}, **options)

    def spawn(self, *argv, env=None, **options):
        command = ["nsenter", "-t", self.pid, "-m", "-p", "-u", "-n", "--", *argv]
        return self.fleet.test.spawn(*command, env={**self.environment(), **(env or {})}, **options)

    def sql(self, statements, db="app.db", check=True, timeout=30, flags=()):
        """The sqlite3 shell on a database of the mount: its output."""
        done = self.exec("sqlite3", "-bail", "-cmd", ".timeout 5000", *flags, f"/litefs/{db}", statements, check=check,
                         timeout=timeout)
        return done.stdout.strip() if check else done

    def read(self, path, timeout=5):
        """A file as the machine sees it; None when it is not there. In a process of its own: a dead mount hangs it."""
        done = self.exec("cat", path, check=False, timeout=timeout)
        return done.stdout if done.returncode == 0 else None

    def log(self, this_boot=False):
        with open(self.log_path, errors="replace") as f:
            f.seek(self._log_start if this_boot else 0)
            return f.read()

    def wait_log(self, text, timeout=10, this_boot=True):
        wait_until(lambda: text in self.log(this_boot), timeout, f"{self} to log {text!r}; it logged\n{self.log(True)[-3000:]}")

    # ---- over the network

    def url(self, port=NODE_PORT):
        return f"http://[{self.ip}]:{port}"

    def http(self, method, path, port=NODE_PORT, body=None, headers=None, timeout=5):
        """(status, text, headers); status 0 and the error's text when there was no answer."""
        request = urllib.request.Request(self.url(port) + path, method=method, data=body, headers=headers or {})
        try:
            with _plain.open(request, timeout=timeout) as answer:
                return answer.status, answer.read().decode(errors="replace"), answer.headers
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace"), error.headers
        except (OSError, ValueError) as error:
            return 0, str(error), {}

    def get(self, path, port=NODE_PORT, timeout=5):
        return self.http("GET", path, port, timeout=timeout)[:2]

    def info(self):
        status, text = self.get("/info")
        return json.loads(text) if status == 200 else None

    def is_primary(self):
        info = self.info() if self.pid and self.state != "suspended" else None
        return bool(info and info["isPrimary"])

    def metric(self, name, label=""):
        """The sum over the series that carry `label`; None when there are none or no answer."""
        values = [float(line.rsplit(" ", 1)[1]) for line in self.get("/metrics")[1].splitlines()
                  if line.split("{")[0].split(" ")[0] == name and label in line]
        return sum(values) if values else None

    def position(self, name="app.db"):
        """TXID by the node port's metrics; None when it does not answer or has no such database."""
        txid = self.metric("litefs_db_txid", f'db="{name}"')
        return None if txid is None else int(txid)

    def export(self, name="app.db"):
        """The database's image by the node port."""
        with _plain.open(self.url() + "/export?name=" + name, timeout=15) as answer:
            return answer.read()

    def checks_pass(self):
        return self.pid is not None and all(self.get(path, port, timeout=2)[0] == 200 for port, path in self.fleet.checks)

    def wait_healthy(self, timeout=30):
        def healthy():
            assert self.pid is not None, f"{self} ended with {self.exit} while it started:\n{self.log(True)[-5000:]}"
            return self.checks_pass()
        try:
            wait_until(healthy, timeout, "")
        except AssertionError as error:
            results = {path: self.get(path, port) for port, path in self.fleet.checks}
            raise AssertionError(f"{self} is not healthy after {timeout} s: {results}\n{error}\n"
                                 f"{self.log(True)[-5000:]}") from None
        return self

    def end(self):
        if self.pid is not None:
            self.kill9()


def _shows_through(path):
    """Whether the machine's root, an overlay over the host's, has this path."""
    return os.stat(path).st_dev == os.stat("/").st_dev and not path.startswith(("/tmp/", "/run/", "/root/", "/usr/local/"))


def _loops_over(name):
    found = []
    for entry in os.listdir("/sys/block"):
        with contextlib.suppress(OSError):
            if entry.startswith("loop"):
                with open(f"/sys/block/{entry}/loop/backing_file") as f:
                    if f.read().strip().endswith(name):
                        found.append(entry)
    return found


_plain = urllib.request.build_opener(urllib.request.ProxyHandler({}))
