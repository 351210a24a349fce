"""A wrong configuration ends with exit code 2 within a second, says where and what, and touches nothing."""
import os
import subprocess
import time

from harness import binary, is_mounted, need_root_and_fuse

GOOD = "fuse:\n  dir: {mount}\ndata:\n  dir: {data}\nlease:\n  type: static\n  candidate: true\n"
CASES = {
    "unknown key": (GOOD + "fusee:\n  dir: x\n", ["fusee"]),
    "unknown nested key": ("fuse:\n  dirr: {mount}\ndata:\n  dir: {data}\n", ["dirr", "dir", ":2:"]),
    "duration without unit": (GOOD + "stop-timeout: 10\n", ["stop-timeout", ":8:"]),
    "same directories": ("fuse:\n  dir: {data}\ndata:\n  dir: {data}\n", ["{data}"]),
    "bad lease type": ("fuse:\n  dir: {mount}\ndata:\n  dir: {data}\nlease:\n  type: zookeeper\n", ["zookeeper"]),
    "not yaml": ("fuse: [\n", []),
    "bad log format": (GOOD + "log:\n  format: xml\n", ["xml"]),
    "shell operators in a cmd": (GOOD + "exec:\n  - cmd: migrate && serve\n", ["sh", "-c"]),
    "backup of an unknown scheme": (GOOD + "backup:\n  - url: ftp://x/y\n", ["ftp"]),
    "several errors at once": (GOOD + "nope: 1\nrestore: sometimes\n", ["nope", "restore"]),
    "unset PRIMARY_REGION": ("fuse:\n  dir: {mount}\ndata:\n  dir: {data}\nlease:\n  type: static\n"
                             "  candidate: ${{FLY_REGION == PRIMARY_REGION}}\n", ["PRIMARY_REGION"]),
}


def mount(t, arguments, cwd, env=None):
    clean = {k: v for k, v in os.environ.items()
             if not k.startswith(("FLY_", "CADDIS_", "AWS_")) and k not in ("PRIMARY_REGION", "BUCKET_NAME")}
    started = time.monotonic()
    done = subprocess.run([binary(), *arguments], cwd=cwd, env={**clean, **(env or {})}, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=20)
    return done, time.monotonic() - started


def test_each_error_is_exit_2_within_a_second_and_names_its_place(t):
    need_root_and_fuse()
    wrong = []
    for case, (text, words) in CASES.items():
        folder = t.mkdir(case.replace(" ", "-"))
        paths = {"mount": os.path.join(folder, "mnt"), "data": os.path.join(folder, "data")}
        with open(os.path.join(folder, "litefs.yml"), "w") as f:
            f.write(text.format(**paths))
        done, seconds = mount(t, ["mount", "-config", os.path.join(folder, "litefs.yml")], folder)
        missing = [w.format(**paths) for w in words if w.format(**paths) not in done.stderr]
        if done.returncode != 2 or seconds > 1 or missing:
            wrong.append(f"{case}: exit {done.returncode}, {seconds:.2f} s, not named: {missing}\n{done.stderr}")
        if is_mounted(paths["mount"]) or os.path.exists(paths["data"]):
            wrong.append(f"{case}: something was mounted or created")
    assert not wrong, "\n" + "\n".join(wrong)


def test_usage_errors_are_exit_2(t):
    for arguments in ([], ["nonsense"], ["mount", "-nonsense"], ["mount", "extra"], ["export"], ["restore"]):
        done, _ = mount(t, arguments, t.dir)
        assert done.returncode == 2, (arguments, done.returncode, done.stderr)
        assert done.stderr, arguments


def test_help_and_version(t):
    done, _ = mount(t, ["-h"], t.dir)
    assert done.returncode == 0 and "mount" in done.stdout
    done, _ = mount(t, ["version"], t.dir)
    assert done.returncode == 0 and done.stdout.startswith("caddis v"), done.stdout
    os.symlink(binary(), t.path("litefs"))
    done = subprocess.run([t.path("litefs"), "version"], stdout=subprocess.PIPE, text=True, timeout=10)
    assert done.returncode == 0 and done.stdout.startswith("LiteFS v0.5.14, commit="), done.stdout


def test_a_missing_config_file_that_was_named_is_exit_2(t):
    done, _ = mount(t, ["mount", "-config", t.path("absent.yml")], t.dir)
    assert done.returncode == 2 and "absent.yml" in done.stderr, done
