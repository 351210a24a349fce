"""Clients that write and read all the time, and what they were told: the log that the databases are held against."""
import base64
import contextlib
import http.client
import json
import os
import socket
import threading
import time
from typing import NamedTuple

from harness import wait_until


class Attempt(NamedTuple):
    """outcome: "ack" (200, committed), "refused" (an answer that says it was not done) or "unknown" (no answer: it may
    have been done)."""
    client: str
    seq: int
    sent: float  # monotonic
    done: float
    outcome: str
    status: int
    machine: str
    id: int
    detail: str


class Writer:
    """One client: a write every `pause` seconds, one at a time, each with the next sequence number and never repeated.
    where: "http://[address]:port" of the proxy or a machine."""

    def __init__(self, test, where, name="w1", pause=0.01, timeout=8.0):
        self.where, self.name, self.pause, self.timeout = where, name, pause, timeout
        self.attempts, self._stop, self._connection, self.seq = [], threading.Event(), None, 0
        test.defer(self.stop)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self, abandon=False):
        """After the answer that is awaited; abandon: without it (its machine is dead)."""
        self._stop.set()
        connection = self._connection
        if abandon and connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(self.timeout + 5)
        return self

    def _run(self):
        while not self._stop.is_set():
            self.seq += 1
            sent = time.monotonic()
            outcome = self._write(self.seq)
            self.attempts.append(Attempt(self.name, self.seq, sent, time.monotonic(), *outcome))
            self._stop.wait(self.pause)

    def _write(self, seq):
        """(outcome, status, machine, id, detail)"""
        try:
            if self._connection is None:
                host, port = self.where.removeprefix("http://").rsplit(":", 1)
                self._connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=self.timeout)
            self._connection.request("POST", f"/write?client={self.name}&seq={seq}", body=b"")
            response = self._connection.getresponse()
            text = response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            refused = isinstance(error, ConnectionRefusedError)
            self._connection = None
            return ("refused" if refused else "unknown"), 0, "", 0, repr(error)
        if response.getheader("connection", "").lower() == "close":
            self._connection = None
        if response.getheader("fly-replay"):  # straight from a replica: nobody has done it
            return "refused", response.status, "", 0, "fly-replay: " + response.getheader("fly-replay")
        if response.status != 200:
            # 502: the machine broke off in the middle. SQLITE_IOERR at a commit decides nothing either.
            sure = response.status != 502 and "SQLITE_IOERR" not in text
            return ("refused" if sure else "unknown"), response.status, "", 0, text[:200]
        try:
            document = json.loads(text)
            return "ack", 200, document["machine"], document["id"], document["version"]
        except (ValueError, KeyError):
            return "unknown", 200, "", 0, text[:200]  # an answer that is not the app's

    def acks(self):
        return [a for a in list(self.attempts) if a.outcome == "ack"]

    def wait_acks(self, more, timeout=15):
        """Until that many further writes are acknowledged."""
        before = len(self.acks())
        wait_until(lambda: len(self.acks()) >= before + more, timeout,
                   f"{more} more acknowledged writes; the last attempts: {self.attempts[-3:]}")
        return self

    def last_failures(self):
        return [a for a in list(self.attempts) if a.outcome != "ack"][-5:]


class Reader:
    """GETs a path all the time; `answers` are (sent, done, status, text)."""

    def __init__(self, test, where, path="/count", pause=0.02, timeout=5.0):
        self.where, self.path, self.pause, self.timeout, self.answers = where, path, pause, timeout, []
        self._stop = threading.Event()
        test.defer(self.stop)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self):
        self._stop.set()
        self._thread.join(self.timeout + 5)
        return self

    def _run(self):
        while not self._stop.is_set():
            sent = time.monotonic()
            status, text = get(self.where, self.path, self.timeout)
            self.answers.append((sent, time.monotonic(), status, text))
            self._stop.wait(self.pause)

    def failures(self):
        return [a for a in list(self.answers) if a[2] != 200]


def get(where, path, timeout=5.0, headers=None, method="GET", body=None):
    """(status, text); 0 and the error without an answer."""
    status, text, _ = request(where, path, timeout, headers, method, body)
    return status, text


def request(where, path, timeout=5.0, headers=None, method="GET", body=None):
    host, port = where.removeprefix("http://").rsplit(":", 1)
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=timeout)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace"), dict(response.getheaders())
    except (OSError, http.client.HTTPException) as error:
        return 0, repr(error), {}
    finally:
        connection.close()


def web_socket(where, data, timeout=5):
    """(status, machine, echo) of one upgrade."""
    host, port = where.removeprefix("http://").rsplit(":", 1)
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=timeout)
    connection.request("GET", "/ws", headers={"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
                                              "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode()})
    sock = connection.sock
    answer = http.client.HTTPResponse(sock)
    answer.begin()
    if answer.status != 101:
        return answer.status, answer.getheader("X-Machine"), answer.read()
    sock.sendall(data)
    echoed = sock.recv(65536)
    sock.close()
    return 101, answer.getheader("X-Machine"), echoed


class Gap(NamedTuple):
    seconds: float
    began: float  # monotonic time of the acknowledgement before it
    ended: float

    def __str__(self):
        return f"{self.seconds * 1000:.0f} ms"


def longest_gap(writers, since=None, until=None):
    """The longest time in which no writer got an acknowledgement."""
    times = sorted(a.done for w in writers for a in w.acks())
    times = [t for t in times if (since is None or t >= since) and (until is None or t <= until)]
    assert len(times) >= 2, "fewer than two acknowledged writes in that time"
    return max((Gap(b - a, a, b) for a, b in zip(times, times[1:])), key=lambda g: g.seconds)


def switches(writers):
    """[(time, from, to)]: when acknowledgements began to come from another machine. More of them than there were changes
    of the writer means that two machines acknowledged at the same time."""
    found, current = [], None
    for ack in sorted((a for w in writers for a in w.acks()), key=lambda a: a.done):
        if current is None or ack.machine == current:
            current = ack.machine
        elif not (found and ack.machine == found[-1][1] and ack.sent < found[-1][0]):  # a late answer of the old one
            found.append((ack.done, current, ack.machine))
            current = ack.machine
    return found
