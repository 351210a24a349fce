#!/usr/bin/env bash
# ./dev demo: an app with SQLite loses its machine and its volume, and nothing else. Needs root (a mount) and build/release/caddis.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[ "$(id -u)" = 0 ] || exec sudo -E "$0" "$@"
caddis=$PWD/build/release/caddis
dir=$(mktemp -d /tmp/caddis-demo-XXXXXX)
port=$((20000 + RANDOM % 9000))
pid=

clean_up() {
  [ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || true
  ! mountpoint -q "$dir/litefs" || umount -l "$dir/litefs"
  rm -rf "$dir"
}
trap clean_up EXIT

step=0
tell() {
  step=$((step + 1))
  printf '\n\033[1m%d. %s\033[0m\n' "$step" "$1"
  shift
  [ $# = 0 ] || printf '   %s\n' "$@"
}
show() {
  printf '   $'
  local word
  for word in "$@"; do case $word in *[!a-zA-Z0-9/._=-]*) printf ' "%s"' "$word" ;; *) printf ' %s' "$word" ;; esac; done
  printf '\n'
  "$@" 2>&1 | sed 's/^/     /'
}
fail() { echo; echo "The demo went wrong: $1" >&2; echo "--- caddis's log" >&2; cat "$dir/log" >&2; exit 1; }

mkdir -p "$dir/litefs" "$dir/backup"
cat >"$dir/caddis.yml" <<YAML
fuse:  { dir: "$dir/litefs" }        # the app finds its databases here
data:  { dir: "$dir/volume" }        # on a real machine: the volume
http:  { addr: "127.0.0.1:$port" }
lease: { type: static, candidate: true }
backup:
  - url: "file://$dir/backup"        # on a real machine: s3://bucket/prefix
exec:
  - cmd: ["sqlite3", "$dir/litefs/shop.db", "CREATE TABLE IF NOT EXISTS orders(id INTEGER PRIMARY KEY, item TEXT)"]
    if-candidate: true
  - cmd: ["sleep", "1000000"]        # the app: here, it only stays
YAML

start() {
  "$caddis" mount -config "$dir/caddis.yml" >>"$dir/log" 2>&1 &
  pid=$!
  for _ in $(seq 200); do
    [ "$(curl_health)" = 200 ] && return
    kill -0 "$pid" 2>/dev/null || fail "caddis ended"
    sleep 0.05
  done
  fail "caddis did not become healthy"
}
curl_health() {
  { exec 3<>"/dev/tcp/127.0.0.1/$port" && printf 'GET /health HTTP/1.0\r\n\r\n' >&3 && head -n 1 <&3 | cut -d ' ' -f 2; } 2>/dev/null || true
}
db=$dir/litefs/shop.db

tell "caddis starts, mounts a directory, runs the migration and then the app" \
  "It is the entry point of the container: one static binary, no other package. Its configuration:"
sed 's/^/     /' "$dir/caddis.yml"
start
show ls "$dir/litefs"

tell "The app writes, with plain SQLite" \
  "It opens a file and commits. It does not know that caddis is there."
show sqlite3 "$db" "PRAGMA journal_mode=wal" "INSERT INTO orders(item) VALUES('apples'),('pears'),('plums')" "SELECT * FROM orders"

tell "Every commit is a numbered transaction" \
  "NAME-pos is the last one with a checksum of the whole database: that is how copies are compared, here and in the bucket."
show cat "$db-pos"

tell "Within a second it is in the backup" \
  "The files are Litestream's, so 'litestream restore' reads them too: no lock-in."
txid=$(cut -c 1-16 <"$db-pos")
for _ in $(seq 100); do ls "$dir/backup/shop.db/ltx/0" 2>/dev/null | grep -q -- "-$txid.ltx" && break; sleep 0.05; done
show ls "$dir/backup/shop.db/ltx/0"

tell "Now the machine dies: kill -9, no time for anything" \
  "The app dies with caddis; nobody may go on writing to a file that nobody captures."
{ kill -KILL "$pid" && wait "$pid"; } 2>/dev/null || true  # the shell would report the kill
pid=

tell "And its volume is lost" "On Fly.io a volume lives on one host; when the host is gone, so is the volume."
show rm -rf "$dir/volume"

tell "A new machine starts with an empty volume" \
  "Before the app or a migration can see an empty database, caddis restores it from the backup, checks it and renames it into place." \
  "Had the backup not answered, caddis would have ended with exit code 69: never an empty database by accident."
start
grep -E 'restor' "$dir/log" | tail -n 3 | sed 's/^/     /' || true

tell "The rows are back, and the numbering goes on"
show sqlite3 "$db" "SELECT * FROM orders"
[ "$(sqlite3 "$db" 'SELECT group_concat(item) FROM orders')" = apples,pears,plums ] || fail "rows are missing"
show sqlite3 "$db" "INSERT INTO orders(item) VALUES('cherries')"
show cat "$db-pos"

tell "A stop is orderly" "App first, then the last transaction is captured and uploaded, then the mount goes; the exit code is the app's (143: ended by SIGTERM)."
code=0
kill -TERM "$pid"
wait "$pid" || code=$?
pid=
echo "     exit code $code"
! mountpoint -q "$dir/litefs" || fail "still mounted"
echo
echo "What you saw is tested in tests/backup and tests/apps, with Django, S3 and real Litestream. Next: README.md."
