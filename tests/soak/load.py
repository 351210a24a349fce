#!/usr/bin/env python3
"""usage: load.py DATABASE ACKED JOURNAL SYNCHRONOUS    commits as fast as it can until it is killed or refused.

A row's number is appended to ACKED only after its COMMIT returned; a row of 0 bytes to 20 KiB, some updates, deletes and
rollbacks beside it, so that every commit touches different pages."""
import os
import random
import sqlite3
import sys


def main(path, acked, journal, synchronous):
    out = os.open(acked, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    db = sqlite3.connect(path, isolation_level=None, timeout=20)
    db.execute(f"PRAGMA journal_mode={journal}")
    db.execute(f"PRAGMA synchronous={synchronous}")
    db.execute("PRAGMA wal_autocheckpoint=50")
    db.execute("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v)")
    next_id = (db.execute("SELECT max(id) FROM t").fetchone()[0] or 0) + 1
    dice = random.Random(os.getpid())
    while True:
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO t VALUES(?, randomblob(?))", (next_id, dice.choice((10, 300, 3000, 20000))))
        if dice.random() < 0.3:
            db.execute("UPDATE t SET v = randomblob(200) WHERE id = ?", (dice.randint(1, next_id),))
        if dice.random() < 0.1:
            db.execute("UPDATE t SET v = NULL WHERE id < ? AND id > ?", (next_id - 100, next_id - 140))
        if dice.random() < 0.05:
            db.execute("ROLLBACK")
            continue
        db.execute("COMMIT")
        os.write(out, b"%d\n" % next_id)
        next_id += 1


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except sqlite3.Error as error:
        print("load:", error, file=sys.stderr)
        sys.exit(3)
