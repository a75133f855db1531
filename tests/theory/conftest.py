"""The gate's campaign: every selected claim is run once, in two processes, and shared by the tests.

And how drawn properties are run: the same examples each time in the gate, other ones each time to explore.
"""

import pytest
from hypothesis import HealthCheck, settings

from maxmargin.verify import verify
from maxmargin.verify.claims.catalogue import CLAIMS

SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large)  # an example is some runs of thousands of steps
ALWAYS = {"deadline": None, "suppress_health_check": SLOW, "print_blob": False}  # our own line says how to run it again
settings.register_profile("maxmargin-gate", derandomize=True, **ALWAYS)
settings.register_profile("maxmargin-explore", database=None, **ALWAYS)


@pytest.fixture(scope="session")
def campaign(request):
    """Verdicts of the claims that the selected tests ask for, by id."""
    asked = {
        item.callspec.params["claim"]
        for item in request.session.items
        if "claim" in getattr(getattr(item, "callspec", None), "params", {})
    }
    chosen = [name for name in CLAIMS if name in asked]
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")

    def progress(done, total, text):
        if reporter is not None and reporter.verbosity >= 0:
            reporter.write_line(f"  {done}/{total} {text}")

    return {verdict.id: verdict for verdict in verify(chosen, tier="quick", jobs=2, progress=progress)}
