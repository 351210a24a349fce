"""Real programs caddis works with: an S3 server (rclone), Litestream; and a TCP proxy that makes faults."""
import os
import re
import select
import socket
import threading
import time
import urllib.parse
import urllib.request

from . import DEPS, Skip, free_port, run, wait_until

KEY, SECRET = "caddis-test-key", "caddis-test-secret"


def venv_program(name):
    path = os.path.join(DEPS, "venv", "bin", name)
    if not os.access(path, os.X_OK):
        raise Skip(f"build/deps/venv has no {name}: ./dev test installs it")
    return path


class S3Server:
    """What both servers share: the addresses and the keys."""
    bucket, port = "bkt", 0

    def url(self, prefix="app", port=None):
        return f"s3://{self.bucket}/{prefix}?endpoint=http://127.0.0.1:{port or self.port}&region=us-east-1"

    @property
    def env(self):
        return {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "LITESTREAM_ACCESS_KEY_ID": KEY,
                "LITESTREAM_SECRET_ACCESS_KEY": SECRET}


class MotoS3(S3Server):
    """moto: S3's semantics in memory, conditional requests too; takes any signature."""

    def __init__(self, test):
        self.port = free_port()
        log = open(test.path("moto.log"), "ab")
        test.spawn(venv_program("moto_server"), "-H", "127.0.0.1", "-p", self.port, stdout=log, stderr=log,
                   env=dict(os.environ, S3_IGNORE_SUBDOMAIN_BUCKETNAME="1"))  # whatever name it is asked by
        wait_until(lambda: answers(self.port), 40, "moto to listen")
        self._ask("PUT", "").close()

    def _ask(self, method, query):
        signed = {"Authorization": f"AWS4-HMAC-SHA256 Credential={KEY}/20260101/us-east-1/s3/aws4_request, "
                                   "SignedHeaders=host, Signature=0"}
        url = f"http://127.0.0.1:{self.port}/{self.bucket}{query}"
        request = urllib.request.Request(url, method=method, headers=signed)
        return urllib.request.urlopen(request, timeout=20)

    def objects(self, prefix=""):
        """Keys in the bucket with their sizes (the first thousand)."""
        with self._ask("GET", "?list-type=2&prefix=" + urllib.parse.quote(prefix)) as answer:
            text = answer.read().decode()
        return {urllib.parse.unquote(k): int(n) for k, n in
                re.findall(r"<Key>([^<]*)</Key>.*?<Size>(\d+)</Size>", text, re.DOTALL)}


class RcloneS3(S3Server):
    """`rclone serve s3` over a directory: checks signatures, keeps objects as plain files, ignores If-Match and
    If-None-Match."""

    def __init__(self, test, bucket="bkt", port=None, options=()):
        self.test, self.port, self.bucket = test, port or free_port(), bucket
        self.program, self.root = venv_program("rclone"), test.mkdir("s3")
        os.makedirs(os.path.join(self.root, bucket), exist_ok=True)
        self.options, self.process = options, None
        self.start()

    def start(self):
        log = open(self.test.path("rclone.log"), "ab")
        self.process = self.test.spawn(self.program, "serve", "s3", "--addr", f"127.0.0.1:{self.port}", "--auth-key",
                                       f"{KEY},{SECRET}", *self.options, self.root, stdout=log, stderr=log,
                                       env=dict(os.environ, RCLONE_CONFIG=self.test.path("rclone.conf")))
        wait_until(lambda: answers(self.port), 15, "rclone to listen")

    def stop(self):
        self.process.kill()
        self.process.wait(10)

    def objects(self, prefix=""):
        """Keys in the bucket with their sizes."""
        base, found = os.path.join(self.root, self.bucket), {}
        for folder, _, files in os.walk(os.path.join(base, prefix)):
            for file in files:
                path = os.path.join(folder, file)
                found[os.path.relpath(path, base)] = os.path.getsize(path)
        return found


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
        return True
    except OSError:
        return False


def litestream(*args, env=None, timeout=60, check=True):
    """Runs the real Litestream."""
    clean = {k: v for k, v in os.environ.items() if k != "AWS_CA_BUNDLE"}
    return run(venv_program("litestream"), *args, env={**clean, **(env or {})}, timeout=timeout, check=check)


class FaultProxy:
    """A TCP proxy before a server. mode: pass | drop (accepts, closes) | hang (accepts, silent) | http-N (answers N)
    | cut (closes after `cut_bytes` of the answer). Changes take effect for new connections; cut_all() ends the old."""

    def __init__(self, test, upstream_port, mode="pass"):
        self.mode, self.upstream, self.cut_bytes = mode, upstream_port, 100
        self.connections, self.delay_s = 0, 0.0
        self._open = set()
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(64)
        self.port = self._listener.getsockname()[1]
        test.defer(self.close)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listener.close()
        self.cut_all()

    def cut_all(self):
        for s in list(self._open):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client, self.mode), daemon=True).start()

    def _serve(self, client, mode):
        self._open.add(client)
        try:
            if mode == "drop":
                return
            if mode == "hang":
                while client.recv(65536):
                    pass
                return
            if mode.startswith("http-"):
                client.recv(65536)
                client.sendall(f"HTTP/1.1 {mode[5:]} Injected\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
                return
            self._pump(client, self.cut_bytes if mode == "cut" else None)
        except OSError:
            pass
        finally:
            self._open.discard(client)
            client.close()

    def _pump(self, client, budget):
        with socket.create_connection(("127.0.0.1", self.upstream), 5) as server:
            self._open.add(server)
            try:
                while True:
                    for s in select.select([client, server], [], [])[0]:
                        data = s.recv(65536)
                        if not data:
                            return
                        time.sleep(self.delay_s)
                        if s is server and budget is not None:
                            data = data[:budget]
                            budget -= len(data)
                        (server if s is client else client).sendall(data)
                        if budget == 0:
                            return
            finally:
                self._open.discard(server)
