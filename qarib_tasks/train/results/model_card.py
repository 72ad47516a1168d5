"""README.md of an exported model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qarib_tasks import __version__
from qarib_tasks.config.evaluation import EMOJI, SOURCE
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.errors import masked
from qarib_tasks.labelled.scores import METRICS
from qarib_tasks.train.results.finetuned import mean_of
from qarib_tasks.train.results.probe import used_texts

_OF_CORPUS = {
    SOURCE: "which source a line of the held-out text is from",
    EMOJI: "which emoji was removed from a line of the held-out text",
}


def model_card(
    job: TrainingJob,
    vocab_size: int,
    statistics: Mapping[str, Any],
    finetuned: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Return Markdown on the model, its training and its evaluation; the same bytes every time.

    Args:
        finetuned: the entries of the table of fine-tunings.
    """
    model, train, evaluation = job.model, job.train, statistics["evaluation"]
    settings = {
        "Layers": model.num_hidden_layers,
        "Hidden size": model.hidden_size,
        "Attention heads": model.num_attention_heads,
        "Intermediate size": model.intermediate_size,
        "Longest input": model.max_position_embeddings,
        "Vocabulary": vocab_size,
        "Steps": train.train_steps,
        "Batch size": train.train_batch_size,
        "Sequence length": job.max_seq_length,
        "Peak learning rate": train.learning_rate,
        "Warm-up steps": train.warmup_steps,
        **({} if train.schedule == TrainConfig.schedule else {"Schedule": train.schedule}),
        **(
            {"Wordpieces to predict": f"{train.masked_lm_prob:.0%}, chosen in each step"}
            if train.masking == "dynamic"
            else {}
        ),
        **(
            {"Token dropping": f"{train.token_dropping:.0%} of the positions, in the middle layers"}
            if train.token_dropping
            else {}
        ),
        "Next sentence prediction": "yes" if train.next_sentence else "no",
        "Random seed": job.random_seed,
    }
    figures = {
        "Masked-LM loss": f"{evaluation['masked_lm_loss']:.4f} nats",
        "Masked-LM accuracy": f"{evaluation['masked_lm_accuracy']:.4f}",
        "Perplexity": f"{evaluation['perplexity']:.2f}",
        "Best loss from word frequencies alone": f"{evaluation['unigram_entropy']:.4f} nats",
        "Best accuracy from word frequencies alone": f"{evaluation['unigram_accuracy']:.4f}",
    }
    if "next_sentence_accuracy" in evaluation:
        figures["Next-sentence accuracy"] = f"{evaluation['next_sentence_accuracy']:.4f}"
    losses = "".join(
        f"| {e['step']:,} | {e['masked_lm_loss']:.4f} | {e['masked_lm_accuracy']:.4f} |\n"
        for e in statistics["evaluations"]
    )
    origin = "from scratch"
    if train.start_from:
        origin = f"from the weights of `{masked(train.start_from)}`"
        origin += f" (after {job.steps_before:,} earlier steps)" if job.steps_before else ""
    names = "BertForPreTraining" if train.next_sentence else "BertForMaskedLM"
    return f"""---
language: ar
license: {job.license}
library_name: transformers
pipeline_tag: fill-mask
tags: [bert, masked-lm, arabic]
---

# Arabic BERT

A BERT (Devlin et al., 2018) for Arabic, trained {origin} by qarib {__version__} with the masked-LM
objective{" and next sentence prediction" if train.next_sentence else ""}.

```python
from transformers import {names}, AutoTokenizer

model = {names}.from_pretrained("path/of/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/of/this/folder")
```

`bert_model.ckpt` and `bert_config.json` are the same model in the format of google-research/bert.

{_data(job)}## Training

{_table(settings)}
{_optimizer(train)}
The masked-LM loss fell from {statistics["first_masked_lm_loss"]:.4f} at the first step to
{statistics["last_masked_lm_loss"]:.4f} at the last logged steps.

## Evaluation

On {evaluation["examples"]:,} examples ({evaluation["predictions"]:,} masked wordpieces) of held-out text:

{_table(figures)}
| step | masked-LM loss | accuracy |
|---|---|---|
{losses}{_tasks(evaluation.get("tasks", ()))}{_finetuned(finetuned)}"""


def _data(job: TrainingJob) -> str:
    """Return the section on the datasets; empty if the job names none, as its folders are local paths."""
    if not job.trained_on:
        return ""
    rows = {
        f"`{dataset.dataset_id}`": f"{dataset.examples:,} examples of {', '.join(dataset.sources)}"
        for dataset in job.trained_on
    }
    warnings = "".join(
        f"Of the text of `{dataset.dataset_id}`: {warning}.\n\n"
        for dataset in job.trained_on
        for warning in dataset.warnings
    )
    about = "The `manifest.json` of a dataset lists its source files with their checksums."
    return f"## Data\n\n{_table(rows)}\n{warnings}{about}\n\n"


def _tasks(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the section on the labelled tasks; empty if there are none."""
    if not results:
        return ""
    rows = "".join(
        f"| {task['name']} | {METRICS[task['metric']]} | {task['value']:.4f} | {task['low']:.4f} to "
        f"{task['high']:.4f} | {task['tfidf']:.4f} | {task['most_frequent']:.4f} | "
        f"{used_texts(task, 'train')} | {used_texts(task, 'test')} |\n"
        for task in results
    )
    names = [task["name"] for task in results]
    of_corpus = "".join(f" `{name}`: {_OF_CORPUS[name]}." for name in names if name in _OF_CORPUS)
    return f"""
## Labelled tasks

A logistic regression on the mean of the model's last layer, which is not trained for the task. TF-IDF is the
same regression on n-grams of characters.{of_corpus}

| task | metric | model | 95% interval | TF-IDF | most frequent label | training texts | test texts |
|---|---|---|---|---|---|---|---|
{rows}{_test_texts(results)}"""


def _test_texts(results: Sequence[Mapping[str, Any]]) -> str:
    """Return what is known of test texts in the training text."""
    lines = [
        f"- `{task['name']}`: {task['contaminated_documents']:,} documents of the training text contain test "
        "texts. The score may be too high.\n"
        if task["contaminated_documents"]
        else f"- `{task['name']}`: no document of the training text contains a test text "
        f"({task['left_out_documents']:,} were left out).\n"
        for task in results
        if "contaminated_documents" in task
    ]
    return "\n" + "".join(lines) if lines else ""


def _finetuned(entries: Sequence[Mapping[str, Any]]) -> str:
    """Return the section on the fine-tunings; empty if there are none."""
    rows = "".join(
        f"| {entry['name']} | {METRICS[entry['metric']]} | {mean_of(entry)} | {len(entry['seeds'])} | "
        f"{entry['tfidf']:.4f} | {entry['most_frequent']:.4f} | {entry['test_texts']:,} |\n"
        for entry in entries
        if entry["seeds"]
    )
    return (
        rows
        and f"""
## Fine-tuning

Mean and standard deviation over fine-tunings with different random seeds. The learning rate is chosen on a
part of the training texts.

| task | metric | fine-tuned | seeds | TF-IDF | most frequent label | test texts |
|---|---|---|---|---|---|---|
{rows}"""
    )


def _optimizer(train: TrainConfig) -> str:
    names = ("bias_correction", "beta_1", "beta_2", "epsilon", "weight_decay", "clip_norm")
    if all(getattr(train, name) == getattr(TrainConfig, name) for name in names):
        return "The optimizer is BERT's AdamW (weight decay 0.01, gradients clipped to norm 1.0)."
    correction = "with" if train.bias_correction else "without"
    clipping = f"gradients clipped to norm {train.clip_norm:g}" if train.clip_norm else "no clipping"
    return (
        f"The optimizer is AdamW {correction} bias correction (betas {train.beta_1:g} and {train.beta_2:g}, "
        f"epsilon {train.epsilon:g}, weight decay {train.weight_decay:g}, {clipping})."
    )


def _table(rows: Mapping[str, Any]) -> str:
    return "| | |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in rows.items())
