"""Cases of the suite: what looks along a sequence, by attention, by recurrence or by a sum."""

import torch
from torch import Tensor, nn

from tests.export.suite.case import ROWS, Case, normal, whole


class Attention(nn.Module):
    """Self-attention with a mask of what is padding, over a free length, and a mean of what is none."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8, padding_idx=0)
        self.query, self.key, self.value = (nn.Linear(8, 8) for _ in range(3))

    def forward(self, tokens: Tensor) -> Tensor:
        embedded, seen = self.embedding(tokens), tokens != 0
        scores = self.query(embedded) @ self.key(embedded).transpose(1, 2) / 8**0.5
        scores = scores.masked_fill(~seen.unsqueeze(1), torch.finfo(scores.dtype).min)
        mixed = scores.softmax(-1) @ self.value(embedded)
        weights = seen.unsqueeze(-1).to(mixed.dtype)
        return (mixed * weights).sum(1) / weights.sum(1).clamp(min=1)


class Causal(nn.Module):
    """torch's own attention with a causal mask, several heads, a free length."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(8, 24)

    def forward(self, sound: Tensor) -> Tensor:
        query, key, value = (part.unflatten(2, (2, 4)).transpose(1, 2) for part in self.project(sound).chunk(3, dim=2))
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return mixed.transpose(1, 2).flatten(2)


class Encoder(nn.Module):
    """torch's encoder layer with a learned position for each place."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.randn(6, 8))
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True, norm_first=True)

    def forward(self, sound: Tensor) -> Tensor:
        return self.layer(sound + self.places)[:, 0]


class Lengths(nn.Module):
    """A GRU whose answer is its state where each text ends: lengths come beside the texts."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 5)
        self.recurrent = nn.GRU(5, 7, batch_first=True)
        self.linear = nn.Linear(7, 3)

    def forward(self, tokens: Tensor, length: Tensor) -> Tensor:
        states, _ = self.recurrent(self.embedding(tokens))
        last = (length.clamp(1, tokens.shape[1]) - 1).view(-1, 1, 1).expand(-1, 1, states.shape[2])
        return self.linear(states.gather(1, last).squeeze(1))


class BothWays(nn.Module):
    """A bidirectional LSTM of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(3, 5, num_layers=2, bidirectional=True, batch_first=True)

    def forward(self, sound: Tensor) -> tuple[Tensor, Tensor]:
        states, (last, _) = self.recurrent(sound)
        return states, last.transpose(0, 1).flatten(1)


class Loop(nn.Module):
    """A recurrence written as a loop in Python over a fixed number of steps."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(3, 4)

    def forward(self, sound: Tensor) -> Tensor:
        state = torch.zeros(sound.shape[0], 4, dtype=sound.dtype)
        for step in range(sound.shape[1]):
            state = self.cell(sound[:, step], state)
        return state


class Bag(nn.Module):
    """Embedding bags of a fixed number of tokens: their sum, their mean and their largest."""

    def __init__(self) -> None:
        super().__init__()
        self.total, self.mean = nn.EmbeddingBag(30, 4, mode="sum"), nn.EmbeddingBag(30, 4, mode="mean")
        self.most = nn.EmbeddingBag(30, 4, mode="max")

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.cat([self.total(tokens), self.mean(tokens), self.most(tokens)], 1)


class Pooled(nn.Module):
    """The same by plain operators and over a free length: what stands in where a format has no embedding bag."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 4)
        self.linear = nn.Linear(8, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        embedded = self.embedding(tokens)
        return self.linear(torch.cat([embedded.mean(1), embedded.amax(1)], 1))


class Running(nn.Module):
    """Cumulative sums and products along a free length, and the order of the values."""

    def forward(self, sound: Tensor) -> tuple[Tensor, Tensor]:
        return sound.cumsum(1) * 0.1, sound.sigmoid().log().cumsum(1).exp()


CASES = [
    Case("attention", Attention, lambda: {"tokens": whole(20, ROWS, 7)}, dynamic={"tokens": [1]}),
    Case("causal_attention", Causal, lambda: {"sound": normal(ROWS, 5, 8)}, dynamic={"sound": [1]}),
    Case("encoder_layer", Encoder, lambda: {"sound": normal(ROWS, 6, 8)}, labels=8),
    Case("gru_with_lengths", Lengths, lambda: {"tokens": whole(20, ROWS, 6), "length": 1 + whole(6, ROWS)}),
    Case("lstm_both_ways", BothWays, lambda: {"sound": normal(ROWS, 5, 3)}),
    Case("loop_of_cells", Loop, lambda: {"sound": normal(ROWS, 4, 3)}),
    Case(
        "embedding_bag",
        Bag,
        lambda: {"tokens": whole(30, ROWS, 6)},
        # In ONNX a bag is a loop, whose state is float32 where the body's would be float16.
        verdicts={"onnx_fp16": "the graph cannot be turned into float16: .*type:Loop"},
    ),
    Case("pooled_embedding", Pooled, lambda: {"tokens": whole(30, ROWS, 6)}, dynamic={"tokens": [1]}),
    Case("running_sums", Running, lambda: {"sound": normal(ROWS, 7)}, dynamic={"sound": [1]}),
]
