"""SimDisk: a disk in memory that forgets what no sync covered, and worse, by a seed.

It keeps two versions of everything: what the process sees (the page cache) and what is on the
medium.  `crash(power=True)` leaves the medium, with any mixture of what was on its way to it:
sectors of files old, new, zeroed or with bits flipped; sizes old, new or between; each creation,
renaming and deletion done or not.  `crash(power=False)` is a process that is killed: the cache
lives on.  An fsync that fails does what Linux does: the pages it covered count as clean, the next
fsync says that all is well, and some of them never reached the medium.
"""

import errno
from pathlib import Path

from daemon.durable.port import LogLocked


class Crash(BaseException):
    """The process ends here; no handler of the code under test may run on."""


class Inode:
    def __init__(self):
        self.data = bytearray()
        self.medium = bytearray()
        self.dirty = set()  # sectors that differ from the medium, or may

    def at_medium(self, start, stop):
        """Bytes of the medium; zeros where the file is longer than what reached it."""
        part = self.medium[start:stop]
        return part + bytes(stop - start - len(part))


class SimDisk:
    def __init__(self, rng, sector=32):
        self.rng, self.sector = rng, sector
        self.live, self.durable = {}, {}  # path -> Inode
        self.changes = []  # [(kind, inode, old path, new path)] that no sync_folder covered
        self.folders = set()
        self.locked = set()
        self.fuse = None  # operations until the crash
        self.broken_syncs = set()  # which syncs from now on fail
        self.space = None  # bytes that may be added to files
        self.incarnation = 0

    # --- faults ----------------------------------------------------------------------------------

    def operate(self):
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                raise Crash

    def failing(self):
        failing = 0 in self.broken_syncs
        self.broken_syncs = {n - 1 for n in self.broken_syncs if n > 0}
        return failing

    def crash(self, power):
        self.locked.clear()
        self.fuse, self.space = None, None
        self.broken_syncs = set()
        self.incarnation += 1
        if not power:
            return
        for change in self.changes:
            if self.rng.random() < 0.5:
                self.apply(change)
        self.changes.clear()
        self.live = dict(self.durable)
        for inode in self.live.values():
            inode.data = self.survivor(inode)
            inode.medium = bytearray(inode.data)
            inode.dirty = set()

    def survivor(self, inode):
        old, new = len(inode.medium), len(inode.data)
        size = self.rng.choice((old, new, self.rng.randint(min(old, new), max(old, new))))
        kept = bytearray(inode.at_medium(0, size))
        style = self.rng.random()
        for sector in sorted(inode.dirty):
            start, stop = sector * self.sector, min((sector + 1) * self.sector, size)
            if start < stop and self.rng.random() < style:
                kept[start:stop] = self.written(inode, start, stop)
        return kept

    def written(self, inode, start, stop):
        before = inode.at_medium(start, stop)
        after = inode.data[start:stop]
        after += bytes(stop - start - len(after))
        fresh = len(inode.medium) - start  # from here on the medium held anything, not zeros
        differ = [i for i in range(stop - start) if i >= fresh or before[i] != after[i]]
        if differ and self.rng.random() < 0.3:
            if self.rng.random() < 0.5:
                after[self.rng.choice(differ)] ^= 1 << self.rng.randrange(8)
            else:
                for i in differ:
                    after[i] = 0
        return after

    def apply(self, change):
        kind, inode, old, new = change
        if kind != "create" and self.durable.get(old) is inode:
            del self.durable[old]
        if kind != "unlink":
            self.durable[new] = inode

    # --- the port --------------------------------------------------------------------------------

    def make_folder(self, folder):
        self.operate()
        self.folders.add(folder)

    def lock(self, path):
        if path in self.locked:
            raise LogLocked(f"{path} is locked")
        self.locked.add(path)
        return SimLock(self, path)

    def names(self, folder):
        return sorted(p.name for p in self.live if p.parent == folder)

    def size(self, path):
        return len(self.inode(path).data)

    def read(self, path):
        return bytes(self.inode(path).data)

    def inode(self, path):
        if path not in self.live:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return self.live[path]

    def create(self, path):
        self.operate()
        assert path.parent in self.folders, path
        inode = self.live.get(path)
        if inode is None:
            inode = self.live[path] = Inode()
            self.changes.append(("create", inode, None, path))
            return SimFile(self, inode)
        file = SimFile(self, inode)
        file.truncate(0)
        return file

    def open(self, path):
        return SimFile(self, self.inode(path))

    def rename(self, old, new):
        self.operate()
        inode = self.live.pop(old)
        self.live[new] = inode
        self.changes.append(("rename", inode, old, new))

    def unlink(self, path):
        self.operate()
        self.inode(path)
        self.changes.append(("unlink", self.live.pop(path), path, None))

    def sync_folder(self, folder):
        self.operate()
        if self.failing():
            raise OSError(errno.EIO, "injected")
        rest = []
        for change in self.changes:
            here = any(path is not None and path.parent == folder for path in change[2:])
            self.apply(change) if here else rest.append(change)
        self.changes = rest

    def free_bytes(self, folder):
        return self.space or 0

    def put(self, folder, files):
        """Files that are there, and durable, before the story begins."""
        self.folders.add(folder)
        for name, data in files.items():
            inode = Inode()
            inode.data, inode.medium = bytearray(data), bytearray(data)
            self.live[folder / name] = self.durable[folder / name] = inode


class SimFile:
    def __init__(self, disk, inode):
        self.disk, self.inode, self.incarnation = disk, inode, disk.incarnation

    def write(self, data, at):
        assert self.incarnation == self.disk.incarnation, "a file of before the crash"
        assert 0 <= at <= len(self.inode.data), "a hole"
        try:
            self.disk.operate()
        except Crash:
            self.put(data[: self.disk.rng.randint(0, len(data))], at)
            raise
        grows = at + len(data) - len(self.inode.data)
        if self.disk.space is not None and grows > self.disk.space:
            fits = len(data) - grows + self.disk.space
            self.put(data[: self.disk.rng.randint(0, max(0, fits))], at)
            raise OSError(errno.ENOSPC, "injected")
        if self.disk.space is not None:
            self.disk.space -= max(0, grows)
        self.put(data, at)

    def put(self, data, at):
        if data:
            self.inode.data[at : at + len(data)] = data
            size = self.disk.sector
            self.inode.dirty.update(range(at // size, (at + len(data) - 1) // size + 1))

    def truncate(self, size):
        assert self.incarnation == self.disk.incarnation, "a file of before the crash"
        self.disk.operate()
        before = len(self.inode.data)
        if size < before:
            del self.inode.data[size:]
            sector = self.disk.sector
            self.inode.dirty.update(range(size // sector, (before - 1) // sector + 1))
            if self.disk.space is not None:
                self.disk.space += before - size

    def sync(self):
        assert self.incarnation == self.disk.incarnation, "a file of before the crash"
        self.disk.operate()
        inode, size = self.inode, self.disk.sector
        failing = self.disk.failing()
        medium = bytearray(inode.at_medium(0, len(inode.data)))
        for sector in sorted(inode.dirty):
            if not failing or self.disk.rng.random() < 0.5:
                part = slice(sector * size, (sector + 1) * size)
                medium[part] = inode.data[part]
        inode.dirty = set()
        inode.medium = medium
        if failing:
            raise OSError(errno.EIO, "injected")

    def close(self):
        pass


class SimLock:
    def __init__(self, disk, path):
        self.disk, self.path = disk, path

    def close(self):
        self.disk.locked.discard(self.path)


FOLDER = Path("/sim/log")
