"""The bench with a plain app instead of caddis: machines, volumes, network, proxy, deploys do what Fly's do."""
import json
import os
import re
import socket
import sys
import time

from fleet import Fleet, Image, client, deploy
from fleet.flyproxy import FlyProxy, HealthChecks
from harness import Skip, test, wait_until

SHELL = "python3 -B counter_app.py migrate && exec python3 -B counter_app.py serve"
APP = Image(sys.executable, ("sh", "-c", SHELL), env={"APP_DIR": "/data", "APP_JOURNAL": "delete", "PORT": "8080"})
ECHO = ("import socket,sys\ns=socket.create_server(('::',20202),family=socket.AF_INET6)\nwhile 1:\n c,_=s.accept()\n"
        " d=c.recv(100)\n c.sendall(d)\n c.close()")


def plain_fleet(t, *regions, image=APP):
    fleet = Fleet(t)
    fleet.checks = [(8080, "/health")]
    for region in regions:
        fleet.machine(region, image)
    return fleet


def count(machine):
    return json.loads(client.get(machine.url(8080), "/count")[1])["count"]


def test_a_machine_sees_what_a_machine_on_fly_sees(t):
    fleet = plain_fleet(t, "ord", "ams")
    machine, other = fleet.machines
    machine.start(wait=False)
    env = dict(line.split("=", 1) for line in machine.exec("env").stdout.splitlines())
    assert env["FLY_MACHINE_ID"] == env["FLY_ALLOC_ID"] == machine.exec("hostname").stdout.strip() == machine.id
    assert (env["FLY_REGION"], env["PRIMARY_REGION"], env["FLY_PRIVATE_IP"]) == ("ord", "ord", machine.ip)
    assert machine.exec("getent", "ahostsv6", "fly-local-6pn").stdout.split()[0] == machine.ip
    assert machine.read("/etc/resolv.conf") == "nameserver fdaa::3\n"
    assert machine.exec("ls", "/data").stdout.split()[0] in ("app.db", "lost+found")
    devices = [line.split()[:2] for line in machine.read("/proc/mounts").splitlines() if line.startswith("/dev/")]
    assert devices == [["/dev/vdb", "/data"]], devices
    assert machine.exec("cat", "/proc/1/comm").stdout.strip().startswith("python")

    def limit():
        with open(f"/proc/{machine.main_pid}/limits") as f:
            return re.search(r"Max open files +10240 +10240 ", f.read())
    wait_until(limit, 5, "the program to have Fly's limit of open files")
    gone = machine.exec("getent", "ahostsv6", f"{other.id}.vm.demo.internal", check=False)
    assert gone.returncode != 0, "a machine that is not started has a name"
    other.start(wait=False)
    found = machine.exec("getent", "ahostsv6", f"{other.id}.vm.demo.internal").stdout.split()[0]
    assert found == other.ip
    fleet.dns.mode = "nxdomain"
    assert machine.exec("getent", "ahostsv6", f"{other.id}.vm.demo.internal", check=False).returncode != 0
    fleet.dns.mode = "ok"
    made = "/etc/made-in-" + os.path.basename(t.dir)
    machine.exec("touch", made, "/data/kept")
    assert not os.path.exists(made), "the machine wrote into the host's file system"
    machine.stop()
    machine.start(wait=False)
    assert machine.read(made) is None and machine.read("/data/kept") == ""


def test_a_stop_is_kill_signal_then_sigterm_then_sigkill(t):
    fleet = plain_fleet(t, "ord")
    [machine] = fleet.machines
    script = ("import os,signal,sys,time\ncodes=dict(c.split(':') for c in os.environ['CODES'].split(','))\n"
              "for name in ('SIGINT','SIGTERM'):\n"
              "  signal.signal(getattr(signal,name),lambda *a,n=name:n in codes and os._exit(int(codes[n])))\n"
              "print('up',flush=True)\nwhile True: time.sleep(1)")
    for codes, expected in (("SIGINT:7", (7, "SIGINT")), ("SIGTERM:8", (8, "last SIGTERM")), ("SIGQUIT:1", (137, "SIGKILL"))):
        machine.image = Image(sys.executable, ("python3", "-c", script), env={"CODES": codes})
        machine.start(wait=False)
        machine.wait_log("up")
        ended = machine.stop("SIGINT", 0.3)
        assert (ended.code, ended.stage) == expected and ended.umount_attempts == 1, ended
    machine.image = Image(sys.executable, ("sh", "-c", "(cd /data && exec sleep 60) & echo up; sleep 0.2; exit 5"))
    machine.start(wait=False)
    ended = machine.wait_exit()
    assert (ended.code, ended.umount_attempts, ended.lazy) == (5, 5, True), "a busy volume"


def test_volumes_are_forked_extended_and_lose_power(t):
    fleet = plain_fleet(t, "ord")
    [machine] = fleet.machines
    machine.start()
    before = int(machine.exec("stat", "-f", "-c", "%b", "/data").stdout)
    try:
        machine.volume.extend(64)
    except Skip:
        machine.stop()
        machine.volume.extend(64)
        machine.start()
    assert int(machine.exec("stat", "-f", "-c", "%b", "/data").stdout) > 1.5 * before
    machine.exec("sh", "-c", "echo synced > /data/a; sync /data/a /data; echo not > /data/b")
    fork = machine.volume.fork("fork")
    machine.exec("sh", "-c", "echo not > /data/c")
    machine.lose_power()
    with machine.volume.mounted() as point:
        assert open(f"{point}/a").read() == "synced\n" and not os.path.exists(f"{point}/c")
    with fork.mounted() as point:
        assert sorted(os.listdir(point))[:2] == ["a", "app.db"]
    machine.volume.destroy()
    with machine.volume.mounted() as point:
        assert os.listdir(point) == ["lost+found"]


def talks(machine, other, timeout=0.3):
    code = (f"import socket\ns=socket.create_connection(('{other if isinstance(other, str) else other.ip}',20202),{timeout})\n"
            f"s.settimeout({timeout})\ns.sendall(b'x')\nprint(s.recv(1))")
    done = machine.exec("python3", "-c", code, check=False)
    return "ok" if done.returncode == 0 else done.stderr.strip().splitlines()[-1].split(":")[0]


def test_partitions_resets_and_delays_are_where_they_are_said_to_be(t):
    fleet = plain_fleet(t, "ord", "ams", "syd", image=Image(sys.executable, ("python3", "-c", ECHO)))
    a, b, c = fleet.machines
    for machine in fleet.machines:
        machine.start(wait=False)
    wait_until(lambda: all(talks(x, y) == "ok" for x, y in ((a, b), (b, c), (c, a))), 10, "all to listen")
    cut = fleet.network.block(a, [b])
    assert [talks(a, b), talks(b, a), talks(a, c)] == ["TimeoutError", "TimeoutError", "ok"]
    cut.heal()
    assert talks(a, b) == talks(b, a) == "ok"
    fleet.network.block(a, b, how="reset")
    assert talks(a, b) == "ConnectionRefusedError", (talks(a, b), fleet.network.rules(a))
    fleet.network.heal()
    one_way = fleet.network.block(b, a, both=False, port=20202)  # b cannot ask a; a's questions and b's answers pass
    assert [talks(a, b), talks(b, a)] == ["ok", "TimeoutError"]
    one_way.heal()
    relay = fleet.network.delay(a, b, 0.2)
    began = time.monotonic()
    assert talks(a, b, timeout=3) == "ok" and time.monotonic() - began > 0.4
    relay.close()
    fleet.network.apply()
    c.stop()
    service = fleet.network.service_address(0x77)
    listener = socket.create_server((service, 20202), family=socket.AF_INET6)
    t.defer(listener.close)
    fleet.network.block(c, service)
    c.start(wait=False)
    assert talks(c, service) == "TimeoutError", "a partition outlives a reboot"
    assert talks(a, service, timeout=0.3) == "TimeoutError" and listener.accept(), "it came through and nobody answered"


def test_a_suspended_machine_stands_still_and_goes_on(t):
    fleet = plain_fleet(t, "ord")
    [machine] = fleet.machines
    machine.start()
    writer = client.Writer(t, machine.url(8080), timeout=0.3)
    writer.wait_acks(10)
    machine.suspend()
    time.sleep(0.1)
    before = len(writer.acks())
    time.sleep(0.4)
    assert len(writer.acks()) == before
    machine.resume()
    writer.wait_acks(10)
    machine.suspend()
    machine.kill9()
    assert machine.exit.killed


def test_the_proxy_replays_prefers_and_starts(t):
    fleet = plain_fleet(t, "ord", "ams", image=APP._replace(env={**APP.env, "APP_REPLAY": "1"}))
    near, far = fleet.machines
    checks = HealthChecks(fleet, fleet.checks)
    near.start()
    far.start()
    front = FlyProxy(fleet, fleet.network.service_address(0xF0), edge="ord", near=("ams",), checks=checks, patience=4.0)
    wait_until(lambda: len(front.usable()) == 2, 10, "both to be healthy")
    seen = json.loads(client.get(front.url, "/headers")[1])
    assert seen["machine"] == near.id
    headers = {k.lower(): v for k, v in seen["headers"].items()}
    assert headers["fly-region"] == "ord" and headers["fly-client-ip"] and headers["via"] == "1.1 fly.io", headers
    assert json.loads(client.get(front.url, "/headers", headers={"fly-prefer-region": "ams"})[1])["machine"] == far.id
    assert json.loads(client.get(front.url, "/headers", headers={"fly-force-instance-id": far.id})[1])["machine"] == far.id
    near.exec("sh", "-c", f"echo {far.id} > /data/.primary")  # the app's own replay, as litefs-js does it
    status, text = client.get(front.url, "/write?client=a&seq=1", method="POST", body=b"x" * 10_000)
    assert status == 200 and json.loads(text)["machine"] == far.id and front.log[-1][3] == [near.id, far.id]
    assert client.get(front.url, "/write?client=a&seq=2", method="POST", body=b"x" * 1_500_000)[0] == 502
    far.exec("sh", "-c", f"echo {near.id} > /data/.primary")
    assert client.get(front.url, "/write?client=a&seq=3", method="POST")[0] == 508, "a loop"
    assert (count(near), count(far)) == (0, 1)
    far.stop()
    wait_until(lambda: len(front.usable()) == 1, 5, "the stopped one to be left out")
    assert client.get(front.url, "/write?client=a&seq=4", method="POST")[0] == 502, "its instance is not running"
    near.stop()
    front.autostart = True
    assert client.get(front.url, "/count", timeout=10)[0] == 200 and near.state == "started"


def test_a_web_socket_goes_through_the_proxy(t):
    fleet = plain_fleet(t, "ord")
    [machine] = fleet.machines
    machine.start()
    front = FlyProxy(fleet, fleet.network.service_address(0xF0))
    status, where, echoed = client.web_socket(front.url, b"\x81\x05hello")
    assert (status, where, echoed) == (101, machine.id, b"\x81\x05hello")


@test(timeout=90)
def test_a_rolling_deploy_goes_one_by_one_and_stops_at_a_failure(t):
    fleet = plain_fleet(t, "ord", "ord", "ams", "ams")
    first, second, third, stopped = fleet.machines
    for machine in (first, second, third):
        machine.start()
    steps = deploy.rolling(fleet, APP.next(env={**APP.env, "APP_VERSION": "2"}), smoke=0.1)
    assert [s.machine for s in steps] == [first, second, third] and all(s.exit.code == 0 for s in steps)
    assert all(a.healthy <= b.began for a, b in zip(steps, steps[1:])), "one by one"
    assert stopped.boots == 0 and stopped.image.version == 2
    bad = APP.next(env={**APP.env, "APP_MIGRATE_FAIL": "5"})
    try:
        deploy.rolling(fleet, bad, smoke=1.0)
        raise AssertionError("it went through")
    except deploy.DeployFailed as failed:
        assert failed.machine is first and failed.stage in ("smoke", "checks") and failed.detail == "exit code 5", failed
    assert second.image.version == 2 and second.checks_pass() and first.state == "stopped"
    first.image = stopped.image = second.image
    first.start()
    stopped.start()  # four that run: two at a time
    steps = deploy.rolling(fleet, APP._replace(version=9), smoke=0.1)
    waves = sorted(s.began for s in steps)
    assert waves[1] - waves[0] < 0.2 <= waves[2] - waves[1], waves


def test_the_machine_api_keeps_metadata_and_fails_on_demand(t):
    fleet = plain_fleet(t, "ord", image=Image(sys.executable, ("sleep", "100")))
    [machine] = fleet.machines
    machine.start(wait=False)
    path = f"http://localhost/v1/apps/demo/machines/{machine.id}/metadata"

    def curl(*args):
        return machine.exec("curl", "-s", "-m", "1", "-o", "/tmp/out", "-w", "%{http_code}", "--unix-socket", "/.fly/api", *args,
                            check=False)
    assert curl("-d", '{"value":"primary"}', path + "/role").stdout == "204"
    assert curl(path).stdout == "200" and json.loads(machine.read("/tmp/out")) == {"role": "primary"}
    assert machine.exec("getent", "ahostsv6", "primary.role.kv._metadata.demo.internal").stdout.split()[0] == machine.ip
    assert curl("-X", "DELETE", path + "/role").stdout == "204" and machine.metadata == {}
    machine.api.mode = "429"
    assert curl(path).stdout == "429"
    machine.api.mode = "hang"
    assert curl(path).returncode == 28
    machine.api.mode = "absent"
    assert curl(path).returncode == 7
    machine.api.mode = "ok"
    assert curl(path).stdout == "200"
