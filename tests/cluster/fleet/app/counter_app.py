"""The app of the fleet tests: rows with client and sequence number in SQLite, over HTTP, so that a lost, doubled or
reordered write can be proved.

    counter_app.py serve       on [::]:$PORT
    counter_app.py migrate     makes the tables; $APP_MIGRATE_FAIL: exits with that code instead

Environment: CADDIS_DIR or APP_DIR (directory of the database), APP_DB (app.db), APP_JOURNAL (wal | delete), APP_SYNC
(full | normal), APP_CONNECTION (keep | per-request), APP_BUSY_MS (5000), APP_ON_SIGNAL (exit:N | ignore | default |
slow:SECONDS:N), APP_CRASH_AFTER (seconds; exits with 3, at 0 before it listens), APP_REPLAY (1: answers a write with
fly-replay while .primary names another machine), APP_VERSION.

POST /write?client=C&seq=N   one row; 200 {"id", "machine", "version"} once committed
POST /blob                   stores the length and the hash of the body
GET  /rows  /count  /health  /headers  /fork?n=N  /position   ·   /ws: a WebSocket that echoes
"""
import base64
import contextlib
import hashlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

ENV = os.environ
DIR = ENV.get("APP_DIR") or ENV.get("CADDIS_DIR") or "/litefs"
DB = os.path.join(DIR, ENV.get("APP_DB", "app.db"))
MACHINE = ENV.get("FLY_MACHINE_ID", "")
SCHEMA = ("CREATE TABLE IF NOT EXISTS writes(id INTEGER PRIMARY KEY AUTOINCREMENT, client TEXT NOT NULL, "
          "seq INTEGER NOT NULL, machine TEXT NOT NULL, version TEXT NOT NULL, at REAL NOT NULL)",
          "CREATE TABLE IF NOT EXISTS blobs(length INTEGER NOT NULL, sha256 TEXT NOT NULL)",
          "CREATE TABLE IF NOT EXISTS migrations(version TEXT NOT NULL, machine TEXT NOT NULL)")


def connect():
    db = sqlite3.connect(DB, isolation_level=None, timeout=int(ENV.get("APP_BUSY_MS", "5000")) / 1000,
                         check_same_thread=False)
    db.execute(f"PRAGMA synchronous={ENV.get('APP_SYNC', 'full')}")
    return db


def migrate():
    if ENV.get("APP_MIGRATE_FAIL"):
        print("migration fails as it was told to", file=sys.stderr)
        return int(ENV["APP_MIGRATE_FAIL"])
    version = ENV.get("APP_VERSION", "1")
    with contextlib.closing(connect()) as db:
        with contextlib.suppress(sqlite3.OperationalError):  # no table yet
            if db.execute("SELECT 1 FROM migrations WHERE version=?", (version,)).fetchone():
                return 0  # nothing to do needs no lock: a candidate that follows gets here too
        journal = ENV.get("APP_JOURNAL", "wal")
        if db.execute("PRAGMA journal_mode").fetchone()[0] != journal:
            db.execute(f"PRAGMA journal_mode={journal}")
        db.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA:
            db.execute(statement)
        db.execute("INSERT INTO migrations VALUES(?,?)", (version, MACHINE))
        db.execute("COMMIT")
    return 0


class Database:
    """One connection for all requests, or one a request."""

    def __init__(self, keep):
        self.keep, self.lock, self.connection = keep, threading.Lock(), None

    @contextlib.contextmanager
    def use(self):
        with self.lock:
            db = self.connection or connect()
            try:
                yield db
            except sqlite3.Error:
                if db.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        db.execute("ROLLBACK")
                raise
            finally:
                if self.keep:
                    self.connection = db
                else:
                    db.close()


def primary_elsewhere():
    try:
        with open(os.path.join(DIR, ".primary")) as f:
            return f.read().strip()
    except OSError:
        return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    database = None

    def answer(self, status, document, **headers):
        body = json.dumps(document).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self):
        if "chunked" not in (self.headers.get("Transfer-Encoding") or ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def do_POST(self):
        url = urlsplit(self.path)
        query = {k: v[0] for k, v in parse_qs(url.query).items()}
        body = self.body()
        if ENV.get("APP_REPLAY") and (primary := primary_elsewhere()):
            return self.answer(409, {"error": "not the primary"}, fly_replay=f"instance={primary}")
        try:
            if url.path == "/write":
                row = (query["client"], int(query["seq"]), MACHINE, ENV.get("APP_VERSION", "1"), time.time())
                with self.database.use() as db:
                    ident = db.execute("INSERT INTO writes(client,seq,machine,version,at) VALUES(?,?,?,?,?)", row).lastrowid
                return self.answer(200, {"id": ident, "machine": MACHINE, "version": ENV.get("APP_VERSION", "1")})
            if url.path == "/blob":
                digest = hashlib.sha256(body).hexdigest()
                with self.database.use() as db:
                    db.execute("INSERT INTO blobs VALUES(?,?)", (len(body), digest))
                return self.answer(200, {"length": len(body), "sha256": digest, "machine": MACHINE})
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorname", type(error).__name__)
            return self.answer(503, {"error": str(error), "code": code, "machine": MACHINE})
        return self.answer(404, {"error": "no such path"})

    def do_GET(self):
        url = urlsplit(self.path)
        query = {k: v[0] for k, v in parse_qs(url.query).items()}
        if url.path == "/headers":
            return self.answer(200, {"machine": MACHINE, "headers": dict(self.headers.items())})
        if url.path == "/ws" and "websocket" in (self.headers.get("Upgrade") or "").lower():
            return self.web_socket()
        if url.path == "/fork":
            children = [subprocess.Popen(["sleep", "1000"], start_new_session=True).pid for _ in range(int(query.get("n", 1)))]
            return self.answer(200, {"children": children})
        if url.path == "/position":
            with open(DB + "-pos") as f:
                return self.answer(200, {"machine": MACHINE, "position": f.read().strip()})
        try:
            with self.database.use() as db:
                if url.path == "/health":
                    db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
                    return self.answer(200, {"machine": MACHINE, "version": ENV.get("APP_VERSION", "1")})
                if url.path == "/count":
                    return self.answer(200, {"count": db.execute("SELECT count(*) FROM writes").fetchone()[0],
                                             "machine": MACHINE, "version": ENV.get("APP_VERSION", "1")})
                if url.path == "/rows":
                    rows = db.execute("SELECT id,client,seq,machine,version FROM writes ORDER BY id").fetchall()
                    return self.answer(200, {"rows": rows, "machine": MACHINE})
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorname", type(error).__name__)
            return self.answer(503, {"error": str(error), "code": code, "machine": MACHINE})
        return self.answer(404, {"error": "no such path"})

    def web_socket(self):
        """Echoes what it gets, byte for byte, after the handshake (the framing is the client's matter)."""
        accept = hashlib.sha1((self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        self.send_response(101)
        for name, value in (("Upgrade", "websocket"), ("Connection", "Upgrade"),
                            ("Sec-WebSocket-Accept", base64.b64encode(accept).decode()), ("X-Machine", MACHINE)):
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        while data := self.connection.recv(65536):
            self.connection.sendall(data)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    address_family, request_queue_size, daemon_threads = socket.AF_INET6, 128, True

    def handle_error(self, request, client_address):
        pass  # a client that went away

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def wait_for_end(woken):
    """The exit code, once a signal has come. woken: the signals' numbers arrive there as bytes."""
    what = ENV.get("APP_ON_SIGNAL", "exit:0")
    while True:
        os.read(woken, 1)
        if what != "ignore":
            kind, *numbers = what.split(":")
            if kind == "slow":
                time.sleep(float(numbers[0]))
            return int(numbers[-1])


def serve():
    woken, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(woken, True)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL if ENV.get("APP_ON_SIGNAL") == "default" else lambda *_: None)
    if ENV.get("APP_CRASH_AFTER") == "0":
        os._exit(3)
    Handler.database = Database(ENV.get("APP_CONNECTION", "keep") == "keep")
    server = Server(("::", int(ENV.get("PORT", "8080"))), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    print(f"app version {ENV.get('APP_VERSION', '1')} serves", flush=True)
    if ENV.get("APP_CRASH_AFTER"):
        time.sleep(float(ENV["APP_CRASH_AFTER"]))
        os._exit(3)
    code = wait_for_end(woken)
    server.shutdown()
    with Handler.database.lock:
        if Handler.database.connection:
            Handler.database.connection.close()
        os._exit(code)


if __name__ == "__main__":
    sys.exit(migrate() if sys.argv[1:] == ["migrate"] else serve())
