"""The networks: tensors in, tensors out, without training and without files."""

from cmlib.models.can import Can, ContextAttention, attend
from cmlib.models.classifier import Classifier
from cmlib.models.fusion import concatenation, fuse, product_of_classifiers, product_of_experts
from cmlib.models.judge import CnnJudge
from cmlib.models.observers import ObserverNetwork
from cmlib.models.vaegan import Posterior, VaeGan

__all__ = [
    "Can",
    "Classifier",
    "CnnJudge",
    "ContextAttention",
    "ObserverNetwork",
    "Posterior",
    "VaeGan",
    "attend",
    "concatenation",
    "fuse",
    "product_of_classifiers",
    "product_of_experts",
]
