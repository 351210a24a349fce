"""The bench itself: the fakes' semantics, and that the verdict finds what is wrong. None of it needs caddis."""
import base64
import json
import socket
import threading

from fleet import dns, flyproxy, truth
from fleet.client import Attempt, switches
from fleet.cluster import Raw, merged, yaml
from fleet.consul import Refused, State, seconds
from fleet.network import _table
from harness import HttpFaultProxy
from harness.http1 import Head, Reader, answer

ENTRIES = [dns.Entry("aaa", "ord", "fdaa::a", metadata={"role": "primary"}), dns.Entry("bbb", "ams", "fdaa::b", group="worker"),
           dns.Entry("ccc", "ord", "fdaa::c", started=False)]


def lookup(name, kind=dns.AAAA, **options):
    return dns.resolve(name, kind, "demo", ENTRIES, **options)


def test_names_resolve_to_started_machines_only(t):
    assert lookup("demo.internal") == (dns.NOERROR, ["fdaa::a", "fdaa::b"])
    assert lookup("DEMO.internal.") == (dns.NOERROR, ["fdaa::a", "fdaa::b"])
    assert lookup("ord.demo.internal") == (dns.NOERROR, ["fdaa::a"])
    assert lookup("aaa.vm.demo.internal") == (dns.NOERROR, ["fdaa::a"])
    assert lookup("ccc.vm.demo.internal") == (dns.NXDOMAIN, [])
    assert lookup("worker.process.demo.internal") == (dns.NOERROR, ["fdaa::b"])
    assert lookup("primary.role.kv._metadata.demo.internal") == (dns.NOERROR, ["fdaa::a"])
    assert lookup("replica.role.kv._metadata.demo.internal") == (dns.NXDOMAIN, [])
    assert lookup("top2.nearest.of.demo.internal", asker=ENTRIES[1]) == (dns.NOERROR, ["fdaa::b", "fdaa::a"])
    assert lookup("vms.demo.internal", dns.TXT) == (dns.NOERROR, ["aaa ord,bbb ams"])
    assert lookup("all.vms.demo.internal", dns.TXT) == (dns.NOERROR, ["aaa ord,bbb ams,ccc ord"])
    assert lookup("regions.demo.internal", dns.TXT) == (dns.NOERROR, ["ams,ord"])
    assert lookup("demo.internal", dns.A) == (dns.NOERROR, [])
    assert lookup("other.internal")[0] == dns.NXDOMAIN
    assert lookup("bucket.test", hosts={"bucket.test": "fdaa::53"}) == (dns.NOERROR, ["fdaa::53"])


def test_an_answer_is_a_packet_that_says_it_was_cut(t):
    question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04demo\x08internal\x00\x00\x1c\x00\x01"
    packet = dns.encode_answer(question, 0, dns.AAAA, ["fdaa::a"])
    assert packet[:2] == b"\x12\x34" and packet[6:8] == b"\0\1" and packet.endswith(b"\xfd\xaa" + bytes(13) + b"\x0a")
    packet = dns.encode_answer(question, 0, dns.AAAA, ["fdaa::a"] * 40)
    assert len(packet) <= 512 and packet[2] & 2
    assert dns.encode_answer(question, dns.NXDOMAIN, dns.AAAA, [])[3] & 15 == dns.NXDOMAIN


class Clock:
    def __init__(self):
        self.at = 1000.0

    def __call__(self):
        return self.at


def consul(late=0.5):
    clock = Clock()
    return clock, State(clock, late)


def session(state, **more):
    return state.create_session({"TTL": "10s", "LockDelay": "1000ms", "Behavior": "delete", "Name": "litefs", **more})


def refused(function, *args):
    try:
        function(*args)
        return None
    except Refused as error:
        return error.status


def test_a_consul_lock_is_one_sessions_until_it_ends(t):
    clock, state = consul()
    a, b = session(state), session(state)
    assert state.put("k", b"A", acquire=a) and not state.put("k", b"B", acquire=b)
    assert state.put("k", b"A2", acquire=a), "the holder may write again"
    [shown] = state.get("k")
    assert base64.b64decode(shown["Value"]) == b"A2" and shown["Session"] == a and shown["LockIndex"] == 1
    assert not state.put("k", b"", release=b) and state.put("k", b"", release=a)
    assert state.put("k", b"B", acquire=b), "no lock-delay after a release"
    state.end_session(b)
    assert state.get("k") is None, "behavior delete"
    assert not state.put("k", b"A", acquire=a), "lock-delay"
    clock.at += 1.01
    assert state.put("k", b"A", acquire=a)
    assert refused(lambda: state.put("k", b"", acquire="gone")) == 500


def test_a_consul_session_expires_late_and_renewal_puts_it_off(t):
    clock, state = consul(late=0.5)
    a = session(state)
    assert state.put("k", b"A", acquire=a)
    for _ in range(5):
        clock.at += 14
        state.tick()
        assert state.renew_session(a)
    clock.at += 15.1
    state.tick()
    assert state.get("k") is None and state.renew_session(a) is None
    assert not state.end_session(a)


def test_consul_refuses_what_consul_refuses(t):
    _, state = consul()
    assert refused(lambda: session(state, TTL="9s")) == 400
    assert refused(lambda: session(state, Behavior="keep")) == 400
    assert refused(lambda: session(state, Surprise=1)) == 400
    assert state.put("k", b"1", cas=0) and not state.put("k", b"2", cas=0)
    index = state.get("k")[0]["ModifyIndex"]
    assert state.put("k", b"2", cas=index) and not state.put("k", b"3", cas=index)
    assert (seconds("1m30s"), seconds("1000ms"), seconds("1.5h")) == (90, 1, 5400)


def test_replay_instructions_are_read_in_both_forms(t):
    assert flyproxy.parse_replay('region="ord,ams"; state=a b;timeout=5s;elsewhere=true') == {
        "region": "ord,ams", "state": "a b", "timeout": "5s", "elsewhere": "true"}
    head = Head("HTTP/1.1 200 OK", [("fly-replay", "instance=abc")])
    assert flyproxy.replay_of(head, b"") == ({"instance": "abc"}, {})
    head = Head("HTTP/1.1 200 OK", [("Content-Type", "application/vnd.fly.replay+json")])
    change = {"path": "/x", "set_headers": [{"name": "A", "value": "1"}]}
    body = json.dumps({"instance": "abc", "elsewhere": True, "transform": change})
    fields, changes = flyproxy.replay_of(head, body)
    assert fields == {"instance": "abc", "elsewhere": "true"}
    request = Head("POST /y HTTP/1.1", [("A", "0")])
    flyproxy.transform(request, changes)
    assert request.start == "POST /x HTTP/1.1" and request.get("a") == "1"
    assert flyproxy.replay_of(Head("HTTP/1.1 200 OK", []), b"") is None


def test_bodies_keep_their_framing(t):
    a, b = socket.socketpair()
    a.sendall(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n"
              b"GET /2 HTTP/1.1\r\nContent-Length: 2\r\n\r\nxyGET")
    reader = Reader(b)
    head = reader.head()
    assert b"".join(reader.body(head)) == b"3\r\nabc\r\n0\r\nT: 1\r\n\r\n"
    head = reader.head()
    assert head.path == "/2" and b"".join(reader.body(head)) == b"xy" and reader.rest() == b"GET"
    a.close()
    assert reader.head() is None


class Origin:
    """A server that counts what reaches it."""

    def __init__(self, test):
        self.seen, self.listener = [], socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()[:2]
        test.defer(self.listener.close)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client:
                reader = Reader(client)
                if (request := reader.head()) is not None:
                    self.seen.append((request.method, b"".join(reader.body(request))))
                    client.sendall(answer(200, "x" * 1000))


def ask(port, timeout=1.0):
    with socket.create_connection(("127.0.0.1", port), timeout) as s:
        s.settimeout(timeout)
        s.sendall(b"PUT /k HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
        data = b""
        try:
            while part := s.recv(65536):
                data += part
                if data.startswith(b"HTTP/1.1 5") or len(data) > 1000:
                    break
        except TimeoutError:
            return "timeout"
        return data


def test_each_fault_does_to_the_server_and_to_the_client_what_it_says(t):
    origin = Origin(t)
    proxy = HttpFaultProxy(t, origin.address)
    for action, reaches, client in (("503", False, lambda d: d.startswith(b"HTTP/1.1 503") and b"SlowDown" in d),
                                    ("drop", False, lambda d: d == b""), ("lose-answer", True, lambda d: d == b""),
                                    ("cut", True, lambda d: len(d) == 100), ("hang", False, lambda d: d == "timeout"),
                                    ("slow", True, lambda d: len(d) > 1000), ("late", True, lambda d: d == b"")):
        origin.seen.clear()
        fault = proxy.fail(action, lambda request: request.method == "PUT", times=1, seconds=0.05)
        data = ask(proxy.port, 0.5)
        assert client(data), (action, data)
        if action == "late":
            assert not origin.seen
            for _ in range(200):
                if origin.seen:
                    break
                threading.Event().wait(0.01)
        assert origin.seen == ([("PUT", b"abc")] if reaches else []), (action, origin.seen)
        assert fault.hits == 1
        proxy.heal()
    assert ask(proxy.port).startswith(b"HTTP/1.1 200")


def copy(*rows):
    return truth.Copy("here", [(i, client, seq, "m", "1") for i, client, seq in rows], "digest")


class Log:
    def __init__(self, name, *attempts):
        self.name = name
        self.attempts = [Attempt(name, seq, at, at + 0.5, outcome, 0, machine, ident, "")
                         for seq, (outcome, ident, machine, at) in enumerate(attempts, 1)]

    def acks(self):
        return [a for a in self.attempts if a.outcome == "ack"]


def test_the_verdict_finds_lost_doubled_reordered_foreign_and_refused_rows(t):
    log = Log("w", ("ack", 1, "m", 0), ("ack", 2, "m", 1), ("unknown", 0, "", 2), ("refused", 0, "", 3))
    assert truth.judge([log], copy((1, "w", 1), (2, "w", 2))).nothing_wrong()
    good = truth.judge([log], copy((1, "w", 1), (2, "w", 2), (3, "w", 3)))
    assert good.nothing_wrong() and good.unknown == 1
    for rows, what in ((((1, "w", 1),), "lost"), (((1, "w", 1), (2, "w", 2), (3, "w", 2)), "doubled"),
                       (((2, "w", 1), (1, "w", 2)), "reordered"), (((1, "w", 1), (5, "w", 2)), "foreign"),
                       (((1, "w", 1), (2, "w", 2), (4, "w", 4)), "ghosts")):
        verdict = truth.judge([log], copy(*rows))
        assert getattr(verdict, what), (what, verdict)
        assert not verdict.nothing_wrong()


def test_two_machines_that_acknowledge_at_the_same_time_are_seen(t):
    assert switches([Log("w", ("ack", 1, "a", 0), ("ack", 2, "b", 1))]) == [(1.5, "a", "b")]
    late = [Log("w", ("ack", 1, "a", 0), ("ack", 2, "a", 1.4)), Log("v", ("ack", 3, "b", 1.2))]
    assert [s[1:] for s in switches(late)] == [("a", "b")], "an answer that was on its way"
    both = [Log("w", ("ack", 1, "a", 0), ("ack", 2, "a", 2)), Log("v", ("ack", 3, "b", 1), ("ack", 4, "b", 3))]
    assert len(switches(both)) == 3


def test_configurations_keep_their_expansions_bare(t):
    assert yaml({"a": Raw("${X == Y}"), "b": "${Z}"}) == '{\n "a": ${X == Y},\n "b": "${Z}"\n}\n'
    assert merged({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": None, "e": 4}, "d": None}) == {"a": {"c": 2, "e": 4}}
    assert "delete table ip6 x" in _table("x", ("out", "filter", "output", 0, []))
