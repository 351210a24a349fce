"""The proxy between real clients and small apps; the node behind it is scripted (proxy_probe.cc)."""
import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time

from harness import TOP, Skip, free_port, run, test, venv_program, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
MB = 1 << 20


class Program:
    """A child that says "listening" and takes commands on stdin; its lines are kept."""

    def __init__(self, t, name, *command):
        self.lines, self.name = [], name
        self.log = open(t.path(name + ".log"), "ab")
        self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.log, text=True)
        t.defer(self.end)
        threading.Thread(target=self.read, daemon=True).start()
        self.wait_line("listening")

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def wait_line(self, prefix, after=0):
        def found():
            assert self.process.poll() is None, f"{self.name} ended: {self.lines}"
            return next((line for line in self.lines[after:] if line.startswith(prefix)), None)
        return wait_until(found, 10, f'{self.name} to say "{prefix}"')

    def tell(self, command):
        """One command; its reply without "ok"."""
        after = len(self.lines)
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        wait_until(lambda: len(self.lines) > after, 10, f"{self.name} to answer {command}")
        assert self.lines[after].startswith("ok"), self.lines[after]
        return self.lines[after][3:]

    def end(self):
        if self.process.returncode is not None:
            return
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(5 if self.name.startswith("proxy") else 0.1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def app(t, name="app", script="app.py", python=sys.executable):
    port = free_port()
    program = Program(t, name, python, "-B", os.path.join(HERE, script), port, name)
    program.port = port
    return program


def proxy(t, target, *flags, name="proxy"):
    path = os.environ.get("CADDIS_PROXY_PROBE") or f"{TOP}/build/dev/src/proxy/proxy_probe"
    if not os.access(path, os.X_OK):
        raise Skip("there is no build/dev/src/proxy/proxy_probe: ./dev build dev makes it")
    program = Program(t, name, path, "--addr", "127.0.0.1:0", "--target", f"localhost:{target.port}", *flags)
    program.url = "http://127.0.0.1:" + program.wait_line("listening").split()[1]
    return program


def curl(*arguments, timeout=60, **options):
    if not shutil.which("curl"):
        raise Skip("there is no curl")
    return run("curl", "-sS", "-m", timeout - 5, "--noproxy", "*", *arguments, timeout=timeout, **options).stdout


def field(document, name):
    return [value for key, value in document["headers"] if key.lower() == name.lower()]


def test_curl_asks_in_every_way_it_knows(t):
    backend = app(t)
    front = proxy(t, backend)
    seen = json.loads(curl(front.url + "/a%20b?x=%zz"))
    assert (seen["method"], seen["path"]) == ("GET", "/a%20b?x=%zz")
    assert field(seen, "X-Forwarded-For") == ["127.0.0.1"] and field(seen, "X-Forwarded-Proto") == ["http"]
    assert field(seen, "Host") == [front.url.removeprefix("http://")] == field(seen, "X-Forwarded-Host")
    assert curl("-o", "/dev/null", "-o", "/dev/null", "-w", "%{num_connects}", front.url, front.url) == "10", "no keep-alive"
    assert "HTTP/1.1 200 OK" in curl("-I", front.url)
    assert json.loads(curl("--http1.0", front.url))["method"] == "GET"
    assert json.loads(curl("-X", "DELETE", front.url))["method"] == "DELETE"
    # An offer of HTTP/2 is no upgrade that anybody could hide requests in.
    assert json.loads(curl("--http2", front.url))["method"] == "GET"
    for extra in (["-H", "Expect: 100-continue"], ["-H", "Transfer-Encoding: chunked"], ["-X", "PUT"]):
        assert json.loads(curl(*extra, "--data-binary", "@" + os.path.abspath(__file__), front.url))["length"] == \
            os.path.getsize(__file__), extra
    assert curl("-w", "%{http_code}", "-o", "/dev/null", front.url + "/not-modified") == "304"
    assert curl("-w", "%{http_code}", front.url + "/interim") == '"hinted"200'
    assert curl("-w", "%{http_code}", "-o", "/dev/null", "-H", "X: " + "x" * 60_000, front.url) == "200"
    assert curl("-w", "%{http_code}", "-o", "/dev/null", "-H", "X: " + "x" * 70_000, front.url) == "431"


def test_curl_moves_200_mib_up_and_down(t):
    backend = app(t)
    front = proxy(t, backend)
    size = 200 * MB
    big = t.path("big")
    with open(big, "wb") as f:
        f.truncate(size)
    assert json.loads(curl("-T", big, front.url))["length"] == size
    with open(big, "rb") as f:
        assert json.loads(curl("-T", "-", front.url, stdin=f))["length"] == size, "chunked"
    assert curl("-o", "/dev/null", "-w", "%{size_download}", f"{front.url}/download?bytes={size}") == str(size)
    resident = int(next(line for line in open(f"/proc/{front.process.pid}/status") if line.startswith("VmHWM")).split()[1])
    assert resident < 40_000, f"{resident} KiB"
    # An early answer to a large body arrives; curl does not mind that the rest is not read.
    assert "413" in curl("-o", "/dev/null", "-w", "%{http_code}", "-T", big, front.url + "/refuse", check=False)


@test(timeout=90)
def test_nodes_fetch_streams_both_ways(t):
    if not shutil.which("node"):
        raise Skip("there is no node")
    backend = app(t)
    front = proxy(t, backend)
    done = run("node", os.path.join(HERE, "fetch.mjs"), front.url, timeout=80)
    assert done.stdout.endswith("ok\n"), done.stdout + done.stderr
    backend.wait_line("cut /events?count=1000&gap=0.05&gone")


def test_a_websocket_library_talks_through_the_proxy(t):
    python = venv_program("python3")
    if run(python, "-c", "import websockets.sync", check=False).returncode != 0:
        raise Skip("build/deps/venv has no websockets: ./dev test installs it")
    backend = app(t, "here", "ws_app.py", python)
    front = proxy(t, backend)
    client = [python, "-B", os.path.join(HERE, "ws_client.py")]
    run(*client, front.url.replace("http", "ws", 1) + "/chat", "here")
    # On a replica it ends up at the primary's app.
    other = app(t, "there", "ws_app.py", python)
    primary = proxy(t, other, name="proxy-primary")
    front.tell(f"role replica m2 {primary.url}")
    run(*client, front.url.replace("http", "ws", 1) + "/chat", "there")
    wait_until(lambda: front.tell("running") == "0" == primary.tell("running"), 5, "the tunnels to end")


def test_a_cookie_jar_reads_its_own_writes_at_the_replica(t):
    primary_app, replica_app = app(t, "primary"), app(t, "replica")
    primary = proxy(t, primary_app, name="proxy-primary")
    replica = proxy(t, replica_app, "--txid-timeout-ms", "20000")
    primary.tell("txid app.db 0x10")
    replica.tell("txid app.db 0xf")
    replica.tell("primary-txid app.db 0x10")
    replica.tell(f"role replica m2 {primary.url}")
    jar = t.path("jar")
    wrote = json.loads(curl("-c", jar, "-d", "x=1", replica.url))
    assert wrote["app"] == "primary" and "0000000000000010" in open(jar).read()
    assert field(wrote, "X-Forwarded-For") == ["127.0.0.1, 127.0.0.1"]
    reader = subprocess.Popen(["curl", "-sS", "-m", "20", "-b", jar, replica.url], stdout=subprocess.PIPE, text=True)
    time.sleep(0.3)
    assert reader.poll() is None, "the read did not wait"
    replica.tell("txid app.db 0x10")
    assert json.loads(reader.communicate(timeout=10)[0])["app"] == "replica"
    assert curl("-b", "__txid=7fffffffffffffff", "-w", "%{http_code}", "-o", "/dev/null", replica.url) == "200"


def test_writes_on_fly_are_replayed_or_forwarded(t):
    primary_app, replica_app = app(t, "primary"), app(t, "replica")
    primary = proxy(t, primary_app, "--fly", name="proxy-primary")
    replica = proxy(t, replica_app, "--fly", "--primary-redirect-timeout-ms", "200")
    replica.tell(f"role replica m2 {primary.url}")
    answer = curl("-i", "-d", "x=1", replica.url)
    assert "\nFly-Replay: instance=m2\n" in answer and answer.endswith("\n\n"), answer
    large = t.path("large")
    with open(large, "wb") as f:
        f.truncate(1_500_000)
    assert json.loads(curl("--data-binary", "@" + large, replica.url)) | {"headers": 0} == {
        "app": "primary", "method": "POST", "path": "/", "length": 1_500_000, "headers": 0}
    looped = curl("-i", "-H", "fly-replay-src: instance=m3;t=1", "-d", "x", replica.url)
    assert looped.startswith("HTTP/1.1 503 "), looped


def test_it_drains_and_stops(t):
    backend = app(t)
    front = proxy(t, backend)
    slow = subprocess.Popen(["curl", "-sS", "-m", "20", front.url + "/slow?seconds=1"], stdout=subprocess.PIPE, text=True)
    wait_until(lambda: front.tell("running") == "1", 5, "the slow request to run")
    front.process.stdin.write("stop 10000\n")
    front.process.stdin.flush()
    wait_until(lambda: "503" in curl("-w", "%{http_code}", "-o", "/dev/null", front.url + "/litefs/health", check=False), 5,
               "health to be 503")
    assert slow.communicate(timeout=10)[0] == '"slow"'
    front.wait_line("ok stopped")
    assert curl("-o", "/dev/null", "-w", "%{http_code}", front.url, check=False) == "000", "still listening"
    front.end()
    assert front.process.returncode == 0
