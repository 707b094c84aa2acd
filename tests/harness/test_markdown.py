from harness.markdown import table_row


def test_whatever_a_cell_says_it_is_one_cell_of_one_line() -> None:
    assert table_row(["a | b\n c", "\\| <b>", ""]) == r"| a \| b c | \\\| &lt;b> |  |"
