"""`caddis mount` as a program: boot lines, exit codes, the exec list, signals, the order of a stop, the node port's commands."""
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import harness
from harness.node import Node

WRITE = ("import sqlite3,sys\nc=sqlite3.connect(sys.argv[1])\nc.execute('create table if not exists t(x)')\n"
         "c.execute('insert into t values(1)')\nc.commit()\nc.close()\n")


def writer(node, name="app.db"):
    return [sys.executable, "-c", WRITE, os.path.join(node.mount, name)]


def run(t, *app, timeout=20, name="node", config=None, env=None, candidate=True):
    """A node from start to end: (exit code, stdout, log)."""
    node = Node(t, name, config=config, env=env, candidate=candidate)
    node.start(*app, wait=False, stdout=subprocess.PIPE)
    out, _ = node.process.communicate(timeout=timeout)
    assert not harness.is_mounted(node.mount), node.log()
    return node.process.returncode, out.decode(), node.log(this_run=True)


def started(t, *app, **options):
    """A node whose app has printed a first line."""
    node = Node(t, **options)
    node.start(*app, stdout=subprocess.PIPE)
    node.process.stdout.readline()
    return node


def comm(pid):
    """The name of a living process, else None."""
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/stat") as f:
            stat = f.read()
        return None if stat.rsplit(") ", 1)[1][0] == "Z" else stat.split("(", 1)[1].rsplit(")", 1)[0]


def in_order(log, *lines):
    at = -1
    for line in lines:
        found = log.find(line, at + 1)
        assert found > at, f"{line!r} is missing or too early in:\n{log}"
        at = found


def test_boot_prints_the_lines_litefs_users_look_for_in_order(t):
    node = Node(t)
    node.start(*writer(node), wait=False)
    assert node.wait_exit() == 0, node.log()
    in_order(node.log(), "caddis v", "config file read from ", "no backup client configured, skipping",
             "Using static primary: primary=true hostname=node advertise-url=http://127.0.0.1:",
             f"LiteFS mounted to: {node.mount}", f"http server listening on: http://localhost:{node.port}",
             "waiting to connect to cluster", "primary lease acquired, advertising as http://127.0.0.1:",
             "connected to cluster, ready", "no proxy target set, skipping proxy", "starting background subprocess: ",
             "waiting for signal or subprocess to exit", "subprocess exited successfully, litefs shutting down")


def test_exit_codes_are_the_apps(t):
    for i, (argv, expected) in enumerate([(["true"], 0), (["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -KILL $$"], 137),
                                          (["/nonexistent/app"], 127), (["/etc/passwd"], 126)]):
        code, _, log = run(t, *argv, name=f"n{i}")
        assert code == expected, (argv, code, log)


def test_arguments_reach_the_app_byte_for_byte(t):
    code, out, log = run(t, sys.executable, "-c", "import sys; sys.stdout.write('|'.join(sys.argv[1:]))", "a b", "", '"q"',
                         "$HOME", "x\ny")
    assert (code, out) == (0, 'a b||"q"|$HOME|x\ny'), log


def test_a_term_reaches_the_app_and_its_code_is_kept(t):
    trap = ("import signal,sys,time\nsignal.signal(signal.SIGTERM,lambda *a:sys.exit(41))\nprint('up',flush=True)\n"
            "time.sleep(60)")
    assert started(t, sys.executable, "-c", trap).stop() == 41
    assert started(t, "sh", "-c", "echo up; exec sleep 60", name="plain").stop() == 143
    assert started(t, "sh", "-c", "echo up; exec sleep 60", name="int").stop(signal.SIGINT) == 130


def test_an_app_that_ignores_term_is_killed_after_the_stop_timeout(t):
    ignoring = ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"]
    node = started(t, *ignoring, config={"stop-timeout": "300ms"})
    began = time.monotonic()
    assert node.stop() == 137
    assert 0.25 < time.monotonic() - began < 2.5
    node = started(t, *ignoring, name="second", config={"stop-timeout": "30s"})
    node.signal(signal.SIGTERM)
    node.wait_log("sending signal to exec process")
    assert node.stop() == 137


def test_a_stop_takes_less_than_150_ms_with_an_idle_app(t):
    node = started(t, "sh", "-c", "echo up; exec sleep 60")
    began = time.monotonic()
    node.stop()
    assert time.monotonic() - began < 0.6, time.monotonic() - began  # a loaded machine; 150 ms on a quiet one


def test_the_exec_list_runs_in_order_and_stops_at_the_first_failure(t):
    out = t.path("out")
    def entries(*codes):
        return {"exec": [{"cmd": ["sh", "-c", f"echo {i} >> {out}; exit {code}"]} for i, code in enumerate(codes)]}
    code, _, log = run(t, name="good", config=entries(0, 0))
    assert code == 0 and open(out).read() == "0\n1\n", log
    code, _, log = run(t, name="bad", config=entries(0, 5, 0))
    assert code == 5 and open(out).read() == "0\n1\n0\n1\n", log
    assert "ERROR: cannot exec: " in log


def test_candidate_only_entries_are_skipped_on_other_nodes(t):
    config = {"exec": [{"cmd": ["false"], "if-candidate": True}, {"cmd": ["false"], "if-primary": True}, {"cmd": ["true"]}]}
    code, _, log = run(t, config=config, candidate=False)
    assert code == 0, log
    assert "node is not a candidate, skipping command execution: false" in log
    assert "node is not the primary, skipping command execution: false" in log


def test_a_skipped_last_entry_leaves_the_node_up_and_a_signal_ends_it_with_0(t):
    node = Node(t, candidate=False, config={"exec": [{"cmd": ["true"], "if-candidate": True}]})
    node.start()
    assert node.stop() == 0


def test_a_signal_during_a_migration_is_obeyed_at_once(t):
    ran = t.path("ran")
    node = Node(t, config={"exec": [{"cmd": ["sh", "-c", f"touch {ran}; exec sleep 60"]}, {"cmd": ["touch", ran + "2"]}]})
    node.start(wait=False)
    harness.wait_until(lambda: os.path.exists(ran), 10, "the migration")
    began = time.monotonic()
    assert node.stop() == 143
    assert time.monotonic() - began < 1.5
    assert not os.path.exists(ran + "2")


def test_a_migration_that_takes_too_long_is_stopped(t):
    code, _, log = run(t, config={"exec": [{"cmd": ["sleep", "60"], "timeout": "200ms"}, {"cmd": ["true"]}]})
    assert code == 143, log


def test_with_exit_on_error_false_a_failed_start_stays_up_until_a_signal(t):
    node = Node(t, config={"exit-on-error": False, "exec": [{"cmd": ["sh", "-c", "exit 3"]}, {"cmd": ["true"]}]})
    node.start(wait=False)
    node.wait_log("ERROR: cannot exec: ")
    status, text = node.health()
    assert status == 503 and "start failed" in text, text
    assert node.stop() == 143


def test_after_kill_9_the_app_is_dead_and_the_next_start_has_every_commit(t):
    node = started(t, "sh", "-c", "echo $$; exec sleep 60")
    with contextlib.closing(node.db()) as db:
        db.execute("pragma journal_mode=wal")
        db.execute("create table t(x)")
        for i in range(20):
            db.execute("insert into t values(?)", (i,))
        [app] = [p for p in os.listdir("/proc") if p.isdigit() and comm(p) == "sleep"]
        node.kill9()
        harness.wait_until(lambda: comm(app) is None, 5, "the app to die")
    node.start()
    assert node.sql("app.db", "select count(*) from t") == [(20,)]
    assert node.sql("app.db", "pragma integrity_check") == [("ok",)]
    node.stop()


def test_children_see_where_they_are_and_not_what_is_removed(t):
    node = Node(t, config={"env": {"remove": ["SECRET"]}}, env={"SECRET": "x"})
    node.start("sh", "-c", "echo $CADDIS_DIR $CADDIS_URL $CADDIS_CANDIDATE $HOSTNAME ${SECRET-none}", wait=False,
               stdout=subprocess.PIPE)
    out, _ = node.process.communicate(timeout=20)
    assert out.decode() == f"{node.mount} http://localhost:{node.port} true node none\n", out


def test_user_switches_the_app_and_owns_the_mount(t):
    os.chmod(t.dir, 0o755)
    script = f"id -u; touch $CADDIS_DIR/plain && stat -c %u $CADDIS_DIR/plain; echo $HOME"
    code, out, log = run(t, "sh", "-c", script, config={"user": "nobody"})
    assert code == 0 and out == "65534\n65534\n/nonexistent\n", (out, log)


def test_a_taken_port_is_an_error_before_anything_is_mounted(t):
    first = started(t, "sh", "-c", "echo up; exec sleep 60", name="first")
    code, _, log = run(t, "true", name="second", config={"http": {"addr": f"127.0.0.1:{first.port}"}})
    assert code == 1 and "cannot init http server: cannot open http server" in log, log
    assert "mounted" not in log
    first.stop()


def test_consul_and_s3_leases_are_refused_with_exit_code_2(t):
    for lease in ({"type": "consul", "consul": {"url": "http://127.0.0.1:1", "key": "k"}},
                  {"type": "s3", "s3": {"url": "s3://bucket/lease"}}):
        code, _, log = run(t, "true", name=lease["type"], config={"lease": lease})
        assert code == 2 and "lease.type" in log, log


# ---- the node port

def request(node, path, data=None):
    try:
        with urllib.request.urlopen(urllib.request.Request(node.url + path, data=data), timeout=10) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def test_the_node_port_answers_as_litefs_does(t):
    node = Node(t).start("sleep", "60")
    status, body, headers = request(node, "/info")
    info = json.loads(body)
    assert status == 200 and list(info)[:5] == ["clusterID", "isPrimary", "candidate", "path", "primary"], body
    assert info["path"] == node.data and info["isPrimary"] and info["primary"] == {"hostname": "node"}
    assert len(headers["Litefs-Id"]) == 16 and headers["Litefs-Cluster-Id"] == info["clusterID"]
    assert open(os.path.join(node.data, "clusterid")).read() == info["clusterID"] + "\n"
    for path, data, expected in [("/health", None, (200, b"ok\n")), ("/nothing", None, (404, b"404 page not found\n")),
                                 ("/info", b"", (405, b"method not allowed\n")),
                                 ("/export", None, (400, b"name required\n")),
                                 ("/export?name=none.db", None, (404, b"database not found\n"))]:
        assert request(node, path, data)[:2] == expected, (path, request(node, path, data))
    assert b"litefs_is_primary 1\n" in request(node, "/metrics")[1]
    assert request(node, "/import?name=../../x", b"x")[0] == 400
    assert request(node, "/import?name=a.db", b"not a database" * 100)[0] == 400
    status, body, _ = request(node, "/caddis/v1/nothing")
    assert status == 404 and json.loads(body)["error"], body
    assert json.loads(request(node, "/caddis/v1/status")[1])["node"]["ready"]
    assert node.stop() == 143


def caddis(*args, check=False):
    return harness.run(harness.binary(), *args, check=check)


def test_export_and_import_give_the_same_rows(t):
    node = Node(t).start("sleep", "60")
    with contextlib.closing(node.db()) as db:
        db.executescript("pragma journal_mode=wal; create table t(x); insert into t values(1),(2),(3)")
        out = t.path("out.db")
        done = caddis("export", "-url", node.url, "-name", "app.db", out)
        assert done.returncode == 0 and 'Export of database "app.db" in ' in done.stdout, done
        import sqlite3
        copy = sqlite3.connect(out, isolation_level=None)
        assert copy.execute("select count(*) from t").fetchone() == (3,)
        copy.execute("insert into t values(4)")
        copy.close()
        for name in ("app.db", "new.db"):
            done = caddis("import", "-url", node.url, "-name", name, out)
            assert done.returncode == 0 and f'Import of database "{name}" in ' in done.stdout, done
            assert node.sql(name, "select count(*) from t") == [(4,)]
            assert node.sql(name, "pragma integrity_check") == [("ok",)]
        assert db.execute("select count(*) from t").fetchone() == (4,)  # an open connection sees the import
    before = open(out, "rb").read()
    done = caddis("export", "-url", node.url, "-name", "no.db", out)
    assert (done.returncode, done.stderr) == (1, "ERROR: database not found\n"), done
    assert open(out, "rb").read() == before
    left = os.listdir(os.path.join(node.data, "caddis/tmp"))
    assert left == [], left
    node.stop()


def test_import_is_refused_where_the_node_is_not_primary(t):
    node = Node(t, candidate=False).start("sleep", "60")
    open(t.path("x.db"), "wb").close()
    done = caddis("import", "-url", node.url, "-name", "a.db", t.path("x.db"))
    assert (done.returncode, done.stderr) == (1, "ERROR: invalid response: code=503: lease expired\n"), done
    node.stop()


def test_status_and_run_if_candidate(t):
    node = Node(t).start("sleep", "60")
    node.sql("app.db", "create table t(x)")
    done = caddis("status", "-url", node.url)
    assert done.returncode == 0 and "role: primary" in done.stdout and "app.db" in done.stdout, done
    assert json.loads(caddis("status", "-json", "-url", node.url).stdout)["databases"][0]["name"] == "app.db"
    assert caddis("status", "none.db", "-url", node.url).returncode == 1
    assert caddis("run", "-url", node.url, "-if-candidate", "--", "sh", "-c", "exit 6").returncode == 6
    assert caddis("run", "-url", node.url, "-promote", "--", "sh", "-c", "exit 5").returncode == 5
    assert caddis("run", "-url", node.url, "-on-primary", "--", "true").returncode == 1
    node.stop()
    replica = Node(t, "replica", candidate=False).start("sleep", "60")
    done = caddis("run", "-url", replica.url, "-if-candidate", "--", "false")
    assert (done.returncode, done.stderr) == (0, "node is not a candidate, skipping execution\n"), done
    replica.stop()
    assert caddis("status", "-url", node.url).returncode == 1


def test_a_signal_during_a_restore_is_obeyed_at_once(t):
    silent = socket.create_server(("127.0.0.1", 0))  # a bucket that takes the request and never answers
    t.defer(silent.close)
    url = f"s3://bucket/app?endpoint=http://127.0.0.1:{silent.getsockname()[1]}&region=auto"
    node = Node(t, config={"backup": [{"url": url, "access-key-id": "k", "secret-access-key": "s"}]})
    for sig, code in [(signal.SIGTERM, 143), (signal.SIGINT, 130)]:
        node.start("true", wait=False)
        silent.settimeout(10)
        silent.accept()
        began = time.monotonic()
        assert node.stop(sig) == code, node.log()
        assert time.monotonic() - began < 1.5, time.monotonic() - began


def test_a_restore_that_gets_no_answer_ends_with_69(t):
    silent = socket.create_server(("127.0.0.1", 0))
    t.defer(silent.close)
    url = f"s3://bucket/app?endpoint=http://127.0.0.1:{silent.getsockname()[1]}&region=auto"
    code, _, log = run(t, "true", config={"backup": [{"url": url, "access-key-id": "k", "secret-access-key": "s"}],
                                          "restore-timeout": "700ms"})
    assert code == 69 and "ERROR: restore: " in log, log
    assert "LiteFS mounted" not in log


def test_the_machines_role_is_told_to_fly_and_taken_back(t):
    if not os.path.isdir("/.fly"):
        os.mkdir("/.fly")
        t.defer(os.rmdir, "/.fly")
    harness.run("mount", "-t", "tmpfs", "none", "/.fly")  # in the test's own mount namespace
    t.defer(harness.run, "umount", "-l", "/.fly")
    api = socket.socket(socket.AF_UNIX)
    api.bind("/.fly/api")
    api.listen()
    asked = []
    def serve():
        with contextlib.suppress(OSError):
            while True:
                with api.accept()[0] as c:
                    text = c.recv(4096).decode()
                    if "POST" in text and "}" not in text:
                        text += c.recv(4096).decode()
                    asked.append(text.split(" ")[0] + " " + text.split(" ")[1] + " " + text.rsplit("\n", 1)[1])
                    c.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
    threading.Thread(target=serve, daemon=True).start()
    t.defer(api.close)
    node = Node(t, env={"FLY_APP_NAME": "shop", "FLY_MACHINE_ID": "e784", "FLY_REGION": "ord", "PRIMARY_REGION": "ord"})
    node.start("sleep", "60")
    path = "/v1/apps/shop/machines/e784/metadata/role"
    harness.wait_until(lambda: asked, 5, "the role")
    assert "host environment detected" in node.log() and node.stop() == 143
    assert asked == [f'POST {path} {{"value":"primary"}}', f"DELETE {path} "], asked


def test_release_command_machines_run_their_command_and_nothing_else(t):
    for i, env in enumerate([{"RELEASE_COMMAND": "1"}, {"FLY_TEST_COMMAND": "1"},
                             {"FLY_PROCESS_GROUP": "fly_app_release_command"}]):
        node = Node(t, f"n{i}", env=env)
        node.start("sh", "-c", "exit 4", wait=False)
        assert node.wait_exit() == 4, node.log()
        assert not os.path.exists(node.data) and "mounted" not in node.log(), node.log()
