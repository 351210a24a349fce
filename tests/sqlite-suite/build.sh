#!/usr/bin/env bash
# Builds SQLite's own test program from Debian's source package of the SQLite that caddis is linked with, once.
# usage: build.sh DIR    prints the directory that then holds testfixture and test/*.test
# Needs dpkg-dev, tcl-dev, a C compiler and a configured Debian mirror; the deb-src line is private to this script.
set -euo pipefail
deps=$(mkdir -p "$1" && cd "$1" && pwd)
version=$(dpkg-query -W -f '${source:Version}' libsqlite3-dev)
src="$deps/sqlite-$version"
log="$deps/sqlite-build.log"

fetch_and_build() {
  set -euo pipefail
  local work="$deps/sqlite-fetch" keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  rm -rf "$work"
  mkdir -p "$work/lists/partial"
  [ -n "$(find /var/lib/apt/lists -name '*_Packages*' -print -quit)" ] || apt-get -qq update
  apt-get indextargets --format '$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)' 'Created-By: Packages' |
    awk -F'|' -v key="$([ -e "$keyring" ] && echo "[signed-by=$keyring]")" \
      '$1 == "Debian" { print "deb-src", key, $2, $3, $4 }' | sort -u >"$work/sources.list"
  local apt=(apt-get -qq -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=-
    -o "Dir::State::lists=$work/lists" -o APT::Sandbox::User=root)
  "${apt[@]}" update
  cd "$work"
  "${apt[@]}" source --download-only "sqlite3=$version" || "${apt[@]}" source --download-only sqlite3
  dpkg-source --no-check -x "$work"/sqlite3_*.dsc "$work/src"
  cd "$work/src"
  ./configure --quiet --with-tcl=/usr/lib/tcl8.6 --disable-readline CFLAGS='-O1 -g0'
  nice make -j2 testfixture
  cd "$deps"
  rm -rf "$src"
  mv "$work/src" "$src"
  rm -rf "$work"
}

if [ ! -x "$src/testfixture" ]; then
  set +e
  (fetch_and_build) >"$log" 2>&1
  status=$?
  set -e
  if [ "$status" != 0 ]; then
    tail -n 20 "$log" >&2
    echo "building SQLite's testfixture failed, see $log" >&2
    exit 1
  fi
fi
echo "$src"
