"""How a variational autoencoder with a learned metric works: notebooks 02, 03 and 12."""

from __future__ import annotations

import math

from cmlib.config import PROFILES, VaeGanConfig
from cmlib.models.vaegan import COMPONENT_SIZE
from tools.diagrams.drawing import Canvas

PAPER, QUICK, PHOTOGRAPHS = (PROFILES[name] for name in ("paper", "quick", "photographs"))
PIXELS = QUICK.data.image_size
LATENT = QUICK.face.latent


def shape(*sides: object) -> str:
    """Such as "3 × 64 × 64"."""
    return " × ".join(map(str, sides))


def clouds() -> Canvas:
    """An autoencoder's points beside a variational autoencoder's clouds."""
    canvas = Canvas(
        "vae_clouds",
        400,
        "Points and clouds in the latent space",
        """Two plane maps of a latent space. On the left an autoencoder gives each face one point,
        and between the points lies empty space that its decoder has never seen. On the right a
        variational autoencoder gives each face a cloud with a mean and a spread. The clouds
        overlap around the origin, inside the circle of the prior, so every place on the way
        from one face to another decodes to a face.""",
    )
    faces = (("happy", -95, -45), ("neutral", 10, 20), ("sad", 85, -30), ("surprised", -50, 85))
    for x, name in ((230, "autoencoder: points"), (670, "variational autoencoder: clouds")):
        canvas.text(x, 40, name, "name")
        canvas.frame(x - 200, 58, 400, 280)
    # Points
    for mood, right, down in faces:
        x, y = 230 + right * 1.5, 190 + down
        canvas.dot(x, y, 6, "face-ink")
        canvas.face(x + 34, y - 8, 22, mood)
    canvas.text(300, 322, "?", "title", "bad-ink")
    canvas.caption(230, 368, "what does the decoder paint between the points?")
    # Clouds
    canvas.ellipse(670, 186, 165, 118, "line")
    canvas.caption(670, 328, "the circle: the prior N(0, 1)")
    for (mood, right, down), (across, high, turn) in zip(
        faces, ((62, 38, 20), (70, 46, -15), (58, 40, 10), (60, 38, -25))
    ):
        x, y = 670 + right * 0.9, 186 + down * 0.75
        canvas.ellipse(x, y, across, high, "face", turn, opacity=0.55)
        canvas.dot(x, y, 4, "face-ink")
        canvas.face(x + 22, y - 4, 17, mood)
    canvas.caption(670, 368, "a mean μ and a spread σ for each face")
    return canvas


def reparameterisation() -> Canvas:
    """A sample drawn by a random node, and one computed from noise that comes from outside."""
    canvas = Canvas(
        "reparameterisation",
        360,
        "A sample that gradients can pass",
        """Two ways to draw a sample. On the left mean and spread go into a random node that draws
        z, and the gradient that comes back from the decoder stops there. On the right z is
        computed as mean plus spread times noise. The noise comes from outside, so the gradient
        passes through to the mean, with a factor of one, and to the spread, with a factor of
        the noise.""",
    )
    canvas.text(225, 38, "draw z from N(μ, σ²)", "name")
    canvas.text(675, 38, "compute z = μ + σ ε", "name")
    canvas.line([(450, 24), (450, 336)], "rule")
    for x in (60, 510):
        mean = canvas.box(x + 24, 110, 66, 46, "face", "μ")
        spread = canvas.box(x + 24, 200, 66, 46, "face", "σ")
        is_right = x == 510
        node = canvas.box(
            x + 180,
            155,
            104,
            64,
            "plain" if is_right else "bad",
            "μ + σ ε" if is_right else "chance",
        )
        z = canvas.box(x + 310, 155, 50, 46, "face", "z")
        for start in (mean, spread):
            canvas.arrow(start.right, (node.left[0], 155 + (start.y - 155) / 3))
        canvas.arrow(node.right, z.left)
        # The way back
        end = x - 28 if is_right else x + 192
        canvas.line([(x + 310, 180), (x + 310, 250), (end, 250)], "both-line", 2.2, "6 4")
        if is_right:
            canvas.line([(end, 250), (end, 110)], "both-line", 2.2, "6 4")
            canvas.arrow((end, 110), mean.left, kind="both-line")
            canvas.arrow((x + 24, 250), (x + 24, 226), kind="both-line")
            canvas.box(x + 180, 92, 66, 36, "plain", "ε")
            canvas.arrow((x + 180, 110), (x + 180, 121))
            canvas.caption(x + 222, 98, "from N(0, 1)", "start")
        else:
            canvas.text(x + 180, 256, "✕", "title", "bad-ink")
    canvas.caption(225, 290, "The gradient stops: nobody can say how")
    canvas.caption(225, 310, "a random draw changes with μ and σ.")
    canvas.caption(675, 290, "The gradient passes:")
    canvas.text(675, 310, "∂z/∂μ = 1 and ∂z/∂σ = ε.", "small", "ink")
    return canvas


# Long: a list of boxes and arrows, with nothing to decide.
def losses() -> Canvas:
    """The networks of a VAE-GAN, its losses, and whom each of them trains."""
    canvas = Canvas(
        "vaegan_losses",
        470,
        "Losses of a VAE-GAN and the learned metric",
        """A picture goes through the encoder to a cloud, a sample of which the decoder paints.
        Picture and painting go through the same discriminator. The distance between its
        feature maps is the learned metric, which trains encoder and decoder. The divergence of
        the cloud from the prior trains the encoder. The discriminator also says whether a
        picture is real. This trains the discriminator itself and, with the sign turned, the
        decoder. A table gives the weights of the terms as released and in profile quick.""",
    )
    y = 110
    canvas.face(56, y, 36, "happy")
    canvas.caption(20, 166, f"x: {shape(3, PIXELS, PIXELS)}", "start")
    encoder = canvas.box(180, y, 110, 56, "face", "encoder")
    cloud = canvas.box(316, y, 100, 56, "plain", "μ, σ", (f"{LATENT} each",))
    decoder = canvas.box(456, y, 110, 56, "face", "decoder")
    canvas.face(570, y, 36, "happy", "plain")
    canvas.caption(570, 166, "x̃ = G(z)")
    critic = canvas.box(
        740, y, 170, 96, "both", "discriminator", ("features f(·)", "and real or not")
    )
    canvas.arrow((90, y), encoder.left)
    canvas.arrow(encoder.right, cloud.left)
    canvas.arrow(cloud.right, decoder.left, "z")
    canvas.arrow(decoder.right, (540, y))
    canvas.arrow((602, y), critic.left)
    canvas.path(f"M 56 {y - 40} C 56 20 700 20 740 {y - 50}", "line", 1.8, "6 4")
    canvas.caption(398, 52, "the discriminator sees the picture itself, too")
    # Losses
    row = 232
    canvas.box(316, row, 190, 56, "plain", "divergence", ("KL(N(μ, σ²) ‖ N(0, 1))",))
    canvas.box(560, row, 230, 56, "good", "learned metric", ("‖ f(x) − f(x̃) ‖²",))
    canvas.box(780, row, 180, 56, "bad", "real or decoded?", ("x against x̃ and x_p",))
    canvas.arrow(cloud.bottom, (316, row - 30))
    canvas.arrow((690, y + 48), (570, row - 30), is_straight=True)
    canvas.arrow((780, y + 48), (780, row - 30))
    canvas.caption(124, row - 8, "What each loss")
    canvas.caption(124, row + 12, "measures")
    canvas.caption(124, row + 66, "Whom it trains")
    for x, words in (
        (316, "the encoder"),
        (560, "encoder and decoder"),
        (780, "discriminator;"),
    ):
        canvas.text(x, row + 66, words, "body")
    canvas.text(780, row + 86, "turned: the decoder", "body")
    # Weights
    canvas.line([(30, 340), (870, 340)], "rule")
    rows = (("as released", PAPER.face), (f"quick ({PIXELS} pixels)", QUICK.face))
    canvas.caption(30, 366, "weights of the terms", "start")
    for x, words in zip((316, 560, 780), ("divergence", "features (or pixels)", "deception")):
        canvas.caption(x, 366, words)
    for i, (name, settings) in enumerate(rows):
        height = 394 + 28 * i
        canvas.text(30, height, name, "body", "ink", "start")
        for x, words in zip((316, 560, 780), _weights(settings)):
            canvas.text(x, height, words, "body")
    canvas.caption(
        450,
        454,
        "x_p is decoded from the prior. Profile quick adds weights for edges and for labels.",
    )
    return canvas


def _weights(settings: VaeGanConfig) -> tuple[str, str, str]:
    """The weights of divergence, reconstruction and deception, in words."""
    if settings.feature_level:
        error = f"{settings.feature_weight:g} (features, level {settings.feature_level})"
    else:
        error = f"{settings.pixel_weight:g} (pixels)"
    return f"{settings.kl_weight:g}", error, f"{settings.adversarial_weight:g}"


def components() -> Canvas:
    """The network of photographs: principal components, and convolutions that add to them."""
    latent, size = PHOTOGRAPHS.face.latent, PHOTOGRAPHS.data.image_size
    canvas = Canvas(
        "components",
        300,
        "Principal components first, convolutions beside them",
        f"""A photograph of {size} by {size} pixels takes two ways to {latent} coordinates: a
        frozen linear one, which reads {latent} principal components at {COMPONENT_SIZE} by
        {COMPONENT_SIZE} pixels, and a convolutional one that begins at zero. Both are added.
        Two ways lead back in the same manner: components draw the large shapes, and
        convolutions add the edges.""",
    )
    canvas.text(450, 34, "as good as principal components before the first step", "name")
    canvas.face(70, 160, 44, "neutral")
    canvas.caption(70, 232, shape(3, size, size))
    latent_box = canvas.box(450, 160, 120, 70, "plain", "μ", (f"{latent} numbers",))
    canvas.face(830, 160, 44, "neutral", "plain")
    canvas.caption(830, 232, shape(3, size, size))
    for y, kind, name, details in (
        (100, "good", "components", (f"{latent} at {COMPONENT_SIZE} pixels", "frozen")),
        (220, "face", "convolutions", ("begin at zero", "are trained")),
    ):
        for x, start, end in (
            (244, (110, 160), latent_box.left),
            (656, latent_box.right, (790, 160)),
        ):
            box = canvas.box(x, y, 176, 78, kind, name, details)
            canvas.arrow(start, box.left)
            canvas.arrow(box.right, end)
    for x in (366, 766):
        canvas.text(x, 166, "+", "title")
    canvas.caption(244, 286, "read")
    canvas.caption(656, 286, "draw")
    return canvas


def network() -> Canvas:
    """Encoder and decoder as blocks whose sides halve and whose channels grow."""
    from cmlib.models.vaegan import CHANNELS, scaled

    widths = scaled(CHANNELS, QUICK.face.width)
    canvas = Canvas(
        "network",
        330,
        "The encoder halves the picture five times",
        f"""The encoder of profile quick as a row of blocks. A picture of 3 channels and {PIXELS}
        by {PIXELS} pixels is halved {len(widths)} times, to {PIXELS >> len(widths)} by {
            PIXELS >> len(widths)
        } pixels, while the channels grow to {widths[-1]}. A linear layer
        gives mean and log variance of {LATENT} dimensions each. The decoder is the mirror
        image.""",
    )
    sides = [PIXELS >> step for step in range(len(widths) + 1)]
    channels = [3, *widths]
    x = 84.0
    middle = 150
    places = []
    for side, count in zip(sides, channels):
        height = 26 + 150 * math.sqrt(side / PIXELS)
        width = 26 + 44 * math.sqrt(count / max(channels))
        canvas.box(x, middle, width, height, "face")
        canvas.caption(x, middle + height / 2 + 22, f"{side} × {side}")
        canvas.text(x, middle - height / 2 - 9, str(count), "body")
        places.append((x, width))
        x += 106
    for (x1, w1), (x2, w2) in zip(places, places[1:]):
        canvas.arrow((x1 + w1 / 2, middle), (x2 - w2 / 2, middle))
    last_x, last_width = places[-1]
    mean = canvas.box(last_x + 152, 112, 130, 56, "both", "μ", (f"{LATENT} numbers",))
    spread = canvas.box(last_x + 152, 188, 130, 56, "both", "log σ²", (f"{LATENT} numbers",))
    for box in (mean, spread):
        canvas.arrow((last_x + last_width / 2, middle), box.left)
    canvas.caption(84, 290, "picture")
    canvas.caption(84 + 53 * 5, 290, "above: channels   ·   below: rows × columns")
    canvas.caption(last_x + 152, 290, "linear layers")
    canvas.caption(450, 316, "The decoder is the mirror image.")
    return canvas


def diagrams() -> list[Canvas]:
    """All diagrams of this module."""
    return [clouds(), reparameterisation(), losses(), components(), network()]
