"""Every way SQLite commits becomes exactly one transaction in the log, and the log replays to the same bytes.

After each case the oracle (harness/oracle.py) recomputes the checksum, replays the LTX files and runs integrity_check."""
import contextlib
import os
import sqlite3

from harness import Node, Skip, check_database, read_position, run, test, wait_until

PAGE_SIZES = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
SYNCHRONOUS = ("off", "normal", "full", "extra")
ROLLBACK = ("delete", "truncate", "persist")


class Counted:
    """A connection whose every write is expected to move the TXID by one."""

    def __init__(self, node, name, journal="delete", page_size=4096, synchronous="normal", **options):
        self.node, self.name = node, name
        self.db = node.db(name, **options)
        self.db.execute(f"PRAGMA page_size={page_size}")
        self.db.execute(f"PRAGMA synchronous={synchronous}")
        self.journal = self.db.execute(f"PRAGMA journal_mode={journal}").fetchone()[0]
        assert self.journal == journal, f"{name}: journal_mode={journal} gave {self.journal}"

    def txid(self):
        return read_position(self.node.mount, self.name).txid

    def write(self, *statements, adds=1):
        """The statements make `adds` transactions together; None: any number."""
        before = self.txid()
        for statement in statements:
            self.db.execute(statement)
        after = self.txid()
        assert adds is None or after == before + adds, f"{self.name}: {statements}: TXID {before} -> {after}, expected +{adds}"

    def check(self, **options):
        return check_database(self.node, self.name, **options)

    def close(self, **options):
        self.db.close()
        return check_database(self.node, self.name, **options)


FILL = "INSERT INTO t(v) WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<{n}) SELECT randomblob({size}) FROM c"


def fill(rows, size=400):
    return FILL.format(n=rows, size=size)


def ordinary_transactions(c):
    c.write("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    for _ in range(3):
        c.write("INSERT INTO t(v) VALUES(randomblob(100))")
    c.write("BEGIN", fill(40), "CREATE INDEX i ON t(v)", "COMMIT")
    c.write("BEGIN", "DELETE FROM t", "ROLLBACK", adds=0)
    c.write("UPDATE t SET v = randomblob(30) WHERE id % 3 = 0")
    c.write("BEGIN", "SAVEPOINT s", "DELETE FROM t WHERE id > 5", "ROLLBACK TO s", "DELETE FROM t WHERE id = 2", "COMMIT")
    c.write("DROP INDEX i")
    c.write("SELECT count(*) FROM t", adds=0)


def every_combination(t, journal):
    node = Node(t).start()
    for page_size in PAGE_SIZES:
        for synchronous in SYNCHRONOUS:
            c = Counted(node, f"{journal}-{page_size}-{synchronous}.db", journal, page_size, synchronous)
            ordinary_transactions(c)
            open_position = c.check()
            assert c.close() == open_position, "closing the connection made a transaction"
    assert node.stop() == 0


@test(timeout=120)
def test_delete_journals_with_every_page_size_and_synchronous(t):
    every_combination(t, "delete")


@test(timeout=120)
def test_truncate_journals_with_every_page_size_and_synchronous(t):
    every_combination(t, "truncate")


@test(timeout=120)
def test_persist_journals_with_every_page_size_and_synchronous(t):
    every_combination(t, "persist")


@test(timeout=120)
def test_wal_with_every_page_size_and_synchronous(t):
    every_combination(t, "wal")


@test(timeout=120)
def test_memory_and_off_journals_are_captured_with_every_page_size(t):
    """They have no commit event, so transactions that follow each other closely may become one."""
    node = Node(t).start()
    for journal in ("memory", "off"):
        for page_size in PAGE_SIZES:
            name = f"{journal}-{page_size}.db"
            c = Counted(node, name, journal, page_size)
            for statement in ("CREATE TABLE t(id INTEGER PRIMARY KEY, v)", fill(30), "DELETE FROM t WHERE id % 2", "VACUUM"):
                before = c.txid()
                c.db.execute(statement)
                wait_until(lambda: c.txid() > before, 5, f"{name}: {statement} to be captured")
                c.check()
            c.close()
    assert node.stop() == 0


def test_vacuum_in_wal_mode_may_shrink_across_256_pages(t):
    node = Node(t).start()
    c = Counted(node, "app.db", "wal", 4096)
    c.write("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    c.write(fill(3000, 1500))
    c.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    c.write("DELETE FROM t WHERE id > 100")
    c.write("VACUUM")
    c.write("INSERT INTO t(v) VALUES('after')")
    position = c.check()
    c.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert c.check() == position, "a checkpoint is no transaction"
    c.close()
    assert node.stop() == 0
    node.start()
    assert node.sql("app.db", "SELECT count(*) FROM t") == [(101,)]
    assert check_database(node, "app.db") == position


def test_auto_vacuum_full_with_a_large_delete(t):
    node = Node(t).start()
    for journal in ("wal", "delete"):
        c = Counted(node, journal + ".db", "delete")
        c.db.execute("PRAGMA auto_vacuum=FULL")
        c.write("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
        c.db.execute(f"PRAGMA journal_mode={journal}")
        c.write(fill(2000, 1000))
        c.write("DELETE FROM t WHERE id > 10")
        c.write(fill(500, 1000))
        c.check()
        c.write("DELETE FROM t")
        c.close()
    assert node.stop() == 0


def test_incremental_vacuum(t):
    node = Node(t).start()
    for journal in ("wal", "delete"):
        c = Counted(node, journal + ".db")
        c.db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        c.write("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
        c.db.execute(f"PRAGMA journal_mode={journal}")
        c.write(fill(500, 1000))
        c.write("DELETE FROM t WHERE id > 10")
        before = c.txid()
        c.db.execute("PRAGMA incremental_vacuum(50)").fetchall()
        assert c.txid() == before + 1
        c.close()


def test_a_new_page_size_by_vacuum(t):
    node = Node(t).start()
    for old in (512, 1024):
        c = Counted(node, f"from{old}.db", "delete", old)
        c.write("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
        c.write(fill(200))
        for new in (4096, 512, 65536, 1024):
            c.db.execute(f"PRAGMA page_size={new}")
            c.write("VACUUM")
            assert c.db.execute("PRAGMA page_size").fetchone() == (new,)
            c.check()
            c.write("INSERT INTO t(v) VALUES('more')")
        c.close()
    assert node.stop() == 0
    node.start()
    assert node.sql("from512.db", "SELECT count(*) FROM t") == [(204,)]
    check_database(node, "from512.db")


def test_a_cache_that_spills_is_still_one_transaction(t):
    node = Node(t).start()
    for journal in ROLLBACK + ("wal",):
        c = Counted(node, journal + ".db", journal)
        c.db.execute("PRAGMA cache_size=10")
        c.write("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
        c.write("BEGIN", fill(1000), fill(1000), "UPDATE t SET v = randomblob(500) WHERE id % 7 = 0", "COMMIT")
        c.check()
        c.write("BEGIN", fill(1000), "UPDATE t SET v = randomblob(300)", "ROLLBACK", adds=0)
        c.close()


WRITER = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size=5")
db.execute("BEGIN")
db.execute("UPDATE t SET v = randomblob(600)")
db.execute("INSERT INTO t(v) SELECT randomblob(500) FROM t")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_writer_leaves_no_transaction(t):
    """Rollback journals: the next reader rolls the hot journal back. WAL: the frames have no commit."""
    node = Node(t).start()
    for journal in ROLLBACK + ("wal",):
        name = journal + ".db"
        c = Counted(node, name, journal)
        c.write("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
        c.write(fill(1000))
        position = c.close()
        sum_before = node.sql(name, "SELECT sum(length(v)), count(*) FROM t")
        run("python3", "-c", WRITER, os.path.join(node.mount, name), check=False)
        assert node.sql(name, "SELECT sum(length(v)), count(*) FROM t") == sum_before
        assert check_database(node, name).checksum == position.checksum, journal
        node.sql(name, "INSERT INTO t(v) VALUES('after')")
        check_database(node, name)


def test_a_hot_journal_at_boot_is_rolled_back(t):
    node = Node(t).start()
    for journal in ("delete", "wal"):
        c = Counted(node, journal + ".db", journal)
        c.write("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
        c.write(fill(1000))
        c.close()
    positions = {}
    for journal in ("delete", "wal"):
        positions[journal] = read_position(node.mount, journal + ".db")
        run("python3", "-c", WRITER, os.path.join(node.mount, journal + ".db"), check=False)
    node.kill9()
    node.start()
    for journal in ("delete", "wal"):
        assert node.sql(journal + ".db", "SELECT count(*) FROM t") == [(1000,)]
        assert check_database(node, journal + ".db").checksum == positions[journal].checksum


def test_journal_modes_change_in_every_direction(t):
    node = Node(t).start()
    c = Counted(node, "app.db", "delete")
    c.write("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    modes = ("wal", "delete", "wal", "truncate", "persist", "wal", "persist", "delete", "truncate", "wal", "memory", "wal",
             "off", "wal", "delete")
    for mode in modes:
        assert c.db.execute(f"PRAGMA journal_mode={mode}").fetchone() == (mode,)
        c.check()
        before = c.txid()
        c.db.execute("INSERT INTO t(v) VALUES(randomblob(2000))")
        wait_until(lambda: c.txid() > before, 5, f"{mode}: the insert to be captured")
        c.check()
    c.close()
    assert node.stop() == 0
    node.start()
    assert node.sql("app.db", "SELECT count(*) FROM t") == [(len(modes),)]


def test_attached_databases_commit_together(t):
    """Rollback journals use a super-journal, a plain file on the mount."""
    node = Node(t).start()
    for journal in ROLLBACK + ("wal",):
        a, b = (Counted(node, f"{x}-{journal}.db", journal) for x in "ab")
        for c in (a, b):
            c.write("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
        a.db.execute("ATTACH ? AS b", (os.path.join(node.mount, b.name),))
        for _ in range(5):
            before = b.txid()
            a.write("BEGIN", "INSERT INTO main.t(v) VALUES(randomblob(900))", "INSERT INTO b.t(v) VALUES(randomblob(900))", "COMMIT")
            assert b.txid() == before + 1
        a.write("BEGIN", "INSERT INTO main.t(v) VALUES(1)", "INSERT INTO b.t(v) VALUES(1)", "ROLLBACK", adds=0)
        a.close()
        b.close()
    left = [n for n in os.listdir(node.mount) if "-mj" in n]
    assert not left, left
    assert not [n for n in os.listdir(os.path.join(node.data, "dbs")) if "-mj" in n]


def test_exclusive_locking_mode(t):
    """WAL with a -shm (entered after the first access) and without (entered before), and rollback journals."""
    node = Node(t).start()
    c = Counted(node, "shm.db", "wal")
    c.write("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    c.db.execute("PRAGMA locking_mode=EXCLUSIVE")
    for _ in range(5):
        c.write("INSERT INTO t(v) VALUES(randomblob(500))")
    c.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    c.write(fill(300))
    c.close()
    heap = node.db("heap.db")
    heap.execute("PRAGMA locking_mode=EXCLUSIVE")
    heap.execute("PRAGMA journal_mode=WAL")
    heap.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    for _ in range(20):
        heap.execute("INSERT INTO t(v) VALUES(randomblob(500))")
    heap.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    heap.execute(fill(300))
    assert not os.path.exists(os.path.join(node.mount, "heap.db-shm"))
    heap.close()
    check_database(node, "heap.db")
    assert node.sql("heap.db", "SELECT count(*) FROM t") == [(320,)]
    for journal in ROLLBACK:
        c = Counted(node, journal + ".db", journal)
        c.db.execute("PRAGMA locking_mode=EXCLUSIVE")
        c.write("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
        for _ in range(5):
            c.write("INSERT INTO t(v) VALUES(randomblob(500))")
        c.close()
    assert node.stop() == 0


def test_checkpoints_of_all_four_kinds_lose_nothing(t):
    node = Node(t).start()
    c = Counted(node, "app.db", "wal")
    c.db.execute("PRAGMA wal_autocheckpoint=0")
    c.write("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    reader = node.db("app.db")
    for round in range(3):
        for kind in ("PASSIVE", "FULL", "RESTART", "TRUNCATE"):
            if round == 1:
                reader.execute("SELECT count(*) FROM t").fetchall()
            for _ in range(20):
                c.write("INSERT INTO t(v) VALUES(randomblob(700))")
            position = c.check()
            busy, _, _ = c.db.execute(f"PRAGMA wal_checkpoint({kind})").fetchone()
            assert not busy, kind
            assert c.check() == position
    reader.close()
    c.close()
    assert node.sql("app.db", "SELECT count(*) FROM t") == [(240,)]


def test_many_small_commits_with_automatic_checkpoints(t):
    node = Node(t).start()
    c = Counted(node, "app.db", "wal", synchronous="off")
    c.db.execute("PRAGMA wal_autocheckpoint=20")
    c.write("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    before = c.txid()
    for _ in range(3000):
        c.db.execute("INSERT INTO t(v) VALUES(randomblob(300))")
    assert c.txid() == before + 3000
    c.close()


def test_several_writers_at_once(t):
    node = Node(t).start()
    script = ("import sqlite3,sys\ndb=sqlite3.connect(sys.argv[1],isolation_level=None,timeout=60)\n"
              "for i in range(150): db.execute('INSERT INTO t(v) VALUES(randomblob(200))')\n")
    for journal in ("wal", "delete"):
        c = Counted(node, journal + ".db", journal)
        c.write("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
        before = c.txid()
        writers = [t.spawn("python3", "-c", script, os.path.join(node.mount, c.name)) for _ in range(4)]
        assert [w.wait(60) for w in writers] == [0] * 4
        assert c.txid() == before + 600
        assert c.db.execute("SELECT count(*) FROM t").fetchone() == (600,)
        c.close()


def test_the_last_close_and_the_next_open(t):
    node = Node(t).start()
    for round in range(10):
        c = Counted(node, "app.db", "wal")
        c.write("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v)", adds=1 if round == 0 else 0)
        c.write("INSERT INTO t(v) VALUES(randomblob(300))")
        c.close()
        assert not os.path.exists(os.path.join(node.mount, "app.db-wal"))


def test_delete_and_recreate_with_another_page_size(t):
    node = Node(t).start()
    last = 0
    for page_size, journal in ((4096, "wal"), (512, "delete"), (65536, "wal"), (1024, "persist")):
        c = Counted(node, "app.db", journal, page_size)
        c.write("CREATE TABLE t(id INTEGER PRIMARY KEY, v)", adds=None)  # a dropped database has no -pos to compare with
        c.write(fill(50))
        position = c.close(log=False)
        assert position.txid > last, "the TXID goes on when the same name is created again"
        last = position.txid
        for suffix in ("-journal", "-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(node.mount, "app.db" + suffix))
        assert "app.db" not in os.listdir(node.mount)
    c = Counted(node, "app.db", "wal", 4096)
    c.write("CREATE TABLE t(id INTEGER PRIMARY KEY, v)", adds=None)
    c.close()
    assert node.stop() == 0
    node.start()
    check_database(node, "app.db")


def test_a_database_copied_in_with_cp_becomes_a_transaction(t):
    node = Node(t).start()
    for journal in ("delete", "wal"):
        source = t.path(f"source-{journal}.db")
        db = sqlite3.connect(source, isolation_level=None)
        db.execute(f"PRAGMA journal_mode={journal}")
        db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
        db.execute(fill(500))
        db.close()
        name = f"copied-{journal}.db"
        run("cp", source, os.path.join(node.mount, name))
        wait_until(lambda: os.path.exists(os.path.join(node.mount, name + "-pos")) and
                   read_position(node.mount, name).txid == 1, 5, f"{name} to be taken in")
        check_database(node, name, txid=1)
        node.sql(name, "INSERT INTO t(v) VALUES('after')")
        check_database(node, name, txid=2)
        assert node.sql(name, "SELECT count(*) FROM t") == [(501,)]


def test_ten_databases_side_by_side(t):
    node = Node(t).start()
    connections = [Counted(node, f"db{i}", "wal" if i % 2 else "delete") for i in range(10)]
    for c in connections:
        c.write("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    for _ in range(10):
        for c in connections:
            c.write("INSERT INTO t(v) VALUES(randomblob(100))")
    for c in connections:
        c.close()
    listed = [n for n in os.listdir(node.mount) if n.startswith("db") and "-" not in n]
    assert sorted(listed) == sorted(c.name for c in connections)


def test_the_sqlite3_program_works_on_the_mount(t):
    node = Node(t).start()
    path = os.path.join(node.mount, "app.db")
    for mode in ("wal", "delete"):
        assert run("sqlite3", path, f"PRAGMA journal_mode={mode}").stdout.strip() == mode
        run("sqlite3", path, "CREATE TABLE IF NOT EXISTS t(a); INSERT INTO t VALUES(1),(2); DELETE FROM t WHERE a=1; VACUUM")
        check_database(node, "app.db")
    assert run("sqlite3", path, "SELECT count(*) FROM t").stdout == "2\n"
    assert run("sqlite3", path, f".backup {t.path('copy.db')}").returncode == 0
    assert run("sqlite3", path, f".restore {t.path('copy.db')}").returncode == 0
    check_database(node, "app.db")


@test(timeout=180, alone=True)
def test_a_database_grows_past_the_lock_page_at_1_gib(t):
    with open("/proc/meminfo") as f:
        free_kib = next(int(line.split()[1]) for line in f if line.startswith("MemAvailable"))
    if free_kib < 5 << 20:
        raise Skip(f"needs 5 GiB of memory for the oracle, {free_kib >> 10} MiB are available")
    node = Node(t, config={"data": {"compress": True}}).start()
    c = Counted(node, "big.db", "delete", 65536, "off")
    c.write("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    c.write("BEGIN", "INSERT INTO t(v) VALUES(zeroblob(535000000))", "INSERT INTO t(v) VALUES(zeroblob(535000000))", "COMMIT")
    assert os.path.getsize(os.path.join(node.mount, "big.db")) > (1 << 30) - (1 << 24)
    c.write("INSERT INTO t(v) VALUES(zeroblob(20000000))")
    for _ in range(3):
        c.write("INSERT INTO t(v) VALUES(randomblob(100000))")
    assert os.path.getsize(os.path.join(node.mount, "big.db")) > 1 << 30
    assert c.db.execute("PRAGMA journal_mode=wal").fetchone() == ("wal",)
    c.write("INSERT INTO t(v) VALUES(randomblob(300000))")
    c.write("UPDATE t SET v = 'x' WHERE id = 3")
    c.close(integrity=False)
    assert node.stop(timeout=30) == 0
