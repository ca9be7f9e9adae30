"""The network of the PEFT fixtures, as test/lora/net.ts has it, and its base weights and inputs."""
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.up = torch.nn.Linear(16, 24)
        self.down = torch.nn.Linear(24, 16, bias=False)

    def forward(self, x):
        return self.down(torch.relu(self.up(x)))


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList([Block(), Block()])
        self.head = torch.nn.Linear(16, 10)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


def write_base(folder: Path) -> None:
    """base.safetensors: the weights under their names, and the inputs `x` [7, 16]."""
    torch.manual_seed(1)
    tensors = {name: value.detach().clone() for name, value in Net().state_dict().items()}
    save_file({**tensors, "x": torch.randn(7, 16)}, folder / "base.safetensors")


def load_base(folder: Path) -> tuple[Net, torch.Tensor]:
    tensors = load_file(folder / "base.safetensors")
    x = tensors.pop("x")
    net = Net()
    net.load_state_dict(tensors)
    return net, x
