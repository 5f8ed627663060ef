"""What shop.receipt answers, whatever it is made of."""

# ruff: noqa: PT009, PT027  unittest's own assertions, so that no pytest is needed

import unittest

from shop.receipt import receipt


class Receipt(unittest.TestCase):
    def test_amounts_stand_below_each_other(self) -> None:
        rows = receipt(["2 x Tea @ 3.50", "1 x Cup @ 12.05"]).splitlines()
        wanted = ["2 Tea                       7.00", "1 Cup                      12.05", "-" * 32]
        self.assertEqual(rows, [*wanted, "Total                      19.05"])

    def test_long_names_are_cut(self) -> None:
        row = receipt(["1 x A teapot for twelve guests and a cat @ 99.00"]).splitlines()[0]
        self.assertEqual(row, "1 A teapot for twelve gues 99.00")

    def test_an_empty_cart_has_a_receipt(self) -> None:
        self.assertEqual(receipt([]).splitlines()[-1].split(), ["Total", "0.00"])

    def test_what_is_no_line_is_refused(self) -> None:
        with self.assertRaises(ValueError):
            receipt(["1 x Pot @ cheap"])
