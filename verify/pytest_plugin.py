"""The pytest plugin: marker ``theory``."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", "theory(claim): regression gate for a claim of the theory")
