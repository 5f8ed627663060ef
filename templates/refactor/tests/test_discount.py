"""What shop.discount answers, whatever it is made of."""

# ruff: noqa: PT009, PT027  unittest's own assertions, so that no pytest is needed

import unittest

from shop import discount


class Discount(unittest.TestCase):
    def test_it_grows_with_the_cart(self) -> None:
        for price, off in (("49.99", "0.00"), ("50.00", "2.50"), ("99.99", "4.99"), ("100.00", "10.00")):
            with self.subTest(price=price):
                self.assertEqual(discount.discount([f"1 x Pot @ {price}"]), off)

    def test_all_lines_count(self) -> None:
        self.assertEqual(discount.discount(["10 x Tea @ 3.50", "2 x Cup @ 12.00"]), "2.95")

    def test_missing_says_what_the_next_one_takes(self) -> None:
        for price, rest in (("12.34", "37.66"), ("50.00", "50.00"), ("100.00", "0.00"), ("250.00", "0.00")):
            with self.subTest(price=price):
                self.assertEqual(discount.missing([f"1 x Pot @ {price}"]), rest)

    def test_what_is_no_line_is_refused(self) -> None:
        for function in (discount.discount, discount.missing):
            with self.assertRaises(ValueError):
                function(["1 x Pot"])
