"""One Fly machine from the inside: makes its namespaces and file system, then is Fly's init around the program.

Started by machine.py with the file of its specification and the descriptor of `events`. Two pipes carry JSON lines. From
stdin: {"go": true} (the network card is there), {"stop": SIGNAL, "timeout": S}; when it closes, the test is gone and the
machine dies. To `events`: {"event": "namespaces"}, {"event": "started", "pid": P} (P as the test sees it) and
{"event": "exit", ...}.
"""
import json
import os
import resource
import select
import signal
import stat
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import namespaces as ns  # noqa: E402

DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0),
           "fuse": (10, 229)}
OLD = "/.old-root"
UMOUNT_TRIES = 5


class Pipes:
    """Commands in, events out."""

    def __init__(self, events):
        os.set_inheritable(events, False)
        self.events, self._buffer, self._commands = events, b"", []

    def tell(self, event, **values):
        os.write(self.events, json.dumps({"event": event, **values}).encode() + b"\n")

    def read(self):
        """After select says so; False when the test is gone."""
        data = os.read(0, 65536)
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        self._commands += [json.loads(line) for line in lines]
        return bool(data)

    def commands(self):
        taken, self._commands = self._commands, []
        return taken


# ---- the machine's world

def make_world(spec, pipes):
    ns.unshare(ns.NEWNS | ns.NEWUTS | ns.NEWNET)
    ns.mount(None, "/", flags=ns.MS_REC | ns.MS_PRIVATE)
    ns.set_hostname(spec["id"])
    pipes.tell("namespaces")
    if not pipes.read() or pipes.commands() != [{"go": True}]:
        sys.exit("the test ended while the machine was being made")
    for line in ("link set lo up", "link set eth0 mtu 1420 up", f"-6 addr add {spec['ip']}/64 dev eth0 nodad",
                 "-6 route add fdaa::/16 dev eth0"):
        subprocess.run(["ip", *line.split()], check=True)
    if spec["rules"]:
        subprocess.run(["nft", "-f", "-"], input=spec["rules"].encode(), check=True)
    make_root(spec)


def make_root(spec):
    """A fresh root file system over the host's: what the machine writes there is gone at its end, as on Fly."""
    base = spec["dir"]
    ns.mount("tmpfs", base, "tmpfs")
    for name in ("upper", "work", "root"):
        os.mkdir(f"{base}/{name}", 0o755)
    ns.mount("overlay", f"{base}/root", "overlay", data=f"lowerdir=/,upperdir={base}/upper,workdir={base}/work")
    os.mkdir(base + "/root" + OLD)
    ns.pivot_root(f"{base}/root", base + "/root" + OLD)
    os.chdir("/")
    for point in ("/tmp", "/run", "/dev", "/usr/local", "/root"):
        os.makedirs(point, exist_ok=True)
        ns.mount("tmpfs", point, "tmpfs", data="mode=1777" if point == "/tmp" else "mode=755")
    for name, (major, minor) in DEVICES.items():
        os.mknod("/dev/" + name, stat.S_IFCHR, os.makedev(major, minor))
        os.chmod("/dev/" + name, 0o666)
    os.symlink("/proc/self/fd", "/dev/fd")
    os.makedirs("/sys", exist_ok=True)
    ns.mount("sysfs", "/sys", "sysfs")
    ns.mount("fusectl", "/sys/fs/fuse/connections", "fusectl")
    for source, target in spec["binds"]:
        bind(OLD + source, target)
    for source, target in spec["links"]:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.symlink(source, target)
    if spec["volume"]:
        device = ns.attach_loop(OLD + spec["volume"], "/dev/vdb")
        os.makedirs(spec["volume_at"], 0o755, exist_ok=True)
        ns.mount("/dev/vdb", spec["volume_at"], "ext4", ns.MS_RELATIME)
        os.close(device)
    for path, text in spec["files"].items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.islink(path):
            os.unlink(path)
        with open(path, "w") as f:
            f.write(text)
    ns.umount(OLD, ns.MNT_DETACH)
    os.rmdir(OLD)
    os.makedirs(spec["workdir"], exist_ok=True)
    os.chdir(spec["workdir"])


def bind(source, target):
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        open(target, "a").close()
    ns.mount(source, target, flags=ns.MS_BIND)


# ---- Fly's init

def become(spec):
    """This process becomes the program, as init starts its main child: default signals, stdin is /dev/null."""
    try:
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.closerange(3, 256)
        resource.setrlimit(resource.RLIMIT_NOFILE, (spec["nofile"], spec["nofile"]))
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])
    except OSError as error:
        os.write(2, f"init: cannot start {spec['argv'][0]}: {error}\n".encode())
        os._exit(127)


class Init:
    """Around one main child: forwards a stop to it alone, reaps whatever is orphaned, then unmounts the volume."""

    def __init__(self, spec, pipes, main):
        self.spec, self.pipes, self.main = spec, pipes, main
        self.stop_began, self.stage, self.deadline, self.timeout = None, None, None, 0.0
        wake_in, wake_out = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_out, warn_on_full_buffer=False)
        self.wake = wake_in

    def run(self):
        while (status := self.reap()) is None:
            wait = None if self.deadline is None else max(0.0, self.deadline - time.monotonic())
            ready = select.select([0, self.wake], [], [], wait)[0]
            if self.wake in ready:
                os.read(self.wake, 4096)
            if 0 in ready:
                if not self.pipes.read():
                    os.kill(self.main, signal.SIGKILL)
                    os._exit(1)
                for command in self.pipes.commands():
                    self.stop(command)
            if self.deadline is not None and time.monotonic() >= self.deadline:
                self.escalate()
        self.finish(status)

    def reap(self):
        """The main child's wait status once it has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return None
            if pid == 0:
                return None
            if pid == self.main:
                return status

    def stop(self, command):
        self.stop_began, self.stage, self.timeout = time.monotonic(), command["stop"], command["timeout"]
        os.kill(self.main, signal.Signals[command["stop"]])
        self.deadline = self.stop_began + self.timeout

    def escalate(self):
        """kill_timeout is over: SIGTERM whatever kill_signal was; a second later the machine is gone."""
        if self.stage == "last SIGTERM":
            self.stage, self.deadline = "SIGKILL", None
            os.kill(self.main, signal.SIGKILL)
        else:
            self.stage, self.deadline = "last SIGTERM", time.monotonic() + self.spec["last_call"]
            os.kill(self.main, signal.SIGTERM)

    def finish(self, status):
        ended = time.monotonic()
        attempts, lazy, held = 0, False, []
        if self.spec["volume"]:
            while attempts < UMOUNT_TRIES:
                attempts += 1
                try:
                    ns.umount(self.spec["volume_at"])
                    break
                except OSError as error:
                    held.append(str(error))
                    time.sleep(self.spec["umount_pause"])
            else:
                ns.umount(self.spec["volume_at"], ns.MNT_DETACH)
                lazy = True
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        self.pipes.tell("exit", code=128 + number if number else os.WEXITSTATUS(status), signal=number, stage=self.stage,
                        elapsed=None if self.stop_began is None else ended - self.stop_began, umount_attempts=attempts,
                        lazy=lazy, held=held)


def main():
    with open(sys.argv[1]) as f:
        spec = json.load(f)
    pipes = Pipes(int(sys.argv[2]))
    make_world(spec, pipes)
    made_in, made_out = os.pipe2(os.O_CLOEXEC)
    told_in, told_out = os.pipe2(os.O_CLOEXEC)
    ns.unshare(ns.NEWPID)
    first = os.fork()
    if first == 0:  # PID 1 of the machine
        ns.die_with_parent(signal.SIGKILL)
        ns.mount("proc", "/proc", "proc")
        os.write(made_out, b"x")
        os.read(told_in, 1)  # "started" comes before anything the program does
        if spec["pid1"] == "program":
            become(spec)
        main_child = os.fork()
        if main_child == 0:
            become(spec)
        Init(spec, pipes, main_child).run()
        os._exit(0)
    os.close(made_out)
    os.read(made_in, 1)
    pipes.tell("started", pid=first)
    os.write(told_out, b"x")
    if spec["pid1"] == "program":
        Init(spec, pipes, first).run()
    else:
        while os.waitpid(-1, 0)[0] != first:
            pass
    os._exit(0)


if __name__ == "__main__":
    main()
