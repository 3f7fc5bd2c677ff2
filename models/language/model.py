"""The network for languages: a sum of what each n-gram of letters says, looked up in a table by hashes made in the graph.

Naive Bayes adds log-likelihoods of n-grams; so does this, but its numbers are learnt together, so that n-grams which say the
same do not count twice. Bytes become small letters and words in the graph as well: whoever serves it needs no tokenizer.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

#: N-grams of up to so many bytes are looked at, each within a word and the space on either side of it.
LONGEST = 6

#: Rows of the table, a prime below 2^18: a hash modulo a prime depends on every byte, and no product leaves 64 bits.
ROWS = 262_139
_BASE = 48_271

#: The share of n-grams left out in training; and that of texts of which long n-grams, from some length on, are not seen at
#: all. A word that was never seen has no long n-gram that is known, and must be told by its short ones.
_DROPPED, _SHORTENED = 0.4, 0.6

_SPACE = ord(" ")

#: Where the second byte of a character lies, and first bytes of Latin-1's letters and of Latin Extended-A and -B.
_SECOND = range(0x80, 0xC0)
_FIRST = range(0xC3, 0xCA)


class Network(nn.Module):
    """A table of n-grams and a bias: text UINT8 [N, T], UTF-8 and zeros after it → logits [N, classes]. T is 1 or more.

    A text says the same however many zeros follow. The last row of the table is of no n-gram, and stays zero.
    """

    letters: Tensor

    def __init__(self, classes: int = 16) -> None:
        super().__init__()
        self.register_buffer("letters", letters(), persistent=False)
        self.table = nn.Embedding(ROWS + 1, classes, padding_idx=ROWS)
        self.bias = nn.Parameter(torch.zeros(classes))
        with torch.no_grad():
            self.table.weight.mul_(0.01)  # near nothing, so that an n-gram that is never seen says nothing

    def forward(self, text: Tensor) -> Tensor:
        """Return logits; the text may have any number type."""
        rows = hashes(self.symbols(text))
        if not self.training:
            said = torch.stack([self.table(kind).sum(1) for kind in rows])
            return self.bias + said.sum(0)
        # The same sum of what is left, without keeping what was looked up for the gradient.
        left = thinned(torch.stack(rows, dim=1)).flatten(1)
        return self.bias + functional.embedding_bag(left, self.table.weight, mode="sum", padding_idx=ROWS)

    def symbols(self, text: Tensor) -> Tensor:
        """Return small letters, and a space for all else, one before the text and one after it: INT64 [N, T + 2]."""
        codes = text.long()
        return functional.pad(self.letters[_before(codes) * 256 + codes].long(), (1, 1), value=_SPACE)


class ServingModule(nn.Module):
    """What is exported: the network, in evaluation, then softmax and argmax. Its outputs come in the signature's order."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities, FP32 [N, classes], and language, INT64 [N]."""
        logits = self.network(text)
        return torch.softmax(logits, dim=-1), torch.argmax(logits, dim=-1)


def letters() -> Tensor:
    """Return what a byte is after another one, UINT8 [256 × 256]: a byte of a small letter, or a space.

    Letters are those of ASCII, Latin-1 and Latin Extended-A and -B, of one or two bytes; anything else parts words.
    Capitals become small where that leaves the first byte as it is: all but a few, as İ and Ÿ.
    """
    table = torch.full((256, 256), _SPACE, dtype=torch.uint8)
    for byte in range(128):
        if chr(byte).isalpha():
            table[:, byte] = ord(chr(byte).lower())
    for first in _FIRST:
        table[:, first] = first
        for second in _SECOND:
            character = bytes((first, second)).decode()
            small = character.lower().encode()
            if character.isalpha():
                table[first, second] = small[1] if len(small) == 2 and small[0] == first else second
    return table.flatten()


def hashes(symbols: Tensor) -> list[Tensor]:
    """Return rows of the table for the n-grams that end at each place, ROWS for none: LONGEST tensors, INT64 [N, T].

    A hash is Σ byte · _BASEⁱ modulo ROWS, i from the end, carried on from the n-gram without its last byte (Karp & Rabin,
    1987). Symbols are as Network.symbols gives them: INT64 [N, T], the first and the last of a text a space.
    """
    letter = symbols != _SPACE
    found = [torch.where(letter, symbols, ROWS)]
    rolling = symbols
    # Is all between the first and the last letters? Of two symbols, which have nothing between them, is one a letter?
    within = letter | _before(letter)
    for length in range(2, LONGEST + 1):
        rolling = (_before(rolling) * _BASE + symbols) % ROWS
        if length > 2:
            within = _before(within & letter)
        found.append(torch.where(within, rolling, ROWS))
    return found


def thinned(rows: Tensor) -> Tensor:
    """Return rows of the table, INT64 [N, kinds, T] as hashes orders kinds, some left out.

    Any may be, and in most texts all from some length on. Drawn from torch's global generator.
    """
    count, kinds, _ = rows.shape
    shortened = torch.rand(count, device=rows.device) < _SHORTENED
    longest = torch.where(shortened, torch.randint(1, kinds - 1, (count,), device=rows.device), kinds)
    seen = torch.arange(kinds, device=rows.device) <= longest[:, None]
    return torch.where(seen[:, :, None] & (torch.rand(rows.shape, device=rows.device) >= _DROPPED), rows, ROWS)


def _before(values: Tensor) -> Tensor:
    """Return what stands one place before, and 0 at the first place."""
    return functional.pad(values[:, :-1], (1, 0))
