"""
The oldest and the newest server there is: what is between them has the catalog of one or the other.
"""

import pytest
from servers import running_server

from cdc_assets.testing import PostgresServer, installations


@pytest.fixture(
    params=sorted({min(installations()), max(installations())}), ids=lambda version: f"pg{version}"
)
def server(request: pytest.FixtureRequest) -> PostgresServer:
    return running_server(request.param)
