"""Whether a training can use its data, and whether its settings are far outside what worked elsewhere.

docs/training.md has the table of the sources. A warning is no error: the published recipe has two.
"""

from __future__ import annotations

from qarib_tasks.config.conversion import ExampleShape, Format
from qarib_tasks.config.training.model import ModelConfig
from qarib_tasks.config.training.recipe import TrainConfig, kept_positions, predictions_of

# Peak rates, divided by the square root of the batch size: BERT's 1e-4 at 256, DinkyTrain's 2e-3 at 4,096.
LOWEST_RATE, HIGHEST_RATE = 1e-4 / 256**0.5, 2e-3 / 4096**0.5
WIDTH = 768  # hidden size of all of these; a narrower model takes a rate as much higher (arXiv:2203.03466)
FAR = 4  # times below the lowest or above the highest rate
LOWEST_WARMUP, HIGHEST_WARMUP = 0.001, 0.25  # of the steps; elsewhere 0.002 to 0.06
LOWEST_MASKED, HIGHEST_MASKED = 0.1, 0.5  # of the wordpieces; elsewhere 0.15 to 0.4
SPECIAL = 3  # positions of an example in pairs: [CLS], [SEP], [SEP]
SEE = "see 'Is my loss normal?' in docs/training.md"


def packed_faults(data_format: Format, train: TrainConfig) -> list[str]:
    """Return why a training cannot read data of this format; empty if it can."""
    if data_format != "packed":
        return []
    faults = []
    if train.next_sentence:
        faults.append("train.next_sentence must be false for packed data, which have no pairs of parts")
    if train.masking != "dynamic":
        faults.append("packed data have no masks. Set train.masking: dynamic")
    return faults


def dropping_faults(train: TrainConfig, model: ModelConfig, examples: ExampleShape) -> list[str]:
    """Return why a training cannot drop tokens as its settings say; empty if it can, or drops none."""
    if not train.token_dropping:
        return []
    faults, length, layers = [], examples.max_seq_length, model.num_hidden_layers
    kept, needed = kept_positions(train, length), predictions_of(train, examples) + SPECIAL
    if layers < 3:
        faults.append(f"train.token_dropping needs 3 layers or more; model.num_hidden_layers is {layers}")
    if not needed <= kept < length:
        faults.append(
            f"train.token_dropping {train.token_dropping:g} keeps {kept} of {length} positions; keep fewer, "
            f"but at least {needed}: as many can be to predict, [CLS], or [SEP]"
        )
    return faults


def unusual_settings(train: TrainConfig, model: ModelConfig, examples: ExampleShape) -> list[str]:
    """Return a warning for each setting that is far outside what worked elsewhere.

    A training that starts from trained weights may have a low rate and a short warm-up.
    """
    found = []
    low, high = (rate * train.train_batch_size**0.5 for rate in (LOWEST_RATE, HIGHEST_RATE))
    high *= max(1.0, WIDTH / model.hidden_size)
    is_low = train.learning_rate < low / FAR and not train.start_from
    if is_low or train.learning_rate > high * FAR * (1 + 1e-9):
        found.append(
            f"train.learning_rate {train.learning_rate:g} is far {'below' if is_low else 'above'} what "
            f"worked elsewhere at a batch of {train.train_batch_size:,}: {low:.2g} to {high:.2g}; {SEE}"
        )
    warmup = train.warmup_share or train.num_warmup_steps / train.train_steps
    is_short = warmup < LOWEST_WARMUP and not train.start_from
    if is_short or warmup > HIGHEST_WARMUP:
        share, number = f"train.warmup_share {warmup:g}", f"train.num_warmup_steps {train.num_warmup_steps:,}"
        found.append(
            f"{share if train.warmup_share else number} is {100 * warmup:.2g}% of the steps; elsewhere it is "
            f"0.2% to 6%; {SEE}"
        )
    length, positions = examples.max_seq_length, predictions_of(train, examples)
    if not LOWEST_MASKED <= positions / length <= HIGHEST_MASKED:
        by = "convert.masked_lm_prob and convert.max_predictions_per_seq"
        found.append(
            f"{positions} of {length} wordpieces are masked, {100 * positions / length:.2g}% (by "
            f"{'train.masked_lm_prob' if train.masking == 'dynamic' else by}); elsewhere it is 15% to 40%; "
            f"{SEE}"
        )
    return found


def void_next_sentence(train: TrainConfig, random_share: float | None) -> list[str]:
    """Return a warning if the next-sentence task teaches nothing: nearly all examples have the same label.

    Args:
        random_share: of the examples whose second part is random; None if not known.
    """
    if not train.next_sentence or random_share is None or 0.1 <= random_share <= 0.9:
        return []
    return [
        f"{100 * random_share:.1f}% of the training examples have a random second part, according to the "
        "dataset's manifest: the next-sentence task teaches nothing. Set train.next_sentence to false to "
        "turn it off"
    ]
