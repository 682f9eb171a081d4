"""Files that appear whole or not at all, their seals, sums, tars, and what made them."""
