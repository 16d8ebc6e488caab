"""Notes in files, by name."""

from pathlib import Path


class Notes:
    """The notes of one folder."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def names(self):
        return sorted(path.stem for path in self.folder.glob("*.txt"))

    def read(self, name):
        return self._path(name).read_text()

    def write(self, name, text):
        self._path(name).write_text(text)

    def _path(self, name):
        if not name.isidentifier():
            raise ValueError(f"not a name: {name}")
        return self.folder / f"{name}.txt"
