"""Rolling deploys under constant writes: the clients' log equals every database and the restored backup."""
import json
import time

from fleet import capabilities, deploy, truth
from fleet.client import get, longest_gap, switches
from fleet.cluster import Cluster
from harness import test


def deploys(t, lease, rounds, sig="SIGINT", **options):
    """Each updated candidate becomes primary to migrate (lease.promote), as Fly's guides have it."""
    capabilities.need(t, "replication", lease)
    bucket = capabilities.is_caddis()  # another program has no backup of its own
    c = Cluster(t, ("ord", "ord", "ams"), lease=lease, bucket=bucket, config={"lease": {"promote": True}}, **options).start()
    fronts = [c.flyproxy("ord", near=("ams",)), c.flyproxy("ams", near=("ord",), number=0xF1)]
    writers = [c.writer(fronts[0], "w1"), c.writer(fronts[0], "w2", pause=0.003), c.writer(fronts[1], "w3")]
    readers = [c.reader(front) for front in fronts]
    writers[0].wait_acks(30)
    gaps = []
    for number in range(rounds):
        began = time.monotonic()
        steps = deploy.rolling(c.fleet, c.new_image(), sig=sig, smoke=0.2)
        for step in steps:
            assert step.exit.code == 0 and step.exit.umount_attempts == 1, (step, step.machine.log()[-4000:])
        writers[0].wait_acks(10)
        gaps.append(longest_gap(writers, since=began))
        print(f"deploy {number + 1}: {time.monotonic() - began:.1f} s, write gap {gaps[-1]}, handed over to "
              f"{[s[2] for s in switches(writers) if s[0] > began]}")
    for reader in readers:
        assert not reader.stop().failures(), f"a read failed: {reader.failures()[:3]}"
    verdict = c.check_everything(writers)
    print(f"{verdict}; longest write gap {max(gaps, key=lambda g: g.seconds)}")
    # at most: away from the first, back to it, on to the second, and away when that one is stopped
    assert len(switches(writers)) <= 4 * rounds, switches(writers)
    assert max(g.seconds for g in gaps) < 1.5, gaps
    version = c.app_env["APP_VERSION"]
    for machine in c.machines:
        assert json.loads(get(machine.url(8080), "/count")[1])["version"] == version
    migrated = c.machines[0].sql("SELECT version || ' ' || machine FROM migrations ORDER BY rowid").splitlines()
    ran_on = {m.split()[1] for m in migrated}
    assert [m.split()[0] for m in migrated] == [str(v) for v in range(1, int(version) + 1)], migrated
    assert ran_on <= {m.id for m in c.machines if m.region == "ord"}, migrated
    return c, verdict


@test(timeout=120, alone=True)
def test_f4_a_rolling_deploy_under_constant_writes_consul(t):
    deploys(t, "consul", 1, sig="SIGTERM", app={"APP_JOURNAL": "delete", "APP_CONNECTION": "per-request"})


@test(timeout=120, alone=True)
def test_f4_a_rolling_deploy_under_constant_writes_s3(t):
    deploys(t, "s3", 1, app={"APP_CONNECTION": "per-request"})


@test(timeout=240, alone=True)
def test_ten_rolling_deploys_under_constant_writes(t):
    deploys(t, "s3", 10)


@test(timeout=120)
def test_an_immediate_deploy_loses_nothing(t):
    """All machines at once: no hand-over is possible, and none of what was acknowledged is lost."""
    capabilities.need(t, "replication", "s3")
    c = Cluster(t, ("ord", "ord", "ams"), lease="s3", bucket=True).start()
    front = c.flyproxy("ord")
    writer = c.writer(front, "w1", timeout=4.0)
    writer.wait_acks(50)
    deploy.immediate(c.fleet, c.new_image())
    for machine in c.machines:
        machine.wait_healthy()
    writer.wait_acks(30, 20)
    c.check_everything([writer])
    assert truth.wait_converged(c.machines)
