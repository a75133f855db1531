"""The user's own data: ``file.npz`` and ``file.csv``.

npz: arrays ``X`` (samples, features) and ``y`` (samples,), no pickled objects. An X of three axes
(samples, a, b) is a matrix block (a, b) for two classes, and is flattened, row-major, for more. A torch module is given
inputs of any shape as they are.

csv: one sample a row; comma, semicolon or tab between the cells, whichever the first line has most of. The
first line is a header if it names a column ``y``, ``label`` or ``target``, or if none of its cells before the
last is a number. The labels are that column, or else the last one; they may be integers or text.
"""

from __future__ import annotations

import csv
import struct
import zlib
from decimal import Decimal
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from maxmargin.models.memory import require
from maxmargin.models.problem import DataError
from maxmargin.models.registry import Data

SUFFIXES = (".npz", ".csv")
LABEL_NAMES = ("y", "label", "target")
DELIMITERS = (",", ";", "\t")
DAMAGED = (BadZipFile, EOFError, zlib.error, OSError, NotImplementedError, RuntimeError, OverflowError, struct.error)
"""What reading an archive raises where its bytes are not those that were written."""
DIGITS = 400
"""The longest whole number that is taken as a label."""


def is_file(source: str) -> bool:
    """Whether ``source`` is to be read as a path: it ends in ``.npz`` or ``.csv``."""
    return source.lower().endswith(SUFFIXES)


def load(path: str) -> Data:
    """Read a data file.

    Args:
        path: Ending in ``.npz`` or ``.csv``.

    Returns:
        Finite inputs and their labels, at least two classes.

    Raises:
        DataError: saying what was found, where, and what was needed.
    """
    if not Path(path).is_file():
        kind = "is a folder" if Path(path).is_dir() else "does not exist"
        raise DataError(f"{path}: {kind}; needed is an .npz or .csv file with X and y")
    try:
        X, y = _read_npz(path) if path.lower().endswith(".npz") else _read_csv(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    return checked(path, X, y)


def checked(path: str, X: np.ndarray, y: np.ndarray) -> Data:
    """Inputs and labels that came from a user.

    Args:
        path: What messages call them.
        X: Inputs, (samples, features) or more axes.
        y: Labels, (samples,).

    Returns:
        The data; inputs flattened, with the shape that they had.

    Raises:
        DataError: saying what was found and what is needed.
    """
    if X.ndim < 2 or 0 in X.shape:
        raise DataError(
            f"{path}: X has shape {X.shape}; needed is (samples, features), or more axes, at least one of each"
        )
    if y.ndim == 2 and 1 in y.shape:
        y = y.reshape(-1)
    if y.shape != X.shape[:1]:
        raise DataError(f"{path}: y has shape {y.shape}, X has {X.shape[0]} samples; give one label a sample")
    X = X.astype(np.float64)
    if not np.isfinite(X).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(X))[0])
        raise DataError(
            f"{path}: X[{', '.join(map(str, where))}] is {X[where]}; every entry must be finite — "
            "drop or impute the sample"
        )
    y = _classes(path, y)
    found = np.unique(y)
    if len(found) < 2:
        raise DataError(f"{path}: y has one class only ({found[0]}); needed are at least two")
    flat = X.reshape(len(X), -1)
    blocks = (("W", X.shape[1:]),) if X.ndim == 3 and len(found) == 2 else None
    return Data(flat, y, note=f"read from {Path(path).name}", blocks=blocks, shape=X.shape[1:])


def _classes(path: str, y: np.ndarray) -> np.ndarray:
    """Labels (n,) as integers or text; refused where one is missing, or a real number that is no class."""
    if y.dtype.kind == "b":
        return y.astype(np.int64)
    if y.dtype.kind not in "iufSU":
        raise DataError(f"{path}: y has entries of type {y.dtype}; needed are integers or text")
    if y.dtype.kind == "f":
        return _whole(path, [Decimal(float(label)) for label in y])
    return y


def _whole(path: str, labels: list[Decimal]) -> np.ndarray:
    """Whole numbers (n,) as integers, exactly; as text where one is beyond 64 bits, so that no two are merged."""
    for i, label in enumerate(labels):
        if not label.is_finite() or label != label.to_integral_value():
            raise DataError(f"{path}: y[{i}] is {float(label):g}; labels are classes, integers or text")
        if label.adjusted() > DIGITS:
            raise DataError(f"{path}: y[{i}] has {label.adjusted() + 1} digits; labels are classes of {DIGITS} at most")
    whole = [int(label) for label in labels]
    limits = np.iinfo(np.int64)
    if min(whole) >= limits.min and max(whole) <= limits.max:
        return np.array(whole, dtype=np.int64)
    return np.array([str(label) for label in whole])


def _read_npz(path: str) -> tuple[np.ndarray, np.ndarray]:
    with open(path, "rb") as stream:  # numpy leaves the file open when the archive is torn
        try:
            archive = np.load(stream, allow_pickle=False)
        except (ValueError, *DAMAGED):
            raise DataError(f"{path}: is not an npz archive; write one with numpy.savez(path, X=X, y=y)") from None
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError(f"{path}: holds one bare array; write X and y with numpy.savez(path, X=X, y=y)")
        with archive:
            missing = [key for key in ("X", "y") if key not in archive.files]
            if missing:
                found = ", ".join(sorted(archive.files)) or "nothing"
                raise DataError(f"{path}: has no array {' and no array '.join(missing)}; it holds {found}")
            X, y = (_member(path, archive, key) for key in ("X", "y"))
    if X.dtype.kind not in "biuf":
        raise DataError(f"{path}: X has entries of type {X.dtype}; needed are real numbers")
    return X, y


def _member(path: str, archive: Any, key: str) -> np.ndarray:
    stored = next(m for m in archive.zip.infolist() if m.filename.removesuffix(".npy") == key)
    require(stored.file_size, f"{path}: {key}", "keep fewer samples or features")
    try:
        found = archive[key]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise DataError(f"{path}: {key} is damaged ({error})") from None
        raise DataError(
            f"{path}: {key} is an array of Python objects, which are never unpickled; "
            f"save numbers or text, {key}.astype(float) or {key}.astype(str)"
        ) from None
    except DAMAGED as error:
        raise DataError(f"{path}: {key} is damaged ({error})") from None
    if not isinstance(found, np.ndarray):
        raise DataError(f"{path}: {key} is no array; write the file with numpy.savez(path, X=X, y=y)")
    return found


def _read_csv(path: str) -> tuple[np.ndarray, np.ndarray]:
    rows = _rows(path)
    first = rows[0][1]
    names = [cell.lower() for cell in first]
    header = any(name in LABEL_NAMES for name in names) or not any(map(_is_number, first[:-1]))
    columns = first if header else [str(j + 1) for j in range(len(first))]
    body = rows[1:] if header else rows
    if not body:
        raise DataError(f"{path}: has a header and no samples")
    if len(first) < 2:
        raise DataError(f"{path}: has one column; needed are the features and, named y or last, the labels")
    label = _label_column(path, names) if header else len(first) - 1
    features = [j for j in range(len(first)) if j != label]
    X = np.empty((len(body), len(features)))
    for i, (line, cells) in enumerate(body):
        if len(cells) != len(first):
            raise DataError(f"{path}, line {line}: has {len(cells)} cells, the first line has {len(first)}")
        for k, j in enumerate(features):
            if not _is_number(cells[j]):
                what = f"{cells[j]!r} is not a number" if cells[j] else "is empty"
                raise DataError(f"{path}, line {line}, column {columns[j]!r}: {what}")
            X[i, k] = float(cells[j])
            if not np.isfinite(X[i, k]):
                raise DataError(
                    f"{path}, line {line}, column {columns[j]!r}: is {X[i, k]}; every entry must be finite — "
                    "drop or impute the sample"
                )
        if not cells[label]:
            raise DataError(f"{path}, line {line}: the label, column {columns[label]!r}, is empty")
    labels = [cells[label] for _, cells in body]
    return X, _whole(path, [Decimal(c) for c in labels]) if all(map(_is_number, labels)) else np.array(labels)


def _rows(path: str) -> list[tuple[int, list[str]]]:
    """The lines that are not blank, with their numbers, cells stripped."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            head = stream.readline()
            stream.seek(0)
            reader = csv.reader(stream, delimiter=max(DELIMITERS, key=head.count))
            rows = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(cells)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: is not text in csv form ({error})") from None
    if not rows:
        raise DataError(f"{path}: is empty; needed is one sample a row, features and label")
    return rows


def _label_column(path: str, names: list[str]) -> int:
    named = [j for j, name in enumerate(names) if name in LABEL_NAMES]
    if len(named) > 1:
        both = " and ".join(repr(names[j]) for j in named)
        raise DataError(f"{path}: columns {both} could both be the labels; rename all but one")
    return named[0] if named else len(names) - 1


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
