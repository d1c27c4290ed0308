"""The JSFX, run by a small interpreter of the EEL2 that it is written in."""

import re

import numpy as np
import pytest

from fxst.exports.jsfx import NULL_DB

TOKEN = re.compile(r"\s*(\d+\.?\d*|\.\d+|\$?[A-Za-z_]\w*|[-+*/^()\[\],;?:=<>])")


class Eel2:
    """Translates EEL2 code to Python: assignments, `loop`, arithmetic, `?:`, memory as `place[index]`, and `spl(c)`.

    Args:
        text: The code.
    """

    def __init__(self, text):
        self.tokens = TOKEN.findall(text)
        assert "".join(self.tokens) == re.sub(r"\s", "", text)
        self.lines = []
        self.program(1)
        assert not self.tokens

    def next(self, wanted=None):
        token = self.tokens.pop(0)
        assert wanted in (None, token), (wanted, token)
        return token

    def ahead(self):
        return self.tokens[0] if self.tokens else ""

    def program(self, depth):
        while self.tokens and self.ahead() != ")":
            if self.ahead() == "loop":
                self.next(), self.next("(")
                self.lines.append(f"{'  ' * depth}for _ in range(int({self.choice()})):")
                self.next(",")
                self.program(depth + 1)
                self.next(")")
            else:
                target = self.postfix()
                self.next("=")
                self.lines.append(f"{'  ' * depth}{target} = {self.choice()}")
            self.next(";")

    def choice(self):
        condition = self.comparison()
        if self.ahead() != "?":
            return condition
        self.next()
        yes = self.choice()
        self.next(":")
        return f"({yes} if {condition} else {self.choice()})"

    def comparison(self):
        left = self.binary()
        return f"({left} {self.next()} {self.binary()})" if self.ahead() in ("<", ">") else left

    def binary(self, rank=0):
        ranks = ("+-", "*/", "^")
        if rank == len(ranks):
            return self.unary()
        made = self.binary(rank + 1)
        while self.ahead() and self.ahead() in ranks[rank]:
            operator = self.next()
            made = f"({made} {'**' if operator == '^' else operator} {self.binary(rank + 1)})"
        return made

    def unary(self):
        if self.ahead() == "-":
            self.next()
            return f"(-{self.unary()})"
        return self.postfix()

    def postfix(self):
        if self.ahead() == "(":
            self.next()
            inner = self.choice()
            self.next(")")
            return f"({inner})"
        word = self.next()
        if self.ahead() == "[":
            self.next()
            index = self.choice()
            self.next("]")
            return f"memory[int({word} + {index})]"
        if self.ahead() == "(":
            self.next()
            given = [self.choice()]
            while self.ahead() == ",":
                self.next()
                given.append(self.choice())
            self.next(")")
            return f"spl[int({given[0]})]" if word == "spl" else f"{word}({', '.join(given)})"
        return {"$pi": "np.pi"}.get(word, word)


def by_reaper(text, x, sample_rate):
    """Play a recording through the JSFX."""
    sections = dict(re.findall(r"^@(\w+)\n(.*?)(?=^@|\Z)", text, re.MULTILINE | re.DOTALL))
    sliders = re.findall(r"^slider(\d+):([-\d.]+)<([-\d.]+),([-\d.]+),[\d.]+>", text, re.MULTILINE)
    assert all(float(low) <= float(value) <= float(high) for _, value, low, high in sliders)
    names = {f"slider{number}": float(value) for number, value, _, _ in sliders}
    names |= {"np": np, "exp": np.exp, "tan": np.tan, "sqrt": np.sqrt, "sign": np.sign, "x_in": x.T.tolist(), "out": []}
    names |= {"srate": sample_rate, "num_ch": len(x), "memory": {}}
    lines = ["def play():", *Eel2(sections["init"]).lines, *Eel2(sections["slider"]).lines]
    lines += ["  for spl in x_in:", *(f"  {line}" for line in Eel2(sections["sample"]).lines), "    out.append(spl)"]
    exec("\n".join(lines), names)
    names["play"]()
    return np.array(names["out"]).T


LAYOUTS = [(1, True), (2, True), (2, False)]
CASES = [(effect, *layout) for effect in NULL_DB for layout in LAYOUTS if effect != "stereo_width" or layout[0] == 2]


@pytest.mark.parametrize(("effect", "channels", "linked"), CASES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_its_arithmetic_nulls_against_fxst(exported, draw, exact, null_db, passages, effect, channels, linked, seed):
    table = draw(seed, effect, linked=linked)
    for rate in (16_000, 44_100):
        file = exported("jsfx", table, sample_rate=rate, channels=channels)
        text = file.read_text(encoding="utf-8")
        assert f"{effect} {NULL_DB[effect]:.0f} dB or less" in text
        for x in passages(rate, channels):
            x = x[:, : round(0.25 * rate)]
            assert null_db(by_reaper(text, x, rate), exact(table, x, rate)) <= NULL_DB[effect]


def test_a_whole_chain_nulls_as_its_least_exact_effect(exported, draw, exact, null_db, passages):
    table = draw(3).with_values({"reverb": {"wet_level": 0.0, "dry_level": 0.5}})
    file = exported("jsfx", table, sample_rate=16_000, channels=2)
    for x in passages(16_000, 2):
        x = x[:, :8000]
        assert null_db(by_reaper(file.read_text(), x, 16_000), exact(table, x, 16_000)) <= max(NULL_DB.values()) + 10


@pytest.mark.parametrize("channels", [1, 6])
def test_a_stereo_width_leaves_tracks_of_other_than_two_channels_as_they_are(exported, draw, passages, channels):
    text = exported("jsfx", draw(0, "stereo_width"), sample_rate=16_000, channels=2).read_text(encoding="utf-8")
    x = passages(16_000, channels)[0][:, :1000]
    np.testing.assert_array_equal(by_reaper(text, x, 16_000), x)


def test_it_says_how_to_add_the_reverb(exported, draw):
    text = exported("jsfx", draw(0), sample_rate=48_000, channels=2).read_text()
    assert "Play 'voice.reverb.wav' after this effect" in text
    assert text.count("\ndesc:") == 1
    assert "ReaVerb" not in exported("jsfx", draw(0, "compressor"), sample_rate=48_000, channels=2).read_text()
