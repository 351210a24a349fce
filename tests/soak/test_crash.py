"""A bounded share of `./dev soak crash` in every test run."""
import rounds

from harness import test


@test(timeout=150)
def test_8_times_kill_9_in_wal_mode_lose_no_acknowledged_commit(t):
    print(rounds.kill_rounds(t, "WAL", 8), "commits looked for")


@test(timeout=150)
def test_8_times_kill_9_in_delete_mode_lose_no_acknowledged_commit(t):
    print(rounds.kill_rounds(t, "DELETE", 8), "commits looked for")


@test(timeout=150)
def test_4_power_losses_lose_no_acknowledged_commit(t):
    print(rounds.power_rounds(t, 4), "commits looked for")
