"""Two language models with different tokenizers as one: what they write, and how likely held-out text is for each and both.

    python scripts/bench/ensemble_languages.py --first SMOLLM2 --second GPT2 --tokenizer GPT2_TOKENIZER --data WIKITEXT

`--first` is a folder or Hub id of a finished model. `--second` is a folder; where there is none, a small GPT-2 is trained
there for `--minutes` on the training texts, with the tokenizer that `--tokenizer` names. `--data` is a folder with train,
validation and test.parquet, a column `text` each. Texts are the first words of paragraphs; weights are learned on
validation and measured on test.
"""

import argparse
import datetime
import importlib.metadata
import time
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from hf_compress import ParallelEnsemble, mixture_weights, text_log_likelihood
from hf_compress._provenance import processor

PROMPTS = ("The city was founded in", "In the second half of the season , the team")


def train(options: argparse.Namespace) -> str:
    """Train a GPT-2 of four layers by the clock, into the second member's folder."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(options.tokenizer)
    texts = Dataset.from_parquet(str(options.data / "train.parquet"))["text"]
    ids = torch.tensor(tokenizer("\n".join(texts), verbose=False)["input_ids"])
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=256, n_layer=4, n_head=4, n_positions=512))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.5e-3)
    start, steps, losses = time.monotonic(), 0, []
    while (share := (time.monotonic() - start) / (60 * options.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 1.5e-3 * min(1, (steps + 1) / 50) * (1 - share)
        begins = torch.randint(len(ids) - 128, (4,)).tolist()
        batch = torch.stack([ids[begin : begin + 128] for begin in begins])
        loss = model(batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
        steps += 1
    model.save_pretrained(options.second)
    tokenizer.save_pretrained(options.second)
    last = losses[-20:]
    return (
        f"trained for {options.minutes:g} minutes, {steps} steps of 512 tokens, to {sum(last) / len(last):.2f} nats a token"
    )


def pieces(options: argparse.Namespace, split: str) -> list[str]:
    """The first words of paragraphs that are long enough, spread over the split."""
    texts = [text.split() for text in Dataset.from_parquet(str(options.data / f"{split}.parquet"))["text"]]
    long = [" ".join(words[: options.words]) for words in texts if len(words) >= options.words]
    return long[:: max(1, len(long) // options.texts)][: options.texts]


def described(pair: ParallelEnsemble, place: int) -> str:
    """A member in one line."""
    member, tokens = pair.members[place], pair.vocabulary.spellings[place].tokens
    size = sum(one.numel() for one in member.parameters()) / 1e6
    name = pair.config.names[place].capitalize()
    return f"{name}: {type(member).__name__}, {size:.1f} M parameters, {len(tokens):,} tokens."


def row(name: str, perplexity: float, bits: float) -> str:
    """One of the table."""
    return f"| {name} | {perplexity:,.1f} | {bits:.3f} |"


def main() -> None:
    """Train what is missing, write, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", required=True)
    parser.add_argument("--second", required=True)
    parser.add_argument("--tokenizer")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--texts", type=int, default=60)
    parser.add_argument("--words", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    told = "found finished" if (Path(options.second) / "config.json").is_file() else train(options)

    pair = ParallelEnsemble.from_members([options.first, options.second], names=["first", "second"], dtype=torch.float32)
    lines = [
        "# Two language models with different tokenizers",
        "",
        f"{datetime.date.today()}; {processor()}, {options.threads} thread(s); torch {torch.__version__}, transformers"
        f" {importlib.metadata.version('transformers')}; `scripts/bench/ensemble_languages.py`.",
        "",
        *(described(pair, place) for place in range(2)),
        f"Second: {told}.",
        f"Union: {pair.vocabulary.size:,} tokens.",
        "",
    ]
    validation, test = (text_log_likelihood(pair, pieces(options, split)) for split in ("validation", "test"))
    weights = mixture_weights(validation.spans)[0].tolist()
    lines += [
        f"Weights learned on {validation.spans.shape[1]:,} spans of validation: {weights[0]:.4f}, {weights[1]:.4f}.",
        "",
    ]
    for split, found in (("validation", validation), ("test", test)):
        learned = text_log_likelihood(pair, pieces(options, split), weights=weights)
        count = f"{len(found.nats)} texts, {int(found.num_words.sum()):,} words, {int(found.num_bytes.sum()):,} bytes"
        lines += [
            f"{split}: {count}, {found.spans.shape[1]:,} spans",
            "",
            "| model | perplexity per word | bits per byte |",
        ]
        lines += ["|---|--:|--:|"]
        each = zip(("first", "second"), found.perplexity_per_word()[1], found.bits_per_byte()[1], strict=True)
        lines += [row(name, *numbers) for name, *numbers in each]
        for name, one in (("both, equal weights", found), ("both, learned weights", learned)):
            lines.append(row(name, one.perplexity_per_word()[0], one.bits_per_byte()[0]))
        lines.append("")
    pair.config.weights = weights
    for prompt in PROMPTS:
        inputs = pair.processor(prompt, return_tensors="pt")
        begin = time.monotonic()
        ids = pair.generate(**inputs, max_new_tokens=40, do_sample=False, repetition_penalty=1.1)
        seconds = (time.monotonic() - begin) / (ids.shape[1] - inputs["input_ids"].shape[1])
        written = pair.processor.decode(ids[0], skip_special_tokens=True)
        lines += [f"Written greedily, {seconds:.2f} s a token:", "", *[f"> {line}" for line in written.splitlines()], ""]
    text = "\n".join(lines)
    print(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
