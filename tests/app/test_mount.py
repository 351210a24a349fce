"""The program as a whole on one machine: boot lines, the node port, the exec list, exit codes, stop, crash, export, import."""
import os, signal, sqlite3, subprocess, sys, time, unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from node import Node, binary, wait_for

PYTHON = sys.executable
WRITE = ("import sqlite3,sys\nc=sqlite3.connect(sys.argv[1])\nc.execute('create table if not exists t(x)')\n"
         "c.execute('insert into t values(1)')\nc.commit()\nc.close()\n")


class MountTest(unittest.TestCase):
    def setUp(self):
        self.node = Node()
        self.addCleanup(self.node.close)

    def writer(self, name="app.db"):
        return [PYTHON, "-c", WRITE, self.node.path(name)]

    def test_boot_prints_the_lines_litefs_users_look_for_in_order(self):
        code, _, log = self.node.run(self.writer())
        self.assertEqual(code, 0, log)
        lines = ["caddis v", "no backup client configured, skipping", "Using static primary: primary=true",
                 f"LiteFS mounted to: {self.node.mount}", "http server listening on: http://localhost:",
                 "waiting to connect to cluster", "connected to cluster, ready", "no proxy target set, skipping proxy",
                 "starting background subprocess: ", "waiting for signal or subprocess to exit",
                 "subprocess exited successfully, litefs shutting down"]
        at = -1
        for line in lines:
            found = log.find(line, at + 1)
            self.assertGreater(found, at, f"{line!r} is missing or too early in:\n{log}")
            at = found
        self.assertFalse(self.node.mounted())

    def test_the_node_port_answers_as_litefs_does(self):
        self.node.start(["sleep", "60"])
        status, body, headers = self.node.get("/info")
        self.assertEqual(status, 200)
        info = self.node.info()
        self.assertEqual(info["path"], self.node.data)
        self.assertTrue(info["isPrimary"] and info["candidate"])
        self.assertRegex(info["clusterID"], "^LFSC[0-9A-F]{16}$")
        self.assertRegex(headers["Litefs-Id"], "^[0-9A-F]{16}$")
        self.assertEqual(headers["Litefs-Cluster-Id"], info["clusterID"])
        self.assertEqual(self.node.get("/health")[:2], (200, b"ok\n"))
        self.assertIn(b"litefs_is_primary 1\n", self.node.get("/metrics")[1])
        self.assertEqual(self.node.get("/nothing")[:2], (404, b"404 page not found\n"))
        self.assertEqual(self.node.get("/info", data=b"")[:2], (405, b"method not allowed\n"))
        self.assertEqual(self.node.get("/export")[:2], (400, b"name required\n"))
        self.assertEqual(self.node.get("/export?name=none.db")[:2], (404, b"database not found\n"))
        self.assertEqual(self.node.get("/import?name=../../x", data=b"x")[0], 400)
        self.assertEqual(self.node.get("/caddis/v1/nothing")[0], 404)
        self.node.stop()

    def test_a_commit_is_in_the_position_file_when_it_has_returned(self):
        self.node.start(["sleep", "60"])
        db = sqlite3.connect(self.node.path("app.db"), isolation_level=None)
        db.execute("pragma journal_mode=wal")
        db.execute("create table t(x)")
        def txid():
            with open(self.node.path("app.db-pos")) as f:
                return int(f.read(16), 16)
        before = txid()
        for i in range(5):
            db.execute("insert into t values(?)", (i,))
            self.assertEqual(txid(), before + i + 1)
        db.close()
        self.assertEqual(self.node.stop()[0], 143)

    def test_exit_codes_are_the_apps(self):
        for argv, expected in [(["true"], 0), (["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -KILL $$"], 137),
                               (["/nonexistent/app"], 127), (["/etc/passwd"], 126)]:
            code, _, log = self.node.run(argv)
            self.assertEqual(code, expected, log)
            self.assertFalse(self.node.mounted())

    def test_arguments_reach_the_app_byte_for_byte(self):
        argv = [PYTHON, "-c", "import sys; sys.stdout.write('|'.join(sys.argv[1:]))", "a b", "", '"q"', "$HOME", "x\ny"]
        code, out, log = self.node.run(argv)
        self.assertEqual((code, out), (0, b'a b||"q"|$HOME|x\ny'), log)

    def test_a_term_reaches_the_app_and_its_code_is_kept(self):
        script = "import signal,sys,time\nsignal.signal(signal.SIGTERM,lambda *a:sys.exit(41))\nprint('up',flush=True)\ntime.sleep(60)"
        self.node.start([PYTHON, "-c", script])
        self.node.process.stdout.readline()
        self.assertEqual(self.node.stop()[0], 41)
        self.node.start(["sleep", "60"])
        self.assertEqual(self.node.stop()[0], 143)

    def test_an_app_that_ignores_term_is_killed_after_the_stop_timeout(self):
        self.node.start(["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"], extra="stop-timeout: 300ms\n")
        self.node.process.stdout.readline()
        began = time.monotonic()
        self.assertEqual(self.node.stop()[0], 137)
        self.assertLess(time.monotonic() - began, 2.5)
        self.assertFalse(self.node.mounted())

    def test_config_errors_are_all_listed_with_exit_code_2_and_nothing_is_mounted(self):
        began = time.monotonic()
        code, _, log = self.node.run(["true"], extra="nonsense: 1\nexit-on-error: maybe\n")
        self.assertEqual(code, 2)
        self.assertLess(time.monotonic() - began, 1)
        self.assertEqual(len([l for l in log.splitlines() if l.startswith("ERROR: ")]), 2, log)
        self.assertFalse(os.path.exists(self.node.data))

    def test_the_exec_list_runs_in_order_and_stops_at_the_first_failure(self):
        out = os.path.join(self.node.base, "out")
        entry = f'  - cmd: ["sh", "-c", "echo {{}} >> {out}; exit {{}}"]\n'
        code, _, log = self.node.run(extra="exec:\n" + entry.format(1, 0) + entry.format(2, 0))
        self.assertEqual(code, 0, log)
        self.assertEqual(open(out).read(), "1\n2\n")
        code, _, log = self.node.run(extra="exec:\n" + entry.format(3, 5) + entry.format(4, 0))
        self.assertEqual(code, 5, log)
        self.assertEqual(open(out).read(), "1\n2\n3\n")

    def test_a_candidate_only_entry_is_skipped_on_a_replica_and_the_replica_cannot_write(self):
        self.node.run(self.writer())
        code, _, log = self.node.run(
            extra=f'exec:\n  - cmd: ["false"]\n    if-candidate: true\n  - cmd: ["sqlite3", "{self.node.path("app.db")}", "insert into t values(2)"]\n',
            lease="lease: {type: static, candidate: false, hostname: p, advertise-url: 'http://p:20202'}\n")
        self.assertNotEqual(code, 0)
        self.assertIn("node is not a candidate, skipping command execution: false", log)
        self.assertRegex(log, "readonly database")

    def test_a_signal_during_a_migration_is_obeyed_at_once(self):
        ran = os.path.join(self.node.base, "ran")
        self.node.start(extra=f'exec:\n  - cmd: ["sh", "-c", "touch {ran}; exec sleep 60"]\n  - cmd: ["touch", "{ran}2"]\n', wait=False)
        wait_for("the migration", lambda: os.path.exists(ran))
        began = time.monotonic()
        self.assertEqual(self.node.stop()[0], 143)
        self.assertLess(time.monotonic() - began, 1)
        self.assertFalse(os.path.exists(ran + "2"))
        self.assertFalse(self.node.mounted())

    def test_after_kill_9_the_app_is_dead_and_the_next_start_has_every_commit(self):
        self.node.start(["sleep", "60"])
        db = sqlite3.connect(self.node.path("app.db"), isolation_level=None)
        db.execute("pragma journal_mode=wal")
        db.execute("create table t(x)")
        for i in range(20):
            db.execute("insert into t values(?)", (i,))
        self.node.process.kill()
        self.node.wait()
        self.assertTrue(self.node.mounted())
        self.node.start(["sleep", "60"])
        other = sqlite3.connect(self.node.path("app.db"))
        self.assertEqual(other.execute("select count(*) from t").fetchone(), (20,))
        self.assertEqual(other.execute("pragma integrity_check").fetchone(), ("ok",))
        other.close()
        self.node.stop()
        self.assertFalse(self.node.mounted())

    def test_an_empty_volume_and_a_target_that_does_not_answer_is_69(self):
        code, _, log = self.node.run(["true"], extra="restore-timeout: 500ms\nbackup:\n  - url: file:///nonexistent/dir/b\n")
        self.assertEqual(code, 69, log)
        self.assertFalse(self.node.mounted())

    def test_a_lost_volume_comes_back_from_the_file_target(self):
        extra = f"backup:\n  - url: file://{self.node.base}/bucket\n"
        os.mkdir(os.path.join(self.node.base, "bucket"))
        code, _, log = self.node.run(self.writer(), extra=extra)
        self.assertEqual(code, 0, log)
        subprocess.run(["rm", "-rf", self.node.data], check=True)
        code, out, log = self.node.run(["sqlite3", self.node.path("app.db"), "select count(*) from t"], extra=extra)
        self.assertEqual((code, out), (0, b"1\n"), log)

    def test_a_second_daemon_on_the_same_data_directory_is_refused(self):
        self.node.start(["sleep", "60"])
        second = subprocess.run([binary(), "mount", "-config", self.node.config(), "--", "true"], env=self.node.env,
                                capture_output=True, text=True, timeout=20)
        self.assertEqual(second.returncode, 1)
        self.assertIn("another caddis", second.stderr)
        self.assertTrue(self.node.mounted())
        self.node.stop()

    def test_export_and_import_give_the_same_rows(self):
        self.node.start(["sleep", "60"])
        db = sqlite3.connect(self.node.path("app.db"))
        db.executescript("pragma journal_mode=wal; create table t(x); insert into t values(1),(2),(3)")
        url, out = f"http://127.0.0.1:{self.node.port}", os.path.join(self.node.base, "out.db")
        export = subprocess.run([binary(), "export", "-url", url, "-name", "app.db", out], capture_output=True, text=True)
        self.assertEqual(export.returncode, 0, export.stderr)
        self.assertIn('Export of database "app.db" in ', export.stdout)
        copy = sqlite3.connect(out)
        self.assertEqual(copy.execute("select count(*) from t").fetchone(), (3,))
        copy.execute("insert into t values(4)")
        copy.commit()
        copy.close()
        for name in ("app.db", "new.db"):
            done = subprocess.run([binary(), "import", "-url", url, "-name", name, out], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr + self.node.log())
            self.assertEqual(sqlite3.connect(self.node.path(name)).execute("select count(*) from t").fetchone(), (4,))
        missing = subprocess.run([binary(), "export", "-url", url, "-name", "no.db", out], capture_output=True, text=True)
        self.assertEqual((missing.returncode, missing.stderr), (1, "ERROR: database not found\n"))
        self.assertTrue(os.path.exists(out))
        db.close()
        self.node.stop()

    def test_children_see_where_they_are(self):
        code, out, log = self.node.run(["sh", "-c", "echo $CADDIS_DIR $CADDIS_URL $CADDIS_CANDIDATE ${SECRET-none}"],
                                       extra="env: {remove: [SECRET]}\n")
        self.assertEqual(code, 0, log)
        self.assertEqual(out.decode(), f"{self.node.mount} http://localhost:{self.node.port} true none\n")


class RunTest(unittest.TestCase):
    def run_caddis(self, *args, **kw):
        return subprocess.run([binary(), *args], capture_output=True, text=True, timeout=20, **kw)

    def test_run_is_a_plain_supervisor(self):
        self.assertEqual(self.run_caddis("run", "--", "sh", "-c", "exit 9").returncode, 9)
        self.assertEqual(self.run_caddis("run", "--", "cat", input="through").stdout, "through")

    def test_version_and_usage(self):
        self.assertRegex(self.run_caddis("version").stdout, r"^caddis v\d+\.\d+\.\d+, commit=[0-9a-f]+\n$")
        self.assertEqual(self.run_caddis().returncode, 2)
        self.assertEqual(self.run_caddis("mount", "-h").returncode, 0)


if __name__ == "__main__":
    unittest.main()
