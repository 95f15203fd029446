"""Times the decoders' forward and backward pass in PyTorch, for native/benches/decoders.rs to be compared with.

    python decoders.py [--threads 2] [--passes 30] [captioner generator]

The sizes are those of the Rust benchmark. Prints the median and the least time of a pass.
"""

import argparse
import time

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

BATCH = 40
WIDTH = 384


class Captioner(nn.Module):
    """Soft attention, a gate on the context and an LSTM cell (arXiv:1502.03044).

    What does not depend on the recurrence is done for all steps at once, as in ours.
    """

    def __init__(self, width, attention, embedding, hidden, vocabulary, dropout=0.5):
        super().__init__()
        self.regions = nn.Linear(width, attention)
        self.query = nn.Linear(hidden, attention)
        self.score = nn.Linear(attention, 1)
        self.initial_hidden = nn.Linear(width, hidden)
        self.initial_cell = nn.Linear(width, hidden)
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.gate = nn.Linear(hidden, width)
        self.cell = nn.LSTMCell(embedding + width, hidden)
        self.dropout = nn.Dropout(dropout)
        self.vocabulary = nn.Linear(hidden, vocabulary)

    def forward(self, regions, captions):
        keys = self.regions(regions)
        mean = regions.mean(1)
        hidden, cell = self.initial_hidden(mean), self.initial_cell(mean)
        states, looked = [], []
        for token in self.embedding(captions[:, :-1]).unbind(1):
            scores = self.score(torch.relu(keys + self.query(hidden).unsqueeze(1)))
            attention = torch.softmax(scores.squeeze(2), 1)
            context = torch.bmm(attention.unsqueeze(1), regions).squeeze(1)
            context = torch.sigmoid(self.gate(hidden)) * context
            hidden, cell = self.cell(torch.cat([token, context], 1), (hidden, cell))
            states.append(hidden)
            looked.append(attention)
        logits = self.vocabulary(self.dropout(torch.stack(states, 1)))
        return logits, torch.stack(looked, 1)

    def loss(self, regions, captions):
        logits, attention = self(regions, captions)
        entropy = F.cross_entropy(logits.flatten(0, 1), captions[:, 1:].flatten())
        return entropy + ((1 - attention.sum(1)) ** 2).mean()


def captioner():
    regions = torch.randn(BATCH, 64, WIDTH, requires_grad=True)
    captions = torch.randint(4, 4000, (BATCH, 16))
    model = Captioner(WIDTH, 256, 256, 256, 4000)
    return model, lambda: model.loss(regions, captions), [regions]


def concat_elu(x):
    return F.elu(torch.cat([x, -x], 1))


class Shifted(nn.Module):
    """A convolution that looks up and to the left, with weight normalisation."""

    def __init__(self, kernel, inputs, outputs, stride=1):
        super().__init__()
        lines, columns = kernel
        self.padding = (columns // 2, columns - 1 - columns // 2, lines - 1, 0)
        self.conv = weight_norm(nn.Conv2d(inputs, outputs, kernel, stride))

    def forward(self, x):
        return self.conv(F.pad(x, self.padding))


class Doubled(nn.Module):
    """A transposed convolution with stride 2, cropped."""

    def __init__(self, columns, filters):
        super().__init__()
        self.first = columns - 2
        conv = nn.ConvTranspose2d(filters, filters, (2, columns), 2, output_padding=1)
        self.conv = weight_norm(conv)

    def forward(self, x):
        height, width = 2 * x.shape[2], 2 * x.shape[3]
        return self.conv(x)[:, :, :height, self.first : self.first + width]


class Block(nn.Module):
    """A gated residual block."""

    def __init__(self, kernel, filters, skips, width, dropout):
        super().__init__()
        self.input = Shifted(kernel, 2 * filters, filters)
        self.skip = weight_norm(nn.Conv2d(2 * skips * filters, filters, 1)) if skips else None
        self.output = Shifted(kernel, 2 * filters, 2 * filters)
        self.condition = nn.Linear(width, 2 * filters, bias=False)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x, skip, condition):
        y = self.input(concat_elu(x))
        if self.skip is not None:
            y = y + self.skip(concat_elu(skip))
        y = self.output(self.dropout(concat_elu(y)))
        value, gate = (y + self.condition(condition)[:, :, None, None]).chunk(2, 1)
        return x + value * torch.sigmoid(gate)


class Generator(nn.Module):
    """PixelCNN++ (arXiv:1701.05517), conditioned on a vector."""

    def __init__(self, width, blocks, filters, mixtures, dropout=0.5):
        super().__init__()
        u, ul = (2, 3), (2, 2)

        def stage(count, u_skips, ul_skips):
            streams = [(u, u_skips), (ul, ul_skips)]
            return nn.ModuleList(
                nn.ModuleList(Block(kernel, filters, skips, width, dropout) for kernel, skips in streams)
                for _ in range(count)
            )

        self.first = nn.ModuleList(Shifted(kernel, 4, filters) for kernel in [u, (1, 3), (2, 1)])
        self.down = nn.ModuleList(stage(blocks, 0, 1) for _ in range(3))
        self.halved = nn.ModuleList(
            nn.ModuleList(Shifted(kernel, filters, filters, 2) for kernel in [u, ul]) for _ in range(2)
        )
        self.up = nn.ModuleList(stage(blocks + min(level, 1), 1, 2) for level in range(3))
        self.doubled = nn.ModuleList(
            nn.ModuleList(Doubled(columns, filters) for columns in [3, 2]) for _ in range(2)
        )
        self.last = weight_norm(nn.Conv2d(filters, 10 * mixtures, 1))

    def forward(self, pixels, condition):
        x = F.pad(pixels, (0, 0, 0, 0, 0, 1), value=1.0)
        down = lambda x: F.pad(x, (0, 0, 1, 0))[:, :, :-1]
        u = down(self.first[0](x))
        ul = down(self.first[1](x)) + F.pad(self.first[2](x), (1, 0))[:, :, :, :-1]
        saved = [(u, ul)]
        for level, stage in enumerate(self.down):
            for u_block, ul_block in stage:
                u = u_block(u, None, condition)
                ul = ul_block(ul, u, condition)
                saved.append((u, ul))
            if level < 2:
                u, ul = self.halved[level][0](u), self.halved[level][1](ul)
                saved.append((u, ul))
        saved.pop()
        for level, stage in enumerate(self.up):
            for u_block, ul_block in stage:
                u_skip, ul_skip = saved.pop()
                u = u_block(u, u_skip, condition)
                ul = ul_block(ul, torch.cat([u, ul_skip], 1), condition)
            if level < 2:
                u, ul = self.doubled[level][0](u), self.doubled[level][1](ul)
        return self.last(F.elu(ul))

    def loss(self, pixels, condition):
        logits = self(pixels, condition).permute(0, 2, 3, 1)
        x = pixels.permute(0, 2, 3, 1).unsqueeze(4)  # [B, S, S, 3, 1]
        mixtures = logits.shape[3] // 10
        weights, rest = logits.split([mixtures, 9 * mixtures], 3)
        means, scales, coefficients = rest.reshape(*rest.shape[:3], 3, 3, mixtures).unbind(4)
        scales, (c0, c1, c2) = scales.clamp(min=-7), torch.tanh(coefficients).unbind(3)
        red, green = x[:, :, :, 0], x[:, :, :, 1]
        zeros = torch.zeros_like(c0)
        means = means + torch.stack([zeros, c0 * red, c1 * red + c2 * green], 3)
        inverse = torch.exp(-scales)
        centred = x - means
        upper, lower = inverse * (centred + 1 / 255), inverse * (centred - 1 / 255)
        middle = inverse * centred
        inside = torch.sigmoid(upper) - torch.sigmoid(lower)
        density = middle - scales - 2 * F.softplus(middle) - 4.848
        inside = torch.where(inside > 1e-5, inside.clamp(min=1e-12).log(), density)
        right = torch.where(x > 0.999, -F.softplus(lower), inside)
        chances = torch.where(x < -0.999, upper - F.softplus(upper), right)
        joint = chances.sum(3) + F.log_softmax(weights, 3)
        return -torch.logsumexp(joint, 3).mean() / 3


def generator():
    pixels = torch.rand(BATCH, 3, 32, 32) * 2 - 1
    condition = torch.randn(BATCH, WIDTH, requires_grad=True)
    model = Generator(WIDTH, 1, 24, 5)
    return model, lambda: model.loss(pixels, condition), [condition]


DECODERS = {"captioner": captioner, "generator": generator}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--passes", type=int, default=30)
    parser.add_argument("decoder", nargs="*", help="captioner, generator; both by default")
    arguments = parser.parse_args()
    if unknown := set(arguments.decoder) - set(DECODERS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    for name in arguments.decoder or DECODERS:
        model, loss, inputs = DECODERS[name]()
        model.train()
        times = []
        for number in range(arguments.passes + 3):
            model.zero_grad(set_to_none=True)
            for tensor in inputs:
                tensor.grad = None
            start = time.perf_counter()
            loss().backward()
            if number >= 3:  # the first ones warm up
                times.append(1e3 * (time.perf_counter() - start))
        times.sort()
        print(
            f"{name}: forward and backward {times[len(times) // 2]:.1f} ms (least {times[0]:.1f} ms), "
            f"{arguments.threads} threads, PyTorch {torch.__version__}"
        )


if __name__ == "__main__":
    main()
