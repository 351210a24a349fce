"""flyctl deploy: one machine after the other, in place, with its volume."""
import math
import threading
import time
from typing import NamedTuple

from harness import wait_until


class DeployFailed(Exception):
    """The deploy stopped at a machine; the ones after it were not touched. stage: "stop", "start", "smoke", "checks"."""

    def __init__(self, machine, stage, detail):
        super().__init__(f"{machine.id}: {stage}: {detail}")
        self.machine, self.stage, self.detail = machine, stage, detail


class Step(NamedTuple):
    machine: object
    began: float    # monotonic
    stopped: float
    healthy: float
    exit: object    # Exit of the old version; None when it was not running


def rolling(fleet, image, machines=None, sig="SIGINT", timeout=5.0, smoke=0.3, wait_timeout=30, max_unavailable=0.33):
    """Sorted by machine id; `max_unavailable` is a number of machines (>= 1) or a part of them, rounded up. The next ones
    are touched when these are started, have stayed up for `smoke` seconds and pass their health checks. A machine that is
    stopped gets the image and stays stopped. Returns the Steps."""
    machines = sorted(machines or [m for m in fleet.machines if m.in_dns], key=lambda m: m.id)
    running = [m for m in machines if m.pid is not None]
    for machine in machines:
        if machine not in running:
            machine.image = image
    width = int(max_unavailable) if max_unavailable >= 1 else max(1, math.ceil(len(running) * max_unavailable))
    steps = []
    for first in range(0, len(running), width):
        wave, failures = running[first:first + width], []
        threads = [threading.Thread(target=_update, args=(m, image, sig, timeout, smoke, wait_timeout, steps, failures))
                   for m in wave]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
    return steps


def _update(machine, image, sig, timeout, smoke, wait_timeout, steps, failures):
    try:
        began = time.monotonic()
        ended = machine.stop(sig, timeout)
        stopped = time.monotonic()
        machine.image = image
        machine.start(wait=False)
        if not _stays_up(machine, smoke):
            raise DeployFailed(machine, "smoke", f"exit code {machine.exit.code}")
        try:
            wait_until(lambda: machine.pid is None or machine.checks_pass(), wait_timeout, "the checks")
        except AssertionError as error:
            raise DeployFailed(machine, "checks", str(error)) from None
        if machine.pid is None:
            raise DeployFailed(machine, "checks", f"exit code {machine.exit.code}")
        steps.append(Step(machine, began, stopped, time.monotonic(), ended))
    except DeployFailed as failed:
        failures.append(failed)
    except Exception as error:
        failures.append(DeployFailed(machine, "start", repr(error)))


def _stays_up(machine, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if machine.pid is None:
            return False
        time.sleep(0.01)
    return True


def immediate(fleet, image, sig="SIGINT", timeout=5.0):
    """All at once, nothing is waited for."""
    threads = [threading.Thread(target=m.update, args=(image, sig, timeout)) for m in fleet.machines if m.in_dns]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def release_command(fleet, image, argv, timeout=20):
    """(Exit, log) of the release command's machine; a failing one ends the deploy before anything is touched."""
    return fleet.run_once(image, argv, "fly_app_release_command", timeout=timeout)
