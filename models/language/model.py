"""The network for languages: a sum of what each n-gram of letters says, looked up in a table by hashes made in the graph.

Naive Bayes adds log-likelihoods of n-grams; so does this, but its numbers are learnt together, so that n-grams which say the
same do not count twice. Bytes become small letters and words in the graph as well: whoever serves it needs no tokenizer.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.language.data import LANGUAGES

#: N-grams of so many bytes are looked at, each within a word and the spaces around it; and words up to so many bytes.
LONGEST = 6
LONGEST_WORD = 14

#: Rows of the table: a prime, so that no n-gram's hash depends on a part of it only. See `hashes`.
ROWS = 262_139
_BASE = 48_271

#: The share of n-grams that is left out in training, so that no long one is relied on alone.
_DROPPED = 0.3

_SPACE = ord(" ")


def letters() -> Tensor:
    """Return what a byte is after another one, UINT8 [256 × 256], row by what is before: a small letter's byte, or a space.

    Letters are those of ASCII, Latin-1 and Latin Extended-A and -B, UTF-8 of one or two bytes; anything else parts words.
    Capitals become small where that leaves the first byte as it is: all but a few, as İ and Ÿ.
    """
    table = torch.full((256, 256), _SPACE, dtype=torch.uint8)
    for byte in range(128):
        if chr(byte).isalpha():
            table[:, byte] = ord(chr(byte).lower())
    for first in range(0xC3, 0xCA):
        table[:, first] = first
        for second in range(0x80, 0xC0):
            character = bytes((first, second)).decode()
            small = character.lower().encode()
            if character.isalpha():
                table[first, second] = small[1] if len(small) == 2 and small[0] == first else second
    return table.flatten()


def hashes(symbols: Tensor) -> list[Tensor]:
    """Return rows of the table for symbols INT64 [N, T], as letters gives them, the first and last of each row a space.

    One INT64 [N, T] for each length of n-gram and one for words: at each place the n-gram or word that ends there, ROWS for none.
    The hash of a sequence of bytes b is Σ bᵢ·BASEⁿ⁻ⁱ modulo ROWS (Karp & Rabin, 1987).
    """
    letter = symbols != _SPACE
    inside = torch.ones_like(letter)  # all that is between the first and the last of the n-gram is letters
    found, word = [], torch.full_like(symbols, ROWS)
    rolling, start = symbols, letter
    for length in range(1, LONGEST_WORD + 3):
        if length > 1:
            rolling = (_before(rolling) * _BASE + symbols) % ROWS
            start = _before(start)
        if length > 2:
            inside = _before(inside) & _before(letter)
        if length <= LONGEST:
            found.append(torch.where(inside & (letter | start), rolling, ROWS))
        elif True:
            pass
        if length > 2:
            word = torch.where(inside & ~letter & ~start, (rolling * 7 + 3) % ROWS, word)
    return [*found, word]


def _before(values: Tensor) -> Tensor:
    """Return each place's neighbour before it; the first place has a nought."""
    return functional.pad(values[:, :-1], (1, 0))
