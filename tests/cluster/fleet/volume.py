"""A Fly volume: an ext4 image with lost+found, one machine's at a time."""
import contextlib
import fcntl
import os
import struct

from harness import Skip, run
from harness.volume import EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH

from . import namespaces as ns


class Volume:
    def __init__(self, fleet, name, megabytes=64, image_of=None):
        self.fleet, self.name = fleet, name
        self.image = fleet.test.path(f"{name}.img")
        self.machine = None  # whose it is while that runs
        if image_of is None:
            with open(self.image, "wb") as f:
                f.truncate(megabytes << 20)
            run("mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1", self.image)
        else:
            run("cp", "--sparse=always", image_of, self.image)

    def fork(self, name):
        """A new volume with the same content, as `fly volume fork` or a restored snapshot: what reached the disk."""
        if self.machine is not None and self.machine.pid:
            run("sync", "-f", self.machine.outside(self.machine.volume_at))
        return Volume(self.fleet, name, image_of=self.image)

    def extend(self, megabytes):
        """Online when its machine runs (Skip where that is not allowed)."""
        os.truncate(self.image, os.path.getsize(self.image) + (megabytes << 20))
        if self.machine is not None and self.machine.pid:
            ns.grow_loop(self.machine.outside("/dev/vdb"))
            done = self.machine.exec("resize2fs", "/dev/vdb", check=False)
            if "Permission denied" in done.stderr:
                raise Skip("a mounted file system can be resized with CAP_SYS_RESOURCE only")
            assert done.returncode == 0, done.stderr
        else:
            run("e2fsck", "-fp", self.image, check=False)
            run("resize2fs", self.image)

    def destroy(self):
        """Its machine gets a new, empty one at the next start."""
        assert self.machine is None or not self.machine.pid, "the volume is in use"
        size = os.path.getsize(self.image)
        os.unlink(self.image)
        self.__init__(self.fleet, self.name, size >> 20)

    @contextlib.contextmanager
    def mounted(self):
        """The files of a volume whose machine is down, as a directory."""
        assert self.machine is None or not self.machine.pid, "the volume is in use"
        point = self.fleet.test.mkdir(f"look-{self.name}")
        node = point + ".dev"
        device = ns.attach_loop(self.image, node)
        try:
            ns.mount(node, point, "ext4", ns.MS_RELATIME)
        finally:
            os.close(device)
            os.unlink(node)
        try:
            yield point
        finally:
            ns.umount(point)


def lose_power(directory):
    """What was not synced is gone: the file system behind `directory` stops without writing its log."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
    finally:
        os.close(fd)
