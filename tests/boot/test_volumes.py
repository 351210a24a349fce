"""What a volume may hold when caddis starts, and what becomes of it. Data is never deleted and never silently lost."""
import os
import shutil
import sqlite3
import tarfile

from harness import TESTDATA, Node, Skip, check_database, oracle_library, parse_position, read_position, run, test
from harness.oracle import decode_ltx, ltx_names

ROWS = 40


def make_volume(t, journal="wal", rows=ROWS):
    """A node that ran and stopped; its data directory is the volume."""
    node = Node(t).start()
    node.sql("app.db", f"PRAGMA journal_mode={journal}", "CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    for i in range(rows):
        node.sql("app.db", f"INSERT INTO t(v) VALUES(printf('row %d', {i}))")
    assert node.stop() == 0
    return node


def rows(node, name="app.db"):
    return node.sql(name, "SELECT count(*) FROM t")[0][0]


def db_dir(node, name="app.db"):
    return os.path.join(node.data, "dbs", name)


def test_a_restart_keeps_position_and_rows(t):
    for journal in ("wal", "delete"):
        node = make_volume(t, journal)
        node.start()
        position = read_position(node.mount, "app.db")
        assert rows(node) == ROWS
        assert check_database(node, "app.db") == position
        node.sql("app.db", "INSERT INTO t(v) VALUES('more')")
        check_database(node, "app.db", txid=position.txid + 1)
        assert node.stop() == 0
        shutil.rmtree(node.data)


def test_lost_and_found_is_ignored(t):
    node = Node(t)
    os.makedirs(os.path.join(node.data, "lost+found"))
    os.makedirs(os.path.join(node.data, "dbs", "lost+found"))
    node.start()
    assert "lost+found" not in os.listdir(node.mount)
    node.sql("app.db", "CREATE TABLE t(x)")
    check_database(node, "app.db", txid=1)
    assert node.stop() == 0
    node.start()
    check_database(node, "app.db", txid=1)
    assert os.path.isdir(os.path.join(node.data, "lost+found"))


def test_a_zero_length_database_is_usable(t):
    node = Node(t)
    os.makedirs(db_dir(node))
    open(os.path.join(db_dir(node), "database"), "w").close()
    node.start()
    node.sql("app.db", "CREATE TABLE t(x)")
    check_database(node, "app.db", txid=1)


def test_a_plain_sqlite_file_is_adopted_as_transaction_1(t):
    for journal in ("delete", "wal"):
        node = Node(t, name="adopts-" + journal)
        os.makedirs(db_dir(node))
        db = sqlite3.connect(os.path.join(db_dir(node), "database"))
        db.execute(f"PRAGMA journal_mode={journal}")
        db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
        db.executemany("INSERT INTO t(v) VALUES(?)", [(str(i),) for i in range(ROWS)])
        db.commit()
        db.close()
        node.start()
        check_database(node, "app.db", txid=1)
        assert rows(node) == ROWS
        node.sql("app.db", "INSERT INTO t(v) VALUES('more')")
        check_database(node, "app.db", txid=2)


def test_a_file_that_is_no_database_is_set_aside_and_kept(t):
    node = Node(t)
    os.makedirs(db_dir(node, "junk.db"))
    junk = os.urandom(9000)
    with open(os.path.join(db_dir(node, "junk.db"), "database"), "wb") as f:
        f.write(junk)
    node.start()
    node.sql("app.db", "CREATE TABLE t(x)")
    kept = []
    for folder, _, files in os.walk(node.data):
        for file in files:
            with open(os.path.join(folder, file), "rb") as f:
                if f.read() == junk:
                    kept.append(os.path.join(folder, file))
    assert kept, "the junk is gone"
    assert "junk.db" in node.log()
    assert "junk.db" not in os.listdir(node.mount)


def test_a_loose_file_on_the_volume_is_left_alone(t):
    node = Node(t)
    os.makedirs(node.data)
    loose = os.path.join(node.data, "loose.db")
    db = sqlite3.connect(loose)
    db.execute("CREATE TABLE t(x)")
    db.close()
    node.start()
    assert "loose.db" not in os.listdir(node.mount)
    assert node.stop() == 0
    assert os.path.exists(loose)


def goes_on_with_all_rows(node):
    """The log has a hole, the database has not: position and content agree, and the next commit counts on."""
    node.start()
    assert rows(node) == ROWS
    before = check_database(node, "app.db", log=False)
    node.sql("app.db", "INSERT INTO t(v) VALUES('more')")
    check_database(node, "app.db", txid=before.txid + 1, log=False)
    assert node.stop() == 0
    node.start()
    assert rows(node) == ROWS + 1
    check_database(node, "app.db", txid=before.txid + 1, log=False)


def test_the_log_is_gone(t):
    node = make_volume(t)
    for name in ltx_names(db_dir(node)):
        os.unlink(os.path.join(db_dir(node), "ltx", name))
    goes_on_with_all_rows(node)


def test_the_newest_log_file_is_gone(t):
    """The database holds one transaction more than the log: it must not go silently back."""
    node = make_volume(t)
    os.unlink(os.path.join(db_dir(node), "ltx", ltx_names(db_dir(node))[-1]))
    goes_on_with_all_rows(node)


def test_the_newest_log_file_is_cut_in_half(t):
    node = make_volume(t)
    newest = os.path.join(db_dir(node), "ltx", ltx_names(db_dir(node))[-1])
    os.truncate(newest, os.path.getsize(newest) // 2)
    goes_on_with_all_rows(node)


def test_a_truncated_database_is_repaired_from_the_log(t):
    node = make_volume(t, rows=3)
    database = os.path.join(db_dir(node), "database")
    os.truncate(database, os.path.getsize(database) - 4096)
    node.start()
    assert rows(node) == 3
    check_database(node, "app.db")


def test_a_missing_database_is_rebuilt_from_the_log(t):
    node = make_volume(t)
    os.unlink(os.path.join(db_dir(node), "database"))
    node.start()
    assert rows(node) == ROWS
    check_database(node, "app.db")


def test_leftovers_of_a_crash_are_removed_or_ignored(t):
    node = make_volume(t)
    ltx = os.path.join(db_dir(node), "ltx")
    for name in ("0000000000000099-0000000000000099.ltx.tmp", "x.ltx.123.tmp"):
        with open(os.path.join(ltx, name), "wb") as f:
            f.write(b"half")
    node.start()
    assert rows(node) == ROWS
    check_database(node, "app.db")


def litefs_volume(t, node):
    archive = os.path.join(TESTDATA, "litefs", "volume.tar")
    if not os.path.exists(archive):
        raise Skip("tests/testdata/litefs/volume.tar is not there")
    os.makedirs(node.data)
    with tarfile.open(archive) as tar:
        tar.extractall(node.data)


def test_a_volume_of_litefs_is_taken_over(t):
    node = Node(t)
    litefs_volume(t, node)
    with open(os.path.join(node.data, "clusterid")) as f:
        cluster = f.read()
    node.start()
    for name in ("wal.db", "del.db"):
        with open(os.path.join(TESTDATA, "litefs", name + "-pos")) as f:
            expected = parse_position(f.read())
        assert check_database(node, name) == expected
        path = os.path.join(node.mount, name)
        with open(os.path.join(TESTDATA, "litefs", name + ".sql")) as f:
            assert run("sqlite3", path, ".dump").stdout.strip() == f.read().strip()
        node.sql(name, "CREATE TABLE added(x)")
        check_database(node, name, txid=expected.txid + 1)
    assert node.stop() == 0
    with open(os.path.join(node.data, "clusterid")) as f:
        assert f.read() == cluster
    # the way back: only what LiteFS knows in dbs/, and its newest file decodes as LiteFS's own format
    for name in ("wal.db", "del.db"):
        entries = set(os.listdir(db_dir(node, name)))
        assert entries <= {"database", "journal", "wal", "shm", "ltx"}, entries
        with open(os.path.join(db_dir(node, name), "ltx", ltx_names(db_dir(node, name))[-1]), "rb") as f:
            decode_ltx(f.read())
    oracle_library()


@test(timeout=120, alone=True)
def test_boot_time_does_not_grow_with_the_database(t):
    node = Node(t).start()
    node.sql("app.db", "PRAGMA journal_mode=WAL", "PRAGMA synchronous=OFF", "CREATE TABLE t(id INTEGER PRIMARY KEY, v)",
             "INSERT INTO t(v) VALUES(zeroblob(300000000))", "PRAGMA wal_checkpoint(TRUNCATE)")
    assert node.stop() == 0
    run("sync")

    def read_bytes():
        with open(f"/proc/{node.pid}/io") as f:
            return dict((k, int(v)) for k, v in (line.split(": ") for line in f))["rchar"]
    node.start()
    assert read_bytes() < 60 << 20, f"{read_bytes()} bytes read at boot of a 300 MB database"
    assert rows(node) == 1
