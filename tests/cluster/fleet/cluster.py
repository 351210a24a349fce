"""A whole app on Fly, ready to be hurt: machines in regions, the counter app, a lease, a bucket, Fly's proxy."""
import json
import os
import sqlite3

import harness
from harness import HttpFaultProxy, MotoS3, RcloneS3

from . import Fleet, capabilities, truth
from .client import Reader, Writer
from .consul import FakeConsul
from .flyproxy import FlyProxy, HealthChecks
from .machine import Image

PYTHON = "/usr/bin/python3 -B counter_app.py"
DATA = "/data/litefs"
TTL = float(os.environ.get("CADDIS_FLEET_TTL", "3"))  # seconds; Fly's Consul allows no less than 10
BUCKET_HOST, CONSUL_HOST = "bucket.fleet.test", "consul.fleet.test"


class Raw(str):
    """A YAML scalar that must not be quoted: ${…} that becomes a boolean."""


CANDIDATE = Raw("${FLY_REGION == PRIMARY_REGION}")


def yaml(value):
    """The configuration as text: JSON is YAML, but an expansion must stand bare."""
    text = json.dumps(value, indent=1, default=str)
    for raw in {r for r in _raws(value)}:
        text = text.replace(json.dumps(raw), raw)
    return text + "\n"


def _raws(value):
    if isinstance(value, Raw):
        yield value
    elif isinstance(value, dict):
        for v in value.values():
            yield from _raws(v)
    elif isinstance(value, list):
        for v in value:
            yield from _raws(v)


def merged(config, changes):
    out = dict(config)
    for key, value in (changes or {}).items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = merged(out[key], value)
        else:
            out[key] = value
    return out


class Cluster:
    """lease: "static" | "consul" | "s3". The first machine of the primary region is the static primary's name.
    bucket: a real S3 server behind a fault proxy, at the machines' BUCKET_NAME: rclone, or moto ("moto", and with lease
    "s3": it knows conditional requests). With `proxy` the app listens on 8081
    behind the program's own proxy on 8080; without, on 8080 itself. app: changes of its environment; None: no app, the
    machines only hold the mount."""

    def __init__(self, test, regions=("ord",), lease="static", bucket=False, proxy=None, config=None, app={}, ttl=TTL,
                 pace=0.2, late=0.2, **options):
        self.test, self.lease, self.ttl, self.has_app = test, lease, ttl, app is not None
        has = capabilities.capabilities(test)
        self.proxied = self.has_app and ("proxy" in has if proxy is None else proxy)
        self.fleet = Fleet(test, pace=pace)
        self.consul = self.s3 = self.s3_faults = self.bucket_address = None
        self.app_env = {"PORT": "8081" if self.proxied else "8080", "APP_VERSION": "1", "PYTHONUNBUFFERED": "1",
                        **({} if self.proxied else {"APP_REPLAY": "1"}), **(app or {})}
        if lease == "consul":
            self._add_consul(late)
        if bucket or lease == "s3":
            self._add_bucket(MotoS3 if lease == "s3" or bucket == "moto" else RcloneS3)
        self.fleet.checks = [(20202, "/health" if capabilities.is_caddis() else "/info")]
        if self.has_app:
            self.fleet.checks.append((8080, "/health"))
        self.config_changes = config
        self.image = self._image()
        for region in regions:
            self.add(region, **options)
        self.image = self._image()  # now that the primary has a name
        for machine in self.machines:
            machine.image = self.image

    # ---- parts

    def _add_consul(self, late):
        address = self.fleet.network.service_address(0xC0)
        self.consul = FakeConsul(self.test, address, token="8a1e5b9c-0000-4000-8000-0123456789ab",
                                 prefix="demo-qxv29kj0w8m7y3n5", late=late, min_ttl=0.5)
        self.fleet.dns.hosts[CONSUL_HOST] = address
        self.fleet.secrets["FLY_CONSUL_URL"] = self.consul.url(CONSUL_HOST)

    def _add_bucket(self, server):
        self.bucket_address = self.fleet.network.service_address(0x53)
        self.s3 = server(self.test)
        self.s3_faults = HttpFaultProxy(self.test, ("127.0.0.1", self.s3.port), (self.bucket_address, 9000))
        self.fleet.dns.hosts[BUCKET_HOST] = self.bucket_address
        self.fleet.secrets.update(BUCKET_NAME=self.s3.bucket, AWS_ENDPOINT_URL_S3=f"http://{BUCKET_HOST}:9000",
                                  AWS_REGION="us-east-1", **self.s3.env)

    def _image(self):
        app = [{"cmd": PYTHON + " migrate", "if-candidate": True}, {"cmd": PYTHON + " serve"}]
        config = {"fuse": {"dir": "/litefs"}, "data": {"dir": DATA}, "lease": self._lease(),
                  "exec": app if self.has_app else [{"cmd": "sleep 100000"}]}
        if self.proxied:
            config["proxy"] = {"addr": ":8080", "target": "localhost:8081", "db": "app.db"}
        config = merged(config, self.config_changes)
        return Image(capabilities.program(), files={"/etc/litefs.yml": yaml(config)}, env=self.app_env)

    def _lease(self):
        own = "http://${FLY_ALLOC_ID}.vm.${FLY_APP_NAME}.internal:20202"
        if self.lease == "consul":
            return {"type": "consul", "advertise-url": own, "candidate": CANDIDATE, "hostname": "${FLY_ALLOC_ID}",
                    "consul": {"url": "${FLY_CONSUL_URL}", "key": "litefs/${FLY_APP_NAME}", "ttl": f"{self.ttl}s",
                               "lock-delay": "100ms"}}
        if self.lease == "s3":
            return {"type": "s3", "candidate": CANDIDATE, "s3": {"ttl": f"{self.ttl}s"}}
        first = next((m.id for m in self.fleet.machines if m.region == self.fleet.primary_region), "none")
        return {"type": "static", "candidate": CANDIDATE, "hostname": first,
                "advertise-url": f"http://{first}.vm.{self.fleet.app}.internal:20202"}

    # ---- machines

    @property
    def machines(self):
        return [m for m in self.fleet.machines if m.in_dns]

    def add(self, region="ord", **options):
        return self.fleet.machine(region, self.image, **options)

    def start(self, timeout=30):
        """All machines, the first one alone until it is healthy (a first boot is not a race)."""
        for machine in self.machines:
            if machine.pid is None:
                machine.start(timeout=timeout)
        return self

    def primary(self, timeout=15):
        """The one primary; waits for it."""
        found = []

        def one():
            found[:] = [m for m in self.machines if m.is_primary()]
            return len(found) == 1
        harness.wait_until(one, timeout, f"one primary among {self.machines}")
        return found[0]

    def others(self, machine):
        return [m for m in self.machines if m is not machine]

    def flyproxy(self, edge="ord", near=("ams", "syd"), autostart=False, number=0xF0, **options):
        address = self.fleet.network.service_address(number)
        checks = HealthChecks(self.fleet, self.fleet.checks)
        return FlyProxy(self.fleet, address, edge=edge, near=near, checks=checks, autostart=autostart, **options)

    def writer(self, where, name="w1", **options):
        return Writer(self.test, getattr(where, "url") if isinstance(where, FlyProxy) else where.url(8080), name, **options)

    def reader(self, where, path="/count", **options):
        return Reader(self.test, where.url if isinstance(where, FlyProxy) else where.url(8080), path, **options)

    def new_image(self, app=None, config=None):
        """The next version, as a deploy makes it."""
        self.config_changes = merged(self.config_changes or {}, config)
        version = str(int(self.app_env["APP_VERSION"]) + 1)
        self.app_env = {**self.app_env, "APP_VERSION": version, **(app or {})}
        self.image = self.image.next(env=self.app_env, files=self._image().files)
        return self.image

    # ---- verdict

    @property
    def backup_url(self):
        return self.s3.url(f"{self.fleet.app}/app.db")

    def wait_backup(self, copy=None, timeout=15):
        """Until the bucket has the database; with a Copy, all its rows."""
        def there():
            begun = bool(self.s3.objects(f"{self.fleet.app}/app.db"))
            if copy is None or not begun:
                return begun
            try:
                return len(truth.of_backup(self.test, self.backup_url, self.s3.env).rows) >= len(copy.rows)
            except sqlite3.OperationalError:  # not even the table yet
                return False
        harness.wait_until(there, timeout, "the backup to hold everything")

    def check_everything(self, writers, backup=None):
        """Stops the writers; all machines converge, equal each other, the restored backup and the clients' logs."""
        for writer in writers:
            writer.stop()
        truth.wait_converged(self.machines)
        copies = [truth.of_machine(m) for m in self.machines]
        if backup or (backup is None and self.s3):
            self.wait_backup(copies[0])
            copies.append(truth.of_backup(self.test, self.backup_url, self.s3.env))
            copies.append(truth.of_backup(self.test, self.backup_url, self.s3.env, program=harness.binary()))
        return truth.check(writers, copies)
