"""Trains StreamingT2V's parts on a folder of videos, around a frozen text-to-video-ms-1.7b (arXiv 2403.14773).

First conditional attention, then it and the appearance preservation, which starts from the first's checkpoint:

    accelerate launch -m training.streamingt2v.finetune --videos V --base B --out runs/x --part cam
    accelerate launch -m training.streamingt2v.finetune --videos V --base B --out runs/x --part apm --image-encoder H

V holds videos and beside each `name.mp4` its prompt in `name.txt`; B is a diffusers folder. Every `--save-every` steps
`cam.pt` or `apm.pt`, from which `--resume` goes on exactly, and `streaming_t2v.safetensors`, which Load StreamingT2V
reads, are written to `--out`.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glv_core.hosts.diffusers.streamingt2v import StreamingUNet
from glv_core.hosts.diffusers.streamingt2v_parts import state_of
from glv_core.streamingt2v import load_checkpoint
from glv_core.streamingt2v.weight_files import write_half

from .data import BEFORE, FPS, VideoFolder, batch_places, loader
from .export import ADDED
from .frozen import Frozen, load_frozen, sizes_of
from .loop import step_generator
from .train_streaming import TRAINED, added_weights, freeze_all_but, streaming_around

logger = logging.getLogger(__name__)

STEPS = {"cam": 400_000, "apm": 1_000}  # the paper's


@dataclass(frozen=True)
class Plan:
    """What decides which numbers a run sees. A run that goes on must have the same, but for `steps`."""

    part: str
    steps: int
    batch: int = 1  # clips of a process at once
    accumulate: int = 8  # batches of a step
    lr: float = 5e-5
    weight_decay: float = 0.01
    clip: float = 1.0  # the gradient's norm at most
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 1 or more.")
        for name in ("lr", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0.")


class Trainee(nn.Module):
    """The network and its loss in one module, so that several processes see one forward pass."""

    def __init__(self, net: StreamingUNet) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, noisy: Tensor, levels: Tensor, text: Tensor, seen: Tensor | None, condition: Tensor, target: Tensor
    ) -> Tensor:
        """The mean squared error of what is predicted of `noisy` [b 4 t h w] at `levels` [b] from `target`.

        `seen`: embeddings of anchors [b n c], None without. `condition`: the frames before [b k 3 8h 8w].
        """
        tokens = None if seen is None else self.net.resampler(seen)
        return F.mse_loss(self.net(noisy, levels, text, tokens, condition).float(), target)


def new_net(frozen: Frozen, start: Path | None = None) -> StreamingUNet:
    """A network around a base: untrained, or with the parts of a file of StreamingT2V's weights.

    Raises:
        ValueError: the file cannot be read, or its parts have other sizes.
    """
    net = streaming_around(frozen.unet, sizes_of(frozen))
    if start is None:
        return net
    given = state_of(load_checkpoint(start), {})
    shapes = {name: value.shape for name, value in net.state_dict().items() if not name.startswith("unet.")}
    if {name: value.shape for name, value in given.items()} != shapes:
        raise ValueError(f"{start} has parts of other sizes than this base needs. Give the base that it was made for.")
    net.load_state_dict(given, strict=False)
    return net


def load_trained(net: StreamingUNet, path: Path) -> dict[str, Any]:
    """All of a checkpoint of this script; its parts are then those of `net`."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    net.load_state_dict(state["weights"], strict=False)
    return state


def inputs_of(frozen: Frozen, batch: dict[str, Any], anchored: bool, generator: torch.Generator) -> dict[str, Any]:
    """What `Trainee` takes of a batch of samples, with noise of levels that `generator` draws evenly."""
    device = frozen.vae.device
    clean = frozen.latents(batch["target"].to(device), generator)
    scheduler = frozen.scheduler
    levels = torch.randint(scheduler.config.num_train_timesteps, (len(clean),), generator=generator).to(device)
    noise = torch.randn(clean.shape, generator=generator).to(device)
    velocity = scheduler.config.prediction_type == "v_prediction"
    return {
        "noisy": scheduler.add_noise(clean, noise, levels),
        "levels": levels,
        "text": frozen.text(batch["prompt"]),
        "seen": frozen.seen(batch["anchor"].to(device)) if anchored else None,
        "condition": batch["condition"].to(device),
        "target": scheduler.get_velocity(clean, noise, levels) if velocity else noise,
    }


def batches_from(
    dataset: VideoFolder, plan: Plan, first: int, processes: int = 1, process: int = 0, workers: int = 0
) -> Iterator[tuple[int, dict[str, Any]]]:
    """A process's batches without end from number `first` on, and their numbers; epoch after epoch."""
    number = first
    while True:
        a_whole = len(batch_places(len(dataset), plan.batch, plan.seed, 0, processes))
        epoch, before = divmod(number, a_whole)
        dataset.set_epoch(epoch)
        places = batch_places(len(dataset), plan.batch, plan.seed, epoch, processes, process)
        for batch in loader(dataset, places[before:], workers):
            yield number, batch
            number += 1


class Finetuning:
    """A run: the network, its optimiser, and the checkpoint that has all that a run goes on from."""

    def __init__(
        self, accelerator: Any, frozen: Frozen, net: StreamingUNet, dataset: VideoFolder, plan: Plan, out: Path
    ) -> None:
        """`accelerator` is accelerate's, with `plan.accumulate` as its gradient_accumulation_steps."""
        self.accelerator, self.frozen, self.net, self.dataset = accelerator, frozen, net, dataset
        self.plan, self.out, self.checkpoint, self.done = plan, out, out / f"{plan.part}.pt", 0
        freeze_all_but(net, TRAINED[plan.part])
        self.trained = {name: each for name, each in net.named_parameters() if each.requires_grad}
        optimizer = torch.optim.AdamW(self.trained.values(), plan.lr, weight_decay=plan.weight_decay)
        self.trainee, self.optimizer = accelerator.prepare(Trainee(net), optimizer)
        for module in frozen.around():
            module.to(accelerator.device)

    @property
    def _fixed(self) -> dict[str, Any]:
        """What must not change when a run goes on."""
        settings = {name: value for name, value in asdict(self.plan).items() if name != "steps"}
        return {
            **settings,
            "processes": self.accelerator.num_processes,
            "windows": len(self.dataset),
            "size": self.dataset.size,
        }

    def resume(self) -> None:
        """Goes on from the checkpoint.

        Raises:
            ValueError: it is of a run with other settings.
        """
        state = load_trained(self.net, self.checkpoint)
        for name, value in self._fixed.items():
            if state["settings"][name] != value:
                raise ValueError(
                    f"{self.checkpoint} was made with {name} {state['settings'][name]}, and now it is {value}. Use the "
                    "same, or another --out."
                )
        self.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.done = state["step"]
        logger.info("%s: going on from step %d", self.plan.part, self.done)

    def save(self) -> None:
        """Writes the checkpoint and the file of weights; an interruption leaves those before."""
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            state = {
                "settings": self._fixed,
                "weights": {name: each for name, each in self.net.state_dict().items() if not name.startswith("unet.")},
                "optimizer": self.optimizer.state_dict(),
                "scaler": {} if scaler is None else scaler.state_dict(),
                "step": self.done,
            }
            part = self.checkpoint.with_suffix(".part")
            torch.save(state, part)
            part.replace(self.checkpoint)
            write_half(added_weights(self.net), self.out / ADDED)
        self.accelerator.wait_for_everyone()  # or the others would end while it is written

    def run(self, save_every: int = 1000, log_every: int = 50, workers: int = 0) -> list[float]:
        """Trains to the last step; returns the loss of each step, the mean of all processes."""
        accelerator, plan = self.accelerator, self.plan
        processes, process = accelerator.num_processes, accelerator.process_index
        batches = batches_from(self.dataset, plan, self.done * plan.accumulate, processes, process, workers)
        losses: list[float] = []
        while self.done < plan.steps:
            total = torch.zeros((), device=accelerator.device)
            for number, batch in islice(batches, plan.accumulate):
                generator = step_generator(plan.seed, number * processes + process)
                inputs = inputs_of(self.frozen, batch, plan.part == "apm", generator)
                with accelerator.accumulate(self.trainee):
                    loss = self.trainee(**inputs)
                    accelerator.backward(loss)
                    if accelerator.sync_gradients:
                        accelerator.clip_grad_norm_(self.trained.values(), plan.clip)
                    self.optimizer.step()
                    self.optimizer.zero_grad()
                total += loss.detach() / plan.accumulate
            self.done += 1
            losses.append(float(accelerator.reduce(total, "mean")))
            last = self.done == plan.steps
            if last or self.done % log_every == 0:
                recent = losses[-log_every:]
                logger.info("%s step %d: loss %.4f", plan.part, self.done, sum(recent) / len(recent))
            if last or self.done % save_every == 0:
                self.save()
        return losses


def _accelerator(accumulate: int, mixed_precision: str | None) -> Any:
    try:
        from accelerate import Accelerator
    except ImportError:
        raise ValueError("accelerate is not installed. Install it with `pip install accelerate`.") from None
    return Accelerator(gradient_accumulation_steps=accumulate, mixed_precision=mixed_precision)


def _prepare(args: argparse.Namespace) -> Finetuning:
    """Everything before the first step, with all that can be wrong."""
    steps = STEPS[args.part] if args.steps is None else args.steps
    plan = Plan(args.part, steps, args.batch, args.accumulate, args.lr, seed=args.seed)
    for name, least in (("save_every", 1), ("log_every", 1), ("workers", 0)):
        if getattr(args, name) < least:
            raise ValueError(f"{name} is {getattr(args, name)}; it must be {least} or more.")
    checkpoint = args.out / f"{args.part}.pt"
    resumed = checkpoint.exists()
    if resumed and not args.resume:
        raise ValueError(f"{checkpoint} is there already. Go on from it with --resume, or choose another --out.")
    accelerator = _accelerator(plan.accumulate, args.mixed_precision)
    logging.basicConfig(
        level=logging.INFO if accelerator.is_main_process else logging.ERROR, format="%(asctime)s %(message)s"
    )
    dataset = VideoFolder(args.videos, args.size, args.seed, args.fps, args.hop)
    seeing = (args.image_encoder or args.base / "image_encoder") if args.part == "apm" else None
    frozen = load_frozen(args.base, seeing)
    torch.manual_seed(args.seed)  # the first layers of what is new are random
    net = new_net(frozen, args.weights)
    frozen.unet = net.unet  # which is a copy; one is enough
    if args.part == "apm" and args.weights is None and not resumed:
        first = args.out / "cam.pt"
        if not first.exists():
            raise ValueError(f"{first} is missing. Train --part cam first, or give a file of weights as --weights.")
        load_trained(net, first)
    if args.recompute:
        net.recompute_blocks()
    args.out.mkdir(parents=True, exist_ok=True)
    training = Finetuning(accelerator, frozen, net, dataset, plan, args.out)
    if resumed:
        training.resume()
    return training


def main(argv: list[str] | None = None) -> None:
    """Trains one part."""
    parser = argparse.ArgumentParser(
        prog="training.streamingt2v.finetune", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--videos", type=Path, required=True, help="folder of videos, a .txt with the prompt beside each"
    )
    parser.add_argument("--base", type=Path, required=True, help="diffusers folder of text-to-video-ms-1.7b")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoints and the weights")
    parser.add_argument("--part", choices=tuple(TRAINED), required=True, help="cam first, then apm")
    parser.add_argument("--image-encoder", type=Path, help="folder of CLIP ViT-H/14; default: image_encoder in --base")
    parser.add_argument(
        "--weights", type=Path, help="StreamingT2V's weights to start from; default: none, or OUT/cam.pt"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint of this part, if there is one")
    parser.add_argument("--steps", type=int, help="of the optimiser; default: the paper's, 400000 and 1000")
    parser.add_argument("--batch", type=int, default=1, help="clips in a forward pass of one process")
    parser.add_argument("--accumulate", type=int, default=8, help="forward passes of a step")
    parser.add_argument("--lr", type=float, default=5e-5)
    parser.add_argument("--size", type=int, default=256, help="height and width in pixels")
    parser.add_argument("--fps", type=float, default=FPS, help="frames a second that videos are read at")
    parser.add_argument("--hop", type=int, default=BEFORE, help="frames from one window of a video to the next")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mixed-precision", choices=("no", "fp16", "bf16"), help="default: accelerate's configuration")
    parser.add_argument("--recompute", action="store_true", help="less memory: blocks are computed twice")
    parser.add_argument("--workers", type=int, default=2, help="processes that read videos, for each that trains")
    parser.add_argument("--save-every", type=int, default=1000, help="steps")
    parser.add_argument("--log-every", type=int, default=50, help="steps")
    args = parser.parse_args(argv)
    try:
        training = _prepare(args)
    except ValueError as error:
        parser.error(str(error))
    training.run(args.save_every, args.log_every, args.workers)
    training.accelerator.end_training()


if __name__ == "__main__":
    main()
