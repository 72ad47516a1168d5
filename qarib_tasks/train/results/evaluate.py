"""Evaluation on held-out examples: one JSON file per step in `bert_evals/`, and the reference's text file."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import TrainingError
from qarib_tasks.layout import evaluation_step
from qarib_tasks.storage.files import write_text
from qarib_tasks.train.checkpoint import Checkpoints, require_same_model
from qarib_tasks.train.data.vocabulary import Vocabulary
from qarib_tasks.train.output import Output
from qarib_tasks.train.results.probe import Probe, task_line, was_probed

if TYPE_CHECKING:
    from qarib_tasks.train.model.steps import Steps

log = logging.getLogger(__name__)
SETTINGS = ("eval_batch_size", "max_eval_steps")
PREDICTIONS = ("name", "sha256", "predicted")
WORDS = 5  # shown for each sentence with a [MASK]
REFERENCE_NAMES = (
    "global_step",
    "loss",
    "masked_lm_accuracy",
    "masked_lm_loss",
    "next_sentence_accuracy",
    "next_sentence_loss",
)


def evaluate(job: TrainingJob) -> dict[str, Any]:
    """Evaluate the newest checkpoint, unless it is already evaluated with these settings.

    Returns:
        the result of `Evaluator.run`.

    Raises:
        TrainingError: no checkpoint exists.
    """
    output = Output(job)
    checkpoints = Checkpoints(output, job.train.keep_checkpoint_max)
    none = TrainingError("no checkpoint to evaluate", where=output.checkpoints, do="Run `qarib train` first")
    if not checkpoints.names():
        raise none  # before a lock is made
    with output.locked():
        index = checkpoints.newest()
        if index is None:
            raise none
        output.fetch_evaluations()
        if known := evaluation_of(job, output, index.step):
            log.info("step %d is already evaluated: %s", index.step, _line(known))
            return known
        from qarib_tasks.train import runtime
        from qarib_tasks.train.model.bert import build_model
        from qarib_tasks.train.model.steps import make_steps

        runtime.make_deterministic()
        vocabulary = Vocabulary.read(job, output)
        require_same_model(index, job, vocabulary.record)
        steps = make_steps(build_model(job, len(vocabulary)), job.train, job.random_seed)
        steps.restore(checkpoints.load(index))
        return Evaluator(job, output, vocabulary, steps).run(index.step)


def read_evaluations(output: Output) -> list[dict[str, Any]]:
    """Read the existing evaluations, ordered by step. Damaged ones are set aside."""
    steps = {evaluation_step(path.name) for path in output.evaluations.glob("*")}
    found = (output.evaluation(step) for step in sorted(step for step in steps if step is not None))
    return [evaluation for evaluation in found if evaluation]


def evaluation_of(job: TrainingJob, output: Output, step: int) -> dict[str, Any] | None:
    """Return the evaluation of a step if it was made with the job's settings."""
    known = output.evaluation(step)
    if known is None:
        return None
    same = all(known.get(name) == getattr(job.evaluate, name) for name in SETTINGS)
    return known if same and was_probed(job, known) else None


@dataclass(frozen=True)
class Unigram:
    """The best figures of a model that knows only the frequencies of the held-out wordpieces.

    Attributes:
        entropy: nats per wordpiece; no such model has a lower masked-LM loss.
        accuracy: share of the most frequent wordpiece.
        wordpieces: number of wordpieces without [PAD], [CLS] and [SEP]. [UNK] counts, as it is masked and
            predicted too.
    """

    entropy: float
    accuracy: float
    wordpieces: int

    @classmethod
    def of(cls, batch: Mapping[str, np.ndarray], special_ids: list[int]) -> Unigram:
        """Compute the figures of a batch, after restoring the original wordpieces at masked positions."""
        ids = batch["input_ids"].copy()
        example, prediction = np.nonzero(batch["masked_lm_weights"])
        ids[example, batch["masked_lm_positions"][example, prediction]] = batch["masked_lm_ids"][
            example, prediction
        ]
        pieces = ids[(batch["input_mask"] > 0) & ~np.isin(ids, special_ids)]
        counts = np.bincount(pieces)
        shares = counts[counts > 0] / max(len(pieces), 1)
        return cls(float(-(shares * np.log(shares)).sum()), float(shares.max(initial=0.0)), len(pieces))


class Evaluator:
    """Holds the held-out examples, parsed once, and evaluates a model on them.

    Raises:
        InputError: there are no examples, or a fill-mask sentence is longer than the model's longest input,
            or the file of a task is missing.
        ConfigError: the examples were converted with another vocabulary.
        CorruptError: the file of a task is damaged.
    """

    def __init__(self, job: TrainingJob, output: Output, vocabulary: Vocabulary, steps: Steps) -> None:
        from qarib_tasks.train.data.batches import Parser, heldout_examples
        from qarib_tasks.train.data.shards import Shards
        from qarib_tasks.train.results.masked_sentences import MaskedSentences
        from qarib_tasks.vocabulary.tokenizer_files import make_tokenizer

        self.job = job
        self.output = output
        self.steps = steps
        limit = job.evaluate.eval_batch_size * job.evaluate.max_eval_steps
        shards = Shards(job.heldout_data, output.cache)
        if not job.earlier_data:  # Otherwise they are of the first dataset, and its copy of the vocabulary.
            shards.check_vocabulary(vocabulary.record)
        shards.check_format("pairs")
        records = heldout_examples(shards, limit)
        self.examples = Parser(job, len(vocabulary), job.heldout_data)(records)
        self.unigram = Unigram.of(
            self.examples, [vocabulary.id(token) for token in ("[PAD]", "[CLS]", "[SEP]")]
        )
        tokenizer = make_tokenizer(vocabulary.tokens, do_lower_case=job.do_lower_case)
        self.sentences = MaskedSentences(vocabulary.tokens, tokenizer, job.model.max_position_embeddings)
        self.encoded = [self.sentences.encode(text) for text in job.evaluate.fill_mask_sentences]
        self.probe = Probe(job, output, vocabulary, steps) if job.tasks else None

    def run(self, step: int) -> dict[str, Any]:
        """Evaluate, write `evaluation-<step>.json` and `eval_results.txt`, and publish them.

        What the probe predicted for each test text has its own file, of the newest evaluation only.

        Returns:
            step, loss, masked_lm_loss (nats), masked_lm_accuracy, perplexity, next_sentence_loss and
            next_sentence_accuracy (unless turned off), unigram_entropy (nats per wordpiece),
            unigram_accuracy, examples, predictions, wordpieces, the settings of the evaluation, and
            fill_mask: the text of each sentence and its five best words with their probabilities; and, if the
            job has tasks, probe_seconds and tasks, see `Probe.run`, without predicted.
        """
        from qarib_tasks.train.model.batch import padded

        size, total = self.job.evaluate.eval_batch_size, len(self.examples["input_ids"])
        sums: dict[str, float] = {}
        for start in range(0, total, size):
            batch = {name: array[start : start + size] for name, array in self.examples.items()}
            for name, value in self.steps.evaluate(padded(batch, size)).items():
                sums[name] = sums.get(name, 0.0) + float(value)
        predictions = max(sums["predictions"], 1.0)
        loss = sums["masked_lm_loss_sum"] / predictions
        result: dict[str, Any] = {
            "step": step,
            "loss": loss,
            "masked_lm_loss": loss,
            "masked_lm_accuracy": sums["right_predictions"] / predictions,
            "perplexity": math.exp(min(loss, 700.0)),
        }
        if "sentences" in sums:
            result["next_sentence_loss"] = sums["next_sentence_loss_sum"] / sums["sentences"]
            result["next_sentence_accuracy"] = sums["right_sentences"] / sums["sentences"]
            result["loss"] += result["next_sentence_loss"]
        result |= {
            "unigram_entropy": self.unigram.entropy,
            "unigram_accuracy": self.unigram.accuracy,
            "examples": total,
            "predictions": int(sums["predictions"]),
            "wordpieces": self.unigram.wordpieces,
            **{name: getattr(self.job.evaluate, name) for name in SETTINGS},
            "fill_mask": self._fill_masks(),
        }
        if self.probe:
            tasks = self.probe.run()
            self._write_predictions(step, [{name: task[name] for name in PREDICTIONS} for task in tasks])
            for task in tasks:
                del task["predicted"]
            result |= {"probe_seconds": self.job.evaluate.probe_seconds, "tasks": tasks}
        self._write(result)
        log.info("evaluation after step %d: %s", step, _line(result))
        for task in result.get("tasks", ()):
            log.info("evaluation after step %d: %s", step, task_line(task))
        return result

    def _fill_masks(self) -> list[dict[str, Any]]:
        if not self.encoded:
            return []
        logits = self.steps.predict(self.sentences.batch(self.encoded))
        guesses = self.sentences.guesses(self.encoded, logits, WORDS)
        return [
            {"text": text, "words": [asdict(guess) for guess in words]}
            for text, (words,) in zip(self.job.evaluate.fill_mask_sentences, guesses, strict=True)
        ]

    def _write_predictions(self, step: int, tasks: list[dict[str, Any]]) -> None:
        path = self.output.layout.probe_predictions
        write_text(path, json.dumps({"step": step, "tasks": tasks}, ensure_ascii=False) + "\n")
        self.output.publish(path)

    def _write(self, result: dict[str, Any]) -> None:
        values = result | {"global_step": result["step"]}
        text = "".join(f"{name} = {values[name]}\n" for name in REFERENCE_NAMES if name in values)
        layout = self.output.layout
        results, path = layout.eval_results, layout.evaluation(result["step"])
        write_text(results, text)
        write_text(path, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
        self.output.publish(results, path)


def _line(result: Mapping[str, Any]) -> str:
    text = (
        f"masked-LM loss {result['masked_lm_loss']:.4f} "
        f"(best from word frequencies alone: {result['unigram_entropy']:.4f}), "
        f"accuracy {result['masked_lm_accuracy']:.4f}, perplexity {result['perplexity']:.1f}"
    )
    if "next_sentence_accuracy" in result:
        text += f", next-sentence accuracy {result['next_sentence_accuracy']:.4f}"
    return text
