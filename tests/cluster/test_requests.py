"""Requests on their way: through Fly's proxy, the node's own proxy, and litefs-js."""
import json
import os
import shutil

from fleet import capabilities, truth
from fleet.client import get, request, web_socket
from fleet.cluster import Cluster
from fleet.machine import WORKDIR
from harness import DEPS, Skip, test, wait_until

LITEFS_JS = os.path.join(DEPS, "npm", "node_modules")


def proxied(t, *regions, **options):
    capabilities.need(t, "replication", "proxy")
    c = Cluster(t, regions, lease="static", **options).start()
    return c, c.machines[0], c.machines[1]


@test(timeout=90)
def test_f17_posts_of_any_size_and_web_sockets_reach_the_primary(t):
    c, primary, replica = proxied(t, "ord", "ams")
    front = c.flyproxy("ams", near=("ord",))
    wait_until(lambda: len(front.usable()) == 2, 10, "both machines to pass their checks")
    for size in (0, 10_000, 1_500_000, 5_000_000):
        status, text = get(front.url, "/blob", method="POST", body=b"x" * size, timeout=20)
        assert status == 200 and json.loads(text)["length"] == size, (size, status, text)
        assert json.loads(text)["machine"] == primary.id, (size, text)
        assert front.log[-1][3][0] == replica.id, "it did not come in at the near machine"
        print(f"{size} bytes: {'replayed' if len(front.log[-1][3]) == 2 else 'forwarded'}")
    assert front.log[-1][3] == [replica.id], "more than 1 MB cannot be replayed"
    status, where, echoed = web_socket(front.url, b"\x81\x05hello")
    assert (status, where, echoed) == (101, primary.id, b"\x81\x05hello")
    # curl asks before it sends, and sends in chunks
    replica.exec("sh", "-c", "head -c 2000000 /dev/zero > /tmp/body")
    for extra in (("-H", "Expect: 100-continue"), ("-H", "Transfer-Encoding: chunked")):
        done = replica.exec("curl", "-s", "-m", "20", *extra, "--data-binary", "@/tmp/body", f"http://[{front.address}]/blob")
        assert json.loads(done.stdout)["length"] == 2_000_000, done
    truth.wait_converged(c.machines)
    assert replica.sql("SELECT count(*) FROM blobs") == "6"


@test(timeout=90)
def test_f17_a_client_reads_its_own_write_at_the_replica(t):
    c, primary, replica = proxied(t, "ord", "ams")
    front = c.flyproxy("ams", near=("ord",))
    wait_until(lambda: len(front.usable()) == 2, 10, "both machines to pass their checks")
    for seq in range(1, 31):
        status, text, headers = request(front.url, f"/write?client=a&seq={seq}", method="POST")
        assert status == 200, (status, text)
        cookie = headers["Set-Cookie"].split(";")[0]
        status, text, _ = request(front.url, "/rows", headers={"Cookie": cookie})
        document = json.loads(text)
        assert document["machine"] == replica.id, (seq, document["machine"])
        assert len(document["rows"]) == seq, f"{len(document['rows'])} rows after write {seq}"


def node_cluster(t, regions, **options):
    if not shutil.which("node"):
        raise Skip("there is no node on this machine")
    if not os.path.isdir(os.path.join(LITEFS_JS, "litefs-js")):
        raise Skip("build/deps/npm has no litefs-js: ./dev test installs it where npm is")
    c = Cluster(t, regions, lease="static", proxy=False, **options)
    environment = {"LITEFS_DIR": "/litefs", "DATABASE_FILENAME": "app.db", "INTERNAL_PORT": "8080"}
    return c, environment


def node(machine, environment, *args):
    """epic.mjs in the machine; its answer."""
    done = machine.exec("node", os.path.join(WORKDIR, "epic.mjs"), *args, env={**environment, "LITEFS_JS": LITEFS_JS})
    return json.loads(done.stdout)


@test(timeout=60)
def test_f22_litefs_js_knows_the_primary_and_its_transactions(t):
    c, environment = node_cluster(t, ("ord", "ams"), bucket=True)
    primary, replica = c.machines
    primary.start()
    seen = node(primary, environment)
    assert seen["instance"] == {"primaryInstance": primary.id, "currentInstance": primary.id, "currentIsPrimary": True}, seen
    for seq in range(1, 6):
        assert get(primary.url(8080), f"/write?client=a&seq={seq}", method="POST")[0] == 200
        assert node(primary, environment)["tx"] == seen["tx"] + seq
    assert seen["all"] == {primary.id: "ord"} and seen["ensure"] is None
    c.wait_backup(truth.of_machine(primary))
    replica.start()
    seen = node(replica, environment)
    assert seen["instance"] == {"primaryInstance": primary.id, "currentInstance": replica.id, "currentIsPrimary": False}, seen
    assert seen["all"] == {primary.id: "ord", replica.id: "ams"}
    assert seen["ensure"] == {"status": 409, "fly-replay": f"instance={primary.id}"}


@test(timeout=60)
def test_f22_the_epic_stacks_redirect_after_a_write_is_consistent(t):
    """302 with txnum as cookie, then the GET at the replica: it waits for the transaction or replays."""
    capabilities.need(t, "replication")
    c, environment = node_cluster(t, ("ord", "ams"))
    primary, replica = c.start().machines
    for seq in range(1, 11):
        assert get(primary.url(8080), f"/write?client=a&seq={seq}", method="POST")[0] == 200
        number = node(primary, environment)["tx"]
        verdict = node(replica, environment, str(number))["consistency"]
        assert verdict["type"] in ("delete-cookie", "replay"), verdict
        if verdict["type"] == "delete-cookie":
            assert json.loads(get(replica.url(8080), "/count")[1])["count"] == seq
    assert verdict["type"] == "delete-cookie", "the replica never caught up within litefs-js's half second"
