"""What docs/request.md says of slugs."""

# ruff: noqa: PT009  unittest's own assertions, so that no pytest is needed

import unittest

from text.slug import slug


class Slug(unittest.TestCase):
    def test_words(self) -> None:
        self.assertEqual(slug("The End"), "the-end")

    def test_runs_of_signs_are_one(self) -> None:
        self.assertEqual(slug("Tools & -- paper 2"), "tools-paper-2")

    def test_none_at_the_ends(self) -> None:
        self.assertEqual(slug(" (really?) "), "really")

    def test_accents_are_dropped(self) -> None:
        self.assertEqual(slug("Où çà, naïve É"), "ou-ca-naive-e")
