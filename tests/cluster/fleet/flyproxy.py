"""Fly's proxy: the public HTTP/1.1 front of an app. It chooses a healthy machine near the edge, obeys fly-replay, starts
stopped machines, and adds Fly's request headers."""
import contextlib
import json
import random
import re
import select
import socket
import threading
import time

from harness.http1 import Malformed, Reader, answer

REPLAY_LIMIT = 1_000_000  # bytes of a body that can be sent again
MAX_REPLAYS = 5
HOP = ("connection", "keep-alive", "proxy-connection", "te", "upgrade")


def parse_replay(text):
    """A fly-replay header as a dict: `region=ord,ams;timeout=5s`, lists also quoted."""
    found = {}
    for part in re.findall(r'(?:[^;"]|"[^"]*")+', text):
        key, sep, value = part.strip().partition("=")
        if sep:
            found[key.strip().lower()] = value.strip().strip('"')
    return found


def replay_of(head, body):
    """What a response asks for instead of being the answer: (fields, transform) or None."""
    if head.get("fly-replay") is not None:
        return parse_replay(head.get("fly-replay")), {}
    if (head.get("content-type") or "").split(";")[0] == "application/vnd.fly.replay+json":
        document = json.loads(body)
        fields = {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in document.items()
                  if not isinstance(v, (dict, list))}
        return fields, document.get("transform") or {}
    return None


def transform(request, changes):
    """The JSON form's changes of the replayed request."""
    if changes.get("path"):
        request.start = " ".join([request.method, changes["path"], request.start.rsplit(" ", 1)[1]])
    request.remove(*(changes.get("delete_headers") or []))
    for header in changes.get("set_headers") or []:
        request.set(header["name"], header["value"])


class Failed(Exception):
    def __init__(self, status, why):
        super().__init__(why)
        self.status = status


class HealthChecks:
    """Asks each started machine's checks in the background; a machine that just started counts as failing until they
    pass once."""

    def __init__(self, fleet, checks, interval=0.1, timeout=1.0):
        self.fleet, self.checks, self.interval, self.timeout = fleet, checks, interval, timeout
        self.passing, self._stop = {}, threading.Event()
        fleet.test.defer(self.close)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self):
        self._stop.set()
        self._thread.join(5)

    def pass_for(self, machine):
        return machine.state == "started" and self.passing.get(machine.id) == machine.pid

    def _run(self):
        while not self._stop.wait(self.interval):
            for machine in list(self.fleet.machines):
                pid = machine.pid
                if machine.state != "started" or not machine.in_dns:
                    continue
                good = all(machine.get(path, port, timeout=self.timeout)[0] == 200 for port, path in self.checks)
                self.passing[machine.id] = pid if good else None


class FlyProxy:
    """edge: the region a client comes in at. near: the regions from near to far after it. autostart: a stopped machine is
    started when a request needs it. Every request is kept in `log`: (monotonic time, method, target, machines it was sent
    to, status)."""

    def __init__(self, fleet, address, edge="ord", port=80, internal_port=8080, checks=None, near=(), autostart=False,
                 patience=8.0):
        self.fleet, self.address, self.edge, self.port, self.internal_port = fleet, address, edge, port, internal_port
        self.checks, self.near, self.autostart, self.patience, self.log = checks, list(near), autostart, patience, []
        self._starting = threading.Lock()
        self._listener = socket.create_server((address, port), family=socket.AF_INET6, backlog=256)
        fleet.test.defer(self._listener.close)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self):
        return f"http://[{self.address}]:{self.port}"

    # ---- the choice

    def usable(self):
        return [m for m in self.fleet.machines if m.in_dns and m.state == "started" and m.cut_off is False and
                (self.checks is None or self.checks.pass_for(m))]

    def _distance(self, region):
        order = [self.edge, *self.near]
        return order.index(region) if region in order else len(order)

    def choose(self, fields):
        """A machine for these replay fields (or a client's wishes in the same words); None when there is none now. An
        instance that is named gets the request whatever its checks say."""
        if fields.get("instance"):
            return next((m for m in self.fleet.machines if m.id == fields["instance"] and m.state == "started"), None)
        here = self.usable()
        if fields.get("elsewhere") == "true":
            here = [m for m in here if m.id != fields.get("from")]
        if fields.get("prefer_instance"):
            wished = next((m for m in here if m.id == fields["prefer_instance"]), None)
            if wished is not None:
                return wished
        if fields.get("region"):
            for region in fields["region"].split(","):
                if found := [m for m in here if m.region == region.strip()]:
                    return random.choice(found)
            return None
        if not here:
            return None
        nearest = min(self._distance(m.region) for m in here)
        return random.choice([m for m in here if self._distance(m.region) == nearest])

    def _wanted(self, fields):
        """A stopped machine that these fields would have gone to."""
        stopped = [m for m in self.fleet.machines if m.in_dns and m.state == "stopped"]
        if fields.get("instance"):
            return next((m for m in stopped if m.id == fields["instance"]), None)
        if fields.get("region"):
            stopped = [m for m in stopped if m.region in fields["region"].split(",")]
        return min(stopped, key=lambda m: self._distance(m.region), default=None)

    def _find(self, fields, deadline):
        """Waits for a machine as Fly's proxy does while one starts."""
        while True:
            machine = self.choose(fields)
            if machine is not None:
                return machine
            wanted = fields.get("instance")
            if self.autostart and (wanted or not self.usable()):
                self._autostart(fields)
            elif wanted and all(m.id != wanted or m.state != "started" for m in self.fleet.machines):
                raise Failed(502, f"machine {wanted} is not running")
            if time.monotonic() > deadline:
                raise Failed(503, "no machine for " + (";".join(f"{k}={v}" for k, v in fields.items()) or "this request"))
            time.sleep(0.01)

    def _autostart(self, fields):
        with self._starting:
            machine = self._wanted(fields)
            if machine is not None and machine.state == "stopped":
                machine.start(wait=False)

    # ---- a connection

    def _accept(self):
        while True:
            try:
                client, peer = self._listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(client, peer[0]), daemon=True).start()

    def _serve(self, client, peer):
        with client, contextlib.suppress(OSError, Malformed):
            reader = Reader(client)
            while (request := reader.head()) is not None:
                if not self._one(client, reader, request, peer):
                    return

    def _one(self, client, reader, request, peer):
        seen = []
        record = [time.monotonic(), request.method, request.target, seen, 0]
        self.log.append(record)
        try:
            return self._forward(client, reader, request, peer, seen, record)
        except Failed as failed:
            record[4] = failed.status
            client.sendall(answer(failed.status, f"{failed}\n", [("Server", "Fly/test"), ("Connection", "close")]))
            return False

    def _forward(self, client, reader, request, peer, seen, record):
        """Until a machine gives an answer that is no replay. True when the client's connection can be kept."""
        if (request.get("expect") or "").lower() == "100-continue":
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body, more = self._buffered(reader.body(request))
        outgoing, fields, replays = self._dressed(request, peer), self._wishes(request), 0
        deadline = time.monotonic() + self.patience
        while True:
            machine, server = self._connect(fields, deadline)
            seen.append(machine.id)
            with server:
                answers = Reader(server)
                response = self._ask(machine, server, answers, outgoing, body, more)
                record[4] = response.status
                if response.status == 101:
                    client.sendall(response.encode())
                    self._tunnel(client, server, reader.rest(), answers.rest())
                    return False
                asked = self._asked(response, answers, request)
                if asked is None:
                    kept = self._deliver(client, response, answers, request)
                    return kept and more is None and "close" not in request.tokens("connection")
            replays += 1
            if more is not None:
                raise Failed(502, "the body is too large to be replayed")
            if replays > MAX_REPLAYS:
                raise Failed(508, "replayed too often")
            outgoing, fields, deadline = self._replayed(self._dressed(request, peer), asked, machine)

    @staticmethod
    def _buffered(parts):
        """(what can be sent again, the rest of a larger body or None)"""
        body, size = [], 0
        for part in parts:
            body.append(part)
            size += len(part)
            if size > REPLAY_LIMIT:
                return b"".join(body), parts
        return b"".join(body), None

    def _wishes(self, request):
        """What the client's own headers ask for, as replay fields."""
        wishes = {"region": request.get("fly-force-region"), "instance": request.get("fly-force-instance-id"),
                  "prefer_instance": request.get("fly-prefer-instance-id")}
        wishes = {k: v for k, v in wishes.items() if v}
        preferred = request.get("fly-prefer-region")
        return {"region": preferred} if not wishes and preferred and self.choose({"region": preferred}) else wishes

    def _connect(self, fields, deadline):
        """A machine that takes the connection; one that does not is asked again, as it may just be starting."""
        while True:
            machine = self._find(fields, deadline)
            try:
                server = socket.create_connection((machine.ip, self.internal_port), 2)
                server.settimeout(60)
                server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return machine, server
            except OSError as error:
                if time.monotonic() > deadline:
                    raise Failed(502, f"{machine.id} does not take connections: {error}") from None
                time.sleep(0.02)

    @staticmethod
    def _ask(machine, server, answers, outgoing, body, more):
        """The final head of the machine's answer."""
        try:
            server.sendall(outgoing.encode() + body)
            for part in more or ():
                server.sendall(part)
            while (response := answers.head()) is not None:
                if response.status >= 200 or response.status == 101:
                    return response
        except (OSError, Malformed) as error:
            raise Failed(502, f"{machine.id} broke off: {error}") from None
        raise Failed(502, f"{machine.id} closed without an answer")

    def _replayed(self, outgoing, asked, machine):
        """(request, fields, deadline) of the next try, as the machine's answer asks for it."""
        fields, changes = asked
        transform(outgoing, changes)
        source = f"instance={machine.id};region={machine.region};t={int(time.time() * 1e6)}"
        outgoing.set("fly-replay-src", source + (f";state={fields['state']}" if "state" in fields else ""))
        fields = {**fields, "from": machine.id}
        seconds = float(fields["timeout"].rstrip("s")) if "timeout" in fields else self.patience
        if fields.get("fallback") in ("force_self", "prefer_self") and self.choose(fields) is None:
            outgoing.set("fly-replay-failed", f"instance={machine.id};region={machine.region};reason=no_candidate")
            fields = {"instance" if fields["fallback"] == "force_self" else "prefer_instance": machine.id}
        return outgoing, fields, time.monotonic() + seconds

    def _dressed(self, request, peer):
        """The request as a machine gets it."""
        upgrade = request.get("upgrade") if "upgrade" in request.tokens("connection") else None
        outgoing = request.copy()
        outgoing.remove(*HOP, "expect", "fly-replay-src", "fly-replay-failed", "fly-force-instance-id",
                        "fly-prefer-instance-id", "fly-prefer-region", "fly-force-region")
        if upgrade:
            outgoing.headers += [("Connection", "Upgrade"), ("Upgrade", upgrade)]
        else:
            outgoing.headers.append(("Connection", "close"))
        outgoing.headers += [("Fly-Client-IP", peer), ("Fly-Region", self.edge), ("Fly-Forwarded-Port", str(self.port)),
                             ("X-Forwarded-For", ", ".join([*filter(None, [request.get("x-forwarded-for")]), peer])),
                             ("X-Forwarded-Proto", "http"), ("X-Forwarded-Port", str(self.port)), ("X-Forwarded-Ssl", "off"),
                             ("Via", "1.1 fly.io"), ("X-Request-Start", f"t={int(time.time() * 1e6)}")]
        return outgoing

    @staticmethod
    def _asked(response, answers, request):
        """replay_of, with the JSON form's body read."""
        body = b""
        if (response.get("content-type") or "").startswith("application/vnd.fly.replay+json"):
            body = b"".join(answers.body(response, request.method))
        return replay_of(response, body)

    @staticmethod
    def _deliver(client, response, answers, request):
        """Passes the response on; whether the client's connection can be kept."""
        bodiless = request.method == "HEAD" or response.status in (204, 304)
        framed = bodiless or response.get("content-length") is not None or "chunked" in response.tokens("transfer-encoding")
        response.remove("connection", "keep-alive")
        response.headers += [("Server", "Fly/test"), ("Via", "1.1 fly.io"),
                             ("Connection", "keep-alive" if framed else "close")]
        client.sendall(response.encode())
        for part in answers.body(response, request.method):
            client.sendall(part)
        return framed

    @staticmethod
    def _tunnel(client, server, from_client, from_server):
        server.sendall(from_client)
        client.sendall(from_server)
        server.settimeout(None)
        while True:
            for s in select.select([client, server], [], [])[0]:
                data = s.recv(65536)
                if not data:
                    return
                (server if s is client else client).sendall(data)
