"""Rounds of sudden death. After each restart every acknowledged commit is there, integrity_check is ok and the position's
checksum equals a full recomputation."""
import os
import random
import shutil
import sys
import time

from harness import Ext4Volume, Node, check_database, wait_until

LOAD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "load.py")
FRESH_AFTER = 25  # rounds until the database starts anew, so that the check stays quick


def start_load(t, node, acked, journal, synchronous, name="app.db"):
    log = open(t.path("load.log"), "ab")
    return t.spawn(sys.executable, LOAD, os.path.join(node.mount, name), acked, journal, synchronous, stderr=log, stdout=log)


def acknowledged(acked):
    with open(acked) as f:
        return [int(line) for line in f.read().split("\n")[:-1]]


def verify(node, acked):
    ids = acknowledged(acked)
    there = {row[0] for row in node.sql("app.db", "SELECT id FROM t")}
    lost = [i for i in ids if i not in there]
    assert not lost, f"{len(lost)} of {len(ids)} acknowledged commits are lost, the first is {lost[0]}, the last {lost[-1]}"
    assert node.sql("app.db", "PRAGMA integrity_check") == [("ok",)]
    check_database(node, "app.db")
    return len(ids)


def at_random_moment(acked, dice):
    """Waits until the load commits, then a moment that hits every phase of a transaction."""
    before = os.path.getsize(acked) if os.path.exists(acked) else 0
    wait_until(lambda: os.path.exists(acked) and os.path.getsize(acked) > before, 20, "the load to commit")
    time.sleep(dice.uniform(0, 0.25))


def kill_rounds(t, journal, rounds, program=None, say=lambda text: None, seed=None):
    """kill -9 of the daemon while the load writes with synchronous=FULL. Returns the number of commits looked for."""
    dice = random.Random(seed)
    node, looked_for = Node(t, name="kill-" + journal, program=program), 0
    acked = t.path(f"acked-{journal}")
    for number in range(rounds):
        if number % FRESH_AFTER == 0:
            shutil.rmtree(node.data, ignore_errors=True)
            open(acked, "w").close()
        node.start()
        if number % FRESH_AFTER:
            looked_for += verify(node, acked)
        load = start_load(t, node, acked, journal, "FULL")
        at_random_moment(acked, dice)
        node.kill9()
        if dice.random() < 0.5:
            load.kill()
        load.wait(30)
        say(f"{journal} {number + 1}/{rounds}: {len(acknowledged(acked))} commits acknowledged")
    node.start()
    looked_for += verify(node, acked)
    assert node.stop() == 0
    return looked_for


def power_rounds(t, rounds, program=None, say=lambda text: None, seed=None):
    """Power loss of the volume under caddis, synchronous=FULL, both journal modes in turn."""
    dice = random.Random(seed)
    volume, looked_for = Ext4Volume(t), 0
    for number in range(rounds):
        journal = ("WAL", "DELETE")[number % 2]
        if number % FRESH_AFTER < 2:
            shutil.rmtree(os.path.join(volume.dir, journal), ignore_errors=True)
            open(t.path(f"acked-{journal}"), "w").close()
        acked = t.path(f"acked-{journal}")
        node = Node(t, name=f"power-{journal}", program=program, data=os.path.join(volume.dir, journal)).start()
        load = start_load(t, node, acked, journal, "FULL")
        at_random_moment(acked, dice)
        with open(acked, "rb") as f:
            sure = f.read()
        volume.power_loss()
        time.sleep(0.05)
        load.kill()
        load.wait(30)
        # An fdatasync that is under way while the kernel shuts the file system down can return 0 with nothing written
        # (SQLite without caddis loses such a commit in 2 of 250 rounds), so only what was acknowledged before counts.
        with open(acked, "wb") as f:
            f.write(sure[:sure.rfind(b"\n") + 1])
        node.kill9()
        node.end()
        volume.detach()
        volume.attach()
        node.start()
        looked_for += verify(node, acked)
        assert node.stop() == 0
        t.nodes.remove(node)
        say(f"power loss {number + 1}/{rounds} ({journal}): {len(acknowledged(acked))} commits acknowledged")
    return looked_for


