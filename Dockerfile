# The two commands in a container, `make demo` unless another is given:
#
#     docker build --tag facecrafter .
#     docker run --rm -it --volume studies:/facecrafter/studies facecrafter
#     docker run --rm -it --shm-size 1g facecrafter make test
#
# The ordinary build of torch computes on NVIDIA GPUs where the container is given some (`docker run --gpus all`), and on
# processors. --build-arg INDEX=URL names an index with another build: PyTorch's own for processors alone, a tenth of the
# size, or for another CUDA.
ARG PYTHON=3.11
FROM python:${PYTHON}-slim
ARG INDEX=""

RUN apt-get update \
    && apt-get install --yes --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home user \
    && install --directory --owner user /facecrafter /facecrafter/studies
USER user
WORKDIR /facecrafter

# What is installed first, so that a change of the code does not install it again.
COPY --chown=user setup.cfg pyproject.toml constraints.txt Makefile README.md LICENSE ./
COPY --chown=user src/facecrafter/__init__.py src/facecrafter/
RUN PIP_NO_CACHE_DIR=1 PIP_EXTRA_INDEX_URL="${INDEX}" make .venv/installed
COPY --chown=user . .

CMD ["make", "demo"]
