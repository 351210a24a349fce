"""Backup to a directory and to a real S3 server, loss of the volume, restore at boot; real Litestream as the judge."""
import os
import shutil
import sqlite3
import time

from harness import FaultProxy, Node, RcloneS3, check_database, litestream, read_position, run, test, wait_until


def write_rows(node, count, journal="wal", name="app.db", first=0):
    with_table = "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v)"
    node.sql(name, f"PRAGMA journal_mode={journal}", with_table)
    db = node.db(name)
    for i in range(first, first + count):
        db.execute("INSERT INTO t VALUES(?, randomblob(300))", (i,))
    db.close()


def lose_volume(node):
    shutil.rmtree(node.data)


def dump(path):
    return run("sqlite3", path, ".dump").stdout


def wait_uploaded(node, name, timeout=10):
    """Until the bucket has what NAME-pos says."""
    txid = read_position(node.mount, name).txid
    wait_until(lambda: (node.metric("caddis_backup_txid") or 0) >= txid, timeout, f"{name} {txid} to be uploaded")


def survives_the_loss_of_its_volume(t, url, env=None):
    node = Node(t, config={"backup": [{"url": url}]}, env=env).start()
    write_rows(node, 30, "wal", "wal.db")
    write_rows(node, 30, "delete", "del.db")
    before = {n: (read_position(node.mount, n), dump(os.path.join(node.mount, n))) for n in ("wal.db", "del.db")}
    assert node.stop() == 0  # the last transaction is uploaded before the exit
    lose_volume(node)
    node.start()
    for name, (position, text) in before.items():
        assert dump(os.path.join(node.mount, name)) == text
        assert read_position(node.mount, name) == position
        check_database(node, name, log=False)
        node.sql(name, "INSERT INTO t VALUES(1000, 'after')")
        assert read_position(node.mount, name).txid == position.txid + 1
    assert node.stop() == 0
    lose_volume(node)
    node.start()
    assert node.sql("wal.db", "SELECT v FROM t WHERE id = 1000") == [("after",)]
    assert node.stop() == 0
    return node


def test_a_lost_volume_comes_back_from_a_directory(t):
    url = "file://" + t.mkdir("backup")
    survives_the_loss_of_its_volume(t, url)


@test(timeout=90)
def test_a_lost_volume_comes_back_from_s3(t):
    s3 = RcloneS3(t)
    node = survives_the_loss_of_its_volume(t, s3.url(), s3.env)
    assert "caddis-test-secret" not in node.log(), "the secret is in the log"


@test(timeout=90)
def test_real_litestream_restores_the_same_database(t):
    s3 = RcloneS3(t)
    folder = t.mkdir("backup")
    node = Node(t, config={"backup": [{"url": "file://" + folder}, {"url": s3.url()}]}, env=s3.env).start()
    for journal in ("wal", "delete"):
        write_rows(node, 50, journal, journal + ".db")
        node.sql(journal + ".db", "DELETE FROM t WHERE id % 3 = 0", "VACUUM")
    texts = {n: dump(os.path.join(node.mount, n)) for n in ("wal.db", "delete.db")}
    assert node.stop() == 0
    for name, text in texts.items():
        for kind, url in (("file", f"file://{folder}/{name}"), ("s3", s3.url("app/" + name))):
            out = t.path(f"{kind}-{name}")
            litestream("restore", "-integrity-check", "full", "-o", out, url, env=s3.env)
            assert dump(out) == text, (kind, name)


def test_a_commit_is_in_the_backup_within_a_second(t):
    folder = t.mkdir("backup")
    node = Node(t, config={"backup": [{"url": "file://" + folder}]}).start()
    write_rows(node, 5)
    wait_uploaded(node, "app.db")
    worst = 0.0
    for i in range(5):
        node.sql("app.db", f"INSERT INTO t VALUES({100 + i}, 'x')")
        started, txid = time.monotonic(), read_position(node.mount, "app.db").txid
        level0 = os.path.join(folder, "app.db", "ltx", "0")
        wait_until(lambda: any(n.endswith(f"-{txid:016x}.ltx") for n in os.listdir(level0)), 5, f"TXID {txid} at level 0")
        worst = max(worst, time.monotonic() - started)
    print(f"slowest commit to backup: {worst:.2f} s")
    assert worst < 1.5, worst


def test_kill_9_before_the_upload_continues_the_backup_after_the_restart(t):
    folder = t.mkdir("backup")
    node = Node(t, config={"backup": [{"url": "file://" + folder}]}).start()
    for round in range(4):
        write_rows(node, 20, first=round * 20)
        node.kill9()
        node.start()
    assert node.sql("app.db", "SELECT count(*) FROM t") == [(80,)]
    text = dump(os.path.join(node.mount, "app.db"))
    assert node.stop() == 0
    litestream("restore", "-integrity-check", "full", "-o", t.path("out.db"), f"file://{folder}/app.db")
    assert dump(t.path("out.db")) == text


def test_an_empty_bucket_is_a_fresh_start(t):
    s3 = RcloneS3(t)
    node = Node(t, config={"backup": [{"url": s3.url()}]}, env=s3.env).start()
    write_rows(node, 3)
    assert node.stop() == 0


def test_an_absent_directory_is_a_fresh_start(t):
    t.mkdir("backups")
    node = Node(t, config={"backup": [{"url": "file://" + t.path("backups/new")}]}).start()
    write_rows(node, 3)
    assert node.stop() == 0


def refuses_to_start_empty(t, url, env, words, seconds=6):
    node = Node(t, name=f"node{len(t.nodes)}", config={"backup": [{"url": url}], "restore-timeout": "2s"}, env=env)
    started = time.monotonic()
    node.start("true", wait=False)
    code = node.wait_exit(seconds + 10)
    assert code == 69, f"{url}: exit {code}\n{node.log()}"
    assert time.monotonic() - started < seconds, f"{time.monotonic() - started:.1f} s"
    for word in words:
        assert word in node.log(), f"{word!r} is not in the log:\n{node.log()}"
    assert "caddis-test-secret" not in node.log()


@test(timeout=90)
def test_a_bucket_that_does_not_answer_is_exit_69_and_never_an_empty_database(t):
    s3 = RcloneS3(t)
    proxy = FaultProxy(t, s3.port, "drop")
    refuses_to_start_empty(t, s3.url(port=1), s3.env, ["bkt"])
    refuses_to_start_empty(t, s3.url(port=proxy.port), s3.env, ["bkt"])
    for mode in ("hang", "http-503", "http-500"):
        proxy.mode = mode
        refuses_to_start_empty(t, s3.url(port=proxy.port), s3.env, ["bkt"])
    refuses_to_start_empty(t, s3.url().replace("bkt", "absent"), s3.env, ["absent"])
    refuses_to_start_empty(t, s3.url(), {**s3.env, "AWS_SECRET_ACCESS_KEY": "wrong", "LITESTREAM_SECRET_ACCESS_KEY": "wrong"},
                           ["bkt", "403"])


def test_a_target_that_is_down_holds_up_nothing_when_the_volume_has_data(t):
    s3 = RcloneS3(t)
    node = Node(t, config={"backup": [{"url": s3.url()}]}, env=s3.env).start()
    write_rows(node, 5)
    assert node.stop() == 0
    s3.stop()
    node.start()
    write_rows(node, 5, first=100)
    s3.start()
    wait_uploaded(node, "app.db", 30)
    text = dump(os.path.join(node.mount, "app.db"))
    assert node.stop() == 0
    litestream("restore", "-o", t.path("out.db"), s3.url("app/app.db"), env=s3.env)
    assert dump(t.path("out.db")) == text


@test(timeout=90)
def test_a_restore_through_cut_connections_succeeds(t):
    s3 = RcloneS3(t)
    node = Node(t, config={"backup": [{"url": s3.url()}]}, env=s3.env).start()
    node.sql("app.db", "CREATE TABLE t(id INTEGER PRIMARY KEY, v)", "INSERT INTO t(v) VALUES(randomblob(3000000))")
    text = dump(os.path.join(node.mount, "app.db"))
    assert node.stop() == 0
    lose_volume(node)
    proxy = FaultProxy(t, s3.port, "cut")
    proxy.cut_bytes = 1 << 20
    node.config["backup"] = [{"url": s3.url(port=proxy.port)}]
    node.start(wait=False)
    wait_until(lambda: proxy.connections >= 3, 20, "cut connections")
    proxy.mode = "pass"
    proxy.cut_all()
    node.wait_healthy(60)
    assert dump(os.path.join(node.mount, "app.db")) == text


def test_restore_by_hand_writes_a_file_and_never_overwrites(t):
    folder = t.mkdir("backup")
    node = Node(t, config={"backup": [{"url": "file://" + folder}]}).start()
    write_rows(node, 10)
    text = dump(os.path.join(node.mount, "app.db"))
    assert node.stop() == 0
    out = t.path("out.db")
    url = f"file://{folder}/app.db"
    run(node.program, "restore", url, "-o", out)
    assert dump(out) == text
    again = run(node.program, "restore", "-o", out, url, check=False)
    assert again.returncode != 0 and "out.db" in again.stderr
    assert run(node.program, "restore", "-if-db-not-exists", "-o", out, url).returncode == 0
    run(node.program, "restore", "-force", "-o", out, url)
    assert dump(out) == text
    absent = run(node.program, "restore", f"file://{folder}/absent.db", "-o", t.path("x.db"), check=False)
    assert absent.returncode != 0 and not os.path.exists(t.path("x.db"))


def test_restore_by_hand_reads_what_litestream_wrote(t):
    source, folder = t.path("source.db"), t.mkdir("replica")
    db = sqlite3.connect(source, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    db.execute("INSERT INTO t(v) WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<300) SELECT randomblob(90) FROM c")
    litestream("replicate", "-once", source, "file://" + folder)
    db.execute("DELETE FROM t WHERE id > 200")
    litestream("replicate", "-once", source, "file://" + folder)
    text = dump(source)
    db.close()
    node = Node(t)  # only for its program
    run(node.program, "restore", "file://" + folder, "-o", t.path("out.db"))
    assert dump(t.path("out.db")) == text


@test(timeout=90)
def test_large_transactions_and_snapshots_go_in_parts(t):
    s3 = RcloneS3(t)
    node = Node(t, config={"backup": [{"url": s3.url()}]}, env=s3.env).start()
    node.sql("app.db", "CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    node.sql("app.db", "INSERT INTO t(v) WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<400) "
                       "SELECT randomblob(100000) FROM c")
    wait_uploaded(node, "app.db", 30)
    assert max(s3.objects("app/app.db/0000").values()) > 30 << 20
    node.kill9()
    node.config["backup"] = [{"url": s3.url("new")}]  # the whole database goes as one snapshot
    node.start()
    node.sql("app.db", "INSERT INTO t(v) VALUES('last')")
    wait_uploaded(node, "app.db", 30)
    assert any(size > 30 << 20 for size in s3.objects("new/app.db/0009").values()), s3.objects()
    text = dump(os.path.join(node.mount, "app.db"))
    assert node.stop() == 0
    litestream("restore", "-integrity-check", "full", "-o", t.path("out.db"), s3.url("new/app.db"), env=s3.env)
    assert dump(t.path("out.db")) == text
    lose_volume(node)
    node.start()
    assert dump(os.path.join(node.mount, "app.db")) == text
    assert node.stop() == 0


def test_an_older_volume_does_not_write_over_a_newer_backup(t):
    folder = t.mkdir("backup")
    node = Node(t, config={"backup": [{"url": "file://" + folder}]}).start()
    write_rows(node, 5)
    assert node.stop() == 0
    shutil.copytree(node.data, t.path("old"))
    node.start()
    write_rows(node, 5, first=100)
    text = dump(os.path.join(node.mount, "app.db"))
    assert node.stop() == 0
    shutil.rmtree(node.data)
    os.rename(t.path("old"), node.data)
    node.start()
    wait_until(lambda: "backup stopped" in node.log(), 10, "the line that says so")
    node.sql("app.db", "INSERT INTO t(v) VALUES('other')")
    assert node.stop() == 0
    litestream("restore", "-o", t.path("out.db"), f"file://{folder}/app.db")
    assert dump(t.path("out.db")) == text


def test_machines_of_release_commands_run_their_command_and_touch_nothing(t):
    folder = t.mkdir("backup")
    for env in ({"RELEASE_COMMAND": "1"}, {"FLY_TEST_COMMAND": "1"}, {"FLY_PROCESS_GROUP": "fly_app_console"}):
        node = Node(t, name=f"node{len(t.nodes)}", config={"backup": [{"url": "file://" + folder}]},
                    env={"FLY_APP_NAME": "app", "FLY_REGION": "ams", "PRIMARY_REGION": "ams", **env})
        node.start("sh", "-c", "exit 7", wait=False)
        assert node.wait_exit(5) == 7
        assert not os.path.exists(node.data) and os.listdir(folder) == []


@test(timeout=90)
def test_an_idle_bucket_costs_no_request(t):
    s3 = RcloneS3(t)
    proxy = FaultProxy(t, s3.port)
    node = Node(t, config={"backup": [{"url": s3.url(port=proxy.port)}]}, env=s3.env).start()
    write_rows(node, 5)
    wait_uploaded(node, "app.db")
    # The last work for these rows is their compaction, at the next half minute.
    wait_until(lambda: s3.objects("app/app.db/0001"), 40, "an object at level 1")
    time.sleep(1)
    before = node.metric("caddis_backup_requests_total")
    assert before, "no caddis_backup_requests_total"
    time.sleep(5)
    assert node.metric("caddis_backup_requests_total") == before


@test(timeout=120)
def test_level_0_objects_do_not_pile_up(t):
    folder = t.mkdir("backup")
    node = Node(t, config={"backup": [{"url": "file://" + folder, "sync-interval": "50ms"}]}).start()
    write_rows(node, 1)
    db = node.db("app.db")
    for i in range(200):
        db.execute("INSERT INTO t(v) VALUES('x')")
        time.sleep(0.02)
    db.close()
    wait_uploaded(node, "app.db")
    level1 = os.path.join(folder, "app.db", "ltx", "1")
    wait_until(lambda: os.path.isdir(level1) and os.listdir(level1), 45, "an object at level 1")
    text = dump(os.path.join(node.mount, "app.db"))
    assert node.stop() == 0
    litestream("restore", "-integrity-check", "full", "-o", t.path("out.db"), f"file://{folder}/app.db")
    assert dump(t.path("out.db")) == text
