"""What shop.cart answers, whatever it is made of."""

# ruff: noqa: PT009, PT027  unittest's own assertions, so that no pytest is needed

import unittest

from shop import cart


class Cart(unittest.TestCase):
    def test_total_adds_count_times_price(self) -> None:
        self.assertEqual(cart.total(["2 x Tea @ 3.50", "1 x Cup @ 12.05"]), "19.05")

    def test_an_empty_cart_costs_nothing(self) -> None:
        self.assertEqual(cart.total([]), "0.00")

    def test_cents_are_not_rounded(self) -> None:
        self.assertEqual(cart.total(["3 x Nut @ 0.10", "1 x Nut @ 0.01"]), "0.31")

    def test_what_is_no_line_is_refused(self) -> None:
        for text in ("", "Tea @ 3.50", "0 x Tea @ 3.50", "2 x Tea @ 3.5", "2 x Tea @ -3.50", "2 x Tea"):
            with self.subTest(text=text), self.assertRaises(ValueError):
                cart.total([text])

    def test_merged_keeps_the_order(self) -> None:
        lines = ["1 x Tea @ 3.50", "1 x Cup @ 12.05", " 2 x Tea @ 3.50 ", "1 x Tea @ 4.00"]
        self.assertEqual(cart.merged(lines), ["3 x Tea @ 3.50", "1 x Cup @ 12.05", "1 x Tea @ 4.00"])
