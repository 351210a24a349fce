"""The system calls Python 3.11 has no names for."""
import ctypes
import fcntl
import os
import stat
import struct

_libc = ctypes.CDLL(None, use_errno=True)

NEWNS, NEWUTS, NEWPID, NEWNET = 0x00020000, 0x04000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MS_RELATIME = (
    1, 2, 4, 32, 4096, 16384, 1 << 18, 1 << 21)
MNT_DETACH = 2
_LOOP_GET_FREE, _LOOP_CONFIGURE, _LOOP_SET_CAPACITY, _LOOP_AUTOCLEAR = 0x4C82, 0x4C0A, 0x4C07, 4


def _check(result, what):
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def unshare(flags):
    _check(_libc.unshare(flags), "unshare")


def mount(source, target, kind=None, flags=0, data=None):
    args = [None if a is None else os.fsencode(a) for a in (source, target, kind)]
    _check(_libc.mount(*args, ctypes.c_ulong(flags), None if data is None else os.fsencode(data)),
           f"mount {source} on {target}")


def umount(target, flags=0):
    _check(_libc.umount2(os.fsencode(target), flags), f"umount {target}")


def pivot_root(new, old):
    _check(_libc.syscall(155 if os.uname().machine == "x86_64" else 41, os.fsencode(new), os.fsencode(old)), "pivot_root")


def set_hostname(name):
    raw = os.fsencode(name)
    _check(_libc.sethostname(raw, len(raw)), "sethostname")


def die_with_parent(signum):
    _check(_libc.prctl(1, signum, 0, 0, 0), "PR_SET_PDEATHSIG")


def attach_loop(image, node):
    """A free loop device over the file, as a device node at `node`; freed by the kernel when its last user has gone."""
    os.mknod(node + "-control", stat.S_IFCHR | 0o600, os.makedev(10, 237))  # /dev may be a machine's own
    control = os.open(node + "-control", os.O_RDWR)
    os.unlink(node + "-control")
    backing = os.open(image, os.O_RDWR)
    try:
        for _ in range(100):
            number = fcntl.ioctl(control, _LOOP_GET_FREE)
            os.mknod(node, stat.S_IFBLK | 0o600, os.makedev(7, number))
            device = os.open(node, os.O_RDWR)
            try:
                fcntl.ioctl(device, _LOOP_CONFIGURE, struct.pack("II52xI", backing, 0, _LOOP_AUTOCLEAR).ljust(304, b"\0"))
                return device  # to be closed after the mount: the device lives until then
            except OSError:  # another test took it in between
                os.close(device)
                os.unlink(node)
        raise OSError("no free loop device")
    finally:
        os.close(control)
        os.close(backing)


def grow_loop(node):
    """The device takes its file's new size."""
    device = os.open(node, os.O_RDWR)
    try:
        fcntl.ioctl(device, _LOOP_SET_CAPACITY)
    finally:
        os.close(device)
