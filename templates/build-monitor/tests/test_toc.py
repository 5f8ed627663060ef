"""What docs/request.md says of contents."""

# ruff: noqa: PT009  unittest's own assertions, so that no pytest is needed

import unittest

from text.toc import contents


class Contents(unittest.TestCase):
    def test_levels(self) -> None:
        self.assertEqual(
            contents("# A\n## B\n### C\n#### D\n##### E\n## F\n"),
            "- [B](#b)\n  - [C](#c)\n    - [D](#d)\n- [F](#f)",
        )

    def test_code_is_no_heading(self) -> None:
        self.assertEqual(contents("```\n## a\n```\n## b\n#nothing\n"), "- [b](#b)")

    def test_the_same_again(self) -> None:
        self.assertEqual(contents("## a\n## A\n## a"), "- [a](#a)\n- [A](#a-1)\n- [a](#a-2)")

    def test_nothing(self) -> None:
        self.assertEqual(contents("text"), "")
