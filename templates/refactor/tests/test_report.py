"""What shop.report answers, whatever it is made of."""

# ruff: noqa: PT009, PT027  unittest's own assertions, so that no pytest is needed

import unittest

from shop import report

LINES = ["2 x Tea @ 3.50", "1 x Cup @ 12.05", "3 x Tea @ 4.00", "1 x Nut @ 0.10", "19 x Oat @ 1.00"]


class Report(unittest.TestCase):
    def test_best_sellers_are_by_amount_then_name(self) -> None:
        self.assertEqual(report.best_sellers(LINES), ["Oat 19.00", "Tea 19.00", "Cup 12.05"])
        self.assertEqual(report.best_sellers(LINES, 1), ["Oat 19.00"])
        self.assertEqual(report.best_sellers([]), [])

    def test_price_range(self) -> None:
        self.assertEqual(report.price_range(LINES), "0.10 to 12.05")
        self.assertEqual(report.price_range([]), "")

    def test_prices_are_compared_as_amounts(self) -> None:
        self.assertEqual(report.price_range(["1 x A @ 9.00", "1 x B @ 10.00"]), "9.00 to 10.00")

    def test_what_is_no_line_is_refused(self) -> None:
        for function in (report.best_sellers, report.price_range):
            with self.assertRaises(ValueError):
                function(["x"])
