import zipfile
from unittest.mock import patch

import numpy as np
import pytest

from maxmargin.models import problems
from maxmargin.models.families.linear import BlockLinear, MulticlassLinear
from maxmargin.models.files import load
from maxmargin.models.memory import MemoryShort
from maxmargin.models.problem import DataError

X = np.array([[1.0, 2.0], [3.0, -1.0], [0.5, 0.25]])


@pytest.fixture
def npz(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "data.npz", **arrays)
        return str(tmp_path / "data.npz")

    return write


@pytest.fixture
def text(tmp_path):
    def write(content, **options):
        (tmp_path / "data.csv").write_text(content, encoding=options.get("encoding", "utf-8"), newline="")
        return str(tmp_path / "data.csv")

    return write


def test_npz_with_two_classes_gives_a_vector_and_more_a_matrix(npz):
    two = problems.get(npz(X=X, y=[0, 1, 1]))
    assert two.model == BlockLinear((("w", (2,)),))
    np.testing.assert_array_equal(two.X.numpy(), X)
    assert two.margins({"w": np.array([1.0, 0.0])}).tolist() == [-1.0, 3.0, 0.5]
    three = problems.get(npz(X=X, y=[2, 0, 1]) + "@linear")
    assert three.model == MulticlassLinear(3, 2)
    assert three.name.endswith("data.npz@linear")
    assert three.note == "read from data.npz"


def test_npz_goes_with_any_model_and_options(npz):
    problem = problems.get(npz(X=X, y=[0, 1, 1]) + "@deep-linear:depth=3,width=2")
    assert (problem.degree, problem.shapes["W1"]) == (3, (2, 2))


def test_npz_of_matrices_makes_a_matrix_block(npz):
    rng = np.random.default_rng(0)
    images = rng.standard_normal((4, 2, 3))
    problem = problems.get(npz(X=images, y=[0, 1, 1, 0]))
    assert problem.shapes == {"W": (2, 3)}
    W = rng.standard_normal((2, 3))
    expected = np.array([-1, 1, 1, -1]) * np.einsum("nab,ab->n", images, W)
    np.testing.assert_allclose(problem.margins({"W": W}), expected, rtol=1e-13)
    assert problems.get(npz(X=images, y=[0, 1, 2, 0])).shapes == {"W": (3, 6)}


def test_labels_of_many_kinds_mean_the_same(npz):
    for labels in ([0, 1, 1], [-1.0, 1.0, 1.0], [False, True, True], ["a", "b", "b"], [[0], [1], [1]]):
        problem = problems.get(npz(X=X.astype(np.float32), y=np.array(labels)))
        assert problem.margins({"w": np.array([1.0, 0.0])}).tolist() == [-1.0, 3.0, 0.5]


def test_integer_inputs_become_float(npz):
    assert problems.get(npz(X=np.eye(2, dtype=np.uint8), y=[0, 1])).X.numpy().dtype == np.float64


HEADED = "a,b,label\n1,2,cat\n3,-1,dog\n0.5,0.25,dog\n"


@pytest.mark.parametrize(
    "content",
    [
        HEADED,
        HEADED.replace("\n", "\r\n"),
        HEADED.replace(",", ";"),
        HEADED.replace(",", "\t"),
        HEADED.replace(",", " , "),
        "\ufeff" + HEADED,
        HEADED.replace("label", "species"),
        HEADED.removeprefix("a,b,label\n"),
        HEADED + "\n\n",
        "Y,a,b\ncat,1,2\ndog,3,-1\ndog,0.5,0.25\n",
        "a,target,b\ncat,1,2\n".replace("cat,1,2\n", "1,cat,2\n3,dog,-1\n.5,dog,2.5e-1\n"),
        "1,2,-1\n3,-1,1\n0.5,0.25,1\n",
        '1,2,"x, y"\n3,-1,z\n0.5,0.25,z\n',
        "a,b,y\n1,2,0.0\n3,-1,1.0\n0.5,0.25,1e0\n",
    ],
)
def test_csv_in_many_dresses_is_the_same_problem(text, content):
    problem = problems.get(text(content) + "@linear")
    np.testing.assert_array_equal(problem.X.numpy(), X)
    assert problem.margins({"w": np.array([1.0, 0.0])}).tolist() == [-1.0, 3.0, 0.5]


def test_header_of_numbers_with_a_label_name(text):
    problem = problems.get(text("0,1,label\n1,2,0\n3,-1,1\n0.5,0.25,1\n"))
    np.testing.assert_array_equal(problem.X.numpy(), X)


def test_path_with_an_at_sign(tmp_path):
    folder = tmp_path / "me@home"
    folder.mkdir()
    np.savez(folder / "d.npz", X=X, y=[0, 1, 1])
    assert problems.get(str(folder / "d.npz")).n_samples == 3
    assert problems.get(str(folder / "d.npz") + "@relu2:h=2").degree == 3


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"X": X}, "has no array y; it holds X"),
        ({"x": X, "Y": [0, 1, 1]}, "has no array X and no array y; it holds Y, x"),
        ({}, "has no array X and no array y; it holds nothing"),
        ({"X": X, "y": [0, 1]}, r"y has shape \(2,\), X has 3 samples"),
        ({"X": X[0], "y": [0, 1]}, r"X has shape \(2,\); needed is \(samples, features\)"),
        ({"X": X[:0], "y": []}, r"X has shape \(0, 2\)"),
        ({"X": X[:, :0], "y": [0, 1, 1]}, r"X has shape \(3, 0\)"),
        ({"X": np.ones((2, 2, 0, 2)), "y": [0, 1]}, r"X has shape \(2, 2, 0, 2\)"),
        ({"X": np.where(X == 3, np.nan, X), "y": [0, 1, 1]}, r"X\[1, 0\] is nan; every entry must be finite"),
        ({"X": np.full((3, 1, 2), -np.inf), "y": [0, 1, 1]}, r"X\[0, 0, 0\] is -inf"),
        ({"X": X, "y": [1, 1, 1]}, r"y has one class only \(1\); needed are at least two"),
        ({"X": X, "y": [0.0, np.nan, 1.0]}, r"y\[1\] is nan; labels are classes"),
        ({"X": X, "y": [0.1, 0.2, 0.3]}, r"y\[0\] is 0.1; labels are classes"),
        ({"X": X.astype(str), "y": [0, 1, 1]}, "X has entries of type .*; needed are real numbers"),
        ({"X": X + 1j, "y": [0, 1, 1]}, "X has entries of type complex128"),
        ({"X": X, "y": np.array([1j, 2, 3])}, "y has entries of type complex128"),
        ({"X": X.astype(object), "y": [0, 1, 1]}, "X is an array of Python objects, which are never unpickled"),
        ({"X": X, "y": np.array([0, "a", 1], dtype=object)}, "y is an array of Python objects"),
    ],
)
def test_bad_npz_is_refused_with_the_reason(npz, arrays, says):
    with pytest.raises(DataError, match=f"data.npz: {says}"):
        problems.get(npz(**arrays))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "data.csv: is empty"),
        ("\n\n", "data.csv: is empty"),
        ("a,b,y\n", "data.csv: has a header and no samples"),
        ("y\n1\n2\n", "data.csv: has one column"),
        ("a,b,y\n1,2,0\n3,four,1\n", "line 3, column 'b': 'four' is not a number"),
        ("1,2,0\n3,four,1\n", "line 2, column '2': 'four' is not a number"),
        ("1,two,0\n3,4,1\n", "line 1, column '2': 'two' is not a number"),
        ("a,b,y\n1,2,0\n3,,1\n", "line 3, column 'b': is empty"),
        ("a,b,y\n1,2,0\n3,nan,1\n", "line 3, column 'b': is nan; every entry must be finite"),
        ("a,b,y\n1,2,0\n\n3,inf,1\n", "line 4, column 'b': is inf"),
        ("a,b,y\n1,2,0\n3,4\n", "line 3: has 2 cells, the first line has 3"),
        ("a,b,y\n1,2,0\n3,4,\n", "line 3: the label, column 'y', is empty"),
        ("a,y,label\n1,2,0\n", "columns 'y' and 'label' could both be the labels"),
        ("a,b,y\n1,2,0\n3,4,0\n", r"y has one class only \(0\)"),
        ("a,b,y\n1,2,0\n3,4,nan\n", r"y\[1\] is nan; labels are classes"),
        ("a,b,y\n1,2,0.5\n3,4,1.5\n", r"y\[0\] is 0.5; labels are classes"),
    ],
)
def test_bad_csv_is_refused_with_the_place(text, content, says):
    with pytest.raises(DataError, match=says):
        problems.get(text(content))


def test_files_that_are_not_what_their_name_says(tmp_path):
    missing = str(tmp_path / "none.npz")
    with pytest.raises(DataError, match=r"none\.npz: does not exist"):
        problems.get(missing + "@linear")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match=r"folder\.csv: is a folder"):
        problems.get(str(tmp_path / "folder.csv"))
    for content in (b"", b"not a zip archive", b"PK\x03\x04 torn"):
        (tmp_path / "torn.npz").write_bytes(content)
        with pytest.raises(DataError, match=r"torn\.npz: is not an npz archive"):
            problems.get(str(tmp_path / "torn.npz"))
    with open(tmp_path / "bare.npz", "wb") as stream:
        np.save(stream, X)
    with pytest.raises(DataError, match=r"bare\.npz: holds one bare array"):
        problems.get(str(tmp_path / "bare.npz"))
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x01,\x80")
    with pytest.raises(DataError, match=r"binary\.csv: is not text in csv form"):
        problems.get(str(tmp_path / "binary.csv"))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_member_is_named(tmp_path, save):
    path = tmp_path / "data.npz"
    save(path, X=np.tile(X, (50, 1)), y=np.arange(150) % 2)
    content = bytearray(path.read_bytes())
    content[150:170] = bytes(20)  # inside the first member's data, past the header of the array or the stream
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"data\.npz: X is damaged"):
        load(str(path))


def test_no_two_labels_are_merged(npz, text):
    """Through a float, 9007199254740992 and …993 are one; so are 2^63 and what lies near it."""
    rows = "a,b,y\n1,2,{}\n3,-1,{}\n0.5,0.25,{}\n"
    for near in (9007199254740992, 2**70):
        assert load(text(rows.format(near, near + 1, near + 2))).classes == 3
    assert load(text(rows.format("1", "1.0", "2e0"))).classes == 2  # one number is one class, however it is written
    assert load(text(rows.format("01a", "1a", "1a"))).classes == 2
    assert load(npz(X=X, y=np.array([0, 2**63, 2**64 - 1], dtype=np.uint64))).classes == 3
    assert load(npz(X=X, y=np.array([1e30, -1e30, 2e30]))).classes == 3


@pytest.mark.parametrize("label", ["1e401", "9" * 500])
def test_a_label_of_absurd_length_is_refused(text, label):
    with pytest.raises(DataError, match=r"y\[0\] has \d+ digits; labels are classes of 400 at most"):
        load(text(f"a,b,y\n1,2,{label}\n3,4,1\n"))


def test_what_is_no_array_in_an_archive_is_refused(tmp_path):
    path = str(tmp_path / "data.npz")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("X", b"text")
        archive.writestr("y", b"text")
    with pytest.raises(DataError, match="X is no array"):
        load(path)


def test_an_array_that_does_not_fit_is_refused_before_it_is_read(tmp_path):
    """A few kilobytes on disk that are 10 TB once unpacked: only the archive's own directory says so."""
    path = tmp_path / "data.npz"
    np.savez_compressed(path, X=np.zeros((1000, 100)), y=np.arange(1000))
    raw = path.read_bytes()
    true = (1000 * 100 * 8 + 128).to_bytes(4, "little")
    assert true in raw
    path.write_bytes(raw.replace(true, (2**32 - 2).to_bytes(4, "little")))
    with (
        patch("os.sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**18}[name]),
        pytest.raises(MemoryShort, match=r"X: takes 4 GiB, and 0.5 GiB are at hand; keep fewer"),
    ):
        load(str(path))


def test_a_hundred_classes_take_no_more_memory_than_their_gradients(npz):
    """Every sample's gradients are its own: no array is margins x samples x classes (78 GB here)."""
    rng = np.random.default_rng(0)
    problem = problems.get(npz(X=rng.standard_normal((100, 5)), y=np.arange(100)))
    theta = {"W": rng.standard_normal((100, 5))}
    gradients = problem.jacobian(theta)["W"]
    assert gradients.shape == (9900, 100, 5)
    np.testing.assert_array_equal(gradients[98, 0], problem.X[0])  # class 0 against class 99
    np.testing.assert_array_equal(gradients[98, 99], -problem.X[0])
    np.testing.assert_allclose((gradients * theta["W"]).sum((1, 2)), problem.margins(theta), atol=1e-12)
