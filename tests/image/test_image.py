"""The release binary alone in an empty tree, and the Dockerfile's steps, without a container engine: each stage is a tree,
RUN is a chroot into it, COPY copies."""
import os
import shlex
import shutil
import subprocess

from harness import TOP, Skip, free_port, need_root_and_fuse, release_binary, run, test


def static_app(t):
    out = t.path("static-app")
    run("clang-19", "-O1", "-static", "-fuse-ld=lld-19", "-o", out, os.path.join(TOP, "tests/image/app.c"),
        "-lsqlite3", "-lpthread", "-ldl", "-lm")
    return out


def with_devices(t, root):
    """What a container has besides its image: /dev/fuse, /dev/null and /proc."""
    os.makedirs(os.path.join(root, "dev"), exist_ok=True)
    os.makedirs(os.path.join(root, "proc"), exist_ok=True)
    run("mount", "-t", "proc", "proc", os.path.join(root, "proc"))
    t.defer(run, "umount", "-l", os.path.join(root, "proc"))
    for device, major, minor in (("fuse", 10, 229), ("null", 1, 3)):
        path = os.path.join(root, "dev", device)
        if not os.path.exists(path):
            run("mknod", "-m", "666", path, "c", major, minor)


def in_tree(root, *command, timeout=30, **options):
    return run("/usr/sbin/chroot", root, *command, timeout=timeout, cwd=root, **options)


def serves_an_app(t, root, program, app):
    """caddis mounts in the tree, the app commits, the volume is lost, the next start has the rows."""
    environment = {"PATH": "/bin:/usr/bin:/usr/local/bin", "CADDIS_DIR": "/litefs", "CADDIS_DATA_DIR": "/data"}
    os.makedirs(os.path.join(root, "etc"), exist_ok=True)
    with open(os.path.join(root, "etc", "caddis.yml"), "w") as f:
        f.write("fuse: {dir: /litefs}\ndata: {dir: /data}\nhttp: {addr: '127.0.0.1:%d'}\n"
                "lease: {type: static, candidate: true}\nbackup: [{url: 'file:///backup'}]\n" % free_port())
    for count in (1, 2):
        done = in_tree(root, program, "mount", "-config", "/etc/caddis.yml", "--", app, "/litefs/app.db", env=environment)
        assert f"rows {count}\n" in done.stdout, (done.stdout, done.stderr)
        shutil.rmtree(os.path.join(root, "data"))


def test_the_static_binary_alone_in_an_empty_tree_mounts_and_serves(t):
    need_root_and_fuse()
    program, root = release_binary(), t.mkdir("root")
    app = static_app(t)
    for source, name in ((program, "caddis"), (app, "app")):
        shutil.copy(source, os.path.join(root, name))
    assert run("file", "-b", program, check=False).stdout.find("dynamically") < 0
    assert os.path.getsize(program) < 12_000_000, f"{os.path.getsize(program)} bytes"
    assert in_tree(root, "/caddis", "version").stdout.startswith("caddis v")
    with_devices(t, root)
    serves_an_app(t, root, "/caddis", "/app")


class DockerBuild:
    """Carries out FROM, WORKDIR, COPY, RUN, ENTRYPOINT. `bases`: image name -> a function that makes its tree."""

    def __init__(self, t, dockerfile, context, bases):
        self.t, self.context, self.bases, self.stages = t, context, bases, {}
        self.entrypoint = None
        with open(dockerfile) as f:
            for line in f:
                if line.strip() and not line.startswith("#"):
                    name, rest = line.split(None, 1)
                    getattr(self, "do_" + name.lower())(rest.strip())

    def do_from(self, rest):
        words = rest.split()
        self.root, self.cwd = self.bases[words[0]](self.t.mkdir(f"stage{len(self.stages)}")), "/"
        self.stages[words[2] if len(words) == 3 else words[0]] = self.root

    def do_workdir(self, rest):
        self.cwd = rest
        os.makedirs(self.root + rest, exist_ok=True)

    def do_copy(self, rest):
        words = shlex.split(rest)
        source_root = self.context
        if words[0].startswith("--from="):
            source_root = self.stages[words.pop(0)[7:]] + "/"
        source, target = os.path.join(source_root, words[0].lstrip("/")), self.root + os.path.join(self.cwd, words[1])
        if words[0] == ".":
            listed = subprocess.run(["git", "ls-files", "-z", "-c", "-o", "--exclude-standard"], cwd=self.context, check=True,
                                    stdout=subprocess.PIPE, text=True).stdout
            for file in filter(None, listed.split("\0")):
                to = os.path.normpath(os.path.join(target, file))
                os.makedirs(os.path.dirname(to), exist_ok=True)
                if os.path.isfile(os.path.join(self.context, file)):
                    shutil.copy2(os.path.join(self.context, file), to)
        else:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy2(source, target)

    def do_run(self, rest):
        run("/usr/sbin/chroot", self.root, "/bin/sh", "-c", f"cd {self.cwd} && {rest}", timeout=900)

    def do_entrypoint(self, rest):
        self.entrypoint = rest


def debian(t):
    """This machine's own root, as a copy-on-write tree: it is a Debian with apt, as debian:bookworm is."""
    def make(directory):
        if os.getpid() != 1:
            raise Skip("binds /dev and /proc, for which it wants a mount namespace of its own")
        if not os.path.exists("/etc/debian_version"):
            raise Skip("this is no Debian")
        layer = t.mkdir("layer-" + os.path.basename(directory))
        run("mount", "-t", "tmpfs", "tmpfs", layer)  # overlayfs wants its upper on a file system that is no overlay
        t.defer(run, "umount", "-l", layer)
        os.makedirs(layer + "/upper")
        os.makedirs(layer + "/work")
        done = run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={layer}/upper,workdir={layer}/work", directory,
                   check=False)
        if done.returncode != 0:
            raise Skip(f"no overlay mount here: {done.stderr.strip()}")
        t.defer(run, "umount", "-l", directory)
        for name in ("proc", "dev"):
            run("mount", "--rbind", "/" + name, os.path.join(directory, name))
            t.defer(run, "umount", "-l", os.path.join(directory, name))
        return directory
    return make


@test(timeout=1200)
def test_the_dockerfiles_steps_give_an_image_with_only_the_binary(t):
    need_root_and_fuse()
    release_binary()
    build = DockerBuild(t, os.path.join(TOP, "Dockerfile"), TOP, {"debian:bookworm": debian(t), "scratch": lambda d: d})
    image = build.stages["scratch"]
    assert os.listdir(image) == ["caddis"] and build.entrypoint == '["/caddis"]'
    assert in_tree(image, "/caddis", "version").stdout.startswith("caddis v")
    # COPY --from=caddis /caddis /usr/local/bin/litefs into a Debian image, and into an empty one (distroless, Alpine)
    app = static_app(t)
    for base, make in (("debian", debian(t)), ("empty", lambda d: d)):
        root = make(t.mkdir("app-" + base))
        os.makedirs(os.path.join(root, "usr/local/bin"), exist_ok=True)
        shutil.copy(os.path.join(image, "caddis"), os.path.join(root, "usr/local/bin/litefs"))
        shutil.copy(app, os.path.join(root, "app"))
        assert in_tree(root, "/usr/local/bin/litefs", "version").stdout.startswith("LiteFS v0.5.14")
        if base == "empty":
            with_devices(t, root)
        serves_an_app(t, root, "/usr/local/bin/litefs", "/app")
