"""One caddis under test: its directories, its config file, its process and its log. Needs root and /dev/fuse."""
import json, os, shutil, signal, socket, subprocess, tempfile, time, urllib.error, urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def binary():
    path = os.environ.get("CADDIS", os.path.join(ROOT, "build/dev/caddis"))
    assert os.access(path, os.X_OK), f"{path} is not there: build it first"
    return path


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(what, condition, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"{what}: not within {seconds} s")


class Node:
    def __init__(self):
        self.base = tempfile.mkdtemp(prefix="caddis-test-")
        self.mount = os.path.join(self.base, "mnt")
        self.data = os.path.join(self.base, "data")
        self.port = free_port()
        self.process = None
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("FLY_", "AWS_", "CADDIS_", "BUCKET"))}

    def config(self, extra="", lease="lease: {type: static, candidate: true}\n"):
        path = os.path.join(self.base, "litefs.yml")
        with open(path, "w") as f:
            f.write(f"fuse: {{dir: {self.mount}}}\ndata: {{dir: {self.data}}}\n"
                    f'http: {{addr: "127.0.0.1:{self.port}"}}\n{lease}{extra}')
        return path

    def start(self, command=None, extra="", wait=True, **config):
        args = [binary(), "mount", "-config", self.config(extra, **config)]
        if command is not None:
            args += ["--", *command]
        self.log_path = os.path.join(self.base, "log")
        self.log_file = open(self.log_path, "ab")
        self.log_start = os.path.getsize(self.log_path)
        self.process = subprocess.Popen(args, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=self.log_file, cwd=self.base)
        if wait:
            wait_for("health", lambda: self.ended() or self.get("/health")[0] == 200)
        return self

    def ended(self):
        return self.process.poll() is not None

    def run(self, command=None, extra="", seconds=20, **config):
        """Starts and waits for the end: (exit code, stdout, log)."""
        self.start(command, extra, wait=False, **config)
        return self.wait(seconds)

    def wait(self, seconds=20):
        try:
            out, _ = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise AssertionError(f"caddis did not end within {seconds} s; log:\n{self.log()}")
        return self.process.returncode, out, self.log()

    def log(self):
        self.log_file.flush()
        with open(self.log_path, errors="replace") as f:
            f.seek(self.log_start)
            return f.read()

    def get(self, path, data=None, method=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as r:
                return r.status, r.read(), r.headers
        except urllib.error.HTTPError as e:
            return e.code, e.read(), e.headers
        except OSError:
            return 0, b"", {}

    def info(self):
        return json.loads(self.get("/info")[1])

    def stop(self, signo=signal.SIGTERM, seconds=20):
        self.process.send_signal(signo)
        return self.wait(seconds)

    def mounted(self):
        with open("/proc/self/mounts") as f:
            return any(line.split()[1] == self.mount for line in f)

    def path(self, name):
        return os.path.join(self.mount, name)

    def close(self):
        if self.process and not self.ended():
            self.process.kill()
            self.process.communicate()
        if self.process and self.process.stdout:
            self.process.stdout.close()
        if hasattr(self, "log_file"):
            self.log_file.close()
        while self.mounted():
            subprocess.run(["umount", "-l", self.mount], check=True)
        shutil.rmtree(self.base, ignore_errors=True)
