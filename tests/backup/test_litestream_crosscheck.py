"""Objects of src/backup read by real Litestream, and Litestream's read by src/backup, byte for byte (backup_probe drives
upload and restore without the rest of caddis)."""
import filecmp
import json
import os
import shutil
import sqlite3
import subprocess

from harness import TOP, Skip, litestream, run, test

PROBE = os.path.join(os.environ.get("CADDIS_BUILD", os.path.join(TOP, "build", "dev")), "src", "backup", "backup_probe")


def probe(*args, check=True):
    if not os.access(PROBE, os.X_OK):
        raise Skip(f"{PROBE} is not built: cmake --build --preset dev --target backup_probe")
    done = subprocess.run([PROBE, *args], capture_output=True, text=True, timeout=60)
    assert not check or done.returncode == 0, done.stderr
    return done


def versions(t, page_size, steps):
    """The database file after each transaction."""
    source, files = t.path("source.db"), []
    db = sqlite3.connect(source, isolation_level=None)
    for i, sql in enumerate([f"PRAGMA page_size={page_size}", *steps]):
        db.execute(sql)
        if i > 0:
            files.append(t.path(f"version{i}.db"))
            shutil.copy(source, files[-1])
    db.close()
    os.remove(source)
    return files


STEPS = [
    "CREATE TABLE t(id INTEGER PRIMARY KEY, v)",
    "INSERT INTO t(v) WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<400) SELECT randomblob(200) FROM c",
    "CREATE INDEX tv ON t(v)",
    "UPDATE t SET v = randomblob(100) WHERE id % 7 = 0",
    "DELETE FROM t WHERE id > 150",
    "VACUUM",
    "INSERT INTO t(v) SELECT randomblob(700) FROM t",
    "UPDATE t SET v = 'x' WHERE id = 3",
]


def litestream_reads(t, page_size, *flags):
    files = versions(t, page_size, STEPS)
    folder = t.path("target")
    position = probe("upload", folder, "app.db", *flags, *files).stdout.strip()
    url = f"file://{folder}/app.db"
    litestream("restore", "-integrity-check", "full", "-o", t.path("out.db"), url)
    assert filecmp.cmp(t.path("out.db"), files[-1], shallow=False)
    assert probe("restore", folder, "app.db", t.path("ours.db")).stdout.strip() == position
    assert filecmp.cmp(t.path("ours.db"), files[-1], shallow=False)
    listed = json.loads(litestream("ltx", "-level", "all", "-json", url).stdout)
    names = {(f["level"], f["min_txid"], f["max_txid"]) for f in listed}
    assert (9, f"{1:016x}", position[:16]) in names or any(level == 0 and top == position[:16] for level, _, top in names), names
    for name in range(1, len(files) + 1):  # every transaction is a point of its own, unless it was compacted
        txid = f"{name:016x}"
        if not any(top == txid for _, _, top in names):
            continue
        for out, command in (("ls", None), ("own", probe)):
            path = t.path(f"{out}-{txid}.db")
            if command:
                command("restore", folder, "app.db", path, txid)
            else:
                litestream("restore", "-txid", txid, "-o", path, url)
            assert filecmp.cmp(path, files[name - 1], shallow=False), (out, txid)
    return names


def test_litestream_restores_our_objects_of_all_page_sizes(t):
    for page_size in (512, 4096, 65536):
        sub = t.path(f"p{page_size}")
        os.mkdir(sub)
        original = t.path
        t.path = lambda name, sub=sub: os.path.join(sub, name)
        try:
            litestream_reads(t, page_size)
        finally:
            t.path = original


def test_litestream_restores_our_level_1(t):
    names = litestream_reads(t, 4096, "--level1")
    assert any(level == 1 for level, _, _ in names), names


def test_litestream_restores_transactions_that_were_streamed_in_parts(t):
    litestream_reads(t, 1024, "--giant")


def test_we_restore_what_litestream_wrote(t):
    source, folder = t.path("source.db"), t.mkdir("target")
    db = sqlite3.connect(source, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    for sql in STEPS:
        db.execute(sql)
        litestream("replicate", "-once", source, f"file://{folder}/app.db")
    litestream("restore", "-o", t.path("theirs.db"), f"file://{folder}/app.db")
    db.close()
    probe("restore", folder, "app.db", t.path("ours.db"))
    assert filecmp.cmp(t.path("ours.db"), t.path("theirs.db"), shallow=False)
    run("sqlite3", t.path("ours.db"), "PRAGMA integrity_check")


def test_a_damaged_object_is_named(t):
    files = versions(t, 4096, STEPS)
    folder = t.path("target")
    probe("upload", folder, "app.db", *files)
    level = os.path.join(folder, "app.db", "ltx", "9")
    name = sorted(os.listdir(level))[-1]
    with open(os.path.join(level, name), "r+b") as f:
        f.seek(200)
        f.write(b"\xff\xff")
    failed = probe("restore", folder, "app.db", t.path("x.db"), check=False)
    assert failed.returncode == 1 and not os.path.exists(t.path("x.db"))
    assert name in failed.stderr or "level" in failed.stderr, failed.stderr
