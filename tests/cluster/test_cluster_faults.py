"""What LiteFS's users ran into with two machines: every case must leave both databases equal, both daemons alive, and both
able to boot again."""
import json
import subprocess
import time

from fleet import capabilities, truth
from fleet.client import longest_gap, switches
from fleet.cluster import DATA, Cluster
from harness import Skip, test, wait_until


def pair(t, lease="static", regions=("ord", "ams"), **options):
    capabilities.need(t, "replication", *([] if lease == "static" else [lease]))
    c = Cluster(t, regions, lease=lease, app=None, **options).start()
    primary = c.primary()
    return c, primary, c.others(primary)[0]


def content(machine, db):
    """What an app on the machine sees: the shell's own hash over schema and rows, after an integrity check."""
    assert machine.sql("PRAGMA integrity_check", db) == "ok", f"{db} on {machine}"
    return machine.sql(".sha3sum", db)


def assert_equal(c, primary, replica, *dbs):
    for db in dbs:
        truth.wait_converged([primary, replica], name=db)
        assert content(primary, db) == content(replica, db), f"{db} differs"


def restart_both(primary, replica):
    for machine in (replica, primary):
        ended = machine.stop("SIGTERM")
        assert ended.code in (0, 143) and ended.umount_attempts == 1, (machine, ended, machine.log(this_boot=True)[-2000:])
    primary.start()
    replica.start()


def assert_alive(*machines):
    for machine in machines:
        assert machine.pid is not None, f"{machine} ended: {machine.exit}\n{machine.log()[-2000:]}"


@test(timeout=90)
def test_changes_of_size_mode_and_page_size_reach_the_replica(t):
    c, primary, replica = pair(t)
    rows = "INSERT INTO t SELECT value, randomblob(900) FROM generate_series(1,3000)"
    cases = {
        "shrink.db": ("PRAGMA journal_mode=wal; CREATE TABLE t(a,b); " + rows, "DELETE FROM t WHERE a > 100; VACUUM"),
        "auto.db": ("PRAGMA auto_vacuum=full; PRAGMA journal_mode=wal; CREATE TABLE t(a,b); " + rows, "DELETE FROM t WHERE a > 10"),
        "mode.db": ("PRAGMA journal_mode=wal; CREATE TABLE t(a,b); " + rows, "PRAGMA journal_mode=delete"),
        "back.db": ("PRAGMA journal_mode=delete; CREATE TABLE t(a,b); " + rows, "PRAGMA journal_mode=wal"),
        "page.db": ("PRAGMA page_size=1024; CREATE TABLE t(a,b); " + rows, "PRAGMA page_size=4096; VACUUM"),
        "grow.db": ("PRAGMA journal_mode=persist; CREATE TABLE t(a,b)", rows + "; DELETE FROM t; " + rows),
    }
    for db, (before, _) in cases.items():
        primary.sql(before, db)
    assert_equal(c, primary, replica, *cases)
    held = replica.spawn("/usr/bin/python3", "-c", "import sqlite3,sys\nds=[sqlite3.connect('/litefs/'+n) for n in sys.argv[1:]]\n"
                         "[d.execute('select count(*) from t').fetchall() for d in ds]\nprint('open',flush=True)\nsys.stdin.read()",
                         *cases, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # connections that stay open throughout
    held.stdout.readline()
    for db, (_, change) in cases.items():
        primary.sql(change, db)
        assert_alive(primary, replica)
        primary.sql("INSERT INTO t VALUES('after', 1)", db)
    assert_equal(c, primary, replica, *cases)
    held.stdin.close()
    restart_both(primary, replica)
    for db in cases:
        assert primary.sql("SELECT count(*) FROM t WHERE a='after'", db) == "1", f"{db}: the commit after the change is gone"
    assert_equal(c, primary, replica, *cases)


@test(timeout=60)
def test_attached_databases_temporary_files_and_drops(t):
    c, primary, replica = pair(t)
    for db in ("a.db", "b.db"):
        primary.sql("PRAGMA journal_mode=delete; CREATE TABLE t(x)", db)
    primary.sql("ATTACH '/litefs/b.db' AS b; BEGIN; INSERT INTO t VALUES(1); INSERT INTO b.t VALUES(2); COMMIT", "a.db")
    assert_equal(c, primary, replica, "a.db", "b.db")
    assert (replica.sql("SELECT x FROM t", "a.db"), replica.sql("SELECT x FROM t", "b.db")) == ("1", "2")
    primary.exec("sqlite3", "/litefs/a.db", "PRAGMA temp_store=file; INSERT INTO t SELECT randomblob(200) FROM generate_series(1,20000);"
                 "CREATE INDEX i ON t(x)", env={"SQLITE_TMPDIR": "/litefs"})
    primary.exec("sh", "-c", "echo note > /litefs/foo.txt")
    assert_equal(c, primary, replica, "a.db", "b.db")
    for machine in (primary, replica):
        assert sorted(machine.exec("ls", DATA + "/dbs").stdout.split()) == ["a.db", "b.db"], "a file of no database is in dbs/"
    assert "foo.txt" not in replica.exec("ls", "/litefs").stdout
    primary.exec("rm", "/litefs/b.db")
    wait_until(lambda: "b.db" not in replica.exec("ls", "/litefs").stdout.split(), 5, "the drop to reach the replica")
    primary.sql("CREATE TABLE again(x)", "b.db")
    assert_equal(c, primary, replica, "a.db", "b.db")


@test(timeout=60)
def test_a_name_first_tried_on_the_replica_is_the_primarys(t):
    c, primary, replica = pair(t)
    tried = replica.sql("CREATE TABLE t(x)", "new.db", check=False)
    assert tried.returncode != 0, tried
    primary.sql("CREATE TABLE t(x); INSERT INTO t VALUES(1)", "new.db")
    assert_equal(c, primary, replica, "new.db")
    assert replica.sql("SELECT x FROM t", "new.db") == "1"


@test(timeout=60)
def test_writes_on_a_replica_fail_as_read_only_and_harm_nothing(t):
    c, primary, replica = pair(t)
    for db, mode in (("wal.db", "wal"), ("del.db", "delete")):
        primary.sql(f"PRAGMA journal_mode={mode}; CREATE TABLE t(x); INSERT INTO t VALUES(1)", db)
    assert_equal(c, primary, replica, "wal.db", "del.db")
    for db in ("wal.db", "del.db"):
        for statement in ("INSERT INTO t VALUES(2)", "CREATE TABLE u(x)", "VACUUM", "DROP TABLE t", "UPDATE t SET x=3"):
            done = replica.sql(statement, db, check=False)
            assert done.returncode != 0 and "readonly" in done.stderr, (db, statement, done)
        assert replica.sql("CREATE TEMP TABLE v(x); INSERT INTO v VALUES(1); SELECT count(*) FROM v, t", db) == "1"
        assert replica.sql("ATTACH '/litefs/wal.db' AS w; SELECT count(*) FROM w.t", db) == "1"
    primary.sql("INSERT INTO t VALUES(4)", "wal.db")
    primary.sql("INSERT INTO t VALUES(4)", "del.db")
    assert_equal(c, primary, replica, "wal.db", "del.db")


WRITER = ("import sqlite3,sys,time\nd=sqlite3.connect('/litefs/app.db',isolation_level=None,timeout=5)\n"
          "print('open',flush=True)\nfor line in sys.stdin:\n  try:\n    for s in line.strip().split('; '):\n      r=d.execute(s).fetchall()\n"
          "    print('ok',r,flush=True)\n  except sqlite3.Error as e:\n    print('error',getattr(e,'sqlite_errorname',e),flush=True)\n")


class Shell:
    """A connection on a machine that stays open."""

    def __init__(self, machine):
        self.process = machine.spawn("/usr/bin/python3", "-uc", WRITER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "open\n"

    def say(self, statement):
        self.process.stdin.write(statement + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


def promote(machine, check=True):
    return machine.exec("caddis", "run", "-promote", "--", "true", check=check)


@test(timeout=90)
def test_open_connections_survive_a_promotion(t):
    c, first, second = pair(t, "consul", ("ord", "ord"))
    first.sql("PRAGMA journal_mode=wal; CREATE TABLE t(x)")
    truth.wait_converged(c.machines)
    old, new, reader = Shell(first), Shell(second), Shell(first)
    assert old.say("INSERT INTO t VALUES(1)").startswith("ok")
    assert new.say("SELECT count(*) FROM t").startswith("ok")
    assert old.say("BEGIN IMMEDIATE; INSERT INTO t VALUES(2)").startswith("ok"), "a transaction that is open at the promotion"
    promoted = promote(second, check=False)
    verdict = old.say("COMMIT")
    if promoted.returncode == 0:
        wait_until(second.is_primary, 5, "the promotion to be done when the command returns")
    else:
        assert first.is_primary() and "pid" in promoted.stderr, promoted  # refused, and it says who holds the lock
        promote(second)
    assert new.say("INSERT INTO t VALUES(3)") == "ok []", "a connection opened on the replica writes after its promotion"
    wait_until(lambda: "3" in reader.say("SELECT max(x) FROM t"), 3, "the old primary's open reader to see the new row")
    assert old.say("INSERT INTO t VALUES(4)").startswith("error"), "the old primary still writes"
    truth.wait_converged(c.machines)
    committed = first.sql("SELECT count(*) FROM t WHERE x=2") == "1"
    assert committed == (verdict == "ok []"), f"COMMIT said {verdict!r}, the row is {'there' if committed else 'not there'}"
    assert content(first, "app.db") == content(second, "app.db")
    assert_alive(first, second)


@test(timeout=120)
def test_thirty_two_promotions_under_constant_writes(t):
    capabilities.need(t, "replication", "consul")
    c = Cluster(t, ("ord", "ord"), lease="consul").start()
    front = c.flyproxy("ord")
    writers = [c.writer(front, "w1", pause=0.003), c.writer(front, "w2", pause=0.003)]
    writers[0].wait_acks(50)
    gaps = []
    for _ in range(32):
        primary = c.primary()
        [target] = c.others(primary)
        began = time.monotonic()
        promote(target)
        assert target.is_primary(), "the command returned before it was primary"
        writers[0].wait_acks(5)
        gaps.append(longest_gap(writers, since=began - 0.05).seconds)
        assert_alive(*c.machines)
    gaps.sort()
    print(f"hand-over gaps: median {gaps[16] * 1000:.0f} ms, longest {gaps[-1] * 1000:.0f} ms")
    assert gaps[-1] < 1.5, gaps
    for writer in writers:
        writer.stop()
    truth.wait_converged(c.machines)
    truth.check(writers, [truth.of_machine(m) for m in c.machines])
    assert len(switches(writers)) == 32


@test(timeout=60)
def test_only_candidates_are_promoted(t):
    c, primary, replica = pair(t, "consul")
    done = promote(replica, check=False)
    assert done.returncode == 1 and "not eligible to become primary" in done.stderr, done
    assert promote(primary).returncode == 0 and primary.is_primary()


@test(timeout=60)
def test_static_leases_are_not_handed_over(t):
    c, primary, replica = pair(t)
    done = promote(replica, check=False)
    assert done.returncode == 1, done
    assert primary.is_primary() and not replica.is_primary()


@test(timeout=60)
def test_a_machine_that_waits_for_its_store_obeys_a_signal(t):
    """Refused, silent or unknown to the resolver: SIGTERM ends the start within a second."""
    capabilities.need(t, "replication", "consul")
    c = Cluster(t, ("ord",), lease="consul", app=None)
    [machine] = c.machines
    for mode in ("refuse", "hang", "no name"):
        if mode == "no name":
            del c.fleet.dns.hosts["consul.fleet.test"]
        else:
            c.consul.set_mode(mode)
        machine.start(wait=False)
        time.sleep(1.0)
        assert machine.pid is not None and not machine.is_primary(), (mode, machine.log(this_boot=True))
        ended = machine.stop("SIGTERM")
        assert ended.code in (0, 143) and ended.elapsed < 1.5, (mode, ended, machine.log(this_boot=True))


@test(timeout=60)
def test_export_and_import_from_both_sides(t):
    c, primary, replica = pair(t)
    primary.sql("PRAGMA journal_mode=wal; CREATE TABLE t(x); INSERT INTO t VALUES(1),(2)")
    truth.wait_converged(c.machines)
    for machine in c.machines:
        machine.exec("caddis", "export", "-name", "app.db", "/tmp/out.db")
        assert machine.exec("sqlite3", "/tmp/out.db", "SELECT count(*) FROM t").stdout == "2\n"
    for machine in c.machines:
        machine.exec("sqlite3", "/tmp/in.db", "CREATE TABLE t(x); INSERT INTO t VALUES(7)")
    done = replica.exec("caddis", "import", "-name", "app.db", "/tmp/in.db", check=False)
    assert done.returncode == 1 and "503" in done.stderr, done
    primary.exec("caddis", "import", "-name", "app.db", "/tmp/in.db")
    assert_equal(c, primary, replica, "app.db")
    assert replica.sql("SELECT x FROM t") == "7"


@test(timeout=60)
def test_a_halt_lock_lets_the_replica_write(t):
    c, primary, replica = pair(t)
    primary.sql("PRAGMA journal_mode=wal; CREATE TABLE t(x); INSERT INTO t VALUES(1)")
    truth.wait_converged(c.machines)
    done = replica.exec("caddis", "run", "-with-halt-lock-on", "/litefs/app.db", "--", "sqlite3", "/litefs/app.db",
                        "INSERT INTO t VALUES(2)", check=False)
    if "not part of this version" in done.stderr:
        raise Skip("this build has no halt lock")
    assert done.returncode == 0, done
    assert primary.sql("SELECT count(*) FROM t") == "2", "the write is on the primary when the command returns"
    primary.sql("INSERT INTO t VALUES(3)")
    assert_equal(c, primary, replica, "app.db")


@test(timeout=90)
def test_a_slow_and_a_broken_line_end_in_equal_databases(t):
    """Replication through a delay, resets in the middle of a snapshot, and one way cut."""
    c, primary, replica = pair(t)
    primary.sql("CREATE TABLE t(a,b); INSERT INTO t SELECT value, randomblob(2000) FROM generate_series(1,4000)", "big.db")
    c.fleet.network.delay(replica, primary, 0.1)
    for number in range(3):
        primary.sql("UPDATE t SET b=randomblob(2000) WHERE a % 2", "big.db")
        cut = c.fleet.network.block(replica, primary, how="reset")
        primary.sql(f"INSERT INTO t VALUES('round', {number})", "big.db")
        cut.heal()
    truth.wait_converged(c.machines, 30, "big.db")
    one_way = c.fleet.network.block(primary, replica, both=False)
    primary.sql("INSERT INTO t VALUES('while cut', 1)", "big.db")
    time.sleep(4)
    one_way.heal()
    assert_equal(c, primary, replica, "big.db")
    assert replica.sql("SELECT count(*) FROM t WHERE a='round' OR a='while cut'", "big.db") == "4"


@test(timeout=60)
def test_the_status_of_both_machines_agrees(t):
    c, primary, replica = pair(t)
    primary.sql("PRAGMA journal_mode=wal; CREATE TABLE t(x); INSERT INTO t VALUES(1)")
    truth.wait_converged(c.machines)
    position = primary.read("/litefs/app.db-pos")
    wait_until(lambda: replica.read("/litefs/app.db-pos") == position, 5, "the same position on both")
    assert primary.read("/litefs/.lag") == "+000000000\n" and primary.read("/litefs/.primary") is None
    assert replica.read("/litefs/.primary") == primary.id + "\n"
    assert abs(int(replica.read("/litefs/.lag"))) < 3000
    documents = [json.loads(m.exec("caddis", "status", "-json").stdout) for m in c.machines]
    assert [d["databases"][0]["name"] for d in documents] == ["app.db", "app.db"], documents
