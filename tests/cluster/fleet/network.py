"""The private network of a fleet: one bridge in the network namespace of the test, one card a machine. Partitions are
nftables rules in the namespaces of the machines, delays are relays beside the bridge."""
import contextlib
import select
import socket
import subprocess
import threading
import time

from harness import run

from . import namespaces as ns

PREFIX = "fdaa:0:1:a7b"
HOST = f"{PREFIX}::ff"  # the test's own address: relays, the proxy's way to the machines
DNS = "fdaa::3"


class Block:
    """One partition: `sides` are (source address, destination address); how: "drop" or "reset"."""

    def __init__(self, network, pairs, how, port):
        self.network, self.pairs, self.how, self.port = network, pairs, how, port

    def heal(self):
        if self in self.network.blocks:
            self.network.blocks.remove(self)
            self.network.apply()


class Network:
    """Of the calling process, for good: everything started later is in it too."""

    def __init__(self, fleet):
        self.fleet, self.blocks, self.relays, self._cards = fleet, [], [], 0
        ns.unshare(ns.NEWNET)
        # With an address of its own: a bridge without one takes a port's, and changes it when that port goes.
        for line in ("link set lo up", "link add br0 address 02:00:00:00:ff:ff type bridge", "link set br0 up",
                     f"-6 addr add {HOST}/64 dev br0 nodad", f"-6 addr add {DNS}/128 dev br0 nodad",
                     "-6 route add fdaa::/16 dev br0"):
            run("ip", *line.split())

    def service_address(self, number):
        """An address of its own for a service beside the machines (the lease store, the bucket)."""
        address = f"{PREFIX}::{number:x}"
        run("ip", "-6", "addr", "add", f"{address}/128", "dev", "br0", "nodad")
        return address

    def plug(self, machine, pid):
        """A card for the namespaces of the process `pid`; the same hardware address at every boot."""
        self._cards += 1
        card = f"card{self._cards}"
        number = int(machine.ip.rsplit(":", 1)[1], 16)
        run("ip", "link", "add", card, "type", "veth", "peer", "name", "eth0", "address",
            f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}", "netns", pid)
        run("ip", "link", "set", card, "master", "br0", "up")

    # ---- partitions

    def block(self, a, b, both=True, how="drop", port=None):
        """Nothing gets from `a` to `b`; with `both`, neither back. Machines, addresses, or lists of them.
        how="reset": every packet is answered with a reset, so that connections end at once."""
        pairs = [(s, d) for s in _addresses(a) for d in _addresses(b)]
        if both:
            pairs += [(d, s) for s, d in pairs]
        block = Block(self, pairs, how, port)
        self.blocks.append(block)
        self.apply()
        return block

    def heal(self):
        self.blocks.clear()
        self.apply()

    def apply(self):
        for machine in self.fleet.machines:
            if machine.pid:
                subprocess.run(["nsenter", "-t", str(machine.pid), "-n", "nft", "-f", "-"], check=True,
                               input=self.rules(machine).encode())

    def rules(self, machine):
        """The whole ruleset of one machine. A packet is dropped where it leaves; what comes from no machine, where it
        arrives."""
        ours = {m.ip for m in self.fleet.machines}
        out, into, nat = [], [], []
        if machine.cut_off:
            out.append("oifname eth0 drop")
            into.append("iifname eth0 drop")
        for block in self.blocks:
            port = "" if block.port is None else f"tcp dport {block.port} "
            for source, destination in block.pairs:
                verdict = "drop" if block.how == "drop" else "tcp flags & rst == 0 reject with tcp reset"
                if source == machine.ip:
                    out.append(f"ip6 daddr {destination} {port}{verdict}")
                if destination == machine.ip and (source not in ours or block.how == "reset"):
                    into.append(f"ip6 saddr {source} {port}{verdict}")
        for relay in self.relays:
            if relay.source is machine and not relay.closed:
                nat.append(f"ip6 daddr {relay.upstream[0]} tcp dport {relay.upstream[1]} dnat to [{HOST}]:{relay.port}")
        return _table("fleet", ("out", "filter", "output", 0, out), ("in", "filter", "input", 0, into)) + _table(
            "fleetnat", ("out", "nat", "output", -100, nat))

    def delay(self, a, b, seconds, port=20202):
        """Connections from machine `a` to `port` of machine `b` take `seconds` longer each way (new ones)."""
        relay = DelayRelay(self, a, (b.ip, port), seconds)
        self.relays.append(relay)
        self.apply()
        return relay


def _addresses(what):
    if isinstance(what, (list, tuple)):
        return [address for one in what for address in _addresses(one)]
    return [what if isinstance(what, str) else what.ip]


def _table(name, *chains):
    lines = [f"table ip6 {name} {{}}", f"delete table ip6 {name}", f"table ip6 {name} {{"]
    for chain, kind, hook, priority, rules in chains:
        lines += [f" chain {chain} {{", f"  type {kind} hook {hook} priority {priority};", *(f"  {r}" for r in rules), " }"]
    return "\n".join([*lines, "}", ""])


class DelayRelay:
    """Bytes arrive `seconds` later, in order, at full rate (netem is not in every kernel)."""

    def __init__(self, network, source, upstream, seconds):
        self.network, self.source, self.upstream, self.seconds, self.closed = network, source, upstream, seconds, False
        self._listener = socket.create_server((HOST, 0), family=socket.AF_INET6)
        self.port = self._listener.getsockname()[1]
        network.fleet.test.defer(self.close)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        if not self.closed:
            self.closed = True
            self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client, contextlib.suppress(OSError):
            time.sleep(self.seconds)
            with socket.create_connection(self.upstream, 10) as server:
                waiting = []  # (due, destination, bytes); b"" shuts the direction
                sources = [client, server]
                while sources or waiting:
                    timeout = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
                    for source in select.select(sources, [], [], timeout)[0]:
                        data = source.recv(65536)
                        waiting.append((time.monotonic() + self.seconds, server if source is client else client, data))
                        if not data:
                            sources.remove(source)
                    while waiting and waiting[0][0] <= time.monotonic():
                        _, destination, data = waiting.pop(0)
                        if data:
                            destination.sendall(data)
                        else:
                            destination.shutdown(socket.SHUT_WR)
