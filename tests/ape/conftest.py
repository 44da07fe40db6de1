"""What the suite of `ape test` shares."""

from __future__ import annotations

import pytest
from ape.managers.accounts import AccountManager
from ape.managers.chain import ChainManager
from ape.managers.project import ProjectManager

from tests.ape.net import Net, deploy


@pytest.fixture(scope="session")
def net(project: ProjectManager, accounts: AccountManager, chain: ChainManager) -> Net:
    """Deployed once; ape restores it before each test."""
    return deploy(project, accounts, chain)
