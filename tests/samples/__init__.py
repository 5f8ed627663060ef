"""What several tests need: made-up stages, runs, journals and reports. Nothing here is a test."""
