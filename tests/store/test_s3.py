"""The S3 store against S3 servers made by others: the live tests of src/store/store_s3_test.cc. rclone checks signatures
and ignores conditions (If-None-Match, If-Match), moto does it the other way round; a proxy cuts connections in the middle
of an answer."""
import os
import re
import shutil

from harness import FaultProxy, MotoS3, RcloneS3, Skip, TOP, run, test
from harness.peers import KEY, SECRET


def store_test():
    for preset in ("dev", "asan", "tsan"):
        path = os.path.join(TOP, "build", preset, "src", "store", "store_test")
        if os.access(path, os.X_OK):
            return path
    raise Skip("there is no build/dev/src/store/store_test: run ./dev build dev")


def run_live(s3, pattern, scheme="http", **env):
    target = f"{scheme}://127.0.0.1:{s3.port},{s3.bucket},{KEY},{SECRET}"
    done = run(store_test(), "--gtest_filter=S3LiveTest." + pattern, timeout=100,
               env={**os.environ, "CADDIS_TEST_S3": target, **env})
    print(done.stdout)
    assert "[  SKIPPED ]" not in done.stdout and re.search(r"\[  PASSED  \] [1-9]", done.stdout), done.stdout
    assert SECRET not in done.stdout + done.stderr
    return done.stdout


@test(timeout=120)
def test_every_request_works_on_a_real_server(t):
    run_live(RcloneS3(t), "*-*Cut*:*IfMatch*:*IfNoneMatch*:*Certificate*")


@test(timeout=180)
def test_conditions_hold_on_a_server_that_knows_them(t):
    run_live(MotoS3(t), "*-*Cut*:*Secret*:*Certificate*")


@test(timeout=60)
def test_a_read_goes_on_after_its_connection_was_cut(t):
    s3 = RcloneS3(t)
    proxy = FaultProxy(t, s3.port, "cut")
    proxy.cut_bytes = 700_000
    run_live(s3, "AReadThroughCut*", CADDIS_TEST_S3_CUT=f"http://127.0.0.1:{proxy.port}")
    assert proxy.connections >= 6, proxy.connections


@test(timeout=60)
def test_objects_go_over_tls_to_a_server_whose_certificate_is_trusted(t):
    if not shutil.which("openssl"):
        raise Skip("there is no openssl to make a certificate with")
    cert, key = t.path("cert.pem"), t.path("key.pem")
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key,
        "-out", cert, "-days", "2", "-subj", "/CN=caddis test", "-addext", "subjectAltName=IP:127.0.0.1")
    s3 = RcloneS3(t, options=("--cert", cert, "--key", key))
    run_live(s3, "*Certificate*:*WhatWasPut*:*LargeObject*", scheme="https", CADDIS_TEST_S3_CA=cert)
