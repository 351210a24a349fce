import time
from fleet import *
from fleet.cluster import Cluster
from fleet import deploy, truth, client
from harness import test, wait_until

@test(timeout=120)
def test_consul_writes_and_deploy(t):
    b=time.monotonic()
    c=Cluster(t, ("ord","ord","ams"), lease="consul")
    c.start()
    print("up", time.monotonic()-b)
    p=c.primary(); print("primary", p)
    front=c.flyproxy("ord")
    w=[c.writer(front,"w1"), c.writer(front,"w2")]
    r=c.reader(front)
    w[0].wait_acks(100)
    print("gap steady", client.longest_gap(w))
    for i in range(2):
        b=time.monotonic()
        steps=deploy.rolling(c.fleet, c.new_image())
        print("deploy", time.monotonic()-b, [(s.machine.id, round(s.stopped-s.began,3), round(s.healthy-s.stopped,3), s.exit) for s in steps])
        print("gap", client.longest_gap(w, since=b), "read failures", len(r.failures()), r.failures()[:3])
        w[0].wait_acks(20)
    print("fail", [x.last_failures() for x in w], len(w[0].attempts), len(w[0].acks()))
    try: print(c.check_everything(w))
    except AssertionError as e: print("VERDICT", e)
    print([m.api.roles() for m in c.machines])

@test(timeout=120)
def test_consul_kill9(t):
    c=Cluster(t, ("ord","ord","ams"), lease="consul")
    c.start()
    p=c.primary()
    front=c.flyproxy("ord")
    w=[c.writer(front,"w1"), c.writer(front,"w2")]
    w[0].wait_acks(100)
    b=time.monotonic()
    p.kill9(); print("killed", time.monotonic()-b)
    w[0].wait_acks(30, 20)
    print("gap", client.longest_gap(w, since=b-1), "new", c.primary())
    p.start()
    w[0].wait_acks(30)
    try: print(c.check_everything(w))
    except AssertionError as e: print("VERDICT", e)
    b=time.monotonic()
    w=[c.writer(front,"w3"), c.writer(front,"w4")]
    w[0].wait_acks(100)
    for i in range(3):
        b=time.monotonic()
        q=[m for m in c.machines if not m.is_primary() and m.region=="ord"][0]
        q.exec("litefs","run","-promote","--","true")
        w[0].wait_acks(100)
        print("gap at promote", client.longest_gap(w, since=b-1), "new", c.primary())
        time.sleep(2)
        print([(m,m.exit) for m in c.machines])
        for m in c.machines:
            if m.pid is None: m.start()
    b=time.monotonic()
    p=c.primary(); e=p.stop("SIGTERM"); print(e)
    w[0].wait_acks(100)
    print("gap at SIGTERM", client.longest_gap(w, since=b-1), "new", c.primary())
