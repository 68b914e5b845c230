# The graph of the notebooks.  `make reproduce` runs it; on a cluster: make reproduce CLUSTER=slurm (docs/cluster.md)
# papermill executes each notebook; the sign that one is done is the file of numbers that its last cell writes. The
# executed notebook is declared as a log, so that a failed one keeps its traceback while the others go on.
# A notebook runs again if its record changes (tools/notebooks/staleness.py), or if one that it builds on has run again.
import os
import sys
from pathlib import Path

sys.path.insert(0, str(workflow.basedir))  # on a cluster, snakemake may start elsewhere
from cmlib.config import get_profile
from cmlib.corpora import archives, current_root
from cmlib.files import PlaceError, make_folder, runs_root
from tools import graphs
from tools.notebooks.staleness import of_notebook

ROOT = Path(workflow.basedir)
CORPUS, PROFILE = str(config.get("corpus", "actors")), str(config.get("profile", "quick"))


def number(name, default):
    value = str(config.get(name, default))
    if not value.isdecimal():
        sys.exit(f"{name.upper()}={value}: a whole number is needed")
    return int(value)


FOLD, SEED = number("fold", 1), number("seed", 0)
# fold 1 and seed 0 live in runs/<corpus>-<profile>; any other pair in a folder beside it, so that no run overwrites another
OTHER = "" if (FOLD, SEED) == (1, 0) else f"-fold{FOLD}-seed{SEED}"
RUN = f"runs/{CORPUS}-{PROFILE}{OTHER}"
if os.environ.get("CM_RUNS"):
    RUN = str(runs_root() / f"{CORPUS}-{PROFILE}{OTHER}")
FOLDER = current_root(CORPUS)

try:
    get_profile(PROFILE)
except (KeyError, ValueError) as error:
    sys.exit(f"PROFILE={PROFILE}: {error.args[0]}")
if not 1 <= FOLD <= 5:
    sys.exit(f"FOLD={FOLD}: there are five folds, 1 to 5")
if SEED >= 2**31:
    sys.exit(f"SEED={SEED}: choose a number from 0 to {2**31 - 1}")
if not archives.is_folder(FOLDER):
    sys.exit(f"CORPUS={CORPUS}: no folder {FOLDER}; put the clips there, set CM_DATA to the folder that holds {FOLDER.name}/, or: cm prepare {CORPUS} --root FOLDER")

if "{" in RUN or "}" in RUN:
    sys.exit(f"CM_RUNS={runs_root()}: Snakemake gives braces a meaning of their own; choose a folder without them")
try:
    make_folder(ROOT / RUN)
except PlaceError as error:
    sys.exit(str(error))

graphs.show_only_warnings()

# Snakemake's own folder .snakemake lies beside the runs, since the checkout may be somebody else's.
workdir: runs_root() if os.environ.get("CM_RUNS") else ROOT


if workflow.is_main_process:
    LOCK = graphs.hold_or_exit(ROOT / RUN / ".lock", "reproducing this run (or choose another PROFILE, CORPUS, FOLD or SEED)")

# What a notebook that takes all cores asks for. On this machine Snakemake gives it as many as there are; on a cluster
# profiles/ says how many.
MOST_THREADS = 128
# notebook: (notebooks that it builds on, whether it takes all cores)
NOTEBOOKS = {
    "00_why_context": ([], False),
    "01_data_preparation": ([], True),
    "02_face_vae": (["01_data_preparation"], True),
    "03_voice_vae": (["01_data_preparation"], True),
    "04_expression_classifier": (["02_face_vae", "03_voice_vae"], True),
    "05_context_attention": (["02_face_vae", "03_voice_vae"], True),
    "06_evaluation": (["04_expression_classifier", "05_context_attention"], False),
    "07_mental_representations": (["04_expression_classifier", "05_context_attention"], False),
    "08_generation_demo": (["04_expression_classifier", "05_context_attention"], False),
    "09_rating_study": (["04_expression_classifier", "05_context_attention"], False),
    "10_rating_analysis": (["04_expression_classifier", "05_context_attention"], False),
    "11_more_witnesses": (["07_mental_representations"], False),
    "12_real_faces": ([], False),
}


def numbers(notebook):
    return f"{RUN}/metrics/{notebook}.json"


def record(notebook):
    """Fingerprint of all that the results of a notebook are made from: it is stale if this changes."""
    source = ROOT / "notebooks" / f"{notebook}.ipynb"
    return of_notebook(source, CORPUS, PROFILE, FOLD, SEED).fingerprint()


rule report:
    input:
        ROOT / "tools" / "notebooks" / "report.py",
        ROOT / "tools" / "notebooks" / "report.html",
        [numbers(n) for n in NOTEBOOKS],
    output:
        f"{RUN}/report.html",
        f"{RUN}/metrics.json",
    shell:
        "cd {ROOT:q} && {sys.executable:q} -m tools.notebooks.report {RUN:q}"


for notebook, (needs, all_cores) in NOTEBOOKS.items():

    rule:
        name:
            f"notebook_{notebook}"
        input:
            [numbers(n) for n in needs],
        output:
            numbers(notebook),
        log:
            f"{RUN}/notebooks/{notebook}.ipynb",
        params:
            source=f"notebooks/{notebook}.ipynb",
            record=record(notebook),
            out_dir=ROOT / RUN if OTHER else "",
        threads: MOST_THREADS if all_cores else 1
        shell:
            "cd {ROOT:q} && OMP_NUM_THREADS={threads} {sys.executable:q} -m tools.notebooks.execute"
            " {params.source:q} {log:q} -p corpus {CORPUS:q} -p profile {PROFILE} -p fold {FOLD} -p seed {SEED}"
            " -p out_dir ''{params.out_dir:q}"  # of nothing, :q makes nothing; with '' it is an argument, too


onstart:
    print(f"{CORPUS}-{PROFILE}, fold {FOLD}, seed {SEED}: executing notebooks into {RUN}/ on {workflow.cores} cores", flush=True)


onerror:
    shell("cd {ROOT:q} && {sys.executable:q} -m tools.notebooks.report {RUN:q} --partial")
