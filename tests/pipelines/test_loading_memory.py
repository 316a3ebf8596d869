"""Loading holds one copy of the model: in the type it is loaded in, and a tensor on its way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from original_bundle import write_sparse_shards

from animate_weights.layouts import Layout

MIB = 1024**2
_WIDTH, _FFN = 1024, 4096
_SCRIPT = """
import resource, sys
from pathlib import Path
import torch
from animate_pipelines.loading.networks import open_network
torch.set_num_threads(1)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
network = open_network(Path(sys.argv[1]), "transformer")
network.build_empty()
before = peak()
model = network.load(torch.bfloat16, torch.device("cpu"))
print(sum(p.numel() * p.element_size() for p in model.parameters()), (peak() - before) * 1024)
"""


@pytest.mark.long
@pytest.mark.parametrize("layout", ["original", "diffusers"])
def test_no_second_copy_is_held(layout: Layout, tmp_path: Path) -> None:
    """At most the model in bf16 and the largest of its shards in fp32; both in whole would be twice that."""
    file_bytes = write_sparse_shards(tmp_path, layout, width=_WIDTH, ffn_width=_FFN, num_layers=5)
    largest_shard = max(path.stat().st_size for path in tmp_path.rglob("*.safetensors"))
    done = subprocess.run([sys.executable, "-c", _SCRIPT, str(tmp_path)], capture_output=True, text=True, check=True)
    model_bytes, peak_bytes = map(int, done.stdout.split())
    assert file_bytes > 500 * MIB
    assert model_bytes == file_bytes // 2
    assert peak_bytes < model_bytes + largest_shard < 0.6 * (model_bytes + file_bytes)
