"""The mount as a directory: other files, users, roles, dead predecessors."""
import os
import sqlite3
import stat
import time

from harness import Node, check_database, is_mounted, read_position, run, signal, test, wait_until
from harness import quietly  # noqa: F401

INDEX_SCRIPT = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA temp_store=FILE"); db.execute("PRAGMA cache_size=20")
db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
db.execute("INSERT INTO t(v) WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<20000) SELECT randomblob(100) FROM c")
db.execute("CREATE INDEX i ON t(v)")
db.execute("CREATE TEMP TABLE x AS SELECT * FROM t ORDER BY v DESC")
"""


def test_sqlite_may_put_its_temp_files_on_the_mount(t):
    node = Node(t).start()
    run("python3", "-c", INDEX_SCRIPT, os.path.join(node.mount, "app.db"), env=dict(os.environ, SQLITE_TMPDIR=node.mount))
    check_database(node, "app.db")
    assert os.listdir(os.path.join(node.data, "dbs")) == ["app.db"]
    assert not [n for n in os.listdir(node.mount) if n.startswith("etilqs")]


def test_plain_files_work_and_are_no_databases(t):
    node = Node(t).start()
    plain = os.path.join(node.mount, "notes.txt")
    with open(plain, "w") as f:
        f.write("hello")
    os.rename(plain, plain + ".old")
    with open(plain + ".old") as f:
        assert f.read() == "hello"
    assert "notes.txt.old" in os.listdir(node.mount)
    assert os.listdir(os.path.join(node.data, "dbs")) == []
    os.unlink(plain + ".old")
    try:
        os.mkdir(os.path.join(node.mount, "folder"))
        raise AssertionError("mkdir worked")
    except PermissionError:
        pass
    node.sql("app.db", "CREATE TABLE t(x)")
    for source, target in (("app.db", "other.db"), ("app.db-pos", "x")):
        try:
            os.rename(os.path.join(node.mount, source), os.path.join(node.mount, target))
            raise AssertionError(f"rename of {source} worked")
        except OSError as error:
            assert error.errno in (1, 5, 13), error
    check_database(node, "app.db", txid=1)


def test_the_listing_shows_databases_with_their_files(t):
    node = Node(t).start()
    db = node.db("app.db")
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("CREATE TABLE t(x)")
    names = set(os.listdir(node.mount))
    assert {"app.db", "app.db-wal", "app.db-shm"} <= names, names
    assert "app.db-pos" not in names, "found by name, not listed"
    assert "app.db-lock" not in names and ".primary" not in names, names
    assert os.path.getsize(os.path.join(node.mount, "app.db-pos")) == 34
    assert stat.S_IMODE(os.stat(os.path.join(node.mount, "app.db")).st_mode) & 0o600 == 0o600
    db.close()
    assert "app.db-wal" not in os.listdir(node.mount)
    assert stat.S_IMODE(os.stat(node.data).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(os.path.join(node.data, "dbs/app.db/database")).st_mode) == 0o600


WRITE_AS = "import sqlite3,sys; db=sqlite3.connect(sys.argv[1]); db.execute('INSERT INTO t VALUES(1)'); db.commit()"


def as_nobody(node, name):
    return run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c", WRITE_AS,
               os.path.join(node.mount, name), check=False)


def test_another_user_needs_allow_other_or_user(t):
    """The mount under /tmp, where every user may go."""
    for config, works in (({}, False), ({"fuse": {"allow-other": True}}, True), ({"user": "nobody"}, True)):
        node = Node(t, name=f"node{len(t.nodes)}", config=config)
        os.chmod(t.dir, 0o755)
        node.start()
        node.sql("app.db", "PRAGMA journal_mode=WAL", "CREATE TABLE t(x)")
        done = as_nobody(node, "app.db")
        assert (done.returncode == 0) == works, (config, done.stderr)
        if works:
            check_database(node, "app.db", txid=3)
        assert node.stop() == 0


def test_a_node_that_is_not_primary_is_read_only_and_says_so(t):
    primary = Node(t, name="primary").start()
    for mode in ("wal", "delete"):
        primary.sql(mode + ".db", f"PRAGMA journal_mode={mode}", "CREATE TABLE t(x)", "INSERT INTO t VALUES(42)")
    assert primary.stop() == 0
    replica = Node(t, name="replica", data=primary.data, candidate=False,
                   config={"lease": {"advertise-url": primary.url}}).start(wait=False)
    wait_until(lambda: is_mounted(replica.mount), 10, "the mount")
    for mode in ("wal", "delete"):
        assert replica.sql(mode + ".db", "SELECT x FROM t") == [(42,)]
        for statement in ("INSERT INTO t VALUES(1)", "CREATE TABLE u(x)", "VACUUM"):
            try:
                replica.sql(mode + ".db", statement)
                raise AssertionError(f"{mode}: {statement} worked")
            except sqlite3.OperationalError as error:
                assert "attempt to write a readonly database" in str(error), (mode, statement, error)
    assert replica.stop() == 0


FOREIGN = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=1)
db.execute("PRAGMA journal_mode=WAL"); db.execute("CREATE TABLE IF NOT EXISTS t(x)"); db.execute("INSERT INTO t VALUES(1)")
print("ready", flush=True)
sys.stdin.readline()
try:
    db.execute("INSERT INTO t VALUES(2)"); print("wrote", flush=True)
except sqlite3.Error as error:
    print("error:", error, flush=True)
"""


def test_a_stop_with_a_foreign_connection_open_unmounts_and_loses_nothing(t):
    node = Node(t).start()
    foreign = t.spawn("/usr/bin/python3", "-c", FOREIGN, os.path.join(node.mount, "app.db"), stdin=-1, stdout=-1, text=True)
    assert foreign.stdout.readline() == "ready\n"
    assert node.stop() == 0
    answer = foreign.communicate("\n", timeout=20)[0]
    assert foreign.returncode in (0, -9), f"the foreign process died of signal {-foreign.returncode}"
    assert "wrote" not in answer, "a write after the stop was acknowledged"
    node.start()
    assert node.sql("app.db", "SELECT x FROM t") == [(1,)]
    check_database(node, "app.db")


def test_the_mount_of_a_killed_predecessor_is_cleaned_up(t):
    node = Node(t).start()
    node.sql("app.db", "PRAGMA journal_mode=WAL", "CREATE TABLE t(x)", "INSERT INTO t VALUES(1)")
    holder = t.spawn("sleep", "1000", cwd=node.mount)
    node.kill9()
    assert is_mounted(node.mount)
    try:
        os.listdir(node.mount)
        raise AssertionError("the dead mount answers")
    except OSError:
        pass
    node.start()
    assert node.sql("app.db", "SELECT x FROM t") == [(1,)]
    check_database(node, "app.db")
    assert node.stop() == 0
    quietly(holder.kill)


def test_files_in_the_mount_directory_are_hidden_and_come_back(t):
    node = Node(t)
    with open(os.path.join(node.mount, "before.txt"), "w") as f:
        f.write("x")
    node.start()
    assert "before.txt" not in os.listdir(node.mount)
    node.wait_log("before.txt")
    assert node.stop() == 0
    assert os.listdir(node.mount) == ["before.txt"]


def test_a_second_daemon_on_the_same_data_is_refused(t):
    node = Node(t).start()
    second = Node(t, name="second", data=node.data).start(wait=False)
    assert second.wait_exit(5) in (1, 74)
    assert node.health()[0] == 200
    assert not is_mounted(second.mount)


@test(timeout=30, alone=True)
def test_an_idle_node_uses_no_processor_time(t):
    node = Node(t).start()
    db = node.db("app.db")
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("CREATE TABLE t(x)")
    read_position(node.mount, "app.db")

    def ticks():
        with open(f"/proc/{node.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])
    time.sleep(1)
    before = ticks()
    time.sleep(5)
    used = ticks() - before
    assert used <= 5, f"{used * 10} ms of processor time in 5 s"
    node.signal(signal.SIGTERM)
    node.wait_exit()
