// SQLite work on one database, for ./dev bench. Rows are (id integer primary key, v blob of 100 bytes), one connection,
// prepared statements, SQLite's default cache.
// usage: sqlbench insert|bulk|fill|point DB JOURNAL SYNCHRONOUS AMOUNT
//   insert  one row a transaction for AMOUNT milliseconds       bulk  AMOUNT rows in one transaction
//   fill    AMOUNT rows, then a checkpoint                      point random reads by id, each its own transaction,
//   AMOUNT ms
// Prints operations a second.
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static sqlite3* db;

static void fail(const char* what) {
  fprintf(stderr, "sqlbench: %s: %s\n", what, sqlite3_errmsg(db));
  exit(1);
}

static void run(const char* sql) {
  if (sqlite3_exec(db, sql, 0, 0, 0) != SQLITE_OK) fail(sql);
}

static sqlite3_stmt* prepare(const char* sql) {
  sqlite3_stmt* statement;
  if (sqlite3_prepare_v2(db, sql, -1, &statement, 0) != SQLITE_OK) fail(sql);
  return statement;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t dice(void) {
  static uint64_t s = 88172645463325252u;
  s ^= s << 13;
  s ^= s >> 7;
  s ^= s << 17;
  return s;
}

static void insert_row(sqlite3_stmt* statement) {
  uint64_t blob[13];
  for (int i = 0; i < 13; i++) blob[i] = dice();
  sqlite3_bind_blob(statement, 1, blob, 100, SQLITE_STATIC);
  if (sqlite3_step(statement) != SQLITE_DONE) fail("insert");
  sqlite3_reset(statement);
}

static sqlite3_int64 last_id(void) {
  sqlite3_stmt* statement = prepare("SELECT max(id) FROM t");
  if (sqlite3_step(statement) != SQLITE_ROW) fail("max(id)");
  sqlite3_int64 id = sqlite3_column_int64(statement, 0);
  sqlite3_finalize(statement);
  return id;
}

int main(int argc, char** argv) {
  if (argc != 6) {
    fprintf(stderr, "usage: sqlbench insert|bulk|fill|point DB JOURNAL SYNCHRONOUS AMOUNT\n");
    return 2;
  }
  const char* work = argv[1];
  long amount = atol(argv[5]), done = 0;
  char pragma[128];
  if (sqlite3_open(argv[2], &db) != SQLITE_OK) fail("open");
  sqlite3_busy_timeout(db, 10000);
  snprintf(pragma, sizeof pragma, "PRAGMA journal_mode=%s; PRAGMA synchronous=%s", argv[3], argv[4]);
  run(pragma);
  double started, ended;
  if (!strcmp(work, "point")) {
    uint64_t ids = (uint64_t)last_id();
    sqlite3_stmt* select = prepare("SELECT v FROM t WHERE id=?");
    started = now();
    double until = started + (double)amount / 1000;
    for (; (done & 15) || now() < until; done++) {
      sqlite3_bind_int64(select, 1, (sqlite3_int64)(1 + dice() % ids));
      if (sqlite3_step(select) != SQLITE_ROW) fail("select");
      sqlite3_reset(select);
    }
    ended = now();
    sqlite3_finalize(select);
  } else {
    run("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v BLOB)");
    sqlite3_stmt* insert = prepare("INSERT INTO t(v) VALUES(?)");
    int timed = !strcmp(work, "insert");
    started = now();
    double until = started + (double)amount / 1000;
    if (!timed) run("BEGIN IMMEDIATE");
    for (; timed ? now() < until : done < amount; done++) insert_row(insert);
    if (!timed) run("COMMIT");
    ended = now();
    sqlite3_finalize(insert);
    if (!strcmp(work, "fill")) run("PRAGMA wal_checkpoint(TRUNCATE)");
  }
  sqlite3_close(db);
  printf("%.1f\n", (double)done / (ended - started));
  return 0;
}
