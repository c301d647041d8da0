"""Real programs that are killed at any line. `site` tells what differs, as tests do."""

import pytest

pytest.register_assert_rewrite("generation.tests.faults.site")
