"""The verdict: every copy of the database against the clients' logs and against each other."""
import hashlib
import os
import sqlite3
import tempfile
from typing import NamedTuple

from harness import committed_image, litestream, run, wait_until


class Copy(NamedTuple):
    """A database from one place. rows: (id, client, seq, machine, version), by id."""
    where: str
    rows: list
    digest: str


def read_copy(where, image):
    """From a database image; fails unless SQLite's integrity_check is content with it."""
    with tempfile.NamedTemporaryFile(prefix="caddis-truth-") as f:
        f.write(image)
        f.flush()
        db = sqlite3.connect(f"file:{f.name}?immutable=1", uri=True)
        try:
            verdict = db.execute("PRAGMA integrity_check").fetchall()
            assert verdict == [("ok",)], f"{where}: {verdict[:3]}"
            rows = db.execute("SELECT id,client,seq,machine,version FROM writes ORDER BY id").fetchall()
            return Copy(where, rows, digest(db))
        finally:
            db.close()


def digest(db):
    """Equal for equal schema and rows, whatever the pages look like."""
    hashed = hashlib.sha256()
    tables = db.execute("SELECT name, sql FROM sqlite_schema WHERE type='table' AND sql IS NOT NULL ORDER BY name").fetchall()
    for name, sql in tables:
        hashed.update(repr((name, sql)).encode())
        for row in db.execute(f'SELECT * FROM "{name}" ORDER BY rowid'):
            hashed.update(repr(row).encode())
    return hashed.hexdigest()[:16]


def of_machine(machine, name="app.db"):
    """What the node gives out (/export), while it runs."""
    return read_copy(f"{machine.id} ({machine.region})", machine.export(name))


def of_volume(volume, data="litefs", name="app.db"):
    """What lies on the volume of a machine that is down."""
    with volume.mounted() as point:
        return read_copy(volume.name, bytes(committed_image(os.path.join(point, data, "dbs", name))))


def of_backup(test, url, env, name="app.db", program=None):
    """Restored from a bucket, by Litestream, or by the program under test."""
    path = os.path.join(tempfile.mkdtemp(dir=test.dir), "restored.db")
    if program:
        run(program, "restore", "-o", path, "-integrity-check", "full", url, env={**os.environ, **env})
    else:
        litestream("restore", "-integrity-check", "full", "-o", path, url, env=env)
    with open(path, "rb") as f:
        return read_copy("backup by " + ("caddis" if program else "litestream"), f.read())


class Verdict(NamedTuple):
    lost: list       # acknowledged, not there
    doubled: list    # there more than once
    reordered: list  # acknowledged one after the other, there the other way round
    ghosts: list     # refused, and there all the same
    foreign: list    # there under another id than was acknowledged: another history
    unknown: int     # of those without an answer, how many are there
    acked: int

    def nothing_wrong(self):
        return not (self.lost or self.doubled or self.reordered or self.ghosts or self.foreign)

    def __str__(self):
        parts = [f"{self.acked} acknowledged"]
        parts += [f"{len(v)} {n} (first: {v[0]})" for n, v in self._asdict().items() if isinstance(v, list) and v]
        return ", ".join(parts)


def judge(writers, copy):
    """The rows of one copy against what the clients were told. An attempt that stands open counts as unknown."""
    lost, doubled, reordered, ghosts, foreign, unknown, acked = [], [], [], [], [], 0, 0
    by_client = {}
    for ident, client, seq, _, _ in copy.rows:
        by_client.setdefault(client, {}).setdefault(seq, []).append(ident)
    for writer in writers:
        have, last = by_client.get(writer.name, {}), 0
        for attempt in list(writer.attempts):
            ids = have.get(attempt.seq, [])
            if len(ids) > 1:
                doubled.append((writer.name, attempt.seq, ids))
            if attempt.outcome == "ack":
                acked += 1
                if not ids:
                    lost.append(attempt)
                elif ids != [attempt.id]:
                    foreign.append((attempt, ids))
            elif ids and attempt.outcome == "refused":
                ghosts.append((attempt, ids))
            elif ids:
                unknown += 1
            if ids:
                if ids[0] < last:
                    reordered.append((writer.name, attempt.seq))
                last = ids[0]
    return Verdict(lost, doubled, reordered, ghosts, foreign, unknown, acked)


def check(writers, copies, equal=True):
    """Fails unless every copy holds exactly what was acknowledged (and maybe what was not answered), and all copies are
    equal. Returns the Verdict over the first."""
    verdicts = [judge(writers, copy) for copy in copies]
    for verdict, copy in zip(verdicts, copies):
        assert verdict.nothing_wrong(), f"{copy.where}: {verdict}"
    if equal:
        digests = {copy.where: copy.digest for copy in copies}
        assert len(set(digests.values())) == 1, f"the copies differ: {digests}, rows " + str(
            {c.where: len(c.rows) for c in copies})
    return verdicts[0]


def wait_converged(machines, timeout=15, name="app.db"):
    """Until all machines stand at the same position. Returns the TXID."""
    def same():
        positions = {m.position(name) for m in machines}
        return positions.pop() if len(positions) == 1 and None not in positions else None
    try:
        return wait_until(same, timeout, "")
    except AssertionError:
        raise AssertionError("the machines do not converge: " + str({m.id: m.position(name) for m in machines})) from None


def lost_branches(machine, data="/data/litefs"):
    """What was set aside on a machine that runs: directories under caddis/lost."""
    root = machine.outside(os.path.join(data, "caddis", "lost"))
    found = []
    for folder, _, files in os.walk(root):
        if "why.txt" in files:
            found.append(os.path.relpath(folder, root))
    return sorted(found)
