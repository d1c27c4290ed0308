# syntax=docker/dockerfile:1
# `fxst apply` without PyTorch: docker build -t fxst . && docker run --rm --read-only --tmpfs /tmp fxst --help

FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY fxst fxst
COPY pretrained pretrained
# The only package named is this folder.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir --prefix=/install ".[av,cloud]"

FROM python:3.12-slim
COPY --from=build /install /usr/local
# Nothing is written but below /tmp, so the root file system may be read-only.
ENV HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    XDG_STATE_HOME=/tmp/state
# A number, so that Kubernetes can tell that it is not root.
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["fxst"]
