"""Every test here runs in a folder of its own, where its runs go."""

import pytest


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
