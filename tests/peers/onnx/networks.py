"""The networks, in PyTorch, with seeded random weights that behave: BatchNorm statistics, heads and score levels are set from data.

No downloads, no training but a few steps of the autoencoder. `build` gives a network ready for export; what an export makes of it is `models.py`.
"""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import inputs

CLASSES = {"mobilenet_v2": 1000, "resnet18": 1000, "cnn1d": 40, "gru": 40, "lstm": 40}


def conv_bn(cin: int, cout: int, kernel: int, stride: int = 1, groups: int = 1, activation: nn.Module | None = None) -> nn.Sequential:
    layers = [nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(cout)]
    return nn.Sequential(*layers, *([activation] if activation else []))


class InvertedResidual(nn.Module):
    def __init__(self, cin, cout, stride, expand):
        super().__init__()
        hidden = cin * expand
        self.add = stride == 1 and cin == cout
        layers = [] if expand == 1 else [conv_bn(cin, hidden, 1, activation=nn.ReLU6())]
        layers += [conv_bn(hidden, hidden, 3, stride, hidden, nn.ReLU6()), conv_bn(hidden, cout, 1)]
        self.branch = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.branch(x) if self.add else self.branch(x)


class MobileNetV2(nn.Module):
    """Sandler et al. 2018, width 1.0: 3.5 million weights, 301 million products at 224 x 224."""

    def __init__(self):
        super().__init__()
        layers, cin = [conv_bn(3, 32, 3, 2, activation=nn.ReLU6())], 32
        for expand, cout, repeat, stride in [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]:
            for i in range(repeat):
                layers.append(InvertedResidual(cin, cout, stride if i == 0 else 1, expand))
                cin = cout
        self.features = nn.Sequential(*layers, conv_bn(cin, 1280, 1, activation=nn.ReLU6()))
        self.head = nn.Linear(1280, 1000)

    def forward(self, input):
        return self.head(torch.flatten(F.adaptive_avg_pool2d(self.features(input), 1), 1))


class BasicBlock(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.branch = nn.Sequential(conv_bn(cin, cout, 3, stride, activation=nn.ReLU()), conv_bn(cout, cout, 3))
        self.shortcut = nn.Identity() if stride == 1 and cin == cout else conv_bn(cin, cout, 1, stride)

    def forward(self, x):
        return F.relu(self.branch(x) + self.shortcut(x))


class ResNet18(nn.Module):
    """He et al. 2015: 11.7 million weights, 1.8 thousand million products at 224 x 224."""

    def __init__(self):
        super().__init__()
        layers, cin = [conv_bn(3, 64, 7, 2, activation=nn.ReLU()), nn.MaxPool2d(3, 2, 1)], 64
        for cout, stride in [(64, 1), (128, 2), (256, 2), (512, 2)]:
            layers += [BasicBlock(cin, cout, stride), BasicBlock(cout, cout, 1)]
            cin = cout
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(512, 1000)

    def forward(self, input):
        return self.head(torch.flatten(F.adaptive_avg_pool2d(self.features(input), 1), 1))


def silu(cin, cout, kernel=1, stride=1):
    return conv_bn(cin, cout, kernel, stride, activation=nn.SiLU())


class C2f(nn.Module):
    """Cross-stage block of YOLOv8: split, a chain of bottlenecks, everything concatenated."""

    def __init__(self, cin, cout, repeat, add):
        super().__init__()
        self.half, self.add = cout // 2, add
        self.enter, self.leave = silu(cin, cout), silu((2 + repeat) * self.half, cout)
        self.chain = nn.ModuleList(nn.Sequential(silu(self.half, self.half, 3), silu(self.half, self.half, 3)) for _ in range(repeat))

    def forward(self, x):
        parts = list(self.enter(x).split((self.half, self.half), 1))
        for bottleneck in self.chain:
            y = bottleneck(parts[-1])
            parts.append(parts[-1] + y if self.add else y)
        return self.leave(torch.cat(parts, 1))


class SPPF(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.enter, self.leave = silu(channels, channels // 2), silu(channels * 2, channels)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x):
        parts = [self.enter(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class Detector(nn.Module):
    """YOLOv8n's shape: backbone, PAN, decoupled heads, distribution focal loss decoding; output [batch, 4 + 80, anchors] (xywh in pixels, scores)."""

    CLASSES, BINS, STRIDES = 80, 16, (8, 16, 32)

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(silu(3, 16, 3, 2), silu(16, 32, 3, 2), C2f(32, 32, 1, True), silu(32, 64, 3, 2))
        self.p3, self.down4 = C2f(64, 64, 2, True), silu(64, 128, 3, 2)
        self.p4, self.down5 = C2f(128, 128, 2, True), silu(128, 256, 3, 2)
        self.p5 = nn.Sequential(C2f(256, 256, 1, True), SPPF(256))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.n4, self.n3 = C2f(384, 128, 1, False), C2f(192, 64, 1, False)
        self.back4, self.m4 = silu(64, 64, 3, 2), C2f(192, 128, 1, False)
        self.back5, self.m5 = silu(128, 128, 3, 2), C2f(384, 256, 1, False)
        width = (64, 128, 256)
        self.boxes = nn.ModuleList(nn.Sequential(silu(c, 64, 3), silu(64, 64, 3), nn.Conv2d(64, 4 * self.BINS, 1)) for c in width)
        self.scores = nn.ModuleList(nn.Sequential(silu(c, 80, 3), silu(80, 80, 3), nn.Conv2d(80, self.CLASSES, 1)) for c in width)
        self.dfl = nn.Conv2d(self.BINS, 1, 1, bias=False)
        self.dfl.weight.data = torch.arange(self.BINS, dtype=torch.float32).view(1, -1, 1, 1)
        anchors, strides = [], []
        for stride in self.STRIDES:
            side = torch.arange(inputs.DETECTOR // stride) + 0.5
            y, x = torch.meshgrid(side, side, indexing="ij")
            anchors.append(torch.stack((x, y)).view(2, -1))
            strides.append(torch.full((1, side.numel() ** 2), float(stride)))
        self.register_buffer("anchors", torch.cat(anchors, 1)[None])
        self.register_buffer("strides", torch.cat(strides, 1))

    def forward(self, images):
        p3 = self.p3(self.stem(images))
        p4 = self.p4(self.down4(p3))
        p5 = self.p5(self.down5(p4))
        n4 = self.n4(torch.cat((self.up(p5), p4), 1))
        n3 = self.n3(torch.cat((self.up(n4), p3), 1))
        m4 = self.m4(torch.cat((self.back4(n3), n4), 1))
        m5 = self.m5(torch.cat((self.back5(m4), p5), 1))
        levels = [torch.cat((box(x), score(x)), 1) for x, box, score in zip((n3, m4, m5), self.boxes, self.scores)]
        flat = torch.cat([level.view(-1, 4 * self.BINS + self.CLASSES, level.shape[2] * level.shape[3]) for level in levels], 2)
        box, score = flat.split((4 * self.BINS, self.CLASSES), 1)
        count = self.anchors.shape[2]
        distance = self.dfl(box.view(-1, 4, self.BINS, count).transpose(2, 1).softmax(1)).view(-1, 4, count)
        before, after = distance.chunk(2, 1)
        low, high = self.anchors - before, self.anchors + after
        decoded = torch.cat(((low + high) / 2, high - low), 1) * self.strides
        return torch.cat((decoded, score.sigmoid()), 1)


class EncoderLayer(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.each = heads, width // heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-12), nn.LayerNorm(width, eps=1e-12)

    def split(self, x):
        return x.view(x.size(0), x.size(1), self.heads, self.each).permute(0, 2, 1, 3)

    def forward(self, x, bias):
        scores = torch.matmul(self.split(self.query(x)), self.split(self.key(x)).transpose(-1, -2)) / self.each**0.5
        context = torch.matmul((scores + bias).softmax(-1), self.split(self.value(x))).permute(0, 2, 1, 3).contiguous()
        x = self.norm1(self.out(context.view(x.size(0), x.size(1), self.heads * self.each)) + x)
        return self.norm2(self.down(F.gelu(self.up(x))) + x)


class Encoder(nn.Module):
    """all-MiniLM-L6's shape: BERT, 6 layers of 384, 12 heads, feed-forward 1536, 512 positions."""

    def __init__(self):
        super().__init__()
        self.words, self.positions = nn.Embedding(inputs.VOCABULARY, 384), nn.Embedding(512, 384)
        self.register_buffer("position_ids", torch.arange(512)[None])
        self.norm = nn.LayerNorm(384, eps=1e-12)
        self.layers = nn.ModuleList(EncoderLayer(384, 12) for _ in range(6))

    def forward(self, input_ids, attention_mask):
        positions = self.positions(self.position_ids[:, : input_ids.size(1)])
        x = self.norm(self.words(input_ids) + positions)
        bias = (1.0 - attention_mask[:, None, None, :].to(torch.float32)) * torch.finfo(torch.float32).min
        for layer in self.layers:
            x = layer(x, bias)
        return x


class Cnn1d(nn.Module):
    """Keyword or vibration classifier on raw samples [batch, 1, 1024]."""

    def __init__(self):
        super().__init__()

        def block(cin, cout, kernel, stride=1):
            return nn.Sequential(nn.Conv1d(cin, cout, kernel, stride, kernel // 2, bias=False), nn.BatchNorm1d(cout), nn.ReLU())

        self.features = nn.Sequential(
            block(1, 32, 9, 2), nn.MaxPool1d(2), block(32, 64, 5), block(64, 64, 5), nn.MaxPool1d(2), block(64, 96, 3), block(96, 128, 3), nn.AvgPool1d(2), block(128, 128, 3)
        )
        self.head = nn.Linear(128, CLASSES["cnn1d"])

    def forward(self, signal):
        return self.head(self.features(signal).mean(2))


class Autoencoder(nn.Module):
    """The machine-sound autoencoder of DCASE task 2 and MLPerf Tiny: 640 -> 128 x 4 -> 8 -> 128 x 4 -> 640."""

    def __init__(self):
        super().__init__()
        widths = [640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640]
        layers = []
        for cin, cout in zip(widths, widths[1:]):
            layers += [nn.Linear(cin, cout)] + ([] if cout == 8 else [nn.ReLU()])  # a rectified bottleneck may die in training
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, spectrum):
        return self.layers(spectrum)


class Recurrent(nn.Module):
    """A dense layer a frame, a recurrent core, a dense head on the last frame; features [batch, 50, 40]."""

    def __init__(self, core: nn.Module, width: int, classes: int):
        super().__init__()
        self.enter, self.core, self.head = nn.Linear(40, 64), core, nn.Linear(width, classes)

    def forward(self, features):
        frames, _ = self.core(F.relu(self.enter(features)))
        return self.head(frames[:, -1])


MAKERS = {
    "mobilenet_v2": MobileNetV2,
    "resnet18": ResNet18,
    "detector": Detector,
    "encoder": Encoder,
    "encoder_opset13": Encoder,
    "cnn1d": Cnn1d,
    "autoencoder": Autoencoder,
    "gru": lambda: Recurrent(nn.GRU(64, 128, 2, batch_first=True), 128, CLASSES["gru"]),
    "lstm": lambda: Recurrent(nn.LSTM(64, 96, 1, batch_first=True, bidirectional=True), 192, CLASSES["lstm"]),
}


def build(model: str, seed: int = 7) -> nn.Module:
    """The network of that name in evaluation mode, its weights drawn from `seed`."""
    torch.manual_seed(seed)
    network = MAKERS[model]()
    with torch.no_grad():
        scatter(network)
        rows = inputs.draw(model, 24, seed=101)
        example = [torch.from_numpy(row) for row in rows.values()]
        settle_norms(network, example)
        if model == "detector":
            level(network, example, [box[-1] for box in network.boxes], 0.0, 1.5)
            set_scores(network, example)
            for box in network.boxes:
                box[-1].bias -= 0.25 * torch.arange(Detector.BINS).repeat(4)  # near edges are likelier than far ones
        if model in CLASSES:
            fit_head(network, model)
    if model == "autoencoder":
        train(network)
    return network.eval()


def scatter(network: nn.Module) -> None:
    """Random weights of sensible size; norms whose scales differ by channel, so that per-channel quantization has something to do."""
    for module in network.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d)) and module.out_channels > 1:
            nn.init.kaiming_normal_(module.weight, mode="fan_in")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=1.4 / module.in_features**0.5)
            nn.init.normal_(module.bias, std=0.1)
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)):
            nn.init.uniform_(module.weight, 0.6, 1.4)
            nn.init.normal_(module.bias, std=0.2)
    for block in network.modules():
        if isinstance(block, (InvertedResidual, BasicBlock)):
            block.branch[-1][1].weight *= 0.5  # a residual network of random weights stays well conditioned


def settle_norms(network: nn.Module, example: list) -> None:
    """One pass in training mode, layer after layer: filters become patches of what they see, BatchNorm takes its statistics.

    Filters of independent random numbers amplify rounding errors as much as signals; after forty layers of 8 bits little is left.
    Filters that are sums of a few centred patches of their input (a classic of unsupervised features) favour the signal, as
    trained ones do.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    for norm in norms:
        norm.momentum = 1.0
    convolutions = [m for m in network.modules() if isinstance(m, (nn.Conv1d, nn.Conv2d)) and m.groups == 1 and m.out_channels > 1]
    hooks = [convolution.register_forward_pre_hook(take_patches) for convolution in convolutions]
    network.train()
    network(*example)
    network.eval()
    for hook in hooks:
        hook.remove()


def take_patches(layer: nn.Module, given: tuple) -> None:
    x = given[0] if given[0].dim() == 4 else given[0].unsqueeze(2)
    kernel = layer.weight.shape[2:] if given[0].dim() == 4 else (1, *layer.weight.shape[2:])
    items, channels, height, width = x.shape
    count = 3 * layer.out_channels
    row = torch.randint(height - kernel[0] + 1, (count,))
    column = torch.randint(width - kernel[1] + 1, (count,))
    item = torch.randint(items, (count,))
    patches = torch.stack([x[i, :, r : r + kernel[0], c : c + kernel[1]] for i, r, c in zip(item, row, column)])
    centred = patches - patches.mean(0)
    centred *= torch.randn(count, 1, 1, 1) / centred.flatten(1).norm(dim=1).clamp(min=1e-6).view(-1, 1, 1, 1)  # no patch rules by its size
    filters = centred.view(3, layer.out_channels, channels, *kernel).sum(0)
    filters += 0.3 * filters.std() * torch.randn_like(filters)
    layer.weight.copy_((filters * (filters[0].numel() / 2) ** -0.5 / filters.std()).view_as(layer.weight))


def seen(network: nn.Module, example: list, layers: list, output: bool) -> list[torch.Tensor]:
    """What goes into or comes out of each of `layers` when the network runs on `example`."""
    kept = {}
    hooks = [layer.register_forward_hook(lambda layer, given, made: kept.update({layer: made if output else given[0]})) for layer in layers]
    network(*example)
    for hook in hooks:
        hook.remove()
    return [kept[layer] for layer in layers]


def level(network: nn.Module, example: list, layers: list, mean: float, deviation: float) -> None:
    """Rescales each output channel of the layers to that mean and deviation over the example."""
    for layer, made in zip(layers, seen(network, example, layers, output=True)):
        made = made.transpose(0, 1).flatten(1)
        factor = deviation / made.std(1).clamp(min=1e-6)
        layer.weight *= factor.view(-1, *[1] * (layer.weight.dim() - 1))
        layer.bias.copy_(mean + (layer.bias - made.mean(1)) * factor)


def set_scores(network: nn.Module, example: list) -> None:
    """Score layers that let each class over a confidence of 0.25 in one picture of twenty, on each level."""
    layers = [score[-1] for score in network.scores]
    level(network, example, layers, 0.0, 1.0)
    for layer, made in zip(layers, seen(network, example, layers, output=True)):
        strongest = made.flatten(2).amax(2)
        layer.bias -= torch.quantile(strongest, 0.95, dim=0) + math.log(3)


def train(network: nn.Module, steps: int = 300) -> None:
    """A few seconds of reconstruction: random weights around a bottleneck of 8 would turn any rounding into another answer."""
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for step in range(steps):
        rows = torch.from_numpy(inputs.spectra(64, 1000 + step, 640))
        loss = F.mse_loss(network(rows), rows)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def fit_head(network: nn.Module, model: str) -> None:
    """Ridge regression of the head on the families of inputs: logits near 8 for the right one; classes without a family keep small random weights."""
    rows, labels = inputs.draw_labelled(model, 6 * inputs.FAMILIES, seed=102)
    parts = [torch.from_numpy(rows[name]) for name in rows][0].split(40)
    given = torch.cat([seen(network, [part], [network.head], output=False)[0] for part in parts]).double().numpy()
    centre = given.mean(0)
    given = given - centre
    wanted = np.full((len(labels), inputs.FAMILIES), -8.0 / inputs.FAMILIES)
    wanted[np.arange(len(labels)), labels] += 8.0
    gram = given @ given.T
    weight = (given.T @ np.linalg.solve(gram + 0.5 * np.trace(gram) / len(gram) * np.eye(len(gram)), wanted)).T
    head = network.head
    head.weight *= 0.3 * np.abs(weight).mean() / head.weight.abs().mean()
    head.weight[: inputs.FAMILIES] = torch.from_numpy(weight).float()
    head.bias.copy_(-head.weight @ torch.from_numpy(centre).float())
