"""What the program under test can do, asked of the program itself: a scenario that needs more skips, and turns on by
itself with the build that has it."""
import json
import os
import socket
import subprocess
import tempfile

from harness import RESULTS, Node, Skip, binary

NAMES = {"replication": "replication between machines", "consul": "lease type consul", "s3": "lease type s3",
         "proxy": "HTTP proxy", "durability": "durability: replica"}


def program():
    """The program of the machines. CADDIS_FLEET_PROGRAM replaces it, to try the bench with another."""
    return os.environ.get("CADDIS_FLEET_PROGRAM") or binary()


def is_caddis():
    return os.path.basename(program()) != "litefs"


def need(test, *names):
    missing = [NAMES[n] for n in names if n not in capabilities(test)]
    if missing:
        raise Skip("this build has no " + ", no ".join(missing))


def capabilities(test):
    """A set of NAMES; the answer is kept in build/results beside the program's identity."""
    if not is_caddis():
        return {"replication", "consul", "proxy"}
    state = os.stat(program())
    identity = [os.path.realpath(program()), state.st_size, state.st_mtime_ns]
    path = os.path.join(RESULTS, "capabilities.json")
    try:
        with open(path) as f:
            kept = json.load(f)
        if kept["program"] == identity:
            return set(kept["has"])
    except (OSError, ValueError, KeyError):
        pass
    has = _ask(test)
    os.makedirs(RESULTS, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=RESULTS, delete=False) as f:
        json.dump({"program": identity, "has": sorted(has)}, f)
    os.rename(f.name, path)
    return has


def _ask(test):
    bucket = {"BUCKET_NAME": "bucket", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s",
              "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1", "AWS_REGION": "auto"}
    consul = {"lease": {"type": "consul", "consul": {"url": "http://127.0.0.1:1/app", "key": "k", "ttl": "10s"}}}
    proxy = {"proxy": {"addr": "127.0.0.1:0", "target": "127.0.0.1:1", "db": "app.db"}}
    has = set()
    if "not part of this version" not in _failed_start(test, consul):
        has.add("consul")
    if "not part of this version" not in _failed_start(test, {"lease": {"type": "s3"}}, bucket):
        has.add("s3")
    if "not part of this version" not in _failed_start(test, {"durability": "replica"}, bucket):
        has.add("durability")
    if "proxy has no effect" not in _failed_start(test, proxy):
        has.add("proxy")
    if _follows(test):
        has.add("replication")
    return has


def _failed_start(test, config, env=None):
    """The log of a start that reads its configuration and then finds its port taken."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        node = Node(test, f"asked-{port}", {**config, "http": {"addr": f"127.0.0.1:{port}"}}, env=env, program=program())
        test.nodes.remove(node)
        if config.get("lease"):
            node.config["lease"] = config["lease"]
        done = subprocess.run(node.command("true"), cwd=node.dir, env=node.env, stdin=subprocess.DEVNULL, timeout=20,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        # 2 is a configuration that is refused: this file then asks wrongly, unless the feature is what is refused
        assert done.returncode not in (0, 2) or "not part of this version" in done.stdout, done.stdout
        return done.stdout


def _follows(test):
    """Whether a node that may not be primary knocks at the primary it was told of."""
    with socket.create_server(("127.0.0.1", 0)) as primary:
        primary.settimeout(3)
        url = f"http://127.0.0.1:{primary.getsockname()[1]}"
        node = Node(test, "asked-replica", {"lease": {"hostname": "primary", "advertise-url": url}}, candidate=False,
                    program=program())
        test.nodes.remove(node)
        node.start("sleep", "60", wait=False)
        try:
            primary.accept()[0].close()
            return True
        except TimeoutError:
            return False
        finally:
            node.end()
