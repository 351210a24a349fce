"""A volume that can lose its power: ext4 on a loop device, with lost+found as a new volume on Fly has."""
import fcntl
import os
import struct

from . import Skip, is_mounted, need_root_and_fuse, run

EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2


class Ext4Volume:
    def __init__(self, test, name="volume", megabytes=256):
        need_root_and_fuse()
        self.test, self.dir = test, test.mkdir(name)
        self.image = test.path(name + ".img")
        with open(self.image, "wb") as f:
            f.truncate(megabytes << 20)
        run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image)
        self.attach()
        test.defer(self.detach)

    def attach(self):
        done = run("mount", "-o", "loop", self.image, self.dir, check=False)
        if done.returncode != 0:
            raise Skip(f"no loop mount here: {done.stderr.strip()}")

    def detach(self):
        while is_mounted(self.dir):
            if run("umount", self.dir, check=False).returncode != 0:
                run("umount", "-l", self.dir)

    def power_loss(self):
        """What was not fsynced is gone; the file system answers EIO until attach() mounts it again."""
        fd = os.open(self.dir, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(fd)
