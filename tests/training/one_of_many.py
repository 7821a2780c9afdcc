"""Steps of small runs, `train.steps` each, as one process of as many as the environment says.

Reads definitions as JSON from stdin; prints, for each, every step's loss, the hash of the weights
after it, and what the task remembers at the end.
"""

import hashlib
import json
import sys

import torch


def main() -> None:
    from slotcli.build import build_codec, build_model
    from slotcli.codecs.dvae import Dvae
    from slotcli.data.rendered import SynthDataset
    from slotcli.definition import parse_spec
    from slotcli.spec import CodecModelSpec, SynthSpec
    from slotcli.training.optimiser import Average
    from slotcli.training.parallel.peers import joined
    from slotcli.training.state import RunState
    from slotcli.training.tasks import vqvae as codec_task
    from slotcli.training.tasks.dvae import DvaeTask
    from slotcli.training.tasks.slots import SlotTask
    from slotcli.training.tasks.vqvae import CodecTask
    from slotcli.training.update import update
    from slotcli.types import ClipBatch

    torch.set_num_threads(1)
    codec_task._RESTART_EVERY = 5  # else 50 steps would see no code moved
    cpu = torch.device("cpu")
    clips = SynthDataset(SynthSpec(mix={"A": 1.0}, clips=4, frames=3), (32, 32))
    held_out = torch.zeros(2, 3, 3, 32, 32, dtype=torch.uint8)
    told = []
    with joined(cpu) as peers:
        for values in json.load(sys.stdin):
            spec = parse_spec(values, "tests")
            torch.manual_seed(spec.train.seed)
            if not isinstance(spec, CodecModelSpec):
                task = SlotTask(spec, build_model(spec), clips, ClipBatch(held_out), cpu)
            elif isinstance(codec := build_codec(spec), Dvae):
                task = DvaeTask(spec, codec, clips, held_out[:, 0], cpu)
            else:
                task = CodecTask(spec, codec, clips, held_out[:, 0], cpu, peers)
            module = task.module.train()
            adam = torch.optim.Adam(task.parameter_groups(), lr=spec.train.learning_rate)
            state = RunState(module, Average(module, spec.train.ema), adam, task.memory)
            parts = peers.parts(spec.train.batch_size, spec.train.accumulate)
            losses, hashes = [], []
            for _ in range(spec.train.steps):
                assert update(state, task, parts, peers, spec.train.seed, 1.0)
                losses.append(state.logged()["loss"])
                total = hashlib.sha256()
                for parameter in module.parameters():
                    total.update(parameter.detach().contiguous().numpy().data)
                hashes.append(total.hexdigest())
            peers.require_replicas(module, state.step)
            memory = {name: tensor.tolist() for name, tensor in task.memory.items()}
            told.append({"losses": losses, "hashes": hashes, "memory": memory})
    print(json.dumps(told))


if __name__ == "__main__":
    main()
