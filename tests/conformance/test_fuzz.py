"""A few hundred of the requests that `make schemathesis` sends by the ten thousand (see fuzz.py)."""

import pytest

from tests.conformance.fuzz import fuzz
from tests.conformance.servers import Server
from tests.conformance.verdicts import assert_honest

REQUESTS = 200


# Schemathesis and what it stands on warn of their own future.
@pytest.mark.filterwarnings("ignore")
def test_nothing_the_schema_allows_or_forbids_is_a_server_error(zoo_server: Server) -> None:
    figures = fuzz(zoo_server.url, REQUESTS)
    assert not figures.failures, "\n".join(figures.failures[:5])
    assert figures.requests == REQUESTS
    assert figures.server_errors == 0
    assert_honest(zoo_server)
