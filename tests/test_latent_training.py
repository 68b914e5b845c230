"""Training of the classifier and of the context attention network, on made-up latents."""

import dataclasses

import numpy as np
import pytest
import torch

from cmlib.config import CanConfig, ClassifierConfig
from cmlib.models import Can, Classifier, Posterior, concatenation
from cmlib.models.can import covariance_within_people
from cmlib.training.can import add_imagined, mahalanobis, train_can
from cmlib.training.classifier import train_classifier


@pytest.fixture(autouse=True)
def calm(monkeypatch):
    monkeypatch.setenv("CM_QUIET", "1")


def noise(count, seed, width=10):
    """(count, width) normal numbers."""
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def certain(mu):
    """A posterior of little variance."""
    return Posterior(mu, torch.full_like(mu, -3.0))


def one_view(posterior):
    return posterior.map(lambda x: x[None])


def separable(count=350, width=10, seed=0):
    """Latents of seven classes, whose centres do not depend on the seed, and their labels."""
    labels = np.arange(count) % 7
    centres = 2 * noise(7, 5, width)
    return certain(centres[labels] + noise(count, seed, width)), labels


def accuracy(logits, labels):
    return (logits.argmax(1).numpy() == labels).mean()


def test_classifier_reads_unseen_latents():
    train, labels = separable()
    test, test_labels = separable(seed=1)
    settings = ClassifierConfig(epochs=40, weight_decay=0.0, learning_rate=3e-3)
    model, _ = train_classifier(one_view(train), labels, settings)
    assert accuracy(model(test.mu), test_labels) > 0.85


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"kl_direction": "shifted_to_prior"},
        {"normalise": True},
        {"pairing": "emotion"},
        {"finetune": False},
        {"attention": "linear"},
    ],
)
def test_can_learns_from_a_voice_what_a_blank_face_cannot_tell(change):
    voice, labels = separable(700)
    unseen_voice, unseen_labels = separable(700, seed=1)
    face, unseen_face = certain(noise(700, 2)), certain(noise(700, 3))
    settings = CanConfig(epochs=40, learning_rate=3e-3, **change)
    model, history = train_can(one_view(face), voice, labels, settings)
    logits, _ = model(unseen_face, unseen_voice)
    assert accuracy(logits, unseen_labels) > 0.6
    without_context, _ = model(unseen_face, unseen_voice, 0.0)
    assert accuracy(without_context, unseen_labels) < 0.3  # chance is 0.14
    assert not model.classifier.weight.requires_grad
    assert np.isfinite(history.to_numpy()).all()


def test_faces_of_the_crowd_teach_what_the_voice_does_to_a_stranger():
    """Two actors have voices, and faces that say nothing; crowd and strangers show expressions."""
    voice, labels = separable(700)
    unseen_voice, unseen_labels = separable(700, seed=1)
    actors = 0.3 * noise(700, 2, 20)
    crowd = 0.3 * noise(1400, 3, 20)
    strangers = 0.3 * noise(700, 4, 20)
    crowd_labels = np.arange(1400) % 8 - 1  # an eighth is neutral
    expressive = crowd_labels >= 0
    crowd[expressive, 7:14] += 3 * torch.eye(7)[crowd_labels[expressive]]
    shown = (unseen_labels + 1) % 7  # strangers contradict their voices
    strangers[:, 7:14] += 3 * torch.eye(7)[shown]

    def padded(mu):
        return certain(torch.nn.functional.pad(mu, (0, 10)))

    def shown_is_read(share_of_crowd):
        settings = CanConfig(
            epochs=30,
            learning_rate=3e-3,
            pairing="emotion",
            crowd=share_of_crowd,
            neutral=0.3,
            directions=6,
        )
        model, _ = train_can(
            one_view(certain(torch.cat([actors, crowd]))),
            padded(voice.mu),
            np.concatenate([labels, crowd_labels]),
            settings,
            people=np.concatenate([np.arange(700) % 2, -1 - np.arange(1400) % 49]),
        )
        # The directions of expression are those of 49 people, not of two.
        assert model.basis[7:14].square().sum() > 0.9 * 6
        logits, _ = model(certain(strangers), padded(unseen_voice.mu))
        return accuracy(logits, shown)

    assert shown_is_read(0.5) > shown_is_read(0.0) + 0.1


@pytest.mark.parametrize("pairing", ["own", "emotion"])
def test_a_face_of_the_crowd_replaces_one_of_its_class(pairing, monkeypatch):
    labels = np.repeat(np.arange(7), 10)
    crowd_labels = np.repeat([0, 1, 2, 4, 5, 6], 5)  # the crowd never shows class 3

    def marked(numbers):
        """Latents that hold the number of their picture: crowd from 100 on."""
        return torch.tensor(numbers, dtype=torch.float32)[:, None].repeat(1, 4)

    face = marked([*range(70), *range(100, 130)])
    voice = marked(range(70))
    pairs = []
    shift = Can.shift

    def remember(self, v, a, strength=1.0):
        pairs.append(torch.stack([v.mu[:, 0], a.mu[:, 0]]).round().int().numpy())
        return shift(self, v, a, strength)

    monkeypatch.setattr(Can, "shift", remember)
    settings = CanConfig(epochs=6, batch=35, crowd=0.5, pairing=pairing, sample=False)
    train_can(
        one_view(Posterior(face, torch.zeros(100, 4))),
        Posterior(voice, torch.zeros(70, 4)),
        np.concatenate([labels, crowd_labels]),
        settings,
    )
    faces, voices = np.concatenate(pairs, axis=1)
    of_crowd = faces >= 100
    shown = labels[faces.clip(max=69)]
    shown[of_crowd] = crowd_labels[faces[of_crowd] - 100]
    assert (shown == labels[voices]).all()  # the voice says what the face shows
    assert 0.3 < of_crowd.mean() < 0.6
    assert not of_crowd[labels[voices] == 3].any()
    if pairing == "own":
        # A face that nothing replaced hears its own voice. (One of class 3 may replace another.)
        kept = ~of_crowd & (shown != 3)
        assert (faces[kept] == voices[kept]).all()


def test_neutral_faces_learn_to_be_read_as_the_voice_says():
    """Faces say it all, but for a tenth that are neutral and say nothing."""
    voice, labels = separable(700)
    unseen_voice, unseen_labels = separable(700, seed=1)
    face = certain(noise(700, 2))
    face.mu[:, :7] += 3 * torch.eye(7)[labels]
    labels = np.where(np.arange(700) % 10 == 0, -1, labels)
    face.mu[labels < 0, :7] = noise(70, 3, 7)
    neutral_face = certain(noise(700, 4))

    def voice_is_read(share_of_neutral):
        settings = CanConfig(
            epochs=40, learning_rate=3e-3, pairing="emotion", neutral=share_of_neutral, directions=7
        )
        people = np.arange(700) % 7
        model, _ = train_can(one_view(face), voice, labels, settings, people=people)
        logits, _ = model(neutral_face, unseen_voice)
        return accuracy(logits, unseen_labels)

    with_neutral = voice_is_read(0.5)
    assert with_neutral > voice_is_read(0.0) + 0.1
    assert with_neutral > 0.5


def test_imagined_faces_are_neutral_faces_of_nobody():
    voice, labels = separable(70)
    people = np.arange(70) % 6
    face = one_view(certain(noise(70, 2)))
    settings = CanConfig(
        epochs=1, pairing="emotion", neutral=0.5, directions=6, normalise=True, imagined=400
    )
    faces, all_labels, all_people = add_imagined(face, labels, people, settings, seed=0)
    assert (faces.views, len(faces), faces.size) == (1, 470, 10)
    assert torch.equal(faces.batch(np.arange(70)).mu, face.mu[0])
    assert set(all_labels[70:]) == {-1}
    imagined = faces.batch(np.arange(70, 470)).mu
    assert abs(imagined.mean()) < 0.1 and abs(imagined.std() - 1) < 0.1  # the prior
    with_imagined, _ = train_can(faces, voice, all_labels, settings, people=all_people)
    # The network has learnt from them, but they do not change the directions or the scale.
    without, _ = train_can(face, voice, labels, settings, people=people)
    assert torch.equal(with_imagined.basis, without.basis)
    assert torch.equal(with_imagined.face_spread, without.face_spread)
    assert not torch.equal(with_imagined.att_mu.query.weight, without.att_mu.query.weight)
    nothing = dataclasses.replace(settings, imagined=0)
    assert add_imagined(face, labels, people, nothing, seed=0)[0] is face


@pytest.mark.parametrize(
    "settings, message",
    [
        (CanConfig(neutral=0.5), "voices of others"),
        (CanConfig(directions=3), "whose each face is"),
        (CanConfig(person_weight=0.1), "whose each face is"),
        (CanConfig(distill_weight=1.0), "give teacher"),
        (CanConfig(directions_of="voices"), "unknown directions_of"),
    ],
)
def test_settings_that_lack_what_they_need_are_refused(settings, message):
    voice, labels = separable(70)
    with pytest.raises(ValueError, match=message):
        train_can(one_view(certain(noise(70, 2))), voice, labels, settings)


def test_a_teacher_passes_on_what_it_knows_and_the_labels_do_not():
    """The teacher says the first or the second class to everything, unlike the labels."""
    voice, labels = separable(350, width=12)
    face = one_view(certain(noise(350, 2)))
    teacher = Classifier(22)
    with torch.no_grad():
        teacher.linear.weight.zero_()
        teacher.linear.bias.copy_(torch.tensor([3.0, 3.0, -3.0, -3.0, -3.0, -3.0, -3.0]))
    pair = face.map(lambda x: x[0]), voice
    known = teacher(concatenation(*pair).mu).log_softmax(1)

    def divergence(weight):
        settings = CanConfig(epochs=20, batch=35, learning_rate=3e-3, distill_weight=weight)
        model, history = train_can(face, voice, labels, settings, teacher=teacher)
        assert ("distillation" in history) == (weight > 0)
        log_p = model(*pair)[0].log_softmax(1)
        return torch.nn.functional.kl_div(log_p, known, log_target=True, reduction="batchmean")

    assert divergence(10.0) < 0.5 * divergence(0.0)


def test_changes_within_a_person_are_near_and_other_changes_far():
    """Faces of a person differ in the first two dimensions only; people differ in all."""
    people = torch.arange(400) % 20
    mu = 3 * noise(20, 1)[people]
    mu[:, :2] += noise(400, 2, 2)
    precision = torch.linalg.inv(covariance_within_people(mu, people))
    within, between = torch.eye(10)[[0, 2]]
    near, far = mahalanobis(torch.stack([within, between]), precision)
    assert far > 10 * near


def test_along_directions_of_the_classifier_a_shift_can_say_everything():
    """Seven classes differ in six scores, which any directions with the classifier's own reach."""
    people = torch.arange(700) % 20
    labels = torch.arange(700) % 7
    mu = 3 * noise(20, 1)[people] + 0.3 * noise(700, 2)
    mu[:, :7] += 3 * torch.eye(7)[labels]
    reached = {}
    for of, count in (("classifier", 6), ("both", 10)):
        torch.manual_seed(0)
        can = Can(10, directions=count)
        can.fit_directions(mu, labels, people, of=of)
        basis = can.basis
        torch.testing.assert_close(basis.T @ basis, torch.eye(count), rtol=1e-4, atol=1e-4)
        reach = can.classifier.weight @ basis
        reached[of] = torch.linalg.matrix_rank(reach - reach.mean(0), rtol=1e-3)
    assert reached["classifier"] == reached["both"] == 6


def test_a_weight_keeps_shifts_within_what_people_do():
    voice, labels = separable(350)
    mu = noise(50, 2).repeat(7, 1)
    mu[:, :2] += noise(350, 3, 2)
    face, people = one_view(certain(mu)), np.arange(350) % 50
    precision = torch.linalg.inv(covariance_within_people(mu, torch.from_numpy(people)))

    def distance(weight):
        settings = CanConfig(epochs=5, learning_rate=3e-3, person_weight=weight)
        model, history = train_can(face, voice, labels, settings, people=people)
        assert ("person" in history) == (weight > 0)
        shifted = model.shift(face.map(lambda x: x[0]), voice)
        return mahalanobis(shifted.mu - mu, precision).mean()

    assert distance(0.3) < 0.5 * distance(0.0)


def test_the_same_seed_gives_the_same_networks():
    voice, labels = separable(70)
    face = one_view(certain(noise(70, 2)))
    settings = dataclasses.replace(CanConfig(), epochs=2)
    first, _ = train_can(face, voice, labels, settings, seed=3)
    again, _ = train_can(face, voice, labels, settings, seed=3)
    other, _ = train_can(face, voice, labels, settings, seed=4)
    for key, value in first.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key
    assert not torch.equal(other.att_mu.query.weight, first.att_mu.query.weight)
