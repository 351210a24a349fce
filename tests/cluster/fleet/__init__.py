"""The multi-machine test bench: Fly machines, their network and what Fly puts around them, on one computer.

docs/testing.md says how it works. A test builds on cluster.py (`Cluster`), or on `Fleet` directly."""
import os
import shutil

from harness import Skip, binary, need_root_and_fuse

from . import namespaces
from .dns import FakeDns
from .machine import NODE_PORT, Exit, Image, Machine
from .network import Network
from .volume import Volume

__all__ = ["Exit", "Fleet", "Image", "Machine", "NODE_PORT", "Volume", "namespaces"]

APP = "demo"
PROGRAMS = ("ip", "nft", "nsenter", "mkfs.ext4", "sqlite3", "curl", "setpriv")


class Fleet:
    """All machines of one app. The calling test moves into a network namespace of its own, so addresses are fixed and
    nothing of it can meet another test. pace: what Fly's fixed waits are multiplied by."""

    def __init__(self, test, app=APP, primary_region="ord", pace=0.2):
        need_root_and_fuse()
        if os.getpid() != 1:
            raise Skip("needs a PID and mount namespace of its own (tests/run.py makes one where it may)")
        if missing := [p for p in PROGRAMS if shutil.which(p) is None]:
            raise Skip("there is no " + ", no ".join(missing))
        self.test, self.app, self.primary_region, self.pace = test, app, primary_region, pace
        self.machines, self.secrets = [], {}
        self.checks = [(NODE_PORT, "/health")]
        try:
            namespaces.mount("tmpfs", test.mkdir("machines"), "tmpfs")
            _try_overlay(test.path("machines"))
            self.network = Network(self)
        except OSError as error:
            raise Skip(f"no machines can be made here: {error}") from None
        self.dns = FakeDns(test, "fdaa::3", app, lambda: [m.entry_in_dns() for m in self.machines])

    def volume(self, name=None, megabytes=64):
        return Volume(self, name or f"vol{len(self.machines) + 1}", megabytes)

    def machine(self, region="ord", image=None, volume="new", ident=None, **options):
        """A machine that is not started. volume: "new", None, or a Volume."""
        number = len(self.machines) + 1
        ident = ident or f"e784079b4400{number:02x}"
        if volume == "new":
            volume = self.volume(f"vol-{ident}")
        machine = Machine(self, ident, region, self.network_address(number), image or Image(binary()), volume, **options)
        self.machines.append(machine)
        self.test.nodes.append(machine)
        self.test.defer(machine.end)
        return machine

    def network_address(self, number):
        return f"fdaa:0:1:a7b::{number:x}"

    def run_once(self, image, argv, group="fly_app_release_command", env=None, timeout=20):
        """A machine without volume or name, as flyctl makes for a release command: (Exit, log)."""
        env = {"RELEASE_COMMAND": "1" if group == "fly_app_release_command" else None, **(env or {})}
        machine = self.machine(self.primary_region or "ord", image._replace(argv=argv), volume=None, group=group, env=env,
                               in_dns=False)
        machine.start(wait=False)
        return machine.wait_exit(timeout), machine.log(this_boot=True)

    def primaries(self):
        return [m for m in self.machines if m.is_primary()]


def _try_overlay(base):
    """Raises where a machine's root file system could not be made."""
    parts = [os.path.join(base, "try-" + name) for name in ("upper", "work", "root")]
    for part in parts:
        os.mkdir(part)
    namespaces.mount("overlay", parts[2], "overlay", data=f"lowerdir=/,upperdir={parts[0]},workdir={parts[1]}")
    namespaces.umount(parts[2])
    for part in parts:
        shutil.rmtree(part)
