"""Who may write: stop, kill, partition, suspend, comeback. The names are those of ./dev fly-sim; `lease` in a name is the
store the scenario runs against. Times are printed, so that the log of a run shows them."""
import json
import time

from fleet import Image, capabilities, truth
from fleet.client import get, longest_gap, request, switches
from fleet.cluster import DATA, PYTHON, Cluster
from harness import test, wait_until

SLACK = 2.5  # seconds: a loaded machine with two cores


def candidates(t, lease, regions=("ord", "ord", "ams"), **options):
    """A started cluster that can change its primary, a writer on each candidate, and who is who."""
    capabilities.need(t, "replication", lease)
    c = Cluster(t, regions, lease=lease, **options).start()
    primary = c.primary()
    [other] = [m for m in c.others(primary) if m.region == "ord"]
    return c, primary, other


def direct_writers(c, machines, **options):
    """One writer a machine, past every proxy of Fly's: each machine answers for itself."""
    return [c.writer(m, f"w{m.id[-2:]}", timeout=2.0, **options) for m in machines]


def takeover_bound(c):
    """Seconds until another machine writes after its predecessor went without a word."""
    store = c.ttl * (1 + c.consul.state.late) + 0.1 if c.consul else c.ttl
    return store + 1 + SLACK


def assert_one_writer(writers, changes):
    seen = switches(writers)
    assert len(seen) <= changes, f"acknowledgements from two machines at once: {seen}"
    return seen


def settle(c, writers, set_aside_on=None):
    """All machines equal. What was acknowledged is there, or lies under lost/ of the machine that acknowledged it."""
    for writer in writers:
        writer.stop()
    truth.wait_converged(c.machines, 20)
    copies = [truth.of_machine(m) for m in c.machines]
    assert len({copy.digest for copy in copies}) == 1, {copy.where: (copy.digest, len(copy.rows)) for copy in copies}
    verdict = truth.judge(writers, copies[0])
    assert not (verdict.doubled or verdict.reordered or verdict.ghosts), str(verdict)
    gone = verdict.lost + [a for a, _ in verdict.foreign]
    if gone:
        assert set_aside_on is not None and {a.machine for a in gone} == {set_aside_on.id}, f"lost: {verdict}"
        branches = truth.lost_branches(set_aside_on)
        assert branches, f"{len(gone)} acknowledged writes are gone and nothing is set aside"
        status = json.loads(set_aside_on.get("/caddis/v1/status")[1])
        assert "lost" in json.dumps(status), status
    print(f"{verdict}; set aside: {len(gone)}")
    return verdict


def stop_hands_over(t, lease, sig):
    c, primary, other = candidates(t, lease)
    front = c.flyproxy("ord")
    writers = [c.writer(front, "w1"), c.writer(front, "w2")]
    writers[0].wait_acks(50)
    began = time.monotonic()
    ended = primary.stop(sig)
    assert ended.code == 0 and ended.umount_attempts == 1, (ended, primary.log(this_boot=True))
    if c.consul:
        held = c.consul.primary(f"litefs/{c.fleet.app}")
        assert held is None or held["hostname"] != primary.id, held
    writers[0].wait_acks(50)
    gap = longest_gap(writers, since=began - 0.5)
    print(f"{lease}, {sig}: gap {gap}")
    assert c.primary() is other
    assert gap.seconds < 1.0, f"the gap was {gap}: handed over, or only released?"
    primary.start()
    assert_one_writer(writers, 1)
    settle(c, writers)


@test(timeout=90, alone=True)
def test_f4_a_stop_of_the_primary_hands_over_consul(t):
    stop_hands_over(t, "consul", "SIGTERM")


@test(timeout=90, alone=True)
def test_f4_a_stop_of_the_primary_hands_over_s3(t):
    stop_hands_over(t, "s3", "SIGINT")


def stop_releases(t, lease):
    """F6: whatever the app does, the lease is free afterwards, and the next one need not wait for a TTL."""
    c, primary, other = candidates(t, lease, ("ord", "ord"), bucket=True)
    for what, code in (("exit:0", 0), ("exit:1", 1), ("default", 130), ("ignore", 137)):
        other.stop()
        primary.stop()
        primary.env["APP_ON_SIGNAL"] = what
        primary.start()
        assert primary.is_primary()
        get(primary.url(8080), f"/write?client={code}&seq=1", method="POST")
        ended = primary.stop("SIGINT", 5.0)
        assert ended.code == code and ended.elapsed < 5.5 and ended.umount_attempts == 1, (what, ended)
        began = time.monotonic()
        other.start()
        wait_until(other.is_primary, 10, f"{other} to be primary after {what}")
        assert time.monotonic() - began < 2 + SLACK, (what, time.monotonic() - began)
    assert [r[1] for r in truth.of_machine(other).rows] == ["0", "1", "130", "137"]


@test(timeout=120)
def test_f6_the_lease_is_released_whatever_the_app_does_consul(t):
    stop_releases(t, "consul")


@test(timeout=120)
def test_f6_the_lease_is_released_whatever_the_app_does_s3(t):
    stop_releases(t, "s3")


def kill_the_primary(t, lease, how):
    c, primary, other = candidates(t, lease)
    front = c.flyproxy("ord")
    writers = [c.writer(front, "w1", pause=0.005), c.writer(front, "w2", pause=0.005)]
    writers[0].wait_acks(100)
    began = time.monotonic()
    getattr(primary, how)()
    writers[0].wait_acks(50, takeover_bound(c) + 10)
    gap = longest_gap(writers, since=began - 0.5)
    print(f"{lease}, {how}: gap {gap}, bound {takeover_bound(c):.1f} s")
    assert c.primary() is other
    assert gap.seconds < takeover_bound(c), f"the gap was {gap}"
    primary.start()
    assert other.is_primary() and not primary.is_primary(), "the old primary took the lease back"
    writers[0].wait_acks(20)
    assert_one_writer(writers, 1)
    settle(c, writers, set_aside_on=primary)


@test(timeout=120)
def test_f7_kill_9_of_the_primary_consul(t):
    kill_the_primary(t, "consul", "kill9")


@test(timeout=120)
def test_f7_kill_9_of_the_primary_s3(t):
    kill_the_primary(t, "s3", "kill9")


@test(timeout=120)
def test_f7_power_loss_of_the_primary_s3(t):
    kill_the_primary(t, "s3", "lose_power")


def store_address(c):
    return c.consul.address if c.consul else c.bucket_address


def partition(t, lease, what):
    """The primary loses its lease store, its replicas, or both; later all is well again."""
    c, primary, other = candidates(t, lease)
    writers = direct_writers(c, [primary, other])
    writers[0].wait_acks(50)
    began = time.monotonic()
    if what in ("store", "both"):
        c.fleet.network.block(primary, store_address(c))
    if what in ("replicas", "both"):
        c.fleet.network.block(primary, c.others(primary))
    if what == "replicas":
        time.sleep(2 * c.ttl)
        assert primary.is_primary() and not other.is_primary(), "the lease was never lost"
        assert [a for a in writers[0].acks() if a.done > began + c.ttl], "the holder of the lease stopped"
        assert not writers[1].acks()
        c.fleet.network.heal()
        assert_one_writer(writers, 0)
        settle(c, writers)
        return
    wait_until(lambda: writers[1].acks(), takeover_bound(c) + 10, f"{other} to acknowledge writes")
    first, last = writers[1].acks()[0], writers[0].acks()[-1]
    print(f"{lease}, {what}: last of the old {last.done - began:.2f} s, first of the new {first.done - began:.2f} s")
    assert last.done < first.sent or last.sent < first.done, "both acknowledged"
    assert last.done - began < c.ttl, f"the old primary acknowledged {last.done - began:.2f} s after it lost its store"
    writers[1].wait_acks(20)
    c.fleet.network.heal()
    wait_until(lambda: (primary.info() or {}).get("primary", {}).get("hostname") == other.id, 10 + c.ttl,
               f"{primary} to follow {other}")
    assert primary.pid is not None, f"the old primary's app died with it: {primary.exit}"
    assert_one_writer(writers, 1)
    settle(c, writers, set_aside_on=primary)


@test(timeout=120)
def test_f8_partition_from_the_store_consul(t):
    partition(t, "consul", "store")


@test(timeout=120)
def test_f8_partition_from_the_store_s3(t):
    partition(t, "s3", "store")


@test(timeout=120)
def test_f8_partition_from_the_replicas_consul(t):
    partition(t, "consul", "replicas")


@test(timeout=120)
def test_f8_partition_from_the_replicas_s3(t):
    partition(t, "s3", "replicas")


@test(timeout=120)
def test_f8_partition_from_both_consul(t):
    partition(t, "consul", "both")


@test(timeout=120)
def test_f8_partition_from_both_s3(t):
    partition(t, "s3", "both")


def store_stops_answering(t, lease, mode):
    """The store is there and gives no answers to anybody: nobody writes on an old lease, nobody takes one; then it is
    back and the same primary goes on."""
    c, primary, other = candidates(t, lease, ("ord", "ord"))
    writers = direct_writers(c, [primary, other])
    writers[0].wait_acks(50)
    began = time.monotonic()
    if c.consul:
        c.consul.set_mode(mode)
    else:
        c.s3_faults.fail(mode)
    time.sleep(c.ttl + 1.5)
    late = [a for a in writers[0].acks() if a.sent > began + c.ttl]
    assert not late, f"acknowledged {late[0].sent - began:.1f} s after the store went away"
    assert not writers[1].acks(), "somebody took a lease without a store"
    if c.consul:
        c.consul.set_mode("ok")
    else:
        c.s3_faults.heal()
    holder = c.primary(takeover_bound(c) + 5)
    wait_until(lambda: any(a.sent > began + c.ttl for w in writers for a in w.acks()), 10, "writes again")
    print(f"{lease}, {mode}: {'the same' if holder is primary else 'another'} primary afterwards")
    assert_one_writer(writers, 1)
    settle(c, writers, set_aside_on=primary)


@test(timeout=120)
def test_f8_a_hanging_store_consul(t):
    store_stops_answering(t, "consul", "hang")


@test(timeout=120)
def test_f8_a_store_of_errors_consul(t):
    store_stops_answering(t, "consul", "500")


@test(timeout=120)
def test_f8_a_hanging_store_s3(t):
    store_stops_answering(t, "s3", "hang")


@test(timeout=120)
def test_f8_a_store_of_errors_s3(t):
    store_stops_answering(t, "s3", "503")


@test(timeout=120)
def test_f8_lost_answers_of_renewals_change_nothing_s3(t):
    """Every second lease PUT is applied and its answer lost: the holder finds its own record and goes on."""
    c, primary, other = candidates(t, "s3", ("ord", "ord"))
    writers = direct_writers(c, [primary, other])
    turn = [0]

    def every_second(request):
        if request.method == "PUT" and request.path.endswith("lease.json"):
            turn[0] += 1
            return turn[0] % 2 == 0
        return False
    fault = c.s3_faults.fail("lose-answer", every_second)
    time.sleep(3 * c.ttl)
    assert fault.hits > 2, "no renewal was hit"
    fault.remove()
    writers[0].wait_acks(10)
    assert not writers[1].acks() and primary.is_primary()
    gap = longest_gap(writers)
    assert gap.seconds < c.ttl, f"the writer waited {gap} for lost answers"
    settle(c, writers)


@test(timeout=120)
def test_f8_a_destroyed_session_costs_no_write_consul(t):
    c, primary, other = candidates(t, "consul", ("ord", "ord"))
    writers = direct_writers(c, [primary, other])
    writers[0].wait_acks(50)
    c.consul.destroy_sessions()
    wait_until(lambda: c.consul.primary(f"litefs/{c.fleet.app}"), 15, "the lease to be taken again")
    c.primary()
    wait_until(lambda: any(w.attempts and w.attempts[-1].outcome == "ack" for w in writers), 10, "writes again")
    assert_one_writer(writers, 1)
    settle(c, writers, set_aside_on=primary)


@test(timeout=120)
def test_f9_the_primary_region_goes_and_comes_back_static(t):
    capabilities.need(t, "replication")
    c = Cluster(t, ("ord", "ams", "syd"), lease="static").start()
    primary, *replicas = c.machines
    front = c.flyproxy("ams", near=("syd", "ord"))
    writer, reader = c.writer(front, "w1"), c.reader(front)
    writer.wait_acks(30)
    writer.stop()
    truth.wait_converged(c.machines)
    primary.kill9()
    wait_until(lambda: all(m.read("/litefs/.primary") is None for m in replicas), 10, "the replicas to notice")
    for machine in replicas:
        assert not machine.is_primary() and machine.checks_pass()
        status, text, headers = request(machine.url(8080), "/write?client=x&seq=1", method="POST", timeout=10)
        assert status in (0, 503) or any(h.lower() == "fly-replay" for h in headers), (status, text)
        wait_until(lambda m=machine: "disconnected from primary" in m.log(), 5, "a line that says so")
    before = len(reader.answers)
    wait_until(lambda: len(reader.answers) > before + 10, 10, "reads without a primary")
    assert not reader.stop().failures(), reader.failures()[:3]
    primary.start()
    again = c.writer(front, "w2")
    again.wait_acks(30, 20)
    settle(c, [writer, again])


@test(timeout=150)
def test_f9_other_regions_take_over_only_where_they_may_s3(t):
    capabilities.need(t, "replication", "s3")
    c = Cluster(t, ("ord", "ams", "syd"), lease="s3", config={"lease": {"candidate": True}}).start()
    primary, *others = c.machines
    assert primary.is_primary()
    front = c.flyproxy("ams", near=("syd", "ord"))
    writer = c.writer(front, "w1")
    writer.wait_acks(30)
    primary.kill9()
    writer.wait_acks(30, takeover_bound(c) + 10)
    assert c.primary() in others
    primary.start()
    assert not primary.is_primary()
    assert_one_writer([writer], 1)
    settle(c, [writer], set_aside_on=primary)


def suspend(t, lease, reset):
    """Suspended for longer than its lease; another took over; resumed."""
    c, primary, other = candidates(t, lease, ("ord", "ord"))
    writers = direct_writers(c, [primary, other])
    writers[0].wait_acks(50)
    primary.suspend()
    wait_until(lambda: len(writers[1].acks()) > 20, takeover_bound(c) + 10, f"{other} to take over")
    if reset:
        c.fleet.network.block(primary, [other, store_address(c)], how="reset")
    resumed = time.monotonic()
    primary.resume()
    time.sleep(0.3)
    c.fleet.network.heal()
    wait_until(lambda: (primary.info() or {}).get("primary", {}).get("hostname") == other.id, 10 + c.ttl,
               f"{primary} to follow {other}")
    stale = [a for a in writers[0].acks() if a.done > resumed]
    print(f"{lease}: {len(stale)} writes acknowledged after the resume")
    assert not stale, stale[:3]
    assert primary.pid is not None, f"{primary.exit}"
    assert_one_writer(writers, 1)
    settle(c, writers, set_aside_on=primary)
    wait_until(lambda: primary.checks_pass(), 10, "the old primary to be healthy as a replica")


@test(timeout=120)
def test_f10_a_primary_that_was_suspended_is_a_replica_afterwards_consul(t):
    suspend(t, "consul", reset=False)


@test(timeout=120)
def test_f10_a_primary_that_was_suspended_is_a_replica_afterwards_s3(t):
    suspend(t, "s3", reset=True)


def older_volume(t, lease, bucket):
    """The replica is stopped, then the primary goes on and is stopped too; only the replica is woken."""
    c, primary, other = candidates(t, lease, ("ord", "ord"), bucket=bucket)
    front = c.flyproxy("ord", autostart=True)
    writer = c.writer(front, "w1")
    writer.wait_acks(30)
    assert other.stop().code == 0
    writer.wait_acks(30).stop()
    assert primary.stop().code == 0
    other.start(wait=False)
    late = c.writer(front, "w2", timeout=20.0)
    late.wait_acks(5, 40)
    holder = c.primary()
    print(f"{lease}, bucket {bucket}: {'the older volume' if holder is other else 'the newer volume'} writes")
    if not bucket:
        assert primary.state == "started", "the machine with the newer volume was not woken"
    for machine in c.machines:
        if machine.pid is None:
            machine.start()
    settle(c, [writer, late])


@test(timeout=150)
def test_f11_a_woken_older_volume_catches_up_from_the_bucket_s3(t):
    older_volume(t, "s3", True)


@test(timeout=150)
def test_f11_a_woken_older_volume_catches_up_from_the_bucket_consul(t):
    older_volume(t, "consul", True)


@test(timeout=150)
def test_f11_a_woken_older_volume_waits_for_the_newer_machine_consul(t):
    older_volume(t, "consul", False)


@test(timeout=120)
def test_f12_a_clone_beside_its_original_is_another_node_consul(t):
    clone_beside_original(t, "consul")


@test(timeout=120)
def test_f12_a_clone_beside_its_original_is_another_node_s3(t):
    clone_beside_original(t, "s3")


def clone_beside_original(t, lease):
    capabilities.need(t, "replication", lease)
    c = Cluster(t, ("ord",), lease=lease).start()
    [original] = c.machines
    writer = c.writer(original, "w1")
    writer.wait_acks(30)
    original.stop()
    writer.stop()
    clone = c.add("ord", volume=original.volume.fork("clone"))
    original.start()
    clone.start()
    assert original.is_primary() and not clone.is_primary(), "the clone took the lease"
    again = c.writer(original, "w2")
    again.wait_acks(30)
    assert original.http("GET", "/info")[2]["Litefs-Id"] != clone.http("GET", "/info")[2]["Litefs-Id"]
    assert "cannot connect to self" not in clone.log()
    assert clone.read("/litefs/.primary") == original.id + "\n"
    settle(c, [writer, again])


@test(timeout=120)
def test_f13_replicas_find_a_primary_with_a_new_address_by_its_name(t):
    capabilities.need(t, "replication")
    c = Cluster(t, ("ord", "ams"), lease="static").start()
    primary, replica = c.machines
    writer = c.writer(primary, "w1")
    writer.wait_acks(20)
    primary.stop()
    writer.stop(abandon=True)
    primary.ip = c.fleet.network_address(0x99)
    c.fleet.dns.mode = "stale"  # for a while the resolver still gives the old one
    primary.start()
    again = c.writer(primary, "w2")
    again.wait_acks(20)
    time.sleep(1.5)
    c.fleet.dns.mode = "ok"
    settle(c, [writer, again])
    replica.stop()
    replica.ip = c.fleet.network_address(0x98)
    replica.start()
    settle(c, [writer, again])


@test(timeout=120)
def test_f14_two_machines_in_the_primary_region_have_one_writer_static(t):
    capabilities.need(t, "replication")
    c = Cluster(t, ("ord", "ord"), lease="static",
                config={"lease": {"hostname": "${FLY_ALLOC_ID}",
                                  "advertise-url": "http://${FLY_ALLOC_ID}.vm.${FLY_APP_NAME}.internal:20202"}})
    for machine in c.machines:
        machine.start(wait=False)
    for machine in c.machines:
        machine.wait_healthy(40)
    primary = c.primary(30)
    [other] = c.others(primary)
    writers = direct_writers(c, [primary, other])
    writers[0].wait_acks(50)
    assert not writers[1].acks()
    assert other.read("/litefs/.primary") == primary.id + "\n"
    settle(c, writers)
    primary.stop()
    other.stop()
    other.start(wait=False)  # not the owner of the newest writes; the owner is gone: it may serve reads, but not write
    time.sleep(3)
    probe = c.writer(other, "w3", timeout=1.0)
    time.sleep(2)
    assert not probe.stop().acks(), "a second machine of the region wrote while the owner was away"
    primary.start()
    last = c.writer(primary, "w4")
    last.wait_acks(20)
    settle(c, [*writers, last])


@test(timeout=60)
def test_f14_a_primary_outside_of_dns_is_not_written_past(t):
    """The resolver fails at the boot of the second machine: it does not take that for being alone."""
    capabilities.need(t, "replication")
    c = Cluster(t, ("ord", "ord"), lease="static")
    primary, other = c.machines
    primary.start()
    writer = c.writer(primary, "w1")
    writer.wait_acks(20)
    c.fleet.dns.mode = "timeout"
    other.start(wait=False)
    time.sleep(4)
    probe = c.writer(other, "w2", timeout=1.0)
    time.sleep(2)
    assert not probe.stop().acks(), "it wrote without having asked anybody"
    c.fleet.dns.mode = "ok"
    other.wait_healthy(30)
    writer.wait_acks(10)
    settle(c, [writer])
    assert other.exec("ls", DATA + "/dbs").stdout.split() == ["app.db"]


@test(timeout=120)
def test_f7_with_durability_replica_a_power_loss_loses_nothing_s3(t):
    capabilities.need(t, "replication", "s3", "durability")
    c = Cluster(t, ("ord", "ord"), lease="s3", config={"durability": "replica"}).start()
    primary = c.primary()
    front = c.flyproxy("ord")
    writer = c.writer(front, "w1", pause=0.003)
    writer.wait_acks(100)
    primary.lose_power()
    writer.wait_acks(20, takeover_bound(c) + 10)
    writer.stop()
    [other] = c.others(primary)
    truth.check([writer], [truth.of_machine(other)])
    primary.volume.destroy()  # the host is gone with all that was on it
    primary.start()
    settle(c, [writer])


@test(timeout=90)
def test_f2_a_primary_that_lost_its_volume_gets_it_from_the_others_consul(t):
    c, primary, other = candidates(t, "consul", ("ord", "ord"))
    writer = c.writer(primary, "w1")
    writer.wait_acks(30).stop()
    truth.wait_converged(c.machines)
    primary.kill9()
    other.stop()
    primary.volume.destroy()
    primary.start(wait=False)  # alone, with an empty volume, in a cluster that has data: it must not begin anew
    time.sleep(2 * c.ttl)
    assert not primary.is_primary(), "an empty volume became primary"
    other.start()
    wait_until(lambda: primary.pid is not None and primary.checks_pass(), 20, "the empty machine to be filled")
    settle(c, [writer])


@test(timeout=90)
def test_f2_an_empty_static_primary_does_not_overwrite_its_replica(t):
    capabilities.need(t, "replication")
    c = Cluster(t, ("ord", "ams"), lease="static").start()
    primary, replica = c.machines
    writer = c.writer(primary, "w1")
    writer.wait_acks(30).stop()
    truth.wait_converged(c.machines)
    before = truth.of_machine(replica)
    primary.stop()
    primary.volume.destroy()
    primary.start(wait=False)
    time.sleep(4)
    probe = c.writer(primary, "w2", timeout=1.0)
    time.sleep(1)
    probe.stop()
    assert truth.of_machine(replica).rows[:len(before.rows)] == before.rows, "the replica's rows are gone"
    if probe.acks():
        truth.wait_converged(c.machines)
        truth.check([writer, probe], [truth.of_machine(m) for m in c.machines])


@test(timeout=120)
def test_f1_three_machines_without_any_configuration_s3(t):
    """A volume each and a bucket: the lease is found, one writes, a stop hands over."""
    capabilities.need(t, "replication", "s3")
    c = Cluster(t, ("ord", "ord", "ams"), lease="s3")
    shell = f"({PYTHON} migrate || true) && exec {PYTHON} serve"  # a replica cannot migrate and need not
    for machine in c.machines:
        machine.image = Image(capabilities.program(), ("caddis", "mount", "--", "sh", "-c", shell),
                              env={**c.app_env, "PORT": "8080", "APP_REPLAY": "1"})
    c.start()
    primary = c.primary()
    front = c.flyproxy("ams", near=("ord",))
    writer = c.writer(front, "w1")
    writer.wait_acks(30)
    assert primary.stop().code == 0
    writer.wait_acks(30, 20)
    primary.start()
    settle(c, [writer])


@test(timeout=60)
def test_a_demoted_primary_hands_over_and_follows_consul(t):
    c, primary, other = candidates(t, "consul", ("ord", "ord"))
    front = c.flyproxy("ord")
    writer = c.writer(front, "w1")
    writer.wait_acks(30)
    status, text, _ = primary.http("POST", "/caddis/v1/demote", body=b"")
    assert status == 200, (status, text)
    wait_until(other.is_primary, 5, "the other to be primary")
    writer.wait_acks(30)
    assert primary.pid is not None and not primary.is_primary()
    assert_one_writer([writer], 1)
    settle(c, [writer])
