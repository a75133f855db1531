"""One rule over problems of different blocks."""

import pytest

from maxmargin.solvers.norms import get_norm
from maxmargin.verify.lab.norm.fingerprint import Fingerprint
from maxmargin.verify.lab.norm.reading import BlockReading
from maxmargin.verify.running.trial import one_rule


def seen(norm, **blocks):
    """A fingerprint; a block's norm is a matrix's where its name is upper case."""
    readings = {
        name: BlockReading(kind, 1.0, {"spectral" if name.isupper() else kind: 1.0}, 1.0)
        for name, kind in blocks.items()
    }
    return Fingerprint(get_norm(norm), 1.0, readings)


@pytest.mark.parametrize(
    ("prints", "one"),
    [
        # A matrix alone is read as spectral where matrices beside vectors are read as hybrid.
        ([seen("hybrid", W="spectral", a="linf"), seen("spectral", W="spectral")], True),
        ([seen("hybrid:2", W="spectral", a="linf"), seen("hybrid", W="spectral", a="linf")], True),
        ([seen("hybrid", W="spectral", a="linf"), seen("linf", W="linf")], False),
        ([seen("hybrid", W="spectral", a="linf"), seen("spectral", W="spectral", a="l2")], False),
        ([seen("l2", W="l2", a="l2"), seen("l2;max", W="l2", a="l2")], False),  # joined in another way
        ([seen("l2", W="l2", a="l2"), seen("l2;max", W="l2")], True),  # alone, nothing is joined
    ],
)
def test_one_rule_explains_problems_of_different_blocks(prints, one):
    assert one_rule(prints) is one
