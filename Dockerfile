# Images of Sameway, from one file:
#
#   serve         ONNX, without torch
#   serve-torch   the same, and TorchScript and exported programs
#   train         training, export and load tests as well
#
#   docker build --target serve --build-arg MODELS=models -t sameway:serve .
#
# Each is the one before and a layer more, so a host holds what they share once. docs/operations.md tells of the arguments.

# The base is given by argument, so that a mirror can stand in for Docker Hub.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# What all images begin with: nobody special, and a place for models.
FROM ${PYTHON_IMAGE} AS base
RUN groupadd --system --gid 10001 sameway \
 && useradd --system --uid 10001 --gid sameway --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin sameway \
 && mkdir /models

# Where everything is installed, into an environment that images copy: pip, caches and build tools stay here.
FROM ${PYTHON_IMAGE} AS build
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /src
COPY deploy/images/install.sh deploy/images/tools.txt ./
# What lists an environment, for the images' list of parts.
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv --without-pip /opt/tools \
 && pip --python /opt/tools/bin/python install --disable-pip-version-check -r tools.txt

# What is to be installed, as lists: a change in pyproject.toml that is of no dependency builds no environment anew.
FROM build AS requirements
# cpu or cuda.
ARG ACCELERATOR=cpu
COPY pyproject.toml constraints.txt deploy/images/requirements.py ./
RUN python3 requirements.py /requirements "${ACCELERATOR}"

# The dependencies, an image's after the other's. /layer is what a stage has added.
FROM build AS environment-serve
COPY constraints.txt ./
COPY --from=requirements /requirements/serve.txt ./
RUN --mount=type=cache,target=/root/.cache/pip ./install.sh -c constraints.txt -r serve.txt

FROM environment-serve AS environment-torch
# Where pip finds torch for processors besides its usual index: PyTorch's index of CPU wheels. Not needed for cuda.
ARG TORCH_INDEX=
COPY --from=requirements /requirements/torch.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    ./install.sh ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"} -c constraints.txt -r torch.txt \
 || { echo "torch for processors was not found: --build-arg TORCH_INDEX=… names PyTorch's index of CPU wheels" >&2; exit 1; }

FROM environment-torch AS environment-train
COPY --from=requirements /requirements/train.txt ./
RUN --mount=type=cache,target=/root/.cache/pip ./install.sh -c constraints.txt -r train.txt

# The application, which is the same in all of them.
FROM environment-serve AS application
COPY pyproject.toml README.md LICENSE cli.py ./
COPY models models
COPY training training
COPY export export
COPY serving serving
COPY loadtests loadtests
# Built by the tools' own hatchling: pip would fetch the newest one, and run it here.
RUN /opt/tools/bin/python -m hatchling build -t wheel -d /wheels && ./install.sh --no-deps /wheels/*.whl

# What is baked in: of each model its versions, its configuration and its profiles if it has any, and none of its sources.
FROM application AS versions
# A folder of the build context; empty: none, to be mounted.
ARG MODELS=
COPY deploy/images/bake.py ./
RUN --mount=type=bind,target=/context \
    /opt/sameway/bin/python bake.py "${MODELS}" /context /models

# What each image holds, as CycloneDX.
FROM environment-serve AS parts-serve
COPY --from=application /layer /
COPY pyproject.toml ./
RUN /opt/tools/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o /sbom.cdx.json /opt/sameway

FROM environment-torch AS parts-serve-torch
COPY --from=application /layer /
COPY pyproject.toml ./
RUN /opt/tools/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o /sbom.cdx.json /opt/sameway

FROM environment-train AS parts-train
COPY --from=application /layer /
COPY pyproject.toml ./
RUN /opt/tools/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o /sbom.cdx.json /opt/sameway

# What images share.
FROM base AS dependencies-serve
COPY --from=environment-serve /layer /
ENV PATH=/opt/sameway/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1

FROM dependencies-serve AS dependencies-torch
COPY --from=environment-torch /layer /

# What is made stays in volumes; what libraries keep for themselves goes to /tmp, the one place besides that is written to.
FROM dependencies-torch AS dependencies-train
COPY --from=environment-train /layer /
RUN install --directory --owner=10001 --group=10001 /data /data/checkpoints /data/models /data/runs

FROM dependencies-serve AS serve
COPY --from=versions /models /models
COPY --from=application /layer /
COPY --from=parts-serve /sbom.cdx.json /opt/sameway/
ENV SAMEWAY_HOST=0.0.0.0 \
    SAMEWAY_PORT=8000 \
    SAMEWAY_REPOSITORY=/models
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# Ready within the start period is healthy at once. As long as --opening-seconds: nobody ends a server that opens large models.
HEALTHCHECK --interval=5s --timeout=8s --start-period=300s --retries=3 CMD ["python3", "-m", "serving.healthcheck"]
ENTRYPOINT ["sameway", "serve"]
ARG VERSION=
ARG REVISION=
ARG CREATED=
ARG SOURCE=
ARG PYTHON_IMAGE
LABEL org.opencontainers.image.title="sameway serve" \
      org.opencontainers.image.description="Model server for ONNX" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"

FROM dependencies-torch AS serve-torch
COPY --from=versions /models /models
COPY --from=application /layer /
COPY --from=parts-serve-torch /sbom.cdx.json /opt/sameway/
ENV SAMEWAY_HOST=0.0.0.0 \
    SAMEWAY_PORT=8000 \
    SAMEWAY_REPOSITORY=/models
USER 10001:10001
# torch unpacks an exported program there to open it.
VOLUME ["/tmp"]
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=8s --start-period=300s --retries=3 CMD ["python3", "-m", "serving.healthcheck"]
ENTRYPOINT ["sameway", "serve"]
ARG VERSION=
ARG REVISION=
ARG CREATED=
ARG SOURCE=
ARG PYTHON_IMAGE
LABEL org.opencontainers.image.title="sameway serve-torch" \
      org.opencontainers.image.description="Model server for ONNX, TorchScript and exported programs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"

FROM dependencies-train AS train
COPY --from=application /layer /
COPY --from=parts-train /sbom.cdx.json /opt/sameway/
ENV HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    XDG_CACHE_HOME=/tmp/cache \
    TORCHINDUCTOR_CACHE_DIR=/tmp/inductor \
    PYTHONUNBUFFERED=1 \
    SAMEWAY_HOST=0.0.0.0 \
    SAMEWAY_PORT=8000 \
    SAMEWAY_REPOSITORY=/data/models
USER 10001:10001
WORKDIR /data
VOLUME ["/tmp", "/data/checkpoints", "/data/models", "/data/runs"]
EXPOSE 8000
STOPSIGNAL SIGTERM
# It does many things, and most of them end: whoever lets it serve asks for `python3 -m serving.healthcheck` himself.
HEALTHCHECK NONE
ENTRYPOINT ["sameway"]
CMD ["--help"]
ARG VERSION=
ARG REVISION=
ARG CREATED=
ARG SOURCE=
ARG PYTHON_IMAGE
LABEL org.opencontainers.image.title="sameway train" \
      org.opencontainers.image.description="Training, export with proof and load tests of PyTorch models" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"
