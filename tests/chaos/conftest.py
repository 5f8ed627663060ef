"""What runs here are the processes that a user has, and no forks; but for the short one of random kills."""

from __future__ import annotations

import pytest

from tests.project import Project


@pytest.fixture
def project(project: Project) -> Project:
    project.cold = True
    return project
