# syntax=docker/dockerfile:1
# nucleiseg in a container. For the CPU:
#
#   docker build -t nucleiseg .
#   docker run --rm -it -v "$PWD:/work" nucleiseg train experiment=demo
#
# For NVIDIA GPUs (the driver on the host, and its container toolkit; the CUDA libraries come with PyTorch's wheels):
#
#   docker build -t nucleiseg:cuda --build-arg TORCH=cu128 .
#   docker run --rm -it --gpus all --shm-size 2g -v "$PWD:/work" nucleiseg:cuda train data=folders data.root=images

ARG PYTHON=3.12

# The full image: its git finds the version.
FROM python:${PYTHON}-bookworm AS wheel
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:${PYTHON}-slim-bookworm
# Which of PyTorch's builds: cpu, or a CUDA version of https://pytorch.org/get-started/locally such as cu128.
ARG TORCH=cpu
# Both from one index, first: torchvision's operators need the torch build that they were made for.
RUN pip install --no-cache-dir "torch>=2.11" "torchvision>=0.26" --index-url "https://download.pytorch.org/whl/${TORCH}"
COPY --from=wheel /wheel /wheel
RUN pip install --no-cache-dir /wheel/*.whl && useradd --create-home --uid 1000 nucleiseg

# Not root: what is written to a mounted folder belongs to this user, or to the one of docker run --user.
USER 1000
# Writable for any --user: matplotlib's font list, downloaded weights and decoded images.
ENV NO_ALBUMENTATIONS_UPDATE=1 MPLCONFIGDIR=/tmp/matplotlib NUCLEISEG_CACHE=/tmp/nucleiseg
WORKDIR /work
ENTRYPOINT ["nucleiseg"]
CMD ["--help"]
