import pytest
from scipy.stats import binom, binomtest

from maxmargin.reports.counts import at_most, by_class, rate


@pytest.mark.parametrize("tried", [1, 2, 12, 51, 93])
def test_the_bound_is_scipys(tried):
    for seen in range(tried + 1):
        interval = binomtest(seen, tried, alternative="less").proportion_ci(0.95, method="exact")
        assert at_most(seen, tried) == pytest.approx(interval.high, abs=1e-12)


def test_at_the_bound_so_few_happen_in_one_sample_of_twenty():
    assert binom.cdf(3, 60, at_most(3, 60)) == pytest.approx(0.05)
    assert binom.cdf(2, 60, at_most(3, 60)) < 0.05 < binom.cdf(4, 60, at_most(3, 60))


def test_what_is_said():
    assert rate(51, 51, "caught", "missed") == "51 of 51 caught (at most 5.7 % missed)"
    assert rate(59, 60, "caught", "missed") == "59 of 60 caught (at most 7.7 % missed)"
    assert by_class(["b", "a", "b"]) == "2 b · 1 a"


@pytest.mark.parametrize("counts", [(-1, 3), (4, 3), (0, 0)])
def test_no_count(counts):
    with pytest.raises(ValueError, match="is no count"):
        at_most(*counts)
