"""An HTTP/1.1 proxy before a real server that makes faults for chosen requests; FaultProxy (peers.py) does so for whole
connections, below HTTP."""
import contextlib
import socket
import threading
import time

from . import http1

# What S3 says with these codes.
S3_ERRORS = {"403": "AccessDenied", "404": "NoSuchKey", "408": "RequestTimeout", "409": "ConditionalRequestConflict",
             "412": "PreconditionFailed", "429": "TooManyRequests", "500": "InternalError", "503": "SlowDown"}


class Fault:
    """One rule. action:
    a status ("503")  answered here, the server never sees the request
    "drop"            closed without an answer, the server never sees the request
    "hang"            no answer until the rule is removed, then closed; the server never sees the request
    "lose-answer"     the server applies it, then the connection is closed without an answer
    "cut"             the server applies it, `bytes` of the answer arrive, then the connection is closed
    "slow"            passed on `seconds` later
    "late"            the connection is closed at once, and the server sees the request `seconds` later all the same
    match: request Head -> bool. times: how often (None: until removed)."""

    def __init__(self, action, match=None, times=None, seconds=1.0, bytes=100):
        self.action, self.match, self.times = action, match or (lambda request: True), times
        self.seconds, self.bytes, self.hits = seconds, bytes, 0
        self.removed = threading.Event()

    def remove(self):
        self.removed.set()


class HttpFaultProxy:
    """address, upstream: (host, port). Every request is logged in `requests` as (monotonic time, method, target, status
    or the fault's action, the client's address)."""

    def __init__(self, test, upstream, address=("127.0.0.1", 0)):
        self.upstream, self.requests = upstream, []
        self._faults, self._lock, self._open = [], threading.Lock(), set()
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._listener = socket.create_server(address, family=family, backlog=128)
        self.port = self._listener.getsockname()[1]
        test.defer(self.close)
        threading.Thread(target=self._accept, daemon=True).start()

    def fail(self, action, match=None, **options):
        fault = Fault(action, match, **options)
        with self._lock:
            self._faults.append(fault)
        return fault

    def heal(self):
        """Removes every fault; what hangs is closed."""
        with self._lock:
            faults, self._faults = self._faults, []
        for fault in faults:
            fault.remove()

    def cut_all(self):
        for s in list(self._open):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)

    def close(self):
        self._listener.close()
        self.heal()
        self.cut_all()

    def count(self, method=None, since=0.0):
        return sum(1 for at, m, *_ in list(self.requests) if at >= since and method in (None, m))

    def _accept(self):
        while True:
            try:
                client, peer = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client, peer[0]), daemon=True).start()

    def _fault_for(self, request):
        with self._lock:
            for fault in self._faults:
                if not fault.removed.is_set() and (fault.times is None or fault.hits < fault.times) and fault.match(request):
                    fault.hits += 1
                    return fault
        return None

    def _serve(self, client, peer):
        self._open.add(client)
        try:
            reader = http1.Reader(client)
            while (request := reader.head()) is not None:
                request.peer = peer
                if not self._one(client, reader, request):
                    return
        except (OSError, http1.Malformed):
            pass
        finally:
            self._open.discard(client)
            client.close()

    def _one(self, client, reader, request):
        """One request; True when the connection goes on."""
        fault = self._fault_for(request)
        action = fault.action if fault else None
        self._expect_continue(client, request)
        body = list(reader.body(request))
        if action in ("drop", "hang"):
            self._log(request, action)
            if action == "hang":
                fault.removed.wait()
            return False
        if action is not None and action.isdigit():
            self._log(request, action)
            text = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{S3_ERRORS.get(action, action)}</Code></Error>'
            client.sendall(http1.answer(int(action), "" if request.method == "HEAD" else text, content_type="application/xml"))
            return True
        if action == "late":
            self._log(request, action)
            threading.Thread(target=self._later, args=(request, body, fault), daemon=True).start()
            return False
        if action == "slow":
            time.sleep(fault.seconds)
        return self._pass(client, request, body, fault)

    def _pass(self, client, request, body, fault):
        action = fault.action if fault else None
        with socket.create_connection(self.upstream, 10) as server:
            server.sendall(request.encode() + b"".join(body))
            answers = http1.Reader(server)
            answer = answers.head()
            while answer is not None and answer.status < 200:
                answer = answers.head()
            if answer is None:
                return False
            self._log(request, action or answer.status)
            if action == "lose-answer":
                for _ in answers.body(answer, request.method):
                    pass
                return False
            left = fault.bytes if action == "cut" else None
            left = self._send(client, answer.encode(), left)
            for part in answers.body(answer, request.method):
                left = self._send(client, part, left)
                if left == 0:
                    return False
            framed = answer.get("content-length") is not None or "chunked" in answer.tokens("transfer-encoding")
            bodiless = request.method == "HEAD" or answer.status in (204, 304)
            return (framed or bodiless) and "close" not in answer.tokens("connection")

    def _later(self, request, body, fault):
        if fault.removed.wait(fault.seconds):
            return
        with contextlib.suppress(OSError, http1.Malformed):
            with socket.create_connection(self.upstream, 10) as server:
                server.sendall(request.encode() + b"".join(body))
                answer = http1.Reader(server).head()
                self._log(request, answer.status if answer else "late, no answer")

    @staticmethod
    def _send(client, data, left):
        if left is None:
            client.sendall(data)
            return None
        client.sendall(data[:left])
        return max(0, left - len(data))

    @staticmethod
    def _expect_continue(client, request):
        if (request.get("expect") or "").lower() == "100-continue":
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.remove("expect")

    def _log(self, request, outcome):
        self.requests.append((time.monotonic(), request.method, request.target, outcome, request.peer))
