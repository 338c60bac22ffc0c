"""Disks that fail as real ones do: ext4 on a loop image, whose power is cut by the file system's
shutdown ioctl, which fills up, and which hangs when it is frozen (contracts/reliability.md,
"Injecting faults on one Linux machine")."""

import contextlib
import errno
import fcntl
import os
import shutil
import signal
import struct
import subprocess
import tempfile

EXT4_IOC_SHUTDOWN = (2 << 30) | (4 << 16) | (ord("X") << 8) | 125  # _IOR('X', 125, u32)
FLUSH, SYNC_LOG, NO_SYNC = 0, 1, 2
CUTS = {FLUSH: "all flushed", SYNC_LOG: "metadata without data", NO_SYNC: "synced bytes only"}
SKIPPED = 77  # ctest's SKIP_RETURN_CODE


class Skip(Exception):
    """This machine lacks what the run needs."""


def run(*words, text=None):
    done = subprocess.run(words, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(words)}: {done.stdout.strip()}")
    return done.stdout


def program(main):
    """Runs main(); a skip says why and exits 77; signals that end it clean up first."""
    def terminated(*_):
        raise KeyboardInterrupt
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, terminated)
    try:
        return main()
    except Skip as e:
        print(f"SKIPPED: {e}", flush=True)
        return SKIPPED
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        return 130


def need_root():
    if os.geteuid() != 0:
        raise Skip("this needs root, for loop mounts or network namespaces")


class Disk:
    """A file system of its own, mounted at self.path. Use as a context: whatever state it is in, it
    is thawed, unmounted and removed."""

    def __init__(self, parent, megabytes=192):
        need_root()
        for tool in ("mkfs.ext4", "mount", "umount", "fsfreeze"):
            if shutil.which(tool) is None:
                raise Skip(f"{tool} is missing")
        self.folder = tempfile.mkdtemp(prefix="disk-", dir=parent)
        self.image = os.path.join(self.folder, "image")
        self.path = os.path.join(self.folder, "mounted")
        self.filler = os.path.join(self.path, "filler")
        self.frozen = self.is_cut = False
        os.mkdir(self.path)
        with open(self.image, "wb") as f:
            f.truncate(megabytes << 20)

    def __enter__(self):
        try:
            # Nothing in the background, so that a cut meets our writes alone.
            run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image)
            self.mount()
        except OSError as e:
            self.__exit__()
            raise Skip(f"no loop mounts here: {e}") from e
        return self

    def __exit__(self, *_):
        self.thaw()
        if os.path.ismount(self.path):
            subprocess.run(["umount", "--lazy", self.path], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def mount(self):
        run("mount", "-o", "loop", self.image, self.path)
        self.is_cut = False

    def cut_power(self, how):
        """From here on nothing reaches the disk; what did not is lost."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("I", how))
        except OSError as e:
            if e.errno in (errno.ENOTTY, errno.EOPNOTSUPP):
                raise Skip("this kernel's ext4 has no shutdown ioctl") from e
            raise
        finally:
            os.close(fd)
        self.is_cut = True

    def power_on(self):
        """Mounts what the cut left. Whoever had files open must be gone."""
        run("umount", self.path)
        self.mount()

    def fill(self):
        """Takes all room that is left."""
        fd = os.open(self.filler, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            size = 0
            for step in (64 << 20, 1 << 20, 4096):
                with contextlib.suppress(OSError):
                    while True:
                        os.posix_fallocate(fd, size, step)
                        size += step
        finally:
            os.close(fd)

    def free(self):
        """Durably: a power cut does not bring the filler back."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.filler)
            run("sync", "--file-system", self.path)

    def freeze(self):
        self.frozen = True
        run("fsfreeze", "-f", self.path)

    def thaw(self):
        if self.frozen:
            subprocess.run(["fsfreeze", "-u", self.path], stderr=subprocess.DEVNULL, check=False)
            self.frozen = False
