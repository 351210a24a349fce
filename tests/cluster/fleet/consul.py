"""Consul as a lease store needs it: sessions with a TTL and keys bound to them. Only the calls LiteFS makes (and `cas`):
anything else is 400, so that a client that leans on more is found out.

State is pure (injected time); FakeConsul is its HTTP server with the faults."""
import base64
import contextlib
import json
import re
import socket
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text):
    """A Go duration."""
    if not re.fullmatch(r"(\d+(\.\d+)?(ms|s|m|h))+", text):
        raise ValueError(f"bad duration {text!r}")
    return sum(float(n) * UNITS[u] for n, _, u in re.findall(r"(\d+(\.\d+)?)(ms|s|m|h)", text))


class Refused(Exception):
    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class State:
    """late: how much of a second TTL passes before an expired session is destroyed (Consul: between 0 and 1).
    min_ttl: Consul refuses less than 10 s; tests that cannot wait allow less. Locks keep lock-delay only where the
    session ended without a release, as Consul's do."""

    def __init__(self, now, late=0.5, min_ttl=10.0):
        self.now, self.late, self.min_ttl = now, late, min_ttl
        self.keys, self.sessions, self.index, self.delays = {}, {}, 1, {}

    def tick(self):
        """Destroys the sessions that are due; call before each request."""
        for session in list(self.sessions.values()):
            if self.now() >= session["renewed"] + session["ttl"] * (1 + self.late):
                self.end_session(session["ID"], expired=True)

    def create_session(self, body):
        unknown = set(body) - {"Name", "Node", "NodeChecks", "Checks", "LockDelay", "TTL", "Behavior"}
        if unknown:
            raise Refused(400, f"unknown field {sorted(unknown)}")
        ttl, delay = seconds(body.get("TTL", "0s")), seconds(body.get("LockDelay", "15s"))
        if not self.min_ttl <= ttl <= 86400:
            raise Refused(400, f"Invalid Session TTL '{ttl}', must be between [{self.min_ttl}s=24h0m0s]")
        if body.get("Behavior", "release") not in ("release", "delete"):
            raise Refused(400, f"Invalid Behavior setting '{body['Behavior']}'")
        session = {"ID": str(uuid.uuid4()), "Name": body.get("Name", ""), "Node": body.get("Node", "consul"), "ttl": ttl,
                   "delay": delay, "behavior": body.get("Behavior", "release"), "renewed": self.now(), "TTL": body["TTL"]}
        self.sessions[session["ID"]] = session
        self.index += 1
        return session["ID"]

    def renew_session(self, ident):
        session = self.sessions.get(ident)
        if session is not None:
            session["renewed"] = self.now()
        return session

    def end_session(self, ident, expired=False):
        session = self.sessions.pop(ident, None)
        if session is None:
            return False
        for key, entry in list(self.keys.items()):
            if entry["session"] == ident:
                if session["behavior"] == "delete":
                    del self.keys[key]
                else:
                    entry["session"] = None
                self.delays[key] = self.now() + session["delay"]
                self.index += 1
        return True

    def get(self, key):
        entry = self.keys.get(key)
        if entry is None:
            return None
        shown = {"LockIndex": entry["lock_index"], "Key": key, "Flags": 0, "CreateIndex": entry["created"],
                 "ModifyIndex": entry["modified"],
                 "Value": base64.b64encode(entry["value"]).decode() if entry["value"] else None}
        if entry["session"]:
            shown["Session"] = entry["session"]
        return [shown]

    def put(self, key, value, acquire=None, release=None, cas=None):
        entry = self.keys.get(key)
        if acquire is not None:
            if acquire not in self.sessions:
                raise Refused(500, f'invalid session "{acquire}"')
            if entry is not None and entry["session"] not in (None, acquire):
                return False
            if (entry is None or entry["session"] is None) and self.now() < self.delays.get(key, 0):
                return False
            return self._store(key, value, acquire, new_lock=entry is None or entry["session"] is None)
        if release is not None:
            if entry is None or entry["session"] != release:
                return False
            return self._store(key, value, None)
        if cas is not None and cas != (entry["modified"] if entry else 0):
            return False
        return self._store(key, value, entry["session"] if entry else None)

    def delete(self, key):
        self.keys.pop(key, None)
        self.index += 1
        return True

    def _store(self, key, value, session, new_lock=False):
        self.index += 1
        entry = self.keys.setdefault(key, {"created": self.index, "lock_index": 0})
        entry.update(value=value, session=session, modified=self.index)
        entry["lock_index"] += new_lock
        return True


class _Server(ThreadingHTTPServer):
    address_family, request_queue_size, daemon_threads = socket.AF_INET6, 64, True

    def handle_error(self, request, client_address):
        pass  # a client that went away


class FakeConsul:
    """mode: "ok" | "hang" | "500" | "slow" (`slow_s` before it is handled) | "lose-answer" (applied, then cut)
    | "refuse" (connections are closed at once). `only`: a function of (method, path) that chooses what the mode hits.
    Requests are kept in `requests` as (monotonic time, peer address, method, path?query, status)."""

    def __init__(self, test, address, port=8500, token="", prefix="", late=0.5, min_ttl=10.0):
        self.address, self.port, self.token, self.prefix = address, port, token, prefix
        self.lock, self.state = threading.Lock(), State(time.monotonic, late, min_ttl)
        self.mode, self.only, self.slow_s, self.requests = "ok", lambda method, path: True, 1.0, []
        self.healed = threading.Event()
        server = _Server((address, port), self._handler())
        test.defer(server.server_close)
        test.defer(server.shutdown)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def set_mode(self, mode, only=None):
        self.only = only or (lambda method, path: True)
        self.mode = mode
        if mode == "ok":
            self.healed.set()
            self.healed = threading.Event()

    def url(self, host=None):
        """As `fly consul attach` writes it into FLY_CONSUL_URL."""
        return f"http://:{self.token}@{host or '[' + self.address + ']'}:{self.port}/{self.prefix}"

    def destroy_sessions(self):
        with self.lock:
            for ident in list(self.state.sessions):
                self.state.end_session(ident)

    def primary(self, key):
        """The document under a key, and its session: who holds it."""
        with self.lock:
            self.state.tick()
            entry = self.state.keys.get("/".join(p for p in (self.prefix, key) if p))
            if entry is None or not entry["value"] or not entry["session"]:
                return None
            return json.loads(entry["value"])

    def _handler(self):
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version, timeout = "HTTP/1.1", 120
            disable_nagle_algorithm = True

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                mode = fake.mode if fake.only(self.command, self.path) else "ok"
                if mode == "slow":
                    time.sleep(fake.slow_s)
                if mode in ("hang", "refuse"):
                    self.note(mode)
                    if mode == "hang":
                        fake.healed.wait()
                    self.close_connection = True
                    return
                status, answer = 500, b"injected"
                if mode != "500":
                    status, answer = fake.handle(self.command, self.path, self.headers, body)
                self.note(status)
                if mode == "lose-answer":
                    self.close_connection = True
                    return
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json" if status == 200 else "text/plain")
                    self.send_header("X-Consul-Index", str(fake.state.index))
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)

            do_GET = do_PUT = do_DELETE = do_POST = handle_any

            def note(self, status):
                fake.requests.append((time.monotonic(), self.client_address[0], self.command, self.path, status))

            def log_message(self, *_):
                pass
        return Handler

    def handle(self, method, target, headers, body):
        """(status, bytes) of one request, in ok mode."""
        if self.token and headers.get("X-Consul-Token") != self.token:
            return 403, b"Permission denied"
        url = urlsplit(target)
        query = {k: v[0] for k, v in parse_qs(url.query, keep_blank_values=True).items()}
        with self.lock:
            self.state.tick()
            try:
                return 200, json.dumps(self._call(method, unquote(url.path), query, body)).encode()
            except Refused as refused:
                return refused.status, str(refused).encode()
            except (ValueError, KeyError, TypeError) as error:
                return 400, f"Request decode failed: {error}".encode()

    def _call(self, method, path, query, body):
        state = self.state
        if (method, path) == ("PUT", "/v1/catalog/register"):
            return True
        if (method, path) == ("PUT", "/v1/session/create"):
            return {"ID": state.create_session(json.loads(body or b"{}"))}
        if match := re.fullmatch(r"/v1/session/(renew|destroy|info)/([^/]+)", path):
            verb, ident = match.groups()
            if verb == "destroy" and method == "PUT":
                state.end_session(ident)
                return True
            if verb == "renew" and method == "PUT":
                if state.renew_session(ident) is None:
                    raise Refused(404, f"Session id '{ident}' not found")
                return [self._shown(ident)]
            if verb == "info" and method == "GET":
                return [self._shown(ident)] if ident in state.sessions else []
        if path.startswith("/v1/kv/"):
            return self._kv(method, path[len("/v1/kv/"):], query, body)
        raise Refused(400, f"this Consul knows no {method} {path}")

    def _shown(self, ident):
        session = self.state.sessions[ident]
        return {"ID": ident, "Name": session["Name"], "Node": session["Node"], "LockDelay": int(session["delay"] * 1e9),
                "Behavior": session["behavior"], "TTL": session["TTL"], "CreateIndex": 1, "ModifyIndex": 1}

    def _kv(self, method, key, query, body):
        unknown = set(query) - {"acquire", "release", "cas", "flags", "consistent", "dc"}
        if unknown or (self.prefix and not key.startswith(self.prefix + "/")):
            raise Refused(400 if unknown else 403, f"not allowed: {key} {sorted(unknown)}")
        if method == "GET":
            found = self.state.get(key)
            if found is None:
                raise Refused(404, "")
            return found
        if method == "PUT":
            cas = int(query["cas"]) if "cas" in query else None
            return self.state.put(key, body, query.get("acquire"), query.get("release"), cas)
        if method == "DELETE":
            return self.state.delete(key)
        raise Refused(405, "method not allowed")
