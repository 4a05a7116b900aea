"""Train the bundled classifiers: `python -m model_zoo.train digits|imagenette [--data DIR]`.

The recipe of each model stands in `RECIPES`, and nowhere else. Without `--data` torchvision downloads the
data set; with it, a local copy is read: for digits a folder with torchvision's MNIST or a file `mnist.npz`
(arrays x_train, y_train, x_test, y_test), for imagenette a folder with `train/` and `val/`, each holding one
folder per WordNet id. A run that was interrupted goes on from its last finished epoch.
"""

import argparse
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import datasets
from torchvision.transforms import v2
from tqdm import tqdm

from model_zoo.bundled import BUNDLED, DIGITS, IMAGENETTE, Bundled, imagenette_network

EVALUATE_EVERY = 4  # epochs; an evaluation costs about a fifth of an epoch


@dataclass(frozen=True)
class Phase:
    """Some epochs at one resolution; small pictures first, because they cost less."""

    epochs: int
    size: int
    output_stride: int | None = None


@dataclass(frozen=True)
class Recipe:
    """Stochastic gradient descent with Nesterov momentum, the learning rate on one cosine cycle."""

    model: Bundled
    phases: tuple[Phase, ...]
    batch: int
    learning_rate: float
    weight_decay: float
    label_smoothing: float
    augmentation: str
    data: str
    licence: str
    momentum: float = 0.9
    warmup: float = 0.1
    seed: int = 0

    @property
    def epochs(self) -> int:
        return sum(phase.epochs for phase in self.phases)

    def augment(self, size: int) -> v2.Transform:
        """The random transform from a uint8 picture to a normalised float picture of `size` pixels."""
        steps = {
            "crop, flip, colour": [
                v2.RandomResizedCrop(size, scale=(0.35, 1.0), antialias=True),
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(0.2, 0.2, 0.2),
            ],
            "shift, scale, rotate": [v2.RandomAffine(10, translate=(0.08, 0.08), scale=(0.85, 1.15), shear=5)],
        }[self.augmentation]
        return v2.Compose([*steps, *self._normalise()])

    def evaluate(self) -> v2.Transform:
        """The deterministic transform the finished model is used with."""
        resize = [v2.Resize(self.model.size, antialias=True), v2.CenterCrop(self.model.size)]
        return v2.Compose([*resize, *self._normalise()])

    def _normalise(self) -> list[v2.Transform]:
        return [v2.ToDtype(torch.float32, scale=True), v2.Normalize(self.model.mean, self.model.std)]

    def learning_rate_at(self, progress: float) -> float:
        """Learning rate after a fraction `progress` in [0, 1] of all steps: linear warm-up, then half a cosine."""
        if progress < self.warmup:
            return self.learning_rate * progress / self.warmup
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup)))


RECIPES = {
    "digits": Recipe(
        model=DIGITS,
        phases=(Phase(epochs=16, size=28),),
        batch=128,
        learning_rate=0.05,
        weight_decay=5e-4,
        label_smoothing=0.0,
        augmentation="shift, scale, rotate",
        data="MNIST (LeCun, Cortes, Burges): 60,000 training and 10,000 test digits",
        licence="CC BY-SA 3.0",
    ),
    "imagenette": Recipe(
        model=IMAGENETTE,
        phases=(
            Phase(epochs=30, size=96, output_stride=32),
            Phase(epochs=5, size=128, output_stride=32),
            Phase(epochs=5, size=128, output_stride=16),
        ),
        batch=64,
        learning_rate=0.08,
        weight_decay=5e-4,
        label_smoothing=0.1,
        augmentation="crop, flip, colour",
        data="Imagenette 2, 160 px (fast.ai): 9,469 training and 3,925 validation photographs of ten ImageNet classes",
        licence="Apache 2.0 for the collection; the photographs come from ImageNet and are for research and teaching",
    ),
}


class Pictures(Dataset):
    """Decoded uint8 pictures `[C, H, W]` held in memory, with a transform applied at each access."""

    def __init__(self, pictures: list[torch.Tensor], labels: list[int], transform: v2.Transform):
        self.pictures, self.labels, self.transform = pictures, labels, transform

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.pictures[index]), self.labels[index]


def read_digits(folder: Path | None, train: bool) -> tuple[list[torch.Tensor], list[int]]:
    """All MNIST digits of one split, uint8 `[1, 28, 28]`, and their labels."""
    archive = folder / "mnist.npz" if folder else None
    if archive and archive.exists():
        split = "train" if train else "test"
        with np.load(archive, allow_pickle=False) as arrays:
            pictures, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
    else:
        mnist = datasets.MNIST(folder or "data", train=train, download=folder is None)
        pictures, labels = mnist.data.numpy(), mnist.targets.numpy()
    return list(torch.from_numpy(np.ascontiguousarray(pictures)).unsqueeze(1)), labels.astype(int).tolist()


def read_photographs(folder: Path | None, train: bool) -> tuple[list[torch.Tensor], list[int]]:
    """All Imagenette photographs of one split, uint8 `[3, H, W]`, and their labels."""
    split = "train" if train else "val"
    if folder:
        files = datasets.ImageFolder(folder / split).samples
    else:
        files = datasets.Imagenette("data", split=split, size="160px", download=not Path("data/imagenette2-160").exists())._samples
    pictures = []
    for path, _ in tqdm(files, desc=f"reading {split}"):
        with Image.open(path) as image:
            pictures.append(torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous())
    return pictures, [label for _, label in files]


READERS = {"digits": read_digits, "imagenette": read_photographs}


def confusion_matrix(network: nn.Module, loader: DataLoader, classes: int, device: torch.device) -> torch.Tensor:
    """Counts `[true class, predicted class]`."""
    matrix = torch.zeros(classes, classes, dtype=torch.long)
    network.eval()
    with torch.inference_mode():
        for pixels, labels in loader:
            predicted = network(pixels.to(device)).argmax(1).cpu()
            matrix += torch.bincount(labels * classes + predicted, minlength=classes**2).view(classes, classes)
    return matrix


def accuracy(matrix: torch.Tensor) -> float:
    """Share of right answers in percent."""
    return 100 * matrix.diagonal().sum().item() / matrix.sum().item()


def train(recipe: Recipe, data: Path | None, out: Path, device: torch.device) -> None:
    """Train by the recipe; write `<name>.safetensors` and `<name>.md` into `out`."""
    torch.manual_seed(recipe.seed)
    name = recipe.model.name
    checkpoint = out / f"{name}.checkpoint.pt"
    state = torch.load(checkpoint, weights_only=True) if checkpoint.exists() else {"epoch": 0}
    pictures, labels = READERS[name](data, train=True)
    test = DataLoader(Pictures(*READERS[name](data, train=False), recipe.evaluate()), batch_size=128)

    first = 0
    for phase in recipe.phases:
        last = first + phase.epochs
        if state["epoch"] < last:
            network = _network(recipe, phase).to(device, memory_format=torch.channels_last)
            optimizer = _optimizer(network, recipe)
            if "network" in state:
                network.load_state_dict(state["network"])
            if state["epoch"] > first:
                optimizer.load_state_dict(state["optimizer"])
            examples = Pictures(pictures, labels, recipe.augment(phase.size))
            for epoch in range(state["epoch"], last):
                torch.manual_seed(recipe.seed + epoch)
                loader = DataLoader(examples, recipe.batch, shuffle=True, drop_last=True)
                loss = _epoch(network, loader, optimizer, recipe, epoch, device)
                print(f"epoch {epoch + 1}/{recipe.epochs}: loss {loss:.3f}", flush=True)
                if (epoch + 1) % EVALUATE_EVERY == 0:
                    matrix = confusion_matrix(network, test, len(recipe.model.labels), device)
                    print(f"accuracy {accuracy(matrix):.2f} %", flush=True)
                state = {"epoch": epoch + 1, "network": network.state_dict(), "optimizer": optimizer.state_dict()}
                torch.save(state, checkpoint)
        first = last

    final = recipe.model.build().to(device)
    final.load_state_dict(state["network"])
    matrix = confusion_matrix(final, test, len(recipe.model.labels), device)
    save_file({key: value.cpu().contiguous() for key, value in final.state_dict().items()}, out / f"{name}.safetensors")
    (out / f"{name}.md").write_text(model_card(recipe, matrix), encoding="utf-8")
    checkpoint.unlink(missing_ok=True)
    print(f"{accuracy(matrix):.2f} % right; written to {out}")


def _network(recipe: Recipe, phase: Phase) -> nn.Module:
    return imagenette_network(phase.output_stride) if phase.output_stride else recipe.model.build()


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    weights = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=True)


def _epoch(network, loader, optimizer, recipe: Recipe, epoch: int, device: torch.device) -> float:
    """One pass over the training pictures; returns the mean loss."""
    network.train()
    criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    total = 0.0
    for step, (pixels, labels) in enumerate(tqdm(loader, desc=f"epoch {epoch + 1}/{recipe.epochs}", mininterval=5)):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate_at((epoch + step / len(loader)) / recipe.epochs)
        pixels = pixels.to(device, memory_format=torch.channels_last)
        loss = criterion(network(pixels), labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(loader)


def model_card(recipe: Recipe, matrix: torch.Tensor) -> str:
    """The model card in Markdown: what it is, how it was trained, how often it is right and where it errs."""
    model = recipe.model
    network = model.build()
    settings = {key: value for key, value in asdict(recipe).items() if key not in ("model", "phases", "data", "licence")}
    phases = "; ".join(f"{p.epochs} epochs at {p.size} px" + (f", output stride {p.output_stride}" if p.output_stride else "") for p in recipe.phases)
    rows = ["| true \\ predicted | " + " | ".join(model.labels) + " | right |", "|---" * (len(model.labels) + 2) + "|"]
    for label, counts in zip(model.labels, matrix.tolist()):
        share = 100 * counts[model.labels.index(label)] / max(1, sum(counts))
        rows.append(f"| {label} | " + " | ".join(map(str, counts)) + f" | {share:.1f} % |")
    return "\n".join(
        [
            f"# bundled/{model.name}: {model.title}",
            "",
            (model.build.__doc__ or "").splitlines()[0],
            "",
            f"- Parameters: {sum(p.numel() for p in network.parameters()):,}",
            f"- Input: {model.channels} x {model.size} x {model.size}, mean {model.mean}, standard deviation {model.std}",
            f"- Data: {recipe.data}. Licence: {recipe.licence}.",
            f"- Accuracy on the {int(matrix.sum()):,} held-out pictures: **{accuracy(matrix):.2f} %**",
            f"- Recipe: {phases}; " + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in settings.items()),
            f"- Reproduce: `python -m model_zoo.train {model.name}`",
            "",
            "Confusion matrix:",
            "",
            *rows,
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a bundled classifier.")
    parser.add_argument("model", choices=sorted(BUNDLED))
    parser.add_argument("--data", type=Path, help="folder with the data set; downloaded by torchvision when left out")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "weights", help="where weights and card are written")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    train(replace(RECIPES[arguments.model], seed=arguments.seed), arguments.data, arguments.out, torch.device(arguments.device))


if __name__ == "__main__":
    main()
