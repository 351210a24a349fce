"""One machine's life on Fly: first boot, lost volume, stop, clone, special machines. The names are those of ./dev fly-sim."""
import json
import os
import sys
import time

from fleet import Fleet, Image, capabilities, deploy, truth
from fleet.client import get
from fleet.cluster import BUCKET_HOST, DATA, PYTHON, Cluster
from harness import binary, check_database, test, wait_until
from harness.oracle import EMPTY_SUM, committed_image, database_sum, replay_log


def databases(volume, data="litefs"):
    """Databases with content on a volume whose machine is down."""
    with volume.mounted() as point:
        base = os.path.join(point, data, "dbs")
        return [n for n in (os.listdir(base) if os.path.isdir(base) else [])
                if os.path.exists(f"{base}/{n}/database") and os.path.getsize(f"{base}/{n}/database")]


def check_volume(volume, data="litefs", name="app.db"):
    """The log of a volume whose machine is down replays to its database, checksum by checksum."""
    with volume.mounted() as point:
        directory = os.path.join(point, data, "dbs", name)
        image, position = replay_log(directory)
        actual = database_sum(committed_image(directory))
        assert position.checksum == database_sum(image) == actual or (not image and position.checksum == EMPTY_SUM), position


def rows_of(machine):
    return json.loads(get(machine.url(8080), "/rows")[1])["rows"]


def write(machine, client, count, first=1):
    for seq in range(first, first + count):
        status, text = get(machine.url(8080), f"/write?client={client}&seq={seq}", method="POST")
        assert status == 200, (status, text)


def test_f1_first_boot_on_an_empty_volume_and_an_empty_bucket(t):
    c = Cluster(t, bucket=True)
    machine = c.machines[0].start()
    write(machine, "a", 5)
    assert machine.read("/litefs/.primary") is None
    assert machine.exec("ls", "-A", "/data").stdout.split() == ["litefs", "lost+found"]
    assert machine.exec("ls", "-A", "/data/lost+found").stdout == ""
    assert machine.info()["isPrimary"]
    wait_until(lambda: machine.api.roles() == ["primary"], 5, "the role to be posted")
    assert c.fleet.dns.queries == [] or all(q[0] == machine.ip for q in c.fleet.dns.queries)
    ended = machine.stop()
    assert (ended.code, ended.umount_attempts, ended.held) == (0, 1, []), (ended, machine.log())
    assert machine.api.roles()[-1] is None, "a stopped machine still shows a role"
    assert len(truth.of_backup(t, c.backup_url, c.s3.env).rows) == 5
    check_volume(machine.volume)


def test_f1_without_any_configuration(t):
    """fly launch, a volume, fly storage create: nothing is written down. The data lies on the volume all the same."""
    c = Cluster(t, bucket=True)
    shell = f"{PYTHON} migrate && exec {PYTHON} serve"
    # lease type auto is s3 where a bucket is there, once the build has it
    image = Image(capabilities.program(), ("caddis", "mount", "--", "sh", "-c", shell), env={**c.app_env, "PORT": "8080"})
    machine = c.machines[0]
    machine.image = image
    machine.start()
    write(machine, "a", 3)
    log = machine.log()
    assert "EVERYTHING IN IT IS LOST" not in log, log
    assert machine.exec("ls", "/data/caddis/dbs").stdout.split() == ["app.db"]
    assert machine.stop().code == 0
    assert len(truth.of_backup(t, c.backup_url, c.s3.env).rows) == 3


def test_f2_a_lost_volume_comes_back_before_the_app_starts(t):
    lost_volume(t, "rclone")


def test_f2_a_lost_volume_comes_back_from_another_store_too(t):
    lost_volume(t, "moto")


def lost_volume(t, server):
    c = Cluster(t, bucket=server)
    machine = c.machines[0].start()
    writer = c.writer(machine, "before")
    writer.wait_acks(100).stop()
    assert machine.stop().code == 0
    machine.volume.destroy()
    again = c.writer(machine, "after", timeout=2.0)
    machine.start()
    again.wait_acks(20).stop()
    copy = truth.of_machine(machine)
    truth.check([writer, again], [copy])
    first = min(r[0] for r in copy.rows if r[1] == "after")
    assert first > max(r[0] for r in copy.rows if r[1] == "before"), "a write came before the restored data"
    assert machine.stop().code == 0
    truth.check([writer, again], [truth.of_volume(machine.volume), truth.of_backup(t, c.backup_url, c.s3.env)])


def test_f2_power_loss_keeps_every_acknowledged_write(t):
    c = Cluster(t)
    machine, writers = c.machines[0], []
    for boot in range(3):
        machine.start()
        writers.append(c.writer(machine, f"boot{boot}", pause=0.002, timeout=0.5))
        writers[-1].wait_acks(60)
        machine.lose_power()
        writers[-1].stop(abandon=True)
    machine.start()
    truth.check(writers, [truth.of_machine(machine)])
    assert machine.stop().code == 0
    check_volume(machine.volume)


def test_f3_an_unreachable_bucket_and_an_empty_volume_never_start_empty(t):
    c = Cluster(t, bucket=True, config={"restore-timeout": "700ms"})
    machine = c.machines[0]
    for what in ("drop", "hang", "503", "no name", "silent resolver", "cut off"):
        if what == "no name":
            del c.fleet.dns.hosts[BUCKET_HOST]
        elif what == "silent resolver":
            c.fleet.dns.mode = "timeout"
        elif what == "cut off":
            c.fleet.network.block(machine, c.bucket_address)
        else:
            c.s3_faults.fail(what)
        began = time.monotonic()
        machine.start(wait=False)
        ended = machine.wait_exit(20)
        assert ended.code == 69, (what, ended, machine.log(this_boot=True))
        assert time.monotonic() - began < 6, (what, time.monotonic() - began)
        assert "ERROR: restore: " in machine.log(this_boot=True)
        assert "LiteFS mounted" not in machine.log(this_boot=True)
        assert databases(machine.volume) == [], what
        c.s3_faults.heal()
        c.fleet.network.heal()
        c.fleet.dns.mode, c.fleet.dns.hosts[BUCKET_HOST] = "ok", c.bucket_address


def test_f3_a_signal_ends_a_start_that_waits_for_a_silent_resolver(t):
    c = Cluster(t, bucket=True)
    [machine] = c.machines
    c.fleet.dns.mode = "timeout"
    machine.start(wait=False)
    wait_until(lambda: c.fleet.dns.queries, 10, "the start to ask the resolver")
    ended = machine.stop("SIGTERM", 5.0)
    assert ended.code == 143 and ended.elapsed < 1.5 and ended.umount_attempts == 1, (ended, machine.log())


@test(timeout=90)
def test_faults_of_the_bucket_delay_the_backup_and_spoil_nothing(t):
    """One fault after the other under constant writes; the last one is healed before the stop."""
    c = Cluster(t, bucket="moto", app={"APP_SYNC": "normal"})
    [machine] = c.machines
    machine.start()
    writer = c.writer(machine, "w1", pause=0.005)
    for action in ("500", "408", "429", "409", "drop", "hang", "slow", "cut", "lose-answer", "late"):
        fault = c.s3_faults.fail(action, lambda request: request.method == "PUT", times=3, seconds=0.5, bytes=30)
        wait_until(lambda: fault.hits, 10, f"an upload to meet {action}")
        writer.wait_acks(20)
        if action == "hang":
            time.sleep(1.0)
        c.s3_faults.heal()
    writer.wait_acks(20).stop()
    copy = truth.of_machine(machine)
    c.wait_backup(copy)
    assert machine.metric("caddis_backup_stopped") in (None, 0), machine.log()
    assert machine.stop().code == 0
    check_volume(machine.volume)
    truth.check([writer], [copy, truth.of_backup(t, c.backup_url, c.s3.env),
                           truth.of_backup(t, c.backup_url, c.s3.env, program=binary())])


def test_f3_a_bucket_that_comes_back_in_time_is_waited_for(t):
    c = Cluster(t, bucket=True)
    machine = c.machines[0].start()
    write(machine, "a", 10)
    assert machine.stop().code == 0
    machine.volume.destroy()
    c.s3_faults.fail("503")
    machine.start(wait=False)
    wait_until(lambda: c.s3_faults.requests and c.s3_faults.requests[-1][3] == "503", 10, "the start to ask the bucket")
    c.s3_faults.heal()
    machine.wait_healthy()
    assert len(rows_of(machine)) == 10


def test_f5_a_deploy_whose_migration_fails_or_whose_app_crashes_stops_at_the_first_machine(t):
    c = Cluster(t, ("ord", "ams"), bucket=True)
    first, second = c.machines
    first.start()
    write(first, "a", 5)
    c.wait_backup(truth.of_machine(first))
    second.start()
    good = c.image
    for changes, code in (({"APP_MIGRATE_FAIL": "5"}, 5), ({"APP_CRASH_AFTER": "0"}, 3)):
        boots = second.boots
        image = good.next(env={**good.env, **changes})
        try:
            deploy.rolling(c.fleet, image, smoke=2.0)
            raise AssertionError("the deploy went through")
        except deploy.DeployFailed as failed:
            assert failed.machine is first and failed.stage in ("smoke", "checks"), failed
        ended = first.wait_exit()
        assert ended.code == code and ended.umount_attempts == 1, (ended, first.log(this_boot=True))
        assert second.boots == boots and second.checks_pass()
        assert get(second.url(8080), "/count")[0] == 200
        first.image = good
        first.start()
        assert len(rows_of(first)) == 5
    check_database_inside(first)


def check_database_inside(machine):
    """harness.check_database over a machine that runs."""
    class Seen:
        mount, data = machine.outside("/litefs"), machine.outside(DATA)
    return check_database(Seen, "app.db", log=False)


def stop_cases(t, entry):
    c = Cluster(t, entry=entry)
    machine = c.machines[0]
    # (what the app does, kill_timeout, exit code): the stop time-out of a machine on Fly is 3 s
    for what, timeout, code in (("exit:0", 5.0, 0), ("exit:1", 5.0, 1), ("default", 5.0, 130), ("ignore", 5.0, 137)):
        machine.env["APP_ON_SIGNAL"] = what
        machine.start()
        write(machine, what, 5)
        get(machine.url(8080), "/fork?n=3")
        ended = machine.stop("SIGINT", timeout)
        log = machine.log(this_boot=True)
        assert ended.code == code and ended.stage == "SIGINT", (what, ended, log)
        assert (ended.umount_attempts, ended.lazy) == (1, False), (what, ended, log)
        assert ended.elapsed < (timeout + 0.5 if what == "ignore" else 1.5), (what, ended, log)
        assert "litefs shut down complete" in log, (what, log)
        wait_until(lambda: machine.api.roles()[-1] is None, 2, "the role to be cleared")
        check_volume(machine.volume)
    assert len(truth.of_volume(machine.volume).rows) == 20


def test_f6_a_stop_ends_in_time_whatever_the_app_does(t):
    stop_cases(t, "init")


def test_f6_a_stop_as_pid_1_ends_in_time_whatever_the_app_does(t):
    stop_cases(t, "direct")


def test_f6_a_stop_under_tini_ends_in_time_whatever_the_app_does(t):
    stop_cases(t, "tini")


def test_f6_an_open_shell_on_the_mount_does_not_hold_up_a_stop(t):
    """fly ssh console, cd /litefs, a sqlite3 left open; then a deploy."""
    c = Cluster(t)
    machine = c.machines[0].start()
    write(machine, "a", 3)
    shell = machine.spawn(sys.executable, "-c", "import os,sqlite3,time\nos.chdir('/litefs')\nd=sqlite3.connect('app.db')\n"
                          "print(d.execute('select count(*) from writes').fetchone(),flush=True)\ntime.sleep(60)", stdout=-1)
    shell.stdout.readline()
    ended = machine.stop()
    assert ended.code == 0 and ended.elapsed < 2.5, (ended, machine.log(this_boot=True))
    machine.start()
    assert len(rows_of(machine)) == 3


def test_f12_a_forked_volume_goes_on_under_the_new_machine(t):
    """fly machine clone from a volume fork: the state directory is the original's, the machine id is not."""
    c = Cluster(t, bucket=True)
    original = c.machines[0].start()
    write(original, "a", 10)
    node = original.get("/info") and original.http("GET", "/info")[2]["Litefs-Id"]
    assert original.stop().code == 0
    clone = c.add("ord", volume=original.volume.fork("clone"))
    clone.image = c.image
    clone.start()
    assert clone.http("GET", "/info")[2]["Litefs-Id"] != node
    assert clone.info()["primary"]["hostname"] in ("", clone.id, original.id)  # the static lease names one of them
    write(clone, "b", 10)
    copy = truth.of_machine(clone)
    assert [r[1] for r in copy.rows] == ["a"] * 10 + ["b"] * 10
    assert clone.stop().code == 0
    assert truth.of_backup(t, c.backup_url, c.s3.env).digest == copy.digest


def test_f12_the_original_of_a_fork_does_not_overwrite_what_the_fork_backed_up(t):
    c = Cluster(t, bucket=True)
    original = c.machines[0].start()
    write(original, "a", 10)
    assert original.stop().code == 0
    clone = c.add("ord", volume=original.volume.fork("clone"))
    clone.image = c.image
    clone.start()
    write(clone, "b", 10)
    assert clone.stop().code == 0
    kept = truth.of_backup(t, c.backup_url, c.s3.env)
    assert len(kept.rows) == 20
    original.start(wait=False)  # older than the bucket: it may wait, catch up or stop its backup, but not write there
    wait_until(lambda: original.pid is None or original.checks_pass(), 20, "the original to decide")
    if original.pid is not None:
        write_if_possible(original)
        original.stop()
    now = truth.of_backup(t, c.backup_url, c.s3.env)
    assert now.rows[:20] == kept.rows, "the original overwrote the fork's history"


def write_if_possible(machine):
    for seq in range(5):
        get(machine.url(8080), f"/write?client=late&seq={seq}", method="POST")


def test_f13_a_new_address_at_reboot_changes_nothing(t):
    c = Cluster(t, bucket=True)
    machine = c.machines[0].start()
    write(machine, "a", 3)
    old = machine.ip
    assert machine.stop().code == 0
    machine.ip = c.fleet.network_address(0x99)
    machine.start()
    assert machine.info()["isPrimary"]
    write(machine, "b", 3)
    assert len(rows_of(machine)) == 6
    assert old not in machine.log(this_boot=True)
    found = machine.exec("grep", "-r", "-l", "-a", old, DATA, check=False)
    assert found.stdout == "", f"the old address is on the volume: {found.stdout}"


def test_f15_release_command_console_and_test_machines_touch_nothing(t):
    c = Cluster(t, bucket=True)
    machine = c.machines[0].start()
    write(machine, "a", 5)
    c.wait_backup(truth.of_machine(machine))
    ended, log = deploy.release_command(c.fleet, c.image, ("caddis", "mount", "--", "sh", "-c", "echo released; exit 7"))
    assert ended.code == 7 and "released" in log, log
    assert "mounted" not in log and "lease" not in log.replace("release", "").replace("without mount, lease or backup", ""), log
    for group, env in (("fly_app_console", {}), ("fly_app_test_machine_command", {"FLY_TEST_COMMAND": "1",
                                                                                  "FLY_TEST_MACHINE_IP": machine.ip})):
        ended, log = c.fleet.run_once(c.image, ("caddis", "mount", "--", "sh", "-c", "ls /litefs; exit 4"), group, env=env)
        assert ended.code == 4 and "app.db" not in log, log
    written = [r for r in c.s3_faults.requests if r[1] in ("PUT", "POST", "DELETE") and r[4] != machine.ip]
    assert not written, written
    assert all(not m.api.history for m in c.fleet.machines if m is not machine)
    assert machine.checks_pass() and machine.info()["isPrimary"]


def test_f16_shell_form_with_busybox_stops_cleanly(t):
    c = Cluster(t, entry="busybox")
    machine = c.machines[0].start()
    write(machine, "a", 5)
    ended = machine.stop("SIGINT")
    assert (ended.code, ended.stage, ended.umount_attempts) == (0, "SIGINT", 1), (ended, machine.log())
    assert "litefs shut down complete" in machine.log()


def test_f16_shell_form_with_dash_is_warned_of_and_loses_nothing(t):
    c = Cluster(t, entry="sh")
    [machine] = c.machines
    writers = []
    for kill_signal in ("SIGINT", "SIGTERM"):
        machine.start()
        assert "the parent process is a shell" in machine.log(this_boot=True), machine.log(this_boot=True)
        writers.append(c.writer(machine, kill_signal, pause=0.005, timeout=0.5))
        writers[-1].wait_acks(30)
        ended = machine.stop(kill_signal, 1.0)
        writers[-1].stop(abandon=True)
        assert ended.elapsed < 2.0, ended
    machine.start()
    truth.check(writers, [truth.of_machine(machine)])
    machine.stop("SIGTERM", 1.0)
    check_volume(machine.volume)


def test_f18_a_missing_or_hanging_machine_api_delays_nothing(t):
    c = Cluster(t)
    machine = c.machines[0]
    for mode in ("ok", "absent", "hang", "500", "429"):
        machine.api.mode = mode
        began = time.monotonic()
        machine.start()
        up = time.monotonic() - began
        write(machine, mode, 3)
        ended = machine.stop()
        assert ended.code == 0 and ended.umount_attempts == 1, (mode, ended, machine.log(this_boot=True))
        assert up < 6 and ended.elapsed < 1.5, (mode, up, ended)
    assert len(truth.of_volume(machine.volume).rows) == 15


def test_f18_the_role_is_posted_once_the_api_answers(t):
    c = Cluster(t)
    machine = c.machines[0]
    machine.api.mode = "500"
    machine.start()
    wait_until(lambda: machine.api.history, 5, "a first attempt")
    machine.api.mode = "ok"
    wait_until(lambda: machine.metadata.get("role") == "primary", 10, "the role")


def test_f21_an_app_of_another_user_reads_and_writes(t):
    c = Cluster(t, config={"user": "www-data"})
    machine = c.machines[0].start()
    write(machine, "a", 10)
    [uid] = {os.stat(f"/proc/{p}").st_uid for p in machine.processes() if "serve" in cmdline(p)}
    assert uid == 33, uid
    assert machine.exec("stat", "-c", "%u %a", "/litefs/app.db").stdout.strip() == "33 660"
    stranger = machine.exec("setpriv", "--reuid", "1000", "--clear-groups", "cat", "/litefs/app.db", check=False)
    assert stranger.returncode != 0 and "Permission denied" in stranger.stderr, stranger
    assert machine.stop().code == 0
    assert len(truth.of_volume(machine.volume).rows) == 10


def test_f21_with_allow_other_two_users_share_a_database(t):
    c = Cluster(t, config={"fuse": {"allow-other": True}})
    machine = c.machines[0].start()
    write(machine, "root", 5)
    code = ("import sqlite3\nd=sqlite3.connect('/litefs/app.db',timeout=5)\n"
            "d.execute(\"insert into writes(client,seq,machine,version,at) values('other',1,'','',0)\")\nd.commit()\n"
            "print(d.execute('select count(*) from writes').fetchone()[0])")
    other = machine.exec("setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups", "/usr/bin/python3", "-c", code)
    assert other.stdout.strip() == "6", other
    write(machine, "root", 5, first=6)
    assert len(rows_of(machine)) == 11
    assert machine.exec("sh", "-c", "ls /litefs").stdout.count("app.db-shm") == 1


def cmdline(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as f:
            return f.read()
    except OSError:
        return ""


def test_a_machine_outside_of_the_primary_region_is_read_only_and_its_writes_are_replayed(t):
    c = Cluster(t, ("ord", "ams"), bucket=True)
    primary, replica = c.machines
    primary.start()
    write(primary, "a", 5)
    c.wait_backup(truth.of_machine(primary))
    replica.start()
    assert not replica.info()["isPrimary"]
    assert replica.read("/litefs/.primary") == primary.id + "\n"
    for statement in ("insert into writes(client,seq,machine,version,at) values('x',1,'','',0)", "create table other(x)",
                      "drop table writes", "delete from writes"):
        code = f"import sqlite3\nd=sqlite3.connect('/litefs/app.db',timeout=0.2)\nd.execute({statement!r})\nd.commit()"
        done = replica.exec("/usr/bin/python3", "-c", code, check=False)
        assert done.returncode != 0 and "readonly database" in done.stderr, (statement, done)
    made = replica.sql("create table t(x)", "new.db", check=False)
    assert made.returncode != 0 and "readonly" in made.stderr, made
    assert replica.exec("ls", DATA + "/dbs").stdout.split() == ["app.db"]
    front = c.flyproxy("ams")
    wait_until(lambda: len(front.usable()) == 2, 10, "both machines to pass their checks")
    status, text = get(front.url, "/write?client=edge&seq=1", method="POST")
    assert status == 200 and json.loads(text)["machine"] == primary.id, (status, text)
    assert front.log[-1][3] == [replica.id, primary.id], front.log
    assert json.loads(get(front.url, "/count")[1])["machine"] == replica.id


def test_no_config_file_and_no_primary_region_is_refused_with_the_cure(t):
    fleet = Fleet(t, primary_region=None)
    machine = fleet.machine("ord", Image(capabilities.program(), ("caddis", "mount", "--", "true")))
    machine.start(wait=False)
    ended = machine.wait_exit()
    assert ended.code == 2 and "PRIMARY_REGION" in machine.log(), (ended, machine.log())
