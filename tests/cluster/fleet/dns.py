"""Fly's resolver at [fdaa::3]:53, UDP: AAAA and TXT of APP.internal, only of machines that are started.

`resolve` is pure; FakeDns is the socket and the faults."""
import contextlib
import re
import socket
import struct
import threading
from ipaddress import IPv6Address
from typing import NamedTuple

AAAA, TXT, A, OPT = 28, 16, 1, 41
NOERROR, SERVFAIL, NXDOMAIN = 0, 2, 3
TTL = 5


class Entry(NamedTuple):
    """What the resolver knows of one machine."""
    id: str
    region: str
    ip: str
    group: str = "app"
    started: bool = True
    metadata: dict = {}


def resolve(name, kind, app, entries, hosts=None, asker=None):
    """(rcode, answers): addresses as text for AAAA, texts for TXT. hosts: further names, as {name: address}.
    asker: the Entry that asks, for `nearest`."""
    name = name.lower().rstrip(".")
    if hosts and name in hosts:
        return NOERROR, [hosts[name]] if kind == AAAA else []
    started = [e for e in entries if e.started]
    if name == "_apps.internal":
        return NOERROR, [app] if kind == TXT else []
    if name == "_instances.internal":
        text = ";".join(f"instance={e.id},app={app},ip={e.ip},region={e.region}" for e in started)
        return NOERROR, [text] if kind == TXT else []
    suffix = f"{app}.internal"
    if name != suffix and not name.endswith("." + suffix):
        return NXDOMAIN, []
    sub = name[:-len(suffix)].rstrip(".")
    if sub in ("vms", "all.vms", "regions", "all.regions"):
        shown = entries if sub.startswith("all.") else started
        if sub.endswith("vms"):
            text = ",".join(f"{e.id} {e.region}" for e in sorted(shown))
        else:
            text = ",".join(sorted({e.region for e in shown}))
        return (NOERROR, [text] if kind == TXT else []) if shown else (NXDOMAIN, [])
    found = _machines(sub, started, asker)
    if not found:
        return NXDOMAIN, []
    return NOERROR, [e.ip for e in found] if kind == AAAA else []


def _machines(sub, started, asker):
    if sub in ("", "global"):
        return started
    if match := re.fullmatch(r"(?:top(\d+)\.)?nearest\.of", sub):
        near = sorted(started, key=lambda e: (asker is not None and e.region != asker.region, e.id))
        return near[:int(match[1] or 1)]
    if match := re.fullmatch(r"([^.]+)\.vm", sub):
        return [e for e in started if e.id == match[1]]
    if match := re.fullmatch(r"([^.]+)\.process", sub):
        return [e for e in started if e.group == match[1]]
    if match := re.fullmatch(r"([^.]+)\.([^.]+)\.kv\._metadata", sub):
        return [e for e in started if str(e.metadata.get(match[2], "")).lower() == match[1]]
    return [e for e in started if e.region == sub] if "." not in sub else []


def parse_query(packet):
    """(id, name, type, end of the question, size the asker can take)."""
    number, _, questions, _, _, more = struct.unpack_from(">6H", packet)
    if questions != 1:
        raise ValueError("not one question")
    labels, at = [], 12
    while packet[at]:
        labels.append(packet[at + 1:at + 1 + packet[at]].decode("ascii"))
        at += 1 + packet[at]
    kind, _ = struct.unpack_from(">HH", packet, at + 1)
    end, size = at + 5, 512
    if more and packet[end] == 0 and struct.unpack_from(">H", packet, end + 1)[0] == OPT:
        size = max(512, struct.unpack_from(">H", packet, end + 3)[0])
    return number, ".".join(labels), kind, end, size


def encode_answer(packet, rcode, kind, answers):
    number, _, _, end, size = parse_query(packet)
    records, truncated = b"", 0
    count = 0
    for answer in answers:
        if kind == AAAA:
            data = IPv6Address(answer).packed
        else:
            raw = answer.encode()
            data = b"".join(bytes([len(raw[i:i + 255])]) + raw[i:i + 255] for i in range(0, max(1, len(raw)), 255))
        record = struct.pack(">HHHIH", 0xC00C, kind, 1, TTL, len(data)) + data
        if end + len(records) + len(record) > size:
            truncated = 0x0200
            break
        records += record
        count += 1
    flags = 0x8580 | truncated | rcode  # an authoritative answer, recursion available
    return struct.pack(">6H", number, flags, 1, count, 0, 0) + packet[12:end] + records


class FakeDns:
    """mode: "ok" | "stale" (what was true when it was set) | "nxdomain" | "servfail" | "timeout" (no answer).
    `hosts` are names outside of the app. Queries are kept in `queries` as (address of the asker, name, type)."""

    def __init__(self, test, address, app, entries):
        self.app, self.entries, self.hosts, self.queries = app, entries, {}, []
        self._mode, self._frozen = "ok", []
        self._socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self._socket.bind((address, 53))
        test.defer(self._socket.close)
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def mode(self):
        return self._mode

    @mode.setter
    def mode(self, mode):
        self._frozen = self.entries() if mode == "stale" else []
        self._mode = mode

    def _serve(self):
        while True:
            try:
                packet, asker = self._socket.recvfrom(4096)
            except OSError:
                return
            with contextlib.suppress(OSError, ValueError, IndexError, struct.error):
                answer = self.answer(packet, asker[0])
                if answer:
                    self._socket.sendto(answer, asker)

    def answer(self, packet, asker):
        _, name, kind, _, _ = parse_query(packet)
        self.queries.append((asker, name, kind))
        internal = name.lower().rstrip(".").endswith(".internal")
        if self._mode == "timeout":
            return None
        if internal and self._mode in ("nxdomain", "servfail"):
            return encode_answer(packet, NXDOMAIN if self._mode == "nxdomain" else SERVFAIL, kind, [])
        entries = self._frozen if self._mode == "stale" else self.entries()
        who = next((e for e in entries if e.ip == asker), None)
        rcode, answers = resolve(name, kind, self.app, entries, self.hosts, who)
        return encode_answer(packet, rcode, kind, answers)
