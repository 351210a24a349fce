"""The Unix socket /.fly/api of one machine: the metadata it sets, with times, and the faults it may meet."""
import contextlib
import json
import os
import re
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler

METADATA = re.compile(r"/v1/apps/(?P<app>[^/]+)/machines/(?P<id>[^/]+)/metadata(?:/(?P<key>[^/]+))?")


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # a client that went away


class FlyApi:
    """mode: "ok" | "absent" (no socket) | "500" | "429" | "hang" (never answers). Requests are kept in `history` as
    (monotonic time, method, path, body, status)."""

    def __init__(self, machine, directory, mode="ok"):
        self.machine, self.path, self.history, self._mode = machine, os.path.join(directory, "api"), [], "absent"
        self.released, self._server = threading.Event(), None
        self.mode = mode

    @property
    def mode(self):
        return self._mode

    @mode.setter
    def mode(self, mode):
        if self._mode == "hang":
            self.released.set()
            self.released = threading.Event()
        if (mode == "absent") != (self._server is None):
            self.close() if mode == "absent" else self._open()
        self._mode = mode

    def _open(self):
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                if api.mode == "hang":
                    api.history.append((time.monotonic(), self.command, self.path, body, 0))
                    api.released.wait()
                    self.close_connection = True
                    return
                status, answer = api.answer(self.command, self.path, body)
                api.history.append((time.monotonic(), self.command, self.path, body, status))
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)

            do_GET = do_POST = do_PUT = do_DELETE = handle_any

            def address_string(self):
                return "machine"

            def log_message(self, *_):
                pass

        self._server = _Server(self.path, Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
            with contextlib.suppress(OSError):
                os.unlink(self.path)
        self.released.set()

    def answer(self, method, path, body):
        if self.mode in ("500", "429"):
            return int(self.mode), b'{"error":"injected"}'
        if method == "POST" and path == "/v1/tokens/oidc":
            return 200, b"header.payload.signature"
        machine, found = self.machine, METADATA.fullmatch(path)
        if not found or found["id"] != machine.id or found["app"] != machine.fleet.app:
            return 404, b'{"error":"not found"}'
        key = found["key"]
        if method == "GET" and key is None:
            return 200, json.dumps(machine.metadata).encode()
        if method == "POST" and key:
            try:
                machine.metadata[key] = json.loads(body)["value"]
            except (ValueError, KeyError, TypeError):
                return 400, b'{"error":"value is missing"}'
            return 204, b""
        if method == "DELETE" and key:
            machine.metadata.pop(key, None)
            return 204, b""
        return 405, b'{"error":"method"}'

    def roles(self):
        """What was asked for the role, in order: a value, or None for its removal."""
        return [json.loads(body)["value"] if method == "POST" else None for _, method, path, body, _ in self.history
                if path.endswith("/metadata/role") and method in ("POST", "DELETE")]
