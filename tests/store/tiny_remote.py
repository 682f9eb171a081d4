"""A remote, and what is whole on it."""

import fsspec


class Remote:
    """A remote and what lies on it."""

    def __init__(self, url):
        self.url = url
        self.fs, self.base = fsspec.core.url_to_fs(url)

    def contents(self):
        found = self.fs.find(self.base)
        return {path.removeprefix(f"{self.base}/"): self.fs.cat_file(path) for path in found}

    def put(self, path, content):
        self.fs.makedirs(f"{self.base}/{path}".rpartition("/")[0], exist_ok=True)
        self.fs.pipe_file(f"{self.base}/{path}", content)


def whole_only(found):
    """Without what is being sent, or was when its sender died."""
    return {path: content for path, content in found.items() if not path.endswith(".part")}


def check_whole(found, source):
    """Whatever has its name has its bytes, and no segment is without a description."""
    for path, content in whole_only(found).items():
        assert content == source[path], path
        assert f"{path.partition('/')[0]}/collection.json" in found


class Died(Exception):
    """Of no kind that anything could know."""
