"""
The oldest and the newest server there is.
"""

import pytest
from servers import OLDEST_AND_NEWEST, running_server

from cdc_assets.testing import PostgresServer


@pytest.fixture(params=OLDEST_AND_NEWEST, ids=lambda version: f"pg{version}")
def server(request: pytest.FixtureRequest) -> PostgresServer:
    return running_server(request.param)
