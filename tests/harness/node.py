"""One caddis node: configuration, process, mount, log."""
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import urllib.error
import urllib.request

from . import binary, free_port, is_mounted, need_root_and_fuse, run, wait_until


class Node:
    """`caddis mount` over directories of its own under the test's. Settings are LiteFS's keys as a dict (YAML takes JSON).

    config: merged over the defaults, a value None removes a key. Ends with the test; nothing stays mounted."""

    def __init__(self, test, name="node", config=None, data=None, mount=None, env=None, candidate=True, program=None,
                 namespace=False):
        need_root_and_fuse()
        self.test, self.name, self.program = test, name, program or binary()
        self.dir = test.mkdir(name)
        self.data = data or os.path.join(self.dir, "data")
        self.mount = mount or os.path.join(self.dir, "mnt")
        self.config_path = os.path.join(self.dir, "litefs.yml")
        self.log_path = os.path.join(self.dir, "log")
        self.port = free_port()
        self.namespace = namespace  # run as PID 1 of a PID namespace
        self.env = dict(os.environ, HOSTNAME=name)
        for key in list(self.env):
            if key.startswith(("FLY_", "AWS_", "LITESTREAM_", "CADDIS_")) or key in ("PRIMARY_REGION", "BUCKET_NAME"):
                del self.env[key]
        self.env.update(env or {})
        self.config = {
            "fuse": {"dir": self.mount}, "data": {"dir": self.data}, "http": {"addr": f"127.0.0.1:{self.port}"},
            "lease": {"type": "static", "candidate": candidate, "hostname": name,
                      "advertise-url": f"http://127.0.0.1:{self.port}"},
        }
        for key, value in (config or {}).items():
            if value is None:
                self.config.pop(key, None)
            elif isinstance(value, dict) and isinstance(self.config.get(key), dict):
                self.config[key] = {**self.config[key], **value}
            else:
                self.config[key] = value
        self.process = None
        os.makedirs(self.mount, exist_ok=True)
        open(self.log_path, "ab").close()
        test.nodes.append(self)
        test.defer(self.end)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def command(self, *app, flags=()):
        with open(self.config_path, "w") as f:
            f.write(json.dumps(self.config, indent=1))
        command = [self.program, "mount", "-config", self.config_path, *flags]
        if app:
            command += ["--", *map(str, app)]
        if self.namespace:
            command = ["unshare", "-pf", "--kill-child", "--mount-proc", *command]
        return command

    def start(self, *app, flags=(), wait=True, timeout=20, stdout=None):
        """Starts; with wait, returns when the node is healthy. `app` is what stands after "--"."""
        assert self.process is None or self.process.poll() is not None, "still running"
        self._log_start = os.path.getsize(self.log_path)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(*app, flags=flags), cwd=self.dir, env=self.env, stderr=log,
                                            stdin=subprocess.DEVNULL, stdout=stdout or log)
        if wait:
            self.wait_healthy(timeout)
        return self

    def wait_healthy(self, timeout=20):
        def ready():
            code = self.process.poll()
            assert code is None, f"{self.name} ended with {code} while it started:\n{self.log(this_run=True)}"
            return is_mounted(self.mount) and self.health()[0] == 200
        wait_until(ready, timeout, f"{self.name} to be healthy; health: {self.health()}")

    def get(self, path, timeout=5):
        """(status, text) of a GET on the node port; (0, error) when there is no answer."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=timeout) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def health(self):
        return self.get("/health")

    def metric(self, name):
        """The sum of a metric over its labels; None when it is not there."""
        values = [float(line.rsplit(" ", 1)[1]) for line in self.get("/metrics")[1].splitlines()
                  if line.split("{")[0].split(" ")[0] == name]
        return sum(values) if values else None

    def log(self, this_run=False):
        with open(self.log_path, errors="replace") as f:
            f.seek(self._log_start if this_run else 0)
            return f.read()

    def wait_exit(self, timeout=10):
        """The exit code as a shell shows it (128+n for a signal)."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end within {timeout} s:\n{self.log()[-3000:]}") from None
        return code if code >= 0 else 128 - code

    def stop(self, sig=signal.SIGTERM, timeout=15):
        """A clean stop; afterwards nothing may be mounted. Returns the exit code."""
        self.signal(sig)
        code = self.wait_exit(timeout)
        assert not is_mounted(self.mount), f"{self.name} ended with {code} and left {self.mount} mounted"
        return code

    @property
    def pid(self):
        """The process of caddis itself, also inside a namespace."""
        if not self.namespace:
            return self.process.pid
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as f:
            return int(f.read().split()[0])

    def signal(self, sig):
        os.kill(self.pid, sig)

    def kill9(self):
        """The daemon is gone at once; its mount stays behind as a dead one."""
        self.signal(signal.SIGKILL)
        self.process.wait(10)

    def end(self):
        """Clean-up: whatever happened, nothing is left running or mounted."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(OSError):
                self.process.terminate()
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        while is_mounted(self.mount):
            run("umount", "-l", self.mount)

    def db(self, name="app.db", **options):
        """A connection through the mount, in autocommit: every statement is a transaction unless BEGIN is said."""
        options.setdefault("timeout", 10)
        return sqlite3.connect(os.path.join(self.mount, name), isolation_level=None, **options)

    def sql(self, name, *statements):
        """Runs statements on a connection of their own; returns the rows of the last."""
        with contextlib.closing(self.db(name)) as db:
            rows = []
            for statement in statements:
                rows = db.execute(statement).fetchall()
            return rows

    def wait_log(self, text, timeout=10):
        wait_until(lambda: text in self.log(), timeout, f"{self.name} to log {text!r}")


