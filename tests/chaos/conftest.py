"""What is killed here are the processes that a user has, from their first instruction on."""

from __future__ import annotations

import pytest

from tests.project import Project


@pytest.fixture
def project(project: Project) -> Project:
    project.cold = True
    return project
