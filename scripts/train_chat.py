"""Tune a chat model on conversations while it is pruned, quantized and taught by itself as it was.

    python scripts/train_chat.py --model HuggingFaceTB/SmolLM2-135M-Instruct --data my-chats --output_dir out/chat \
        --pruning 0 --scheme W4A16 --group_size 32 --max_steps 500 --learning_rate 5e-5

Rows have `messages`, or a prompt and its answer in two columns (`--prompt question --completion answer`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _options import Options, start
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback, TrainingArguments, pipeline

from hf_compress import Chat, CompressionTrainer, save_result


@dataclass
class ChatOptions(Options):
    messages: str = "messages"
    prompt: str | None = None
    completion: str = "completion"
    length: int = 512
    max_new_tokens: int = 64


class Answering(TrainerCallback):
    """Shows after every evaluation what the model answers by then."""

    def __init__(self, turns: list[dict[str, str]], max_new_tokens: int) -> None:
        self.turns, self.max_new_tokens = turns, max_new_tokens

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            chat = pipeline("text-generation", kwargs["model"], tokenizer=kwargs["processing_class"])
            print(f"step {state.global_step}:", answer(chat, self.turns, self.max_new_tokens))


def answer(chat: Any, turns: list[dict[str, str]], max_new_tokens: int) -> str:
    return chat(turns, max_new_tokens=max_new_tokens, do_sample=False)[0]["generated_text"][-1]["content"]


def main(options: ChatOptions, args: TrainingArguments) -> None:
    columns = {"messages": options.messages}
    if options.prompt is not None:
        columns = {"prompt": options.prompt, "completion": options.completion}
    task = Chat(length=options.length, **columns)
    rows = options.load_data(task, seed=args.seed)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = options.load_model(AutoModelForCausalLM)
    examples = task.examples(rows, tokenizer, labels=[])
    first = rows["test"][0]
    question = [{"role": "user", "content": first[options.prompt]}] if options.prompt else first[options.messages][:-1]

    trainer = CompressionTrainer(
        model=model,
        args=args,
        train_dataset=examples["train"],
        eval_dataset=examples["validation"],
        processing_class=tokenizer,
        data_collator=task.collator(tokenizer),
        callbacks=[Answering(question, options.max_new_tokens), *options.callbacks()],
        **options.techniques(),
    )
    trainer.train(args.resume_from_checkpoint)
    folder = Path(args.output_dir, "compressed")
    report = save_result(trainer, folder, examples=examples["test"], baseline=options.baseline, dtype=options.dtype)
    if report is not None:  # on the first process
        print((folder / "report.md").read_text())
        print(answer(pipeline("text-generation", str(folder)), question, options.max_new_tokens))


if __name__ == "__main__":
    start(main)
