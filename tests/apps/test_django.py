"""A real Django project (examples/django): migrate as an if-candidate entry, its server as the app, a real S3 server; the
machine and its volume are lost and everything is there again."""
import json
import os
import shutil
import urllib.error
import urllib.request

from harness import TOP, Node, RcloneS3, check_database, free_port, litestream, run, test, venv_program, wait_until

PROJECT = os.path.join(TOP, "examples", "django")


def request(port, text=None):
    data = text.encode() if text is not None else None
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/notes", data=data, timeout=10) as answer:
        return json.loads(answer.read())


def answers(port):
    try:
        return request(port) is not None
    except OSError:
        return False


def django_node(t, backup, env):
    python, port = venv_program("python3"), free_port()
    run(python, "-c", "import django")
    node = Node(t, config={
        "backup": [{"url": backup}],
        "exec": [{"cmd": f"{python} -B manage.py migrate --noinput", "if-candidate": True}, {"cmd": f"{python} -B serve.py"}],
    }, env={**env, "PORT": str(port)})
    node.dir = PROJECT  # working directory, as WORKDIR in its Dockerfile
    return node, port


def loses_everything_and_comes_back(t, backup, env):
    node, port = django_node(t, backup, env)
    node.start(timeout=60)
    wait_until(lambda: answers(port), 30, "Django to answer")
    for i in range(20):
        assert request(port, f"note {i}")["id"] == i + 1
    check_database(node, "app.db")
    assert node.stop(timeout=20) == 0
    shutil.rmtree(node.data)
    node.start(timeout=60)
    wait_until(lambda: answers(port), 30, "Django to answer again")
    assert request(port)["notes"] == [f"note {i}" for i in range(20)]
    assert "No migrations to apply" in node.log(this_run=True), "the migration found an empty database"
    request(port, "after")
    node.kill9()  # the app dies with it
    wait_until(lambda: not answers(port), 5, "the app to die with the daemon")
    node.start(timeout=60)
    wait_until(lambda: answers(port), 30, "Django to answer a third time")
    assert request(port)["notes"][-1] == "after"
    check_database(node, "app.db", log=False)
    assert node.stop(timeout=20) == 0


@test(timeout=150)
def test_django_with_migrations_survives_the_loss_of_machine_and_volume_with_s3(t):
    s3 = RcloneS3(t)
    loses_everything_and_comes_back(t, s3.url(), s3.env)
    litestream("restore", "-integrity-check", "full", "-o", t.path("out.db"), s3.url("app/app.db"), env=s3.env)
    assert run("sqlite3", t.path("out.db"), "SELECT count(*) FROM notes_note").stdout == "21\n"


@test(timeout=150)
def test_django_with_migrations_survives_the_loss_of_machine_and_volume_with_a_directory(t):
    loses_everything_and_comes_back(t, "file://" + t.mkdir("backup"), {})


@test(timeout=90)
def test_a_failing_migration_stops_the_start_with_its_code(t):
    node, port = django_node(t, "file://" + t.mkdir("backup"), {})
    node.config["exec"] = [{"cmd": ["sh", "-c", "exit 5"], "if-candidate": True}, {"cmd": ["touch", t.path("started")]}]
    node.start(wait=False)
    assert node.wait_exit(20) == 5
    assert not os.path.exists(t.path("started"))


def test_django_runs_on_a_plain_directory_too(t):
    """The example itself, without caddis: a failure here is not caddis's."""
    python, port = venv_program("python3"), free_port()
    env = dict(os.environ, CADDIS_DIR=t.dir, PORT=str(port))
    run(python, "-B", "manage.py", "migrate", "--noinput", cwd=PROJECT, env=env)
    t.spawn(python, "-B", "serve.py", cwd=PROJECT, env=env)
    wait_until(lambda: answers(port), 20, "Django to answer")
    assert request(port, "x")["id"] == 1
