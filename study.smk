# The graph of a study: corpora are prepared, each cell trains and scores its networks, and one report puts all together.
# `make study STUDY=studies/five_folds.yaml` runs it; with CLUSTER=slurm each cell is a job.  docs/cluster.md explains it.
import sys
from pathlib import Path

sys.path.insert(0, str(workflow.basedir))  # on a cluster, snakemake may start elsewhere
from cmlib.config import get_profile
from cmlib.files import PlaceError, make_folder
from tools import graphs
from tools.notebooks.staleness import of_evaluation
from tools.study.cells import StudyError, check_corpora, read_study

ROOT = Path(workflow.basedir)
if "study" not in config:
    sys.exit("no study is named; --config study=studies/example.yaml")
FILE = ROOT / config["study"]
try:
    STUDY = read_study(FILE)
    check_corpora(STUDY)
    make_folder(STUDY.folder)
except (StudyError, PlaceError) as error:
    sys.exit(str(error))
FOLDER = str(STUDY.folder)
if "{" in FOLDER or "}" in FOLDER:
    sys.exit(f"{FOLDER}: Snakemake gives braces a meaning of their own; choose a CM_RUNS without them")
CELLS = {cell.name: cell for cell in STUDY.cells}

graphs.show_only_warnings()
if workflow.is_main_process:
    LOCK = graphs.hold_or_exit(STUDY.folder / ".lock", "running this study")

def prepared_as(cell):
    """The first cell whose prepared corpus serves ``cell``, too: the settings of the data are the same."""
    data = get_profile(cell.profile).data
    return next(c for c in STUDY.cells if c.corpus == cell.corpus and get_profile(c.profile).data == data)


def needed(cell):
    """What has to be there before ``cell``: its prepared corpus, and the networks that it shares with an unchanged profile."""
    files = [f"{FOLDER}/prepared/{prepared_as(cell).name}.txt"]
    base = cell.unchanged
    profile = get_profile(cell.profile)
    trained = [kind for kind in ("face", "voice") if not profile.fixed_network(kind, cell.fold)]
    if trained and base != cell and base in STUDY.cells:
        files.append(f"{FOLDER}/cells/{base.name}/evaluation.json")
    return files


localrules:
    report,


rule report:
    input:
        expand(f"{FOLDER}/cells/{{cell}}/evaluation.json", cell=CELLS),
    output:
        f"{FOLDER}/report.html",
        f"{FOLDER}/study.json",
    params:
        file=FILE,
    shell:
        "cd {ROOT:q} && {sys.executable:q} -m tools.study {params.file:q}"


rule prepare:
    output:
        f"{FOLDER}/prepared/{{cell}}.txt",
    params:
        corpus=lambda wildcards: CELLS[wildcards.cell].corpus,
        profile=lambda wildcards: CELLS[wildcards.cell].profile,
    threads: 8
    shell:
        "cd {ROOT:q} && CM_QUIET=1 {sys.executable:q} -m cmlib.cli prepare {params.corpus:q}"
        " --profile {params.profile:q} --workers {threads} > {output:q}"


rule cell:
    input:
        lambda wildcards: needed(CELLS[wildcards.cell]),
    output:
        f"{FOLDER}/cells/{{cell}}/evaluation.json",
    log:
        f"{FOLDER}/cells/{{cell}}/log.txt",
    params:
        corpus=lambda wildcards: CELLS[wildcards.cell].corpus,
        profile=lambda wildcards: CELLS[wildcards.cell].profile,
        fold=lambda wildcards: CELLS[wildcards.cell].fold,
        seed=lambda wildcards: CELLS[wildcards.cell].seed,
        # A cell runs again if anything changes that its networks are made from.
        record=lambda wildcards: of_evaluation(*CELLS[wildcards.cell].values).fingerprint(),
    threads: 1
    shell:
        "cd {ROOT:q} && echo $(date +%H:%M:%S) {wildcards.cell:q} started;"
        " if OMP_NUM_THREADS={threads} CM_QUIET=1 {sys.executable:q} -m cmlib.cli evaluate --train"
        " --corpus {params.corpus:q} --profile {params.profile:q} --fold {params.fold} --seed {params.seed}"
        " --out $(dirname {output:q}) > {log:q} 2>&1;"
        " then echo $(date +%H:%M:%S) {wildcards.cell:q} done;"
        " else echo $(date +%H:%M:%S) {wildcards.cell:q} FAILED: $(tail -n 1 {log:q}) >&2; exit 1; fi"


onstart:
    print(f"study {STUDY.name}: {len(CELLS)} cells into {FOLDER}/", flush=True)
