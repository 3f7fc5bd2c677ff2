# Images of Sameway. `docker build --target serve -t sameway:serve .` bakes in the versions published under models/.
# The base is given by argument, so that a mirror can stand in for Docker Hub.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# Installs into a virtual environment that is then copied whole: pip, caches and build tools stay behind.
FROM ${PYTHON_IMAGE} AS build
RUN python3 -m venv --without-pip /opt/sameway
WORKDIR /src
COPY pyproject.toml constraints.txt ./
# The dependencies alone, first: this layer is built anew only when they change. With what verifies signed versions, and Flask.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/sameway/bin/python install --disable-pip-version-check -c constraints.txt \
    $(python3 -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; print(*p['dependencies'], *p['optional-dependencies']['signing'], *p['optional-dependencies']['flask'])")
COPY README.md LICENSE cli.py ./
COPY models models
COPY training training
COPY export export
COPY serving serving
COPY loadtests loadtests
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/sameway/bin/python install --disable-pip-version-check --no-deps . \
 # What is baked in: of each model its versions, its configuration and its profiles if it has any, and none of its sources.
 && mkdir /models \
 && for model in models/*/; do \
        if ls "$model" | grep -Eqx '[1-9][0-9]*'; then \
            baked="/models/$(basename "$model")" \
            && mkdir "$baked" && cp -r "$model"[1-9]* "$baked/" || exit 1; \
            for file in config.toml profiles.json; do \
                if [ -e "$model$file" ]; then cp "$model$file" "$baked/" || exit 1; fi; \
            done; \
        fi; \
    done

# ONNX only: no torch, no compiler, no shell needed.
FROM ${PYTHON_IMAGE} AS serve
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin sameway
COPY --from=build /opt/sameway /opt/sameway
COPY --from=build /models /models
ENV PATH=/opt/sameway/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    SAMEWAY_HOST=0.0.0.0 \
    SAMEWAY_PORT=8000 \
    SAMEWAY_REPOSITORY=/models
USER 10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['SAMEWAY_PORT'] + '/v2/health/ready', timeout=2)"]
ENTRYPOINT ["sameway", "serve"]
