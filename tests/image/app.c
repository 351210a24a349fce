// A static app with SQLite inside, for trees that hold nothing else.
// usage: app DATABASE: adds a row, prints how many there are.
#include <sqlite3.h>
#include <stdio.h>

static int print(void* unused, int count, char** values, char** names) {
  (void)unused, (void)count, (void)names;
  return printf("rows %s\n", values[0]) < 0;
}

int main(int argc, char** argv) {
  sqlite3* db;
  char* message = 0;
  if (argc != 2 || sqlite3_open(argv[1], &db) != SQLITE_OK ||
      sqlite3_exec(db, "PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS t(x); INSERT INTO t VALUES(1)", 0, 0,
                   &message) != SQLITE_OK ||
      sqlite3_exec(db, "SELECT count(*) FROM t", print, 0, &message) != SQLITE_OK) {
    fprintf(stderr, "app: %s\n", message ? message : "cannot open");
    return 1;
  }
  return sqlite3_close(db) != SQLITE_OK;
}
