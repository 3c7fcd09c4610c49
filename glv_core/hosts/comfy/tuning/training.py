"""The loss of a window in ComfyUI, and what of a network is trained by it, with the host's own training parts.

From the host: the copy of the MODEL that is trained on, its guider that loads and prepares for training, weight
adapters and their injection, gradient checkpointing. The loop is ``glv_core.tuning``'s.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import comfy.model_management
import comfy.model_sampling
import comfy.samplers
import torch
from comfy.ldm.modules.attention import attention_pytorch
from comfy.quant_ops import QuantizedTensor
from comfy.weight_adapter import BypassInjectionManager, adapter_maps
from comfy_extras.nodes_train import BiasDiff, TrainGuider

from ....tuning import ClipIdentifiers, Draw, Place, TuningOptions
from ....tuning.again import again, copied
from ....windows import View, Window
from ..co_denoise.batching import collate
from ..co_denoise.conditioning import Entry
from ..co_denoise.controls import check_control, control_for
from ..co_denoise.driven import check_driven, drives, options_for
from ..co_denoise.model_patches import check_model_options
from ..co_denoise.options import WindowOptions
from ..co_denoise.prompt_tags import TAG, schedules_in
from ..co_denoise.run import Run
from ..co_denoise.shared_conditions import Mover
from ..editing.hooks_of_a_call import kept_for_gradients
from ..families import asks_for_windows, map_streams, streams_of, with_frames, with_windows
from .gradients import WithoutGradient, own_tensors
from .identified import told, untold, with_own_identifiers
from .inflated import with_own_layers
from .layers import Layer

#: The least noise that is drawn, as a share of the range: below it a prediction says nothing of what is seen.
LEAST_SHARE = 1e-3
_HANDLER = "context_handler"
_ATTENTION = "optimized_attention_override"
#: In what PyTorch says where there is no way back.
_NO_GRADIENT = ("Inference tensors cannot be saved", "no autograd formula", "does not require grad")
_OFF, _ON = 0.0, 1.0


def training_copy(model: Any) -> Any:
    """A copy of a MODEL with weights of its own that gradients may flow through, without windows.

    ComfyUI loads weights in inference mode, where nothing can be trained. Newer hosts load them anew; else they are
    copied. It attends in PyTorch's way, whatever the host was started with or is patched into the MODEL.
    """
    again = "force_deepcopy" in inspect.signature(model.clone).parameters
    if again and getattr(model, "cached_patcher_init", None) is not None:
        made = model.clone(force_deepcopy=True)
    else:
        comfy.model_management.unload_all_models()  # what is patched in place is as it was then
        made = model.clone()
        made.model = copy.copy(model.model)
        known = _quantised_copies(model.model)
        made.model._modules = {name: copy.deepcopy(module, known) for name, module in model.model._modules.items()}
    made.model_options.pop(_HANDLER, None)
    made = with_own_layers(with_own_identifiers(made))
    # Of the host's ways to attend not all have a gradient, nor those that a patch puts in their place.
    made.model_options.setdefault("transformer_options", {})[_ATTENTION] = _attend
    _compute_in_full(made)
    return made


def _attend(_: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
    """Attention that has a gradient, for the host's hook."""
    return attention_pytorch(*args, **kwargs)


def _compute_in_full(model: Any) -> None:
    """Have layers with quantised weights compute with what those stand for.

    On a device that can, they quantise what they are given too, and in older hosts no gradient flows through that.
    """
    for module in model.model.modules():
        if isinstance(getattr(module, "weight", None), QuantizedTensor):
            module.comfy_force_cast_weights = model.force_cast_weights = True  # loading sets each by that of the MODEL


def _quantised_copies(network: torch.nn.Module) -> dict[int, Any]:
    """Copies of a network's quantised weights, which ``copy.deepcopy`` cannot make, as it takes them by ``id``."""
    return {
        id(weight): torch.nn.Parameter(weight.detach().clone(), requires_grad=False)
        for weight in network.parameters()
        if isinstance(weight, QuantizedTensor)
    }


@dataclass
class Trained:
    """What is trained of a network.

    Args:
        low_rank: layers with a host's weight adapter each.
        whole: names of layers whose weights are trained themselves.
        identifiers: clip identifiers, or None.
        extra: other modules by name, whose parameters are trained that want a gradient.
        queries: names of those of ``low_rank`` that make queries.
    """

    low_rank: Mapping[str, Any]
    whole: Mapping[str, Any] = field(default_factory=dict)
    identifiers: ClipIdentifiers | None = None
    extra: Mapping[str, torch.nn.Module] = field(default_factory=dict)
    queries: frozenset[str] = frozenset()
    _called: set[str] = field(default_factory=set)

    @classmethod
    def of(
        cls,
        layers: Sequence[Layer],
        options: TuningOptions,
        whole: Mapping[str, torch.Size] | None = None,
        identifiers: ClipIdentifiers | None = None,
        extra: Mapping[str, torch.nn.Module] | None = None,
    ) -> Trained:
        """New weights, drawn from the seed, that change nothing yet."""
        adapters: dict[str, Any] = {}
        generator = torch.Generator().manual_seed(options.seed)
        for layer in layers:
            like = torch.empty(1).expand(layer.sizes[1], layer.sizes[0])  # of which only the shape is asked
            with torch.random.fork_rng(devices=[]):
                adapter = adapter_maps["LoRA"].create_train(like, rank=options.rank, alpha=float(options.rank))
            adapters[layer.name] = adapter.float().train().requires_grad_(True)
            adapter.alpha.requires_grad_(False)
            # Gen-L-Video's first weights; the host's are many times as large for the same learning rate.
            down = torch.randn(adapter.lora_down.weight.shape, generator=generator) / options.rank
            adapter.lora_down.weight.data.copy_(down)
            adapter.lora_up.weight.data.zero_()
        differences = {name: BiasDiff(torch.nn.Parameter(torch.zeros(shape))) for name, shape in (whole or {}).items()}
        queries = frozenset(layer.name for layer in layers if layer.part in ("q", "qkv"))
        return cls(adapters, differences, identifiers, extra or {}, queries)

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """All that is trained, by name."""
        modules: dict[str, torch.nn.Module] = {
            **{f"low_rank/{name}": each for name, each in self.low_rank.items()},
            **{f"whole/{name}": each for name, each in self.whole.items()},
            **{f"extra/{name}": each for name, each in self.extra.items()},
        }
        if self.identifiers is not None:
            modules["identifiers"] = self.identifiers
        return {
            f"{place}/{name}": parameter
            for place, module in modules.items()
            for name, parameter in module.named_parameters()
            if parameter.requires_grad
        }

    def check_gradients(self) -> None:
        """Check after the first way back that it led to what is trained.

        Layers that were not called, and those behind attention whose output nothing sees, may have no gradient.

        Raises:
            ValueError: to some queries it did not, or to nothing, so that they would stay as they are.
        """
        ups = {name: each.lora_up.weight for name, each in self.low_rank.items() if name in self._called}
        others = {name: each.bias for name, each in self.whole.items()}
        for each in self.extra.values():
            others |= {name: weight for name, weight in each.named_parameters() if weight.requires_grad}
        wanted = {name: weight for name, weight in ups.items() if name in self.queries} | others
        lost = [name for name, weight in wanted.items() if weight.grad is None]
        if ups and all(weight.grad is None for weight in ups.values()):
            lost = list(ups)
        if lost:
            named = ", ".join(lost[:3]) + ("" if len(lost) <= 3 else f" and {len(lost) - 3} more")
            raise ValueError(
                f"No gradient reaches {named}, so they would learn nothing. What is around them has none: start "
                "ComfyUI without --use-sage-attention, --use-flash-attention and the like, and connect a MODEL without "
                "patches of its attention."
            )

    def lora(self) -> dict[str, torch.Tensor]:
        """The weights by the names that the host's LoRA loader reads."""
        made: dict[str, torch.Tensor] = {}
        for layer, adapter in self.low_rank.items():
            made |= {f"{layer}.{name}": weight.detach().cpu() for name, weight in adapter.named_parameters()}
        return made | {f"{layer}.diff": each.bias.detach().cpu() for layer, each in self.whole.items()}

    def wrap(self, model: Any) -> None:
        """Give a MODEL the differences of whole weights, before it is loaded."""
        for name, difference in self.whole.items():
            model.add_weight_wrapper(f"{name}.weight", difference)

    @contextmanager
    def injected(self, model: Any) -> Iterator[BypassInjectionManager]:
        """While open, a loaded MODEL's layers have their adapters."""
        manager = BypassInjectionManager()
        for name, adapter in self.low_rank.items():
            manager.add_adapter(name, adapter)
        injections = manager.create_injections(model.model)
        for injection in injections:
            injection.inject(model)
        handles = [
            model.model.get_submodule(name).register_forward_hook(lambda *_, name=name: self._called.add(name))
            for name in self.low_rank
        ]
        try:
            yield manager
        finally:
            for handle in handles:
                handle.remove()
            for injection in injections:
                injection.eject(model)


@contextmanager
def checkpointed(model: Any, blocks: Sequence[str]) -> Iterator[None]:
    """While open, blocks of a MODEL's network forget what they computed, and compute it again on the way back.

    The host's own way keeps what a block saves without a copy, and several of its video networks work in place, see
    ``again``.
    """
    modules = [model.model.get_submodule(name) for name in blocks]
    for module in modules:
        module.forward = functools.partial(again, module.forward)
    try:
        yield
    finally:
        for module in modules:
            del module.forward


class TrainingSampler(comfy.samplers.Sampler):
    """A sampler that trains: the host's guider hands it the loaded network and the conditions of the whole video.

    Args:
        trained: what is trained.
        options: see ``TuningOptions``.
        windows: the window, for cutting conditions.
        shapes: of the latent's streams.
        dtype: to compute in; float32 without autocast.
        run: called with the loss of a draw and with what predicts for a preview; it makes the steps.
    """

    def __init__(
        self,
        trained: Trained,
        options: TuningOptions,
        windows: WindowOptions,
        shapes: Sequence[Sequence[int]],
        dtype: torch.dtype,
        run: Callable[[Callable[[Draw], torch.Tensor], Callable[[], torch.Tensor]], None],
    ) -> None:
        self._trained, self._options, self._windows, self._shapes = trained, options, windows, shapes
        self._dtype, self._run_steps = dtype, run
        self.given: Sequence[torch.Tensor] = ()  #: the streams of the user's latent

    def sample(
        self,
        model_wrap: Any,
        sigmas: torch.Tensor,
        extra_args: dict[str, Any],
        callback: Any,
        noise: torch.Tensor,
        latent_image: torch.Tensor | None = None,
        denoise_mask: torch.Tensor | None = None,
        disable_pbar: bool = False,
    ) -> torch.Tensor:
        """Train; gives back the latent, which nothing is done to, in the computer's memory."""
        assert latent_image is not None
        mask = None if denoise_mask is None else denoise_mask.clone()
        device = latent_image.device
        windows = _Windows(
            model_wrap.inner_model, latent_image, model_wrap.conds, self._trained, self._options, self._windows,
            self._shapes, self._dtype, extra_args["model_options"], mask,
        )  # fmt: skip
        model_wrap.conds = windows.entries
        model_wrap.let_go(latent_image, [windows.latent, *self.given])
        with ExitStack() as stack:
            stack.enter_context(kept_for_gradients())
            if self._trained.identifiers is not None:
                network = model_wrap.inner_model.diffusion_model
                self._trained.identifiers.to(device)
                stack.enter_context(told(network, self._trained.identifiers, lambda: [windows.clip]))
            self._run_steps(windows.loss, windows.preview)
        return windows.latent


class _Guider(TrainGuider):
    """The host's guider, which can let go of what has the length of the video.

    Its callers hold on to these tensors as long as the sampler runs, so that they are emptied.
    """

    def inner_sample(self, noise: torch.Tensor, latent_image: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        self.held = [noise, latent_image]
        return super().inner_sample(noise, latent_image, *args, **kwargs)

    def let_go(self, latent: torch.Tensor, kept: Sequence[torch.Tensor]) -> None:
        """Empty the noise, which is none, and the latent, as it was given and as the model takes it.

        Args:
            latent: the latter.
            kept: tensors that are not to change.
        """
        own = {each.untyped_storage().data_ptr() for each in kept}
        for tensor in (*self.held, latent):
            if tensor.untyped_storage().data_ptr() not in own:
                tensor.data = tensor.new_empty(0)
        self.held = []


def train(
    model: Any, conds: Mapping[str, list], samples: Any, noise_mask: Any, sampler: TrainingSampler, seed: int
) -> None:
    """Run a sampler that trains, through the host's guider for it.

    Args:
        model: of ``training_copy``.
        conds: CONDITIONINGs: ``positive``, ``empty`` and perhaps ``keep``.
        samples: the latent of the whole video, nested or not.
        noise_mask: of the LATENT, which tells some models what in it guides; None where it has none.
        sampler: does it.
        seed: for conditions that draw.

    Raises:
        ValueError: gradients cannot flow through what is on the MODEL.
    """
    guider = _Guider(model)
    guider.inner_set_conds(dict(conds))
    levels = torch.tensor([1.0, 0.0])
    noise = map_streams(samples, lambda streams: [each.new_zeros(()).expand(each.shape) for each in streams])
    sampler.given = streams_of(samples)
    try:
        guider.sample(noise, samples, sampler, levels, denoise_mask=noise_mask, seed=seed)
    except RuntimeError as error:
        if not any(words in str(error) for words in _NO_GRADIENT):
            raise
        raise ValueError(
            f"{type(model.model).__name__} cannot be trained as it is: no gradient flows through a part of it, or "
            f"through a patch on the MODEL ({str(error).splitlines()[0]}). Connect the MODEL as it was loaded."
        ) from error


class _Windows:
    """Windows of the video: what the network sees of them, and how wrong it is.

    ``latent`` and ``entries``: of the whole video, in the computer's memory.
    """

    def __init__(
        self,
        model: Any,
        latent: torch.Tensor,
        entries: Mapping[str, list[Entry]],
        trained: Trained,
        options: TuningOptions,
        windows: WindowOptions,
        shapes: Sequence[Sequence[int]],
        dtype: torch.dtype,
        model_options: dict[str, Any],
        mask: torch.Tensor | None = None,
    ) -> None:
        self.model, self.device, self.entries = model, latent.device, entries
        self.mask = mask  #: of the latent's shape, 1 what is made and 0 what is kept; None makes all of it
        self.trained, self.options, self.dtype = trained, options, dtype
        every = [entry for found in entries.values() for entry in found]
        self.run = Run(model, latent.shape, windows, options.seed, None, None, shapes, every)
        self._check(every, model_options)
        # The whole video waits in the computer's memory, and its windows go to the device.
        self.latent, move = latent.cpu().clone(), Mover()
        view = self.run.view(Window(0, options.window))
        self.entries = {
            name: [_own(self.run.conditions.offloaded(entry, view, move)) for entry in found]
            for name, found in entries.items()
        }
        self.clip: float | None = None
        self.rows = options.window if self.run.time_dim == 0 else latent.shape[0]
        self.model_options = with_frames(model_options, self.rows) if self.run.time_dim == 0 else model_options

    def _check(self, entries: Sequence[Entry], model_options: Mapping[str, Any]) -> None:
        """Check before the first forward pass that windows can be cut from all that runs along the video.

        Raises:
            ValueError: something cannot.
        """
        check_model_options(model_options)
        check_driven(model_options.get("transformer_options", {}), self.run.length)
        for schedule in schedules_in([self.entries["positive"], self.entries["empty"]]):
            self.run.track(schedule)  # raises where it is for another length
        for entry in entries:
            for key in ("area", "mask"):
                if key in entry:
                    raise ValueError(
                        f"A prompt has a{'n' * (key == 'area')} {key}, and is trained as a whole. Remove it."
                    )
            if "gligen" in entry:
                raise ValueError("A prompt has boxes of GLIGEN, which no gradient flows through. Remove them.")
            check_control(entry.get("control"), self.run.length, self.run.time_dim)
            self.run.conditions.check(entry, self.run.view(Window(0, self.options.window)))

    def loss(self, draw: Draw) -> torch.Tensor:
        """How wrong the network is about a window: the mean square of what it predicts, noise or velocity."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        view = self.run.view(Window(draw.start, self.options.window))
        mask = self._mask(view)
        latent, x, sigma = self._noisy(view, draw, mask)
        kept = self._entry("keep", view, draw) if self.entries.get("keep") else None
        if kept is not None:
            with torch.no_grad(), self._untuned():
                before = self._predict(x, sigma, kept, view, None, draw.text)
        place = Place(draw.start, self.options.window, self.run.length)
        identifiers = self.trained.identifiers
        # Until the gradients are there, for blocks that compute again: the same for both predictions. So is whether
        # identifiers that were on the MODEL before are told: without text they are not, as in sampling.
        start = identifiers.places.start_of(place) if identifiers is not None and draw.clip else None
        entry = self._entry("positive" if draw.text else "empty", view, draw)
        total = self._error(self._predict(x, sigma, entry, view, start, draw.text), latent, view, sigma, mask)
        if kept is not None:
            now = self._predict(x, sigma, kept, view, start, draw.text)
            total = total + self.options.keep * self._error(now, before, view, sigma, mask)
        return total

    def preview(self) -> torch.Tensor:
        """What the network takes the first window for at much noise: its video, as the host's previewers take it."""
        view = self.run.view(Window(0, self.options.window))
        draw = Draw(0, 0.75, True, True, self.options.seed, 0.0)
        mask = self._mask(view)
        latent, x, sigma = self._noisy(view, draw, mask)
        start = 0.0 if self.trained.identifiers is not None else None
        with torch.no_grad():
            made = self._predict(x, sigma, self._entry("positive", view, draw), view, start, draw.text)
        if mask is not None:
            made = made * mask + latent * (1 - mask)
        return self.run.latent.of_window(made.float(), view)[0]

    def _mask(self, view: View) -> torch.Tensor | None:
        """How much of a window is made, 0 where it is kept; None where all of it is."""
        return None if self.mask is None else self.run.latent.part(self.mask, view)

    def _noisy(self, view: View, draw: Draw, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor, float]:
        """The latent of a window, with noise where it is made, and how much. What is kept is as in sampling: as clean
        as the model takes it.
        """
        latent = self.run.latent.part(self.latent, view).to(self.device)
        generator = torch.Generator().manual_seed(draw.seed)
        noise = torch.randn(latent.shape, generator=generator).to(latent)
        sampling = self.model.model_sampling
        sigma = float(sampling.percent_to_sigma(1 - max(draw.share, LEAST_SHARE)))
        level = latent.new_full((latent.shape[0],), sigma)
        x = sampling.noise_scaling(level.view(-1, *[1] * (latent.ndim - 1)), noise, latent, False)
        if mask is not None:
            with self._shapes_of(view):
                kept = self.model.scale_latent_inpaint(
                    x=x, sigma=level, noise=noise, latent_image=latent, denoise_mask=mask
                )
            x = x * mask + kept * (1 - mask)
        return latent, x, sigma

    @contextmanager
    def _shapes_of(self, view: View) -> Iterator[None]:
        """While open, the model knows the shapes of a window's streams for the latent's; older ones know none."""
        known = getattr(self.model, "latent_shapes", None)
        if known is None:
            yield
            return
        self.model.latent_shapes = self.run.latent.shapes_of(view)
        try:
            yield
        finally:
            self.model.latent_shapes = known

    def _entry(self, name: str, view: View, draw: Draw) -> Entry:
        """The entry of a prompt for a window; of several, one is drawn: those of a schedule by what the window sees."""
        found = self.entries[name]
        shares = [
            1.0 if TAG not in entry else self._share(entry, view) for entry in found
        ] if name != "keep" else [1.0] * len(found)  # fmt: skip
        left = draw.choice * sum(shares)
        chosen = found[-1]
        for entry, share in zip(found, shares, strict=True):
            if share > 0 and left < share:
                chosen = entry
                break
            left -= share
        sliced = self.run.conditions.slice(chosen, view, None)
        assert sliced is not None
        return sliced

    def _share(self, entry: Entry, view: View) -> float:
        tag = entry[TAG]
        return float(self.run.track(tag.schedule).in_window(view.window)[tag.prompt].sum())

    def _predict(
        self, x: torch.Tensor, sigma: float, entry: Entry, view: View, start: float | None, told_before: bool
    ) -> torch.Tensor:
        """The clean latent as the network predicts it, told a clip of its own and of what was on the MODEL before."""
        self.clip = start
        rows = x.shape[0]
        one = collate([entry], rows, x.shape[2:], x.device, self.run.family.whole)
        if one.get("control") is not None:
            one["control"] = WithoutGradient(control_for(one["control"], view.indices, self.run.length))
        level = x.new_full((rows,), sigma)
        options = self.model_options
        if asks_for_windows(options):
            options = with_windows(options, [self.run.place_of(view)]) if told_before else untold(options)
        if drives(options.get("transformer_options", {})):
            options = options_for(options, view, self.run.latent.shapes[0][2:], self.run.kept)
        with copied(), torch.autocast(x.device.type, self.dtype, enabled=self.dtype != torch.float32):
            [made] = comfy.samplers.calc_cond_batch(self.model, [[one]], x, level, options)
        return made

    def _error(
        self, predicted: torch.Tensor, wanted: torch.Tensor, view: View, sigma: float, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """The mean square of an error, of the streams that there are and of what is made of them."""
        streams = [self.run.latent.of_window(each.float(), view) for each in (predicted, wanted)]
        shares = [None] * len(streams[0]) if mask is None else self.run.latent.of_window(mask, view)
        errors = []
        for one, other, share in zip(*streams, shares, strict=True):
            square = (one - other).square()
            if not bool(other.any()) or (share is not None and not bool(share.any())):
                continue
            errors.append(square.mean() if share is None else (square * share).sum() / share.sum())
        if not errors:  # all of the window is kept: no error, and no way back that changes anything
            return (predicted * 0).sum()
        return torch.stack(errors).mean() * _weight(self.model.model_sampling, sigma)

    @contextmanager
    def _untuned(self) -> Iterator[None]:
        """While open, the network is as it was before."""
        for adapter in self.trained.low_rank.values():
            adapter.multiplier = _OFF
        try:
            yield
        finally:
            for adapter in self.trained.low_rank.values():
                adapter.multiplier = _ON


def _weight(sampling: Any, sigma: float) -> float:
    """What makes an error of the clean latent one of what the model predicts, squared."""
    if isinstance(sampling, comfy.model_sampling.V_PREDICTION) and not isinstance(sampling, comfy.model_sampling.CONST):
        return (sigma**2 + 1) / sigma**2
    return 1 / sigma**2


def _own(entry: Entry) -> Entry:
    """An entry whose tensors may be part of what gradients flow through."""
    conds = {
        key: cond._copy_with(own_tensors(cond.cond)) if hasattr(cond, "cond") else cond
        for key, cond in entry["model_conds"].items()
    }
    masks = {"mask": own_tensors(entry["mask"])} if "mask" in entry else {}
    return {**entry, **masks, "model_conds": conds}
