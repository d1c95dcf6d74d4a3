"""What no version may bring: for the tests of the rules."""
