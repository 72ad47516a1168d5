"""Files of torch, read without it."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from qarib_tasks.errors import CorruptError
from qarib_tasks.train.weights.pytorch import read_pytorch


@pytest.mark.slow
@pytest.mark.parametrize("archive", [True, False])
def test_tensors_of_both_formats(tmp_path: Path, archive: bool) -> None:
    import torch

    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    state = OrderedDict(
        whole=base,
        transposed=base.t(),
        part=base[1:3, 2:],
        half=torch.tensor([1.5, -2.0], dtype=torch.float16),
        brain=torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        ids=torch.arange(5),
        scalar=torch.tensor(3.5),
        parameter=torch.nn.Parameter(torch.ones(2)),
    )
    torch.save(state, tmp_path / "model.bin", _use_new_zipfile_serialization=archive)
    tensors = read_pytorch(tmp_path / "model.bin")
    assert list(tensors) == list(state)
    for name, value in state.items():
        np.testing.assert_array_equal(tensors[name].astype(np.float64), value.detach().double().numpy())


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("pickles run code",))


def test_code_in_a_pickle_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.bin"
    for content in (pickle.dumps(Evil()), b"no pickle", b""):
        path.write_bytes(content)
        with pytest.raises(CorruptError, match="not a PyTorch state_dict"):
            read_pytorch(path)
    assert "run code" not in capsys.readouterr().out
