"""PyTorch on the same network: its speed in examples a second."""

import itertools
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.peers.speed import FROM_ALL, Stopwatch, arguments, examples
from stages.core.params import load


class WideAndDeep(nn.Module):  # type: ignore[misc]
    """The network of birth weight; one-hot codes into a dense layer are table look-ups here, which is faster.

    Args:
        config: what this project's network is built from.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        columns = config["features"]
        self.categories = [columns.index(name) for name in sorted(config["spellings"])]
        sizes = [1 + max(words.values()) for _, words in sorted(config["spellings"].items())]
        self.numbers = [columns.index(name) for name in sorted(config["numbers"])]
        limits = [config["numbers"][columns[i]] for i in self.numbers]
        for name in ("low", "high", "mean", "deviation"):
            self.register_buffer(name, torch.tensor([float(of[name]) for of in limits]))
        self.age, self.weeks = columns.index("mother_age"), columns.index("gestation_weeks")
        ages, weeks = config["buckets"]["mother_age"], config["buckets"]["gestation_weeks"]
        self.register_buffer("ages", torch.tensor(ages, dtype=torch.float32))
        self.register_buffer("bounds", torch.tensor(weeks, dtype=torch.float32))
        self.across = len(weeks) + 1
        sizes += [len(ages) + 1, self.across]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        self.register_buffer("starts", torch.tensor(starts[:-1]))
        self.wide = nn.Embedding(int(starts[-1]), 1)
        self.crossed = nn.Embedding((len(ages) + 1) * self.across, 1)
        self.embedding = nn.Embedding(int(starts[-1]), config["embedding_dim"])
        widths = [len(self.numbers) + len(sizes) * config["embedding_dim"], *config["hidden_units"]]
        layers = [layer for pair in itertools.pairwise(widths) for layer in (nn.Linear(*pair), nn.ELU())]
        self.deep = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Pounds [n] of births float32 [n, 8]."""
        numbers = torch.clamp(rows[:, self.numbers], self.low, self.high)
        age = torch.bucketize(rows[:, self.age].contiguous(), self.ages, right=True)
        weeks = torch.bucketize(rows[:, self.weeks].contiguous(), self.bounds, right=True)
        codes = torch.cat([rows[:, self.categories].long(), age[:, None], weeks[:, None]], 1) + self.starts
        wide = self.wide(codes).sum(1) + self.crossed(age * self.across + weeks)
        hidden = torch.cat([(numbers - self.mean) / self.deviation, self.embedding(codes).flatten(1)], 1)
        return (wide + self.deep(hidden))[:, 0]


class Digits(nn.Module):  # type: ignore[misc]
    """The digits' network and their distortions.

    Args:
        augment: the largest distortions.
    """

    def __init__(self, augment: dict[str, float]) -> None:
        super().__init__()

        def normalized(before: int, filters: int, *between: nn.Module, **options: int) -> list[nn.Module]:
            convolution = nn.Conv2d(before, filters, bias=False, **options)
            return [convolution, *between, nn.BatchNorm2d(filters), nn.ReLU()]

        self.layers = nn.Sequential(
            *normalized(1, 24, kernel_size=5, stride=2),
            *normalized(24, 48, nn.MaxPool2d(2), kernel_size=3),
            *normalized(48, 64, kernel_size=3, padding=1),
            nn.Flatten(),
            nn.Linear(64 * 25, 10),
        )
        turn, shear, scale, shift = (augment[name] for name in ("rotation", "shear", "scale", "shift"))
        self.register_buffer("most", torch.tensor([math.radians(turn), shear, scale, scale, shift / 14, shift / 14]))

    def distorted(self, images: torch.Tensor) -> torch.Tensor:
        """Images float32 [n, 1, 28, 28], each distorted at random."""
        angle, shear, wider, higher, right, down = (self.most * (2 * torch.rand(len(images), 6) - 1)).unbind(1)
        cos, sin = torch.cos(angle), torch.sin(angle)
        first = torch.stack([cos / (1 + wider), (shear * cos - sin) / (1 + wider), right], 1)
        second = torch.stack([sin / (1 + higher), (shear * sin + cos) / (1 + higher), down], 1)
        grid = nn.functional.affine_grid(torch.stack([first, second], 1), list(images.shape), align_corners=False)
        sampled: torch.Tensor = nn.functional.grid_sample(images, grid, align_corners=False)
        return sampled

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [n, 10] of images float32 [n, 1, 28, 28], which are distorted in training."""
        logits: torch.Tensor = self.layers(self.distorted(images) if self.training else images)
        return logits


def one_cycle(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """This project's schedule: a linear warm-up in the first quarter of the steps, then a cosine decay to zero."""
    warm_up = steps // 4
    phases = [
        torch.optim.lr_scheduler.LinearLR(optimizer, 1 / 25, total_iters=warm_up),
        torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - warm_up),
    ]
    return torch.optim.lr_scheduler.SequentialLR(optimizer, phases, [warm_up])


def shuffled(examples: int, batch: int) -> Iterator[torch.Tensor]:
    """Places [batch] of each step's examples, in another order in each epoch."""
    while True:
        yield from torch.randperm(examples).split(batch)[: examples // batch]


def main() -> None:
    """Train for some steps, print the speed; with a seed, the accuracy, too."""
    args = arguments(("eager", "channels last", "compiled"))
    torch.set_num_threads(args.threads)
    if args.seed is not None:
        torch.manual_seed(args.seed)
    params = load(Path("params.yaml"))[args.workload]["train"] | FROM_ALL[args.workload]
    inputs, targets = map(torch.from_numpy, examples(args.workload))
    batch, rate = args.batch_size or params["batch_size"], params["learning_rate"]
    layout = torch.preserve_format if args.way == "eager" else torch.channels_last
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    model: nn.Module
    if args.workload == "mnist":
        model, loss = Digits(params["augment"]).to(memory_format=layout), nn.functional.cross_entropy
        targets = targets.long()
    else:
        config = json.loads(Path("weights/babyweight/config.json").read_text())
        model, loss = WideAndDeep(config), nn.functional.mse_loss
    adam = torch.optim.Adam(model.parameters(), rate, fused=True)
    schedule = one_cycle(adam, args.steps) if args.seed is not None else None
    apply: Any = torch.compile(model) if args.way == "compiled" else model

    def images(pixels: torch.Tensor) -> torch.Tensor:
        return (pixels.float() / 255).view(-1, 1, 28, 28).contiguous(memory_format=layout)

    def step(places: torch.Tensor) -> None:
        rows = images(inputs[places]) if args.workload == "mnist" else inputs[places].float()
        adam.zero_grad()
        loss(apply(rows), targets[places]).backward()
        adam.step()
        if schedule:
            schedule.step()

    batches = shuffled(len(targets), batch)
    for phase in (args.warm_up, args.steps):
        watch = Stopwatch()
        for places in itertools.islice(batches, phase):
            step(places)
    result = watch.read(args.steps * batch)
    if args.seed is not None:
        pixels, digits = map(torch.from_numpy, examples(args.workload, "test"))
        model.eval()
        with torch.no_grad():
            result["accuracy"] = float((model(images(pixels)).argmax(1) == digits).float().mean())
    print(json.dumps(result))


if __name__ == "__main__":
    main()
