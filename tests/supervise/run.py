#!/usr/bin/env python3
"""Black-box tests of a supervisor: exit codes, signals, reaping, terminal, environment, exec lists.

  run.py --binary build/dev/src/supervise/supervise_probe --probe
  run.py --binary build/dev/caddis --prefix 'run --' --stop-timeout 8

Every test runs twice: the supervisor as an ordinary child, and as PID 1 of a PID namespace (skipped where unshare is
not allowed). BINARY PREFIX CMD… must run CMD under the supervisor. --probe sets PREFIX and the prefixes of the variants
for supervise_probe; a test whose variant has no prefix is skipped. The numbers in the names are for talking about them.
Last line: "N passed, M failed, K skipped"; exit 0 when nothing failed.
"""
import argparse
import contextlib
import fcntl
import os
import re
import select
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

ARGS = None
PYTHON = [os.path.realpath(sys.executable), "-S", "-E"]
UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]

# Blocks every signal, says "ready", then writes the number of each signal it gets; ends by the one given.
RECORDER = """
import signal, sys
last = int(sys.argv[1])
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
print("ready", flush=True)
while True:
    n = signal.sigwait(signal.valid_signals())
    if n == signal.SIGCHLD: continue
    print(int(n), flush=True)
    if n == last: sys.exit(41)
"""


def process_state(pid):
    """(state letter, parent) of a process, or (None, 0)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            fields = f.read().rpartition(b") ")[2].split()
        return fields[0].decode(), int(fields[1])
    except (OSError, IndexError):
        return None, 0


def children_of(pid):
    """{pid: state} of the direct children."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            state, parent = process_state(name)
            if parent == pid and state is not None:
                found[int(name)] = state
    return found


def status_field(pid, field):
    try:
        with open(f"/proc/{pid}/status") as f:
            return re.search(rf"^{field}:\s*(.*)$", f.read(), re.M).group(1)
    except (OSError, AttributeError):
        return ""


def wait_for(condition, seconds=10.0, step=0.002):
    """The first true value of condition(), or its last one after that many seconds."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() > end:
            return value
        time.sleep(step)


class Run:
    """One run of the supervisor. pid is the supervisor's own pid, seen from here."""

    def __init__(self, argv, pid1, inner=(), **popen):
        popen.setdefault("stdin", subprocess.DEVNULL)
        popen.setdefault("stdout", subprocess.PIPE)
        popen.setdefault("stderr", subprocess.PIPE)
        self.pid1 = pid1
        self.process = subprocess.Popen((UNSHARE if pid1 else []) + list(inner) + argv, **popen)
        self.text = b""
        self._pid = None if pid1 else self.process.pid

    @property
    def pid(self):
        if self._pid is None:
            name = os.path.basename(ARGS.binary)[:15]
            def child():
                for pid in children_of(self.process.pid):
                    if status_field(pid, "Name") == name:
                        return pid
            self._pid = wait_for(child)
        return self._pid

    def blocked_signals(self):
        """True once the supervisor reads its signals itself: before that the kernel drops those sent to a PID 1."""
        return wait_for(lambda: int(status_field(self.pid, "SigBlk") or "0", 16) & (1 << (signal.SIGTERM - 1)))

    def send(self, signo):
        os.kill(self.pid, signo)

    def app(self):
        """The app's pid, once it has been exec'ed (its blocked signals are those of the app then)."""
        name = os.path.basename(ARGS.binary)[:15]
        def child():
            for pid, state in children_of(self.pid).items():
                if state != "Z" and status_field(pid, "Name") not in ("", name):
                    return pid
        return wait_for(child)

    def read_until(self, wanted, seconds=10.0):
        """stdout so far; returns when it contains `wanted`, at its end, or after that many seconds."""
        fd = self.process.stdout.fileno()
        end = time.monotonic() + seconds
        while wanted not in self.text and time.monotonic() < end:
            if select.select([fd], [], [], 0.05)[0]:
                chunk = os.read(fd, 65536)
                if not chunk:
                    break
                self.text += chunk
        return self.text

    def wait(self, seconds=20.0):
        """(exit code, stdout, stderr)."""
        try:
            out, err = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running after {seconds} s") from None
        return self.process.returncode, self.text + (out or b""), (err or b"").decode(errors="replace")

    def kill(self):
        if self.process.poll() is None:
            with contextlib.suppress(OSError, TypeError):
                os.kill(self.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(2)  # unshare reaps the PID 1 it started
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdout, self.process.stderr, self.process.stdin):
            if stream:
                with contextlib.suppress(OSError):
                    stream.close()


class Cases:
    """The cases; the subclasses say in which position the supervisor runs."""

    pid1 = False

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="caddis-supervise-")
        os.chmod(self.dir, 0o777)
        self.addCleanup(shutil.rmtree, self.dir, True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def start(self, cmd, variant="plain", extra=(), **popen):
        prefix = ARGS.prefixes[variant]
        if prefix is None:
            self.skipTest(f"no --{variant}-prefix")
        if extra and not ARGS.probe:
            self.skipTest("needs an option of the probe")
        run = Run([ARGS.binary, *extra, *prefix, *cmd], self.pid1, **popen)
        self.addCleanup(run.kill)
        return run

    def sh(self, script, *args, **how):
        return self.start(["/bin/sh", "-c", script, "sh", *args], **how)

    def recorder(self, last, **how):
        run = self.start([*PYTHON, "-c", RECORDER, str(int(last))], **how)
        self.assertIn(b"ready\n", run.read_until(b"ready\n"))
        return run

    def assert_ends(self, run, code, seconds=20.0):
        got, out, err = run.wait(seconds)
        self.assertEqual(got, code, f"stdout {out[-500:]!r} stderr {err[-500:]!r}")
        return out, err

    # ---- exit codes

    def test_01_exit_code_is_the_apps(self):
        codes = range(256) if ARGS.full else (0, 1, 2, 7, 41, 99, 126, 127, 128, 143, 254, 255)
        for code in codes:
            self.assert_ends(self.sh(f"exit {code}"), code)

    def test_02_death_by_signal_n_is_128_plus_n(self):
        for name, code in (("KILL", 137), ("TERM", 143), ("INT", 130), ("SEGV", 139), ("ABRT", 134), ("BUS", 135),
                           ("USR1", 138)):
            self.assert_ends(self.sh(f"ulimit -c 0; kill -{name} $$"), code)

    def test_03_not_found_is_127_and_not_executable_is_126(self):
        _, err = self.assert_ends(self.start(["no-such-command-here"]), 127)
        self.assertIn("no-such-command-here", err)
        plain = self.path("plain")
        with open(plain, "w") as f:
            f.write("#!/bin/sh\nexit 0\n")
        os.chmod(plain, 0o644)
        _, err = self.assert_ends(self.start([plain]), 126)
        self.assertIn(plain, err)
        self.assert_ends(self.start([self.dir]), 126)
        bad = self.path("bad")
        with open(bad, "w") as f:
            f.write("#!/no/such/interpreter\n")
        os.chmod(bad, 0o755)
        self.assertIn(self.start([bad]).wait()[0], (126, 127))

    def test_04_usage_error_is_2_and_starts_nothing(self):
        prefix = [word for word in ARGS.prefixes["plain"] if word != "--"]
        run = Run([ARGS.binary, *prefix, "--no-such-flag", "--", "touch", self.path("started")], self.pid1)
        self.addCleanup(run.kill)
        self.assert_ends(run, 2)
        self.assertFalse(os.path.exists(self.path("started")))

    def test_05_after_a_forwarded_term_the_apps_code_counts(self):
        for code in (41, 0):
            run = self.sh(f"trap 'exit {code}' TERM; echo ready; while :; do sleep 0.01; done")
            run.read_until(b"ready\n")
            run.send(signal.SIGTERM)
            self.assert_ends(run, code)

    def test_06_an_app_without_handler_dies_of_the_forwarded_signal(self):
        for signo in (signal.SIGTERM, signal.SIGINT):
            run = self.start(["sleep", "100"])
            self.assertTrue(run.app())
            run.send(signo)
            self.assert_ends(run, 128 + signo)

    def test_07_arguments_arrive_byte_for_byte(self):
        self.assert_ends(self.start(["sh", "-c", "exit 7"]), 7)
        words = ["a b", "", "'\"", "$HOME `x` \\", "line\nbreak", "--", "-x", "ü", "*"]
        out, _ = self.assert_ends(self.sh('for w in "$@"; do printf "%s\\0" "$w"; done', *words), 0)
        self.assertEqual(out, "".join(w + "\0" for w in words).encode())

    # ---- signals

    def test_08_every_signal_arrives_once_and_in_order(self):
        ordinary = [signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGCONT,
                    signal.SIGALRM, signal.SIGURG, signal.SIGIO, signal.SIGPWR, signal.SIGVTALRM, signal.SIGPROF]
        realtime = list(range(signal.SIGRTMIN, signal.SIGRTMAX + 1))
        for last in (signal.SIGTERM, signal.SIGINT):
            sent = ordinary + (realtime if last == signal.SIGTERM else []) + [last]
            run = self.recorder(last)
            for signo in sent:
                run.send(signo)
                run.read_until(f"\n{int(signo)}\n".encode())
            out, _ = self.assert_ends(run, 41)
            self.assertEqual(out.decode().split(), ["ready"] + [str(int(s)) for s in sent])

    def test_09_hup_and_quit_do_not_end_the_supervisor(self):
        run = self.recorder(signal.SIGTERM)
        for signo in (signal.SIGHUP, signal.SIGQUIT, signal.SIGHUP):
            run.send(signo)
        run.read_until(str(int(signal.SIGQUIT)).encode())
        self.assertEqual(process_state(run.pid)[0], "S")
        run.send(signal.SIGTERM)
        self.assert_ends(run, 41)

    def test_10_tstp_stops_the_app_and_cont_resumes_it(self):
        run = self.start(["sleep", "100"])
        app = run.app()
        run.send(signal.SIGTSTP)
        self.assertTrue(wait_for(lambda: process_state(app)[0] == "T"))
        self.assertNotEqual(process_state(run.pid)[0], "T")
        run.send(signal.SIGCONT)
        self.assertTrue(wait_for(lambda: process_state(app)[0] in "SR"))
        run.send(signal.SIGTERM)
        self.assert_ends(run, 143)

    def test_11_a_signal_at_the_very_start_is_not_lost(self):
        rounds = 1000 if ARGS.full else 25
        for i in range(rounds):
            run = self.start(["sleep", "100"])
            if self.pid1:
                run.blocked_signals()
            time.sleep((i % 25) * 0.00008)
            run.send(signal.SIGTERM)
            # -15: it came before main
            self.assertIn(run.wait(ARGS.stop_timeout + 5)[0], (143, -15))

    def test_15_an_app_that_ignores_term_is_killed_after_the_time_out(self):
        run = self.sh("trap '' TERM; echo ready; while :; do sleep 0.05; done")
        run.read_until(b"ready\n")
        began = time.monotonic()
        run.send(signal.SIGTERM)
        self.assert_ends(run, 137, ARGS.stop_timeout + 10)
        took = time.monotonic() - began
        self.assertGreater(took, ARGS.stop_timeout - 0.1)
        self.assertLess(took, ARGS.stop_timeout + 0.1 + ARGS.slack)

    def test_15_a_second_term_or_int_kills_at_once(self):
        for second in (signal.SIGTERM, signal.SIGINT):
            run = self.sh("trap 'echo got' TERM INT; echo ready; while :; do sleep 0.01; done", variant="patient")
            run.read_until(b"ready\n")
            run.send(signal.SIGTERM)
            run.read_until(b"got\n")
            began = time.monotonic()
            run.send(second)
            self.assert_ends(run, 137)
            self.assertLess(time.monotonic() - began, 0.5 + ARGS.slack)

    def test_16_inherited_ignored_int_is_handed_on_and_a_blocked_term_is_not(self):
        def nohup_like():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        run = self.start(["sleep", "100"], preexec_fn=nohup_like)
        app = run.app()
        bits = (1 << (signal.SIGINT - 1)) | (1 << (signal.SIGHUP - 1))
        self.assertEqual(int(status_field(app, "SigIgn"), 16), bits)
        self.assertEqual(int(status_field(app, "SigBlk"), 16), 0)
        run.send(signal.SIGINT)
        run.send(signal.SIGINT)  # twice: a second stop request would kill
        run.send(signal.SIGHUP)
        time.sleep(0.1)
        self.assertEqual(process_state(app)[0], "S")
        run.send(signal.SIGTERM)
        self.assert_ends(run, 143)

    def test_17_the_app_starts_with_default_signals_and_an_empty_mask(self):
        def pipe_ignored():
            signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        for how in ({}, {"restore_signals": False, "preexec_fn": pipe_ignored}):
            out, _ = self.assert_ends(self.start(["grep", "-E", "^Sig(Blk|Ign|Pnd)", "/proc/self/status"], **how), 0)
            values = dict(line.split(":\t") for line in out.decode().splitlines())
            self.assertEqual(int(values["SigBlk"], 16), 0)
            self.assertEqual(int(values["SigIgn"], 16) & ~(1 << (signal.SIGXFSZ - 1)), 0)  # python ignores XFSZ
            self.assertEqual(int(values["SigPnd"], 16), 0)

    # ---- reaping and the tree

    def test_18_orphans_are_reaped(self):
        count = 1000 if ARGS.full else 200
        run = self.sh(f"i=0; while [ $i -lt {count} ]; do (true &); i=$((i+1)); done; echo done; exec sleep 100")
        run.read_until(b"done\n", 30)
        app = run.app()
        self.assertTrue(wait_for(lambda: set(children_of(run.pid)) == {app}, 5), children_of(run.pid))
        with open(f"/proc/{run.pid}/stat", "rb") as f:
            fields = f.read().rpartition(b") ")[2].split()
        cpu_ms = (int(fields[11]) + int(fields[12])) * 1000 // os.sysconf("SC_CLK_TCK")
        self.assertLessEqual(cpu_ms, 50)
        run.send(signal.SIGTERM)
        self.assert_ends(run, 143)

    def test_19_the_exit_code_of_an_orphan_does_not_count(self):
        run = self.sh("(sh -c 'exit 9' &); sleep 0.1; exit 3")
        self.assert_ends(run, 3)

    def test_20_what_the_app_leaves_behind_gets_term_and_nothing_is_left(self):
        mark = self.path("term")
        polite = f"trap 'echo got >{mark}; exit' TERM; echo ready; while :; do sleep 0.01; done"
        os.mkfifo(self.path("go"))
        run = self.sh(f"setsid sh -c \"$1\" & read x < {self.path('go')}; exit 5", polite)
        run.read_until(b"ready\n")
        before = self.tree(run.pid)
        with open(self.path("go"), "w") as f:
            f.write("go\n")
        self.assert_ends(run, 5)
        self.assertTrue(os.path.exists(mark))
        self.assertEqual([pid for pid in before if process_state(pid)[0] not in (None, "Z")], [])

    def test_20_what_ignores_term_is_killed_after_the_time_out(self):
        run = self.sh("setsid sh -c 'trap \"\" TERM; echo ready; while :; do sleep 0.05; done' & "
                      f"while [ ! -e {self.path('go')} ]; do sleep 0.01; done; exit 5")
        run.read_until(b"ready\n")
        before = self.tree(run.pid)
        open(self.path("go"), "w").close()
        began = time.monotonic()
        self.assert_ends(run, 5)
        self.assertGreater(time.monotonic() - began, ARGS.stop_timeout - 0.1)
        self.assertEqual([pid for pid in before if process_state(pid)[0] not in (None, "Z")], [])

    def test_20_leave_lets_it_live(self):
        if self.pid1:
            self.skipTest("the kernel ends everything with PID 1")
        run = self.sh(f"setsid sleep 100 >/dev/null 2>&1 </dev/null & echo $!; exit 5", variant="leave")
        out, _ = self.assert_ends(run, 5)
        left = int(out)
        self.assertIn(process_state(left)[0], ("S", "R"))
        os.kill(left, signal.SIGKILL)

    def test_21_the_app_dies_with_a_killed_supervisor(self):
        run = self.sh("trap '' TERM INT HUP; echo ready; while :; do read x; done", stdin=subprocess.PIPE)
        run.read_until(b"ready\n")
        app = run.app()
        run.send(signal.SIGKILL)
        began = time.monotonic()
        self.assertTrue(wait_for(lambda: process_state(app)[0] in (None, "Z", "X"), 5))
        self.assertLess(time.monotonic() - began, 0.1 + ARGS.slack)

    def test_23_no_descriptor_is_leaked(self):
        extra = os.open("/dev/null", os.O_RDONLY)
        self.addCleanup(os.close, extra)
        run = self.start(["sleep", "100"], pass_fds=(extra,))
        app = run.app()
        self.assertEqual(sorted(os.listdir(f"/proc/{app}/fd")), ["0", "1", "2"])
        run.send(signal.SIGTERM)
        self.assert_ends(run, 143)

    # ---- terminal and input/output

    def test_24_the_app_has_the_supervisors_own_stdin_stdout_and_stderr(self):
        run = self.start(["sleep", "100"], stdin=subprocess.PIPE)
        app = run.app()
        for fd in range(3):
            self.assertEqual(os.readlink(f"/proc/{app}/fd/{fd}"), os.readlink(f"/proc/{run.pid}/fd/{fd}"))
        run.send(signal.SIGTERM)
        self.assert_ends(run, 143)
        size = (100 if ARGS.full else 5) << 20
        content = os.urandom(1 << 16) * (size >> 16)
        run = self.start(["cat"], stdin=subprocess.PIPE)
        out, _ = run.process.communicate(content, timeout=60)
        self.assertEqual(run.process.returncode, 0)
        self.assertTrue(out == content)

    def pty_run(self, cmd, outer=()):
        """The supervisor as leader of a session with a terminal of its own."""
        master, slave = os.openpty()
        self.addCleanup(os.close, master)
        argv = [*outer, ARGS.binary, *ARGS.prefixes["plain"], *cmd]
        run = Run(argv, self.pid1, inner=["setsid", "--ctty", "--wait"], stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        self.addCleanup(run.kill)
        return run, master

    def read_pty(self, master, wanted, seconds=10.0):
        text = b""
        end = time.monotonic() + seconds
        while wanted not in text and time.monotonic() < end:
            if select.select([master], [], [], 0.05)[0]:
                try:
                    text += os.read(master, 65536)
                except OSError:  # EIO: nobody has the slave open any more
                    break
        return text

    def test_25_on_a_terminal_the_app_is_in_the_foreground(self):
        # fields of /proc/PID/stat: pid comm state ppid pgrp session tty_nr tpgid
        script = "set -- $(cat /proc/$$/stat); echo pgrp=$5 tpgid=$8 end"
        run, master = self.pty_run(["/bin/sh", "-c", script])
        text = self.read_pty(master, b" end")
        found = re.search(rb"pgrp=(\d+) tpgid=(\d+) end", text)
        self.assertTrue(found, text)
        self.assertEqual(found.group(1), found.group(2))
        self.assertEqual(run.wait()[0], 0)

    def test_25_ctrl_c_on_a_terminal_reaches_the_app_once(self):
        run, master = self.pty_run(["/bin/sh", "-c", "trap 'echo int' INT; echo ready; n=0; "
                                    "while [ $n -lt 15 ]; do sleep 0.01; n=$((n+1)); done; echo end; exit 3"])
        self.read_pty(master, b"ready")
        os.write(master, b"\x03")
        text = self.read_pty(master, b"end")
        self.assertEqual(text.count(b"int"), 1, text)
        self.assertEqual(run.wait()[0], 3)
        run, master = self.pty_run(["/bin/sh", "-c", "echo ready; exec sleep 100"])
        self.read_pty(master, b"ready")
        os.write(master, b"\x03")
        self.assertEqual(run.wait()[0], 130)

    def test_25_job_control_and_window_size_work_on_a_terminal(self):
        run, master = self.pty_run(["/bin/sh", "-m", "-c", "sleep 0.01 & fg; echo jobs $?"])
        text = self.read_pty(master, b"jobs")
        self.assertIn(b"jobs 0", text)
        self.assertNotIn(b"job control", text)
        self.assertEqual(run.wait()[0], 0)
        run, master = self.pty_run(["/bin/sh", "-c", "trap 'stty size; exit 4' WINCH; echo ready; "
                                    "while :; do sleep 0.01; done"])
        self.read_pty(master, b"ready")
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
        self.assertIn(b"33 77", self.read_pty(master, b"77"))
        self.assertEqual(run.wait()[0], 4)

    def test_25_the_terminal_comes_back_when_the_app_has_ended(self):
        script = '"$@"; read line; echo "got $line"'
        run, master = self.pty_run(["true"], outer=["/bin/sh", "-c", script, "sh"])
        os.write(master, b"hello\n")
        self.assertIn(b"got hello", self.read_pty(master, b"got hello"))
        self.assertEqual(run.wait()[0], 0)

    # ---- environment

    def test_28_environment_directory_umask_limits_and_oom_score_are_kept(self):
        def prepare():
            os.umask(0o027)
            with open("/proc/self/oom_score_adj", "w") as f:
                f.write("123")
        env = {**os.environ, "EMPTY": "", "ODD": "a=b c\n'\"", "SECRET_KEY": "x"}
        script = ("pwd; umask; ulimit -n; cat /proc/self/oom_score_adj; printf '%s|%s|' \"$EMPTY\" \"$ODD\"; "
                  "echo ${SECRET_KEY-unset}")
        limited = ["/bin/sh", "-c", "ulimit -n 77; exec \"$@\"", "sh"]
        run = Run([ARGS.binary, *ARGS.prefixes["plain"], "/bin/sh", "-c", script], self.pid1,
                  inner=limited, cwd=self.dir, env=env, preexec_fn=prepare)
        self.addCleanup(run.kill)
        out, _ = self.assert_ends(run, 0)
        self.assertEqual(out.decode(), f"{self.dir}\n0027\n77\n123\n|a=b c\n'\"|x\n")

    def test_28_a_removed_variable_does_not_arrive(self):
        run = self.sh("echo ${SECRET_KEY-unset} $OTHER", extra=["--unset", "SECRET_KEY"],
                      env={**os.environ, "SECRET_KEY": "x", "OTHER": "y"})
        self.assertEqual(self.assert_ends(run, 0)[0], b"unset y\n")

    def test_28_user_changes_ids_groups_and_home(self):
        if os.geteuid() != 0:
            self.skipTest("needs root")
        run = self.sh("id -u; id -g; id -G; echo $HOME", extra=["--user", "54321:65432"])
        self.assertEqual(self.assert_ends(run, 0)[0], b"54321\n65432\n65432\n/\n")
        run = self.sh("echo ready; exec sleep 100", extra=["--user", "54321:65432"])
        run.read_until(b"ready\n")
        app = run.app()
        run.send(signal.SIGKILL)  # PDEATHSIG survives the change of user
        self.assertTrue(wait_for(lambda: process_state(app)[0] in (None, "Z", "X"), 5))

    # ---- the exec list

    def list_run(self, *scripts, **how):
        cmd = []
        for script in scripts:
            cmd += ([";;"] if cmd else []) + ["/bin/sh", "-c", script]
        return self.start(cmd, variant="list", **how)

    def test_12_a_signal_during_a_migration_ends_it_and_the_list(self):
        app = self.path("app")
        for script, code in (("trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done", 5),
                             ("trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done", 143),
                             ("echo ready; exec sleep 100", 143)):
            run = self.list_run(script, f"touch {app}")
            run.read_until(b"ready\n")
            run.send(signal.SIGTERM)
            self.assert_ends(run, code)
            self.assertFalse(os.path.exists(app))

    def test_30_the_list_runs_one_after_another_and_the_first_failure_ends_it(self):
        out, _ = self.assert_ends(self.list_run("sleep 0.1; echo 1", "echo 2", "echo 3; exit 6"), 6)
        self.assertEqual(out, b"1\n2\n3\n")
        out, err = self.assert_ends(self.list_run("echo 1", "exit 4", "echo 3"), 4)
        self.assertEqual(out, b"1\n")
        self.assertIn("exit status 4", err)
        self.assert_ends(self.list_run("kill -KILL $$", "echo 3"), 137)

    def test_30_an_entry_that_takes_too_long_ends_the_list(self):
        run = self.list_run("exec sleep 100", "echo no", extra=["--timeout", "100"])
        out, err = self.assert_ends(run, 143)
        self.assertEqual(out, b"")
        self.assertIn("did not end within 100 ms", err)

    # ---- process group mode

    def group_script(self, run):
        run.read_until(b"ready\n")
        self.assertTrue(wait_for(lambda: "sleep" in [status_field(pid, "Name") for pid in self.tree(run.pid)]))
        run.send(signal.SIGUSR1)
        return self.assert_ends(run, 0)[0]

    # The app handles USR1 and its child does not: 138 when the child got it too.
    GROUP = "trap : USR1; sleep 0.5 & echo ready; wait $!; wait $!; echo $?"

    def test_14_in_group_mode_the_apps_child_gets_the_signal_too(self):
        self.assertIn(b"138", self.group_script(self.sh(self.GROUP, variant="group")))

    def test_14_otherwise_only_the_app_gets_it(self):
        self.assertNotIn(b"138", self.group_script(self.sh(self.GROUP)))

    @staticmethod
    def tree(pid):
        """All descendants."""
        found, todo = [], [pid]
        while todo:
            below = list(children_of(todo.pop()))
            found += below
            todo += below
        return found


class AsChild(Cases, unittest.TestCase):
    pid1 = False


class AsPid1(Cases, unittest.TestCase):
    pid1 = True

    @classmethod
    def setUpClass(cls):
        if subprocess.run([*UNSHARE, "true"], capture_output=True).returncode != 0:
            raise unittest.SkipTest("unshare --pid is not allowed here")


class Result(unittest.TextTestResult):
    passed = 0

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--prefix", default="--", help="words between BINARY and CMD")
    parser.add_argument("--stop-timeout", type=float, default=8.0, help="seconds the prefix stands for")
    for variant, what in (("patient", "with a stop time-out of 5 s or more; default: PREFIX if it has that"),
                          ("group", "signals go to the process group"), ("leave", "the app's descendants may stay"),
                          ("list", "CMDs separated by ;; are an exec list")):
        parser.add_argument(f"--{variant}-prefix", help=what)
    parser.add_argument("--probe", action="store_true", help="BINARY is supervise_probe")
    parser.add_argument("--full", action="store_true", help="all rounds: minutes instead of seconds")
    parser.add_argument("--slack", type=float, default=0.5, help="seconds a loaded machine may be late")
    parser.add_argument("-k", metavar="PATTERN", help="only tests whose name contains it")
    args = parser.parse_args()
    args.binary = os.path.abspath(args.binary)
    if args.probe:
        args.stop_timeout = 0.5
        args.prefix = "--stop-timeout 500 --"
        args.patient_prefix = "--stop-timeout 8000 --"
        args.group_prefix, args.leave_prefix, args.list_prefix = "--group --", "--leave --", "--list --"
    elif args.patient_prefix is None and args.stop_timeout >= 5:
        args.patient_prefix = args.prefix
    args.prefixes = {"plain": shlex.split(args.prefix)}
    for variant in ("patient", "group", "leave", "list"):
        prefix = getattr(args, f"{variant}_prefix")
        args.prefixes[variant] = None if prefix is None else shlex.split(prefix)
    return args


def main():
    global ARGS
    ARGS = parse_arguments()
    loader = unittest.TestLoader()
    if ARGS.k:
        loader.testNamePatterns = [f"*{ARGS.k}*"]
    suite = unittest.TestSuite(loader.loadTestsFromTestCase(case) for case in (AsChild, AsPid1))
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2, resultclass=Result).run(suite)
    failed = len(result.failures) + len(result.errors)
    print(f"{result.passed} passed, {failed} failed, {len(result.skipped)} skipped")
    return 1 if failed or not result.passed else 0


if __name__ == "__main__":
    sys.exit(main())
