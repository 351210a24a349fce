"""The oracle: says from the files alone what a database holds, and holds caddis to it.

Nothing here uses caddis's code: the checksum and the WAL are read by oracle.c, LTX v1 by this file, LZ4 by liblz4.
"""
import ctypes
import hashlib
import os
import re
import shutil
import sqlite3
import struct
import subprocess
import tempfile
from typing import NamedTuple

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(os.path.dirname(os.path.dirname(HERE)), "build", "deps")
FLAG = 1 << 63
EMPTY_SUM = FLAG
HEADER = struct.Struct(">4sIIIQQqQqqIIQ20x")
HEADER_NAMES = "magic flags page_size commit min_txid max_txid timestamp pre wal_offset wal_size salt1 salt2 node_id".split()

_library = None


def library():
    """oracle.c as a shared library, compiled once for its content."""
    global _library
    if _library is None:
        source = os.path.join(HERE, "oracle.c")
        with open(source, "rb") as f:
            path = os.path.join(BUILD, f"oracle-{hashlib.sha256(f.read()).hexdigest()[:12]}.so")
        if not os.path.exists(path):
            os.makedirs(BUILD, exist_ok=True)
            compiler = shutil.which("clang-19") or shutil.which("cc")
            part = f"{path}.{os.getpid()}"
            subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", part, source], check=True)
            os.rename(part, path)
        _library = ctypes.CDLL(path)
        _library.oracle_crc64.restype = ctypes.c_uint64
        _library.oracle_crc64.argtypes = [ctypes.c_uint64, ctypes.c_void_p, ctypes.c_size_t]
        _library.oracle_database_sum.restype = ctypes.c_uint64
        _library.oracle_database_sum.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32]
        _library.oracle_wal_committed.restype = ctypes.c_uint64
        _library.oracle_wal_committed.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.POINTER(ctypes.c_uint32)]
    return _library


def _address(data):
    if isinstance(data, bytearray):
        return ctypes.addressof(ctypes.c_char.from_buffer(data)) if data else 0
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value


def crc64(data, crc=0):
    return library().oracle_crc64(crc, _address(data), len(data))


def page_size_of(image):
    size = struct.unpack_from(">H", image, 16)[0]
    return 65536 if size == 1 else size


def database_sum(image):
    """The rolling checksum of a whole database image; an empty one has 0x8000000000000000."""
    if not image:
        return EMPTY_SUM
    return library().oracle_database_sum(_address(image), len(image), page_size_of(image))


class Position(NamedTuple):
    txid: int
    checksum: int

    def __str__(self):
        return f"{self.txid:016x}/{self.checksum:016x}"


def parse_position(text):
    assert re.fullmatch(r"[0-9a-f]{16}/[0-9a-f]{16}\n", text), f"not a position: {text!r}"
    return Position(int(text[:16], 16), int(text[17:33], 16))


def read_position(mount, name):
    """NAME-pos; 0/0 while NAME has not yet proved to be a database (then it has no -pos)."""
    try:
        with open(os.path.join(mount, name + "-pos")) as f:
            return parse_position(f.read())
    except FileNotFoundError:
        return Position(0, 0)


def committed_image(directory):
    """What the files of one data directory, dbs/NAME, hold when nobody writes: the database with its WAL on top."""
    def content(name):
        try:
            with open(os.path.join(directory, name), "rb") as f:
                return f.read()
        except FileNotFoundError:
            return b""
    image, wal = bytearray(content("database")), content("wal")
    size = ctypes.c_uint32()
    frames = library().oracle_wal_committed(_address(wal), len(wal), ctypes.byref(size)) if wal else 0
    if frames:
        commit = 0
        for i in range(frames):
            at = 32 + i * (24 + size.value)
            pgno, pages = struct.unpack_from(">II", wal, at)
            end = pgno * size.value
            if len(image) < end:
                image.extend(bytes(end - len(image)))
            image[end - size.value:end] = wal[at + 24:at + 24 + size.value]
            commit = pages or commit
        del image[commit * size.value:]
        if len(image) < commit * size.value:
            image.extend(bytes(commit * size.value - len(image)))
    elif len(image) >= 100:
        pages, valid_for = struct.unpack_from(">I", image, 28)[0], image[24:28] == image[92:96]
        if valid_for and pages:
            del image[pages * page_size_of(image):]
    return image


class Ltx(NamedTuple):
    header: dict
    pages: list  # (pgno, data), ascending
    post: int


def _lz4_frame(data):
    lz4 = ctypes.CDLL("liblz4.so.1")
    lz4.LZ4F_decompress.restype = ctypes.c_size_t
    context = ctypes.c_void_p()
    assert not lz4.LZ4F_isError(ctypes.c_size_t(lz4.LZ4F_createDecompressionContext(ctypes.byref(context), 100)))
    out, at, chunk = bytearray(), 0, ctypes.create_string_buffer(1 << 20)
    try:
        while at < len(data):
            produced, consumed = ctypes.c_size_t(len(chunk)), ctypes.c_size_t(len(data) - at)
            hint = lz4.LZ4F_decompress(context, chunk, ctypes.byref(produced),
                                       ctypes.c_char_p(data[at:at + consumed.value]), ctypes.byref(consumed), None)
            assert not lz4.LZ4F_isError(ctypes.c_size_t(hint)), "bad LZ4 frame"
            out += chunk.raw[:produced.value]
            at += consumed.value
            if hint == 0:
                break
    finally:
        lz4.LZ4F_freeDecompressionContext(context)
    assert at == len(data), f"{len(data) - at} bytes behind the LZ4 frame"
    return bytes(out)


def decode_ltx(data):
    """One LTX v1 file as LiteFS writes it, every checksum verified."""
    header = dict(zip(HEADER_NAMES, HEADER.unpack_from(data)))
    assert header["magic"] == b"LTX1" and header["flags"] in (0, 1), header
    block, (post, file_sum) = data[100:-16], struct.unpack(">QQ", data[-16:])
    if header["flags"] & 1:
        block = _lz4_frame(block)
    assert FLAG | crc64(data[-16:-8], crc64(block, crc64(data[:100]))) == file_sum, "file checksum"
    pages, at, size = [], 0, header["page_size"]
    while True:
        pgno, = struct.unpack_from(">I", block, at)
        if pgno == 0:
            break
        pages.append((pgno, block[at + 4:at + 4 + size]))
        at += 4 + size
    assert at + 4 == len(block), "bytes behind the end marker"
    numbers = [p for p, _ in pages]
    lock_page = 0x40000000 // size + 1
    assert numbers == sorted(set(numbers)) and lock_page not in numbers, numbers
    assert not numbers or numbers[-1] <= header["commit"], "page beyond the commit size"
    if header["min_txid"] == 1:
        assert header["pre"] == 0 and numbers == [p for p in range(1, header["commit"] + 1) if p != lock_page], "snapshot"
    return Ltx(header, pages, post)


def ltx_names(directory):
    return sorted(n for n in os.listdir(os.path.join(directory, "ltx")) if re.fullmatch(r"[0-9a-f]{16}-[0-9a-f]{16}\.ltx", n))


def replay_log(directory):
    """Replays dbs/NAME/ltx from its snapshot on. Returns (image, Position); every link of the chain is checked."""
    image, position = bytearray(), Position(0, 0)
    for name in ltx_names(directory):
        with open(os.path.join(directory, "ltx", name), "rb") as f:
            ltx = decode_ltx(f.read())
        header = ltx.header
        assert name == f"{header['min_txid']:016x}-{header['max_txid']:016x}.ltx", (name, header)
        if header["min_txid"] != 1:
            assert header["min_txid"] == position.txid + 1, f"{name} follows {position}"
            assert header["pre"] == position.checksum, f"{name}: pre-apply {header['pre']:016x} follows {position}"
        else:
            image = bytearray()
        size, length = header["page_size"], header["commit"] * header["page_size"]
        if len(image) < length:
            image.extend(bytes(length - len(image)))
        for pgno, page in ltx.pages:
            image[(pgno - 1) * size:pgno * size] = page
        del image[length:]
        position = Position(header["max_txid"], ltx.post)
    return image, position


def _difference(a, b):
    if len(a) != len(b):
        return f"{len(a)} and {len(b)} bytes"
    at = next(i for i in range(len(a)) if a[i] != b[i])
    return f"first different byte at {at}"


def integrity_check(image):
    """SQLite's own verdict over an image."""
    if not image:
        return
    with tempfile.NamedTemporaryFile(prefix="caddis-oracle-") as f:
        f.write(image)
        f.flush()
        db = sqlite3.connect(f"file:{f.name}?immutable=1", uri=True)
        verdict = db.execute("PRAGMA integrity_check").fetchall()
        db.close()
    assert verdict == [("ok",)], verdict[:5]


def check_database(node, name, txid=None, integrity=True, log=True):
    """All that must hold between transactions. Returns the position."""
    position = read_position(node.mount, name)
    directory = os.path.join(node.data, "dbs", name)
    image = committed_image(directory)
    if txid is not None:
        assert position.txid == txid, f"{name}: TXID {position.txid}, expected {txid}"
    actual = database_sum(image)
    assert position.checksum == actual or (not image and position.checksum in (0, EMPTY_SUM)), \
        f"{name}: position {position}, recomputed checksum {actual:016x} over {len(image)} bytes"
    if log:
        from . import wait_until  # the log may follow the commit by its fdatasync
        wait_until(lambda: not position.txid or replay_position(directory).txid >= position.txid, 10,
                   f"{name}: the log to reach {position}")
        replayed, at = replay_log(directory)
        assert at == position, f"{name}: position {position}, the log ends at {at}"
        size = page_size_of(image) if image else 4096
        lock = (0x40000000 // size) * size
        if len(image) > lock:  # the lock page is in no LTX
            image[lock:lock + size] = bytes(size)
            replayed[lock:lock + size] = bytes(size)
        assert replayed == image, f"{name}: the replayed log differs from the database: {_difference(replayed, image)}"
    if integrity:
        integrity_check(image)
    return position


def replay_position(directory):
    """The end of the log by its file names alone."""
    names = ltx_names(directory) if os.path.isdir(os.path.join(directory, "ltx")) else []
    return Position(int(names[-1][17:33], 16), 0) if names else Position(0, 0)
