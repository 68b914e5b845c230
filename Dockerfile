# The packages of requirements.lock on Debian: docker build -t context-matters .
# docs/cluster.md says how to use it.
FROM python:3.11-slim-bookworm

# With the last of these, make takes the Python of this image, as it does in the conda environment of this name.
ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    MPLBACKEND=agg \
    HOME=/tmp \
    CONDA_DEFAULT_ENV=context-matters

RUN apt-get update \
    && apt-get install --yes --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/context-matters

# The packages first, so that a change of the code does not install them again.
COPY requirements.lock ./
RUN python -m pip install --requirement requirements.lock

COPY . .
RUN python -m pip install --no-deps --editable . \
    && python -m pip install --editable '.[cluster]'

CMD ["make", "help"]
